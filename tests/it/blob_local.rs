//! The directory as blob store: the contract, and what only a directory has.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burnbag::clock::{ManualClock, Timestamp};
use burnbag::storage::blob::local::LocalBlobs;
use burnbag::storage::{BlobError, BlobStore, Part};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::blob_contract::{
    Fixture, assert_absent, assert_holds, blob_contract, bytes, key, listed, wait_for,
};
use crate::disk::Disk;

const NOW: Timestamp = Timestamp::from_millis(1_900_000_000_123);

fn open(root: &Path) -> Result<Arc<dyn BlobStore>, BlobError> {
    let store = LocalBlobs::open(root, Arc::new(ManualClock::new(NOW)))?;
    Ok(Arc::new(store))
}

async fn make_local() -> Fixture {
    let (dir, store) = tokio::task::spawn_blocking(local).await.unwrap();
    Fixture { store, keeps: Box::new(dir) }
}

blob_contract!(contract, super::make_local);

async fn make_without_direct_writes() -> Fixture {
    let (disk, store) = tokio::task::spawn_blocking(without_direct_writes).await.unwrap();
    Fixture { store, keeps: Box::new(disk) }
}

fn without_direct_writes() -> (Disk, Arc<dyn BlobStore>) {
    let disk = Disk::without_direct_writes();
    let probe = disk.path().join("probe");
    let file = fs::File::create(&probe).unwrap();
    let flags = rustix::fs::fcntl_getfl(&file).unwrap() | rustix::fs::OFlags::DIRECT;
    assert_eq!(rustix::fs::fcntl_setfl(&file, flags), Err(rustix::io::Errno::INVAL));
    fs::remove_file(probe).unwrap();
    let store = open(disk.path()).unwrap();
    (disk, store)
}

blob_contract!(contract_without_direct_writes, super::make_without_direct_writes);

fn local() -> (TempDir, Arc<dyn BlobStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    (dir, store)
}

/// Everything below a directory, but the directory itself.
fn everything(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(everything(&path));
        }
        found.push(path);
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn is_unavailable<T>(result: &Result<T, BlobError>) -> bool {
    matches!(result, Err(BlobError::Unavailable(_)))
}

#[tokio::test]
async fn temporaries_of_an_earlier_process_are_removed_at_start_and_objects_stay() {
    let (dir, store) = local();
    let key = key();
    store.put(&key, bytes(1, 10)).await.unwrap();
    fs::write(dir.path().join("tmp/00112233445566778899aabbccddeeff"), "left").unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(everything(&dir.path().join("tmp")), Vec::<PathBuf>::new());
    assert_holds(&store, &key, &bytes(1, 10)).await;
}

