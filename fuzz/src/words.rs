//! Sizes, durations, dates and the other words of options and settings: each has one meaning, and comes back from its text.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use burnbag::clock::Timestamp;
use burnbag::config::{LogFormat, Rate, Size, Workers};
use burnbag::transfer::policy::{Options, parse_duration, words};

use super::input::choose;

pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        comes_back::<Timestamp>(text);
        comes_back::<Rate>(text);
        comes_back::<Workers>(text);
        comes_back::<LogFormat>(text);
        assert_eq!(text.parse::<Size>().ok().map(|size| u128::from(size.0)), size(text), "{text:?}");
        if let Some(duration) = parse_duration(text) {
            assert_eq!(parse_duration(&words(duration)), Some(duration));
            assert!(duration.as_secs() <= Timestamp::MAX.as_millis() / 1000);
        }
        for name in ["expires", "downloads", "password"] {
            let mut options = Options::default();
            if options.set(name, text).is_ok() {
                let taken = options.clone();
                options.set(name, text).expect("the same again is no conflict");
                assert_eq!(options, taken);
            }
        }
    }
    choose(data, |input| {
        let time = Timestamp::from_millis(input.arbitrary()?);
        assert_eq!(time.to_string().parse(), Ok(time), "an instant comes back from its text");
        let seconds = input.int_in_range(0..=Timestamp::MAX.as_millis() / 1000)?;
        let duration = Duration::from_secs(seconds);
        assert_eq!(parse_duration(&words(duration)), Some(duration));
        let later = time.after(Duration::from_millis(input.arbitrary()?));
        assert!(later >= time && later <= Timestamp::MAX && later.after(later.since(time)) >= later);
        Ok(())
    });
}

fn comes_back<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let shown = value.to_string();
        assert!(
            shown.parse::<T>().is_ok_and(|again| again.to_string() == shown),
            "{text:?} is shown as {shown:?}"
        );
    }
}

/// A plain reading in wide numbers.
fn size(text: &str) -> Option<u128> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &text[..text.len() - unit.len()];
    let scales =
        ["B", "kB", "MB", "GB", "TB"].iter().zip(0..).map(|(unit, power)| (*unit, 1000_u128.pow(power)));
    let binary =
        ["", "KiB", "MiB", "GiB", "TiB"].iter().zip(0..).map(|(unit, power)| (*unit, 1024_u128.pow(power)));
    let (_, scale) = scales.chain(binary).find(|(name, _)| *name == unit.trim())?;
    let size = number.parse::<u128>().ok()?.checked_mul(scale)?;
    (size <= u128::from(u64::MAX)).then_some(size)
}
