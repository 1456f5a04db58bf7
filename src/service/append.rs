//! Appending a file: plaintext in, sealed parts out, never more in memory than one part, or two if there is room.

use std::time::Duration;

use bytes::Bytes;

use super::buffers::Reserved;
use super::parts::Parts;
use super::room::Promise;
use super::upload::{NewUpload, Order, Orders};
use super::{Caller, Service, ServiceError};
use crate::clock::Timestamp;
use crate::crypto::{
    ContentDigest, FileMeta, Header, Layout, Run, RunId, SEGMENT, TransferKey, Writer, seal_runs,
};
use crate::failpoint;
use crate::storage::Part;
use crate::transfer::{
    BlobKey, FileId, NewFile, Object, OperationId, Touch, Transfer, TransferId, WholeFile,
};

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
    /// Where ciphertext starts in the writer's buffer.
    lead: usize,
    digest: ContentDigest,
    size: u64,
    parts: Parts<'a>,
    opener: OperationId,
    touched: Timestamp,
    _reserved: Reserved,
}

impl<'a> Appending<'a> {
    /// Takes the buffer that was reserved and starts the run.
    pub(super) fn start(
        service: &'a Service,
        caller: &'a Caller,
        (transfer, key): (&'a Transfer, &'a TransferKey),
        file: FileId,
        upload: &'a NewUpload,
        (mut reserved, promise): (Reserved, Promise),
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
        let (buffer, lead) = reserved.allocate().into_empty();
        let now = service.clock.now();
        Ok(Self {
            service,
            caller,
            transfer,
            key,
            file,
            upload,
            header,
            writer: Writer::new(&main, &run, header, buffer, part)?,
            lead,
            digest: ContentDigest::default(),
            size: 0,
            parts: Parts::new(service, caller.account.id, blob.clone(), upload.length.is_some(), promise),
            blob,
            opener: OperationId::generate(now),
            touched: now,
            _reserved: reserved,
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
                self.parts.abort().await;
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
        self.service.metrics.received(bytes.len());
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

    async fn send_part(&mut self) -> Result<(), ServiceError> {
        self.parts.look_at_room().await?;
        let full = Part::from_filled(self.writer.next_part(Vec::new())?, self.lead);
        if self.parts.open().await? {
            failpoint::hit("after_open");
            self.touch(self.service.clock.now()).await?;
            failpoint::hit("after_journal");
        }
        let (buffer, lead) = self.parts.send(full).await?.into_empty();
        self.lead = lead;
        Ok(self.writer.refill(buffer)?)
    }

    async fn touch(&mut self, now: Timestamp) -> Result<(), ServiceError> {
        let touch = Touch {
            team: self.transfer.team(),
            transfer: self.transfer.id(),
            file: self.file,
            epoch: 1,
            opener: self.opener,
            upload: self.parts.id().cloned(),
            bytes: self.size,
            upload_deadline: now.after(self.service.rules.upload_idle),
        };
        self.service.records.touch(touch).await?;
        self.touched = now;
        Ok(())
    }

    async fn finish(self) -> Result<WholeFile, ServiceError> {
        let Self { caller, transfer, key, file, blob, upload, header, writer, parts, digest, lead, .. } =
            self;
        let (rest, length) = writer.finish()?;
        let layout = Layout::of_plaintext(length)
            .ok_or_else(|| ServiceError::Internal("a run has outgrown its format".to_owned()))?;
        parts.finish(Part::from_filled(rest, lead), layout.ciphertext()).await?;
        let id = transfer.id();
        let (transfer_id, file_id) = (id.as_bytes(), file.as_bytes());
        let sha256 = digest.finish();
        let meta_key = key.meta_key(transfer_id);
        let runs = [Run { header: header.to_bytes(), length, object: 0 }];
        let meta = FileMeta {
            name: upload.name.as_str().to_owned(),
            r#type: upload.media_type.clone(),
            size: Some(length),
            sha256: Some(hex::encode(sha256)),
            runs: Some(1),
        };
        tracing::debug!(%file, bytes = length, account = %caller.account.id, "file stored");
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
