use std::collections::BTreeSet;

use burnbag::clock::{Clock as _, ManualClock};
use burnbag::storage::records::{Claim, Place};
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{Change, HARD_END, Transfer, TransferId};
use futures_util::future::join_all;

use super::{CLAIM, Store};
use crate::sample::{START, available, create, secs, system, team, uploaded};

async fn ids(store: &Store, limit: usize) -> Vec<TransferId> {
    store.claim(0, Claim::All, limit, CLAIM).await.unwrap().transfers.into_iter().map(|(_, id)| id).collect()
}

/// Transfers that are due one second after the other, from the first on.
async fn due_in_turn(store: &Store, clock: &ManualClock, many: u64) -> Vec<TransferId> {
    let changes: Vec<_> = (1..=many)
        .map(|n| available(team(1), Expires::After(n * 1000), &[1], None, &system(clock.now())))
        .collect();
    let ids = changes.iter().map(Change::id).collect();
    for answer in store.commit_all(changes).await {
        answer.unwrap();
    }
    ids
}

pub async fn a_claim_puts_off_and_comes_back_by_itself(store: Store, clock: ManualClock) {
    let due = due_in_turn(&store, &clock, 1).await;
    assert_eq!(store.next_due(0).await.unwrap(), Some(START.after(secs(1))));
    assert!(ids(&store, 9).await.is_empty());
    clock.advance(secs(1));
    let claimed = store.claim(0, Claim::All, 9, CLAIM).await.unwrap();
    assert_eq!((claimed.now, claimed.transfers), (clock.now(), vec![(team(1), due[0])]));
    assert!(ids(&store, 9).await.is_empty());
    assert_eq!(store.next_due(0).await.unwrap(), Some(clock.now().after(CLAIM)));
    // Its claimer is gone.
    clock.advance(CLAIM);
    assert_eq!(ids(&store, 9).await, due);
    let found = store.transfer(team(1), due[0]).await.unwrap().unwrap().transfer;
    store.commit(found.expire(&system(clock.now())).unwrap()).await.unwrap();
    assert_eq!(ids(&store, 9).await, due, "the purge is due at once");
}

pub async fn two_claimers_never_get_the_same_transfer(store: Store, clock: ManualClock) {
    let due = due_in_turn(&store, &clock, 300).await;
    clock.advance(secs(300));
    let tasks = (0..40).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { ids(&store, 10).await })
    });
    let claimed: Vec<TransferId> = join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(claimed.len(), due.len());
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), due.into_iter().collect());
}

pub async fn a_claim_is_earliest_first_and_bounded(store: Store, clock: ManualClock) {
    let due = due_in_turn(&store, &clock, 10).await;
    clock.advance(secs(7));
    assert_eq!(ids(&store, 4).await, due[..4]);
    assert_eq!(ids(&store, 4).await, due[4..7]);
    assert_eq!(store.next_due(0).await.unwrap(), Some(START.after(secs(8))));
    assert!(ids(&store, 0).await.is_empty());
    // What lives and what has ended stand in one row.
    clock.advance(secs(2));
    let ninth = store.transfer(team(1), due[8]).await.unwrap().unwrap().transfer;
    store.commit(ninth.delete(&system(START.after(secs(9)))).unwrap()).await.unwrap();
    clock.advance(secs(1));
    assert_eq!(ids(&store, 9).await, due[7..]);
}

pub async fn of_named_ones_those_that_are_due_are_claimed(store: Store, clock: ManualClock) {
    let due = due_in_turn(&store, &clock, 3).await;
    clock.advance(secs(2));
    let unknown = TransferId::from_bytes([0xee; 16]);
    let named = [due[2], due[1], unknown];
    let claimed = store.claim_these(0, Claim::All, &named, CLAIM).await.unwrap();
    assert_eq!((claimed.now, claimed.transfers), (clock.now(), vec![(team(1), due[1])]));
    assert!(
        store.claim_these(0, Claim::All, &named, CLAIM).await.unwrap().transfers.is_empty(),
        "it was put off"
    );
    assert_eq!(ids(&store, 9).await, [due[0]]);
    assert!(store.claim_these(0, Claim::All, &[], CLAIM).await.unwrap().transfers.is_empty());
    // Ended, it comes back for its objects; who only ends leaves it to others.
    let found = store.transfer(team(1), due[1]).await.unwrap().unwrap().transfer;
    store.commit(found.expire(&system(clock.now())).unwrap()).await.unwrap();
    assert!(store.claim_these(0, Claim::Live, &named, CLAIM).await.unwrap().transfers.is_empty());
    assert_eq!(store.claim_these(0, Claim::All, &named, CLAIM).await.unwrap().transfers, [(team(1), due[1])]);
}

