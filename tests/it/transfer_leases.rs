//! The bounds of leases, on the domain alone; what they do in time and number the model test shows.

use std::collections::BTreeSet;

use burnbag::transfer::lease::{
    Counts, Lease, LeaseRefused, Leases, MAX_HELD, MAX_OPEN, MAX_STREAMS, OpenStream, StreamRef, open_stream,
};
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{LeaseId, MAX_RANGES, Ranges, StreamId, Transfer};
use proptest::prelude::*;

use crate::sample::{START, TIMES, available, file, holder, secs, system, team};

const SIZE: u64 = 1000;

fn ready(downloads: Option<u32>) -> Transfer {
    available(team(1), Expires::After(3_600_000), &[SIZE], downloads, &system(START)).record().clone()
}

fn ask(transfer: &Transfer, n: u32, from: u64, to: u64) -> OpenStream {
    let mut bytes = [0; 16];
    bytes[12..].copy_from_slice(&n.to_be_bytes());
    let (stream, link) = (StreamId::from_bytes(bytes), transfer.links()[0].id);
    OpenStream { stream, link, holder: holder(1), file: file(1), from, to }
}

/// The lease that the stream joined, as it is then.
fn join(
    transfer: &Transfer,
    held: &[Lease],
    open: u64,
    ask: &OpenStream,
) -> Result<(LeaseId, Lease), LeaseRefused> {
    let leases = Leases { transfer, counts: Counts::default(), held, open, now: START };
    let (stream, change) = open_stream(leases, ask, TIMES, &system(START))?;
    Ok((stream.lease, change.unwrap().lease().clone()))
}

#[test]
fn a_lease_takes_64_streams_and_the_next_asks_for_a_new_one() {
    let transfer = ready(None);
    let (id, mut lease) = join(&transfer, &[], 0, &ask(&transfer, 0, 0, 10)).unwrap();
    for n in 1..u32::try_from(MAX_STREAMS).unwrap() {
        let at = u64::from(n) * 10;
        let (joined, after) = join(&transfer, &[lease], 1, &ask(&transfer, n, at, at + 10)).unwrap();
        assert_eq!(joined, id);
        lease = after;
    }
    let (other, _) = join(&transfer, &[lease], 1, &ask(&transfer, 99, 700, 710)).unwrap();
    assert_ne!(other, id);
}

fn settled(lease: &Lease, transfer: &Transfer, ask: &OpenStream, written: u64) -> Lease {
    let at = StreamRef { lease: lease.id, file: ask.file, stream: ask.stream };
    lease.clone().progress(at, written, true, transfer, TIMES, &system(START)).unwrap().lease().clone()
}

#[test]
fn a_lease_starts_a_file_three_times_also_one_without_bytes() {
    let empty = available(team(1), Expires::After(3_600_000), &[0], None, &system(START)).record().clone();
    for (transfer, to) in [(ready(None), 1), (empty, 0)] {
        let first = ask(&transfer, 0, 0, to);
        let (id, mut lease) = join(&transfer, &[], 0, &first).unwrap();
        lease = settled(&lease, &transfer, &first, to);
        for n in 1..3 {
            let again = ask(&transfer, n, 0, to);
            let (joined, after) = join(&transfer, &[lease], 1, &again).unwrap();
            assert_eq!(joined, id);
            lease = settled(&after, &transfer, &again, to);
        }
        let (other, _) = join(&transfer, std::slice::from_ref(&lease), 1, &ask(&transfer, 3, 0, to)).unwrap();
        assert_ne!(other, id, "the fourth start");
    }
}

#[test]
fn a_lease_sends_three_times_the_size_and_no_byte_more() {
    let transfer = ready(None);
    let part = |n| ask(&transfer, n, 1, SIZE);
    let (id, mut lease) = join(&transfer, &[], 0, &part(0)).unwrap();
    lease = settled(&lease, &transfer, &part(0), SIZE);
    for n in 1..3 {
        lease = settled(&join(&transfer, &[lease], 1, &part(n)).unwrap().1, &transfer, &part(n), SIZE);
    }
    // Three bytes are left.
    let last = |to| join(&transfer, std::slice::from_ref(&lease), 1, &ask(&transfer, 9, 1, to)).unwrap().0;
    assert_eq!(last(4), id);
    assert_ne!(last(5), id);
}

