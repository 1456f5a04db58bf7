//! The pages for browsers, and the few plain texts beside them (DESIGN §10 "Pages").
//!
//! No page has a script or a style of its own inside: the policy in [`CSP`] would drop it.

mod assets;
mod home;
mod index;
mod login;
mod problem;
mod receive;
mod send;
mod transfer;

use askama::Template;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

pub use assets::{asset, robots};
pub use home::{home, usage};
pub use index::{Index, IndexFile, IndexTransfer, folder, index};
pub use login::{login, login_again};
pub use problem::{problem, problem_doc, problem_for};
pub use receive::{pasted_secret, receive};
pub use send::send;
pub use transfer::{sent, transfer};

use crate::service::Caller;

/// Who is logged in, as the header of a page says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Who {
    /// The name of the account.
    pub account: String,
    /// By a session, which can be ended; otherwise by a token that the browser sends itself.
    pub session: bool,
}

impl From<&Caller> for Who {
    fn from(caller: &Caller) -> Self {
        Self { account: caller.account.name.clone(), session: caller.token.is_session() }
    }
}

/// The content security policy of every page.
pub const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                       form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");

/// Sets the headers that every page has; `no-store` among them.
pub fn page_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, CSP),
        (CACHE_CONTROL, "no-store"),
        // `no-referrer` would make the Origin of a form `null`.
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (ROBOTS_TAG, "noindex"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// An HTML page with its headers.
fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => answer(status, "text/html; charset=utf-8", html),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "page not rendered");
            let text = "burnbag: something went wrong, try again later (internal)\n";
            answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", text)
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: impl IntoResponse) -> Response {
    let mut response = (status, body).into_response();
    page_headers(response.headers_mut());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];

/// A number of bytes for people: decimal units, one digit after the point below ten. `web/words.js` does the same.
fn size_words(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} {}", if bytes == 1 { "byte" } else { "bytes" });
    }
    let (mut unit, mut scale) = (0, 1000_u64);
    while unit + 1 < UNITS.len() && bytes >= scale * 1000 - scale / 2 {
        (unit, scale) = (unit + 1, scale * 1000);
    }
    let tenths = bytes.saturating_add(scale / 20) / (scale / 10);
    let name = UNITS.get(unit).unwrap_or(&"EB");
    if tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", bytes.saturating_add(scale / 2) / scale)
    }
}

/// An RFC 3339 instant in UTC for people, to the minute. Anything else stays as it is.
fn deadline_words(deadline: &str) -> String {
    match (deadline.get(..10), deadline.get(10..11), deadline.get(11..16)) {
        (Some(day), Some("T"), Some(time)) if deadline.ends_with('Z') => format!("{day} {time} UTC"),
        _ => deadline.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_words() {
        for (bytes, words) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (1_073_741_824, "1.1 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(size_words(bytes), words);
        }
    }

    #[test]
    fn a_deadline_is_said_to_the_minute() {
        assert_eq!(deadline_words("2030-01-31T18:00:00.000Z"), "2030-01-31 18:00 UTC");
        assert_eq!(deadline_words("soon"), "soon");
    }
}
