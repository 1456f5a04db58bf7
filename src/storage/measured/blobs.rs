//! The blob store, measured.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::metrics::{Metrics, Store};
use crate::storage::blob::{BlobError, BlobReader, BlobStore, BlobUpload, Listed, Part};
use crate::transfer::BlobKey;

/// A blob store whose calls are timed.
pub struct MeasuredBlobs {
    inner: Arc<dyn BlobStore>,
    metrics: Metrics,
}

struct MeasuredUpload {
    inner: Arc<dyn BlobUpload>,
    metrics: Metrics,
}

struct MeasuredReader {
    inner: Box<dyn BlobReader>,
    metrics: Metrics,
}

impl MeasuredBlobs {
    /// Measures this one.
    #[must_use]
    pub const fn new(inner: Arc<dyn BlobStore>, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }
}

const fn word(error: &BlobError) -> &'static str {
    match error {
        BlobError::NotFound => "not_found",
        BlobError::Full(_) => "full",
        BlobError::Unavailable(_) => "unavailable",
    }
}

async fn time<T>(
    metrics: &Metrics,
    operation: &'static str,
    work: impl Future<Output = Result<T, BlobError>> + Send,
) -> Result<T, BlobError> {
    let running = metrics.operation(Store::Blobs, operation);
    let done = work.await;
    if let Err(error) = &done {
        running.failed(word(error));
    }
    running.end();
    done
}

#[async_trait]
impl BlobStore for MeasuredBlobs {
    fn part_size(&self) -> usize {
        self.inner.part_size()
    }

    fn parts_per_object(&self) -> u32 {
        self.inner.parts_per_object()
    }

    fn parts_at_once(&self) -> usize {
        self.inner.parts_at_once()
    }

    fn longest_attempt(&self) -> Duration {
        self.inner.longest_attempt()
    }

    async fn put(&self, key: &BlobKey, part: Part) -> Result<Part, BlobError> {
        time(&self.metrics, "put", self.inner.put(key, part)).await
    }

    async fn open(&self, key: &BlobKey) -> Result<Arc<dyn BlobUpload>, BlobError> {
        let inner = time(&self.metrics, "open", self.inner.open(key)).await?;
        Ok(Arc::new(MeasuredUpload { inner, metrics: self.metrics.clone() }))
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Box<dyn BlobReader>, BlobError> {
        let inner = time(&self.metrics, "read", self.inner.read(key, range)).await?;
        Ok(Box::new(MeasuredReader { inner, metrics: self.metrics.clone() }))
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError> {
        time(&self.metrics, "size", self.inner.size(key)).await
    }

    async fn delete(&self, keys: &[BlobKey]) -> Vec<Result<(), BlobError>> {
        let running = self.metrics.operation(Store::Blobs, "delete");
        let done = self.inner.delete(keys).await;
        for error in done.iter().filter_map(|done| done.as_ref().err()) {
            running.failed(word(error));
        }
        running.end();
        done
    }

    async fn abort(&self, key: &BlobKey, upload: Option<&str>) -> Result<(), BlobError> {
        time(&self.metrics, "abort", self.inner.abort(key, upload)).await
    }

    async fn unfinished(&self, limit: usize) -> Result<Vec<Listed>, BlobError> {
        time(&self.metrics, "unfinished", self.inner.unfinished(limit)).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, BlobError> {
        time(&self.metrics, "list", self.inner.list(after, limit)).await
    }

    async fn store_id(&self) -> Result<Option<String>, BlobError> {
        time(&self.metrics, "store_id", self.inner.store_id()).await
    }

    async fn set_store_id(&self, id: &str) -> Result<(), BlobError> {
        time(&self.metrics, "set_store_id", self.inner.set_store_id(id)).await
    }

    async fn replace_store_id(&self, id: &str) -> Result<(), BlobError> {
        time(&self.metrics, "replace_store_id", self.inner.replace_store_id(id)).await
    }

    async fn free(&self) -> Result<Option<u64>, BlobError> {
        time(&self.metrics, "free", self.inner.free()).await
    }
}

#[async_trait]
impl BlobUpload for MeasuredUpload {
    fn id(&self) -> &str {
        self.inner.id()
    }

    async fn part(&self, number: u32, part: Part) -> Result<Part, BlobError> {
        time(&self.metrics, "part", self.inner.part(number, part)).await
    }

    async fn complete(self: Arc<Self>) -> Result<(), BlobError> {
        let inner = Arc::clone(&self.inner);
        time(&self.metrics, "complete", inner.complete()).await
    }

    async fn abort(self: Arc<Self>) -> Result<(), BlobError> {
        let inner = Arc::clone(&self.inner);
        time(&self.metrics, "abort", inner.abort()).await
    }
}

#[async_trait]
impl BlobReader for MeasuredReader {
    async fn read(&mut self, buffer: Zeroizing<Vec<u8>>) -> Result<(Zeroizing<Vec<u8>>, usize), BlobError> {
        time(&self.metrics, "read_on", self.inner.read(buffer)).await
    }
}
