//! An object under way: each part is written while the next one is filled, if there is memory for two.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::room::Promise;
use super::{Service, ServiceError};
use crate::failpoint;
use crate::storage::{BlobError, BlobUpload, Part};
use crate::transfer::{AccountId, BlobKey};

/// Parts after which it is looked again whether there is room: others write too, and not all say how much. Who does not
/// say is promised room for so many at once.
const LOOK_AT_ROOM: u32 = 16;

/// What became of an object of one part is asked for no longer: it is soon sent again, and its sender waits.
const SETTLE: Duration = Duration::from_secs(5);

/// The parts of one object, in order.
pub(super) struct Parts<'a> {
    service: &'a Service,
    account: AccountId,
    key: BlobKey,
    /// Whether the sender said how much will come.
    declared: bool,
    promise: Promise,
    sink: Sink,
    /// What the blob store calls the upload.
    id: Option<String>,
    sent: u32,
}

enum Sink {
    /// All that came fits one part so far.
    None,
    Open(Box<dyn BlobUpload>),
    /// A part is being written. The task ends by itself, and then drops what nobody waits for.
    Writing(JoinHandle<(Box<dyn BlobUpload>, Result<(), BlobError>)>),
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        service: &'a Service,
        account: AccountId,
        key: BlobKey,
        declared: bool,
        promise: Promise,
    ) -> Self {
        Self { service, account, key, declared, promise, sink: Sink::None, id: None, sent: 0 }
    }

    /// What the blob store calls the upload, once it is open: to journal before the first part is sent.
    pub(super) const fn id(&self) -> Option<&String> {
        self.id.as_ref()
    }

    /// Begins an object of several parts, or says that it is begun already.
    pub(super) async fn open(&mut self) -> Result<bool, ServiceError> {
        if self.id.is_some() {
            return Ok(false);
        }
        let sink = self.service.blobs.open(&self.key).await?;
        self.id = Some(sink.id().to_owned());
        self.sink = Sink::Open(sink);
        Ok(true)
    }

    /// Sends a full part. The buffer to go on in is a second one while it is written, or the same one after. What is written
    /// gives its memory back at once: a sender who stalls holds one part, as everybody else.
    pub(super) async fn send(&mut self, full: Part) -> Result<Part, ServiceError> {
        let sink = self.written().await?;
        let mut sink =
            sink.ok_or_else(|| ServiceError::Internal("a part came before its object".to_owned()))?;
        self.sent += 1;
        let size = self.service.blobs.part_size();
        if let Some(mut second) = self.service.buffers.spare(self.account, size) {
            let next = second.allocate();
            self.sink = Sink::Writing(tokio::spawn(async move {
                let written = sink.part(full).await.map(|buffer| second.give_back(buffer));
                failpoint::hit("after_part");
                (sink, written)
            }));
            return Ok(next);
        }
        let back = sink.part(full).await;
        failpoint::hit("after_part");
        self.sink = Sink::Open(sink);
        self.promise.filled(self.part());
        Ok(back?)
    }

    /// Whether the object takes one part more, and no other after it.
    pub(super) fn is_last_part(&self) -> bool {
        self.sent + 1 >= self.service.blobs.parts_per_object()
    }

    /// Sends the last part, of an object of `size` bytes. When it returns, the object is whole and durable. The buffer comes
    /// back, unless the outcome had to be asked for.
    pub(super) async fn end_object(&mut self, rest: Part, size: u64) -> Result<Option<Part>, ServiceError> {
        let sink = self.written().await?;
        let written = match sink {
            None => {
                failpoint::hit("before_complete");
                self.service.blobs.put(&self.key, rest).await
            }
            Some(mut sink) => match sink.part(rest).await {
                Ok(back) => {
                    failpoint::hit("before_complete");
                    sink.complete().await.map(|()| back)
                }
                Err(error) => Err(error),
            },
        };
        failpoint::hit("after_complete");
        let patience = if self.id.is_none() { SETTLE } else { Duration::MAX };
        match written {
            Err(BlobError::Unavailable(_)) if is_there(self.service, &self.key, size, patience).await => {
                Ok(None)
            }
            written => Ok(Some(written?)),
        }
    }

    /// Goes on in another object.
    pub(super) fn next_object(&mut self, key: BlobKey) {
        self.key = key;
        (self.id, self.sent) = (None, 0);
    }

    /// Gives the object up.
    pub(super) async fn abort(mut self) {
        let sink = match self.written().await {
            Ok(sink) => sink,
            Err(_) => match std::mem::replace(&mut self.sink, Sink::None) {
                Sink::Open(sink) => Some(sink),
                Sink::None | Sink::Writing(_) => None,
            },
        };
        if let Some(sink) = sink
            && let Err(error) = sink.abort().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "upload not aborted");
        }
    }

    /// Looks now and then whether there is room for what comes.
    pub(super) async fn look_at_room(&mut self) -> Result<(), ServiceError> {
        let due = self.sent.is_multiple_of(LOOK_AT_ROOM) && (self.sent > 0 || !self.declared);
        if !due && !self.service.room.is_short() {
            return Ok(());
        }
        self.service.gate.uploads()?;
        let more = if self.declared {
            0
        } else {
            // On top come the part that is being written and the last one, which is held back.
            (u64::from(LOOK_AT_ROOM + 2) * self.part()).saturating_sub(self.promise.left())
        };
        self.service.promise_more(&mut self.promise, more).await
    }

    fn part(&self) -> u64 {
        self.service.blobs.part_size() as u64
    }

    /// The upload, once the part before is written.
    async fn written(&mut self) -> Result<Option<Box<dyn BlobUpload>>, ServiceError> {
        match std::mem::replace(&mut self.sink, Sink::None) {
            Sink::None => Ok(None),
            Sink::Open(sink) => Ok(Some(sink)),
            Sink::Writing(writing) => {
                let (sink, written) = writing
                    .await
                    .map_err(|_| ServiceError::Internal("the write of a part was cut off".to_owned()))?;
                if let Err(error) = written {
                    self.sink = Sink::Open(sink);
                    return Err(error.into());
                }
                self.promise.filled(self.part());
                Ok(Some(sink))
            }
        }
    }
}

/// A write whose outcome is not known is settled by the object's size (DESIGN §4).
async fn is_there(service: &Service, key: &BlobKey, size: u64, patience: Duration) -> bool {
    let there = tokio::time::timeout(patience, service.blobs.size(key)).await;
    matches!(there, Ok(Ok(Some(there))) if there == size)
}
