//! Tokens: how accounts prove themselves (DESIGN §6 "Account key", §11, §12).

use zeroize::Zeroizing;

use super::by::{By, TRIES, kept_changing};
use super::{Caller, Service, ServiceError};
use crate::clock::Timestamp;
pub use crate::crypto::TokenKind;
use crate::crypto::{AccountKey, KekRing, Token, open_account_key, wrap_account_key};
use crate::transfer::access::{Account, Capability, TokenRecord};
use crate::transfer::policy::OptionError;
use crate::transfer::{AccountId, Context, Sealed, TokenId};

/// How a new token comes by the account key.
pub enum KeySource {
    /// The account has none yet: this first token gives it one.
    First,
    /// The text of an old token of the account, which this caller presents.
    Token(Zeroizing<String>),
    /// A new key: every older token is revoked, and what was sent before can only be ended.
    Reset,
}

/// What a new token is to be.
#[derive(Clone, Debug)]
pub struct TokenTerms {
    /// Who bears it.
    pub kind: TokenKind,
    /// What it is good for, within what the role allows; absent: all of that.
    pub scope: Option<Vec<Capability>>,
    /// When it stops; absent: never, or with the token that it is made by.
    pub expires: Option<Timestamp>,
}

/// A token just made. Its text is shown once.
pub struct NewToken {
    /// The token.
    pub token: Token,
    /// Its record.
    pub record: TokenRecord,
    /// Transfers that can be ended, not read, since the account key is a new one.
    pub out_of_reach: u64,
    /// Older tokens that were revoked.
    pub revoked: usize,
}

impl Service {
    /// A new token of an account, for the operator.
    ///
    /// # Errors
    /// [`ServiceError::TokenInvalid`] if the old token is not one of this account's that stands; [`ServiceError::Option`] for a
    /// scope that the role does not have; [`ServiceError::Conflict`] if the account has a key and no old token is presented, if
    /// the new one would outlast the old one, or if the account has changed meanwhile.
    pub async fn create_token(
        &self,
        account: Account,
        terms: TokenTerms,
        source: KeySource,
    ) -> Result<NewToken, ServiceError> {
        let context = self.context_of(By::Operator);
        self.check_terms(&account, &terms, context.now).await?;
        let key = match source {
            KeySource::First if account.keyed => {
                return Err(ServiceError::Conflict(
                    "the account has a token already: an old token of it is needed for a new one".to_owned(),
                ));
            }
            KeySource::First => AccountKey::generate(),
            KeySource::Token(old) => {
                let old = Token::parse(&old).ok_or(ServiceError::TokenInvalid)?;
                let (key, old) = self.key_of(&account, &old).await?;
                if let Some(end) = old.expires
                    && terms.expires.is_none_or(|new| new > end)
                {
                    return Err(ServiceError::Conflict(format!(
                        "the old token ends at {end}, and a new one made with it ends no later: give it an end with --expires"
                    )));
                }
                if let Some(has) = &old.scope
                    && terms.scope.as_ref().is_none_or(|scope| scope.iter().any(|one| !has.contains(one)))
                {
                    return Err(ServiceError::Conflict(format!(
                        "the old token is good for {} alone, and a new one made with it for no more: give it such a scope with --scope",
                        words(has)
                    )));
                }
                key
            }
            KeySource::Reset => return self.reset(account, terms, &context).await?.ok_or_else(kept_changing),
        };
        let (token, record) = self.make(&account, &terms, &key, context.now);
        if !self.commit_access(account.add_token(record.clone(), &context)).await? {
            return Err(ServiceError::Conflict(
                "the account was changed by somebody else meanwhile".to_owned(),
            ));
        }
        Ok(NewToken { token, record, out_of_reach: 0, revoked: 0 })
    }