#[tokio::test]
async fn only_the_owner_may_enter_or_read() {
    let (dir, store) = local();
    store.put(&key(), bytes(1, 10)).await.unwrap();
    store.set_store_id("00112233").await.unwrap();
    let upload = store.open(&key()).await.unwrap();
    upload.part(1, bytes(1, 10)).await.unwrap();
    let all = everything(dir.path());
    assert_eq!(all.iter().filter(|path| path.is_file()).count(), 3);
    for path in all {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
}

#[tokio::test]
async fn an_object_lies_under_its_key_and_dates_from_the_clock() {
    let (dir, store) = local();
    let key = key();
    store.put(&key, bytes(1, 10)).await.unwrap();
    assert_eq!(fs::read(dir.path().join("objects").join(key.to_string())).unwrap(), *bytes(1, 10));
    assert_eq!(store.list(None, 10).await.unwrap()[0].modified, NOW);
}

#[tokio::test]
async fn deletes_leave_no_empty_directories_but_shards() {
    let (dir, store) = local();
    let key = key();
    store.put(&key, bytes(1, 10)).await.unwrap();
    store.delete(&[key]).await.remove(0).unwrap();
    assert_eq!(everything(&dir.path().join("objects/o")), [dir.path().join("objects/o/00")]);
}

#[tokio::test]
async fn a_shard_that_was_removed_by_hand_is_made_again() {
    let (dir, store) = local();
    for _ in 0..2 {
        let key = key();
        store.put(&key, bytes(1, 10)).await.unwrap();
        store.delete(&[key]).await.remove(0).unwrap();
        fs::remove_dir(dir.path().join("objects/o/00")).unwrap();
    }
}

#[tokio::test]
async fn a_dropped_upload_removes_its_temporary_file() {
    let (dir, store) = local();
    let tmp = dir.path().join("tmp");
    let upload = store.open(&key()).await.unwrap();
    upload.part(1, bytes(1, 10)).await.unwrap();
    assert_eq!(everything(&tmp), [tmp.join(upload.id())]);
    drop(upload);
    wait_for("an empty tmp/", async || everything(&tmp).is_empty()).await;
}

#[tokio::test]
async fn nothing_outside_the_store_is_reached_by_an_upload_name() {
    let (dir, store) = local();
    let outside = dir.path().join("outside");
    fs::write(&outside, "stays").unwrap();
    for name in ["../outside", "", ".", "..", outside.to_str().unwrap(), "../objects"] {
        store.abort(&key(), Some(name)).await.unwrap();
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "stays");
    assert!(dir.path().join("objects/o").is_dir());
}

#[tokio::test]
async fn only_files_at_the_depth_of_objects_are_listed() {
    let (dir, store) = local();
    let key = key();
    store.put(&key, bytes(1, 10)).await.unwrap();
    let object = dir.path().join("objects").join(key.to_string());
    let file = object.parent().unwrap();
    fs::create_dir_all(file.join("directory/deeper")).unwrap();
    fs::write(file.join("directory/deeper/file"), "").unwrap();
    fs::write(dir.path().join("objects/o/00/file"), "").unwrap();
    symlink(&object, file.join("link")).unwrap();
    symlink(file, file.parent().unwrap().join("link")).unwrap();
    fs::write(file.join("stranger"), "").unwrap();
    // `-` sorts before `/`, so a name that goes on with it comes before what lies under the shorter one.
    let beside = PathBuf::from(format!("{}-", file.display()));
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("stranger"), "").unwrap();

    let keys: Vec<String> = store.list(None, 10).await.unwrap().into_iter().map(|o| o.key).collect();
    let prefix = key.to_string().rsplit_once('/').unwrap().0.to_owned();
    let expected = [format!("{prefix}-/stranger"), key.to_string(), format!("{prefix}/stranger")];
    assert!(expected.is_sorted());
    assert_eq!(keys, expected);
    for (at, after) in expected.iter().enumerate() {
        let rest: Vec<String> =
            store.list(Some(after), 10).await.unwrap().into_iter().map(|o| o.key).collect();
        assert_eq!(rest, expected[at + 1..]);
    }
}

#[tokio::test]
async fn an_object_that_was_cut_short_fails_to_be_read() {
    let (dir, store) = local();
    let key = key();
    store.put(&key, bytes(1, 10)).await.unwrap();
    fs::write(dir.path().join("objects").join(key.to_string()), "short").unwrap();
    let mut reader = store.read(&key, 0..10).await.unwrap();
    assert!(is_unavailable(&reader.read(Zeroizing::new(vec![0; 20])).await));
}

#[tokio::test]
async fn a_failed_write_is_an_error_that_names_the_step() {
    let (dir, store) = local();
    let blocked = key();
    // A file where the transfer's directory should be: an error for every user, root too.
    fs::create_dir(dir.path().join("objects/o/00")).unwrap();
    fs::write(dir.path().join(format!("objects/o/00/{}", blocked.transfer)), "").unwrap();
    let error = store.put(&blocked, bytes(1, 10)).await.unwrap_err();
    assert!(
        matches!(&error, BlobError::Unavailable(text) if text.starts_with("cannot make the directories")),
        "{error}"
    );
    let upload = store.open(&blocked).await.unwrap();
    upload.part(1, bytes(1, 10)).await.unwrap();
    assert!(is_unavailable(&upload.complete().await));
    let tmp = dir.path().join("tmp");
    wait_for("an empty tmp/", async || everything(&tmp).is_empty()).await;

    let fine = key();
    store.put(&fine, bytes(2, 10)).await.unwrap();
    let answers = store.delete(&[blocked.clone(), fine.clone()]).await;
    assert!(matches!(&answers[0], Err(BlobError::Unavailable(_))), "{answers:?}");
    assert!(answers[1].is_ok(), "{answers:?}");
    assert_absent(&store, &fine).await;
}

