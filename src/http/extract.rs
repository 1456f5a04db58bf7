//! What is read out of a request before a use case is called: who asks, and what proves them.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, Path};
use axum::http::header::{COOKIE, ORIGIN, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use headers::authorization::{Basic, Bearer};
use headers::{Authorization, HeaderMapExt as _};
use zeroize::Zeroizing;

use super::client::ClientAddress;
use super::error::{Challenge, Problem};
use super::pages::Who;
use super::state::AppState;
use crate::service::{Asker, Caller, Holder, OpenTransfer, Proof, ServiceError, Standing, is_token};
use crate::transfer::LinkId;

/// The one parameter of a route, decoded. One that is not UTF-8 names nothing.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) =
            Path::from_request_parts(parts, state).await.map_err(|_| Problem::new("not_found"))?;
        Ok(Self(text))
    }
}

/// An id in a path or query. What is no id names nothing: `not_found`.
pub(super) fn id<T: FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::new("not_found"))
}

/// The request's id and its asker, laid into every request by the outermost layer.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) trace_id: String,
    pub(super) client: ClientAddress,
    /// Who was let in, for the header of a page that says why it went no further.
    pub(super) who: Arc<OnceLock<Who>>,
    pub(super) consulted: Consulted,
}

/// What the limit of a token or a link said to this request, for the fields of its answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Consulted(Arc<OnceLock<Standing>>);

impl Consulted {
    pub(super) fn said(&self) -> Option<&Standing> {
        self.0.get()
    }

    /// Lets the request go on, or not.
    ///
    /// # Errors
    /// `rate_limited`.
    fn heed(&self, standing: Option<Standing>) -> Result<(), Problem> {
        let Some(standing) = standing else { return Ok(()) };
        let _ = self.0.set(standing);
        if standing.refused {
            return Err(Problem::new("rate_limited").retry_after(standing.reset));
        }
        Ok(())
    }
}

impl Origin {
    pub(super) fn asker(&self) -> Asker {
        Asker {
            client: Some(self.client.to_string()),
            group: Some(self.client.group()),
            trace: Some(self.trace_id.clone()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or(Problem::new("internal"))
    }
}

/// What the `Authorization` header offers.
pub enum Offered {
    /// There is none.
    Nothing,
    /// Something of a token's form, in either part.
    Token(Zeroizing<String>),
    /// The password of Basic, where it is no token.
    Basic(Zeroizing<String>),
    /// Another scheme, or a text that does not read.
    Other,
}

/// Reads the `Authorization` header.
#[must_use]
pub fn offered(headers: &HeaderMap) -> Offered {
    if let Some(Authorization(bearer)) = headers.typed_get::<Authorization<Bearer>>() {
        return Offered::Token(Zeroizing::new(bearer.token().to_owned()));
    }
    if let Some(Authorization(basic)) = headers.typed_get::<Authorization<Basic>>() {
        let token = [basic.password(), basic.username()].into_iter().find(|part| is_token(part));
        return match token {
            Some(token) => Offered::Token(Zeroizing::new(token.to_owned())),
            None => Offered::Basic(Zeroizing::new(basic.password().to_owned())),
        };
    }
    if headers.contains_key(axum::http::header::AUTHORIZATION) { Offered::Other } else { Offered::Nothing }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let origin = Origin::from_request_parts(parts, state).await?;
        let caller = match offered(&parts.headers) {
            Offered::Token(token) => state.service.login(&token, origin.asker()).await?,
            Offered::Nothing => {
                let session = session_cookie(&parts.headers)
                    .ok_or(Problem::new("token_required").challenge(Challenge::Token))?;
                state.service.session(session, origin.asker()).await?
            }
            Offered::Basic(_) | Offered::Other => Err(ServiceError::TokenInvalid)?,
        };
        origin.who.get_or_init(|| Who::from(&caller));
        origin.consulted.heed(state.service.count_token(&caller).await?)?;
        Ok(caller)
    }
}

/// Whoever looks at a page: a caller, or nobody. A session or a token that is no good counts as none.
pub(super) struct Visitor(pub(super) Option<Caller>);

impl FromRequestParts<AppState> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        match Caller::from_request_parts(parts, state).await {
            Ok(caller) => Ok(Self(Some(caller))),
            Err(problem) if matches!(problem.code(), "token_required" | "token_invalid") => Ok(Self(None)),
            Err(problem) => Err(problem),
        }
    }
}

/// A proof of a link, and whose leases its downloads join.
pub(super) struct LinkProof {
    pub(super) proof: Proof,
    pub(super) holder: Holder,
}

/// What proves `link` below `/d/`: Basic, or else the ticket. A token opens nothing here. The request is counted for the link.
///
/// # Errors
/// Nothing usable was offered: `link_secret_required`. What is no secret, or no ticket of this link, opens nothing. [`count_link`]'s.
pub(super) async fn link_proof(
    state: &AppState,
    headers: &HeaderMap,
    origin: &Origin,
    link: LinkId,
) -> Result<LinkProof, Problem> {
    let proof = offered_proof(state, headers, origin, link)?;
    count_link(state, origin, link, &proof.proof).await?;
    Ok(proof)
}

/// Counts the request for the link, if it proved itself.
///
/// # Errors
/// `rate_limited`, or the record store's.
pub(super) async fn count_link(
    state: &AppState,
    origin: &Origin,
    link: LinkId,
    proof: &Proof,
) -> Result<(), Problem> {
    origin.consulted.heed(state.service.count_link(link, proof).await?)
}

fn offered_proof(
    state: &AppState,
    headers: &HeaderMap,
    origin: &Origin,
    link: LinkId,
) -> Result<LinkProof, Problem> {
    let required = || Problem::new("link_secret_required").challenge(Challenge::Link(link));
    match offered(headers) {
        Offered::Basic(password) => {
            // The secret has no colon in it; the link's password may.
            let (secret, password) = password.split_once(':').unwrap_or((&password, ""));
            let proof = Proof::parse(secret).ok_or(Problem::new("link_not_found"))?.with_password(password);
            let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
            Ok(LinkProof { proof, holder: OpenTransfer::holder_of(link, &origin.client.group(), agent) })
        }
        Offered::Nothing => {
            let ticket = ticket_cookie(headers).ok_or_else(required)?;
            let held = state.service.open_ticket(link, ticket).map_err(|_| required())?;
            Ok(LinkProof { proof: held.proof, holder: held.holder })
        }
        Offered::Token(_) | Offered::Other => Err(required()),
    }
}

/// The name of the ticket's cookie.
pub const TICKET: &str = "__Secure-bb-d";

/// The text of the ticket among the cookies.
#[must_use]
pub fn ticket_cookie(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, TICKET)
}

/// The name of the session's cookie.
pub const SESSION: &str = "__Host-bb";

/// The token of the session among the cookies.
#[must_use]
pub fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, SESSION)
}

fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value)
}

/// Whether an unsafe request comes from a page of another site (DESIGN §11).
#[must_use]
pub fn is_cross_site(method: &Method, headers: &HeaderMap, public_url: &str) -> bool {
    if method.is_safe() {
        return false;
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes() != public_url.as_bytes())
}
