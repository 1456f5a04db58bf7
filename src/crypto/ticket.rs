//! Download tickets: the proof of a link's secret and password, sealed by the server for one browser.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::Id;
use super::error::{CryptoError, Result};
use super::kek::KekRing;
use super::key::{LinkSecret, PasswordKey};
use super::outer::{self, Kind};
use super::secret::Secret;

const TEXT: usize = 3 * 16 + 8 + 2 * 32;

/// What a ticket says. It holds no transfer key: each request opens the slot anew, so that a revocation or a new
/// deadline holds at once (DESIGN §6).
#[derive(Debug)]
pub struct Ticket {
    /// The transfer that it is for.
    pub transfer: Id,
    /// The link that it is for.
    pub link: Id,
    /// Whose leases are meant: random, one a ticket.
    pub owner: Id,
    /// Its end, in Unix milliseconds. Opening does not look at it: this room has no clock.
    pub until_ms: u64,
    /// The link's secret.
    pub secret: LinkSecret,
    /// What the link's password gave.
    pub password: PasswordKey,
}

impl Ticket {
    /// Sealed under the ring's current KEK: 231 characters of base64url, the value of a cookie.
    #[must_use]
    pub fn seal(&self, ring: &KekRing) -> Zeroizing<String> {
        let mut text = Secret::<TEXT>::zeroed();
        let fields: [&[u8]; 6] = [
            &self.transfer,
            &self.link,
            &self.owner,
            &self.until_ms.to_be_bytes(),
            self.secret.0.bytes(),
            self.password.0.bytes(),
        ];
        let mut rest = &mut text.bytes_mut()[..];
        for field in fields {
            let (place, after) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = after;
        }
        let sealed = outer::seal(ring, Kind::Ticket, &[], text.bytes());
        Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Reads back what [`seal`](Self::seal) made. Compare `until_ms` with the clock. Whatever else a client sends
    /// is `Malformed` or `Refused`; so is a ticket under a KEK that is gone.
    pub fn open(ring: &KekRing, text: &str) -> Result<Self> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| CryptoError::Malformed("ticket"))?;
        if sealed.len() != outer::sealed_len(TEXT) {
            return Err(CryptoError::Malformed("ticket"));
        }
        let text = outer::open(ring, Kind::Ticket, &[], &sealed).map_err(|error| match error {
            CryptoError::UnknownKek(_) => CryptoError::Refused,
            error => error,
        })?;
        Self::read(&text).ok_or(CryptoError::Malformed("ticket"))
    }

    fn read(text: &[u8]) -> Option<Self> {
        let (transfer, text) = text.split_first_chunk()?;
        let (link, text) = text.split_first_chunk()?;
        let (owner, text) = text.split_first_chunk()?;
        let (until, text) = text.split_first_chunk()?;
        let (secret, text) = text.split_first_chunk()?;
        let (password, []) = text.split_first_chunk()? else { return None };
        Some(Self {
            transfer: *transfer,
            link: *link,
            owner: *owner,
            until_ms: u64::from_be_bytes(*until),
            secret: LinkSecret(Secret::copy(secret)),
            password: PasswordKey(Secret::copy(password)),
        })
    }
}
