//! A clock that jumps: forward it ends what is past, also in the middle; back it brings nothing back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use burnbag::clock::{Clock as _, ManualClock, SteadyClock, Timestamp};
use serde_json::Value;

use crate::deadline::InProcess;
use crate::support::{Link, Server, noise, wait_for};
use crate::trail::{self, SlowReader, client, count, now};

const HOUR: Duration = Duration::from_hours(1);
/// Nothing ends what is due: what holds, holds by the clock alone.
const NO_REAPER: &str = "relay";

async fn put(url: &str, token: &str, bytes: impl Into<reqwest::Body>) -> reqwest::Response {
    let put = client("sender").put(format!("{url}/a?expires=1h")).basic_auth("", Some(token));
    put.header("accept", "application/json").body(bytes).send().await.unwrap()
}

async fn sent(answer: reqwest::Response) -> Link {
    assert_eq!(answer.status(), 201);
    let sent: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    Link::parse(sent["links"][0]["url"].as_str().unwrap(), sent["id"].as_str().unwrap())
}

async fn status(link: &Link) -> u16 {
    link.get(&client("receiver")).send().await.unwrap().status().as_u16()
}

async fn assert_clock_refused(answer: reqwest::Response) {
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let problem: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "store_unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("clock"), "{problem}");
}

#[test]
fn a_steady_clock_waits_a_small_step_out_and_goes_on_over_a_large_one() {
    let below = ManualClock::new(Timestamp::from_millis(1_000_000_000));
    let start = below.now();
    let steady = SteadyClock::new(Arc::new(below.clone()));
    below.advance(HOUR);
    let latest = start.after(HOUR);
    assert_eq!(steady.now(), latest);
    // A minute back: it stands.
    below.set(start.after(Duration::from_mins(59)));
    assert_eq!((steady.now(), steady.behind()), (latest, Duration::from_mins(1)));
    below.advance(Duration::from_mins(2));
    assert_eq!(steady.now(), latest.after(Duration::from_mins(1)));
    // An hour back: it goes on by the seconds that pass.
    let latest = steady.now();
    below.set(start);
    assert!(steady.now() >= latest);
    assert!(steady.behind() >= HOUR);
    let end = std::time::Instant::now() + crate::support::SOON;
    while steady.now() < latest.after(Duration::from_millis(20)) {
        assert!(std::time::Instant::now() < end, "it stands still");
        std::thread::yield_now();
    }
    assert!(steady.now() < latest.after(Duration::from_mins(1)));
    // Right again, it is what the clock below shows.
    below.set(start.after(3 * HOUR));
    assert_eq!((steady.now(), steady.behind()), (start.after(3 * HOUR), Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_forward_past_the_deadline_cuts_a_download_that_runs() {
    const LENGTH: usize = 32 << 20;
    let clock = ManualClock::new(now());
    let dir = tempfile::tempdir().unwrap();
    let running = InProcess::on(dir, Arc::new(clock.clone()), NO_REAPER).await;
    let link = sent(put(&running.url, &running.token, noise(LENGTH, 1)).await).await;
    let slow = link.clone();
    let reader = tokio::task::spawn_blocking(move || SlowReader::get(&slow, "slow")).await.unwrap();
    assert_eq!(reader.length, LENGTH);
    clock.advance(2 * HOUR);
    let reader = reader.read_out().await;
    assert!(reader.taken < LENGTH / 2, "{} bytes came", reader.taken);
    assert_eq!(status(&link).await, 404);
    let dir = running.stop().await;
    let counts = trail::counts(&trail::lines(&dir.path().join("audit")), &link.transfer);
    assert_eq!((counts.get("download.started"), counts.get("download.completed")), (Some(&1), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_back_opens_no_link_again_and_takes_no_upload_also_after_a_restart() {
    let start = now();
    let clock = ManualClock::new(start);
    let running = InProcess::on(tempfile::tempdir().unwrap(), Arc::new(clock.clone()), NO_REAPER).await;
    let token = running.token.clone();
    let link = sent(put(&running.url, &token, "hello").await).await;
    assert_eq!(status(&link).await, 200);
    clock.set(start.after(HOUR));
    assert_eq!(status(&link).await, 404);
    let longer = sent(put(&running.url, &token, "hello").await).await;
    clock.set(start.after(Duration::from_mins(30)));
    assert_eq!(status(&link).await, 404, "the past came back");
    assert_eq!(status(&longer).await, 200, "what is not past is served");
    assert_clock_refused(put(&running.url, &token, "hello").await).await;

    let dir = running.stop().await;
    let running = InProcess::on(dir, Arc::new(clock.clone()), NO_REAPER).await;
    assert_clock_refused(put(&running.url, &token, "hello").await).await;
    let moved = |link: &Link| {
        let path = link.url.rsplit_once("/d/").unwrap().1.to_owned();
        Link { url: format!("{}/d/{path}", running.url), ..link.clone() }
    };
    assert_eq!(status(&moved(&link)).await, 404);
    assert_eq!(status(&moved(&longer)).await, 200);
    clock.set(start.after(HOUR));
    assert_eq!(put(&running.url, &token, "hello").await.status(), 201);
    drop(running.stop().await);
}

/// The library of `faketime`, wherever the system has it.
fn faketime() -> PathBuf {
    let mut places = vec![PathBuf::from("/usr/lib")];
    places.extend(std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path()));
    let libraries = places.iter().map(|place| place.join("faketime/libfaketimeMT.so.1"));
    libraries.into_iter().find(|path| path.exists()).expect("this test needs the package faketime")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machines_own_clock_may_be_set_while_it_serves() {
    const LENGTH: usize = 32 << 20;
    let dir = tempfile::tempdir().unwrap();
    let offset = dir.path().join("offset");
    let set = |text: &str| {
        let part = dir.path().join("part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(&part, &offset).unwrap();
    };
    set("+0\n");
    let mut server = Server::with(&[
        ("LD_PRELOAD", faketime().to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("BURNBAG_LEASE_IDLE", "2s"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ])
    .await;
    let link = sent(put(&server.url, &server.token, noise(LENGTH, 1)).await).await;
    let slow = link.clone();
    let reader = tokio::task::spawn_blocking(move || SlowReader::get(&slow, "slow")).await.unwrap();

    set("+2h\n");
    wait_for("the cut and the end", async || {
        let ended = count(&server, &link.transfer, "transfer.expired") == 1;
        (ended && count(&server, &link.transfer, "download.interrupted") == 1).then_some(())
    })
    .await;
    let reader = reader.read_out().await;
    assert!(reader.taken < LENGTH / 2, "{} bytes came", reader.taken);
    wait_for("a line in the log", async || server.log().contains("the clock was set forward").then_some(()))
        .await;

    set("+0\n");
    assert_eq!(status(&link).await, 404);
    assert_clock_refused(put(&server.url, &server.token, "hello").await).await;
    assert_eq!(server.log().matches("the clock was set back").count(), 1, "{}", server.log());
    server.stop().await;
    server.start_again().await;
    assert_clock_refused(put(&server.url, &server.token, "hello").await).await;
    set("+2h\n");
    let again = sent(put(&server.url, &server.token, "hello").await).await;
    assert_eq!(status(&again).await, 200);
}
