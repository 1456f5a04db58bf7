//! `/api/v1/tokens`: one's own, and those of others for who manages them.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;

use super::accounts::{created, query_value, words};
use super::error::Problem;
use super::extract::{Segment, id};
use super::json::Fields;
use super::list::List;
use super::state::AppState;
use crate::service::{Caller, TokenKind, TokenTerms};
use crate::transfer::access::{Capability, TokenRecord};
use crate::transfer::policy::parse_expires;
use crate::transfer::{AccountId, TokenId};

/// A token without anything that could prove it.
#[derive(Serialize)]
pub(super) struct TokenView {
    id: TokenId,
    account: AccountId,
    kind: String,
    /// What it is good for, within what the role allows; null for all of that.
    scope: Option<Vec<Capability>>,
    created: String,
    expires: Option<String>,
    revoked: Option<String>,
    last_used: Option<String>,
}

impl TokenView {
    fn of(token: TokenRecord) -> Self {
        Self {
            id: token.id,
            account: token.account,
            kind: token.kind,
            scope: token.scope,
            created: token.created.to_string(),
            expires: token.expires.map(|at| at.to_string()),
            revoked: token.revoked.map(|at| at.to_string()),
            last_used: token.last_used.map(|at| at.to_string()),
        }
    }
}

/// A token just made: the only answer that has its text.
#[derive(Serialize)]
struct MadeView {
    token: String,
    #[serde(flatten)]
    view: TokenView,
    /// Older tokens that were revoked with it.
    revoked_tokens: usize,
    /// Live transfers that can only be ended now, not read.
    out_of_reach: u64,
}

/// `GET`: the caller's own tokens, or with `?account=<id>` those of another one.
pub(super) async fn list(
    State(state): State<AppState>,
    uri: Uri,
    caller: Caller,
) -> Result<Json<List<TokenView>>, Problem> {
    let account = query_value(&uri, Some("account"))?.as_deref().map(id).transpose()?;
    let tokens = state.service.tokens_of(&caller, account).await?;
    Ok(List::whole(tokens.into_iter().map(TokenView::of)))
}

fn terms(state: &AppState, fields: &mut Fields) -> Result<TokenTerms, Problem> {
    let kind = fields.take("kind", "usr or svc", |value| match value.as_str()? {
        "usr" => Some(TokenKind::Usr),
        "svc" => Some(TokenKind::Svc),
        _ => None,
    })?;
    let expected = format!("a list of some of {}", words(Capability::ALL));
    let scope = fields.take("scope", expected, |value| {
        let words = value.as_array()?.iter().map(|word| Capability::parse(word.as_str()?));
        words.collect::<Option<Vec<_>>>().filter(|scope| !scope.is_empty())
    })?;
    let expected = "a time to live such as 12h or 90d, or an instant such as 2030-01-31T18:00:00Z";
    let expires = fields.take("expires", expected, |value| parse_expires(value.as_str()?).ok())?;
    let expires = expires.map(|expires| expires.from(state.service.clock.now()));
    Ok(TokenTerms { kind: kind.unwrap_or(TokenKind::Usr), scope, expires })
}

/// `POST`: a token of one's own account; or the first one of another account, or one with a new key.
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    mut fields: Fields,
) -> Result<Response, Problem> {
    let terms = terms(&state, &mut fields)?;
    let account: Option<AccountId> =
        fields.take("account", "the id of an account, 32 lower-case hex digits", |value| {
            value.as_str()?.parse().ok()
        })?;
    let reset = fields.take("reset", "true or false", serde_json::Value::as_bool)?.unwrap_or(false);
    fields.end("kind, scope, expires, account and reset")?;
    let account = account.unwrap_or(caller.account.id);
    let made = if account == caller.account.id && !reset {
        state.service.create_own_token(&caller, terms).await?
    } else {
        state.service.create_token_for(&caller, account, terms, reset).await?
    };
    let view = MadeView {
        token: made.token.text().to_owned(),
        revoked_tokens: made.revoked,
        out_of_reach: made.out_of_reach,
        view: TokenView::of(made.record),
    };
    Ok(created("tokens", view.view.id, view))
}

/// `DELETE`: takes it back; repeated, it succeeds again.
pub(super) async fn revoke(
    State(state): State<AppState>,
    Segment(token): Segment,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    state.service.revoke(&caller, id(&token)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
