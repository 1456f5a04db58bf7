//! Whatever bytes come in: an answer, never a panic.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use burnbag::crypto::{
    CryptoError, FileMeta, Header, KekRing, LinkSecret, OWNER, PasswordBlock, PasswordKey, RequestSecret,
    Slot, Ticket, Token, TokenKind, TransferKey, open_account_key, open_digest_state, open_runs, open_slot,
};
use proptest::prelude::*;

fn ring() -> KekRing {
    KekRing::parse(&format!("1 {}", "42".repeat(32))).unwrap()
}

fn arbitrary() -> impl Strategy<Value = Vec<u8>> {
    // Mostly with the version byte, and a KEK version that exists, so that the parser gets further.
    let headed =
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|tail| [&[1, 0, 0, 0, 1], &tail[..]].concat());
    prop_oneof![prop::collection::vec(any::<u8>(), 0..300), headed]
}

fn token_like() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,60}", "bb_(usr|svc|ses|xyz)_[0-9A-Za-z]{30,38}", "bb_usr_\\PC{20,40}"]
}

proptest! {
    #[test]
    fn texts(text in token_like()) {
        prop_assert_eq!(Token::looks_like(&text), Token::parse(&text).is_some());
        if let Some(token) = Token::parse(&text) {
            prop_assert_eq!(token.text(), &text);
        }
        for parsed in [LinkSecret::parse(&text).map(|s| s.to_text()), RequestSecret::parse(&text).map(|s| s.to_text())] {
            prop_assert!(parsed.is_none_or(|again| *again == text));
        }
        prop_assert!(Ticket::open(&ring(), &text).is_err());
        prop_assert!(matches!(KekRing::parse(&text), Ok(_) | Err(CryptoError::KekFile(_))));
    }

    #[test]
    fn secrets_have_one_text(text in "[A-Za-z0-9_-]{42,44}") {
        let parsed = LinkSecret::parse(&text);
        prop_assert!(parsed.is_none_or(|secret| *secret.to_text() == text), "canonical or nothing");
    }

    #[test]
    fn kek_lines(text in "(#.*\n|\n|[0-9]{0,11}[ \t]{0,2}[0-9a-fA-F]{62,66}[ ]?\n){0,4}") {
        prop_assert!(matches!(KekRing::parse(&text), Ok(_) | Err(CryptoError::KekFile(_))));
    }

    #[test]
    fn records(bytes in arbitrary()) {
        let (ring, transfer, file) = (ring(), [1; 16], [2; 16]);
        let meta = TransferKey::generate().meta_key(&transfer);
        if let Ok(slot) = Slot::from_bytes(&bytes) {
            prop_assert_eq!(slot.as_bytes()[..].len(), bytes.len());
            let (secret, none, pwb) = (LinkSecret::generate(), PasswordKey::none(), PasswordBlock::none());
            prop_assert!(open_slot(&ring, &slot, &secret, &none, &pwb, &transfer, &OWNER, 0).is_err());
        }
        let token = Token::generate(TokenKind::Svc);
        prop_assert!(open_account_key(&ring, &token, &transfer, &file, &bytes).is_err());
        prop_assert!(Ticket::open(&ring, &BASE64_URL_SAFE_NO_PAD.encode(&bytes)).is_err());
        prop_assert!(FileMeta::open(&meta, &transfer, &file, &bytes).is_err());
        prop_assert!(open_runs(&meta, &transfer, &file, 0, &bytes).is_err());
        prop_assert!(open_digest_state(&meta, &transfer, &file, 0, &bytes).is_err());
    }

    #[test]
    fn fixed_blocks(block in any::<[u8; 29]>(), small in any::<[[u8; 2]; 3]>(), header in any::<[[u8; 8]; 5]>()) {
        let _ = PasswordBlock::from_bytes(&block);
        let mut near = [0; 29];
        near[0] = 1;
        for (place, value) in near[1..13].chunks_mut(4).zip(small) {
            place[2..].copy_from_slice(&value);
        }
        if let Ok(parsed) = PasswordBlock::from_bytes(&near) {
            prop_assert!(parsed.is_set() && parsed.as_bytes() == &near);
        }
        let header: [u8; 40] = header.concat().try_into().unwrap();
        prop_assert_eq!(Header::from_bytes(header).is_ok(), header[0] == 0x28);
    }
}

#[test]
fn a_kek_file_says_what_is_wrong_with_it() {
    let key = "ab".repeat(32);
    let error = |text: &str| KekRing::parse(text).unwrap_err().to_string();
    assert_eq!(error("# nothing\n\n"), "KEK file: it holds no key");
    assert_eq!(error(&format!("1 {key}\n1 {key}\n")), "KEK file: line 2 repeats version 1");
    for line in
        [format!("0 {key}"), format!("01 {key}"), format!("+1 {key}"), format!("-1 {key}"), key.clone()]
    {
        assert_eq!(error(&line), "KEK file: line 1 is not `<version> <64 hex digits>`");
    }
    assert!(error(&format!("4294967296 {key}")).contains("line 1"));
    let ring = KekRing::parse(&format!("  3\t{key}  \r\n1 {}\n", key.to_uppercase())).unwrap();
    assert_eq!((ring.current(), ring.versions().collect::<Vec<_>>()), (3, vec![1, 3]));
}
