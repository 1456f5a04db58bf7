//! The KEK file: held against a second, plain reading of the same text.

use std::collections::BTreeMap;

use burnbag::crypto::{CryptoError, KekRing};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match (KekRing::parse(text), expected(text)) {
        (Ok(ring), Some(keys)) => {
            assert!(ring.versions().eq(keys.keys().copied()));
            assert_eq!(Some(ring.current()), keys.keys().next_back().copied());
            let lines: Vec<_> =
                keys.iter().map(|(version, key)| format!("{version} {}", hex::encode(key))).collect();
            let again = KekRing::parse(&lines.join("\n")).unwrap();
            for version in keys.keys() {
                assert!(ring.check(*version).is_some() && ring.check(*version) == again.check(*version));
            }
        }
        (Err(error), None) => {
            assert!(matches!(&error, CryptoError::KekFile(_)));
            let said = error.to_string();
            assert!(said.len() < 200, "a line is never quoted: {}", said.len());
        }
        (found, expected) => panic!("{found:?}, and expected {:?}", expected.map(|keys| keys.len())),
    }
}

fn expected(text: &str) -> Option<BTreeMap<u32, Vec<u8>>> {
    let mut keys = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (version, rest) = line.split_at(line.find([' ', '\t'])?);
        let number: u32 = version.parse().ok()?;
        let key = hex::decode(rest.trim_start()).ok().filter(|key| key.len() == 32)?;
        if number == 0 || number.to_string() != version || keys.insert(number, key).is_some() {
            return None;
        }
    }
    (!keys.is_empty()).then_some(keys)
}
