//! Tells in the log that the clock was set forward: deadlines come at once then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

const EVERY: Duration = Duration::from_secs(1);
/// Less is a machine that was busy.
const TOLD: Duration = Duration::from_mins(1);

/// Compares the clock with the seconds that pass until told to stop.
pub async fn run(clock: Arc<dyn Clock>, stop: CancellationToken) {
    let (mut seen, mut at) = (clock.now(), Instant::now());
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let (now, passed) = (clock.now(), at.elapsed());
        let jump = now.since(seen).saturating_sub(passed);
        if jump > TOLD {
            tracing::warn!(
                by_s = jump.as_secs(),
                %now,
                "the clock was set forward, or the machine slept: every deadline that it shows as past has come for good; \
                 if that time is wrong, set the clock right and start again"
            );
        }
        (seen, at) = (now, Instant::now());
    }
}
