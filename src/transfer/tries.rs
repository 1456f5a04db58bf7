//! Failed tries at a password or a token: how many are free, how long the next one waits, and when no more are taken
//! (DESIGN §11).
//!
//! The stores keep them; what a try does to them is decided here, once for both. A try is taken before it is known how it
//! ends, so that many at once are no more than one after another, and one that was right is given back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Context, Event, EventType};
use super::id::{LinkId, OperationId, TransferId};
use crate::clock::Timestamp;

/// Tries of a link that fail before the next one waits.
pub const LINK_FREE: u32 = 5;
/// The same of an address, behind which many people may be.
pub const ADDRESS_FREE: u32 = 20;
/// A link on which so many tries failed takes no more until its owner lifts that.
pub const LINK_STOP: u32 = 100;
/// No try waits longer for the one before.
pub const LONGEST_DELAY: Duration = Duration::from_mins(5);
/// What failed of an address is forgotten so long after its last try.
pub const ADDRESS_FORGOTTEN: Duration = Duration::from_mins(15);
/// Tries that can still be given back. More than are ever open at once.
const KEPT: usize = 32;

/// How long after the last of so many failed tries the next one is taken: not at all, then 1 s, 2 s, 4 s and so on.
#[must_use]
pub fn delay(failures: u32, free: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(free) else { return Duration::ZERO };
    1_u64
        .checked_shl(doublings)
        .map_or(LONGEST_DELAY, |seconds| Duration::from_secs(seconds).min(LONGEST_DELAY))
}

/// What is tried, or who tries.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Tried {
    /// The password of a link, by whomever.
    Link(LinkId),
    /// Any password or token, by this address; for IPv6 its /64.
    Address(String),
}

impl Tried {
    const fn free(&self) -> u32 {
        match self {
            Self::Link(_) => LINK_FREE,
            Self::Address(_) => ADDRESS_FREE,
        }
    }

    const fn stop(&self) -> u32 {
        match self {
            Self::Link(_) => LINK_STOP,
            Self::Address(_) => u32::MAX,
        }
    }

    const fn forgotten(&self) -> Option<Duration> {
        match self {
            Self::Link(_) => None,
            Self::Address(_) => Some(ADDRESS_FORGOTTEN),
        }
    }
}

/// Whether a try may be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryAnswer {
    /// It is counted as failed until it is given back.
    Taken,
    /// Not yet; nothing was counted.
    Wait(Duration),
    /// Not until the owner lifts it; nothing was counted.
    Stopped,
    /// There is no such link any more.
    Gone,
}

/// What failed so far, open tries among it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tries {
    failures: u32,
    last: Timestamp,
    /// The newest tries, newest last, each with `last` as it was before.
    recent: Vec<(OperationId, Timestamp)>,
}

impl Tries {
    /// How many failed, or are open.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes a try. Taken again under the same id it is the same one.
    pub fn take(&mut self, of: &Tried, id: OperationId, now: Timestamp) -> TryAnswer {
        if self.recent.iter().any(|(taken, _)| *taken == id) {
            return TryAnswer::Taken;
        }
        if of.forgotten().is_some_and(|after| now >= self.last.after(after)) {
            *self = Self::default();
        }
        if self.failures >= of.stop() {
            return TryAnswer::Stopped;
        }
        let next = self.last.after(delay(self.failures, of.free()));
        if now < next {
            return TryAnswer::Wait(next.since(now));
        }
        self.recent.push((id, self.last));
        let old = self.recent.len().saturating_sub(KEPT);
        self.recent.drain(..old);
        self.failures = self.failures.saturating_add(1);
        self.last = now;
        TryAnswer::Taken
    }

    /// Makes as if this one try had not been. One that is given back already, or too old to be, changes nothing.
    pub fn give_back(&mut self, id: OperationId) {
        let Some(at) = self.recent.iter().position(|(taken, _)| *taken == id) else { return };
        let (_, before) = self.recent.remove(at);
        self.failures = self.failures.saturating_sub(1);
        match self.recent.get_mut(at) {
            Some((_, next)) => *next = before,
            None => self.last = before,
        }
    }

    /// When nothing of it counts any more; absent: only when it is lifted, or its link goes.
    #[must_use]
    pub fn forgotten(&self, of: &Tried) -> Option<Timestamp> {
        of.forgotten().map(|after| self.last.after(after))
    }
}

/// The owner lifts what failed of a link.
#[must_use]
pub fn unlocked(transfer: TransferId, link: LinkId, context: &Context) -> Event {
    Event { transfer: Some(transfer), link: Some(link), ..context.event(0, EventType::LinkUnlocked) }
}
