//! What may happen to teams, accounts and tokens. Each consumes what it changes and gives back the change.
//!
//! A change of who the admins of a team are carries the team with its version, so that of two that would together take the
//! last admins away one conflicts, is decided anew, and is refused.

use super::super::event::{Context, EventType};
use super::super::id::{AccountId, TeamId, TokenId};
use super::super::quota::Limits;
use super::change::{AccessChange, Part};
use super::{Account, Role, Team, TokenRecord};

/// Why a change is not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccessRefused {
    /// Nobody could manage the team any more.
    #[error(
        "{0} is the last admin of its team, and the last admin cannot be removed: make another account an admin first"
    )]
    LastAdmin(String),
    /// Nobody could make teams any more.
    #[error("{0} is the operator's own team, and it cannot be removed")]
    OperatorsTeam(String),
}

/// A team to be made.
#[derive(Clone, Debug)]
pub struct NewTeam {
    /// Its id.
    pub id: TeamId,
    /// Its name. See [`super::is_name`].
    pub name: String,
    /// Where it lives.
    pub shard: u8,
    /// What it may hold.
    pub limits: Limits,
}

/// The first admin of a new team, with the token by which it is handed over.
#[derive(Clone, Debug)]
pub struct FirstAdmin {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Its first token.
    pub token: TokenRecord,
}

/// What of an account is to be another. Absent: it stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccountChange {
    /// Its role.
    pub role: Option<Role>,
    /// Whether its tokens are turned away.
    pub disabled: Option<bool>,
}

impl AccessChange {
    /// The first account of an empty store, an admin without a key, with the team that it belongs to.
    pub fn first(team: TeamId, account: AccountId, context: &Context) -> Self {
        let new = NewTeam { id: team, name: "default".to_owned(), shard: 0, limits: Limits::default() };
        let mut change = Team::create(new, context);
        if let Some(team) = &mut change.team {
            team.record.operator = true;
        }
        change.with_account(Account::new(team, account, "admin", Role::Admin, context))
    }

    /// With the first admin of the team that this change makes.
    pub fn with_first_admin(self, admin: FirstAdmin) -> Self {
        let Some(team) = &self.team else { return self };
        let mut account = Account::new(team.record.id, admin.id, &admin.name, Role::Admin, &self.context);
        account.keyed = true;
        let mut change = self.with_account(account);
        change.tell(EventType::TokenCreated, about_token(&admin.token));
        change.tokens.push(admin.token);
        change
    }

    /// With a new account of the team, which keeps its admins.
    fn with_account(mut self, account: Account) -> Self {
        if let Some(team) = &mut self.team {
            team.record.keep(&account);
        }
        self.tell(EventType::AccountCreated, format!("account {} {}", account.id, account.role));
        self.accounts.push(Part { record: account, expected: None });
        self
    }

    fn revoke(&mut self, tokens: impl IntoIterator<Item = TokenRecord>) {
        for mut token in tokens.into_iter().filter(|token| token.revoked.is_none()) {
            token.revoked = Some(self.context.now);
            self.tell(EventType::TokenRevoked, about_token(&token));
            self.tokens.push(token);
        }
    }
}

fn about_token(token: &TokenRecord) -> String {
    format!("token {} of account {}", token.id, token.account)
}

impl Team {
    /// A new team, without accounts.
    pub fn create(new: NewTeam, context: &Context) -> AccessChange {
        let NewTeam { id, name, shard, limits } = new;
        let team = Self {
            id,
            name,
            shard,
            created: context.now,
            version: 1,
            operator: false,
            admins: Vec::new(),
            limits,
            removed: None,
        };
        let mut change = AccessChange::new(context);
        change.tell(EventType::TeamCreated, format!("team {id}"));
        change.team = Some(Part { record: team, expected: None });
        change
    }

    /// Another name, other limits, or both. Absent: it stays.
    pub fn change(mut self, name: Option<String>, limits: Option<Limits>, context: &Context) -> AccessChange {
        self.name = name.unwrap_or(self.name);
        self.limits = limits.unwrap_or(self.limits);
        let mut change = AccessChange::new(context);
        change.tell(EventType::TeamChanged, format!("team {}", self.id));
        change.team = Some(self.next());
        change
    }

    /// Takes it away with all of its accounts and their tokens.
    ///
    /// # Errors
    /// [`AccessRefused::OperatorsTeam`].
    pub fn remove(
        mut self,
        accounts: Vec<Account>,
        tokens: Vec<TokenRecord>,
        context: &Context,
    ) -> Result<AccessChange, AccessRefused> {
        if self.operator {
            return Err(AccessRefused::OperatorsTeam(self.name));
        }
        self.removed = Some(context.now);
        self.admins.clear();
        let mut change = AccessChange::new(context);
        for account in accounts {
            change.tell(EventType::AccountRemoved, format!("account {}", account.id));
            change.accounts.push(account.removed(context));
        }
        change.revoke(tokens);
        change.tell(EventType::TeamRemoved, format!("team {}", self.id));
        change.team = Some(self.next());
        Ok(change)
    }

