//! The sweep: slowly compares the blob store with the records (DESIGN §8).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::metrics::{Layer, Swept};
use crate::service::Service;

/// Sweeps until told to stop; a pass is never cut.
pub async fn run(service: Arc<Service>, every: Duration, stop: CancellationToken) {
    loop {
        let at = service.clock.now().after(every);
        if stop.run_until_cancelled(service.clock.sleep_until(at)).await.is_none() {
            return;
        }
        let swept = service.sweep().await;
        if let Ok(report) = &swept {
            service.metrics.noticed(Layer::Sweep, report.deleted);
            service.metrics.swept(Swept {
                at: service.clock.now().as_millis() / 1000,
                objects: report.objects,
                orphans: report.orphans,
                stopped: report.stopped,
            });
        }
        match swept {
            Ok(report) if report.stopped => {
                tracing::error!(
                    objects = report.objects,
                    orphans = report.orphans,
                    "sweep found too many orphans and deleted nothing: check that database and objects belong together"
                );
            }
            Ok(report) => {
                tracing::info!(
                    objects = report.objects,
                    orphans = report.orphans,
                    deleted = report.deleted,
                    aborted = report.aborted,
                    "sweep pass"
                );
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "sweep failed; nothing was deleted"
                );
            }
        }
    }
}
