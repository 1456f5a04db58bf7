//! Puts refused requests on record, a minute at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::service::Service;

const EVERY: Duration = Duration::from_mins(1);

/// Records refusals until told to stop, and what is left then.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    let mut going = true;
    while going {
        let at = service.clock.now().after(EVERY);
        going = stop.run_until_cancelled(service.clock.sleep_until(at)).await.is_some();
        if let Err(error) = service.record_refusals().await {
            tracing::error!(error = &error as &dyn std::error::Error, "refusals not recorded; tried again");
        }
    }
}
