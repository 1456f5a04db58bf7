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
    ContentDigest, FileMeta, Header, Layout, MainKey, RUNS_PER_PAGE, Run, RunId, SEGMENT, TransferKey,
    Writer, seal_runs,
};
use crate::failpoint;
use crate::storage::{Part, StoreError};
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
    transfer: &'a mut Transfer,
    key: &'a TransferKey,
    file: FileId,
    upload: &'a NewUpload,
    main: MainKey,
    /// Of the run that is being written.
    header: Header,
    /// The run before, and the objects that they fill.
    runs: Vec<Run>,
    objects: Vec<Object>,
    blob: BlobKey,
    writer: Writer,
    /// Where ciphertext starts in the writer's buffer.
    lead: usize,
    digest: ContentDigest,
    size: u64,
    /// Bytes of the transfer's other files, and the most that this one may have.
    others: u64,
    limit: Option<u64>,
    parts: Parts<'a>,
    opener: OperationId,
    touched: Timestamp,
    reserved: Reserved,
}

impl<'a> Appending<'a> {
    /// Takes the buffer that was reserved and starts the run.
    pub(super) fn start(
        service: &'a Service,
        caller: &'a Caller,
        (transfer, key): (&'a mut Transfer, &'a TransferKey),
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
        let run = run_id(transfer, file, 0);
        let main = key.main_key(transfer.id().as_bytes(), file.as_bytes());
        let part = service.blobs.part_size();
        let (buffer, lead) = reserved.allocate().into_empty();
        let now = service.clock.now();
        let others = transfer.bytes();
        Ok(Self {
            service,
            caller,
            transfer,
            key,
            file,
            upload,
            writer: Writer::new(&main, &run, header, buffer, part)?,
            main,
            header,
            runs: Vec::new(),
            objects: Vec::new(),
            lead,
            digest: ContentDigest::default(),
            size: 0,
            others,
            limit: service.policy_of(&caller.team).max_upload_bytes,
            parts: Parts::new(service, caller.account.id, blob.clone(), upload.length.is_some(), promise),
            blob,
            opener: OperationId::generate(now),
            touched: now,
            reserved,
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
        if let Some(limit) = self.limit
            && self.size > limit
        {
            return Err(ServiceError::FileTooLarge { limit });
        }
        if let Some(declared) = self.upload.length
            && self.size > declared
        {
            return Err(ServiceError::LengthMismatch { declared, received: self.size });
        }
        while self.others.saturating_add(self.size) > self.transfer.reserved() {
            self.reserve_step().await?;
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

    /// A step more of the team's quota, on record before the bytes beyond the last one are taken.
    async fn reserve_step(&mut self) -> Result<(), ServiceError> {
        let transfer = self.transfer.clone();
        let decide = |bytes| {
            let context = self.service.context(self.caller.actor(), &self.caller.asker);
            Ok(transfer.clone().reserve(bytes, &context)?)
        };
        *self.transfer = self.service.commit_reserving(self.caller, None, decide).await?;
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), ServiceError> {
        self.parts.look_at_room().await?;
        if self.parts.is_last_part() {
            return self.next_object().await;
        }
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

    /// Ends the object with the part that is full. The file goes on in the next one, with a run of its own, which is on record
    /// before its first byte is sent.
    async fn next_object(&mut self) -> Result<(), ServiceError> {
        let header = std::mem::replace(&mut self.header, Header::generate());
        let number = u32::try_from(self.objects.len() + 1).map_err(|_| outgrown())?;
        let run = run_id(self.transfer, self.file, number);
        let (rest, length) = self.writer.next_run(&self.main, &run, self.header)?;
        let back = self.end_object(Part::from_filled(rest, self.lead), header, length).await?;
        let next = BlobKey { object: number, random: rand::random(), ..self.blob.clone() };
        let context = self.service.context(self.caller.actor(), &self.caller.asker);
        let change = self.transfer.clone().next_object(self.file, next.clone(), &context)?;
        let record = change.record().clone();
        match self.service.commit(change).await {
            // Nobody else writes to a transfer in Uploading but to end it.
            Err(StoreError::Conflict) => return Err(ServiceError::Ended),
            done => done?,
        }
        *self.transfer = record;
        self.parts.next_object(next.clone());
        self.blob = next;
        let (buffer, lead) = back.unwrap_or_else(|| self.reserved.allocate()).into_empty();
        self.lead = lead;
        Ok(self.writer.refill(buffer)?)
    }

    /// Sends the last part of an object, whose run is `length` bytes of plaintext.
    async fn end_object(
        &mut self,
        rest: Part,
        header: Header,
        length: u64,
    ) -> Result<Option<Part>, ServiceError> {
        let size = Layout::of_plaintext(length).ok_or_else(outgrown)?.ciphertext();
        let back = self.parts.end_object(rest, size).await?;
        self.runs.push(Run { header: header.to_bytes(), length, object: self.blob.object });
        self.objects.push(Object { key: self.blob.clone(), size: Some(size) });
        Ok(back)
    }

    async fn touch(&mut self, now: Timestamp) -> Result<(), ServiceError> {
        let touch = Touch {
            team: self.transfer.team(),
            transfer: self.transfer.id(),
            file: self.file,
            epoch: 1,
            opener: self.opener,
            upload: self.parts.id().map(str::to_owned),
            bytes: self.size,
            upload_deadline: now.after(self.service.rules.upload_idle),
        };
        self.service.records.touch(touch).await?;
        self.touched = now;
        Ok(())
    }

    async fn finish(mut self) -> Result<WholeFile, ServiceError> {
        let (rest, length) = self.writer.end()?;
        self.end_object(Part::from_filled(rest, self.lead), self.header, length).await?;
        let Self { caller, transfer, key, file, upload, digest, size, runs, objects, .. } = self;
        let id = transfer.id();
        let (transfer_id, file_id) = (id.as_bytes(), file.as_bytes());
        let sha256 = digest.finish();
        let meta_key = key.meta_key(transfer_id);
        let meta = FileMeta {
            name: upload.name.as_str().to_owned(),
            r#type: upload.media_type.clone(),
            size: Some(size),
            sha256: Some(hex::encode(sha256)),
            runs: Some(u32::try_from(runs.len()).map_err(|_| outgrown())?),
        };
        let pages = (0..).zip(runs.chunks(RUNS_PER_PAGE));
        let pages = pages.map(|(page, runs)| seal_runs(&meta_key, transfer_id, file_id, page, runs));
        tracing::debug!(%file, bytes = size, objects = objects.len(), account = %caller.account.id, "file stored");
        Ok(WholeFile {
            id: file,
            objects,
            sealed: meta.seal(&meta_key, transfer_id, file_id),
            runs: pages.collect::<Result<_, _>>()?,
            size,
            content_mac: key.receipt_key(transfer_id, file_id).content_mac(&sha256),
        })
    }
}

fn run_id(transfer: &Transfer, file: FileId, run: u32) -> RunId {
    RunId { transfer: *transfer.id().as_bytes(), file: *file.as_bytes(), run }
}

fn outgrown() -> ServiceError {
    ServiceError::Internal("a file has outgrown its format".to_owned())
}
