//! The one table from what went wrong to what is answered (RFC 9457, API.md).

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::extract::Origin;
use super::negotiate::{Wants, wants};
use super::{fields, pages, problems};
use crate::service::ServiceError;
use crate::transfer::LinkId;
use crate::transfer::policy::OptionError;

/// A refusal or a failure, as it is told. [`render`] gives it the form that the request asks for.
#[derive(Clone, Debug)]
pub struct Problem {
    code: &'static str,
    detail: Option<String>,
    field: Option<String>,
    retry_after: Option<Duration>,
    challenge: Option<Challenge>,
}

/// What a 401 asks for.
#[derive(Clone, Debug)]
pub enum Challenge {
    /// A token.
    Token,
    /// The secret of this link: a realm a link, or browsers answer one link with another's secret.
    Link(LinkId),
}

impl Problem {
    /// The problem of this code; its status and title stand in the table.
    #[must_use]
    pub const fn new(code: &'static str) -> Self {
        Self { code, detail: None, field: None, retry_after: None, challenge: None }
    }

    /// With what happened here. Never a secret.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With the field that it is about.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// With when to come back.
    #[must_use]
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// With what would be let in.
    #[must_use]
    pub fn challenge(mut self, challenge: Challenge) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The status of its code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        problems::kind(self.code)
            .and_then(|kind| StatusCode::from_u16(kind.status).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let soon = Duration::from_secs(5);
        let said = error.to_string();
        match error {
            ServiceError::TokenInvalid => Self::new("token_invalid").challenge(Challenge::Token),
            ServiceError::LinkNotFound => Self::new("link_not_found"),
            ServiceError::NotFound => Self::new("not_found"),
            ServiceError::PreconditionFailed => Self::new("precondition_failed"),
            ServiceError::CapabilityMissing(_) | ServiceError::NotOwner => {
                Self::new("capability_missing").detail(said)
            }
            ServiceError::LinkBusy { retry_after } => Self::new("link_busy").retry_after(retry_after),
            ServiceError::PasswordRequired(link) => {
                Self::new("password_required").challenge(Challenge::Link(link))
            }
            ServiceError::PasswordWrong(link) => Self::new("password_wrong").challenge(Challenge::Link(link)),
            ServiceError::PasswordBusy => Self::new("password_busy").retry_after(soon),
            ServiceError::TooManyAttempts { retry_after } => {
                // A part of a second counts as one: who comes back then is not early.
                Self::new("too_many_attempts").retry_after(retry_after + Duration::from_millis(999))
            }
            ServiceError::LinkStopped => Self::new("too_many_attempts").detail(said),
            ServiceError::Option(option) => {
                let code = match &option {
                    OptionError::Unknown(_) => "option_unknown",
                    OptionError::Invalid { .. } => "option_invalid",
                    OptionError::Conflict(_) => "option_conflict",
                    OptionError::ExpiresTooLong(_) | OptionError::DeadlineTooLate(_) => "expires_too_long",
                };
                Self::new(code).detail(said).field(option.field())
            }
            ServiceError::Name(_) => Self::new("name_invalid").detail(said).field("name"),
            ServiceError::NameTaken => Self::new("name_taken"),
            ServiceError::TooManyFiles => Self::new("too_many_files").detail(said),
            ServiceError::FileMissing => Self::new("file_missing"),
            ServiceError::FileTooLarge { .. } => Self::new("file_too_large").detail(said),
            ServiceError::QuotaExceeded(_) => Self::new("quota_exceeded").detail(said),
            ServiceError::LengthMismatch { .. } => Self::new("request_malformed").detail(said),
            ServiceError::Ended => Self::new("transfer_ended"),
            ServiceError::BuffersBusy => Self::new("buffers_busy").retry_after(soon),
            ServiceError::Conflict(_) => Self::new("conflict").detail(said),
            // What these say is for the operator.
            ServiceError::Audit(_) => logged("audit_unavailable", &said).retry_after(soon),
            ServiceError::Full(_) => logged("storage_full", &said),
            ServiceError::ClockBehind(_) => logged("store_unavailable", &said)
                .detail("The clock of the service is wrong, so a deadline would be too. Try again later. The operator is told in the log.")
                .retry_after(soon),
            ServiceError::Unavailable(_) => logged("store_unavailable", &said).retry_after(soon),
            ServiceError::Internal(_) => logged("internal", &said),
        }
    }
}

