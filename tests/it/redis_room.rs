//! A Redis that is nearly full, one that went back in time, and one that was stolen.

use reqwest::Client;

use crate::redis_server::RedisServer;
use crate::stores::Stores;
use crate::support::{Link, Server, files_below, text, wait_for};
use crate::trail::{count, lines};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_went_back_in_time_ends_what_the_log_names_later() {
    let mut server = Server::on(Stores::redis().await, &[]).await;
    let (fetched, kept) = (server.send("fetched", "hello", "").await, server.send("kept", "hello", "").await);
    server.stop().await;
    let redis = server.stores.redis_alone();
    redis.kill();
    let before = redis.files();
    redis.start_again().await;
    server.start_again().await;
    assert_eq!(get(&fetched).await, 200);
    let forgotten = server.send("forgotten", "hello", "").await;
    until("the log", async || count(&server, &fetched.transfer, "download.completed") == 1).await;
    until("the log", async || count(&server, &forgotten.transfer, "transfer.available") == 1).await;
    server.stop().await;
    let redis = server.stores.redis_alone();
    redis.kill();
    redis.go_back(&before);
    redis.start_again().await;
    server.start_again().await;
    until("the transfer to end", async || {
        server.transfer(&fetched.transfer).await["state"] == "purged" && get(&fetched).await == 404
    })
    .await;
    assert_eq!((get(&kept).await, get(&forgotten).await), (200, 404));
    assert!(server.log().contains("went back to an older state"), "{}", server.log());
    server.send("after", "hello", "").await;
    until("the events", async || count(&server, &fetched.transfer, "transfer.purged") == 1).await;
    server.stop().await;
    let audit = server.data().join("audit");
    let verified = server.burnbag(&["audit", "verify", audit.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let lines = lines(&audit);
    let ids: std::collections::HashSet<&str> =
        lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), lines.len(), "no event twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_steals_records_objects_and_kek_reads_nothing_without_a_link() {
    const CANARY: &str = "canary-that-sings-7f3a9c51e2";
    let mut server = Server::on(Stores::redis().await, &[]).await;
    let link = server.send(CANARY, CANARY.repeat(1000), "").await;
    server.stop().await;
    // The thief's own machine: a copy of everything, and rights to all of it.
    server.stores.redis_alone().kill();
    let loot = server.stores.in_which_redis().files();
    server.stores.redis_alone().start_again().await;
    let mut theirs = RedisServer::start().await;
    theirs.kill();
    let mine = server.stores.in_which_redis().dir().to_owned();
    let moved: Vec<_> = loot
        .into_iter()
        .map(|(file, bytes)| (theirs.dir().join(file.strip_prefix(&mine).unwrap()), bytes))
        .collect();
    theirs.go_back(&moved);
    theirs.start_again().await;
    let data = tempfile::tempdir().unwrap();
    for file in files_below(&server.data()) {
        let to = data.path().join(file.strip_prefix(server.data()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    let settings = [("BURNBAG_DATA_DIR", data.path().to_str().unwrap())];
    let thief = Server::taken_over(Stores::in_redis(theirs), &settings).await;
    let client = Client::new();
    let id = link.url.rsplit('/').next().unwrap();
    let mut seen = Vec::new();
    for path in [
        format!("api/v1/transfers/{}", link.transfer),
        format!("d/{id}"),
        format!("d/{id}/"),
        format!("d/{id}/{CANARY}"),
        format!("d/{id}/?as=zip"),
    ] {
        for user in ["", "x"] {
            let url = format!("{}/{path}", thief.url);
            for password in [thief.token.clone(), "A".repeat(43)] {
                let answer = client.get(&url).basic_auth(user, Some(password)).send().await.unwrap();
                seen.push(answer.text().await.unwrap());
            }
        }
    }
    assert!(seen.iter().all(|answer| !answer.contains("canary")), "{seen:?}");
    assert!(!thief.log().contains("canary"));
    // With the link it is read from the very same copy: the thief lacks nothing else.
    let with = Link { url: link.url.replace(&server.url, &thief.url), ..link };
    assert_eq!(with.get(&client).send().await.unwrap().text().await.unwrap(), CANARY.repeat(1000));
}
