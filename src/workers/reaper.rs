//! The reaper: ends what is due, by a timer on the next deadline and by the index, which is the truth (DESIGN §8).

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::service::{BATCH, Claim, Pass, Service, ServiceError};
use crate::transfer::Transfer;

/// The index is looked at so often at the least, with some jitter, however far the next deadline is.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// A store that failed is asked again after this.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Batches of a flood that are under way at once: what is read of them may have to come from the disk.
const AT_ONCE: usize = 6;
/// Batches whose objects are deleted at once: the store deletes those of one while another is recorded.
const PURGES: usize = 3;
/// Batches that wait for their objects to be deleted; past it only ends are claimed.
const WAITING: usize = 2;

/// Ends due transfers of a shard until told to stop; one batch is never cut. Ends never wait for deletions: nothing is handed over to
/// be deleted before the last that is due has ended.
pub async fn run(service: Arc<Service>, shard: u8, stop: CancellationToken) {
    let (hand_over, to_purge) = mpsc::channel(WAITING);
    let mut told = String::new();
    let due = service.due.of(shard);
    let purging = tokio::spawn(purge(Arc::clone(&service), to_purge));
    loop {
        let ended = end(&service, shard, &stop).await;
        let what = if hand_over.capacity() == 0 { Claim::Live } else { Claim::All };
        let pass = match ended {
            Ok(ended) if what == Claim::All => {
                service.expire_due(shard, what).await.map(|rest| ended.and(rest))
            }
            ended => ended,
        };
        let more = match pass {
            Ok(pass) => {
                if !std::mem::take(&mut told).is_empty() {
                    tracing::info!("what is due is ended again");
                }
                if pass.claimed > 0 {
                    tracing::debug!(
                        claimed = pass.claimed,
                        changed = pass.changed,
                        purge = pass.purge.len(),
                        "expiry pass"
                    );
                }
                if !pass.purge.is_empty() && hand_over.try_send(pass.purge).is_err() {
                    tracing::debug!("the deletions have stopped; the claim comes back");
                }
                pass.claimed >= BATCH || pass.changed > 0
            }
            Err(error) => {
                let text = error.to_string();
                // A store that stays away is told once.
                if told != text {
                    tracing::error!(
                        error = text,
                        "nothing that is due can be ended; tried again every second"
                    );
                    told = text;
                }
                let again = service.clock.now().after(AFTER_FAILURE);
                let _ = stop.run_until_cancelled(service.clock.sleep_until(again)).await;
                false
            }
        };
        if stop.is_cancelled() {
            break;
        }
        if !more {
            tokio::select! {
                () = stop.cancelled() => break,
                () = due.notified() => {}
                () = next(&service, shard, what) => {}
            }
        }
    }
    drop(hand_over);
    let _ = purging.await;
}

/// Ends the living that are due. In a flood several batches are under way: one is written while others are read.
async fn end(service: &Service, shard: u8, stop: &CancellationToken) -> Result<Pass, ServiceError> {
    let first = service.expire_due(shard, Claim::Live).await?;
    if first.claimed < BATCH {
        return Ok(first);
    }
    let in_turn = async || {
        let mut all = Pass::default();
        loop {
            let pass = service.expire_due(shard, Claim::Live).await?;
            let more = pass.claimed == BATCH && !stop.is_cancelled();
            all = all.and(pass);
            if !more {
                return Ok::<_, ServiceError>(all);
            }
        }
    };
    let batches = futures_util::future::join_all((0..AT_ONCE).map(|_| in_turn())).await;
    batches.into_iter().try_fold(first, |all, pass| Ok(all.and(pass?)))
}

/// Ends at the next deadline, or when it is time to look again.
async fn next(service: &Service, shard: u8, claimed: Claim) {
    let jitter = Duration::from_millis(rand::random_range(0..100));
    let look = service.clock.now().after(LOOK_EVERY + jitter);
    if claimed == Claim::Live {
        // What is due may be deletions that have to wait; a deletion that is done rings.
        return service.clock.sleep_until(look).await;
    }
    let at = match service.records.next_due(shard).await {
        Ok(Some(due)) => due.min(look),
        Ok(None) | Err(_) => look,
    };
    // A claim of this pass has put itself off; anything else that is due now was there before.
    let soonest = service.clock.now().after(Duration::from_millis(5));
    service.clock.sleep_until(at.max(soonest)).await;
}

async fn purge(service: Arc<Service>, mut waiting: mpsc::Receiver<Vec<Transfer>>) {
    stream::poll_fn(|context| waiting.poll_recv(context))
        .for_each_concurrent(PURGES, async |transfers| {
            let asked = transfers.len();
            let purged = service.purge(transfers).await;
            tracing::debug!(asked, purged, "purge pass");
            service.due.ring();
        })
        .await;
}
