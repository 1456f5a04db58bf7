//! Reading a download: verified plaintext of a range, a few segments at a time, and how far each byte came.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::super::ServiceError;
use super::super::plan::{Piece, damaged_object as damaged};
use crate::crypto::{MainKey, Opener, SEGMENT};
use crate::metrics::Count;
use crate::storage::{BlobError, BlobReader, BlobStore};
use crate::transfer::BlobKey;

/// Segments that are read at once.
pub(super) const READ_AHEAD: usize = 4;

/// Verified plaintext of at most one segment. Its buffer goes back to the download when the last chunk of it is dropped,
/// and is zeroized with the download.
pub struct Chunk {
    buffer: Arc<Buffer>,
    range: Range<usize>,
    progress: Arc<Progress>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self.buffer.bytes.get(self.range.clone()).unwrap_or_default()
    }
}

impl Chunk {
    /// Every byte of the chunk went to the socket. To be called in order, at most once, before it is dropped.
    pub fn written(&self) {
        self.progress.written.fetch_add(self.range.len() as u64, Ordering::AcqRel);
        self.progress.sent.add(self.range.len() as u64);
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.progress.released.fetch_add(self.range.len() as u64, Ordering::AcqRel);
        self.progress.moved.notify_one();
    }
}

/// What is read at once. To zeroize it each time would cost as much as to decrypt it: the next segments overwrite it.
struct Buffer {
    bytes: Zeroizing<Vec<u8>>,
    progress: Arc<Progress>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.progress.spare().push(std::mem::take(&mut self.bytes));
    }
}

/// How far the bytes of a download came.
#[derive(Default)]
pub(super) struct Progress {
    /// Bytes in chunks that were made.
    made: AtomicU64,
    /// Bytes in chunks that went to the socket.
    written: AtomicU64,
    /// Bytes in chunks that were dropped, written or not.
    released: AtomicU64,
    /// The same over all downloads.
    sent: Count,
    moved: Notify,
    /// Buffers that no chunk is in.
    spare: Mutex<Vec<Zeroizing<Vec<u8>>>>,
}

impl Progress {
    /// `sent` counts what went to the sockets over all downloads.
    pub(super) fn new(sent: Count) -> Self {
        Self { sent, ..Self::default() }
    }

