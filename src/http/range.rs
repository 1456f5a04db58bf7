//! Conditions and ranges of a GET (RFC 9110 §13, §14).

use std::ops::Range;

use axum::http::header::{IF_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderValue};
use headers::{ETag, Header, HeaderMapExt as _, IfMatch, IfNoneMatch};

/// What of a file is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// All of it.
    Whole,
    /// One range, which lies inside.
    Part(Range<u64>),
    /// The client has it already.
    NotModified,
    /// `If-Match` names another.
    Failed,
    /// A range outside of it.
    Unsatisfiable,
}

/// Reads conditions and range for a file of this tag and size, in the order of RFC 9110 §13.2.2.
#[must_use]
pub fn asked(headers: &HeaderMap, tag: &ETag, size: u64) -> Asked {
    if condition::<IfMatch>(headers).is_some_and(|condition| !condition.precondition_passes(tag)) {
        return Asked::Failed;
    }
    if condition::<IfNoneMatch>(headers).is_some_and(|condition| !condition.precondition_passes(tag)) {
        return Asked::NotModified;
    }
    let Some(range) = headers.get(RANGE).and_then(|range| range.to_str().ok()) else { return Asked::Whole };
    if !if_range_holds(headers, tag) {
        return Asked::Whole;
    }
    match parse(range, size) {
        None => Asked::Whole,
        Some(Some(range)) => Asked::Part(range),
        Some(None) => Asked::Unsatisfiable,
    }
}

/// The tags of a condition; none where it cannot be read.
pub(super) fn condition<H: Header>(headers: &HeaderMap) -> Option<H> {
    headers.get_all(H::name()).iter().all(holds_tags).then(|| headers.typed_get()).flatten()
}

/// Whether no blank stands inside of quotes: no tag has one (RFC 9110 §8.8.3), and `headers` asserts it where it should
/// refuse.
fn holds_tags(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b'"')
        .skip(1)
        .step_by(2)
        .all(|tag| !tag.contains(&b' ') && !tag.contains(&b'\t'))
}

/// Only a strong tag that is this one; a date never, since there is no `Last-Modified`.
fn if_range_holds(headers: &HeaderMap, tag: &ETag) -> bool {
    headers.get(IF_RANGE).is_none_or(|condition| {
        let said = condition
            .to_str()
            .ok()
            .filter(|_| holds_tags(condition))
            .and_then(|text| text.trim().parse::<ETag>().ok());
        said.is_some_and(|said| said == *tag && !condition.as_bytes().starts_with(b"W/"))
    })
}

/// One range of bytes. `None`: not one that we serve, so the whole is sent, as RFC 9110 §14.2 allows; `Some(None)`: it is
/// outside of the file.
#[must_use]
pub fn parse(text: &str, size: u64) -> Option<Option<Range<u64>>> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than a u64 holds lie past the end of any file.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = set.trim().split_once('-')?;
    match (first, last) {
        ("", last) => {
            let length = number(last)?;
            Some((length > 0 && size > 0).then(|| size.saturating_sub(length)..size))
        }
        (first, "") => {
            let first = number(first)?;
            Some((first < size).then_some(first..size))
        }
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            Some((first < size).then(|| first..last.saturating_add(1).min(size)))
        }
    }
}
