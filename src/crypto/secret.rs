//! Memory for secrets.

use std::fmt;

use rand::Rng as _;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use zeroize::Zeroize;

/// `N` secret bytes: boxed, so that moving them leaves no copy behind, and zeroized on drop.
pub(super) struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    pub(super) fn zeroed() -> Self {
        Self(Box::new([0; N]))
    }

    /// Drawn from the kernel.
    pub(super) fn random() -> Self {
        let mut secret = Self::zeroed();
        fill_random(secret.bytes_mut());
        secret
    }

    /// Takes the bytes over and wipes the array that they came in.
    pub(super) fn take(mut bytes: [u8; N]) -> Self {
        let secret = Self::copy(&bytes);
        bytes.zeroize();
        secret
    }

    pub(super) fn copy(bytes: &[u8; N]) -> Self {
        let mut secret = Self::zeroed();
        secret.0.copy_from_slice(bytes);
        secret
    }

    pub(super) fn bytes(&self) -> &[u8; N] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// Straight from the kernel: a generator in our own memory would keep past or coming keys there.
/// Ends the thread in the one case in which going on would be worse: a kernel without randomness.
pub(super) fn fill_random(bytes: &mut [u8]) {
    UnwrapErr(SysRng).fill_bytes(bytes);
}

/// `N` random bytes that are no secret: a salt, a nonce, a prefix.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}
