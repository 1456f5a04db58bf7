//! Tokens: one text each, and the checksum finds a typo.

use burnbag::crypto::{Token, TokenKind};

use super::input::{change, choose};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
    }
    choose(data, |input| {
        let (kind, prefix) = *input.choose(&[
            (TokenKind::Usr, "bb_usr_"),
            (TokenKind::Svc, "bb_svc_"),
            (TokenKind::Ses, "bb_ses_"),
        ])?;
        let mut text = prefix.to_owned();
        for _ in 0..30 {
            text.push(char::from(*input.choose(ALPHABET)?));
        }
        text.push_str(&checksum(text.as_bytes()));
        let token = Token::parse(&text).expect("a text of the right form with its checksum");
        assert_eq!((token.kind(), token.text()), (kind, text.as_str()));
        let mut bytes = text.clone().into_bytes();
        change(input, &mut bytes)?;
        let Ok(changed) = std::str::from_utf8(&bytes) else { return Ok(()) };
        check(changed);
        let differ = text.bytes().zip(changed.bytes()).filter(|(a, b)| a != b).count();
        if changed.len() == text.len() && differ == 1 {
            assert!(!Token::looks_like(changed), "one wrong character is always found");
        }
        Ok(())
    });
}

fn check(text: &str) {
    let token = Token::parse(text);
    assert_eq!(token.is_some(), Token::looks_like(text));
    if let Some(token) = token {
        assert_eq!(token.text(), text);
        assert_eq!((text.len(), text.is_ascii()), (43, true));
        assert_eq!(checksum(&text.as_bytes()[..37]), text[37..]);
    }
}

/// CRC32 (IEEE), bit by bit, in six digits to the base 62.
fn checksum(body: &[u8]) -> String {
    let mut crc = !0_u32;
    for byte in body {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut rest = !crc;
    let mut digits = [0; 6];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits.map(char::from).iter().collect()
}
