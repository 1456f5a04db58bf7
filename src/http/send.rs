//! Sending: `PUT /<name>`, `PUT /`, and a form (DESIGN §10 "Sending").

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;

use super::error::Problem;
use super::incoming::{self, FilePart, Form};
use super::negotiate::{Wants, wants};
use super::pages::Who;
use super::state::AppState;
use super::{edge, options, pages};
use crate::service::{Caller, NewUpload, Sending, Sent, ServiceError};
use crate::transfer::policy::{Options, Settled};

const TRANSFER: HeaderName = HeaderName::from_static("burnbag-transfer");
const DEADLINE: HeaderName = HeaderName::from_static("burnbag-deadline");

/// `PUT /<name>` and `PUT /`: one file, the whole body.
pub(super) async fn put(
    State(state): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let name = incoming::file_name(request.uri().path())?;
    let length = incoming::content_length(headers)?;
    incoming::check_content_range(headers, length)?;
    let terms = settle(&state, &caller, &options::options(request.uri(), headers)?)?;
    let upload = NewUpload { name, media_type: incoming::media_type(headers), length };
    let form = wants(headers);
    let caller = Arc::new(caller);
    let mut sending = state.service.send(Arc::clone(&caller), terms.expires, upload).await?;
    let mut body = request.into_body().into_data_stream();
    copy(&mut body, &mut sending).await?;
    sending.end_file().await?;
    reply(&caller, &sending_done(sending, terms).await?, form)
}

/// `POST /`: a form with files, its options before or after them.
pub(super) async fn post(
    State(state): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    incoming::check_is_form(headers)?;
    let mut options = options::options(request.uri(), headers)?;
    let form = wants(headers);
    let length = incoming::content_length(headers)?;
    state.service.admit_upload(&caller, length).await?;
    let mut parts = Form::read(request).await?;
    let caller = Arc::new(caller);
    let mut sending: Option<Sending> = None;
    while let Some(mut part) = parts.next().await? {
        let Some(FilePart { name, media_type, first }) = part.read(&mut options).await? else { continue };
        let upload = NewUpload { name, media_type, length: None };
        let open = if let Some(open) = &mut sending {
            open.file(upload).await?;
            open
        } else {
            let expires = settle(&state, &caller, &options)?.expires;
            let begun = state.service.send_several(Arc::clone(&caller), expires, upload, length).await?;
            sending.insert(begun)
        };
        if let Some(first) = first {
            open.write(first).await?;
        }
        while let Some(chunk) = part.chunk().await? {
            open.write(chunk).await?;
        }
        open.end_file().await?;
    }
    let terms = settle(&state, &caller, &options)?;
    let sending = sending.ok_or(Problem::new("file_missing"))?;
    reply(&caller, &sending_done(sending, terms).await?, form)
}

async fn sending_done(sending: Sending, terms: Settled) -> Result<Sent, Problem> {
    Ok(sending.complete(terms).await?)
}

fn settle(state: &AppState, caller: &Caller, options: &Options) -> Result<Settled, Problem> {
    let service = &state.service;
    Ok(options.settle(&service.policy_of(&caller.team), service.clock.now()).map_err(ServiceError::from)?)
}

async fn copy(body: &mut BodyDataStream, sending: &mut Sending) -> Result<(), Problem> {
    while let Some(chunk) = body.next().await {
        sending.write(chunk.map_err(|error| broken_body(&error))?).await?;
    }
    Ok(())
}

fn broken_body(error: &axum::Error) -> Problem {
    if edge::is_body_timeout(error) {
        Problem::new("body_timeout")
    } else {
        Problem::new("request_malformed").detail("the body ended before it was whole")
    }
}

fn reply(caller: &Caller, sent: &Sent, form: Wants) -> Result<Response, Problem> {
    let transfer = &sent.transfer;
    let Some(url) = sent.link.as_ref().and_then(|link| link.url.as_deref()) else {
        return Err(Problem::new("transfer_ended").detail("its deadline passed while it was being sent"));
    };
    let mut response = match form {
        Wants::Json => (StatusCode::CREATED, axum::Json(transfer)).into_response(),
        Wants::Html => pages::sent(transfer, &Who::from(caller), caller.may_end(transfer)),
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
