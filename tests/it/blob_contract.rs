//! What every blob store must do. `blob_contract!(name, make)` runs all of it against one kind of store: `make` is an
//! async function that gives a [`Fixture`] with an empty store.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use burnbag::storage::{BlobError, BlobStore, Part};
use burnbag::transfer::{BlobKey, FileId, TransferId};
use zeroize::Zeroizing;

/// An empty store, and what must live as long as it.
pub struct Fixture {
    pub store: Arc<dyn BlobStore>,
    pub keeps: Box<dyn Any + Send>,
}

pub fn key() -> BlobKey {
    BlobKey::generate(0, TransferId::from_bytes(rand::random()), FileId::from_bytes(rand::random()), 0)
}

/// As an upload makes it.
fn aligned(bytes: &[u8]) -> Part {
    let (mut buffer, lead) = Part::with_capacity(bytes.len()).into_empty();
    buffer.extend_from_slice(bytes);
    Part::from_filled(buffer, lead)
}

/// Bytes that differ at every place and with every seed.
pub fn bytes(seed: u64, length: usize) -> Part {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    aligned(&std::iter::repeat_with(next).take(length).collect::<Vec<_>>())
}

pub async fn read(
    store: &Arc<dyn BlobStore>,
    key: &BlobKey,
    range: Range<u64>,
    buffer: usize,
) -> Result<Vec<u8>, BlobError> {
    let mut reader = store.read(key, range).await?;
    let mut all = Vec::new();
    let mut buffer = Zeroizing::new(vec![0; buffer]);
    loop {
        let (filled, count) = reader.read(buffer).await?;
        all.extend_from_slice(&filled[..count]);
        if count < filled.len() {
            return Ok(all);
        }
        buffer = filled;
    }
}

pub async fn assert_holds(store: &Arc<dyn BlobStore>, key: &BlobKey, expected: &[u8]) {
    let length = expected.len() as u64;
    assert_eq!(store.size(key).await.unwrap(), Some(length));
    let there = read(store, key, 0..length, 70_000).await.unwrap();
    assert!(there == expected, "the object holds other bytes than were written");
}

pub async fn assert_absent(store: &Arc<dyn BlobStore>, key: &BlobKey) {
    assert_eq!(store.size(key).await.unwrap(), None);
    assert!(matches!(store.read(key, 0..1).await.err(), Some(BlobError::NotFound)));
}

pub async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 10 s: {what}");
}

async fn upload(store: &Arc<dyn BlobStore>, key: &BlobKey, all: &[u8]) {
    let upload = store.open(key).await.unwrap();
    for (number, part) in (1..).zip(all.chunks(store.part_size())) {
        let back = upload.part(number, aligned(part)).await.unwrap();
        assert!(back.into_empty().0.capacity() >= part.len(), "the buffer comes back");
    }
    upload.complete().await.unwrap();
}

pub async fn listed(store: &Arc<dyn BlobStore>) -> Vec<String> {
    store.list(None, 10_000).await.unwrap().into_iter().map(|object| object.key).collect()
}

pub async fn a_whole_object_is_read_back_as_written(store: Arc<dyn BlobStore>) {
    for length in [0, 1, 65_536, store.part_size()] {
        let (key, bytes) = (key(), bytes(length as u64, length));
        assert_absent(&store, &key).await;
        let back = store.put(&key, bytes.clone()).await.unwrap();
        assert!(back.into_empty().0.capacity() >= length, "the buffer comes back");
        assert_holds(&store, &key, &bytes).await;
    }
}

pub async fn parts_become_one_object(store: Arc<dyn BlobStore>) {
    let part = store.part_size();
    for length in [1, part, 2 * part, 2 * part + 1, 3 * part - 1] {
        let (key, bytes) = (key(), bytes(length as u64, length));
        upload(&store, &key, &bytes).await;
        assert_holds(&store, &key, &bytes).await;
    }
}

