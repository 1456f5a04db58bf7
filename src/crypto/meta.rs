//! The sealed fields of a record: what a file is called and how long its runs are (DESIGN §6).

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Id;
use super::error::{CryptoError, Result};
use super::gcm::{open_field, seal_field};
use super::key::{MetaKey, aad, label};
use super::layout::HEADER;

/// The most entries that a page of sealed runs holds; all pages but the last hold so many.
pub const RUNS_PER_PAGE: usize = 256;

const ENTRY: usize = HEADER + 8 + 4;

/// What a record says of a file, for those alone who can open it. Fields not known yet are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// As the sender gave it; may hold `/`.
    pub name: String,
    /// The media type that the sender named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// Plaintext bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of the plaintext, lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How many runs the file has: it pins how many entries the sealed runs must list in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<u32>,
}

impl FileMeta {
    /// Seals it for the record of `file`, under a fresh nonce.
    #[must_use]
    pub fn seal(&self, key: &MetaKey, transfer: &Id, file: &Id) -> Vec<u8> {
        // JSON makes at most six bytes of one; with room for all, the plaintext never moves and leaves no copy.
        let texts = [Some(&self.name), self.r#type.as_ref(), self.sha256.as_ref()];
        let room = 128 + 6 * texts.into_iter().flatten().map(String::len).sum::<usize>();
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        let Ok(()) = serde_json::to_writer(&mut *json, self) else {
            unreachable!("strings and numbers always make JSON, and memory always takes it")
        };
        seal_field(&key.0, &aad(label::META, &[transfer, file]), &json)
    }

    /// Opens what [`seal`](Self::seal) made for the same file.
    pub fn open(key: &MetaKey, transfer: &Id, file: &Id, sealed: &[u8]) -> Result<Self> {
        let json = open_field(&key.0, &aad(label::META, &[transfer, file]), sealed)?;
        serde_json::from_slice(&json).map_err(|_| CryptoError::Malformed("sealed file"))
    }
}

/// One run of a file, as the record lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The run's header; the object repeats it, and the two must be equal.
    pub header: [u8; HEADER],
    /// Plaintext bytes.
    pub length: u64,
    /// In which of the file's objects it lies.
    pub object: u32,
}

/// Seals one page of a file's runs. `Misuse` above [`RUNS_PER_PAGE`] entries.
pub fn seal_runs(key: &MetaKey, transfer: &Id, file: &Id, page: u32, runs: &[Run]) -> Result<Vec<u8>> {
    if runs.len() > RUNS_PER_PAGE {
        return Err(CryptoError::Misuse("a page holds 256 runs"));
    }
    let mut entries = Vec::with_capacity(runs.len() * ENTRY);
    for run in runs {
        entries.extend_from_slice(&run.header);
        entries.extend_from_slice(&run.length.to_be_bytes());
        entries.extend_from_slice(&run.object.to_be_bytes());
    }
    Ok(seal_field(&key.0, &runs_aad(transfer, file, page), &entries))
}

/// Opens what [`seal_runs`] made for the same file and page.
pub fn open_runs(key: &MetaKey, transfer: &Id, file: &Id, page: u32, sealed: &[u8]) -> Result<Vec<Run>> {
    let entries = open_field(&key.0, &runs_aad(transfer, file, page), sealed)?;
    let (entries, rest) = entries.as_chunks::<ENTRY>();
    if !rest.is_empty() || entries.len() > RUNS_PER_PAGE {
        return Err(CryptoError::Malformed("sealed runs"));
    }
    entries.iter().map(|entry| read_run(entry).ok_or(CryptoError::Malformed("sealed runs"))).collect()
}

fn read_run(entry: &[u8; ENTRY]) -> Option<Run> {
    let (header, rest) = entry.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let object = rest.first_chunk()?;
    Some(Run { header: *header, length: u64::from_be_bytes(*length), object: u32::from_be_bytes(*object) })
}

fn runs_aad(transfer: &Id, file: &Id, page: u32) -> Vec<u8> {
    aad(label::RUNS, &[transfer, file, &page.to_be_bytes()])
}

/// Seals the running SHA-256 state of a resumable upload that has taken `offset` plaintext bytes: the state gives
/// the last block away, so it is as secret as the file (DESIGN §5).
#[must_use]
pub fn seal_digest_state(key: &MetaKey, transfer: &Id, file: &Id, offset: u64, state: &[u8]) -> Vec<u8> {
    seal_field(&key.0, &digest_aad(transfer, file, offset), state)
}

/// Opens what [`seal_digest_state`] made for the same file at the same offset.
pub fn open_digest_state(
    key: &MetaKey,
    transfer: &Id,
    file: &Id,
    offset: u64,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    open_field(&key.0, &digest_aad(transfer, file, offset), sealed)
}

fn digest_aad(transfer: &Id, file: &Id, offset: u64) -> Vec<u8> {
    aad(label::DIGEST, &[transfer, file, &offset.to_be_bytes()])
}
