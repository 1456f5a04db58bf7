//! The memory that uploads hold, bounded (DESIGN §5 "Memory").

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::ServiceError;
use crate::storage::Part;
use crate::transfer::AccountId;

/// Buffers that nobody holds are kept for the next, as long as there are uploads: their memory need not be asked of the
/// system again.
const IDLE: usize = 8;

/// How long an upload waits for memory before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);

/// All buffers of a process. Clones share them.
#[derive(Clone)]
pub struct Buffers(Arc<Pool>);

struct Pool {
    total: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Default)]
struct State {
    taken: usize,
    held: HashMap<AccountId, usize>,
    waiting: HashMap<AccountId, usize>,
    /// Empty buffers that count for nobody, with what each was reserved as.
    idle: Vec<(usize, Part)>,
}

impl State {
    fn idle(&self) -> usize {
        self.idle.iter().map(|(bytes, _)| bytes).sum()
    }
}

/// A buffer's worth of memory for one account; given back when dropped.
pub(super) struct Reserved {
    pool: Arc<Pool>,
    account: AccountId,
    bytes: usize,
    /// One that was used before.
    buffer: Option<Part>,
}

impl Buffers {
    /// A pool of so many bytes.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self(Arc::new(Pool { total, state: Mutex::default(), freed: Notify::new() }))
    }

    /// Bytes held by uploads now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.state().taken
    }

    /// Whether uploads hold so little, a sixteenth, that each may have more beside its parts.
    pub(super) fn is_mostly_free(&self) -> bool {
        self.taken() <= self.0.total / 16
    }

    /// Takes memory beside what an upload has, if there is some and nobody waits for it: whoever came first has never more
    /// than one part then.
    pub(super) fn spare(&self, account: AccountId, bytes: usize) -> Option<Reserved> {
        if !self.0.state().waiting.is_empty() {
            return None;
        }
        self.try_reserve(account, bytes)
    }

    /// The most that they may hold.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.total
    }

    /// Takes memory for an upload, and waits a little for it.
    ///
    /// # Errors
    /// [`ServiceError::BuffersBusy`].
    pub(super) async fn reserve(&self, account: AccountId, bytes: usize) -> Result<Reserved, ServiceError> {
        let waiting = Waiting::new(&self.0, account);
        let wait = async {
            loop {
                let freed = self.0.freed.notified();
                tokio::pin!(freed);
                freed.as_mut().enable();
                if let Some(reserved) = self.try_reserve(account, bytes) {
                    return reserved;
                }
                freed.await;
            }
        };
        let reserved = tokio::time::timeout(PATIENCE, wait).await.map_err(|_| ServiceError::BuffersBusy);
        drop(waiting);
        reserved
    }

    /// Takes memory if there is some now. While another account waits, one that holds half or more gets none.
    fn try_reserve(&self, account: AccountId, bytes: usize) -> Option<Reserved> {
        let mut state = self.0.state();
        let held = state.held.get(&account).copied().unwrap_or(0);
        let others_wait = state.waiting.keys().any(|waiting| *waiting != account);
        if state.taken + bytes > self.0.total || (others_wait && held >= self.0.total / 2) {
            return None;
        }
        state.taken += bytes;
        let fits = state.idle.iter().position(|(of, _)| *of == bytes);
        let buffer = fits.map(|at| state.idle.swap_remove(at).1);
        while state.taken + state.idle() > self.0.total {
            state.idle.pop();
        }
        state.held.insert(account, held + bytes);
        Some(Reserved { pool: Arc::clone(&self.0), account, bytes, buffer })
    }
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Waiting<'a> {
    pool: &'a Pool,
    account: AccountId,
}

impl<'a> Waiting<'a> {
    fn new(pool: &'a Pool, account: AccountId) -> Self {
        *pool.state().waiting.entry(account).or_default() += 1;
        Self { pool, account }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        less(&mut self.pool.state().waiting, self.account, 1);
        self.pool.freed.notify_waiters();
    }
}

impl Reserved {
    /// A buffer of the size that was reserved, all capacity and no length but its lead.
    pub(super) fn allocate(&mut self) -> Part {
        self.buffer.take().unwrap_or_else(|| Part::with_capacity(self.bytes))
    }

    /// Ends the reservation of a buffer that [`Reserved::allocate`] gave; whoever is next may go on in it.
    pub(super) fn give_back(mut self, buffer: Part) {
        self.buffer = Some(buffer);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.taken -= self.bytes;
        less(&mut state.held, self.account, self.bytes);
        let unused = if state.taken == 0 { std::mem::take(&mut state.idle) } else { Vec::new() };
        if state.taken > 0
            && state.idle.len() < IDLE
            && state.taken + state.idle() + self.bytes <= self.pool.total
        {
            let bytes = self.bytes;
            state.idle.extend(self.buffer.take().map(|buffer| (bytes, buffer)));
        }
        drop(state);
        drop(unused);
        self.pool.freed.notify_waiters();
    }
}

fn less(map: &mut HashMap<AccountId, usize>, account: AccountId, by: usize) {
    if let Some(value) = map.get_mut(&account) {
        *value -= by;
        if *value == 0 {
            map.remove(&account);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::task::Poll;

    use super::*;

    const PART: usize = 100_000;

    fn account(n: u8) -> AccountId {
        AccountId::from_bytes([n; 16])
    }

    #[tokio::test]
    async fn a_spare_buffer_is_given_only_while_nobody_waits() {
        let buffers = Buffers::new(3 * PART);
        let _first = buffers.reserve(account(1), PART).await.unwrap();
        let spare = buffers.spare(account(1), PART).unwrap();
        let _second = buffers.reserve(account(2), PART).await.unwrap();
        assert!(buffers.spare(account(1), PART).is_none(), "none is left");
        let mut waiting = std::pin::pin!(buffers.reserve(account(2), PART));
        assert!(matches!(futures_util::poll!(&mut waiting), Poll::Pending));
        drop(spare);
        assert!(buffers.spare(account(1), PART).is_none(), "it is for who waits");
        let third = waiting.await.unwrap();
        drop(third);
        assert!(buffers.spare(account(1), PART).is_some(), "nobody waits any more");
    }

    #[tokio::test]
    async fn what_is_given_back_is_used_again_and_gives_way() {
        let buffers = Buffers::new(2 * PART);
        let mut first = buffers.reserve(account(1), PART).await.unwrap();
        let _held = first.allocate();
        let give_back = || {
            let mut spare = buffers.spare(account(1), PART).unwrap();
            let buffer = spare.allocate();
            let at = buffer.as_ptr();
            spare.give_back(buffer);
            at
        };
        assert_eq!(give_back(), give_back(), "the same memory");
        assert_eq!((buffers.taken(), buffers.0.state().idle()), (PART, PART), "it counts for nobody");
        // Another size has no use for it, and needs its room.
        let other = buffers.reserve(account(2), PART / 2).await.unwrap();
        assert_eq!(buffers.0.state().idle(), 0);
        drop(other);
        give_back();
        drop(first);
        assert_eq!((buffers.taken(), buffers.0.state().idle()), (0, 0), "none is kept where nothing is sent");
    }
}
