//! What a request's head says of who asks and what form of answer they can read.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use percent_encoding::percent_decode_str;

use crate::transfer::LinkId;

/// The form of answer that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    /// A script's.
    Json,
    /// A browser's.
    Html,
    /// `*/*`, as tools send it.
    Any,
}

/// By the `Accept` header: HTML before JSON, since only a browser names it.
#[must_use]
pub fn wants(headers: &HeaderMap) -> Wants {
    let names = |word: &str| {
        headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains(word))
    };
    if names("text/html") {
        Wants::Html
    } else if names("json") {
        Wants::Json
    } else {
        Wants::Any
    }
}

/// No browser, and no script that wants JSON: curl, wget and their like.
#[must_use]
pub fn is_tool(headers: &HeaderMap) -> bool {
    !headers.contains_key("sec-fetch-mode") && wants(headers) == Wants::Any
}

/// A person's browser that goes to an address.
#[must_use]
pub fn is_navigation(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => wants(headers) == Wants::Html,
    }
}

/// The link in a path below `/d/`.
#[must_use]
pub fn link_of(path: &str) -> Option<LinkId> {
    path.strip_prefix("/d/")?.split('/').next()?.parse().ok()
}

/// Percent-decoded UTF-8, or none.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
