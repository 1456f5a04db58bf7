//! A Redis that went back in time, or was emptied: the audit log knows what it forgot, and no object of others goes.

use std::collections::HashSet;

use burnbag::storage::RecordStore as _;
use reqwest::Client;

use crate::audit_support::event;
use crate::gate::Gate;
use crate::minio::Minio;
use crate::start_up::{assert_names, refused};
use crate::stores::Stores;
use crate::support::{Link, Server, text, wait_for};
use crate::trail::{count, lines, now};

async fn get(link: &Link) -> u16 {
    link.get(&Client::new()).send().await.unwrap().status().as_u16()
}

async fn until(what: &str, is: impl AsyncFn() -> bool) {
    wait_for(what, async || is().await.then_some(())).await;
}

/// Three transfers: one that is fetched after Redis was copied, one that is left alone, one that is sent after.
struct Sent {
    fetched: Link,
    kept: Link,
    forgotten: Link,
}

async fn before(server: &Server) -> [Link; 2] {
    let sent = [server.send("fetched", "hello", "").await, server.send("kept", "hello", "").await];
    for link in &sent {
        until("the log", async || count(server, &link.transfer, "transfer.available") == 1).await;
    }
    sent
}

async fn after([fetched, kept]: [Link; 2], server: &Server) -> Sent {
    assert_eq!(get(&fetched).await, 200);
    let forgotten = server.send("forgotten", "hello", "").await;
    until("the log", async || count(server, &fetched.transfer, "download.completed") == 1).await;
    until("the log", async || count(server, &forgotten.transfer, "transfer.available") == 1).await;
    Sent { fetched, kept, forgotten }
}

/// What the log names later is ended and purged, once; what it does not name is served; and the log goes on.
async fn is_made_good(server: &mut Server, sent: Sent) {
    let Sent { fetched, kept, forgotten } = sent;
    until("the transfer to end", async || {
        let url = format!("{}/api/v1/transfers/{}", server.url, fetched.transfer);
        let shown = Client::new().get(url).bearer_auth(&server.token).send().await.unwrap();
        shown.text().await.unwrap().contains("\"purged\"") && get(&fetched).await == 404
    })
    .await;
    until("downloads", async || get(&kept).await == 200).await;
    assert_eq!(get(&forgotten).await, 404);
    assert!(server.log().contains("went back to an older state"), "{}", server.log());
    server.ready().await;
    server.send("after", "hello", "").await;
    until("the events", async || count(server, &fetched.transfer, "transfer.purged") == 1).await;
    server.stop().await;
    let audit = server.data().join("audit");
    let verified = server.burnbag(&["audit", "verify", audit.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let lines = lines(&audit);
    let ids: HashSet<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), lines.len(), "no event twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_went_back_in_time_ends_what_the_log_names_later() {
    let mut server = Server::on(Stores::redis_and_minio().await, &[]).await;
    let sent = before(&server).await;
    server.stop().await;
    let redis = server.stores.redis_alone();
    redis.kill();
    let copy = redis.files();
    redis.start_again().await;
    server.start_again().await;
    let sent = after(sent, &server).await;
    server.stop().await;
    let redis = server.stores.redis_alone();
    redis.kill();
    redis.go_back(&copy);
    redis.start_again().await;
    server.start_again().await;
    is_made_good(&mut server, sent).await;
}

/// Redis goes back while burnbag runs, and no request fails meanwhile.
async fn goes_back(went_on: bool) {
    let mut server = Server::on(Stores::redis_and_minio().await, &[]).await;
    let sent = before(&server).await;
    // While burnbag stands still it does not see that Redis is away.
    server.freeze();
    let redis = server.stores.redis_alone();
    redis.kill();
    let copy = redis.files();
    redis.start_again().await;
    server.resume();
    server.ready().await;
    let sent = after(sent, &server).await;
    server.freeze();
    let redis = server.stores.redis_alone();
    redis.kill();
    redis.go_back(&copy);
    redis.start_again().await;
    if went_on {
        let more = (0..100).map(|_| event(now())).collect();
        redis.records().await.append(more).await.unwrap();
    }
    server.resume();
    is_made_good(&mut server, sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_goes_back_while_burnbag_runs_is_noticed() {
    goes_back(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_goes_back_while_burnbag_runs_is_noticed_also_where_it_has_gone_on() {
    goes_back(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_emptied_while_burnbag_runs_stops_it_and_no_object_goes() {
    let settings = [("BURNBAG_SWEEP_EVERY", "1s"), ("BURNBAG_SWEEP_MIN_AGE", "1s")];
    let mut server = Server::on(Stores::redis_and_minio().await, &settings).await;
    let link = server.send("kept", "hello", "").await;
    until("the log", async || count(&server, &link.transfer, "transfer.available") == 1).await;
    server.stores.in_which_redis().ask::<String>(&["FLUSHALL"]);
    let readyz = format!("{}/readyz", server.url);
    until("burnbag to see it", async || reqwest::get(&readyz).await.unwrap().status() == 503).await;
    until("why", async || server.log().contains("Was the record store emptied")).await;
    let sweeps = || server.log().matches("sweep failed; nothing was deleted").count();
    until("the sweep to refuse", async || sweeps() >= 2).await;
    assert!(get(&link).await >= 400);
    assert_eq!(server.stored().await.len(), 1);
    server.kill();
    let settings = server.environment().to_vec();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let said = refused(&server.data(), &settings);
    assert_names(&said, &["do not belong together"]);
    assert_eq!(server.stored().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_emptied_while_the_sweep_looks_costs_no_object() {
    let minio = Minio::shared().await;
    let gate = Gate::to(&minio.address().to_string(), u64::MAX).await;
    let endpoint = format!("http://{}", gate.address());
    let settings = [
        ("BURNBAG_S3_ENDPOINT", endpoint.as_str()),
        ("BURNBAG_SWEEP_EVERY", "3s"),
        ("BURNBAG_SWEEP_MIN_AGE", "1s"),
    ];
    let server = Server::on(Stores::redis_and_minio().await, &settings).await;
    server.send("kept", "hello", "").await;
    // The stores still belong together when a pass begins; then the list of objects takes its time.
    gate.shut_at(&["GET /", "list-type=2"]).await;
    server.stores.in_which_redis().ask::<String>(&["FLUSHALL"]);
    gate.open();
    let told = async || server.log().contains("sweep failed; nothing was deleted");
    until("the sweep to refuse", told).await;
    assert_eq!(server.stored().await.len(), 1);
}
