//! Which parts of an object are there. They may be on their way several at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::BlobError;

/// The parts of one object, of `size` bytes each but the last.
pub(super) struct Sequence {
    size: usize,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    /// The highest number that was begun.
    last: u32,
    /// That part is short, so none comes after it.
    is_short: bool,
    /// All up to this one are there, and these beyond it.
    through: u32,
    beyond: BTreeSet<u32>,
}

impl Sequence {
    pub(super) fn of(size: usize) -> Self {
        Self { size, parts: Mutex::default() }
    }

    /// Part `number`, from 1, is on its way.
    pub(super) fn begin(&self, number: u32, length: usize) -> Result<(), BlobError> {
        let mut parts = self.parts();
        let is_last = number > parts.last;
        let fits = length == self.size || (length < self.size && is_last);
        if number == 0 || !fits || (is_last && parts.is_short) {
            return Err(BlobError::Unavailable("a part does not fit here".to_owned()));
        }
        if is_last {
            (parts.last, parts.is_short) = (number, length < self.size);
        }
        Ok(())
    }

    /// It is there.
    pub(super) fn end(&self, number: u32) {
        let mut parts = self.parts();
        parts.beyond.insert(number);
        loop {
            let next = parts.through + 1;
            if !parts.beyond.remove(&next) {
                return;
            }
            parts.through = next;
        }
    }

    /// Whether all are there that were begun, and none is missing between them.
    pub(super) fn is_whole(&self) -> Result<(), BlobError> {
        let parts = self.parts();
        if parts.through == parts.last {
            return Ok(());
        }
        Err(BlobError::Unavailable("a part is missing".to_owned()))
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_any_order_and_none_may_be_missing() {
        let parts = Sequence::of(10);
        for (number, length) in [(2, 10), (1, 10), (3, 4)] {
            parts.begin(number, length).unwrap();
        }
        for number in [3, 1] {
            parts.end(number);
            assert!(parts.is_whole().is_err());
        }
        parts.end(2);
        parts.is_whole().unwrap();
        parts.begin(5, 10).unwrap_err();
    }

    #[test]
    fn only_the_last_part_is_short() {
        let parts = Sequence::of(10);
        parts.begin(0, 10).unwrap_err();
        parts.begin(1, 11).unwrap_err();
        parts.begin(2, 10).unwrap();
        parts.begin(1, 9).unwrap_err();
        parts.begin(1, 10).unwrap();
        parts.begin(3, 9).unwrap();
        parts.begin(4, 1).unwrap_err();
        // A gap.
        let parts = Sequence::of(10);
        parts.begin(2, 10).unwrap();
        parts.end(2);
        parts.is_whole().unwrap_err();
    }
}
