//! The layer under a KEK, the same around a slot, an account key and a ticket:
//! `01 || v(u32) || salt32 || GCM0(key(KEK_v, salt32), aad = label 00 v fields, text)`.

use zeroize::Zeroizing;

use super::error::{CryptoError, Result};
use super::gcm::{TAG, open_once, seal_once};
use super::kek::KekRing;
use super::key::{aad, label, outer_key};
use super::secret::random;

const HEAD: usize = 1 + 4 + 32;

/// The length of a wrapped text of `text` bytes.
pub(super) const fn sealed_len(text: usize) -> usize {
    HEAD + text + TAG
}

/// What is wrapped: it chooses the labels.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Slot,
    Account,
    Ticket,
}

impl Kind {
    fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Slot => (label::OUTER_WRAP, label::OUTER),
            Self::Account => (label::OUTER_WRAP, label::ACCOUNT_OUTER),
            Self::Ticket => (label::TICKET_WRAP, label::TICKET),
        }
    }

    fn aad(self, version: [u8; 4], fields: &[&[u8]]) -> Vec<u8> {
        aad(self.labels().1, &[&[&version[..]], fields].concat())
    }
}

/// Wraps under the ring's current version and a fresh salt, which keeps the zero nonce single-use.
pub(super) fn seal(ring: &KekRing, kind: Kind, fields: &[&[u8]], text: &[u8]) -> Vec<u8> {
    let (version, kek) = ring.newest();
    let (version, salt) = (version.to_be_bytes(), random());
    let key = outer_key(kek, kind.labels().0, &salt);
    let sealed = seal_once(&key, &kind.aad(version, fields), text);
    [&[1], &version[..], &salt, &sealed].concat()
}

/// Opens what [`seal`] made for the same kind and fields.
pub(super) fn open(
    ring: &KekRing,
    kind: Kind,
    fields: &[&[u8]],
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let (version, salt, sealed) = split(wrapped).ok_or(CryptoError::Malformed("wrapped key"))?;
    let key = outer_key(ring.key(u32::from_be_bytes(version))?, kind.labels().0, salt);
    open_once(&key, &kind.aad(version, fields), sealed)
}

/// The version of the KEK around it.
pub(super) fn version(wrapped: &[u8]) -> Option<u32> {
    split(wrapped).map(|(version, ..)| u32::from_be_bytes(version))
}

fn split(wrapped: &[u8]) -> Option<([u8; 4], &[u8; 32], &[u8])> {
    let [1, rest @ ..] = wrapped else { return None };
    let (version, rest) = rest.split_first_chunk()?;
    let (salt, sealed) = rest.split_first_chunk()?;
    Some((*version, salt, sealed))
}
