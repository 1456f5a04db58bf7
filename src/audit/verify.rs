//! Checks a log offline, line by line.
//!
//! Lines are streamed. What grows is the set by which a repeated event id is found: 8 bytes an event (10 to 20 with the
//! set's own room), so ten million events take about 150 MB. Two ids may share those 8 bytes, so a hit is looked up in the log
//! itself before it is reported: the check is exact.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::line::{self, Hash, Line, MAX_LINE};
use super::report::{Fault, Mark, Report, ShardReport, Torn, VerifyError};
use super::segment;

/// Checks the log in `dir` from its first line to its last. Blocks.
///
/// A log that is being written can be checked.
///
/// # Errors
/// The first line that is not as it was written, by file and line; or why the log cannot be read.
pub fn verify(dir: &Path) -> Result<Report, VerifyError> {
    let not_a_log = |why: &str| VerifyError::NotALog { dir: dir.to_owned(), why: why.to_owned() };
    let unreadable = |source| VerifyError::Unreadable { path: dir.to_owned(), source };
    let shards = segment::list(dir, segment::shard).map_err(unreadable)?;
    let log_id = segment::log_id(dir).map_err(unreadable)?.ok_or_else(|| {
        not_a_log("the file log-id is missing; put it back, for the chain begins with the id that it holds")
    })?;
    let mut ids = Ids { dir, shards: shards.clone(), seen: HashSet::new(), keys: RandomState::new() };
    let shards = shards.into_iter().map(|shard| verify_shard(dir, shard, &log_id, &mut ids));
    Ok(Report { shards: shards.collect::<Result<_, _>>()?, log_id })
}

fn verify_shard(dir: &Path, shard: u8, log_id: &str, ids: &mut Ids<'_>) -> Result<ShardReport, VerifyError> {
    let shard_dir = dir.join(shard.to_string());
    let segments = segments(&shard_dir)?;
    let mut chain = Chain {
        hash: line::hash(log_id.as_bytes()),
        place: None,
        suspect: None,
        report: ShardReport {
            shard,
            segments: segments.len() as u64,
            lines: 0,
            first: None,
            last: None,
            last_hash: String::new(),
            lost: Vec::new(),
            torn: None,
        },
        shard_dir,
    };
    for (index, file) in segments.iter().enumerate() {
        let mut lines = Lines::open(file)?;
        while let Some((number, text)) = lines.next()? {
            chain.step(file, number, text, ids)?;
        }
        if lines.torn > 0 && index + 1 < segments.len() {
            let fault = Fault::NotALine("it has no end".to_owned());
            return Err(broken(&(file.clone(), lines.number + 1), fault));
        }
        if lines.torn > 0 {
            chain.report.torn = Some(Torn { file: file.clone(), bytes: lines.torn });
        }
    }
    chain.end()
}

/// The segments of a shard, in order, none missing.
fn segments(shard_dir: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    let numbers = segment::list(shard_dir, segment::number)
        .map_err(|source| VerifyError::Unreadable { path: shard_dir.to_owned(), source })?;
    for (expected, number) in (1..).zip(&numbers) {
        if *number != expected {
            let why = if *number == 0 { "segments are numbered from 1" } else { "this segment is missing" };
            let file = shard_dir.join(segment::name(expected.min(*number)));
            return Err(VerifyError::Segment { file, why: why.to_owned() });
        }
    }
    Ok(numbers.into_iter().map(|number| shard_dir.join(segment::name(number))).collect())
}

/// A file and a line in it.
type Place = (PathBuf, u64);

fn broken(place: &Place, fault: Fault) -> VerifyError {
    VerifyError::Broken { file: place.0.clone(), line: place.1, fault }
}

/// The place of the line whose hash does not fit; absent for the first line's, which carries that of the log id.
struct Suspect(Option<Place>);

/// A chain up to some line.
struct Chain {
    hash: Hash,
    place: Option<Place>,
    /// The last line and the one before it do not fit together: the next line tells which of them was changed.
    suspect: Option<Suspect>,
    report: ShardReport,
    shard_dir: PathBuf,
}

