//! What needs no proof: the front page, assets, problem pages, health.

use axum::extract::{FromRequest as _, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::error::Problem;
use super::extract::{Segment, Visitor};
use super::negotiate::{Wants, wants};
use super::pages::{self, Who};
use super::state::AppState;
use crate::transfer::access::Capability;

fn text(status: StatusCode, body: String) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = (status, [(CONTENT_TYPE, kind)], body).into_response();
    pages::page_headers(response.headers_mut());
    response
}

/// `GET /`: a page for browsers, with a form to send files for who is logged in; plain usage for tools.
pub(super) async fn home(State(state): State<AppState>, request: Request) -> Result<Response, Problem> {
    let rules = &state.service.rules;
    if wants(request.headers()) != Wants::Html {
        return Ok(text(StatusCode::OK, pages::usage(&rules.public_url)));
    }
    let Visitor(visitor) = Visitor::from_request(request, &state).await?;
    Ok(match visitor {
        Some(caller) => pages::send(&Who::from(&caller), caller.may(Capability::Send), &rules.policy),
        None => pages::home(&rules.public_url),
    })
}

/// `GET /assets/{file}`.
pub(super) async fn asset(Segment(name): Segment, headers: HeaderMap) -> Result<Response, Problem> {
    pages::asset(&name, &headers).ok_or(Problem::new("not_found"))
}

/// `GET /problems/{code}`.
pub(super) async fn problem(Segment(code): Segment) -> Result<Response, Problem> {
    pages::problem_doc(&code).ok_or(Problem::new("not_found"))
}

/// `GET /robots.txt`.
pub(super) async fn robots() -> Response {
    pages::robots()
}

/// `GET /livez`: the process answers.
pub(super) async fn livez() -> Response {
    text(StatusCode::OK, "ok\n".to_owned())
}

/// `GET /readyz`: uploads and downloads can be served; a line for each part, `ok` or what is wrong.
pub(super) async fn readyz(State(state): State<AppState>) -> Response {
    let health = state.service.health().await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, health.lines.join("\n") + "\n")
}

/// Any path that is not a route.
pub(super) async fn nothing() -> Problem {
    Problem::new("not_found")
}

/// A method that the route does not have; `Allow` is set by the router.
pub(super) async fn method() -> Problem {
    Problem::new("method_not_allowed")
}
