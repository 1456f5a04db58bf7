//! Tickets, the text of a cookie: what was sealed comes back, and no other text opens.

use std::sync::LazyLock;

use burnbag::crypto::{KekRing, LinkSecret, PasswordKey, Ticket};

use super::input::{bytes, change, choose};

static RING: LazyLock<KekRing> = LazyLock::new(|| KekRing::parse(&format!("1 {}", "42".repeat(32))).unwrap());

/// It never sealed anything: the fuzzer learns what is compared, and would send back what was sealed.
static OTHER: LazyLock<KekRing> =
    LazyLock::new(|| KekRing::parse(&format!("1 {}", "41".repeat(32))).unwrap());

static TEXT: LazyLock<String> =
    LazyLock::new(|| ticket([1; 16], [2; 16], [3; 16], 4).seal(&RING).to_string());

fn ticket(transfer: [u8; 16], link: [u8; 16], owner: [u8; 16], until_ms: u64) -> Ticket {
    let secret = LinkSecret::parse(&"A".repeat(43)).unwrap();
    Ticket { transfer, link, owner, until_ms, secret, password: PasswordKey::none() }
}

pub fn run(data: &[u8]) {
    choose(data, |input| {
        match input.int_in_range(0..=2)? {
            0 => {
                let said = (input.arbitrary()?, input.arbitrary()?, input.arbitrary()?, input.arbitrary()?);
                let text = ticket(said.0, said.1, said.2, said.3).seal(&RING);
                let read = Ticket::open(&RING, &text).unwrap();
                assert_eq!((read.transfer, read.link, read.owner, read.until_ms), said);
                assert_eq!(*read.secret.to_text(), "A".repeat(43));
                assert!(
                    text.len() == 231
                        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
                );
            }
            1 => {
                let mut text = TEXT.clone().into_bytes();
                change(input, &mut text)?;
                if let Ok(text) = std::str::from_utf8(&text) {
                    assert_eq!(Ticket::open(&RING, text).is_ok(), *text == **TEXT, "one text a ticket");
                }
            }
            _ => {
                let text = String::from_utf8_lossy(bytes(input, 300)?);
                assert!(Ticket::open(&OTHER, &text).is_err());
            }
        }
        Ok(())
    });
}