fn logged(code: &'static str, error: &str) -> Problem {
    tracing::error!(code, error, "request failed");
    Problem::new(code)
}

/// RFC 9457 §3.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    trace_id: &'a str,
}

/// What of a request decides the form of a problem; kept while the request is handled.
pub(super) struct Form {
    wants: Wants,
    /// A Basic challenge makes a browser ask for a password in a window of its own.
    asks_basic: bool,
    /// What stands in the way of a login is said on the page that asks for the token.
    logs_in: bool,
    link: Option<LinkId>,
}

impl Form {
    pub(super) fn of(request: &Request) -> Self {
        let headers = request.headers();
        let wants = match wants(headers) {
            _ if request.uri().path().starts_with("/api/") => Wants::Json,
            wants => wants,
        };
        Self {
            asks_basic: super::negotiate::is_tool(headers),
            logs_in: request.method() == Method::POST && request.uri().path() == "/login",
            wants,
            link: super::negotiate::link_of(request.uri().path()),
        }
    }

    /// The response to a problem: headers that a handler set stay.
    pub(super) fn render(
        &self,
        problem: &Problem,
        headers: &HeaderMap,
        public_url: &str,
        origin: &Origin,
    ) -> Response {
        let status = problem.status();
        let (title, help) =
            problems::kind(problem.code).map_or(("Error", ""), |kind| (kind.title, kind.help));
        let detail = problem.detail.as_deref().unwrap_or(help);
        let mut response = match self.wants {
            Wants::Json => {
                let json = Json {
                    kind: format!("{public_url}/problems/{}", problem.code),
                    title,
                    status: status.as_u16(),
                    code: problem.code,
                    detail,
                    field: problem.field.as_deref(),
                    trace_id: &origin.trace_id,
                };
                let body = serde_json::to_string(&json).unwrap_or_default();
                let kind = HeaderValue::from_static("application/problem+json");
                (status, [(CONTENT_TYPE, kind)], body).into_response()
            }
            Wants::Html if self.logs_in => pages::login_again(status, title, detail, public_url),
            Wants::Html => pages::problem_for(origin.who.get(), status, title, detail, problem.code),
            Wants::Any => {
                let line = match (problem.code, self.link) {
                    ("link_secret_required", Some(_)) => HOW_A_TOOL_FETCHES.to_owned(),
                    _ => format!("burnbag: {} ({})\n", one_line(detail), problem.code),
                };
                (status, [(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], line)
                    .into_response()
            }
        };
        let to = response.headers_mut();
        pages::page_headers(to);
        for (name, value) in headers {
            if [&ALLOW, &CONTENT_RANGE, &fields::POLICY, &fields::LIMIT].contains(&name) {
                to.insert(name.clone(), value.clone());
            }
        }
        if let Some(after) = problem.retry_after {
            to.insert(RETRY_AFTER, fields::seconds(after).into());
        }
        if status == StatusCode::UNAUTHORIZED {
            to.insert(WWW_AUTHENTICATE, self.challenge(problem));
        }
        response
    }

    fn challenge(&self, problem: &Problem) -> HeaderValue {
        let text = match &problem.challenge {
            Some(Challenge::Link(link)) if self.asks_basic => format!("Basic realm=\"burnbag {link}\""),
            Some(Challenge::Token) if self.asks_basic => "Basic realm=\"burnbag\"".to_owned(),
            _ => "Bearer".to_owned(),
        };
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}

const CONTENT_RANGE: HeaderName = axum::http::header::CONTENT_RANGE;

/// The one line for a tool that comes without the secret.
const HOW_A_TOOL_FETCHES: &str = "burnbag: this needs the link's secret: link='<the whole link>'; \
    curl --fail-with-body -u \"x:${link#*#}\" -o '<name>' \"${link%%#*}\" (link_secret_required)\n";

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
