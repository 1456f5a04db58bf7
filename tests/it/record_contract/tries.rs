//! Tries at passwords and tokens.

use std::time::Duration;

use burnbag::clock::{Clock as _, ManualClock};
use burnbag::storage::StoreError;
use burnbag::transfer::policy::Expires;
use burnbag::transfer::tries::{
    ADDRESS_FORGOTTEN, ADDRESS_FREE, LINK_FREE, LINK_STOP, LONGEST_DELAY, Tried, TryAnswer, delay, unlocked,
};
use burnbag::transfer::{EventType, LinkId, OperationId, Transfer, TransferId};
use futures_util::future::join_all;

use super::{Store, all_events};
use crate::sample::{START, available, link_of, secs, system, team};

async fn sent(store: &Store) -> (Transfer, LinkId) {
    let change = available(team(1), Expires::After(86_400_000 * 7), &[10], None, &system(START));
    let transfer = change.record().clone();
    store.commit(change).await.unwrap();
    let link = transfer.links()[0].id;
    (transfer, link)
}

fn id() -> OperationId {
    OperationId::generate(START)
}

fn address() -> Tried {
    Tried::Address("2001:db8::/64".to_owned())
}

async fn take(store: &Store, of: &Tried) -> TryAnswer {
    store.take_try(of, id()).await.unwrap()
}

async fn failed(store: &Store, link: LinkId) -> u32 {
    store.failed_tries(team(1), &[link]).await.unwrap()[0]
}

pub async fn of_many_tries_at_once_the_free_ones_are_taken(store: Store, _: ManualClock) {
    let (_, link) = sent(&store).await;
    for (of, free) in [(Tried::Link(link), LINK_FREE), (address(), ADDRESS_FREE)] {
        let answers = join_all((0..100).map(|_| take(&store, &of))).await;
        let taken = answers.iter().filter(|answer| **answer == TryAnswer::Taken).count();
        assert_eq!(taken, free as usize, "{of:?}");
        assert!(answers.iter().all(|answer| matches!(answer, TryAnswer::Taken | TryAnswer::Wait(_))));
        assert_eq!(take(&store, &of).await, TryAnswer::Wait(secs(1)));
    }
    assert_eq!(failed(&store, link).await, LINK_FREE);
}

pub async fn each_further_try_of_a_link_waits_longer_until_it_is_stopped(store: Store, clock: ManualClock) {
    let (_, link) = sent(&store).await;
    let of = Tried::Link(link);
    let mut waited = Duration::ZERO;
    for n in 0..LINK_STOP {
        let wait = delay(n, LINK_FREE);
        if !wait.is_zero() {
            assert_eq!(take(&store, &of).await, TryAnswer::Wait(wait), "after {n}");
            clock.advance(wait.saturating_sub(Duration::from_millis(1)));
            assert_eq!(take(&store, &of).await, TryAnswer::Wait(Duration::from_millis(1)), "after {n}");
            clock.advance(Duration::from_millis(1));
            waited += wait;
        }
        assert_eq!(take(&store, &of).await, TryAnswer::Taken, "after {n}");
    }
    assert!(waited > LONGEST_DELAY * 80, "{waited:?}");
    // For good, and by whomever.
    for later in [Duration::ZERO, LONGEST_DELAY, Duration::from_hours(24)] {
        clock.advance(later);
        assert_eq!(take(&store, &of).await, TryAnswer::Stopped);
    }
    assert_eq!(failed(&store, link).await, LINK_STOP);
}

pub async fn an_address_is_forgotten_after_a_while_and_never_stopped(store: Store, clock: ManualClock) {
    for n in 0..LINK_STOP + 20 {
        let wait = delay(n, ADDRESS_FREE);
        clock.advance(wait);
        assert_eq!(take(&store, &address()).await, TryAnswer::Taken, "after {n}");
    }
    clock.advance(ADDRESS_FORGOTTEN.saturating_sub(Duration::from_millis(1)));
    assert_eq!(take(&store, &address()).await, TryAnswer::Taken);
    assert_eq!(take(&store, &address()).await, TryAnswer::Wait(LONGEST_DELAY), "the last one moves it on");
    clock.advance(ADDRESS_FORGOTTEN);
    for _ in 0..ADDRESS_FREE {
        assert_eq!(take(&store, &address()).await, TryAnswer::Taken);
    }
    assert_eq!(take(&store, &address()).await, TryAnswer::Wait(secs(1)));
    let other = Tried::Address("192.0.2.1".to_owned());
    assert_eq!(take(&store, &other).await, TryAnswer::Taken, "each address by itself");
}

