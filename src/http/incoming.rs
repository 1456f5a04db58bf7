//! What comes in with an upload: its name, length and type in the head, or the parts of a form (DESIGN §10 "Sending").

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use bytes::Bytes;
use futures_util::Stream;

use super::error::Problem;
use super::negotiate::decode;
use super::{edge, options};
use crate::service::ServiceError;
use crate::transfer::policy::Options;
use crate::transfer::{FileName, InvalidName};

/// The longest value of an option in a form.
const LONGEST_FIELD: usize = 1024;

/// What stands between two pieces of content in a form, the head of a part above all, is not longer; past it by one piece
/// of the body, the form is refused.
const LONGEST_HEAD: usize = 64 * 1024;

/// The one segment of the path, decoded; none is `stdin`, as `curl -T -` sends it.
///
/// # Errors
/// `name_invalid`.
pub fn file_name(path: &str) -> Result<FileName, Problem> {
    let raw = path.strip_prefix('/').unwrap_or(path);
    if raw.is_empty() {
        return Ok(FileName::parse_segment("stdin").map_err(ServiceError::from)?);
    }
    let name = decode(raw).ok_or(ServiceError::Name(InvalidName::NotUtf8))?;
    Ok(FileName::parse_segment(&name).map_err(ServiceError::from)?)
}

/// The length that the request declares, if it does.
///
/// # Errors
/// `request_malformed`.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(length) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    // RFC 9110 §8.6: digits, and no sign, which `parse` would take.
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let length = digits.and_then(|text| text.parse().ok());
    length.map(Some).ok_or(Problem::new("request_malformed").detail("Content-Length is not a number"))
}

/// A part of a file would be taken for the whole (RFC 9110 §14.5): only the whole is taken as one.
///
/// # Errors
/// `content_range_unsupported`.
pub fn check_content_range(headers: &HeaderMap, length: Option<u64>) -> Result<(), Problem> {
    let Some(range) = headers.get(CONTENT_RANGE) else { return Ok(()) };
    let whole = length.filter(|n| *n > 0).map(|n| format!("bytes 0-{}/{n}", n - 1));
    let is_whole = whole.is_some_and(|whole| range.as_bytes() == whole.as_bytes());
    if is_whole { Ok(()) } else { Err(Problem::new("content_range_unsupported")) }
}

/// The media type that the sender named.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    // What curl says of a body that it knows nothing of.
    let said = kind != "application/x-www-form-urlencoded" && kind.len() <= 255;
    said.then(|| kind.to_owned())
}

/// # Errors
/// `media_type_unsupported` if the body is no form with parts.
pub fn check_is_form(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data")) {
        return Ok(());
    }
    Err(Problem::new("media_type_unsupported").detail("POST / takes multipart/form-data"))
}

/// The parts of a form, one after another, in bounded memory whatever is sent.
pub struct Form {
    parts: Multipart,
    unread: Arc<AtomicUsize>,
}

/// One part of a form.
pub struct Part<'a> {
    field: Field<'a>,
    unread: Arc<AtomicUsize>,
}

/// A part that is a file.
#[derive(Debug)]
pub struct FilePart {
    /// Its name.
    pub name: FileName,
    /// The media type that the sender named.
    pub media_type: Option<String>,
    /// Its first bytes; none if it is empty.
    pub first: Option<Bytes>,
}

impl Form {
    /// Reads the head of the request for the boundary between its parts.
    ///
    /// # Errors
    /// `request_malformed`.
    pub async fn read(request: Request) -> Result<Self, Problem> {
        let unread = Arc::new(AtomicUsize::new(0));
        let request = request.map(|body| {
            let body = body.into_data_stream();
            Body::from_stream(Metered { body, unread: Arc::clone(&unread), gave: false })
        });
        let parts = Multipart::from_request(request, &()).await;
        let parts = parts.map_err(|error| Problem::new("request_malformed").detail(error.body_text()))?;
        Ok(Self { parts, unread })
    }

