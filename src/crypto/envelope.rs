//! Slots: a transfer key, wrapped for one link inside and under the server's KEK outside.
//!
//! One slot a link. Inside, the link's secret and password; outside, the KEK and the deadline. So a rotation or
//! a new deadline re-wraps the outer layer with no link, no password and no data touched (DESIGN §6).

use std::fmt;

use zeroize::Zeroizing;

use super::Id;
use super::error::{CryptoError, Result};
use super::gcm::{TAG, open_once, seal_once};
use super::kek::KekRing;
use super::key::{LinkSecret, PasswordKey, TransferKey, aad, label, link_key};
use super::outer::{self, Kind};
use super::password::PasswordBlock;
use super::secret::Secret;

/// The link id of the owner's own slot, which belongs to no link.
pub const OWNER: Id = [0; 16];

const INNER: usize = 32 + TAG;

/// A wrapped transfer key: 101 bytes, no secret by themselves.
#[derive(Clone, PartialEq, Eq)]
pub struct Slot([u8; Slot::LENGTH]);

impl Slot {
    /// In bytes.
    pub const LENGTH: usize = outer::sealed_len(INNER);

    /// From a record; `Malformed` for another length or version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        match <[u8; Self::LENGTH]>::try_from(bytes) {
            Ok(slot @ [1, ..]) => Ok(Self(slot)),
            _ => Err(CryptoError::Malformed("slot")),
        }
    }

    /// As the record stores it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The version of the KEK around it, as the record says: not yet authenticated.
    #[must_use]
    pub fn kek_version(&self) -> u32 {
        outer::version(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot(kek {})", self.kek_version())
    }
}

/// A slot without its outer layer; still closed to whoever lacks the link's secret and password.
pub struct InnerSlot(Zeroizing<Vec<u8>>);

impl fmt::Debug for InnerSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InnerSlot(..)")
    }
}

/// Wraps `key` for one link, or for the owner with `link` = [`OWNER`]. The record keeps `pwb` and `deadline_ms`
/// (Unix milliseconds) beside the slot and gives them again at opening; changed there, they do not open it.
/// A (`secret`, `password`, `transfer`, `link`, `pwb`) wraps one key only: DESIGN §6 says what keeps it so.
#[must_use]
#[expect(clippy::too_many_arguments, reason = "each one is bound by the slot")]
pub fn seal_slot(
    ring: &KekRing,
    secret: &LinkSecret,
    password: &PasswordKey,
    pwb: &PasswordBlock,
    transfer: &Id,
    link: &Id,
    deadline_ms: u64,
    key: &TransferKey,
) -> Slot {
    let wrap = link_key(secret, password, transfer, link, pwb.as_bytes());
    let inner = seal_once(&wrap, &aad(label::INNER, &[transfer, link, pwb.as_bytes()]), key.0.bytes());
    seal_outer(ring, &inner, transfer, link, pwb, deadline_ms)
}

fn seal_outer(
    ring: &KekRing,
    inner: &[u8],
    transfer: &Id,
    link: &Id,
    pwb: &PasswordBlock,
    deadline_ms: u64,
) -> Slot {
    let fields: [&[u8]; 4] = [transfer, link, pwb.as_bytes(), &deadline_ms.to_be_bytes()];
    let Ok(slot) = outer::seal(ring, Kind::Slot, &fields, inner).try_into() else {
        unreachable!("an inner slot is 48 bytes: it was sealed or opened in this file")
    };
    Slot(slot)
}

/// Takes the KEK's layer off, which proves that neither the deadline nor the place of the slot was changed.
/// `Refused` if one was, `UnknownKek` if the ring lacks the version.
pub fn open_outer(
    ring: &KekRing,
    slot: &Slot,
    transfer: &Id,
    link: &Id,
    pwb: &PasswordBlock,
    deadline_ms: u64,
) -> Result<InnerSlot> {
    let fields: [&[u8]; 4] = [transfer, link, pwb.as_bytes(), &deadline_ms.to_be_bytes()];
    outer::open(ring, Kind::Slot, &fields, &slot.0).map(InnerSlot)
}

impl InnerSlot {
    /// Unwraps the transfer key; `Refused` for a wrong secret or password alike. Compare its commitment next
    /// ([`TransferKey::committed`]).
    pub fn open(
        self,
        secret: &LinkSecret,
        password: &PasswordKey,
        transfer: &Id,
        link: &Id,
        pwb: &PasswordBlock,
    ) -> Result<TransferKey> {
        let wrap = link_key(secret, password, transfer, link, pwb.as_bytes());
        let key = open_once(&wrap, &aad(label::INNER, &[transfer, link, pwb.as_bytes()]), &self.0)?;
        let key = key.first_chunk().ok_or(CryptoError::Malformed("slot"))?;
        Ok(TransferKey(Secret::copy(key)))
    }
}

/// [`open_outer`], then [`InnerSlot::open`].
#[expect(clippy::too_many_arguments, reason = "each one is bound by the slot")]
pub fn open_slot(
    ring: &KekRing,
    slot: &Slot,
    secret: &LinkSecret,
    password: &PasswordKey,
    pwb: &PasswordBlock,
    transfer: &Id,
    link: &Id,
    deadline_ms: u64,
) -> Result<TransferKey> {
    open_outer(ring, slot, transfer, link, pwb, deadline_ms)?.open(secret, password, transfer, link, pwb)
}

/// The same slot under the ring's current KEK and with a new deadline (which may be the old one): needs neither
/// link nor password. Errors as [`open_outer`].
pub fn rewrap_slot(
    ring: &KekRing,
    slot: &Slot,
    transfer: &Id,
    link: &Id,
    pwb: &PasswordBlock,
    old_deadline_ms: u64,
    new_deadline_ms: u64,
) -> Result<Slot> {
    let inner = open_outer(ring, slot, transfer, link, pwb, old_deadline_ms)?;
    Ok(seal_outer(ring, &inner.0, transfer, link, pwb, new_deadline_ms))
}
