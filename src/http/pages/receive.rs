//! The page of a link: what opens when someone clicks it.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

#[derive(Template)]
#[template(path = "receive.html")]
struct Receive;

/// The page at `/d/{link}`: the same bytes for every id, known or not.
///
/// With a script it posts `{"secret": …}` as JSON to `ticket` below its own path and shows the [`Index`] of the answer.
/// Without one its form posts the field `secret` to its own address, since it cannot spell an id that it must not
/// contain: see [`pasted_secret`].
///
/// [`Index`]: super::Index
#[must_use]
pub fn receive() -> Response {
    super::page(StatusCode::OK, &Receive)
}

/// The link secret in what was pasted into the form: the part after the last `#` of a link, or all of it.
#[must_use]
pub fn pasted_secret(text: &str) -> &str {
    text.rsplit('#').next().unwrap_or(text).trim()
}
