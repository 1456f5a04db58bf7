//! Deleting, until it is confirmed: an answer for each key, and where the bucket keeps versions, none of them left.

use std::collections::{HashMap, HashSet};

use aws_sdk_s3::types::{BucketVersioningStatus, Delete, ObjectIdentifier};
use futures_util::future::join_all;

use super::error::again;
use super::{BlobError, Shared};
use crate::transfer::BlobKey;

/// S3 takes no more in one call.
const BATCH: usize = 1000;
/// Keys whose versions are listed at once.
const LISTERS: usize = 16;
/// A key whose versions keep coming back is given up for now.
const ROUNDS: usize = 5;

pub(super) async fn delete(shared: &Shared, keys: &[BlobKey]) -> Vec<Result<(), BlobError>> {
    let texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let mut answers = Vec::with_capacity(keys.len());
    for batch in texts.chunks(BATCH) {
        // A bucket that keeps versions gives itself away by its answer, also if nobody may ask how it is set.
        let first = if shared.is_versioned() { None } else { Some(objects(shared, batch).await) };
        match first {
            Some(deleted) if !shared.is_versioned() => answers.extend(deleted),
            _ => answers.extend(all_versions(shared, batch).await),
        }
    }
    answers
}

async fn objects(shared: &Shared, keys: &[String]) -> Vec<Result<(), BlobError>> {
    let wanted = keys.iter().map(|key| (key.clone(), None)).collect();
    let mut done = call(shared, wanted).await;
    let answer = |key: &String| match &mut done {
        Ok(done) => done.remove(&(key.clone(), None)).unwrap_or(Ok(())),
        Err(error) => Err(again(error)),
    };
    keys.iter().map(answer).collect()
}

/// What was asked to go: a key, and one version of it.
type Version = (String, Option<String>);

/// The answers that are no confirmation; one that is missing is none either.
async fn call(
    shared: &Shared,
    wanted: HashSet<Version>,
) -> Result<HashMap<Version, Result<(), BlobError>>, BlobError> {
    let identify = |(key, version): &Version| {
        ObjectIdentifier::builder().key(key).set_version_id(version.clone()).build()
    };
    let defect = |error: aws_sdk_s3::error::BuildError| BlobError::Unavailable(error.to_string());
    let objects = wanted.iter().map(identify).collect::<Result<Vec<_>, _>>().map_err(defect)?;
    let delete = Delete::builder().set_objects(Some(objects)).quiet(false).build().map_err(defect)?;
    let send = shared.quick.delete_objects().bucket(&shared.bucket).delete(delete).send();
    let answer = send.await.map_err(|error| shared.place.failed("DeleteObject", &error))?;
    let silence = || Err(BlobError::Unavailable("the S3 server did not confirm a deletion".to_owned()));
    let mut left: HashMap<_, _> = wanted.into_iter().map(|version| (version, silence())).collect();
    for deleted in answer.deleted.unwrap_or_default() {
        if deleted.delete_marker == Some(true) && deleted.version_id.is_none() {
            shared.set_versioned(Some(&BucketVersioningStatus::Enabled));
        }
        if let Some(key) = deleted.key {
            left.remove(&(key, deleted.version_id));
        }
    }
    for error in answer.errors.unwrap_or_default() {
        let Some(key) = error.key else { continue };
        let version = (key, error.version_id.filter(|version| !version.is_empty()));
        let code = error.code.unwrap_or_default();
        if matches!(code.as_str(), "NoSuchKey" | "NoSuchVersion") {
            left.remove(&version);
        } else {
            let why = format!("{code}: {}", error.message.unwrap_or_default());
            left.insert(version, Err(BlobError::Unavailable(format!("an object was not deleted: {why}"))));
        }
    }
    Ok(left)
}

async fn all_versions(shared: &Shared, keys: &[String]) -> Vec<Result<(), BlobError>> {
    let mut answers = Vec::with_capacity(keys.len());
    for keys in keys.chunks(LISTERS) {
        answers.extend(join_all(keys.iter().map(|key| versions_of(shared, key))).await);
    }
    answers
}

/// Deletes the versions and markers of exactly this key until none is listed.
async fn versions_of(shared: &Shared, key: &str) -> Result<(), BlobError> {
    for _ in 0..ROUNDS {
        let list = shared.quick.list_object_versions().bucket(&shared.bucket).prefix(key).send();
        let page = list.await.map_err(|error| shared.place.failed("ListBucketVersions", &error))?;
        let versions = page.versions.unwrap_or_default().into_iter();
        let markers = page.delete_markers.unwrap_or_default().into_iter();
        let found: HashSet<Version> = versions
            .map(|version| (version.key, version.version_id))
            .chain(markers.map(|marker| (marker.key, marker.version_id)))
            .filter_map(|(found, version)| Some((found.filter(|found| found == key)?, version)))
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        if let Some((_, refused)) = call(shared, found).await?.into_iter().next() {
            refused?;
        }
    }
    Err(BlobError::Unavailable("versions of an object keep coming back".to_owned()))
}
