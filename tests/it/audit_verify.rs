//! The check of a log that another hand touched.

use std::fs;
use std::path::{Path, PathBuf};

use burnbag::audit::{Fault, VerifyError, verify};

use crate::audit_support::{LOG_ID, entries, event, lines, open, open_sized, segment, start, write_lines};
use burnbag::storage::records::OutboxEntry;

/// A log of ten lines.
fn log() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).append(&entries(1, 10)).unwrap();
    dir
}

/// What the check says after `touch` did something to the lines.
fn after(touch: impl FnOnce(&mut Vec<String>)) -> (PathBuf, u64, Fault) {
    let dir = log();
    let file = segment(dir.path(), 1);
    let mut all = lines(&file);
    touch(&mut all);
    write_lines(&file, &all);
    broken(dir.path())
}

fn broken(dir: &Path) -> (PathBuf, u64, Fault) {
    match verify(dir).unwrap_err() {
        VerifyError::Broken { file, line, fault } => {
            (file.strip_prefix(dir).unwrap().to_owned(), line, fault)
        }
        other => panic!("{other}"),
    }
}

fn first() -> PathBuf {
    PathBuf::from("0/0000000000000001.jsonl")
}

#[test]
fn a_whole_log_is_reported_with_its_ends_and_what_cannot_be_seen() {
    let dir = log();
    let text = verify(dir.path()).unwrap().to_string();
    for part in [LOG_ID, "10 lines", "first event 1 of 2030-01-31T18:00:01.000Z", "last event 10 of", "hash "]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("A cut at the end cannot be seen yet"), "{text}");
}

#[test]
fn a_changed_line_is_named_where_it_stands() {
    let found = after(|all| all[4] = all[4].replace("operator", "system"));
    assert_eq!(found, (first(), 5, Fault::Changed));
}

#[test]
fn a_changed_hash_is_named_where_it_stands() {
    let found = after(|all| {
        let digit = all[4].len() - 3;
        let other = if all[4].as_bytes()[digit] == b'0' { "1" } else { "0" };
        all[4].replace_range(digit..=digit, other);
    });
    assert_eq!(found, (first(), 5, Fault::OwnHash));
}

#[test]
fn a_changed_first_line_is_named() {
    let found = after(|all| all[0] = all[0].replace("operator", "system"));
    assert_eq!(found, (first(), 1, Fault::Changed));
}

#[test]
fn a_missing_line_is_named_where_it_is_missed() {
    let found = after(|all| drop(all.remove(4)));
    assert_eq!(found, (first(), 5, Fault::Missing { expected: 5, found: 6 }));
    let found = after(|all| drop(all.remove(0)));
    assert_eq!(found, (first(), 1, Fault::Missing { expected: 1, found: 2 }));
}

#[test]
fn a_reordered_line_is_named() {
    let found = after(|all| all.swap(4, 5));
    assert_eq!(found, (first(), 5, Fault::Missing { expected: 5, found: 6 }));
}

#[test]
fn an_inserted_or_repeated_line_is_named() {
    let found = after(|all| all.insert(5, all[4].clone()));
    assert_eq!(found, (first(), 6, Fault::Misplaced { expected: 6, found: 5 }));
    let found = after(|all| all.insert(5, String::new()));
    assert!(matches!(&found, (_, 6, Fault::NotALine(_))), "{found:?}");
}

#[test]
fn a_line_in_another_form_is_named() {
    for (from, to) in [
        ("\"v\":1,", "\"v\": 1,"),
        ("\"v\":1,", "\"v\":2,"),
        ("\"shard\":0,\"seq\":5", "\"seq\":5,\"shard\":0"),
        ("\"outcome\":\"ok\"", "\"outcome\":\"ok\",\"more\":1"),
        (":05.000Z", ":05Z"),
        ("transfer.created", "transfer.imagined"),
    ] {
        let found = after(|all| {
            assert!(all[4].contains(from), "{}", all[4]);
            all[4] = all[4].replacen(from, to, 1);
        });
        assert!(matches!(&found, (_, 5, Fault::NotALine(_))), "{from} {found:?}");
    }
}

#[test]
fn a_changed_number_is_named_though_the_hash_fits() {
    let found = after(|all| all[4] = all[4].replace("\"seq\":5", "\"seq\":55"));
    assert_eq!(found, (first(), 5, Fault::Number { expected: 5, found: 55 }));
}

#[test]
fn an_event_that_is_twice_in_the_log_is_named_with_its_first_place() {
    let dir = tempfile::tempdir().unwrap();
    let same = event(start());
    let all: Vec<_> = (1..=3).map(|seq| OutboxEntry { seq, event: event(start()) }).collect();
    let mut log = open(dir.path());
    log.append(&all).unwrap();
    log.append(&[OutboxEntry { seq: 4, event: same.clone() }, OutboxEntry { seq: 5, event: same.clone() }])
        .unwrap();
    let file = segment(dir.path(), 1);
    let (_, line, fault) = broken(dir.path());
    assert_eq!((line, fault), (5, Fault::Twice { id: same.id, file, line: 4 }));
}

#[test]
fn a_missing_segment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    open_sized(dir.path(), 1000).append(&entries(1, 20)).unwrap();
    verify(dir.path()).unwrap();
    fs::remove_file(segment(dir.path(), 2)).unwrap();
    let error = verify(dir.path()).unwrap_err();
    assert!(
        matches!(&error, VerifyError::Segment { file, .. } if *file == segment(dir.path(), 2)),
        "{error}"
    );
}

#[test]
fn a_change_at_the_end_of_a_segment_is_named_there() {
    let dir = tempfile::tempdir().unwrap();
    open_sized(dir.path(), 1000).append(&entries(1, 20)).unwrap();
    let file = segment(dir.path(), 2);
    let mut all = lines(&file);
    let last = all.len();
    all[last - 1] = all[last - 1].replace("operator", "system");
    write_lines(&file, &all);
    let expected = (PathBuf::from("0/0000000000000002.jsonl"), last as u64, Fault::Changed);
    assert_eq!(broken(dir.path()), expected);
    fs::write(&file, fs::read(&file).unwrap().trim_ascii_end()).unwrap();
    assert!(matches!(broken(dir.path()), (_, line, Fault::NotALine(_)) if line == last as u64));
}

#[test]
fn an_unfinished_last_line_is_told_and_is_no_fault() {
    let dir = log();
    let file = segment(dir.path(), 1);
    fs::write(&file, [&fs::read(&file).unwrap()[..], b"{\"v\""].concat()).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.shards[0].torn.as_ref().unwrap().bytes, 4);
    assert_eq!(report.lines(), 10);
}

#[test]
fn a_directory_that_is_no_log_is_told_apart() {
    let dir = log();
    fs::write(dir.path().join("log-id"), "another\n").unwrap();
    assert!(matches!(verify(dir.path()).unwrap_err(), VerifyError::NotALog { .. }));
    fs::remove_file(dir.path().join("log-id")).unwrap();
    let error = verify(dir.path()).unwrap_err();
    assert!(error.to_string().contains("log-id is missing"), "{error}");
    assert!(matches!(verify(&dir.path().join("none")), Err(VerifyError::Unreadable { .. })));
}
