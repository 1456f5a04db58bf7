//! What the tests of the audit log share.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burnbag::audit::{AuditError, Log};
use burnbag::clock::Timestamp;
use burnbag::storage::records::OutboxEntry;
use burnbag::transfer::{Actor, Context, Event, EventType, InstanceId, TransferId};

use crate::support::SOON;

pub const LOG_ID: &str = "00112233445566778899aabbccddeeff";

/// 2030-01-31T18:00:00Z.
pub fn start() -> Timestamp {
    "2030-01-31T18:00:00Z".parse().unwrap()
}

pub fn event(now: Timestamp) -> Event {
    let context = Context::system(InstanceId::from_bytes([7; 16]), now);
    let mut event = context.event(0, EventType::TransferCreated);
    event.actor = Actor::Operator;
    event.transfer = Some(TransferId::from_bytes([1; 16]));
    event.reason = Some("a \"quoted\" wörd\nand a line".to_owned());
    event
}

/// Entries `first..=last`, a second apart.
pub fn entries(first: u64, last: u64) -> Vec<OutboxEntry> {
    (first..=last)
        .map(|seq| OutboxEntry { seq, event: event(start().after(Duration::from_secs(seq))) })
        .collect()
}

pub fn open(dir: &Path) -> Log {
    unlocked(|| Log::open(dir, LOG_ID, 0))
}

pub fn open_sized(dir: &Path, segment_bytes: u64) -> Log {
    unlocked(|| Log::open_sized(dir, LOG_ID, 0, segment_bytes))
}

/// A child that another test has just forked holds every lock of this process until it runs its own program.
fn unlocked(open: impl Fn() -> Result<Log, AuditError>) -> Log {
    let end = Instant::now() + SOON;
    loop {
        match open() {
            Err(AuditError::Locked { .. }) if Instant::now() < end => {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            log => return log.unwrap(),
        }
    }
}

pub fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join("0").join(format!("{number:016}.jsonl"))
}

/// The lines of a segment, without their newlines.
pub fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

pub fn write_lines(file: &Path, lines: &[String]) {
    fs::write(file, lines.join("\n") + "\n").unwrap();
}

/// The numbers in a segment, in order.
pub fn seqs(file: &Path) -> Vec<u64> {
    let seq =
        |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap();
    lines(file).iter().map(seq).collect()
}
