//! `GET /api/v1/transfers`, a page at a time, and what a caller may do and has left.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::Problem;
use super::list::List;
use super::options::query;
use super::state::AppState;
use crate::service::{Caller, Me, SenderLimits, ServiceError, TransferView};
use crate::transfer::TransferId;
use crate::transfer::policy::OptionError;

/// The most transfers of a page, and as many as it has if nothing is said.
const MOST: usize = 100;
const USUAL: usize = 50;

/// What a cursor begins with, so that another form can be told from it.
const CURSOR: u8 = 1;

/// What is asked of the list.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    state: Option<crate::transfer::State>,
    cursor: Option<String>,
    limit: Option<usize>,
}

impl Asked {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut asked = Self::default();
        for (name, value) in query(uri) {
            match name.as_str() {
                "state" => put(&mut asked.state, "state", parse_state(&value)?)?,
                "limit" => put(&mut asked.limit, "limit", parse_limit(&value)?)?,
                "cursor" => put(&mut asked.cursor, "cursor", value)?,
                _ => {
                    let name: String = name.chars().take(64).collect();
                    let detail =
                        format!("there is no option {name:?} here; the options are state, cursor and limit");
                    return Err(Problem::new("option_unknown").detail(detail).field(name));
                }
            }
        }
        Ok(asked)
    }
}

fn put<T: PartialEq>(slot: &mut Option<T>, field: &'static str, value: T) -> Result<(), Problem> {
    if slot.as_ref().is_some_and(|old| *old != value) {
        return Err(ServiceError::from(OptionError::Conflict(field)).into());
    }
    *slot = Some(value);
    Ok(())
}

fn invalid(field: &'static str, expected: &str) -> Problem {
    ServiceError::from(OptionError::Invalid { field, expected: expected.to_owned() }).into()
}

fn parse_state(text: &str) -> Result<crate::transfer::State, Problem> {
    use crate::transfer::State::{Available, Ended, Held, Purged, Uploading};
    let found = [Uploading, Held, Available, Ended, Purged].into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| invalid("state", "uploading, held, available, ended or purged"))
}

fn parse_limit(text: &str) -> Result<usize, Problem> {
    let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let expected = format!("a whole number from 1 to {MOST}");
    number.filter(|number| (1..=MOST).contains(number)).ok_or_else(|| invalid("limit", &expected))
}

fn cursor(behind: TransferId) -> String {
    URL_SAFE_NO_PAD.encode([&[CURSOR], behind.as_bytes().as_slice()].concat())
}

fn parse_cursor(text: &str) -> Result<TransferId, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let id = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes.strip_prefix(&[CURSOR])?).ok());
    id.map(TransferId::from_bytes).ok_or(Problem::new("cursor_invalid").field("cursor"))
}

/// `GET /api/v1/transfers`: the team's transfers, newest first, ended ones until their tombstone goes.
pub(super) async fn list(
    State(state): State<AppState>,
    uri: Uri,
    caller: Caller,
) -> Result<Json<List<TransferView>>, Problem> {
    let asked = Asked::read(&uri)?;
    let before = asked.cursor.as_deref().map(parse_cursor).transpose()?;
    let limit = asked.limit.unwrap_or(USUAL);
    let page = state.service.list(&caller, asked.state, before, limit).await?;
    Ok(List::page(page.items, page.next.map(cursor)))
}

/// `GET /api/v1/me`.
pub(super) async fn me(State(state): State<AppState>, caller: Caller) -> Result<Json<Me>, Problem> {
    Ok(Json(state.service.me(&caller).await?))
}

/// `GET /api/v1/limits`.
pub(super) async fn limits(State(state): State<AppState>) -> Json<SenderLimits> {
    Json(state.service.sender_limits())
}
