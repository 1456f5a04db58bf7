//! A bucket as blob store: the contract on real servers, and what only a bucket has.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use burnbag::storage::blob::s3::{S3Blobs, S3Limits, S3Settings};
use burnbag::storage::{BlobError, BlobStore};

use crate::blob_contract::{Fixture, assert_absent, assert_holds, blob_contract, bytes, key, read};
use crate::minio::{Bucket, Minio, S3s};

async fn make_minio() -> Fixture {
    let bucket = Minio::shared().await.bucket().await;
    Fixture { store: store(&bucket.settings), keeps: Box::new(()) }
}

blob_contract!(contract, super::make_minio);

async fn make_versioned() -> Fixture {
    let bucket = Minio::shared().await.bucket().await;
    keep_versions(&bucket).await;
    Fixture { store: store(&bucket.settings), keeps: Box::new(()) }
}

mod versioned {
    crate::blob_contract::blob_contract!(contract, super::super::make_versioned);
}

async fn make_s3s() -> Option<Fixture> {
    let Some((settings, keeps)) = S3s::start().await else {
        eprintln!("left out: s3s-fs is not installed: cargo install s3s-fs --locked --features binary");
        return None;
    };
    Some(Fixture { store: store(&settings), keeps: Box::new(keeps) })
}

// It denies access to an upload that it does not know, also to its own after it was aborted: what is said of that in the contract is
// left out.
blob_contract!(on_s3s, super::make_s3s:
    a_whole_object_is_read_back_as_written
    parts_become_one_object
    parts_may_come_at_once_and_in_any_order
    an_object_with_a_part_missing_cannot_complete
    nothing_is_there_before_complete
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
);

fn store(settings: &S3Settings) -> Arc<dyn BlobStore> {
    Arc::new(S3Blobs::new(settings))
}

