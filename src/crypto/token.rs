//! Access tokens: `bb_<kind>_<30 random base62 characters><6 base62 characters of CRC32>`.
//!
//! The checksum lets a typo, or a secret scanner, be answered without a look-up; it protects nothing.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::secret::{Secret, fill_random};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFIX: usize = "bb_usr_".len();
const SECRET: usize = 30;
const CHECKSUM: usize = 6;

/// Who bears a token (DESIGN §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A person.
    Usr,
    /// A service.
    Svc,
    /// A browser session.
    Ses,
}

impl TokenKind {
    const ALL: [Self; 3] = [Self::Usr, Self::Svc, Self::Ses];

    fn prefix(self) -> &'static str {
        match self {
            Self::Usr => "bb_usr_",
            Self::Svc => "bb_svc_",
            Self::Ses => "bb_ses_",
        }
    }
}

/// A token's text, 43 characters: shown once, stored only as its [`hash`](Self::hash).
pub struct Token {
    kind: TokenKind,
    text: Zeroizing<String>,
}

impl Token {
    /// Draws a new token from the kernel: 178 bits.
    #[must_use]
    pub fn generate(kind: TokenKind) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX + SECRET + CHECKSUM));
        text.push_str(kind.prefix());
        let mut pool = Secret::<64>::zeroed();
        while text.len() < PREFIX + SECRET {
            fill_random(pool.bytes_mut());
            // 248 = 4 * 62: a byte above would make some characters likelier than others.
            let drawn = pool.bytes().iter().filter(|byte| **byte < 248);
            let room = PREFIX + SECRET - text.len();
            text.extend(drawn.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])).take(room));
        }
        let sum = checksum(text.as_bytes());
        text.extend(sum.map(char::from));
        Self { kind, text }
    }

    /// `None` for anything but the exact form with the right checksum. Says nothing of whether it is valid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let kind = TokenKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))?;
        let (body, sum) = text.as_bytes().split_last_chunk::<CHECKSUM>()?;
        let secret = body.get(PREFIX..).filter(|secret| secret.len() == SECRET)?;
        let formed = secret.iter().all(u8::is_ascii_alphanumeric) && checksum(body) == *sum;
        formed.then(|| Self { kind, text: Zeroizing::new(text.to_owned()) })
    }

    /// Whether a text has a token's form and checksum: then it is one, wherever it stands (DESIGN §10).
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        Self::parse(text).is_some()
    }

    /// The whole token: a secret.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the whole: the name under which the record store keeps the token.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }

    /// As its prefix says.
    #[must_use]
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// `s` of DESIGN §6.
    pub(super) fn secret(&self) -> &[u8] {
        &self.text.as_bytes()[PREFIX..PREFIX + SECRET]
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}..)", self.kind.prefix())
    }
}

/// CRC32 (IEEE) as six base62 digits, zero-padded.
fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let mut rest = crc32fast::hash(body);
    let mut digits = [0; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}
