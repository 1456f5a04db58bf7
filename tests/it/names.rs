//! Names of files and ids of things: kept as they came, or refused.

use burnbag::clock::Timestamp;
use burnbag::transfer::{
    BlobKey, FileId, FileName, InvalidName, LinkId, MAX_NAME, MAX_SEGMENT, OperationId, TransferId,
};
use proptest::prelude::*;

#[test]
fn good_names_stay_as_they_are() {
    let long = "ä".repeat(MAX_SEGMENT / 2);
    for name in ["a", "a b.txt", "quote\"'.txt", "日本語", "...", ".hidden", "a/b/c", "%2F", "~", " ", &long]
    {
        assert_eq!(FileName::parse(name).unwrap().as_str(), name);
    }
    assert_eq!(FileName::parse("a/b/c.txt").unwrap().base(), "c.txt");
}

#[test]
fn bad_names_are_refused_for_what_is_wrong_with_them() {
    let table: [(&str, InvalidName); 14] = [
        ("", InvalidName::Segment),
        (".", InvalidName::Segment),
        ("..", InvalidName::Segment),
        ("/a", InvalidName::Segment),
        ("a/", InvalidName::Segment),
        ("a//b", InvalidName::Segment),
        ("a/../b", InvalidName::Segment),
        ("./a", InvalidName::Segment),
        ("a\\b", InvalidName::Character),
        ("a\nb", InvalidName::Character),
        ("a\0", InvalidName::Character),
        ("\u{7f}", InvalidName::Character),
        ("a\u{85}", InvalidName::Character),
        ("\t", InvalidName::Character),
    ];
    for (name, why) in table {
        assert_eq!(FileName::parse(name).unwrap_err(), why, "{name:?}");
    }
    assert_eq!(FileName::parse_segment("a/b").unwrap_err(), InvalidName::Slash);
}

#[test]
fn a_name_is_as_long_as_it_may_be_and_no_longer() {
    assert!(FileName::parse(&"x".repeat(MAX_SEGMENT)).is_ok());
    assert_eq!(FileName::parse(&"x".repeat(MAX_SEGMENT + 1)).unwrap_err(), InvalidName::TooLong);
    let segment = "x".repeat(MAX_SEGMENT);
    let full = [segment.as_str(); 4].join("/") + "y";
    assert_eq!(full.len(), MAX_NAME);
    assert_eq!(FileName::parse(&full).unwrap_err(), InvalidName::TooLong, "its last segment is too long");
    let full = format!("{}/{}", [&segment[..254]; 4].join("/"), "yyyy");
    assert_eq!(full.len(), MAX_NAME);
    assert!(FileName::parse(&full).is_ok());
    assert_eq!(FileName::parse(&format!("{full}y")).unwrap_err(), InvalidName::TooLong);
}

#[test]
fn a_name_stays_out_of_debug_output() {
    assert!(!format!("{:?}", FileName::parse("payroll.xlsx").unwrap()).contains("payroll"));
}

#[test]
fn ids_are_lower_case_hex_without_hyphens() {
    let good = "0123456789abcdef0123456789abcdef";
    assert_eq!(good.parse::<TransferId>().unwrap().to_string(), good);
    let bad = [
        "",
        "0123456789abcdef0123456789abcde",
        "0123456789abcdef0123456789abcdef0",
        "0123456789ABCDEF0123456789abcdef",
        "01234567-89ab-cdef-0123-456789abcdef",
        "0123456789abcdeg0123456789abcdef",
        "0123456789abcdé0123456789abcdef",
        " 123456789abcdef0123456789abcdef",
    ];
    for text in bad {
        assert!(text.parse::<TransferId>().is_err(), "{text:?}");
    }
}

#[test]
fn ids_sort_by_the_time_they_were_made() {
    let at = |millis| TransferId::generate(Timestamp::from_millis(millis));
    assert!(at(1) < at(2) && at(255) < at(256) && at(1_800_000_000_000) < at(1_800_000_000_001));
    assert_ne!(at(1), at(1));
}

#[test]
fn keys_of_other_forms_are_not_ours() {
    let key =
        BlobKey::generate(3, TransferId::from_bytes([1; 16]), FileId::from_bytes([2; 16]), 4).to_string();
    assert!(key.parse::<BlobKey>().is_ok());
    let bad = [
        String::new(),
        "o".to_owned(),
        key.replacen("o/", "t/", 1),
        key.replacen("o/", "/o/", 1),
        key.to_uppercase(),
        format!("{key}/"),
        format!("{key}0"),
        key[..key.len() - 1].to_owned(),
        key.replace('-', "/"),
        key.replace("o/03", "o/3"),
        key.replace("o/03", "o/../03"),
    ];
    for text in bad {
        assert!(text.parse::<BlobKey>().is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_name_that_stays_or_an_error(text in any::<String>()) {
        if let Ok(name) = FileName::parse(&text) {
            prop_assert_eq!(name.as_str(), &text);
            prop_assert!(text.ends_with(name.base()) && !name.base().contains('/'));
            prop_assert!(text.len() <= MAX_NAME && !text.contains('\\'));
            prop_assert!(text.split('/').all(|part| !matches!(part, "" | "." | "..")));
            prop_assert_eq!(FileName::parse_segment(&text).is_ok(), !text.contains('/'));
        }
    }

    #[test]
    fn plain_segments_are_always_a_name(parts in prop::collection::vec("[a-zA-Z0-9 ._äß-]{1,40}x", 1..10)) {
        let text = parts.join("/");
        let name = FileName::parse(&text).unwrap();
        prop_assert_eq!(name.as_str(), text);
    }

    #[test]
    fn ids_come_back_from_text_and_json(bytes: [u8; 16]) {
        let id = LinkId::from_bytes(bytes);
        prop_assert_eq!(id.to_string().parse::<LinkId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        prop_assert_eq!(serde_json::from_str::<LinkId>(&json).unwrap(), id);
        prop_assert_eq!(id.to_string().len(), 32);
    }

    #[test]
    fn any_text_is_an_id_or_an_error(text in "\\PC*") {
        if let Ok(id) = text.parse::<OperationId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn keys_come_back_from_text_and_json(shard: u8, transfer: [u8; 16], file: [u8; 16], object: u32, random: u64) {
        let (transfer, file) = (TransferId::from_bytes(transfer), FileId::from_bytes(file));
        let key = BlobKey { shard, transfer, file, object, random };
        prop_assert_eq!(&key.to_string().parse::<BlobKey>().unwrap(), &key);
        let json = serde_json::to_string(&key).unwrap();
        prop_assert_eq!(serde_json::from_str::<BlobKey>(&json).unwrap(), key);
    }

    #[test]
    fn any_text_is_a_key_or_an_error(text in "o/[0-9a-f/.-]{0,120}") {
        if let Ok(key) = text.parse::<BlobKey>() {
            prop_assert_eq!(key.to_string(), text);
        }
    }
}
