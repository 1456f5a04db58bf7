//! Segments and the files beside them: names, ends, identity, durable directories.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::AuditError;
use super::line::MAX_LINE;

/// The file that holds the log id.
pub(super) const LOG_ID: &str = "log-id";
/// The file of a shard that holds the gaps which the operator accepted.
pub(super) const LOST: &str = "lost";

/// The file name of a segment.
pub(super) fn name(number: u64) -> String {
    format!("{number:016}.jsonl")
}

/// The number of a segment with this file name.
pub(super) fn number(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".jsonl")?;
    (digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The shard whose directory has this name.
pub(super) fn shard(file_name: &str) -> Option<u8> {
    file_name.parse().ok().filter(|shard: &u8| shard.to_string() == file_name)
}

/// The names in a directory that mean something to `of`, in order.
pub(super) fn list<T: Ord>(dir: &Path, of: impl Fn(&str) -> Option<T>) -> io::Result<Vec<T>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        found.extend(entry?.file_name().to_str().and_then(&of));
    }
    found.sort_unstable();
    Ok(found)
}

/// The log id that the directory holds.
pub(super) fn log_id(dir: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(dir.join(LOG_ID)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the operator accepted that exactly these events are lost.
pub(super) fn loss_accepted(shard_dir: &Path, lost: &RangeInclusive<u64>) -> io::Result<bool> {
    match fs::read_to_string(shard_dir.join(LOST)) {
        Ok(text) => Ok(text.lines().any(|line| line.trim() == format!("{}-{}", lost.start(), lost.end()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a directory, for its owner alone, where there is none, and makes that durable.
pub(super) fn make_dir(dir: &Path) -> Result<(), AuditError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(AuditError::disk("make", dir))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), AuditError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(AuditError::disk("sync", dir))
}

/// How files of the log are opened: made for their owner alone.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options
}

/// Whether `file` is still what lies at `path`.
pub(super) fn lies_at(file: &File, path: &Path) -> bool {
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(opened), Ok(found)) => identity(opened) == identity(found),
        _ => false,
    }
}

/// The offset behind the last newline before `end`; 0 if there is none.
pub(super) fn whole_lines(file: &File, end: u64) -> io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let mut block = Vec::new();
    let mut end = end;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        block.resize(usize::try_from(end - start).unwrap_or(0), 0);
        file.read_exact_at(&mut block, start)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The last line before `end`, which is just behind a newline: where it begins, and its text without the newline. A
/// text too long for a line comes out empty.
pub(super) fn last_line(file: &File, end: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
    if end == 0 {
        return Ok(None);
    }
    let start = whole_lines(file, end - 1)?;
    let length = end - 1 - start;
    let mut text = Vec::new();
    if length <= MAX_LINE {
        text.resize(usize::try_from(length).unwrap_or(0), 0);
        file.read_exact_at(&mut text, start)?;
    }
    Ok(Some((start, text)))
}
