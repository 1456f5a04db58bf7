//! A download is counted once, however often its receiver comes back for it.

use std::cell::Cell;

use reqwest::StatusCode;

use crate::gate::{Gate, header};
use crate::support::{self, Link, Server, noise, text, wait_for};
use crate::trail::{SlowReader, client, count};

async fn status(link: &Link, user_agent: &str) -> StatusCode {
    let answer = link.get(&client(user_agent)).send().await.unwrap();
    let status = answer.status();
    let _ = answer.bytes().await;
    status
}

async fn used(server: &Server, link: &Link) -> u64 {
    server.transfer(&link.transfer).await["links"][0]["used"].as_u64().unwrap()
}

/// Waits until this many events of a type are there, and looks again for more a moment later.
async fn events(server: &Server, link: &Link, kind: &str, exactly: usize) {
    wait_for(kind, || async { (count(server, &link.transfer, kind) >= exactly).then_some(()) }).await;
    assert_eq!(count(server, &link.transfer, kind), exactly, "{kind}");
}

#[tokio::test]
async fn one_download_is_used_by_one_receiver_who_may_retry_for_a_while() {
    let server = super::serve(&[("BURNBAG_LEASE_RETRY", "3s")]).await;
    let link = server.send("a.txt", "hello", "downloads=1").await;
    // None of these takes it.
    let one = client("one");
    assert_eq!(one.head(&link.url).basic_auth("x", Some(&link.secret)).send().await.unwrap().status(), 200);
    assert_eq!(link.get(&one).header("range", "bytes=9-").send().await.unwrap().status(), 416);
    let page = one.get(&link.url).header("accept", "text/html").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let index = one.get(format!("{}/", link.url)).basic_auth("x", Some(&link.secret)).send().await.unwrap();
    assert_eq!(index.status(), 200);
    let head = one.head(&link.url).basic_auth("x", Some(&link.secret)).send().await.unwrap();
    let tag = head.headers()["etag"].clone();
    assert_eq!(link.get(&one).header("if-none-match", tag).send().await.unwrap().status(), 304);
    assert_eq!(used(&server, &link).await, 0);
    assert_eq!(count(&server, &link.transfer, "download.started"), 0);

    assert_eq!(link.get(&one).send().await.unwrap().bytes().await.unwrap(), "hello");
    wait_for("the count", || async { (used(&server, &link).await == 1).then_some(()) }).await;
    assert_eq!(status(&link, "two").await, 404);
    assert_eq!(status(&link, "one").await, 200, "a retry soon after");
    assert_eq!(used(&server, &link).await, 1);
    let ended = wait_for("the transfer to be exhausted", || async {
        let transfer = server.transfer(&link.transfer).await;
        (transfer["state"] != "available").then_some(transfer)
    })
    .await;
    assert_eq!(ended["reason"], "exhausted");
    assert_eq!(status(&link, "one").await, 404, "a retry too late");
    wait_for("the object to go", || async { server.stored().await.is_empty().then_some(()) }).await;
    events(&server, &link, "transfer.purged", 1).await;
    events(&server, &link, "transfer.exhausted", 1).await;
    events(&server, &link, "download.started", 1).await;
    events(&server, &link, "download.completed", 1).await;
    events(&server, &link, "download.interrupted", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twenty_receivers_at_once_exactly_one_gets_the_only_download() {
    let server = super::serve(&[]).await;
    let content = noise(1 << 20, 3);
    let link = server.send("a", content.clone(), "downloads=1").await;
    let asked: Vec<_> = (0..20)
        .map(|n| {
            let link = link.clone();
            tokio::spawn(async move {
                let answer = link.get(&client(&format!("receiver {n}"))).send().await.unwrap();
                (answer.status(), answer.headers().get("retry-after").cloned(), answer.bytes().await.unwrap())
            })
        })
        .collect();
    let mut got = 0;
    for asked in asked {
        let (status, retry, bytes) = asked.await.unwrap();
        match status.as_u16() {
            200 => {
                assert!(bytes == content);
                got += 1;
            }
            503 => assert!(retry.is_some(), "busy without Retry-After"),
            other => assert_eq!(other, 404),
        }
    }
    assert_eq!(got, 1);
    events(&server, &link, "download.completed", 1).await;
    events(&server, &link, "download.started", 1).await;
    assert_eq!(used(&server, &link).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_download_gives_its_count_back_once_it_is_idle() {
    let server = super::serve(&[("BURNBAG_LEASE_IDLE", "2s")]).await;
    let link = server.send("a", noise(16 << 20, 4), "downloads=1").await;
    let slow = link.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let mut reader = SlowReader::get(&slow, "one");
        assert!(reader.read(100_000));
        reader
    })
    .await
    .unwrap();
    let busy = link.get(&client("two")).header("accept", "application/json").send().await.unwrap();
    assert_eq!(busy.status(), 503);
    assert!(busy.headers().contains_key("retry-after"));
    let problem: serde_json::Value = serde_json::from_slice(&busy.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "link_busy");
    drop(reader);
    wait_for("the count to come back", || async { (status(&link, "two").await == 200).then_some(()) }).await;
    events(&server, &link, "download.interrupted", 1).await;
    events(&server, &link, "download.completed", 1).await;
    events(&server, &link, "download.started", 2).await;
    assert_eq!(used(&server, &link).await, 1);
}

/// Breaks a client's download after this many of its bytes.
async fn broken(gate: &Gate, program: &str, arguments: &[&str]) {
    let cut = async {
        gate.is_reached().await;
        gate.cut().await;
    };
    let (got, ()) = tokio::join!(support::run(program, arguments), cut);
    assert!(!got.status.success(), "it was to break");
    gate.open();
}

/// What the rest of a broken download was asked for with: from a byte on that is neither the first nor the last.
fn resumed(gate: &Gate, link: &Link, content: &[u8]) {
    let gets = gate.gets(&link.url);
    let range = header(gets.last().unwrap(), "range").expect("a resumed download asks for a range");
    let from: usize = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    assert!(from > 0 && from < content.len(), "{range}");
}

#[tokio::test]
async fn curl_resumes_a_broken_download_as_one() {
    let server = super::serve(&[]).await;
    let content = noise(8 << 20, 5);
    let link = server.send("a", content.clone(), "downloads=1").await;
    let gate = Gate::before(&server, 3 << 20).await;
    let there = gate.link(&link);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    let (to, user) = (file.to_str().unwrap(), format!("x:{}", link.secret));
    let same = ["-sSf", "-C", "-", "-u", &user, "-o", to, &there.url];
    broken(&gate, "curl", &same).await;
    let got = support::run("curl", &same).await;
    assert!(got.status.success(), "{}", text(&got.stderr));
    resumed(&gate, &there, &content);
    check(&server, &link, &file, &content).await;
}

#[tokio::test]
async fn wget_resumes_a_broken_download_as_one() {
    let server = super::serve(&[]).await;
    let content = noise(8 << 20, 6);
    let link = server.send("a", content.clone(), "downloads=1").await;
    let gate = Gate::before(&server, 3 << 20).await;
    let there = gate.link(&link);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    let password = format!("--password={}", link.secret);
    let same = ["-q", "-c", "-t1", "--user=x", &password, "-O", file.to_str().unwrap(), &there.url];
    broken(&gate, "wget", &same).await;
    let got = support::run("wget", &same).await;
    assert!(got.status.success(), "{}", text(&got.stderr));
    resumed(&gate, &there, &content);
    check(&server, &link, &file, &content).await;
}

#[tokio::test]
async fn aria2_takes_four_ranges_at_once_as_one() {
    let server = super::serve(&[]).await;
    let content = noise(10 << 20, 7);
    let link = server.send("a", content.clone(), "downloads=1").await;
    // Held up until the others are answered, or the first may have it all before they come.
    let gate = Gate::before(&server, 1 << 20).await;
    let there = gate.link(&link);
    let dir = tempfile::tempdir().unwrap();
    let (into, password) =
        (format!("--dir={}", dir.path().display()), format!("--http-passwd={}", link.secret));
    let arguments = [
        "-q",
        "-x4",
        "-s4",
        "-k1M",
        "--http-user=x",
        &password,
        "--http-auth-challenge=true",
        &into,
        "-oa",
        &there.url,
    ];
    let parts = || gate.answers().iter().filter(|status| **status == 206).count();
    let opened = async {
        // A little more at each look: their answers come down beside the bytes of the first.
        let allowed = Cell::new(1 << 20);
        let answered = async || {
            allowed.set(allowed.get() + (16 << 10));
            gate.allow(allowed.get());
            (parts() >= 3).then_some(())
        };
        wait_for("ranges side by side", answered).await;
        gate.open();
    };
    let (got, ()) = tokio::join!(support::run("aria2c", &arguments), opened);
    assert!(got.status.success(), "{}", text(&got.stdout));
    // It would do with one connection too, if the others were refused.
    let answers = gate.answers();
    assert!(parts() >= 3, "{answers:?}");
    assert!(answers.iter().all(|status| [200, 206, 401].contains(status)), "{answers:?}");
    check(&server, &link, &dir.path().join("a"), &content).await;
}

async fn check(server: &Server, link: &Link, file: &std::path::Path, content: &[u8]) {
    assert!(std::fs::read(file).unwrap() == content, "not whole: {}", file.display());
    events(server, link, "download.completed", 1).await;
    events(server, link, "download.started", 1).await;
    assert_eq!(used(server, link).await, 1);
}

#[tokio::test]
async fn ranges_by_a_ticket_join_one_lease() {
    let server = super::serve(&[]).await;
    let content = noise(100_000, 6);
    let link = server.send("a", content.clone(), "downloads=1").await;
    let one = client("browser");
    let ask = format!("{{\"secret\":\"{}\"}}", link.secret);
    let asked = one.post(format!("{}/ticket", link.url)).header("content-type", "application/json").body(ask);
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    for attribute in [
        "Secure",
        "HttpOnly",
        "SameSite=Strict",
        &format!("Path=/d/{}", link.url.rsplit('/').next().unwrap()),
    ] {
        assert!(cookie.contains(attribute), "{attribute} is missing");
    }
    assert!(!cookie.contains(&link.secret), "the secret is in the cookie as it is");
    assert_eq!(count(&server, &link.transfer, "download.started"), 0);
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let file = format!("{}/a", link.url);
    for (range, expected) in [("bytes=0-49999", &content[..50_000]), ("bytes=50000-", &content[50_000..])] {
        // Another name and no secret: the ticket alone is the receiver.
        let get = client(range).get(&file).header("cookie", &cookie).header("range", range);
        let answer = get.send().await.unwrap();
        assert_eq!(answer.status(), 206);
        assert!(answer.bytes().await.unwrap() == expected);
    }
    events(&server, &link, "download.completed", 1).await;
    events(&server, &link, "download.started", 1).await;
    assert_eq!(used(&server, &link).await, 1);
    assert_eq!(status(&link, "another").await, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_a_killed_server_ran_is_resumed_by_its_receiver() {
    let mut server = super::serve(&[("BURNBAG_LEASE_IDLE", "60s")]).await;
    let content = noise(8 << 20, 7);
    let link = server.send("a", content.clone(), "downloads=1").await;
    let slow = link.clone();
    let mut reader = tokio::task::spawn_blocking(move || {
        let mut reader = SlowReader::get(&slow, "one");
        assert!(reader.read(100_000));
        reader
    })
    .await
    .unwrap();
    server.kill();
    let reader = tokio::task::spawn_blocking(move || {
        while reader.read(1 << 20) {}
        reader
    })
    .await
    .unwrap();
    assert!(reader.taken < reader.length);
    server.start_again().await;
    assert_eq!(status(&link, "two").await, 503, "its count is held");
    // Its own receiver goes on at once, in the same lease.
    let range = format!("bytes={}-", reader.taken);
    let answer = link.get(&client("one")).header("range", range).send().await.unwrap();
    assert_eq!(answer.status(), 206);
    assert!(answer.bytes().await.unwrap() == content[reader.taken..]);
    assert_eq!(count(&server, &link.transfer, "download.started"), 1, "one download, over two servers");
}
