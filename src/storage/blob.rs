//! Where bytes live: sealed objects under keys that are never used twice (DESIGN §5).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::transfer::BlobKey;

pub mod local;
mod part;
pub mod s3;
mod sequence;

pub use part::Part;

/// Why the blob store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such object.
    #[error("the object is not there")]
    NotFound,
    /// No room is left.
    #[error("the blob store is full: {0}")]
    Full(String),
    /// It does not answer, or answers with an error; asking again later may help.
    #[error("the blob store failed: {0}")]
    Unavailable(String),
}

/// One object as the sweep sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its key as text; not every object in the store need be ours.
    pub key: String,
    /// When it was written.
    pub modified: Timestamp,
}

/// The store of objects. Implementations: a directory, an S3 API.
///
/// Every call may be dropped half-way (cancelled) without leaving a readable half object.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Bytes of one part: what an upload keeps in memory, and the size of every part of an object but its last.
    /// A multiple of the segment size.
    fn part_size(&self) -> usize;

    /// Parts that one object takes; with more a file goes on in its next object (DESIGN §5).
    fn parts_per_object(&self) -> u32;

    /// Parts of one object that are worth sending at once.
    fn parts_at_once(&self) -> usize;

    /// A writer that was frozen may still finish an object so long after its record was ended.
    fn longest_attempt(&self) -> Duration;

    /// Writes a whole object of at most one part. Durable when it returns. The buffer comes back for reuse.
    ///
    /// # Errors
    /// [`BlobError::Full`], [`BlobError::Unavailable`]; then the object may or may not be there: ask [`BlobStore::size`].
    async fn put(&self, key: &BlobKey, part: Part) -> Result<Part, BlobError>;

    /// Begins an object of several parts. Nothing can be read of it before [`BlobUpload::complete`].
    ///
    /// # Errors
    /// [`BlobError::Full`], [`BlobError::Unavailable`].
    async fn open(&self, key: &BlobKey) -> Result<Arc<dyn BlobUpload>, BlobError>;

    /// Reads `range`, which lies inside the object.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::Unavailable`].
    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Box<dyn BlobReader>, BlobError>;

    /// The length of the object; absent if there is none.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`]: it is not known whether there is one.
    async fn size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError>;

    /// Deletes objects, durably; one that is not there counts as deleted. An answer a key, in order.
    async fn delete(&self, keys: &[BlobKey]) -> Vec<Result<(), BlobError>>;

    /// Aborts the unfinished upload of this key that was journalled under this name, and every other one of exactly this
    /// key that the store lists. One that is not there counts as aborted.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn abort(&self, key: &BlobKey, upload: Option<&str>) -> Result<(), BlobError>;

    /// Up to `limit` unfinished uploads under `o/`, by their keys, where the store lists them without being told a key.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn unfinished(&self, limit: usize) -> Result<Vec<Listed>, BlobError>;

    /// Up to `limit` objects under `o/` in the order of their keys, after the key `after`.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, BlobError>;

    /// The store id that these objects belong to, if one was set (DESIGN §7).
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn store_id(&self) -> Result<Option<String>, BlobError>;

    /// Writes the store id where there is none.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`], [`BlobError::Full`].
    async fn set_store_id(&self, id: &str) -> Result<(), BlobError>;

    /// Writes the store id whatever is there: for whoever joins stores on purpose.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`], [`BlobError::Full`].
    async fn replace_store_id(&self, id: &str) -> Result<(), BlobError>;

    /// Bytes free for new objects; absent where the store does not say.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn free(&self) -> Result<Option<u64>, BlobError>;
}

/// An object of several parts, under way. Dropped, it is abandoned; its journalled name aborts what it left.
#[async_trait]
pub trait BlobUpload: Send + Sync {
    /// The name to journal before the first part is sent.
    fn id(&self) -> &str;

    /// Sends part `number`, from 1: exactly [`BlobStore::part_size`] bytes, but the last. [`BlobStore::parts_at_once`] may be on their
    /// way at once, and end in any order. The buffer comes back for reuse.
    ///
    /// # Errors
    /// [`BlobError::Full`], [`BlobError::Unavailable`]; the upload can then only be aborted.
    async fn part(&self, number: u32, part: Part) -> Result<Part, BlobError>;

    /// Makes the object readable, whole and durable.
    ///
    /// # Errors
    /// As for parts; whether the object is there is then for [`BlobStore::size`] to say.
    async fn complete(self: Arc<Self>) -> Result<(), BlobError>;

    /// Gives it up and deletes its parts.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn abort(self: Arc<Self>) -> Result<(), BlobError>;
}

/// Bytes of an object, in order.
#[async_trait]
pub trait BlobReader: Send + Sync {
    /// Fills `buffer` from its start up to its length, less only at the end of the range; returns it with how many
    /// bytes were read.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`]; [`BlobError::NotFound`] if the object went away.
    async fn read(&mut self, buffer: Zeroizing<Vec<u8>>) -> Result<(Zeroizing<Vec<u8>>, usize), BlobError>;
}
