use burnbag::clock::{Clock as _, ManualClock};
use burnbag::storage::StoreError;
use burnbag::transfer::policy::Expires;
use burnbag::transfer::quota::{Holding, Limits, MOST, Quantity, QuotaExceeded};
use burnbag::transfer::{Change, Context, State, TeamId, Transfer, TransferId};
use futures_util::future::join_all;

use super::{Store, all_events};
use crate::sample::{START, available, create, file, new_file, new_link, secs, system, team, whole_file};

const HOUR: Expires = Expires::After(3_600_000);

fn holds(bytes: u64, transfers: u64, uploads: u64) -> Holding {
    Holding { bytes, transfers, uploads }
}

/// A new transfer that has reserved so much.
fn reserved(of: TeamId, bytes: u64, context: &Context) -> Change {
    create(of, HOUR, context).and_then(|transfer, context| transfer.reserve(bytes, context)).unwrap()
}

async fn held(store: &Store) -> Holding {
    store.usage(team(1)).await.unwrap().held
}

/// What the records of a team add up to.
async fn recounted(store: &Store, of: TeamId) -> Holding {
    let ids = store.list(of, None, 10_000).await.unwrap();
    let records = store.transfers(ids.into_iter().map(|id| (of, id)).collect()).await.unwrap();
    let each = records.into_iter().map(|record| record.unwrap().unwrap().transfer.holding());
    each.fold(Holding::default(), Holding::and)
}

async fn step(
    store: &Store,
    record: &mut Transfer,
    next: impl FnOnce(Transfer, &Context) -> Change,
    context: &Context,
) {
    let change = next(record.clone(), context);
    *record = change.record().clone();
    store.commit(change).await.unwrap();
}

pub async fn what_a_transfer_holds_moves_with_it(store: Store, clock: ManualClock) {
    let context = || system(clock.now());
    assert_eq!(held(&store).await, Holding::default());
    let first = reserved(team(1), 100, &context());
    let mut record = first.record().clone();
    store.commit(first).await.unwrap();
    assert_eq!(held(&store).await, holds(100, 1, 1));
    let other = available(team(2), HOUR, &[5], None, &context());
    store.commit(other).await.unwrap();
    assert_eq!(held(&store).await, holds(100, 1, 1), "another team is another's");
    step(&store, &mut record, |t, c| t.reserve(11, c).unwrap(), &context()).await;
    assert_eq!(held(&store).await, holds(111, 1, 1));
    let id = record.id();
    step(&store, &mut record, |t, c| t.start_file(new_file(id, file(1)), c).unwrap(), &context()).await;
    step(&store, &mut record, |t, c| t.finish_file(whole_file(id, file(1), 30), c).unwrap(), &context())
        .await;
    assert_eq!(held(&store).await, holds(111, 1, 1));
    let link = new_link(id, 0, Some(1));
    step(&store, &mut record, |t, c| t.complete(vec![link], b"owner".to_vec(), c).unwrap(), &context()).await;
    assert_eq!(held(&store).await, holds(30, 1, 0), "corrected to what it is");
    step(&store, &mut record, |t, c| t.delete(c).unwrap(), &context()).await;
    assert_eq!(held(&store).await, holds(30, 0, 0), "its bytes are there until they are confirmed gone");
    assert_eq!(recounted(&store, team(1)).await, holds(30, 0, 0));
    step(&store, &mut record, |t, c| t.purge(None, c.now, c).unwrap(), &context()).await;
    assert_eq!(held(&store).await, Holding::default());
    step(&store, &mut record, |t, c| t.forget(c).unwrap(), &context()).await;
    assert_eq!(held(&store).await, Holding::default());
    // One that was never whole.
    let first = reserved(team(1), 70, &context());
    let mut record = first.record().clone();
    store.commit(first).await.unwrap();
    step(&store, &mut record, |t, c| t.abandon("broken", c).unwrap(), &context()).await;
    assert_eq!(held(&store).await, holds(70, 0, 0));
    step(&store, &mut record, |t, c| t.purge(None, c.now, c).unwrap(), &context()).await;
    assert_eq!(held(&store).await, Holding::default());
    assert_eq!(store.usage(team(2)).await.unwrap().held, holds(5, 1, 0));
}

