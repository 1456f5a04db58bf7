//! Browser sessions: opened with a token, ended by hand or by their time (DESIGN §11, ADR 25).

use std::time::Duration;

use zeroize::Zeroizing;

use super::by::{TRIES, kept_changing};
use super::{Asker, Caller, Service, ServiceError};
use crate::crypto::{Token, TokenKind, wrap_account_key};
use crate::transfer::access::TokenRecord;
use crate::transfer::session::DeadSession;
use crate::transfer::{AccountId, Sealed, TeamId, TokenId};

/// A session just opened.
pub struct Session {
    /// Its token: the value of the cookie.
    pub token: Zeroizing<String>,
    /// Until its end.
    pub lasts: Duration,
}

impl Service {
    /// Opens a session with a token of a person or a service: for 12 hours, no longer than the token, with its scope. Records of
    /// sessions of the account that are over are dropped.
    ///
    /// # Errors
    /// [`ServiceError::TokenInvalid`] as [`Service::login`] says, and for the token of a session.
    pub async fn open_session(&self, token: &str, asker: Asker) -> Result<Session, ServiceError> {
        for _ in 0..TRIES {
            let caller = self.login(token, asker.clone()).await?;
            let parent = &caller.token;
            if parent.is_session() {
                return Err(ServiceError::TokenInvalid);
            }
            let context = self.context(caller.actor(), &caller.asker);
            let (account, id) = (caller.account.id, TokenId::generate(context.now));
            let token = Token::generate(TokenKind::Ses);
            let wrapped =
                wrap_account_key(&self.keks, &token, account.as_bytes(), id.as_bytes(), &caller.key);
            let end = parent.session_end(context.now);
            let record = TokenRecord {
                id,
                account,
                kind: "ses".to_owned(),
                hash: token.hash(),
                wrapped: Sealed(wrapped),
                scope: parent.scope.clone(),
                parent: Some(parent.id),
                created: context.now,
                expires: Some(end),
                revoked: None,
                last_used: None,
            };
            if self.commit_access(caller.account.add_token(record, &context)).await? {
                self.drop_dead_sessions(caller.team.id, account).await;
                let token = Zeroizing::new(token.text().to_owned());
                return Ok(Session { token, lasts: end.since(context.now) });
            }
        }
        Err(kept_changing())
    }

    /// Lets the holder of a session in.
    ///
    /// # Errors
    /// [`ServiceError::TokenInvalid`] as [`Service::login`] says, and for the token of no session. It is not counted as a guess:
    /// a browser sends the cookie of a session that is over with each page.
    pub async fn session(&self, token: &str, asker: Asker) -> Result<Caller, ServiceError> {
        let caller = self.let_in(token, asker).await?;
        if caller.token.is_session() { Ok(caller) } else { Err(ServiceError::TokenInvalid) }
    }

    /// Revokes the token of a session. What is no session, or none any more, is left as it is.
    ///
    /// # Errors
    /// The record store's.
    pub async fn close_session(&self, token: &str, asker: Asker) -> Result<(), ServiceError> {
        for _ in 0..TRIES {
            let caller = match self.session(token, asker.clone()).await {
                Ok(caller) => caller,
                Err(ServiceError::TokenInvalid) => return Ok(()),
                Err(error) => return Err(error),
            };
            let context = self.context(caller.actor(), &caller.asker);
            let tokens = self.records.tokens(caller.team.id, caller.account.id).await?;
            if self.commit_access(caller.account.revoke_token(caller.token.id, tokens, &context)).await? {
                return Ok(());
            }
        }
        Err(kept_changing())
    }

    /// Only tidies up: whoever logs in does not fail with it.
    async fn drop_dead_sessions(&self, team: TeamId, account: AccountId) {
        let dropped = async {
            let now = self.clock.now();
            let tokens = self.records.tokens(team, account).await?;
            let dead: Vec<_> = tokens.iter().filter_map(|token| DeadSession::of(token, now)).collect();
            if dead.is_empty() { Ok(()) } else { self.records.forget_sessions(dead).await }
        };
        if let Err(error) = dropped.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "sessions that are over not dropped");
        }
    }
}
