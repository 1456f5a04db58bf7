//! A record store that went back to an older state (DESIGN §7): the log knows what it forgot. The transfers that the log
//! names later are ended, since what was done to them is not in the store any more; and the numbers go on after the log's.

use std::collections::BTreeSet;

use super::log::Log;
use super::relay::{Relay, RelayError};
use crate::storage::StoreError;
use crate::storage::records::{OutboxEntry, OutboxLength};
use crate::transfer::{Change, Context, InstanceId, TransferId};

/// Transfers that are ended in one step.
const AT_ONCE: usize = 500;
/// Entries of the outbox that are read in one step.
const PAGE: usize = 1000;

impl Relay {
    /// Makes the store's history one with the log's where the log is ahead, or has other events under the same numbers.
    pub(super) async fn catch_up_with(&mut self, log: Log, length: OutboxLength) -> Result<Log, RelayError> {
        let last = log.last_seq();
        let waiting = self.waiting_up_to(last).await?;
        let first = length.last + 1 - length.entries.min(length.last);
        let from = first.min(last + 1);
        if from > last {
            return Ok(log);
        }
        let (log, lines) = self.blocking(move || log.lines_after(from - 1).map(|lines| (log, lines))).await?;
        let same = waiting
            .iter()
            .zip(&lines)
            .take_while(|(entry, line)| entry.seq == line.seq && entry.event.id == line.id)
            .count();
        let forgotten = lines.get(same..).unwrap_or_default();
        if forgotten.is_empty() {
            return Ok(log);
        }
        let named: BTreeSet<TransferId> = forgotten.iter().filter_map(|line| line.transfer).collect();
        tracing::error!(
            forgotten = forgotten.len(),
            transfers = named.len(),
            "the record store went back to an older state: transfers that the audit log names later are ended"
        );
        let ended = self.end_all(&named.into_iter().collect::<Vec<_>>()).await?;
        // With the ends: what has a number of the log's gets a new one.
        let known = waiting.get(..same).map_or(0, |same| same.last().map_or(0, |entry| entry.seq));
        let news = self.waiting_up_to(last).await?.into_iter().filter(|entry| entry.seq > known);
        let news = news.map(|entry| entry.event).collect();
        self.records().roll_forward(self.shard(), last, news).await?;
        tracing::error!(ended, last, "the record store goes on behind the audit log's last event");
        Ok(log)
    }

    async fn waiting_up_to(&self, last: u64) -> Result<Vec<OutboxEntry>, StoreError> {
        let mut found: Vec<OutboxEntry> = Vec::new();
        loop {
            let after = found.last().map_or(0, |entry| entry.seq);
            let page = self.records().outbox(self.shard(), after, PAGE).await?;
            let whole = page.len() == PAGE;
            found.extend(page.into_iter().take_while(|entry| entry.seq <= last));
            if !whole || found.last().is_none_or(|entry| entry.seq >= last) {
                return Ok(found);
            }
        }
    }

    /// Ends those that live. One that somebody else ends meanwhile is ended.
    async fn end_all(&self, ids: &[TransferId]) -> Result<usize, RelayError> {
        let mut ended = 0;
        let now = self.records().now().await?;
        let instance = InstanceId::generate(now);
        for ids in ids.chunks(AT_ONCE) {
            let with_teams = self.records().teams(ids).await?;
            let mut changes: Vec<Change> = Vec::new();
            for record in self.records().transfers(with_teams).await? {
                let Some(record) = record? else { continue };
                let context = Context::system(instance, now);
                changes.extend(record.transfer.delete(&context).ok());
            }
            for done in self.records().commit_all(changes).await {
                match done {
                    Ok(()) => ended += 1,
                    Err(StoreError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(ended)
    }
}

/// What is asked of a line.
pub(super) struct LaterLine {
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) transfer: Option<TransferId>,
}
