//! Sending: a task that owns one transfer while it is uploaded, so that a sender who leaves cannot leave half of it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::append::{Appending, begin_file};
use super::buffers::Reserved;
use super::complete::Sent;
use super::create::Draft;
use super::room::Promise;
use super::upload::{NewUpload, Order, Orders};
use super::{Caller, Service, ServiceError};
use crate::transfer::access::Capability;
use crate::transfer::policy::{Expires, Settled};
use crate::transfer::{FileId, FileName, MAX_FILES, Transfer, WholeFile};

/// A transfer being sent. Dropped before [`Sending::complete`], it is ended and its bytes are deleted.
pub struct Sending {
    orders: mpsc::Sender<Order>,
    outcome: oneshot::Receiver<Result<Sent, ServiceError>>,
    names: Vec<FileName>,
}

impl Service {
    /// Admits an upload and begins its transfer, with its first file. When it returns, the body may be asked for.
    ///
    /// # Errors
    /// What the head of the request decides: too large, no room, no memory, no log, more than the team may hold.
    pub async fn send(
        self: &Arc<Self>,
        caller: Arc<Caller>,
        expires: Expires,
        first: NewUpload,
    ) -> Result<Sending, ServiceError> {
        let at_most = first.length;
        self.send_several(caller, expires, first, at_most).await
    }

    /// [`Service::send`] where all files together have no more than so many bytes; absent: nobody knows.
    ///
    /// # Errors
    /// As there.
    pub async fn send_several(
        self: &Arc<Self>,
        caller: Arc<Caller>,
        expires: Expires,
        first: NewUpload,
        at_most: Option<u64>,
    ) -> Result<Sending, ServiceError> {
        caller.require(Capability::Send)?;
        let promise = self.admit_file(&caller, first.length).await?;
        let reserved = self.reserve(&caller, first.length).await?;
        let (orders, taken) = Orders::channel(!self.buffers.is_mostly_free());
        let (tell, outcome) = oneshot::channel();
        let names = vec![first.name.clone()];
        let (begun, has_begun) = oneshot::channel();
        let service = Arc::clone(self);
        self.tasks.spawn(async move {
            // From its first commit on the task owns the transfer, also if the sender leaves meanwhile.
            let draft = match service.create(&caller, expires, &first, at_most).await {
                Ok(draft) => draft,
                Err(error) => {
                    let _ = begun.send(Err(error));
                    return;
                }
            };
            let _ = begun.send(Ok(()));
            let task = Task { service, caller, draft, orders: taken };
            let _ = tell.send(task.run(first, (reserved, promise)).await);
        });
        has_begun.await.unwrap_or_else(|_| Err(stopped()))?;
        Ok(Sending { orders, outcome, names })
    }

    async fn reserve(&self, caller: &Caller, length: Option<u64>) -> Result<Reserved, ServiceError> {
        let bytes = Appending::buffer_size(self.blobs.part_size(), length);
        self.buffers.reserve(caller.account.id, bytes).await
    }
}

impl Sending {
    /// Begins a further file.
    ///
    /// # Errors
    /// A name that is taken, too many files, or what ended the upload.
    pub async fn file(&mut self, upload: NewUpload) -> Result<(), ServiceError> {
        if self.names.contains(&upload.name) {
            return Err(ServiceError::NameTaken);
        }
        if self.names.len() >= MAX_FILES {
            return Err(ServiceError::TooManyFiles);
        }
        self.names.push(upload.name.clone());
        self.order(Order::File(upload)).await
    }

    /// Hands over bytes of the present file; waits while the store is slower than the sender.
    ///
    /// # Errors
    /// What ended the upload.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ServiceError> {
        self.order(Order::Data(bytes)).await
    }

    /// The present file is whole.
    ///
    /// # Errors
    /// What ended the upload.
    pub async fn end_file(&mut self) -> Result<(), ServiceError> {
        self.order(Order::EndFile).await
    }

    /// Makes the transfer available and mints its link. When it returns, every byte is durable.
    ///
    /// # Errors
    /// What ended the upload; then nothing can be fetched.
    pub async fn complete(mut self, terms: Settled) -> Result<Sent, ServiceError> {
        self.order(Order::Complete(terms)).await?;
        self.outcome.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn order(&mut self, order: Order) -> Result<(), ServiceError> {
        if self.orders.send(order).await.is_ok() {
            return Ok(());
        }
        match (&mut self.outcome).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Err(stopped()),
        }
    }
}

fn stopped() -> ServiceError {
    ServiceError::Internal("the upload's task stopped".to_owned())
}

/// Why an upload is abandoned, in the log and in metrics.
const fn reason(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Ended => "sender_left",
        ServiceError::FileTooLarge { .. } => "file_too_large",
        ServiceError::QuotaExceeded(_) => "quota_exceeded",
        ServiceError::LengthMismatch { .. } => "length_mismatch",
        ServiceError::Full(_) => "storage_full",
        ServiceError::BuffersBusy => "buffers_busy",
        ServiceError::TokenInvalid | ServiceError::CapabilityMissing(_) => "token_invalid",
        _ => "failed",
    }
}

