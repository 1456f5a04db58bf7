//! Redis as record store (DESIGN §7): every write is a script that touches one hash slot, checks everything before its
//! first write, and takes the time from Redis.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::{FromRedisValue, Pipeline, Value, from_redis_value};

use super::{
    Claim, Claimed, Heard, LeaseAnswer, Login, Opening, OutboxEntry, OutboxLength, Place, Record,
    RecordStore, StoreError, StoreRoom,
};
use crate::clock::Timestamp;
use crate::transfer::access::{AccessChange, Account, Team, TokenRecord};
use crate::transfer::lease::LeaseRequest;
use crate::transfer::quota::{Holding, Usage};
use crate::transfer::rate::{Ask, Counted, Rate, Taken};
use crate::transfer::session::DeadSession;
use crate::transfer::tries::{Tried, TryAnswer};
use crate::transfer::{
    AccountId, Change, Event, LinkId, OperationId, SlotOwner, State, TeamId, TokenId, Touch, TransferId,
};

mod access;
mod check;
mod commits;
mod keys;
mod leases;
mod line;
mod listener;
mod outbox;
mod rates;
mod room;
mod scripts;
mod sessions;
mod transfers;
mod tries;
mod usage;

use keys::Shard;
use line::{Answers, Line, Lost, store_error};
use scripts::Call;

/// Replicas have so long to say that they have a write.
const REPLICATED: Duration = Duration::from_secs(2);

/// Where the records are, and how.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// `redis://` or `rediss://`, with user and password.
    pub url: String,
    /// Over how many hash slots the teams are spread.
    pub shards: u8,
    /// How many replicas must have a write before it counts.
    pub wait: u32,
    /// Refuse a Redis that may lose what it answered.
    pub strict: bool,
}

/// The record store in Redis, for any number of instances.
pub struct RedisRecords {
    /// One for each shard: in a cluster they lead to several nodes.
    lines: Vec<Line>,
    wait: u32,
    /// In which shard a team lives never changes.
    teams: Mutex<HashMap<TeamId, Shard>>,
    /// What an operator should know.
    remarks: Mutex<Vec<String>>,
}

impl RedisRecords {
    /// Connects, and checks that this Redis keeps what it answers.
    ///
    /// # Errors
    /// The URL is none, Redis does not answer, or it is set so that it may lose records; says what to type.
    pub async fn connect(options: RedisOptions) -> Result<Self, StoreError> {
        let RedisOptions { url, shards, wait, strict } = options;
        let lines = (0..shards.max(1)).map(|_| Line::to(&url)).collect::<Result<_, _>>()?;
        let (teams, remarks) = (Mutex::default(), Mutex::default());
        let records = Self { lines, wait, teams, remarks };
        records.check(strict).await?;
        Ok(records)
    }

    fn remark(&self, remark: impl Into<String>) {
        let remark = remark.into();
        let mut remarks = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    }

    fn line(&self, shard: Shard) -> Result<&Line, StoreError> {
        self.lines.get(usize::from(shard.0)).ok_or_else(|| {
            let (asked, have) = (shard.0, self.lines.len());
            StoreError::Unavailable(format!(
                "there is no shard {asked}: BURNBAG_REDIS_SHARDS is {have} and was more"
            ))
        })
    }

    /// Where a team lives. One that has no record yet, in shard 0.
    async fn shard_of(&self, team: TeamId) -> Result<Shard, StoreError> {
        if self.lines.len() == 1 {
            return Ok(Shard(0));
        }
        let known = || self.teams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = known().get(&team).copied() {
            return Ok(shard);
        }
        let mut ask = redis::pipe();
        ask.cmd("HGET").arg(Shard::ACCESS.team(team)).arg("body");
        let Some(body) = self.read_one::<Option<String>>(Shard::ACCESS, &ask).await? else {
            return Ok(Shard(0));
        };
        let shard = Shard(serde_json::from_str::<Team>(&body)?.shard);
        known().insert(team, shard);
        Ok(shard)
    }