    /// A new token of the caller's own account, made with the caller's own key: it may do no more and ends no later than the token that
    /// the caller came with.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`], also for a scope beyond the caller's; [`ServiceError::Option`] for an end that has passed
    /// or comes later than the caller's; [`ServiceError::TokenInvalid`] if the caller's token was revoked meanwhile.
    pub async fn create_own_token(
        &self,
        caller: &Caller,
        mut terms: TokenTerms,
    ) -> Result<NewToken, ServiceError> {
        caller.require(Capability::OwnTokens)?;
        terms.scope = terms.scope.or_else(|| caller.token.scope.clone());
        By::Caller(caller).require_all(terms.scope.iter().flatten().copied())?;
        let end = caller.token.expires;
        terms.expires = terms.expires.or(end);
        if let Some(end) = end.filter(|end| terms.expires.is_some_and(|new| new > *end)) {
            let expected = format!("at the latest {end} here, when the token ends by which you make it");
            return Err(OptionError::Invalid { field: "expires", expected }.into());
        }
        for _ in 0..TRIES {
            let context = self.context_of(By::Caller(caller));
            check_end(&terms, context.now)?;
            // In this order: a key that is given a new token is that of the account's version, or the commit conflicts.
            let account = self.account_of(caller.team.id, caller.account.id).await?;
            let mine = self.records.token_of(caller.team.id, caller.token.id).await?;
            if !mine.is_some_and(|token| token.stands(context.now)) {
                return Err(ServiceError::TokenInvalid);
            }
            let (token, record) = self.make(&account, &terms, &caller.key, context.now);
            if self.commit_access(account.add_token(record.clone(), &context)).await? {
                return Ok(NewToken { token, record, out_of_reach: 0, revoked: 0 });
            }
        }
        Err(kept_changing())
    }

    /// A token for an account of the caller's team, made by who manages its accounts: its first one, or one with a new account key, which
    /// takes all older ones back.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`], also for what the caller may not do; [`ServiceError::NotFound`];
    /// [`ServiceError::Option`]; [`ServiceError::Conflict`] for an account that has a key, without `reset`.
    pub async fn create_token_for(
        &self,
        caller: &Caller,
        id: AccountId,
        terms: TokenTerms,
        reset: bool,
    ) -> Result<NewToken, ServiceError> {
        caller.require(Capability::Accounts)?;
        for _ in 0..TRIES {
            let context = self.context_of(By::Caller(caller));
            let account = self.account_of(caller.team.id, id).await?;
            self.check_terms(&account, &terms, context.now).await?;
            let capabilities = terms.scope.as_deref().unwrap_or(account.role.capabilities());
            By::Caller(caller).require_all(caller.team.reaches(capabilities))?;
            if reset {
                if let Some(made) = self.reset(account, terms.clone(), &context).await? {
                    return Ok(made);
                }
                continue;
            }
            if account.keyed {
                return Err(ServiceError::Conflict(format!(
                    "{} has a key already and makes its further tokens itself; \"reset\": true gives it a new key, revokes all of its \
                     tokens, and what it has sent can then only be ended",
                    account.name
                )));
            }
            let (token, record) = self.make(&account, &terms, &AccountKey::generate(), context.now);
            if self.commit_access(account.add_token(record.clone(), &context)).await? {
                return Ok(NewToken { token, record, out_of_reach: 0, revoked: 0 });
            }
        }
        Err(kept_changing())
    }

    /// The tokens of an account, oldest first, without anything that could prove it: the caller's own, or those of another one.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`]; [`ServiceError::NotFound`].
    pub async fn tokens_of(
        &self,
        caller: &Caller,
        account: Option<AccountId>,
    ) -> Result<Vec<TokenRecord>, ServiceError> {
        let id = account.unwrap_or(caller.account.id);
        require_tokens_of(caller, id)?;
        let account = self.account_of(caller.team.id, id).await?;
        self.tokens(&account).await
    }

    /// Takes a token of the caller's team back; repeated, it succeeds again.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`]; [`ServiceError::NotFound`].
    pub async fn revoke(&self, caller: &Caller, id: TokenId) -> Result<(), ServiceError> {
        let token = self.records.token_of(caller.team.id, id).await?.ok_or(ServiceError::NotFound)?;
        require_tokens_of(caller, token.account)?;
        self.revoke_by(By::Caller(caller), token.account, id, caller.team.id).await
    }

    /// The tokens of an account, without anything that could prove it.
    ///
    /// # Errors
    /// The record store's.
    pub async fn tokens(&self, account: &Account) -> Result<Vec<TokenRecord>, ServiceError> {
        Ok(self.records.tokens(account.team, account.id).await?)
    }

    /// Takes a token back, for the operator; repeated, it succeeds again. The browser sessions that were opened with it end too.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if the account has no such token.
    pub async fn revoke_token(&self, account: Account, id: TokenId) -> Result<(), ServiceError> {
        self.revoke_by(By::Operator, account.id, id, account.team).await
    }

    async fn revoke_by(
        &self,
        by: By<'_>,
        account: AccountId,
        id: TokenId,
        team: crate::transfer::TeamId,
    ) -> Result<(), ServiceError> {
        for _ in 0..TRIES {
            // A removed account has none that stands.
            let account = self.records.account_of(team, account).await?;
            let Some(account) = account else { return Ok(()) };
            let tokens = self.tokens(&account).await?;
            let token = tokens.iter().find(|token| token.id == id).ok_or(ServiceError::NotFound)?;
            if token.revoked.is_some() {
                return Ok(());
            }
            if self.commit_access(account.revoke_token(id, tokens, &self.context_of(by))).await? {
                return Ok(());
            }
        }
        Err(kept_changing())
    }

