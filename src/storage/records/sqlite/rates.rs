//! Limits of requests. One process serves from a database, so they live in its memory.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use lru::LruCache;

use crate::clock::Timestamp;
use crate::transfer::rate::{Ask, Counted, Meter, Rate, Taken};

/// More tokens and links than this at once, and those that were quiet the longest begin anew. One that is being refused is
/// never among them.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(65_535);

pub(super) struct Meters(Mutex<LruCache<Counted, Meter>>);

impl Default for Meters {
    fn default() -> Self {
        // Grows with what is in it.
        let mut meters = LruCache::unbounded();
        meters.resize(MOST);
        Self(Mutex::new(meters))
    }
}

impl Meters {
    pub(super) fn take(&self, of: Counted, rate: Rate, now: Timestamp, ask: Ask) -> Taken {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let meter = meters.get_or_insert_mut(of, Meter::default);
        let (after, taken) = meter.take(rate, now, ask);
        *meter = after;
        taken
    }
}
