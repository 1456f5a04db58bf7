//! Limits a token and a link, which hold over all instances (DESIGN §11). An instance takes permits for several requests at once
//! from the record store, so that most requests ask nobody.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::Mutex as Turn;

use super::{Caller, Proof, Service, ServiceError};
use crate::clock::Timestamp;
use crate::metrics::Store;
use crate::storage::StoreError;
use crate::transfer::LinkId;
use crate::transfer::rate::{Ask, Counted, Rate};

/// The limits; absent: none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Requests with one token.
    pub token: Option<Rate>,
    /// Requests with one link's secret.
    pub link: Option<Rate>,
}

/// What a limit said to one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// `token` or `link`.
    pub limit: &'static str,
    /// The limit.
    pub rate: Rate,
    /// Whether the request goes no further.
    pub refused: bool,
    /// Requests that may still come at once.
    pub left: u32,
    /// When the next may come after a refusal; otherwise, when a whole burst may.
    pub reset: Duration,
}

/// Permits are held at most for so long; then they are given back with the next question.
const HELD: Duration = Duration::from_secs(1);
/// This part of a burst is taken at once.
const PART: u32 = 10;
/// Permits of more tokens and links than this are not held; those of the ones that were quiet the longest are lost.
const MOST: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// The permits that this instance holds.
pub struct Permits(Mutex<LruCache<Counted, Arc<Turn<Held>>>>);

impl Default for Permits {
    fn default() -> Self {
        let mut held = LruCache::unbounded();
        held.resize(MOST);
        Self(Mutex::new(held))
    }
}

/// What the store last said of one limit, and what is not yet spent of it.
#[derive(Default)]
struct Held {
    permits: u32,
    /// Until when they may be spent.
    until: Timestamp,
    /// Left in the store.
    left: u32,
    /// When a burst is whole again.
    full: Timestamp,
    /// Before that, nothing is allowed.
    next: Timestamp,
    /// When the store did not answer, and what it said.
    failed: Option<(Timestamp, String)>,
}

impl Permits {
    /// One asks the store for a token or link; the others wait and spend what it got.
    fn of(&self, counted: Counted) -> Arc<Turn<Held>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.get_or_insert(counted, Arc::default))
    }
}

impl Service {
    /// Counts a request for the caller's token.
    ///
    /// # Errors
    /// The record store's.
    pub async fn count_token(&self, caller: &Caller) -> Result<Option<Standing>, ServiceError> {
        match self.rules.rates.token {
            Some(rate) => Ok(Some(self.count("token", Counted::Token(caller.token.id), rate).await?)),
            None => Ok(None),
        }
    }

    /// Counts a request for a link. A secret that is not the link's is not counted, and nothing is asked of the store for it.
    ///
    /// # Errors
    /// The record store's.
    pub async fn count_link(&self, link: LinkId, proof: &Proof) -> Result<Option<Standing>, ServiceError> {
        match self.rules.rates.link {
            Some(rate) if proof.proves(link) => {
                Ok(Some(self.count("link", Counted::Link(link), rate).await?))
            }
            _ => Ok(None),
        }
    }

    async fn count(&self, limit: &'static str, of: Counted, rate: Rate) -> Result<Standing, ServiceError> {
        let (held, came) = (self.permits.of(of), self.clock.now());
        let mut held = held.lock().await;
        // Who waited for an answer that did not come does not wait once more.
        if let Some((_, why)) = held.failed.as_ref().filter(|(at, _)| *at >= came) {
            return Err(ServiceError::Unavailable(why.clone()));
        }
        let now = self.clock.now();
        if now >= held.next && (held.permits == 0 || now >= held.until) {
            self.refill(&mut held, of, rate, now).await?;
        }
        let now = self.clock.now();
        if held.permits == 0 {
            return Ok(Standing { limit, rate, refused: true, left: 0, reset: held.next.since(now) });
        }
        held.permits -= 1;
        let (left, reset) = (held.left.saturating_add(held.permits), held.full.since(now));
        Ok(Standing { limit, rate, refused: false, left, reset })
    }

    async fn refill(
        &self,
        held: &mut Held,
        of: Counted,
        rate: Rate,
        now: Timestamp,
    ) -> Result<(), ServiceError> {
        let want = (rate.burst / PART).max(1);
        // Gone, whatever comes of the question.
        let back = std::mem::take(&mut held.permits);
        let mut taken = self.records.take(of, rate, Ask { want, back }).await;
        if back > 0 && matches!(taken, Err(StoreError::Unavailable(_))) {
            self.metrics.retried(Store::Records, "take");
            taken = self.records.take(of, rate, Ask { want, back: 0 }).await;
        }
        if let Err(StoreError::Unavailable(why)) = &taken {
            held.failed = Some((self.clock.now(), why.clone()));
        }
        let taken = taken?;
        held.permits = taken.granted;
        held.until = now.after(HELD);
        held.left = taken.left;
        let now = self.clock.now();
        held.full = now.after(taken.full);
        held.next =
            if taken.granted == 0 { now.after(taken.next.max(Duration::from_millis(1))) } else { now };
        Ok(())
    }
}
