//! The log on disk, written by hands that crash.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use burnbag::audit::{AuditError, DirLock, Log, verify};
use burnbag::storage::records::OutboxEntry;
use burnbag::transfer::{AccountId, Actor, EventType, FileId, LinkId, Outcome};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::audit_support::{LOG_ID, entries, event, lines, open, open_sized, segment, seqs, start};

#[test]
fn a_line_is_written_as_the_design_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut full = event(start());
    full.id = "0190.0".to_owned();
    full.kind = EventType::DownloadRefused;
    full.actor = Actor::Account(AccountId::from_bytes([2; 16]));
    full.client = Some("192.0.2.1".to_owned());
    full.file = Some(FileId::from_bytes([3; 16]));
    full.link = Some(LinkId::from_bytes([4; 16]));
    full.bytes = Some(5);
    full.content_mac = Some("ab".to_owned());
    full.outcome = Outcome::Refused;
    full.reason = Some("link_unknown".to_owned());
    full.count = Some(6);
    full.trace = Some("t".to_owned());
    let mut least = event(start());
    least.id = "0190.1".to_owned();
    (least.transfer, least.reason) = (None, None);
    open(dir.path())
        .append(&[OutboxEntry { seq: 1, event: full }, OutboxEntry { seq: 2, event: least }])
        .unwrap();

    let log_id = hex::encode(Sha256::digest(LOG_ID));
    let instance = "07".repeat(16);
    let first = format!(
        r#"{{"v":1,"id":"0190.0","shard":0,"seq":1,"time":"2030-01-31T18:00:00.000Z","instance":"{instance}","type":"download.refused","actor":{{"kind":"account","id":"{}"}},"client":"192.0.2.1","transfer":"{}","file":"{}","link":"{}","bytes":5,"content_mac":"ab","outcome":"refused","reason":"link_unknown","count":6,"trace":"t","prev":"{log_id}"}}"#,
        "02".repeat(16),
        "01".repeat(16),
        "03".repeat(16),
        "04".repeat(16),
    );
    let second = format!(
        r#"{{"v":1,"id":"0190.1","shard":0,"seq":2,"time":"2030-01-31T18:00:00.000Z","instance":"{instance}","type":"transfer.created","actor":{{"kind":"operator"}},"outcome":"ok","prev":"{}"}}"#,
        hex::encode(Sha256::digest(&first)),
    );
    assert_eq!(lines(&segment(dir.path(), 1)), [first, second]);
}

#[test]
fn the_logs_of_several_shards_may_begin_at_once() {
    for _ in 0..200 {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::default();
        let begin = |shard| Log::open_under(&lock, dir.path(), LOG_ID, shard);
        let opened = std::thread::scope(|scope| {
            let logs: Vec<_> = (0..4).map(|shard| scope.spawn(move || begin(shard))).collect();
            logs.into_iter().map(|log| log.join().unwrap()).collect::<Result<Vec<_>, _>>()
        });
        assert_eq!(opened.unwrap().len(), 4);
        assert_eq!(fs::read_to_string(dir.path().join("log-id")).unwrap(), format!("{LOG_ID}\n"));
    }
}

#[test]
fn what_was_appended_is_found_whole_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).append(&entries(1, 3)).unwrap();
    let mut log = open(dir.path());
    assert_eq!(log.last_seq(), 3);
    log.append(&entries(4, 5)).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.lines(), report.shards[0].segments), (5, 1));
    assert_eq!(report.shards[0].last.unwrap().seq, 5);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(segment(dir.path(), 1)), 0o600);
    assert_eq!(mode(dir.path().join("0")), 0o700);
}

#[test]
fn a_batch_sent_again_after_a_crash_before_the_trim_adds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let batch = entries(1, 3);
    open(dir.path()).append(&batch).unwrap();
    let mut log = open(dir.path());
    log.append(&batch).unwrap();
    log.append(&[batch, entries(4, 4)].concat()).unwrap();
    assert_eq!(seqs(&segment(dir.path(), 1)), [1, 2, 3, 4]);
    verify(dir.path()).unwrap();
}

