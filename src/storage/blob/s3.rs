//! A bucket as blob store: MinIO, or any server that speaks S3.
//!
//! ```text
//! burnbag-store-id                                     the id that joins bucket and records
//! o/<shard>/<transfer>/<file>/<object>-<random>        whole objects
//! ```
//!
//! What the SDK is told to do, and why, is in ADR 15.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::BucketVersioningStatus;
use zeroize::Zeroizing;

use self::error::Place;
use self::reader::S3Reader;
use self::upload::S3Upload;
use super::{BlobError, BlobReader, BlobStore, BlobUpload, Listed, Part};
use crate::transfer::BlobKey;

mod bucket;
mod client;
mod delete;
mod error;
mod listing;
mod reader;
mod store_id;
mod unfinished;
mod upload;

/// 80 segments: S3 takes no smaller part but the last of an object.
const PART_SIZE: usize = 80 * 65_536;

/// A server digests each part by itself, on one processor, and waits for its disk at the end of each.
const PARTS_AT_ONCE: usize = 4;

/// S3 takes no more parts of one object.
const MOST_PARTS: u32 = 10_000;

/// Where the bucket is, and who asks.
#[derive(Clone)]
pub struct S3Settings {
    /// Its name.
    pub bucket: String,
    /// The server; absent: Amazon's for the region.
    pub endpoint: Option<String>,
    /// What requests are signed for.
    pub region: String,
    /// The name of the user.
    pub access_key: String,
    /// What proves it.
    pub secret_key: Zeroizing<String>,
    /// How long things may take.
    pub limits: S3Limits,
}

/// How long things may take, and how large they may be.
#[derive(Clone, Copy, Debug)]
pub struct S3Limits {
    /// A call is sent so often, if the time for it is not up before.
    pub attempts: u32,
    /// A connection.
    pub connect: Duration,
    /// One attempt at a call that moves few bytes.
    pub quick_attempt: Duration,
    /// Such a call, with all of its attempts.
    pub quick: Duration,
    /// One attempt at a part: at 256 KiB a second it is through.
    pub part_attempt: Duration,
    /// A part, with all of its attempts.
    pub part: Duration,
    /// The end of an object, on top of what its parts ask for.
    pub complete: Duration,
    /// A download waits so long for the next byte before it asks for it anew.
    pub stalled: Duration,
    /// A download without a byte for so long fails.
    pub patience: Duration,
    /// Parts of one object.
    pub parts: u32,
}

impl Default for S3Limits {
    fn default() -> Self {
        Self {
            attempts: 10,
            connect: Duration::from_secs(3),
            quick_attempt: Duration::from_secs(6),
            quick: Duration::from_secs(15),
            part_attempt: Duration::from_secs(25),
            part: Duration::from_secs(75),
            complete: Duration::from_secs(30),
            stalled: Duration::from_secs(10),
            patience: Duration::from_mins(1),
            parts: MOST_PARTS,
        }
    }
}

impl S3Limits {
    /// The end of an object of so many parts: a server reads the list and the sizes of all of them.
    fn complete_of(&self, parts: usize) -> Duration {
        self.complete + Duration::from_millis(20).saturating_mul(u32::try_from(parts).unwrap_or(u32::MAX))
    }

    fn longest(&self) -> Duration {
        self.part.max(self.complete_of(self.parts as usize))
    }
}

/// Objects in a bucket. Clones are one store, with one pool of connections.
#[derive(Clone)]
pub struct S3Blobs {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    bucket: String,
    limits: S3Limits,
    /// For calls that move few bytes.
    quick: Client,
    /// For whole parts.
    bulk: Client,
    /// For nobody: what it may see, anybody may.
    anonymous: Client,
    /// The bucket keeps what is deleted: every version must go.
    versioned: AtomicBool,
}

impl S3Blobs {
    /// The store in a bucket. Nothing is sent: see [`S3Blobs::check`].
    #[must_use]
    pub fn new(settings: &S3Settings) -> Self {
        let limits = settings.limits;
        let [quick, bulk, anonymous] = client::clients(settings);
        let place = Place::new(settings);
        let bucket = settings.bucket.clone();
        let versioned = AtomicBool::new(false);
        Self { shared: Arc::new(Shared { place, bucket, limits, quick, bulk, anonymous, versioned }) }
    }

    /// Looks whether the bucket answers, is nobody else's to read, and keeps versions. Answers what could not be seen.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`] with what to do.
    pub async fn check(&self) -> Result<Vec<String>, BlobError> {
        bucket::check(&self.shared).await
    }
}

impl Shared {
    fn is_versioned(&self) -> bool {
        self.versioned.load(Ordering::Relaxed)
    }

    fn set_versioned(&self, status: Option<&BucketVersioningStatus>) {
        // A bucket whose versioning is suspended keeps what it had.
        self.versioned.store(status.is_some(), Ordering::Relaxed);
    }
}

#[async_trait]
impl BlobStore for S3Blobs {
    fn part_size(&self) -> usize {
        PART_SIZE
    }

    fn parts_per_object(&self) -> u32 {
        self.shared.limits.parts
    }

    fn parts_at_once(&self) -> usize {
        PARTS_AT_ONCE
    }

    fn longest_attempt(&self) -> Duration {
        self.shared.limits.longest()
    }

    async fn put(&self, key: &BlobKey, part: Part) -> Result<Part, BlobError> {
        upload::put(&self.shared, key, part).await
    }

    async fn open(&self, key: &BlobKey) -> Result<Arc<dyn BlobUpload>, BlobError> {
        Ok(Arc::new(S3Upload::create(Arc::clone(&self.shared), key).await?))
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Box<dyn BlobReader>, BlobError> {
        Ok(Box::new(S3Reader::open(Arc::clone(&self.shared), key, range).await?))
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError> {
        listing::size(&self.shared, key).await
    }

    async fn delete(&self, keys: &[BlobKey]) -> Vec<Result<(), BlobError>> {
        delete::delete(&self.shared, keys).await
    }

    async fn abort(&self, key: &BlobKey, upload: Option<&str>) -> Result<(), BlobError> {
        unfinished::abort(&self.shared, key, upload).await
    }

    async fn unfinished(&self, limit: usize) -> Result<Vec<Listed>, BlobError> {
        unfinished::list(&self.shared, limit).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, BlobError> {
        listing::list(&self.shared, after, limit).await
    }

    async fn store_id(&self) -> Result<Option<String>, BlobError> {
        store_id::get(&self.shared).await
    }

    async fn set_store_id(&self, id: &str) -> Result<(), BlobError> {
        store_id::set(&self.shared, id).await
    }

    async fn replace_store_id(&self, id: &str) -> Result<(), BlobError> {
        store_id::replace(&self.shared, id).await
    }

    /// A bucket does not say.
    async fn free(&self) -> Result<Option<u64>, BlobError> {
        Ok(None)
    }
}
