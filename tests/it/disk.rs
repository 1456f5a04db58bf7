//! A disk that is full, read-only or not there, as a real small file system: nothing acknowledged is lost, ends go on,
//! and the service comes back by itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;

use crate::support::{Link, Server, basic, files_below, noise, wait_for};
use crate::trail::{client, count};

const MIB: usize = 1 << 20;

/// A small file system in memory, mounted as long as this lives.
pub struct Disk(tempfile::TempDir);

fn mount(arguments: &[&str]) {
    let done = Command::new("mount").args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "this test mounts a file system in memory: run it as root, or in `unshare --map-root-user --mount` ({})",
        String::from_utf8_lossy(&done.stderr).trim()
    );
}

fn unmount(at: &Path) {
    let done = Command::new("umount").args(["--lazy", at.to_str().unwrap()]).status().unwrap();
    assert!(done.success());
}

/// Something mounted over a directory, until it is dropped.
struct Over(PathBuf);

impl Over {
    /// Nothing can be written here, and what was here cannot be seen.
    fn nothing(at: PathBuf) -> Self {
        mount(&["-t", "tmpfs", "-o", "ro,size=1m", "burnbag-test", at.to_str().unwrap()]);
        Self(at)
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

impl Disk {
    fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        mount(&["-t", "tmpfs", "-o", &options, "burnbag-test", dir.path().to_str().unwrap()]);
        Self(dir)
    }

    /// One that takes no direct writes, as a tmpfs before Linux 6.6.
    pub fn without_direct_writes() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount(&["-t", "ramfs", "-o", "mode=0700", "burnbag-test", dir.path().to_str().unwrap()]);
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn free(&self) -> u64 {
        free(self.0.path())
    }

    /// Somebody else takes everything that is left.
    fn fill(&self) {
        let mut stranger =
            File::options().create(true).append(true).open(self.0.path().join("stranger")).unwrap();
        for size in [MIB, 4096, 1] {
            let bytes = vec![7; size];
            loop {
                match stranger.write_all(&bytes) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert_eq!(self.free(), 0);
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.path().join("stranger")).unwrap();
    }

    async fn server(&self, min_free: &str) -> Server {
        let data = self.data();
        let settings = [("BURNBAG_DATA_DIR", data.to_str().unwrap()), ("BURNBAG_MIN_FREE_BYTES", min_free)];
        Server::with(&settings).await
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.0.path());
    }
}

fn free(path: &Path) -> u64 {
    let disk = rustix::fs::statvfs(path).unwrap();
    disk.f_bavail * disk.f_frsize
}

/// Watches how little was free at any time.
struct Least {
    bytes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    watching: std::thread::JoinHandle<()>,
}

impl Least {
    fn watch(disk: &Disk) -> Self {
        let (least, stop) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicBool::new(false)));
        let (path, seen, told) = (disk.0.path().to_owned(), Arc::clone(&least), Arc::clone(&stop));
        let watching = std::thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                seen.fetch_min(free(&path), Ordering::SeqCst);
                std::thread::yield_now();
            }
        });
        Self { bytes: least, stop, watching }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.watching.join().unwrap();
        self.bytes.load(Ordering::SeqCst)
    }
}

/// A body of unknown length that is sent part by part.
fn unknown_length(bytes: &[u8]) -> reqwest::Body {
    let parts: Vec<_> = bytes.chunks(256 << 10).map(|part| Ok::<_, std::io::Error>(part.to_vec())).collect();
    reqwest::Body::wrap_stream(stream::iter(parts))
}

fn put(server: &Server, name: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    client("sender")
        .put(format!("{}/{name}", server.url))
        .basic_auth("", Some(&server.token))
        .header("accept", "application/json")
        .body(body)
}

