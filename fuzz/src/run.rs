//! Runs: what was sealed and then changed in any way is read as far as it is unchanged, and no byte further.

use std::ops::Range;
use std::sync::LazyLock;

use burnbag::crypto::{Header, Layout, MainKey, Opener, RunId, SEGMENT, TransferKey, Writer};

use super::input::{change, change_array, choose, rarely};

const RUN: RunId = RunId { transfer: [1; 16], file: [2; 16], run: 3 };
const FIRST: usize = SEGMENT - 56;
const FULL: usize = SEGMENT - 16;
const LENGTHS: [usize; 9] = [0, 1, 100, 1000, FIRST - 1, FIRST, FIRST + 1, FIRST + FULL, FIRST + FULL + 1];

static RUNS: LazyLock<Vec<(Vec<u8>, Vec<u8>)>> =
    LazyLock::new(|| LENGTHS.iter().map(|length| (text(*length), seal(&text(*length)))).collect());

fn key() -> MainKey {
    TransferKey::from_bytes([9; 32]).main_key(&RUN.transfer, &RUN.file)
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16)).to_le_bytes()[0]).collect()
}

fn header() -> Header {
    let mut bytes = [5; 40];
    bytes[0] = 0x28;
    Header::from_bytes(bytes).unwrap()
}

fn seal(text: &[u8]) -> Vec<u8> {
    let part = 4 * SEGMENT;
    let mut writer = Writer::new(&key(), &RUN, header(), Vec::with_capacity(part), part).unwrap();
    assert_eq!(writer.push(text).unwrap(), text.len());
    writer.finish().unwrap().0
}

pub fn run(data: &[u8]) {
    choose(data, |input| {
        // Mostly the short ones, for speed.
        let length = match input.int_in_range(0..=63)? {
            n @ 0..=8 => n,
            _ => input.int_in_range(0..=3)?,
        };
        let (text, sealed) = &RUNS[length];
        let (mut bytes, mut id) = (sealed.clone(), RUN);
        if rarely(input, 8)? {
            change_array(input, &mut id.transfer)?;
            change_array(input, &mut id.file)?;
            id.run ^= u32::from(input.arbitrary::<u8>()?);
        }
        if rarely(input, 8)? && bytes.len() > SEGMENT {
            // Segments of equal length change places.
            let (first, second) = bytes.split_at_mut(SEGMENT);
            let both = (first.len() - 40).min(second.len());
            first[40..40 + both].swap_with_slice(&mut second[..both]);
        }
        change(input, &mut bytes)?;
        let same = bytes == *sealed && id == RUN;
        let (read, whole) = read(&bytes, &id);
        assert!(text.starts_with(&read), "only what was sealed comes out");
        assert_eq!(whole, same, "and all of it only if nothing was changed");
        if same && !text.is_empty() {
            let from = input.int_in_range(0..=text.len() - 1)?;
            let to = input.int_in_range(from + 1..=text.len())?;
            assert!(read_range(&bytes, from as u64..to as u64) == text[from..to]);
        }
        Ok(())
    });
}

fn opener(run: &[u8], id: &RunId) -> Option<(Opener, Layout)> {
    let header = Header::from_bytes(*run.first_chunk()?).ok()?;
    let layout = Layout::of_object(run.len() as u64)?;
    Some((Opener::new(&key(), id, &header, layout), layout))
}

fn slice(range: &Range<u64>) -> Range<usize> {
    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
}

/// As a download does: the text up to the first segment that is refused, and whether there was none.
fn read(run: &[u8], id: &RunId) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let Some((opener, layout)) = opener(run, id) else { return (out, false) };
    for index in 0..u32::try_from(layout.segments()).unwrap() {
        let mut segment = run[slice(&layout.segment(index).unwrap())].to_vec();
        let Ok(length) = opener.open(index, &mut segment) else {
            assert!(segment.iter().all(|byte| *byte == 0), "what is refused is wiped");
            return (out, false);
        };
        out.extend_from_slice(&segment[..length]);
    }
    (out, true)
}

fn read_range(run: &[u8], range: Range<u64>) -> Vec<u8> {
    let (opener, layout) = opener(run, &RUN).unwrap();
    let cover = layout.cover(range.clone()).unwrap();
    let mut fetched = run[slice(&cover.ciphertext)].to_vec();
    let (mut out, mut rest) = (Vec::new(), &mut fetched[..]);
    for index in cover.first_segment.. {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at_mut(slice(&layout.segment(index).unwrap()).len());
        let length = opener.open(index, now).unwrap();
        out.extend_from_slice(&now[..length]);
        rest = later;
    }
    out.drain(..cover.skip);
    out.truncate(slice(&range).len());
    out
}