struct Task {
    service: Arc<Service>,
    caller: Arc<Caller>,
    draft: Draft,
    orders: Orders,
}

impl Task {
    async fn run(mut self, first: NewUpload, room: (Reserved, Promise)) -> Result<Sent, ServiceError> {
        let running = self.service.metrics.upload();
        let sent = self.files(first, room).await;
        if let Err(error) = &sent {
            self.abandon(error).await;
        }
        running.end(sent.as_ref().err().map_or("completed", reason));
        sent
    }

    async fn files(&mut self, first: NewUpload, room: (Reserved, Promise)) -> Result<Sent, ServiceError> {
        let mut whole = self.append(self.draft.first, first, room).await?;
        loop {
            match self.orders.next().await {
                Some(Order::File(upload)) => {
                    let promise = self.service.admit_file(&self.caller, upload.length).await?;
                    let reserved = self.service.reserve(&self.caller, upload.length).await?;
                    let file = self.next_file(whole, &upload).await?;
                    whole = self.append(file, upload, (reserved, promise)).await?;
                }
                Some(Order::Complete(terms)) => {
                    let transfer = self.draft.transfer.clone();
                    let draft = (transfer, &self.draft.key);
                    return self.service.complete(&self.caller, draft, Some(whole), terms).await;
                }
                Some(Order::Data(_) | Order::EndFile) | None => return Err(ServiceError::Ended),
            }
        }
    }

    async fn append(
        &mut self,
        file: FileId,
        upload: NewUpload,
        room: (Reserved, Promise),
    ) -> Result<WholeFile, ServiceError> {
        let Draft { transfer, key, .. } = &mut self.draft;
        Appending::start(&self.service, &self.caller, (transfer, key), file, &upload, room)?
            .run(&mut self.orders)
            .await
    }

    /// Commits the file that is whole and begins the next, in one step.
    async fn next_file(&mut self, whole: WholeFile, upload: &NewUpload) -> Result<FileId, ServiceError> {
        let context = self.service.context(self.caller.actor(), &self.caller.asker);
        let transfer = self.draft.transfer.clone();
        let times = (context.now, self.service.rules.upload_idle);
        let new = begin_file(&self.draft.key, self.caller.team.shard, transfer.id(), upload, times);
        let id = new.id;
        let change = transfer
            .finish_file(whole, &context)?
            .and_then(|transfer, context| transfer.start_file(new, context))?;
        let record = change.record().clone();
        self.service.commit(change).await?;
        self.draft.transfer = record;
        Ok(id)
    }

    /// An upload that breaks is ended at once by its instance (DESIGN §4).
    async fn abandon(&mut self, error: &ServiceError) {
        let reason = reason(error);
        let transfer: Transfer = self.draft.transfer.clone();
        let (team, id) = (transfer.team(), transfer.id());
        let context = self.service.context(self.caller.actor(), &self.caller.asker);
        let ended = match transfer.abandon(reason, &context) {
            Ok(change) => self.service.commit(change).await,
            Err(_) => return,
        };
        match ended {
            // Somebody else ended it first, or the commit that seemed to fail was applied.
            Ok(()) => {}
            Err(crate::storage::StoreError::Conflict) => {
                if let Err(error) = self.service.withdraw(team, id, reason, &context).await {
                    tracing::warn!(transfer = %id, error = &error as &dyn std::error::Error, "upload not ended; the reaper will");
                }
                // It may be purged by now, and what this task wrote last have come after that. The sender need not wait.
                let keys: Vec<_> = self.draft.transfer.blob_keys().cloned().collect();
                let service = Arc::clone(&self.service);
                self.service.tasks.spawn(async move {
                    let left = service.blobs.delete(&keys).await.into_iter().filter(Result::is_err).count();
                    if left > 0 {
                        tracing::warn!(transfer = %id, left, "objects not deleted; the sweep will");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(transfer = %id, error = &error as &dyn std::error::Error, "upload not ended; the reaper will");
            }
        }
    }
}

impl Service {
    /// The sender was told that the upload failed, so it must not be there: ends it in whatever state it is.
    async fn withdraw(
        &self,
        team: crate::transfer::TeamId,
        id: crate::transfer::TransferId,
        reason: &str,
        context: &crate::transfer::Context,
    ) -> Result<(), ServiceError> {
        let Some(record) = self.records.transfer(team, id).await? else { return Ok(()) };
        if !record.transfer.state().is_live() {
            return Ok(());
        }
        let again = context.again(self.clock.now());
        let change = match record.transfer.state() {
            crate::transfer::State::Uploading => record.transfer.abandon(reason, &again)?,
            _ => record.transfer.delete(&again)?,
        };
        Ok(self.commit(change).await?)
    }
}
