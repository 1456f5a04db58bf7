//! Where records live. `commit`, `lease` and `touch` are the only writing doors for a transfer (DESIGN §4).

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::transfer::access::{AccessChange, Account, Team, TokenRecord};
use crate::transfer::lease::{Counts, LeaseRefused, LeaseRequest, LeaseSummary, StreamRef};
use crate::transfer::quota::{Holding, QuotaExceeded, Usage};
use crate::transfer::rate::{Ask, Counted, Rate, Taken};
use crate::transfer::session::DeadSession;
use crate::transfer::tries::{Tried, TryAnswer};
use crate::transfer::{
    AccountId, Change, Event, Journal, LinkId, OperationId, SlotOwner, State, TeamId, TokenId, Touch,
    Transfer, TransferId,
};

pub mod redis;
pub mod sqlite;

/// Why the record store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The record changed since it was read: read again, decide again.
    #[error("the record changed meanwhile")]
    Conflict,
    /// There is no such record.
    #[error("there is no such record")]
    NotFound,
    /// The upload was ended, or a newer epoch took it over.
    #[error("the upload was ended or taken over")]
    TouchRefused,
    /// What the change would hold more of is past a limit that it must keep. Nothing was written.
    #[error(transparent)]
    QuotaExceeded(#[from] QuotaExceeded),
    /// No room is left.
    #[error("the record store is full: {0}")]
    Full(String),
    /// Another process holds it. Nothing was written.
    #[error("the record store is held by another process: {0}")]
    Locked(String),
    /// What it holds is damaged. Nothing more is written to it.
    #[error("the record store is damaged: {0}")]
    Damaged(String),
    /// It does not answer, or answers with an error. Whether a write was applied is not known: send it again under the
    /// same operation id.
    #[error("the record store failed: {0}")]
    Unavailable(String),
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unavailable(format!("a record is damaged: {error}"))
    }
}

/// A transfer with what stands beside its core.
#[derive(Clone, Debug)]
pub struct Record {
    /// The core.
    pub transfer: Transfer,
    /// The upload journal.
    pub journal: Journal,
    /// The counts of each link that was ever used.
    pub counts: Vec<(LinkId, Counts)>,
    /// Its open leases, in short.
    pub leases: LeaseSummary,
}

impl Record {
    /// The counts of one link.
    #[must_use]
    pub fn counts_of(&self, link: LinkId) -> Counts {
        self.counts.iter().find(|(id, _)| *id == link).map_or(Counts::default(), |(_, counts)| *counts)
    }
}

/// What opening a link needs, read in one step.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The transfer.
    pub record: Record,
    /// The link's slot; absent once the keys are destroyed.
    pub slot: Option<Vec<u8>>,
    /// The store's clock.
    pub now: Timestamp,
}

/// Which of the due transfers are claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// Those that end, and those whose objects must go.
    All,
    /// Only those that have not ended: there is no room for deletions.
    Live,
}

/// Transfers whose time has come.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The store's clock.
    pub now: Timestamp,
    /// Earliest first. Each comes back by itself if nothing is committed to it before the claim ends.
    pub transfers: Vec<(TeamId, TransferId)>,
}

/// A place in the due index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// When its turn comes. A claim or a pause between two attempts may have moved it on.
    pub due: Timestamp,
    /// The team.
    pub team: TeamId,
    /// The transfer.
    pub transfer: TransferId,
}

/// For what a store has room left.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum StoreRoom {
    /// For all.
    #[default]
    Enough,
    /// Not for new uploads; why.
    ForDownloads(String),
    /// Not for new downloads either; why.
    ForEnds(String),
}

/// What a store tells by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// It listens from now on; what came before is in the index.
    Again,
    /// The keys of this transfer expired.
    Expired(TransferId),
}

/// What happened to a lease operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseAnswer {
    /// The stream may send, under this lease.
    Opened(StreamRef),
    /// The stream may go on.
    Goes {
        /// The instant after which it may not: the deadline can have moved.
        until: Timestamp,
    },
    /// The settlement is recorded.
    Settled,
    /// The transfer has ended, the link is gone, or the lease is: the stream must stop.
    Stop,
    /// The stream may not begin.
    Refused(LeaseRefused),
    /// So many leases were ended.
    Ended(usize),
}

/// A token as it is needed to let its holder in, read in one step.
#[derive(Clone, Debug)]
pub struct Login {
    /// The token.
    pub token: TokenRecord,
    /// Its account.
    pub account: Account,
    /// Its team.
    pub team: Team,
    /// The store's clock.
    pub now: Timestamp,
}

/// One entry of the outbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboxEntry {
    /// Dense from 1, in the order of commits; never used again.
    pub seq: u64,
    /// What happened.
    pub event: Event,
}

