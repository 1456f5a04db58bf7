//! The places for connections. When all are taken, the connection that has waited longest for a request gives way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Connection;

/// It is said so often that there is not enough room.
const WARN_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    state: Mutex<State>,
    /// A place is free, or someone began to wait for a request. The accept loop alone listens.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Connections without a request, in the order in which they began to wait for one.
    waiting: BTreeMap<u64, Connection>,
    next: u64,
    /// Told to give way, and still there.
    leaving: usize,
    warned: Option<Instant>,
}

impl State {
    fn wait(&mut self, connection: Connection) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, connection);
        number
    }
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default(), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection, once there is one.
    pub(super) async fn take(self: &Arc<Self>, connection: &Connection) -> Place {
        loop {
            {
                let mut state = self.state();
                if state.taken < self.most {
                    state.taken += 1;
                    let waiting = Some((state.wait(connection.clone()), 0));
                    return Place { places: Arc::clone(self), connection: connection.clone(), waiting };
                }
            }
            self.make_room().await;
        }
    }

    /// Tells the connection that waited longest to give way, if none is on its way out, and waits for a change.
    pub(super) async fn make_room(&self) {
        let evicted = {
            let mut state = self.state();
            let oldest = if state.leaving == 0 { state.waiting.pop_first() } else { None };
            if oldest.is_some() {
                state.leaving += 1;
            }
            if state.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
                state.warned = Some(Instant::now());
                let (taken, without_request) = (state.taken, state.waiting.len());
                tracing::warn!(
                    taken,
                    without_request,
                    "no room for another connection: those that waited longest for a request give way"
                );
            }
            oldest
        };
        if let Some((_, connection)) = evicted {
            connection.evict();
        }
        self.changed.notified().await;
    }
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    connection: Connection,
    /// Where it stands among those that wait, and after how many requests.
    waiting: Option<(u64, u64)>,
}

impl Place {
    /// Whether there are at most so many connections now.
    pub(super) fn is_one_of(&self, few: usize) -> bool {
        self.places.state().taken <= few
    }

    /// Notes whether the connection is without a request, and how many it had.
    pub(super) fn note(&mut self, waits_after: Option<u64>) {
        if waits_after == self.waiting.map(|(_, requests)| requests) {
            return;
        }
        let mut state = self.places.state();
        if let Some((number, _)) = self.waiting.take()
            && state.waiting.remove(&number).is_none()
        {
            // It was told to give way as its request came: another one will.
            state.leaving -= 1;
            self.connection.stay();
        }
        self.waiting = waits_after.map(|requests| (state.wait(self.connection.clone()), requests));
        drop(state);
        self.places.changed.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.taken -= 1;
        if let Some((number, _)) = self.waiting
            && state.waiting.remove(&number).is_none()
        {
            state.leaving -= 1;
        }
        drop(state);
        self.places.changed.notify_one();
    }
}
