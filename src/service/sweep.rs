//! Sweeping: objects that no record knows are found and deleted; too many of them, and nothing is touched (DESIGN §8).

use super::{Service, ServiceError};
use crate::storage::Listed;
use crate::transfer::{BlobKey, EventType, State, TransferId};

/// Objects that are looked at in one step.
const PAGE: usize = 1000;
/// Orphans that one pass deletes; the next one finds the others.
const MOST: usize = 100_000;
/// So many orphans are always believed.
const BELIEVED: usize = 100;

/// What one pass over the blob store found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SweepReport {
    /// Objects looked at.
    pub objects: usize,
    /// Objects that no record knows, old enough.
    pub orphans: usize,
    /// Objects deleted.
    pub deleted: usize,
    /// Uploads aborted that no record knows.
    pub aborted: usize,
    /// The orphans were too many to be true: nothing was deleted.
    pub stopped: bool,
}

impl Service {
    /// Compares the blob store with the records once.
    ///
    /// # Errors
    /// The stores': then nothing is deleted, since an error is not absence. [`ServiceError::Conflict`] if the blob store
    /// belongs to other records.
    pub async fn sweep(&self) -> Result<SweepReport, ServiceError> {
        self.check_store_ids().await?;
        let mut report = SweepReport::default();
        let mut orphans: Vec<BlobKey> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.blobs.list(after.as_deref(), PAGE).await?;
            report.objects += page.len();
            let found = self.orphans(&page).await?;
            report.orphans += found.len();
            let room = MOST.saturating_sub(orphans.len());
            orphans.extend(found.into_iter().take(room));
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => break,
            }
        }
        let mut unfinished = self.orphans(&self.blobs.unfinished(PAGE).await?).await?;
        unfinished.dedup();
        report.orphans += unfinished.len();
        // Records that went away meanwhile knew nothing, and that is not absence either.
        self.check_store_ids().await?;
        let context = self.system();
        if report.orphans > BELIEVED.max(report.objects / 100) {
            report.stopped = true;
            let mut event = context.event(0, EventType::SweepStopped);
            event.outcome = crate::transfer::Outcome::Refused;
            event.count = Some(report.orphans as u64);
            self.records.append(vec![event]).await?;
            self.outbox.ring();
            return Ok(report);
        }
        if !unfinished.is_empty() {
            self.tell(&unfinished).await?;
        }
        for key in &unfinished {
            match self.blobs.abort(key, None).await {
                Ok(()) => report.aborted += 1,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "orphaned upload not aborted");
                }
            }
        }
        for orphans in orphans.chunks(PAGE) {
            self.tell(orphans).await?;
            for deleted in self.blobs.delete(orphans).await {
                match deleted {
                    Ok(()) => report.deleted += 1,
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "orphan not deleted");
                    }
                }
            }
        }
        Ok(report)
    }

    /// Puts on record what is about to be deleted.
    async fn tell(&self, orphans: &[BlobKey]) -> Result<(), ServiceError> {
        let context = self.system();
        let events = orphans.iter().enumerate().map(|(n, key)| {
            let mut event = context.event(n, EventType::SweepDeleted);
            (event.transfer, event.file) = (Some(key.transfer), Some(key.file));
            event
        });
        self.records.append(events.collect()).await?;
        self.outbox.ring();
        Ok(())
    }

    /// Those of a page that are ours by their key, old enough, and whose transfer is absent, ended or purged.
    async fn orphans(&self, page: &[Listed]) -> Result<Vec<BlobKey>, ServiceError> {
        let now = self.clock.now();
        let old: Vec<BlobKey> = page
            .iter()
            .filter(|object| now.since(object.modified) >= self.rules.sweep_min_age)
            .filter_map(|object| object.key.parse().ok())
            .collect();
        let ids: Vec<TransferId> = old.iter().map(|key| key.transfer).collect();
        let states = self.records.states(&ids).await?;
        Ok(old
            .into_iter()
            .zip(states)
            .filter(|(_, state)| matches!(state, None | Some(State::Ended | State::Purged)))
            .map(|(key, _)| key)
            .collect())
    }
}