#[test]
fn a_torn_last_line_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).append(&entries(1, 3)).unwrap();
    let file = segment(dir.path(), 1);
    let whole = fs::read(&file).unwrap();
    for rest in [&b"{\"v\":1,\"id\""[..], b"\0\0\0\0", b"\0\0\0\n", b"{\"v\":1}\n"] {
        fs::write(&file, [&whole, rest].concat()).unwrap();
        assert_eq!(open(dir.path()).last_seq(), 3);
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
}

#[test]
fn two_damaged_lines_at_the_end_are_no_torn_write_and_nothing_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).append(&entries(1, 3)).unwrap();
    let file = segment(dir.path(), 1);
    fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"x\ny\nz").unwrap();
    let damaged = fs::read(&file).unwrap();
    let error = Log::open(dir.path(), LOG_ID, 0).unwrap_err();
    assert!(matches!(error, AuditError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), damaged);
}

#[test]
fn a_gap_is_refused_before_anything_is_written_and_taken_once_the_operator_accepts_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(&entries(1, 2)).unwrap();
    let later = [entries(3, 3), entries(6, 7)].concat();
    let error = log.append(&later).unwrap_err();
    assert!(matches!(error, AuditError::Gap { first: 4, last: 5, .. }), "{error}");
    assert_eq!(seqs(&segment(dir.path(), 1)), [1, 2]);

    fs::write(dir.path().join("0/lost"), "4-5\n").unwrap();
    log.append(&later).unwrap();
    assert_eq!(seqs(&segment(dir.path(), 1)), [1, 2, 3, 6, 7]);
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.shards[0].lost, [4..=5]);
    assert!(report.to_string().contains("LOST: events 4 to 5"));
}

#[test]
fn a_record_store_with_another_history_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(&entries(1, 2)).unwrap();
    let error = log.append(&entries(1, 3)).unwrap_err();
    assert!(matches!(error, AuditError::StoreOlder { seq: 2, .. }), "{error}");
    assert_eq!(seqs(&segment(dir.path(), 1)), [1, 2]);
}

#[test]
fn a_full_segment_is_followed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let all = entries(1, 20);
    for batch in all.chunks(7) {
        open_sized(dir.path(), 1000).append(batch).unwrap();
    }
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.lines(), 20);
    let segments = report.shards[0].segments;
    assert!(segments > 4, "{segments}");
    for number in 1..=segments {
        assert!(fs::metadata(segment(dir.path(), number)).unwrap().len() <= 1000);
    }
}

#[test]
fn a_new_day_begins_a_segment_and_a_late_event_of_the_day_before_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let hours = [0, 5, 6, 5, 7, 29, 30];
    for (seq, hour) in (1..).zip(hours) {
        let event = event(start().after(Duration::from_secs(hour * 3600)));
        log.append(&[OutboxEntry { seq, event }]).unwrap();
        if seq == 4 {
            drop(log);
            log = open(dir.path());
        }
    }
    assert_eq!(seqs(&segment(dir.path(), 1)), [1, 2]);
    assert_eq!(seqs(&segment(dir.path(), 2)), [3, 4, 5, 6]);
    assert_eq!(seqs(&segment(dir.path(), 3)), [7]);
    verify(dir.path()).unwrap();
}

#[test]
fn the_end_is_found_behind_an_empty_last_segment() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).append(&entries(1, 2)).unwrap();
    fs::write(segment(dir.path(), 2), "{\"v\"").unwrap();
    let mut log = open(dir.path());
    assert_eq!(log.last_seq(), 2);
    log.append(&entries(3, 3)).unwrap();
    assert_eq!(seqs(&segment(dir.path(), 2)), [3]);
    assert_eq!(verify(dir.path()).unwrap().lines(), 3);
}

#[test]
fn the_log_of_another_record_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).append(&entries(1, 1)).unwrap();
    let error = Log::open(dir.path(), "ff", 0).unwrap_err();
    assert!(error.to_string().contains(LOG_ID) && error.to_string().contains("ff"), "{error}");
    fs::remove_file(dir.path().join("log-id")).unwrap();
    let error = Log::open(dir.path(), LOG_ID, 0).unwrap_err();
    assert!(matches!(error, AuditError::OtherLog { found: None, .. }), "{error}");
}

#[test]
fn a_second_writer_is_refused_until_the_first_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = Log::open(dir.path(), LOG_ID, 0).unwrap_err();
    assert!(matches!(error, AuditError::Locked { .. }), "{error}");
    drop(first);
    open(dir.path());
}

