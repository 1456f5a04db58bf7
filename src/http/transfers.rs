//! `/api/v1/transfers/{id}`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::Problem;
use super::extract::Segment;
use super::state::AppState;
use crate::service::{Caller, TransferView};

/// `GET`: the transfer, also when it has ended.
pub(super) async fn show(
    State(state): State<AppState>,
    Segment(id): Segment,
    caller: Caller,
) -> Result<Json<TransferView>, Problem> {
    let id = id.parse().map_err(|_| Problem::new("not_found"))?;
    Ok(Json(state.service.show(&caller, id).await?))
}

/// `DELETE`: ends it; repeated, it succeeds again.
pub(super) async fn delete(
    State(state): State<AppState>,
    Segment(id): Segment,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    let id = id.parse().map_err(|_| Problem::new("not_found"))?;
    state.service.delete(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
