//! A file on its way out (DESIGN §10 "Files").

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headers::ETag;
use http_body::{Frame, SizeHint};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::edge::Exchange;
use super::error::Problem;
use super::extract::Origin;
use super::range::{Asked, asked};
use super::state::AppState;
use crate::service::{Chunk, Download, Holder, OpenFile, OpenTransfer};

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");

/// `attr-char` of RFC 8187 §3.2.1.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Answers a GET or HEAD for a file of an opened transfer. Only a GET that sends bytes takes a lease.
pub(super) async fn serve(
    state: &AppState,
    (method, headers): (&Method, &HeaderMap),
    (origin, exchange): (&Origin, &Exchange),
    (open, file, holder): (&OpenTransfer, &OpenFile, Holder),
) -> Result<Response, Problem> {
    let tag = format!("\"{}-{}\"", open.id(), file.id);
    let parsed: ETag = tag.parse().map_err(|_| Problem::new("internal"))?;
    let range = match asked(headers, &parsed, file.size) {
        // A range is for GET alone (RFC 9110 §14.2).
        Asked::Part(_) | Asked::Unsatisfiable if method == Method::HEAD => None,
        Asked::Whole => None,
        Asked::Part(range) => Some(range),
        Asked::Failed => return Err(Problem::new("precondition_failed")),
        Asked::NotModified => {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            file_headers(response.headers_mut(), file, &tag);
            response.headers_mut().remove(CONTENT_TYPE);
            return Ok(response);
        }
        Asked::Unsatisfiable => {
            let mut response = Problem::new("range_unsatisfiable").into_response();
            set(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", file.size));
            return Ok(response);
        }
    };
    let (status, bytes) = match &range {
        Some(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
        None => (StatusCode::OK, 0..file.size),
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let cut = exchange.clone();
        let download = state
            .service
            .download(open, file, bytes.clone(), holder, &origin.asker(), move || cut.abort())
            .await?;
        Body::new(DownloadBody {
            left: download.length,
            download,
            ready: Vec::new(),
            exchange: exchange.clone(),
        })
    };
    let mut response = (status, body).into_response();
    let to = response.headers_mut();
    file_headers(to, file, &tag);
    to.insert(CONTENT_LENGTH, (bytes.end - bytes.start).into());
    if range.is_some() {
        set(to, CONTENT_RANGE, &format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, file.size));
    }
    Ok(response)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn file_headers(headers: &mut HeaderMap, file: &OpenFile, tag: &str) {
    for (name, value) in [
        (CONTENT_TYPE, "application/octet-stream"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "sandbox"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (ROBOTS_TAG, "noindex"),
        (ACCEPT_RANGES, "bytes"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    set(headers, ETAG, tag);
    set(headers, CONTENT_DISPOSITION, &disposition(&file.name));
    if let Some(digest) = &file.sha256 {
        set(headers, REPR_DIGEST, &format!("sha-256=:{}:", STANDARD.encode(digest)));
    }
}

/// RFC 6266 with both forms of the name: the plain one in a few safe characters, the other as it is (RFC 8187).
#[must_use]
pub fn disposition(name: &str) -> String {
    let base = name.rsplit('/').next().unwrap_or(name);
    let safe = |c: char| if c.is_ascii_alphanumeric() || " ._+=@,()-".contains(c) { c } else { '_' };
    let plain: String = base.chars().map(safe).collect();
    let plain = plain.trim_start_matches('.');
    let plain = if plain.is_empty() { "file" } else { plain };
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(base, ATTR_CHAR))
}

/// A chunk in the hands of the edge. It is dropped when the last of it went to the socket, or when the exchange broke:
/// that is told apart here, and nowhere else.
struct Sent {
    chunk: Chunk,
    exchange: Exchange,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        self.chunk.as_ref()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if !self.exchange.is_broken() {
            self.chunk.written();
        }
    }
}

struct DownloadBody {
    download: Download,
    /// Taken from the download together, so that its task is woken once for several.
    ready: Vec<Chunk>,
    left: u64,
    exchange: Exchange,
}

/// The download was cut; the exchange breaks, so that no client takes it for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the download was cut")]
struct Cut;

impl http_body::Body for DownloadBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        if this.ready.is_empty() {
            let most = this.download.chunks.max_capacity();
            std::task::ready!(this.download.chunks.poll_recv_many(context, &mut this.ready, most));
            this.ready.reverse();
        }
        let Some(chunk) = this.ready.pop() else {
            this.exchange.abort();
            return Poll::Ready(Some(Err(Cut)));
        };
        this.left = this.left.saturating_sub(chunk.as_ref().len() as u64);
        let sent = Sent { chunk, exchange: this.exchange.clone() };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(sent)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
