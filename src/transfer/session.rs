//! Browser sessions: tokens of the kind `ses`, opened with another token of the same account (DESIGN §11).

use std::time::Duration;

use super::access::TokenRecord;
use super::id::{AccountId, TokenId};
use crate::clock::Timestamp;

/// A session lasts so long at most.
const LONGEST: Duration = Duration::from_hours(12);

impl TokenRecord {
    /// Whether it is that of a browser session.
    #[must_use]
    pub fn is_session(&self) -> bool {
        self.kind == "ses"
    }

    /// When a session ends that is opened with this token at `now`: after 12 hours, and no later than the token.
    #[must_use]
    pub fn session_end(&self, now: Timestamp) -> Timestamp {
        let longest = now.after(LONGEST);
        self.expires.map_or(longest, |end| end.min(longest))
    }
}

/// A session that lets nobody in any more, so that its record can go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadSession {
    account: AccountId,
    id: TokenId,
    hash: [u8; 32],
}

impl DeadSession {
    /// None for any other token, and for a session that still stands.
    #[must_use]
    pub fn of(token: &TokenRecord, now: Timestamp) -> Option<Self> {
        let dead = token.is_session() && !token.stands(now);
        dead.then_some(Self { account: token.account, id: token.id, hash: token.hash })
    }

    /// Whose it was.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The id of its token.
    #[must_use]
    pub const fn id(&self) -> TokenId {
        self.id
    }

    /// SHA-256 of its token.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}
