//! Why the log cannot be written, by what the operator can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Another process writes to this log.
    #[error("another process writes the audit log in {}: stop it, or give this one a directory of its own", .dir.display())]
    Locked {
        /// The audit directory.
        dir: PathBuf,
    },
    /// The directory holds the log of another record store, or lines without a log id.
    #[error(
        "{} holds {}, and the log id of this record store is {expected}: they do not belong together. Was the record store \
         emptied, or one of the two exchanged? Put back the one that was here; a new service needs another audit directory",
        .dir.display(),
        .found.as_ref().map_or("lines but no log-id file".to_owned(), |id| format!("the log {id}"))
    )]
    OtherLog {
        /// The audit directory.
        dir: PathBuf,
        /// The id that it holds.
        found: Option<String>,
        /// The id of the record store.
        expected: String,
    },
    /// Events that the record store has already handed over are not in the log.
    #[error(
        "the audit log in {} lacks the events {first} to {last}, which the record store no longer has: put the \
         newest copy of the log back, or accept the loss with: echo {first}-{last} >> {}/lost",
        .dir.display(),
        .dir.display()
    )]
    Gap {
        /// The directory of the shard.
        dir: PathBuf,
        /// The first missing event.
        first: u64,
        /// The last missing event.
        last: u64,
    },
    /// The record store is older than its log: it was restored from a backup.
    #[error(
        "the record store is older than its audit log in {}: the log has event {seq}, and the record store has {}. \
         Was it restored from a backup? Put the newest record store back; or move that directory away, keep it, \
         and a new log begins",
        .dir.display(),
        .store_last.map_or("another one under that number".to_owned(), |last| format!("only {last}"))
    )]
    StoreOlder {
        /// The directory of the shard.
        dir: PathBuf,
        /// The last event in the log.
        seq: u64,
        /// The last event of the record store, where that is less.
        store_last: Option<u64>,
    },
    /// The end of the log cannot be read.
    #[error("the end of {} is damaged ({why}): run `burnbag audit verify`, then put the newest copy of the log back", .file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What was opened is no longer what lies at that path, or an earlier write failed: open the log again.
    #[error("{} was moved, removed or changed by another hand", .path.display())]
    Replaced {
        /// The file or directory.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot {what} {}: {source}", .path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

impl AuditError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Disk { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// For `map_err`: the disk refused `what` on `path`.
    pub(super) fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { what, path, source }
    }
}
