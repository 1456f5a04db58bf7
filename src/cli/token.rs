//! `burnbag token`.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use zeroize::Zeroizing;

use super::serve::Settings;
use crate::app::App;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::service::{KeySource, TokenKind, TokenTerms};
use crate::transfer::access::Capability;
use crate::transfer::policy::parse_duration;

#[derive(Subcommand)]
pub(super) enum Token {
    /// Make a token and print it, alone, on stdout
    ///
    /// The first token of an account gives it its key. For a further one, an old token is needed: from `BURNBAG_TOKEN`, or
    /// asked for on the terminal. Works beside a running service.
    Create(Create),
    /// List the tokens of an account
    List(Account),
    /// Take a token back; what it is used for ends within seconds
    Revoke {
        #[command(flatten)]
        account: Account,
        /// The token's id, as `list` shows it
        id: String,
    },
}

#[derive(Args)]
pub(super) struct Account {
    #[command(flatten)]
    settings: Settings,
    /// The account
    #[arg(long, value_name = "NAME", default_value = "admin")]
    account: String,
}

#[derive(Args)]
pub(super) struct Create {
    #[command(flatten)]
    account: Account,
    /// What it is for: a person or a service
    #[arg(long, value_enum, default_value_t = Kind::Usr)]
    kind: Kind,
    /// It stops after this time, e.g. 90d
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// What it is good for, within what the account's role allows, e.g. transfers.send,tokens.own
    #[arg(long, value_name = "CAPABILITIES", value_delimiter = ',', value_parser = capability)]
    scope: Option<Vec<Capability>>,
    /// No old token is left: a new account key. Revokes all older tokens; what was sent before can only be ended
    #[arg(long)]
    reset: bool,
}

fn capability(text: &str) -> Result<Capability, String> {
    let words = || Capability::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
    Capability::parse(text).ok_or_else(|| format!("it takes some of {}", words()))
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Usr,
    Svc,
}

impl Account {
    async fn open(self) -> anyhow::Result<(App, String)> {
        Ok((super::beside(self.settings).await?, self.account))
    }
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        super::runtime()?.block_on(async {
            match self {
                Self::Create(create) => create.run().await,
                Self::List(account) => list(account).await,
                Self::Revoke { account, id } => revoke(account, &id).await,
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<()> {
        let life = match &self.expires {
            Some(text) => Some(
                parse_duration(text)
                    .with_context(|| format!("--expires {text}: it takes a time such as 12h or 90d"))?,
            ),
            None => None,
        };
        let kind = match self.kind {
            Kind::Usr => TokenKind::Usr,
            Kind::Svc => TokenKind::Svc,
        };
        let scope = self.scope;
        let (app, name) = self.account.open().await?;
        let account =
            app.service.account(&name).await.with_context(|| format!("there is no account {name:?}"))?;
        let source = if self.reset {
            KeySource::Reset
        } else if account.keyed {
            let old = old_token(&name)?;
            KeySource::Token(old)
        } else {
            KeySource::First
        };
        let expires = life.map(|life| SystemClock.now().after(life));
        let terms = TokenTerms { kind, scope, expires };
        let made = app.service.create_token(account, terms, source).await?;
        if self.reset {
            super::tell(format_args!(
                "burnbag: {} older tokens are revoked; {} transfers that {name} sent before can now only be ended, not read\n",
                made.revoked, made.out_of_reach
            ));
        }
        super::print(format_args!("{}\n", made.token.text()))
    }
}

/// From the environment, or the terminal.
fn old_token(name: &str) -> anyhow::Result<Zeroizing<String>> {
    if let Some(token) = Config::token()? {
        return Ok(token);
    }
    if !std::io::stdin().is_terminal() {
        bail!(
            "the account {name} has a token already: put it into BURNBAG_TOKEN, or if none is left, use --reset \
             (what was sent before can then only be ended)"
        );
    }
    super::tell(format_args!("A token of {name} that is still good: "));
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(Zeroizing::new(line.trim().to_owned()))
}

async fn list(account: Account) -> anyhow::Result<()> {
    let (app, name) = account.open().await?;
    let account =
        app.service.account(&name).await.with_context(|| format!("there is no account {name:?}"))?;
    let mut lines = String::new();
    writeln!(
        lines,
        "{:<32}  {:<4}  {:<24}  {:<24}  {:<24}  STATE",
        "ID", "KIND", "CREATED", "EXPIRES", "LAST USED"
    )?;
    for token in app.service.tokens(&account).await? {
        let state = match (token.revoked, token.stands(SystemClock.now())) {
            (Some(_), _) => "revoked",
            (None, true) => "good",
            (None, false) => "expired",
        };
        let at = |at: Option<crate::clock::Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        writeln!(
            lines,
            "{}  {:<4}  {:<24}  {:<24}  {:<24}  {state}",
            token.id,
            token.kind,
            token.created.to_string(),
            at(token.expires),
            at(token.last_used),
        )?;
    }
    super::print(lines)
}

async fn revoke(account: Account, id: &str) -> anyhow::Result<()> {
    let id =
        id.parse().with_context(|| format!("{id:?} is not a token's id: `burnbag token list` shows them"))?;
    let (app, name) = account.open().await?;
    let account =
        app.service.account(&name).await.with_context(|| format!("there is no account {name:?}"))?;
    app.service.revoke_token(account, id).await.with_context(|| format!("{name} has no token {id}"))?;
    super::tell(format_args!("burnbag: the token {id} is revoked\n"));
    Ok(())
}
