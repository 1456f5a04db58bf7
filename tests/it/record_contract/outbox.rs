use burnbag::clock::{Clock as _, ManualClock};
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{Event, EventType};
use futures_util::future::join_all;

use super::{Store, all_events, is_conflict};
use crate::sample::{create, file, new_file, system, team};

const HOUR: Expires = Expires::After(3_600_000);

fn refusals(clock: &ManualClock, many: usize) -> Vec<Event> {
    let context = system(clock.now());
    (0..many).map(|n| context.event(n, EventType::LoginRefused)).collect()
}

pub async fn numbers_are_dense_whatever_conflicts_beside(store: Store, clock: ManualClock) {
    let tasks = (0..32_u8).map(|n| {
        let (store, clock) = (store.clone(), clock.clone());
        tokio::spawn(async move {
            let first = create(team(1), HOUR, &system(clock.now()));
            let record = first.record().clone();
            store.commit(first).await.unwrap();
            let add = |n| record.clone().start_file(new_file(record.id(), file(n)), &system(clock.now()));
            let both = [add(n).unwrap(), add(n + 100).unwrap()];
            let answers = store.commit_all(both.to_vec()).await;
            assert_eq!(answers.iter().filter(|answer| is_conflict(answer)).count(), 1);
            store.append(refusals(&clock, 2)).await.unwrap();
        })
    });
    for done in join_all(tasks).await {
        done.unwrap();
    }
    assert_eq!(all_events(&store, 1).await.len(), 32 * 4);
}

pub async fn appended_twice_is_there_once(store: Store, clock: ManualClock) {
    let events = refusals(&clock, 3);
    store.append(events.clone()).await.unwrap();
    store.append(events[1..].to_vec()).await.unwrap();
    store.append(refusals(&clock, 1)).await.unwrap();
    store.append(vec![]).await.unwrap();
    let found = all_events(&store, 1).await;
    assert_eq!(found.len(), 4);
    assert_eq!(found[..3], events);
}

pub async fn numbers_go_on_after_everything_was_trimmed(store: Store, clock: ManualClock) {
    assert!(all_events(&store, 1).await.is_empty());
    store.append(refusals(&clock, 5)).await.unwrap();
    store.trim(0, 2).await.unwrap();
    assert_eq!(all_events(&store, 3).await.len(), 3);
    store.trim(0, 1).await.unwrap();
    store.trim(0, 5).await.unwrap();
    assert!(all_events(&store, 6).await.is_empty());
    store.append(refusals(&clock, 1)).await.unwrap();
    assert_eq!(all_events(&store, 6).await.len(), 1);
}

pub async fn rolled_forward_numbers_go_on_after_the_logs(store: Store, clock: ManualClock) {
    let first = create(team(1), HOUR, &system(clock.now()));
    let id = first.id();
    store.commit(first).await.unwrap();
    let known = store.teams(&[burnbag::transfer::TransferId::from_bytes([0xee; 16]), id]).await.unwrap();
    assert_eq!(known, [(team(1), id)]);
    // An empty outbox, one with fewer events than the log, and one with more.
    for (to, many, first) in [(5, 2, 6), (20, 1, 21), (21, 3, 22), (22, 2, 23)] {
        let events = refusals(&clock, many);
        for _ in 0..2 {
            store.roll_forward(0, to, events.clone()).await.unwrap();
        }
        let found = all_events(&store, first).await;
        assert_eq!(found[found.len() - many..], events);
    }
}

pub async fn a_page_of_the_outbox_goes_on_where_the_last_ended(store: Store, clock: ManualClock) {
    let events = refusals(&clock, 10);
    store.append(events.clone()).await.unwrap();
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let page = store.outbox(0, after, 4).await.unwrap();
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        after = last.seq;
        found.extend(page.into_iter().map(|entry| entry.event));
    }
    assert_eq!(found, events);
}
