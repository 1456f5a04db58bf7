//! From the outbox into the log, each event exactly once (DESIGN §9).
//!
//! An event is trimmed from the outbox only when it is durable in the log, and the log's own end says where to go on, so
//! that a crash between the two repeats nothing and loses nothing.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{AuditError, AuditGate, DirLock, Log};
use crate::clock::{Clock, Timestamp};
use crate::storage::records::OutboxEntry;
use crate::storage::{RecordStore, Reserve, StoreError};

/// Events in one write.
const BATCH: usize = 1000;
/// A write that takes longer closes the gate until it is through.
const STALLED: Duration = Duration::from_secs(10);

/// Where the log is.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The audit directory.
    pub dir: PathBuf,
    /// The shard of the record store.
    pub shard: u8,
}

/// Why a pass failed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The log cannot be opened or written.
    #[error(transparent)]
    Log(#[from] AuditError),
    /// The outbox cannot be read or trimmed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A write did not end.
    #[error("a write to the audit log was given up: {0}")]
    GivenUp(String),
}

/// The outbox of one shard and its log.
pub struct Relay {
    records: Arc<dyn RecordStore>,
    config: RelayConfig,
    gate: AuditGate,
    clock: Arc<dyn Clock>,
    /// Absent before the first success and after a failure.
    log: Option<Log>,
    /// The failure that lasts, and since when.
    failing: Option<(String, Timestamp)>,
    /// Let go when the disk of the log is full.
    reserve: Option<Arc<Reserve>>,
    stalled_after: Duration,
    /// Other instances have the same outbox.
    shared: bool,
    lock: DirLock,
}

