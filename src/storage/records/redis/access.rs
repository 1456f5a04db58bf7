//! Teams, accounts and tokens, all in shard 0.

use std::collections::HashMap;
use std::fmt::Display;

use serde::de::DeserializeOwned;

use super::super::{Login, StoreError};
use super::commits::applied;
use super::keys::Shard;
use super::line::Lost;
use super::scripts::{self, Call};
use super::{RedisRecords, parsed};
use crate::clock::Timestamp;
use crate::transfer::access::{AccessChange, Account, Part, Team, TokenRecord};
use crate::transfer::{AccountId, TeamId, TokenId};

const SHARD: Shard = Shard::ACCESS;

fn token(fields: &HashMap<String, String>) -> Result<Option<TokenRecord>, StoreError> {
    let Some(body) = fields.get("body") else { return Ok(None) };
    let mut token: TokenRecord = serde_json::from_str(body)?;
    token.last_used = fields.get("used").and_then(|used| used.parse().ok()).map(Timestamp::from_millis);
    Ok(Some(token))
}

impl RedisRecords {
    pub(super) async fn read_login(&self, hash: &[u8; 32]) -> Result<Option<Login>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("HGETALL").arg(SHARD.token(&hex::encode(hash)));
        let fields: HashMap<String, String> = self.read_one(SHARD, &ask).await?;
        let Some(token) = token(&fields)? else { return Ok(None) };
        let Some(team) = fields.get("team").and_then(|team| team.parse::<TeamId>().ok()) else {
            return Ok(None);
        };
        let mut ask = redis::pipe();
        ask.cmd("HGET").arg(SHARD.account(token.account)).arg("body");
        ask.cmd("HGET").arg(SHARD.team(team)).arg("body");
        ask.cmd("TIME");
        let mut answers = self.read(SHARD, &mut ask).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(redis::Value::Nil));
        let (account, team): (Option<String>, Option<String>) = (parsed(next())?, parsed(next())?);
        let (seconds, micros): (u64, u64) = parsed(next())?;
        let (Some(account), Some(team)) = (account, team) else { return Ok(None) };
        Ok(Some(Login {
            token,
            account: serde_json::from_str(&account)?,
            team: serde_json::from_str(&team)?,
            now: Timestamp::from_millis(seconds * 1000 + micros / 1000),
        }))
    }

    pub(super) async fn note_use(&self, token: TokenId, at: Timestamp) -> Result<(), StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("GET").arg(SHARD.token_id(token));
        let Some(hash) = self.read_one::<Option<String>>(SHARD, &ask).await? else { return Ok(()) };
        let call = Call::new(&scripts::USED, [SHARD.token(&hash)]).arg(at.as_millis());
        self.write(SHARD, call, Lost::SendAgain).await
    }

    pub(super) async fn read_team(&self, id: TeamId) -> Result<Option<Team>, StoreError> {
        let team: Option<Team> = self.bodies([SHARD.team(id)]).await?.pop();
        Ok(team.filter(|team| team.removed.is_none()))
    }

    pub(super) async fn read_teams(&self) -> Result<Vec<Team>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("HVALS").arg(SHARD.team_names());
        let ids: Vec<String> = self.read_one(SHARD, &ask).await?;
        let mut teams: Vec<Team> = self.bodies(ids.iter().map(|id| SHARD.team(id))).await?;
        teams.retain(|team| team.removed.is_none());
        teams.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(teams)
    }

    pub(super) async fn read_account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("HGET").arg(SHARD.names()).arg(name);
        let Some(id) = self.read_one::<Option<String>>(SHARD, &ask).await? else { return Ok(None) };
        Ok(self.standing_accounts([id]).await?.pop())
    }

    pub(super) async fn read_account_of(
        &self,
        team: TeamId,
        id: AccountId,
    ) -> Result<Option<Account>, StoreError> {
        let account = self.standing_accounts([id]).await?.pop();
        Ok(account.filter(|account| account.team == team))
    }

    pub(super) async fn read_accounts(&self) -> Result<Vec<Account>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("HVALS").arg(SHARD.names());
        let ids: Vec<String> = self.read_one(SHARD, &ask).await?;
        self.standing_accounts(ids).await
    }

    pub(super) async fn read_accounts_of(&self, team: TeamId) -> Result<Vec<Account>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("SMEMBERS").arg(SHARD.accounts(team));
        let ids: Vec<String> = self.read_one(SHARD, &ask).await?;
        self.standing_accounts(ids).await
    }

    /// Those of these that are not removed, by name.
    async fn standing_accounts<T: Display>(
        &self,
        ids: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Account>, StoreError> {
        let keys: Vec<String> = ids.into_iter().map(|id| SHARD.account(id)).collect();
        let mut accounts: Vec<Account> = self.bodies(keys).await?;
        accounts.retain(|account| account.removed.is_none());
        accounts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(accounts)
    }

    /// The records of these keys, where there are any.
    async fn bodies<T: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item = String>,
    ) -> Result<Vec<T>, StoreError> {
        let mut ask = redis::pipe();
        for key in keys {
            ask.cmd("HGET").arg(key).arg("body");
        }
        let mut found = Vec::new();
        for answer in self.read(SHARD, &mut ask).await? {
            if let Some(body) = parsed::<Option<String>>(answer)? {
                found.push(serde_json::from_str(&body)?);
            }
        }
        Ok(found)
    }

    pub(super) async fn read_token_of(
        &self,
        team: TeamId,
        id: TokenId,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("GET").arg(SHARD.token_id(id));
        let Some(hash) = self.read_one::<Option<String>>(SHARD, &ask).await? else { return Ok(None) };
        Ok(self.tokens_by(team, vec![hash]).await?.pop())
    }

    pub(super) async fn read_tokens(
        &self,
        team: TeamId,
        account: AccountId,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("HVALS").arg(SHARD.tokens(account));
        let hashes: Vec<String> = self.read_one(SHARD, &ask).await?;
        self.tokens_by(team, hashes).await
    }

    /// Those of these tokens that are of the team, oldest first.
    async fn tokens_by(&self, team: TeamId, hashes: Vec<String>) -> Result<Vec<TokenRecord>, StoreError> {
        let (mut ask, team) = (redis::pipe(), team.to_string());
        for hash in hashes {
            ask.cmd("HGETALL").arg(SHARD.token(&hash));
        }
        let mut tokens = Vec::new();
        for answer in self.read(SHARD, &mut ask).await? {
            let fields: HashMap<String, String> = parsed(answer)?;
            if fields.get("team") == Some(&team) {
                tokens.extend(token(&fields)?);
            }
        }
        tokens.sort_by_key(|token| token.id);
        Ok(tokens)
    }

    pub(super) async fn write_access(&self, change: &AccessChange) -> Result<(), StoreError> {
        let mut keys = vec![SHARD.outbox(), SHARD.names(), SHARD.team_names()];
        if let Some(team) = change.team().map(Part::record) {
            keys.extend([SHARD.team(team.id), SHARD.accounts(team.id)]);
        }
        for account in change.accounts().iter().map(Part::record) {
            keys.extend([SHARD.account(account.id), SHARD.accounts(account.team)]);
        }
        for token in change.tokens() {
            let hash = hex::encode(token.hash);
            keys.extend([SHARD.token(&hash), SHARD.token_id(token.id), SHARD.tokens(token.account)]);
        }
        let mut call = Call::new(&scripts::ACCESS, keys)
            .arg(change.operation())
            .arg(change.team().iter().len())
            .arg(change.accounts().len())
            .arg(change.tokens().len());
        let version = |version: Option<u64>| version.map_or_else(String::new, |version| version.to_string());
        let name = |name: &str, removed: Option<Timestamp>| {
            if removed.is_none() { name.to_owned() } else { String::new() }
        };
        if let Some(part) = change.team() {
            let team = part.record();
            call = call.arg(version(part.expected())).arg(team.id).arg(name(&team.name, team.removed));
            call = call.arg(team.version).bytes(serde_json::to_vec(team)?);
        }
        for part in change.accounts() {
            let account = part.record();
            call = call.arg(version(part.expected())).arg(account.id);
            call = call.arg(name(&account.name, account.removed)).arg(account.version);
            call = call.bytes(serde_json::to_vec(account)?);
        }
        for token in change.tokens() {
            let of = change.accounts().iter().map(Part::record).find(|account| account.id == token.account);
            let Some(account) = of else {
                return Err(StoreError::Unavailable("a token of no account of its change".to_owned()));
            };
            call = call.arg(token.id).arg(hex::encode(token.hash)).bytes(serde_json::to_vec(token)?);
            call = call.arg(account.id).arg(account.team);
        }
        for event in change.events() {
            call = call.bytes(serde_json::to_vec(event)?);
        }
        applied(&self.write::<String>(SHARD, call, Lost::SendAgain).await?)
    }
}