impl Chain {
    fn step(&mut self, file: &Path, number: u64, text: &[u8], ids: &mut Ids<'_>) -> Result<(), VerifyError> {
        let here = (file.to_owned(), number);
        let line = Line::parse(text).map_err(|why| broken(&here, Fault::NotALine(why)));
        if let Some(Suspect(before)) = self.suspect.take() {
            let fits = line.is_ok_and(|line| line.follows(&self.hash));
            return Err(self.changed(before, !fits));
        }
        let line = line?;
        if line.shard != self.report.shard {
            return Err(broken(&here, Fault::OtherShard(line.shard)));
        }
        let follows = line.follows(&self.hash);
        self.number(&here, line.seq, follows)?;
        if let Some((file, first)) = ids.seen_before(&line.id, &here)? {
            return Err(broken(&here, Fault::Twice { id: line.id.into_owned(), file, line: first }));
        }
        if !follows {
            self.suspect = Some(Suspect(self.place.clone()));
        }
        let mark = Mark { seq: line.seq, time: line.time };
        self.report.first.get_or_insert(mark);
        self.report.last = Some(mark);
        self.report.lines += 1;
        self.hash = line::hash(text);
        self.place = Some(here);
        Ok(())
    }

    /// Whether `found` is the number that comes next, or a gap before it was accepted.
    fn number(&mut self, here: &Place, found: u64, follows: bool) -> Result<(), VerifyError> {
        let expected = self.report.last.map_or(0, |last| last.seq).saturating_add(1);
        if found == expected {
            return Ok(());
        }
        if follows && found > expected {
            let lost: RangeInclusive<u64> = expected..=found - 1;
            let accepted = segment::loss_accepted(&self.shard_dir, &lost);
            let unreadable =
                |source| VerifyError::Unreadable { path: self.shard_dir.join(segment::LOST), source };
            if accepted.map_err(unreadable)? {
                self.report.lost.push(lost);
                return Ok(());
            }
        }
        let fault = match found {
            _ if follows => Fault::Number { expected, found },
            found if found > expected => Fault::Missing { expected, found },
            found => Fault::Misplaced { expected, found },
        };
        Err(broken(here, fault))
    }

    /// The last line and the one before it do not fit together. `own`: the last one does not fit the next one either.
    fn changed(&self, before: Option<Place>, own: bool) -> VerifyError {
        match (before, &self.place) {
            (Some(before), _) if !own => broken(&before, Fault::Changed),
            (_, Some(here)) if own => broken(here, Fault::OwnHash),
            _ => VerifyError::NotALog {
                dir: self.shard_dir.clone(),
                why: "its first line begins another log: log-id was changed, or the first line was"
                    .to_owned(),
            },
        }
    }

    fn end(mut self) -> Result<ShardReport, VerifyError> {
        if let Some(Suspect(before)) = self.suspect.take() {
            return Err(self.changed(before, false));
        }
        self.report.last_hash = hex::encode(self.hash);
        Ok(self.report)
    }
}

/// The lines of a segment, one at a time.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    text: Vec<u8>,
    number: u64,
    torn: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, VerifyError> {
        let unreadable = |source| VerifyError::Unreadable { path: path.to_owned(), source };
        let reader = BufReader::with_capacity(256 << 10, File::open(path).map_err(unreadable)?);
        Ok(Self { path: path.to_owned(), reader, text: Vec::new(), number: 0, torn: 0 })
    }

    /// The number of the next line, and its text without the newline. A piece without a newline at the end is left in `torn`.
    fn next(&mut self) -> Result<Option<(u64, &[u8])>, VerifyError> {
        self.text.clear();
        let read = self.reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut self.text);
        let read = read.map_err(|source| VerifyError::Unreadable { path: self.path.clone(), source })?;
        if self.text.pop_if(|last| *last == b'\n').is_some() {
            self.number += 1;
            return Ok(Some((self.number, &self.text)));
        }
        if read as u64 > MAX_LINE {
            let fault = Fault::NotALine(format!("it is longer than {MAX_LINE} bytes"));
            return Err(broken(&(self.path.clone(), self.number + 1), fault));
        }
        self.torn = read as u64;
        Ok(None)
    }
}

/// The event ids that were met.
struct Ids<'a> {
    dir: &'a Path,
    shards: Vec<u8>,
    seen: HashSet<u64>,
    keys: RandomState,
}

impl Ids<'_> {
    /// Where this id stands before `here`, if it does.
    fn seen_before(&mut self, id: &str, here: &Place) -> Result<Option<Place>, VerifyError> {
        if self.seen.insert(self.keys.hash_one(id)) {
            return Ok(None);
        }
        for shard in &self.shards {
            for file in segments(&self.dir.join(shard.to_string()))? {
                let mut lines = Lines::open(&file)?;
                while let Some((number, text)) = lines.next()? {
                    if (&file, number) == (&here.0, here.1) {
                        return Ok(None);
                    }
                    if Line::parse(text).is_ok_and(|line| line.id == id) {
                        return Ok(Some((file, number)));
                    }
                }
            }
        }
        Ok(None)
    }
}
