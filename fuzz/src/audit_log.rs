//! The audit log on disk: the check never calls a log whole whose lines are not as they were written, and what it calls
//! whole can be written on.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use burnbag::audit::{AuditError, Log, Report, verify};
use burnbag::clock::Timestamp;
use burnbag::storage::records::OutboxEntry;
use burnbag::transfer::{Actor, Context, EventType, InstanceId, LinkId, OperationId, TransferId};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::input::{bytes, change, choose, rarely};

const LOG_ID: &str = "00112233445566778899aabbccddeeff";
const LINES: u64 = 5;

/// The lines as they were written, each with its newline, and the hash of the last.
static WRITTEN: LazyLock<(Vec<Vec<u8>>, String)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    Log::open(dir.path(), LOG_ID, 0).unwrap().append(&(1..=LINES).map(entry).collect::<Vec<_>>()).unwrap();
    let text = fs::read(segment(dir.path(), 1)).unwrap();
    let lines = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    (lines, verify(dir.path()).unwrap().shards.remove(0).last_hash)
});

thread_local! {
    static DIR: TempDir = {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("0")).unwrap();
        fs::write(dir.path().join("log-id"), LOG_ID).unwrap();
        dir
    };
}

fn entry(seq: u64) -> OutboxEntry {
    let time = Timestamp::from_millis(1_900_000_000_000 + seq);
    let mut context = Context::system(InstanceId::from_bytes([7; 16]), time);
    context.operation = OperationId::from_bytes(u128::from(seq).to_be_bytes());
    let mut event = context.event(0, EventType::ALL[usize::try_from(seq).unwrap() % EventType::ALL.len()]);
    event.actor =
        if seq.is_multiple_of(2) { Actor::Link(LinkId::from_bytes([3; 16])) } else { Actor::Operator };
    event.transfer = Some(TransferId::from_bytes([1; 16]));
    event.reason = (seq == 3).then(|| "a \"quoted\" wörd\nand a line".to_owned());
    event.bytes = Some(seq * 1000);
    event.client = Some("192.0.2.1".to_owned());
    OutboxEntry { seq, event }
}

fn segment(dir: &Path, number: u64) -> std::path::PathBuf {
    dir.join("0").join(format!("{number:016}.jsonl"))
}

pub fn run(data: &[u8]) {
    choose(data, |input| {
        let (written, last_hash) = &*WRITTEN;
        let mut lines = written.clone();
        let chained = touch(input, &mut lines)?;
        let text = lines.concat();
        let split = if rarely(input, 8)? { input.int_in_range(0..=lines.len())? } else { lines.len() };
        let lost = if rarely(input, 8)? {
            Some(format!("{}-{}\n", input.int_in_range(0..=9)?, input.int_in_range(0..=9)?))
        } else {
            None
        };
        let write_on = rarely(input, 16)?;
        DIR.with(|dir| {
            let dir = dir.path();
            lay_out(dir, &lines, split, lost.as_deref());
            let report = verify(dir);
            if let Ok(report) = &report {
                let whole = written.concat();
                let kept = report.shards[0].last_hash == *last_hash && report.lines() == LINES;
                assert!(!kept || text.starts_with(&whole), "the last hash stands for every byte before it");
                assert!(text == whole || !kept || report.shards[0].torn.is_some() || lost.is_some());
                if !chained && lost.is_none() {
                    unchanged(report, &text, &whole);
                }
            }
            if write_on {
                go_on(dir, report.ok().as_ref());
            }
        });
        Ok(())
    });
}

/// Does something to the lines; whether the hashes were made to fit again, as somebody would who writes a whole new log.
fn touch(input: &mut Unstructured<'_>, lines: &mut Vec<Vec<u8>>) -> Result<bool> {
    let mut chained = false;
    for _ in 0..input.int_in_range(0..=3)? {
        if lines.is_empty() {
            break;
        }
        let at = input.int_in_range(0..=lines.len() - 1)?;
        let other = input.int_in_range(0..=lines.len() - 1)?;
        match input.int_in_range(0..=7)? {
            0 | 1 => change(input, &mut lines[at])?,
            2 => drop(lines.remove(at)),
            3 => lines.swap(at, other),
            4 => lines.insert(at, lines[other].clone()),
            5 => lines.insert(at, [bytes(input, 200)?, b"\n"].concat()),
            6 => {
                let word =
                    *input.choose(&["operator", "\"seq\":2", "192.0.2.1", ".000Z", "\"v\":1", "account"])?;
                let with = String::from_utf8_lossy(bytes(input, 24)?).into_owned();
                lines[at] = String::from_utf8_lossy(&lines[at]).replace(word, &with).into_bytes();
            }
            _ => {
                chained = true;
                chain(lines);
            }
        }
    }
    Ok(chained)
}

/// Writes into each line the hash of the one before.
fn chain(lines: &mut [Vec<u8>]) {
    let mut hash = hex::encode(Sha256::digest(LOG_ID));
    for line in lines {
        let text = String::from_utf8_lossy(line).into_owned();
        if let Some((head, _)) = text.split_once("\"prev\":\"") {
            *line = format!("{head}\"prev\":\"{hash}\"}}\n").into_bytes();
        }
        hash = hex::encode(Sha256::digest(line.strip_suffix(b"\n").unwrap_or(line)));
    }
}

fn lay_out(dir: &Path, lines: &[Vec<u8>], split: usize, lost: Option<&str>) {
    let (first, second) = lines.split_at(split);
    fs::write(segment(dir, 1), first.concat()).unwrap();
    let _ = fs::remove_file(segment(dir, 2));
    if !second.is_empty() {
        fs::write(segment(dir, 2), second.concat()).unwrap();
    }
    match lost {
        Some(lost) => fs::write(dir.join("0/lost"), lost).unwrap(),
        None => drop(fs::remove_file(dir.join("0/lost"))),
    }
}

/// A log that is called whole is as it was written, but for its end: a cut there, or another last line, shows only in the
/// last hash (see the report's own words).
fn unchanged(report: &Report, text: &[u8], whole: &[u8]) {
    let count = usize::try_from(report.lines()).unwrap();
    assert!(count <= usize::try_from(LINES).unwrap(), "no line more");
    let before_last = |text: &[u8]| {
        text.split_inclusive(|byte| *byte == b'\n').take(count.saturating_sub(1)).collect::<Vec<_>>().concat()
    };
    assert_eq!(before_last(text), before_last(whole), "every line that another follows is as it was");
}

fn go_on(dir: &Path, report: Option<&Report>) {
    let log = Log::open(dir, LOG_ID, 0);
    // A child that another test forks holds the lock of the case before until it runs its own program.
    if matches!(log, Err(AuditError::Locked { .. })) {
        return;
    }
    let Some(report) = report else { return };
    let mut log = log.expect("a whole log can be written on");
    let last = report.shards[0].last.map_or(0, |last| last.seq);
    assert_eq!(log.last_seq(), last);
    if last < u64::MAX - 1 {
        let mut next = entry(last + 1);
        next.event.id = format!("{}.99", OperationId::from_bytes([0xee; 16]));
        let known =
            verify(dir).is_ok_and(|report| report.shards[0].last.is_none_or(|last| last.seq < next.seq));
        assert!(known);
        if log.append(&[next]).is_ok() {
            drop(log);
            let lines = fs::read(segment(dir, 1)).unwrap();
            let again =
                String::from_utf8_lossy(&lines).matches("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee.99").count();
            assert!(again > 1 || verify(dir).is_ok_and(|again| again.lines() == report.lines() + 1));
        }
    }
}