#[test]
fn a_full_disk_is_an_error_and_the_log_goes_on_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).append(&entries(1, 2)).unwrap();
    // The next segment lies on a device that is always full.
    symlink("/dev/full", segment(dir.path(), 2)).unwrap();
    let all = entries(3, 4);
    let mut log = open(dir.path());
    assert_eq!(log.last_seq(), 2);
    let error = log.append(&all).unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(log.append(&all).is_err(), "a log whose write failed must be opened again");
    drop(log);
    assert!(open(dir.path()).append(&all).is_err());

    fs::remove_file(segment(dir.path(), 2)).unwrap();
    open(dir.path()).append(&all).unwrap();
    assert_eq!(seqs(&segment(dir.path(), 1)), [1, 2, 3, 4]);
}

#[test]
fn a_log_that_was_moved_away_takes_nothing_and_goes_on_once_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, away) = (dir.path().join("audit"), dir.path().join("away"));
    let mut log = open(&audit);
    log.append(&entries(1, 2)).unwrap();
    fs::rename(&audit, &away).unwrap();
    let rest = entries(3, 3);
    assert!(matches!(log.append(&rest), Err(AuditError::Replaced { .. })));
    assert_eq!(seqs(&segment(&away, 1)), [1, 2]);
    drop(log);
    fs::rename(&away, &audit).unwrap();
    open(&audit).append(&rest).unwrap();
    assert_eq!(seqs(&segment(&audit, 1)), [1, 2, 3]);
}

#[test]
fn a_directory_that_was_removed_is_made_again_by_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("data/audit");
    let mut log = open(&audit);
    let all = entries(1, 2);
    log.append(&all).unwrap();
    fs::remove_dir_all(&audit).unwrap();
    assert!(matches!(log.check(), Err(AuditError::Replaced { .. })));
    assert!(log.append(&entries(3, 3)).is_err());
    drop(log);
    let mut log = open(&audit);
    assert_eq!(log.last_seq(), 0);
    assert!(matches!(log.reaches(3), Err(AuditError::Gap { first: 1, last: 2, .. })));
    log.append(&all).unwrap();
    assert_eq!(seqs(&segment(&audit, 1)), [1, 2]);
}

#[test]
fn a_segment_that_another_hand_wrote_to_is_not_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(&entries(1, 2)).unwrap();
    let whole = fs::read(segment(dir.path(), 1)).unwrap();
    fs::write(segment(dir.path(), 1), &whole[..whole.len() - 5]).unwrap();
    assert!(matches!(log.append(&entries(3, 3)), Err(AuditError::Replaced { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn crashes_at_any_byte_of_a_write_leave_the_same_log(
        steps in prop::collection::vec((1usize..6, 0usize..6, prop::option::of(any::<prop::sample::Index>())), 1..10),
        segment_bytes in 300u64..3000,
    ) {
        let total: usize = steps.iter().map(|(count, ..)| count).sum();
        let all = entries(1, total as u64);
        let (straight, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |dir: &tempfile::TempDir| open_sized(dir.path(), segment_bytes);
        open(&straight).append(&all).unwrap();

        let (mut log, mut done) = (open(&crashed), 0usize);
        for (count, again, cut) in steps {
            log.append(&all[done.saturating_sub(again)..done + count]).unwrap();
            done += count;
            let Some(cut) = cut else { continue };
            // The crash: of what was written last, only a part reached the disk.
            drop(log);
            let number = fs::read_dir(crashed.path().join("0")).unwrap().count() as u64;
            let file = fs::OpenOptions::new().write(true).open(segment(crashed.path(), number)).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(cut.index(usize::try_from(length).unwrap() + 1) as u64).unwrap();
            log = open(&crashed);
            done = usize::try_from(log.last_seq()).unwrap();
        }
        log.append(&all[done..]).unwrap();

        let read = |dir: &tempfile::TempDir| {
            let count = fs::read_dir(dir.path().join("0")).unwrap().count() as u64;
            (1..=count).map(|number| fs::read(segment(dir.path(), number)).unwrap()).collect::<Vec<_>>()
        };
        prop_assert_eq!(read(&straight), read(&crashed));
        prop_assert_eq!(verify(crashed.path()).unwrap().lines(), total as u64);
    }
}
