//! A Redis whose time is a manual clock's, so that its keys expire when the test says so: the contract is the same for all
//! stores.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use burnbag::clock::{Clock as _, ManualClock, Timestamp};
use burnbag::storage::records::redis::{RedisOptions, RedisRecords};
use burnbag::storage::records::{
    Claim, Claimed, LeaseAnswer, Login, Opening, OutboxEntry, OutboxLength, Place, Record, StoreRoom,
};
use burnbag::storage::{RecordStore, StoreError};
use burnbag::transfer::access::{AccessChange, Account, Team, TokenRecord};
use burnbag::transfer::lease::LeaseRequest;
use burnbag::transfer::quota::{Holding, Usage};
use burnbag::transfer::rate::{Ask, Counted, Rate, Taken};
use burnbag::transfer::session::DeadSession;
use burnbag::transfer::tries::{Tried, TryAnswer};
use burnbag::transfer::{
    AccountId, Change, Event, LinkId, OperationId, SlotOwner, State, TeamId, TokenId, Touch, TransferId,
};

use crate::record_contract::Made;
use crate::redis_cluster::Cluster;
use crate::redis_server::RedisServer;
use crate::sample::{SHARD, START};

/// A fresh Redis that shows the time of the clock that is returned.
pub async fn make_redis(_room: &str) -> Made {
    SHARD.set(0);
    let clock = ManualClock::new(START);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clock");
    std::fs::write(&path, START.as_millis().to_ne_bytes()).unwrap();
    let server = RedisServer::with_clock(&path).await;
    let file = File::options().write(true).open(&path).unwrap();
    let store = OnTime { store: server.records().await, clock: clock.clone(), file, shard: 0 };
    Made { store: Arc::new(store), clock, _keep: Box::new((server, dir)) }
}

/// A fresh cluster with two shards. Accounts and what belongs to no team are in shard 0; the teams of all other rooms are
/// in shard 1.
pub async fn make_cluster(room: &str) -> Made {
    let shard = u8::from(!["access", "outbox"].contains(&room));
    SHARD.set(shard);
    let clock = ManualClock::new(START);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clock");
    let cluster = Cluster::with_clock(&path).await;
    // Without a record a team is in shard 0; those of accounts are made by their tests.
    if shard > 0 {
        cluster.teams_in(shard);
    }
    let file = File::options().write(true).open(&path).unwrap();
    let options = RedisOptions { url: cluster.url(), shards: 2, wait: 0, strict: true };
    let store =
        OnTime { store: RedisRecords::connect(options).await.unwrap(), clock: clock.clone(), file, shard };
    Made { store: Arc::new(store), clock, _keep: Box::new((cluster, dir)) }
}

/// Sets the time of Redis before each call.
struct OnTime {
    store: RedisRecords,
    clock: ManualClock,
    file: File,
    /// In which shard the test's teams live; the test calls it 0.
    shard: u8,
}

impl OnTime {
    fn now(&self) -> &RedisRecords {
        self.file.write_all_at(&self.clock.now().as_millis().to_ne_bytes(), 0).unwrap();
        &self.store
    }
}

