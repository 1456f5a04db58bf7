//! The memory that uploads hold, bounded (DESIGN §5 "Memory").

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::ServiceError;
use crate::storage::Part;
use crate::transfer::AccountId;

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
}

/// A buffer's worth of memory for one account; given back when dropped.
pub(super) struct Reserved {
    pool: Arc<Pool>,
    account: AccountId,
    bytes: usize,
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

    /// Whether somebody waits for memory.
    pub(super) fn are_wanted(&self) -> bool {
        !self.0.state().waiting.is_empty()
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
    pub(super) fn try_reserve(&self, account: AccountId, bytes: usize) -> Option<Reserved> {
        let mut state = self.0.state();
        let held = state.held.get(&account).copied().unwrap_or(0);
        let others_wait = state.waiting.keys().any(|waiting| *waiting != account);
        if state.taken + bytes > self.0.total || (others_wait && held >= self.0.total / 2) {
            return None;
        }
        state.taken += bytes;
        state.held.insert(account, held + bytes);
        Some(Reserved { pool: Arc::clone(&self.0), account, bytes })
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
    /// A buffer of the size that was reserved, all capacity and no length.
    pub(super) fn allocate(&self) -> Part {
        Part::with_capacity(self.bytes)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.taken -= self.bytes;
        less(&mut state.held, self.account, self.bytes);
        drop(state);
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
