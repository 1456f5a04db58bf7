//! The room on the disk that uploads may fill: what was promised to those under way is not promised twice (ADR 12).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Service, ServiceError};
use crate::crypto::Layout;
use crate::storage::Reserve;
use crate::storage::records::StoreRoom;

/// The room that was promised, and what is set aside beside it.
#[derive(Debug)]
pub struct Room {
    reserve: Arc<Reserve>,
    promised: Arc<Mutex<u64>>,
    /// For what the record store has room.
    records: Mutex<StoreRoom>,
    /// One look at the disk at a time: between the look and the promise nobody else promises.
    deciding: tokio::sync::Mutex<()>,
}

/// Room for one file while it is written. What was not filled is given back when it is dropped.
pub(super) struct Promise {
    promised: Arc<Mutex<u64>>,
    /// Not filled yet.
    left: u64,
}

impl Room {
    /// Nothing is promised yet.
    #[must_use]
    pub fn new(reserve: Arc<Reserve>) -> Self {
        let records = Mutex::default();
        Self { reserve, promised: Arc::default(), records, deciding: tokio::sync::Mutex::default() }
    }

    fn records(&self) -> StoreRoom {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The disk was met full, and what was set aside is in use.
    pub(super) fn is_short(&self) -> bool {
        self.reserve.missing() > 0
    }
}

fn locked(promised: &Mutex<u64>) -> MutexGuard<'_, u64> {
    promised.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Promise {
    /// So many bytes are on the disk now.
    pub(super) fn filled(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        *locked(&self.promised) -= bytes;
        self.left -= bytes;
    }

    pub(super) const fn left(&self) -> u64 {
        self.left
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        *locked(&self.promised) -= self.left;
    }
}

impl Service {
    /// Room for a file of this many bytes; of one that does not say, for what is held in memory before it is written.
    ///
    /// # Errors
    /// [`ServiceError::Full`].
    pub(super) async fn promise(&self, length: Option<u64>) -> Result<Promise, ServiceError> {
        if let StoreRoom::ForDownloads(why) | StoreRoom::ForEnds(why) = self.room.records() {
            return Err(ServiceError::Full(why));
        }
        let part = self.blobs.part_size() as u64;
        let bytes = length
            .map_or(part, |length| Layout::of_plaintext(length).map_or(length, |layout| layout.ciphertext()));
        let mut promise = Promise { promised: Arc::clone(&self.room.promised), left: 0 };
        self.promise_more(&mut promise, bytes).await?;
        Ok(promise)
    }

    /// Looks whether what was promised is still there, as others write too, and promises so many bytes more.
    ///
    /// # Errors
    /// [`ServiceError::Full`]: less than `BURNBAG_MIN_FREE_BYTES` would stay free.
    pub(super) async fn promise_more(&self, promise: &mut Promise, bytes: u64) -> Result<(), ServiceError> {
        let _alone = self.room.deciding.lock().await;
        self.look(bytes).await?;
        *locked(&promise.promised) += bytes;
        promise.left += bytes;
        Ok(())
    }

    /// Whether `bytes` more would fit.
    pub(super) async fn look(&self, bytes: u64) -> Result<(), ServiceError> {
        // Before the look: what is filled meanwhile is then counted twice, never not at all.
        let spoken_for = self.spoken_for().saturating_add(bytes);
        match self.blobs.free().await? {
            Some(free) if free < spoken_for => Err(ServiceError::Full(format!(
                "{free} bytes are free, {spoken_for} are needed: for this upload, for those under way, and \
                 BURNBAG_MIN_FREE_BYTES; make room, or wait until transfers end"
            ))),
            _ => Ok(()),
        }
    }

    fn spoken_for(&self) -> u64 {
        let promised = *locked(&self.room.promised);
        self.rules.min_free_bytes.saturating_add(promised).saturating_add(self.room.reserve.missing())
    }

    /// A download leaves the last of the room to what ends transfers.
    pub(super) async fn room_for_a_download(&self) -> Result<(), ServiceError> {
        if let StoreRoom::ForEnds(why) = self.room.records() {
            return Err(ServiceError::Unavailable(why));
        }
        if !self.room.is_short() {
            return Ok(());
        }
        match self.blobs.free().await? {
            Some(free) if free < self.room.reserve.size() / 2 => Err(ServiceError::Unavailable(format!(
                "the disk is full ({free} bytes are free), and the last of it is kept to end transfers: make room"
            ))),
            _ => Ok(()),
        }
    }

    /// Sets aside again what was let go, once there is room for it. Answers whether all is set aside.
    ///
    /// # Errors
    /// The disk's.
    pub async fn keep_room(&self) -> Result<bool, ServiceError> {
        if !self.room.is_short() {
            return Ok(true);
        }
        let _alone = self.room.deciding.lock().await;
        if self.look(0).await.is_err() {
            return Ok(false);
        }
        let reserve = Arc::clone(&self.room.reserve);
        let refilled = tokio::task::spawn_blocking(move || reserve.refill()).await;
        match refilled {
            Ok(Ok(())) => {
                tracing::info!(bytes = self.room.reserve.size(), "room is set aside for a full disk");
                Ok(true)
            }
            Ok(Err(error)) => Err(ServiceError::Unavailable(format!("no room can be set aside: {error}"))),
            Err(_) => Ok(false),
        }
    }

    /// Asks the record store for what it has room.
    ///
    /// # Errors
    /// The record store's; then what it said before holds.
    pub async fn look_at_records(&self) -> Result<(), ServiceError> {
        let room = self.records.room().await?;
        let before = std::mem::replace(
            &mut *self.room.records.lock().unwrap_or_else(PoisonError::into_inner),
            room.clone(),
        );
        // Told when it changes, not with every number in it.
        if std::mem::discriminant(&before) != std::mem::discriminant(&room) {
            match room {
                StoreRoom::Enough => tracing::info!("the record store has room again"),
                StoreRoom::ForDownloads(why) => {
                    tracing::error!(why, "no uploads: the record store is short of room");
                }
                StoreRoom::ForEnds(why) => {
                    tracing::error!(why, "no uploads and no downloads: the record store is short of room");
                }
            }
        }
        Ok(())
    }

    /// What `/readyz` says of the room.
    pub(super) async fn room_line(&self) -> String {
        match self.room.records() {
            StoreRoom::Enough => {}
            StoreRoom::ForDownloads(_) => {
                return "room: short in the record store: uploads are refused, the log of the service says why".to_owned();
            }
            StoreRoom::ForEnds(_) => {
                return "room: short in the record store: uploads and downloads are refused, the log of the service says why"
                    .to_owned();
            }
        }
        match self.look(0).await {
            Ok(()) => "room: ok".to_owned(),
            Err(_) => "room: short: uploads are refused, the log of the service says why".to_owned(),
        }
    }
}
