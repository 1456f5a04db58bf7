//! What S3 says, as words that say what to do.

use std::error::Error;
use std::io;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::{BlobError, S3Settings};

/// Where the bucket is, for messages.
pub(super) struct Place {
    endpoint: String,
    bucket: String,
}

impl Place {
    pub(super) fn new(settings: &S3Settings) -> Self {
        let amazon = || format!("Amazon S3 in {}", settings.region);
        Self { endpoint: settings.endpoint.clone().unwrap_or_else(amazon), bucket: settings.bucket.clone() }
    }

    /// A failed call, by the action that a policy would have to allow.
    pub(super) fn failed<E>(&self, action: &str, error: &SdkError<E, HttpResponse>) -> BlobError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(_) | SdkError::ResponseError(_) => self.refused(action, error),
            SdkError::TimeoutError(_) => self.silent(action),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => self.silent(action),
            error => self.unreachable(action, error),
        }
    }

    fn silent(&self, action: &str) -> BlobError {
        BlobError::Unavailable(format!("{} did not answer {action} in time", self.endpoint))
    }

    fn unreachable(&self, action: &str, error: &(dyn Error + 'static)) -> BlobError {
        let Self { endpoint, .. } = self;
        let causes = std::iter::successors(Some(error), |&error| error.source());
        let refused = causes
            .clone()
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if refused {
            return BlobError::Unavailable(format!(
                "{endpoint} refuses connections: start the S3 server, or correct BURNBAG_S3_ENDPOINT"
            ));
        }
        let cause = causes.last().map(ToString::to_string).unwrap_or_default();
        BlobError::Unavailable(format!(
            "{action} did not reach {endpoint}: {cause}; check BURNBAG_S3_ENDPOINT"
        ))
    }

    fn refused<E>(&self, action: &str, error: &SdkError<E, HttpResponse>) -> BlobError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map_or(0, |answer| answer.status().as_u16());
        // The answer to a HEAD has no body, and the SDK makes of it what it can; MinIO says it in a header.
        let in_header = error.raw_response().and_then(|answer| answer.headers().get("x-minio-error-code"));
        let code = in_header.or_else(|| error.code()).unwrap_or_default();
        if is_absent(status, code) {
            return BlobError::NotFound;
        }
        if matches!(code, "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "QuotaExceeded")
            || status == 507
        {
            return BlobError::Full(format!("{} has no room: {code}", self.endpoint));
        }
        BlobError::Unavailable(self.advice(action, status, code, error.message()))
    }

    fn advice(&self, action: &str, status: u16, code: &str, said: Option<&str>) -> String {
        let Self { endpoint, bucket } = self;
        match code {
            "NoSuchBucket" => {
                format!("there is no bucket {bucket} at {endpoint}: make it, or correct BURNBAG_S3_BUCKET")
            }
            "InvalidAccessKeyId" => {
                format!("{endpoint} does not know the access key: correct BURNBAG_S3_ACCESS_KEY")
            }
            "SignatureDoesNotMatch" => {
                format!(
                    "the secret key is not the access key's: correct BURNBAG_S3_SECRET_KEY for {endpoint}"
                )
            }
            "RequestTimeTooSkewed" => {
                format!("the clocks of this machine and of {endpoint} differ too much: set them right")
            }
            "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
                format!("the bucket {bucket} is in another region: correct BURNBAG_S3_REGION")
            }
            "AccessDenied" | "AllAccessDisabled" => self.denied(action),
            "" if status == 403 => self.denied(action),
            "" => format!("{endpoint} answered {action} with {status}"),
            code => {
                format!("{endpoint} answered {action} with {code}: {}", said.unwrap_or("it does not say why"))
            }
        }
    }

    fn denied(&self, action: &str) -> String {
        let Self { endpoint, bucket } = self;
        format!(
            "{endpoint} does not allow s3:{action} in the bucket {bucket}: allow it to the access key's user"
        )
    }

    /// The policy lets anybody in.
    pub(super) fn public(&self, how: &str) -> BlobError {
        let Self { endpoint, bucket } = self;
        BlobError::Unavailable(format!(
            "anybody may use the bucket {bucket} at {endpoint} ({how}): take its policy back, with MinIO by \
             `mc anonymous set none <alias>/{bucket}`"
        ))
    }
}

/// The object or upload is not there. A missing bucket says nothing of objects.
fn is_absent(status: u16, code: &str) -> bool {
    matches!(code, "NoSuchKey" | "NoSuchVersion" | "NoSuchUpload" | "NotFound")
        || (status == 404 && code.is_empty())
}

/// Whether the server cannot do this at all.
pub(super) fn is_unsupported<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    status == Some(501) || matches!(error.code(), Some("NotImplemented" | "MethodNotAllowed"))
}

/// The same for another object.
pub(super) fn again(error: &BlobError) -> BlobError {
    match error {
        BlobError::NotFound => BlobError::NotFound,
        BlobError::Full(why) => BlobError::Full(why.clone()),
        BlobError::Unavailable(why) => BlobError::Unavailable(why.clone()),
    }
}
