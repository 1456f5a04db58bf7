//! Runs, whole and damaged.

use std::ops::Range;

use burnbag::crypto::{CryptoError, Header, Layout, MainKey, Opener, RunId, SEGMENT, TransferKey, Writer};
use proptest::prelude::*;
use proptest::sample::Index;

const RUN: RunId = RunId { transfer: [1; 16], file: [2; 16], run: 3 };
const P0: usize = SEGMENT - 56;
const P: usize = SEGMENT - 16;

fn main_key() -> MainKey {
    TransferKey::from_bytes([9; 32]).main_key(&RUN.transfer, &RUN.file)
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16)).to_le_bytes()[0]).collect()
}

/// Pushes `chunks` and, at the end, whatever of `text` they left.
fn encrypt(header: Header, part: usize, text: &[u8], chunks: &[usize]) -> Vec<u8> {
    let mut writer = Writer::new(&main_key(), &RUN, header, Vec::with_capacity(part), part).unwrap();
    let (mut out, mut rest) = (Vec::new(), text);
    for chunk in chunks.iter().copied().chain([usize::MAX]) {
        let (mut now, later) = rest.split_at(chunk.min(rest.len()));
        rest = later;
        loop {
            now = &now[writer.push(now).unwrap()..];
            if now.is_empty() {
                break;
            }
            let full = writer.next_part(Vec::with_capacity(part)).unwrap();
            assert_eq!((full.len(), full.capacity()), (part, part), "a buffer is full and never grows");
            out.extend(full);
        }
    }
    let (last, plaintext) = writer.finish().unwrap();
    assert!((1..=part).contains(&last.len()) && last.capacity() == part);
    assert_eq!(plaintext, text.len() as u64);
    out.extend(last);
    out
}

fn opener(run: &[u8]) -> Option<(Opener, Layout)> {
    let header = Header::from_bytes(*run.first_chunk()?).ok()?;
    let layout = Layout::of_object(run.len() as u64)?;
    Some((Opener::new(&main_key(), &RUN, &header, layout), layout))
}

fn slice(range: &Range<u64>) -> Range<usize> {
    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
}

/// Reads as a download does; the plaintext of each segment up to the first that is refused.
fn read(run: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let Some((opener, layout)) = opener(run) else { return (out, false) };
    for index in 0..u32::try_from(layout.segments()).unwrap() {
        let mut segment = run[slice(&layout.segment(index).unwrap())].to_vec();
        match opener.open(index, &mut segment) {
            Ok(length) => out.extend_from_slice(&segment[..length]),
            Err(error) => {
                assert!(matches!(error, CryptoError::Refused));
                assert!(segment.iter().all(|byte| *byte == 0), "what is refused is wiped");
                return (out, false);
            }
        }
    }
    (out, true)
}

fn read_range(run: &[u8], range: Range<u64>) -> Vec<u8> {
    let (opener, layout) = opener(run).unwrap();
    let cover = layout.cover(range.clone()).unwrap();
    let mut fetched = run[slice(&cover.ciphertext)].to_vec();
    let (mut out, mut rest) = (Vec::new(), &mut fetched[..]);
    for index in cover.first_segment.. {
        if rest.is_empty() {
            break;
        }
        let segment = layout.segment(index).unwrap();
        let (now, later) = rest.split_at_mut(slice(&segment).len());
        let length = opener.open(index, now).unwrap();
        out.extend_from_slice(&now[..length]);
        rest = later;
    }
    out.drain(..cover.skip);
    out.truncate(slice(&range).len());
    out
}

/// Up to five segments, most of them within two bytes of a border.
fn lengths() -> impl Strategy<Value = usize> {
    let border = (0usize..4, 0usize..5).prop_map(|(segments, by)| P0 + segments * P + by - 2);
    prop_oneof![4 => border, 1 => 0usize..4, 1 => 0..5 * P]
}

