//! The read pool.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections that only read.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
}

/// A reader that goes back to the pool by itself.
pub(super) struct Reader {
    db: Option<Connection>,
    pool: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn new(idle: Vec<Connection>) -> Self {
        let free = Arc::new(Semaphore::new(idle.len()));
        Self { idle: Mutex::new(idle), free }
    }

    /// Waits for one that is idle.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Reader> {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let db = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Some(Reader { db, pool: Arc::clone(self), _permit: permit })
    }
}

impl Reader {
    pub(super) const fn connection(&self) -> Option<&Connection> {
        self.db.as_ref()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.db.take());
    }
}
