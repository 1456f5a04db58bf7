//! Which blob store runs: a bucket where one is configured, else the data directory.

use std::sync::Arc;

use super::StartError;
use crate::clock::Clock;
use crate::config::{Bucket, Config};
use crate::storage::BlobStore;
use crate::storage::blob::local::LocalBlobs;
use crate::storage::blob::s3::{S3Blobs, S3Limits, S3Settings};

/// Opens the blob store; `alone` in a data directory, what was left unfinished there goes.
pub(super) async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    alone: bool,
) -> Result<Arc<dyn BlobStore>, StartError> {
    if let Some(bucket) = &config.bucket {
        let blobs = S3Blobs::new(&settings(bucket));
        for unseen in blobs.check().await.map_err(StartError::Bucket)? {
            tracing::warn!(bucket = bucket.name, "{unseen}");
        }
        return Ok(Arc::new(blobs));
    }
    let clock = Arc::clone(clock);
    let opened = if alone {
        LocalBlobs::open(&config.data_dir, clock)
    } else {
        LocalBlobs::beside(&config.data_dir, clock)
    };
    let failed = |error| StartError::Blobs { path: config.data_dir.display().to_string(), error };
    Ok(Arc::new(opened.map_err(failed)?))
}

fn settings(bucket: &Bucket) -> S3Settings {
    let Bucket { name, endpoint, region, access_key, secret_key, parts_per_object } = bucket.clone();
    let limits = S3Limits { parts: parts_per_object, ..S3Limits::default() };
    S3Settings { bucket: name, endpoint, region, access_key, secret_key, limits }
}