/// How long the outbox is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OutboxLength {
    /// Entries not yet trimmed.
    pub entries: u64,
    /// The number of the last event that was ever written; 0 before the first.
    pub last: u64,
}

/// The store of records. Implementations: `SQLite`, Redis.
///
/// A call for a transfer cannot be made without its team. A write is all or nothing and durable when it returns; dropped
/// half-way it may still be applied, and can be sent again under the same operation id.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// Into how many parts the store is divided, each with a due index, an outbox and a numbering of its own.
    fn shards(&self) -> u8 {
        1
    }

    /// What an operator should know of this store, a line each, for anybody to read: what a crash may undo, what does not
    /// work as it should.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// For what it has room left. What ends makes room.
    async fn room(&self) -> Result<StoreRoom, StoreError> {
        Ok(StoreRoom::Enough)
    }

    /// The store's clock.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// A value of the store's own: `store-id`, `log-id`, `kek-check:<version>`.
    async fn meta(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Writes a value of the store's own where there is none, and returns what is there after that.
    async fn set_meta(&self, name: &str, value: &str) -> Result<String, StoreError>;

    /// One transfer.
    async fn transfer(&self, team: TeamId, id: TransferId) -> Result<Option<Record>, StoreError>;

    /// [`RecordStore::transfer`] for a batch, read together: an answer each, in order; a record that cannot be read fails alone.
    async fn transfers(
        &self,
        which: Vec<(TeamId, TransferId)>,
    ) -> Result<Vec<Result<Option<Record>, StoreError>>, StoreError>;

    /// The transfer that a link opens, with that link's slot.
    async fn opening(&self, link: LinkId) -> Result<Option<Opening>, StoreError>;

    /// One slot.
    async fn slot(
        &self,
        team: TeamId,
        id: TransferId,
        owner: SlotOwner,
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// Applies a change: core, slots, due index, what the team uses and events in one atomic step. Sent again it answers that it
    /// is applied.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the version is another, or the store refuses (a tombstone with an open lease);
    /// [`StoreError::QuotaExceeded`] by [`Usage::moved`].
    async fn commit(&self, change: Change) -> Result<(), StoreError>;

    /// [`RecordStore::commit`] for a batch: an answer each, in order; each is whole or nothing by itself.
    async fn commit_all(&self, changes: Vec<Change>) -> Vec<Result<(), StoreError>>;

    /// Takes, renews or settles a lease by the rules of [`crate::transfer::lease`], decided and written in one atomic step.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`]; a refusal is an answer.
    async fn lease(&self, request: LeaseRequest) -> Result<LeaseAnswer, StoreError>;

    /// Takes a try by the rules of [`crate::transfer::tries`], decided and written in one atomic step. Sent again under the same
    /// id it is the same try.
    async fn take_try(&self, of: &Tried, id: OperationId) -> Result<TryAnswer, StoreError>;

    /// Gives a try back: this one, and no other. Sent again it changes nothing.
    async fn give_back_try(&self, of: &Tried, id: OperationId) -> Result<(), StoreError>;

    /// How many tries failed of each of these links of the team's, in order.
    async fn failed_tries(&self, team: TeamId, links: &[LinkId]) -> Result<Vec<u32>, StoreError>;

    /// Forgets what failed of a link, and tells it by `event`; where nothing did, neither.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the link is none of this transfer of the team's.
    async fn forget_tries(
        &self,
        team: TeamId,
        transfer: TransferId,
        link: LinkId,
        event: Event,
    ) -> Result<(), StoreError>;

    /// Writes to the upload journal.
    ///
    /// # Errors
    /// [`StoreError::TouchRefused`].
    async fn touch(&self, touch: Touch) -> Result<(), StoreError>;

    /// Up to `limit` transfers of a shard that are due, earliest first, each put off for `lease` so that nobody else takes it.
    async fn claim(
        &self,
        shard: u8,
        what: Claim,
        limit: usize,
        lease: std::time::Duration,
    ) -> Result<Claimed, StoreError>;

    /// [`RecordStore::claim`] of these, as far as they are due.
    async fn claim_these(
        &self,
        shard: u8,
        what: Claim,
        ids: &[TransferId],
        lease: std::time::Duration,
    ) -> Result<Claimed, StoreError>;

    /// Tells which keys of a shard expire, for as long as anybody listens; a lost connection is made anew. Ends at once where the store
    /// has no such signal. What cannot be told is left out: the index has it.
    async fn listen(&self, shard: u8, tell: tokio::sync::mpsc::Sender<Heard>) {
        let _ = (shard, tell);
    }

    /// Puts the purge of an ended transfer off until `at`, and counts the attempt. Where nothing is left to purge it
    /// changes nothing.
    async fn retry(&self, team: TeamId, id: TransferId, at: Timestamp) -> Result<(), StoreError>;

    /// The earliest instant in the due index of a shard.
    async fn next_due(&self, shard: u8) -> Result<Option<Timestamp>, StoreError>;

    /// Up to `limit` places of the due index that are not after `until`, earliest first, claimed ones among them. Claims
    /// nothing.
    async fn front(&self, until: Timestamp, limit: usize) -> Result<Vec<Place>, StoreError>;

    /// Adds events that belong to no change, to the outbox of shard 0: refusals, what the sweep did. Sent again, an id that is there changes nothing.
    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError>;

    /// Up to `limit` events after `after`, in order.
    async fn outbox(&self, shard: u8, after: u64, limit: usize) -> Result<Vec<OutboxEntry>, StoreError>;

    /// Drops the events up to `seq`, which are in the log.
    async fn trim(&self, shard: u8, seq: u64) -> Result<(), StoreError>;

    /// How long the outbox is.
    async fn outbox_length(&self, shard: u8) -> Result<OutboxLength, StoreError>;

    /// Numbers of events go on after `to`; events with numbers up to that are dropped, and `events` are added anew. For a
    /// store that went back to an older state than the log has.
    async fn roll_forward(&self, shard: u8, to: u64, events: Vec<Event>) -> Result<(), StoreError>;

    /// Those of these transfers that are there, with their teams. For the relay alone: whoever asks for others has a team.
    async fn teams(&self, ids: &[TransferId]) -> Result<Vec<(TeamId, TransferId)>, StoreError>;

    /// Where these transfers stand, in order; absent: there is no such record. For the sweep.
    async fn states(&self, ids: &[TransferId]) -> Result<Vec<Option<State>>, StoreError>;

    /// The token with this hash, with its account and team.
    async fn login(&self, hash: [u8; 32]) -> Result<Option<Login>, StoreError>;

    /// Notes that a token was used.
    async fn used(&self, token: TokenId, at: Timestamp) -> Result<(), StoreError>;

    /// Takes requests from a limit that holds for all who serve from this store, by the rules of [`crate::transfer::rate`]. In a full
    /// store too: what makes room is counted as well. Nothing of it is durable.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; a refusal is an answer.
    async fn take(&self, of: Counted, rate: Rate, ask: Ask) -> Result<Taken, StoreError>;

    /// A team. One that was removed is none, here and below.
    async fn team(&self, id: TeamId) -> Result<Option<Team>, StoreError>;

    /// Every team, by name.
    async fn all_teams(&self) -> Result<Vec<Team>, StoreError>;

    /// An account by its name. For the operator alone: whoever asks for others has a team. One that was removed is none, here and
    /// below.
    async fn account(&self, name: &str) -> Result<Option<Account>, StoreError>;

    /// Every account, by name. For the operator alone.
    async fn accounts(&self) -> Result<Vec<Account>, StoreError>;

    /// An account of a team.
    async fn account_of(&self, team: TeamId, id: AccountId) -> Result<Option<Account>, StoreError>;

    /// The accounts of a team, by name.
    async fn accounts_of(&self, team: TeamId) -> Result<Vec<Account>, StoreError>;

    /// A token of an account of a team, be it revoked.
    async fn token_of(&self, team: TeamId, id: TokenId) -> Result<Option<TokenRecord>, StoreError>;

    /// The tokens of an account of a team, oldest first, revoked ones too.
    async fn tokens(&self, team: TeamId, account: AccountId) -> Result<Vec<TokenRecord>, StoreError>;

    /// How many live transfers an account owns.
    async fn live_transfers(&self, team: TeamId, account: AccountId) -> Result<u64, StoreError>;

    /// Drops the records of sessions that are over. What is not there is passed over.
    async fn forget_sessions(&self, dead: Vec<DeadSession>) -> Result<(), StoreError>;

    /// What a team uses, as it was counted.
    async fn usage(&self, team: TeamId) -> Result<Usage, StoreError>;

    /// Writes what a team uses, if nothing of it moved since `moves`; false if it did. For `burnbag doctor` alone.
    async fn set_usage(&self, team: TeamId, moves: u64, held: Holding) -> Result<bool, StoreError>;

    /// Up to `limit` transfers of a team that are older than `before`, newest first, tombstones among them.
    async fn list(
        &self,
        team: TeamId,
        before: Option<TransferId>,
        limit: usize,
    ) -> Result<Vec<TransferId>, StoreError>;

    /// Applies a change of teams, accounts and tokens with its events in one atomic step. Sent again it answers that it is applied.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if one of its parts has another version, or its name is another's.
    async fn commit_access(&self, change: AccessChange) -> Result<(), StoreError>;
}
