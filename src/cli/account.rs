//! `burnbag account`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};

use super::serve::Settings;
use super::team::named;
use crate::app::App;
use crate::service::{By, ServiceError};
use crate::transfer::access::{Account as Record, AccountChange, Role};

#[derive(Subcommand)]
pub(super) enum Account {
    /// Make an account
    ///
    /// It cannot prove itself yet: `burnbag token create --account NAME` makes its first token. Works beside a running service.
    Create {
        #[command(flatten)]
        settings: Settings,
        /// Its name: 1 to 64 characters of a-z, 0-9, '.', '_' and '-'
        name: String,
        /// Its team
        #[arg(long, value_name = "TEAM", default_value = "default")]
        team: String,
        /// What it may do: admin, member, service, auditor or approver
        #[arg(long, value_parser = role, default_value = "member")]
        role: Role,
    },
    /// List the accounts
    List {
        #[command(flatten)]
        settings: Settings,
        /// Only those of this team
        #[arg(long, value_name = "TEAM")]
        team: Option<String>,
    },
    /// Give an account another role; it holds with the next request of each of its tokens
    Set {
        #[command(flatten)]
        named: Named,
        /// What it may do: admin, member, service, auditor or approver
        #[arg(long, value_parser = role)]
        role: Role,
    },
    /// Turn an account away, with all of its tokens, until it is enabled
    Disable(Named),
    /// Let an account in again
    Enable(Named),
    /// Remove an account and its tokens; what it has sent lives on to its deadline
    Remove(Named),
}

#[derive(Args)]
pub(super) struct Named {
    #[command(flatten)]
    settings: Settings,
    /// The account
    name: String,
}

fn role(text: &str) -> Result<Role, String> {
    let words = || Role::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
    Role::parse(text).ok_or_else(|| format!("it takes one of {}", words()))
}

impl Named {
    async fn open(self) -> anyhow::Result<(App, Record)> {
        let app = super::beside(self.settings).await?;
        let account = app.service.account(&self.name).await.map_err(|error| match error {
            ServiceError::NotFound => anyhow!(
                "there is no account {:?}: `burnbag account list` shows those that there are",
                self.name
            ),
            error => error.into(),
        })?;
        Ok((app, account))
    }

    async fn change(self, what: AccountChange, done: &str) -> anyhow::Result<()> {
        let (app, account) = self.open().await?;
        let account = app.service.change_account(By::Operator, account.team, account.id, what).await?;
        super::tell(format_args!("burnbag: the account {} {done}\n", account.name));
        Ok(())
    }
}

impl Account {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        super::runtime()?.block_on(self.apply())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn apply(self) -> anyhow::Result<()> {
        match self {
            Self::Create { settings, name, team, role } => {
                let app = super::beside(settings).await?;
                let team = named(&app, &team).await?;
                let made = app.service.create_account(By::Operator, team.id, &name, role).await?;
                super::tell(format_args!(
                    "burnbag: the account {name} ({role}) is made in the team {}; `burnbag token create --account {name}` prints its first token\n",
                    team.name
                ));
                super::print(format_args!("{}\n", made.id))
            }
            Self::List { settings, team } => {
                let app = super::beside(settings).await?;
                list(&app, team.as_deref()).await
            }
            Self::Set { named, role } => {
                let done = format!("is {role} now");
                named.change(AccountChange { role: Some(role), disabled: None }, &done).await
            }
            Self::Disable(named) => {
                let done = "is disabled: none of its tokens is let in any more";
                named.change(AccountChange { role: None, disabled: Some(true) }, done).await
            }
            Self::Enable(named) => {
                named.change(AccountChange { role: None, disabled: Some(false) }, "is enabled").await
            }
            Self::Remove(named) => {
                let (app, account) = named.open().await?;
                app.service.remove_account(By::Operator, account.team, account.id).await?;
                super::tell(format_args!(
                    "burnbag: the account {} is removed, with its tokens\n",
                    account.name
                ));
                Ok(())
            }
        }
    }
}

async fn list(app: &App, only: Option<&str>) -> anyhow::Result<()> {
    let teams = match only {
        Some(name) => vec![named(app, name).await?],
        None => app.service.teams(By::Operator).await.context("the teams cannot be read")?,
    };
    let mut lines = String::new();
    writeln!(lines, "{:<32}  {:<20}  {:<20}  {:<8}  {:<24}  STATE", "ID", "TEAM", "NAME", "ROLE", "CREATED")?;
    for team in teams {
        for account in app.service.accounts(By::Operator, team.id).await? {
            let state = match (account.disabled, account.keyed) {
                (Some(_), _) => "disabled",
                (None, true) => "good",
                (None, false) => "no token yet",
            };
            writeln!(
                lines,
                "{}  {:<20}  {:<20}  {:<8}  {:<24}  {state}",
                account.id,
                team.name,
                account.name,
                account.role.as_str(),
                account.created.to_string(),
            )?;
        }
    }
    super::print(lines)
}