pub async fn parts_may_come_at_once_and_in_any_order(store: Arc<dyn BlobStore>) {
    let (key, part) = (key(), store.part_size());
    let bytes = bytes(1, 3 * part + 10);
    let upload = store.open(&key).await.unwrap();
    let numbered = |number: u32| {
        let bytes = bytes.chunks(part).nth(number as usize - 1).unwrap();
        upload.part(number, aligned(bytes))
    };
    numbered(3).await.unwrap();
    let (first, last) = tokio::join!(numbered(1), numbered(4));
    first.unwrap();
    last.unwrap();
    numbered(2).await.unwrap();
    upload.complete().await.unwrap();
    assert_holds(&store, &key, &bytes).await;
}

pub async fn an_object_with_a_part_missing_cannot_complete(store: Arc<dyn BlobStore>) {
    let (key, part) = (key(), bytes(1, store.part_size()));
    let upload = store.open(&key).await.unwrap();
    let id = upload.id().to_owned();
    for number in [1, 3] {
        upload.part(number, part.clone()).await.unwrap();
    }
    upload.complete().await.unwrap_err();
    store.abort(&key, Some(&id)).await.unwrap();
    assert_absent(&store, &key).await;
}

pub async fn nothing_is_there_before_complete(store: Arc<dyn BlobStore>) {
    let (key, bytes) = (key(), bytes(1, store.part_size()));
    let upload = store.open(&key).await.unwrap();
    assert!(!upload.id().is_empty());
    for number in 1..=2 {
        upload.part(number, bytes.clone()).await.unwrap();
        assert_absent(&store, &key).await;
        assert_eq!(listed(&store).await, Vec::<String>::new());
    }
    upload.complete().await.unwrap();
    assert_holds(&store, &key, &[&bytes[..], &bytes[..]].concat()).await;
    assert_eq!(listed(&store).await, [key.to_string()]);
}

pub async fn an_aborted_upload_leaves_nothing(store: Arc<dyn BlobStore>) {
    let key = key();
    let upload = store.open(&key).await.unwrap();
    let id = upload.id().to_owned();
    upload.part(1, bytes(1, store.part_size())).await.unwrap();
    upload.abort().await.unwrap();
    assert_absent(&store, &key).await;
    assert_eq!(listed(&store).await, Vec::<String>::new());
    store.abort(&key, Some(&id)).await.unwrap();
    store.abort(&key, Some("a-name-that-never-was")).await.unwrap();
}

pub async fn an_upload_aborted_by_its_name_cannot_complete(store: Arc<dyn BlobStore>) {
    let key = key();
    let upload = store.open(&key).await.unwrap();
    let id = upload.id().to_owned();
    upload.part(1, bytes(1, 100)).await.unwrap();
    store.abort(&key, Some(&id)).await.unwrap();
    store.abort(&key, Some(&id)).await.unwrap();
    assert!(upload.complete().await.is_err(), "it was aborted");
    assert_absent(&store, &key).await;
}

pub async fn an_abort_after_complete_leaves_the_object(store: Arc<dyn BlobStore>) {
    let (key, bytes) = (key(), bytes(1, 100));
    let upload = store.open(&key).await.unwrap();
    let id = upload.id().to_owned();
    upload.part(1, bytes.clone()).await.unwrap();
    upload.complete().await.unwrap();
    store.abort(&key, Some(&id)).await.unwrap();
    assert_holds(&store, &key, &bytes).await;
}

pub async fn a_dropped_upload_leaves_nothing_listed(store: Arc<dyn BlobStore>) {
    let key = key();
    let upload = store.open(&key).await.unwrap();
    let id = upload.id().to_owned();
    upload.part(1, bytes(1, store.part_size())).await.unwrap();
    drop(upload);
    assert_absent(&store, &key).await;
    assert_eq!(listed(&store).await, Vec::<String>::new());
    store.abort(&key, Some(&id)).await.unwrap();
}

pub async fn a_delete_counts_absent_objects_as_deleted(store: Arc<dyn BlobStore>) {
    let (one, other, absent) = (key(), key(), key());
    let bytes = bytes(1, 10);
    store.put(&one, bytes.clone()).await.unwrap();
    store.put(&other, bytes.clone()).await.unwrap();
    for _ in 0..2 {
        let answers = store.delete(&[one.clone(), absent.clone()]).await;
        assert_eq!(answers.len(), 2);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_absent(&store, &one).await;
        assert_holds(&store, &other, &bytes).await;
    }
    assert!(store.delete(&[]).await.is_empty());
    assert_eq!(listed(&store).await, [other.to_string()]);
}

