//! The command line: one file a subcommand.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::app::App;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::telemetry;

mod account;
mod adopt;
mod audit;
mod doctor;
mod health;
mod serve;
mod team;
mod token;

/// A secure, ephemeral file-transfer service: encrypted on the way in, gone on time, every touch on record.
#[derive(Parser)]
#[command(name = "burnbag", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve uploads and downloads
    Serve(serve::Serve),
    /// Ask the server that runs here whether uploads and downloads can be served
    ///
    /// It needs the server's settings: they say where it listens. Prints what /readyz says, and ends with 0 if it is ready, 1 if it
    /// is not or does not answer.
    Health(health::Health),
    /// Make, list and revoke the tokens by which accounts prove themselves
    #[command(subcommand)]
    Token(token::Token),
    /// Make, list, change and remove accounts
    #[command(subcommand)]
    Account(account::Account),
    /// Make, list, change and remove teams
    #[command(subcommand)]
    Team(team::Team),
    /// Join a bucket or directory of objects with records that it does not belong to yet
    Adopt(adopt::Adopt),
    /// Check that records and objects belong together, and that what teams use is what their records add up to
    ///
    /// It works beside a running service, with the service's settings, and changes nothing without --repair. Ends with 0 if all is
    /// well, 1 if there is drift or something cannot be read.
    Doctor(doctor::Doctor),
    /// Check the audit log
    #[command(subcommand)]
    Audit(audit::Audit),
}

/// Parses the command line and runs it. 0: done. 1: it failed, or found a fault. 2: the command line cannot be read.
#[must_use]
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Health(health) => health.run(),
        Command::Token(token) => token.run(),
        Command::Account(account) => account.run(),
        Command::Team(team) => team.run(),
        Command::Adopt(adopt) => adopt.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Audit(audit) => audit.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            tell(format_args!("burnbag: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Prints what was asked for. Who reads no further, as `head` does, has what he wanted.
fn print(text: impl Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("stdout cannot be written"),
        _ => Ok(()),
    }
}

/// Says something on stderr. Where nobody hears it, it is not said.
fn tell(text: impl Display) {
    let _ = write!(std::io::stderr().lock(), "{text}");
}

/// The service's stores, beside it if it runs, with a first account in them.
async fn beside(settings: serve::Settings) -> anyhow::Result<App> {
    let config = Config::load(&settings.flags())?;
    telemetry::start("warn", config.log_format);
    let app = App::beside(config, Arc::new(SystemClock)).await?;
    app.service.first_account().await?;
    Ok(app)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
