//! Who may do what: teams, accounts and tokens (DESIGN §11).

use serde::{Deserialize, Serialize};

pub use super::capability::{Capability, Role};
use super::id::{AccountId, TeamId, TokenId};
use super::quota::Limits;
use super::record::Sealed;
use crate::clock::Timestamp;

mod change;
mod transitions;

pub use change::{AccessChange, Part};
pub use transitions::{AccessRefused, AccountChange, FirstAdmin, NewTeam};

/// What a name of a team or an account is, as the end of the sentence "name is …".
pub const NAME_FORM: &str =
    "1 to 64 characters of a-z, 0-9, '.', '_' and '-', and begins with a letter or a digit";

/// Whether a team or an account can have this name. See [`NAME_FORM`].
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 64
        && bytes.first().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || b"._-".contains(byte))
}

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
    /// When it was removed. Its name is free again; the record stays, since transfers and the audit log name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Timestamp>,
}

impl Team {
    /// Which of these its accounts can have: [`Capability::Teams`] only those of the operator's team.
    pub fn reaches(&self, what: &[Capability]) -> impl Iterator<Item = Capability> {
        what.iter().copied().filter(|what| *what != Capability::Teams || self.operator)
    }
}

impl Account {
    /// Neither disabled nor removed.
    #[must_use]
    pub const fn acts(&self) -> bool {
        self.disabled.is_none() && self.removed.is_none()
    }

    /// Whether an account with this token may do it: its role, in its team, and the token's own scope allow it.
    #[must_use]
    pub fn may(&self, team: &Team, token: &TokenRecord, what: Capability) -> bool {
        let scoped = token.scope.as_ref().is_none_or(|scope| scope.contains(&what));
        scoped && team.reaches(self.role.capabilities()).any(|one| one == what)
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
