//! The record store, measured.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::{Clock, Timestamp};
use crate::metrics::{Metrics, Store};
use crate::storage::records::{
    Claim, Claimed, Heard, LeaseAnswer, Login, Opening, OutboxEntry, OutboxLength, Place, Record,
    RecordStore, StoreError, StoreRoom,
};
use crate::transfer::access::{AccessChange, Account, Team, TokenRecord};
use crate::transfer::lease::{LeaseOp, LeaseRequest};
use crate::transfer::quota::{Holding, Usage};
use crate::transfer::rate::{Ask, Counted, Rate, Taken};
use crate::transfer::session::DeadSession;
use crate::transfer::tries::{Tried, TryAnswer};
use crate::transfer::{
    AccountId, Change, EndReason, Event, EventType, LinkId, OperationId, SlotOwner, State, TeamId, TokenId,
    Touch, Transfer, TransferId,
};

/// A record store whose calls are timed, and whose ends and deletions are counted.
pub struct MeasuredRecords {
    inner: Arc<dyn RecordStore>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// What a change does that is counted once it is committed.
enum Told {
    Nothing,
    Ended {
        reason: EndReason,
        /// The deadline that it was for.
        deadline: Option<Timestamp>,
    },
    Deleted {
        /// Since when the objects should have been gone.
        since: Timestamp,
    },
}

impl Told {
    fn of(change: &Change) -> Self {
        let Some(ended) = change.record().ended() else { return Self::Nothing };
        let deadline = of_deadline(change.record());
        let has = |kinds: &[EventType]| change.events().iter().any(|event| kinds.contains(&event.kind));
        if has(&[EventType::TransferPurged]) {
            Self::Deleted { since: deadline.unwrap_or(ended.at) }
        } else if has(&[
            EventType::TransferExpired,
            EventType::TransferExhausted,
            EventType::TransferDeleted,
            EventType::TransferRejected,
            EventType::TransferAbandoned,
        ]) {
            Self::Ended { reason: ended.reason, deadline }
        } else {
            Self::Nothing
        }
    }
}

/// The deadline that ended it. One that passed while it was being sent is late for nobody: there was nothing to fetch.
fn of_deadline(transfer: &Transfer) -> Option<Timestamp> {
    let ended = transfer.ended()?;
    (ended.reason == EndReason::Expired && ended.from != State::Uploading).then(|| transfer.deadline())
}

const fn word(error: &StoreError) -> &'static str {
    match error {
        StoreError::Conflict => "conflict",
        StoreError::NotFound => "not_found",
        StoreError::TouchRefused => "touch_refused",
        StoreError::QuotaExceeded(_) => "quota_exceeded",
        StoreError::Full(_) => "full",
        StoreError::Locked(_) => "locked",
        StoreError::Damaged(_) => "damaged",
        StoreError::Unavailable(_) => "unavailable",
    }
}

impl MeasuredRecords {
    /// Measures this one, by this clock.
    #[must_use]
    pub const fn new(inner: Arc<dyn RecordStore>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { inner, clock, metrics }
    }

    async fn time<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let running = self.metrics.operation(Store::Records, operation);
        let done = work.await;
        if let Err(error) = &done {
            running.failed(word(error));
        }
        running.end();
        done
    }

    fn committed(&self, told: &Told) {
        let now = self.clock.now();
        match told {
            Told::Nothing => {}
            Told::Ended { reason, deadline } => {
                self.metrics.ended(reason.as_str(), deadline.map(|deadline| now.since(deadline)));
            }
            Told::Deleted { since } => self.metrics.deleted(now.since(*since)),
        }
    }
}

#[async_trait]
impl RecordStore for MeasuredRecords {
    fn shards(&self) -> u8 {
        self.inner.shards()
    }

    fn remarks(&self) -> Vec<String> {
        self.inner.remarks()
    }

    async fn room(&self) -> Result<StoreRoom, StoreError> {
        self.time("room", self.inner.room()).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.time("now", self.inner.now()).await
    }

