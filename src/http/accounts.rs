//! `/api/v1/accounts`: who is in the team, and what they may do.

use std::fmt::Display;

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::Problem;
use super::extract::{Segment, id};
use super::json::Fields;
use super::list::List;
use super::options::query;
use super::state::AppState;
use crate::service::{By, Caller};
use crate::transfer::AccountId;
use crate::transfer::access::{Account, AccountChange, Role};

/// The value of the one name that the query may have; none has none.
///
/// # Errors
/// `option_unknown`, `option_conflict`.
pub(super) fn query_value(uri: &Uri, known: Option<&'static str>) -> Result<Option<String>, Problem> {
    let mut found = None;
    for (name, value) in query(uri) {
        let Some(known) = known.filter(|known| *known == name) else {
            let name: String = name.chars().take(64).collect();
            let detail = format!("there is no option {name:?} here");
            return Err(Problem::new("option_unknown").detail(detail).field(name));
        };
        if found.replace(value).is_some() {
            let detail = format!("{known} was given twice");
            return Err(Problem::new("option_conflict").field(known).detail(detail));
        }
    }
    Ok(found)
}

/// The words of these, for a sentence.
pub(super) fn words<T: Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// An answer 201 with where the thing is.
pub(super) fn created(place: &str, id: impl Display, body: impl Serialize) -> Response {
    (StatusCode::CREATED, [(LOCATION, format!("/api/v1/{place}/{id}"))], Json(body)).into_response()
}

/// An account as its team's admins see it.
#[derive(Serialize)]
pub(super) struct AccountView {
    id: AccountId,
    name: String,
    role: Role,
    created: String,
    /// Since when it is turned away.
    disabled: Option<String>,
    /// It has had a token, and with it a key.
    keyed: bool,
}

impl AccountView {
    pub(super) fn of(account: Account) -> Self {
        Self {
            id: account.id,
            name: account.name,
            role: account.role,
            created: account.created.to_string(),
            disabled: account.disabled.map(|at| at.to_string()),
            keyed: account.keyed,
        }
    }
}

fn role(fields: &mut Fields) -> Result<Option<Role>, Problem> {
    let expected = format!("one of {}", words(Role::ALL));
    fields.take("role", expected, |value| Role::parse(value.as_str()?))
}

/// `GET`: the accounts of the team, by name.
pub(super) async fn list(
    State(state): State<AppState>,
    uri: Uri,
    caller: Caller,
) -> Result<Json<List<AccountView>>, Problem> {
    query_value(&uri, None)?;
    let accounts = state.service.accounts(By::Caller(&caller), caller.team.id).await?;
    Ok(List::whole(accounts.into_iter().map(AccountView::of)))
}

/// `POST`: a further account of the team.
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let name = fields.text("name")?.unwrap_or_default();
    let role = role(&mut fields)?.unwrap_or(Role::Member);
    fields.end("name and role")?;
    let account = state.service.create_account(By::Caller(&caller), caller.team.id, &name, role).await?;
    Ok(created("accounts", account.id, AccountView::of(account)))
}

/// `PATCH`: another role, or whether it is let in.
pub(super) async fn change(
    State(state): State<AppState>,
    Segment(account): Segment,
    caller: Caller,
    mut fields: Fields,
) -> Result<Json<AccountView>, Problem> {
    let role = role(&mut fields)?;
    let disabled = fields.take("disabled", "true or false", serde_json::Value::as_bool)?;
    fields.end("role and disabled")?;
    let what = AccountChange { role, disabled };
    let by = By::Caller(&caller);
    let account = state.service.change_account(by, caller.team.id, id(&account)?, what).await?;
    Ok(Json(AccountView::of(account)))
}

/// `DELETE`: takes it away, with its tokens.
pub(super) async fn remove(
    State(state): State<AppState>,
    Segment(account): Segment,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    state.service.remove_account(By::Caller(&caller), caller.team.id, id(&account)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
