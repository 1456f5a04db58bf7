//! Deletes in batches, with the directories that they leave empty.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::layout::{Layout, Spot, failed, sync_dir};
use crate::storage::blob::BlobError;
use crate::transfer::BlobKey;

/// Deletes what is there, durably. Other deletes may work on the same directories meanwhile.
///
/// All names go first and each directory is synced once, after them. What is synced is the lowest directory that is
/// still there: the entries below it are gone with what held them. This is done also for an object that was not
/// there, since an earlier delete may have been killed before its sync.
pub(super) fn delete(layout: &Layout, keys: &[BlobKey]) -> Vec<Result<(), BlobError>> {
    layout.wait_for_renames();
    let spots: Vec<Spot> = keys.iter().map(|key| layout.spot(key)).collect();
    let unlinked: Vec<io::Result<()>> =
        spots.iter().map(|spot| there_or_not(fs::remove_file(&spot.object))).collect();

    let files: BTreeSet<&Path> = spots.iter().map(|spot| spot.file_dir.as_path()).collect();
    let transfers: BTreeSet<&Path> = spots.iter().map(|spot| spot.transfer_dir.as_path()).collect();
    let mut gone = BTreeSet::new();
    for dir in files.into_iter().chain(transfers) {
        // Not empty: something else is in it, or a writer just put something there. It stays and is synced.
        if there_or_not(fs::remove_dir(dir)).is_ok() {
            gone.insert(dir);
        }
    }

    let mut synced = BTreeMap::new();
    unlinked
        .into_iter()
        .zip(&spots)
        .zip(keys)
        .map(|((unlinked, spot), key)| {
            unlinked.map_err(|error| failed(&format!("delete {key}"), &error))?;
            sync(layout, spot, &gone, &mut synced)
                .map_err(|error| failed(&format!("sync the directories of {key}"), &error))
        })
        .collect()
}

/// Syncs the lowest directory above the object that is there, once a batch.
fn sync<'a>(
    layout: &Layout,
    spot: &'a Spot,
    gone: &BTreeSet<&Path>,
    synced: &mut BTreeMap<&'a Path, Result<(), ErrorKind>>,
) -> io::Result<()> {
    let dirs = [&spot.file_dir, &spot.transfer_dir, &spot.shard_dir];
    for dir in dirs.into_iter().filter(|dir| !gone.contains(dir.as_path())) {
        let result = *synced.entry(dir).or_insert_with(|| {
            let result =
                if dir == &spot.shard_dir { layout.sync_shard(spot.shard, dir) } else { sync_dir(dir) };
            result.map_err(|error| error.kind())
        });
        match result {
            // Another delete removed it meanwhile.
            Err(ErrorKind::NotFound) => {}
            result => return result.map_err(io::Error::from),
        }
    }
    // Not even the shard is there. That is in order only in a store that is there.
    sync_dir(layout.ours())
}

fn there_or_not(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
