//! How many requests may come in what time: the generic cell rate algorithm in its form as a leaky bucket (ITU-T I.371,
//! annex A), which is exact for every rate.

use std::time::Duration;

use super::{LinkId, TokenId};
use crate::clock::Timestamp;

/// So many requests a second over time, and so many at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// In a second, over time; at least 1.
    pub per_second: u32,
    /// At once; at least 1.
    pub burst: u32,
}

impl Rate {
    /// In what time a whole burst comes back.
    #[must_use]
    pub fn window(self) -> Duration {
        self.passes(u64::from(self.burst) * PERMIT)
    }

    /// How long it takes until so many thousandths have passed, rounded up to milliseconds.
    fn passes(self, thousandths: u64) -> Duration {
        Duration::from_millis(thousandths.div_ceil(u64::from(self.per_second.max(1))))
    }
}

/// Whose requests are counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Counted {
    /// Those with this token.
    Token(TokenId),
    /// Those with this link's secret.
    Link(LinkId),
}

/// What is asked of a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Requests that are to be allowed; fewer may be.
    pub want: u32,
    /// Requests that were allowed earlier and did not come: they are given back.
    pub back: u32,
}

/// What a limit allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Requests that are allowed; none: it is refused.
    pub granted: u32,
    /// Requests that could come right after these.
    pub left: u32,
    /// When one could; zero where some are left.
    pub next: Duration,
    /// When a whole burst could.
    pub full: Duration,
}

impl Taken {
    /// As it stands after `granted` requests, when so much is owed.
    #[must_use]
    pub fn of(rate: Rate, granted: u32, owed: u64) -> Self {
        let most = u64::from(rate.burst) * PERMIT;
        let left = u32::try_from(most.saturating_sub(owed) / PERMIT).unwrap_or(u32::MAX);
        let next = rate.passes((owed + PERMIT).saturating_sub(most));
        Self { granted, left, next, full: rate.passes(owed) }
    }
}

/// One request, in the unit in which it is counted: what `per_second` lets pass in a millisecond is then a whole number.
const PERMIT: u64 = 1000;

/// What was allowed and has not passed yet. The theoretical arrival time of the next request is `at` and the time that
/// `owed` takes to pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Meter {
    /// When it was written.
    pub at: Timestamp,
    /// In thousandths of a request.
    pub owed: u64,
}

impl Meter {
    /// As many of the requests as fit, and the meter after them. `rate.lua` is the same for Redis.
    ///
    /// A clock that was set back lets nothing pass and costs no more than what is owed.
    #[must_use]
    pub fn take(self, rate: Rate, now: Timestamp, ask: Ask) -> (Self, Taken) {
        let elapsed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let passed = elapsed.saturating_mul(u64::from(rate.per_second));
        let owed = self.owed.saturating_sub(passed).saturating_sub(u64::from(ask.back) * PERMIT);
        let room = (u64::from(rate.burst) * PERMIT).saturating_sub(owed) / PERMIT;
        let granted = u32::try_from(room).unwrap_or(u32::MAX).min(ask.want);
        let owed = owed + u64::from(granted) * PERMIT;
        (Self { at: now, owed }, Taken::of(rate, granted, owed))
    }
}
