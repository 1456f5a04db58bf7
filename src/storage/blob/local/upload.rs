//! Objects under way: a temporary file that becomes an object by a rename, or goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::direct::Sequential;
use super::layout::{Layout, failed};
use super::{PART_SIZE, blocking};
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
    written: u64,
    /// Up to here the disk was told.
    told: u64,
    write_back: Option<JoinHandle<io::Result<()>>>,
    next: Next,
}

/// What the upload takes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Part,
    /// The last part was short.
    End,
    /// A part failed or was dropped half-way: it is not known what the file holds.
    Nothing,
}

impl LocalUpload {
    pub(super) fn create(layout: &Arc<Layout>, key: BlobKey) -> Result<Self, BlobError> {
        Ok(Self {
            layout: Arc::clone(layout),
            key,
            temporary: Arc::new(Temporary::create(layout)?),
            given_up: GivenUp::default(),
            written: 0,
            told: 0,
            write_back: None,
            next: Next::Part,
        })
    }

    /// Starts to bring to the disk what was written, unless that is under way already. The system tells an error of
    /// the disk only once, so the answer of the one before is asked for.
    async fn write_back(&mut self) -> Result<(), BlobError> {
        if self.temporary.file.is_direct()
            || self.written - self.told < WRITE_BACK
            || self.write_back.as_ref().is_some_and(|w| !w.is_finished())
        {
            return Ok(());
        }
        self.end_write_back().await?;
        self.told = self.written;
        let temporary = Arc::clone(&self.temporary);
        self.write_back = Some(spawn_blocking(move || temporary.file().sync_data()));
        Ok(())
    }

    async fn end_write_back(&mut self) -> Result<(), BlobError> {
        let Some(running) = &mut self.write_back else {
            return Ok(());
        };
        let result = running.await;
        self.write_back = None;
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

    async fn part(&mut self, mut part: Part) -> Result<Part, BlobError> {
        if self.next != Next::Part || part.len() > PART_SIZE {
            return Err(BlobError::Unavailable("a part does not fit here".to_owned()));
        }
        self.next = Next::Nothing;
        let (length, offset) = (part.len(), self.written);
        let temporary = Arc::clone(&self.temporary);
        let part = blocking(move || temporary.write_at(&mut part, offset).map(|()| part)).await?;
        self.written += length as u64;
        self.write_back().await?;
        self.next = if length == PART_SIZE { Next::Part } else { Next::End };
        Ok(part)
    }

    async fn complete(mut self: Box<Self>) -> Result<(), BlobError> {
        if self.next == Next::Nothing {
            return Err(BlobError::Unavailable("a part is missing".to_owned()));
        }
        self.end_write_back().await?;
        let (layout, key, temporary) =
            (Arc::clone(&self.layout), self.key.clone(), Arc::clone(&self.temporary));
        let given_up = self.given_up.flag();
        // `self` stays here: dropped while the work runs, it says so to the rename.
        blocking(move || layout.place(&temporary, &key, &given_up)).await
    }

    async fn abort(self: Box<Self>) -> Result<(), BlobError> {
        let (layout, name) = (Arc::clone(&self.layout), self.id().to_owned());
        drop(self.given_up);
        blocking(move || abort(&layout, &name)).await
    }
}
