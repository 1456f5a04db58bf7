use burnbag::clock::{Clock as _, ManualClock};
use burnbag::storage::StoreError;
use burnbag::transfer::lease::{LeaseOp, LeaseRequest};
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{Change, EventType, SlotOwner, State, Touch, Transfer};
use futures_util::future::join_all;

use super::{Store, all_events, is_conflict};
use crate::sample::{
    START, TIMES, available, create, file, holder, new_file, open, owner, secs, stream, system, team,
    uploaded,
};

const HOUR: Expires = Expires::After(3_600_000);

pub async fn a_commit_reads_back_whole(store: Store, clock: ManualClock) {
    let change = available(team(1), HOUR, &[10, 0], Some(3), &system(clock.now()));
    let record = change.record().clone();
    let kinds: Vec<EventType> = change.events().iter().map(|event| event.kind).collect();
    store.commit(change.clone()).await.unwrap();
    let found = store.transfer(team(1), record.id()).await.unwrap().unwrap();
    assert_eq!(found.transfer, record);
    assert_eq!(found.counts_of(record.links()[0].id), burnbag::transfer::lease::Counts::default());
    assert_eq!(found.leases.open, 0);
    let link = record.links()[0].id;
    let opening = store.opening(link).await.unwrap().unwrap();
    assert_eq!(opening.record.transfer, record);
    assert_eq!(opening.slot, Some(format!("slot of link {link}").into_bytes()));
    assert_eq!(opening.now, clock.now());
    let events = all_events(&store, 1).await;
    assert_eq!(events, change.events());
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), kinds);
}

pub async fn a_commit_on_an_old_version_conflicts(store: Store, clock: ManualClock) {
    let first = create(team(1), HOUR, &system(clock.now()));
    let record = first.record().clone();
    store.commit(first).await.unwrap();
    let add = |n| record.clone().start_file(new_file(record.id(), file(n)), &system(START)).unwrap();
    store.commit(add(1)).await.unwrap();
    assert!(is_conflict(&store.commit(add(2)).await));
    let found = store.transfer(team(1), record.id()).await.unwrap().unwrap().transfer;
    assert_eq!((found.version(), found.files().len()), (2, 1));
    assert_eq!(all_events(&store, 1).await.len(), 2, "what conflicts leaves no event");
}

pub async fn a_second_first_commit_conflicts(store: Store, clock: ManualClock) {
    let first = create(team(1), HOUR, &system(clock.now()));
    store.commit(first.clone()).await.unwrap();
    let again = burnbag::transfer::NewTransfer {
        id: first.id(),
        team: team(2),
        owner: owner(),
        expires: HOUR,
        commitment: [0; 32],
        owner_slot: vec![],
        upload_deadline: START,
    };
    assert!(is_conflict(&store.commit(Transfer::create(again, &system(START))).await));
    assert!(store.transfer(team(2), first.id()).await.unwrap().is_none());
}

pub async fn a_commit_sent_twice_is_applied_once(store: Store, clock: ManualClock) {
    let first = create(team(1), HOUR, &system(clock.now()));
    let record = first.record().clone();
    let second = record.clone().start_file(new_file(record.id(), file(1)), &system(START)).unwrap();
    for change in [&first, &first, &second, &first, &second] {
        store.commit(change.clone()).await.unwrap();
    }
    // At once, and over a trimmed outbox.
    store.trim(0, 1).await.unwrap();
    for answer in join_all((0..16).map(|_| store.commit(second.clone()))).await {
        answer.unwrap();
    }
    store.commit(first).await.unwrap();
    assert_eq!(store.transfer(team(1), record.id()).await.unwrap().unwrap().transfer.version(), 2);
    assert_eq!(all_events(&store, 2).await.len(), 1);
}

pub async fn in_a_batch_each_is_whole_or_nothing(store: Store, clock: ManualClock) {
    let context = || system(clock.now());
    let firsts: Vec<_> = (0..600).map(|_| available(team(1), HOUR, &[1], Some(1), &context())).collect();
    for answer in store.commit_all(firsts.clone()).await {
        answer.unwrap();
    }
    let stale = firsts[300].record().clone();
    store.commit(stale.clone().delete(&context()).unwrap()).await.unwrap();
    let ends: Vec<_> =
        firsts.iter().map(|first| first.record().clone().delete(&context()).unwrap()).collect();
    let answers = store.commit_all(ends).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(is_conflict(answer), n == 300, "answers are in order");
        assert_eq!(answer.is_ok(), n != 300);
    }
    let ids: Vec<_> = firsts.iter().map(Change::id).collect();
    assert!(store.states(&ids).await.unwrap().iter().all(|state| *state == Some(State::Ended)));
    let events = all_events(&store, 1).await;
    assert_eq!(events.iter().filter(|event| event.kind == EventType::TransferDeleted).count(), 600);
}

