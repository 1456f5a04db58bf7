//! `/transfers/{id}`: a transfer as its owner and team see it in a browser, and what they can do to it without JavaScript (ADR 25).

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;

use super::error::Problem;
use super::extract::Segment;
use super::link::see_other;
use super::pages::{self, Who};
use super::state::AppState;
use crate::service::Caller;
use crate::transfer::TransferId;

fn parse(id: &str) -> Result<TransferId, Problem> {
    id.parse().map_err(|_| Problem::new("not_found"))
}

/// `GET`: the page, also when the transfer has ended.
pub(super) async fn show(
    State(state): State<AppState>,
    Segment(id): Segment,
    caller: Caller,
) -> Result<Response, Problem> {
    let transfer = state.service.show(&caller, parse(&id)?).await?;
    Ok(pages::transfer(&transfer, &Who::from(&caller), caller.may_end(&transfer)))
}

/// `POST …/end`: ends it; repeated, it succeeds again.
pub(super) async fn end(
    State(state): State<AppState>,
    Segment(id): Segment,
    caller: Caller,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    state.service.delete(&caller, id).await?;
    see_other(&format!("/transfers/{id}"))
}

/// `POST …/links/{link}/revoke`: takes the link back; repeated, it succeeds again.
pub(super) async fn revoke(
    State(state): State<AppState>,
    caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    let unknown = || Problem::new("not_found");
    let Path((id, link)) = path.map_err(|_| unknown())?;
    let id = parse(&id)?;
    state.service.revoke_link(&caller, id, link.parse().map_err(|_| unknown())?).await?;
    see_other(&format!("/transfers/{id}"))
}
