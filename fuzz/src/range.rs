//! Range, If-Range, If-Match and If-None-Match: what is asked for lies in the file, whatever the headers say.

use std::ops::Range;

use arbitrary::{Result, Unstructured};
use axum::http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderValue};
use burnbag::http::range::{Asked, asked, parse};
use headers::ETag;

use super::input::{bytes, choose};

const TAG: &str = "\"0123-4567\"";

pub fn run(data: &[u8]) {
    choose(data, |input| {
        let size = match input.int_in_range(0..=2)? {
            0 => input.arbitrary()?,
            1 => input.int_in_range(0..=20)?,
            _ => u64::MAX - u64::from(input.arbitrary::<u8>()?),
        };
        written(input, size)?;
        let tag: ETag = TAG.parse().unwrap();
        let mut headers = HeaderMap::new();
        for name in [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH] {
            if let Some(value) = value(input)? {
                headers.append(name, value);
            }
        }
        check(&headers, &tag, size);
        Ok(())
    });
}

fn value(input: &mut Unstructured<'_>) -> Result<Option<HeaderValue>> {
    Ok(match input.int_in_range(0..=5)? {
        0 | 1 => None,
        2 => Some(HeaderValue::from_static(TAG)),
        3 => HeaderValue::from_str(&format!("bytes={}-{}", number(input)?, number(input)?)).ok(),
        _ => HeaderValue::from_bytes(bytes(input, 60)?).ok(),
    })
}

/// Nothing, a number near the beginning, or one of any length.
fn number(input: &mut Unstructured<'_>) -> Result<String> {
    Ok(match input.int_in_range(0..=3)? {
        0 => String::new(),
        1 => input.int_in_range(0..=25_u8)?.to_string(),
        2 => input.arbitrary::<u64>()?.to_string(),
        _ => format!("{}{}", "0".repeat(input.int_in_range(0..=9)?), input.arbitrary::<u128>()?),
    })
}

/// A range as the RFC writes it, held against a plain reading in wide numbers.
fn written(input: &mut Unstructured<'_>, size: u64) -> Result<()> {
    let (first, last) = (number(input)?, number(input)?);
    let wide = |text: &str| (!text.is_empty()).then(|| text.parse::<u128>().unwrap_or(u128::MAX));
    let size_wide = u128::from(size);
    let expected: Option<Option<Range<u128>>> = match (wide(&first), wide(&last)) {
        (None, None) => None,
        (None, Some(0)) => Some(None),
        (None, Some(length)) => Some(Some(size_wide.saturating_sub(length)..size_wide)),
        (Some(first), None) => Some(Some(first..size_wide)),
        // Past any file both are alike to a reader in u64.
        (Some(first), Some(last)) if first > last && last < u128::from(u64::MAX) => None,
        (Some(first), Some(last)) => Some(Some(first..last.saturating_add(1).min(size_wide))),
    };
    let expected = expected.map(|range| range.filter(|range| !range.is_empty()));
    let found = parse(&format!("bytes={first}-{last}"), size);
    let found = found.map(|range| range.map(|range| u128::from(range.start)..u128::from(range.end)));
    assert_eq!(found, expected, "{first}-{last} of {size}");
    Ok(())
}

fn check(headers: &HeaderMap, tag: &ETag, size: u64) {
    let answer = asked(headers, tag, size);
    let plain = |name| headers.get(name).map(HeaderValue::as_bytes);
    match &answer {
        Asked::Part(range) => {
            assert!(range.start < range.end && range.end <= size, "{range:?} lies in a file of {size}");
        }
        Asked::Unsatisfiable | Asked::Whole => {}
        Asked::NotModified => assert!(headers.contains_key(IF_NONE_MATCH)),
        Asked::Failed => assert!(headers.contains_key(IF_MATCH)),
    }
    if matches!(answer, Asked::Part(_) | Asked::Unsatisfiable) {
        assert!(headers.contains_key(RANGE));
        let condition = plain(IF_RANGE).map(<[u8]>::trim_ascii);
        assert!(condition.is_none_or(|condition| condition == TAG.as_bytes()), "only this very tag");
        assert!(plain(IF_NONE_MATCH) != Some(TAG.as_bytes()));
    }
    if let Some(range) = headers.get(RANGE).and_then(|range| range.to_str().ok()) {
        if let Some(Some(range)) = parse(range, size) {
            assert!(range.start < range.end && range.end <= size);
        }
        assert!(parse(range, 0).is_none_or(|range| range.is_none()), "an empty file has no range");
    }
}
