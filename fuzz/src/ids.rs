//! Ids and keys of objects, from paths, records and listings of a bucket: one text each.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use burnbag::transfer::{BlobKey, FileId, LinkId, TransferId};
use serde::{Serialize, de::DeserializeOwned};

use super::input::{change, choose};

pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check::<LinkId>(text);
        check::<BlobKey>(text);
        // With escapes the text is no slice of the record.
        let _ = serde_json::from_slice::<LinkId>(data);
        let _ = serde_json::from_slice::<BlobKey>(data);
    }
    choose(data, |input| {
        let key = BlobKey {
            shard: input.arbitrary()?,
            transfer: TransferId::from_bytes(input.arbitrary()?),
            file: FileId::from_bytes(input.arbitrary()?),
            object: input.arbitrary()?,
            random: input.arbitrary()?,
        };
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        assert!(text.bytes().all(|b| b.is_ascii_hexdigit() || b"o/-".contains(&b)) && !text.contains(".."));
        let mut bytes = text.into_bytes();
        change(input, &mut bytes)?;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            check::<BlobKey>(text);
        }
        Ok(())
    });
}

fn check<T: FromStr + Display + Debug + PartialEq + Serialize + DeserializeOwned>(text: &str) {
    let parsed = text.parse::<T>().ok();
    if let Some(value) = &parsed {
        assert_eq!(value.to_string(), text, "canonical or nothing");
    }
    let json = serde_json::to_string(text).unwrap();
    assert_eq!(serde_json::from_str::<T>(&json).ok(), parsed, "the same in a record");
}