    /// The shard that a link's id names; none of this store's: such a link opens nothing.
    fn shard_of_link(&self, link: LinkId) -> Option<Shard> {
        Some(link.as_bytes()[0]).filter(|shard| usize::from(*shard) < self.lines.len()).map(Shard)
    }

    fn every_shard(&self) -> impl Iterator<Item = Shard> {
        (0..self.shards()).map(Shard)
    }

    /// Sends commands that only read, together.
    async fn read(&self, shard: Shard, commands: &mut Pipeline) -> Result<Answers, StoreError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.line(shard)?.send(commands.ignore_errors(), Lost::SendAgain).await
    }

    async fn read_one<T: FromRedisValue>(&self, shard: Shard, commands: &Pipeline) -> Result<T, StoreError> {
        let answers = self.read(shard, &mut commands.clone()).await?;
        parsed(answers.into_iter().next().unwrap_or(Ok(Value::Nil)))
    }

    /// Runs a script that only reads.
    async fn look<T: FromRedisValue>(&self, shard: Shard, call: Call) -> Result<T, StoreError> {
        let mut answers = self.run(shard, &[call], Lost::SendAgain).await?;
        parsed(answers.pop().unwrap_or(Ok(Value::Nil)))
    }

    /// Runs a script that writes; what it answers is durable, on as many replicas as were asked for.
    async fn write<T: FromRedisValue>(&self, shard: Shard, call: Call, lost: Lost) -> Result<T, StoreError> {
        let mut answers = self.write_all(shard, &[call], lost).await?;
        answers.pop().unwrap_or_else(|| parsed(Ok(Value::Nil)))
    }

    /// [`RedisRecords::write`] for a batch: one after the other, each whole or nothing by itself.
    async fn write_all<T: FromRedisValue>(
        &self,
        shard: Shard,
        calls: &[Call],
        lost: Lost,
    ) -> Result<Vec<Result<T, StoreError>>, StoreError> {
        let answers = self.run(shard, calls, lost).await?;
        if self.wait > 0 {
            self.replicated(shard).await?;
        }
        Ok(answers.into_iter().map(parsed).collect())
    }

    /// Runs scripts; those that Redis does not know are sent with their text.
    async fn run(&self, shard: Shard, calls: &[Call], lost: Lost) -> Result<Answers, StoreError> {
        let line = self.line(shard)?;
        let mut commands = Pipeline::with_capacity(calls.len());
        for call in calls {
            commands.add_command(call.by_hash());
        }
        let mut answers = line.send(commands.ignore_errors(), lost).await?;
        let unknown: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| scripts::is_unknown(answer))
            .map(|(n, _)| n)
            .collect();
        if unknown.is_empty() {
            return Ok(answers);
        }
        let mut commands = Pipeline::with_capacity(unknown.len());
        for n in &unknown {
            commands.add_command(calls[*n].by_text());
        }
        let again = line.send(commands.ignore_errors(), lost).await?;
        for (n, answer) in unknown.into_iter().zip(again) {
            answers[n] = answer;
        }
        Ok(answers)
    }

    /// Waits until the writes of the connection are on the replicas. It is one connection for all, so that they include
    /// those just answered.
    async fn replicated(&self, shard: Shard) -> Result<(), StoreError> {
        let mut wait = redis::pipe();
        wait.cmd("WAIT").arg(self.wait).arg(u64::try_from(REPLICATED.as_millis()).unwrap_or(u64::MAX));
        let have: u32 = self.read_one(shard, &wait).await?;
        if have >= self.wait {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!(
            "{have} replicas of Redis have the write, BURNBAG_REDIS_WAIT asks for {}: look at INFO replication",
            self.wait
        )))
    }
}

/// An answer as what it should be.
fn parsed<T: FromRedisValue>(answer: Result<Value, redis::RedisError>) -> Result<T, StoreError> {
    let value = answer.map_err(|error| store_error(&error))?;
    from_redis_value(value).map_err(|error| StoreError::Unavailable(format!("Redis answered oddly: {error}")))
}

