//! Passwords of links: Argon2id, which makes guessing cost memory.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::error::{CryptoError, Result};
use super::key::PasswordKey;
use super::secret::{Secret, random};

const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

// Parameters come from a record, and whoever writes records must not be able to exhaust the server by them.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 10;
const MAX_LANES: u32 = 4;

/// `pwb` of DESIGN §6: flag, m (KiB), t, p and salt in 29 bytes, all zero for a link without a password. Public,
/// and bound into the slot, so that it cannot be weakened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordBlock([u8; PasswordBlock::LENGTH]);

impl PasswordBlock {
    /// In bytes.
    pub const LENGTH: usize = 29;

    /// A link without a password.
    #[must_use]
    pub fn none() -> Self {
        Self([0; Self::LENGTH])
    }

    /// For a new password: 64 MiB, 3 passes, 1 lane and a fresh salt.
    #[must_use]
    pub fn generate() -> Self {
        Self::build(MEMORY_KIB, PASSES, LANES, &random())
    }

    /// With parameters of one's own; `memory` in KiB. `Malformed` unless 1 ≤ `lanes` ≤ 4, 1 ≤ `passes` ≤ 10 and
    /// 8 · `lanes` ≤ `memory` ≤ 256 MiB.
    pub fn new(memory: u32, passes: u32, lanes: u32, salt: [u8; 16]) -> Result<Self> {
        let block = Self::build(memory, passes, lanes, &salt);
        block.params().map(|_| block)
    }

    /// From a record; `Malformed` as [`new`](Self::new) says.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let block = Self(bytes.try_into().map_err(|_| CryptoError::Malformed("password block"))?);
        if block != Self::none() {
            block.params()?;
        }
        Ok(block)
    }

    /// As the record stores it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// Whether the link has a password.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0[0] == 1
    }

    fn build(memory: u32, passes: u32, lanes: u32, salt: &[u8; 16]) -> Self {
        let mut block = [0; Self::LENGTH];
        block[0] = 1;
        block[1..5].copy_from_slice(&memory.to_be_bytes());
        block[5..9].copy_from_slice(&passes.to_be_bytes());
        block[9..13].copy_from_slice(&lanes.to_be_bytes());
        block[13..].copy_from_slice(salt);
        Self(block)
    }

    fn number(&self, at: usize) -> u32 {
        self.0[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    /// The parameters, if a password is set and they are within the caps.
    fn params(&self) -> Result<Params> {
        let (memory, passes, lanes) = (self.number(1), self.number(5), self.number(9));
        let capped = memory <= MAX_MEMORY_KIB && passes <= MAX_PASSES && lanes <= MAX_LANES;
        if !self.is_set() || !capped {
            return Err(CryptoError::Malformed("password block"));
        }
        Params::new(memory, passes, lanes, Some(32)).map_err(|_| CryptoError::Malformed("password block"))
    }
}

impl PasswordKey {
    /// Argon2id over a password; the block must be set, or it is `Malformed`. Takes the block's memory, and
    /// a tenth of a second or more of a core: call it in `spawn_blocking`, few at once. `OutOfMemory` if there
    /// is none to be had.
    pub fn derive(password: &[u8], block: &PasswordBlock) -> Result<Self> {
        let params = block.params()?;
        let blocks = params.block_count();
        // Our own memory, because the crate's is not wiped.
        let mut memory = Zeroizing::new(Vec::new());
        memory.try_reserve_exact(blocks).map_err(|_| CryptoError::OutOfMemory)?;
        memory.resize(blocks, Block::new());
        let mut key = Secret::zeroed();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password, &block.0[13..], key.bytes_mut(), memory.as_mut_slice())
            .map_err(|_| CryptoError::Malformed("password"))?;
        Ok(Self(key))
    }
}
