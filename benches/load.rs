//! The whole service under load, side by side with nginx on the same disk.
//!
//! `cargo bench --bench load -- --help`. Each round starts the binary of the bench profile on a fresh directory; the
//! Markdown table shows medians. `docs/PERFORMANCE.md` says how to read it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    reason = "a bench"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tempfile::TempDir;

#[path = "load/client.rs"]
mod client;
#[path = "load/minio.rs"]
mod minio;
#[path = "load/records.rs"]
mod records;
#[path = "load/redis.rs"]
mod redis;
#[path = "load/relay.rs"]
mod relay;
#[path = "load/scenarios.rs"]
mod scenarios;
#[path = "load/server.rs"]
mod server;
#[path = "load/service.rs"]
mod service;
#[path = "load/table.rs"]
mod table;

use scenarios::{BIG, BIG_AT_ONCE, GIB};
use table::Row;

/// Measures the release binary over loopback, and nginx beside it: time, CPU time and memory of each.
#[derive(Parser)]
#[command(name = "cargo bench --bench load --")]
struct Arguments {
    /// Measure this alone
    #[arg(long, value_enum)]
    only: Option<Scenario>,
    /// Rounds; the table shows medians, with the least and the most
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Live records
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(20_000..))]
    live: u32,
    /// How many more are due at once; a tenth of the live ones if not said
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    due: Option<u32>,
    /// In that scenario keep records in Redis and objects in MinIO, which are started for it, and end by three instances
    #[arg(long)]
    production: bool,
    /// Where the fresh directories are made: the disk to measure
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Start to ready, idle memory
    Start,
    /// 1 GiB up and down
    Big,
    /// 100 KiB files, 32 at once
    Small,
    /// The same with the relay into the audit log running, and paused
    Relay,
    /// 64 uploads of 256 MiB at once, then 64 downloads; one round
    Memory,
    /// 1 GiB and 100 KiB files into MinIO, and straight into it
    Minio,
    /// 5 GiB without a length into MinIO and back, compared; then 64 of 256 MiB at once, and 64 downloads; one round
    MinioMemory,
    /// Requests beside a million live records, then 100,000 due at once; one round
    Records,
}

impl Scenario {
    /// Bytes of disk that a round takes.
    const fn needs(self) -> u64 {
        match self {
            Self::Start => GIB / 8,
            Self::Big => 3 * GIB + GIB / 8,
            Self::Small | Self::Relay => 2 * GIB,
            Self::Memory => BIG_AT_ONCE * BIG + GIB,
            Self::Minio => 6 * GIB,
            Self::MinioMemory => BIG_AT_ONCE * BIG + 7 * GIB,
            Self::Records => 12 * GIB,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let pattern = client::pattern();
    // What a round leaves goes when all are done: a disk that frees room is slow for a while.
    let dir = TempDir::new_in(&arguments.dir).unwrap();
    let root = dir.path();
    let mut short = false;
    table::head();
    for scenario in Scenario::value_variants() {
        if arguments.only.is_some_and(|only| only != *scenario) {
            continue;
        }
        let once = matches!(scenario, Scenario::Memory | Scenario::MinioMemory | Scenario::Records);
        let rounds = if once { 1 } else { arguments.rounds };
        let free = rustix::fs::statvfs(root).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
        let needs = scenario.needs() * u64::from(rounds);
        if free < needs {
            let (needs, free) = (needs / GIB + 1, free / GIB);
            println!(
                "left out: {needs} GiB are needed in {}, {free} GiB are free; see --dir",
                root.display()
            );
            short = true;
            continue;
        }
        let rounds: Vec<Vec<Row>> = (0..rounds)
            .map(|round| {
                eprintln!("{}, round {}", scenario.to_possible_value().unwrap().get_name(), round + 1);
                match scenario {
                    Scenario::Start => scenarios::start(root),
                    Scenario::Big => scenarios::big(root, &pattern),
                    Scenario::Small => scenarios::small(root, &pattern),
                    Scenario::Relay => relay::relay(root, &pattern),
                    Scenario::Memory => scenarios::memory(root, &pattern),
                    Scenario::Minio => minio::beside(root, &pattern),
                    Scenario::MinioMemory => minio::memory(root, &pattern),
                    Scenario::Records => {
                        let due = arguments.due.unwrap_or(arguments.live / 10);
                        let (live, due) = (arguments.live as usize, due as usize);
                        records::records(root, &pattern, live, due, arguments.production)
                    }
                }
            })
            .collect();
        table::print(&rounds);
    }
    if short { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
