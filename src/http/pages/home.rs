//! The front page of who is not logged in, and its plain text for tools.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

#[derive(Template)]
#[template(path = "home.html")]
struct Home<'a> {
    url: &'a str,
}

#[derive(Template)]
#[template(path = "usage.txt")]
struct Usage<'a> {
    url: &'a str,
}

/// The front page for browsers, of who is not logged in. `public_url` with or without a slash at its end.
#[must_use]
pub fn home(public_url: &str) -> Response {
    super::page(StatusCode::OK, &Home { url: public_url.trim_end_matches('/') })
}

/// How to use burnbag from a terminal: plain text with a newline at its end, for tools that ask for `/`.
#[must_use]
pub fn usage(public_url: &str) -> String {
    let mut text = Usage { url: public_url.trim_end_matches('/') }.render().unwrap_or_default();
    text.push('\n');
    text
}
