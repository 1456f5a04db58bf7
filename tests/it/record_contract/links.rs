use burnbag::clock::{Clock as _, ManualClock, Timestamp};
use burnbag::storage::records::{Claim, LeaseAnswer};
use burnbag::transfer::lease::LeaseOp;
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{
    Change, Due, EventType, LinkId, NewLink, NewSlot, SlotOwner, State, Transfer, falls_due,
};

use super::{CLAIM, Store, all_events};
use crate::sample::{
    START, TIMES, available, holder, link_of, new_link, open, request, secs, settle, stream, system, team,
};

const HOUR: Expires = Expires::After(3_600_000);

async fn ready(store: &Store, clock: &ManualClock, downloads: Option<u32>) -> Transfer {
    let change = available(team(1), HOUR, &[100], downloads, &system(clock.now()));
    let record = change.record().clone();
    store.commit(change).await.unwrap();
    record
}

async fn commit(store: &Store, change: Change) -> Transfer {
    let record = change.record().clone();
    store.commit(change).await.unwrap();
    record
}

/// The transfer with one link more, which has its own deadline.
async fn linked(
    store: &Store,
    record: Transfer,
    n: u8,
    deadline: Option<Timestamp>,
    now: Timestamp,
) -> Transfer {
    let new = NewLink { deadline, ..new_link(record.id(), n, Some(1)) };
    commit(store, record.add_link(new, &system(now)).unwrap()).await
}

async fn slot(store: &Store, record: &Transfer, owner: SlotOwner) -> Option<String> {
    let slot = store.slot(team(1), record.id(), owner).await.unwrap();
    slot.map(|slot| String::from_utf8(slot).unwrap())
}

async fn has(store: &Store, record: &Transfer, link: LinkId) -> bool {
    let slot = slot(store, record, SlotOwner::Link(link)).await;
    let opening = store.opening(link).await.unwrap().unwrap();
    assert_eq!(opening.slot.is_some(), slot.is_some());
    slot.is_some()
}

pub async fn a_further_link_has_a_slot_until_it_is_taken_back(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, None).await;
    let (first, second) = (record.links()[0].id, link_of(record.id(), 1));
    let record = linked(&store, record, 1, None, clock.now()).await;
    assert!(has(&store, &record, first).await && has(&store, &record, second).await);
    let change = record.revoke_link(second, &system(clock.now())).unwrap().unwrap();
    for _ in 0..2 {
        store.commit(change.clone()).await.unwrap();
    }
    let record = change.record().clone();
    assert!(has(&store, &record, first).await && !has(&store, &record, second).await);
    assert_eq!(slot(&store, &record, SlotOwner::Owner).await.as_deref(), Some("owner slot"));
    assert_eq!(store.transfer(team(1), record.id()).await.unwrap().unwrap().transfer, record);
    // Again it is no change.
    assert!(record.clone().revoke_link(second, &system(clock.now())).unwrap().is_none());
    // What takes from somebody is not too late after the deadline, and brings nothing back.
    clock.set(record.deadline());
    let record = commit(&store, record.revoke_link(first, &system(clock.now())).unwrap().unwrap()).await;
    assert_eq!(slot(&store, &record, SlotOwner::Owner).await, None);
    let told = all_events(&store, 1).await;
    let revoked: Vec<_> = told.iter().filter(|event| event.kind == EventType::LinkRevoked).collect();
    assert_eq!(revoked.iter().map(|event| event.link).collect::<Vec<_>>(), [Some(second), Some(first)]);
}

pub async fn a_link_is_closed_at_its_own_deadline(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, Some(1)).await;
    let (own, link) = (START.after(secs(61)), link_of(record.id(), 1));
    let record = linked(&store, record, 1, Some(own), clock.now()).await;
    assert_eq!(store.next_due(0).await.unwrap(), Some(own));
    // The first link is used up; the other one stands, so the transfer does too.
    let LeaseAnswer::Opened(download) =
        store.lease(request(&record, open(&record, holder(1), stream(), 0, 100), START)).await.unwrap()
    else {
        panic!("not opened")
    };
    store.lease(request(&record, settle(download, 100), START)).await.unwrap();
    clock.set(START.after(TIMES.retry));
    let ended = store.lease(request(&record, LeaseOp::EndDue, START)).await.unwrap();
    assert_eq!(ended, LeaseAnswer::Ended(1));
    assert!(!store.transfer(team(1), record.id()).await.unwrap().unwrap().leases.exhausted);
    clock.set(own);
    assert_eq!(store.claim(0, Claim::All, 9, CLAIM).await.unwrap().transfers.len(), 1);
    let found = store.transfer(team(1), record.id()).await.unwrap().unwrap();
    let due = falls_due(found.transfer, &found.journal, &found.leases, &system(clock.now())).unwrap();
    let Due::Change(change) = due else { panic!("{due:?}") };
    let record = commit(&store, *change).await;
    assert!(record.link(link).unwrap().closed && record.state() == State::Available);
    assert!(!has(&store, &record, link).await && has(&store, &record, record.links()[0].id).await);
    // Now every link that stands is used up.
    assert!(store.transfer(team(1), record.id()).await.unwrap().unwrap().leases.exhausted);
    assert!(store.next_due(0).await.unwrap().unwrap() <= clock.now());
    let told = all_events(&store, 1).await;
    let closed: Vec<_> = told.iter().filter(|event| event.kind == EventType::LinkExpired).collect();
    assert_eq!(closed.iter().map(|event| event.link).collect::<Vec<_>>(), [Some(link)]);
}

