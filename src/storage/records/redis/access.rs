//! Teams, accounts and tokens, all in shard 0.

use std::collections::HashMap;

use super::super::{Login, StoreError};
use super::keys::Shard;
use super::line::Lost;
use super::scripts::{self, Call};
use super::transfers::applied;
use super::{RedisRecords, parsed};
use crate::clock::Timestamp;
use crate::transfer::access::{AccessChange, Account, TokenRecord};
use crate::transfer::{AccountId, TokenId};

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
        let Some(team) = fields.get("team").and_then(|team| team.parse().ok()) else { return Ok(None) };
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

    pub(super) async fn read_account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("HGET").arg(SHARD.names()).arg(name);
        let Some(id) = self.read_one::<Option<String>>(SHARD, &ask).await? else { return Ok(None) };
        let mut ask = redis::pipe();
        ask.cmd("HGET").arg(SHARD.account(id)).arg("body");
        let body: Option<String> = self.read_one(SHARD, &ask).await?;
        Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
    }

    pub(super) async fn read_accounts(&self) -> Result<Vec<Account>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("HVALS").arg(SHARD.names());
        let ids: Vec<String> = self.read_one(SHARD, &ask).await?;
        let mut ask = redis::pipe();
        for id in ids {
            ask.cmd("HGET").arg(SHARD.account(id)).arg("body");
        }
        let mut accounts = Vec::new();
        for answer in self.read(SHARD, &mut ask).await? {
            accounts.push(serde_json::from_str::<Account>(&parsed::<String>(answer)?)?);
        }
        accounts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(accounts)
    }

    pub(super) async fn read_tokens(&self, account: AccountId) -> Result<Vec<TokenRecord>, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("HVALS").arg(SHARD.tokens(account));
        let hashes: Vec<String> = self.read_one(SHARD, &ask).await?;
        let mut ask = redis::pipe();
        for hash in hashes {
            ask.cmd("HGETALL").arg(SHARD.token(&hash));
        }
        let mut tokens = Vec::new();
        for answer in self.read(SHARD, &mut ask).await? {
            tokens.extend(token(&parsed(answer)?)?);
        }
        tokens.sort_by_key(|token| token.id);
        Ok(tokens)
    }

    pub(super) async fn write_access(&self, change: &AccessChange) -> Result<(), StoreError> {
        let account = change.account();
        let hashes: Vec<String> = change.tokens().iter().map(|token| hex::encode(token.hash)).collect();
        let mut keys = vec![
            SHARD.account(account.id),
            SHARD.names(),
            SHARD.tokens(account.id),
            SHARD.team(account.team),
            SHARD.outbox(),
        ];
        for (token, hash) in change.tokens().iter().zip(&hashes) {
            keys.extend([SHARD.token(hash), SHARD.token_id(token.id)]);
        }
        let team = change.team().map(serde_json::to_string).transpose()?.unwrap_or_default();
        let mut call = Call::new(&scripts::ACCESS, keys)
            .arg(change.operation())
            .arg(change.expected().map_or_else(String::new, |version| version.to_string()))
            .arg(account.id)
            .arg(&account.name)
            .arg(account.version)
            .bytes(serde_json::to_vec(account)?)
            .arg(account.team)
            .arg(team)
            .arg(change.tokens().len());
        for (token, hash) in change.tokens().iter().zip(hashes) {
            call = call.arg(token.id).arg(hash).bytes(serde_json::to_vec(token)?);
        }
        for event in change.events() {
            call = call.bytes(serde_json::to_vec(event)?);
        }
        applied(&self.write::<String>(SHARD, call, Lost::SendAgain).await?)
    }
}
