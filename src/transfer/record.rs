//! A transfer as it is recorded: the core, which changes only by a [`Change`](super::Change).

use serde::{Deserialize, Serialize};

use super::id::{AccountId, BlobKey, FileId, LinkId, OperationId, TeamId, TransferId, base64_bytes};
use super::policy::Expires;
use crate::clock::Timestamp;

/// Where a transfer stands (DESIGN §4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Takes files; nothing can be fetched.
    Uploading,
    /// Whole, and waits for a scan or an approval.
    Held,
    /// Can be fetched until the deadline.
    Available,
    /// The keys are destroyed.
    Ended,
    /// The objects are confirmed gone.
    Purged,
}

impl State {
    /// The word in the API and in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Held => "held",
            Self::Available => "available",
            Self::Ended => "ended",
            Self::Purged => "purged",
        }
    }

    /// Slots exist only in these states.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Uploading | Self::Held | Self::Available)
    }
}

/// Why a transfer ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// Its deadline passed.
    Expired,
    /// Every download was used.
    Exhausted,
    /// Somebody ended it.
    Deleted,
    /// A scan or an approver refused it.
    Rejected,
    /// It was never finished.
    Abandoned,
}

impl EndReason {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Exhausted => "exhausted",
            Self::Deleted => "deleted",
            Self::Rejected => "rejected",
            Self::Abandoned => "abandoned",
        }
    }
}

/// The end of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// When the keys were destroyed.
    pub at: Timestamp,
    /// The state that it ended in.
    pub from: State,
}

/// How far a file is (DESIGN §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Its bytes are coming in.
    Running,
    /// Its last byte is durable.
    Whole,
    /// It broke, or was taken out; its objects go with the transfer.
    Dropped,
}

/// One object of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Object {
    /// Where it lies.
    pub key: BlobKey,
    /// Its length in the blob store, once it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// Bytes that only `crypto` can read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(#[serde(with = "base64_bytes")] pub Vec<u8>);

/// One named piece of a transfer. Its name, type and digest are sealed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct File {
    /// Its id.
    pub id: FileId,
    /// How far it is.
    pub state: FileState,
    /// Its objects, in order.
    pub objects: Vec<Object>,
    /// The sealed file of DESIGN §6.
    pub sealed: Sealed,
    /// The pages of sealed runs of DESIGN §6; empty until the file is whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Sealed>,
    /// Plaintext bytes, once whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl File {
    /// Whole or running: it holds its name.
    #[must_use]
    pub fn holds_name(&self) -> bool {
        self.state != FileState::Dropped
    }
}

/// The right to download a transfer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// Under which number the account key gives its secret again; absent: it cannot be shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How many downloads it is good for; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downloads: Option<u32>,
    /// Its own deadline, beside the transfer's: the earlier of the two holds ([`Transfer::slot_deadline`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// `pwb` of DESIGN §6; absent: no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Sealed>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// Its own deadline came, and its slot is destroyed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

impl Link {
    /// Not revoked, and before its own deadline.
    #[must_use]
    pub fn stands(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && !self.closed && self.deadline.is_none_or(|deadline| now < deadline)
    }
}

/// The recorded core of a transfer.
///
/// Reads are free; a change is a transition (`transfer/transitions.rs`), which consumes the record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transfer {
    pub(super) id: TransferId,
    pub(super) team: TeamId,
    pub(super) owner: AccountId,
    pub(super) version: u64,
    /// The last [`KEPT_OPERATIONS`] commits, newest last.
    pub(super) operations: Vec<OperationId>,
    pub(super) state: State,
    pub(super) created: Timestamp,
    pub(super) expires: Expires,
    pub(super) deadline: Timestamp,
    #[serde(with = "base64_bytes")]
    pub(super) commitment: [u8; 32],
    pub(super) files: Vec<File>,
    pub(super) links: Vec<Link>,
    pub(super) next_n: u32,
    /// Plaintext bytes that an upload holds of its team's quota; says nothing once the transfer was whole.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub(super) reserved: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<Ended>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) second_look: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) forget_at: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_nothing(bytes: &u64) -> bool {
    *bytes == 0
}

/// How many commits a record remembers, so that one can be sent again (DESIGN §4).
pub const KEPT_OPERATIONS: usize = 8;

impl Transfer {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> TransferId {
        self.id
    }

    /// The team that it belongs to.
    #[must_use]
    pub const fn team(&self) -> TeamId {
        self.team
    }

    /// The account that sent it.
    #[must_use]
    pub const fn owner(&self) -> AccountId {
        self.owner
    }

    /// Goes up by one with each commit; 1 after the first.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// When it was made.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// What the sender asked for.
    #[must_use]
    pub const fn expires(&self) -> Expires {
        self.expires
    }

    /// The instant after which no byte is served. Before Available: the hard end, creation + 7 days.
    #[must_use]
    pub const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// `E(T, "burnbag/v1/commit", transfer_id)` (DESIGN §6).
    #[must_use]
    pub const fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Every file, dropped ones too, in the order in which they were begun.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The files that can be fetched once the transfer is Available.
    pub fn whole_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.state == FileState::Whole)
    }

    /// The file with this id.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<&File> {
        self.files.iter().find(|file| file.id == id)
    }

    /// Every link, revoked ones too.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The link with this id.
    #[must_use]
    pub fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.iter().find(|link| link.id == id)
    }

    /// The number of the next link minted with the account key; it only grows.
    #[must_use]
    pub const fn next_n(&self) -> u32 {
        self.next_n
    }

    /// Plaintext bytes that were reserved for its upload.
    #[must_use]
    pub const fn reserved(&self) -> u64 {
        self.reserved
    }

    /// How it ended, if it did.
    #[must_use]
    pub const fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// When the objects of a purged transfer must be looked for once more.
    #[must_use]
    pub const fn second_look(&self) -> Option<Timestamp> {
        self.second_look
    }

    /// When the tombstone may go.
    #[must_use]
    pub const fn forget_at(&self) -> Option<Timestamp> {
        self.forget_at
    }

    /// Whether this commit is among the last that the record took.
    #[must_use]
    pub fn has_applied(&self, operation: OperationId) -> bool {
        self.operations.contains(&operation)
    }

    /// The deadline that the commit of Available at `now` sets.
    #[must_use]
    pub fn deadline_from(&self, now: Timestamp) -> Timestamp {
        self.expires.from(now)
    }

    /// Where every object lies that this transfer ever recorded.
    pub fn blob_keys(&self) -> impl Iterator<Item = &BlobKey> {
        self.files.iter().flat_map(|file| &file.objects).map(|object| &object.key)
    }

    /// Plaintext bytes of the whole files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.whole_files().filter_map(|file| file.size).fold(0, u64::saturating_add)
    }
}
