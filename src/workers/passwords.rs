//! Forgets the passwords that were right a while ago.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::service::Service;

const EVERY: Duration = Duration::from_secs(30);

/// Forgets until told to stop.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        service.passwords.forget(service.clock.now());
    }
}
