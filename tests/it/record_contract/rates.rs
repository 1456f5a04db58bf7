use std::time::Duration;

use burnbag::clock::ManualClock;
use burnbag::transfer::rate::{Ask, Counted, Meter, Rate};
use burnbag::transfer::{LinkId, TokenId};
use futures_util::future::join_all;

use super::Store;
use crate::sample::{SHARD, START};

const RATE: Rate = Rate { per_second: 3, burst: 7 };

fn token(n: u8) -> Counted {
    Counted::Token(TokenId::from_bytes([n; 16]))
}

/// A link of the shard that the test's teams are in.
fn link(n: u8) -> Counted {
    let mut id = [n; 16];
    id[0] = SHARD.get();
    Counted::Link(LinkId::from_bytes(id))
}

const fn ask(want: u32) -> Ask {
    Ask { want, back: 0 }
}

pub async fn a_limit_is_the_meters_at_every_step(store: Store, clock: ManualClock) {
    for (counted, scale) in [(token(1), 1), (link(1), 37)] {
        let mut meter = Meter::default();
        let mut now = START;
        clock.set(now);
        for n in 0_u64..60 {
            let step = Duration::from_millis((n * n * 31) % (17 * scale) * 20);
            now = now.after(step);
            clock.advance(step);
            let asked = Ask { want: u32::try_from(n % 4).unwrap() + 1, back: u32::from(n % 9 == 5) };
            let (after, taken) = meter.take(RATE, now, asked);
            let said = store.take(counted, RATE, asked).await.unwrap();
            assert_eq!(said, taken, "step {n}: {meter:?} {asked:?}");
            // A refusal is not written everywhere; what is owed is the same.
            meter = after;
        }
    }
}

pub async fn of_many_at_once_a_burst_is_granted(store: Store, _: ManualClock) {
    let takes = join_all((0..40).map(|_| store.take(token(2), RATE, ask(1)))).await;
    let granted: u32 = takes.into_iter().map(|taken| taken.unwrap().granted).sum();
    assert_eq!(granted, RATE.burst);
}

pub async fn each_token_and_link_has_a_limit_of_its_own(store: Store, clock: ManualClock) {
    assert_eq!(store.take(token(3), RATE, ask(100)).await.unwrap().granted, 7);
    assert_eq!(store.take(token(3), RATE, ask(1)).await.unwrap().granted, 0);
    for other in [token(4), link(3), link(4)] {
        assert_eq!(store.take(other, RATE, ask(7)).await.unwrap().granted, 7, "{other:?}");
    }
    let refused = store.take(token(3), RATE, ask(1)).await.unwrap();
    clock.advance(refused.next);
    assert_eq!(store.take(token(3), RATE, ask(2)).await.unwrap().granted, 1);
    clock.advance(Duration::from_hours(1));
    assert_eq!(store.take(token(3), RATE, ask(100)).await.unwrap().granted, 7);
}
