//! The upload journal: what a running upload has reached, and when a purge is tried again. It changes by
//! `touch` and `retry` alone, without an event (DESIGN §4).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{FileId, OperationId, TeamId, TransferId};
use super::lease::LeaseSummary;
use super::record::{State, Transfer};
use crate::clock::Timestamp;

/// How far one file's upload is, under one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileJournal {
    /// Goes up by one with each request that takes the upload over.
    pub epoch: u64,
    /// Who opened the epoch: the same id again is the same opening.
    pub opener: OperationId,
    /// What the blob store calls the upload; to abort it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// Plaintext bytes taken so far.
    pub bytes: u64,
}

/// The journal of a transfer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Journal {
    /// Uploading ends here unless it is moved on; absent: only the hard end holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_deadline: Option<Timestamp>,
    /// Each running file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<FileId, FileJournal>,
    /// When a purge that failed is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// How often a purge failed.
    #[serde(default)]
    pub attempts: u32,
}

/// One entry for the journal; absolute values, so that it can be sent twice.
#[derive(Clone, Debug)]
pub struct Touch {
    /// The team of the transfer.
    pub team: TeamId,
    /// The transfer.
    pub transfer: TransferId,
    /// The file.
    pub file: FileId,
    /// The epoch under which it is written.
    pub epoch: u64,
    /// Who opened that epoch.
    pub opener: OperationId,
    /// What the blob store calls the upload.
    pub upload: Option<String>,
    /// Plaintext bytes taken so far.
    pub bytes: u64,
    /// Where Uploading ends now.
    pub upload_deadline: Timestamp,
}

/// The upload is no longer this writer's: the transfer left Uploading, or a newer epoch was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the upload was ended or taken over")]
pub struct TouchRefused;

impl Journal {
    /// Writes an entry.
    ///
    /// # Errors
    /// The transfer is not Uploading, or the epoch is an older one or another opener's.
    pub fn touch(&mut self, transfer: &Transfer, touch: &Touch) -> Result<(), TouchRefused> {
        if transfer.state() != State::Uploading {
            return Err(TouchRefused);
        }
        if let Some(now) = self.files.get(&touch.file)
            && (touch.epoch < now.epoch || (touch.epoch == now.epoch && touch.opener != now.opener))
        {
            return Err(TouchRefused);
        }
        self.upload_deadline = self.upload_deadline.max(Some(touch.upload_deadline));
        self.files.insert(
            touch.file,
            FileJournal {
                epoch: touch.epoch,
                opener: touch.opener,
                upload: touch.upload.clone(),
                bytes: touch.bytes,
            },
        );
        Ok(())
    }

    /// Puts a purge off.
    pub fn retry(&mut self, at: Timestamp) {
        self.retry_at = Some(at);
        self.attempts = self.attempts.saturating_add(1);
    }

    /// How long a purge that failed now is put off: 1 s, doubled each time, at most 10 minutes.
    #[must_use]
    pub fn backoff(&self) -> Duration {
        Duration::from_secs(1 << self.attempts.min(10)).min(Duration::from_mins(10))
    }
}

/// The place in the due index: the earliest instant at which something must happen (DESIGN §4).
#[must_use]
pub fn due(transfer: &Transfer, journal: &Journal, leases: &LeaseSummary) -> Option<Timestamp> {
    let of_state = match transfer.state() {
        State::Uploading => {
            Some(journal.upload_deadline.map_or(transfer.deadline(), |at| at.min(transfer.deadline())))
        }
        State::Available if leases.exhausted => Some(leases.changed),
        State::Available => transfer.next_link_deadline().into_iter().chain([transfer.deadline()]).min(),
        State::Held => Some(transfer.deadline()),
        State::Ended => journal.retry_at.or(transfer.ended().map(|ended| ended.at)),
        // A tombstone waits for its leases, and these are in the index by themselves.
        State::Purged if leases.open > 0 => transfer.second_look(),
        State::Purged => transfer.second_look().or(transfer.forget_at()),
    };
    of_state.into_iter().chain(leases.next_end).min()
}

/// Since when, or from when on, something must happen: [`due`] without the pauses between two attempts.
#[must_use]
pub fn owed(transfer: &Transfer, journal: &Journal, leases: &LeaseSummary) -> Option<Timestamp> {
    let unpaused = Journal { retry_at: None, ..journal.clone() };
    due(transfer, &unpaused, leases)
}
