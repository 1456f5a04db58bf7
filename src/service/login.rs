//! A token proves an account (DESIGN §11): one read a request, so that a revocation holds at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Asker, Service, ServiceError};
use crate::clock::Timestamp;
use crate::crypto::{AccountKey, Token, open_account_key};
use crate::storage::records::Login;
use crate::transfer::Actor;
use crate::transfer::access::{Account, Capability, Team, TokenRecord};

/// The last use of a token is kept to the minute.
const USE_KEPT_TO: Duration = Duration::from_mins(1);

/// A proved account, for the length of one request.
pub struct Caller {
    /// The account.
    pub account: Account,
    /// Its team.
    pub team: Team,
    /// The token that proved it.
    pub token: TokenRecord,
    /// Its hash, by which it is looked up again.
    hash: [u8; 32],
    /// When it was last seen to stand, in milliseconds since the epoch.
    seen: AtomicU64,
    /// The account key.
    pub(super) key: AccountKey,
    /// Where it asks from.
    pub asker: Asker,
}

impl Caller {
    pub(super) const fn actor(&self) -> Actor {
        Actor::Account(self.account.id)
    }

    /// Whether account and token allow it.
    #[must_use]
    pub fn may(&self, what: Capability) -> bool {
        self.account.may(&self.team, &self.token, what)
    }

    /// Account and token allow it.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`].
    pub fn require(&self, what: Capability) -> Result<(), ServiceError> {
        if self.may(what) { Ok(()) } else { Err(ServiceError::CapabilityMissing(what)) }
    }
}

/// Whether a text has a token's form and checksum. Whose it is, is for [`Service::login`] to see.
#[must_use]
pub fn is_token(text: &str) -> bool {
    Token::looks_like(text)
}

/// Nothing of it was taken away: not the token, not the account, not its team.
fn is_let_in(login: &Login, now: Timestamp) -> bool {
    login.token.stands(now) && login.account.acts() && login.team.removed.is_none()
}

/// What runs long notices a revoked token within this time (DESIGN §11).
const SEEN_FOR: Duration = Duration::from_secs(10);

impl Service {
    /// Asks again whether the caller may still send, if the last answer is 10 seconds old.
    ///
    /// # Errors
    /// [`ServiceError::TokenInvalid`] once the token was revoked or its end came, or account or team were disabled or removed;
    /// [`ServiceError::CapabilityMissing`] once the account may not send any more.
    pub(super) async fn still_stands(&self, caller: &Caller, now: Timestamp) -> Result<(), ServiceError> {
        if now.since(Timestamp::from_millis(caller.seen.load(Ordering::Relaxed))) < SEEN_FOR {
            return Ok(());
        }
        let login = self.records.login(caller.hash).await?.ok_or(ServiceError::TokenInvalid)?;
        if !is_let_in(&login, now.max(login.now)) {
            return Err(ServiceError::TokenInvalid);
        }
        if !login.account.may(&login.team, &login.token, Capability::Send) {
            return Err(ServiceError::CapabilityMissing(Capability::Send));
        }
        caller.seen.store(now.as_millis(), Ordering::Relaxed);
        Ok(())
    }

    /// [`Service::login`], and nothing is counted.
    pub(super) async fn let_in(&self, token: &str, asker: Asker) -> Result<Caller, ServiceError> {
        let token = Token::parse(token).ok_or(ServiceError::TokenInvalid)?;
        let login = self.records.login(token.hash()).await?.ok_or(ServiceError::TokenInvalid)?;
        let now = self.clock.now().max(login.now);
        if !is_let_in(&login, now) {
            return Err(ServiceError::TokenInvalid);
        }
        let (account, id) = (login.account.id, login.token.id);
        let key =
            open_account_key(&self.keks, &token, account.as_bytes(), id.as_bytes(), &login.token.wrapped.0)?;
        if login.token.last_used.is_none_or(|last| now.since(last) >= USE_KEPT_TO) {
            // Only a note: the request does not wait for it and does not fail with it.
            let records = std::sync::Arc::clone(&self.records);
            tokio::spawn(async move {
                if let Err(error) = records.used(id, now).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "last use of a token not noted");
                }
            });
        }
        let (hash, seen) = (token.hash(), AtomicU64::new(now.as_millis()));
        Ok(Caller { account: login.account, team: login.team, token: login.token, hash, seen, key, asker })
    }
}
