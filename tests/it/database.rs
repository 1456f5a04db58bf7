//! A database that another process holds, or whose bytes were damaged; keys that are not what they were.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::start_up::{assert_names, refused};
use crate::support::{Link, Server, noise, wait_for};
use crate::trail::client;

async fn put(server: &Server) -> reqwest::Response {
    let put = client("sender").put(format!("{}/a", server.url)).basic_auth("", Some(&server.token));
    put.header("accept", "application/json").body("hello").send().await.unwrap()
}

async fn get(link: &Link) -> reqwest::Response {
    link.get(&client("receiver")).header("accept", "application/json").send().await.unwrap()
}

async fn assert_unavailable(answer: reqwest::Response) {
    assert_eq!(answer.status(), 503);
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    let problem: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    // The relay trims what it took over; where it cannot, it says so first.
    let code = problem["code"].as_str().unwrap();
    assert!(["store_unavailable", "audit_unavailable"].contains(&code), "{code}");
}

/// As `sqlite3` would, from another process than the server's.
fn open(server: &Server) -> rusqlite::Connection {
    rusqlite::Connection::open(server.data().join("burnbag.db")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_another_process_holds_the_database_requests_are_refused_soon_and_go_on_after() {
    let server = Server::start().await;
    let link = server.send("kept", "hello", "").await;
    let other = open(&server);
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begun = Instant::now();
    let asked = futures_util::future::join_all((0..30).map(|_| put(&server))).await;
    let took = begun.elapsed();
    for answer in asked {
        assert_unavailable(answer).await;
    }
    assert!(took < Duration::from_secs(15), "it took {took:?}");
    // Once that is known, nobody waits long.
    let begun = Instant::now();
    assert_unavailable(put(&server).await).await;
    assert_unavailable(get(&link).await).await;
    let ended = client("sender").delete(&link.url).basic_auth("", Some(&server.token));
    assert_unavailable(ended.header("accept", "application/json").send().await.unwrap()).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "it took {took:?}");
    assert_names(&server.log(), &["another process holds it", "fuser burnbag.db"]);
    let told = server.log().matches("nothing that is due can be ended").count();
    assert!(told <= 1, "it is told {told} times");

    other.execute_batch("ROLLBACK").unwrap();
    wait_for("uploads", async || (put(&server).await.status() == 201).then_some(())).await;
    assert_eq!(get(&link).await.bytes().await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_another_process_holds_is_named_at_start() {
    let mut server = Server::start().await;
    let link = server.send("kept", "hello", "").await;
    server.stop().await;
    let other = open(&server);
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let said = refused(&server.data(), &[]);
    assert_names(&said, &["another process holds it", "fuser burnbag.db"]);
    assert_eq!(said.lines().count(), 1, "{said}");
    other.execute_batch("ROLLBACK").unwrap();
    server.start_again().await;
    assert_eq!(get(&link).await.bytes().await.unwrap(), "hello");
}

/// Overwrites all but the first page.
pub fn damage(database: &Path) -> Vec<u8> {
    let file = std::fs::OpenOptions::new().write(true).open(database).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    file.write_all_at(&noise(length - 4096, 5), 4096).unwrap();
    std::fs::read(database).unwrap()
}

#[tokio::test]
async fn a_database_with_damaged_pages_is_refused_at_start_and_left_as_it_is() {
    let mut server = Server::start().await;
    let link = server.send("kept", "hello", "").await;
    server.stop().await;
    let database = server.data().join("burnbag.db");
    let good = std::fs::read(&database).unwrap();
    let bad = damage(&database);
    let said = refused(&server.data(), &[]);
    assert_names(&said, &["cannot open the records", "burnbag.db", "damaged", "put a good copy back"]);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(std::fs::read(&database).unwrap() == bad);

    // One page alone.
    let mut one = good.clone();
    one[4096 * 3..4096 * 4].copy_from_slice(&noise(4096, 6));
    std::fs::write(&database, &one).unwrap();
    assert_names(&refused(&server.data(), &[]), &["damaged"]);
    std::fs::write(&database, &good).unwrap();
    server.start_again().await;
    assert_eq!(get(&link).await.bytes().await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_damaged_while_it_is_used_is_not_written_any_more() {
    let mut server = Server::start().await;
    let link = server.send("kept", "hello", "").await;
    // Nothing of it is in the write-ahead log, or in the memory of the next process.
    server.stop().await;
    let database = server.data().join("burnbag.db");
    let good = std::fs::read(&database).unwrap();
    server.start_again().await;
    damage(&database);
    let refused = wait_for("the damage to be met", async || {
        let answer = put(&server).await;
        (answer.status() != 201).then_some(answer)
    })
    .await;
    assert_unavailable(refused).await;
    let bad = std::fs::read(&database).unwrap();
    assert_unavailable(put(&server).await).await;
    assert_unavailable(get(&link).await).await;
    assert_eq!(
        server.log().matches("it is left as it is until the next start").count(),
        1,
        "{}",
        server.log()
    );
    let ready = client("operator").get(format!("{}/readyz", server.url)).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("records: "));
    server.kill();
    assert!(std::fs::read(&database).unwrap() == bad, "something was written");

    std::fs::write(&database, &good).unwrap();
    for beside in ["burnbag.db-wal", "burnbag.db-shm"] {
        let _ = std::fs::remove_file(server.data().join(beside));
    }
    server.start_again().await;
}

#[tokio::test]
async fn whatever_else_lies_where_the_kek_was_is_named_with_what_to_do() {
    let mut server = Server::start().await;
    let link = server.send("kept", "hello", "").await;
    server.stop().await;
    let (kek, away) = (server.data().join("kek"), server.data().join("kek.away"));
    std::fs::rename(&kek, &away).unwrap();
    let names = |more: &[&str]| {
        let said = refused(&server.data(), &[]);
        assert_names(&said, &[kek.to_str().unwrap()]);
        assert_names(&said, more);
    };

    std::fs::create_dir(&kek).unwrap();
    names(&["cannot read the KEK file", "must be a file"]);
    std::fs::remove_dir(&kek).unwrap();

    symlink(server.data().join("nowhere"), &kek).unwrap();
    names(&["nowhere", "put the KEK there"]);
    assert!(!server.data().join("nowhere").exists());
    std::fs::remove_file(&kek).unwrap();

    std::fs::write(&kek, [0xff, 0xfe, 0]).unwrap();
    std::fs::set_permissions(&kek, std::fs::Permissions::from_mode(0o600)).unwrap();
    names(&["it is no text", "put the right file back"]);
    std::fs::remove_file(&kek).unwrap();

    // A link to the right file is as good as the file; what counts is who can read that.
    symlink(&away, &kek).unwrap();
    std::fs::set_permissions(&away, std::fs::Permissions::from_mode(0o640)).unwrap();
    names(&["can be read by others", "chmod 600"]);
    std::fs::set_permissions(&away, std::fs::Permissions::from_mode(0o600)).unwrap();
    server.start_again().await;
    assert_eq!(get(&link).await.bytes().await.unwrap(), "hello");
}
