//! The log on disk: one writer, lines appended and durable, segments one after the other.

use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::error::AuditError;
use super::line::{self, Hash, Line, MAX_LINE};
use super::rollback::LaterLine;
use super::segment;
use crate::clock::Timestamp;
use crate::storage::records::OutboxEntry;

/// A segment is closed before it grows past this, in bytes.
pub const SEGMENT_BYTES: u64 = 64 << 20;

const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// The log of one shard, open for writing. Its calls block: use a blocking thread.
///
/// Dropped, it lets go of the lock.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    shard_dir: PathBuf,
    shard: u8,
    segment_bytes: u64,
    lock: Arc<File>,
    head: Head,
    current: Option<Segment>,
    broken: bool,
}

/// The lock of an audit directory, for the logs of all shards in one process. It is let go with the last of them.
#[derive(Clone, Debug, Default)]
pub struct DirLock(Arc<Mutex<Weak<File>>>);

impl DirLock {
    /// Locks the directory, and gives it its log id where it has none: the logs of several shards may begin at once.
    fn take(&self, dir: &Path, log_id: &str) -> Result<Arc<File>, AuditError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = held.upgrade().filter(|file| segment::lies_at(file, &dir.join("lock")));
        let file = ours.map_or_else(|| lock(dir).map(Arc::new), Ok)?;
        if !own_log_id(dir, log_id)? {
            write_log_id(dir, log_id)?;
        }
        *held = Arc::downgrade(&file);
        Ok(file)
    }
}

/// The end of the chain.
#[derive(Clone, Debug)]
struct Head {
    /// 0 before the first line.
    seq: u64,
    id: String,
    hash: Hash,
}

/// The segment that is written.
#[derive(Debug)]
struct Segment {
    number: u64,
    path: PathBuf,
    file: File,
    length: u64,
    /// The UTC day of its first line.
    day: Option<u64>,
}

fn day(time: Timestamp) -> u64 {
    time.as_millis() / DAY_MILLIS
}

impl Log {
    /// Opens the log of a shard, makes it where there is none, and cuts the torn last line that a crash left.
    ///
    /// # Errors
    /// Where another process holds the log, or it is another's, or the disk refuses. Opening can be tried again.
    pub fn open(dir: &Path, log_id: &str, shard: u8) -> Result<Self, AuditError> {
        Self::open_sized(dir, log_id, shard, SEGMENT_BYTES)
    }

    /// [`Log::open`] with segments of at most `segment_bytes`. A line longer than that has a segment of its own.
    pub fn open_sized(dir: &Path, log_id: &str, shard: u8, segment_bytes: u64) -> Result<Self, AuditError> {
        Self::assemble(&DirLock::default(), dir, log_id, shard, segment_bytes)
    }

    /// [`Log::open`] under a lock that the logs of other shards in this process hold too.
    ///
    /// # Errors
    /// As there.
    pub fn open_under(lock: &DirLock, dir: &Path, log_id: &str, shard: u8) -> Result<Self, AuditError> {
        Self::assemble(lock, dir, log_id, shard, SEGMENT_BYTES)
    }

    fn assemble(
        lock: &DirLock,
        dir: &Path,
        log_id: &str,
        shard: u8,
        segment_bytes: u64,
    ) -> Result<Self, AuditError> {
        segment::make_dir(dir)?;
        // Before the lock: who was given another's directory is told so, also while that one is running.
        own_log_id(dir, log_id)?;
        let lock = lock.take(dir, log_id)?;
        let shard_dir = dir.join(shard.to_string());
        segment::make_dir(&shard_dir)?;
        let head = Head { seq: 0, id: String::new(), hash: line::hash(log_id.as_bytes()) };
        let mut log = Self {
            dir: dir.to_owned(),
            shard_dir,
            shard,
            segment_bytes,
            lock,
            head,
            current: None,
            broken: false,
        };
        log.find_end()?;
        Ok(log)
    }

