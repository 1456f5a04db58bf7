//! Where a download's plaintext comes from: ciphertext is read a few segments at a time, verified, and cut to the range.

use std::ops::Range;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::ServiceError;
use super::download::{Chunk, Progress};
use super::plan::{Piece, damaged_object as damaged};
use crate::crypto::{MainKey, Opener, TAG};
use crate::storage::{BlobError, BlobReader, BlobStore};
use crate::transfer::BlobKey;

/// Segments that are read at once.
pub(super) const AT_ONCE: usize = 4;

/// The verified bytes of a range. Some segments are opened on another thread while the next ones are read.
pub(super) struct Source {
    blobs: Arc<dyn BlobStore>,
    main: MainKey,
    pieces: std::vec::IntoIter<Piece>,
    now: Option<Reading>,
    /// Read and not opened yet.
    ahead: Option<Result<Batch, ServiceError>>,
    progress: Arc<Progress>,
}

/// The piece that is being read.
struct Reading {
    reader: Box<dyn BlobReader>,
    opener: Arc<Opener>,
    piece: Piece,
    segment: u32,
}

/// Some segments of one piece.
struct Batch {
    opener: Arc<Opener>,
    key: BlobKey,
    segment: u32,
    /// The length of each.
    lengths: Vec<usize>,
    buffer: Zeroizing<Vec<u8>>,
    /// Where what is wanted will stand in the buffer.
    wanted: Vec<Range<usize>>,
}

impl Batch {
    /// Verifies and decrypts in place.
    fn open(mut self) -> Result<Self, ServiceError> {
        let mut at = 0;
        for (index, length) in (self.segment..).zip(&self.lengths) {
            let segment = self.buffer.get_mut(at..at + length).ok_or_else(|| damaged(&self.key))?;
            self.opener.open(index, segment).map_err(|_| damaged(&self.key))?;
            at += length;
        }
        Ok(self)
    }
}

impl Source {
    pub(super) fn new(
        blobs: Arc<dyn BlobStore>,
        main: MainKey,
        pieces: Vec<Piece>,
        progress: Arc<Progress>,
    ) -> Self {
        Self { blobs, main, pieces: pieces.into_iter(), now: None, ahead: None, progress }
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
            let batch = match self.ahead.take() {
                Some(batch) => batch?,
                None => match self.read().await? {
                    Some(batch) => batch,
                    None => return Ok(Vec::new()),
                },
            };
            let opened = if self.now.is_none() && self.pieces.len() == 0 {
                batch.open()?
            } else {
                let (opened, ahead) = tokio::join!(spawn_blocking(move || batch.open()), self.read());
                // What is whole goes out before anybody hears of an error behind it.
                self.ahead = ahead.transpose();
                opened
                    .map_err(|_| ServiceError::Internal("the opening of segments was cut off".to_owned()))??
            };
            if !opened.wanted.is_empty() {
                return Ok(self.progress.chunks(opened.buffer, opened.wanted));
            }
        }
    }

    /// The next segments, as they are in the object; absent at the end.
    async fn read(&mut self) -> Result<Option<Batch>, ServiceError> {
        let mut reading = match self.now.take() {
            Some(reading) => reading,
            None => match self.pieces.next() {
                Some(piece) => self.begin(piece).await?,
                None => return Ok(None),
            },
        };
        let batch = self.read_on(&mut reading).await?;
        if !reading.piece.cover.ciphertext.is_empty() {
            self.now = Some(reading);
        }
        Ok(Some(batch))
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
        let opener = Arc::new(Opener::new(&self.main, &piece.run, &piece.header, piece.layout));
        Ok(Reading { reader, opener, segment: piece.cover.first_segment, piece })
    }

    async fn read_on(&self, reading: &mut Reading) -> Result<Batch, ServiceError> {
        let Reading { reader, opener, piece, segment } = reading;
        let damaged = || damaged(&piece.key);
        let left = piece.cover.ciphertext.end - piece.cover.ciphertext.start;
        let (mut lengths, mut wanted) = (Vec::with_capacity(AT_ONCE), Vec::with_capacity(AT_ONCE));
        let first = *segment;
        let mut at = 0;
        while lengths.len() < AT_ONCE && (at as u64) < left {
            let range = piece.layout.segment(*segment).ok_or_else(damaged)?;
            let length = usize::try_from(range.end - range.start).map_err(|_| damaged())?;
            let plaintext = length.checked_sub(TAG).ok_or_else(damaged)?;
            let skip = std::mem::take(&mut piece.cover.skip).min(plaintext);
            let take = usize::try_from(piece.take).unwrap_or(usize::MAX).min(plaintext - skip);
            piece.take -= take as u64;
            if take > 0 {
                wanted.push(at + skip..at + skip + take);
            }
            lengths.push(length);
            at += length;
            *segment = segment.saturating_add(1);
        }
        let (buffer, read) = reader.read(self.progress.buffer(at, left)).await?;
        if read != at {
            return Err(damaged());
        }
        piece.cover.ciphertext.start += at as u64;
        let (opener, key) = (Arc::clone(opener), piece.key.clone());
        Ok(Batch { opener, key, segment: first, lengths, buffer, wanted })
    }
}