pub async fn one_given_back_is_as_if_it_had_not_been(store: Store, clock: ManualClock) {
    let (_, link) = sent(&store).await;
    let of = Tried::Link(link);
    for _ in 0..LINK_FREE + 3 {
        clock.advance(secs(10));
        assert_eq!(take(&store, &of).await, TryAnswer::Taken);
    }
    // The right password, as often as may be, between wrong ones: neither more nor fewer failed, and nobody waits for it.
    clock.advance(secs(8));
    for _ in 0..20 {
        let right = id();
        assert_eq!(store.take_try(&of, right).await.unwrap(), TryAnswer::Taken);
        assert!(matches!(take(&store, &of).await, TryAnswer::Wait(_)), "while it is open it counts");
        store.give_back_try(&of, right).await.unwrap();
        store.give_back_try(&of, right).await.unwrap();
        assert_eq!(failed(&store, link).await, LINK_FREE + 3);
    }
    assert_eq!(take(&store, &of).await, TryAnswer::Taken);
    assert_eq!(take(&store, &of).await, TryAnswer::Wait(secs(16)));
    // Of several at once each gives its own back.
    let (both, address) = ([id(), id(), id()], address());
    for one in both {
        assert_eq!(store.take_try(&address, one).await.unwrap(), TryAnswer::Taken);
    }
    join_all(both.iter().map(|one| store.give_back_try(&address, *one))).await;
    store.give_back_try(&address, id()).await.unwrap();
    let answers = join_all((0..=ADDRESS_FREE).map(|_| take(&store, &address))).await;
    assert_eq!(answers.iter().filter(|answer| **answer == TryAnswer::Taken).count(), ADDRESS_FREE as usize);
}

pub async fn a_try_sent_twice_is_one(store: Store, _: ManualClock) {
    let (_, link) = sent(&store).await;
    let (of, once) = (Tried::Link(link), id());
    for _ in 0..10 {
        assert_eq!(store.take_try(&of, once).await.unwrap(), TryAnswer::Taken);
    }
    assert_eq!(failed(&store, link).await, 1);
}

pub async fn the_owner_alone_lifts_what_failed_and_it_is_told_once(store: Store, clock: ManualClock) {
    let (transfer, link) = sent(&store).await;
    let of = Tried::Link(link);
    let context = system(clock.now());
    let event = || unlocked(transfer.id(), link, &context);
    let told = async || {
        let events = all_events_of(&store).await;
        events.into_iter().filter(|kind| *kind == EventType::LinkUnlocked).count()
    };
    store.forget_tries(team(1), transfer.id(), link, event()).await.unwrap();
    assert_eq!(told().await, 0, "nothing had failed");
    for _ in 0..LINK_FREE {
        assert_eq!(take(&store, &of).await, TryAnswer::Taken);
    }
    for (of_team, id) in [(team(2), transfer.id()), (team(1), TransferId::generate(START))] {
        let refused = store.forget_tries(of_team, id, link, event()).await;
        assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    }
    assert_eq!(failed(&store, link).await, LINK_FREE);
    for _ in 0..2 {
        store.forget_tries(team(1), transfer.id(), link, event()).await.unwrap();
        assert_eq!((failed(&store, link).await, told().await), (0, 1));
    }
    assert_eq!(take(&store, &of).await, TryAnswer::Taken);
}

async fn all_events_of(store: &Store) -> Vec<EventType> {
    all_events(store, 1).await.into_iter().map(|event| event.kind).collect()
}

pub async fn what_failed_goes_with_its_link(store: Store, clock: ManualClock) {
    let (transfer, link) = sent(&store).await;
    let of = Tried::Link(link);
    assert_eq!(take(&store, &of).await, TryAnswer::Taken);
    let change = transfer.delete(&system(clock.now())).unwrap();
    let transfer = change.record().clone();
    store.commit(change).await.unwrap();
    assert_eq!(failed(&store, link).await, 1, "an ended transfer is still shown");
    let change = transfer.purge(None, clock.now(), &system(clock.now())).unwrap();
    let transfer = change.record().clone();
    store.commit(change).await.unwrap();
    clock.advance(secs(10_000));
    store.commit(transfer.forget(&system(clock.now())).unwrap()).await.unwrap();
    assert_eq!(failed(&store, link).await, 0);
    assert_eq!(take(&store, &of).await, TryAnswer::Gone);
    let unknown = Tried::Link(link_of(TransferId::generate(START), 1));
    assert_eq!(take(&store, &unknown).await, TryAnswer::Gone);
}