    /// The next part. What is left of the one before is passed over.
    ///
    /// # Errors
    /// `request_malformed`, `body_timeout`.
    pub async fn next(&mut self) -> Result<Option<Part<'_>>, Problem> {
        let field = self.parts.next_field().await.map_err(|error| broken(&error))?;
        self.unread.store(0, Ordering::Relaxed);
        Ok(field.map(|field| Part { field, unread: Arc::clone(&self.unread) }))
    }
}

impl Part<'_> {
    /// What the part is: a file, whose bytes follow; or none, and then it is read to its end and an option that it
    /// held is in `options`.
    ///
    /// # Errors
    /// `name_invalid`, `option_unknown`, `option_invalid`, `option_conflict`; `request_malformed`, `body_timeout`.
    pub async fn read(&mut self, options: &mut Options) -> Result<Option<FilePart>, Problem> {
        let field = self.field.name().unwrap_or_default().to_owned();
        let name = match (self.field.file_name(), field.as_str()) {
            // A form sends an input without a file as an empty name.
            (Some(""), _) => {
                while self.chunk().await?.is_some() {}
                return Ok(None);
            }
            // curl and browsers write a quote so (HTML, "multipart form data"); other characters stay as they are.
            (Some(name), _) => FileName::parse(&name.replace("%22", "\"")).map_err(ServiceError::from)?,
            (None, "text") => FileName::parse("text.txt").map_err(ServiceError::from)?,
            (None, _) => {
                let value = self.short(&field).await?;
                // What was left empty in a form of a browser was not given.
                if value.is_empty() && ["expires", "downloads", "password"].contains(&field.as_str()) {
                    return Ok(None);
                }
                options::set(options, &field, &value)?;
                return Ok(None);
            }
        };
        let is_text = self.field.file_name().is_none();
        let first = self.chunk().await?;
        if is_text && first.is_none() {
            return Ok(None);
        }
        Ok(Some(FilePart { name, media_type: self.field.content_type().map(str::to_owned), first }))
    }

    /// The next bytes of the part.
    ///
    /// # Errors
    /// `request_malformed`, `body_timeout`.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let chunk = self.field.chunk().await.map_err(|error| broken(&error))?;
            self.unread.store(0, Ordering::Relaxed);
            // Where the pieces of the body fall so, a part ends with one of no bytes.
            if chunk.as_ref().is_none_or(|chunk| !chunk.is_empty()) {
                return Ok(chunk);
            }
        }
    }

    async fn short(&mut self, field: &str) -> Result<String, Problem> {
        let mut value = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            value.extend_from_slice(&chunk);
            if value.len() > LONGEST_FIELD {
                let name: String = field.chars().take(64).collect();
                return Err(Problem::new("option_invalid")
                    .field(name)
                    .detail("a field has at most 1 KiB; a file needs a file name"));
            }
        }
        String::from_utf8(value).map_err(|_| Problem::new("option_invalid").detail("a field is UTF-8"))
    }
}

fn broken(error: &MultipartError) -> Problem {
    if edge::is_body_timeout(error) {
        return Problem::new("body_timeout");
    }
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let too_long = causes.find_map(|cause| cause.downcast_ref::<HeadTooLong>());
    let why = too_long.map_or_else(|| error.body_text(), ToString::to_string);
    Problem::new("request_malformed").detail(format!("the form cannot be read: {why}"))
}

/// A body for the reader of forms, which takes all that is ready and keeps what it cannot make sense of yet: one piece at
/// a time, and an end to what makes no sense.
struct Metered {
    body: BodyDataStream,
    /// Bytes given since the reader last came to something.
    unread: Arc<AtomicUsize>,
    gave: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the head of a part is longer than 64 KiB")]
struct HeadTooLong;

impl Stream for Metered {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.gave) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.unread.load(Ordering::Relaxed) > LONGEST_HEAD {
            return Poll::Ready(Some(Err(axum::Error::new(HeadTooLong))));
        }
        let next = ready!(Pin::new(&mut self.body).poll_next(context));
        if let Some(Ok(piece)) = &next {
            self.unread.fetch_add(piece.len(), Ordering::Relaxed);
            self.gave = true;
        }
        Poll::Ready(next)
    }
}
