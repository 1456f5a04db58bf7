//! A service with its records in Redis: what it refuses to start on, what it says, and several of it on one host.

use std::process::Command;
use std::time::{Duration, Instant};

use burnbag::clock::{Clock as _, SystemClock};

use crate::redis_server::RedisServer;
use crate::start_up::{assert_names, refused};
use crate::stores::Stores;
use crate::support::{SOON, Server, text, wait_for};

async fn readyz(server: &Server) -> (u16, String) {
    let answer = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_redis_that_may_lose_what_it_answered_is_refused_with_what_to_type() {
    for (setting, value, wanted) in [
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
        ("appendonly", "no", "yes"),
        ("appendfsync", "everysec", "always"),
    ] {
        let redis = RedisServer::with(&[(setting, value)]).await;
        let data = tempfile::tempdir().unwrap();
        let said = refused(data.path(), &[("BURNBAG_REDIS_URL", &redis.url())]);
        let (found, todo) =
            (format!("{setting} is {value}"), format!("redis-cli CONFIG SET {setting} {wanted}"));
        assert_names(&said, &[&found, &todo, "BURNBAG_REDIS_DURABILITY=relaxed"]);
        let relaxed = [("BURNBAG_REDIS_DURABILITY", "relaxed")];
        let server = Server::on(Stores::in_redis(redis), &relaxed).await;
        let (status, ready) = readyz(&server).await;
        assert!(status == 200 && ready.contains(&found), "{status} {ready}");
    }
}

#[tokio::test]
async fn a_redis_that_does_not_say_how_it_is_set_is_taken_and_that_is_said() {
    let redis = RedisServer::start().await;
    let rights = ["on", ">secret", "~bb:*", "&__keyevent@*", "+@all", "-config", "-info"];
    redis.ask::<String>(&[&["ACL", "SETUSER", "burnbag"][..], &rights].concat());
    let url = redis.url().replace("//", "//burnbag:secret@");
    let server = Server::on(Stores::in_redis(redis).by(url.clone()), &[]).await;
    assert!(readyz(&server).await.1.contains("CONFIG GET is refused"));
    assert!(!server.log().contains("secret"), "{}", server.log());
    let said = refused(
        tempfile::tempdir().unwrap().path(),
        &[("BURNBAG_REDIS_URL", &url.replace("secret", "guess"))],
    );
    assert_names(&said, &["set user and password in BURNBAG_REDIS_URL", "burnbag:***@"]);
    assert!(!said.contains("guess"), "{said}");
}

#[test]
fn the_check_masks_the_password() {
    let check = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burnbag"));
        command.env_clear().env("BURNBAG_REDIS_URL", url).env("BURNBAG_REDIS_SHARDS", "2");
        command.args(["serve", "--check"]).output().unwrap()
    };
    let shown = check("rediss://burnbag:pass@word@redis.example.org:6380/2");
    assert!(shown.status.success());
    let shown = text(&shown.stdout);
    assert_names(
        &shown,
        &["BURNBAG_REDIS_URL=rediss://burnbag:***@redis.example.org:6380/2", "BURNBAG_REDIS_SHARDS=2"],
    );
    assert!(!shown.contains("word"), "{shown}");
    let wrong = check("http://burnbag:password@redis");
    let said = text(&wrong.stderr);
    assert_names(&said, &["BURNBAG_REDIS_URL", "it takes redis:// or rediss://"]);
    assert!(!said.contains("password@redis"), "{said}");
}

#[tokio::test]
async fn a_redis_whose_clock_is_wrong_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let shown = dir.path().join("clock");
    let wrong = SystemClock.now().as_millis() + 20_000;
    std::fs::write(&shown, wrong.to_ne_bytes()).unwrap();
    let redis = RedisServer::with_clock(&shown).await;
    let said = refused(&dir.path().join("data"), &[("BURNBAG_REDIS_URL", &redis.url())]);
    assert_names(&said, &["s apart", "let NTP set both"]);
}