    /// Reads the end of the chain back: the last line, in the last segment that has one.
    fn find_end(&mut self) -> Result<(), AuditError> {
        let numbers = segment::list(&self.shard_dir, segment::number)
            .map_err(AuditError::disk("list", &self.shard_dir))?;
        for number in numbers.into_iter().rev() {
            let path = self.shard_dir.join(segment::name(number));
            let file = segment::options().open(&path).map_err(AuditError::disk("open", &path))?;
            let found = if self.current.is_none() {
                let (length, found) = cut_torn_end(&file, &path)?;
                // A process that was killed may have left lines that are not on disk yet.
                if length > 0 {
                    file.sync_all().map_err(AuditError::disk("sync", &path))?;
                }
                segment::sync_dir(&self.shard_dir)?;
                let day = first_day(&file, length).map_err(AuditError::disk("read", &path))?;
                self.current = Some(Segment { number, path, file, length, day });
                found
            } else {
                last_head(&file, &path)?
            };
            if let Some(head) = found {
                self.head = head;
                return Ok(());
            }
        }
        Ok(())
    }

    /// The number of the last event in the log; 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.head.seq
    }

    /// What the lines after a number say, in order.
    pub(super) fn lines_after(&self, seq: u64) -> Result<Vec<LaterLine>, AuditError> {
        let numbers = segment::list(&self.shard_dir, segment::number)
            .map_err(AuditError::disk("list", &self.shard_dir))?;
        let mut found = Vec::new();
        for number in numbers.into_iter().rev() {
            let path = self.shard_dir.join(segment::name(number));
            let text = fs::read(&path).map_err(AuditError::disk("read", &path))?;
            let mut lines = Vec::new();
            let mut reached = false;
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let damaged = |why| AuditError::Damaged { file: path.clone(), why };
                let line = Line::parse(line).map_err(damaged)?;
                reached |= line.seq <= seq;
                if line.seq > seq {
                    lines.push(LaterLine {
                        seq: line.seq,
                        id: line.id.into_owned(),
                        transfer: line.transfer,
                    });
                }
            }
            lines.append(&mut found);
            found = lines;
            if reached {
                break;
            }
        }
        Ok(found)
    }

    /// Adds the events that are not in the log yet; durable when it returns. Those that are in it are skipped, so a batch
    /// can be sent again.
    ///
    /// # Errors
    /// [`AuditError::Gap`] and [`AuditError::StoreOlder`] before anything is written. After any other error part of the
    /// events may be in the log: drop it, open it again and read [`Log::last_seq`].
    pub fn append(&mut self, entries: &[OutboxEntry]) -> Result<(), AuditError> {
        self.check()?;
        let mut seq = self.head.seq;
        for entry in entries {
            self.same_history(entry)?;
            if entry.seq > seq {
                self.joins(seq, entry.seq)?;
                seq = entry.seq;
            }
        }
        let written = self.write(entries);
        if written.is_err() {
            self.take_back();
        }
        written
    }

    fn write(&mut self, entries: &[OutboxEntry]) -> Result<(), AuditError> {
        let (mut head, mut lines) = (self.head.clone(), Vec::new());
        for entry in entries {
            if entry.seq <= head.seq {
                continue;
            }
            let text = Line::new(entry, self.shard, &head.hash).to_bytes();
            let text =
                text.map_err(|error| AuditError::disk("write a line to", &self.shard_dir)(error.into()))?;
            let day = day(entry.event.time);
            if self.is_full(lines.len() as u64, text.len() as u64 + 1, day) {
                self.flush(&mut lines, &head)?;
                self.next_segment()?;
            }
            if let Some(segment) = &mut self.current {
                segment.day.get_or_insert(day);
            }
            head = Head { seq: entry.seq, id: entry.event.id.clone(), hash: line::hash(&text) };
            lines.extend_from_slice(&text);
            lines.push(b'\n');
        }
        self.flush(&mut lines, &head)
    }

    /// Whether a line of `length` bytes and of `day` belongs into a new segment, where `waiting` bytes are not written yet.
    /// Events come a little out of order, so only a later day counts.
    fn is_full(&self, waiting: u64, length: u64, day: u64) -> bool {
        let Some(segment) = &self.current else { return true };
        let used = segment.length + waiting;
        used > 0 && (used + length > self.segment_bytes || segment.day.is_some_and(|first| day > first))
    }

    /// Writes whole lines in one write and makes them durable; only then the chain's end moves on.
    fn flush(&mut self, lines: &mut Vec<u8>, head: &Head) -> Result<(), AuditError> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(Segment { file, path, length, .. }) = &mut self.current {
            file.write_all(lines).map_err(AuditError::disk("write to", path))?;
            file.sync_data().map_err(AuditError::disk("sync", path))?;
            *length += lines.len() as u64;
        }
        // What was written into a file that is no longer there is not in the log.
        self.check()?;
        self.head = head.clone();
        lines.clear();
        Ok(())
    }

    /// Closes the segment and begins the next. This is the place where the closed one is to get its signed checkpoint.
    fn next_segment(&mut self) -> Result<(), AuditError> {
        let number = self.current.as_ref().map_or(0, |segment| segment.number) + 1;
        let path = self.shard_dir.join(segment::name(number));
        let file =
            segment::options().create_new(true).open(&path).map_err(AuditError::disk("make", &path))?;
        segment::sync_dir(&self.shard_dir)?;
        self.current = Some(Segment { number, path, file, length: 0, day: None });
        Ok(())
    }

    /// After a failed write: no half line may ever be followed by another.
    fn take_back(&mut self) {
        self.broken = true;
        let Some(Segment { file, path, length, .. }) = &self.current else { return };
        if let Err(error) = file.set_len(*length).and_then(|()| file.sync_all()) {
            let file = path.display().to_string();
            tracing::warn!(file, error = %error, "a failed write to the audit log could not be taken back");
        }
    }

    /// Whether what was opened is still the log.
    ///
    /// # Errors
    /// [`AuditError::Replaced`]: open it again.
    pub fn check(&self) -> Result<(), AuditError> {
        let lock = self.dir.join("lock");
        if self.broken || !segment::lies_at(&self.lock, &lock) {
            return Err(AuditError::Replaced { path: self.dir.clone() });
        }
        let Some(Segment { path, file, length, .. }) = &self.current else { return Ok(()) };
        let whole = file.metadata().is_ok_and(|meta| meta.len() == *length);
        if !whole || !segment::lies_at(file, path) {
            return Err(AuditError::Replaced { path: path.clone() });
        }
        Ok(())
    }

    /// Whether the log can go on with event `next`.
    ///
    /// # Errors
    /// [`AuditError::Gap`] where events are missing before it and the operator did not accept that.
    pub fn reaches(&self, next: u64) -> Result<(), AuditError> {
        self.joins(self.head.seq, next)
    }

    fn joins(&self, last: u64, next: u64) -> Result<(), AuditError> {
        let missing = last + 1..=next.saturating_sub(1);
        if missing.is_empty() {
            return Ok(());
        }
        let accepted = segment::loss_accepted(&self.shard_dir, &missing);
        if accepted.map_err(AuditError::disk("read the accepted losses in", &self.shard_dir))? {
            return Ok(());
        }
        Err(AuditError::Gap { dir: self.shard_dir.clone(), first: *missing.start(), last: *missing.end() })
    }

    /// Whether the record store's entry is the one that the log has under that number, as far as the log's end can tell.
    ///
    /// # Errors
    /// [`AuditError::StoreOlder`].
    pub fn same_history(&self, entry: &OutboxEntry) -> Result<(), AuditError> {
        if entry.seq == self.head.seq && entry.event.id != self.head.id {
            return Err(self.store_older(None));
        }
        Ok(())
    }

    /// The error where the record store's last event is `store_last`, or another one than the log's.
    #[must_use]
    pub fn store_older(&self, store_last: Option<u64>) -> AuditError {
        AuditError::StoreOlder { dir: self.shard_dir.clone(), seq: self.head.seq, store_last }
    }
}

