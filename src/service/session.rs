//! Browser sessions: opened with a token, ended by hand or by their time (DESIGN §11, ADR 25).

use std::time::Duration;

use zeroize::Zeroizing;

use super::{Asker, Service, ServiceError};
use crate::crypto::{Token, TokenKind, wrap_account_key};
use crate::metrics::Store;
use crate::storage::StoreError;
use crate::transfer::access::{AccessChange, TokenRecord};
use crate::transfer::session::DeadSession;
use crate::transfer::{AccountId, Sealed, TokenId};

/// Somebody else may change an account between read and commit so often before it is given up.
const TRIES: usize = 5;

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
            match self.commit_session(caller.account.add_token(record, &context)).await {
                Err(StoreError::Conflict) => {}
                done => {
                    done?;
                    self.drop_dead_sessions(account).await;
                    let token = Zeroizing::new(token.text().to_owned());
                    return Ok(Session { token, lasts: end.since(context.now) });
                }
            }
        }
        Err(ServiceError::Unavailable("the account kept changing".to_owned()))
    }

    /// Revokes the token of a session. What is no session, or none any more, is left as it is.
    ///
    /// # Errors
    /// The record store's.
    pub async fn close_session(&self, token: &str, asker: Asker) -> Result<(), ServiceError> {
        for _ in 0..TRIES {
            let caller = match self.login(token, asker.clone()).await {
                Ok(caller) if caller.token.is_session() => caller,
                Ok(_) | Err(ServiceError::TokenInvalid) => return Ok(()),
                Err(error) => return Err(error),
            };
            let context = self.context(caller.actor(), &caller.asker);
            match self.commit_session(caller.account.revoke_token(caller.token, &context)).await {
                Err(StoreError::Conflict) => {}
                done => return Ok(done?),
            }
        }
        Err(ServiceError::Unavailable("the account kept changing".to_owned()))
    }

    /// Commits, and sends again what was not answered, under the same operation.
    async fn commit_session(&self, change: AccessChange) -> Result<(), StoreError> {
        let mut done = self.records.commit_access(change.clone()).await;
        if matches!(done, Err(StoreError::Unavailable(_))) {
            self.metrics.retried(Store::Records, "commit_access");
            done = self.records.commit_access(change).await;
        }
        self.outbox.ring();
        done
    }

    /// Only tidies up: whoever logs in does not fail with it.
    async fn drop_dead_sessions(&self, account: AccountId) {
        let dropped = async {
            let now = self.clock.now();
            let tokens = self.records.tokens(account).await?;
            let dead: Vec<_> = tokens.iter().filter_map(|token| DeadSession::of(token, now)).collect();
            if dead.is_empty() { Ok(()) } else { self.records.forget_sessions(dead).await }
        };
        if let Err(error) = dropped.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "sessions that are over not dropped");
        }
    }
}
