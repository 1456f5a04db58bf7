//! The arithmetic of runs: sizes and places out of any number.

use burnbag::crypto::{HEADER, Layout, SEGMENT, TAG};

use super::input::choose;

pub fn run(data: &[u8]) {
    choose(data, |input| {
        let number: u64 = input.arbitrary()?;
        // Near the greatest there is, and near the borders of segments, too.
        let number = match input.int_in_range(0..=3)? {
            0 => number,
            1 => number % (1 << 20),
            2 => (number % 64) * SEGMENT as u64 + input.int_in_range(0..=128)?,
            _ => (1_u64 << 48).wrapping_add_signed(i64::from(input.arbitrary::<i32>()?)),
        };
        let (a, b): (u64, u64) = (input.arbitrary()?, input.arbitrary()?);
        if let Some(layout) = Layout::of_plaintext(number) {
            assert_eq!(layout.plaintext(), number);
            assert_eq!(Layout::of_object(layout.ciphertext()), Some(layout), "one layout a length");
            check(&layout, a, b);
        }
        if let Some(layout) = Layout::of_object(number) {
            assert_eq!(layout.ciphertext(), number);
            assert_eq!(Layout::of_plaintext(layout.plaintext()), Some(layout));
            check(&layout, a, b);
        }
        Ok(())
    });
}

fn check(layout: &Layout, a: u64, b: u64) {
    let last = u32::try_from(layout.segments() - 1).expect("at most 2³² segments");
    assert_eq!(layout.segment(0).unwrap().start, HEADER as u64);
    assert_eq!(layout.segment(last).unwrap().end, layout.ciphertext());
    assert!(last == u32::MAX || layout.segment(last + 1).is_none());
    let index = u32::try_from(a % layout.segments()).unwrap();
    let segment = layout.segment(index).unwrap();
    assert!((TAG as u64..=SEGMENT as u64).contains(&(segment.end - segment.start)));
    if index < last {
        assert_eq!(segment.end, layout.segment(index + 1).unwrap().start, "segments lie side by side");
    }
    assert!(layout.cover(a..b).is_none_or(|_| a < b && b <= layout.plaintext()));
    if layout.plaintext() == 0 {
        assert_eq!(layout.cover(0..0), None);
        return;
    }
    let (from, to) = (a % layout.plaintext(), b % layout.plaintext() + 1);
    if from < to {
        let cover = layout.cover(from..to).expect("the range lies inside");
        let bytes = &cover.ciphertext;
        assert!(bytes.start < bytes.end && bytes.end <= layout.ciphertext());
        assert_eq!(layout.segment(cover.first_segment).unwrap().start, bytes.start);
        let segments = (bytes.end - 1) / SEGMENT as u64 - u64::from(cover.first_segment) + 1;
        let tags = segments * TAG as u64;
        let held = bytes.end - bytes.start - tags;
        assert!(cover.skip as u64 + (to - from) <= held, "all that is asked for is fetched");
        assert!(held - cover.skip as u64 - (to - from) < SEGMENT as u64, "and no segment more");
    }
}