fn wrapped(record: &Transfer, deadline: Timestamp, now: Timestamp) -> Vec<NewSlot> {
    let each = record.rewraps(deadline, now).into_iter();
    each.map(|rewrap| NewSlot { owner: rewrap.owner, bytes: format!("until {}", rewrap.to).into_bytes() })
        .collect()
}

pub async fn a_deadline_moves_with_all_slots_and_its_place(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, None).await;
    let (first, own) = (record.links()[0].id, START.after(secs(1800)));
    let record = linked(&store, record, 1, Some(own), clock.now()).await;
    let with_own = SlotOwner::Link(link_of(record.id(), 1));
    for (now, deadline) in
        [(0, 7200), (3600, 3700), (3650, 9000)].map(|(a, b)| (START.after(secs(a)), START.after(secs(b))))
    {
        clock.set(now);
        let record = store.transfer(team(1), record.id()).await.unwrap().unwrap().transfer;
        let slots = wrapped(&record, deadline, now);
        let record =
            commit(&store, record.clone().set_deadline(deadline, slots, &system(now)).unwrap()).await;
        assert_eq!(record.deadline(), deadline);
        let until = format!("until {deadline}");
        for owner in [SlotOwner::Owner, SlotOwner::Link(first)] {
            assert_eq!(slot(&store, &record, owner).await.as_ref(), Some(&until), "{deadline}");
        }
        let of_own = slot(&store, &record, with_own).await.unwrap();
        assert_eq!(of_own, format!("until {own}"), "the earlier of the two, and past it what it was");
        let due = store.next_due(0).await.unwrap();
        assert_eq!(due, Some(own.min(deadline)));
        clock.set(Timestamp::from_millis(deadline.as_millis() - 1));
        assert!(slot(&store, &record, SlotOwner::Owner).await.is_some());
        clock.set(now);
    }
    clock.set(START.after(secs(9000)));
    assert_eq!(slot(&store, &record, SlotOwner::Owner).await, None);
    let record = store.transfer(team(1), record.id()).await.unwrap().unwrap().transfer;
    assert!(record.clone().set_deadline(START.after(secs(99_999)), vec![], &system(clock.now())).is_err());
    let told = all_events(&store, 1).await;
    assert_eq!(told.iter().filter(|event| event.kind == EventType::TransferChanged).count(), 3);
}

pub async fn a_running_stream_is_told_where_the_deadline_is_now(store: Store, clock: ManualClock) {
    let record = ready(&store, &clock, None).await;
    let own = START.after(secs(900));
    let record = linked(&store, record, 1, Some(own), clock.now()).await;
    let opened = |link: usize| {
        let LeaseOp::Open(mut ask) = open(&record, holder(1), stream(), 0, 100) else { unreachable!() };
        ask.link = record.links()[link].id;
        store.lease(request(&record, LeaseOp::Open(ask), START))
    };
    let mut streams = Vec::new();
    for link in 0..2 {
        let LeaseAnswer::Opened(stream) = opened(link).await.unwrap() else { panic!("not opened") };
        streams.push(stream);
    }
    let until = async |link: usize| {
        let renew = LeaseOp::Renew { stream: streams[link], written: 10 };
        store.lease(request(&record, renew, START)).await.unwrap()
    };
    assert_eq!(until(0).await, LeaseAnswer::Goes { until: record.deadline() });
    assert_eq!(until(1).await, LeaseAnswer::Goes { until: own });
    for deadline in [300, 7200].map(|at| START.after(secs(at))) {
        let record = store.transfer(team(1), record.id()).await.unwrap().unwrap().transfer;
        let slots = wrapped(&record, deadline, clock.now());
        commit(&store, record.set_deadline(deadline, slots, &system(clock.now())).unwrap()).await;
        assert_eq!(until(0).await, LeaseAnswer::Goes { until: deadline });
        assert_eq!(until(1).await, LeaseAnswer::Goes { until: own.min(deadline) });
    }
    clock.set(own);
    assert!(matches!(until(0).await, LeaseAnswer::Goes { .. }));
    assert_eq!(until(1).await, LeaseAnswer::Stop);
}
