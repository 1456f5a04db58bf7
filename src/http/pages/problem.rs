//! The page of an error, and the page behind a problem's `type`.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::Who;
use crate::http::problems;

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    who: Option<&'a Who>,
    title: &'a str,
    detail: &'a str,
    help: Option<&'a str>,
    status: u16,
    code: &'a str,
    /// Whether the code leads to its own page.
    linked: bool,
}

/// The page of one refused or failed request. `detail` is shown as text; the help of a known code follows it,
/// unless it says the same.
#[must_use]
pub fn problem(status: StatusCode, title: &str, detail: &str, code: &str) -> Response {
    problem_for(None, status, title, detail, code)
}

/// [`problem`], for who is logged in.
#[must_use]
pub fn problem_for(who: Option<&Who>, status: StatusCode, title: &str, detail: &str, code: &str) -> Response {
    let kind = problems::kind(code);
    let help = kind.map(|kind| kind.help).filter(|help| !detail.contains(help));
    let linked = kind.is_some();
    super::page(status, &Problem { who, title, detail, help, status: status.as_u16(), code, linked })
}

/// The page at `/problems/{code}`: 200, or none if there is no such code.
#[must_use]
pub fn problem_doc(code: &str) -> Option<Response> {
    let kind = problems::kind(code)?;
    let page = Problem {
        who: None,
        title: kind.title,
        detail: kind.help,
        help: None,
        status: kind.status,
        code: kind.code,
        linked: false,
    };
    Some(super::page(StatusCode::OK, &page))
}
