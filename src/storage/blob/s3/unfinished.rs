//! Multipart uploads that were begun and not completed.

use super::error::is_unsupported;
use super::listing::{OBJECTS, PAGE, listed_as};
use super::{BlobError, Listed, Shared};
use crate::transfer::BlobKey;

/// An upload as the server lists it: key, name, and when it was begun.
type Found = (String, String, Option<aws_sdk_s3::primitives::DateTime>);

pub(super) async fn abort(shared: &Shared, key: &BlobKey, upload: Option<&str>) -> Result<(), BlobError> {
    let key = key.to_string();
    if let Some(upload) = upload {
        abort_one(shared, &key, upload).await?;
    }
    // One whose beginning was not answered is in no journal.
    abort_all(shared, &key, None).await
}

/// All of the key but this one.
pub(super) async fn abort_others(shared: &Shared, key: &BlobKey, upload: &str) -> Result<(), BlobError> {
    abort_all(shared, &key.to_string(), Some(upload)).await
}

/// MinIO lists uploads only where the prefix is the whole key.
async fn abort_all(shared: &Shared, key: &str, except: Option<&str>) -> Result<(), BlobError> {
    for (of, upload, _) in uploads(shared, key, usize::MAX).await? {
        if of == key && except != Some(upload.as_str()) {
            abort_one(shared, key, &upload).await?;
        }
    }
    Ok(())
}

pub(super) async fn abort_one(shared: &Shared, key: &str, upload: &str) -> Result<(), BlobError> {
    let abort = shared.quick.abort_multipart_upload().bucket(&shared.bucket).key(key).upload_id(upload);
    match abort.send().await.map_err(|error| shared.place.failed("AbortMultipartUpload", &error)) {
        Ok(_) | Err(BlobError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Those that the server lists without being told a key, as Amazon's does and MinIO does not.
pub(super) async fn list(shared: &Shared, limit: usize) -> Result<Vec<Listed>, BlobError> {
    let found = uploads(shared, OBJECTS, limit).await?;
    Ok(found.into_iter().map(|(key, _, begun)| listed_as(key, begun)).collect())
}

async fn uploads(shared: &Shared, prefix: &str, limit: usize) -> Result<Vec<Found>, BlobError> {
    let mut found: Vec<Found> = Vec::new();
    let (mut key, mut upload) = (None, None);
    while found.len() < limit {
        let list = shared.quick.list_multipart_uploads().bucket(&shared.bucket).prefix(prefix);
        let list = list.max_uploads(PAGE).set_key_marker(key).set_upload_id_marker(upload);
        let page = match list.send().await {
            Ok(page) => page,
            Err(error) if is_unsupported(&error) => break,
            Err(error) => return Err(shared.place.failed("ListBucketMultipartUploads", &error)),
        };
        let uploads = page.uploads.unwrap_or_default().into_iter();
        found.extend(uploads.filter_map(|upload| Some((upload.key?, upload.upload_id?, upload.initiated))));
        (key, upload) = (page.next_key_marker, page.next_upload_id_marker);
        if !page.is_truncated.unwrap_or(false) || key.is_none() {
            break;
        }
    }
    Ok(found)
}