#[test]
fn what_a_dead_stream_wrote_counts_as_sent() {
    let transfer = ready(None);
    let at = |n: u32, after: u64, held: &[Lease]| {
        let now = START.after(secs(after));
        let leases = Leases { transfer: &transfer, counts: Counts::default(), held, open: 1, now };
        let (stream, change) = open_stream(leases, &ask(&transfer, n, 1, SIZE), TIMES, &system(now)).unwrap();
        let lease = change.unwrap().lease().clone();
        let context = system(now);
        (stream.lease, lease.progress(stream, SIZE - 2, false, &transfer, TIMES, &context).unwrap())
    };
    // Each writes all but one byte, never settles, and is dead when the next one comes.
    let (id, mut change) = at(0, 0, &[]);
    for n in 1..3 {
        let (joined, after) = at(n, u64::from(n) * 31, &[change.lease().clone()]);
        assert_eq!(joined, id);
        change = after;
    }
    let (joined, _) = at(3, 3 * 31, &[change.lease().clone()]);
    assert_ne!(joined, id, "the dead ones sent three times the size");
}

#[test]
fn a_stream_joins_the_oldest_lease_that_waits_for_it_before_an_older_one_that_runs() {
    let transfer = ready(None);
    let (first, second) = (ask(&transfer, 0, 0, 500), ask(&transfer, 1, 0, 500));
    let (old, runs) = join(&transfer, &[], 0, &first).unwrap();
    let (young, waits) = join(&transfer, std::slice::from_ref(&runs), 1, &second).unwrap();
    assert_ne!(old, young, "a second start while one runs");
    let waits = settled(&waits, &transfer, &second, 100);
    let rest = ask(&transfer, 2, 100, 500);
    assert_eq!(join(&transfer, &[runs.clone(), waits.clone()], 2, &rest).unwrap().0, young);
    let waits_too = settled(&runs, &transfer, &first, 100);
    assert_eq!(join(&transfer, &[waits, waits_too], 2, &rest).unwrap().0, old, "of two that wait the oldest");
}

#[test]
fn a_holder_has_64_leases_and_a_transfer_ten_thousand() {
    let transfer = ready(None);
    let mut held = Vec::new();
    // Each a start of its own while the others run.
    for n in 0..u32::try_from(MAX_HELD).unwrap() {
        let (id, lease) = join(&transfer, &held, u64::from(n), &ask(&transfer, n, 0, SIZE)).unwrap();
        assert!(held.iter().all(|other: &Lease| other.id != id));
        held.push(lease);
    }
    let one_more = ask(&transfer, 99, 0, SIZE);
    assert_eq!(join(&transfer, &held, 64, &one_more).unwrap_err(), LeaseRefused::Busy);
    assert!(join(&transfer, &held[1..], 64, &one_more).is_ok());
    assert!(join(&transfer, &[], MAX_OPEN - 1, &one_more).is_ok());
    assert_eq!(join(&transfer, &[], MAX_OPEN, &one_more).unwrap_err(), LeaseRefused::Busy);
}

#[test]
fn busy_is_while_a_count_may_come_back_and_used_up_is_for_good() {
    let transfer = ready(Some(3));
    let try_with = |used, held| {
        let counts = Counts { used, held, returned: 0, last: None };
        let leases = Leases { transfer: &transfer, counts, held: &[], open: 0, now: START };
        open_stream(leases, &ask(&transfer, 1, 0, SIZE), TIMES, &system(START)).map(|_| ())
    };
    assert_eq!(try_with(2, 0), Ok(()));
    assert_eq!(try_with(1, 2), Err(LeaseRefused::Busy));
    assert_eq!(try_with(0, 3), Err(LeaseRefused::Busy));
    assert_eq!(try_with(3, 0), Err(LeaseRefused::UsedUp));
    assert_eq!(try_with(3, 1), Err(LeaseRefused::UsedUp));
}

proptest! {
    #[test]
    fn ranges_are_the_union_of_what_was_added(parts in prop::collection::vec((0..200_u64, 0..20_u64), 0..40)) {
        let (mut ranges, mut bytes) = (Ranges::default(), BTreeSet::new());
        for (from, length) in parts {
            ranges.add(from, from + length);
            bytes.extend(from..from + length);
        }
        prop_assert_eq!(ranges.total(), bytes.len() as u64);
        for size in [0, 1, 100, 220] {
            prop_assert_eq!(ranges.covers(size), (0..size).all(|byte| bytes.contains(&byte)));
        }
    }

    #[test]
    fn past_64_ranges_the_smallest_gap_counts_as_delivered(gaps in prop::collection::vec(1..50_u64, 64..200)) {
        let (mut ranges, mut at, mut added) = (Ranges::default(), 0, 0);
        for gap in &gaps {
            ranges.add(at, at + 1);
            added += 1;
            at += 1 + gap;
        }
        // As many gaps are lost as are needed, and none more: the last one lies behind the end.
        let lost = ranges.total() - added;
        let mut smallest = gaps[..gaps.len() - 1].to_vec();
        smallest.sort_unstable();
        let needed: u64 = smallest[..gaps.len() - MAX_RANGES].iter().sum();
        prop_assert!(lost >= needed);
        let json = serde_json::to_value(&ranges).unwrap();
        prop_assert_eq!(json.as_array().unwrap().len(), MAX_RANGES);
    }
}