async fn keep_versions(bucket: &Bucket) {
    let status = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let put = bucket.client.put_bucket_versioning().bucket(&bucket.name);
    put.versioning_configuration(status).send().await.unwrap();
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dropped_call_left_goes_with_a_later_delete() {
    let bucket = Minio::shared().await.bucket().await;
    let store = store(&bucket.settings);
    let mut keys = Vec::new();
    for round in 0..20 {
        let (put, completed) = (key(), key());
        let upload = store.open(&completed).await.unwrap();
        upload.part(1, bytes(1, 10)).await.unwrap();
        let limit = Duration::from_micros(round * 100);
        let _ = tokio::time::timeout(limit, store.put(&put, bytes(1, 10))).await;
        let _ = tokio::time::timeout(limit, upload.complete()).await;
        keys.extend([put, completed]);
    }
    // A server goes on with what it was asked for; here it is done within milliseconds.
    crate::blob_contract::wait_for("the last of what was dropped to be gone", async || {
        for key in &keys {
            store.abort(key, None).await.unwrap();
        }
        store.delete(&keys).await.into_iter().for_each(Result::unwrap);
        bucket.keys().await.is_empty()
    })
    .await;
    for key in &keys {
        assert_eq!(bucket.uploads(&key.to_string()).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_no_journal_knows_is_aborted_by_its_key() {
    let bucket = Minio::shared().await.bucket().await;
    let store = store(&bucket.settings);
    let (key, beside) = (key(), key());
    for _ in 0..3 {
        store.open(&key).await.unwrap().part(1, bytes(1, 10)).await.unwrap();
    }
    let other = store.open(&beside).await.unwrap();
    assert_eq!(bucket.uploads(&key.to_string()).await.len(), 3);
    store.abort(&key, None).await.unwrap();
    assert_eq!(bucket.uploads(&key.to_string()).await, Vec::<String>::new());
    assert_eq!(bucket.uploads(&beside.to_string()).await, [other.id()]);
    other.abort().await.unwrap();
    assert_eq!(bucket.uploads(&beside.to_string()).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_version_and_no_marker_is_left() {
    let bucket = Minio::shared().await.bucket().await;
    let store = store(&bucket.settings);
    let (key, other) = (key(), key());
    store.put(&key, bytes(1, 10)).await.unwrap();
    store.put(&other, bytes(1, 10)).await.unwrap();
    // Found out by the first deletion: nobody said so.
    keep_versions(&bucket).await;
    for seed in 2..5 {
        store.put(&key, bytes(seed, 10)).await.unwrap();
    }
    bucket.client.delete_object().bucket(&bucket.name).key(key.to_string()).send().await.unwrap();
    assert_eq!(bucket.versions().await, 6);
    for _ in 0..2 {
        store.delete(std::slice::from_ref(&key)).await.remove(0).unwrap();
        assert_absent(&store, &key).await;
        assert_eq!(bucket.versions().await, 1, "only the object beside it");
    }
    assert_holds(&store, &other, &bytes(1, 10)).await;
    // A key of which nothing but a marker is left is found by the sweep.
    bucket.client.delete_object().bucket(&bucket.name).key(other.to_string()).send().await.unwrap();
    assert_eq!(bucket.keys().await, Vec::<String>::new());
    let listed = store.list(None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|object| &object.key).collect::<Vec<_>>(), [&other.to_string()]);
    store.delete(&[other]).await.remove(0).unwrap();
    assert_eq!(bucket.versions().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_with_what_to_do() {
    let minio = Minio::shared().await;
    let bucket = minio.bucket().await;
    let good = &bucket.settings;
    S3Blobs::new(good).check().await.unwrap();
    let once = S3Limits { attempts: 1, ..S3Limits::default() };
    let cases = [
        (S3Settings { bucket: "not-there".to_owned(), ..good.clone() }, "BURNBAG_S3_BUCKET"),
        (S3Settings { access_key: "somebody".to_owned(), ..good.clone() }, "BURNBAG_S3_ACCESS_KEY"),
        (S3Settings { secret_key: "wrong".to_owned().into(), ..good.clone() }, "BURNBAG_S3_SECRET_KEY"),
        (
            S3Settings { endpoint: Some("http://127.0.0.1:1".to_owned()), limits: once, ..good.clone() },
            "start the S3 server",
        ),
    ];
    for (settings, advice) in cases {
        let said = words(S3Blobs::new(&settings).check().await.unwrap_err());
        assert!(said.contains(advice), "{said}");
        let store = store(&settings);
        let part = bytes(1, 10);
        for said in [
            store.put(&key(), part).await.map(drop),
            store.open(&key()).await.map(drop),
            store.read(&key(), 0..1).await.map(drop),
            store.delete(&[key()]).await.remove(0),
            store.abort(&key(), None).await,
            store.list(None, 1).await.map(drop),
            store.store_id().await.map(drop),
            store.set_store_id("x").await,
        ] {
            let Err(BlobError::Unavailable(said)) = said else { panic!("{advice}: {said:?}") };
            assert!(said.contains(advice), "{said}");
        }
        assert!(
            matches!(store.size(&key()).await, Err(BlobError::Unavailable(_))),
            "an error is not absence"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_anybody_may_use_is_refused() {
    let minio = Minio::shared().await;
    for (action, on) in [("s3:GetObject", "/*"), ("s3:PutObject", "/*"), ("s3:ListBucket", "")] {
        let bucket = minio.bucket().await;
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"AWS": ["*"]},
                "Action": [action],
                "Resource": [format!("arn:aws:s3:::{}{on}", bucket.name)],
            }],
        });
        let put = bucket.client.put_bucket_policy().bucket(&bucket.name);
        put.policy(policy.to_string()).send().await.unwrap();
        let said = words(S3Blobs::new(&bucket.settings).check().await.unwrap_err());
        assert!(
            said.contains("anybody may use the bucket") && said.contains("mc anonymous set none"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_past_the_end_ends_where_the_object_does() {
    let store = make_minio().await.store;
    let key = key();
    let all = bytes(3, 1000);
    store.put(&key, all.clone()).await.unwrap();
    assert!(read(&store, &key, 0..5000, 64).await.unwrap() == all[..]);
    assert!(read(&store, &key, 990..1001, 64).await.unwrap() == all[990..]);
    assert_eq!(read(&store, &key, 1000..1001, 64).await.unwrap(), Vec::<u8>::new());
}
