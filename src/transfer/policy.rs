//! What a sender may ask for, in words, and what the operator allows (DESIGN §10 "Options").

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Timestamp;

/// How long a transfer lives from the moment it is Available.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expires {
    /// So many milliseconds.
    After(u64),
    /// Until this instant.
    At(Timestamp),
}

impl Expires {
    /// The deadline of a transfer that becomes Available at `now`.
    #[must_use]
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::After(millis) => now.after(Duration::from_millis(millis)),
            Self::At(deadline) => deadline,
        }
    }
}

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// For who asks for nothing (`BURNBAG_EXPIRES_DEFAULT`).
    pub expires_default: Duration,
    /// The longest (`BURNBAG_EXPIRES_MAX`).
    pub expires_max: Duration,
    /// Plaintext bytes of one file (`BURNBAG_MAX_UPLOAD_BYTES`); absent: no limit.
    pub max_upload_bytes: Option<u64>,
}

/// The most downloads that a link can be limited to.
pub const MAX_DOWNLOADS: u32 = 1_000_000;

/// The longest password, in bytes of UTF-8.
pub const MAX_PASSWORD: usize = 1024;

/// An option that cannot be taken. Never ignored, never clamped: a typo must not give an unprotected link.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OptionError {
    /// No such option.
    #[error("there is no option {0:?}; the options are expires, downloads and password")]
    Unknown(String),
    /// The value is not of the option's form or range.
    #[error("{field} is {expected}")]
    Invalid {
        /// The option.
        field: &'static str,
        /// What it takes.
        expected: String,
    },
    /// It was given twice with different values.
    #[error("{0} was given twice with different values")]
    Conflict(&'static str),
    /// It is longer than the operator allows.
    #[error("expires is at most {} here", words(*.0))]
    ExpiresTooLong(Duration),
    /// A deadline that is moved is past the latest instant that the operator allows.
    #[error("deadline is {0} at the latest here")]
    DeadlineTooLate(Timestamp),
}

impl OptionError {
    /// Of a password that cannot be one.
    #[must_use]
    pub fn password() -> Self {
        let expected = format!("1 to {MAX_PASSWORD} bytes of UTF-8 without control characters");
        Self::Invalid { field: "password", expected }
    }

    /// The option that it is about.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Unknown(name) => name,
            Self::Invalid { field, .. } | Self::Conflict(field) => field,
            Self::ExpiresTooLong(_) => "expires",
            Self::DeadlineTooLate(_) => "deadline",
        }
    }
}

/// The options of one transfer as they come in, from query, headers and fields.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Options {
    expires: Option<Expires>,
    downloads: Option<u32>,
    password: Option<Zeroizing<String>>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expires, downloads, password } = self;
        let password = &password.is_some();
        f.debug_struct("Options")
            .field("expires", expires)
            .field("downloads", downloads)
            .field("password", password)
            .finish()
    }
}

impl Options {
    /// Takes one option by its name and the text of its value.
    ///
    /// # Errors
    /// An unknown name, a value of another form, or a second, different value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        match name {
            "expires" => put(&mut self.expires, "expires", parse_expires(value)?),
            "downloads" => put(&mut self.downloads, "downloads", parse_downloads(value)?),
            "password" => put(&mut self.password, "password", parse_password(value)?),
            _ => Err(OptionError::Unknown(name.chars().take(64).collect())),
        }
    }

    /// Holds the options against what the operator allows.
    ///
    /// # Errors
    /// A deadline past the longest, or one that has come already.
    pub fn settle(&self, policy: &Policy, now: Timestamp) -> Result<Settled, OptionError> {
        let default = u64::try_from(policy.expires_default.as_millis()).unwrap_or(u64::MAX);
        let expires = self.expires.unwrap_or(Expires::After(default));
        let deadline = expires.from(now);
        if deadline <= now {
            let expected = "a time to live such as 90s, 2h or 7d, or an instant that is still to come";
            return Err(OptionError::Invalid { field: "expires", expected: expected.to_owned() });
        }
        if deadline > now.after(policy.expires_max) {
            return Err(OptionError::ExpiresTooLong(policy.expires_max));
        }
        Ok(Settled { expires, downloads: self.downloads, password: self.password.clone() })
    }

    /// Whether there is an option of this name.
    #[must_use]
    pub fn knows(name: &str) -> bool {
        ["expires", "downloads", "password"].contains(&name)
    }
}

fn put<T: PartialEq>(slot: &mut Option<T>, field: &'static str, value: T) -> Result<(), OptionError> {
    if slot.as_ref().is_some_and(|old| *old != value) {
        return Err(OptionError::Conflict(field));
    }
    *slot = Some(value);
    Ok(())
}

/// Options that the operator allows.
#[derive(Clone, PartialEq, Eq)]
pub struct Settled {
    /// How long it lives.
    pub expires: Expires,
    /// How many downloads its link is good for; absent: no limit.
    pub downloads: Option<u32>,
    /// What its link asks for; absent: nothing.
    pub password: Option<Zeroizing<String>>,
}

impl fmt::Debug for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expires, downloads, password } = self;
        let password = &password.is_some();
        f.debug_struct("Settled")
            .field("expires", expires)
            .field("downloads", downloads)
            .field("password", password)
            .finish()
    }
}

/// A time to live, or an instant.
///
/// # Errors
/// [`OptionError::Invalid`] for any other text, and for no time at all.
pub fn parse_expires(text: &str) -> Result<Expires, OptionError> {
    let invalid = || OptionError::Invalid {
        field: "expires",
        expected: "a time to live such as 90s, 2h or 7d, or an instant such as 2030-01-31T18:00:00Z"
            .to_owned(),
    };
    parse_end(text).ok_or_else(invalid)
}

/// A time to live in words, or an RFC 3339 instant. None for any other text.
#[must_use]
pub fn parse_end(text: &str) -> Option<Expires> {
    if let Ok(at) = text.parse() {
        return Some(Expires::At(at));
    }
    let life = parse_duration(text).filter(|life| !life.is_zero())?;
    u64::try_from(life.as_millis()).ok().map(Expires::After)
}

fn parse_downloads(text: &str) -> Result<u32, OptionError> {
    let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    number.filter(|number| (1..=MAX_DOWNLOADS).contains(number)).ok_or_else(|| OptionError::Invalid {
        field: "downloads",
        expected: format!("a whole number from 1 to {MAX_DOWNLOADS}"),
    })
}

/// A password, of a transfer's first link or of a further one. What was given is not in the error.
///
/// # Errors
/// It is empty, longer than [`MAX_PASSWORD`], or has a control character in it.
pub fn parse_password(text: &str) -> Result<Zeroizing<String>, OptionError> {
    if text.is_empty() || text.len() > MAX_PASSWORD || text.chars().any(char::is_control) {
        return Err(OptionError::password());
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// A duration in words: a whole number and one of `s`, `m`, `h`, `d`. None for any other text.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let unit = match text.bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    // Longer than any calendar: not a time to live.
    (seconds <= Timestamp::MAX.as_millis() / 1000).then(|| Duration::from_secs(seconds))
}

/// The shortest words for a duration of whole seconds: `90s`, `2h`, `7d`.
#[must_use]
pub fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (unit, name) = [(86_400, 'd'), (3600, 'h'), (60, 'm')]
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit))
        .unwrap_or((1, 's'));
    format!("{}{name}", seconds / unit)
}
