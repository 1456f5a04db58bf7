//! The relay between a real record store and a real log.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use burnbag::audit::{AuditGate, Relay, RelayConfig, verify};
use burnbag::clock::SystemClock;
use burnbag::storage::RecordStore;
use burnbag::storage::records::sqlite::SqliteRecords;
use burnbag::workers::relay;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::audit_support::{event, segment, seqs, start};

struct Running {
    gate: AuditGate,
    wake: Arc<Notify>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(records: &Arc<dyn RecordStore>, dir: PathBuf) -> Self {
        Self::patient(records, dir, Duration::from_secs(10))
    }

    /// A write that takes longer than this closes the gate.
    fn patient(records: &Arc<dyn RecordStore>, dir: PathBuf, stalled_after: Duration) -> Self {
        let (gate, wake, stop) = (AuditGate::new(), Arc::new(Notify::new()), CancellationToken::new());
        let config = RelayConfig { dir, shard: 0 };
        let clock = Arc::new(SystemClock);
        let to_log = Relay::new(records.clone(), config, gate.clone(), clock).stalled_after(stalled_after);
        let task = tokio::spawn(relay::run(to_log, wake.clone(), stop.clone()));
        Self { gate, wake, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

struct Home {
    dir: tempfile::TempDir,
    records: Arc<dyn RecordStore>,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let records = SqliteRecords::open(&dir.path().join("records.db"), Arc::new(SystemClock)).unwrap();
        Self { dir, records: Arc::new(records) }
    }

    fn audit(&self) -> PathBuf {
        self.dir.path().join("audit")
    }

    async fn add(&self, count: usize) {
        self.records.append((0..count).map(|_| event(start())).collect()).await.unwrap();
    }

    async fn drained(&self) {
        wait_for(async || self.records.outbox_length(0).await.unwrap().entries == 0).await;
    }
}

async fn wait_for(condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it did not come to that in 20 s");
}

#[tokio::test]
async fn every_event_is_in_the_log_once_over_restarts_and_none_waits() {
    let home = Home::new();
    home.add(2500).await;
    for _ in 0..2 {
        let relay = Running::start(&home.records, home.audit());
        relay.gate.opened().await;
        relay.gate.uploads().unwrap();
        home.add(3).await;
        relay.wake.notify_one();
        home.drained().await;
        home.add(2).await;
        relay.stop().await;
        assert_eq!(home.records.outbox_length(0).await.unwrap().entries, 0, "the last drain");
    }
    let report = verify(&home.audit()).unwrap();
    assert_eq!((report.lines(), report.shards[0].last.unwrap().seq), (2510, 2510));
    assert_eq!(Some(report.log_id), home.records.meta("log-id").await.unwrap());
}

#[tokio::test]
async fn the_gate_is_closed_before_the_relay_runs() {
    let gate = AuditGate::new();
    assert!(gate.uploads().is_err() && gate.downloads().is_err());
    assert!(!gate.status().ready);
    gate.working(50_001);
    assert!(gate.uploads().is_err() && gate.downloads().is_ok());
    gate.working(100_001);
    assert!(gate.downloads().is_err());
    gate.working(50_000);
    assert!(gate.uploads().is_ok() && gate.status().ready);
}

#[tokio::test]
async fn a_log_that_was_moved_away_closes_the_gate_and_opens_it_when_it_is_back() {
    let home = Home::new();
    home.add(3).await;
    let relay = Running::start(&home.records, home.audit());
    home.drained().await;
    relay.gate.opened().await;
    let away = home.dir.path().join("away");
    fs::rename(home.audit(), &away).unwrap();
    fs::write(home.audit(), "in the way").unwrap();
    wait_for(async || relay.gate.uploads().is_err()).await;
    assert!(relay.gate.downloads().is_err());
    home.add(2).await;
    fs::remove_file(home.audit()).unwrap();
    fs::rename(&away, home.audit()).unwrap();
    relay.gate.opened().await;
    home.drained().await;
    relay.stop().await;
    assert_eq!(seqs(&segment(&home.audit(), 1)), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_lost_log_closes_the_gate_until_the_operator_accepts_the_loss() {
    let home = Home::new();
    home.add(3).await;
    let relay = Running::start(&home.records, home.audit());
    home.drained().await;
    relay.gate.opened().await;
    fs::remove_dir_all(home.audit()).unwrap();
    wait_for(async || relay.gate.status().text.contains("echo 1-3 >>")).await;
    home.add(1).await;
    fs::write(home.audit().join("0/lost"), "1-3\n").unwrap();
    relay.gate.opened().await;
    home.drained().await;
    relay.stop().await;
    assert_eq!(seqs(&segment(&home.audit(), 1)), [4]);
    assert_eq!(verify(&home.audit()).unwrap().shards[0].lost, [1..=3]);
}

#[tokio::test]
async fn a_record_store_older_than_its_log_is_refused_also_when_it_went_on() {
    let (newest, restored) = (Home::new(), Home::new());
    newest.add(5).await;
    let relay = Running::start(&newest.records, newest.audit());
    newest.drained().await;
    relay.stop().await;

    let log_id = newest.records.meta("log-id").await.unwrap().unwrap();
    restored.records.set_meta("log-id", &log_id).await.unwrap();
    restored.add(2).await;
    let relay = Running::start(&restored.records, newest.audit());
    wait_for(async || relay.gate.status().text.contains("the record store has only 2")).await;
    restored.add(4).await;
    wait_for(async || relay.gate.status().text.contains("another one under that number")).await;
    assert!(relay.gate.downloads().is_err());
    relay.stop().await;
    assert_eq!(restored.records.outbox_length(0).await.unwrap().entries, 6);
    assert_eq!(verify(&newest.audit()).unwrap().lines(), 5);
}

/// Lets go of who reads a pipe, so that a test that fails does not hang.
struct LetGo(PathBuf);

impl Drop for LetGo {
    fn drop(&mut self) {
        let _ = rustix::fs::open(
            &self.0,
            rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK,
            rustix::fs::Mode::empty(),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_answer_closes_the_gate_until_it_does() {
    let home = Home::new();
    let running = Running::patient(&home.records, home.audit(), Duration::from_millis(200));
    running.gate.opened().await;
    home.add(2).await;
    running.wake.notify_one();
    home.drained().await;
    // The next batch has a gap, so the relay asks a file whether that was accepted. The file is a pipe, and it hangs
    // there as it would on a disk that does not answer.
    let lost = home.audit().join("0/lost");
    let _let_go = LetGo(lost.clone());
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &lost, fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    let database = rusqlite::Connection::open(home.dir.path().join("records.db")).unwrap();
    database.execute("UPDATE sqlite_sequence SET seq = seq + 2 WHERE name = 'outbox'", []).unwrap();
    assert!(running.gate.uploads().is_ok() && running.gate.downloads().is_ok());
    home.add(1).await;
    running.wake.notify_one();
    wait_for(async || running.gate.downloads().is_err()).await;
    assert!(running.gate.uploads().is_err());
    let status = running.gate.status();
    assert!(!status.ready && status.text.contains("a write takes longer"), "{}", status.text);
    assert_eq!(home.records.outbox_length(0).await.unwrap().entries, 1, "it waits in the outbox");

    tokio::task::spawn_blocking(move || fs::write(lost, "3-4\n")).await.unwrap().unwrap();
    running.gate.opened().await;
    home.drained().await;
    assert!(running.gate.downloads().is_ok());
    running.stop().await;
    assert_eq!(seqs(&segment(&home.audit(), 1)), [1, 2, 5]);
}
