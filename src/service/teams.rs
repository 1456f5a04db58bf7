//! Teams: whose transfers are whose, and what a team may hold (DESIGN §11).

use super::by::{By, TRIES, check_name, kept_changing};
use super::tokens::seal_token;
use super::{Service, ServiceError};
use crate::crypto::{AccountKey, Token, TokenKind};
use crate::transfer::access::{Account, Capability, FirstAdmin, NewTeam, Team};
use crate::transfer::quota::{Limits, LimitsChange};
use crate::transfer::{AccountId, TeamId};

/// A team just made.
pub struct MadeTeam {
    /// The team.
    pub team: Team,
    /// Its first admin, with the token by which it is handed over, shown once.
    pub admin: Option<(Account, Token)>,
}

impl Service {
    /// The teams, by name: all of them for who manages them, to others their own.
    ///
    /// # Errors
    /// The record store's.
    pub async fn teams(&self, by: By<'_>) -> Result<Vec<Team>, ServiceError> {
        match by {
            By::Caller(caller) if !caller.may(Capability::Teams) => Ok(vec![caller.team.clone()]),
            By::Caller(_) | By::Operator => Ok(self.records.all_teams().await?),
        }
    }

    /// A new team, in the shard with the fewest; with its first admin, if a name for one is given.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`]; [`ServiceError::Option`] for a name that is none; [`ServiceError::Conflict`] for one
    /// that is taken.
    pub async fn create_team(
        &self,
        by: By<'_>,
        name: &str,
        limits: Limits,
        admin: Option<&str>,
    ) -> Result<MadeTeam, ServiceError> {
        by.require(Capability::Teams)?;
        check_name("name", name)?;
        if let Some(admin) = admin {
            by.require(Capability::Accounts)?;
            check_name("admin", admin)?;
        }
        for _ in 0..TRIES {
            let teams = self.records.all_teams().await?;
            refuse_taken(&teams, name, None)?;
            let lives_in = |shard: &u8| teams.iter().filter(|team| team.shard == *shard).count();
            let shard = (0..self.records.shards()).min_by_key(lives_in).unwrap_or_default();
            let context = self.context_of(by);
            let id = TeamId::generate(context.now);
            let new = NewTeam { id, name: name.to_owned(), shard, limits };
            let mut change = Team::create(new, &context);
            let mut token = None;
            if let Some(admin) = admin {
                self.require_free_account_name(admin).await?;
                let account = AccountId::generate(context.now);
                let (key, text) = (AccountKey::generate(), Token::generate(TokenKind::Usr));
                let record = seal_token(&self.keks, &text, account, &key, context.now);
                change = change.with_first_admin(FirstAdmin {
                    id: account,
                    name: admin.to_owned(),
                    token: record,
                });
                token = Some(text);
            }
            let team = change.team().map(|part| part.record().clone()).ok_or(ServiceError::NotFound)?;
            let admin = change.accounts().first().map(|part| part.record().clone()).zip(token);
            if self.commit_access(change).await? {
                return Ok(MadeTeam { team, admin });
            }
        }
        Err(kept_changing())
    }

    /// Another name, other limits.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`]; [`ServiceError::NotFound`]; [`ServiceError::Option`] for a name that is none;
    /// [`ServiceError::Conflict`] for one that is taken.
    pub async fn change_team(
        &self,
        by: By<'_>,
        id: TeamId,
        name: Option<String>,
        limits: LimitsChange,
    ) -> Result<Team, ServiceError> {
        require_teams(by, id)?;
        if let Some(name) = &name {
            check_name("name", name)?;
        }
        for _ in 0..TRIES {
            let team = self.team(id).await?;
            if let Some(name) = &name {
                refuse_taken(&self.records.all_teams().await?, name, Some(id))?;
            }
            let limits = limits.of(team.limits);
            if limits == team.limits && name.as_ref().is_none_or(|name| *name == team.name) {
                return Ok(team);
            }
            let change = team.change(name.clone(), Some(limits), &self.context_of(by));
            let team = change.team().map(|part| part.record().clone()).ok_or(ServiceError::NotFound)?;
            if self.commit_access(change).await? {
                return Ok(team);
            }
        }
        Err(kept_changing())
    }

    /// Takes a team away, with its accounts and their tokens.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`]; [`ServiceError::NotFound`], also when it is gone already;
    /// [`ServiceError::Conflict`] while it has live transfers, and for the operator's own.
    pub async fn remove_team(&self, by: By<'_>, id: TeamId) -> Result<(), ServiceError> {
        require_teams(by, id)?;
        for _ in 0..TRIES {
            let team = self.team(id).await?;
            let accounts = self.records.accounts_of(id).await?;
            let mut tokens = Vec::new();
            for account in &accounts {
                tokens.extend(self.records.tokens(id, account.id).await?);
            }
            let name = team.name.clone();
            let change = team.remove(accounts, tokens, &self.context_of(by))?;
            let live = self.records.usage(id).await?.held.transfers;
            if live > 0 {
                return Err(ServiceError::Conflict(format!(
                    "the team {name} has {live} live transfers: end them, or wait for their deadlines, then remove it"
                )));
            }
            if self.commit_access(change).await? {
                return Ok(());
            }
        }
        Err(kept_changing())
    }
}

/// Of another team nothing is told to who does not manage teams.
fn require_teams(by: By<'_>, id: TeamId) -> Result<(), ServiceError> {
    by.require(Capability::Teams).or_else(|missing| {
        by.require_team(id)?;
        Err(missing)
    })
}

fn refuse_taken(teams: &[Team], name: &str, but: Option<TeamId>) -> Result<(), ServiceError> {
    if teams.iter().any(|team| team.name == name && Some(team.id) != but) {
        return Err(ServiceError::Conflict(format!("there is a team {name} already: choose another name")));
    }
    Ok(())
}
