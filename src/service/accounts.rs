//! Accounts and their tokens (DESIGN §6 "Account key", §12).

use super::{Service, ServiceError};
use crate::clock::Timestamp;
pub use crate::crypto::TokenKind;
use crate::crypto::{AccountKey, Token, open_account_key, wrap_account_key};
use crate::storage::StoreError;
use crate::transfer::access::{AccessChange, Account, TokenRecord};
use crate::transfer::{AccountId, Actor, Context, Sealed, TeamId, TokenId};
use zeroize::Zeroizing;

/// How a new token comes by the account key.
pub enum KeySource {
    /// The account has none yet: this first token gives it one.
    First,
    /// The text of an old token of the account, which this caller presents.
    Token(Zeroizing<String>),
    /// A new key: every older token is revoked, and what was sent before can only be ended.
    Reset,
}

/// A token just made. Its text is shown once.
pub struct NewToken {
    /// The token.
    pub token: Token,
    /// Its id.
    pub id: TokenId,
    /// Transfers that can be ended, not read, since the account key is a new one.
    pub out_of_reach: u64,
    /// Older tokens that were revoked.
    pub revoked: usize,
}

impl Service {
    fn operator(&self) -> Context {
        self.context(Actor::Operator, &super::Asker::default())
    }

    /// Makes team `default` and account `admin` where there is no account yet. True if it did.
    ///
    /// # Errors
    /// The record store's.
    pub async fn first_account(&self) -> Result<bool, ServiceError> {
        if !self.records.accounts().await?.is_empty() {
            return Ok(false);
        }
        let context = self.operator();
        let (team, account) = (TeamId::generate(context.now), AccountId::generate(context.now));
        match self.records.commit_access(AccessChange::first(team, account, &context)).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The account of this name.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn account(&self, name: &str) -> Result<Account, ServiceError> {
        self.records.account(name).await?.ok_or(ServiceError::NotFound)
    }

    /// A new token of an account.
    ///
    /// # Errors
    /// [`ServiceError::TokenInvalid`] if the old token is not one of this account's that stands;
    /// [`ServiceError::Conflict`] if the account has a key and no old token is presented, if the new one would outlast the
    /// old one, or if the account has changed meanwhile.
    pub async fn create_token(
        &self,
        account: Account,
        kind: TokenKind,
        expires: Option<Timestamp>,
        source: KeySource,
    ) -> Result<NewToken, ServiceError> {
        let context = self.operator();
        let mut out_of_reach = 0;
        let mut revoked = 0;
        let (key, resets) = match source {
            KeySource::First if account.keyed => {
                return Err(ServiceError::Conflict(
                    "the account has a token already: an old token of it is needed for a new one".to_owned(),
                ));
            }
            KeySource::First => (AccountKey::generate(), false),
            KeySource::Token(old) => {
                let old = Token::parse(&old).ok_or(ServiceError::TokenInvalid)?;
                let (key, end) = self.key_of(&account, &old).await?;
                if end.is_some_and(|end| expires.is_none_or(|new| new > end)) {
                    let end = end.unwrap_or_default();
                    return Err(ServiceError::Conflict(format!(
                        "the old token ends at {end}, and a new one made with it ends no later: give it an end with --expires"
                    )));
                }
                (key, false)
            }
            KeySource::Reset => (AccountKey::generate(), account.keyed),
        };
        let token = Token::generate(kind);
        let id = TokenId::generate(context.now);
        let wrapped = wrap_account_key(&self.keks, &token, account.id.as_bytes(), id.as_bytes(), &key);
        let record = TokenRecord {
            id,
            account: account.id,
            kind: kind_word(kind).to_owned(),
            hash: token.hash(),
            wrapped: Sealed(wrapped),
            scope: None,
            parent: None,
            created: context.now,
            expires,
            revoked: None,
            last_used: None,
        };
        let change = if resets {
            let old = self.records.tokens(account.id).await?;
            revoked = old.iter().filter(|old| old.revoked.is_none()).count();
            out_of_reach = self.records.live_transfers(account.team, account.id).await?;
            account.reset(record, old, &context)
        } else {
            account.add_token(record, &context)
        };
        self.records.commit_access(change).await?;
        self.outbox.ring();
        Ok(NewToken { token, id, out_of_reach, revoked })
    }

    /// The account key by an old token, and the end of that token.
    async fn key_of(
        &self,
        account: &Account,
        old: &Token,
    ) -> Result<(AccountKey, Option<Timestamp>), ServiceError> {
        let login = self.records.login(old.hash()).await?.ok_or(ServiceError::TokenInvalid)?;
        if login.account.id != account.id || !login.token.stands(self.clock.now().max(login.now)) {
            return Err(ServiceError::TokenInvalid);
        }
        let (id, token) = (account.id.as_bytes(), login.token.id);
        let key = open_account_key(&self.keks, old, id, token.as_bytes(), &login.token.wrapped.0)?;
        Ok((key, login.token.expires))
    }

    /// The tokens of an account, without anything that could prove it.
    ///
    /// # Errors
    /// The record store's.
    pub async fn tokens(&self, account: &Account) -> Result<Vec<TokenRecord>, ServiceError> {
        Ok(self.records.tokens(account.id).await?)
    }

    /// Takes a token back; repeated, it succeeds again.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if the account has no such token.
    pub async fn revoke_token(&self, account: Account, id: TokenId) -> Result<(), ServiceError> {
        let tokens = self.records.tokens(account.id).await?;
        let token = tokens.into_iter().find(|token| token.id == id).ok_or(ServiceError::NotFound)?;
        if token.revoked.is_some() {
            return Ok(());
        }
        self.records.commit_access(account.revoke_token(token, &self.operator())).await?;
        self.outbox.ring();
        Ok(())
    }
}

const fn kind_word(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Usr => "usr",
        TokenKind::Svc => "svc",
        TokenKind::Ses => "ses",
    }
}
