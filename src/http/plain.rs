//! What needs no proof: the front page, assets, problem pages, health.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::error::Problem;
use super::extract::Segment;
use super::negotiate::{Wants, wants};
use super::pages;
use super::state::AppState;

fn text(status: StatusCode, body: String) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = (status, [(CONTENT_TYPE, kind)], body).into_response();
    pages::page_headers(response.headers_mut());
    response
}

/// `GET /`: a page for browsers, plain usage for tools.
pub(super) async fn home(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let url = &state.service.rules.public_url;
    match wants(&headers) {
        Wants::Html => pages::home(url),
        Wants::Json | Wants::Any => text(StatusCode::OK, pages::usage(url)),
    }
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