pub async fn past_a_limit_nothing_is_written(store: Store, clock: ManualClock) {
    let context = || system(clock.now());
    let first = reserved(team(1), 60, &context());
    let record = first.record().clone();
    store.commit(first).await.unwrap();
    let before = (store.usage(team(1)).await.unwrap(), all_events(&store, 1).await.len());
    let limits = |bytes, transfers, uploads| Limits { bytes, transfers, uploads, ..Limits::default() };
    let refused = [
        (limits(Some(99), None, None), Quantity::Bytes, 99, 60),
        (limits(None, Some(1), None), Quantity::Transfers, 1, 1),
        (limits(Some(100), Some(2), Some(1)), Quantity::Uploads, 1, 1),
    ];
    for (limits, what, limit, used) in refused {
        let change = reserved(team(1), 40, &context()).within(limits);
        let id = change.id();
        let answer = store.commit(change).await;
        let expected = QuotaExceeded { what, limit, used };
        assert!(matches!(answer, Err(StoreError::QuotaExceeded(found)) if found == expected), "{answer:?}");
        assert!(store.transfer(team(1), id).await.unwrap().is_none());
        assert_eq!((store.usage(team(1)).await.unwrap(), all_events(&store, 1).await.len()), before);
    }
    // More than any store counts exactly, where nothing is limited.
    for bytes in [MOST, u64::MAX - 60] {
        let answer = store.commit(reserved(team(1), bytes, &context()).within(Limits::default())).await;
        let expected = QuotaExceeded { what: Quantity::Bytes, limit: MOST, used: 60 };
        assert!(matches!(answer, Err(StoreError::QuotaExceeded(found)) if found == expected), "{answer:?}");
    }
    let more = record.reserve(41, &context()).unwrap().within(limits(Some(100), None, None));
    assert!(matches!(store.commit(more).await, Err(StoreError::QuotaExceeded(_))));
    let fits = reserved(team(1), 40, &context()).within(limits(Some(100), Some(2), Some(2)));
    store.commit(fits).await.unwrap();
    assert_eq!(held(&store).await, holds(100, 2, 2));
    let other = reserved(team(2), 100, &context()).within(limits(Some(100), Some(1), Some(1)));
    store.commit(other).await.unwrap();
}

pub async fn ends_and_what_shrinks_are_never_refused(store: Store, clock: ManualClock) {
    let context = || system(clock.now());
    let nothing = Limits { bytes: Some(0), transfers: Some(0), uploads: Some(0), ..Limits::default() };
    let first = reserved(team(1), 60, &context());
    let mut record = first.record().clone();
    store.commit(first).await.unwrap();
    let id = record.id();
    step(
        &store,
        &mut record,
        |t, c| t.start_file(new_file(id, file(1)), c).unwrap().within(nothing),
        &context(),
    )
    .await;
    let whole = whole_file(id, file(1), 60);
    step(&store, &mut record, |t, c| t.finish_file(whole, c).unwrap().within(nothing), &context()).await;
    let complete = |t: Transfer, c: &Context| t.complete(vec![], vec![], c).unwrap().within(nothing);
    step(&store, &mut record, complete, &context()).await;
    step(&store, &mut record, |t, c| t.delete(c).unwrap().within(nothing), &context()).await;
    step(&store, &mut record, |t, c| t.purge(None, c.now, c).unwrap().within(nothing), &context()).await;
    assert_eq!(held(&store).await, Holding::default());
}

pub async fn of_many_at_once_as_many_as_fit_are_taken(store: Store, clock: ManualClock) {
    let limits = Limits { bytes: Some(1000), ..Limits::default() };
    let each = (0..64).map(|_| store.commit(reserved(team(1), 130, &system(clock.now())).within(limits)));
    let answers = join_all(each).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 7);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(StoreError::QuotaExceeded(_)))));
    assert_eq!(held(&store).await, holds(910, 7, 7));
    assert_eq!(recounted(&store, team(1)).await, holds(910, 7, 7));
}

pub async fn sent_twice_it_is_counted_once(store: Store, clock: ManualClock) {
    let limits = Limits { bytes: Some(100), transfers: Some(1), ..Limits::default() };
    let first = reserved(team(1), 100, &system(clock.now())).within(limits);
    for _ in 0..3 {
        store.commit(first.clone()).await.unwrap();
    }
    for answer in join_all((0..16).map(|_| store.commit(first.clone()))).await {
        answer.unwrap();
    }
    assert_eq!(held(&store).await, holds(100, 1, 1));
    let ends: Vec<_> =
        (0..8).map(|_| first.record().clone().abandon("broken", &system(clock.now())).unwrap()).collect();
    let done = join_all(ends.iter().map(|end| store.commit(end.clone()))).await;
    assert_eq!(done.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(held(&store).await, holds(100, 0, 0));
    let usage = store.usage(team(1)).await.unwrap();
    assert_eq!(usage.moves, 2, "each move counts once");
}

pub async fn in_a_batch_each_keeps_the_limits_by_itself(store: Store, clock: ManualClock) {
    let limits = Limits { bytes: Some(100), ..Limits::default() };
    let sizes = [60, 50, 40, 1, 0];
    let changes: Vec<_> =
        sizes.iter().map(|size| reserved(team(1), *size, &system(clock.now())).within(limits)).collect();
    let ids: Vec<TransferId> = changes.iter().map(Change::id).collect();
    let answers = store.commit_all(changes).await;
    let taken: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, false, true, false, true]);
    assert!(matches!(answers[1], Err(StoreError::QuotaExceeded(QuotaExceeded { used: 60, .. }))));
    let states = store.states(&ids).await.unwrap();
    assert_eq!(states.iter().map(Option::is_some).collect::<Vec<_>>(), taken);
    assert_eq!(states[0], Some(State::Uploading));
    assert_eq!(held(&store).await, holds(100, 3, 3));
}