    /// Of a store from before teams had versions: it becomes the operator's, and its admins are noted.
    pub fn settle(mut self, accounts: Vec<Account>, context: &Context) -> AccessChange {
        self.operator = true;
        for account in &accounts {
            self.keep(account);
        }
        let mut change = AccessChange::new(context);
        change.tell(EventType::TeamChanged, format!("team {}", self.id));
        change.accounts = accounts.into_iter().map(Account::unchanged).collect();
        let expected = Some(0);
        self.version = 1;
        change.team = Some(Part { record: self, expected });
        change
    }

    /// With this account among its admins, if it is one that acts. Whether that changed anything.
    fn keep(&mut self, account: &Account) -> bool {
        let was = self.admins.contains(&account.id);
        let is = account.role == Role::Admin && account.acts();
        if is && !was {
            self.admins.push(account.id);
        } else if was && !is {
            self.admins.retain(|admin| *admin != account.id);
        }
        was != is
    }

    /// As it is beside a change that leaves this of one of its accounts.
    fn beside(mut self, account: &Account) -> Result<Part<Self>, AccessRefused> {
        if !self.keep(account) {
            return Ok(Part { expected: Some(self.version), record: self });
        }
        if self.admins.is_empty() {
            return Err(AccessRefused::LastAdmin(account.name.clone()));
        }
        Ok(self.next())
    }

    fn next(mut self) -> Part<Self> {
        let expected = Some(self.version);
        self.version = self.version.saturating_add(1);
        Part { record: self, expected }
    }
}

impl Account {
    fn new(team: TeamId, id: AccountId, name: &str, role: Role, context: &Context) -> Self {
        Self {
            id,
            team,
            name: name.to_owned(),
            role,
            version: 1,
            created: context.now,
            keyed: false,
            disabled: None,
            removed: None,
        }
    }

    /// A further account of a team, without a key until its first token.
    pub fn create(team: Team, id: AccountId, name: &str, role: Role, context: &Context) -> AccessChange {
        let account = Self::new(team.id, id, name, role, context);
        let mut change = AccessChange::new(context);
        // Also where it stays as it is: the team must still be there.
        let mut part = Part { expected: Some(team.version), record: team };
        if role == Role::Admin {
            part = part.record.next();
        }
        change.team = Some(part);
        change.with_account(account)
    }

    /// Another role, or whether it is let in.
    ///
    /// # Errors
    /// [`AccessRefused::LastAdmin`].
    pub fn change(
        mut self,
        team: Team,
        what: AccountChange,
        context: &Context,
    ) -> Result<AccessChange, AccessRefused> {
        let mut change = AccessChange::new(context);
        let mut about = format!("account {}", self.id);
        if let Some(role) = what.role {
            self.role = role;
            about = format!("{about} {role}");
        }
        if let Some(disabled) = what.disabled {
            self.disabled = disabled.then(|| self.disabled.unwrap_or(context.now));
            about.push_str(if disabled { " disabled" } else { " enabled" });
        }
        change.tell(EventType::AccountChanged, about);
        change.team = Some(team.beside(&self)?);
        change.accounts.push(self.next());
        Ok(change)
    }

    /// Takes it away with all of its tokens. Its name is free again; its transfers live on to their deadlines.
    ///
    /// # Errors
    /// [`AccessRefused::LastAdmin`].
    pub fn remove(
        self,
        team: Team,
        tokens: Vec<TokenRecord>,
        context: &Context,
    ) -> Result<AccessChange, AccessRefused> {
        let mut change = AccessChange::new(context);
        change.tell(EventType::AccountRemoved, format!("account {}", self.id));
        let removed = self.removed(context);
        change.team = Some(team.beside(&removed.record)?);
        change.accounts.push(removed);
        change.revoke(tokens);
        Ok(change)
    }

    /// A token more; the first one gives the account its key.
    pub fn add_token(mut self, token: TokenRecord, context: &Context) -> AccessChange {
        self.keyed = true;
        let mut change = AccessChange::new(context);
        change.tell(EventType::TokenCreated, about_token(&token));
        change.accounts.push(self.next());
        change.tokens.push(token);
        change
    }

    /// Takes a token back, and the browser sessions among `others` that were opened with it. `others` are all that the account has.
    pub fn revoke_token(self, token: TokenId, others: Vec<TokenRecord>, context: &Context) -> AccessChange {
        let mut change = AccessChange::new(context);
        change.accounts.push(self.next());
        change.revoke(others.into_iter().filter(|other| other.id == token || other.parent == Some(token)));
        change
    }

    /// A new account key under a new token; every older token in `old` is revoked in the same step.
    pub fn reset(mut self, token: TokenRecord, old: Vec<TokenRecord>, context: &Context) -> AccessChange {
        self.keyed = true;
        let mut change = AccessChange::new(context);
        change.tell(EventType::AccountReset, format!("account {}", self.id));
        change.tell(EventType::TokenCreated, about_token(&token));
        change.accounts.push(self.next());
        change.tokens.push(token);
        change.revoke(old);
        change
    }

    fn removed(mut self, context: &Context) -> Part<Self> {
        self.removed = Some(context.now);
        self.next()
    }

    fn next(mut self) -> Part<Self> {
        let expected = Some(self.version);
        self.version = self.version.saturating_add(1);
        Part { record: self, expected }
    }

    fn unchanged(self) -> Part<Self> {
        Part { expected: Some(self.version), record: self }
    }
}
