//! `/transfers/{id}`: a transfer as its owner and team see it in a browser, and what they can do to it without JavaScript (ADR 25).

use axum::extract::State;
use axum::response::Response;

use super::error::Problem;
use super::extract::{Segment, id};
use super::link::see_other;
use super::links::{Ids, ids};
use super::pages::{self, Who};
use super::state::AppState;
use crate::service::Caller;

/// `GET`: the page, also when the transfer has ended.
pub(super) async fn show(
    State(state): State<AppState>,
    Segment(transfer): Segment,
    caller: Caller,
) -> Result<Response, Problem> {
    let transfer = state.service.show(&caller, id(&transfer)?).await?;
    Ok(pages::transfer(&transfer, &Who::from(&caller), caller.may_end(&transfer)))
}

/// `POST …/end`: ends it; repeated, it succeeds again.
pub(super) async fn end(
    State(state): State<AppState>,
    Segment(transfer): Segment,
    caller: Caller,
) -> Result<Response, Problem> {
    let id = id(&transfer)?;
    state.service.delete(&caller, id).await?;
    see_other(&format!("/transfers/{id}"))
}

/// `POST …/links/{link}/revoke`: takes the link back; repeated, it succeeds again.
pub(super) async fn revoke(
    State(state): State<AppState>,
    caller: Caller,
    path: Ids,
) -> Result<Response, Problem> {
    let (id, link) = ids(path)?;
    state.service.revoke_link(&caller, id, link).await?;
    see_other(&format!("/transfers/{id}"))
}