#[tokio::test]
async fn an_emptied_redis_and_another_deployments_are_refused_and_no_object_goes() {
    let mut one = Server::on(Stores::redis().await, &[]).await;
    let mut two = Server::on(Stores::redis().await, &[]).await;
    for server in [&mut one, &mut two] {
        server.send("kept", "hello", "").await;
        server.stop().await;
    }
    let others = two.stores.in_which_redis().url();
    let said = refused(&one.data(), &[("BURNBAG_REDIS_URL", &others)]);
    assert_names(&said, &["not the one that the records were made with"]);
    std::fs::copy(two.data().join("kek"), one.data().join("kek")).unwrap();
    let said = refused(&one.data(), &[("BURNBAG_REDIS_URL", &others)]);
    assert_names(&said, &["do not belong together"]);
    two.stores.in_which_redis().ask::<String>(&["FLUSHALL"]);
    let said = refused(&two.data(), &[("BURNBAG_REDIS_URL", &others)]);
    assert_names(&said, &["do not belong together"]);
    assert_eq!((one.objects().len(), two.objects().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_away_requests_are_refused_soon_and_go_on_after() {
    let mut server = Server::on(Stores::redis().await, &[]).await;
    let link = server.send("kept", "hello", "").await;
    let client = reqwest::Client::new();
    let (url, token) = (format!("{}/a", server.url), server.token.clone());
    let put = || client.put(&url).basic_auth("", Some(&token)).body("hello");
    for frozen in [false, true] {
        if frozen {
            server.stores.in_which_redis().freeze();
        } else {
            server.stores.redis_alone().kill();
        }
        for request in [put(), link.get(&client)] {
            let began = Instant::now();
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 503);
            assert!(answer.headers().contains_key("retry-after"));
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        }
        assert_eq!(readyz(&server).await.0, 503);
        if frozen {
            server.stores.in_which_redis().resume();
        } else {
            server.stores.redis_alone().start_again().await;
        }
        let fetched = || async { (link.get(&client).send().await.unwrap().status() == 200).then_some(()) };
        wait_for("downloads to go on", fetched).await;
        let sent = || async { (put().send().await.unwrap().status() == 201).then_some(()) };
        wait_for("uploads to go on", sent).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_instances_has_the_audit_log_and_another_takes_it_over() {
    let mut one = Server::on(Stores::redis().await, &[]).await;
    let (two, three) = (one.beside(&[]).await, one.beside(&[("BURNBAG_WORKERS", "listener,index")]).await);
    assert!(!readyz(&one).await.1.contains("another instance"));
    for server in [&two, &three] {
        let said = || async { readyz(server).await.1.contains("another instance has the log").then_some(()) };
        wait_for("the others to say so", said).await;
        assert_eq!(readyz(server).await.0, 200);
    }
    let data = one.data();
    let lines = || crate::trail::lines(&data.join("audit")).len();
    three.send("a", "hello", "").await;
    wait_for("the event in the log", async || (lines() > 4).then_some(())).await;
    let before = lines();
    one.kill();
    let taken = || async { (!readyz(&two).await.1.contains("another instance")).then_some(()) };
    wait_for("the other to take over", taken).await;
    three.send("b", "hello", "").await;
    wait_for("the event in the log", async || (lines() > before + 4).then_some(())).await;
    tokio::time::timeout(Duration::from_mins(1), one.start_again()).await.unwrap();
    let verified = one.burnbag(&["audit", "verify", data.join("audit").to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

#[tokio::test]
async fn a_token_that_is_revoked_beside_a_running_service_opens_nothing_more() {
    let server = Server::on(Stores::redis().await, &[]).await;
    let link = server.send("a", "hello", "").await;
    let listed = text(&server.burnbag(&["token", "list"]).stdout);
    let id = listed.split_whitespace().find(|word| word.len() == 32).expect(&listed).to_owned();
    assert!(server.burnbag(&["token", "revoke", &id]).status.success());
    let put = reqwest::Client::new().put(format!("{}/b", server.url)).basic_auth("", Some(&server.token));
    assert_eq!(put.body("hello").send().await.unwrap().status(), 401);
    assert_eq!(link.get(&reqwest::Client::new()).send().await.unwrap().status(), 200);
}
