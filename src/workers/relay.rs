//! The relay: drains the outbox into the audit log (DESIGN §9).

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::audit::Relay;

/// The outbox is looked at this often, also when nobody wakes the relay.
const IDLE: Duration = Duration::from_millis(250);
/// Events are gathered for so long: each pass costs a sync of the log and a commit to the record store, which uploads wait
/// for too.
const GATHER: Duration = Duration::from_millis(50);
/// After the first failure the relay waits so long; after each further one twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How long the last drain may take.
const LAST_DRAIN: Duration = Duration::from_secs(5);

/// Drains the outbox into the log until told to stop; then once more, for 5 seconds at most, and lets go of the log.
///
/// Whoever commits events notifies `wake`; they are in the log 50 ms later, without it 250 ms later. Every failure is tried
/// again by itself, 5 seconds apart at most, with the log opened anew.
pub async fn run(mut relay: Relay, wake: Arc<Notify>, stop: CancellationToken) {
    let mut backoff = FIRST_BACKOFF;
    while !stop.is_cancelled() {
        match relay.pass().await {
            Ok(more) => {
                backoff = FIRST_BACKOFF;
                if !more {
                    let woken = async {
                        tokio::select! {
                            () = wake.notified() => sleep(GATHER).await,
                            () = sleep(IDLE) => {}
                        }
                    };
                    let _ = stop.run_until_cancelled(woken).await;
                }
            }
            Err(error) => {
                relay.failed(&error, backoff);
                let _ = stop.run_until_cancelled(sleep(backoff)).await;
                backoff = LONGEST_BACKOFF.min(backoff * 2);
            }
        }
    }
    match timeout(LAST_DRAIN, relay.drain()).await {
        Ok(Ok(())) => tracing::info!(last = relay.last_seq(), "audit relay stopped"),
        Ok(Err(error)) => {
            tracing::error!(error = &error as &dyn Error, "audit relay stopped; events wait in the outbox");
        }
        Err(_) => tracing::error!("audit relay stopped before it was through; events wait in the outbox"),
    }
}

/// Where another instance has the log: sees how far it is behind, until told to stop.
pub async fn watch(mut relay: Relay, stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(IDLE)).await.is_some() {
        if let Err(error) = relay.look().await {
            relay.failed(&error, IDLE);
        }
    }
}
