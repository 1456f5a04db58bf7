//! Why a use case did not do what was asked, by what the asker can do about it.

use std::time::Duration;

use crate::audit::AuditUnavailable;
use crate::crypto::CryptoError;
use crate::storage::{BlobError, StoreError};
use crate::transfer::policy::OptionError;
use crate::transfer::{InvalidName, InvalidTransition, LinkId};

/// A refusal or a failure.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The token is unknown, revoked or past its end.
    #[error("the token is not valid")]
    TokenInvalid,
    /// The one answer for a link that opens nothing, whatever the reason.
    #[error("the link does not open anything")]
    LinkNotFound,
    /// There is no such thing, or it is another team's.
    #[error("there is no such thing here")]
    NotFound,
    /// The account may not do this.
    #[error("this needs the capability {0}, which the account or its token does not have")]
    CapabilityMissing(crate::transfer::access::Capability),
    /// Every download left is held by others.
    #[error("every download that is left is being used by others")]
    LinkBusy {
        /// When one may come back.
        retry_after: Duration,
    },
    /// The link is proved, and has a password.
    #[error("the link has a password")]
    PasswordRequired(LinkId),
    /// The link is proved, and the password is another.
    #[error("the password is wrong")]
    PasswordWrong(LinkId),
    /// Too many passwords are being checked.
    #[error("too many passwords are being checked")]
    PasswordBusy,
    /// Too many tries failed of this link, or from this address.
    #[error("too many attempts failed")]
    TooManyAttempts {
        /// When the next one is taken.
        retry_after: Duration,
    },
    /// So many tries failed of this link that it takes no more.
    #[error(
        "too many wrong passwords were tried, so this link takes no more. Only its sender can lift that: ask the sender"
    )]
    LinkStopped,
    /// Only the account that sent a transfer may do this.
    #[error("only the account that sent a transfer may do this")]
    NotOwner,
    /// It has changed since it was seen.
    #[error("it has changed since it was seen")]
    PreconditionFailed,
    /// An option cannot be taken.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A name cannot be taken.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Another file of the transfer has that name.
    #[error("another file of this transfer has that name")]
    NameTaken,
    /// The transfer has as many files as one can have.
    #[error("the transfer has as many files as one can have")]
    TooManyFiles,
    /// There is no file in the transfer.
    #[error("there is no file in it")]
    FileMissing,
    /// The file is larger than the operator allows.
    #[error("a file is at most {limit} bytes here")]
    FileTooLarge {
        /// Plaintext bytes.
        limit: u64,
    },
    /// The team holds as much as it may.
    #[error("{0}")]
    QuotaExceeded(super::QuotaRefusal),
    /// More or fewer bytes came than the request said.
    #[error("the request said {declared} bytes and {received} came")]
    LengthMismatch {
        /// What it said.
        declared: u64,
        /// What came.
        received: u64,
    },
    /// The upload was ended from elsewhere.
    #[error("the transfer was ended while it was being sent")]
    Ended,
    /// No memory for one more upload.
    #[error("too many uploads are running")]
    BuffersBusy,
    /// What happens cannot be recorded, so it does not happen.
    #[error(transparent)]
    Audit(#[from] AuditUnavailable),
    /// The machine's clock was set back: what is sent now would get a wrong deadline.
    #[error("the clock of the machine is {} s behind the latest time that was seen: set it right; uploads are refused until then", .0.as_secs())]
    ClockBehind(Duration),
    /// A store is full.
    #[error("the store is full: {0}")]
    Full(String),
    /// A store does not answer.
    #[error("a store does not answer: {0}")]
    Unavailable(String),
    /// The account changed meanwhile, or has such a thing already.
    #[error("{0}")]
    Conflict(String),
    /// Something that should hold does not: damaged bytes, or a defect.
    #[error("{0}")]
    Internal(String),
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(why) => Self::Full(why),
            StoreError::Unavailable(why) | StoreError::Locked(why) | StoreError::Damaged(why) => {
                Self::Unavailable(why)
            }
            StoreError::NotFound => Self::NotFound,
            StoreError::TouchRefused => Self::Ended,
            StoreError::QuotaExceeded(exceeded) => {
                Self::QuotaExceeded(super::QuotaRefusal { exceeded, asked: None, frees: None })
            }
            StoreError::Conflict => Self::Conflict("it was changed by somebody else meanwhile".to_owned()),
        }
    }
}

impl From<BlobError> for ServiceError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Full(why) => Self::Full(why),
            BlobError::Unavailable(why) => Self::Unavailable(why),
            BlobError::NotFound => Self::Internal("an object that the record names is not there".to_owned()),
        }
    }
}

impl From<CryptoError> for ServiceError {
    fn from(error: CryptoError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<crate::transfer::access::AccessRefused> for ServiceError {
    fn from(error: crate::transfer::access::AccessRefused) -> Self {
        Self::Conflict(error.to_string())
    }
}

impl From<InvalidTransition> for ServiceError {
    fn from(error: InvalidTransition) -> Self {
        match error {
            InvalidTransition::Ended(_) => Self::Ended,
            InvalidTransition::Empty => Self::FileMissing,
            InvalidTransition::TooManyFiles => Self::TooManyFiles,
            InvalidTransition::NoSuchLink => Self::NotFound,
            other => Self::Conflict(other.to_string()),
        }
    }
}
