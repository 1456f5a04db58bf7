//! Appending a file: plaintext in, sealed parts out, never more in memory than one part, or two if there is room.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::buffers::Reserved;
use super::room::Promise;
use super::upload::{NewUpload, Order, Orders};
use super::{Caller, Service, ServiceError};
use crate::clock::Timestamp;
use crate::crypto::{
    ContentDigest, FileMeta, Header, Layout, Run, RunId, SEGMENT, TransferKey, Writer, seal_runs,
};
use crate::storage::{BlobError, BlobUpload};
use crate::transfer::{
    BlobKey, FileId, NewFile, Object, OperationId, Touch, Transfer, TransferId, WholeFile,
};

/// Parts after which it is looked again whether there is room: others write too, and not all say how much. Who does not
/// say is promised room for so many at once.
const LOOK_AT_ROOM: u32 = 16;

/// Draws id and blob key of a file together, and seals what is known of it.
pub(super) fn begin_file(
    key: &TransferKey,
    shard: u8,
    transfer: TransferId,
    upload: &NewUpload,
    (now, upload_idle): (Timestamp, Duration),
) -> NewFile {
    let id = FileId::generate(now);
    let meta = FileMeta {
        name: upload.name.as_str().to_owned(),
        r#type: upload.media_type.clone(),
        ..FileMeta::default()
    };
    let meta_key = key.meta_key(transfer.as_bytes());
    NewFile {
        id,
        object: BlobKey::generate(shard, transfer, id, 0),
        sealed: meta.seal(&meta_key, transfer.as_bytes(), id.as_bytes()),
        upload_deadline: now.after(upload_idle),
    }
}

/// One file while its bytes come in.
pub(super) struct Appending<'a> {
    service: &'a Service,
    caller: &'a Caller,
    transfer: &'a Transfer,
    key: &'a TransferKey,
    file: FileId,
    blob: BlobKey,
    upload: &'a NewUpload,
    header: Header,
    writer: Writer,
    digest: ContentDigest,
    size: u64,
    part: usize,
    sink: Sink,
    /// What the blob store calls the upload.
    journalled: Option<String>,
    parts: u32,
    opener: OperationId,
    touched: Timestamp,
    promise: Promise,
    _reserved: Reserved,
    /// The memory of a second buffer, held while nobody waits for memory.
    second: Option<Reserved>,
}

/// The object under way.
enum Sink {
    /// All that came fits one part so far.
    None,
    Open(Box<dyn BlobUpload>),
    /// A part is written while the next one is filled. The task ends by itself, and then drops what nobody waits for.
    Writing(JoinHandle<(Box<dyn BlobUpload>, Written)>),
}

/// The buffer that a part was in.
type Written = Result<Zeroizing<Vec<u8>>, BlobError>;

impl<'a> Appending<'a> {
    /// Takes the buffer that was reserved and starts the run.
    pub(super) fn start(
        service: &'a Service,
        caller: &'a Caller,
        (transfer, key): (&'a Transfer, &'a TransferKey),
        file: FileId,
        upload: &'a NewUpload,
        (reserved, promise): (Reserved, Promise),
    ) -> Result<Self, ServiceError> {
        let defect = || ServiceError::Internal("a file was begun without an object".to_owned());
        let blob = transfer
            .file(file)
            .and_then(|file| file.objects.first())
            .map(|object| object.key.clone())
            .ok_or_else(defect)?;
        let header = Header::generate();
        let run = RunId { transfer: *transfer.id().as_bytes(), file: *file.as_bytes(), run: 0 };
        let main = key.main_key(transfer.id().as_bytes(), file.as_bytes());
        let part = service.blobs.part_size();
        let buffer = std::mem::take(&mut *reserved.allocate());
        let now = service.clock.now();
        Ok(Self {
            service,
            caller,
            transfer,
            key,
            file,
            blob,
            upload,
            header,
            writer: Writer::new(&main, &run, header, buffer, part)?,
            digest: ContentDigest::default(),
            size: 0,
            part,
            sink: Sink::None,
            journalled: None,
            parts: 0,
            opener: OperationId::generate(now),
            touched: now,
            promise,
            _reserved: reserved,
            second: None,
        })
    }

