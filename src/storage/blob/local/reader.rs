//! Ranged reads.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::blocking;
use super::layout::{Layout, failed};
use crate::storage::blob::{BlobError, BlobReader};
use crate::transfer::BlobKey;

/// Reads on though the object is deleted meanwhile: to stop is the caller's decision.
pub(super) struct LocalReader {
    file: Arc<File>,
    rest: Range<u64>,
}

impl LocalReader {
    pub(super) fn open(layout: &Layout, key: &BlobKey, range: Range<u64>) -> Result<Self, BlobError> {
        match File::open(layout.spot(key).object) {
            Ok(file) => Ok(Self { file: Arc::new(file), rest: range }),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(layout.absent()),
            Err(error) => Err(failed(&format!("open {key}"), &error)),
        }
    }
}

#[async_trait]
impl BlobReader for LocalReader {
    async fn read(
        &mut self,
        mut buffer: Zeroizing<Vec<u8>>,
    ) -> Result<(Zeroizing<Vec<u8>>, usize), BlobError> {
        let left = usize::try_from(self.rest.end.saturating_sub(self.rest.start)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        if count == 0 {
            return Ok((buffer, 0));
        }
        let (file, offset) = (Arc::clone(&self.file), self.rest.start);
        let cached = buffer.get_mut(..count).map_or(0, |wanted| read_cached(&file, wanted, offset));
        if cached < count {
            buffer = blocking(move || match buffer.get_mut(cached..count) {
                Some(wanted) => file
                    .read_exact_at(wanted, offset + cached as u64)
                    .map(|()| buffer)
                    .map_err(|error| failed("read an object", &error)),
                None => Ok(buffer),
            })
            .await?;
        }
        self.rest.start += count as u64;
        Ok((buffer, count))
    }
}

/// How much of it lies in the page cache and was read without a wait. A thread that may wait would cost more than the copy.
#[cfg(target_os = "linux")]
fn read_cached(file: &File, wanted: &mut [u8], offset: u64) -> usize {
    use rustix::io::{ReadWriteFlags, preadv2};
    use std::io::IoSliceMut;

    let mut done = 0;
    while let Some(rest) = wanted.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset + done as u64;
        // Not there, not supported, or an error that the read that may wait will tell.
        match preadv2(file, &mut [IoSliceMut::new(rest)], at, ReadWriteFlags::NOWAIT) {
            Ok(read) if read > 0 => done += read,
            Ok(_) | Err(_) => break,
        }
    }
    done
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_file: &File, _wanted: &mut [u8], _offset: u64) -> usize {
    0
}
