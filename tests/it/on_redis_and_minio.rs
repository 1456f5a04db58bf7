//! The same behaviour in the production form: records in Redis, bytes in MinIO.

use crate::stores::Stores;
use crate::support::Server;

async fn serve(settings: &[(&str, &str)]) -> Server {
    Server::on(Stores::redis_and_minio().await, settings).await
}

#[path = "bad_input.rs"]
mod bad_input;
#[path = "browser.rs"]
mod browser;
#[path = "canary.rs"]
mod canary;
#[path = "crash.rs"]
mod crash;
#[path = "damage.rs"]
mod damage;
#[path = "deadline.rs"]
mod deadline;
#[path = "deadline_change.rs"]
mod deadline_change;
#[path = "leases.rs"]
mod leases;
#[path = "links.rs"]
mod links;
#[path = "ranges.rs"]
mod ranges;
#[path = "refusals.rs"]
mod refusals;
#[path = "round_trip.rs"]
mod round_trip;
#[path = "slow_uploads.rs"]
mod slow_uploads;