#[tokio::test]
async fn a_lost_directory_never_passes_for_deleted_objects() {
    let (dir, store) = local();
    let (there, never) = (key(), key());
    store.put(&there, bytes(1, 10)).await.unwrap();
    let objects = dir.path().join("objects");
    let away = dir.path().join("away");
    fs::rename(&objects, &away).unwrap();

    for key in [&there, &never] {
        assert!(is_unavailable(&store.size(key).await));
        assert!(is_unavailable(&store.read(key, 0..1).await));
        assert!(is_unavailable(&store.delete(std::slice::from_ref(key)).await.remove(0)));
        assert!(is_unavailable(&store.put(key, bytes(2, 10)).await));
    }
    assert!(is_unavailable(&store.list(None, 10).await));
    assert!(is_unavailable(&store.store_id().await));
    assert!(is_unavailable(&store.free().await));
    assert!(!objects.exists(), "it is not made again behind the operator's back");

    fs::rename(&away, &objects).unwrap();
    assert_holds(&store, &there, &bytes(1, 10)).await;
    assert_absent(&store, &never).await;
}

#[tokio::test]
async fn a_store_that_cannot_be_made_is_refused_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    for (blocked, root) in [("objects", dir.path().to_owned()), ("", dir.path().join("missing"))] {
        if !blocked.is_empty() {
            fs::write(root.join(blocked), "").unwrap();
        }
        let error = open(&root).err().unwrap().to_string();
        assert!(error.contains(root.join("objects").to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_part_after_the_last_or_too_large_is_refused() {
    let (_dir, store) = local();
    let key = key();
    let upload = store.open(&key).await.unwrap();
    assert!(is_unavailable(&upload.part(1, bytes(1, store.part_size() + 1)).await));
    upload.part(1, bytes(1, 10)).await.unwrap();
    assert!(is_unavailable(&upload.part(2, bytes(1, 10)).await));
}

#[tokio::test]
async fn a_file_larger_than_the_write_back_is_whole() {
    let (_dir, store) = local();
    let (key, part) = (key(), bytes(1, store.part_size()));
    let upload = store.open(&key).await.unwrap();
    let mut buffer = part.clone();
    for number in 1..=70 {
        buffer = upload.part(number, buffer).await.unwrap();
    }
    upload.complete().await.unwrap();
    assert_holds(&store, &key, &part.repeat(70)).await;
}

#[tokio::test]
async fn free_space_is_what_the_file_system_says() {
    let (dir, store) = local();
    let free = store.free().await.unwrap().unwrap();
    let stat = rustix::fs::statvfs(dir.path()).unwrap();
    let total = stat.f_blocks * stat.f_frsize;
    assert!(free > 0 && free < total, "{free} of {total}");
}

#[tokio::test]
async fn an_object_is_the_same_past_the_page_cache_and_through_it() {
    let (_dir, store) = local();
    // On a block's boundary and beside it, from a whole part and from what lies in memory as it likes.
    for length in [65_536, 65_537, 69_631, 69_632, 100_000, store.part_size() - 1, store.part_size()] {
        let anyhow = Part::from(Zeroizing::new([&[0][..], &bytes(7, length - 1)[..]].concat()));
        for part in [bytes(length as u64, length), anyhow] {
            let (key, expected) = (key(), part.to_vec());
            store.put(&key, part).await.unwrap();
            assert_holds(&store, &key, &expected).await;
            let upload = store.open(&key).await.unwrap();
            upload.part(1, bytes(3, store.part_size())).await.unwrap();
            upload.part(2, Part::from(Zeroizing::new(expected.clone()))).await.unwrap();
            upload.complete().await.unwrap();
            assert_holds(&store, &key, &[&bytes(3, store.part_size())[..], &expected].concat()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_leaves_no_object_after_its_delete() {
    let Fixture { store, keeps: _dir } = make_local().await;
    for round in 0..40 {
        let (put, completed) = (key(), key());
        let upload = store.open(&completed).await.unwrap();
        let id = upload.id().to_owned();
        upload.part(1, bytes(1, 10)).await.unwrap();
        let limit = Duration::from_micros(round * 50);
        let _ = tokio::time::timeout(limit, store.put(&put, bytes(1, 10))).await;
        let _ = tokio::time::timeout(limit, upload.complete()).await;
        store.abort(&completed, Some(&id)).await.unwrap();
        for answer in store.delete(&[put, completed]).await {
            answer.unwrap();
        }
    }
    // Whatever went on behind the dropped calls has ended when as many later ones have.
    for _ in 0..10 {
        let later = key();
        store.put(&later, bytes(1, 10)).await.unwrap();
        store.delete(&[later]).await.remove(0).unwrap();
    }
    assert_eq!(listed(&store).await, Vec::<String>::new());
}
