//! Link secrets and request secrets: one text each, also where a link was pasted whole.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use burnbag::crypto::{LinkSecret, RequestSecret};
use burnbag::http::pages::pasted_secret;
use burnbag::service::Proof;

use super::input::{change, choose};

pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
    }
    choose(data, |input| {
        let secret: [u8; 32] = input.arbitrary()?;
        let text = BASE64_URL_SAFE_NO_PAD.encode(secret);
        let parsed = LinkSecret::parse(&text).expect("43 characters of base64url");
        assert_eq!(*parsed.to_text(), text);
        let shard = input.arbitrary()?;
        let mut link = parsed.link_id(shard);
        assert!(link[0] == shard && parsed.proves(&link));
        link[15] ^= 1;
        assert!(!parsed.proves(&link));
        assert_eq!(pasted_secret(&format!(" https://host/d/00#{text}\n")), text);
        let mut bytes = text.into_bytes();
        change(input, &mut bytes)?;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            check(text);
        }
        Ok(())
    });
}

fn check(text: &str) {
    let parsed = LinkSecret::parse(text);
    assert_eq!(parsed.is_some(), Proof::parse(text).is_some());
    assert_eq!(parsed.is_some(), RequestSecret::parse(text).is_some());
    if let Some(secret) = parsed {
        assert_eq!(*secret.to_text(), text, "canonical or nothing");
        assert!(text.len() == 43 && pasted_secret(text) == text);
    }
    let pasted = pasted_secret(text);
    assert!(text.contains(pasted) && !pasted.contains('#') && pasted.trim() == pasted);
}
