//! `BURNBAG_REDIS_WAIT`: what is answered is on the replica too.

use crate::redis_server::RedisServer;
use crate::stores::Stores;
use crate::support::{Server, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_that_the_replica_does_not_have() {
    // The first copy is made at once.
    let redis = RedisServer::with(&[("repl-diskless-sync-delay", "0")]).await;
    let mut replica = RedisServer::start().await;
    let address = redis.address();
    let port = address.rsplit(':').next().unwrap();
    replica.ask::<String>(&["REPLICAOF", "127.0.0.1", port]);
    let joined = async |replica: &RedisServer| {
        replica.ask::<String>(&["INFO", "replication"]).contains("master_link_status:up").then_some(())
    };
    wait_for("the replica", async || joined(&replica).await).await;
    let mut server = Server::on(Stores::in_redis(redis), &[("BURNBAG_REDIS_WAIT", "1")]).await;
    let client = reqwest::Client::new();
    let (url, token) = (format!("{}/a", server.url), server.token.clone());
    let put = || client.put(&url).basic_auth("", Some(&token)).body("hello");
    for _ in 0..5 {
        let link = server.send("a", "hello", "").await;
        let there =
            |key: &str| replica.ask::<u32>(&["EXISTS", &format!("bb:{{bb.0}}:{key}:{}", link.transfer)]);
        assert_eq!((there("t"), there("keys")), (1, 1));
    }
    let kept = server.send("kept", "hello", "").await;
    for killed in [false, true] {
        let ended = server.send("ended", "hello", "").await;
        if killed {
            replica.kill();
        } else {
            replica.freeze();
        }
        let answer = put().send().await.unwrap();
        assert_eq!(answer.status(), 503, "killed: {killed}");
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(kept.get(&client).send().await.unwrap().status(), 503, "killed: {killed}");
        let delete = client.delete(&ended.url).basic_auth("", Some(&token)).send().await.unwrap();
        assert_eq!(delete.status(), 503, "killed: {killed}");
        let slots = format!("bb:{{bb.0}}:keys:{}", ended.transfer);
        assert_eq!(
            server.stores.in_which_redis().ask::<u32>(&["EXISTS", &slots]),
            0,
            "it holds all the same"
        );
        let told = async || server.log().contains("BURNBAG_REDIS_WAIT asks for 1").then_some(());
        wait_for("the log to say why", told).await;
        if killed {
            replica.start_again().await;
            replica.ask::<String>(&["REPLICAOF", "127.0.0.1", port]);
            wait_for("the replica", async || joined(&replica).await).await;
        } else {
            replica.resume();
        }
        let again = async || (put().send().await.unwrap().status() == 201).then_some(());
        wait_for("uploads to go on", again).await;
        assert_eq!(kept.get(&client).send().await.unwrap().status(), 200);
        assert_eq!(ended.get(&client).send().await.unwrap().status(), 404);
    }
    server.stop().await;
}