    /// Bytes that went to the socket.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Waits until nobody holds a chunk.
    pub(super) async fn released(&self) {
        while self.released.load(Ordering::Acquire) < self.made.load(Ordering::Acquire) {
            self.moved.notified().await;
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Zeroizing<Vec<u8>>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `length` bytes, which is at most what is `left`. It never grows, which would leave a copy behind.
    fn buffer(&self, length: usize, left: u64) -> Zeroizing<Vec<u8>> {
        let spare = self.spare().pop().filter(|spare| spare.capacity() >= length);
        let mut buffer = spare.unwrap_or_else(|| {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(READ_AHEAD * SEGMENT);
            Zeroizing::new(Vec::with_capacity(most.max(length)))
        });
        buffer.resize(length, 0);
        buffer
    }
}

/// Reads, verifies and cuts to the range, a few segments at a time.
pub(super) struct Source {
    blobs: Arc<dyn BlobStore>,
    main: MainKey,
    pieces: std::vec::IntoIter<Piece>,
    now: Option<Reading>,
    progress: Arc<Progress>,
}

struct Reading {
    reader: Box<dyn BlobReader>,
    opener: Opener,
    piece: Piece,
    segment: u32,
}

impl Source {
    pub(super) fn new(
        blobs: Arc<dyn BlobStore>,
        main: MainKey,
        pieces: Vec<Piece>,
        progress: Arc<Progress>,
    ) -> Self {
        Self { blobs, main, pieces: pieces.into_iter(), now: None, progress }
    }

    /// The first chunks, once the objects are as long as they should be.
    pub(super) async fn first(&mut self, objects: &[(BlobKey, u64)]) -> Result<Vec<Chunk>, ServiceError> {
        for (key, size) in objects {
            if self.blobs.size(key).await? != Some(*size) {
                return Err(damaged(key));
            }
        }
        self.next().await
    }

    /// The next verified chunks; none at the end. A segment that does not authenticate ends it with an error.
    pub(super) async fn next(&mut self) -> Result<Vec<Chunk>, ServiceError> {
        loop {
            let mut reading = match self.now.take() {
                Some(reading) => reading,
                None => match self.pieces.next() {
                    Some(piece) => self.begin(piece).await?,
                    None => return Ok(Vec::new()),
                },
            };
            let chunks = self.read(&mut reading).await?;
            if reading.piece.cover.ciphertext.start < reading.piece.cover.ciphertext.end {
                self.now = Some(reading);
            }
            if !chunks.is_empty() {
                return Ok(chunks);
            }
        }
    }

    async fn begin(&self, piece: Piece) -> Result<Reading, ServiceError> {
        let Range { start, end } = piece.cover.ciphertext.clone();
        let header = piece.header.to_bytes();
        // The header is pinned by the sealed runs, so the one in the object is not needed. It is read with the first
        // segment all the same: an object of which any byte was changed is not served.
        let head = if piece.cover.first_segment == 0 { header.len() } else { 0 };
        let from = start.saturating_sub(head as u64);
        let reader = self.blobs.read(&piece.key, piece.base + from..piece.base + end).await;
        let mut reader = reader.map_err(|error| match error {
            BlobError::NotFound => damaged(&piece.key),
            error => error.into(),
        })?;
        if head > 0 {
            let (found, read) = reader.read(Zeroizing::new(vec![0; head])).await?;
            if read != head || found[..] != header[..] {
                return Err(damaged(&piece.key));
            }
        }
        let opener = Opener::new(&self.main, &piece.run, &piece.header, piece.layout);
        Ok(Reading { reader, opener, segment: piece.cover.first_segment, piece })
    }

    async fn read(&self, reading: &mut Reading) -> Result<Vec<Chunk>, ServiceError> {
        let key = &reading.piece.key;
        let damaged = || damaged(key);
        let left = reading.piece.cover.ciphertext.end - reading.piece.cover.ciphertext.start;
        let mut lengths = Vec::with_capacity(READ_AHEAD);
        let mut wanted = 0;
        for index in (reading.segment..).take(READ_AHEAD) {
            if wanted as u64 == left {
                break;
            }
            let range = reading.piece.layout.segment(index).ok_or_else(damaged)?;
            let length = usize::try_from(range.end - range.start).map_err(|_| damaged())?;
            wanted += length;
            lengths.push(length);
        }
        let buffer = self.progress.buffer(wanted, left);
        let (mut buffer, read) = reading.reader.read(buffer).await?;
        if read != wanted {
            return Err(damaged());
        }
        let mut ranges = Vec::with_capacity(lengths.len());
        let mut at = 0;
        for length in lengths {
            let segment = buffer.get_mut(at..at + length).ok_or_else(damaged)?;
            let plaintext = reading.opener.open(reading.segment, segment).map_err(|_| damaged())?;
            let skip = std::mem::take(&mut reading.piece.cover.skip).min(plaintext);
            let take = usize::try_from(reading.piece.take).unwrap_or(usize::MAX).min(plaintext - skip);
            reading.piece.take -= take as u64;
            if take > 0 {
                ranges.push(at + skip..at + skip + take);
            }
            at += length;
            reading.segment += 1;
        }
        reading.piece.cover.ciphertext.start += wanted as u64;
        let buffer = Arc::new(Buffer { bytes: buffer, progress: Arc::clone(&self.progress) });
        let chunk = |range: Range<usize>| {
            self.progress.made.fetch_add(range.len() as u64, Ordering::AcqRel);
            Chunk { buffer: Arc::clone(&buffer), range, progress: Arc::clone(&self.progress) }
        };
        Ok(ranges.into_iter().map(chunk).collect())
    }
}
