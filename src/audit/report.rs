//! What a check of the log says.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::clock::Timestamp;

/// Why a check ended early.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory is no audit log.
    #[error("{} is not an audit log: {why}", .dir.display())]
    NotALog {
        /// The directory.
        dir: PathBuf,
        /// What is missing.
        why: String,
    },
    /// The disk refused.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The log is not as it was written; this is the first place.
    #[error("{}, line {line}: {fault}", .file.display())]
    Broken {
        /// The segment.
        file: PathBuf,
        /// Counted from 1 in that file.
        line: u64,
        /// What is wrong there.
        fault: Fault,
    },
    /// A whole segment is missing, or stands where none belongs.
    #[error("{}: {why}", .file.display())]
    Segment {
        /// The segment.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The text is none that the service writes.
    #[error("this line was changed: {0}")]
    NotALine(String),
    /// The next line carries another hash of it.
    #[error("this line was changed: the next line carries another hash of it")]
    Changed,
    /// It carries another hash of the line before, and the line after it another hash of it.
    #[error("this line was changed: its hashes fit neither the line before nor the line after")]
    OwnHash,
    /// Its number is not the next one, though its hash fits.
    #[error(
        "this line was changed, or lines are missing before it: it has number {found}, and {expected} comes next"
    )]
    Number {
        /// The number that comes next.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// A later event stands here.
    #[error("event {expected} is missing here, removed or moved: this line is event {found}")]
    Missing {
        /// The number that comes next.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// An earlier event stands here.
    #[error("this line was inserted, repeated or moved: it is event {found}, and {expected} comes next")]
    Misplaced {
        /// The number that comes next.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// The shard is not that of the directory.
    #[error("this line belongs to shard {0}")]
    OtherShard(u8),
    /// The event stands in the log already.
    #[error("this event is in the log twice: its id {id} stands in {}, line {line} already", .file.display())]
    Twice {
        /// The event's id.
        id: String,
        /// The segment of the first.
        file: PathBuf,
        /// Its line.
        line: u64,
    },
}

/// The number and time of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The event's number.
    pub seq: u64,
    /// The event's time.
    pub time: Timestamp,
}

/// A piece of a line at the end of the last segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Torn {
    /// The segment.
    pub file: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

/// One chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardReport {
    /// The shard.
    pub shard: u8,
    /// How many segments it has.
    pub segments: u64,
    /// How many lines.
    pub lines: u64,
    /// The first line.
    pub first: Option<Mark>,
    /// The last line.
    pub last: Option<Mark>,
    /// The hash that the next line will carry, hex. Kept elsewhere, it shows a cut at the end.
    pub last_hash: String,
    /// Gaps that the operator accepted.
    pub lost: Vec<RangeInclusive<u64>>,
    /// An unfinished line at the end.
    pub torn: Option<Torn>,
}

/// A log in which nothing is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The log id.
    pub log_id: String,
    /// Its chains, by shard.
    pub shards: Vec<ShardReport>,
}

impl Report {
    /// All lines.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lines).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "The log {} is whole: {}, each behind the one before.",
            self.log_id,
            lines(self.lines())
        )?;
        for shard in &self.shards {
            write!(f, "{shard}")?;
        }
        write!(
            f,
            "A cut at the end cannot be seen yet: the log has no signed checkpoints. Compare the last event and hash \
             with a copy that you keep elsewhere."
        )
    }
}

impl fmt::Display for ShardReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, segments, lines: count, first, last, last_hash, lost, torn } = self;
        let files = if *segments == 1 { "segment" } else { "segments" };
        writeln!(f, "Shard {shard}: {} in {segments} {files}.", lines(*count))?;
        if let (Some(first), Some(last)) = (first, last) {
            writeln!(f, "  first event {} of {}", first.seq, first.time)?;
            writeln!(f, "  last event {} of {}, hash {last_hash}", last.seq, last.time)?;
        }
        for lost in lost {
            writeln!(f, "  LOST: events {} to {}; the operator accepted that", lost.start(), lost.end())?;
        }
        if let Some(Torn { file, bytes }) = torn {
            writeln!(
                f,
                "  {} ends in the middle of a line ({bytes} bytes): it is being written now, or a crash left it and the \
                 next start cuts it",
                file.display()
            )?;
        }
        Ok(())
    }
}

fn lines(count: u64) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}
