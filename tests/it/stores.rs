//! The stores that a server of a test stands on. A test file that makes its servers by `super::serve` runs on others too:
//! a module with a `serve` of its own takes it in by its path, as `on_minio` in `main.rs` does.

use std::path::Path;
use std::sync::Arc;

use crate::minio::{Bucket, Minio};
use crate::support::files_below;

/// By default those that need no configuration. Clones are the same stores.
#[derive(Clone, Default)]
pub struct Stores {
    bucket: Option<Arc<Bucket>>,
}

/// An object as it lies there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// `o/<shard>/<transfer>/…`.
    pub key: String,
    pub size: u64,
}

impl Stored {
    /// Whose it is.
    pub fn transfer(&self) -> String {
        self.key.split('/').nth(2).unwrap().to_owned()
    }
}

impl Stores {
    /// Bytes in a fresh bucket of the MinIO that tests share, records in the data directory.
    pub async fn minio() -> Self {
        Self::in_bucket(Minio::shared().await.bucket().await)
    }

    /// Bytes in this bucket.
    pub fn in_bucket(bucket: Bucket) -> Self {
        Self { bucket: Some(Arc::new(bucket)) }
    }

    /// The bucket, where there is one.
    pub fn bucket(&self) -> &Bucket {
        self.bucket.as_deref().expect("bytes in a bucket")
    }

    /// What leads a server to them.
    pub fn settings(&self) -> Vec<(String, String)> {
        self.bucket.iter().flat_map(|bucket| bucket.environment()).collect()
    }

    /// Every object, where the data directory is `data`.
    pub async fn stored(&self, data: &Path) -> Vec<Stored> {
        if let Some(bucket) = &self.bucket {
            let keys = bucket.objects().await.into_iter();
            return keys.filter(|object| object.key.starts_with("o/")).collect();
        }
        let objects = data.join("objects");
        let stored = files_below(&objects.join("o")).into_iter().filter_map(|file| {
            let key = file.strip_prefix(&objects).unwrap().to_str().unwrap().to_owned();
            // It may go meanwhile.
            Some(Stored { key, size: file.metadata().ok()?.len() })
        });
        stored.collect()
    }

    /// The names and bytes of what lies in the bucket.
    pub async fn in_the_bucket(&self) -> Vec<(String, Vec<u8>)> {
        let Some(bucket) = &self.bucket else { return Vec::new() };
        let mut found = Vec::new();
        for object in bucket.objects().await {
            let get = bucket.client.get_object().bucket(&bucket.name).key(&object.key).send().await.unwrap();
            found.push((object.key, get.body.collect().await.unwrap().to_vec()));
        }
        found
    }
}
