//! The options of a sender, in query and headers: taken as they were meant or refused, in whatever order.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use burnbag::clock::Timestamp;
use burnbag::http::options::{options, query, refuse_secrets};
use burnbag::transfer::policy::{Expires, MAX_DOWNLOADS, Options, Policy};

use super::input::{bytes, choose, rarely};

const NOW: Timestamp = Timestamp::from_millis(1_900_000_000_000);
const POLICY: Policy = Policy {
    expires_default: Duration::from_hours(24),
    expires_max: Duration::from_hours(168),
    max_upload_bytes: None,
};

pub fn run(data: &[u8]) {
    choose(data, |input| {
        let mut headers = HeaderMap::new();
        for name in ["burnbag-expires", "burnbag-downloads", "burnbag-password"] {
            if rarely(input, 4)?
                && let Ok(value) = HeaderValue::from_bytes(bytes(input, 40)?)
            {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        let rest = bytes(input, input.len())?;
        let Ok(uri) = Uri::try_from([b"/f?", rest].concat()) else { return Ok(()) };
        let pairs: Vec<_> = query(&uri).collect();
        let is_secret = pairs.iter().any(|(name, _)| {
            let name = name.to_ascii_lowercase();
            ["password", "secret", "token", "ticket"].iter().any(|secret| name == *secret)
        });
        assert!(!is_secret || refuse_secrets(&uri).is_err());
        let taken = options(&uri, &headers).ok();
        let mut reversed = Options::default();
        let headers_first: Result<(), ()> = headers
            .iter()
            .map(|(name, value)| {
                let name = &name.as_str()["burnbag-".len()..];
                let text = if name == "password" {
                    std::str::from_utf8(value.as_bytes()).ok()
                } else {
                    value.to_str().ok().map(str::trim)
                };
                (name.to_owned(), text)
            })
            .try_for_each(|(name, value)| reversed.set(&name, value.ok_or(())?).map_err(|_| ()))
            .and_then(|()| {
                let mut pairs = pairs.iter().rev();
                pairs.try_for_each(
                    |(n, v)| if n == "password" { Err(()) } else { reversed.set(n, v).map_err(|_| ()) },
                )
            });
        assert_eq!(taken, headers_first.ok().map(|()| reversed), "the order does not matter");
        let Some(taken) = taken else { return Ok(()) };
        assert!(pairs.iter().all(|(name, _)| name == "expires" || name == "downloads"));
        assert!(!format!("{taken:?}").contains("Zeroizing"), "a password is not shown");
        if let Ok(settled) = taken.settle(&POLICY, NOW) {
            let deadline = settled.expires.from(NOW);
            assert!(deadline > NOW && deadline <= NOW.after(POLICY.expires_max));
            let given = headers.get("burnbag-password").map(HeaderValue::as_bytes);
            assert_eq!(settled.password.as_ref().map(|password| password.as_bytes()), given);
            assert!(settled.downloads.is_none_or(|number| (1..=MAX_DOWNLOADS).contains(&number)));
            assert!(pairs.len() + headers.len() > 0 || settled.expires == Expires::After(86_400_000));
        }
        Ok(())
    });
}
