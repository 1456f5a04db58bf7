//! What a sender may ask for: taken as it was meant, or refused; never ignored, never clamped.

use std::time::Duration;

use burnbag::clock::Timestamp;
use burnbag::transfer::policy::{
    Expires, MAX_DOWNLOADS, MAX_PASSWORD, OptionError, Options, Policy, Settled, parse_duration, words,
};
use proptest::prelude::*;

use crate::sample::{START, secs};

const POLICY: Policy = Policy {
    expires_default: Duration::from_hours(24),
    expires_max: Duration::from_hours(168),
    max_upload_bytes: None,
};

fn settled(given: &[(&str, &str)]) -> Result<Settled, OptionError> {
    let mut options = Options::default();
    for (name, value) in given {
        options.set(name, value)?;
    }
    options.settle(&POLICY, START)
}

#[test]
fn durations_are_a_number_and_a_unit() {
    for (text, seconds) in [("90s", 90), ("2h", 7200), ("7d", 604_800), ("5m", 300), ("0s", 0), ("007s", 7)] {
        assert_eq!(parse_duration(text), Some(secs(seconds)), "{text}");
    }
    for text in ["", "s", "90", "1.5h", "-1s", "+1s", " 1s", "1s ", "1S", "1w", "1h30m", "１s", "9é", "ä"]
    {
        assert_eq!(parse_duration(text), None, "{text:?}");
    }
    assert_eq!(parse_duration("99999999999999999999s"), None, "no number of seconds");
    assert_eq!(parse_duration("18446744073709551615d"), None, "too long to count");
    assert_eq!(parse_duration("253402207201s"), None, "longer than any calendar");
}

#[test]
fn who_asks_for_nothing_gets_the_default_and_no_limit() {
    let day = Expires::After(86_400_000);
    assert_eq!(settled(&[]).unwrap(), Settled { expires: day, downloads: None, password: None });
}

#[test]
fn options_are_taken_as_they_were_meant() {
    let instant = START.after(secs(3600));
    assert_eq!(
        settled(&[("expires", "2h"), ("downloads", "3")]).unwrap(),
        Settled { expires: Expires::After(7_200_000), downloads: Some(3), password: None }
    );
    assert_eq!(settled(&[("expires", &instant.to_string())]).unwrap().expires, Expires::At(instant));
    assert_eq!(settled(&[("expires", "7d")]).unwrap().expires, Expires::After(604_800_000));
    assert_eq!(settled(&[("downloads", "1000000")]).unwrap().downloads, Some(MAX_DOWNLOADS));
}

#[test]
fn the_same_twice_is_one_and_two_different_are_refused() {
    assert!(
        settled(&[("expires", "60m"), ("expires", "1h"), ("downloads", "1"), ("downloads", "1")]).is_ok()
    );
    for given in [[("expires", "1h"), ("expires", "2h")], [("downloads", "1"), ("downloads", "2")]] {
        assert_eq!(settled(&given).unwrap_err(), OptionError::Conflict(given[0].0));
    }
}

#[test]
fn typos_and_values_out_of_range_are_refused_by_name() {
    let table = [
        ("expire", "1h", "expire"),
        ("Expires", "1h", "Expires"),
        ("Password", "x", "Password"),
        ("password", "", "password"),
        ("password", "with\0NUL", "password"),
        ("password", "two\nlines", "password"),
        ("password", "c1 \u{85} control", "password"),
        ("", "", ""),
        ("expires", "", "expires"),
        ("expires", "0s", "expires"),
        ("expires", "soon", "expires"),
        ("expires", "1969-12-31T23:59:59Z", "expires"),
        ("expires", "2027-01-01T00:00:00Z", "expires"),
        ("expires", "2030-01-01", "expires"),
        ("expires", "2030-01-01T00:00:00", "expires"),
        ("expires", "169h", "expires"),
        ("downloads", "0", "downloads"),
        ("downloads", "1000001", "downloads"),
        ("downloads", "-1", "downloads"),
        ("downloads", "+1", "downloads"),
        ("downloads", "1.0", "downloads"),
        ("downloads", "", "downloads"),
        ("downloads", "99999999999999999999", "downloads"),
    ];
    for (name, value, field) in table {
        let error = settled(&[(name, value)]).unwrap_err();
        assert_eq!(error.field(), field, "{name}={value}");
    }
    assert_eq!(settled(&[("expires", "169h")]).unwrap_err(), OptionError::ExpiresTooLong(POLICY.expires_max));
    assert_eq!(
        settled(&[("expires", "169h")]).unwrap_err().to_string(),
        "expires is at most 7d here",
        "an error says what to do"
    );
}

#[test]
fn an_instant_must_be_still_to_come_and_within_the_longest_life() {
    let at = |instant: Timestamp| settled(&[("expires", &instant.to_string())]);
    assert!(matches!(at(START), Err(OptionError::Invalid { field: "expires", .. })));
    assert!(at(START.after(Duration::from_millis(1))).is_ok());
    let last = START.after(POLICY.expires_max);
    assert!(at(last).is_ok());
    assert!(matches!(at(last.after(Duration::from_millis(1))), Err(OptionError::ExpiresTooLong(_))));
}

#[test]
fn a_password_is_up_to_1024_bytes_of_any_language_and_shows_up_nowhere() {
    let longest = "ü".repeat(MAX_PASSWORD / 2);
    for good in ["x", " with blanks ", "correct horse: battery, staple", longest.as_str()] {
        let settled = settled(&[("password", good)]).unwrap();
        assert_eq!(settled.password.as_ref().unwrap().as_str(), good);
        let shown = format!("{settled:?}");
        assert!(!shown.contains("correct") && !shown.contains('ü'), "{shown}");
    }
    let mut options = Options::default();
    options.set("password", "canary-in-debug").unwrap();
    assert!(!format!("{options:?}").contains("canary"), "{options:?}");
    let error = settled(&[("password", &format!("{longest}x"))]).unwrap_err();
    assert_eq!(error.to_string(), "password is 1 to 1024 bytes of UTF-8 without control characters");
    let twice = settled(&[("password", "canary-1"), ("password", "canary-2")]).unwrap_err();
    assert_eq!(twice, OptionError::Conflict("password"));
    assert!(settled(&[("password", "the same"), ("password", "the same")]).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_an_option_panic(name in any::<String>(), value in any::<String>()) {
        for name in [name.as_str(), "expires", "downloads", "password"] {
            let mut options = Options::default();
            if options.set(name, &value).is_ok() {
                prop_assert!(Options::knows(name));
                let _ = options.settle(&POLICY, START);
            }
        }
    }

    #[test]
    fn no_text_makes_a_duration_panic(text in "[0-9]{0,22}\\PC?") {
        let _ = parse_duration(&text);
    }

    #[test]
    fn a_duration_comes_back_from_its_words(seconds in 0..=253_402_207_200_u64) {
        prop_assert_eq!(parse_duration(&words(secs(seconds))), Some(secs(seconds)));
    }

    #[test]
    fn a_number_in_range_is_kept_exactly(number in 1..=MAX_DOWNLOADS, life in 1..=604_800_u64) {
        let (number_text, life_text) = (number.to_string(), format!("{life}s"));
        let got = settled(&[("downloads", &number_text), ("expires", &life_text)]).unwrap();
        let expires = Expires::After(life * 1000);
        prop_assert_eq!(got, Settled { expires, downloads: Some(number), password: None });
    }
}
