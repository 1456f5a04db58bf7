//! Ciphertext on its way to the store, in memory that a disk can take without a copy.

use std::fmt;
use std::ops::Deref;

use zeroize::Zeroizing;

/// Where memory, offset and length of a direct write must start and end. Devices ask for 512 or 4,096 bytes.
pub(super) const ALIGNMENT: usize = 4096;

/// Bytes of an object, behind a few that only move them to where a device wants them to start. Zeroized when dropped.
#[derive(Clone)]
pub struct Part {
    buffer: Zeroizing<Vec<u8>>,
    lead: usize,
}

impl Part {
    /// No bytes yet, and room for so many. From a segment on they start on a boundary of 4,096 bytes, with room to pad them
    /// to the next one.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        if capacity < 65_536 {
            return Self { buffer: Zeroizing::new(Vec::with_capacity(capacity)), lead: 0 };
        }
        let mut buffer = Zeroizing::new(Vec::<u8>::with_capacity(capacity + 2 * ALIGNMENT));
        // A memory without such a boundary is used as it is.
        let lead = buffer.as_ptr().align_offset(ALIGNMENT);
        let lead = if lead < ALIGNMENT { lead } else { 0 };
        buffer.resize(lead, 0);
        Self { buffer, lead }
    }

    /// The buffer without its bytes, to be filled behind the `lead` that it holds; and how long that is. It must not grow.
    #[must_use]
    pub fn into_empty(mut self) -> (Vec<u8>, usize) {
        self.buffer.truncate(self.lead);
        (std::mem::take(&mut *self.buffer), self.lead)
    }

    /// The bytes of `buffer` behind the first `lead`.
    #[must_use]
    pub fn from_filled(buffer: Vec<u8>, lead: usize) -> Self {
        Self { lead: lead.min(buffer.len()), buffer: Zeroizing::new(buffer) }
    }

    /// How many bytes there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity() - self.lead
    }

    /// Whether they start on a boundary, with room to pad them to one.
    pub(super) fn is_aligned(&self) -> bool {
        self.as_ptr().align_offset(ALIGNMENT) == 0
            && self.len().next_multiple_of(ALIGNMENT) <= self.capacity()
    }

    /// Does something with the bytes and the zeros behind them up to the next boundary.
    pub(super) fn padded<T>(&mut self, with: impl FnOnce(&[u8]) -> T) -> T {
        let length = self.buffer.len();
        let padded = self.lead + self.len().next_multiple_of(ALIGNMENT);
        self.buffer.resize(padded, 0);
        let done = with(self);
        self.buffer.truncate(length);
        done
    }
}

impl Deref for Part {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(self.lead..).unwrap_or_default()
    }
}

impl From<Zeroizing<Vec<u8>>> for Part {
    fn from(buffer: Zeroizing<Vec<u8>>) -> Self {
        Self { buffer, lead: 0 }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("length", &self.len()).finish_non_exhaustive()
    }
}