#[async_trait]
impl RecordStore for RedisRecords {
    fn shards(&self) -> u8 {
        u8::try_from(self.lines.len()).unwrap_or(u8::MAX)
    }

    fn remarks(&self) -> Vec<String> {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn room(&self) -> Result<StoreRoom, StoreError> {
        self.look_at_room().await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("TIME");
        let (seconds, micros): (u64, u64) = self.read_one(Shard::ACCESS, &ask).await?;
        Ok(Timestamp::from_millis(seconds * 1000 + micros / 1000))
    }

    async fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("HGET").arg(Shard::ACCESS.meta()).arg(name);
        self.read_one(Shard::ACCESS, &ask).await
    }

    async fn set_meta(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let call = Call::new(&scripts::META, [Shard::ACCESS.meta()]).arg(name).arg(value);
        self.write(Shard::ACCESS, call, Lost::SendAgain).await
    }

    async fn transfer(&self, team: TeamId, id: TransferId) -> Result<Option<Record>, StoreError> {
        self.transfers(vec![(team, id)]).await?.pop().unwrap_or(Ok(None))
    }

    async fn transfers(
        &self,
        which: Vec<(TeamId, TransferId)>,
    ) -> Result<Vec<Result<Option<Record>, StoreError>>, StoreError> {
        self.read_transfers(which).await
    }

    async fn opening(&self, link: LinkId) -> Result<Option<Opening>, StoreError> {
        self.read_opening(link).await
    }

    async fn slot(
        &self,
        team: TeamId,
        id: TransferId,
        owner: SlotOwner,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let shard = self.shard_of(team).await?;
        let found = self.read_with_slot(shard, id, owner).await?;
        Ok(found.filter(|opening| opening.record.transfer.team() == team).and_then(|opening| opening.slot))
    }

    async fn commit(&self, change: Change) -> Result<(), StoreError> {
        self.commit_all(vec![change]).await.pop().unwrap_or(Ok(()))
    }

    async fn commit_all(&self, changes: Vec<Change>) -> Vec<Result<(), StoreError>> {
        self.commit_changes(&changes).await
    }

    async fn lease(&self, request: LeaseRequest) -> Result<LeaseAnswer, StoreError> {
        self.apply_lease(&request).await
    }

    async fn take_try(&self, of: &Tried, id: OperationId) -> Result<TryAnswer, StoreError> {
        self.take_a_try(of, id).await
    }

    async fn give_back_try(&self, of: &Tried, id: OperationId) -> Result<(), StoreError> {
        self.give_a_try_back(of, id).await
    }

    async fn failed_tries(&self, team: TeamId, links: &[LinkId]) -> Result<Vec<u32>, StoreError> {
        self.read_failed_tries(team, links).await
    }

    async fn forget_tries(
        &self,
        team: TeamId,
        transfer: TransferId,
        link: LinkId,
        event: Event,
    ) -> Result<(), StoreError> {
        self.drop_tries(team, transfer, link, &event).await
    }

    async fn touch(&self, touch: Touch) -> Result<(), StoreError> {
        self.write_touch(&touch).await
    }

    async fn claim(
        &self,
        shard: u8,
        what: Claim,
        limit: usize,
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        self.claim_due(Shard(shard), what, limit, lease).await
    }

    async fn claim_these(
        &self,
        shard: u8,
        what: Claim,
        ids: &[TransferId],
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        self.claim_named(Shard(shard), what, ids, lease).await
    }

    async fn listen(&self, shard: u8, tell: tokio::sync::mpsc::Sender<Heard>) {
        self.listen_to(Shard(shard), &tell).await;
    }

    async fn retry(&self, team: TeamId, id: TransferId, at: Timestamp) -> Result<(), StoreError> {
        self.put_off(team, id, at).await
    }

