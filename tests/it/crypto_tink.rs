//! Our runs are Tink's streams: Tink's open with ours, and ours are byte for byte what Tink would have made.

use std::fs;
use std::path::{Path, PathBuf};

use burnbag::crypto::{Header, Id, Layout, MainKey, Opener, RunId, SEGMENT, TransferKey, Writer};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

#[derive(Deserialize)]
struct Vectors {
    transfer_key: String,
    transfer: String,
    file: String,
    run: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    length: usize,
    file: String,
    plaintext_sha256: String,
    ciphertext_sha256: String,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn vectors() -> (Vectors, MainKey, RunId) {
    let vectors: Vectors =
        serde_json::from_slice(&fs::read(directory().join("tink_streaming.json")).unwrap()).unwrap();
    let (transfer, file): (Id, Id) = (id(&vectors.transfer), id(&vectors.file));
    let key = TransferKey::from_bytes(hex::decode(&vectors.transfer_key).unwrap().try_into().unwrap());
    let run = RunId { transfer, file, run: vectors.run };
    (vectors, key.main_key(&transfer, &file), run)
}

fn id(hex: &str) -> Id {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// As `plaintext` in `make_tink.py`.
fn plaintext(length: usize) -> Vec<u8> {
    let blocks = (0u32..).map(|i| Sha256::new().chain_update(b"burnbag").chain_update(i.to_be_bytes()));
    let mut text: Vec<u8> = blocks.take(length / 32 + 1).flat_map(|hash| hash.finalize().0).collect();
    text.truncate(length);
    text
}

fn encrypt(main: &MainKey, run: &RunId, header: Header, part: usize, text: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(main, run, header, Vec::with_capacity(part), part).unwrap();
    let (mut out, mut rest) = (Vec::new(), text);
    loop {
        rest = &rest[writer.push(rest).unwrap()..];
        if rest.is_empty() {
            break;
        }
        out.extend(writer.next_part(Vec::with_capacity(part)).unwrap());
    }
    out.extend(writer.finish().unwrap().0);
    out
}

#[test]
fn streams_made_by_tink_open() {
    let (vectors, main, run) = vectors();
    for case in vectors.cases {
        let stream = fs::read(directory().join(&case.file)).unwrap();
        assert_eq!(hex::encode(Sha256::digest(&stream)), case.ciphertext_sha256);
        let layout = Layout::of_object(stream.len() as u64).unwrap();
        assert_eq!(layout.plaintext(), case.length as u64);
        let header = Header::from_bytes(*stream.first_chunk().unwrap()).unwrap();
        let opener = Opener::new(&main, &run, &header, layout);
        let mut text = Vec::new();
        for index in 0..u32::try_from(layout.segments()).unwrap() {
            let range = layout.segment(index).unwrap();
            let mut segment =
                stream[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec();
            let length = opener.open(index, &mut segment).unwrap();
            text.extend_from_slice(&segment[..length]);
        }
        assert_eq!(hex::encode(Sha256::digest(&text)), case.plaintext_sha256);
        assert_eq!(text, plaintext(case.length));
    }
}

#[test]
fn under_tinks_header_our_stream_is_tinks_stream() {
    let (vectors, main, run) = vectors();
    for case in vectors.cases {
        let stream = fs::read(directory().join(&case.file)).unwrap();
        let header = Header::from_bytes(*stream.first_chunk().unwrap()).unwrap();
        for part in [SEGMENT, 2 * SEGMENT, 80 * SEGMENT] {
            assert!(encrypt(&main, &run, header, part, &plaintext(case.length)) == stream, "{}", case.file);
        }
    }
}

#[test]
#[ignore = "writes what `make_tink.py --check target/tmp/tink-check` opens with Tink"]
fn streams_for_tink_to_open() {
    let (vectors, main, run) = vectors();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tink-check");
    fs::create_dir_all(&directory).unwrap();
    for Case { length, .. } in vectors.cases {
        let stream = encrypt(&main, &run, Header::generate(), 2 * SEGMENT, &plaintext(length));
        fs::write(directory.join(format!("{length}.bin")), stream).unwrap();
    }
}
