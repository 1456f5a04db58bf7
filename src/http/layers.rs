//! What happens to every request and every answer.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::edge::Exchange;
use super::error::{Form, Problem};
use super::extract::{Consulted, Origin, is_cross_site};
use super::fields;
use super::negotiate::link_of;
use super::options;
use super::state::AppState;
use crate::service::Refusal;
use crate::transfer::{EventType, OperationId};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request its id and finds out who asks. What a client says of its own id is not believed. An answer that
/// says nothing of caches is kept by none: links are in some.
pub(super) async fn origin(
    State(state): State<AppState>,
    Extension(exchange): Extension<Exchange>,
    mut request: Request,
    next: Next,
) -> Response {
    let trace_id = OperationId::generate(state.service.clock.now()).to_string();
    let client = state.proxies.client(exchange.peer().ip(), request.headers());
    let consulted = Consulted::default();
    request.extensions_mut().insert(Origin {
        trace_id: trace_id.clone(),
        client,
        who: Arc::default(),
        consulted: consulted.clone(),
    });
    let below_link = request.uri().path().starts_with("/d/");
    let mut response = next.run(request).await;
    // The one 404 has the same fields for whoever proved a link that opens nothing and for whoever did not.
    let tells = !(below_link && response.status() == StatusCode::NOT_FOUND);
    if let Some(standing) = consulted.said().filter(|_| tells) {
        fields::insert(response.headers_mut(), standing);
    }
    if let Ok(id) = HeaderValue::from_str(&trace_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    for (name, value) in [(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Gives a problem the form that the request asks for, puts a refusal on record, and logs the answer: the route, never
/// the path.
pub(super) async fn tell(
    State(state): State<AppState>,
    origin: Origin,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let form = Form::of(&request);
    let link = link_of(request.uri().path());
    let below_link = request.uri().path().starts_with("/d/");
    let below_api = request.uri().path().starts_with("/api/");
    let has_offered = request.headers().contains_key(AUTHORIZATION);
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        let status = problem.status();
        let is_refusal = match problem.code() {
            // How a tool learns to send the secret, and what a preview bot sees.
            "link_secret_required" => has_offered,
            // A path that names nothing that somebody could be refused.
            "not_found" | "method_not_allowed" => below_link || below_api,
            _ => {
                status.is_client_error()
                    || matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE)
            }
        };
        if is_refusal {
            let kind = match problem.code() {
                "token_required" | "token_invalid" | "capability_missing" | "cross_site" => {
                    EventType::LoginRefused
                }
                _ if below_link => EventType::DownloadRefused,
                _ if method.is_safe() => EventType::LoginRefused,
                _ => EventType::UploadRefused,
            };
            // One line a link, or an address where there is none.
            let client = link.is_none().then(|| origin.client.to_string());
            state.service.refusals.note(Refusal { kind, link, client, code: problem.code() });
        }
        let url = &state.service.rules.public_url;
        response = form.render(problem, response.headers(), url, &origin);
    }
    let (route, status) = (route.as_ref().map_or("-", MatchedPath::as_str), response.status().as_u16());
    let (code, took) = (problem.as_ref().map(Problem::code), begun.elapsed());
    state.service.metrics.answered(method.as_str(), route, status, code, took);
    tracing::info!(
        %method,
        route,
        status,
        code,
        milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        client = %origin.client,
        trace_id = origin.trace_id,
        "answered"
    );
    response
}

/// A defect in a handler is an answer, not a broken connection.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    Problem::new("internal").into_response()
}

/// An unsafe request from a page of another site is not carried out.
pub(super) async fn refuse_cross_site(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    if is_cross_site(request.method(), request.headers(), &state.service.rules.public_url) {
        return Problem::new("cross_site").into_response();
    }
    next.run(request).await
}

/// A password or a secret in the query is refused before the body.
pub(super) async fn refuse_secrets(request: Request, next: Next) -> Response {
    match options::refuse_secrets(request.uri()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}
