//! The page that asks for a token.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    /// What stood in the way.
    refused: Option<(&'a str, &'a str)>,
    needs_https: bool,
}

/// The page at `/login`.
#[must_use]
pub fn login(public_url: &str) -> Response {
    let page = Login { refused: None, needs_https: needs_https(public_url) };
    super::page(StatusCode::OK, &page)
}

/// The same page after a login that was refused, and why.
#[must_use]
pub fn login_again(status: StatusCode, title: &str, detail: &str, public_url: &str) -> Response {
    let page = Login { refused: Some((title, detail)), needs_https: needs_https(public_url) };
    super::page(status, &page)
}

/// Browsers drop the cookies of a service over plain http, but on the machine itself.
fn needs_https(public_url: &str) -> bool {
    let Some(host) = public_url.strip_prefix("http://") else { return false };
    let host = host.trim_end_matches('/');
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    !(name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::needs_https;

    #[test]
    fn plain_http_will_do_on_the_machine_itself() {
        for (url, needs) in [
            ("https://bag.example", false),
            ("http://127.0.0.1:8080", false),
            ("http://localhost:8080", false),
            ("http://[::1]:8080", false),
            ("http://[::1]", false),
            ("http://bag.example", true),
            ("http://192.0.2.7:8080", true),
            ("http://localhost.example", true),
        ] {
            assert_eq!(needs_https(url), needs, "{url}");
        }
    }
}
