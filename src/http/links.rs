//! `/api/v1/transfers/{id}/links`: the links of a transfer (API.md).

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::error::Problem;
use super::extract::{Segment, id};
use super::json::Fields;
use super::list::List;
use super::state::AppState;
use crate::service::{Caller, LinkView, ServiceError};
use crate::transfer::policy::{MAX_DOWNLOADS, parse_end, parse_password};
use crate::transfer::terms::{LinkTerms, MAX_LABEL, is_label};
use crate::transfer::{LinkId, TransferId};

/// The two ids in a path. What is no id names nothing.
pub(super) type Ids = Result<Path<(String, String)>, PathRejection>;

pub(super) fn ids(path: Ids) -> Result<(TransferId, LinkId), Problem> {
    let Path((transfer, link)) = path.map_err(|_| Problem::new("not_found"))?;
    Ok((id(&transfer)?, id(&link)?))
}

/// `GET`: every link, those taken back too.
pub(super) async fn list(
    State(state): State<AppState>,
    Segment(transfer): Segment,
    caller: Caller,
) -> Result<Json<List<LinkView>>, Problem> {
    let items = state.service.show(&caller, id(&transfer)?).await?.links;
    Ok(List::whole(items))
}

/// `POST {downloads, deadline, label, password}`: one more.
pub(super) async fn create(
    State(state): State<AppState>,
    Segment(transfer): Segment,
    caller: Caller,
    mut fields: Fields,
) -> Result<(StatusCode, Json<LinkView>), Problem> {
    let id = id(&transfer)?;
    let whole = format!("a whole number from 1 to {MAX_DOWNLOADS}, or null for no limit");
    let downloads = fields.take("downloads", whole, |value| {
        value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MAX_DOWNLOADS).contains(n))
    })?;
    let end = "a time to live such as 90s, 2h or 7d, or an instant such as 2030-01-31T18:00:00Z";
    let deadline = fields.take("deadline", end, |value| value.as_str().and_then(parse_end))?;
    let words = format!("1 to {MAX_LABEL} characters, none of them a control character");
    let label = fields
        .take("label", words, |value| value.as_str().filter(|text| is_label(text)).map(str::to_owned))?;
    let password = fields.text("password")?.map(zeroize::Zeroizing::new);
    let password = password.map(|text| parse_password(&text)).transpose().map_err(ServiceError::from)?;
    fields.end("downloads, deadline, label and password")?;
    let terms = LinkTerms { downloads, deadline, label };
    let link = state.service.create_link(&caller, id, &terms, password.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(link)))
}

/// `GET`: one link, with its address for the account that sent the transfer.
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    path: Ids,
) -> Result<Json<LinkView>, Problem> {
    let (id, link) = ids(path)?;
    Ok(Json(state.service.link(&caller, id, link).await?))
}

/// `DELETE`: takes it back; repeated, it succeeds again.
pub(super) async fn revoke(
    State(state): State<AppState>,
    caller: Caller,
    path: Ids,
) -> Result<StatusCode, Problem> {
    let (id, link) = ids(path)?;
    state.service.revoke_link(&caller, id, link).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST …/unlock`: a link takes passwords again, whatever failed before; repeated, it succeeds again.
pub(super) async fn unlock(
    State(state): State<AppState>,
    caller: Caller,
    path: Ids,
) -> Result<StatusCode, Problem> {
    let (id, link) = ids(path)?;
    state.service.unlock_link(&caller, id, link).await?;
    Ok(StatusCode::NO_CONTENT)
}
