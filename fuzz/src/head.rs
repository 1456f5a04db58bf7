//! The rest of a request's head: the path and what it names, lengths, types, and what form of answer is asked for.

use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use burnbag::http::extract::is_cross_site;
use burnbag::http::incoming::{check_content_range, check_is_form, content_length, file_name, media_type};
use burnbag::http::negotiate::{Wants, decode, is_navigation, is_tool, link_of, wants};

use super::input::{bytes, choose};

const OURS: &str = "https://files.example.org";

pub fn run(data: &[u8]) {
    choose(data, |input| {
        let site = HeaderName::from_static("sec-fetch-site");
        let mode = HeaderName::from_static("sec-fetch-mode");
        let mut headers = HeaderMap::new();
        for name in [ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ORIGIN, site.clone(), mode.clone()]
        {
            if input.arbitrary()?
                && let Ok(value) = HeaderValue::from_bytes(bytes(input, 64)?)
            {
                headers.append(name, value);
            }
        }
        let said =
            |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if let Ok(Some(length)) = content_length(&headers) {
            let text = said(&CONTENT_LENGTH).unwrap();
            assert!(text.bytes().all(|b| b.is_ascii_digit()), "{text:?} is no length (RFC 9110 §8.6)");
            assert!(text.trim_start_matches('0') == length.to_string().trim_start_matches('0'));
        }
        let length = if input.arbitrary()? { Some(u64::from(input.arbitrary::<u16>()?)) } else { None };
        if check_content_range(&headers, length).is_ok() && headers.contains_key(CONTENT_RANGE) {
            let length = length.expect("a part of an unknown whole is refused");
            assert_eq!(said(&CONTENT_RANGE).unwrap(), format!("bytes 0-{}/{length}", length - 1));
        }
        assert!(
            media_type(&headers).is_none_or(|kind| kind.len() <= 255 && said(&CONTENT_TYPE) == Some(kind))
        );
        if check_is_form(&headers).is_ok() {
            assert!(said(&CONTENT_TYPE).unwrap().to_ascii_lowercase().starts_with("multipart/form-data"));
        }
        assert!(!is_tool(&headers) || wants(&headers) == Wants::Any && !headers.contains_key(&mode));
        assert!(!is_tool(&headers) || !is_navigation(&headers), "nobody is both");
        assert!(!is_cross_site(&Method::GET, &headers, OURS));
        if !is_cross_site(&Method::POST, &headers, OURS) {
            let from = said(&site).filter(|site| site != "same-origin" && site != "none");
            assert_eq!(from, None);
            let other = said(&ORIGIN).filter(|origin| origin != OURS);
            assert!(other.is_none() || headers.contains_key(&site));
        }
        path(bytes(input, input.len())?);
        Ok(())
    });
}

fn path(text: &[u8]) {
    let Ok(uri) = Uri::try_from(text) else { return };
    let path = uri.path();
    if let Some(link) = link_of(path) {
        assert!(
            path.strip_prefix(&format!("/d/{link}"))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        );
    }
    if let Ok(name) = file_name(path) {
        let name = name.as_str();
        assert!(!name.contains(['/', '\\', '\0', '\n', '\r']) && !matches!(name, "" | "." | ".."));
        let raw = path.strip_prefix('/').unwrap_or(path);
        assert!(if raw.is_empty() { name == "stdin" } else { decode(raw).as_deref() == Some(name) });
    }
}