pub async fn another_team_sees_and_changes_nothing(store: Store, clock: ManualClock) {
    let change = available(team(1), HOUR, &[1], Some(1), &system(clock.now()));
    let record = change.record().clone();
    store.commit(change).await.unwrap();
    let (mine, other, id) = (team(1), team(2), record.id());
    assert!(store.transfer(other, id).await.unwrap().is_none());
    assert!(store.slot(other, id, SlotOwner::Owner).await.unwrap().is_none());
    assert!(store.slot(mine, id, SlotOwner::Owner).await.unwrap().is_some());
    assert!(matches!(store.retry(other, id, START).await, Err(StoreError::NotFound)));
    let touch = Touch {
        team: other,
        transfer: id,
        file: file(1),
        epoch: 1,
        opener: system(START).operation,
        upload: None,
        bytes: 0,
        upload_deadline: START,
    };
    assert!(matches!(store.touch(touch).await, Err(StoreError::NotFound)));
    let request = LeaseRequest {
        team: other,
        transfer: id,
        op: open(&record, holder(1), stream(), 0, 1),
        context: system(START),
        times: TIMES,
    };
    assert!(matches!(store.lease(request.clone()).await, Err(StoreError::NotFound)));
    let ends = LeaseRequest { op: LeaseOp::EndDue, ..request };
    assert!(matches!(store.lease(ends).await, Err(StoreError::NotFound)));
    // The same record under another team: nobody can make one but through JSON, as a damaged caller might.
    let mut forged = serde_json::to_value(&record).unwrap();
    forged["team"] = serde_json::to_value(other).unwrap();
    let forged: Transfer = serde_json::from_value(forged).unwrap();
    assert!(is_conflict(&store.commit(forged.delete(&system(START)).unwrap()).await));
    assert_eq!(store.states(&[id]).await.unwrap(), [Some(State::Available)]);
    assert_eq!(store.live_transfers(other, owner()).await.unwrap(), 0);
}

pub async fn slots_are_there_until_the_deadline(store: Store, clock: ManualClock) {
    let change = available(team(1), HOUR, &[1], None, &system(clock.now()));
    let (id, link) = (change.id(), change.record().links()[0].id);
    store.commit(change).await.unwrap();
    clock.set(START.after(std::time::Duration::from_millis(3_599_999)));
    assert_eq!(store.slot(team(1), id, SlotOwner::Owner).await.unwrap(), Some(b"owner slot".to_vec()));
    assert!(store.opening(link).await.unwrap().unwrap().slot.is_some());
    assert!(store.slot(team(1), id, SlotOwner::Link(link)).await.unwrap().is_some());
    clock.set(START.after(secs(3600)));
    assert_eq!(store.slot(team(1), id, SlotOwner::Owner).await.unwrap(), None);
    assert_eq!(store.slot(team(1), id, SlotOwner::Link(link)).await.unwrap(), None);
    assert_eq!(store.opening(link).await.unwrap().unwrap().slot, None);
}

pub async fn an_end_destroys_the_slots(store: Store, clock: ManualClock) {
    let change = available(team(1), HOUR, &[1], None, &system(clock.now()));
    let record = change.record().clone();
    store.commit(change).await.unwrap();
    store.commit(record.clone().delete(&system(clock.now())).unwrap()).await.unwrap();
    assert_eq!(store.slot(team(1), record.id(), SlotOwner::Owner).await.unwrap(), None);
    let opening = store.opening(record.links()[0].id).await.unwrap().unwrap();
    assert_eq!(opening.slot, None);
    assert_eq!(opening.record.transfer.state(), State::Ended);
}

