//! `burnbag doctor`.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;

use super::serve::Settings;
use crate::app::App;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::service::{By, TeamCheck};
use crate::telemetry;
use crate::transfer::quota::Holding;

/// Transfers after which the line on the terminal is written anew.
const TOLD_EVERY: usize = 5000;

#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: Settings,
    /// Where there is drift, write what the records add up to, if nothing of the team changed meanwhile
    #[arg(long)]
    repair: bool,
}

/// How far a check is, on a terminal.
struct Progress {
    shown: bool,
    told: AtomicUsize,
}

impl Progress {
    fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal(), told: AtomicUsize::new(0) }
    }

    fn read(&self, team: usize, teams: usize, transfers: usize) {
        if self.shown && transfers / TOLD_EVERY != self.told.load(Ordering::Relaxed) / TOLD_EVERY {
            super::tell(format_args!("\rteam {team} of {teams}: {transfers} transfers read \x1b[K"));
        }
        self.told.store(transfers, Ordering::Relaxed);
    }

    fn end(&self) {
        if self.shown {
            super::tell("\r\x1b[K");
        }
    }
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { settings, repair } = self;
        let config = Config::load(&settings.flags())?;
        telemetry::start("warn", config.log_format);
        let sound = super::runtime()?.block_on(async {
            let app = App::beside(config, Arc::new(SystemClock)).await?;
            look(&app, repair).await
        })?;
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Whether all is well.
async fn look(app: &App, repair: bool) -> anyhow::Result<bool> {
    let service = &app.service;
    service.check_store_ids().await?;
    super::print("Records and objects belong together.\n")?;
    let teams = service.teams(By::Operator).await?;
    let (progress, all) = (Progress::new(), teams.len());
    let mut wrong = 0;
    for (number, team) in (1..).zip(&teams) {
        let told = |transfers| progress.read(number, all, transfers);
        let checked = service.check_usage(team.id, told).await;
        progress.end();
        let check = checked?;
        super::print(format_args!("Team {} ({}): {}\n", team.name, team.id, said(&check)))?;
        if !check.has_drift() {
            continue;
        }
        if repair && service.repair_usage(&check).await? {
            super::print("  Repaired: the counters say now what the records add up to.\n")?;
            continue;
        }
        wrong += 1;
        super::print(if repair {
            "  Not repaired: the team's transfers changed meanwhile. Run it again.\n"
        } else {
            "  `burnbag doctor --repair` writes what the records add up to. Please report how it came to this.\n"
        })?;
    }
    super::print(match wrong {
        0 => format!("{all} teams looked at: no drift.\n"),
        _ => format!("{all} teams looked at: {wrong} with drift.\n"),
    })?;
    Ok(wrong == 0)
}

fn said(check: &TeamCheck) -> String {
    let counted = words(&check.counted.held);
    match check.records {
        Some(records) if records == check.counted.held => format!("{counted}, as its records add up to"),
        Some(records) => {
            format!("DRIFT: the counters say {counted}, and its records add up to {}", words(&records))
        }
        None => format!("{counted}; not compared, since it kept changing. Run it again when less goes on"),
    }
}

fn words(held: &Holding) -> String {
    let Holding { bytes, transfers, uploads } = held;
    format!("{bytes} bytes, {transfers} live transfers, {uploads} of them being uploaded")
}
