//! What a limit says to a client: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::service::Standing;
use crate::transfer::rate::Rate;

pub(super) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Whole seconds, at least 1, that are enough.
pub(super) fn seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// Writes both fields.
pub(super) fn insert(headers: &mut HeaderMap, standing: &Standing) {
    let Standing { limit, rate, left, reset, .. } = standing;
    write(headers, limit, *rate, *left, *reset);
}

/// Both fields of one limit: `"token";q=400;w=4` and `"token";r=12;t=1`.
pub(super) fn write(headers: &mut HeaderMap, limit: &str, rate: Rate, left: u32, reset: Duration) {
    let mut put = |name: HeaderName, keys: [&str; 2], values: [u64; 2]| {
        let mut text = String::with_capacity(32);
        let written = write!(text, "\"{limit}\";{}={};{}={}", keys[0], values[0], keys[1], values[1]);
        if let (Ok(()), Ok(value)) = (written, HeaderValue::try_from(text)) {
            headers.insert(name, value);
        }
    };
    put(POLICY, ["q", "w"], [rate.burst.into(), seconds(rate.window())]);
    put(LIMIT, ["r", "t"], [left.into(), seconds(reset)]);
}
