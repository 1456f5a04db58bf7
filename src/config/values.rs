//! The values that settings take, as text.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::source::Source;
use crate::transfer::quota::{Limits, MOST};
pub use crate::transfer::rate::Rate;

/// A number of bytes: a whole number, alone or with kB, MB, GB, TB, KiB, MiB, GiB or TiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "it takes a size such as 500MiB or 5GiB";
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let scale: u64 = match unit.trim() {
            "" | "B" => 1,
            "kB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(form),
        };
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).map(Self).ok_or(form)
    }
}

/// What a team may hold that has no limits of its own: each a number, or none.
pub(super) fn quota(source: &mut Source) -> Limits {
    let fits = |number: &u64| (1..=MOST).contains(number);
    let mut number = |name, expected, read: fn(&str) -> Option<u64>| {
        let limit = |text: &str| {
            if text == "none" { Some(None) } else { read(text).filter(fits).map(Some) }
        };
        source.parsed(name, expected, limit).flatten()
    };
    Limits {
        bytes: number("QUOTA_BYTES", "a size such as 500MiB or 100GiB, or none", |text| {
            text.parse::<Size>().ok().map(|size| size.0)
        }),
        transfers: number("QUOTA_TRANSFERS", "a whole number of at least 1, or none", |text| {
            text.parse().ok()
        }),
        uploads: number("QUOTA_UPLOADS", "a whole number of at least 1, or none", |text| text.parse().ok()),
        ..Limits::default()
    }
}

/// Reads `200/s, burst 400`.
impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "it takes off, or such as \"200/s, burst 400\"";
        let mut parts = text.split(',').map(str::trim);
        let per_second: u32 = parts
            .next()
            .and_then(|part| part.strip_suffix("/s"))
            .and_then(|n| n.trim().parse().ok())
            .ok_or(form)?;
        let burst = match parts.next() {
            Some(part) => part.strip_prefix("burst").and_then(|n| n.trim().parse().ok()).ok_or(form)?,
            None => per_second.saturating_mul(2),
        };
        if per_second == 0 || burst == 0 || parts.next().is_some() {
            return Err(form);
        }
        Ok(Self { per_second, burst })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s, burst {}", self.per_second, self.burst)
    }
}

/// Where a Redis is, with user and password. Shown without the password.
#[derive(Clone)]
pub struct RedisUrl(Zeroizing<String>);

impl RedisUrl {
    /// A URL with one of the two schemes and a host.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"))?;
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let plain =
            !host.is_empty() && !host.starts_with(['/', ':']) && text.bytes().all(|b| b.is_ascii_graphic());
        plain.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The whole, with the password.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let Some((user, host)) = rest.rsplit_once('@') else { return f.write_str(&self.0) };
        let user = user.split_once(':').map_or(user, |(user, _)| user);
        write!(f, "{scheme}://{user}:***@{host}")
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// What a Redis must promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// What it answered is on its disk.
    Strict,
    /// It is a managed one; what a crash may undo is said in `/readyz`.
    Relaxed,
}

impl FromStr for Durability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "strict" => Ok(Self::Strict),
            "relaxed" => Ok(Self::Relaxed),
            _ => Err("it takes strict or relaxed"),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "strict",
            Self::Relaxed => "relaxed",
        })
    }
}

/// One of the workers that run beside the requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Worker {
    /// Keyspace notifications; with `SQLite` there are none, and the index's own timer does it.
    Listener,
    /// Ends what is due.
    Index,
    /// Finds orphaned objects.
    Sweep,
    /// Writes the audit log.
    Relay,
}

impl Worker {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Listener, "listener"),
        (Self::Index, "index"),
        (Self::Sweep, "sweep"),
        (Self::Relay, "relay"),
    ];
}

/// Which workers run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workers(Vec<Worker>);

impl Default for Workers {
    fn default() -> Self {
        Self(Worker::ALL.map(|(worker, _)| worker).to_vec())
    }
}

impl Workers {
    /// Whether this one runs.
    #[must_use]
    pub fn runs(&self, worker: Worker) -> bool {
        self.0.contains(&worker)
    }
}

impl FromStr for Workers {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "it takes a list out of listener, index, sweep and relay";
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words
            .map(|word| {
                Worker::ALL.iter().find(|(_, name)| *name == word).map(|(worker, _)| *worker).ok_or(form)
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Worker::ALL.iter().filter(|(worker, _)| self.runs(*worker)).map(|(_, name)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(","))
    }
}

/// The form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[must_use]
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it takes text or json"),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}
