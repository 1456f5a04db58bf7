//! Account keys and request secrets, wrapped for a token: unwrapped by exactly what they were wrapped for.

use std::sync::LazyLock;

use burnbag::crypto::{
    AccountKey, KekRing, Token, TokenKind, open_account_key, open_request_secret, rewrap_account_key,
    wrap_account_key,
};

use super::input::{bytes, change, change_array, choose};

const ACCOUNT: [u8; 16] = [1; 16];
const ID: [u8; 16] = [2; 16];

struct Wrapped {
    old: KekRing,
    ring: KekRing,
    tokens: [Token; 2],
    proof: String,
    bytes: Vec<u8>,
}

fn proof(key: &AccountKey) -> String {
    key.owner_secret(&[3; 16]).to_text().to_string()
}

static WRAPPED: LazyLock<Wrapped> = LazyLock::new(|| {
    let first = format!("1 {}", "42".repeat(32));
    let old = KekRing::parse(&first).unwrap();
    let ring = KekRing::parse(&format!("{first}\n2 {}", "43".repeat(32))).unwrap();
    let tokens = [Token::generate(TokenKind::Usr), Token::generate(TokenKind::Svc)];
    let key = AccountKey::generate();
    let bytes = wrap_account_key(&old, &tokens[0], &ACCOUNT, &ID, &key);
    Wrapped { old, ring, proof: proof(&key), bytes, tokens }
});

pub fn run(data: &[u8]) {
    choose(data, |input| {
        let Wrapped { old, ring, tokens, proof: expected, bytes: wrapped } = &*WRAPPED;
        let (mut changed, mut account, mut id, mut token) = (wrapped.clone(), ACCOUNT, ID, &tokens[0]);
        match input.int_in_range(0..=4)? {
            0 => change(input, &mut changed)?,
            1 => change_array(input, &mut account)?,
            2 => change_array(input, &mut id)?,
            3 => token = &tokens[1],
            _ => changed = bytes(input, 200)?.to_vec(),
        }
        let place = changed == *wrapped && (account, id) == (ACCOUNT, ID);
        let same = place && std::ptr::eq(token, &raw const tokens[0]);
        let opened = open_account_key(old, token, &account, &id, &changed);
        assert_eq!(opened.as_ref().ok().map(proof).as_ref(), same.then_some(expected));
        assert_eq!(open_request_secret(old, token, &account, &id, &changed).is_ok(), same);
        let again = rewrap_account_key(ring, &account, &id, &changed);
        assert_eq!(again.is_ok(), place, "the server's layer alone needs no token");
        if let Ok(again) = again {
            assert!(open_account_key(old, token, &account, &id, &again).is_err(), "under the newer key");
            let opened = open_account_key(ring, token, &account, &id, &again);
            assert_eq!(opened.as_ref().ok().map(proof).as_ref(), same.then_some(expected));
        }
        Ok(())
    });
}
