//! Where plaintext lies in a run: the arithmetic of DESIGN §5, and nothing but arithmetic.

use std::ops::Range;

use super::gcm;

/// Ciphertext bytes in each segment of a run but the last, the header counted into the first.
pub const SEGMENT: usize = 65_536;
/// Bytes at the start of a run.
pub const HEADER: usize = 40;
/// Bytes that authenticate a segment, at its end.
pub const TAG: usize = gcm::TAG;

const S: u64 = SEGMENT as u64;
const H: u64 = HEADER as u64;
const T: u64 = TAG as u64;
/// `P0` and `P` of DESIGN §5.
const FIRST: u64 = S - H - T;
const FULL: u64 = S - T;
const MAX_SEGMENTS: u64 = 1 << 32;

/// The sizes of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    plaintext: u64,
    ciphertext: u64,
    segments: u64,
}

/// What of a run must be fetched, whole segments, to read a range of its plaintext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// The index of the first segment to open.
    pub first_segment: u32,
    /// Bytes of the run to fetch. Segment 0 is taken without the header, so it starts at 40.
    pub ciphertext: Range<u64>,
    /// Plaintext bytes of the first segment that lie before the range.
    pub skip: usize,
}

impl Layout {
    /// For `n` plaintext bytes; `None` above 2³² segments, about 256 TiB.
    #[must_use]
    pub fn of_plaintext(n: u64) -> Option<Self> {
        let segments = 1 + n.saturating_sub(FIRST).div_ceil(FULL);
        let fits = segments <= MAX_SEGMENTS;
        fits.then(|| Self { plaintext: n, ciphertext: H + n + T * segments, segments })
    }

    /// For a run of `c` bytes; `None` if no plaintext makes a run of that length. Tink accepts an empty last
    /// segment after others; this does not, so that a length has one meaning.
    #[must_use]
    pub fn of_object(c: u64) -> Option<Self> {
        let n = c.checked_sub(H + T * c.div_ceil(S))?;
        Self::of_plaintext(n).filter(|layout| layout.ciphertext == c)
    }

    /// Plaintext bytes.
    #[must_use]
    pub fn plaintext(&self) -> u64 {
        self.plaintext
    }

    /// Bytes of the run, header and tags included.
    #[must_use]
    pub fn ciphertext(&self) -> u64 {
        self.ciphertext
    }

    /// At least 1, at most 2³².
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.segments
    }

    /// Where segment `index` lies in the run, tag included and header not; `None` past the last.
    #[must_use]
    pub fn segment(&self, index: u32) -> Option<Range<u64>> {
        let index = u64::from(index);
        let start = if index == 0 { H } else { index * S };
        (index < self.segments).then(|| start..((index + 1) * S).min(self.ciphertext))
    }

    /// What to fetch for a range of the plaintext; `None` if it is empty or goes past the end.
    #[must_use]
    pub fn cover(&self, range: Range<u64>) -> Option<Cover> {
        if range.is_empty() || range.end > self.plaintext {
            return None;
        }
        let (first, skip) = place(range.start);
        let (last, _) = place(range.end - 1);
        self.span(first, last, skip)
    }

    /// What to fetch for all of it: for an empty file too, whose one segment is read to authenticate its end.
    #[must_use]
    pub fn whole(&self) -> Cover {
        Cover { first_segment: 0, ciphertext: H..self.ciphertext, skip: 0 }
    }

    fn span(&self, first: u64, last: u64, skip: u64) -> Option<Cover> {
        let first_segment = u32::try_from(first).ok()?;
        let start = self.segment(first_segment)?.start;
        let end = self.segment(u32::try_from(last).ok()?)?.end;
        Some(Cover { first_segment, ciphertext: start..end, skip: usize::try_from(skip).ok()? })
    }

    /// Whether segment `index` is the last one.
    pub(super) fn is_last(&self, index: u32) -> bool {
        u64::from(index) + 1 == self.segments
    }
}

/// The segment in which plaintext byte `x` lies, and where in its plaintext.
fn place(x: u64) -> (u64, u64) {
    let y = x + H;
    match y / FULL {
        0 => (0, x),
        index => (index, y % FULL),
    }
}
