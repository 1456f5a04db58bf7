//! `/api/v1/transfers/{id}/links/{link}/unlock`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::error::Problem;
use super::state::AppState;
use crate::service::Caller;

/// `POST`: a link takes passwords again, whatever failed before; repeated, it succeeds again.
pub(super) async fn unlock(
    State(state): State<AppState>,
    caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let unknown = || Problem::new("not_found");
    let Path((id, link)) = path.map_err(|_| unknown())?;
    let (id, link) = (id.parse().map_err(|_| unknown())?, link.parse().map_err(|_| unknown())?);
    state.service.unlock_link(&caller, id, link).await?;
    Ok(StatusCode::NO_CONTENT)
}