    /// What a buffer for this upload must hold: a part, or the whole object if it is shorter.
    pub(super) fn buffer_size(part: usize, length: Option<u64>) -> usize {
        length
            .and_then(Layout::of_plaintext)
            .and_then(|layout| usize::try_from(layout.ciphertext()).ok())
            .map_or(part, |whole| whole.min(part).max(SEGMENT.min(part) / 64))
    }

    /// Takes data until the file ends; returns what the commit needs. Sent only bytes that are sealed.
    ///
    /// # Errors
    /// The stores', a length that is not as declared, and [`ServiceError::Ended`] if the sender left.
    pub(super) async fn run(mut self, orders: &mut Orders) -> Result<WholeFile, ServiceError> {
        let taken = self.take(orders).await;
        match taken {
            Ok(()) => self.finish().await,
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn take(&mut self, orders: &mut Orders) -> Result<(), ServiceError> {
        loop {
            match orders.next().await {
                Some(Order::Data(bytes)) => self.data(bytes).await?,
                Some(Order::EndFile) => break,
                Some(Order::File(_) | Order::Complete(_)) | None => return Err(ServiceError::Ended),
            }
        }
        match self.upload.length {
            Some(declared) if declared != self.size => {
                Err(ServiceError::LengthMismatch { declared, received: self.size })
            }
            _ => Ok(()),
        }
    }

    async fn data(&mut self, bytes: Bytes) -> Result<(), ServiceError> {
        self.size += bytes.len() as u64;
        if let Some(limit) = self.service.rules.policy.max_upload_bytes
            && self.size > limit
        {
            return Err(ServiceError::FileTooLarge { limit });
        }
        if let Some(declared) = self.upload.length
            && self.size > declared
        {
            return Err(ServiceError::LengthMismatch { declared, received: self.size });
        }
        self.digest.update(&bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let taken = self.writer.push(rest)?;
            rest = &rest[taken..];
            if !rest.is_empty() {
                self.send_part().await?;
            }
        }
        let now = self.service.clock.now();
        self.service.still_stands(self.caller, now).await?;
        if now.since(self.touched) >= self.service.rules.upload_idle / 3 {
            self.touch(now).await?;
        }
        Ok(())
    }

    /// Sends the full part. Goes on in a second buffer while it is written, or in the same one after.
    async fn send_part(&mut self) -> Result<(), ServiceError> {
        self.look_at_room().await?;
        let full = Zeroizing::new(self.writer.next_part(Vec::new())?);
        let (sink, spare) = self.written().await?;
        let mut sink = if let Some(sink) = sink {
            sink
        } else {
            let sink = self.service.blobs.open(&self.blob).await?;
            self.journalled = Some(sink.id().to_owned());
            self.touch(self.service.clock.now()).await?;
            sink
        };
        self.parts += 1;
        let mut next = if let Some(next) = self.second_buffer(spare) {
            self.sink = Sink::Writing(tokio::spawn(async move {
                let written = sink.part(full).await;
                (sink, written)
            }));
            next
        } else {
            let back = sink.part(full).await;
            self.sink = Sink::Open(sink);
            self.promise.filled(self.part as u64);
            back?
        };
        Ok(self.writer.refill(std::mem::take(&mut *next))?)
    }

    /// The upload, once the part before is written, with the buffer that this one was in.
    async fn written(
        &mut self,
    ) -> Result<(Option<Box<dyn BlobUpload>>, Option<Zeroizing<Vec<u8>>>), ServiceError> {
        match std::mem::replace(&mut self.sink, Sink::None) {
            Sink::None => Ok((None, None)),
            Sink::Open(sink) => Ok((Some(sink), None)),
            Sink::Writing(writing) => {
                let (sink, written) = writing
                    .await
                    .map_err(|_| ServiceError::Internal("the write of a part was cut off".to_owned()))?;
                match written {
                    Ok(buffer) => {
                        self.promise.filled(self.part as u64);
                        Ok((Some(sink), Some(buffer)))
                    }
                    Err(error) => {
                        self.sink = Sink::Open(sink);
                        Err(error.into())
                    }
                }
            }
        }
    }

    /// A buffer beside the one that is being written: the spare one, or a new one. None while somebody waits for
    /// memory, so that whoever came first has never more than one part then (DESIGN §5).
    fn second_buffer(&mut self, spare: Option<Zeroizing<Vec<u8>>>) -> Option<Zeroizing<Vec<u8>>> {
        let buffers = &self.service.buffers;
        if buffers.are_wanted() {
            self.second = None;
        } else if self.second.is_none() {
            self.second = buffers.try_reserve(self.caller.account.id, self.part);
        }
        let second = self.second.as_ref()?;
        Some(spare.unwrap_or_else(|| second.allocate()))
    }

    async fn abort(&mut self) {
        let sink = match self.written().await {
            Ok((sink, _)) => sink,
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

    async fn look_at_room(&mut self) -> Result<(), ServiceError> {
        let due = self.parts.is_multiple_of(LOOK_AT_ROOM) && (self.parts > 0 || self.upload.length.is_none());
        if !due && !self.service.room.is_short() {
            return Ok(());
        }
        self.service.gate.uploads()?;
        let more = match self.upload.length {
            Some(_) => 0,
            // On top come the part that is being written and the last one, which is held back.
            None => ((u64::from(LOOK_AT_ROOM) + 2) * self.part as u64).saturating_sub(self.promise.left()),
        };
        self.service.promise_more(&mut self.promise, more).await
    }

    async fn touch(&mut self, now: Timestamp) -> Result<(), ServiceError> {
        let touch = Touch {
            team: self.transfer.team(),
            transfer: self.transfer.id(),
            file: self.file,
            epoch: 1,
            opener: self.opener,
            upload: self.journalled.clone(),
            bytes: self.size,
            upload_deadline: now.after(self.service.rules.upload_idle),
        };
        self.service.records.touch(touch).await?;
        self.touched = now;
        Ok(())
    }

    async fn finish(mut self) -> Result<WholeFile, ServiceError> {
        let (sink, _) = self.written().await?;
        let Self { service, caller, transfer, key, file, blob, upload, header, writer, .. } = self;
        let (rest, length) = writer.finish()?;
        let rest = Zeroizing::new(rest);
        let layout = Layout::of_plaintext(length)
            .ok_or_else(|| ServiceError::Internal("a run has outgrown its format".to_owned()))?;
        let written = match sink {
            None => service.blobs.put(&blob, rest).await.map(drop),
            Some(mut sink) => match sink.part(rest).await {
                Ok(_) => sink.complete().await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = written {
            settle_write(service, &blob, layout.ciphertext(), error).await?;
        }
        let id = transfer.id();
        let (transfer_id, file_id) = (id.as_bytes(), file.as_bytes());
        let sha256 = self.digest.finish();
        let meta_key = key.meta_key(transfer_id);
        let runs = [Run { header: header.to_bytes(), length, object: 0 }];
        let meta = FileMeta {
            name: upload.name.as_str().to_owned(),
            r#type: upload.media_type.clone(),
            size: Some(length),
            sha256: Some(hex::encode(sha256)),
            runs: Some(1),
        };
        tracing::debug!(%file, bytes = length, parts = length / self.part as u64 + 1, account = %caller.account.id, "file stored");
        Ok(WholeFile {
            id: file,
            objects: vec![Object { key: blob, size: Some(layout.ciphertext()) }],
            sealed: meta.seal(&meta_key, transfer_id, file_id),
            runs: vec![seal_runs(&meta_key, transfer_id, file_id, 0, &runs)?],
            size: length,
            content_mac: key.receipt_key(transfer_id, file_id).content_mac(&sha256),
        })
    }
}

/// A write whose outcome is not known is settled by the object's size (DESIGN §4).
async fn settle_write(
    service: &Service,
    blob: &BlobKey,
    size: u64,
    error: BlobError,
) -> Result<(), ServiceError> {
    match error {
        BlobError::Unavailable(_) if service.blobs.size(blob).await? == Some(size) => Ok(()),
        error => Err(error.into()),
    }
}
