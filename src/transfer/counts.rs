//! The counts of a link: what its leases hold, have used and gave back (DESIGN §10 "Leases").

use serde::{Deserialize, Serialize};

use super::id::LinkId;
use super::record::{State, Transfer};
use crate::clock::Timestamp;

/// How often a link gives a count back.
pub const MAX_RETURNS: u32 = 3;

/// What a lease does to the counts of its link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// It holds a count that may come back.
    Held,
    /// Its count is used.
    Used,
}

/// The counts of one link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Downloads that are used for good.
    pub used: u32,
    /// Open leases whose count may come back.
    pub held: u32,
    /// How often one came back.
    pub returned: u32,
    /// When a lease was last taken.
    pub last: Option<Timestamp>,
}

impl Counts {
    /// The counts after a lease went from `before` to `after` at `now`; absent is not there, or there no more.
    #[must_use]
    pub fn moved(mut self, before: Option<Hold>, after: Option<Hold>, now: Timestamp) -> Self {
        match (before, after) {
            (None, Some(Hold::Held)) => {
                self.held = self.held.saturating_add(1);
                self.last = self.last.max(Some(now));
            }
            (Some(Hold::Held), Some(Hold::Used)) => {
                self.held = self.held.saturating_sub(1);
                self.used = self.used.saturating_add(1);
            }
            (Some(Hold::Held), None) => {
                self.held = self.held.saturating_sub(1);
                if self.returned < MAX_RETURNS {
                    self.returned += 1;
                } else {
                    self.used = self.used.saturating_add(1);
                }
            }
            _ => {}
        }
        self
    }
}

/// What the due index needs to know of a transfer's leases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeaseSummary {
    /// Open leases.
    pub open: u64,
    /// The earliest end of one.
    pub next_end: Option<Timestamp>,
    /// Every link that stands has used up its limit, and no lease is open.
    pub exhausted: bool,
    /// When the leases last changed.
    pub changed: Timestamp,
}

/// Whether every link that still stands has a limit and has used it up, and no lease is open (DESIGN §10).
#[must_use]
pub fn is_exhausted(
    transfer: &Transfer,
    counts: impl Fn(LinkId) -> Counts,
    open: u64,
    now: Timestamp,
) -> bool {
    let mut standing = transfer.links().iter().filter(|link| link.stands(now)).peekable();
    open == 0
        && transfer.state() == State::Available
        && standing.peek().is_some()
        && standing.all(|link| link.downloads.is_some_and(|limit| counts(link.id).used >= limit))
}