/// Whether the directory holds this log id; an empty one holds none.
fn own_log_id(dir: &Path, log_id: &str) -> Result<bool, AuditError> {
    let read = || segment::log_id(dir).map_err(AuditError::disk("read the log-id in", dir));
    let has_lines = || {
        segment::list(dir, segment::shard)
            .map(|shards| !shards.is_empty())
            .map_err(AuditError::disk("list", dir))
    };
    let mut found = read()?;
    if found.is_none() {
        if !has_lines()? {
            return Ok(false);
        }
        // A log has its id before its first lines: another shard's may have begun between the two looks.
        found = read()?;
    }
    match found {
        Some(found) if found == log_id => Ok(true),
        found => Err(AuditError::OtherLog { dir: dir.to_owned(), found, expected: log_id.to_owned() }),
    }
}

fn write_log_id(dir: &Path, log_id: &str) -> Result<(), AuditError> {
    let (part, path) = (dir.join("log-id.tmp"), dir.join(segment::LOG_ID));
    let write = || {
        let mut file = segment::options().create(true).open(&part)?;
        file.set_len(0)?;
        writeln!(file, "{log_id}")?;
        file.sync_all()?;
        fs::rename(&part, &path)
    };
    write().map_err(AuditError::disk("write", &path))?;
    segment::sync_dir(dir)
}

