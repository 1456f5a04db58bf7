//! Which path a key has, and in what order a path becomes durable.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use super::upload::Temporary;
use crate::clock::Clock;
use crate::storage::blob::BlobError;
use crate::transfer::BlobKey;

const STORE_ID: &str = "burnbag-store-id";

/// A writer whose directories are removed under it, by a delete of the last object beside it, makes them again so
/// often. Each time takes another delete at the same instant.
const TRIES: usize = 100;

/// The directories, and what this process knows of them.
pub(super) struct Layout {
    objects: PathBuf,
    ours: PathBuf,
    tmp: PathBuf,
    shards: Vec<Shard>,
    /// Held shared by each rename, and alone for a moment by each delete: see [`Layout::wait_for_renames`].
    renames: RwLock<()>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Shard {
    /// Its directory is there, and on disk.
    made: AtomicBool,
    sync: SharedSync,
}

/// Where one object lies.
pub(super) struct Spot {
    pub(super) shard: u8,
    pub(super) shard_dir: PathBuf,
    pub(super) transfer_dir: PathBuf,
    pub(super) file_dir: PathBuf,
    pub(super) object: PathBuf,
}

impl Layout {
    pub(super) fn open(root: &Path, clock: Arc<dyn Clock>, alone: bool) -> Result<Self, BlobError> {
        let (objects, tmp) = (root.join("objects"), root.join("tmp"));
        let ours = objects.join("o");
        for dir in [&objects, &ours, &tmp] {
            make_dir(dir)
                .map_err(|error| failed(&format!("make the directory {}", dir.display()), &error))?;
        }
        if alone {
            empty(&tmp).map_err(|error| failed("empty tmp/", &error))?;
        }
        for dir in [tmp.as_path(), &ours, &objects, root] {
            sync_dir(dir)
                .map_err(|error| failed(&format!("sync the directory {}", dir.display()), &error))?;
        }
        let shards = (0..=u8::MAX).map(|_| Shard::default()).collect();
        Ok(Self { objects, ours, tmp, shards, renames: RwLock::default(), clock })
    }

    /// The directory of all shards.
    pub(super) fn ours(&self) -> &Path {
        &self.ours
    }

    pub(super) fn tmp(&self) -> &Path {
        &self.tmp
    }

    pub(super) fn spot(&self, key: &BlobKey) -> Spot {
        let shard_dir = self.ours.join(format!("{:02x}", key.shard));
        let transfer_dir = shard_dir.join(key.transfer.to_string());
        let file_dir = transfer_dir.join(key.file.to_string());
        let object = self.objects.join(key.to_string());
        Spot { shard: key.shard, shard_dir, transfer_dir, file_dir, object }
    }

    fn shard(&self, number: u8) -> Option<&Shard> {
        self.shards.get(usize::from(number))
    }

    /// Makes a written temporary file the object `key`, durable when this returns.
    ///
    /// The order is what makes it safe against a crash. The bytes first: a name never leads to bytes that are not
    /// there. Then the rename, in one step. Then each directory from the object upwards, since an entry lasts only once
    /// its directory was synced, and those that were already there too: another writer may have made them a moment ago,
    /// or a process that was killed. The sync of the shard's directory is shared by all who ask for it meanwhile.
    /// Until the last one is done the caller has no answer and the record is not yet Available.
    pub(super) fn place(
        &self,
        temporary: &Temporary,
        key: &BlobKey,
        given_up: &AtomicBool,
    ) -> Result<(), BlobError> {
        let now = UNIX_EPOCH + Duration::from_millis(self.clock.now().as_millis());
        temporary.file().set_modified(now).map_err(|error| failed("date an object", &error))?;
        temporary.file().sync_all().map_err(|error| failed("sync an object", &error))?;
        let spot = self.spot(key);
        self.rename(temporary, &spot, given_up)?;
        // A directory that is gone by now went with the object: somebody deleted it meanwhile.
        sync_dir(&spot.file_dir)
            .and_then(|()| sync_dir(&spot.transfer_dir))
            .and_then(|()| self.sync_shard(spot.shard, &spot.shard_dir))
            .map_err(|error| {
                // Its size must not vouch for it: what was not synced may be gone after a crash.
                let _ = fs::remove_file(&spot.object);
                failed(&format!("sync the directories of {key}"), &error)
            })
    }

