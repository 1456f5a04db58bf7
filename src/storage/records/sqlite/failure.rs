//! What `SQLite` said, told apart.

use crate::storage::StoreError;

/// What `SQLite` said, in a form that many askers of one transaction can be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Full,
    Locked,
    Damaged,
    Other,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        // The shared index beside the database could not grow: of a full disk it says no more than that.
        let index =
            error.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Kind::Full,
            _ if index => Kind::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::Locked,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Damaged,
            _ => Kind::Other,
        };
        Self { kind, text: format!("{error}{}", kind.what_to_do()) }
    }
}

impl Kind {
    pub(super) const fn what_to_do(self) -> &'static str {
        match self {
            Self::Full => ": make room on its disk",
            Self::Locked => {
                ": another process holds it (`fuser burnbag.db` names it); end that one, and it goes on by itself"
            }
            Self::Damaged => {
                ": nothing more is written to it; stop the service, keep a copy of burnbag.db and burnbag.db-wal, and put \
                 a good copy back"
            }
            Self::Other => "",
        }
    }
}

impl From<Failure> for StoreError {
    fn from(Failure { kind, text }: Failure) -> Self {
        match kind {
            Kind::Full => Self::Full(text),
            Kind::Locked => Self::Locked(text),
            Kind::Damaged => Self::Damaged(text),
            Kind::Other => Self::Unavailable(text),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Failure::from(error).into()
    }
}
