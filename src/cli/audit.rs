//! `burnbag audit`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::audit::verify;

#[derive(Subcommand)]
pub(super) enum Audit {
    /// Check every line of a log: names the first that was changed, is missing or out of order
    ///
    /// Works offline, also beside a running service. Ends with 0 if the log is whole, 1 if it is not.
    Verify {
        /// The audit directory, by default <data dir>/audit
        dir: PathBuf,
    },
}

impl Audit {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Verify { dir } = self;
        match verify(&dir) {
            Ok(report) => {
                super::print(format_args!("{report}\n"))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => Err(error.into()),
        }
    }
}
