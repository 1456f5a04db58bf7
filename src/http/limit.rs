//! Requests an address: `tower-governor` at the edge (DESIGN §11).

use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use governor::middleware::NoOpMiddleware;
use tower::util::option_layer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};

use super::error::Problem;
use super::extract::Origin;

/// Requests an address may make: so many a second over time, and so many at once.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    /// In a second, over time; at least 1.
    pub per_second: u32,
    /// At once; at least 1.
    pub burst: u32,
}

/// Addresses that were quiet are forgotten so often.
const FORGET_EVERY: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
pub(super) struct ByAddress;

impl KeyExtractor for ByAddress {
    type Key = String;

    fn extract<T>(&self, request: &Request<T>) -> Result<String, GovernorError> {
        let origin = request.extensions().get::<Origin>().ok_or(GovernorError::UnableToExtractKey)?;
        Ok(origin.client.group())
    }
}

type Limit = GovernorLayer<ByAddress, NoOpMiddleware, axum::body::Body>;

/// The layer; none lets everything through.
pub(super) fn layer(rate: Option<RateLimit>) -> tower::util::Either<Limit, tower::layer::util::Identity> {
    option_layer(rate.and_then(limit))
}

fn limit(rate: RateLimit) -> Option<Limit> {
    let config = GovernorConfigBuilder::default()
        .key_extractor(ByAddress)
        .period(Duration::from_secs(1) / rate.per_second.max(1))
        .burst_size(rate.burst.max(1))
        .finish()?;
    let config = Arc::new(config);
    let limiter = Arc::downgrade(config.limiter());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            let Some(limiter) = limiter.upgrade() else { return };
            limiter.retain_recent();
        }
    });
    Some(GovernorLayer::new(config).error_handler(refuse))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer asks for")]
fn refuse(error: GovernorError) -> Response {
    match error {
        GovernorError::TooManyRequests { wait_time, .. } => {
            Problem::new("rate_limited").retry_after(Duration::from_secs(wait_time)).into_response()
        }
        GovernorError::UnableToExtractKey | GovernorError::Other { .. } => {
            Problem::new("internal").into_response()
        }
    }
}
