use std::time::Duration;

use burnbag::clock::{Clock as _, ManualClock};
use burnbag::storage::records::{Claim, LeaseAnswer};
use burnbag::transfer::lease::{Counts, LeaseOp, LeaseRefused, LeaseRequest, LeaseTimes, StreamRef};
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{EventType, HolderId, Transfer};
use futures_util::future::join_all;

use super::{CLAIM, Store, all_events, is_conflict};
use crate::sample::{
    START, TIMES, available, file, holder, open, request, secs, settle, stream, system, team, uploaded,
};

const HOUR: Expires = Expires::After(3_600_000);

async fn ready(store: &Store, clock: &ManualClock, downloads: Option<u32>) -> Transfer {
    let change = available(team(1), HOUR, &[100], downloads, &system(clock.now()));
    let record = change.record().clone();
    store.commit(change).await.unwrap();
    record
}

async fn send(store: &Store, record: &Transfer, op: LeaseOp) -> LeaseAnswer {
    store.lease(request(record, op, START)).await.unwrap()
}

async fn opened(store: &Store, record: &Transfer, by: HolderId) -> StreamRef {
    match send(store, record, open(record, by, stream(), 0, 100)).await {
        LeaseAnswer::Opened(stream) => stream,
        other => panic!("{other:?}"),
    }
}

async fn counts(store: &Store, record: &Transfer) -> Counts {
    let found = store.transfer(team(1), record.id()).await.unwrap().unwrap();
    // When one was last taken has a test of its own.
    Counts { last: None, ..found.counts_of(record.links()[0].id) }
}

/// A running stream may go on until the deadline.
fn goes(record: &Transfer) -> LeaseAnswer {
    LeaseAnswer::Goes { until: record.deadline() }
}

async fn how_many(store: &Store, kind: EventType) -> usize {
    all_events(store, 1).await.iter().filter(|event| event.kind == kind).count()
}

pub async fn sent_twice_they_change_nothing(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, Some(2)).await;
    let ask = open(&record, holder(1), stream(), 0, 100);
    let first = send(&store, &record, ask.clone()).await;
    let LeaseAnswer::Opened(stream) = first else { panic!("{first:?}") };
    for answer in join_all((0..8).map(|_| send(&store, &record, ask.clone()))).await {
        assert_eq!(answer, first);
    }
    assert_eq!(counts(&store, &record).await, Counts { used: 0, held: 1, returned: 0, last: None });
    for written in [40, 40, 30] {
        assert_eq!(send(&store, &record, LeaseOp::Renew { stream, written }).await, goes(&record));
    }
    for _ in 0..3 {
        assert_eq!(send(&store, &record, settle(stream, 100)).await, LeaseAnswer::Settled);
        assert_eq!(counts(&store, &record).await, Counts { used: 1, held: 0, returned: 0, last: None });
    }
    assert_eq!(
        send(&store, &record, LeaseOp::Renew { stream, written: 100 }).await,
        LeaseAnswer::Stop,
        "a stream that was settled does not run"
    );
    assert_eq!(send(&store, &record, ask).await, first, "a late copy of the first opens nothing new");
    assert_eq!(counts(&store, &record).await, Counts { used: 1, held: 0, returned: 0, last: None });
    assert_eq!(how_many(&store, EventType::DownloadStarted).await, 1);
    assert_eq!(how_many(&store, EventType::DownloadCompleted).await, 1);
    let found = store.transfer(team(1), record.id()).await.unwrap().unwrap();
    assert_eq!(found.transfer.version(), record.version(), "a lease changes no version");
    assert_eq!(found.leases.open, 1);
}

async fn race(store: &Store, clock: &ManualClock, downloads: u32) {
    let record = ready(store, clock, Some(downloads)).await;
    let tasks = (0..64).map(|n| {
        let (store, record) = (store.clone(), record.clone());
        tokio::spawn(async move { send(&store, &record, open(&record, holder(n), stream(), 0, 100)).await })
    });
    let answers: Vec<LeaseAnswer> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    let opened = answers.iter().filter(|answer| matches!(answer, LeaseAnswer::Opened(_))).count();
    let busy = answers.iter().filter(|answer| **answer == LeaseAnswer::Refused(LeaseRefused::Busy)).count();
    assert_eq!((opened, busy), (downloads as usize, 64 - downloads as usize));
    assert_eq!(counts(store, &record).await, Counts { used: 0, held: downloads, returned: 0, last: None });
    assert_eq!(how_many(store, EventType::DownloadStarted).await, opened);
    for answer in answers {
        if let LeaseAnswer::Opened(stream) = answer {
            send(store, &record, settle(stream, 100)).await;
        }
    }
    assert_eq!(
        send(store, &record, open(&record, holder(99), stream(), 0, 100)).await,
        LeaseAnswer::Refused(LeaseRefused::UsedUp)
    );
}

