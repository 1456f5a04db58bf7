//! What a team may hold, and what it holds (DESIGN §11 "Quotas").

use serde::{Deserialize, Serialize};

use super::record::{State, Transfer};

/// A limit that is set, or taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewLimit(Option<u64>);

impl NewLimit {
    /// No limit of the team's own.
    pub const NONE: Self = Self(None);

    /// None for 0 and for what is above [`MOST`].
    #[must_use]
    pub fn of(number: u64) -> Option<Self> {
        (1..=MOST).contains(&number).then_some(Self(Some(number)))
    }
}

/// Which limits become others. Absent: it stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "as in Limits")]
pub struct LimitsChange {
    pub bytes: Option<NewLimit>,
    pub transfers: Option<NewLimit>,
    pub uploads: Option<NewLimit>,
    pub file_bytes: Option<NewLimit>,
    pub expires: Option<NewLimit>,
}

impl LimitsChange {
    /// The limits after it.
    #[must_use]
    pub fn of(self, old: Limits) -> Limits {
        let new = |new: Option<NewLimit>, old| new.map_or(old, |NewLimit(limit)| limit);
        Limits {
            bytes: new(self.bytes, old.bytes),
            transfers: new(self.transfers, old.transfers),
            uploads: new(self.uploads, old.uploads),
            file_bytes: new(self.file_bytes, old.file_bytes),
            expires: new(self.expires, old.expires),
        }
    }
}

/// What a team may hold; absent: what the operator set for all teams, or no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes stored, those reserved for uploads under way among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Live transfers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfers: Option<u64>,
    /// Transfers that are being uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploads: Option<u64>,
    /// Plaintext bytes of one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// The longest time to live, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// What a quota counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantity {
    /// Bytes stored or reserved.
    Bytes,
    /// Live transfers.
    Transfers,
    /// Transfers that are being uploaded.
    Uploads,
}

impl Quantity {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Bytes, Self::Transfers, Self::Uploads];

    /// The word in the API and in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Transfers => "transfers",
            Self::Uploads => "uploads",
        }
    }
}

/// The highest limit, and the most that may be held where there is none: every store keeps all up to it exactly.
pub const MOST: u64 = (1 << 53) - 1;

/// What is reserved at a time for an upload that does not say how much will come, in bytes.
pub const STEP: u64 = 1 << 30;

impl Limits {
    /// These, and where they say nothing the operator's. A file is never larger and lives never longer than the operator allows.
    #[must_use]
    pub fn or(self, operator: Self) -> Self {
        let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Self {
            bytes: self.bytes.or(operator.bytes),
            transfers: self.transfers.or(operator.transfers),
            uploads: self.uploads.or(operator.uploads),
            file_bytes: least(self.file_bytes, operator.file_bytes),
            expires: least(self.expires, operator.expires),
        }
    }

    /// How much may be held.
    #[must_use]
    pub const fn of(&self, what: Quantity) -> Option<u64> {
        match what {
            Quantity::Bytes => self.bytes,
            Quantity::Transfers => self.transfers,
            Quantity::Uploads => self.uploads,
        }
    }

    /// The most that may be held, in numbers that are exact everywhere.
    #[must_use]
    pub fn most(&self, what: Quantity) -> u64 {
        self.of(what).unwrap_or(MOST).min(MOST)
    }
}

/// What one transfer holds of its team's quota, or all transfers of a team together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holding {
    /// Plaintext bytes, stored or reserved.
    pub bytes: u64,
    /// Live transfers.
    pub transfers: u64,
    /// Transfers that are being uploaded.
    pub uploads: u64,
}

impl Holding {
    /// How much of it.
    #[must_use]
    pub const fn of(&self, what: Quantity) -> u64 {
        match what {
            Quantity::Bytes => self.bytes,
            Quantity::Transfers => self.transfers,
            Quantity::Uploads => self.uploads,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            transfers: self.transfers.saturating_add(other.transfers),
            uploads: self.uploads.saturating_add(other.uploads),
        }
    }

    /// What is left without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            transfers: self.transfers.saturating_sub(other.transfers),
            uploads: self.uploads.saturating_sub(other.uploads),
        }
    }
}

/// What a team uses, as it is counted with each commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// What its transfers hold together.
    pub held: Holding,
    /// Goes up by one with each commit that moves any of it.
    pub moves: u64,
}

/// A change would take a team past what it may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the team holds {used} of the {limit} {} that it may hold", .what.as_str())]
pub struct QuotaExceeded {
    /// Of what.
    pub what: Quantity,
    /// The most.
    pub limit: u64,
    /// What is held now.
    pub used: u64,
}

impl Usage {
    /// The usage after a transfer held `before` and holds `after`. With limits, what grows is held against them; what shrinks
    /// never is.
    ///
    /// # Errors
    /// A limit would be passed.
    pub fn moved(
        self,
        before: Holding,
        after: Holding,
        limits: Option<&Limits>,
    ) -> Result<Self, QuotaExceeded> {
        if before == after {
            return Ok(self);
        }
        let held = self.held.without(before).and(after);
        if let Some(limits) = limits {
            for what in Quantity::ALL {
                let limit = limits.most(what);
                if after.of(what) > before.of(what) && held.of(what) > limit {
                    return Err(QuotaExceeded { what, limit, used: self.held.of(what) });
                }
            }
        }
        Ok(Self { held, moves: self.moves.saturating_add(1) })
    }
}

impl Transfer {
    /// What it holds of its team's quota, by its record alone. An ended one holds its bytes until they are confirmed gone, and
    /// one that was never whole holds what was reserved for it.
    #[must_use]
    pub fn holding(&self) -> Holding {
        let whole = self.bytes();
        match self.state {
            State::Uploading => Holding { bytes: self.reserved, transfers: 1, uploads: 1 },
            State::Held | State::Available => Holding { bytes: whole, transfers: 1, uploads: 0 },
            State::Ended => {
                let unfinished = self.ended.is_some_and(|ended| ended.from == State::Uploading);
                let bytes = if unfinished { self.reserved } else { whole };
                Holding { bytes, ..Holding::default() }
            }
            State::Purged => Holding::default(),
        }
    }
}
