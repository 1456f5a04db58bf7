//! Sending: `PUT /<name>`, `PUT /`, and a form (DESIGN §10 "Sending").

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest as _, Multipart, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;

use super::error::Problem;
use super::negotiate::{Wants, decode, wants};
use super::state::AppState;
use super::{edge, options, pages};
use crate::service::{Caller, NewUpload, Sending, Sent, ServiceError};
use crate::transfer::policy::{Options, Settled};
use crate::transfer::{FileName, InvalidName};

const TRANSFER: HeaderName = HeaderName::from_static("burnbag-transfer");
const DEADLINE: HeaderName = HeaderName::from_static("burnbag-deadline");
/// The longest value of an option in a form.
const LONGEST_FIELD: usize = 1024;

/// `PUT /<name>` and `PUT /`: one file, the whole body.
pub(super) async fn put(
    State(state): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let name = file_name(request.uri().path())?;
    let length = content_length(headers)?;
    check_content_range(headers, length)?;
    let terms = settle(&state, options::options(request.uri(), headers)?)?;
    let upload = NewUpload { name, media_type: media_type(headers), length };
    let form = wants(headers);
    let mut sending = state.service.send(Arc::new(caller), terms.expires, upload).await?;
    let mut body = request.into_body().into_data_stream();
    copy(&mut body, &mut sending).await?;
    sending.end_file().await?;
    reply(&sending_done(sending, terms).await?, form)
}

/// `POST /`: a form with files, its options before or after them.
pub(super) async fn post(
    State(state): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let is_form = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"));
    if !is_form {
        return Err(Problem::new("media_type_unsupported").detail("POST / takes multipart/form-data"));
    }
    let mut options = options::options(request.uri(), headers)?;
    let form = wants(headers);
    state.service.admit_upload(content_length(headers)?).await?;
    let mut parts = Multipart::from_request(request, &state)
        .await
        .map_err(|error| Problem::new("request_malformed").detail(error.body_text()))?;
    let caller = Arc::new(caller);
    let mut sending: Option<Sending> = None;
    while let Some(mut part) = parts.next_field().await.map_err(|error| broken_form(&error))? {
        let field = part.name().unwrap_or_default().to_owned();
        let name = match (part.file_name(), field.as_str()) {
            // A form sends an input without a file as an empty name.
            (Some(""), _) => continue,
            (Some(name), _) => FileName::parse(name).map_err(ServiceError::from)?,
            (None, "text") => FileName::parse("text.txt").map_err(ServiceError::from)?,
            (None, _) => {
                let value = short_field(&mut part, &field).await?;
                options::set(&mut options, &field, &value)?;
                continue;
            }
        };
        let is_text = part.file_name().is_none();
        let first = part.chunk().await.map_err(|error| broken_form(&error))?;
        if is_text && first.is_none() {
            continue;
        }
        let media_type = part.content_type().map(str::to_owned);
        let upload = NewUpload { name, media_type, length: None };
        let open = if let Some(open) = &mut sending {
            open.file(upload).await?;
            open
        } else {
            let expires = settle(&state, options)?.expires;
            sending.insert(state.service.send(Arc::clone(&caller), expires, upload).await?)
        };
        if let Some(first) = first {
            open.write(first).await?;
        }
        while let Some(chunk) = part.chunk().await.map_err(|error| broken_form(&error))? {
            open.write(chunk).await?;
        }
        open.end_file().await?;
    }
    let terms = settle(&state, options)?;
    let sending = sending.ok_or(Problem::new("file_missing"))?;
    reply(&sending_done(sending, terms).await?, form)
}

async fn sending_done(sending: Sending, terms: Settled) -> Result<Sent, Problem> {
    Ok(sending.complete(terms).await?)
}

fn settle(state: &AppState, options: Options) -> Result<Settled, Problem> {
    let service = &state.service;
    Ok(options.settle(&service.rules.policy, service.clock.now()).map_err(ServiceError::from)?)
}

async fn copy(body: &mut BodyDataStream, sending: &mut Sending) -> Result<(), Problem> {
    while let Some(chunk) = body.next().await {
        sending.write(chunk.map_err(|error| broken_body(&error))?).await?;
    }
    Ok(())
}

async fn short_field(part: &mut axum::extract::multipart::Field<'_>, field: &str) -> Result<String, Problem> {
    let mut value = Vec::new();
    while let Some(chunk) = part.chunk().await.map_err(|error| broken_form(&error))? {
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

fn broken_body(error: &axum::Error) -> Problem {
    if edge::is_body_timeout(error) {
        Problem::new("body_timeout")
    } else {
        Problem::new("request_malformed").detail("the body ended before it was whole")
    }
}

fn broken_form(error: &axum::extract::multipart::MultipartError) -> Problem {
    if edge::is_body_timeout(error) {
        Problem::new("body_timeout")
    } else {
        Problem::new("request_malformed").detail(format!("the form cannot be read: {}", error.body_text()))
    }
}

/// The one segment of the path, decoded; none is `stdin`, as `curl -T -` sends it.
fn file_name(path: &str) -> Result<FileName, Problem> {
    let raw = path.strip_prefix('/').unwrap_or(path);
    if raw.is_empty() {
        return Ok(FileName::parse_segment("stdin").map_err(ServiceError::from)?);
    }
    let name = decode(raw).ok_or(ServiceError::Name(InvalidName::NotUtf8))?;
    Ok(FileName::parse_segment(&name).map_err(ServiceError::from)?)
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(length) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or(Problem::new("request_malformed").detail("Content-Length is not a number"))
}

/// A part of a file would be taken for the whole (RFC 9110 §14.5): only the whole is taken as one.
fn check_content_range(headers: &HeaderMap, length: Option<u64>) -> Result<(), Problem> {
    let Some(range) = headers.get(CONTENT_RANGE) else { return Ok(()) };
    let whole = length.filter(|n| *n > 0).map(|n| format!("bytes 0-{}/{n}", n - 1));
    let is_whole = whole.is_some_and(|whole| range.as_bytes() == whole.as_bytes());
    if is_whole { Ok(()) } else { Err(Problem::new("content_range_unsupported")) }
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    // What curl says of a body that it knows nothing of.
    let said = kind != "application/x-www-form-urlencoded" && kind.len() <= 255;
    said.then(|| kind.to_owned())
}

fn reply(sent: &Sent, form: Wants) -> Result<Response, Problem> {
    let transfer = &sent.transfer;
    let Some(url) = sent.link.as_ref().and_then(|link| link.url.as_deref()) else {
        return Err(Problem::new("transfer_ended").detail("its deadline passed while it was being sent"));
    };
    let mut response = match form {
        Wants::Json => (StatusCode::CREATED, axum::Json(transfer)).into_response(),
        Wants::Html => {
            let file = |file: &crate::service::FileView| pages::IndexFile {
                name: file.name.clone().unwrap_or_default(),
                size: file.size.unwrap_or_default(),
                media_type: file.media_type.clone().unwrap_or_default(),
            };
            let files: Vec<_> = transfer.files.iter().map(file).collect();
            pages::sent(url, &transfer.deadline.to_string(), &files)
        }
        Wants::Any => {
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            (StatusCode::CREATED, [(CONTENT_TYPE, text)], Body::from(format!("{url}\n"))).into_response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (LOCATION, format!("/api/v1/transfers/{}", transfer.id)),
        (TRANSFER, transfer.id.to_string()),
        (DEADLINE, transfer.deadline.to_string()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}