pub async fn objects_beside_a_deleted_one_stay(store: Arc<dyn BlobStore>) {
    let first = key();
    let same_file = BlobKey { object: 1, ..first.clone() };
    let same_transfer = BlobKey { file: FileId::from_bytes(rand::random()), ..first.clone() };
    for key in [&first, &same_file, &same_transfer] {
        store.put(key, bytes(u64::from(key.object), 10)).await.unwrap();
    }
    store.delete(std::slice::from_ref(&first)).await.remove(0).unwrap();
    assert_absent(&store, &first).await;
    assert_holds(&store, &same_file, &bytes(1, 10)).await;
    assert_holds(&store, &same_transfer, &bytes(0, 10)).await;
    store.put(&first, bytes(7, 10)).await.unwrap();
    assert_holds(&store, &first, &bytes(7, 10)).await;
}

pub async fn a_batch_of_500_is_deleted(store: Arc<dyn BlobStore>) {
    let mut keys: Vec<BlobKey> = std::iter::repeat_with(key).take(100).collect();
    for key in &keys {
        store.put(key, bytes(1, 10)).await.unwrap();
    }
    let kept = keys.pop().unwrap();
    keys.extend(std::iter::repeat_with(key).take(401));
    let answers = store.delete(&keys).await;
    assert_eq!(answers.len(), 500);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(listed(&store).await, [kept.to_string()]);
}

pub async fn objects_are_listed_in_pages_in_the_order_of_their_keys(store: Arc<dyn BlobStore>) {
    let mut keys = Vec::new();
    for shard in [0, 1, 255] {
        for _ in 0..3 {
            let first = BlobKey { shard, ..key() };
            keys.push(BlobKey { object: 1, ..first.clone() });
            keys.push(BlobKey { file: FileId::from_bytes(rand::random()), ..first.clone() });
            keys.push(first);
        }
    }
    for key in &keys {
        store.put(key, bytes(1, 1)).await.unwrap();
    }
    store.set_store_id("only what is under o/ is listed").await.unwrap();
    let _unfinished = store.open(&key()).await.unwrap();
    let mut expected: Vec<String> = keys.iter().map(ToString::to_string).collect();
    expected.sort();

    assert_eq!(listed(&store).await, expected);
    for limit in [1, 2, 3, 5, 9, 26, 27, 28] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = store.list(found.last().map(String::as_str), limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|object| object.key));
        }
        assert_eq!(found, expected, "in pages of {limit}");
    }
    // Any text may be asked after, in any order, a deleted key too.
    for (at, key) in expected.iter().enumerate().rev() {
        let after: Vec<String> =
            store.list(Some(key), 1000).await.unwrap().into_iter().map(|object| object.key).collect();
        assert_eq!(after, expected[at + 1..]);
    }
    assert_eq!(store.list(Some("o/"), 1000).await.unwrap().len(), 27);
    assert_eq!(store.list(Some("o/00"), 1000).await.unwrap().len(), 27);
    assert_eq!(store.list(Some("o/01"), 1000).await.unwrap().len(), 18);
    assert_eq!(store.list(Some("o/02"), 1000).await.unwrap().len(), 9);
    assert_eq!(store.list(Some("o/ff0"), 1000).await.unwrap().len(), 0);
    assert_eq!(store.list(Some("p"), 1000).await.unwrap().len(), 0);
}

pub async fn a_listing_goes_on_after_an_object_that_was_deleted(store: Arc<dyn BlobStore>) {
    let mut keys: Vec<BlobKey> = std::iter::repeat_with(key).take(6).collect();
    keys.sort_by_key(ToString::to_string);
    for key in &keys {
        store.put(key, bytes(1, 1)).await.unwrap();
    }
    let page = store.list(None, 2).await.unwrap();
    assert_eq!(page[1].key, keys[1].to_string());
    for answer in store.delete(&keys[..4]).await {
        answer.unwrap();
    }
    let rest: Vec<String> =
        store.list(Some(&page[1].key), 2).await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(rest, [keys[4].to_string(), keys[5].to_string()]);
}

