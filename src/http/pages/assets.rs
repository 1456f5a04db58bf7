//! The stylesheet, the scripts and the icon, embedded in the binary.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use headers::{HeaderMapExt, IfNoneMatch};
use sha2::{Digest, Sha256};

struct Asset {
    name: &'static str,
    content_type: &'static str,
    body: &'static str,
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

const ASSETS: [Asset; 6] = [
    Asset { name: "style.css", content_type: CSS, body: include_str!("../../../web/style.css") },
    Asset { name: "page.js", content_type: JS, body: include_str!("../../../web/page.js") },
    Asset { name: "receive.js", content_type: JS, body: include_str!("../../../web/receive.js") },
    Asset { name: "send.js", content_type: JS, body: include_str!("../../../web/send.js") },
    Asset { name: "words.js", content_type: JS, body: include_str!("../../../web/words.js") },
    Asset {
        name: "favicon.svg",
        content_type: "image/svg+xml",
        body: include_str!("../../../web/favicon.svg"),
    },
];

/// The tags of [`ASSETS`], in the same order.
static TAGS: LazyLock<[String; ASSETS.len()]> =
    LazyLock::new(|| ASSETS.map(|asset| format!("\"{}\"", hex::encode(&Sha256::digest(asset.body)[..16]))));

/// The asset of this name, or 304 if `request` has it already. None if there is no such asset.
///
/// Names carry no version, so a browser asks each time (`no-cache`): a page never meets the script of an older one.
#[must_use]
pub fn asset(name: &str, request: &HeaderMap) -> Option<Response> {
    let (asset, tag) = ASSETS.iter().zip(TAGS.iter()).find(|(asset, _)| asset.name == name)?;
    let fresh = match (request.typed_get::<IfNoneMatch>(), tag.parse()) {
        (Some(condition), Ok(tag)) => !condition.precondition_passes(&tag),
        _ => false,
    };
    let mut response = if fresh {
        super::answer(StatusCode::NOT_MODIFIED, asset.content_type, ())
    } else {
        super::answer(StatusCode::OK, asset.content_type, asset.body)
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, no-cache"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(ETAG, tag);
    }
    Some(response)
}

/// `/robots.txt`: nothing for crawlers. `wget -r` obeys it too, and it only goes where its user sent it.
#[must_use]
pub fn robots() -> Response {
    let text = "User-agent: *\nDisallow: /\n\nUser-agent: Wget\nDisallow:\n";
    super::answer(StatusCode::OK, TEXT, text)
}
