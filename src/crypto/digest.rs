//! The digest of a plaintext as it passes.

use sha2::{Digest as _, Sha256};

/// SHA-256 of what was fed so far.
#[derive(Default)]
pub struct ContentDigest(Sha256);

impl ContentDigest {
    /// Feeds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was fed.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
