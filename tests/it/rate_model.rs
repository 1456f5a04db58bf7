//! The limit of requests against a bucket that is filled by hand.

use burnbag::clock::Timestamp;
use burnbag::transfer::rate::{Ask, Meter, Rate};
use proptest::prelude::*;

/// A bucket of thousandths of a request; each millisecond pours in what a second lets pass of whole ones.
struct Bucket {
    has: u64,
}

impl Bucket {
    fn wait(&mut self, rate: Rate, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.has = (self.has + u64::from(rate.per_second)).min(u64::from(rate.burst) * 1000);
        }
    }

    fn take(&mut self, want: u32) -> u32 {
        let gets = u32::try_from(self.has / 1000).unwrap().min(want);
        self.has -= u64::from(gets) * 1000;
        gets
    }
}

fn rates() -> impl Strategy<Value = Rate> {
    (1..400_u32, 1..60_u32).prop_map(|(per_second, burst)| Rate { per_second, burst })
}

/// How long is waited, how much is wanted, and whether what was not used of the last is given back.
fn steps() -> impl Strategy<Value = Vec<(u64, u32, u32)>> {
    proptest::collection::vec((prop_oneof![Just(0), 0..40_u64, 0..3000_u64], 1..9_u32, 0..4_u32), 1..80)
}

proptest! {
    #[test]
    fn a_limit_grants_what_a_bucket_would_and_in_no_window_more(rate in rates(), steps in steps()) {
        let (mut meter, mut bucket) = (Meter::default(), Bucket { has: u64::from(rate.burst) * 1000 });
        let mut now = Timestamp::from_millis(1_800_000_000_000);
        let mut granted: Vec<(Timestamp, u64)> = Vec::new();
        for (wait, want, _) in steps {
            now = Timestamp::from_millis(now.as_millis() + wait);
            bucket.wait(rate, wait);
            let (after, taken) = meter.take(rate, now, Ask { want, back: 0 });
            meter = after;
            prop_assert_eq!(taken.granted, bucket.take(want));
            prop_assert_eq!(u64::from(taken.left), bucket.has / 1000);
            granted.push((now, taken.granted.into()));
        }
        for (first, (from, _)) in granted.iter().enumerate() {
            let mut sum = 0;
            for (to, count) in &granted[first..] {
                sum += count * 1000;
                let most = u64::from(rate.burst) * 1000
                    + (to.as_millis() - from.as_millis()) * u64::from(rate.per_second);
                prop_assert!(sum <= most, "{sum} of {most} thousandths from {from} to {to}");
            }
        }
    }

    #[test]
    fn what_is_given_back_is_as_if_it_had_not_been_taken(rate in rates(), steps in steps()) {
        let now = |at: u64| Timestamp::from_millis(1_800_000_000_000 + at);
        let (mut with, mut without, mut at, mut unused) = (Meter::default(), Meter::default(), 0, 0);
        for (wait, want, keep) in steps {
            at += wait;
            // One takes `unused` more each time than it needs and gives that back the next time.
            let (after, less) = without.take(rate, now(at), Ask { want, back: 0 });
            without = after;
            let (after, more) = with.take(rate, now(at), Ask { want: want + keep, back: unused });
            with = after;
            let needs = more.granted.min(want);
            prop_assert_eq!(needs, less.granted);
            unused = more.granted - needs;
        }
    }

    #[test]
    fn who_waits_as_long_as_is_said_is_let_in_and_not_a_millisecond_sooner(rate in rates(), part in 0..1000_u64) {
        let start = Timestamp::from_millis(1_800_000_000_000 + part);
        let (meter, first) = Meter::default().take(rate, start, Ask { want: u32::MAX, back: 0 });
        prop_assert_eq!((first.granted, first.left), (rate.burst, 0));
        let (meter, refused) = meter.take(rate, start, Ask { want: 1, back: 0 });
        prop_assert_eq!(refused.granted, 0);
        let at = start.after(refused.next);
        let early = Timestamp::from_millis(at.as_millis() - 1);
        prop_assert_eq!(meter.take(rate, early, Ask { want: 1, back: 0 }).1.granted, 0);
        prop_assert_eq!(meter.take(rate, at, Ask { want: 1, back: 0 }).1.granted, 1);
        let full = meter.take(rate, start.after(refused.full), Ask { want: u32::MAX, back: 0 }).1;
        prop_assert_eq!(full.granted, rate.burst);
    }
}

#[test]
fn a_clock_that_was_set_back_costs_no_more_than_what_is_owed() {
    let rate = Rate { per_second: 10, burst: 5 };
    let now = Timestamp::from_millis(1_800_000_000_000);
    let (meter, _) = Meter::default().take(rate, now, Ask { want: 5, back: 0 });
    let hour_before = Timestamp::from_millis(now.as_millis() - 3_600_000);
    let (meter, refused) = meter.take(rate, hour_before, Ask { want: 1, back: 0 });
    assert_eq!((refused.granted, refused.next.as_millis()), (0, 100));
    let after = hour_before.after(refused.next);
    assert_eq!(meter.take(rate, after, Ask { want: 1, back: 0 }).1.granted, 1);
}
