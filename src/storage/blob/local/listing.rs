//! Pages of objects in the order of their keys.

use std::collections::{BinaryHeap, VecDeque};
use std::fs::{self, FileType};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::layout::{Layout, failed};
use crate::clock::Timestamp;
use crate::storage::blob::{BlobError, Listed};

/// Names of one directory that are kept at once, about 3 MiB. A directory with more is read once for each so many of
/// its names: thirty times for a million transfers, whatever the size of a page.
const NAMES: usize = 32_768;

/// Directories above an object, below `o/`: shard, transfer, file.
const DEPTH: usize = 3;

/// The level whose names are remembered between pages.
const TRANSFERS: usize = 1;

/// Reads pages, and remembers where the last one ended.
pub(super) struct Lister {
    names_at_once: usize,
    remembered: Option<Remembered>,
}

/// The transfers of a shard that follow, from the one where the last page ended.
struct Remembered {
    /// The last key of the page.
    after: String,
    /// The shard's prefix, with `/`.
    prefix: String,
    names: Names,
}

/// Some names of a directory, in order.
struct Names {
    names: VecDeque<String>,
    /// There are more behind them.
    more: bool,
}

struct Page<'a> {
    names_at_once: usize,
    after: &'a str,
    limit: usize,
    found: Vec<Listed>,
    taken: Option<Remembered>,
    left: Option<(String, Names)>,
}

impl Default for Lister {
    fn default() -> Self {
        Self { names_at_once: NAMES, remembered: None }
    }
}

impl Lister {
    pub(super) fn page(
        &mut self,
        layout: &Layout,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, BlobError> {
        let after = after.unwrap_or_default();
        let mut page = Page {
            names_at_once: self.names_at_once,
            after,
            limit,
            found: Vec::new(),
            taken: self.remembered.take_if(|known| known.after == after),
            left: None,
        };
        if limit == 0 {
            return Ok(page.found);
        }
        // Below `o/` a directory may go at any time; `o/` itself must be there.
        fs::metadata(layout.ours())
            .and_then(|_| page.walk(layout.ours(), "o/", 0))
            .map_err(|error| failed("list the objects", &error))?;
        self.remembered = match (page.left, page.found.last()) {
            (Some((prefix, names)), Some(last)) => {
                Some(Remembered { after: last.key.clone(), prefix, names })
            }
            _ => None,
        };
        Ok(page.found)
    }
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    /// Whether nothing that starts with `prefix` comes after the page's start.
    fn is_behind(&self, prefix: &str) -> bool {
        prefix < self.after && !self.after.starts_with(prefix)
    }

    /// Lists what is in the directory `dir`, all of whose keys start with `prefix`.
    fn walk(&mut self, dir: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        let mut last: Option<String> = None;
        loop {
            let Names { mut names, more } = self.names(dir, prefix, depth, last.as_deref())?;
            while let Some(name) = names.pop_front() {
                let key = format!("{prefix}{name}");
                if depth == DEPTH {
                    self.add(&dir.join(&name), key)?;
                } else {
                    self.walk(&dir.join(&name), &format!("{key}/"), depth + 1)?;
                }
                if self.is_full() {
                    if depth == TRANSFERS {
                        names.push_front(name);
                        self.left = Some((prefix.to_owned(), Names { names, more }));
                    }
                    return Ok(());
                }
                last = Some(name);
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// The next names of a directory that lead to objects of this page, in the order of the keys.
    fn names(&mut self, dir: &Path, prefix: &str, depth: usize, last: Option<&str>) -> io::Result<Names> {
        if depth == TRANSFERS
            && last.is_none()
            && let Some(known) = self.taken.take_if(|known| known.prefix == prefix)
        {
            return Ok(known.names);
        }
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => return Names::none_if_gone(error),
        };
        let wanted = if depth == DEPTH { FileType::is_file } else { FileType::is_dir };
        // The slash counts: `a-/` comes before `a/`.
        let end = if depth == DEPTH { "" } else { "/" };
        let last = last.map(|last| format!("{last}{end}"));
        let mut smallest = BinaryHeap::new();
        let mut more = false;
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Names::none_if_gone(error),
            };
            // No key of ours is anything but text, and what is not could not be asked for by its key.
            let Ok(mut name) = entry.file_name().into_string() else { continue };
            name.push_str(end);
            let key = format!("{prefix}{name}");
            let passed = if depth == DEPTH { key.as_str() <= self.after } else { self.is_behind(&key) };
            if passed || last.as_ref().is_some_and(|last| name <= *last) {
                continue;
            }
            let is_full = smallest.len() >= self.names_at_once;
            if is_full && smallest.peek().is_some_and(|most| name > *most) {
                more = true;
                continue;
            }
            match entry.file_type() {
                Ok(kind) if wanted(&kind) => {}
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => continue,
            }
            smallest.push(name);
            if is_full {
                smallest.pop();
                more = true;
            }
        }
        let mut names = smallest.into_sorted_vec();
        for name in &mut names {
            name.truncate(name.len() - end.len());
        }
        Ok(Names { names: names.into(), more })
    }

    fn add(&mut self, path: &Path, key: String) -> io::Result<()> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            metadata => metadata?,
        };
        let since_epoch = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.found.push(Listed { key, modified: Timestamp::default().after(since_epoch) });
        Ok(())
    }
}

impl Names {
    /// A directory that went while it was read has no objects any more.
    fn none_if_gone(error: io::Error) -> io::Result<Self> {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Ok(Self { names: VecDeque::new(), more: false })
            }
            _ => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_directory_is_listed_whole_however_few_of_its_names_are_kept_at_once() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::open(root.path(), Arc::new(SystemClock), true).unwrap();
        let mut expected = Vec::new();
        for number in 0..100_u32 {
            // Every third transfer is empty, as after a crash between the steps of a delete.
            for file in 0..number % 3 {
                let key = format!("o/{:02x}/{number:032x}/{file}/object", number / 60);
                let path = root.path().join("objects").join(&key);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
                expected.push(key);
            }
            fs::create_dir_all(layout.ours().join(format!("{:02x}/{number:032x}", number / 60))).unwrap();
        }
        for names_at_once in [1, 2, 7, 59, 60, 61, NAMES] {
            for limit in [1, 3, 10, 98, 99, 100] {
                let mut lister = Lister { names_at_once, remembered: None };
                let mut found: Vec<String> = Vec::new();
                loop {
                    let page = lister.page(&layout, found.last().map(String::as_str), limit).unwrap();
                    if page.is_empty() {
                        break;
                    }
                    found.extend(page.into_iter().map(|object| object.key));
                }
                assert_eq!(found, expected, "{names_at_once} names at once, in pages of {limit}");
            }
        }
    }

    #[test]
    fn the_next_page_does_not_read_the_transfers_again() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::open(root.path(), Arc::new(SystemClock), true).unwrap();
        let object = |name: &str| {
            let dir = layout.ours().join("00").join(name).join("file");
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("object"), "").unwrap();
        };
        ["a", "c", "d"].into_iter().for_each(object);
        let mut lister = Lister::default();
        let first = lister.page(&layout, None, 1).unwrap().remove(0).key;
        object("b");
        let names = |page: Vec<Listed>| page.into_iter().map(|o| o.key).collect::<Vec<_>>();
        assert_eq!(
            names(lister.page(&layout, Some(&first), 10).unwrap()),
            ["o/00/c/file/object", "o/00/d/file/object"],
            "from memory"
        );
        assert_eq!(
            names(lister.page(&layout, Some(&first), 10).unwrap()).first().unwrap(),
            "o/00/b/file/object",
            "asked out of turn, from the disk"
        );
    }
}
