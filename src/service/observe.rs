//! Looking at the state of the service for a scrape of its metrics: the stores are asked, within a time limit.

use std::time::Duration;

use super::{Service, ServiceError};
use crate::clock::Timestamp;
use crate::metrics::Observed;
use crate::transfer::{State, owed};

/// A store that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many places of the due index are looked at.
const PLACES: usize = 500;
/// And so far ahead: a claim and a pause between two attempts move a place on, at most for so long.
const AHEAD: Duration = Duration::from_mins(10);

/// What only the record store can tell.
struct Waiting {
    oldest_overdue: Duration,
    oldest_undeleted: Duration,
    outbox: u64,
}

impl Service {
    /// What is so now. A store that does not answer leaves its part out, and is shown as down.
    pub async fn observe(&self) -> Observed {
        let (waiting, blobs, free) = tokio::join!(
            tokio::time::timeout(PATIENCE, self.waiting()),
            tokio::time::timeout(PATIENCE, self.blobs.store_id()),
            tokio::time::timeout(PATIENCE, self.blobs.free()),
        );
        let waiting = waiting.ok().and_then(Result::ok);
        Observed {
            records_up: waiting.is_some(),
            blobs_up: matches!(blobs, Ok(Ok(_))),
            oldest_overdue: waiting.as_ref().map(|waiting| waiting.oldest_overdue),
            oldest_undeleted: waiting.as_ref().map(|waiting| waiting.oldest_undeleted),
            outbox: waiting.as_ref().map(|waiting| waiting.outbox),
            free: free.ok().and_then(Result::ok).flatten(),
            buffers: self.buffers.taken() as u64,
            buffers_limit: self.buffers.total() as u64,
            gate_uploads: self.gate.uploads().is_ok(),
            gate_downloads: self.gate.downloads().is_ok(),
            clock_behind: self.clock.behind(),
        }
    }

    /// By the records, not by their places alone: what was claimed has been moved on in the index, and may never be done.
    async fn waiting(&self) -> Result<Waiting, ServiceError> {
        let now = self.records.now().await?;
        let front = self.records.front(now.after(AHEAD), PLACES).await?;
        let which = front.iter().map(|place| (place.team, place.transfer)).collect();
        let records = self.records.transfers(which).await?;
        let mut outbox = 0;
        for shard in 0..self.records.shards() {
            outbox += self.records.outbox_length(shard).await?.entries;
        }
        let mut waiting =
            Waiting { oldest_overdue: Duration::ZERO, oldest_undeleted: Duration::ZERO, outbox };
        for (place, record) in front.iter().zip(records) {
            let since: Option<Timestamp> = match &record {
                Ok(Some(record)) => owed(&record.transfer, &record.journal, &record.leases),
                Ok(None) => None,
                // It cannot be read, and so not be ended either.
                Err(_) => Some(place.due),
            };
            let late = since.map_or(Duration::ZERO, |since| now.since(since));
            waiting.oldest_overdue = waiting.oldest_overdue.max(late);
            if let Ok(Some(record)) = &record
                && let (State::Ended, Some(ended)) = (record.transfer.state(), record.transfer.ended())
            {
                waiting.oldest_undeleted = waiting.oldest_undeleted.max(now.since(ended.at));
            }
        }
        Ok(waiting)
    }
}
