//! Objects under way: a temporary file that becomes an object by a rename, or goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

use super::direct::Sequential;
use super::layout::{Layout, failed};
use super::{PART_SIZE, blocking};
use crate::storage::blob::sequence::Sequence;
use crate::storage::blob::{BlobError, BlobUpload, Part};
use crate::transfer::BlobKey;

/// Where the page cache cannot be passed by: so many bytes are sent to the disk together while the next parts come in, so
/// that little is left to wait for at the end.
const WRITE_BACK: u64 = 32 << 20;

/// Set when the caller went away; the work that it left behind then places no object.
#[derive(Default)]
pub(super) struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A file in `tmp/`, removed when dropped unless it became an object.
pub(super) struct Temporary {
    // Closed before its name goes, so that the room is given back on a blocking thread.
    file: Sequential,
    name: Name,
}

struct Name {
    text: String,
    path: PathBuf,
    placed: AtomicBool,
}

impl Temporary {
    pub(super) fn create(layout: &Layout) -> Result<Self, BlobError> {
        let text = hex::encode(rand::random::<[u8; 16]>());
        let path = layout.tmp().join(&text);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed("make a temporary file", &error))?;
        Ok(Self { file: Sequential::new(file), name: Name { text, path, placed: AtomicBool::new(false) } })
    }

    pub(super) fn file(&self) -> &File {
        self.file.file()
    }

    pub(super) fn path(&self) -> &Path {
        &self.name.path
    }

    pub(super) fn write_at(&self, part: &mut Part, offset: u64) -> Result<(), BlobError> {
        self.file.write_at(part, offset).map_err(|error| failed("write an object", &error))
    }

    /// It was renamed, so there is nothing to remove.
    pub(super) fn set_placed(&self) {
        self.name.placed.store(true, Ordering::SeqCst);
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if *self.placed.get_mut() {
            return;
        }
        let path = std::mem::take(&mut self.path);
        // Best effort: what stays is removed at the next start.
        let remove = move || drop(fs::remove_file(path));
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Removes the temporary file of an upload. Its rename then fails, or has happened before and the object is there.
pub(super) fn abort(layout: &Layout, name: &str) -> Result<(), BlobError> {
    let ours = name.len() == 32 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !ours {
        return Ok(());
    }
    layout.wait_for_renames();
    match fs::remove_file(layout.tmp().join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove a temporary file", &error)),
        _ => Ok(()),
    }
}

/// An object that is written part by part. Its id is the name of its temporary file.
pub(super) struct LocalUpload {
    layout: Arc<Layout>,
    key: BlobKey,
    temporary: Arc<Temporary>,
    given_up: GivenUp,
    sequence: Sequence,
    /// Locked while a part is written: they go one after the other.
    write_back: Mutex<WriteBack>,
}

#[derive(Default)]
struct WriteBack {
    written: u64,
    /// Up to here the disk was told.
    told: u64,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl LocalUpload {
    pub(super) fn create(layout: &Arc<Layout>, key: BlobKey) -> Result<Self, BlobError> {
        Ok(Self {
            layout: Arc::clone(layout),
            key,
            temporary: Arc::new(Temporary::create(layout)?),
            given_up: GivenUp::default(),
            sequence: Sequence::of(PART_SIZE),
            write_back: Mutex::default(),
        })
    }
}

impl WriteBack {
    /// Starts to bring to the disk what was written, unless that is under way already. The system tells an error of
    /// the disk only once, so the answer of the one before is asked for.
    async fn go_on(&mut self, temporary: &Arc<Temporary>) -> Result<(), BlobError> {
        if temporary.file.is_direct()
            || self.written - self.told < WRITE_BACK
            || self.running.as_ref().is_some_and(|running| !running.is_finished())
        {
            return Ok(());
        }
        self.end().await?;
        self.told = self.written;
        let temporary = Arc::clone(temporary);
        self.running = Some(spawn_blocking(move || temporary.file().sync_data()));
        Ok(())
    }

    async fn end(&mut self) -> Result<(), BlobError> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let result = running.await;
        self.running = None;
        match result {
            Ok(synced) => synced.map_err(|error| failed("sync an object", &error)),
            Err(_) => Err(BlobError::Unavailable("the sync of an object was cut off".to_owned())),
        }
    }
}

#[async_trait]
impl BlobUpload for LocalUpload {
    fn id(&self) -> &str {
        &self.temporary.name.text
    }

    async fn part(&self, number: u32, mut part: Part) -> Result<Part, BlobError> {
        let mut write_back = self.write_back.lock().await;
        self.sequence.begin(number, part.len())?;
        let (length, offset) = (part.len(), u64::from(number - 1) * PART_SIZE as u64);
        let temporary = Arc::clone(&self.temporary);
        let part = blocking(move || temporary.write_at(&mut part, offset).map(|()| part)).await?;
        write_back.written += length as u64;
        write_back.go_on(&self.temporary).await?;
        self.sequence.end(number);
        Ok(part)
    }

    async fn complete(self: Arc<Self>) -> Result<(), BlobError> {
        self.sequence.is_whole()?;
        self.write_back.lock().await.end().await?;
        let (layout, key, temporary) =
            (Arc::clone(&self.layout), self.key.clone(), Arc::clone(&self.temporary));
        let given_up = self.given_up.flag();
        // `self` stays here: dropped while the work runs, it says so to the rename.
        blocking(move || layout.place(&temporary, &key, &given_up)).await
    }

    async fn abort(self: Arc<Self>) -> Result<(), BlobError> {
        let (layout, name) = (Arc::clone(&self.layout), self.id().to_owned());
        blocking(move || abort(&layout, &name)).await
    }
}
