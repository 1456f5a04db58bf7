//! A Redis that is nearly full.

use reqwest::Client;

use crate::redis_server::RedisServer;
use crate::stores::Stores;
use crate::support::{Link, Server, wait_for};

async fn put(server: &Server) -> u16 {
    let put = Client::new().put(format!("{}/a", server.url)).basic_auth("", Some(&server.token));
    put.body("hello").send().await.unwrap().status().as_u16()
}

async fn get(link: &Link) -> u16 {
    link.get(&Client::new()).send().await.unwrap().status().as_u16()
}

async fn until(what: &str, is: impl AsyncFn() -> bool) {
    wait_for(what, async || is().await.then_some(())).await;
}

/// Sets `maxmemory` so that this share of it is in use. Beside the ballast what comes and goes with each command is nothing.
fn fill(redis: &RedisServer, percent: u64) {
    let info: String = redis.ask(&["INFO", "memory"]);
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let most = used.trim().parse::<u64>().unwrap() * 100 / percent;
    redis.ask::<String>(&["CONFIG", "SET", "maxmemory", &most.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_fills_up_stops_uploads_then_downloads_and_never_ends() {
    let server = Server::on(Stores::redis().await, &[]).await;
    let link = server.send("kept", "hello", "").await;
    let other = server.send("other", "hello", "").await;
    let redis = server.stores.in_which_redis();
    redis.ask::<u64>(&["SETRANGE", "ballast", "33554432", "x"]);
    fill(redis, 85);
    until("uploads to stop", async || put(&server).await == 507).await;
    assert_eq!(get(&link).await, 200, "downloads go on");
    fill(redis, 96);
    until("downloads to stop", async || get(&link).await == 503).await;
    let ready = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
    assert!(ready.text().await.unwrap().contains("uploads and downloads are refused"));
    let ended = Client::new().delete(&other.url).basic_auth("", Some(&server.token)).send().await.unwrap();
    assert_eq!(ended.status(), 204);
    let has = |file: &std::path::PathBuf| file.to_str().unwrap().contains(&other.transfer);
    until("the object to go", async || !server.objects().iter().any(has)).await;
    redis.ask::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
    until("room to come back", async || put(&server).await == 201).await;
    assert_eq!(get(&link).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_of_64_mib_stops_uploads() {
    let server = Server::on(Stores::redis().await, &[("BURNBAG_WORKERS", "listener,index")]).await;
    let link = server.send("kept", "hello", "").await;
    let (redis, event) = (server.stores.in_which_redis(), "x".repeat(1 << 20));
    for _ in 0..65 {
        redis.ask::<String>(&["XADD", "bb:{bb.0}:outbox", "0-*", "e", &event]);
    }
    until("uploads to stop", async || put(&server).await == 507).await;
    assert_eq!(get(&link).await, 200, "downloads go on");
    redis.ask::<u64>(&["XTRIM", "bb:{bb.0}:outbox", "MAXLEN", "5"]);
    until("room to come back", async || put(&server).await == 201).await;
}
