//! The SDK, told to wait, to try again and to sign as it should (ADR 15).

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Config, Credentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, StalledStreamProtectionConfig,
};

use super::S3Settings;

/// Before the second attempt at the most; doubled each time, and the half of it on average.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// For calls that move few bytes, for parts, and for nobody.
pub(super) fn clients(settings: &S3Settings) -> [Client; 3] {
    let limits = &settings.limits;
    let quick = limited(limits.connect, limits.quick_attempt, limits.quick);
    let bulk = limited(limits.connect, limits.part_attempt, limits.part);
    let [anonymous, signed] = [(); 2].map(|()| builder(settings).timeout_config(quick.clone()));
    let signed = signed.credentials_provider(Credentials::new(
        &settings.access_key,
        settings.secret_key.as_str(),
        None,
        None,
        "burnbag",
    ));
    let signed = signed.build();
    let bulk = signed.to_builder().timeout_config(bulk).build();
    [signed, bulk, anonymous.allow_no_auth().build()].map(Client::from_conf)
}

/// Time limits for one call, in place of the client's.
pub(super) fn within(connect: Duration, time: Duration) -> Builder {
    Config::builder().timeout_config(limited(connect, time, time))
}

fn limited(connect: Duration, attempt: Duration, whole: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(connect)
        .operation_attempt_timeout(attempt)
        .operation_timeout(whole)
        .build()
}

fn builder(settings: &S3Settings) -> Builder {
    let retries = RetryConfig::standard()
        .with_max_attempts(settings.limits.attempts)
        .with_initial_backoff(FIRST_WAIT)
        .with_max_backoff(LONGEST_WAIT);
    // By default all calls share a budget of retries, and with many uploads at once a server that is away for a few
    // seconds uses it up: the later ones would fail at their first error.
    let partition = RetryPartition::custom("burnbag").token_bucket(TokenBucket::unlimited()).build();
    let builder = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .force_path_style(true)
        .disable_s3_express_session_auth(true)
        // The bytes prove themselves when they are opened; a checksum of each part would cost as much as its encryption.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // It measures bytes a second and knows nothing of a slow receiver. Attempts and reads have limits of their own.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(retries)
        .retry_partition(partition);
    match &settings.endpoint {
        Some(endpoint) => builder.endpoint_url(endpoint),
        None => builder,
    }
}
