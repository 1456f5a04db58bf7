//! What holds of `SQLite` alone: bytes that leave the disk, a second process, other people's files.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burnbag::clock::ManualClock;
use burnbag::storage::records::sqlite::{SqliteRecords, Tuning};
use burnbag::storage::{RecordStore as _, StoreError};
use burnbag::transfer::access::AccessChange;
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{SlotOwner, Transfer};

use crate::sample::{START, available, owner, system, team};

const HOUR: Expires = Expires::After(3_600_000);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(START))
}

fn holds(path: &Path, what: &[u8]) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.windows(what.len()).any(|window| window == what)
}

/// Waits until it is so, ten seconds at most.
async fn wait_for(what: &str, so: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < give_up, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn refusal(path: &Path) -> String {
    match SqliteRecords::open(path, clock()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn a_destroyed_slot_leaves_database_and_write_ahead_log() {
    let directory = tempfile::tempdir().unwrap();
    let (path, wal) = (directory.path().join("records.db"), directory.path().join("records.db-wal"));
    let tuning = Tuning { checkpoint_every: Duration::from_millis(50), ..Tuning::default() };
    let store = SqliteRecords::open_with(&path, clock(), tuning).unwrap();
    let changes: Vec<_> = (0..50).map(|_| available(team(1), HOUR, &[1], Some(1), &system(START))).collect();
    let slot = |record: &Transfer| format!("slot of link {}", record.links()[0].id).into_bytes();
    for answer in store.commit_all(changes.clone()).await {
        answer.unwrap();
    }
    let records: Vec<Transfer> = changes.iter().map(|change| change.record().clone()).collect();
    wait_for("the slots to be in the database", || holds(&path, &slot(&records[0]))).await;
    // One stays, so that the scan is seen to find what is there.
    for record in &records[1..] {
        store.commit(record.clone().delete(&system(START)).unwrap()).await.unwrap();
    }
    wait_for("the log to be empty", || std::fs::metadata(&wal).is_ok_and(|file| file.len() == 0)).await;
    for record in &records[1..] {
        assert!(!holds(&path, &slot(record)), "a destroyed slot is in the database");
    }
    assert!(holds(&path, &slot(&records[0])));
}

#[tokio::test]
async fn what_a_killed_process_left_in_the_log_goes_without_a_write() {
    let directory = tempfile::tempdir().unwrap();
    let (path, wal) = (directory.path().join("records.db"), directory.path().join("records.db-wal"));
    let slow = Tuning { checkpoint_every: Duration::from_hours(1), ..Tuning::default() };
    let killed = SqliteRecords::open_with(&path, clock(), slow).unwrap();
    killed.commit(available(team(1), HOUR, &[1], None, &system(START))).await.unwrap();
    assert!(std::fs::metadata(&wal).unwrap().len() > 0);
    let fast = Tuning { checkpoint_every: Duration::from_millis(50), ..Tuning::default() };
    let _store = SqliteRecords::open_with(&path, clock(), fast).unwrap();
    wait_for("the log to be empty", || std::fs::metadata(&wal).is_ok_and(|file| file.len() == 0)).await;
    drop(killed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_writes_beside_a_busy_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.db");
    let serve = Arc::new(SqliteRecords::open(&path, clock()).unwrap());
    let busy = tokio::spawn({
        let serve = Arc::clone(&serve);
        async move {
            for _ in 0..100 {
                serve.commit(available(team(1), HOUR, &[1], None, &system(START))).await.unwrap();
            }
        }
    });
    let command = SqliteRecords::open(&path, clock()).unwrap();
    command.commit_access(AccessChange::first(team(1), owner(), &system(START))).await.unwrap();
    drop(command);
    assert_eq!(serve.account("admin").await.unwrap().unwrap().id, owner());
    busy.await.unwrap();
    let entries = serve.outbox(0, 0, 10_000).await.unwrap();
    assert_eq!(entries.len(), 100 * 5 + 2);
    assert!((1..).zip(&entries).all(|(seq, entry)| entry.seq == seq), "one numbering for both");
}

#[test]
fn only_its_owner_reads_the_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.db");
    let _store = SqliteRecords::open(&path, clock()).unwrap();
    for file in ["records.db", "records.db-wal"] {
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }
}

#[tokio::test]
async fn a_store_that_was_closed_has_everything_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.db");
    let store = SqliteRecords::open(&path, clock()).unwrap();
    let change = available(team(1), HOUR, &[1], Some(1), &system(START));
    store.commit(change.clone()).await.unwrap();
    let last = store.outbox_length(0).await.unwrap().last;
    store.trim(0, last).await.unwrap();
    drop(store);
    let store = SqliteRecords::open(&path, clock()).unwrap();
    let found = store.transfer(team(1), change.id()).await.unwrap().unwrap();
    assert_eq!(found.transfer, *change.record());
    assert!(store.slot(team(1), change.id(), SlotOwner::Owner).await.unwrap().is_some());
    store.commit(change.record().clone().delete(&system(START)).unwrap()).await.unwrap();
    let next = store.outbox(0, 0, 9).await.unwrap();
    assert_eq!(next.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [last + 1], "numbers go on");
}

#[test]
fn a_database_of_a_newer_burnbag_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.db");
    drop(SqliteRecords::open(&path, clock()).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db.pragma_update(None, "user_version", 4711).unwrap();
    drop(db);
    let said = refusal(&path);
    assert!(said.contains("schema 4711") && said.contains("newer burnbag"), "{said}");
    assert!(said.contains("records.db"), "{said}");
}

#[test]
fn a_file_that_is_no_database_is_named_in_the_error_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.db");
    let text = "this is a diary, not a database. ".repeat(400);
    std::fs::write(&path, &text).unwrap();
    let said = refusal(&path);
    assert!(said.contains("records.db") && said.contains("not a database"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let absent = refusal(&directory.path().join("no/such/directory/records.db"));
    assert!(absent.contains("no/such/directory"), "{absent}");
}

#[tokio::test]
async fn two_processes_make_one_database() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.db");
        let opened = (0..4).map(|_| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || SqliteRecords::open(&path, clock()))
        });
        for store in futures_util::future::join_all(opened).await {
            let store: Result<SqliteRecords, StoreError> = store.unwrap();
            store.unwrap().set_meta("store-id", "x").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_from_before_quotas_is_counted_when_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.db");
    let store = SqliteRecords::open(&path, clock()).unwrap();
    let context = || system(START);
    let ready = |sizes: &[u64]| available(team(1), HOUR, sizes, None, &context());
    let (ended, purged) = (ready(&[7]), ready(&[100]));
    let uploading = crate::sample::uploaded(team(1), HOUR, &[9], &context());
    let broken = crate::sample::uploaded(team(1), HOUR, &[50], &context());
    let other = available(team(2), HOUR, &[1000], None, &context());
    let firsts = [ready(&[3, 5]), ended.clone(), purged.clone(), uploading, broken.clone(), other];
    let deleted = purged.record().clone().delete(&context()).unwrap();
    let later = [
        ended.record().clone().delete(&context()).unwrap(),
        broken.record().clone().abandon("broken", &context()).unwrap(),
        deleted.clone(),
    ];
    let last = deleted.record().clone().purge(None, START, &context()).unwrap();
    for change in firsts.into_iter().chain(later).chain([last]) {
        store.commit(change).await.unwrap();
    }
    let counted = [store.usage(team(1)).await.unwrap().held, store.usage(team(2)).await.unwrap().held];
    assert_eq!((counted[0].bytes, counted[0].transfers, counted[0].uploads), (15, 2, 1));
    drop(store);
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP TABLE usage; DROP TABLE tries; DROP INDEX transfers_team; ALTER TABLE links DROP COLUMN last; PRAGMA user_version = 2",
    )
    .unwrap();
    drop(old);
    let store = SqliteRecords::open(&path, clock()).unwrap();
    let again = [store.usage(team(1)).await.unwrap().held, store.usage(team(2)).await.unwrap().held];
    assert_eq!(again, counted);
    assert_eq!(store.list(team(1), None, 10).await.unwrap().len(), 5);
}
