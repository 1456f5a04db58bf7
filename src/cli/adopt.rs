//! `burnbag adopt`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::serve::Settings;
use crate::app::App;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::telemetry;

/// Without `--yes` it says what is there, and changes nothing. No service may run on the data directory meanwhile.
#[derive(Args)]
pub(super) struct Adopt {
    #[command(flatten)]
    settings: Settings,
    /// Join them. Objects that these records do not know are then deleted by the sweep
    #[arg(long)]
    yes: bool,
}

impl Adopt {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.settings.flags())?;
        telemetry::start("warn", config.log_format);
        super::runtime()?.block_on(async {
            let app = App::apart(config, Arc::new(SystemClock)).await?;
            let found = app.service.store_ids().await?;
            super::print(format_args!("{found}\n"))?;
            if found.belong_together() {
                super::print("They belong together: there is nothing to do.\n")?;
                return Ok(ExitCode::SUCCESS);
            }
            if !self.yes {
                super::print("`burnbag adopt --yes` joins them.\n")?;
                return Ok(ExitCode::FAILURE);
            }
            let id = app.service.adopt().await?;
            super::print(format_args!("Joined under the id {id}.\n"))?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
