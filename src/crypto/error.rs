//! What can go wrong, by what a caller can do about it.

use thiserror::Error;

/// Why this room gave nothing back. No variant carries a secret or a plaintext.
#[derive(Debug, Error)]
pub enum CryptoError {
    /// It does not authenticate: a wrong key, password, id or deadline, or changed bytes. Which, nobody can tell.
    #[error("does not authenticate")]
    Refused,
    /// The bytes do not have the form that DESIGN §5 or §6 gives them; no key was tried, or what a right key
    /// opened is no such thing.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Wrapped under a version of the KEK that the ring does not hold: the operator retired it too early.
    #[error("no key-encryption key of version {0}: put its line back into the KEK file")]
    UnknownKek(u32),
    /// The text of a KEK file does not parse. Names the line and never quotes it.
    #[error("KEK file: {0}")]
    KekFile(String),
    /// Argon2id could not have the memory that its parameters ask for; worth another try later.
    #[error("not enough memory to check a password")]
    OutOfMemory,
    /// A run has used up its 2³² segments (about 256 TiB).
    #[error("the run is too long")]
    TooLong,
    /// A caller broke the order of calls or gave a buffer too small: a bug, never an outcome of bad input.
    #[error("misuse: {0}")]
    Misuse(&'static str),
}

pub(super) type Result<T> = std::result::Result<T, CryptoError>;
