//! The id that joins bucket and records: an object of its own (DESIGN §7).

use aws_sdk_s3::primitives::ByteStream;

use super::{BlobError, Shared};

pub(super) const KEY: &str = "burnbag-store-id";
/// What is longer is no id of ours.
const LONGEST: i64 = 256;

pub(super) async fn get(shared: &Shared) -> Result<Option<String>, BlobError> {
    let get = shared.quick.get_object().bucket(&shared.bucket).key(KEY).send().await;
    let object = match get.map_err(|error| shared.place.failed("GetObject", &error)) {
        Ok(object) => object,
        Err(BlobError::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    if object.content_length.is_none_or(|length| length > LONGEST) {
        return Err(BlobError::Unavailable(format!("the object {KEY} in the bucket is no store id")));
    }
    let body = tokio::time::timeout(shared.limits.stalled, object.body.collect()).await;
    let Ok(Ok(bytes)) = body else {
        return Err(BlobError::Unavailable(format!("the object {KEY} was not read to its end")));
    };
    let text = String::from_utf8_lossy(&bytes.into_bytes()).trim().to_owned();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

pub(super) async fn set(shared: &Shared, id: &str) -> Result<(), BlobError> {
    // Not every server knows the condition below.
    if get(shared).await?.is_some_and(|there| there != id) {
        return Err(another());
    }
    let put = shared.quick.put_object().bucket(&shared.bucket).key(KEY).if_none_match("*");
    let put = put.body(ByteStream::from(id.as_bytes().to_vec())).send().await;
    // Somebody else's may have been first, also the attempt before whose answer was lost.
    match put {
        Ok(_) => {}
        Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 412) => {}
        Err(error) => return Err(shared.place.failed("PutObject", &error)),
    }
    match get(shared).await? {
        Some(there) if there == id => Ok(()),
        _ => Err(another()),
    }
}

fn another() -> BlobError {
    BlobError::Unavailable("it has another store id already".to_owned())
}

pub(super) async fn replace(shared: &Shared, id: &str) -> Result<(), BlobError> {
    let put = shared.quick.put_object().bucket(&shared.bucket).key(KEY);
    let put = put.body(ByteStream::from(id.as_bytes().to_vec())).send().await;
    put.map(drop).map_err(|error| shared.place.failed("PutObject", &error))
}