#[async_trait]
impl RecordStore for OnTime {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.now().now().await
    }
    async fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.now().meta(name).await
    }
    async fn set_meta(&self, name: &str, value: &str) -> Result<String, StoreError> {
        self.now().set_meta(name, value).await
    }
    async fn transfer(&self, team: TeamId, id: TransferId) -> Result<Option<Record>, StoreError> {
        self.now().transfer(team, id).await
    }
    async fn transfers(
        &self,
        which: Vec<(TeamId, TransferId)>,
    ) -> Result<Vec<Result<Option<Record>, StoreError>>, StoreError> {
        self.now().transfers(which).await
    }
    async fn opening(&self, link: LinkId) -> Result<Option<Opening>, StoreError> {
        self.now().opening(link).await
    }
    async fn slot(
        &self,
        team: TeamId,
        id: TransferId,
        owner: SlotOwner,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.now().slot(team, id, owner).await
    }
    async fn commit(&self, change: Change) -> Result<(), StoreError> {
        self.now().commit(change).await
    }
    async fn commit_all(&self, changes: Vec<Change>) -> Vec<Result<(), StoreError>> {
        self.now().commit_all(changes).await
    }
    async fn lease(&self, request: LeaseRequest) -> Result<LeaseAnswer, StoreError> {
        self.now().lease(request).await
    }
    async fn take_try(&self, of: &Tried, id: OperationId) -> Result<TryAnswer, StoreError> {
        self.now().take_try(of, id).await
    }
    async fn give_back_try(&self, of: &Tried, id: OperationId) -> Result<(), StoreError> {
        self.now().give_back_try(of, id).await
    }
    async fn failed_tries(&self, team: TeamId, links: &[LinkId]) -> Result<Vec<u32>, StoreError> {
        self.now().failed_tries(team, links).await
    }
    async fn forget_tries(
        &self,
        team: TeamId,
        transfer: TransferId,
        link: LinkId,
        event: Event,
    ) -> Result<(), StoreError> {
        self.now().forget_tries(team, transfer, link, event).await
    }
    async fn touch(&self, touch: Touch) -> Result<(), StoreError> {
        self.now().touch(touch).await
    }
    async fn front(&self, until: Timestamp, limit: usize) -> Result<Vec<Place>, StoreError> {
        self.now().front(until, limit).await
    }
    async fn claim(
        &self,
        shard: u8,
        what: Claim,
        limit: usize,
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        self.now().claim(shard + self.shard, what, limit, lease).await
    }
    async fn claim_these(
        &self,
        shard: u8,
        what: Claim,
        ids: &[TransferId],
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        self.now().claim_these(shard + self.shard, what, ids, lease).await
    }
    async fn retry(&self, team: TeamId, id: TransferId, at: Timestamp) -> Result<(), StoreError> {
        self.now().retry(team, id, at).await
    }
    async fn next_due(&self, shard: u8) -> Result<Option<Timestamp>, StoreError> {
        self.now().next_due(shard + self.shard).await
    }
    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.now().append(events).await
    }
    async fn outbox(&self, shard: u8, after: u64, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.now().outbox(shard + self.shard, after, limit).await
    }
    async fn trim(&self, shard: u8, seq: u64) -> Result<(), StoreError> {
        self.now().trim(shard + self.shard, seq).await
    }
    async fn outbox_length(&self, shard: u8) -> Result<OutboxLength, StoreError> {
        self.now().outbox_length(shard + self.shard).await
    }
    async fn room(&self) -> Result<StoreRoom, StoreError> {
        self.now().room().await
    }
    async fn roll_forward(&self, shard: u8, to: u64, events: Vec<Event>) -> Result<(), StoreError> {
        self.now().roll_forward(shard + self.shard, to, events).await
    }
    async fn teams(&self, ids: &[TransferId]) -> Result<Vec<(TeamId, TransferId)>, StoreError> {
        self.now().teams(ids).await
    }
    async fn states(&self, ids: &[TransferId]) -> Result<Vec<Option<State>>, StoreError> {
        self.now().states(ids).await
    }
    async fn login(&self, hash: [u8; 32]) -> Result<Option<Login>, StoreError> {
        self.now().login(hash).await
    }
    async fn used(&self, token: TokenId, at: Timestamp) -> Result<(), StoreError> {
        self.now().used(token, at).await
    }
    async fn take(&self, of: Counted, rate: Rate, ask: Ask) -> Result<Taken, StoreError> {
        self.now().take(of, rate, ask).await
    }
    async fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.now().account(name).await
    }
    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.now().accounts().await
    }
    async fn team(&self, id: TeamId) -> Result<Option<Team>, StoreError> {
        self.now().team(id).await
    }
    async fn all_teams(&self) -> Result<Vec<Team>, StoreError> {
        self.now().all_teams().await
    }
    async fn account_of(&self, team: TeamId, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.now().account_of(team, id).await
    }
    async fn accounts_of(&self, team: TeamId) -> Result<Vec<Account>, StoreError> {
        self.now().accounts_of(team).await
    }
    async fn token_of(&self, team: TeamId, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.now().token_of(team, id).await
    }
    async fn tokens(&self, team: TeamId, account: AccountId) -> Result<Vec<TokenRecord>, StoreError> {
        self.now().tokens(team, account).await
    }
    async fn live_transfers(&self, team: TeamId, account: AccountId) -> Result<u64, StoreError> {
        self.now().live_transfers(team, account).await
    }
    async fn forget_sessions(&self, dead: Vec<DeadSession>) -> Result<(), StoreError> {
        self.now().forget_sessions(dead).await
    }
    async fn usage(&self, team: TeamId) -> Result<Usage, StoreError> {
        self.now().usage(team).await
    }
    async fn set_usage(&self, team: TeamId, moves: u64, held: Holding) -> Result<bool, StoreError> {
        self.now().set_usage(team, moves, held).await
    }
    async fn list(
        &self,
        team: TeamId,
        before: Option<TransferId>,
        limit: usize,
    ) -> Result<Vec<TransferId>, StoreError> {
        self.now().list(team, before, limit).await
    }
    async fn commit_access(&self, change: AccessChange) -> Result<(), StoreError> {
        self.now().commit_access(change).await
    }
}
