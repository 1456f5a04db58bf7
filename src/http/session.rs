//! `/login` and `/logout`: a browser's session, a token in a cookie (DESIGN §11, ADR 25).

use axum::body::{Body, to_bytes};
use axum::extract::{Form, FromRequest as _, Request, State};
use axum::http::header::{CONTENT_TYPE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::Problem;
use super::extract::{Origin, SESSION, Visitor, session_cookie};
use super::link::see_other;
use super::pages;
use super::state::AppState;

/// The longest body of a login.
const LONGEST: usize = 16 * 1024;

/// What the form sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: Zeroizing<String>,
}

/// `GET /login`: the form that asks for a token. Who has a session is led on.
pub(super) async fn page(
    State(state): State<AppState>,
    Visitor(visitor): Visitor,
) -> Result<Response, Problem> {
    if visitor.is_some_and(|caller| caller.token.is_session()) {
        return see_other("/");
    }
    Ok(pages::login(&state.service.rules.public_url))
}

/// `POST /login`: a token for a session.
pub(super) async fn login(
    State(state): State<AppState>,
    origin: Origin,
    request: Request,
) -> Result<Response, Problem> {
    let Login { token } = read(request).await?;
    let session = state.service.open_session(token.trim(), origin.asker()).await?;
    let mut response = see_other("/")?;
    let cookie = cookie(&session.token, session.lasts.as_secs())?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// `POST /logout`: the session's token is revoked, and the browser forgets it.
pub(super) async fn logout(
    State(state): State<AppState>,
    origin: Origin,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(token) = session_cookie(&headers) {
        state.service.close_session(token, origin.asker()).await?;
    }
    let mut response = see_other("/")?;
    response.headers_mut().insert(SET_COOKIE, cookie("", 0)?);
    Ok(response)
}

async fn read(request: Request) -> Result<Login, Problem> {
    let malformed = || Problem::new("request_malformed").detail("a login takes the field token, once");
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(Problem::new("media_type_unsupported").detail("a login takes a form"));
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LONGEST).await.map_err(|_| malformed())?;
    let request = Request::from_parts(parts, Body::from(body));
    Form::<Login>::from_request(request, &()).await.map(|Form(login)| login).map_err(|_| malformed())
}

/// Lax: a link in a mail may lead to a page of the logged-in. Unsafe requests of other sites are refused all the same.
fn cookie(token: &str, seconds: u64) -> Result<HeaderValue, Problem> {
    let text = Zeroizing::new(format!(
        "{SESSION}={token}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax"
    ));
    let mut cookie = HeaderValue::from_str(&text).map_err(|_| Problem::new("internal"))?;
    cookie.set_sensitive(true);
    Ok(cookie)
}
