//! `burnbag serve`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::clock::SystemClock;
use crate::config::{Config, Flags, settings_help};
use crate::telemetry;

/// The settings that a command takes as flags.
#[derive(Args)]
pub(super) struct Settings {
    /// A TOML file with settings, by their names in lower case: listen = "0.0.0.0:8080"
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where database, objects, KEK and audit log are
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl Settings {
    pub(super) fn flags(self) -> Flags {
        let data_dir = self.data_dir.map(|dir| ("DATA_DIR", dir));
        Flags { file: self.config, settings: data_dir.into_iter().collect() }
    }
}

#[derive(Args)]
#[command(after_long_help = after_help())]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where links point, e.g. <https://files.example.org>
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Print what is in force and every error, and start nothing
    #[arg(long)]
    check: bool,
}

fn after_help() -> String {
    format!(
        "Settings, later wins: defaults, the file, the environment, flags. Each can come from a file: \
         BURNBAG_X_FILE beside BURNBAG_X.\n\n{}",
        settings_help()
    )
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut flags = self.settings.flags();
        flags.settings.extend(self.listen.map(|listen| ("LISTEN", listen)));
        flags.settings.extend(self.public_url.map(|url| ("PUBLIC_URL", url)));
        let config = Config::load(&flags)?;
        if self.check {
            super::print(config)?;
            return Ok(ExitCode::SUCCESS);
        }
        telemetry::start(&config.log, config.log_format);
        no_core_dumps();
        allow_open_files(config.connections);
        super::runtime()?.block_on(serve(config))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Keys are in memory; they must not land in a file by a crash.
fn no_core_dumps() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Core, none) {
        tracing::warn!(error = &error as &dyn std::error::Error, "core dumps are not off");
    }
}

/// A connection is an open file, and so is what it sends or fetches; a few are ours.
fn allow_open_files(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = 2 * connections as u64 + 128;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    let wanted = Rlimit { current: Some(maximum.map_or(needed, |maximum| maximum.min(needed))), maximum };
    let allowed = if setrlimit(Resource::Nofile, wanted).is_ok() { wanted.current } else { current };
    if allowed.is_some_and(|allowed| allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            connections,
            "too few open files are allowed for so many connections: raise the hard limit (ulimit -Hn, LimitNOFILE=) or lower BURNBAG_CONNECTIONS"
        );
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let public_url = config.public_url.clone();
    let local = config.is_local();
    let mut app = App::open(config, Arc::new(SystemClock)).await?;
    let listener = app.bind()?;
    app.bind_metrics()?;
    app.service.first_account().await?;
    greet(&app, &public_url).await?;
    if public_url.starts_with("http://") && !local {
        tracing::warn!(
            public_url,
            "plain http: browsers drop the cookies of downloads, and anybody on the way reads along; put a proxy with TLS in front"
        );
    }
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: running transfers may end; once more to cut them");
        told.cancel();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
    app.serve(listener, stop).await.context("the listener failed")
}

/// Where no account can prove itself yet: a token with a working line on a terminal, elsewhere what to type.
async fn greet(app: &App, public_url: &str) -> anyhow::Result<()> {
    let Some(account) = app.unkeyed_account().await? else { return Ok(()) };
    let name = account.name.clone();
    if !std::io::stderr().is_terminal() {
        let binary =
            std::env::current_exe().map_or_else(|_| "burnbag".to_owned(), |exe| exe.display().to_string());
        let data_dir = app.data_dir();
        let data_dir = data_dir.display();
        let command = format!("{binary} token create --account {name} --data-dir {data_dir}");
        tracing::info!(command, "no account has a token yet: this command prints one");
        return Ok(());
    }
    let token = app.first_token(account).await?;
    super::tell(format_args!(
        "\nburnbag serves at {public_url}\n\n\
         This line sends a file as the account {name} and prints its link. The token in it is shown once and kept nowhere:\n\n  \
         TOKEN={}; curl --fail-with-body -u \":$TOKEN\" -T README.md {public_url}/\n\n",
        token.text()
    ));
    Ok(())
}