pub async fn one_download_goes_to_one_of_many(store: Store, clock: ManualClock) {
    race(&store, &clock, 1).await;
}

pub async fn ten_downloads_go_to_ten_of_many(store: Store, clock: ManualClock) {
    race(&store, &clock, 10).await;
}

pub async fn an_idle_lease_gives_its_count_back(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, Some(1)).await;
    for round in 1..=4 {
        let stream = opened(&store, &record, holder(round)).await;
        send(&store, &record, settle(stream, 99)).await;
        clock.advance(TIMES.idle.saturating_sub(Duration::from_millis(1)));
        assert_eq!(send(&store, &record, LeaseOp::EndDue).await, LeaseAnswer::Ended(0));
        assert_eq!(store.next_due(0).await.unwrap(), Some(clock.now().after(Duration::from_millis(1))));
        clock.advance(Duration::from_millis(1));
        assert_eq!(store.claim(0, Claim::All, 9, CLAIM).await.unwrap().transfers, [(team(1), record.id())]);
        assert_eq!(send(&store, &record, LeaseOp::EndDue).await, LeaseAnswer::Ended(1));
        let returned = u32::from(round).min(3);
        let used = u32::from(round) - returned;
        assert_eq!(counts(&store, &record).await, Counts { used, held: 0, returned, last: None });
        assert_eq!(how_many(&store, EventType::DownloadInterrupted).await, usize::from(round));
        // The deadline would come in the fourth round.
        clock.set(START);
    }
    assert_eq!(
        send(&store, &record, open(&record, holder(9), stream(), 0, 100)).await,
        LeaseAnswer::Refused(LeaseRefused::UsedUp),
        "the fourth time the count is used for good"
    );
}

pub async fn a_delivered_download_exhausts_and_is_due(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, Some(1)).await;
    let stream = opened(&store, &record, holder(1)).await;
    send(&store, &record, settle(stream, 100)).await;
    let exhausted = async || store.transfer(team(1), record.id()).await.unwrap().unwrap().leases.exhausted;
    assert!(!exhausted().await, "never at the last write");
    assert_eq!(store.next_due(0).await.unwrap(), Some(START.after(TIMES.retry)));
    clock.advance(TIMES.retry);
    assert_eq!(send(&store, &record, LeaseOp::EndDue).await, LeaseAnswer::Ended(1));
    assert!(exhausted().await);
    assert_eq!(store.next_due(0).await.unwrap(), Some(clock.now()));
    assert_eq!(store.claim(0, Claim::All, 9, CLAIM).await.unwrap().transfers, [(team(1), record.id())]);
    store.commit(record.exhaust(&system(clock.now())).unwrap()).await.unwrap();
    assert_eq!(how_many(&store, EventType::TransferExhausted).await, 1);
    assert_eq!(how_many(&store, EventType::DownloadInterrupted).await, 0);
}

pub async fn a_stream_stops_when_the_transfer_ends(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, Some(1)).await;
    let running = opened(&store, &record, holder(1)).await;
    store.commit(record.clone().delete(&system(START)).unwrap()).await.unwrap();
    let renew = LeaseOp::Renew { stream: running, written: 60 };
    assert_eq!(send(&store, &record, renew).await, LeaseAnswer::Stop);
    assert_eq!(
        send(&store, &record, open(&record, holder(2), stream(), 0, 100)).await,
        LeaseAnswer::Refused(LeaseRefused::Ended)
    );
    assert_eq!(
        send(&store, &record, settle(running, 100)).await,
        LeaseAnswer::Settled,
        "settling works in every state"
    );
    assert_eq!(counts(&store, &record).await, Counts { used: 1, held: 0, returned: 0, last: None });
    let late = ready(&store, &clock, Some(1)).await;
    let running = opened(&store, &late, holder(1)).await;
    clock.advance(secs(3600));
    let renew = LeaseOp::Renew { stream: running, written: 60 };
    assert_eq!(send(&store, &late, renew).await, LeaseAnswer::Stop, "the deadline alone stops it");
}

