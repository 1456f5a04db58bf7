//! `/api/v1/teams`: whose transfers are whose, and what a team may hold.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;

use super::accounts::{AccountView, created, query_value};
use super::error::Problem;
use super::extract::{Segment, id};
use super::json::Fields;
use super::list::List;
use super::state::AppState;
use crate::service::{By, Caller, MadeTeam};
use crate::transfer::TeamId;
use crate::transfer::access::Team;
use crate::transfer::policy::parse_duration;
use crate::transfer::quota::{Limits, LimitsChange, MOST, NewLimit};

/// A team.
#[derive(Serialize)]
pub(super) struct TeamView {
    id: TeamId,
    name: String,
    /// Its admins manage teams.
    operator: bool,
    created: String,
    limits: LimitsView,
}

/// What it may hold; null where the team has no limit of its own.
#[derive(Serialize)]
struct LimitsView {
    bytes: Option<u64>,
    transfers: Option<u64>,
    uploads: Option<u64>,
    file_bytes: Option<u64>,
    /// Seconds.
    expires: Option<u64>,
}

impl TeamView {
    fn of(team: Team) -> Self {
        let Limits { bytes, transfers, uploads, file_bytes, expires } = team.limits;
        Self {
            id: team.id,
            name: team.name,
            operator: team.operator,
            created: team.created.to_string(),
            limits: LimitsView { bytes, transfers, uploads, file_bytes, expires },
        }
    }
}

/// A team just made.
#[derive(Serialize)]
struct MadeView {
    #[serde(flatten)]
    team: TeamView,
    /// Its first admin.
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<AccountView>,
    /// That one's first token: the only answer that has its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// What is asked of limits; what is not named stays.
fn limits(fields: &mut Fields) -> Result<LimitsChange, Problem> {
    let Some(mut limits) = fields.object("limits")? else { return Ok(LimitsChange::default()) };
    let whole = format!("a whole number from 1 to {MOST}, or null for no limit of its own");
    let mut limit = |name: &'static str, timed: bool| {
        let given = limits.has(name);
        let expected = if timed { format!("a time such as 12h or 7d, {whole}") } else { whole.clone() };
        let limit = limits.take(name, expected, |value| {
            let seconds =
                value.as_str().filter(|_| timed).and_then(parse_duration).map(|life| life.as_secs());
            NewLimit::of(seconds.or(value.as_u64())?)
        })?;
        Ok::<_, Problem>(given.then_some(limit.unwrap_or(NewLimit::NONE)))
    };
    let change = LimitsChange {
        bytes: limit("bytes", false)?,
        transfers: limit("transfers", false)?,
        uploads: limit("uploads", false)?,
        file_bytes: limit("file_bytes", false)?,
        expires: limit("expires", true)?,
    };
    limits.end("bytes, transfers, uploads, file_bytes and expires")?;
    Ok(change)
}

/// `GET`: all teams for who manages them, else the own one.
pub(super) async fn list(
    State(state): State<AppState>,
    uri: Uri,
    caller: Caller,
) -> Result<Json<List<TeamView>>, Problem> {
    query_value(&uri, None)?;
    let teams = state.service.teams(By::Caller(&caller)).await?;
    Ok(List::whole(teams.into_iter().map(TeamView::of)))
}

/// `POST`: a new team; with its first admin, if a name for one is given.
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let name = fields.text("name")?.unwrap_or_default();
    let admin = fields.text("admin")?;
    let limits = limits(&mut fields)?.of(Limits::default());
    fields.end("name, admin and limits")?;
    let by = By::Caller(&caller);
    let MadeTeam { team, admin } = state.service.create_team(by, &name, limits, admin.as_deref()).await?;
    let (admin, token) = admin.unzip();
    let view = MadeView {
        team: TeamView::of(team),
        admin: admin.map(AccountView::of),
        token: token.map(|token| token.text().to_owned()),
    };
    Ok(created("teams", view.team.id, view))
}

/// `PATCH`: another name, other limits; what is not named stays.
pub(super) async fn change(
    State(state): State<AppState>,
    Segment(team): Segment,
    caller: Caller,
    mut fields: Fields,
) -> Result<Json<TeamView>, Problem> {
    let name = fields.text("name")?;
    let limits = limits(&mut fields)?;
    fields.end("name and limits")?;
    let by = By::Caller(&caller);
    let team = state.service.change_team(by, id(&team)?, name, limits).await?;
    Ok(Json(TeamView::of(team)))
}

/// `DELETE`: takes it away, with its accounts.
pub(super) async fn remove(
    State(state): State<AppState>,
    Segment(team): Segment,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    state.service.remove_team(By::Caller(&caller), id(&team)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
