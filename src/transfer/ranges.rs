//! What has been delivered of a file: a union of byte ranges, bounded in number.

use serde::{Deserialize, Serialize};

/// The most ranges that are kept apart; past it the smallest gap counts as delivered (DESIGN §10).
pub const MAX_RANGES: usize = 64;

/// A sorted union of half-open byte ranges that neither touch nor overlap.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u64, u64)>")]
pub struct Ranges(Vec<(u64, u64)>);

/// A record says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("ranges are in order and apart, and at most {MAX_RANGES}")]
pub struct InvalidRanges;

impl TryFrom<Vec<(u64, u64)>> for Ranges {
    type Error = InvalidRanges;

    fn try_from(ranges: Vec<(u64, u64)>) -> Result<Self, InvalidRanges> {
        let each_holds_some = ranges.iter().all(|(from, to)| from < to);
        let apart = ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
        let sound = each_holds_some && apart && ranges.len() <= MAX_RANGES;
        sound.then_some(Self(ranges)).ok_or(InvalidRanges)
    }
}

impl Ranges {
    /// Adds `[from, to)`; an empty range adds nothing.
    pub fn add(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let first = self.0.partition_point(|&(_, end)| end < from);
        let last = self.0.partition_point(|&(start, _)| start <= to);
        let merged = self.0[first..last]
            .iter()
            .fold((from, to), |(start, end), &(other, until)| (start.min(other), end.max(until)));
        self.0.splice(first..last, [merged]);
        while self.0.len() > MAX_RANGES {
            let gap = |at: usize| self.0[at + 1].0 - self.0[at].1;
            let smallest = (0..self.0.len() - 1).min_by_key(|&at| gap(at)).unwrap_or(0);
            let (_, end) = self.0.remove(smallest + 1);
            self.0[smallest].1 = end;
        }
    }

    /// Whether every byte of `[0, size)` is in it.
    #[must_use]
    pub fn covers(&self, size: u64) -> bool {
        size == 0 || self.0.first().is_some_and(|&(from, to)| from == 0 && to >= size)
    }

    /// How many bytes are in it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(from, to)| to - from).sum()
    }
}