    fn rename(&self, temporary: &Temporary, spot: &Spot, given_up: &AtomicBool) -> Result<(), BlobError> {
        let mut last = io::Error::from(ErrorKind::NotFound);
        for _ in 0..TRIES {
            match self.make_dirs(spot) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && self.ours.is_dir() => {
                    last = error;
                    continue;
                }
                Err(error) => return Err(failed("make the directories of an object", &error)),
            }
            let renamed = {
                let _shared = self.renames.read().unwrap_or_else(PoisonError::into_inner);
                if given_up.load(Ordering::SeqCst) {
                    return Err(BlobError::Unavailable("the object was given up".to_owned()));
                }
                fs::rename(temporary.path(), &spot.object)
            };
            match renamed {
                Ok(()) => {
                    temporary.set_placed();
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if !temporary.path().exists() {
                        return Err(BlobError::Unavailable("the upload was aborted".to_owned()));
                    }
                    last = error;
                }
                Err(error) => return Err(failed("rename an object", &error)),
            }
        }
        Err(failed("make the directories of an object", &last))
    }

    fn make_dirs(&self, spot: &Spot) -> io::Result<()> {
        let Some(shard) = self.shard(spot.shard) else {
            return Err(ErrorKind::NotFound.into());
        };
        if !shard.made.load(Ordering::SeqCst) {
            make_dir(&spot.shard_dir)?;
            sync_dir(&self.ours)?;
            shard.made.store(true, Ordering::SeqCst);
        }
        let made = make_dir(&spot.transfer_dir).and_then(|()| make_dir(&spot.file_dir));
        if matches!(&made, Err(error) if error.kind() == ErrorKind::NotFound) {
            // Mostly the transfer's went; if it was the shard's, the next try makes it.
            shard.made.store(false, Ordering::SeqCst);
        }
        made
    }

    /// Returns when every rename that began before has happened.
    ///
    /// Work on a blocking thread goes on after its caller was dropped, so an object could appear after its delete.
    /// It cannot: dropping sets a flag that each rename reads under the lock, and each delete comes here first. So a
    /// rename has happened before the delete looks, or never happens.
    pub(super) fn wait_for_renames(&self) {
        drop(self.renames.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn sync_shard(&self, number: u8, dir: &Path) -> io::Result<()> {
        match self.shard(number) {
            Some(shard) => shard.sync.run(dir),
            None => sync_dir(dir),
        }
    }

    /// What "no such file" means: no object, or no directory at all (a volume that is not mounted, say), which must
    /// never pass for objects that are gone.
    pub(super) fn absent(&self) -> BlobError {
        match fs::metadata(&self.ours) {
            Ok(_) => BlobError::NotFound,
            Err(error) => failed("find the directory objects/o", &error),
        }
    }

    pub(super) fn size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError> {
        match fs::metadata(self.spot(key).object) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => match self.absent() {
                BlobError::NotFound => Ok(None),
                error => Err(error),
            },
            Err(error) => Err(failed(&format!("look at {key}"), &error)),
        }
    }

    pub(super) fn store_id(&self) -> Result<Option<String>, BlobError> {
        let mut text = String::new();
        let read =
            File::open(self.objects.join(STORE_ID)).and_then(|f| f.take(1024).read_to_string(&mut text));
        match read {
            Ok(_) => Ok(Some(text.trim_end().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => match self.absent() {
                BlobError::NotFound => Ok(None),
                error => Err(error),
            },
            Err(error) => Err(failed("read the store id", &error)),
        }
    }

    /// The caller sees to it that there is none yet.
    pub(super) fn place_store_id(&self, temporary: &Temporary) -> Result<(), BlobError> {
        temporary
            .file()
            .sync_all()
            .and_then(|()| fs::rename(temporary.path(), self.objects.join(STORE_ID)))
            .inspect(|()| temporary.set_placed())
            .and_then(|()| sync_dir(&self.objects))
            .map_err(|error| failed("write the store id", &error))
    }

    pub(super) fn free(&self) -> Result<u64, BlobError> {
        let stat =
            rustix::fs::statvfs(&self.ours).map_err(|error| failed("ask for free space", &error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// One sync of a directory for all who ask for it while another runs.
#[derive(Default)]
struct SharedSync {
    asked: AtomicU64,
    done: Mutex<u64>,
}

impl SharedSync {
    fn run(&self, dir: &Path) -> io::Result<()> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if *done >= mine {
            return Ok(());
        }
        // Who asked by now has changed the directory by now.
        let covered = self.asked.load(Ordering::SeqCst);
        sync_dir(dir)?;
        *done = covered;
        Ok(())
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made,
    }
}

fn empty(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What could not be done, and what the system said.
pub(super) fn failed(what: &str, error: &io::Error) -> BlobError {
    let text = format!("cannot {what}: {error}");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BlobError::Full(text),
        _ => BlobError::Unavailable(text),
    }
}