    async fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.time("meta", self.inner.meta(name)).await
    }

    async fn set_meta(&self, name: &str, value: &str) -> Result<String, StoreError> {
        self.time("set_meta", self.inner.set_meta(name, value)).await
    }

    async fn transfer(&self, team: TeamId, id: TransferId) -> Result<Option<Record>, StoreError> {
        self.time("transfer", self.inner.transfer(team, id)).await
    }

    async fn transfers(
        &self,
        which: Vec<(TeamId, TransferId)>,
    ) -> Result<Vec<Result<Option<Record>, StoreError>>, StoreError> {
        self.time("transfers", self.inner.transfers(which)).await
    }

    async fn opening(&self, link: LinkId) -> Result<Option<Opening>, StoreError> {
        self.time("opening", self.inner.opening(link)).await
    }

    async fn slot(
        &self,
        team: TeamId,
        id: TransferId,
        owner: SlotOwner,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.time("slot", self.inner.slot(team, id, owner)).await
    }

    async fn commit(&self, change: Change) -> Result<(), StoreError> {
        let told = Told::of(&change);
        self.time("commit", self.inner.commit(change)).await?;
        self.committed(&told);
        Ok(())
    }

    async fn commit_all(&self, changes: Vec<Change>) -> Vec<Result<(), StoreError>> {
        let told: Vec<Told> = changes.iter().map(Told::of).collect();
        let running = self.metrics.operation(Store::Records, "commit_all");
        let done = self.inner.commit_all(changes).await;
        for (told, done) in told.iter().zip(&done) {
            match done {
                Ok(()) => self.committed(told),
                Err(error) => running.failed(word(error)),
            }
        }
        running.end();
        done
    }

    async fn lease(&self, request: LeaseRequest) -> Result<LeaseAnswer, StoreError> {
        let operation = match request.op {
            LeaseOp::Open(_) => "lease_open",
            LeaseOp::Renew { .. } => "lease_renew",
            LeaseOp::Settle { .. } => "lease_settle",
            LeaseOp::EndDue => "lease_end",
        };
        self.time(operation, self.inner.lease(request)).await
    }

    async fn take_try(&self, of: &Tried, id: OperationId) -> Result<TryAnswer, StoreError> {
        self.time("take_try", self.inner.take_try(of, id)).await
    }

    async fn give_back_try(&self, of: &Tried, id: OperationId) -> Result<(), StoreError> {
        self.time("give_back_try", self.inner.give_back_try(of, id)).await
    }

    async fn failed_tries(&self, team: TeamId, links: &[LinkId]) -> Result<Vec<u32>, StoreError> {
        self.time("failed_tries", self.inner.failed_tries(team, links)).await
    }

    async fn forget_tries(
        &self,
        team: TeamId,
        transfer: TransferId,
        link: LinkId,
        event: Event,
    ) -> Result<(), StoreError> {
        self.time("forget_tries", self.inner.forget_tries(team, transfer, link, event)).await
    }

    async fn touch(&self, touch: Touch) -> Result<(), StoreError> {
        self.time("touch", self.inner.touch(touch)).await
    }

    async fn claim(
        &self,
        shard: u8,
        what: Claim,
        limit: usize,
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        self.time("claim", self.inner.claim(shard, what, limit, lease)).await
    }

    async fn claim_these(
        &self,
        shard: u8,
        what: Claim,
        ids: &[TransferId],
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        self.time("claim_these", self.inner.claim_these(shard, what, ids, lease)).await
    }

    async fn listen(&self, shard: u8, tell: tokio::sync::mpsc::Sender<Heard>) {
        self.inner.listen(shard, tell).await;
    }

    async fn retry(&self, team: TeamId, id: TransferId, at: Timestamp) -> Result<(), StoreError> {
        self.time("retry", self.inner.retry(team, id, at)).await
    }

    async fn next_due(&self, shard: u8) -> Result<Option<Timestamp>, StoreError> {
        self.time("next_due", self.inner.next_due(shard)).await
    }

    async fn front(&self, until: Timestamp, limit: usize) -> Result<Vec<Place>, StoreError> {
        self.time("front", self.inner.front(until, limit)).await
    }

    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.time("append", self.inner.append(events)).await
    }

    async fn outbox(&self, shard: u8, after: u64, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.time("outbox", self.inner.outbox(shard, after, limit)).await
    }

    async fn trim(&self, shard: u8, seq: u64) -> Result<(), StoreError> {
        self.time("trim", self.inner.trim(shard, seq)).await
    }

    async fn outbox_length(&self, shard: u8) -> Result<OutboxLength, StoreError> {
        self.time("outbox_length", self.inner.outbox_length(shard)).await
    }

    async fn roll_forward(&self, shard: u8, to: u64, events: Vec<Event>) -> Result<(), StoreError> {
        self.time("roll_forward", self.inner.roll_forward(shard, to, events)).await
    }

    async fn teams(&self, ids: &[TransferId]) -> Result<Vec<(TeamId, TransferId)>, StoreError> {
        self.time("teams", self.inner.teams(ids)).await
    }

    async fn states(&self, ids: &[TransferId]) -> Result<Vec<Option<State>>, StoreError> {
        self.time("states", self.inner.states(ids)).await
    }

    async fn login(&self, hash: [u8; 32]) -> Result<Option<Login>, StoreError> {
        self.time("login", self.inner.login(hash)).await
    }

    async fn used(&self, token: TokenId, at: Timestamp) -> Result<(), StoreError> {
        self.time("used", self.inner.used(token, at)).await
    }

    async fn take(&self, of: Counted, rate: Rate, ask: Ask) -> Result<Taken, StoreError> {
        self.time("take", self.inner.take(of, rate, ask)).await
    }

    async fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.time("account", self.inner.account(name)).await
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.time("accounts", self.inner.accounts()).await
    }

    async fn team(&self, id: TeamId) -> Result<Option<Team>, StoreError> {
        self.time("team", self.inner.team(id)).await
    }

    async fn all_teams(&self) -> Result<Vec<Team>, StoreError> {
        self.time("all_teams", self.inner.all_teams()).await
    }

    async fn account_of(&self, team: TeamId, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.time("account_of", self.inner.account_of(team, id)).await
    }

    async fn accounts_of(&self, team: TeamId) -> Result<Vec<Account>, StoreError> {
        self.time("accounts_of", self.inner.accounts_of(team)).await
    }

    async fn token_of(&self, team: TeamId, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.time("token_of", self.inner.token_of(team, id)).await
    }

    async fn tokens(&self, team: TeamId, account: AccountId) -> Result<Vec<TokenRecord>, StoreError> {
        self.time("tokens", self.inner.tokens(team, account)).await
    }

    async fn live_transfers(&self, team: TeamId, account: AccountId) -> Result<u64, StoreError> {
        self.time("live_transfers", self.inner.live_transfers(team, account)).await
    }

    async fn forget_sessions(&self, dead: Vec<DeadSession>) -> Result<(), StoreError> {
        self.time("forget_sessions", self.inner.forget_sessions(dead)).await
    }

    async fn usage(&self, team: TeamId) -> Result<Usage, StoreError> {
        self.time("usage", self.inner.usage(team)).await
    }

    async fn set_usage(&self, team: TeamId, moves: u64, held: Holding) -> Result<bool, StoreError> {
        self.time("set_usage", self.inner.set_usage(team, moves, held)).await
    }

    async fn list(
        &self,
        team: TeamId,
        before: Option<TransferId>,
        limit: usize,
    ) -> Result<Vec<TransferId>, StoreError> {
        self.time("list", self.inner.list(team, before, limit)).await
    }

    async fn commit_access(&self, change: AccessChange) -> Result<(), StoreError> {
        self.time("commit_access", self.inner.commit_access(change)).await
    }
}
