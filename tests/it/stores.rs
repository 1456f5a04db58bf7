//! The stores that a server of a test stands on. A test file that makes its servers by `super::serve` runs on others too:
//! a module with a `serve` of its own takes it in by its path, as `on_redis` does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burnbag::transfer::BlobKey;
use futures_util::future::join_all;

use crate::minio::{Bucket, Minio};
use crate::redis_server::RedisServer;
use crate::support::files_below;

/// By default those that need no configuration. Clones are the same stores.
#[derive(Clone, Default)]
pub struct Stores {
    bucket: Option<Arc<Bucket>>,
    redis: Option<Arc<RedisServer>>,
    /// Another way to the Redis.
    url: Option<String>,
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
        Self::default().and_bucket(bucket)
    }

    /// Records in a fresh Redis, bytes in the data directory.
    pub async fn redis() -> Self {
        Self::in_redis(RedisServer::start().await)
    }

    /// Records in this Redis.
    pub fn in_redis(server: RedisServer) -> Self {
        Self { redis: Some(Arc::new(server)), ..Self::default() }
    }

    /// Records in a fresh Redis, bytes in a fresh bucket: the production form.
    pub async fn redis_and_minio() -> Self {
        Self { redis: Self::redis().await.redis, ..Self::minio().await }
    }

    /// Bytes in this bucket.
    pub fn and_bucket(self, bucket: Bucket) -> Self {
        Self { bucket: Some(Arc::new(bucket)), ..self }
    }

    /// The Redis is reached by this URL.
    pub fn by(self, url: String) -> Self {
        Self { url: Some(url), ..self }
    }

    /// The bucket, where there is one.
    pub fn bucket(&self) -> &Bucket {
        self.bucket.as_deref().expect("bytes in a bucket")
    }

    /// The Redis, where there is one.
    pub fn in_which_redis(&self) -> &RedisServer {
        self.redis.as_deref().expect("records in Redis")
    }

    /// The Redis, to be killed and started again.
    pub fn redis_alone(&mut self) -> &mut RedisServer {
        self.redis.as_mut().and_then(Arc::get_mut).expect("records in a Redis that nobody shares")
    }

    /// The Redis, unless the records are in `SQLite`.
    pub fn redis_if_any(&self) -> Option<&RedisServer> {
        self.redis.as_deref()
    }

    /// Rewrites the recorded core of a transfer, as somebody may who can write to the record store and has no KEK.
    pub fn tamper(&self, data: &Path, transfer: &str, with: impl FnOnce(String) -> String) {
        if let Some(redis) = &self.redis {
            let key = format!("bb:{{bb.0}}:t:{transfer}");
            let core = with(redis.ask(&["HGET", &key, "core"]));
            return assert_eq!(redis.ask::<u32>(&["HSET", &key, "core", &core]), 0);
        }
        let db = rusqlite::Connection::open(data.join("burnbag.db")).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        let id = hex::decode(transfer).unwrap();
        let core = db.query_row("SELECT core FROM transfers WHERE id = ?1", [&id], |row| row.get(0)).unwrap();
        let changed =
            db.execute("UPDATE transfers SET core = ?2 WHERE id = ?1", rusqlite::params![id, with(core)]);
        assert_eq!(changed.unwrap(), 1);
    }

    /// How much memory an upload to them holds.
    pub const fn part(&self) -> usize {
        (if self.bucket.is_some() { 5 } else { 1 }) << 20
    }

    /// What leads a server to them.
    pub fn settings(&self) -> Vec<(String, String)> {
        let url = self.url.clone().or_else(|| self.redis.as_ref().map(|redis| redis.url()));
        let redis = url.into_iter().map(|url| ("BURNBAG_REDIS_URL".to_owned(), url));
        self.bucket.iter().flat_map(|bucket| bucket.environment()).chain(redis).collect()
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

    /// The bytes of an object as it lies there, where the data directory is `data`.
    pub async fn object(&self, data: &Path, key: &str) -> Vec<u8> {
        let Some(bucket) = &self.bucket else {
            return std::fs::read(data.join("objects").join(key)).unwrap();
        };
        let get = bucket.client.get_object().bucket(&bucket.name).key(key).send().await.unwrap();
        get.body.collect().await.unwrap().to_vec()
    }

    /// Puts other bytes in its place.
    pub async fn put_object(&self, data: &Path, key: &str, bytes: &[u8]) {
        let Some(bucket) = &self.bucket else {
            return std::fs::write(data.join("objects").join(key), bytes).unwrap();
        };
        let put = bucket.client.put_object().bucket(&bucket.name).key(key).body(bytes.to_vec().into());
        put.send().await.unwrap();
    }

    /// Takes it away.
    pub async fn lose_object(&self, data: &Path, key: &str) {
        let Some(bucket) = &self.bucket else {
            return std::fs::remove_file(data.join("objects").join(key)).unwrap();
        };
        bucket.client.delete_object().bucket(&bucket.name).key(key).send().await.unwrap();
    }

    /// The uploads that were begun and not completed, of these keys: MinIO lists no others.
    pub async fn unfinished(&self, keys: &[BlobKey]) -> Vec<String> {
        let Some(bucket) = &self.bucket else { return Vec::new() };
        let uploads = join_all(keys.iter().map(async |key| bucket.uploads(&key.to_string()).await)).await;
        uploads.into_iter().flatten().collect()
    }

    /// The keys of objects that the records in Redis name.
    pub fn named_keys(&self) -> Vec<BlobKey> {
        let Some(redis) = &self.redis else { return Vec::new() };
        let records: Vec<String> = redis.ask(&["KEYS", "bb:{bb.*}:t:*"]);
        let fields = records.iter().flat_map(|key| redis.ask::<Vec<Vec<u8>>>(&["HVALS", key]));
        let words = fields.flat_map(|field| {
            String::from_utf8_lossy(&field).split('"').map(str::to_owned).collect::<Vec<_>>()
        });
        words.filter_map(|word| word.parse().ok()).collect()
    }

    /// The names and bytes of what lies in the bucket.
    pub async fn in_the_bucket(&self) -> Vec<(String, Vec<u8>)> {
        let Some(bucket) = &self.bucket else { return Vec::new() };
        let mut found = Vec::new();
        for object in bucket.objects().await {
            let bytes = self.object(Path::new(""), &object.key).await;
            found.push((object.key, bytes));
        }
        found
    }

    /// The files in which the records are.
    pub fn record_files(&self, data: &Path) -> Vec<PathBuf> {
        match &self.redis {
            Some(redis) => files_below(redis.dir()),
            None => ["burnbag.db", "burnbag.db-wal"].map(|name| data.join(name)).to_vec(),
        }
    }

    /// The files out of which a destroyed key must be gone soon. Redis keeps what was written until it rewrites its log
    /// (docs/SECURITY.md).
    pub fn forgetful_files(&self, data: &Path) -> Vec<PathBuf> {
        if self.redis.is_some() { Vec::new() } else { self.record_files(data) }
    }

    /// The bytes of every slot.
    pub fn slots(&self, data: &Path) -> Vec<Vec<u8>> {
        let Some(redis) = &self.redis else {
            let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
            let db = rusqlite::Connection::open_with_flags(data.join("burnbag.db"), flags).unwrap();
            let mut slots = db.prepare("SELECT slot FROM slots").unwrap();
            let slots = slots.query_map([], |row| row.get(0)).unwrap();
            return slots.collect::<Result<_, _>>().unwrap();
        };
        let keys: Vec<String> = redis.ask(&["KEYS", "bb:{bb.*}:keys:*"]);
        keys.iter().flat_map(|key| redis.ask::<Vec<Vec<u8>>>(&["HVALS", key])).collect()
    }
}
