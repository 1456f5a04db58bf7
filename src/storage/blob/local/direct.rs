//! Writes past the page cache.
//!
//! Ciphertext is written once and seldom read soon. In the page cache it would cost a second copy, push out what others
//! read, and wait there until the sync at the end has it all to write at once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Where memory, offset and length of a write must start and end. Devices ask for 512 or 4,096 bytes.
const ALIGNMENT: usize = 4096;
/// Written at once: it stays in the processor's cache while it is copied and handed to the device.
const CHUNK: usize = 1024 * 1024;
/// Chunks on their way to the disk at once, from all uploads of the store.
const CHUNKS: usize = 16;

/// Memory for direct writes, shared by all uploads of a store; who finds none waits for one.
#[derive(Default)]
pub(super) struct Chunks {
    state: Mutex<State>,
    given_back: Condvar,
}

#[derive(Default)]
struct State {
    spare: Vec<Aligned>,
    made: usize,
}

/// [`CHUNK`] bytes that start where a device wants them to.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![0; CHUNK + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start }
    }

    /// Takes a copy of `text`, at most [`CHUNK`] bytes, with zeros up to the next boundary.
    fn fill(&mut self, text: &[u8]) -> &[u8] {
        let end = self.start + text.len();
        let padded = self.start + text.len().next_multiple_of(ALIGNMENT);
        if let Some(room) = self.bytes.get_mut(self.start..end) {
            room.copy_from_slice(text);
        }
        if let Some(padding) = self.bytes.get_mut(end..padded) {
            padding.fill(0);
        }
        self.bytes.get(self.start..padded).unwrap_or_default()
    }
}

impl Chunks {
    fn take(&self) -> Aligned {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(chunk) = state.spare.pop() {
                return chunk;
            }
            if state.made < CHUNKS {
                state.made += 1;
                return Aligned::new();
            }
            state = self.given_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, chunk: Aligned) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).spare.push(chunk);
        self.given_back.notify_one();
    }
}

/// A file that is written from its start to its end, directly where the file system can.
pub(super) struct Sequential {
    file: File,
    direct: AtomicBool,
}

impl Sequential {
    pub(super) fn new(file: File) -> Self {
        let direct = AtomicBool::new(set_direct(&file, true).is_ok());
        Self { file, direct }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Whether what was written is on the device already, or in its cache.
    pub(super) fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    /// Writes all of `bytes`. After a write that does not end on a boundary there must be no other. Blocks.
    pub(super) fn write_at(&self, bytes: &[u8], mut offset: u64, chunks: &Chunks) -> io::Result<()> {
        let mut rest = bytes;
        let aligned = offset.is_multiple_of(ALIGNMENT as u64);
        if self.is_direct() && aligned {
            let mut chunk = chunks.take();
            let written = self.write_direct(&mut rest, &mut offset, &mut chunk);
            chunks.give_back(chunk);
            match written {
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {}
                done => return done,
            }
        }
        // The file system, or its device, wants it otherwise.
        if self.direct.swap(false, Ordering::Relaxed) {
            set_direct(&self.file, false)?;
        }
        self.file.write_all_at(rest, offset)
    }

    /// Moves `rest` and `offset` on by what was written.
    fn write_direct(&self, rest: &mut &[u8], offset: &mut u64, chunk: &mut Aligned) -> io::Result<()> {
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(CHUNK));
            let padded = chunk.fill(now);
            self.file.write_all_at(padded, *offset)?;
            let end = *offset + now.len() as u64;
            if padded.len() > now.len() {
                self.file.set_len(end)?;
            }
            *offset = end;
            *rest = later;
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_file: &File, direct: bool) -> io::Result<()> {
    if direct { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
}
