//! A bucket whose server breaks off, freezes, or goes away: the right answer in bounded time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use burnbag::storage::blob::s3::{S3Blobs, S3Limits};
use burnbag::storage::{BlobError, BlobStore};
use burnbag::transfer::BlobKey;

use crate::blob_contract::{assert_holds, bytes, key};
use crate::gate::{Gate, header};
use crate::minio::{Bucket, Minio};
use crate::support::{SOON, wait_for};

/// Through a gate that lets so much down.
async fn behind(
    minio: &Minio,
    bucket: &Bucket,
    allowed: u64,
    limits: S3Limits,
) -> (Gate, Arc<dyn BlobStore>) {
    let gate = Gate::to(&minio.address().to_string(), allowed).await;
    let mut settings = minio.reach(&bucket.name, gate.address()).settings;
    settings.limits = limits;
    (gate, Arc::new(S3Blobs::new(&settings)))
}

/// An object of this many parts.
async fn object(store: &Arc<dyn BlobStore>, parts: u32) -> (BlobKey, Vec<u8>) {
    let key = key();
    let mut all = Vec::new();
    let upload = store.open(&key).await.unwrap();
    for number in 1..=parts {
        let part = bytes(u64::from(number), store.part_size());
        all.extend_from_slice(&part);
        upload.part(number, part).await.unwrap();
    }
    upload.complete().await.unwrap();
    (key, all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_breaks_off_goes_on_at_the_next_byte() {
    let minio = Minio::shared().await;
    let bucket = minio.bucket().await;
    let (gate, store) = behind(minio, &bucket, u64::MAX, S3Limits::default()).await;
    let (key, all) = object(&store, 3).await;
    let end = all.len() as u64;
    let mut came = 7;
    gate.allow_more(3_000_000);
    let mut reader = store.read(&key, came..end).await.unwrap();
    let mut read = async |length: usize| {
        let (buffer, count) = reader.read(vec![0; length].into()).await.unwrap();
        let from = usize::try_from(came).unwrap();
        assert!(buffer[..count] == all[from..from + length], "from {came}");
        came += count as u64;
    };
    for _ in 0..3 {
        read(1_000_000).await;
        gate.break_off();
        gate.allow_more(3_000_000);
    }
    gate.open();
    read(all.len() - 3_000_007).await;
    let url = format!("http://{}/{}/{key}?x-id=GetObject", gate.address(), bucket.name);
    let gets = gate.gets(&url);
    let from = |get: &String| {
        let range = header(get, "range").unwrap().strip_prefix("bytes=").unwrap().to_owned();
        range.split_once('-').unwrap().0.parse::<u64>().unwrap()
    };
    let mut starts: Vec<u64> = gets.iter().map(from).collect();
    starts.sort_unstable();
    assert_eq!(starts[0], 7);
    assert!(starts.len() >= 2 && starts[1] > 1_000_000, "{starts:?}");
    assert!(gets.iter().filter(|get| from(get) > 7).all(|get| header(get, "if-match").is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_object_under_the_same_key_is_never_gone_on_with() {
    let minio = Minio::shared().await;
    let bucket = minio.bucket().await;
    let (gate, store) = behind(minio, &bucket, u64::MAX, S3Limits::default()).await;
    let (key, all) = object(&store, 2).await;
    gate.allow_more(100_000);
    let mut reader = store.read(&key, 0..all.len() as u64).await.unwrap();
    let (buffer, count) = reader.read(vec![0; 50_000].into()).await.unwrap();
    assert!(buffer[..count] == all[..50_000]);
    gate.is_reached().await;
    gate.cut().await;
    let put = bucket.client.put_object().bucket(&bucket.name).key(key.to_string());
    put.body(ByteStream::from(vec![7; all.len()])).send().await.unwrap();
    gate.open();
    let rest = reader.read(vec![0; all.len()].into()).await;
    assert!(matches!(rest, Err(BlobError::NotFound)), "{:?}", rest.map(|(_, count)| count));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_outlives_a_server_that_freezes() {
    let minio = Minio::start().await;
    let bucket = minio.bucket().await;
    let limits = S3Limits { part_attempt: Duration::from_secs(1), ..S3Limits::default() };
    let (gate, store) = behind(&minio, &bucket, u64::MAX, limits).await;
    let (key, part) = (key(), bytes(1, store.part_size()));
    let upload = store.open(&key).await.unwrap();
    upload.part(1, part.clone()).await.unwrap();
    minio.freeze();
    let sending = tokio::spawn({
        let part = part.clone();
        async move {
            upload.part(2, part).await?;
            upload.complete().await
        }
    });
    let second = || async {
        let parts = gate.requests().into_iter().filter(|line| line.contains("partNumber=2"));
        (parts.count() >= 2).then_some(())
    };
    wait_for("the part to be sent again", second).await;
    minio.resume();
    sending.await.unwrap().unwrap();
    assert_holds(&store, &key, &[&part[..], &part[..]].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_hangs_on_a_server_that_stays_frozen() {
    let minio = Minio::start().await;
    let bucket = minio.bucket().await;
    let quick = Duration::from_millis(500);
    let limits = S3Limits {
        quick_attempt: quick,
        quick: 2 * quick,
        part_attempt: quick,
        part: 2 * quick,
        complete: quick,
        stalled: quick,
        patience: 2 * quick,
        ..S3Limits::default()
    };
    let (gate, store) = behind(&minio, &bucket, u64::MAX, limits).await;
    // More than all buffers on the way.
    let (read, all) = object(&store, 4).await;
    let upload = store.open(&key()).await.unwrap();
    upload.part(1, bytes(1, store.part_size())).await.unwrap();
    gate.allow_more(100_000);
    let mut reader = store.read(&read, 0..all.len() as u64).await.unwrap();
    gate.is_reached().await;
    minio.freeze();
    gate.open();
    let since = Instant::now();
    let key = key();
    let (small, large) = (bytes(1, 10), bytes(1, store.part_size()));
    let (read, put, put_large, opened, size, deleted, aborted, listed, completed) = tokio::join!(
        reader.read(vec![0; all.len()].into()),
        store.put(&key, small),
        store.put(&key, large),
        store.open(&key),
        store.size(&key),
        store.delete(std::slice::from_ref(&key)),
        store.abort(&key, Some("x")),
        store.list(None, 10),
        upload.complete(),
    );
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    assert!(matches!(read, Err(BlobError::Unavailable(_))), "{:?}", read.map(|(_, count)| count));
    let silent = [
        put.map(drop),
        put_large.map(drop),
        opened.map(drop),
        size.map(drop),
        deleted.into_iter().next().unwrap(),
        aborted,
        listed.map(drop),
        completed,
    ];
    for (which, answer) in silent.into_iter().enumerate() {
        let Err(BlobError::Unavailable(said)) = answer else { panic!("{which}: {answer:?}") };
        assert!(said.contains("did not answer") && said.contains("in time"), "{which}: {said}");
    }
    minio.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_waited_for() {
    let mut minio = Minio::start().await;
    let bucket = minio.bucket().await;
    let store: Arc<dyn BlobStore> = Arc::new(S3Blobs::new(&bucket.settings));
    let (key, part) = (key(), bytes(1, store.part_size()));
    let upload = store.open(&key).await.unwrap();
    upload.part(1, part.clone()).await.unwrap();
    minio.kill();
    let (sent, ()) = tokio::join!(upload.part(2, part.clone()), minio.start_again());
    sent.unwrap();
    upload.complete().await.unwrap();
    assert_holds(&store, &key, &[&part[..], &part[..]].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_begun_twice_leaves_none_of_the_two() {
    let minio = Minio::shared().await;
    let bucket = minio.bucket().await;
    let limits = S3Limits { quick_attempt: Duration::from_secs(1), ..S3Limits::default() };
    let (gate, store) = behind(minio, &bucket, u64::MAX, limits).await;
    let (key, part) = (key(), bytes(1, store.part_size()));
    let shut = gate.shut_at(&["POST", "uploads"]);
    let (opened, ()) = tokio::join!(store.open(&key), async {
        shut.await;
        let both = async || (bucket.uploads(&key.to_string()).await.len() >= 2).then_some(());
        wait_for("the upload to be begun twice", both).await;
        gate.open();
    });
    let upload = opened.unwrap();
    upload.part(1, part.clone()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(bucket.uploads(&key.to_string()).await, Vec::<String>::new());
    assert_holds(&store, &key, &part).await;
}
