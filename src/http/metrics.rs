//! Metrics, on a listener of their own: who may read them is decided by who reaches its address.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::Mutex;

use super::edge::EdgeLimits;
use crate::metrics::Form;
use crate::service::Service;

/// One scrape asks the stores at a time; another one waits so long for its turn.
const TURN: Duration = Duration::from_secs(5);

/// The listener's own: few connections, and short patience with each.
pub const LIMITS: EdgeLimits = EdgeLimits {
    connections: 16,
    first_byte: Duration::from_secs(10),
    header: Duration::from_secs(5),
    idle_body: Duration::from_secs(5),
    slowest_body: 4096,
    body_window: Duration::from_secs(5),
    idle_write: Duration::from_secs(10),
    keep_alive: Duration::from_secs(75),
    drain: Duration::from_secs(1),
};

#[derive(Clone)]
struct Scraped {
    service: Arc<Service>,
    turn: Arc<Mutex<()>>,
}

/// GET and HEAD of `/metrics`; everything else is told so.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .fallback(elsewhere)
        .method_not_allowed_fallback(other_method)
        .with_state(Scraped { service, turn: Arc::default() })
}

async fn scrape(State(Scraped { service, turn }): State<Scraped>, headers: HeaderMap) -> Response {
    let Ok(_mine) = tokio::time::timeout(TURN, turn.lock()).await else {
        let text = "burnbag: too many scrapes at once: ask less often\n";
        return plain(StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], text.to_owned());
    };
    let form = form(&headers);
    let text = service.metrics.text(form, &service.observe().await);
    plain(StatusCode::OK, [(CONTENT_TYPE, form.media_type())], text)
}

async fn elsewhere() -> Response {
    let text = "burnbag: metrics are at /metrics, and nothing else is here\n";
    plain(StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text.to_owned())
}

async fn other_method() -> Response {
    let text = "burnbag: metrics are read by GET or HEAD of /metrics\n";
    plain(StatusCode::METHOD_NOT_ALLOWED, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text.to_owned())
}

fn plain(status: StatusCode, header: [(HeaderName, &'static str); 1], text: String) -> Response {
    let always = [(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, always, header, text).into_response()
}

/// `OpenMetrics` for who names it and does not say `q=0`; the older text for all others.
fn form(headers: &HeaderMap) -> Form {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let takes_open = accepts.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named =
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        let refused = |part: &str| part.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0_f32);
        named && !parts.any(refused)
    });
    if takes_open { Form::OpenMetrics } else { Form::Prometheus }
}
