//! Room set aside on the disk: what must go on when others have filled it can go on (ADR 12).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// The file in the data directory.
const NAME: &str = "reserve";
/// The most that is set aside; of a small disk it is this share.
const MOST: u64 = 16 << 20;
const LEAST: u64 = 1 << 20;
const SHARE: u64 = 32;

/// A file of the data directory whose blocks are let go when a write finds the disk full, and taken back when there is
/// room again. All calls block, for as long as the disk takes.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    file: File,
    size: u64,
    held: AtomicU64,
}

impl Reserve {
    /// Finds what is set aside in a directory; nothing is, at first: see [`Reserve::refill`].
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(NAME);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let disk = statvfs(dir)?;
        let size = (disk.f_blocks.saturating_mul(disk.f_frsize) / SHARE).clamp(LEAST, MOST);
        let held = AtomicU64::new(file.metadata()?.blocks().saturating_mul(512).min(size));
        Ok(Self { path, file, size, held })
    }

    /// How much is set aside when all is well.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are still to be set aside; not 0 while the disk is full.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.size - self.held.load(Ordering::SeqCst)
    }

    /// Lets go of what is set aside. Whoever met the full disk then tries once more.
    pub fn release(&self) {
        let held = self.held.swap(0, Ordering::SeqCst);
        if held == 0 {
            return;
        }
        match self.file.set_len(0) {
            Ok(()) => tracing::error!(
                file = %self.path.display(),
                released = held,
                "the disk is full: uploads are refused, ends and purges go on in the room that was set aside; make room"
            ),
            Err(error) => tracing::error!(%error, "the room set aside could not be let go"),
        }
    }

    /// Sets aside what is missing. The caller has seen that there is room.
    ///
    /// # Errors
    /// What the disk says; then nothing is set aside.
    pub fn refill(&self) -> io::Result<()> {
        let set_aside = match fallocate(&self.file, FallocateFlags::empty(), 0, self.size) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write(),
            done => done.map_err(io::Error::from),
        };
        if let Err(error) = set_aside.and_then(|()| self.file.sync_all()) {
            let _ = self.file.set_len(0);
            return Err(error);
        }
        self.held.store(self.size, Ordering::SeqCst);
        Ok(())
    }

    /// Where blocks cannot be asked for: bytes that no disk makes smaller.
    fn write(&self) -> io::Result<()> {
        let mut noise = vec![0; 64 << 10];
        for offset in (0..self.size).step_by(noise.len()) {
            rand::fill(&mut noise[..]);
            self.file.write_all_at(&noise, offset)?;
        }
        Ok(())
    }

    /// Whether `dir` lies on the same disk, so that room let go here is room there.
    #[must_use]
    pub fn is_beside(&self, dir: &Path) -> bool {
        let there = std::fs::metadata(dir).or_else(|error| match (error.kind(), dir.parent()) {
            (ErrorKind::NotFound, Some(parent)) => std::fs::metadata(parent),
            _ => Err(error),
        });
        match (self.file.metadata(), there) {
            (Ok(here), Ok(there)) => here.dev() == there.dev(),
            _ => false,
        }
    }
}
