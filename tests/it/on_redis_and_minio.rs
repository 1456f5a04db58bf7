//! The same behaviour in the production form: records in Redis, bytes in MinIO.

use crate::stores::Stores;
use crate::support::Server;

async fn serve(settings: &[(&str, &str)]) -> Server {
    Server::on(Stores::redis_and_minio().await, settings).await
}

#[path = "canary.rs"]
mod canary;
#[path = "crash.rs"]
mod crash;
#[path = "deadline.rs"]
mod deadline;
#[path = "round_trip.rs"]
mod round_trip;
