//! A directory as blob store.
//!
//! ```text
//! <root>/objects/burnbag-store-id
//! <root>/objects/o/<shard>/<transfer>/<file>/<object>-<random>    whole objects, and nothing else
//! <root>/tmp/<random>                                             objects under way, emptied at start
//! ```
//!
//! An object appears by one rename and only after its bytes are on disk; a crash leaves it whole or absent. File work
//! runs on blocking threads with the caller's own buffers; nothing is copied.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use zeroize::Zeroizing;

use self::layout::Layout;
use self::listing::Lister;
use self::reader::LocalReader;
use self::upload::{GivenUp, LocalUpload, Temporary};
use super::{BlobError, BlobReader, BlobStore, BlobUpload, Listed, Part};
use crate::clock::Clock;
use crate::transfer::BlobKey;

mod delete;
mod direct;
mod layout;
mod listing;
mod reader;
mod upload;

/// 64 segments: each part is handed to another thread and back, and with 1 MiB that took a tenth of an upload's CPU time (ADR 2).
const PART_SIZE: usize = 64 * 65_536;

/// A file system does not finish anything by itself after its caller is gone. The minute covers a process that was
/// frozen in the middle of a call.
const LONGEST_ATTEMPT: Duration = Duration::from_mins(1);

/// Removing a name waits for the disk more than it works, so a batch is shared out: 16 at once remove about ten times as
/// many as one.
const DELETERS: usize = 16;

/// Fewer objects than this are not worth another thread.
const LEAST_SHARE: usize = 8;

/// Objects in a directory.
///
/// One process at a time: whoever opens it holds the lock of the data directory. Clones are one store.
#[derive(Clone)]
pub struct LocalBlobs {
    layout: Arc<Layout>,
    lister: Arc<Mutex<Lister>>,
    store_id: Arc<Mutex<()>>,
}

impl LocalBlobs {
    /// Opens the store in the directory `root`, which must exist. Makes what is missing below it, and removes what
    /// an earlier process left unfinished. Blocks. `clock` dates the objects, so that [`Listed::modified`] can be
    /// compared with it.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`] if the directory is missing or cannot be written; [`BlobError::Full`].
    pub fn open(root: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, BlobError> {
        Self::assemble(root.as_ref(), clock, true)
    }

    /// [`LocalBlobs::open`] beside another process that writes: what is unfinished is that process's, and stays.
    ///
    /// # Errors
    /// As [`LocalBlobs::open`].
    pub fn beside(root: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, BlobError> {
        Self::assemble(root.as_ref(), clock, false)
    }

    fn assemble(root: &Path, clock: Arc<dyn Clock>, alone: bool) -> Result<Self, BlobError> {
        let layout = Arc::new(Layout::open(root, clock, alone)?);
        Ok(Self { layout, lister: Arc::default(), store_id: Arc::default() })
    }

    /// Runs file work on a blocking thread. It goes on to its end if the caller is dropped.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Layout>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let layout = Arc::clone(&self.layout);
        blocking(move || work(&layout)).await
    }
}

/// Runs file work on a blocking thread. It goes on to its end if the caller is dropped.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(BlobError::Unavailable("file work was cut off".to_owned())),
    }
}

fn write_store_id(layout: &Arc<Layout>, id: String) -> Result<(), BlobError> {
    let temporary = Temporary::create(layout)?;
    temporary.write_at(&mut Zeroizing::new(id.into_bytes()).into(), 0)?;
    layout.place_store_id(&temporary)
}

#[async_trait]
impl BlobStore for LocalBlobs {
    fn part_size(&self) -> usize {
        PART_SIZE
    }

    /// A file takes as many as there are.
    fn parts_per_object(&self) -> u32 {
        u32::MAX
    }

    /// A disk takes one write after the other as fast as two beside each other.
    fn parts_at_once(&self) -> usize {
        1
    }

    fn longest_attempt(&self) -> Duration {
        LONGEST_ATTEMPT
    }

    async fn put(&self, key: &BlobKey, mut part: Part) -> Result<Part, BlobError> {
        let key = key.clone();
        let given_up = GivenUp::default();
        let is_given_up = given_up.flag();
        self.run(move |layout| {
            let temporary = Temporary::create(layout)?;
            temporary.write_at(&mut part, 0)?;
            layout.place(&temporary, &key, &is_given_up)?;
            Ok(part)
        })
        .await
    }

    async fn open(&self, key: &BlobKey) -> Result<Arc<dyn BlobUpload>, BlobError> {
        let key = key.clone();
        // Dropped half-way, the temporary file is made, finds nobody waiting for it, and goes.
        let upload = self.run(move |layout| LocalUpload::create(layout, key)).await?;
        Ok(Arc::new(upload))
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Box<dyn BlobReader>, BlobError> {
        let key = key.clone();
        let reader = self.run(move |layout| LocalReader::open(layout, &key, range)).await?;
        Ok(Box::new(reader))
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError> {
        let key = key.clone();
        self.run(move |layout| layout.size(&key)).await
    }

    async fn delete(&self, keys: &[BlobKey]) -> Vec<Result<(), BlobError>> {
        let share = keys.len().div_ceil(DELETERS).max(LEAST_SHARE);
        let shares = keys.chunks(share).map(|keys| async {
            let (count, keys) = (keys.len(), keys.to_vec());
            match self.run(move |layout| Ok(delete::delete(layout, &keys))).await {
                Ok(answers) => answers,
                Err(error) => {
                    let text = error.to_string();
                    (0..count).map(|_| Err(BlobError::Unavailable(text.clone()))).collect()
                }
            }
        });
        join_all(shares).await.into_iter().flatten().collect()
    }

    async fn abort(&self, _key: &BlobKey, upload: Option<&str>) -> Result<(), BlobError> {
        let Some(name) = upload.map(str::to_owned) else { return Ok(()) };
        self.run(move |layout| upload::abort(layout, &name)).await
    }

    /// Temporaries have no keys: those that a dead process left go at the next start.
    async fn unfinished(&self, _limit: usize) -> Result<Vec<Listed>, BlobError> {
        Ok(Vec::new())
    }

    /// Objects that are written or deleted while the pages are read may be missing from, or still be in, them.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, BlobError> {
        let after = after.map(str::to_owned);
        let lister = Arc::clone(&self.lister);
        self.run(move |layout| {
            let mut lister = lister.lock().unwrap_or_else(PoisonError::into_inner);
            lister.page(layout, after.as_deref(), limit)
        })
        .await
    }

    async fn store_id(&self) -> Result<Option<String>, BlobError> {
        self.run(|layout| layout.store_id()).await
    }

    async fn set_store_id(&self, id: &str) -> Result<(), BlobError> {
        let id = id.to_owned();
        let one_at_a_time = Arc::clone(&self.store_id);
        self.run(move |layout| {
            let _turn = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
            match layout.store_id()? {
                Some(there) if there == id => Ok(()),
                Some(_) => Err(BlobError::Unavailable("it has another store id already".to_owned())),
                None => write_store_id(layout, id),
            }
        })
        .await
    }

    async fn replace_store_id(&self, id: &str) -> Result<(), BlobError> {
        let id = id.to_owned();
        let one_at_a_time = Arc::clone(&self.store_id);
        self.run(move |layout| {
            let _turn = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
            write_store_id(layout, id)
        })
        .await
    }

    async fn free(&self) -> Result<Option<u64>, BlobError> {
        // The file system knows it by heart: a thread for it would cost more than the answer.
        self.layout.free().map(Some)
    }
}
