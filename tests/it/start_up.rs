//! Starting, refusing to start, tokens on the command line, and stopping.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::support::{Server, files_below, free_port, noise, wait_for};
use crate::trail::{self, SlowReader, client};

/// A command of the binary with these settings alone.
fn burnbag(settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burnbag"));
    command.env_clear().envs(settings.iter().copied()).args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// A start that must be refused: what it said. A server that starts after all would hang, and is ended by `timeout`.
pub fn refused(data: &Path, settings: &[(&str, &str)]) -> String {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("timeout");
    command.args(["10", env!("CARGO_BIN_EXE_burnbag"), "serve"]).env_clear();
    command.env("BURNBAG_DATA_DIR", data).env("BURNBAG_LISTEN", listen).envs(settings.iter().copied());
    let done = command.stdin(Stdio::null()).output().unwrap();
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

pub fn assert_names(said: &str, names: &[&str]) {
    for name in names {
        assert!(said.contains(name), "{name:?} is not named in:\n{said}");
    }
}

/// A data directory that was served from, and is not any more.
async fn used() -> Server {
    let mut server = Server::start().await;
    server.send("a", "hello", "").await;
    server.stop().await;
    server
}

#[tokio::test]
async fn without_its_kek_it_does_not_start_and_makes_no_other() {
    let mut server = used().await;
    let (data, kek) = (server.data(), server.data().join("kek"));
    let away = server.data().join("kek.away");
    assert_eq!(kek.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::rename(&kek, &away).unwrap();
    assert_names(&refused(&data, &[]), &["KEK", kek.to_str().unwrap(), "put it back"]);
    assert!(!kek.exists(), "a new KEK was made beside old records");

    let other = tempfile::tempdir().unwrap();
    let made = burnbag(&[("BURNBAG_DATA_DIR", other.path().to_str().unwrap())], &["token", "create"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    std::fs::copy(other.path().join("kek"), &kek).unwrap();
    assert_names(&refused(&data, &[]), &["KEK", "not the one", "put the right file back"]);

    for bad in ["", "nonsense\n", "1:abc\n"] {
        std::fs::write(&kek, bad).unwrap();
        assert_names(&refused(&data, &[]), &["KEK file", kek.to_str().unwrap(), "cannot be used"]);
    }

    // A version that was in force once is missed as well as the first.
    let first = std::fs::read_to_string(&away).unwrap();
    std::fs::write(&kek, format!("{first}2 {}\n", "5a".repeat(32))).unwrap();
    server.start_again().await;
    server.stop().await;
    std::fs::write(&kek, &first).unwrap();
    assert_names(&refused(&data, &[]), &["version 2", "put it back"]);
    std::fs::write(&away, format!("{first}2 {}\n", "5a".repeat(32))).unwrap();

    std::fs::copy(&away, &kek).unwrap();
    std::fs::set_permissions(&kek, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_names(&refused(&data, &[]), &["can be read by others", "chmod 600"]);

    std::fs::set_permissions(&kek, std::fs::Permissions::from_mode(0o600)).unwrap();
    server.start_again().await;
    let link = server.send("b", "hello again", "").await;
    assert_eq!(link.get(&client("one")).send().await.unwrap().bytes().await.unwrap(), "hello again");
}

#[tokio::test]
async fn a_second_server_on_a_directory_is_refused_and_harms_nothing() {
    let server = Server::start().await;
    let link = server.send("a", "hello", "").await;
    let said = refused(&server.data(), &[]);
    let process = format!("(process {})", server.pid());
    assert_names(
        &said,
        &["another burnbag serves", server.data().to_str().unwrap(), &process, "stop it first"],
    );
    // A short command works beside the first one all the same.
    assert_eq!(ids(&server, "good").len(), 1);
    assert_eq!(link.get(&client("one")).send().await.unwrap().bytes().await.unwrap(), "hello");
}

#[tokio::test]
async fn a_database_of_garbage_is_refused_and_left_as_it_is() {
    let server = used().await;
    let database = server.data().join("burnbag.db");
    let garbage = noise(100_000, 8);
    std::fs::write(&database, &garbage).unwrap();
    assert_names(&refused(&server.data(), &[]), &["cannot open the records", "burnbag.db"]);
    assert!(std::fs::read(&database).unwrap() == garbage);
}

#[tokio::test]
async fn the_objects_of_another_deployment_are_refused_and_left_as_they_are() {
    let (one, two) = (used().await, used().await);
    let before = two.objects();
    assert_eq!(before.len(), 1);
    std::fs::rename(one.data().join("objects"), one.data().join("objects.away")).unwrap();
    std::fs::rename(two.data().join("objects"), one.data().join("objects")).unwrap();
    assert_names(&refused(&one.data(), &[]), &["do not belong together"]);
    assert_eq!(one.objects().len(), 1);
    // No objects at all beside old records are not the right ones either.
    assert_names(&refused(&two.data(), &[]), &["do not belong together"]);
}

#[test]
fn every_error_of_a_configuration_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let said = refused(
        dir.path(),
        &[
            ("BURNBAG_LISTEN", "nowhere"),
            ("BURNBAG_UPLOAD_IDEL", "5s"),
            ("BURNBAG_LEASE_IDLE", "soon"),
            ("BURNBAG_CONNECTIONS", "0"),
            ("BURNBAG_RATE", "many"),
            ("BURNBAG_RATE_LINK", "0/s"),
            ("BURNBAG_WORKERS", "relay,gardener"),
            ("BURNBAG_TRUSTED_PROXIES", "example.org"),
            ("BURNBAG_EXPIRES_DEFAULT", "9d"),
            ("BURNBAG_LOG_FORMAT", "xml"),
        ],
    );
    let settings = [
        "LISTEN",
        "UPLOAD_IDEL",
        "LEASE_IDLE",
        "CONNECTIONS",
        "RATE",
        "RATE_LINK",
        "WORKERS",
        "TRUSTED_PROXIES",
        "EXPIRES_DEFAULT",
        "LOG_FORMAT",
    ];
    assert_names(&said, &settings);
    assert!(files_below(dir.path()).is_empty(), "it began before it refused");
}

#[test]
fn elsewhere_than_on_loopback_it_must_be_told_where_links_point() {
    let dir = tempfile::tempdir().unwrap();
    let said = refused(dir.path(), &[("BURNBAG_LISTEN", "0.0.0.0:0")]);
    assert_names(&said, &["BURNBAG_PUBLIC_URL", "https://"]);
    let url = ("BURNBAG_PUBLIC_URL", "https://files.example.org");
    let checked = burnbag(&[("BURNBAG_LISTEN", "0.0.0.0:8080"), url], &["serve", "--check"]);
    assert!(checked.status.success());
    for bad in ["files.example.org", "ftp://example.org", "https://example.org/path", "https://"] {
        let said = refused(dir.path(), &[("BURNBAG_PUBLIC_URL", bad)]);
        assert_names(&said, &["PUBLIC_URL", bad]);
    }
    for bad in ["https://files.example\nevil.org", "https://a\tb", "https://<b>", "https://é.example.org"] {
        assert_names(
            &refused(dir.path(), &[("BURNBAG_PUBLIC_URL", bad)]),
            &["BURNBAG_PUBLIC_URL", "an origin such as"],
        );
    }
}

#[test]
fn the_check_prints_what_is_in_force_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("burnbag.toml");
    std::fs::write(&file, "lease_idle = \"7m\"\nsweep_every = \"2h\"\nconnections = 77\n").unwrap();
    let settings = [("BURNBAG_DATA_DIR", data.to_str().unwrap()), ("BURNBAG_SWEEP_EVERY", "3h")];
    let arguments = ["serve", "--check", "--config", file.to_str().unwrap(), "--listen", "127.0.0.1:9999"];
    let checked = burnbag(&settings, &arguments);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let shown = text(&checked.stdout);
    for line in [
        "BURNBAG_LISTEN=127.0.0.1:9999",
        "BURNBAG_PUBLIC_URL=http://127.0.0.1:9999",
        "BURNBAG_LEASE_IDLE=7m",
        "BURNBAG_SWEEP_EVERY=3h",
        "BURNBAG_CONNECTIONS=77",
        "BURNBAG_EXPIRES_MAX=7d",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in:\n{shown}");
    }
    assert!(!data.exists());
    // What it prints can be given back to it as it is.
    let again: Vec<(&str, &str)> = shown.lines().filter_map(|line| line.split_once('=')).collect();
    let again = burnbag(&again, &["serve", "--check"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), shown);
}

#[test]
fn every_help_text_is_there() {
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["token", "--help"],
        &["token", "create", "--help"],
        &["token", "list", "--help"],
        &["token", "revoke", "--help"],
        &["audit", "--help"],
        &["audit", "verify", "--help"],
    ] {
        let help = burnbag(&[], command);
        assert!(help.status.success(), "{command:?}");
        assert_names(&text(&help.stdout), &["Usage: burnbag"]);
    }
    let help = text(&burnbag(&[], &["serve", "--help"]).stdout);
    for setting in ["LISTEN", "PUBLIC_URL", "KEK_FILE", "AUDIT_DIR", "RATE", "TRUSTED_PROXIES", "WORKERS"] {
        assert_names(&help, &[&format!("BURNBAG_{setting}")]);
    }
    assert_eq!(burnbag(&[], &["serv"]).status.code(), Some(2));
}

#[tokio::test]
async fn the_first_start_without_a_terminal_says_what_to_type_and_writes_no_token() {
    let server = Server::start().await;
    assert_names(&server.log(), &["burnbag token create --account admin"]);
    server.send("a", "hello", "").await;
    let secret = server.token.rsplit('_').next().unwrap();
    assert!(secret.len() >= 20, "not the form of a token that this test knows");
    for file in files_below(&server.data()).into_iter().chain([server.data().join("../log")]) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "a token is in {}", file.display());
    }
}

fn ids(server: &Server, state: &str) -> BTreeSet<String> {
    let listed = server.burnbag(&["token", "list"]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let listed = text(&listed.stdout);
    assert!(!listed.contains(&server.token));
    let lines = listed.lines().skip(1).filter(|line| line.ends_with(state));
    lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

async fn lets_in(server: &Server, token: &str) -> bool {
    let put = client("sender").put(format!("{}/a", server.url)).basic_auth("", Some(token)).body("hello");
    match put.send().await.unwrap().status().as_u16() {
        201 => true,
        other => {
            assert_eq!(other, 401);
            false
        }
    }
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_beside_a_running_server() {
    let mut server = Server::start().await;
    let first = ids(&server, "good");
    assert_eq!(first.len(), 1);
    let without = server.burnbag(&["token", "create"]);
    assert!(!without.status.success());
    assert!(without.stdout.is_empty());
    assert_names(&text(&without.stderr), &["BURNBAG_TOKEN", "--reset"]);

    let old = server.token.clone();
    server.set("BURNBAG_TOKEN", &old);
    let made = server.burnbag(&["token", "create", "--expires", "1h"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let second = text(&made.stdout);
    assert_eq!(second.lines().count(), 1, "stdout is the token alone");
    let second = second.trim().to_owned();
    assert!(lets_in(&server, &second).await);
    // Both open what the other sent: it is one account.
    let link = server.send("a", "hello", "").await;
    let url = format!("{}/api/v1/transfers/{}", server.url, link.transfer);
    let seen = client("one").get(url).bearer_auth(&second).send().await.unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&seen.bytes().await.unwrap()).unwrap();
    assert_eq!(seen["files"][0]["name"], "a");

    // A token that ends makes none that lasts longer.
    server.set("BURNBAG_TOKEN", &second);
    for longer in [&["token", "create"][..], &["token", "create", "--expires", "2h"]] {
        let refused = server.burnbag(longer);
        assert!(!refused.status.success() && refused.stdout.is_empty());
        assert_names(&text(&refused.stderr), &["ends no later", "--expires"]);
    }
    server.set("BURNBAG_TOKEN", &old);

    let both = ids(&server, "good");
    assert_eq!(both.len(), 2);
    let revoked = server.burnbag(&["token", "revoke", both.difference(&first).next().unwrap()]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert!(!lets_in(&server, &second).await, "a revoked token lets in");
    assert!(lets_in(&server, &old).await);
    assert_eq!(ids(&server, "revoked").len(), 1);
    server.set("BURNBAG_TOKEN", &second);
    assert!(!server.burnbag(&["token", "create"]).status.success(), "a revoked token makes another");

    let reset = server.burnbag(&["token", "create", "--reset"]);
    assert!(reset.status.success(), "{}", text(&reset.stderr));
    assert_names(&text(&reset.stderr), &["1 older token", "transfers", "only be ended"]);
    let third = text(&reset.stdout).trim().to_owned();
    assert!(!lets_in(&server, &old).await);
    assert!(lets_in(&server, &third).await);
    // What was sent before is still the receiver's, and can be ended.
    assert_eq!(link.get(&client("one")).send().await.unwrap().status(), 200);
    let ended = client("one").delete(&link.url).basic_auth("", Some(&third)).send().await.unwrap();
    assert_eq!(ended.status(), 204);
    assert_eq!(link.get(&client("one")).send().await.unwrap().status(), 404);
    assert!(!server.burnbag(&["token", "create", "--account", "nobody"]).status.success());
}

fn terminate(server: &Server) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_lets_what_runs_end() {
    let mut server = Server::start().await;
    let link = server.send("a", noise(4 << 20, 9), "").await;
    let slow = link.clone();
    let download = tokio::task::spawn_blocking(move || {
        let mut reader = SlowReader::get(&slow, "slow");
        while reader.taken < reader.length && reader.read(64 * 1024) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        (reader.taken, reader.length)
    });
    let chunks = stream::iter(0..20).then(|_| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<_, std::io::Error>(Bytes::from(vec![7; 10_000]))
    });
    let put = client("sender").put(format!("{}/b", server.url)).basic_auth("", Some(&server.token));
    let upload = tokio::spawn(put.body(reqwest::Body::wrap_stream(chunks)).send());
    let audit = server.data().join("audit");
    wait_for("both to run", || async {
        let lines = trail::lines(&audit);
        let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
        (of("upload.started") == 2 && of("download.started") == 1).then_some(())
    })
    .await;
    server.stop().await;
    let answer = upload.await.unwrap().unwrap();
    assert_eq!(answer.status(), 201);
    let (taken, length) = download.await.unwrap();
    assert_eq!(taken, length);
    let lines = trail::lines(&audit);
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    assert_eq!((of("transfer.available"), of("download.completed")), (2, 1), "on record before the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_twice_it_cuts_what_runs() {
    let mut server = Server::start().await;
    let link = server.send("a", noise(16 << 20, 9), "").await;
    let slow = link.clone();
    let mut reader = tokio::task::spawn_blocking(move || {
        let mut reader = SlowReader::get(&slow, "slow");
        assert!(reader.read(10_000));
        reader
    })
    .await
    .unwrap();
    terminate(&server);
    wait_for("the drain", || async { server.log().contains("draining").then_some(()) }).await;
    terminate(&server);
    // The reader takes nothing meanwhile, so that it cannot come to the end first.
    server.ended().await;
    let reader = tokio::task::spawn_blocking(move || {
        while reader.read(1 << 20) {}
        reader
    })
    .await
    .unwrap();
    assert!(reader.taken < reader.length);
    server.start_again().await;
    assert_eq!(link.get(&client("one")).send().await.unwrap().bytes().await.unwrap().len(), 16 << 20);
}
