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
        let buffer = blocking(move || match buffer.get_mut(..count) {
            Some(wanted) => file
                .read_exact_at(wanted, offset)
                .map(|()| buffer)
                .map_err(|error| failed("read an object", &error)),
            None => Ok(buffer),
        })
        .await?;
        self.rest.start += count as u64;
        Ok((buffer, count))
    }
}
