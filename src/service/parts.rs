//! An object under way: parts are written while the next one is filled, if there is memory for more than one.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::buffers::Reserved;
use super::room::Promise;
use super::{Service, ServiceError};
use crate::failpoint;
use crate::storage::{BlobError, BlobUpload, Part};
use crate::transfer::{AccountId, BlobKey};

/// Parts after which it is looked again whether there is room: others write too, and not all say how much. Who does not
/// say is promised room for so many at once.
const LOOK_AT_ROOM: u32 = 4;

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
    /// Absent: all that came fits one part so far.
    upload: Option<Arc<dyn BlobUpload>>,
    /// Parts on their way.
    writing: JoinSet<Result<(), BlobError>>,
    sent: u32,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        service: &'a Service,
        account: AccountId,
        key: BlobKey,
        declared: bool,
        promise: Promise,
    ) -> Self {
        Self { service, account, key, declared, promise, upload: None, writing: JoinSet::new(), sent: 0 }
    }

    /// What the blob store calls the upload, once it is open: to journal before the first part is sent.
    pub(super) fn id(&self) -> Option<&str> {
        self.upload.as_ref().map(|upload| upload.id())
    }

    /// Begins an object of several parts, or says that it is begun already.
    pub(super) async fn open(&mut self) -> Result<bool, ServiceError> {
        if self.upload.is_some() {
            return Ok(false);
        }
        self.upload = Some(self.service.blobs.open(&self.key).await?);
        Ok(true)
    }

    /// Sends a full part. The buffer to go on in is another one while it is written, or the same one after. What is written
    /// gives its memory back at once: a sender who stalls holds one part, as everybody else.
    pub(super) async fn send(&mut self, full: Part) -> Result<Part, ServiceError> {
        let upload = self.upload.clone();
        let upload =
            upload.ok_or_else(|| ServiceError::Internal("a part came before its object".to_owned()))?;
        self.sent += 1;
        let number = self.sent;
        let Some(mut other) = self.spare().await? else {
            let back = upload.part(number, full).await;
            failpoint::hit("after_part");
            self.promise.filled(self.part());
            return Ok(back?);
        };
        let next = other.allocate();
        self.writing.spawn(async move {
            let written = upload.part(number, full).await.map(|buffer| other.give_back(buffer));
            failpoint::hit("after_part");
            written
        });
        Ok(next)
    }

    /// Memory for another part, also what one on its way gives back. Absent: none is on its way, and there is none.
    async fn spare(&mut self) -> Result<Option<Reserved>, ServiceError> {
        let (size, at_once) = (self.service.blobs.part_size(), self.service.blobs.parts_at_once());
        // One that failed ends the upload before more is sent.
        while let Some(written) = self.writing.try_join_next() {
            self.joined(written)?;
        }
        loop {
            if self.writing.len() < at_once
                && let Some(spare) = self.service.buffers.spare(self.account, size)
            {
                return Ok(Some(spare));
            }
            if !self.one_less().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for one of those on their way; whether there was one.
    async fn one_less(&mut self) -> Result<bool, ServiceError> {
        let Some(written) = self.writing.join_next().await else { return Ok(false) };
        self.joined(written)?;
        Ok(true)
    }

    fn joined(&mut self, written: Result<Result<(), BlobError>, JoinError>) -> Result<(), ServiceError> {
        written.map_err(|_| ServiceError::Internal("the write of a part was cut off".to_owned()))??;
        self.promise.filled(self.part());
        Ok(())
    }

    /// Waits for all of them, also where one failed: a part that arrives after its upload was aborted may stay.
    async fn all_written(&mut self) -> Result<(), ServiceError> {
        let mut all = Ok(());
        loop {
            match self.one_less().await {
                Ok(true) => {}
                Ok(false) => return all,
                Err(error) => all = all.and(Err(error)),
            }
        }
    }

    /// Whether the object takes one part more, and no other after it.
    pub(super) fn is_last_part(&self) -> bool {
        self.sent + 1 >= self.service.blobs.parts_per_object()
    }

    /// Sends the last part, of an object of `size` bytes. When it returns, the object is whole and durable. The buffer comes
    /// back, unless the outcome had to be asked for.
    pub(super) async fn end_object(&mut self, rest: Part, size: u64) -> Result<Option<Part>, ServiceError> {
        let written = if let Some(upload) = self.upload.clone() {
            let last = upload.part(self.sent + 1, rest);
            let (last, before) = tokio::join!(last, self.all_written());
            before?;
            match last {
                Ok(back) => {
                    failpoint::hit("before_complete");
                    upload.complete().await.map(|()| back)
                }
                Err(error) => Err(error),
            }
        } else {
            failpoint::hit("before_complete");
            self.service.blobs.put(&self.key, rest).await
        };
        failpoint::hit("after_complete");
        let patience = if self.upload.is_none() { SETTLE } else { Duration::MAX };
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
        (self.upload, self.sent) = (None, 0);
    }

    /// Gives the object up.
    pub(super) async fn abort(mut self) {
        let _ = self.all_written().await;
        if let Some(upload) = self.upload
            && let Err(error) = upload.abort().await
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
            // On top come the parts that are being written and the last one, which is held back.
            let parts = LOOK_AT_ROOM as usize + self.service.blobs.parts_at_once() + 1;
            (parts as u64 * self.part()).saturating_sub(self.promise.left())
        };
        self.service.promise_more(&mut self.promise, more).await
    }

    fn part(&self) -> u64 {
        self.service.blobs.part_size() as u64
    }
}

/// A write whose outcome is not known is settled by the object's size (DESIGN §4).
async fn is_there(service: &Service, key: &BlobKey, size: u64, patience: Duration) -> bool {
    let there = tokio::time::timeout(patience, service.blobs.size(key)).await;
    matches!(there, Ok(Ok(Some(there))) if there == size)
}
