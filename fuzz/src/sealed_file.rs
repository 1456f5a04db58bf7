//! The sealed fields of a record: what was sealed comes back, in its own place only, and nothing else opens.

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use burnbag::crypto::{
    CryptoError, FileMeta, MetaKey, RUNS_PER_PAGE, Run, TransferKey, open_digest_state, open_runs,
    seal_digest_state, seal_runs,
};
use sha2::{Digest as _, Sha256};

use super::input::{bytes, change, change_array, choose, rarely, text};

const TRANSFER: [u8; 16] = [1; 16];
const FILE: [u8; 16] = [2; 16];

static KEY: LazyLock<MetaKey> = LazyLock::new(|| TransferKey::from_bytes([9; 32]).meta_key(&TRANSFER));

/// It never sealed anything: the fuzzer learns what is compared, and would send back what was sealed.
static OTHER: LazyLock<MetaKey> = LazyLock::new(|| TransferKey::from_bytes([8; 32]).meta_key(&TRANSFER));

pub fn run(data: &[u8]) {
    choose(data, |input| match input.int_in_range(0..=3)? {
        0 => file(input),
        1 => runs(input),
        2 => digest(input),
        _ => {
            raw(bytes(input, 4096)?);
            Ok(())
        }
    });
}

/// What stands in a record, and whether it is what was sealed there.
struct Found {
    bytes: Vec<u8>,
    transfer: [u8; 16],
    file: [u8; 16],
    same: bool,
}

fn changed(input: &mut Unstructured<'_>, sealed: &[u8]) -> Result<Found> {
    let (mut bytes, mut transfer, mut file) = (sealed.to_vec(), TRANSFER, FILE);
    change(input, &mut bytes)?;
    if rarely(input, 4)? {
        change_array(input, &mut transfer)?;
        change_array(input, &mut file)?;
    }
    // By digest, for the same reason as `OTHER`.
    let same = Sha256::digest(&bytes) == Sha256::digest(sealed) && (transfer, file) == (TRANSFER, FILE);
    Ok(Found { bytes, transfer, file, same })
}

fn file(input: &mut Unstructured<'_>) -> Result<()> {
    let meta = FileMeta {
        name: text(input, 3000)?,
        r#type: if input.arbitrary()? { Some(text(input, 300)?) } else { None },
        size: input.arbitrary()?,
        sha256: if input.arbitrary()? { Some(text(input, 80)?) } else { None },
        runs: input.arbitrary()?,
    };
    let sealed = meta.seal(&KEY, &TRANSFER, &FILE);
    let Found { bytes, transfer, file, same } = changed(input, &sealed)?;
    assert_eq!(FileMeta::open(&KEY, &transfer, &file, &bytes).ok(), same.then_some(meta));
    assert!(open_runs(&KEY, &TRANSFER, &FILE, 0, &sealed).is_err(), "a file is no page of runs");
    Ok(())
}

fn runs(input: &mut Unstructured<'_>) -> Result<()> {
    let (page, count) = (input.arbitrary()?, input.int_in_range(0..=RUNS_PER_PAGE + 1)?);
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        let header = [input.arbitrary()?; 40];
        runs.push(Run { header, length: input.arbitrary()?, object: input.arbitrary()? });
    }
    let sealed = seal_runs(&KEY, &TRANSFER, &FILE, page, &runs);
    if count > RUNS_PER_PAGE {
        assert!(matches!(sealed, Err(CryptoError::Misuse(_))));
        return Ok(());
    }
    let sealed = sealed.unwrap();
    let Found { bytes, transfer, file, same } = changed(input, &sealed)?;
    let other: u32 = if input.arbitrary()? { page } else { input.arbitrary()? };
    let opened = open_runs(&KEY, &transfer, &file, other, &bytes);
    assert_eq!(opened.ok(), (same && other == page).then_some(runs));
    Ok(())
}

fn digest(input: &mut Unstructured<'_>) -> Result<()> {
    let (offset, state) = (input.arbitrary()?, bytes(input, 200)?);
    let sealed = seal_digest_state(&KEY, &TRANSFER, &FILE, offset, state);
    let Found { bytes, transfer, file, same } = changed(input, &sealed)?;
    let other: u64 = if input.arbitrary()? { offset } else { input.arbitrary()? };
    let opened = open_digest_state(&KEY, &transfer, &file, other, &bytes).ok().map(|state| state.to_vec());
    assert_eq!(opened, (same && other == offset).then(|| state.to_vec()));
    Ok(())
}

fn raw(bytes: &[u8]) {
    assert!(FileMeta::open(&OTHER, &TRANSFER, &FILE, bytes).is_err());
    assert!(open_runs(&OTHER, &TRANSFER, &FILE, 0, bytes).is_err());
    assert!(open_digest_state(&OTHER, &TRANSFER, &FILE, 0, bytes).is_err());
    // What a newer or damaged writer could have sealed.
    if let Ok(meta) = serde_json::from_slice::<FileMeta>(bytes) {
        let again = serde_json::to_vec(&meta).unwrap();
        assert_eq!(serde_json::from_slice::<FileMeta>(&again).unwrap(), meta);
    }
}
