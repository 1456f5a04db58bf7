//! Expiry through the notifications of Redis, with the index off: what is lost with a connection is caught up with.

use std::time::Duration;

use futures_util::future::join_all;

use crate::gate::Gate;
use crate::redis_server::RedisServer;
use crate::stores::Stores;
use crate::support::{Link, Server, wait_for};
use crate::trail::{self, count, instant, now};

const LISTENER: (&str, &str) = ("BURNBAG_WORKERS", "listener,relay");

async fn purged(server: &Server, link: &Link) {
    wait_for("the transfer to be purged", || async {
        (server.transfer(&link.transfer).await["state"] == "purged").then_some(())
    })
    .await;
}

/// Sends what expires at once, and waits until it is gone.
async fn comes_and_goes(server: &Server) {
    let link = server.send("short", "hello", "expires=1s").await;
    purged(server, &link).await;
    assert!(server.objects().iter().all(|object| !object.to_str().unwrap().contains(&link.transfer)));
}

async fn listens(server: &Server) {
    let redis = server.stores.in_which_redis();
    wait_for("the listener", async || {
        redis.ask::<String>(&["CLIENT", "LIST", "TYPE", "pubsub"]).contains("cmd=").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lone_key_that_expires_takes_its_object_with_it_within_a_second() {
    let server = Server::on(Stores::redis().await, &[LISTENER]).await;
    listens(&server).await;
    let kept = server.send("kept", "hello", "").await;
    let link = server.send("short", "hello", "expires=2s").await;
    let deadline = instant(&server.transfer(&link.transfer).await["deadline"]);
    wait_for("the object to go", async || (server.objects().len() == 1).then_some(())).await;
    let gone = now();
    assert!(gone >= deadline, "it went at {gone}, before its deadline {deadline}");
    assert!(gone.since(deadline) <= Duration::from_secs(1), "it went at {gone}, due at {deadline}");
    purged(&server, &link).await;
    assert_eq!(server.transfer(&kept.transfer).await["state"], "available");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_was_killed_listens_again() {
    let server = Server::on(Stores::redis().await, &[LISTENER]).await;
    for _ in 0..3 {
        listens(&server).await;
        server.stores.in_which_redis().ask::<u32>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        comes_and_goes(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_while_nobody_listened_is_caught_up_with() {
    let redis = RedisServer::start().await;
    let gate = Gate::to(&redis.address(), u64::MAX).await;
    let stores = Stores::in_redis(redis).by(format!("redis://{}", gate.address()));
    let server = Server::on(stores, &[LISTENER]).await;
    listens(&server).await;
    let link = server.send("short", "hello", "expires=2s").await;
    // Only the listener is cut off: the connection of the commands stays.
    gate.shut(true);
    server.stores.in_which_redis().ask::<u32>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let slots = format!("bb:{{bb.0}}:keys:{}", link.transfer);
    let redis = server.stores.in_which_redis();
    wait_for("the key to expire", async || (redis.ask::<u32>(&["EXISTS", &slots]) == 0).then_some(())).await;
    assert_eq!(server.transfer(&link.transfer).await["state"], "available", "nobody has told");
    let ready = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
    assert_eq!(ready.status(), 200, "it serves all the same");
    assert!(ready.text().await.unwrap().contains("does not tell which keys expire"));
    gate.shut(false);
    purged(&server, &link).await;
    comes_and_goes(&server).await;
    let ready = reqwest::get(format!("{}/readyz", server.url)).await.unwrap().text().await.unwrap();
    assert!(!ready.contains("does not tell"), "{ready}");
}

/// For `LISTENER_CUT_SECONDS`, or two.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "how long, and how late, for a run by hand"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_late_while_the_listener_is_cut_off_and_after() {
    let cut = std::env::var("LISTENER_CUT_SECONDS").map_or(2, |seconds| seconds.parse::<u64>().unwrap());
    let redis = RedisServer::start().await;
    let gate = Gate::to(&redis.address(), u64::MAX).await;
    let stores = Stores::in_redis(redis).by(format!("redis://{}", gate.address()));
    let server = Server::on(stores, &[]).await;
    listens(&server).await;
    // Some come due while nobody listens, some just when somebody does again.
    let all = (1..=10).map(|n| (n, format!("expires={}s", 1 + n * (cut + 4) / 10)));
    let mut sent = Vec::new();
    for (n, query) in all {
        sent.push(server.send(&format!("{n}"), "hello", &query).await);
    }
    gate.shut(true);
    server.stores.in_which_redis().ask::<u32>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    trail::until(now().after(Duration::from_secs(cut))).await;
    gate.shut(false);
    listens(&server).await;
    sent.push(server.send("after", "hello", "expires=2s").await);
    let mut worst = Duration::ZERO;
    for link in &sent {
        purged(&server, link).await;
        let expired = async || {
            let events = server.events().into_iter();
            let ours = |event: &serde_json::Value| {
                event["transfer"] == link.transfer.as_str() && event["type"] == "transfer.expired"
            };
            events.filter(ours).map(|event| instant(&event["time"])).next()
        };
        let at = wait_for("the event", expired).await;
        worst = worst.max(at.since(instant(&server.transfer(&link.transfer).await["deadline"])));
    }
    println!("cut for {cut} s: the latest of {} ended {worst:?} after its deadline", sent.len());
    assert!(worst < Duration::from_secs(10), "{worst:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_refused_is_asked_for_again() {
    let redis = RedisServer::start().await;
    redis.ask::<String>(&["ACL", "SETUSER", "burnbag", "on", ">secret", "~bb:*", "+@all", "resetchannels"]);
    let url = redis.url().replace("//", "//burnbag:secret@");
    let server = Server::on(Stores::in_redis(redis).by(url), &[LISTENER]).await;
    let link = server.send("short", "hello", "expires=1s").await;
    wait_for("the remark", || async {
        let ready = reqwest::get(format!("{}/readyz", server.url)).await.unwrap().text().await.unwrap();
        ready.contains("does not tell which keys expire").then_some(())
    })
    .await;
    let redis = server.stores.in_which_redis();
    redis.ask::<String>(&["ACL", "SETUSER", "burnbag", "&__keyevent@*"]);
    purged(&server, &link).await;
    comes_and_goes(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_killed_and_came_back_is_listened_to() {
    let mut server = Server::on(Stores::redis().await, &[LISTENER]).await;
    let link = server.send("short", "hello", "expires=2s").await;
    server.stores.redis_alone().kill();
    let deadline = now().after(Duration::from_secs(2));
    trail::until(deadline).await;
    server.stores.redis_alone().start_again().await;
    wait_for("the transfer to be purged", || async {
        let url = format!("{}/api/v1/transfers/{}", server.url, link.transfer);
        let answer = reqwest::Client::new().get(url).bearer_auth(&server.token).send().await.unwrap();
        let text = answer.text().await.unwrap();
        text.contains("\"purged\"").then_some(())
    })
    .await;
    // The relay looks again within seconds; until then uploads are refused.
    server.ready().await;
    comes_and_goes(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_instances_share_the_work_and_do_nothing_twice() {
    const MANY: usize = 90;
    let one = Server::on(Stores::redis().await, &[]).await;
    let (two, three) = (one.beside(&[]).await, one.beside(&[]).await);
    let all = [&one, &two, &three];
    let sent = (0..MANY).map(|n| all[n % 3].send("f", "hello", "expires=4s"));
    let sent = join_all(sent).await;
    let kept = two.send("kept", "hello", "").await;
    assert_eq!(kept.get(&reqwest::Client::new()).send().await.unwrap().status(), 200);
    for (n, link) in sent.iter().enumerate() {
        purged(all[n % 3], link).await;
    }
    assert_eq!(one.objects().len(), 1);
    let told = async || {
        let each = |kind| sent.iter().all(|link| count(&one, &link.transfer, kind) == 1);
        (each("transfer.expired") && each("transfer.purged")).then_some(())
    };
    wait_for("one event each", told).await;
    let lines = trail::lines(&one.data().join("audit"));
    let ids: std::collections::HashSet<&str> =
        lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), lines.len(), "no event twice");
}