pub async fn a_purge_that_failed_is_tried_again_later(store: Store, clock: ManualClock) {
    let change = available(team(1), Expires::After(1000), &[1], None, &system(clock.now()));
    let record = change.record().clone();
    store.commit(change).await.unwrap();
    store.retry(team(1), record.id(), START.after(secs(500))).await.unwrap();
    assert_eq!(store.next_due(0).await.unwrap(), Some(START.after(secs(1))), "nothing is to be purged yet");
    let ended = record.delete(&system(START)).unwrap();
    let purged = ended.record().clone().purge(None, START.after(secs(99)), &system(START)).unwrap();
    store.commit(ended).await.unwrap();
    assert_eq!(store.next_due(0).await.unwrap(), Some(START));
    for attempt in 1..=3_u32 {
        let at = START.after(secs(u64::from(attempt) * 10));
        store.retry(team(1), purged.id(), at).await.unwrap();
        let journal = store.transfer(team(1), purged.id()).await.unwrap().unwrap().journal;
        assert_eq!((journal.attempts, journal.retry_at), (attempt, Some(at)));
        assert_eq!(journal.backoff(), secs(1 << attempt));
        assert_eq!(store.next_due(0).await.unwrap(), Some(at));
    }
    store.commit(purged.clone()).await.unwrap();
    store.retry(team(1), purged.id(), START).await.unwrap();
    assert_eq!(
        store.next_due(0).await.unwrap(),
        Some(START.after(secs(99))),
        "a late retry puts nothing off"
    );
}

pub async fn each_state_has_its_instant(store: Store, clock: ManualClock) {
    assert_eq!(store.next_due(0).await.unwrap(), None);
    let context = || system(clock.now());
    let hour = Expires::After(3_600_000);
    let mut expected = Vec::new();
    let uploading = create(team(1), hour, &context());
    expected.push((START.after(secs(900)), uploading.id()));
    let available = available(team(1), hour, &[1], None, &context());
    expected.push((START.after(secs(3600)), available.id()));
    let held = uploaded(team(1), hour, &[1], &context()).and_then(|t, c| t.hold("scan", c)).unwrap();
    expected.push((START.after(HARD_END), held.id()));
    let gone = || uploaded(team(1), hour, &[1], &context()).and_then(Transfer::delete).unwrap();
    let ended = gone();
    expected.push((START, ended.id()));
    let purged = gone().and_then(|t, c| t.purge(None, START.after(secs(20)), c)).unwrap();
    expected.push((START.after(secs(20)), purged.id()));
    let again =
        gone().and_then(|t, c| t.purge(Some(START.after(secs(30))), START.after(secs(20)), c)).unwrap();
    expected.push((START.after(secs(30)), again.id()));
    for change in [uploading, available, held, ended, purged, again] {
        store.commit(change).await.unwrap();
    }
    expected.sort_unstable();
    for (at, id) in expected {
        assert_eq!(store.next_due(0).await.unwrap(), Some(at));
        clock.set(at);
        let claimed = store.claim(0, Claim::All, 1, HARD_END * 2).await.unwrap();
        assert_eq!(claimed.transfers, [(team(1), id)]);
    }
}

pub async fn without_room_for_deletions_only_the_living_are_claimed(store: Store, clock: ManualClock) {
    let due = due_in_turn(&store, &clock, 2).await;
    clock.advance(secs(1));
    let now = clock.now();
    let first = store.transfer(team(1), due[0]).await.unwrap().unwrap().transfer;
    store.commit(first.expire(&system(now)).unwrap()).await.unwrap();
    clock.advance(secs(1));
    let live = store.claim(0, Claim::Live, 9, CLAIM).await.unwrap().transfers;
    assert_eq!(live, [(team(1), due[1])]);
    assert_eq!(ids(&store, 9).await, [due[0]], "it was not put off");
}

pub async fn a_batch_is_read_in_its_order_and_only_with_the_right_team(store: Store, clock: ManualClock) {
    let due = due_in_turn(&store, &clock, 3).await;
    let unknown = TransferId::from_bytes([0xee; 16]);
    let asked =
        vec![(team(1), due[2]), (team(2), due[1]), (team(1), unknown), (team(1), due[0]), (team(1), due[2])];
    let read = store.transfers(asked).await.unwrap();
    let found: Vec<_> =
        read.into_iter().map(|record| record.unwrap().map(|record| record.transfer.id())).collect();
    assert_eq!(found, [Some(due[2]), None, None, Some(due[0]), Some(due[2])]);
    assert!(store.transfers(Vec::new()).await.unwrap().is_empty());
}

pub async fn the_front_shows_claimed_places_too_and_claims_nothing(store: Store, clock: ManualClock) {
    let due = due_in_turn(&store, &clock, 4).await;
    clock.advance(secs(2));
    let place = |n: usize, due: burnbag::clock::Timestamp, ids: &[TransferId]| Place {
        due,
        team: team(1),
        transfer: ids[n],
    };
    let at = |n: u64| START.after(secs(n));
    let front = async |until: u64, limit: usize| store.front(at(until), limit).await.unwrap();
    assert_eq!(front(3, 9).await, [0, 1, 2].map(|n| place(n, at(n as u64 + 1), &due)));
    assert_eq!(front(3, 2).await, [0, 1].map(|n| place(n, at(n as u64 + 1), &due)));
    // It claimed nothing; a claim may move a place on, and it is still shown.
    assert_eq!(ids(&store, 1).await, due[..1]);
    let mut shown = front(40, 9).await;
    let claimed = shown.iter().position(|place| place.transfer == due[0]).unwrap();
    let claimed = shown.remove(claimed);
    assert!([at(1), clock.now().after(CLAIM)].contains(&claimed.due), "{claimed:?}");
    assert_eq!(shown, [1, 2, 3].map(|n| place(n, at(n as u64 + 1), &due)));
    assert_eq!(ids(&store, 9).await, due[1..2]);
}
