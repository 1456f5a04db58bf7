//! What a Range header says, held against a plain reading of the RFC.

use std::ops::Range;

use burnbag::http::range::parse;
use proptest::prelude::*;

/// RFC 9110 §14.1.2, read plainly: `None` for no range, `Some(None)` for one outside.
#[expect(clippy::option_option, reason = "the form of what it is held against")]
fn reference(first: Option<u128>, last: Option<u128>, size: u64) -> Option<Option<Range<u64>>> {
    let inside = |at: &u128| match (first, last) {
        (Some(first), Some(last)) => (first..=last).contains(at),
        (Some(first), None) => *at >= first,
        (None, Some(length)) => *at + length >= u128::from(size),
        (None, None) => false,
    };
    match (first, last) {
        (None, None) => return None,
        (Some(first), Some(last)) if first > last => return None,
        _ => {}
    }
    let mut all = (0..u128::from(size)).filter(inside);
    let start = all.next();
    let end = all.next_back().or(start);
    let whole = |at: u128| u64::try_from(at).unwrap();
    Some(start.zip(end).map(|(start, end)| whole(start)..whole(end) + 1))
}

fn number() -> impl Strategy<Value = Option<u128>> {
    prop_oneof![
        1 => Just(None),
        6 => (0_u128..60).prop_map(Some),
        1 => any::<u64>().prop_map(|n| Some(u128::from(n))),
        1 => any::<u128>().prop_map(|n| Some(n >> 8)),
    ]
}

proptest! {
    #[test]
    fn a_range_is_read_as_the_rfc_says(first in number(), last in number(), size in 0_u64..50) {
        let word = |n: Option<u128>| n.map_or_else(String::new, |n| n.to_string());
        let text = format!("bytes={}-{}", word(first), word(last));
        // Two numbers that are both beyond 64 bits are past any file in either order.
        prop_assume!(first.is_none_or(|n| n <= u128::from(u64::MAX)));
        prop_assert_eq!(parse(&text, size), reference(first, last, size), "{} of {}", text, size);
    }

    #[test]
    fn a_range_lies_inside_whatever_is_asked(text in "(bytes|Bytes|b)?=?[-0-9, a]{0,12}", size in any::<u64>()) {
        if let Some(Some(range)) = parse(&text, size) {
            prop_assert!(range.start < range.end && range.end <= size);
        }
    }
}