pub async fn a_tombstone_stays_while_a_lease_is_open(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, Some(1)).await;
    let running = opened(&store, &record, holder(1)).await;
    let ended = record.clone().delete(&system(START)).unwrap();
    let purged = ended.record().clone().purge(None, START.after(secs(1)), &system(START)).unwrap();
    let tombstone = purged.record().clone();
    store.commit(ended).await.unwrap();
    store.commit(purged).await.unwrap();
    clock.advance(secs(5));
    let forget = || tombstone.clone().forget(&system(clock.now())).unwrap();
    assert!(is_conflict(&store.commit(forget()).await));
    assert_eq!(store.next_due(0).await.unwrap(), Some(START.after(TIMES.idle)), "it waits for its lease");
    send(&store, &record, settle(running, 10)).await;
    clock.advance(TIMES.idle);
    assert_eq!(send(&store, &record, LeaseOp::EndDue).await, LeaseAnswer::Ended(1));
    assert_eq!(store.next_due(0).await.unwrap(), Some(START.after(secs(1))));
    store.commit(forget()).await.unwrap();
    assert!(store.transfer(team(1), record.id()).await.unwrap().is_none());
}

pub async fn ends_sent_twice_tell_each_once(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, None).await;
    let streams = (0..1100_u16).map(|n| {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        opened(&store, &record, HolderId::from_bytes(bytes))
    });
    join_all(streams).await;
    assert_eq!(store.transfer(team(1), record.id()).await.unwrap().unwrap().leases.open, 1100);
    clock.advance(TIMES.idle);
    // More than one operation ends: the same one, sent until nothing is left.
    let ends = request(&record, LeaseOp::EndDue, clock.now());
    let mut left = 1100;
    while left > 0 {
        let LeaseAnswer::Ended(some) = store.lease(ends.clone()).await.unwrap() else { panic!() };
        assert!(some > 0, "{left} are left");
        left -= some;
    }
    assert_eq!(how_many(&store, EventType::DownloadInterrupted).await, 1100);
    let found = store.transfer(team(1), record.id()).await.unwrap().unwrap();
    assert_eq!((found.leases.open, found.leases.next_end), (0, None));
    assert_eq!(counts(&store, &record).await, Counts { used: 1097, held: 0, returned: 3, last: None });
}

pub async fn other_times_move_the_end_of_a_lease(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, Some(1)).await;
    opened(&store, &record, holder(1)).await;
    clock.advance(TIMES.idle);
    let longer = LeaseTimes { idle: TIMES.idle * 2, ..TIMES };
    let ends = LeaseRequest { times: longer, ..request(&record, LeaseOp::EndDue, START) };
    assert_eq!(store.lease(ends.clone()).await.unwrap(), LeaseAnswer::Ended(0));
    assert_eq!(store.next_due(0).await.unwrap(), Some(START.after(longer.idle)), "it is not due for ever");
    let leases = store.transfer(team(1), record.id()).await.unwrap().unwrap().leases;
    assert_eq!(leases.changed, START, "it has not moved");
    clock.advance(TIMES.idle);
    assert_eq!(store.lease(ends).await.unwrap(), LeaseAnswer::Ended(1));
}

pub async fn a_removed_file_or_a_range_outside_is_refused(store: Store, clock: ManualClock) {
    let change = uploaded(team(1), HOUR, &[100, 50], &system(clock.now()))
        .and_then(|t, c| t.remove_file(file(1), c))
        .unwrap()
        .and_then(|t, c| {
            let link = crate::sample::new_link(t.id(), 0, None);
            t.complete(vec![link], vec![1], c)
        })
        .unwrap();
    let gone = change.record().clone();
    store.commit(change).await.unwrap();
    let refused = LeaseAnswer::Refused(LeaseRefused::Ended);
    assert_eq!(send(&store, &gone, open(&gone, holder(1), stream(), 0, 100)).await, refused);
    let record = ready(&store, &clock, Some(1)).await;
    for (from, to) in [(0, 101), (5, 4), (100, 100), (0, 0), (u64::MAX, 0), (0, u64::MAX)] {
        let ask = open(&record, holder(1), stream(), from, to);
        assert_eq!(send(&store, &record, ask).await, refused, "{from}..{to}");
    }
    opened(&store, &record, holder(1)).await;
}

pub async fn a_link_tells_when_a_lease_of_it_was_last_taken(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, None).await;
    let last = async || {
        let found = store.transfer(team(1), record.id()).await.unwrap().unwrap();
        found.counts_of(record.links()[0].id).last
    };
    assert_eq!(last().await, None);
    clock.advance(secs(3));
    let running = opened(&store, &record, holder(1)).await;
    let taken = clock.now();
    assert_eq!(last().await, Some(taken));
    clock.advance(secs(3));
    assert_eq!(send(&store, &record, settle(running, 100)).await, LeaseAnswer::Settled);
    assert_eq!(last().await, Some(taken), "to settle is no use");
    clock.advance(secs(3));
    opened(&store, &record, holder(2)).await;
    assert_eq!(last().await, Some(clock.now()));
}
