//! Objects on their way to the bucket. A retried part sends the same bytes from the same memory.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::{BlobError, BlobUpload, PART_SIZE, Part, Shared, client, unfinished};
use crate::storage::blob::sequence::Sequence;
use crate::transfer::BlobKey;

/// A smaller object is through within the time of a quick call.
const SMALL: usize = 1 << 20;

/// MinIO answers `AccessDenied` to a write whose directory a deletion beside it has just taken away. Once more, it makes the
/// directory anew; somebody who is really denied learns it a third of a second later. In milliseconds.
const DENIED: [u64; 4] = [20, 40, 80, 160];

async fn unless_denied<T, E, R, F>(call: impl Fn() -> F) -> Result<T, SdkError<E, R>>
where
    SdkError<E, R>: aws_sdk_s3::error::ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E, R>>>,
{
    for wait in DENIED {
        match call().await {
            Err(error) if error.code() == Some("AccessDenied") => {
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            done => return done,
        }
    }
    call().await
}

/// A part that the SDK reads while it still belongs to us.
struct Lent(Arc<Part>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn lend(part: &Arc<Part>) -> ByteStream {
    ByteStream::from(Bytes::from_owner(Lent(Arc::clone(part))))
}

/// The part, or where the SDK still holds on to it, as a connection that is being closed does, memory of the same size.
fn take_back(part: Arc<Part>) -> Part {
    Arc::try_unwrap(part).unwrap_or_else(|held| Part::with_capacity(held.capacity()))
}

pub(super) async fn put(shared: &Shared, key: &BlobKey, part: Part) -> Result<Part, BlobError> {
    let client = if part.len() < SMALL { &shared.quick } else { &shared.bulk };
    let part = Arc::new(part);
    let put = || {
        let put = client.put_object().bucket(&shared.bucket).key(key.to_string()).body(lend(&part));
        put.customize().disable_payload_signing().send()
    };
    unless_denied(put).await.map_err(|error| shared.place.failed("PutObject", &error))?;
    Ok(take_back(part))
}

/// How often a call was sent.
#[derive(Clone, Default, Debug)]
struct Attempts(Arc<AtomicU32>);

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "attempts"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A multipart upload.
pub(super) struct S3Upload {
    shared: Arc<Shared>,
    key: BlobKey,
    id: String,
    /// It was begun more than once: the server may have begun others, whose names were never told.
    repeated: bool,
    sequence: Sequence,
    /// Those that are there, in the order in which they came.
    parts: Mutex<Vec<CompletedPart>>,
}

impl S3Upload {
    pub(super) async fn create(shared: Arc<Shared>, key: &BlobKey) -> Result<Self, BlobError> {
        let create = shared.quick.create_multipart_upload().bucket(&shared.bucket).key(key.to_string());
        let attempts = Attempts::default();
        let create = create.customize().interceptor(attempts.clone());
        let created = create.send().await.map_err(|error| shared.place.failed("PutObject", &error))?;
        let id = created.upload_id.filter(|id| !id.is_empty()).ok_or_else(|| {
            BlobError::Unavailable("the S3 server began an upload without a name".to_owned())
        })?;
        let repeated = attempts.0.load(Ordering::Relaxed) > 1;
        let (sequence, parts) = (Sequence::of(PART_SIZE), Mutex::default());
        Ok(Self { shared, key: key.clone(), id, repeated, sequence, parts })
    }
}

#[async_trait]
impl BlobUpload for S3Upload {
    fn id(&self) -> &str {
        &self.id
    }

    async fn part(&self, number: u32, part: Part) -> Result<Part, BlobError> {
        self.sequence.begin(number, part.len())?;
        let (place, part) = (i32::try_from(number).unwrap_or(i32::MAX), Arc::new(part));
        let call = self.shared.bulk.upload_part().bucket(&self.shared.bucket).key(self.key.to_string());
        let sent = call
            .upload_id(&self.id)
            .part_number(place)
            .body(lend(&part))
            .customize()
            .disable_payload_signing()
            .send()
            .await
            .map_err(|error| gone(self.shared.place.failed("PutObject", &error)))?;
        let sent = CompletedPart::builder().part_number(place).set_e_tag(sent.e_tag).build();
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        self.sequence.end(number);
        Ok(take_back(part))
    }

    async fn complete(self: Arc<Self>) -> Result<(), BlobError> {
        self.sequence.is_whole()?;
        let mut parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner));
        parts.sort_by_key(CompletedPart::part_number);
        let Self { shared, key, id, .. } = &*self;
        if self.repeated {
            // While the record is in Uploading: if this ends half-way, they go with the rest.
            unfinished::abort_others(shared, key, id).await?;
        }
        let time = shared.limits.complete_of(parts.len());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = || {
            let limits = client::within(shared.limits.connect, time);
            let complete =
                shared.quick.complete_multipart_upload().bucket(&shared.bucket).key(key.to_string());
            let complete = complete.upload_id(id).multipart_upload(parts.clone());
            complete.customize().config_override(limits).send()
        };
        unless_denied(complete).await.map_err(|error| gone(shared.place.failed("PutObject", &error)))?;
        Ok(())
    }

    async fn abort(self: Arc<Self>) -> Result<(), BlobError> {
        unfinished::abort_one(&self.shared, &self.key.to_string(), &self.id).await
    }
}

/// An upload that is not there any more was aborted, or completed by an attempt whose answer was lost.
fn gone(error: BlobError) -> BlobError {
    match error {
        BlobError::NotFound => BlobError::Unavailable("the upload is not there any more".to_owned()),
        error => error,
    }
}
