use burnbag::clock::{Clock as _, ManualClock, Timestamp};
use burnbag::storage::StoreError;
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{OperationId, Touch, Transfer};

use super::{Store, all_events};
use crate::sample::{START, create, file, new_file, secs, system, team, whole_file};

const HOUR: Expires = Expires::After(3_600_000);

async fn uploading(store: &Store, clock: &ManualClock) -> Transfer {
    let change = create(team(1), HOUR, &system(clock.now()))
        .and_then(|transfer, context| {
            let new = new_file(transfer.id(), file(1));
            transfer.start_file(new, context)
        })
        .unwrap();
    let record = change.record().clone();
    store.commit(change).await.unwrap();
    record
}

fn touch(record: &Transfer, epoch: u64, opener: OperationId, bytes: u64, until: Timestamp) -> Touch {
    Touch {
        team: record.team(),
        transfer: record.id(),
        file: file(1),
        epoch,
        opener,
        upload: Some(format!("upload {epoch}")),
        bytes,
        upload_deadline: until,
    }
}

pub async fn a_touch_moves_the_upload_deadline_on_and_never_back(store: Store, clock: ManualClock) {
    let record = uploading(&store, &clock).await;
    let opener = system(START).operation;
    assert_eq!(store.next_due(0).await.unwrap(), Some(START.after(secs(900))));
    let events = all_events(&store, 1).await.len();
    for (until, due) in [(1000, 1000), (950, 1000), (2000, 2000), (10_000_000, 7 * 24 * 3600)] {
        let touch = touch(&record, 1, opener, until, START.after(secs(until)));
        store.touch(touch.clone()).await.unwrap();
        store.touch(touch).await.unwrap();
        assert_eq!(store.next_due(0).await.unwrap(), Some(START.after(secs(due))), "at most the hard end");
    }
    assert_eq!(all_events(&store, 1).await.len(), events, "progress is no event");
    let found = store.transfer(team(1), record.id()).await.unwrap().unwrap();
    assert_eq!(found.transfer.version(), record.version(), "and changes no version");
    assert_eq!(found.journal.files[&file(1)].upload.as_deref(), Some("upload 1"));
    assert_eq!(found.journal.files[&file(1)].bytes, 10_000_000);
}

pub async fn an_older_epoch_is_refused_and_its_opener_may_repeat(store: Store, clock: ManualClock) {
    let record = uploading(&store, &clock).await;
    let (one, two) = (system(START).operation, system(START).operation);
    let send = |epoch, opener, bytes| {
        let store = store.clone();
        let touch = touch(&record, epoch, opener, bytes, START.after(secs(950)));
        async move { store.touch(touch).await }
    };
    let refused = |answer| matches!(answer, Err(StoreError::TouchRefused));
    send(1, one, 10).await.unwrap();
    send(2, two, 10).await.unwrap();
    send(2, two, 10).await.unwrap();
    send(2, two, 20).await.unwrap();
    assert!(refused(send(1, one, 30).await), "an older epoch");
    assert!(refused(send(2, one, 30).await), "another opener of the same epoch");
    send(3, one, 20).await.unwrap();
    assert!(refused(send(2, two, 40).await));
    let journal = store.transfer(team(1), record.id()).await.unwrap().unwrap().journal;
    assert_eq!((journal.files[&file(1)].epoch, journal.files[&file(1)].bytes), (3, 20));
}

pub async fn a_touch_after_uploading_is_refused(store: Store, clock: ManualClock) {
    let record = uploading(&store, &clock).await;
    let opener = system(START).operation;
    store.commit(record.clone().delete(&system(START)).unwrap()).await.unwrap();
    let answer = store.touch(touch(&record, 1, opener, 1, START.after(secs(5000)))).await;
    assert!(matches!(answer, Err(StoreError::TouchRefused)));
    assert_eq!(store.next_due(0).await.unwrap(), Some(START), "the purge is due");
    let absent = Touch {
        transfer: burnbag::transfer::TransferId::generate(START),
        ..touch(&record, 1, opener, 1, START)
    };
    assert!(matches!(store.touch(absent).await, Err(StoreError::NotFound)));
}

pub async fn the_journal_stays_for_the_purge_and_goes_with_available(store: Store, clock: ManualClock) {
    let journalled = |id| {
        let store = store.clone();
        async move { store.transfer(team(1), id).await.unwrap().unwrap().journal.files.len() }
    };
    let opener = system(START).operation;
    let broken = uploading(&store, &clock).await;
    store.touch(touch(&broken, 1, opener, 1, START.after(secs(5000)))).await.unwrap();
    let end = broken.clone().abandon("idle", &system(START)).unwrap();
    let ended = end.record().clone();
    store.commit(end).await.unwrap();
    assert_eq!(journalled(broken.id()).await, 1, "a purge must abort it");
    store.commit(ended.purge(None, START.after(secs(9)), &system(START)).unwrap()).await.unwrap();
    assert_eq!(journalled(broken.id()).await, 0);
    let good = uploading(&store, &clock).await;
    store.touch(touch(&good, 1, opener, 1, START.after(secs(5000)))).await.unwrap();
    let whole = whole_file(good.id(), file(1), 3);
    let done = good.finish_file(whole, &system(START)).unwrap();
    let done = done.and_then(|t, c| t.complete(vec![], vec![1], c)).unwrap();
    let id = done.id();
    store.commit(done).await.unwrap();
    assert_eq!(journalled(id).await, 0);
}
