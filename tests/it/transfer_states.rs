//! Every transition of a transfer: where it is allowed, what it says, and how its changes are numbered.

use std::time::Duration;

use burnbag::clock::Timestamp;
use burnbag::transfer::policy::{Expires, OptionError};
use burnbag::transfer::terms::moved_deadline;
use burnbag::transfer::{
    Change, Context, EndReason, Event, EventType, FileState, HARD_END, InvalidTransition, KEPT_OPERATIONS,
    NewLink, SlotOwner, SlotWrite, Slots, State, Transfer,
};

use crate::sample::{
    START, available, create, file, link_of, new_file, new_link, secs, system, team, uploaded, whole_file,
};

type Try = fn(Transfer, &Context) -> Result<Change, InvalidTransition>;

/// Name, transition, where it is allowed, its events, the state after it.
type Row = (&'static str, Try, &'static [&'static str], Vec<EventType>, State);

const HOUR: Expires = Expires::After(3_600_000);

/// One transfer in each state, and one in Uploading with a running file.
fn one_in_each_state() -> Vec<(&'static str, Transfer)> {
    let at = system(START);
    let record = |change: Change| change.record().clone();
    let whole = record(uploaded(team(1), HOUR, &[10], &at));
    let running = record(create(team(1), HOUR, &at));
    let running = record({
        let new = new_file(running.id(), file(2));
        running.start_file(new, &at).unwrap()
    });
    let ended = record(record(available(team(1), HOUR, &[10], Some(1), &at)).delete(&at).unwrap());
    let looked = record(ended.clone().purge(Some(START.after(secs(5))), START.after(secs(9)), &at).unwrap());
    vec![
        ("empty", record(create(team(1), HOUR, &at))),
        ("running", running),
        ("whole", whole.clone()),
        ("held", record(whole.hold("scan", &at).unwrap())),
        ("available", record(available(team(1), HOUR, &[10], Some(1), &at))),
        ("ended", ended.clone()),
        ("purged", record(ended.purge(None, START.after(secs(9)), &at).unwrap())),
        ("to be looked at again", looked),
    ]
}

fn table() -> Vec<Row> {
    use EventType as E;
    vec![
        (
            "start_file",
            |t, c| {
                let new = new_file(t.id(), file(9));
                t.start_file(new, c)
            },
            &["empty", "running", "whole"],
            vec![E::UploadStarted],
            State::Uploading,
        ),
        (
            "finish_file",
            |t, c| {
                let whole = whole_file(t.id(), file(2), 3);
                t.finish_file(whole, c)
            },
            &["running"],
            vec![E::UploadCompleted],
            State::Uploading,
        ),
        (
            "drop_file",
            |t, c| t.drop_file(file(2), "broken", c),
            &["running"],
            vec![E::UploadAborted],
            State::Uploading,
        ),
        ("remove_file", |t, c| t.remove_file(file(1), c), &["whole"], vec![E::FileRemoved], State::Uploading),
        (
            "complete",
            |t, c| {
                let link = new_link(t.id(), 0, Some(2));
                t.complete(vec![link], vec![1], c)
            },
            &["whole"],
            vec![E::LinkCreated, E::TransferAvailable],
            State::Available,
        ),
        (
            "add_link",
            |t, c| {
                let link = new_link(t.id(), 1, None);
                t.add_link(link, c)
            },
            &["available"],
            vec![E::LinkCreated],
            State::Available,
        ),
        (
            "revoke_link",
            |t, c| {
                let first = t.links().first().map_or(link_of(t.id(), 0), |link| link.id);
                t.revoke_link(first, c).and_then(|change| change.ok_or(InvalidTransition::NoSuchLink))
            },
            &["available"],
            vec![E::LinkRevoked],
            State::Available,
        ),
        ("hold", |t, c| t.hold("scan", c), &["whole"], vec![E::TransferHeld], State::Held),
        ("release", |t, c| t.release(vec![], c), &["held"], vec![E::TransferAvailable], State::Available),
        ("reject", Transfer::reject, &["held"], vec![E::TransferRejected], State::Ended),
        (
            "delete",
            Transfer::delete,
            &["empty", "running", "whole", "held", "available"],
            vec![E::TransferDeleted],
            State::Ended,
        ),
        ("exhaust", Transfer::exhaust, &["available"], vec![E::TransferExhausted], State::Ended),
        ("purge", |t, c| t.purge(None, c.now, c), &["ended"], vec![E::TransferPurged], State::Purged),
        ("looked_again", Transfer::looked_again, &["to be looked at again"], vec![], State::Purged),
        ("forget", Transfer::forget, &["purged"], vec![E::TransferForgotten], State::Purged),
    ]
}

fn kinds(events: &[Event]) -> Vec<EventType> {
    events.iter().map(|event| event.kind).collect()
}

/// What must hold of every change.
fn check(before: Option<&Transfer>, change: &Change, context: &Context, name: &str) {
    let after = change.record();
    for (n, event) in change.events().iter().enumerate() {
        assert_eq!(event.id, format!("{}.{n}", context.operation), "{name}: ids are dense");
        assert_eq!(event.transfer, Some(after.id()), "{name}: says which transfer");
        assert_eq!(event.time, context.now, "{name}: says when");
    }
    assert_eq!(change.expected(), before.map(Transfer::version), "{name}: the version that it was read at");
    assert_eq!(after.version(), before.map_or(0, Transfer::version) + 1, "{name}: the next version");
    assert!(after.has_applied(context.operation), "{name}: remembers its operation");
    let moved = before.is_none_or(|before| before.state() != after.state());
    assert!(!moved || !change.events().is_empty(), "{name}: no state without its event");
    let ends = before.is_some_and(|before| before.state().is_live()) && !after.state().is_live();
    assert_eq!(
        *change.slots() == Slots::Destroy,
        ends,
        "{name}: an end, and only an end, destroys the slots"
    );
    assert_eq!(after.ended().is_some(), !after.state().is_live(), "{name}: says how it ended");
}

#[test]
fn each_transition_is_allowed_in_its_states_alone_and_says_what_it_did() {
    for (name, try_it, allowed, events, then) in table() {
        for (state, before) in one_in_each_state() {
            let context = system(START.after(secs(10)));
            match try_it(before.clone(), &context) {
                Ok(change) => {
                    assert!(allowed.contains(&state), "{name} is allowed when {state}");
                    let breaks_off = then == State::Ended && state == "running";
                    let aborted = breaks_off.then_some(EventType::UploadAborted);
                    let events: Vec<_> = aborted.into_iter().chain(events.clone()).collect();
                    assert_eq!(kinds(change.events()), events, "{name} when {state}");
                    assert_eq!(change.record().state(), then, "{name} when {state}");
                    assert_eq!(change.forgets(), name == "forget");
                    check(Some(&before), &change, &context, name);
                }
                Err(_) => assert!(!allowed.contains(&state), "{name} is refused when {state}"),
            }
        }
    }
}

#[test]
fn an_expiry_is_too_early_before_the_deadline_and_due_on_it() {
    for (name, before) in one_in_each_state() {
        let deadline = before.deadline();
        let early = before.clone().expire(&system(Timestamp::from_millis(deadline.as_millis() - 1)));
        let context = system(deadline);
        let on_time = before.clone().expire(&context);
        if before.state().is_live() {
            assert_eq!(early.unwrap_err(), InvalidTransition::TooEarly("expire"), "{name}");
            let (reason, kind) = if before.state() == State::Uploading {
                (EndReason::Abandoned, EventType::TransferAbandoned)
            } else {
                (EndReason::Expired, EventType::TransferExpired)
            };
            let change = on_time.unwrap();
            check(Some(&before), &change, &context, "expire");
            assert_eq!(change.record().ended().unwrap().reason, reason, "{name}");
            assert_eq!(change.record().ended().unwrap().from, before.state(), "{name}");
            let aborted = (name == "running").then_some(EventType::UploadAborted);
            let told: Vec<_> = aborted.into_iter().chain([kind]).collect();
            assert_eq!(kinds(change.events()), told, "{name}");
        } else {
            assert_eq!(early.unwrap_err(), on_time.unwrap_err(), "{name}");
        }
    }
}

#[test]
fn an_abandoned_upload_says_which_files_broke() {
    let (_, running) = one_in_each_state().swap_remove(1);
    let context = system(START);
    let change = running.clone().abandon("idle", &context).unwrap();
    check(Some(&running), &change, &context, "abandon");
    assert_eq!(kinds(change.events()), [EventType::UploadAborted, EventType::TransferAbandoned]);
    assert_eq!(change.events()[0].file, Some(file(2)));
    for (name, before) in one_in_each_state() {
        assert_eq!(
            before.clone().abandon("idle", &context).is_ok(),
            before.state() == State::Uploading,
            "{name}"
        );
    }
}

#[test]
fn a_first_commit_is_uploading_until_the_hard_end() {
    let context = system(START);
    let change = create(team(1), HOUR, &context);
    check(None, &change, &context, "create");
    assert_eq!(kinds(change.events()), [EventType::TransferCreated]);
    assert_eq!(change.record().state(), State::Uploading);
    assert_eq!(change.record().deadline(), START.after(HARD_END));
    assert!(change.slots().puts() && change.slots().writes().len() == 1);
    assert_eq!(change.upload_deadline(), Some(START.after(secs(900))));
}

#[test]
fn a_deadline_counts_from_available_and_an_instant_stays_what_it_is() {
    for (expires, deadline) in
        [(HOUR, START.after(secs(3610))), (Expires::At(START.after(secs(60))), START.after(secs(60)))]
    {
        let record = uploaded(team(1), expires, &[1], &system(START)).record().clone();
        let change = record.complete(vec![], vec![1], &system(START.after(secs(10)))).unwrap();
        assert_eq!(change.record().state(), State::Available);
        assert_eq!(change.record().deadline(), deadline);
    }
}

#[test]
fn an_instant_that_has_come_ends_a_transfer_where_it_would_be_available() {
    let instant = START.after(secs(10));
    for late in [0, 1, 3600] {
        let record = uploaded(team(1), Expires::At(instant), &[1], &system(START)).record().clone();
        let held = record.clone().hold("scan", &system(START)).unwrap().record().clone();
        let context = system(instant.after(secs(late)));
        let link = new_link(record.id(), 0, None);
        for change in [record.complete(vec![link], vec![1], &context), held.release(vec![], &context)] {
            let change = change.unwrap();
            assert_eq!(change.record().ended().unwrap().reason, EndReason::Expired);
            assert_eq!(kinds(change.events()), [EventType::TransferExpired]);
            assert_eq!(*change.slots(), Slots::Destroy);
            assert!(change.record().links().is_empty());
        }
    }
}

#[test]
fn past_the_hard_end_nothing_becomes_available() {
    let context = system(START.after(HARD_END));
    let record = uploaded(team(1), HOUR, &[1], &system(START)).record().clone();
    let held = record.clone().hold("scan", &system(START)).unwrap().record().clone();
    let abandoned = record.complete(vec![], vec![1], &context).unwrap();
    assert_eq!(abandoned.record().ended().unwrap().reason, EndReason::Abandoned);
    let expired = held.release(vec![], &context).unwrap();
    assert_eq!(expired.record().ended().unwrap().reason, EndReason::Expired);
}

#[test]
fn and_then_makes_one_atomic_change_of_two() {
    let context = system(START);
    let change = available(team(1), HOUR, &[10, 0], Some(1), &context);
    check(None, &change, &context, "all at once");
    assert_eq!(
        kinds(change.events()),
        [
            EventType::TransferCreated,
            EventType::UploadStarted,
            EventType::UploadCompleted,
            EventType::UploadStarted,
            EventType::UploadCompleted,
            EventType::LinkCreated,
            EventType::TransferAvailable,
        ]
    );
    assert_eq!(change.record().version(), 1);
    assert_eq!(change.upload_deadline(), Some(START.after(secs(900))));
    let slots = change.slots().writes();
    assert_eq!(slots.len(), 2, "the owner's first slot gave way to the second");
    assert!(slots.iter().any(|slot| matches!(slot, SlotWrite::Put(slot) if slot.bytes == b"owner slot")));
    let ended = change.and_then(Transfer::delete).unwrap();
    assert_eq!(*ended.slots(), Slots::Destroy, "an end destroys what was to be written");
}

#[test]
fn and_then_gives_nothing_where_the_second_is_refused() {
    let change = create(team(1), HOUR, &system(START));
    assert_eq!(change.and_then(Transfer::exhaust).unwrap_err(), {
        InvalidTransition::State { state: State::Uploading, asked: "be exhausted" }
    });
}

#[test]
fn a_record_remembers_its_last_eight_commits() {
    let mut record = create(team(1), HOUR, &system(START)).record().clone();
    let mut sent = Vec::new();
    for n in 0..12 {
        let context = system(START);
        sent.push(context.operation);
        let new = new_file(record.id(), file(100 + n));
        // Two transitions in one commit are one operation.
        let change = record
            .start_file(new, &context)
            .unwrap()
            .and_then(|transfer, context| transfer.drop_file(file(100 + n), "x", context))
            .unwrap();
        record = change.record().clone();
        assert_eq!(record.version(), u64::from(n) + 2);
    }
    let known: Vec<bool> = sent.iter().map(|operation| record.has_applied(*operation)).collect();
    let expected: Vec<bool> = (0..12).map(|n| n >= 12 - KEPT_OPERATIONS).collect();
    assert_eq!(known, expected);
}

#[test]
fn a_tombstone_keeps_no_keys_of_objects_but_until_the_second_look() {
    let states = one_in_each_state();
    let keys = |n: usize| states[n].1.blob_keys().count();
    assert_eq!((keys(5), keys(6), keys(7)), (1, 0, 1));
    let early = states[7].1.clone();
    assert!(early.clone().looked_again(&system(START.after(secs(4)))).is_err());
    assert!(early.clone().forget(&system(START.after(secs(100)))).is_err(), "the second look comes first");
    let looked = early.looked_again(&system(START.after(secs(5)))).unwrap().record().clone();
    assert_eq!(looked.blob_keys().count(), 0);
    assert!(looked.clone().forget(&system(START.after(secs(8)))).is_err());
    assert!(looked.forget(&system(START.after(secs(9)))).unwrap().forgets());
}

#[test]
fn a_dropped_file_gives_its_name_free_and_its_objects_stay_on_record() {
    let (_, running) = one_in_each_state().swap_remove(1);
    assert!(running.file(file(2)).unwrap().holds_name());
    assert_eq!(
        running.clone().complete(vec![], vec![], &system(START)).unwrap_err(),
        InvalidTransition::Incomplete
    );
    let record = running.drop_file(file(2), "broken", &system(START)).unwrap().record().clone();
    assert_eq!(record.file(file(2)).unwrap().state, FileState::Dropped);
    assert!(!record.file(file(2)).unwrap().holds_name());
    assert_eq!(record.blob_keys().count(), 1);
    assert_eq!(record.complete(vec![], vec![], &system(START)).unwrap_err(), InvalidTransition::Empty);
}

#[test]
fn a_link_is_taken_back_once_and_an_end_takes_all() {
    let at = system(START.after(secs(10)));
    let record = available(team(1), HOUR, &[10], Some(1), &system(START)).record().clone();
    let link = record.links()[0].id;
    let nobody = link_of(record.id(), 9);
    assert_eq!(record.clone().revoke_link(nobody, &at).unwrap_err(), InvalidTransition::NoSuchLink);
    let change = record.clone().revoke_link(link, &at).unwrap().unwrap();
    assert_eq!(*change.slots(), Slots::Write(vec![SlotWrite::Drop(link)]));
    let revoked = change.record().clone();
    assert!(!revoked.link(link).unwrap().stands(at.now));
    assert!(revoked.revoke_link(link, &at).unwrap().is_none());
    let ended = record.delete(&at).unwrap().record().clone();
    assert!(ended.revoke_link(link, &at).unwrap().is_none());
}

#[test]
fn a_transfer_has_a_hundred_links_and_no_number_is_given_twice() {
    let at = system(START);
    let mut record = available(team(1), HOUR, &[10], Some(1), &at).record().clone();
    for n in 1..100 {
        let first = record.links()[usize::from(n) - 1].id;
        record = record.revoke_link(first, &at).unwrap().unwrap().record().clone();
        assert_eq!(record.next_n(), u32::from(n));
        record = record.clone().add_link(new_link(record.id(), n, None), &at).unwrap().record().clone();
    }
    let more = new_link(record.id(), 100, None);
    assert_eq!(record.add_link(more, &at).unwrap_err(), InvalidTransition::TooManyLinks);
}

#[test]
fn a_link_is_closed_at_its_deadline_and_not_before() {
    let own = START.after(secs(60));
    let record = available(team(1), HOUR, &[10], Some(1), &system(START)).record().clone();
    let new = NewLink { deadline: Some(own), ..new_link(record.id(), 1, None) };
    let record = record.add_link(new, &system(START)).unwrap().record().clone();
    assert_eq!(record.next_link_deadline(), Some(own));
    let early = record.clone().close_links(&system(START.after(secs(59))));
    assert_eq!(early.unwrap_err(), InvalidTransition::TooEarly("close a link"));
    let context = system(own);
    let change = record.clone().close_links(&context).unwrap();
    check(Some(&record), &change, &context, "close_links");
    let link = record.links()[1].id;
    assert_eq!(*change.slots(), Slots::Write(vec![SlotWrite::Drop(link)]));
    assert_eq!(kinds(change.events()), [EventType::LinkExpired]);
    let closed = change.record().clone();
    assert_eq!(closed.next_link_deadline(), None);
    assert!(closed.clone().close_links(&context).is_err() && !closed.link(link).unwrap().stands(START));
}

#[test]
fn a_deadline_moves_while_held_or_available_and_never_once_it_has_come() {
    let to = START.after(secs(7200));
    for (name, before) in one_in_each_state() {
        let context = system(START.after(secs(10)));
        let moved = before.clone().set_deadline(to, vec![], &context);
        if !["held", "available"].contains(&name) {
            assert!(moved.is_err(), "{name}");
            continue;
        }
        let change = moved.unwrap();
        check(Some(&before), &change, &context, "set_deadline");
        assert_eq!(kinds(change.events()), [EventType::TransferChanged], "{name}");
        assert_eq!(change.record().deadline(), to, "{name}");
        assert_eq!(change.record().deadline_from(START.after(secs(20))), to, "{name}: it is an instant now");
        let late = before.clone().set_deadline(to.after(secs(9_999_999)), vec![], &system(before.deadline()));
        assert_eq!(late.unwrap_err(), InvalidTransition::Ended(EndReason::Expired), "{name}");
    }
    // What is held has the hard end too.
    let (_, held) = one_in_each_state().swap_remove(3);
    let far = START.after(HARD_END).after(secs(60));
    let moved = held.clone().set_deadline(far, vec![], &system(START)).unwrap().record().clone();
    assert_eq!((moved.deadline(), moved.deadline_from(START)), (START.after(HARD_END), far));
    assert_eq!(held.rewraps(far, START)[0].to, START.after(HARD_END));
}

#[test]
fn every_slot_that_opens_something_is_wrapped_anew_with_the_earlier_of_two_deadlines() {
    let at = system(START);
    let mut record = available(team(1), HOUR, &[10], None, &at).record().clone();
    for (n, own) in [(1, 600), (2, 1800), (3, 10)] {
        let new = NewLink { deadline: Some(START.after(secs(own))), ..new_link(record.id(), n, None) };
        record = record.add_link(new, &at).unwrap().record().clone();
    }
    let more = new_link(record.id(), 4, None);
    record = record.add_link(more, &at).unwrap().record().clone();
    let gone = link_of(record.id(), 4);
    record = record.revoke_link(gone, &at).unwrap().unwrap().record().clone();
    let rewraps: Vec<_> = record
        .rewraps(START.after(secs(900)), START.after(secs(10)))
        .into_iter()
        .map(|one| (one.owner, one.from.since(START).as_secs(), one.to.since(START).as_secs()))
        .collect();
    let link = |n| SlotOwner::Link(link_of(record.id(), n));
    assert_eq!(
        rewraps,
        [(SlotOwner::Owner, 3600, 900), (link(0), 3600, 900), (link(1), 600, 600), (link(2), 1800, 900)]
    );
}

#[test]
fn a_deadline_is_bounded_from_now_and_from_when_the_transfer_was_made() {
    let (day, longest) = (secs(86_400), secs(3 * 86_400));
    let record = available(team(1), HOUR, &[10], None, &system(START)).record().clone();
    let moved = |to, now| moved_deadline(to, &record, longest, now);
    assert_eq!(moved(Expires::At(START.after(longest)), START), Ok(START.after(longest)));
    assert_eq!(moved(Expires::After(86_400_000), START), Ok(START.after(day)));
    let past = |late: Timestamp| OptionError::DeadlineTooLate(late);
    let latest = START.after(longest);
    let later = latest.after(Duration::from_millis(1));
    assert_eq!(moved(Expires::At(later), START), Err(past(latest)));
    // A week after it was made it has as long left as it could have had then, and no longer.
    let (now, latest) = (START.after(HARD_END).after(day), START.after(HARD_END).after(longest));
    assert_eq!(moved(Expires::At(latest), now), Ok(latest));
    assert_eq!(moved(Expires::After(3 * 86_400_000), now), Err(past(latest)));
    for come in [START, START.after(secs(10))] {
        let refused = moved(Expires::At(come), START.after(secs(10))).unwrap_err();
        assert!(matches!(refused, OptionError::Invalid { field: "deadline", .. }), "{refused:?}");
    }
}