fn chunks() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![0usize..3, 0..2 * SEGMENT, Just(P0), Just(P), Just(SEGMENT)], 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_length_in_any_chunks_reads_back_whole_and_in_ranges(
        length in lengths(), chunks in chunks(), segments in 1usize..4, a in any::<Index>(), b in any::<Index>()
    ) {
        let text = text(length);
        let run = encrypt(Header::generate(), segments * SEGMENT, &text, &chunks);
        prop_assert_eq!(run.len() as u64, Layout::of_plaintext(length as u64).unwrap().ciphertext());
        prop_assert!(read(&run) == (text.clone(), true));
        if length > 0 {
            let (a, b) = (a.index(length), b.index(length));
            let (x, y) = (a.min(b), a.max(b) + 1);
            prop_assert!(read_range(&run, x as u64..y as u64) == text[x..y]);
        }
    }

    #[test]
    fn chunks_and_parts_do_not_change_the_bytes(length in lengths(), chunks in chunks(), segments in 1usize..4) {
        let (text, header) = (text(length), Header::generate());
        let whole = encrypt(header, 80 * SEGMENT, &text, &[]);
        prop_assert!(encrypt(header, segments * SEGMENT, &text, &chunks) == whole);
    }

    #[test]
    fn no_changed_byte_gets_past_its_segment(length in lengths(), at in any::<Index>(), bit in 0u8..8) {
        let text = text(length);
        let mut run = encrypt(Header::generate(), 80 * SEGMENT, &text, &[]);
        let at = at.index(run.len());
        run[at] ^= 1 << bit;
        let (read, whole) = read(&run);
        prop_assert!(!whole);
        let before = if at < 40 { 0 } else { at / SEGMENT };
        let intact = if before == 0 { 0 } else { P0 + (before - 1) * P };
        prop_assert!(read == text[..intact], "all of the segments before, and nothing of this one");
    }

    #[test]
    fn a_cut_or_longer_run_is_refused(length in lengths(), cut in any::<Index>(), more in 1usize..SEGMENT + 40) {
        let text = text(length);
        let run = encrypt(Header::generate(), 80 * SEGMENT, &text, &[]);
        let cut = cut.index(run.len());
        let longer = [&run[..], &vec![0; more]].concat();
        for damaged in [&run[..cut], &run[..cut / SEGMENT * SEGMENT], &longer] {
            let (read, whole) = read(damaged);
            prop_assert!(!whole && text.starts_with(&read));
        }
    }

    #[test]
    fn swapped_segments_are_refused(segments in 2usize..5, a in any::<Index>(), b in any::<Index>(), tail in 1..=P) {
        let text = text(P0 + (segments - 2) * P + tail);
        let run = encrypt(Header::generate(), 80 * SEGMENT, &text, &[]);
        let (opener, layout) = opener(&run).unwrap();
        let (a, b) = (a.index(segments), b.index(segments));
        for (place, from) in [(a, b), (b, a)].into_iter().filter(|(place, from)| place != from) {
            let range = layout.segment(u32::try_from(from).unwrap()).unwrap();
            let mut segment = run[slice(&range)].to_vec();
            prop_assert!(opener.open(u32::try_from(place).unwrap(), &mut segment).is_err());
            prop_assert!(segment.iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn a_run_opens_only_as_itself() {
    let run = encrypt(Header::generate(), SEGMENT, b"text", &[]);
    let header = Header::from_bytes(*run.first_chunk().unwrap()).unwrap();
    let layout = Layout::of_object(run.len() as u64).unwrap();
    let other = |change: fn(&mut RunId)| {
        let mut id = RUN;
        change(&mut id);
        id
    };
    for id in [other(|r| r.transfer[15] ^= 1), other(|r| r.file[0] ^= 1), other(|r| r.run += 1)] {
        let opened = Opener::new(&main_key(), &id, &header, layout).open(0, &mut run[40..].to_vec());
        assert!(matches!(opened, Err(CryptoError::Refused)));
    }
    let opener = Opener::new(&main_key(), &RUN, &header, layout);
    assert!(opener.open(1, &mut run[40..].to_vec()).is_err());
    assert_eq!(opener.open(0, &mut run[40..].to_vec()).unwrap(), 4);
}

#[test]
fn a_buffer_of_just_the_ciphertexts_length_is_enough_and_a_smaller_one_is_said() {
    for length in [0, 1, P0, P0 + 1, P0 + P] {
        let need = usize::try_from(Layout::of_plaintext(length as u64).unwrap().ciphertext()).unwrap();
        let part = 80 * SEGMENT;
        let mut writer =
            Writer::new(&main_key(), &RUN, Header::generate(), Vec::with_capacity(need), part).unwrap();
        assert_eq!(writer.push(&text(length)).unwrap(), length);
        let more = writer.push(b"more");
        assert!(matches!(more, Err(CryptoError::Misuse(_))), "{length}");
        assert!(writer.finish().is_err(), "a text that was cut is never sealed as whole");
    }
    for (capacity, part) in [(55, SEGMENT), (SEGMENT, 0), (SEGMENT, SEGMENT + 1)] {
        let made = Writer::new(&main_key(), &RUN, Header::generate(), Vec::with_capacity(capacity), part);
        assert!(matches!(made, Err(CryptoError::Misuse(_))));
    }
}

#[test]
fn calls_out_of_order_are_said_and_never_make_an_empty_last_segment() {
    let writer =
        || Writer::new(&main_key(), &RUN, Header::generate(), Vec::with_capacity(SEGMENT), SEGMENT).unwrap();
    assert!(matches!(writer().next_part(Vec::new()), Err(CryptoError::Misuse(_))));
    let mut full = writer();
    assert_eq!(full.push(&text(P0 + 1)).unwrap(), P0);
    full.next_part(Vec::with_capacity(SEGMENT)).unwrap();
    assert!(matches!(full.finish(), Err(CryptoError::Misuse(_))));
}

#[test]
fn readers_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Opener>();
    shared::<Writer>();
}

#[test]
fn what_a_buffer_holds_stays_in_front_of_its_part() {
    let part = 2 * SEGMENT;
    let (header, text) = (Header::generate(), text(5 * SEGMENT));
    let buffer = |lead: usize| {
        let mut buffer = Vec::with_capacity(lead + part);
        buffer.resize(lead, 0xee);
        buffer
    };
    let mut writer = Writer::new(&main_key(), &RUN, header, buffer(3), part).unwrap();
    let (mut out, mut rest, mut lead) = (Vec::new(), &text[..], 3);
    loop {
        rest = &rest[writer.push(rest).unwrap()..];
        if rest.is_empty() {
            break;
        }
        let full = writer.next_part(Vec::new()).unwrap();
        assert_eq!(full.len(), lead + part);
        assert!(full[..lead].iter().all(|byte| *byte == 0xee));
        out.extend_from_slice(&full[lead..]);
        lead += 100;
        writer.refill(buffer(lead)).unwrap();
    }
    let (last, _) = writer.finish().unwrap();
    assert!(last[..lead].iter().all(|byte| *byte == 0xee));
    out.extend_from_slice(&last[lead..]);
    assert_eq!(lead, 203, "two full parts, each in a buffer of its own");
    assert!(out == encrypt(header, part, &text, &[]));
}