pub async fn a_slot_written_after_the_deadline_is_refused(store: Store, clock: ManualClock) {
    let change = uploaded(team(1), Expires::After(1000), &[1], &system(clock.now()));
    let record = change.record().clone();
    store.commit(change).await.unwrap();
    // Decided in time, and late on the way: past the new bound.
    let complete = record.clone().complete(vec![], b"late".to_vec(), &system(clock.now())).unwrap();
    clock.advance(secs(1));
    assert!(is_conflict(&store.commit(complete).await));
    // Past the old bound, the hard end.
    let week = Expires::After(30 * 24 * 3_600_000);
    let change = uploaded(team(1), week, &[1], &system(clock.now()));
    let complete = change.record().clone().complete(vec![], b"late".to_vec(), &system(clock.now())).unwrap();
    let fresh = create(team(1), week, &system(clock.now()));
    store.commit(change.clone()).await.unwrap();
    clock.advance(burnbag::transfer::HARD_END);
    assert!(is_conflict(&store.commit(complete).await));
    assert!(is_conflict(&store.commit(fresh).await), "a first commit that comes a week late");
    assert_eq!(store.slot(team(1), change.id(), SlotOwner::Owner).await.unwrap(), None);
    let end = change.record().clone().expire(&system(clock.now())).unwrap();
    store.commit(end).await.unwrap();
}

pub async fn of_two_ends_at_once_one_is_committed(store: Store, clock: ManualClock) {
    let change = available(team(1), HOUR, &[1], None, &system(clock.now()));
    let record = change.record().clone();
    store.commit(change).await.unwrap();
    clock.advance(secs(3600));
    let ends = (0..8).flat_map(|_| {
        let context = || system(clock.now());
        [record.clone().delete(&context()).unwrap(), record.clone().expire(&context()).unwrap()]
    });
    let answers = join_all(ends.map(|end| store.commit(end))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| is_conflict(answer)).count(), 15);
    let ends = [EventType::TransferDeleted, EventType::TransferExpired];
    let events = all_events(&store, 1).await;
    assert_eq!(events.iter().filter(|event| ends.contains(&event.kind)).count(), 1);
}

pub async fn a_forgotten_transfer_is_gone(store: Store, clock: ManualClock) {
    let context = || system(clock.now());
    let change = available(team(1), HOUR, &[1], Some(1), &context());
    let mut record = change.record().clone();
    let link = record.links()[0].id;
    store.commit(change).await.unwrap();
    for step in [
        |record: Transfer, context: &_| record.delete(context),
        |record: Transfer, context: &burnbag::transfer::Context| record.purge(None, context.now, context),
    ] {
        let change = step(record, &context()).unwrap();
        record = change.record().clone();
        store.commit(change).await.unwrap();
    }
    let forget = record.clone().forget(&context()).unwrap();
    store.commit(forget.clone()).await.unwrap();
    assert!(store.transfer(team(1), record.id()).await.unwrap().is_none());
    assert!(store.opening(link).await.unwrap().is_none());
    assert_eq!(store.states(&[record.id()]).await.unwrap(), [None]);
    assert_eq!(store.next_due(0).await.unwrap(), None);
    store.commit(forget).await.unwrap();
    store.commit(record.forget(&context()).unwrap()).await.unwrap();
    let events = all_events(&store, 1).await;
    assert_eq!(events.iter().filter(|event| event.kind == EventType::TransferForgotten).count(), 1);
}

pub async fn states_and_live_transfers_tell_where_they_stand(store: Store, clock: ManualClock) {
    let context = || system(clock.now());
    let uploading = create(team(1), HOUR, &context());
    let ready = available(team(1), HOUR, &[1], None, &context());
    let ended = ready.record().clone().delete(&context()).unwrap();
    let absent = burnbag::transfer::TransferId::generate(START);
    for change in [&uploading, &ready] {
        store.commit(change.clone()).await.unwrap();
    }
    let ids = [ready.id(), absent, uploading.id()];
    let states = store.states(&ids).await.unwrap();
    assert_eq!(states, [Some(State::Available), None, Some(State::Uploading)]);
    assert_eq!(store.live_transfers(team(1), owner()).await.unwrap(), 2);
    store.commit(ended).await.unwrap();
    assert_eq!(store.live_transfers(team(1), owner()).await.unwrap(), 1);
    assert!(store.states(&[]).await.unwrap().is_empty());
}

pub async fn set_meta_keeps_the_first(store: Store, clock: ManualClock) {
    assert_eq!(store.now().await.unwrap(), clock.now());
    assert_eq!(store.meta("store-id").await.unwrap(), None);
    let answers = join_all((0..16).map(|n| {
        let store = store.clone();
        async move { store.set_meta("store-id", &n.to_string()).await.unwrap() }
    }))
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "all are told the same");
    assert_eq!(store.meta("store-id").await.unwrap().as_ref(), Some(&answers[0]));
    assert_eq!(store.meta("log-id").await.unwrap(), None);
}
