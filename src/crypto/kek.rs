//! The server's key-encryption keys, by version.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use zeroize::Zeroizing;

use super::error::{CryptoError, Result};
use super::key::kek_check;
use super::secret::Secret;

/// Every KEK of the KEK file: the highest version wraps, all of them open (DESIGN §6).
#[derive(Debug)]
pub struct KekRing {
    newest: (u32, Secret<32>),
    older: BTreeMap<u32, Secret<32>>,
}

impl KekRing {
    /// Reads lines of `<version> <64 hex>`; blank lines and those that begin with `#` count for nothing. There
    /// is at least one key, and each version, a decimal number from 1 to 2³² - 1, comes once.
    pub fn parse(text: &str) -> Result<Self> {
        let mut keys = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (version, key) = parse_line(line).ok_or_else(|| {
                CryptoError::KekFile(format!("line {number} is not `<version> <64 hex digits>`"))
            })?;
            match keys.entry(version) {
                Entry::Vacant(place) => place.insert(key),
                Entry::Occupied(_) => {
                    return Err(CryptoError::KekFile(format!("line {number} repeats version {version}")));
                }
            };
        }
        let newest = keys.pop_last().ok_or_else(|| CryptoError::KekFile("it holds no key".to_owned()))?;
        Ok(Self { newest, older: keys })
    }

    /// The text of a first KEK file: one fresh key, version 1.
    #[must_use]
    pub fn generate_text() -> Zeroizing<String> {
        Self::generate_line(1)
    }

    /// A line with a fresh key, newline included: what a rotation appends to the file. `version` is to be above
    /// [`current`](Self::current).
    #[must_use]
    pub fn generate_line(version: u32) -> Zeroizing<String> {
        let hex = Zeroizing::new(hex::encode(Secret::<32>::random().bytes()));
        let mut line = Zeroizing::new(String::with_capacity(80));
        line.push_str(&version.to_string());
        line.push(' ');
        line.push_str(&hex);
        line.push('\n');
        line
    }

    /// The version that wraps.
    #[must_use]
    pub fn current(&self) -> u32 {
        self.newest.0
    }

    /// In rising order.
    pub fn versions(&self) -> impl Iterator<Item = u32> {
        self.older.keys().copied().chain([self.newest.0])
    }

    /// What the record store keeps of this version, to know the key again; `None` for a version not held.
    #[must_use]
    pub fn check(&self, version: u32) -> Option<[u8; 32]> {
        self.key(version).ok().map(kek_check)
    }

    /// The key that wraps, with its version.
    pub(super) fn newest(&self) -> (u32, &Secret<32>) {
        (self.newest.0, &self.newest.1)
    }

    pub(super) fn key(&self, version: u32) -> Result<&Secret<32>> {
        if version == self.newest.0 {
            return Ok(&self.newest.1);
        }
        self.older.get(&version).ok_or(CryptoError::UnknownKek(version))
    }
}

fn parse_line(line: &str) -> Option<(u32, Secret<32>)> {
    let (version, key) = line.split_once([' ', '\t'])?;
    let canonical = version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
    let version = version.parse().ok().filter(|_| canonical)?;
    let mut secret = Secret::zeroed();
    hex::decode_to_slice(key.trim_start(), secret.bytes_mut()).ok()?;
    Some((version, secret))
}
