//! The listener: ends what the store says has expired, as soon as it says so (DESIGN §8). What it misses, the index ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::service::{BATCH, Claim, Heard, Service, ServiceError};
use crate::transfer::TransferId;

/// What expires together is ended together: ids are gathered for so long.
const GATHER: Duration = Duration::from_millis(20);
/// What is heard and not yet taken up; past it the index has it.
const WAITING: usize = 65_536;

/// Listens to a shard and ends until told to stop; one batch is never cut. `index`: the reaper runs beside it, and deletes the
/// objects.
pub async fn run(service: Arc<Service>, shard: u8, index: bool, stop: CancellationToken) {
    let (tell, heard) = mpsc::channel(WAITING);
    let listen = stop.run_until_cancelled(service.records.listen(shard, tell));
    // When the listening stops, so does what it tells.
    tokio::join!(listen, work(&service, shard, index, heard));
}

async fn work(service: &Service, shard: u8, index: bool, mut heard: mpsc::Receiver<Heard>) {
    let mut news = Vec::new();
    while heard.recv_many(&mut news, BATCH).await > 0 {
        tokio::time::sleep(GATHER).await;
        while news.len() < BATCH
            && let Ok(more) = heard.try_recv()
        {
            news.push(more);
        }
        let ids: Vec<TransferId> = news
            .iter()
            .filter_map(|heard| match heard {
                Heard::Expired(id) => Some(*id),
                Heard::Again => None,
            })
            .collect();
        let again = ids.len() < news.len();
        news.clear();
        let done = async {
            if again && !index {
                catch_up(service, shard).await?;
            }
            end(service, shard, index, &ids).await
        };
        if let Err(error) = done.await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, heard = ids.len(), "what expired is left to the index");
        }
        if index {
            service.due.ring();
        }
    }
}

/// Ends what was named. Where the reaper runs, the objects are its to delete: ends do not wait for deletions. And a flood is
/// its to end: every instance hears every name, and would look up each.
async fn end(service: &Service, shard: u8, index: bool, ids: &[TransferId]) -> Result<(), ServiceError> {
    if ids.is_empty() || index && ids.len() >= BATCH {
        return Ok(());
    }
    // What another instance has ended meanwhile is claimed by who deletes its objects.
    let ended = service.expire_these(shard, Claim::Live, ids).await?;
    tracing::debug!(heard = ids.len(), changed = ended.changed, "keys expired");
    if !index {
        let rest = service.expire_these(shard, Claim::All, ids).await?;
        service.purge(rest.purge).await;
    }
    Ok(())
}

/// What was missed while nobody listened.
async fn catch_up(service: &Service, shard: u8) -> Result<(), ServiceError> {
    loop {
        let pass = service.expire_due(shard, Claim::All).await?;
        let more = pass.claimed >= BATCH || pass.changed > 0;
        service.purge(pass.purge).await;
        if !more {
            return Ok(());
        }
    }
}
