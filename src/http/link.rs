//! Below `/d/`: the page of a link, its ticket, its index and its files (DESIGN §10 "The link", "For tools").

use axum::extract::{Form, FromRequest as _, Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::edge::Exchange;
use super::error::Problem;
use super::extract::{LinkProof, Offered, Origin, Segment, TICKET, count_link, id, link_proof, offered};
use super::negotiate::{Wants, decode, is_navigation, is_tool, wants};
use super::pages::{self, Index, IndexFile, IndexTransfer};
use super::state::AppState;
use super::{file, options};
use crate::service::{Caller, OpenTransfer, Proof};
use crate::transfer::LinkId;

fn parse(link: &str) -> Result<LinkId, Problem> {
    link.parse().map_err(|_| Problem::new("link_not_found"))
}

pub(super) fn see_other(to: &str) -> Result<Response, Problem> {
    let to = HeaderValue::from_str(to).map_err(|_| Problem::new("internal"))?;
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response();
    pages::page_headers(response.headers_mut());
    Ok(response)
}

/// `GET /d/{link}`: with Basic the file, or the index of several; else the page, or how a tool gets the file.
pub(super) async fn link(
    State(state): State<AppState>,
    Segment(text): Segment,
    Extension(exchange): Extension<Exchange>,
    origin: Origin,
    (method, headers): (Method, HeaderMap),
) -> Result<Response, Problem> {
    if matches!(offered(&headers), Offered::Nothing) {
        return match wants(&headers) {
            Wants::Html => Ok(pages::receive()),
            _ if is_navigation(&headers) => Ok(pages::receive()),
            _ => Err(parse(&text).map_or(Problem::new("link_not_found"), |link| {
                Problem::new("link_secret_required").challenge(super::error::Challenge::Link(link))
            })),
        };
    }
    let link = parse(&text)?;
    let LinkProof { proof, holder } = link_proof(&state, &headers, &origin, link).await?;
    let open = state.service.open(link, &proof, &origin.asker()).await?;
    match open.files.as_slice() {
        [one] => file::serve(&state, (&method, &headers), (&origin, &exchange), (&open, one, holder)).await,
        _ => see_other(&format!("/d/{link}/")),
    }
}

/// `DELETE /d/{link}`: ends the transfer, by a token.
pub(super) async fn delete(
    State(state): State<AppState>,
    Segment(link): Segment,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    state.service.delete_by_link(&caller, id(&link)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the page sends for a ticket.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    secret: Zeroizing<String>,
    #[serde(default)]
    password: Zeroizing<String>,
}

/// The longest body of a ticket's request.
const LONGEST_ASK: usize = 16 * 1024;

/// `POST /d/{link}/ticket`, and `POST /d/{link}` from the page's own form: secret and password for a ticket in a cookie.
pub(super) async fn ticket(
    State(state): State<AppState>,
    Segment(text): Segment,
    origin: Origin,
    request: Request,
) -> Result<Response, Problem> {
    let link = parse(&text)?;
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.starts_with("application/x-www-form-urlencoded");
    let ask = read_ask(is_form, kind.starts_with("application/json"), request).await?;
    let secret = pages::pasted_secret(&ask.secret);
    let proof = Proof::parse(secret).ok_or(Problem::new("link_not_found"))?.with_password(&ask.password);
    count_link(&state, &origin, link, &proof).await?;
    let open = state.service.open(link, &proof, &origin.asker()).await?;
    let index = index_of(&open);
    let (ticket, until) = state.service.ticket(&open, proof);
    let seconds = until.since(state.service.clock.now()).as_secs();
    let cookie = Zeroizing::new(format!(
        "{TICKET}={}; Path=/d/{link}; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict",
        ticket.as_str()
    ));
    let mut cookie = HeaderValue::from_str(&cookie).map_err(|_| Problem::new("internal"))?;
    cookie.set_sensitive(true);
    let mut response = if is_form { see_other(&format!("/d/{link}/"))? } else { json_index(&index) };
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

async fn read_ask(is_form: bool, is_json: bool, request: Request) -> Result<Ask, Problem> {
    let malformed = || {
        Problem::new("request_malformed").detail("a ticket takes the fields secret and password, each once")
    };
    if !is_form && !is_json {
        return Err(Problem::new("media_type_unsupported").detail("a ticket takes JSON or a form"));
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LONGEST_ASK).await.map_err(|_| malformed())?;
    let request = Request::from_parts(parts, axum::body::Body::from(body));
    if is_form {
        Form::<Ask>::from_request(request, &()).await.map(|Form(ask)| ask).map_err(|_| malformed())
    } else {
        Json::<Ask>::from_request(request, &()).await.map(|Json(ask)| ask).map_err(|_| malformed())
    }
}

fn index_of(open: &OpenTransfer) -> Index {
    let files = open.files.iter().map(|file| IndexFile {
        name: file.name.clone(),
        size: file.size,
        media_type: file.media_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned()),
    });
    Index { transfer: IndexTransfer { deadline: open.deadline().to_string(), files: files.collect() } }
}

fn json_index(index: &Index) -> Response {
    let mut response = Json(index).into_response();
    pages::page_headers(response.headers_mut());
    response
}

/// `GET /d/{link}/`: the index.
pub(super) async fn index(
    State(state): State<AppState>,
    Segment(text): Segment,
    origin: Origin,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let link = parse(&text)?;
    let LinkProof { proof, .. } = match link_proof(&state, &headers, &origin, link).await {
        Err(problem) => return without_ticket(problem, &headers, link),
        Ok(proof) => proof,
    };
    let index = index_of(&state.service.open(link, &proof, &origin.asker()).await?);
    Ok(if wants(&headers) == Wants::Json { json_index(&index) } else { pages::index(&index) })
}

/// A person who comes without a ticket is led to the page that gives one.
fn without_ticket(problem: Problem, headers: &HeaderMap, link: LinkId) -> Result<Response, Problem> {
    if problem.code() == "link_secret_required" && !is_tool(headers) && is_navigation(headers) {
        return see_other(&format!("/d/{link}"));
    }
    Err(problem)
}

/// `GET /d/{link}/{path}`: a file, or what is in a folder.
pub(super) async fn below(
    State(state): State<AppState>,
    Extension(exchange): Extension<Exchange>,
    origin: Origin,
    uri: Uri,
    (method, headers): (Method, HeaderMap),
) -> Result<Response, Problem> {
    let rest = uri.path().strip_prefix("/d/").unwrap_or_default();
    let (link, path) = rest.split_once('/').unwrap_or((rest, ""));
    let link = parse(link)?;
    let LinkProof { proof, holder } = match link_proof(&state, &headers, &origin, link).await {
        Err(problem) => return without_ticket(problem, &headers, link),
        Ok(proof) => proof,
    };
    let open = state.service.open(link, &proof, &origin.asker()).await?;
    let path = decode(path).ok_or(Problem::new("not_found"))?;
    if let Some(folder) = path.strip_suffix('/') {
        return pages::folder(&index_of(&open), folder).ok_or(Problem::new("not_found"));
    }
    if options::query(&uri).any(|(name, value)| name == "as" && value == "zip") {
        return see_other(&format!("/d/{link}/"));
    }
    let wanted = open.file(&path).ok_or(Problem::new("not_found"))?;
    file::serve(&state, (&method, &headers), (&origin, &exchange), (&open, wanted, holder)).await
}
