//! Runs: complete streams of Tink's `AES256_GCM_HKDF` with 64 KiB segments (DESIGN §5), written part by part and
//! read segment by segment, in place and without an allocation a segment.

use std::fmt;

use aes_gcm::Aes256Gcm;
use zeroize::{Zeroize as _, Zeroizing};

use super::Id;
use super::error::{CryptoError, Result};
use super::gcm::{self, NONCE};
use super::key::{MainKey, aad, label, run_key};
use super::layout::{HEADER, Layout, SEGMENT, TAG};
use super::secret::random;

const PREFIX: usize = 7;

/// Which run of which file: what its key is bound to. Runs count over all objects of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId {
    /// The transfer's id.
    pub transfer: Id,
    /// The file's id.
    pub file: Id,
    /// From 0.
    pub run: u32,
}

impl RunId {
    fn aad(&self) -> Vec<u8> {
        #[expect(clippy::cast_possible_truncation, reason = "65,536")]
        let segment = (SEGMENT as u32).to_be_bytes();
        aad(label::OBJECT, &[&self.transfer, &self.file, &segment, &self.run.to_be_bytes()])
    }
}

/// The first 40 bytes of a run: `0x28 || salt(32) || prefix(7)`. Public; one header serves one run only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header([u8; HEADER]);

impl Header {
    /// Draws salt and prefix from the kernel.
    #[must_use]
    pub fn generate() -> Self {
        let mut header = random::<HEADER>();
        header[0] = 0x28;
        Self(header)
    }

    /// From the start of a run or from the record; `Malformed` unless it begins with its own length.
    pub fn from_bytes(bytes: [u8; HEADER]) -> Result<Self> {
        if bytes[0] == 0x28 { Ok(Self(bytes)) } else { Err(CryptoError::Malformed("run header")) }
    }

    /// As it stands in the run.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        self.0
    }
}

/// The run's cipher, and the nonces that go with it.
struct Segments {
    cipher: Aes256Gcm,
    prefix: [u8; PREFIX],
}

impl Segments {
    fn new(main: &MainKey, run: &RunId, header: &Header) -> Self {
        let mut salt = [0; 32];
        salt.copy_from_slice(&header.0[1..33]);
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&header.0[33..]);
        Self { cipher: gcm::cipher(&run_key(main, &salt, &run.aad())), prefix }
    }

    fn nonce(&self, index: u32, last: bool) -> [u8; NONCE] {
        let mut nonce = [u8::from(last); NONCE];
        nonce[..PREFIX].copy_from_slice(&self.prefix);
        nonce[PREFIX..NONCE - 1].copy_from_slice(&index.to_be_bytes());
        nonce
    }
}

/// Encrypts one run, part by part, each in a buffer of the caller's.
///
/// Plaintext is copied once, to where its ciphertext will stand. One full segment is always held back until it is
/// known whether more comes, so the last segment is empty only if the file is. A buffer never grows. Dropped
/// without [`finish`](Self::finish), it wipes what it held.
pub struct Writer {
    segments: Segments,
    /// Of the segment being filled; `None` after the 2³²nd, or once the run is lost: nothing more is sealed.
    index: Option<u32>,
    part: usize,
    /// Not yet in a buffer.
    header: Option<Header>,
    buffer: Zeroizing<Vec<u8>>,
    /// Where the part starts in `buffer`: what stands before is not ours.
    lead: usize,
    /// Where the plaintext of the segment being filled starts in `buffer`.
    start: usize,
    /// Where that segment ends in `buffer`, if it becomes a full one.
    end: usize,
    plaintext: u64,
}

impl Writer {
    /// `part` is the size of each part but the last, a multiple of [`SEGMENT`]. A `buffer` with less capacity will
    /// do if the ciphertext is known to fit; what it holds stays in front of the part. `Misuse` for another part size, or no
    /// room for a header and a tag.
    pub fn new(main: &MainKey, run: &RunId, header: Header, buffer: Vec<u8>, part: usize) -> Result<Self> {
        if part == 0 || !part.is_multiple_of(SEGMENT) {
            return Err(CryptoError::Misuse("a part is a multiple of a segment"));
        }
        let mut writer = Self::empty(main, run, header, part);
        writer.refill(buffer)?;
        Ok(writer)
    }

    /// Before its first buffer.
    fn empty(main: &MainKey, run: &RunId, header: Header, part: usize) -> Self {
        Self {
            segments: Segments::new(main, run, &header),
            index: Some(0),
            part,
            header: Some(header),
            buffer: Zeroizing::default(),
            lead: 0,
            start: 0,
            end: 0,
            plaintext: 0,
        }
    }

    /// Takes plaintext and says how many bytes it took: fewer than given only when the part is full and at least
    /// one byte more is waiting; then [`next_part`](Self::next_part), and push the rest. `TooLong`, or `Misuse` for
    /// a buffer smaller than what it must hold, after which the run is lost.
    pub fn push(&mut self, data: &[u8]) -> Result<usize> {
        let mut rest = data;
        while !rest.is_empty() {
            if self.is_segment_full() {
                if self.is_part_full() {
                    break;
                }
                self.seal(false)?;
                self.start = self.end;
                self.end += SEGMENT;
            }
            let (now, later) = rest.split_at(rest.len().min(self.end - TAG - self.buffer.len()));
            if self.buffer.capacity() - self.buffer.len() < now.len() + TAG {
                // Or `finish` would seal a cut text as a whole one.
                self.index = None;
                return Err(CryptoError::Misuse("the buffer is smaller than its part"));
            }
            self.buffer.extend_from_slice(now);
            self.plaintext += now.len() as u64;
            rest = later;
        }
        Ok(data.len() - rest.len())
    }

