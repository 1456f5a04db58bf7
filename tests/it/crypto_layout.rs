//! The arithmetic of DESIGN §5 against its own formulas, for any length that a `u64` holds.

use burnbag::crypto::{HEADER, Layout, SEGMENT, TAG};
use proptest::prelude::*;

const S: u128 = SEGMENT as u128;
const P0: u64 = (SEGMENT - HEADER - TAG) as u64;
const P: u64 = (SEGMENT - TAG) as u64;

/// `C(n)` and `k` as the page writes them.
fn formula(n: u64) -> (u128, u128) {
    let n = u128::from(n);
    let k = if n <= u128::from(P0) { 1 } else { 1 + (n - u128::from(P0)).div_ceil(u128::from(P)) };
    (40 + n + 16 * k, k)
}

/// Lengths of every magnitude, many of them next to a segment's border.
fn lengths() -> impl Strategy<Value = u64> {
    let border = (0u64..1 << 33, -2i64..=2)
        .prop_map(|(segment, by)| (P0 + segment.saturating_mul(P)).saturating_add_signed(by));
    let magnitude = (any::<u64>(), 0u32..64).prop_map(|(n, by)| n >> by);
    prop_oneof![border, magnitude, 0..3 * P]
}

proptest! {
    #[test]
    fn a_plaintext_length_has_one_object_length_and_back(n in lengths()) {
        let (c, k) = formula(n);
        let layout = Layout::of_plaintext(n);
        prop_assert_eq!(layout.is_some(), k <= 1 << 32);
        if let Some(layout) = layout {
            prop_assert_eq!(layout.plaintext(), n);
            prop_assert_eq!(u128::from(layout.ciphertext()), c);
            prop_assert_eq!(u128::from(layout.segments()), k);
            prop_assert_eq!(Layout::of_object(layout.ciphertext()), Some(layout));
        }
    }

    #[test]
    fn an_object_length_that_no_plaintext_has_is_refused(c in lengths()) {
        let k = u128::from(c).div_ceil(S);
        let n = u128::from(c).checked_sub(40 + 16 * k).and_then(|n| u64::try_from(n).ok());
        let canonical = n.filter(|n| formula(*n) == (u128::from(c), k) && k <= 1 << 32);
        prop_assert_eq!(Layout::of_object(c).map(|layout| layout.plaintext()), canonical);
    }

    #[test]
    fn segments_lie_end_to_end_and_fill_the_object(n in 0..40 * P) {
        let layout = Layout::of_plaintext(n).unwrap();
        let mut end = 40;
        for index in 0..u32::try_from(layout.segments()).unwrap() {
            let segment = layout.segment(index).unwrap();
            prop_assert_eq!(segment.start, end);
            prop_assert!(u128::from(segment.end - segment.start) <= S);
            end = segment.end;
        }
        prop_assert_eq!(end, layout.ciphertext());
        prop_assert_eq!(layout.segment(u32::try_from(layout.segments()).unwrap()), None);
    }

    #[test]
    fn a_cover_is_the_fewest_segments_that_hold_the_range(n in lengths(), a in any::<u64>(), b in any::<u64>()) {
        let Some(layout) = Layout::of_plaintext(n).filter(|_| n > 0) else { return Ok(()) };
        let (a, b) = (a % n, b % n);
        let (x, y) = (a.min(b), a.max(b) + 1);
        let cover = layout.cover(x..y).unwrap();
        // The plaintext before segment i > 0.
        let before = |index: u64| if index == 0 { 0 } else { P0 + (index - 1) * P };
        let first = u64::from(cover.first_segment);
        prop_assert_eq!(before(first) + cover.skip as u64, x);
        prop_assert!(x < before(first + 1));
        let last = (cover.ciphertext.end - 1) / SEGMENT as u64;
        prop_assert!(before(last) < y && y <= before(last + 1));
        prop_assert_eq!(cover.ciphertext.start, layout.segment(cover.first_segment).unwrap().start);
        prop_assert_eq!(cover.ciphertext.end, layout.segment(u32::try_from(last).unwrap()).unwrap().end);
    }
}

#[test]
fn an_empty_range_or_one_past_the_end_has_no_cover() {
    let layout = Layout::of_plaintext(10).unwrap();
    for range in [0..0, 10..10, 0..11, 10..11, u64::MAX - 1..u64::MAX] {
        assert_eq!(layout.cover(range), None);
    }
    assert_eq!(layout.cover(0..10), Some(layout.whole()));
    assert_eq!(Layout::of_plaintext(0).unwrap().whole().ciphertext, 40..56);
}

#[test]
fn an_empty_last_segment_is_refused() {
    assert!(Layout::of_object(SEGMENT as u64).is_some());
    assert_eq!(Layout::of_object((SEGMENT + TAG) as u64), None);
    assert_eq!(Layout::of_object((2 * SEGMENT + TAG) as u64), None);
}