fn lock(dir: &Path) -> Result<File, AuditError> {
    let path = dir.join("lock");
    let file = segment::options().create(true).open(&path).map_err(AuditError::disk("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(AuditError::disk("lock", &path)(error)),
    }
}

fn head_of(text: &[u8]) -> Result<Head, String> {
    let line = Line::parse(text)?;
    Ok(Head { seq: line.seq, id: line.id.into_owned(), hash: line::hash(text) })
}

/// The end of the chain in a segment that others follow.
fn last_head(file: &File, path: &Path) -> Result<Option<Head>, AuditError> {
    let length = file.metadata().map_err(AuditError::disk("read", path))?.len();
    let whole = segment::whole_lines(file, length).map_err(AuditError::disk("read", path))?;
    if whole != length {
        let why = "its last line has no end, and a later segment exists".to_owned();
        return Err(AuditError::Damaged { file: path.to_owned(), why });
    }
    head_before(file, length, path)
}

/// The end of the chain in the lines before `end`.
fn head_before(file: &File, end: u64, path: &Path) -> Result<Option<Head>, AuditError> {
    let found = segment::last_line(file, end).map_err(AuditError::disk("read", path))?;
    let damaged = |why| AuditError::Damaged { file: path.to_owned(), why };
    found.map(|(_, text)| head_of(&text).map_err(damaged)).transpose()
}

/// Cuts what a crash in the middle of a write left: a piece without a newline, or one last line that is none. Answers
/// with the length that is left and the end of the chain in it.
fn cut_torn_end(file: &File, path: &Path) -> Result<(u64, Option<Head>), AuditError> {
    let disk = || AuditError::disk("read", path);
    let length = file.metadata().map_err(disk())?.len();
    let mut end = segment::whole_lines(file, length).map_err(disk())?;
    if let Some((start, text)) = segment::last_line(file, end).map_err(disk())?
        && head_of(&text).is_err()
    {
        end = start;
    }
    let head = head_before(file, end, path)?;
    if end < length {
        let (cut, shown) = (length - end, path.display().to_string());
        tracing::warn!(file = shown, bytes = cut, "cut a torn last line off the audit log");
        file.set_len(end).map_err(AuditError::disk("cut a torn line off", path))?;
    }
    Ok((end, head))
}

/// The UTC day of the first line.
fn first_day(file: &File, length: u64) -> std::io::Result<Option<u64>> {
    let mut text = Vec::new();
    // `file` is opened for appending: reading moves no place at which it writes.
    BufReader::new(file).take(length.min(MAX_LINE)).read_until(b'\n', &mut text)?;
    Ok(Line::parse(text.trim_ascii_end()).ok().map(|line| day(line.time)))
}
