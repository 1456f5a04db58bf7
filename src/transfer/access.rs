//! Who may do what: teams, accounts and tokens (DESIGN §11).

use serde::{Deserialize, Serialize};

pub use super::capability::{Capability, Role};
use super::event::{Context, Event, EventType};
use super::id::{AccountId, OperationId, TeamId, TokenId};
use super::quota::Limits;
use super::record::Sealed;
use crate::clock::Timestamp;

/// A team: who owns transfers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Team {
    /// Its id.
    pub id: TeamId,
    /// Its name.
    pub name: String,
    /// The shard in which everything of it lives.
    pub shard: u8,
    /// When it was made.
    pub created: Timestamp,
    /// Goes up by one with each change of the team or of who its admins are.
    #[serde(default)]
    pub version: u64,
    /// The operator's own team, made on the first start: its admins make other teams.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
    /// Its admins that are not disabled; never empty once it has had one.
    #[serde(default)]
    pub admins: Vec<AccountId>,
    /// What it may hold.
    #[serde(default)]
    pub limits: Limits,
    /// When it was removed: none of its accounts is let in any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Timestamp>,
}

/// A person or a service in one team.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its team.
    pub team: TeamId,
    /// Its name, one of a kind.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Goes up by one with each change of the account or its tokens.
    pub version: u64,
    /// When it was made.
    pub created: Timestamp,
    /// It has an account key, wrapped under its tokens.
    pub keyed: bool,
    /// Since when none of its tokens is let in; absent: they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Timestamp>,
}

impl Account {
    /// Whether an account with this token may do it: its role, in its team, and the token's own scope allow it.
    #[must_use]
    pub fn may(&self, team: &Team, token: &TokenRecord, what: Capability) -> bool {
        let reaches = what != Capability::Teams || team.operator;
        let scoped = token.scope.as_ref().is_none_or(|scope| scope.contains(&what));
        reaches && scoped && self.role.capabilities().contains(&what)
    }
}

/// How an account proves itself. The token itself is nowhere; what is stored is its hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub account: AccountId,
    /// The word after `bb_`.
    pub kind: String,
    /// SHA-256 of the whole token.
    #[serde(with = "super::id::base64_bytes")]
    pub hash: [u8; 32],
    /// The account key, wrapped under this token (DESIGN §6).
    pub wrapped: Sealed,
    /// What it is good for, within what the account's role allows; absent: all of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<Capability>>,
    /// For a browser session: the token that it was opened with, whose revocation ends it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TokenId>,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
}

impl TokenRecord {
    /// Neither revoked nor past its end.
    #[must_use]
    pub fn stands(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| now < end)
    }
}

/// A decided change of teams, accounts and tokens, to be committed with its events in one atomic step.
#[derive(Clone, Debug)]
#[must_use = "a change does nothing until it is committed"]
pub struct AccessChange {
    operation: OperationId,
    team: Option<Team>,
    account: Account,
    expected: Option<u64>,
    tokens: Vec<TokenRecord>,
    events: Vec<Event>,
}

impl AccessChange {
    /// Under which the change can be sent again.
    #[must_use]
    pub const fn operation(&self) -> OperationId {
        self.operation
    }

    /// A team made new.
    #[must_use]
    pub const fn team(&self) -> Option<&Team> {
        self.team.as_ref()
    }

    /// The account after the change.
    #[must_use]
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// The version that the store must hold; absent: there must be no account of that name.
    #[must_use]
    pub const fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// Tokens made or changed.
    #[must_use]
    pub fn tokens(&self) -> &[TokenRecord] {
        &self.tokens
    }

    /// The events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The first account of an empty store, an admin without a key, with the team that it belongs to.
    pub fn first(team: TeamId, account: AccountId, context: &Context) -> Self {
        let now = context.now;
        Self {
            operation: context.operation,
            team: Some(Team {
                id: team,
                name: "default".to_owned(),
                shard: 0,
                created: now,
                version: 1,
                operator: true,
                admins: vec![account],
                limits: Limits::default(),
                removed: None,
            }),
            account: Account {
                id: account,
                team,
                name: "admin".to_owned(),
                role: Role::Admin,
                version: 1,
                created: now,
                keyed: false,
                disabled: None,
            },
            expected: None,
            tokens: Vec::new(),
            events: vec![
                context.event(0, EventType::TeamCreated),
                context.event(1, EventType::AccountCreated),
            ],
        }
    }
}

impl Account {
    /// A further account of the same team, without a key until its first token.
    pub fn create(team: TeamId, id: AccountId, name: &str, role: Role, context: &Context) -> AccessChange {
        let account = Self {
            id,
            team,
            name: name.to_owned(),
            role,
            version: 1,
            created: context.now,
            keyed: false,
            disabled: None,
        };
        let events = vec![context.event(0, EventType::AccountCreated)];
        AccessChange {
            operation: context.operation,
            team: None,
            account,
            expected: None,
            tokens: Vec::new(),
            events,
        }
    }

    /// A token more; the first one gives the account its key.
    pub fn add_token(mut self, token: TokenRecord, context: &Context) -> AccessChange {
        self.keyed = true;
        self.changed(context, vec![token], vec![context.event(0, EventType::TokenCreated)])
    }

    /// Takes a token back.
    pub fn revoke_token(self, mut token: TokenRecord, context: &Context) -> AccessChange {
        token.revoked = Some(context.now);
        self.changed(context, vec![token], vec![context.event(0, EventType::TokenRevoked)])
    }

    /// A new account key under a new token; every older token in `old` is revoked in the same step.
    pub fn reset(mut self, token: TokenRecord, old: Vec<TokenRecord>, context: &Context) -> AccessChange {
        self.keyed = true;
        let mut events =
            vec![context.event(0, EventType::AccountReset), context.event(1, EventType::TokenCreated)];
        let mut tokens = vec![token];
        for mut old in old.into_iter().filter(|old| old.revoked.is_none()) {
            old.revoked = Some(context.now);
            tokens.push(old);
            events.push(context.event(events.len(), EventType::TokenRevoked));
        }
        self.changed(context, tokens, events)
    }

    fn changed(mut self, context: &Context, tokens: Vec<TokenRecord>, events: Vec<Event>) -> AccessChange {
        let expected = self.version;
        self.version = self.version.saturating_add(1);
        let operation = context.operation;
        AccessChange { operation, team: None, account: self, expected: Some(expected), tokens, events }
    }
}
