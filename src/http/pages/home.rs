//! The front page, its plain text for tools, and the page after an upload.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::index::{IndexFile, Row};

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

#[derive(Template)]
#[template(path = "sent.html")]
struct Sent<'a> {
    link: &'a str,
    deadline: &'a str,
    deadline_words: String,
    files: Vec<Row>,
}

/// The front page for browsers. `public_url` with or without a slash at its end.
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

/// The page after an upload from a form: 201, with the whole link in it.
///
/// `deadline`: RFC 3339 in UTC.
#[must_use]
pub fn sent(link: &str, deadline: &str, files: &[IndexFile]) -> Response {
    let files = files.iter().map(|file| Row::new(file, &file.name)).collect();
    super::page(
        StatusCode::CREATED,
        &Sent { link, deadline, deadline_words: super::deadline_words(deadline), files },
    )
}