pub async fn any_range_is_read(store: Arc<dyn BlobStore>) {
    let part = store.part_size();
    let (key, bytes) = (key(), bytes(5, 2 * part + 100));
    upload(&store, &key, &bytes).await;
    let end = bytes.len();
    let edges = [0, 1, 65_535, 65_536, 65_537, part - 1, part, part + 1, 2 * part, end - 1, end];
    for from in edges {
        for to in edges.into_iter().filter(|to| *to >= from) {
            let there = read(&store, &key, from as u64..to as u64, 65_536).await.unwrap();
            assert!(there == bytes[from..to], "the range {from}..{to}");
        }
    }
    // A buffer of another size sees the same bytes.
    let there = read(&store, &key, 3..(part as u64 + 7), 1000).await.unwrap();
    assert!(there == bytes[3..part + 7]);
}

pub async fn two_uploads_of_one_key_do_not_mix(store: Arc<dyn BlobStore>) {
    let key = key();
    let part = store.part_size();
    let (one, other) = (store.open(&key).await.unwrap(), store.open(&key).await.unwrap());
    assert_ne!(one.id(), other.id());
    for number in 1..=2 {
        one.part(number, bytes(1, part)).await.unwrap();
        other.part(number, bytes(2, part)).await.unwrap();
    }
    let (first, second) = tokio::join!(one.complete(), other.complete());
    assert!(first.is_ok() || second.is_ok());
    let there = read(&store, &key, 0..2 * part as u64, part).await.unwrap();
    let whole = |seed| [&bytes(seed, part)[..], &bytes(seed, part)[..]].concat();
    assert!(there == whole(1) || there == whole(2), "one of them, whole");
}

pub async fn writers_and_deletes_beside_each_other_do_not_disturb(store: Arc<dyn BlobStore>) {
    let transfer = TransferId::from_bytes(rand::random());
    let file = FileId::from_bytes(rand::random());
    let writers = (0..8).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..20 {
                let key = BlobKey::generate(0, transfer, file, writer);
                store.put(&key, bytes(1, 10)).await.unwrap();
                assert_eq!(store.size(&key).await.unwrap(), Some(10));
                store.delete(std::slice::from_ref(&key)).await.remove(0).unwrap();
                assert_eq!(store.size(&key).await.unwrap(), None);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(listed(&store).await, Vec::<String>::new());
}

pub async fn the_store_id_is_set_once(store: Arc<dyn BlobStore>) {
    assert_eq!(store.store_id().await.unwrap(), None);
    store.set_store_id("00112233").await.unwrap();
    store.set_store_id("00112233").await.unwrap();
    assert!(store.set_store_id("44556677").await.is_err(), "another one is there");
    assert_eq!(store.store_id().await.unwrap().as_deref(), Some("00112233"));
}

/// Emits one test for each function above in a module of that name; with a list, for those alone, and only where there is
/// such a store.
macro_rules! blob_contract {
    ($name:ident, $make:path) => {
        mod $name {
            $crate::blob_contract::blob_contract! { @each $make:
                a_whole_object_is_read_back_as_written
                parts_become_one_object
                parts_may_come_at_once_and_in_any_order
                an_object_with_a_part_missing_cannot_complete
                nothing_is_there_before_complete
                an_aborted_upload_leaves_nothing
                an_upload_aborted_by_its_name_cannot_complete
                an_abort_after_complete_leaves_the_object
                a_dropped_upload_leaves_nothing_listed
                a_delete_counts_absent_objects_as_deleted
                objects_beside_a_deleted_one_stay
                a_batch_of_500_is_deleted
                objects_are_listed_in_pages_in_the_order_of_their_keys
                a_listing_goes_on_after_an_object_that_was_deleted
                any_range_is_read
                two_uploads_of_one_key_do_not_mix
                writers_and_deletes_beside_each_other_do_not_disturb
                the_store_id_is_set_once
            }
        }
    };
    (@each $make:path: $($test:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let fixture = $make().await;
            $crate::blob_contract::$test(std::sync::Arc::clone(&fixture.store)).await;
            drop(fixture.keeps);
        }
    )+};
    ($name:ident, $make:path: $($test:ident)+) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if let Some(fixture) = $make().await {
                        $crate::blob_contract::$test(std::sync::Arc::clone(&fixture.store)).await;
                        drop(fixture.keeps);
                    }
                }
            )+
        }
    };
}

pub(crate) use blob_contract;
