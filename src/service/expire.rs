//! Ending what is due: the index is the truth, and one bad item never stops a batch (DESIGN §8).

use std::time::Duration;

use super::{Service, ServiceError};
use crate::clock::Timestamp;
use crate::failpoint;
use crate::metrics::Layer;
use crate::storage::StoreError;
pub use crate::storage::records::{Claim, Heard};
use crate::storage::records::{Claimed, Record};
use crate::transfer::lease::{LeaseOp, LeaseRequest};
use crate::transfer::{Change, Due, State, Transfer, TransferId, falls_due};

/// The most transfers that are claimed at once.
pub const BATCH: usize = 500;
/// A claim that its claimer does not work off comes back after this.
const CLAIM: Duration = Duration::from_secs(30);

/// One pass over what is due.
#[derive(Debug, Default)]
pub struct Pass {
    /// How many were claimed; [`BATCH`]: there may be more.
    pub claimed: usize,
    /// How many were ended, forgotten or moved on.
    pub changed: usize,
    /// Those whose objects must go now.
    pub purge: Vec<Transfer>,
}

/// What became of a batch of changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Committed {
    pub(super) changed: usize,
    /// Those of them that ended a transfer.
    pub(super) ended: usize,
}

impl Pass {
    /// Both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.claimed += other.claimed;
        self.changed += other.changed;
        self.purge.extend(other.purge);
        self
    }
}

impl Service {
    /// Claims a batch of what is due in a shard, ends it in one go, and says whose objects must go.
    ///
    /// # Errors
    /// The record store's; single items that fail are logged, and come back when their claim runs out.
    pub async fn expire_due(&self, shard: u8, what: Claim) -> Result<Pass, ServiceError> {
        self.expire_claimed(self.records.claim(shard, what, BATCH, CLAIM).await?, Layer::Index).await
    }

    /// The same for these, which the store told of, as far as they are due.
    ///
    /// # Errors
    /// As [`Service::expire_due`].
    pub async fn expire_these(
        &self,
        shard: u8,
        what: Claim,
        ids: &[TransferId],
    ) -> Result<Pass, ServiceError> {
        let claimed = self.records.claim_these(shard, what, ids, CLAIM).await?;
        self.expire_claimed(claimed, Layer::Notification).await
    }

    async fn expire_claimed(&self, claimed: Claimed, layer: Layer) -> Result<Pass, ServiceError> {
        let mut pass = Pass { claimed: claimed.transfers.len(), ..Pass::default() };
        let records = self.records.transfers(claimed.transfers).await?;
        let decisions = records.into_iter().map(|record| async move {
            match record? {
                Some(record) => self.decide(record, claimed.now).await,
                None => Ok(Due::Nothing),
            }
        });
        let mut changes = Vec::new();
        for decided in futures_util::future::join_all(decisions).await {
            match decided {
                Ok(Due::Change(change)) => changes.push(*change),
                Ok(Due::Purge(transfer) | Due::SecondLook(transfer)) => pass.purge.push(*transfer),
                Ok(Due::EndLeases | Due::Nothing) => {}
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a due transfer was not decided"
                    );
                }
            }
        }
        if !changes.is_empty() {
            failpoint::hit("before_end");
        }
        let done = self.commit_due(changes).await;
        if done.ended > 0 {
            failpoint::hit("after_end");
        }
        self.metrics.noticed(layer, done.ended);
        pass.changed = done.changed;
        Ok(pass)
    }

    /// Decides by the store's clock. Leases are ended here, each in a step of its own.
    async fn decide(&self, record: Record, now: Timestamp) -> Result<Due, ServiceError> {
        let (team, id) = (record.transfer.team(), record.transfer.id());
        let context = self.system().again(now);
        let due = falls_due(record.transfer, &record.journal, &record.leases, &context)?;
        if matches!(due, Due::EndLeases) {
            let times = self.rules.leases;
            let op = LeaseOp::EndDue;
            self.records.lease(LeaseRequest { team, transfer: id, op, context, times }).await?;
            self.outbox.ring();
            self.due.ring();
        }
        Ok(due)
    }

    pub(super) async fn commit_due(&self, changes: Vec<Change>) -> Committed {
        if changes.is_empty() {
            return Committed::default();
        }
        let ends: Vec<bool> = changes.iter().map(|change| change.record().state() == State::Ended).collect();
        let done = self.records.commit_all(changes).await;
        self.outbox.ring();
        for error in done.iter().filter_map(|done| done.as_ref().err()) {
            // A conflict: another end came first, and there is nothing left to do.
            if !matches!(error, StoreError::Conflict) {
                tracing::error!(error = error as &dyn std::error::Error, "a due change was not committed");
            }
        }
        let ended = ends.iter().zip(&done).filter(|(ends, done)| **ends && done.is_ok()).count();
        Committed { changed: done.iter().filter(|done| done.is_ok()).count(), ended }
    }
}
