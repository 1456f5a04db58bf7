//! The same behaviour with the records in Redis.

use crate::stores::Stores;
use crate::support::Server;

async fn serve(settings: &[(&str, &str)]) -> Server {
    Server::on(Stores::redis().await, settings).await
}

#[path = "canary.rs"]
mod canary;
#[path = "crash.rs"]
mod crash;
#[path = "deadline.rs"]
mod deadline;
#[path = "isolation.rs"]
mod isolation;
#[path = "leases.rs"]
mod leases;
#[path = "one_answer.rs"]
mod one_answer;
#[path = "passwords.rs"]
mod passwords;
#[path = "quotas.rs"]
mod quotas;
#[path = "refusals.rs"]
mod refusals;
#[path = "round_trip.rs"]
mod round_trip;
#[path = "scanners.rs"]
mod scanners;
#[path = "sessions.rs"]
mod sessions;
