//! The sweep, over real stores and a clock that is turned by hand: it finds what no record knows, and believes no wonder.

use std::sync::Arc;
use std::time::Duration;

use burnbag::app::App;
use burnbag::clock::ManualClock;
use burnbag::config::{Config, Flags};
use burnbag::service::ServiceError;
use burnbag::storage::records::OutboxEntry;
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{BlobKey, EventType, FileId, TransferId};
use zeroize::Zeroizing;

use crate::sample::{START, available, system, team};
use crate::support::wait_for;

const DAY: Duration = Duration::from_hours(24);

struct Stores {
    app: App,
    clock: ManualClock,
    dir: tempfile::TempDir,
}

impl Stores {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(START);
        let settings = vec![("DATA_DIR", dir.path().display().to_string())];
        let config = Config::load(&Flags { file: None, settings }).unwrap();
        let app = App::open(config, Arc::new(clock.clone())).await.unwrap();
        Self { app, clock, dir }
    }

    async fn put(&self, key: &BlobKey) {
        self.app.service.blobs.put(key, Zeroizing::new(vec![7; 100]).into()).await.unwrap();
    }

    /// An object that no record knows.
    async fn orphan(&self) -> BlobKey {
        let (transfer, file) = (TransferId::generate(START), FileId::generate(START));
        let key = BlobKey::generate(0, transfer, file, 0);
        self.put(&key).await;
        key
    }

    async fn is_there(&self, key: &BlobKey) -> bool {
        self.app.service.blobs.size(key).await.unwrap().is_some()
    }

    async fn events(&self, kind: EventType) -> Vec<OutboxEntry> {
        let all = self.app.service.records.outbox(0, 0, 10_000).await.unwrap();
        all.into_iter().filter(|entry| entry.event.kind == kind).collect()
    }
}

#[tokio::test]
async fn an_object_that_no_record_knows_is_deleted_once_it_is_old_and_is_on_record() {
    let stores = Stores::open().await;
    let old = stores.orphan().await;
    let live = available(team(1), Expires::After(7 * 86_400_000), &[1], None, &system(START));
    let known = live.record().blob_keys().next().unwrap().clone();
    stores.put(&known).await;
    stores.app.service.records.commit(live).await.unwrap();
    let foreign = stores.dir.path().join("objects/o/00/notes.txt");
    std::fs::write(&foreign, "not ours").unwrap();

    stores.clock.advance(DAY.saturating_sub(Duration::from_secs(1)));
    let young = stores.orphan().await;
    assert_eq!(stores.app.service.sweep().await.unwrap().deleted, 0, "nothing is old enough");
    assert!(stores.is_there(&old).await);

    stores.clock.advance(Duration::from_secs(1));
    let report = stores.app.service.sweep().await.unwrap();
    assert_eq!((report.orphans, report.deleted, report.stopped), (1, 1, false));
    assert!(!stores.is_there(&old).await);
    assert!(stores.is_there(&young).await, "too young");
    assert!(stores.is_there(&known).await, "a live transfer's");
    assert!(foreign.exists(), "not a name of ours");
    let told = stores.events(EventType::SweepDeleted).await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].event.transfer, told[0].event.file), (Some(old.transfer), Some(old.file)));
}

#[tokio::test]
async fn too_many_orphans_are_not_believed() {
    let stores = Stores::open().await;
    let mut orphans = Vec::new();
    for _ in 0..101 {
        orphans.push(stores.orphan().await);
    }
    stores.clock.advance(DAY);
    let report = stores.app.service.sweep().await.unwrap();
    assert_eq!((report.orphans, report.deleted, report.stopped), (101, 0, true));
    for key in &orphans {
        assert!(stores.is_there(key).await);
    }
    let told = stores.events(EventType::SweepStopped).await;
    assert_eq!(told.iter().map(|entry| entry.event.count).collect::<Vec<_>>(), [Some(101)]);
    // One fewer is believed.
    let gone = stores.app.service.blobs.delete(&orphans[..1]).await;
    assert!(gone.iter().all(Result::is_ok));
    assert_eq!(stores.app.service.sweep().await.unwrap().deleted, 100);
}

#[tokio::test]
async fn the_objects_of_other_records_are_left_alone() {
    let stores = Stores::open().await;
    let orphan = stores.orphan().await;
    stores.clock.advance(DAY);
    std::fs::write(stores.dir.path().join("objects/burnbag-store-id"), "0".repeat(32)).unwrap();
    // Swapped under a running service: the next pass sees it.
    let swept = stores.app.service.sweep().await;
    assert!(matches!(swept, Err(ServiceError::Conflict(_))), "{swept:?}");
    assert!(stores.is_there(&orphan).await);
    let Stores { app, clock, dir } = stores;
    drop(app);
    let clock = Arc::new(clock);
    // Another test that starts a process just now holds the lock too, for a moment.
    let refused = wait_for("the lock to be let go", async || {
        let settings = vec![("DATA_DIR", dir.path().display().to_string())];
        let config = Config::load(&Flags { file: None, settings }).unwrap();
        let refused = App::open(config, clock.clone()).await.err();
        let why = refused.expect("stores that do not belong together").to_string();
        (!why.starts_with("another burnbag serves")).then_some(why)
    })
    .await;
    assert!(refused.contains("do not belong together"), "{refused}");
    assert!(dir.path().join("objects").join(orphan.to_string()).exists());
}
