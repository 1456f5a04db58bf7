//! `/api/v1/transfers/{id}`.

use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use headers::IfMatch;

use super::error::Problem;
use super::extract::{Segment, id};
use super::json::Fields;
use super::range::condition;
use super::state::AppState;
use crate::service::{Caller, TransferView};
use crate::transfer::policy::parse_end;

/// A transfer, and which version of it was seen: for `If-Match` (RFC 9110 §13.1.1).
type Shown = ([(HeaderName, String); 1], Json<TransferView>);

fn tag(transfer: &TransferView) -> String {
    format!("\"{}\"", transfer.version)
}

fn shown(transfer: TransferView) -> Shown {
    ([(ETAG, tag(&transfer))], Json(transfer))
}

/// `GET`: the transfer, also when it has ended.
pub(super) async fn show(
    State(state): State<AppState>,
    Segment(transfer): Segment,
    caller: Caller,
) -> Result<Shown, Problem> {
    Ok(shown(state.service.show(&caller, id(&transfer)?).await?))
}

/// `PATCH {deadline}`: moves the deadline.
pub(super) async fn change(
    State(state): State<AppState>,
    Segment(transfer): Segment,
    caller: Caller,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Shown, Problem> {
    let id = id(&transfer)?;
    let end = "a time to live such as 90s, 2h or 7d, or an instant such as 2030-01-31T18:00:00Z";
    let deadline = fields.take("deadline", end, |value| value.as_str().and_then(parse_end))?;
    fields.end("deadline")?;
    let missing = || Problem::new("option_invalid").field("deadline").detail(format!("deadline is {end}"));
    let deadline = deadline.ok_or_else(missing)?;
    let mut version = None;
    if headers.contains_key(axum::http::header::IF_MATCH) {
        let now = state.service.show(&caller, id).await?;
        let condition = condition::<IfMatch>(&headers);
        let seen =
            tag(&now).parse().is_ok_and(|tag| condition.is_some_and(|all| all.precondition_passes(&tag)));
        if !seen {
            return Err(Problem::new("precondition_failed"));
        }
        version = Some(now.version);
    }
    Ok(shown(state.service.move_deadline(&caller, id, deadline, version).await?))
}

/// `DELETE`: ends it; repeated, it succeeds again.
pub(super) async fn delete(
    State(state): State<AppState>,
    Segment(transfer): Segment,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    state.service.delete(&caller, id(&transfer)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
