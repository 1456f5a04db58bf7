//! File names: what is accepted holds nothing forbidden, makes a valid header, and is only text in a page.

use axum::body::to_bytes;
use axum::http::HeaderValue;
use burnbag::http::file::disposition;
use burnbag::http::pages::{Index, IndexFile, IndexTransfer, index};
use burnbag::transfer::{FileName, MAX_NAME, MAX_SEGMENT};
use percent_encoding::percent_decode_str;

use super::input::finish;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    header(text);
    let name = FileName::parse(text);
    assert_eq!(FileName::parse_segment(text).is_ok(), name.is_ok() && !text.contains('/'));
    let Ok(name) = name else { return };
    assert_eq!(name.as_str(), text);
    assert!(text.len() <= MAX_NAME && !text.chars().any(|c| c.is_control() || c == '\\'));
    assert!(text.split('/').all(|part| part.len() <= MAX_SEGMENT && !matches!(part, "" | "." | "..")));
    assert!(text.ends_with(name.base()) && !name.base().contains('/'));
    assert_eq!(format!("{name:?}"), "FileName(..)", "names stay out of logs");
    let plain: String = text.chars().map(|c| if c == '/' { '/' } else { 'x' }).collect();
    let marks =
        |page: &str| [b'<', b'>', b'"', b'\''].map(|mark| page.bytes().filter(|b| *b == mark).count());
    let shown = page(text);
    assert_eq!(marks(&shown), marks(&page(&plain)), "a name is never markup");
    let hrefs = shown.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let leads = |href: &str| percent_decode_str(href).decode_utf8().is_ok_and(|href| href == text);
    assert!(hrefs.into_iter().any(leads), "the page leads to the file");
}

/// Also for a name that is not accepted: a record may hold an older one.
fn header(name: &str) {
    let text = disposition(name);
    let value = HeaderValue::from_str(&text).expect("a valid header");
    assert!(value.to_str().is_ok(), "of visible characters");
    let base = name.rsplit('/').next().unwrap_or(name);
    let rest = text.strip_prefix("attachment; filename=\"").unwrap();
    let (plain, encoded) = rest.split_once("\"; filename*=UTF-8''").unwrap();
    assert!(!plain.is_empty() && !plain.starts_with('.') && !plain.contains(['"', '\\', '/', '%', ';']));
    assert_eq!(percent_decode_str(encoded).decode_utf8().unwrap(), base);
    assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&+-.^_`|~%".contains(&b)));
}

fn page(name: &str) -> String {
    let file = IndexFile { name: name.to_owned(), size: 1, media_type: String::new() };
    let deadline = "2030-01-31T18:00:00.000Z".to_owned();
    let answer = index(&Index { transfer: IndexTransfer { deadline, files: vec![file] } });
    let html = finish(to_bytes(answer.into_body(), 1 << 20));
    String::from_utf8(html.unwrap().to_vec()).unwrap()
}
