//! How long failed tries keep the next one waiting.

use std::time::Duration;

use burnbag::clock::Timestamp;
use burnbag::transfer::tries::{
    ADDRESS_FREE, LINK_FREE, LINK_STOP, LONGEST_DELAY, Tried, Tries, TryAnswer, delay,
};
use burnbag::transfer::{LinkId, OperationId};
use proptest::prelude::*;

use crate::sample::{START, secs};

fn link() -> Tried {
    Tried::Link(LinkId::from_bytes([3; 16]))
}

fn address() -> Tried {
    Tried::Address("192.0.2.7".to_owned())
}

fn id(n: u8) -> OperationId {
    OperationId::from_bytes([n; 16])
}

#[test]
fn some_are_free_and_then_each_waits_twice_as_long_up_to_five_minutes() {
    let of_link: Vec<u64> = (0..16).map(|n| delay(n, LINK_FREE).as_secs()).collect();
    assert_eq!(of_link, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    let of_address: Vec<u64> = (18..24).map(|n| delay(n, ADDRESS_FREE).as_secs()).collect();
    assert_eq!(of_address, [0, 0, 1, 2, 4, 8]);
}

#[test]
fn all_that_a_link_ever_takes_lasts_hours() {
    let all: Duration = (0..LINK_STOP).map(|n| delay(n, LINK_FREE)).sum();
    assert!(all > Duration::from_hours(7), "{all:?}");
}

/// A few right and wrong tries, some at once, at random times.
fn steps() -> impl Strategy<Value = Vec<(u8, bool, u64)>> {
    prop::collection::vec((0..40_u8, any::<bool>(), 0..400_000_u64), 1..120)
}

proptest! {
    #[test]
    fn a_delay_never_falls_and_has_an_end(failures in any::<u32>(), free in any::<u32>()) {
        let wait = delay(failures, free);
        prop_assert!(wait <= LONGEST_DELAY);
        prop_assert!(delay(failures.saturating_add(1), free) >= wait);
        prop_assert_eq!(wait.is_zero(), failures < free);
    }

    /// However they come, so many fail in a time, and no more.
    #[test]
    fn no_order_of_tries_gets_more_than_the_free_ones_and_those_waited_for(steps in steps()) {
        for of in [link(), address()] {
            let (mut tries, mut now, mut last) = (Tries::default(), START, Timestamp::default());
            for (n, (_, _, millis)) in steps.iter().enumerate() {
                now = now.after(Duration::from_millis(*millis / 4));
                let before = tries.failures();
                let free = if of == link() { LINK_FREE } else { ADDRESS_FREE };
                match tries.take(&of, OperationId::from_bytes([u8::try_from(n).unwrap(); 16]), now) {
                    TryAnswer::Taken => {
                        prop_assert!(before < free || now.since(last) >= delay(before, free) || tries.failures() == 1);
                        last = now;
                    }
                    TryAnswer::Wait(wait) => {
                        prop_assert_eq!(now.after(wait), last.after(delay(before, free)));
                        prop_assert_eq!(tries.failures(), before);
                    }
                    TryAnswer::Stopped => prop_assert!(before >= LINK_STOP),
                    TryAnswer::Gone => prop_assert!(false, "a rule knows no links"),
                }
            }
        }
    }

    /// What is given back leaves no trace: the rest stands as if it had come alone.
    #[test]
    fn tries_given_back_in_any_order_leave_what_the_others_would_have_left(
        right in prop::collection::vec(any::<bool>(), 1..20),
        order in any::<u64>(),
    ) {
        // All at once, so that none of them waits for another.
        let (of, mut with, mut without) = (address(), Tries::default(), Tries::default());
        let mut back = Vec::new();
        for (n, right) in (0_u8..).zip(&right) {
            let now = START.after(secs(u64::from(n)));
            prop_assert_eq!(with.take(&of, id(n), now), TryAnswer::Taken);
            if *right {
                back.push(id(n));
            } else {
                prop_assert_eq!(without.take(&of, id(n), now), TryAnswer::Taken);
            }
        }
        let turn = usize::try_from(order % 20).unwrap() % back.len().max(1);
        back.rotate_left(turn);
        for one in back.iter().chain(&back) {
            with.give_back(*one);
        }
        prop_assert_eq!(with, without);
    }
}