impl Relay {
    /// A relay that has not yet opened its log. `gate` shows how it goes.
    #[must_use]
    pub fn new(
        records: Arc<dyn RecordStore>,
        config: RelayConfig,
        gate: AuditGate,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            records,
            config,
            gate,
            clock,
            log: None,
            failing: None,
            reserve: None,
            stalled_after: STALLED,
            shared: false,
            lock: DirLock::default(),
        }
    }

    /// With another time than 10 seconds after which a write that does not end closes the gate.
    #[must_use]
    pub const fn stalled_after(mut self, stalled_after: Duration) -> Self {
        self.stalled_after = stalled_after;
        self
    }

    /// For an outbox that other instances drain too: while one of them holds the log, that is no failure.
    #[must_use]
    pub const fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Under a lock that the relays of other shards in this process hold too.
    #[must_use]
    pub fn under(mut self, lock: DirLock) -> Self {
        self.lock = lock;
        self
    }

    pub(super) const fn shard(&self) -> u8 {
        self.config.shard
    }

    /// With room set aside on the disk of the log.
    #[must_use]
    pub fn with_reserve(mut self, reserve: Arc<Reserve>) -> Self {
        self.reserve = Some(reserve);
        self
    }

    pub(super) fn records(&self) -> &dyn RecordStore {
        self.records.as_ref()
    }

    /// The number of the last event in the log.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::last_seq)
    }

    /// Takes over all that waits.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn drain(&mut self) -> Result<(), RelayError> {
        while self.pass().await? {}
        Ok(())
    }

    /// Takes one batch over, and opens the log first where it is not. Answers whether more may wait.
    ///
    /// # Errors
    /// See [`RelayError`]; the log is opened anew by the next pass.
    pub async fn pass(&mut self) -> Result<bool, RelayError> {
        match (self.try_pass().await, &self.reserve) {
            (Err(RelayError::Log(AuditError::Locked { .. })), _) if self.shared => {
                self.look().await?;
                Ok(false)
            }
            (Err(RelayError::Log(error)), Some(reserve)) if error.is_full() => {
                reserve.release();
                self.try_pass().await
            }
            (done, _) => done,
        }
    }

    /// Sees how many events wait for the instance that has the log.
    ///
    /// # Errors
    /// The record store's.
    pub async fn look(&mut self) -> Result<(), RelayError> {
        self.gate.elsewhere(self.records.outbox_length(self.config.shard).await?.entries);
        self.failing = None;
        Ok(())
    }

    async fn try_pass(&mut self) -> Result<bool, RelayError> {
        let log = match self.log.take() {
            Some(log) => log,
            None => self.open().await?,
        };
        let Some(entries) = self.waiting(log.last_seq()).await? else {
            self.fails("the record store went back to an older state".to_owned());
            // Opened anew, it makes the two join again.
            drop(log);
            self.log = Some(self.open().await?);
            return Ok(true);
        };
        let more = entries.len() == BATCH;
        let through = entries.last().map(|entry| entry.seq);
        // With nothing to write it is still asked whether it could be: a log that was moved away shows at once.
        let log = self.blocking(move || write(log, &entries)).await?;
        if let Some(seq) = through {
            self.records.trim(self.config.shard, seq).await?;
        }
        let backlog = if more { self.records.outbox_length(self.config.shard).await?.entries } else { 0 };
        self.log = Some(log);
        self.works(backlog);
        Ok(more)
    }

    /// The first that wait for a log that ends with `last`; none where the record store went back to an older state while
    /// this ran. What is in the log was trimmed, and only here: so what still has a number of the log's, or comes before
    /// it, is of an older state.
    async fn waiting(&self, last: u64) -> Result<Option<Vec<OutboxEntry>>, StoreError> {
        let shard = self.config.shard;
        let entries = self.records.outbox(shard, 0, BATCH).await?;
        let older = match entries.first() {
            Some(first) => first.seq <= last,
            None => self.records.outbox_length(shard).await?.last < last,
        };
        Ok((!older).then_some(entries))
    }

    /// Opens the log, and makes sure that log and outbox join.
    async fn open(&mut self) -> Result<Log, RelayError> {
        let log_id = match self.records.meta("log-id").await? {
            Some(id) => id,
            None => self.records.set_meta("log-id", &hex::encode(rand::random::<[u8; 16]>())).await?,
        };
        let (RelayConfig { dir, shard }, lock) = (self.config.clone(), self.lock.clone());
        let log = self.blocking(move || Log::open_under(&lock, &dir, &log_id, shard)).await?;
        let log = if self.shared {
            let length = self.records.outbox_length(shard).await?;
            self.catch_up_with(log, length).await?
        } else {
            log
        };
        let (last, length) = (log.last_seq(), self.records.outbox_length(shard).await?);
        if last > length.last {
            return Err(log.store_older(Some(length.last)).into());
        }
        let first_waiting = length.last - length.entries.min(length.last) + 1;
        if first_waiting <= last {
            // The last lines were written and not trimmed. An older record store may also have come back and gone on.
            if let Some(entry) = self.records.outbox(shard, last - 1, 1).await?.first() {
                log.same_history(entry)?;
            }
            self.records.trim(shard, last).await?;
        }
        let log = self.blocking(move || log.reaches(first_waiting).map(|()| log)).await?;
        tracing::info!(dir = %self.config.dir.display(), last, waiting = length.last - last, "audit log opened");
        Ok(log)
    }

    /// Does what may block for long; the gate closes meanwhile if it does.
    pub(super) async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, RelayError> {
        let mut task = tokio::task::spawn_blocking(work);
        let done = if let Ok(done) = timeout(self.stalled_after, &mut task).await {
            done
        } else {
            let after = self.stalled_after.as_secs();
            tracing::error!(
                after_s = after,
                "a write to the audit log does not end: look at the disk of the audit directory"
            );
            self.fails(format!("a write takes longer than {after} s"));
            task.await
        };
        Ok(done.map_err(|error| RelayError::GivenUp(error.to_string()))??)
    }

    /// Closes the gate after a pass that failed.
    pub fn failed(&mut self, error: &RelayError, retry_in: Duration) {
        let why = error.to_string();
        // Told once, not at every attempt.
        if self.failing.as_ref().is_none_or(|(told, _)| *told != why) {
            let retry_in = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
            let error: &dyn Error = error;
            tracing::error!(error, retry_in_ms = retry_in, "the audit log cannot be written");
        }
        self.fails(why);
    }

    fn fails(&mut self, why: String) {
        let now = self.clock.now();
        self.gate.failing(why.clone(), now);
        self.failing = Some((why, self.failing.take().map_or(now, |(_, since)| since)));
    }

    fn works(&mut self, backlog: u64) {
        if let Some((_, since)) = self.failing.take() {
            let failed_for = u64::try_from(self.clock.now().since(since).as_millis()).unwrap_or(u64::MAX);
            tracing::info!(failed_for_ms = failed_for, backlog, "the audit log is written again");
        }
        self.gate.working(backlog);
    }
}

fn write(mut log: Log, entries: &[OutboxEntry]) -> Result<Log, AuditError> {
    if entries.is_empty() {
        log.check()?;
    } else {
        log.append(entries)?;
    }
    Ok(log)
}