/// The code of a problem with this status.
async fn problem(answer: reqwest::Response, status: u16) -> String {
    let got = answer.status();
    let retry = answer.headers().get("retry-after").is_some();
    let text = answer.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    assert_eq!(retry, status == 503, "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    problem["code"].as_str().unwrap().to_owned()
}

/// The link of a transfer that was sent with `accept: application/json`.
async fn link(answer: reqwest::Response) -> Link {
    let sent: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    Link::parse(sent["links"][0]["url"].as_str().unwrap(), sent["id"].as_str().unwrap())
}

async fn got(link: &Link) -> Vec<u8> {
    let answer = link.get(&client("receiver")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().to_vec()
}

async fn nothing_under_way(server: &Server) {
    wait_for("what was half written to go", async || {
        files_below(&server.data().join("tmp")).is_empty().then_some(())
    })
    .await;
}

fn assert_audit_is_whole(server: &Server) {
    let audit = server.data().join("audit");
    let verified = server.burnbag(&["audit", "verify", audit.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_alone_never_take_the_room_that_is_to_stay_free() {
    const MIN: u64 = 8 << 20;
    let disk = Disk::new("64m");
    let server = disk.server("8MiB").await;
    let kept = server.send("kept", noise(MIB, 1), "").await;

    // A length that does not fit is refused by the head alone: not a byte is asked for.
    let head = format!(
        "PUT /big HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: 100000000\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        basic("", &server.token)
    );
    let answer = server.raw(head.as_bytes(), true).await;
    assert!(answer.starts_with("HTTP/1.1 507"), "{answer}");
    assert!(answer.contains("(storage_full)"), "{answer}");

    // One that says nothing is refused on its way.
    let least = Least::watch(&disk);
    let before = disk.free();
    let answer = put(&server, "endless", unknown_length(&noise(80 * MIB, 2))).send().await.unwrap();
    assert_eq!(problem(answer, 507).await, "storage_full");
    nothing_under_way(&server).await;
    wait_for("the room to be back", async || (disk.free() + (1 << 20) > before).then_some(())).await;

    // Sixteen that each would fit: all together never take what is to stay free.
    let uploads = (0..16_u64).map(|n| {
        let bytes = noise(7 * MIB, n);
        let body = if n % 2 == 0 { bytes.clone().into() } else { unknown_length(&bytes) };
        let put = put(&server, "one-of-many", body);
        async move { (put.send().await.unwrap(), bytes) }
    });
    let (mut whole, mut refused) = (Vec::new(), 0);
    for (answer, bytes) in futures_util::future::join_all(uploads).await {
        if answer.status() == 201 {
            whole.push((link(answer).await, bytes));
        } else {
            assert_eq!(problem(answer, 507).await, "storage_full");
            refused += 1;
        }
    }
    let least = least.end();
    assert!(refused > 8, "{refused} of 16 were refused");
    // Records, log and directories grow beside the files.
    assert!(least >= MIN - (1 << 20), "{least} bytes were left at the least");
    nothing_under_way(&server).await;
    assert!(got(&kept).await == noise(MIB, 1));
    for (link, bytes) in &whole {
        assert!(got(link).await == *bytes, "what was acknowledged is lost");
    }

    // What was refused left nothing behind: with these gone, one of 40 MiB fits.
    for (link, _) in &whole {
        let ended = client("sender").delete(&link.url).basic_auth("", Some(&server.token)).send();
        assert_eq!(ended.await.unwrap().status(), 204);
    }
    wait_for("the objects to go", async || (server.objects().len() == 1).then_some(())).await;
    let large = noise(40 * MIB, 3);
    let sent = put(&server, "large", large.clone()).send().await.unwrap();
    assert_eq!(sent.status(), 201);
    assert!(got(&link(sent).await).await == large);
    assert!(!server.log().contains("the disk is full"), "what was set aside was not needed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_disk_that_others_filled_ends_and_purges_go_on_and_uploads_come_back_by_themselves() {
    let disk = Disk::new("64m");
    // More than the write-ahead log and what ends meanwhile can give back.
    let mut server = disk.server("8MiB").await;
    let bytes = noise(3 * MIB, 1);
    let kept = server.send("kept", bytes.clone(), "").await;
    let deleted = server.send("deleted", noise(MIB, 2), "").await;
    let mut due = Vec::new();
    for n in 0..20 {
        due.push(server.send("due", noise(10_000, n), "expires=4s").await);
    }
    wait_for("the room that is set aside", async || (reserve(&server) > 0).then_some(())).await;
    assert_eq!(reserve(&server), 2 << 20);
    disk.fill();

    for _ in 0..3 {
        let answer = put(&server, "a", noise(1000, 3)).send().await.unwrap();
        assert_eq!(problem(answer, 507).await, "storage_full");
        let answer = put(&server, "a", unknown_length(&noise(5 * MIB, 3))).send().await.unwrap();
        assert_eq!(problem(answer, 507).await, "storage_full");
        assert!(got(&kept).await == bytes);
    }
    let gone =
        client("sender").delete(&deleted.url).basic_auth("", Some(&server.token)).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(deleted.get(&client("receiver")).send().await.unwrap().status(), 404);
    for link in due.iter().chain([&deleted]) {
        wait_for("the purge", async || {
            (server.transfer(&link.transfer).await["state"] == "purged").then_some(())
        })
        .await;
        assert_eq!(link.get(&client("receiver")).send().await.unwrap().status(), 404);
    }
    assert_eq!(server.objects().len(), 1);
    for link in due.iter().chain([&deleted]) {
        let of = |kind| count(&server, &link.transfer, kind);
        wait_for("the events", async || (of("transfer.purged") == 1).then_some(())).await;
        assert_eq!(of("transfer.expired") + of("transfer.deleted"), 1);
    }
    assert_audit_is_whole(&server);
    assert_eq!(server.log().matches("the disk is full").count(), 1, "{}", server.log());
    assert!(server.log().contains("make room"));
    let ready = client("operator").get(format!("{}/readyz", server.url)).send().await.unwrap();
    assert!(ready.text().await.unwrap().contains("room: short"));

    disk.make_room();
    let again = wait_for("uploads", async || {
        let answer = put(&server, "again", bytes.clone()).send().await.unwrap();
        (answer.status() == 201).then_some(answer)
    })
    .await;
    assert!(got(&link(again).await).await == bytes);
    wait_for("the room that is set aside", async || (reserve(&server) == 2 << 20).then_some(())).await;
    assert!(got(&kept).await == bytes);
    server.stop().await;
    assert_audit_is_whole(&server);
}

/// Bytes that are set aside.
fn reserve(server: &Server) -> u64 {
    std::fs::metadata(server.data().join("reserve")).map_or(0, |file| file.blocks() * 512)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_under_way_when_the_disk_fills_are_refused_and_leave_nothing() {
    let disk = Disk::new("64m");
    let server = disk.server("8MiB").await;
    let kept = server.send("kept", noise(100_000, 1), "").await;
    for length in [None, Some(20 * MIB)] {
        let (give, take) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
        let body = stream::unfold(take, async |mut take| take.recv().await.map(|part| (part, take)));
        let mut put = put(&server, "under-way", reqwest::Body::wrap_stream(body));
        if let Some(length) = length {
            put = put.header("content-length", length);
        }
        let answer = tokio::spawn(put.send());
        for _ in 0..9 {
            give.send(Ok(vec![7; MIB].into())).await.unwrap();
        }
        wait_for("a part on the disk", async || {
            let tmp = files_below(&server.data().join("tmp"));
            tmp.iter().any(|file| file.metadata().is_ok_and(|file| file.len() > 0)).then_some(())
        })
        .await;
        disk.fill();
        // Nobody may be left to take it.
        while give.send(Ok(vec![7; MIB].into())).await.is_ok() {}
        assert_eq!(problem(answer.await.unwrap().unwrap(), 507).await, "storage_full");
        nothing_under_way(&server).await;
        assert_eq!(server.objects().len(), 1);
        assert!(got(&kept).await == noise(100_000, 1));
        disk.make_room();
        wait_for("uploads", async || {
            let answer = self::put(&server, "again", "x").send().await.unwrap();
            (answer.status() == 201).then_some(())
        })
        .await;
        wait_for("the room that is set aside", async || (reserve(&server) > 0).then_some(())).await;
        for file in server.objects() {
            let transfer = file.iter().rev().nth(2).unwrap().to_str().unwrap().to_owned();
            if transfer != kept.transfer {
                let url = format!("{}/api/v1/transfers/{transfer}", server.url);
                let ended = client("sender").delete(url).bearer_auth(&server.token).send().await.unwrap();
                assert_eq!(ended.status(), 204);
            }
        }
        wait_for("the objects to go", async || (server.objects().len() == 1).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_it_starts_and_ends_what_came_due_meanwhile() {
    let disk = Disk::new("64m");
    let mut server = disk.server("8MiB").await;
    let kept = server.send("kept", noise(MIB, 1), "").await;
    let due = server.send("due", noise(MIB, 2), "expires=1s").await;
    wait_for("the room that is set aside", async || (reserve(&server) > 0).then_some(())).await;
    server.stop().await;
    // As after a copy of the database alone: there is no room for what lies beside it.
    for beside in ["burnbag.db-wal", "burnbag.db-shm"] {
        std::fs::remove_file(server.data().join(beside)).unwrap();
    }
    disk.fill();
    server.start_again().await;
    assert!(server.log().contains("the disk is full"), "there was room without what was set aside");
    wait_for("the purge", async || (server.transfer(&due.transfer).await["state"] == "purged").then_some(()))
        .await;
    assert!(got(&kept).await == noise(MIB, 1));
    let answer = put(&server, "a", "x").send().await.unwrap();
    assert_eq!(problem(answer, 507).await, "storage_full");
    server.stop().await;
    assert_audit_is_whole(&server);
}

#[tokio::test]
async fn a_read_only_directory_is_refused_at_start_with_what_to_do() {
    let disk = Disk::new("64m");
    let mut server = disk.server("8MiB").await;
    let kept = server.send("kept", noise(MIB, 1), "").await;
    server.stop().await;
    let before: BTreeSet<_> = files_below(&disk.data()).into_iter().collect();
    mount(&["-o", "remount,ro", disk.0.path().to_str().unwrap()]);
    for dir in [disk.data(), disk.0.path().join("new")] {
        let said = crate::start_up::refused(&dir, &[]);
        for part in ["cannot use the data directory", dir.to_str().unwrap(), "make it writable"] {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    mount(&["-o", "remount,rw", disk.0.path().to_str().unwrap()]);
    assert!(files_below(&disk.data()).into_iter().collect::<BTreeSet<_>>() == before);
    server.start_again().await;
    assert!(got(&kept).await == noise(MIB, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_that_cannot_be_written_or_are_not_there_for_a_while_cost_nothing() {
    let server = Server::start().await;
    let bytes = noise(MIB, 1);
    let kept = server.send("kept", bytes.clone(), "").await;
    let get =
        || async { kept.get(&client("receiver")).header("accept", "application/json").send().await.unwrap() };
    let refused = async || {
        wait_for("uploads to be refused", async || {
            let answer = put(&server, "a", noise(3 * MIB, 2)).send().await.unwrap();
            (answer.status() != 201).then_some(answer)
        })
        .await
    };
    let comes_back = async || {
        wait_for("uploads", async || {
            let answer = put(&server, "a", noise(3 * MIB, 2)).send().await.unwrap();
            (answer.status() == 201).then_some(())
        })
        .await;
        assert!(got(&kept).await == bytes);
    };

    // Where uploads begin: they alone are refused.
    let over = Over::nothing(server.data().join("tmp"));
    assert_eq!(problem(refused().await, 503).await, "store_unavailable");
    assert!(got(&kept).await == bytes);
    assert!(server.log().contains("Read-only file system"));
    drop(over);
    comes_back().await;

    // The log: what cannot be recorded is not done.
    let over = Over::nothing(server.data().join("audit"));
    assert_eq!(problem(refused().await, 503).await, "audit_unavailable");
    wait_for("downloads to be refused", async || (get().await.status() == 503).then_some(())).await;
    assert_eq!(problem(get().await, 503).await, "audit_unavailable");
    drop(over);
    comes_back().await;

    // The objects: a volume that is away is not a deletion. An end holds at once, and its object goes when it is back.
    let ended = server.send("ended", noise(MIB, 3), "").await;
    let object =
        |objects: Vec<PathBuf>| objects.iter().any(|o| o.to_str().unwrap().contains(&ended.transfer));
    let over = Over::nothing(server.data().join("objects"));
    assert_eq!(problem(get().await, 503).await, "store_unavailable");
    assert_eq!(problem(refused().await, 503).await, "store_unavailable");
    let done = client("sender").delete(&ended.url).basic_auth("", Some(&server.token)).send().await.unwrap();
    assert_eq!(done.status(), 204);
    wait_for("the purge to be tried", async || server.log().contains("objects not deleted").then_some(()))
        .await;
    assert_eq!(server.transfer(&ended.transfer).await["state"], "ended");
    drop(over);
    comes_back().await;
    wait_for("the purge", async || (!object(server.objects())).then_some(())).await;
    assert_audit_is_whole(&server);
}
