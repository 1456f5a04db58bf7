//! Sets aside again what was let go on a full disk, once others have made room (ADR 12).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::service::Service;

const EVERY: Duration = Duration::from_secs(1);

/// Looks every second until told to stop. By the machine's own seconds: a turned clock fills no disk.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    let mut told = String::new();
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if let Err(error) = service.look_at_records().await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the record store does not say how full it is"
            );
        }
        match service.keep_room().await {
            Ok(_) => told.clear(),
            Err(error) => {
                let text = error.to_string();
                if told != text {
                    tracing::error!(error = text, "nothing is set aside for a full disk; tried again");
                    told = text;
                }
            }
        }
    }
}
