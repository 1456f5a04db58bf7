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
use super::fields;
use crate::transfer::rate::Rate;

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
pub(super) fn layer(rate: Option<Rate>) -> tower::util::Either<Limit, tower::layer::util::Identity> {
    option_layer(rate.and_then(limit))
}

fn limit(rate: Rate) -> Option<Limit> {
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
    Some(GovernorLayer::new(config).error_handler(move |error| refuse(&error, rate)))
}

fn refuse(error: &GovernorError, rate: Rate) -> Response {
    match error {
        GovernorError::TooManyRequests { wait_time, .. } => {
            // Whole seconds, rounded down.
            let wait = Duration::from_secs(wait_time + 1);
            let mut response = Problem::new("rate_limited").retry_after(wait).into_response();
            fields::write(response.headers_mut(), "address", rate, 0, wait);
            response
        }
        GovernorError::UnableToExtractKey | GovernorError::Other { .. } => {
            Problem::new("internal").into_response()
        }
    }
}
