//! The whole service under load: what it takes beside a plain copy, and how much memory.
//!
//! `cargo bench --bench load -- --help`. Each round starts the binary of the bench profile on a fresh directory; the
//! table shows medians. `docs/PERFORMANCE.md` says how to read it.
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
#[path = "load/scenarios.rs"]
mod scenarios;
#[path = "load/server.rs"]
mod server;

use scenarios::{BIG, BIG_AT_ONCE, Figure, GIB};

/// Measures the release binary over loopback: time, CPU time of its process, memory.
#[derive(Parser)]
#[command(name = "cargo bench --bench load --")]
struct Arguments {
    /// Measure this alone
    #[arg(long, value_enum)]
    only: Option<Scenario>,
    /// Rounds; the table shows medians. The memory is measured in one
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
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
    /// 1 GiB up and down, beside cp and fsync
    Size,
    /// 100 KiB files, 32 at once
    Small,
    /// 64 uploads of 256 MiB at once, then 64 downloads
    Memory,
}

impl Scenario {
    /// Bytes of disk that a round takes.
    const fn needs(self) -> u64 {
        match self {
            Self::Start => GIB / 8,
            Self::Size => 3 * GIB + GIB / 8,
            Self::Small => 2 * GIB,
            Self::Memory => BIG_AT_ONCE * BIG + GIB,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let pattern = client::pattern();
    let root = &arguments.dir;
    let mut short = false;
    println!("{:<42} {:>10}   rounds", "", "median");
    for scenario in [Scenario::Start, Scenario::Size, Scenario::Small, Scenario::Memory] {
        if arguments.only.is_some_and(|only| only != scenario) {
            continue;
        }
        let rounds = if scenario == Scenario::Memory { 1 } else { arguments.rounds };
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
        // What a round leaves goes when all are done: a disk that frees room is slow for a while.
        let dir = TempDir::new_in(root).unwrap();
        let root = dir.path();
        let rounds: Vec<Vec<Figure>> = (0..rounds)
            .map(|_| match scenario {
                Scenario::Start => scenarios::start(root),
                Scenario::Size => scenarios::size(root, &pattern),
                Scenario::Small => scenarios::small(root, &pattern),
                Scenario::Memory => scenarios::memory(root, &pattern),
            })
            .collect();
        print(&rounds);
    }
    if short { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print(rounds: &[Vec<Figure>]) {
    for (at, (name, _)) in rounds[0].iter().enumerate() {
        let taken: Vec<f64> = rounds.iter().map(|round| round[at].1).collect();
        let mut sorted = taken.clone();
        sorted.sort_by(f64::total_cmp);
        let all: Vec<String> = taken.iter().map(|value| format!("{value:.2}")).collect();
        println!("{name:<42} {:>10.2}   {}", sorted[sorted.len() / 2], all.join(" "));
    }
}