    /// A new account key under a new token. None if the account changed meanwhile.
    async fn reset(
        &self,
        account: Account,
        terms: TokenTerms,
        context: &Context,
    ) -> Result<Option<NewToken>, ServiceError> {
        let had_key = account.keyed;
        let (token, record) = self.make(&account, &terms, &AccountKey::generate(), context.now);
        let old = self.tokens(&account).await?;
        let revoked = old.iter().filter(|old| old.revoked.is_none()).count();
        let out_of_reach = self.records.live_transfers(account.team, account.id).await?;
        let change = if had_key {
            account.reset(record.clone(), old, context)
        } else {
            account.add_token(record.clone(), context)
        };
        let done = self.commit_access(change).await?;
        Ok(done.then_some(NewToken { token, record, out_of_reach, revoked }))
    }

    fn make(
        &self,
        account: &Account,
        terms: &TokenTerms,
        key: &AccountKey,
        now: Timestamp,
    ) -> (Token, TokenRecord) {
        let token = Token::generate(terms.kind);
        let record = seal_token(&self.keks, &token, account.id, key, now);
        let record = TokenRecord { scope: terms.scope.clone(), expires: terms.expires, ..record };
        (token, record)
    }

    /// The account's role has the scope, and the end is still to come.
    async fn check_terms(
        &self,
        account: &Account,
        terms: &TokenTerms,
        now: Timestamp,
    ) -> Result<(), ServiceError> {
        check_end(terms, now)?;
        let Some(scope) = &terms.scope else { return Ok(()) };
        let team = self.team(account.team).await?;
        let allowed: Vec<Capability> = team.reaches(account.role.capabilities()).collect();
        if scope.iter().all(|one| allowed.contains(one)) {
            return Ok(());
        }
        let (name, role) = (&account.name, account.role);
        let expected = format!("some of what {name} may do as {role}: {}", words(&allowed));
        Err(OptionError::Invalid { field: "scope", expected }.into())
    }

    /// The account key by an old token, and that token.
    async fn key_of(
        &self,
        account: &Account,
        old: &Token,
    ) -> Result<(AccountKey, TokenRecord), ServiceError> {
        let login = self.records.login(old.hash()).await?.ok_or(ServiceError::TokenInvalid)?;
        if login.account.id != account.id || !login.token.stands(self.clock.now().max(login.now)) {
            return Err(ServiceError::TokenInvalid);
        }
        let (id, token) = (account.id.as_bytes(), login.token.id);
        let key = open_account_key(&self.keks, old, id, token.as_bytes(), &login.token.wrapped.0)?;
        Ok((key, login.token))
    }
}

/// The account is the caller's own, or one of those that he manages.
fn require_tokens_of(caller: &Caller, account: AccountId) -> Result<(), ServiceError> {
    if account != caller.account.id {
        return caller.require(Capability::Accounts);
    }
    caller
        .require(Capability::OwnTokens)
        .or_else(|missing| caller.require(Capability::Accounts).map_err(|_| missing))
}

fn check_end(terms: &TokenTerms, now: Timestamp) -> Result<(), ServiceError> {
    if terms.expires.is_none_or(|end| end > now) {
        return Ok(());
    }
    let expected = "a time such as 12h or 90d, or an instant that is still to come".to_owned();
    Err(OptionError::Invalid { field: "expires", expected }.into())
}

/// The words of these, one behind the other.
fn words(capabilities: &[Capability]) -> String {
    capabilities.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ")
}

/// The record of a new token of an account, with the account key wrapped under it, good for everything and for ever.
pub(super) fn seal_token(
    keks: &KekRing,
    token: &Token,
    account: AccountId,
    key: &AccountKey,
    now: Timestamp,
) -> TokenRecord {
    let id = TokenId::generate(now);
    TokenRecord {
        id,
        account,
        kind: kind_word(token.kind()).to_owned(),
        hash: token.hash(),
        wrapped: Sealed(wrap_account_key(keks, token, account.as_bytes(), id.as_bytes(), key)),
        scope: None,
        parent: None,
        created: now,
        expires: None,
        revoked: None,
        last_used: None,
    }
}

const fn kind_word(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Usr => "usr",
        TokenKind::Svc => "svc",
        TokenKind::Ses => "ses",
    }
}
