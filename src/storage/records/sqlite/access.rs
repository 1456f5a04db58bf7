//! Teams, accounts and tokens.

use rusqlite::{Connection, OptionalExtension as _, Params, params};
use serde::de::DeserializeOwned;

use super::super::{Login, StoreError};
use super::outbox;
use crate::clock::Timestamp;
use crate::transfer::access::{AccessChange, Account, Part, Team, TokenRecord};
use crate::transfer::{AccountId, KEPT_OPERATIONS, OperationId, TeamId, TokenId};

pub(super) fn login(db: &Connection, hash: &[u8; 32], now: Timestamp) -> Result<Option<Login>, StoreError> {
    let sql = "SELECT tokens.body, tokens.used, accounts.body, teams.body
               FROM tokens JOIN accounts ON accounts.id = tokens.account JOIN teams ON teams.id = accounts.team
               WHERE tokens.hash = ?1";
    let row = db
        .prepare_cached(sql)?
        .query_row([hash], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, Option<u64>>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
            ))
        })
        .optional()?;
    let Some((token, used, account, team)) = row else { return Ok(None) };
    Ok(Some(Login {
        token: with_use(&token, used)?,
        account: serde_json::from_str(&account)?,
        team: serde_json::from_str(&team)?,
        now,
    }))
}

fn with_use(body: &str, used: Option<u64>) -> Result<TokenRecord, StoreError> {
    let mut token: TokenRecord = serde_json::from_str(body)?;
    token.last_used = used.map(Timestamp::from_millis);
    Ok(token)
}

/// A record by its body, where there is one.
fn one<T: DeserializeOwned>(db: &Connection, sql: &str, by: impl Params) -> Result<Option<T>, StoreError> {
    let body: Option<String> = db.prepare_cached(sql)?.query_row(by, |row| row.get(0)).optional()?;
    Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
}

fn all<T: DeserializeOwned>(db: &Connection, sql: &str, by: impl Params) -> Result<Vec<T>, StoreError> {
    let mut sql = db.prepare_cached(sql)?;
    let rows = sql.query_map(by, |row| row.get::<_, String>(0))?;
    rows.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
}

// Who was removed has no name.

pub(super) fn team(db: &Connection, id: TeamId) -> Result<Option<Team>, StoreError> {
    one(db, "SELECT body FROM teams WHERE id = ?1 AND name IS NOT NULL", [id.as_bytes()])
}

pub(super) fn all_teams(db: &Connection) -> Result<Vec<Team>, StoreError> {
    all(db, "SELECT body FROM teams WHERE name IS NOT NULL ORDER BY name", [])
}

pub(super) fn account(db: &Connection, name: &str) -> Result<Option<Account>, StoreError> {
    one(db, "SELECT body FROM accounts WHERE name = ?1", [name])
}

pub(super) fn account_of(
    db: &Connection,
    team: TeamId,
    id: AccountId,
) -> Result<Option<Account>, StoreError> {
    let sql = "SELECT body FROM accounts WHERE id = ?1 AND team = ?2 AND name IS NOT NULL";
    one(db, sql, [id.as_bytes(), team.as_bytes()])
}

pub(super) fn accounts(db: &Connection) -> Result<Vec<Account>, StoreError> {
    all(db, "SELECT body FROM accounts WHERE name IS NOT NULL ORDER BY name", [])
}

pub(super) fn accounts_of(db: &Connection, team: TeamId) -> Result<Vec<Account>, StoreError> {
    let sql = "SELECT body FROM accounts WHERE team = ?1 AND name IS NOT NULL ORDER BY name";
    all(db, sql, [team.as_bytes()])
}

