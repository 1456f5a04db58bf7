//! Accounts: who they are and what they may do (DESIGN §11).

use super::by::{By, TRIES, check_name, kept_changing};
use super::{Service, ServiceError};
use crate::storage::StoreError;
use crate::transfer::access::{AccessChange, Account, AccountChange, Capability, Role};
use crate::transfer::{AccountId, TeamId};

impl Service {
    /// Makes team `default` and account `admin` where there is no account yet. True if it did.
    ///
    /// # Errors
    /// The record store's.
    pub async fn first_account(&self) -> Result<bool, ServiceError> {
        let accounts = self.records.accounts().await?;
        let context = self.context_of(By::Operator);
        let change = match accounts.first() {
            None => {
                AccessChange::first(TeamId::generate(context.now), AccountId::generate(context.now), &context)
            }
            // Records from before teams had versions: there was one team.
            Some(first) => match self.records.team(first.team).await? {
                Some(team) if team.version == 0 => team.settle(accounts, &context),
                _ => return Ok(false),
            },
        };
        let made = change.accounts().iter().any(|part| part.expected().is_none());
        match self.records.commit_access(change).await {
            Ok(()) => Ok(made),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The account of this name, for the operator.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn account(&self, name: &str) -> Result<Account, ServiceError> {
        self.records.account(name).await?.ok_or(ServiceError::NotFound)
    }

    /// The accounts of a team, by name.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`]; [`ServiceError::NotFound`] for another team.
    pub async fn accounts(&self, by: By<'_>, team: TeamId) -> Result<Vec<Account>, ServiceError> {
        by.require_team(team)?;
        by.require(Capability::Accounts)?;
        Ok(self.records.accounts_of(team).await?)
    }

    /// A further account of a team. It has no token yet.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`], also for a role that may do what the caller may not;
    /// [`ServiceError::Option`] for a name that is none; [`ServiceError::Conflict`] for one that is taken.
    pub async fn create_account(
        &self,
        by: By<'_>,
        team: TeamId,
        name: &str,
        role: Role,
    ) -> Result<Account, ServiceError> {
        by.require_team(team)?;
        by.require(Capability::Accounts)?;
        check_name("name", name)?;
        for _ in 0..TRIES {
            let team = self.team(team).await?;
            by.require_all(team.reaches(role.capabilities()))?;
            self.require_free_account_name(name).await?;
            let context = self.context_of(by);
            let id = AccountId::generate(context.now);
            let change = Account::create(team, id, name, role, &context);
            let account = made(&change);
            if self.commit_access(change).await? {
                return account;
            }
        }
        Err(kept_changing())
    }

    /// Another role, or whether it is let in: it holds with the next request of every token of the account.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`], also for a role that may do what the caller may not;
    /// [`ServiceError::NotFound`]; [`ServiceError::Conflict`] for the last admin.
    pub async fn change_account(
        &self,
        by: By<'_>,
        team: TeamId,
        id: AccountId,
        what: AccountChange,
    ) -> Result<Account, ServiceError> {
        by.require_team(team)?;
        by.require(Capability::Accounts)?;
        for _ in 0..TRIES {
            let team = self.team(team).await?;
            let account = self.account_of(team.id, id).await?;
            if let Some(role) = what.role {
                by.require_all(team.reaches(role.capabilities()))?;
            }
            let same = what.role.is_none_or(|role| role == account.role)
                && what.disabled.is_none_or(|disabled| disabled == account.disabled.is_some());
            if same {
                return Ok(account);
            }
            let change = account.change(team, what, &self.context_of(by))?;
            let account = made(&change);
            if self.commit_access(change).await? {
                return account;
            }
        }
        Err(kept_changing())
    }

    /// Takes an account away, and all of its tokens. What it sent lives on to its deadline.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`]; [`ServiceError::NotFound`], also when it is gone already;
    /// [`ServiceError::Conflict`] for the last admin.
    pub async fn remove_account(&self, by: By<'_>, team: TeamId, id: AccountId) -> Result<(), ServiceError> {
        by.require_team(team)?;
        by.require(Capability::Accounts)?;
        for _ in 0..TRIES {
            let team = self.team(team).await?;
            let account = self.account_of(team.id, id).await?;
            let tokens = self.records.tokens(team.id, id).await?;
            if self.commit_access(account.remove(team, tokens, &self.context_of(by))?).await? {
                return Ok(());
            }
        }
        Err(kept_changing())
    }

    pub(super) async fn account_of(&self, team: TeamId, id: AccountId) -> Result<Account, ServiceError> {
        self.records.account_of(team, id).await?.ok_or(ServiceError::NotFound)
    }

    /// # Errors
    /// [`ServiceError::Conflict`]. The commit refuses it too, for who was faster.
    pub(super) async fn require_free_account_name(&self, name: &str) -> Result<(), ServiceError> {
        if self.records.account(name).await?.is_none() {
            return Ok(());
        }
        Err(ServiceError::Conflict(format!("there is an account {name} already: choose another name")))
    }
}

/// The account that a change makes or changes.
fn made(change: &AccessChange) -> Result<Account, ServiceError> {
    let part = change.accounts().first();
    part.map(|part| part.record().clone()).ok_or(ServiceError::NotFound)
}
