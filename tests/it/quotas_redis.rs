//! Quotas over several instances of one Redis.

use crate::quotas::{LAST_ROOM, race};
use crate::stores::Stores;
use crate::support::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_three_instances_exactly_those_that_fit_are_taken() {
    let settings = [("BURNBAG_QUOTA_BYTES", LAST_ROOM)];
    let first = Server::on(Stores::redis().await, &settings).await;
    let (second, third) = (first.beside(&settings).await, first.beside(&settings).await);
    race(&[&first, &second, &third]).await;
}