fn tokens_by(db: &Connection, sql: &str, by: [&[u8; 16]; 2]) -> Result<Vec<TokenRecord>, StoreError> {
    let mut sql = db.prepare_cached(sql)?;
    let rows = sql.query_map(by, |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    rows.map(|row| {
        let (body, used) = row?;
        with_use(&body, used)
    })
    .collect()
}

pub(super) fn tokens(
    db: &Connection,
    team: TeamId,
    account: AccountId,
) -> Result<Vec<TokenRecord>, StoreError> {
    let sql = "SELECT tokens.body, tokens.used FROM tokens JOIN accounts ON accounts.id = tokens.account
               WHERE tokens.account = ?1 AND accounts.team = ?2 ORDER BY tokens.id";
    tokens_by(db, sql, [account.as_bytes(), team.as_bytes()])
}

pub(super) fn token(db: &Connection, team: TeamId, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
    let sql = "SELECT tokens.body, tokens.used FROM tokens JOIN accounts ON accounts.id = tokens.account
               WHERE tokens.id = ?1 AND accounts.team = ?2";
    Ok(tokens_by(db, sql, [id.as_bytes(), team.as_bytes()])?.pop())
}

/// What is there of a record before a change.
struct Before {
    version: Option<u64>,
    operations: Vec<OperationId>,
    /// Another record has the name that it is to have.
    taken: bool,
}

impl Before {
    fn read(db: &Connection, table: &str, id: &[u8; 16], name: Option<&str>) -> Result<Self, StoreError> {
        let row = db
            .prepare_cached(&format!("SELECT version, operations FROM {table} WHERE id = ?1"))?
            .query_row([id], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
            .optional()?;
        let taken = db
            .prepare_cached(&format!("SELECT 1 FROM {table} WHERE name = ?1 AND id <> ?2"))?
            .exists(params![name, id])?;
        let (version, operations) = match row {
            Some((version, operations)) => (Some(version), serde_json::from_str(&operations)?),
            None => (None, Vec::new()),
        };
        Ok(Self { version, operations, taken })
    }

    fn allows<T>(&self, part: &Part<T>) -> bool {
        self.version == part.expected() && !self.taken
    }

    fn with(mut self, operation: OperationId) -> Result<String, StoreError> {
        self.operations.push(operation);
        let old = self.operations.len().saturating_sub(KEPT_OPERATIONS);
        self.operations.drain(..old);
        Ok(serde_json::to_string(&self.operations)?)
    }
}

pub(super) fn commit(db: &Connection, change: &AccessChange) -> Result<(), StoreError> {
    let operation = change.operation();
    let team = match change.team() {
        Some(part) => {
            let team = part.record();
            let name = team.removed.is_none().then_some(team.name.as_str());
            Some((part, name, Before::read(db, "teams", team.id.as_bytes(), name)?))
        }
        None => None,
    };
    let accounts = change.accounts().iter().map(|part| {
        let account = part.record();
        let name = account.removed.is_none().then_some(account.name.as_str());
        Ok((part, name, Before::read(db, "accounts", account.id.as_bytes(), name)?))
    });
    let accounts = accounts.collect::<Result<Vec<_>, StoreError>>()?;
    let mut before = team.iter().map(|(.., before)| before).chain(accounts.iter().map(|(.., before)| before));
    if before.any(|before| before.operations.contains(&operation)) {
        return Ok(());
    }
    if !team.iter().all(|(part, _, before)| before.allows(part))
        || !accounts.iter().all(|(part, _, before)| before.allows(part))
    {
        return Err(StoreError::Conflict);
    }
    if let Some((part, name, before)) = team {
        let team = part.record();
        let sql = "INSERT INTO teams (id, name, version, operations, body) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (id) DO UPDATE SET name = ?2, version = ?3, operations = ?4, body = ?5";
        db.prepare_cached(sql)?.execute(params![
            team.id.as_bytes(),
            name,
            team.version,
            before.with(operation)?,
            serde_json::to_string(team)?
        ])?;
    }
    for (part, name, before) in accounts {
        let account = part.record();
        let sql =
            "INSERT INTO accounts (id, team, name, version, operations, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT (id) DO UPDATE SET name = ?3, version = ?4, operations = ?5, body = ?6";
        db.prepare_cached(sql)?.execute(params![
            account.id.as_bytes(),
            account.team.as_bytes(),
            name,
            account.version,
            before.with(operation)?,
            serde_json::to_string(account)?
        ])?;
    }
    for token in change.tokens() {
        let sql = "INSERT INTO tokens (id, hash, account, body) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (id) DO UPDATE SET body = ?4";
        db.prepare_cached(sql)?.execute(params![
            token.id.as_bytes(),
            token.hash,
            token.account.as_bytes(),
            serde_json::to_string(token)?
        ])?;
    }
    outbox::append(db, change.events())
}
