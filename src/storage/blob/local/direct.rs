//! Writes past the page cache.
//!
//! Ciphertext is written once and seldom read soon. In the page cache it would cost a second copy, push out what others
//! read, and wait there until the sync at the end has it all to write at once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::storage::blob::part::{ALIGNMENT, Part};

/// A file that is written from its start to its end, directly where the file system can.
pub(super) struct Sequential {
    file: File,
    direct: AtomicBool,
}

impl Sequential {
    pub(super) fn new(file: File) -> Self {
        Self { file, direct: AtomicBool::new(false) }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Whether what was written is on the device already, or in its cache.
    pub(super) fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    /// Writes all of `part`. After one that does not end on a boundary there must be no other. Blocks.
    pub(super) fn write_at(&self, part: &mut Part, offset: u64) -> io::Result<()> {
        let fits = part.is_aligned() && offset.is_multiple_of(ALIGNMENT as u64);
        if fits && self.set_direct(true).is_ok() {
            match self.write_direct(part, offset) {
                // The device wants it otherwise than others.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {}
                done => return done,
            }
        }
        self.set_direct(false)?;
        self.file.write_all_at(part, offset)
    }

    fn write_direct(&self, part: &mut Part, offset: u64) -> io::Result<()> {
        part.padded(|bytes| self.file.write_all_at(bytes, offset))?;
        if part.len().is_multiple_of(ALIGNMENT) {
            return Ok(());
        }
        self.file.set_len(offset + part.len() as u64)
    }

    fn set_direct(&self, direct: bool) -> io::Result<()> {
        if self.is_direct() != direct {
            set_flag(&self.file, direct)?;
            self.direct.store(direct, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn set_flag(file: &File, direct: bool) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn set_flag(_file: &File, _direct: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
