//! `burnbag team`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};

use super::serve::Settings;
use crate::app::App;
use crate::config::Size;
use crate::service::By;
use crate::transfer::access::Team as Record;
use crate::transfer::policy::{parse_duration, words};
use crate::transfer::quota::{Limits, LimitsChange, MOST, NewLimit};

#[derive(Subcommand)]
pub(super) enum Team {
    /// Make a team
    ///
    /// It has no accounts yet: `burnbag account create NAME --team TEAM --role admin` makes its first admin. Works beside a running
    /// service.
    Create {
        #[command(flatten)]
        settings: Settings,
        /// Its name: 1 to 64 characters of a-z, 0-9, '.', '_' and '-'
        name: String,
        #[command(flatten)]
        limits: Asked,
    },
    /// List the teams and what they may hold
    List {
        #[command(flatten)]
        settings: Settings,
    },
    /// Give a team another name or other limits; what is not named stays
    Set {
        #[command(flatten)]
        settings: Settings,
        /// The team
        team: String,
        /// Its new name
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        limits: Asked,
    },
    /// Remove a team that has no live transfers, with its accounts and their tokens
    Remove {
        #[command(flatten)]
        settings: Settings,
        /// The team
        team: String,
    },
}

/// What a team may hold. `none` takes a limit away.
#[derive(Args, Clone, Copy)]
pub(super) struct Asked {
    /// Bytes stored, e.g. 50GiB, or none
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    bytes: Option<NewLimit>,
    /// Live transfers, or none
    #[arg(long, value_name = "NUMBER", value_parser = number, allow_negative_numbers = true)]
    transfers: Option<NewLimit>,
    /// Transfers that are being uploaded at once, or none
    #[arg(long, value_name = "NUMBER", value_parser = number, allow_negative_numbers = true)]
    uploads: Option<NewLimit>,
    /// Bytes of one file, e.g. 5GiB, or none
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    file_bytes: Option<NewLimit>,
    /// The longest time to live, e.g. 7d, or none
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    expires: Option<NewLimit>,
}

fn limit(text: &str, form: &str, read: impl FnOnce(&str) -> Option<u64>) -> Result<NewLimit, String> {
    if text == "none" {
        return Ok(NewLimit::NONE);
    }
    let limit = read(text).and_then(NewLimit::of);
    limit.ok_or_else(|| format!("it takes {form}, from 1 to {MOST}, or none"))
}

fn size(text: &str) -> Result<NewLimit, String> {
    limit(text, "a size such as 500MiB or 5GiB, in bytes", |text| {
        text.parse::<Size>().ok().map(|size| size.0)
    })
}

fn number(text: &str) -> Result<NewLimit, String> {
    limit(text, "a whole number", |text| text.parse().ok())
}

fn time(text: &str) -> Result<NewLimit, String> {
    limit(text, "a time such as 12h or 7d, in seconds", |text| {
        parse_duration(text).map(|life| life.as_secs())
    })
}

impl Asked {
    const fn change(self) -> LimitsChange {
        let Self { bytes, transfers, uploads, file_bytes, expires } = self;
        LimitsChange { bytes, transfers, uploads, file_bytes, expires }
    }
}

impl Team {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        super::runtime()?.block_on(async {
            match self {
                Self::Create { settings, name, limits } => {
                    let app = super::beside(settings).await?;
                    let limits = limits.change().of(Limits::default());
                    let made = app.service.create_team(By::Operator, &name, limits, None).await?;
                    super::tell(format_args!(
                        "burnbag: the team {name} is made; `burnbag account create NAME --team {name} --role admin` makes its first admin\n"
                    ));
                    super::print(format_args!("{}\n", made.team.id))
                }
                Self::List { settings } => list(&super::beside(settings).await?).await,
                Self::Set { settings, team, name, limits } => {
                    let app = super::beside(settings).await?;
                    let id = named(&app, &team).await?.id;
                    app.service.change_team(By::Operator, id, name, limits.change()).await?;
                    super::tell(format_args!("burnbag: the team {team} is changed\n"));
                    Ok(())
                }
                Self::Remove { settings, team } => {
                    let app = super::beside(settings).await?;
                    let id = named(&app, &team).await?.id;
                    app.service.remove_team(By::Operator, id).await?;
                    super::tell(format_args!("burnbag: the team {team} is removed, with its accounts and their tokens\n"));
                    Ok(())
                }
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The team of this name.
pub(super) async fn named(app: &App, name: &str) -> anyhow::Result<Record> {
    let teams = app.service.teams(By::Operator).await.context("the teams cannot be read")?;
    teams
        .into_iter()
        .find(|team| team.name == name)
        .ok_or_else(|| anyhow!("there is no team {name:?}: `burnbag team list` shows those that there are"))
}

async fn list(app: &App) -> anyhow::Result<()> {
    let mut lines = String::new();
    writeln!(
        lines,
        "{:<32}  {:<20}  {:>16}  {:>9}  {:>7}  {:>16}  EXPIRES",
        "ID", "NAME", "BYTES", "TRANSFERS", "UPLOADS", "FILE BYTES"
    )?;
    let shown = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    for team in app.service.teams(By::Operator).await? {
        let limits = team.limits;
        let life = limits.expires.map(|seconds| words(std::time::Duration::from_secs(seconds)));
        writeln!(
            lines,
            "{}  {:<20}  {:>16}  {:>9}  {:>7}  {:>16}  {}",
            team.id,
            team.name,
            shown(limits.bytes),
            shown(limits.transfers),
            shown(limits.uploads),
            shown(limits.file_bytes),
            life.as_deref().unwrap_or("-"),
        )?;
    }
    super::print(lines)
}
