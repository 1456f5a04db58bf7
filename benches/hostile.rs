//! Clients that mean no good, and clients that are refused, against the release binary over loopback.
//!
//! `cargo bench --bench hostile -- --help`. `docs/RELIABILITY.md` says how to read it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    reason = "a bench"
)]

use clap::{Parser, ValueEnum};

#[allow(dead_code, reason = "the load bench needs more of it")]
#[path = "load/client.rs"]
mod client;
#[allow(dead_code, reason = "the load bench needs more of it")]
#[path = "load/minio.rs"]
mod minio;
#[path = "hostile/passwords.rs"]
mod passwords;
#[allow(dead_code, reason = "the load bench needs more of it")]
#[path = "load/redis.rs"]
mod redis;
#[path = "hostile/refusals.rs"]
mod refusals;
#[allow(dead_code, reason = "the load bench needs more of it")]
#[path = "load/scenarios.rs"]
mod scenarios;
#[allow(dead_code, reason = "the load bench needs more of it")]
#[path = "load/server.rs"]
mod server;
#[allow(dead_code, reason = "the load bench needs more of it")]
#[path = "load/service.rs"]
mod service;
#[path = "hostile/slow.rs"]
mod slow;
#[allow(dead_code, reason = "the load bench needs more of it")]
#[path = "load/table.rs"]
mod table;

/// Measures what slow and silent clients and guessers cost others, and whether the reason of a refusal arrives.
#[derive(Parser)]
#[command(name = "cargo bench --bench hostile --")]
struct Arguments {
    /// Measure this alone
    #[arg(long, value_enum)]
    only: Option<Scenario>,
    /// Tries of each client and refusal
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    tries: u32,
    /// Try the refusals with the clients alone that have this in their name
    #[arg(long, default_value = "")]
    client: String,
    /// Send the slow bodies into MinIO, with the records in Redis; both are started for it
    #[arg(long)]
    minio: bool,
    /// Let so many others fetch one file after another beside the guesses
    #[arg(long, default_value_t = 8, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    receivers: usize,
    /// Let the guesses go to so many instances
    #[arg(long, default_value_t = 1, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=8))]
    instances: usize,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// 10,000 connections that say nothing, 500 heads and 200 bodies that trickle
    Slow,
    /// 1,000 wrong passwords at once, the records in Redis
    Passwords,
    /// curl, wget, node and Python sending 60 MB to a 401, 413 and 422
    Refusals,
}

fn main() {
    let arguments = Arguments::parse();
    let dir = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let wanted = |scenario| arguments.only.is_none_or(|only| only == scenario);
    if wanted(Scenario::Slow) {
        slow::run(dir.path(), arguments.minio);
    }
    if wanted(Scenario::Passwords) {
        passwords::run(dir.path(), arguments.instances, arguments.receivers);
    }
    if wanted(Scenario::Refusals) {
        refusals::run(dir.path(), arguments.tries, &arguments.client);
    }
}
