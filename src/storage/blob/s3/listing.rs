//! What is in the bucket.

use aws_sdk_s3::primitives::DateTime;

use super::{BlobError, Listed, Shared};
use crate::clock::Timestamp;
use crate::transfer::BlobKey;

/// Where objects lie.
pub(super) const OBJECTS: &str = "o/";
/// S3 lists no more at once.
pub(super) const PAGE: i32 = 1000;

pub(super) async fn size(shared: &Shared, key: &BlobKey) -> Result<Option<u64>, BlobError> {
    let head = shared.quick.head_object().bucket(&shared.bucket).key(key.to_string()).send().await;
    match head.map_err(|error| shared.place.failed("GetObject", &error)) {
        Ok(head) => Ok(Some(head.content_length.and_then(|length| length.try_into().ok()).unwrap_or(0))),
        Err(BlobError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn list(
    shared: &Shared,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Listed>, BlobError> {
    let mut found: Vec<Listed> = Vec::new();
    let mut after = after.map(str::to_owned);
    while found.len() < limit {
        let most = page(limit - found.len());
        let (page, more) = if shared.is_versioned() {
            versions(shared, after, most).await?
        } else {
            objects(shared, after, most).await?
        };
        // The versions of one object may lie on two pages.
        for object in page {
            match found.last_mut().filter(|last| last.key == object.key) {
                Some(last) => last.modified = last.modified.max(object.modified),
                None => found.push(object),
            }
        }
        after = found.last().map(|last| last.key.clone());
        if !more || after.is_none() {
            break;
        }
    }
    Ok(found)
}

async fn objects(
    shared: &Shared,
    after: Option<String>,
    most: i32,
) -> Result<(Vec<Listed>, bool), BlobError> {
    let list = shared.quick.list_objects_v2().bucket(&shared.bucket).prefix(OBJECTS).max_keys(most);
    let page = list
        .set_start_after(after)
        .send()
        .await
        .map_err(|error| shared.place.failed("ListBucket", &error))?;
    let listed = page.contents.unwrap_or_default().into_iter();
    let listed = listed.filter_map(|object| Some(listed_as(object.key?, object.last_modified)));
    Ok((listed.collect(), page.is_truncated.unwrap_or(false)))
}

/// Every key that has a version or a delete marker, with the time of the latest.
async fn versions(
    shared: &Shared,
    after: Option<String>,
    most: i32,
) -> Result<(Vec<Listed>, bool), BlobError> {
    let list = shared.quick.list_object_versions().bucket(&shared.bucket).prefix(OBJECTS).max_keys(most);
    let page = list
        .set_key_marker(after)
        .send()
        .await
        .map_err(|error| shared.place.failed("ListBucketVersions", &error))?;
    let versions = page.versions.unwrap_or_default().into_iter();
    let versions = versions.filter_map(|version| Some(listed_as(version.key?, version.last_modified)));
    let markers = page.delete_markers.unwrap_or_default().into_iter();
    let markers = markers.filter_map(|marker| Some(listed_as(marker.key?, marker.last_modified)));
    let mut listed: Vec<Listed> = versions.chain(markers).collect();
    listed.sort_by(|one, other| one.key.cmp(&other.key));
    Ok((listed, page.is_truncated.unwrap_or(false)))
}

/// So many, as S3 takes it.
pub(super) fn page(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(PAGE).clamp(1, PAGE)
}

/// What has no date is never old enough to be swept.
pub(super) fn listed_as(key: String, modified: Option<DateTime>) -> Listed {
    let millis = modified.and_then(|time| time.to_millis().ok()).and_then(|millis| millis.try_into().ok());
    Listed { key, modified: Timestamp::from_millis(millis.unwrap_or(u64::MAX)) }
}
