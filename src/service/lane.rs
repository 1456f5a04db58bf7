//! Openings by password stand in a lane of their own before the record store (ADR 22): a few ask at once, and what refused
//! one of them refuses those of the same link that were waiting already when it was asked for.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ServiceError;
use super::tries::taken;
use crate::transfer::LinkId;
use crate::transfer::tries::TryAnswer;

/// So many openings by password ask the store at once: a flood of guesses stands behind itself, not before the downloads of
/// others.
const PLACES: usize = 4;
/// The refusals of so many links are kept. One of a link that is not among them is asked for again.
const KEPT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

pub(super) struct Lane {
    places: Arc<Semaphore>,
    /// Numbers those who come and what is asked, in one order.
    order: AtomicU64,
    refused: Mutex<LruCache<LinkId, (Moment, TryAnswer)>>,
}

/// When somebody came, or something was asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Default for Lane {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            order: AtomicU64::default(),
            refused: Mutex::new(LruCache::new(KEPT)),
        }
    }
}

impl Lane {
    /// A place among those who ask the store, until it is dropped; or the refusal that came of asking meanwhile, which is
    /// what the store would have said then.
    pub(super) async fn enter(&self, link: LinkId) -> Result<OwnedSemaphorePermit, ServiceError> {
        let came = self.moment();
        let place = Arc::clone(&self.places).acquire_owned().await;
        if let Some((asked, answer)) = self.refused().peek(&link)
            && came < *asked
        {
            taken(*answer)?;
        }
        place.map_err(|_| ServiceError::PasswordBusy)
    }

    /// Now: before the store is asked for a try.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.order.fetch_add(1, Ordering::Relaxed))
    }

    /// What the store said to who asked then.
    pub(super) fn answered(&self, link: LinkId, asked: Moment, answer: TryAnswer) {
        if matches!(answer, TryAnswer::Wait(_) | TryAnswer::Stopped) {
            self.refused().put(link, (asked, answer));
        }
    }

    fn refused(&self) -> MutexGuard<'_, LruCache<LinkId, (Moment, TryAnswer)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