    async fn next_due(&self, shard: u8) -> Result<Option<Timestamp>, StoreError> {
        self.earliest_due(Shard(shard)).await
    }

    async fn front(&self, until: Timestamp, limit: usize) -> Result<Vec<Place>, StoreError> {
        let mut places = Vec::new();
        for shard in self.every_shard() {
            places.extend(self.front_of(shard, until, limit).await?);
        }
        places.sort_by_key(|place| (place.due, place.transfer));
        places.truncate(limit);
        Ok(places)
    }

    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.append_events(&events).await
    }

    async fn outbox(&self, shard: u8, after: u64, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.read_outbox(Shard(shard), after, limit).await
    }

    async fn trim(&self, shard: u8, seq: u64) -> Result<(), StoreError> {
        self.trim_outbox(Shard(shard), seq).await
    }

    async fn outbox_length(&self, shard: u8) -> Result<OutboxLength, StoreError> {
        self.length_of_outbox(Shard(shard)).await
    }

    async fn roll_forward(&self, shard: u8, to: u64, events: Vec<Event>) -> Result<(), StoreError> {
        self.roll_outbox(Shard(shard), to, &events).await
    }

    async fn teams(&self, ids: &[TransferId]) -> Result<Vec<(TeamId, TransferId)>, StoreError> {
        let mut found = Vec::new();
        for shard in self.every_shard() {
            found.extend(self.with_teams(shard, ids).await?);
        }
        Ok(found)
    }

    async fn states(&self, ids: &[TransferId]) -> Result<Vec<Option<State>>, StoreError> {
        self.read_states(ids).await
    }

    async fn login(&self, hash: [u8; 32]) -> Result<Option<Login>, StoreError> {
        self.read_login(&hash).await
    }

    async fn used(&self, token: TokenId, at: Timestamp) -> Result<(), StoreError> {
        self.note_use(token, at).await
    }

    async fn take(&self, of: Counted, rate: Rate, ask: Ask) -> Result<Taken, StoreError> {
        self.take_from(of, rate, ask).await
    }

    async fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.read_account(name).await
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.read_accounts().await
    }

    async fn team(&self, id: TeamId) -> Result<Option<Team>, StoreError> {
        self.read_team(id).await
    }

    async fn all_teams(&self) -> Result<Vec<Team>, StoreError> {
        self.read_teams().await
    }

    async fn account_of(&self, team: TeamId, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.read_account_of(team, id).await
    }

    async fn accounts_of(&self, team: TeamId) -> Result<Vec<Account>, StoreError> {
        self.read_accounts_of(team).await
    }

    async fn token_of(&self, team: TeamId, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.read_token_of(team, id).await
    }

    async fn tokens(&self, team: TeamId, account: AccountId) -> Result<Vec<TokenRecord>, StoreError> {
        self.read_tokens(team, account).await
    }

    async fn live_transfers(&self, team: TeamId, account: AccountId) -> Result<u64, StoreError> {
        let mut ask = redis::pipe();
        let shard = self.shard_of(team).await?;
        ask.cmd("HGET").arg(shard.used(team)).arg(format!("live:{account}"));
        Ok(self.read_one::<Option<u64>>(shard, &ask).await?.unwrap_or(0))
    }

    async fn forget_sessions(&self, dead: Vec<DeadSession>) -> Result<(), StoreError> {
        self.drop_sessions(&dead).await
    }

    async fn usage(&self, team: TeamId) -> Result<Usage, StoreError> {
        self.read_usage(team).await
    }

    async fn set_usage(&self, team: TeamId, moves: u64, held: Holding) -> Result<bool, StoreError> {
        self.write_usage(team, moves, held).await
    }

    async fn list(
        &self,
        team: TeamId,
        before: Option<TransferId>,
        limit: usize,
    ) -> Result<Vec<TransferId>, StoreError> {
        self.list_transfers(team, before, limit).await
    }

    async fn commit_access(&self, change: AccessChange) -> Result<(), StoreError> {
        self.write_access(&change).await
    }
}
