//! What a team may hold, and what it holds (DESIGN §11 "Quotas").

use serde::{Deserialize, Serialize};

/// The highest number that a limit can be: every store keeps all up to it exactly.
pub const MAX_LIMIT: u64 = (1 << 53) - 1;

/// A limit that is set, or taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewLimit(Option<u64>);

impl NewLimit {
    /// No limit of the team's own.
    pub const NONE: Self = Self(None);

    /// None for 0 and for what is above [`MAX_LIMIT`].
    #[must_use]
    pub fn of(number: u64) -> Option<Self> {
        (1..=MAX_LIMIT).contains(&number).then_some(Self(Some(number)))
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
