//! The credentials of a request: `Authorization` of any form, and the ticket and the session among the cookies.

use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use burnbag::http::extract::{Offered, SESSION, TICKET, offered, session_cookie, ticket_cookie};
use burnbag::service::is_token;

use super::input::{bytes, choose, rarely, text};

/// Of a token's form and checksum; nobody's.
const TOKEN: &str = "bb_usr_00000000000000000000000000000007Hffv";

pub fn run(data: &[u8]) {
    choose(data, |input| {
        let mut headers = HeaderMap::new();
        match input.int_in_range(0..=2)? {
            0 => {
                let part = |input: &mut arbitrary::Unstructured<'_>| {
                    if rarely(input, 8)? { Ok(TOKEN.to_owned()) } else { text(input, 120) }
                };
                let (user, password) = (part(input)?.replace(':', "."), part(input)?);
                let scheme = *input.choose(&["Basic ", "basic ", "BASIC  "])?;
                let said = BASE64_STANDARD.encode(format!("{user}:{password}"));
                headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("{scheme}{said}")).unwrap());
                match offered(&headers) {
                    Offered::Token(token) if is_token(&password) => assert_eq!(*token, password),
                    Offered::Token(token) => assert!(*token == user && is_token(&user)),
                    Offered::Basic(found) => {
                        assert!(*found == password && !is_token(&user) && !is_token(&password));
                    }
                    Offered::Nothing | Offered::Other => panic!("{user:?}:{password:?} was not read"),
                }
            }
            1 => {
                for _ in 0..input.int_in_range(0..=2)? {
                    let scheme: &[u8] =
                        input.choose(&[&b"Basic "[..], b"Bearer ", b"Basic", b"Bearer", b""])?;
                    let value = [scheme, bytes(input, 300)?].concat();
                    if let Ok(value) = HeaderValue::from_bytes(&value) {
                        headers.append(AUTHORIZATION, value);
                    }
                }
                match offered(&headers) {
                    Offered::Nothing => assert!(headers.is_empty()),
                    Offered::Basic(password) => assert!(!is_token(&password)),
                    Offered::Token(_) | Offered::Other => assert!(!headers.is_empty()),
                }
            }
            _ => {
                for _ in 0..input.int_in_range(0..=2)? {
                    let name: &[u8] =
                        input.choose(&[TICKET.as_bytes(), b"a", b"", b"; ", SESSION.as_bytes()])?;
                    let value = [bytes(input, 40)?, name, b"=", bytes(input, 300)?].concat();
                    if let Ok(value) = HeaderValue::from_bytes(&value) {
                        headers.append(COOKIE, value);
                    }
                }
                let found = [(TICKET, ticket_cookie(&headers)), (SESSION, session_cookie(&headers))];
                for (name, value) in found {
                    let Some(value) = value else { continue };
                    assert!(!value.contains(';') && value.is_ascii());
                    let named = format!("{name}={value}");
                    assert!(
                        headers
                            .get_all(COOKIE)
                            .iter()
                            .any(|line| line.to_str().is_ok_and(|l| l.contains(&named)))
                    );
                }
            }
        }
        Ok(())
    });
}