    /// Gives the full part, exactly `part` bytes of ciphertext behind what its buffer held, and goes on in `fresh`. Only after
    /// [`push`](Self::push) left bytes over, which must follow; `Misuse` if the part is not full.
    pub fn next_part(&mut self, fresh: Vec<u8>) -> Result<Vec<u8>> {
        if !self.is_part_full() || !self.is_segment_full() {
            return Err(CryptoError::Misuse("the part is not full"));
        }
        self.seal(false)?;
        Ok(self.go_on_in(fresh))
    }

    /// Goes on in this buffer, where [`next_part`](Self::next_part) was given one without capacity: so one buffer
    /// serves a whole upload, sent and refilled by turns. `Misuse` if the present one is in use, or there is no room.
    pub fn refill(&mut self, buffer: Vec<u8>) -> Result<()> {
        if self.buffer.capacity() > 0 {
            return Err(CryptoError::Misuse("the buffer is still in use"));
        }
        if buffer.capacity() - buffer.len() < HEADER + TAG {
            return Err(CryptoError::Misuse("no room for a header and a tag"));
        }
        self.go_on_in(buffer);
        Ok(())
    }

    /// Seals the last segment and gives the rest of the ciphertext, 1 byte to a part, and the plaintext length of
    /// the whole run. `Misuse` if nothing was pushed after [`next_part`](Self::next_part).
    pub fn finish(mut self) -> Result<(Vec<u8>, u64)> {
        self.end()
    }

    /// Ends the run as [`finish`](Self::finish) does, and begins another in the buffer that must be given to
    /// [`refill`](Self::refill) next.
    pub fn next_run(&mut self, main: &MainKey, run: &RunId, header: Header) -> Result<(Vec<u8>, u64)> {
        let ended = self.end()?;
        *self = Self::empty(main, run, header, self.part);
        Ok(ended)
    }

    /// [`finish`](Self::finish) where the writer stays; nothing more is sealed.
    pub fn end(&mut self) -> Result<(Vec<u8>, u64)> {
        if self.buffer.len() == self.start && self.plaintext > 0 {
            return Err(CryptoError::Misuse("a later segment is never empty"));
        }
        self.seal(true)?;
        self.index = None;
        Ok((std::mem::take(&mut *self.buffer), self.plaintext))
    }

    /// Behind what `buffer` holds. Gives the present one.
    fn go_on_in(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        let before = std::mem::replace(&mut *self.buffer, buffer);
        self.lead = self.buffer.len();
        if let Some(header) = self.header.take() {
            self.buffer.extend_from_slice(&header.0);
        }
        self.start = self.buffer.len();
        self.end = self.lead + SEGMENT;
        before
    }

    /// The segment being filled is the part's last.
    fn is_part_full(&self) -> bool {
        self.end - self.lead == self.part
    }

    fn is_segment_full(&self) -> bool {
        self.buffer.len() == self.end - TAG
    }

    /// Encrypts the segment where it stands. `push` and `new` left room for the tag.
    fn seal(&mut self, last: bool) -> Result<()> {
        let index = self.index.ok_or(CryptoError::TooLong)?;
        let nonce = self.segments.nonce(index, last);
        let tag = gcm::seal(&self.segments.cipher, &nonce, &[], &mut self.buffer[self.start..]);
        self.buffer.extend_from_slice(&tag);
        self.index = index.checked_add(1);
        Ok(())
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("plaintext", &self.plaintext).finish_non_exhaustive()
    }
}

/// Decrypts segments of one run, in any order.
pub struct Opener {
    segments: Segments,
    layout: Layout,
}

impl Opener {
    /// `header` and `layout` come from the sealed runs, and the object must agree with them: then a cut or longer
    /// object is refused before its first byte, though a stream alone authenticates its end only there.
    #[must_use]
    pub fn new(main: &MainKey, run: &RunId, header: &Header, layout: Layout) -> Self {
        Self { segments: Segments::new(main, run, header), layout }
    }

    /// Decrypts one whole segment in place, tag at its end, and gives the length of its plaintext, which is
    /// `segment[..n]`. Anything but the right bytes of just this segment is `Refused`, and the buffer wiped.
    pub fn open(&self, index: u32, segment: &mut [u8]) -> Result<usize> {
        let opened = self.decrypt(index, segment);
        if opened.is_err() {
            segment.zeroize();
        }
        opened
    }

    fn decrypt(&self, index: u32, segment: &mut [u8]) -> Result<usize> {
        let range = self.layout.segment(index).ok_or(CryptoError::Refused)?;
        if range.end - range.start != segment.len() as u64 {
            return Err(CryptoError::Refused);
        }
        let (text, tag) = segment.split_last_chunk_mut().ok_or(CryptoError::Refused)?;
        let nonce = self.segments.nonce(index, self.layout.is_last(index));
        gcm::open(&self.segments.cipher, &nonce, &[], text, tag)?;
        Ok(text.len())
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("layout", &self.layout).finish_non_exhaustive()
    }
}