pub async fn many_ends_in_one_batch_are_counted_once_each(store: Store, clock: ManualClock) {
    let context = || system(clock.now());
    let of = |n: u8| team(1 + n % 2);
    let firsts: Vec<_> = (0..120).map(|n| available(of(n), HOUR, &[10], Some(1), &context())).collect();
    let stays = available(team(1), HOUR, &[7], None, &context());
    let all = firsts.iter().cloned().chain([stays]).collect();
    assert!(store.commit_all(all).await.iter().all(Result::is_ok));
    let ends: Vec<_> =
        firsts.iter().map(|first| first.record().clone().delete(&context()).unwrap()).collect();
    let told = all_events(&store, 1).await.len();
    // One of them twice in the batch, and the whole batch again, as after an answer that was lost.
    let twice: Vec<_> = ends.iter().chain([&ends[5]]).cloned().collect();
    for _ in 0..2 {
        assert!(store.commit_all(twice.clone()).await.iter().all(Result::is_ok));
        assert_eq!(all_events(&store, 1).await.len(), told + 120, "an end is told once");
    }
    for n in 1..=2 {
        assert_eq!(store.usage(team(n)).await.unwrap().held, recounted(&store, team(n)).await);
    }
    // What was ended goes on from there.
    let until = clock.now().after(secs(60));
    let purges = ends.iter().map(|end| end.record().clone().purge(None, until, &context()).unwrap());
    assert!(store.commit_all(purges.collect()).await.iter().all(Result::is_ok));
    assert_eq!(held(&store).await, holds(7, 1, 0));
    assert_eq!(store.usage(team(2)).await.unwrap().held, Holding::default());
    assert_eq!(store.next_due(0).await.unwrap(), Some(until), "the tombstones are due next");
}

pub async fn the_counters_are_set_only_where_nothing_moved(store: Store, clock: ManualClock) {
    let context = || system(clock.now());
    store.commit(reserved(team(1), 60, &context())).await.unwrap();
    let seen = store.usage(team(1)).await.unwrap();
    store.commit(reserved(team(1), 7, &context())).await.unwrap();
    assert!(!store.set_usage(team(1), seen.moves, holds(1, 2, 3)).await.unwrap());
    assert_eq!(held(&store).await, holds(67, 2, 2));
    let seen = store.usage(team(1)).await.unwrap();
    assert!(store.set_usage(team(1), seen.moves, holds(1, 2, 3)).await.unwrap());
    assert_eq!(held(&store).await, holds(1, 2, 3));
    assert!(!store.set_usage(team(1), seen.moves, holds(9, 9, 9)).await.unwrap(), "that moved them too");
    assert!(store.set_usage(team(3), 0, holds(0, 0, 0)).await.unwrap(), "a team that never had anything");
}

pub async fn the_list_is_paged_newest_first_and_has_no_other_teams(store: Store, clock: ManualClock) {
    assert!(store.list(team(1), None, 10).await.unwrap().is_empty());
    let mut mine = Vec::new();
    for n in 0..25 {
        clock.set(START.after(secs(n)));
        for of in [1, 2] {
            let change = available(team(of), HOUR, &[1], None, &system(clock.now()));
            mine.extend((of == 1).then_some(change.record().clone()));
            store.commit(change).await.unwrap();
        }
    }
    let mut expected: Vec<TransferId> = mine.iter().map(Transfer::id).collect();
    expected.reverse();
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = store.list(team(1), before, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(*last);
        found.extend(page);
    }
    assert_eq!(found, expected);
    assert_eq!(store.list(team(1), Some(expected[3]), 2).await.unwrap(), expected[4..6]);
    // A tombstone is there until it goes.
    let mut record = mine.swap_remove(24);
    let context = system(clock.now());
    step(&store, &mut record, |t, c| t.delete(c).unwrap(), &context).await;
    let context = system(clock.now());
    step(&store, &mut record, |t, c| t.purge(None, c.now, c).unwrap(), &context).await;
    assert_eq!(store.list(team(1), None, 1).await.unwrap(), [record.id()]);
    let context = system(clock.now());
    step(&store, &mut record, |t, c| t.forget(c).unwrap(), &context).await;
    assert_eq!(store.list(team(1), None, 1).await.unwrap(), [expected[1]]);
}
