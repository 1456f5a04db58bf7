//! Teams, accounts and tokens.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::{Login, StoreError};
use super::outbox;
use crate::clock::Timestamp;
use crate::transfer::access::{AccessChange, Account, TokenRecord};
use crate::transfer::{AccountId, KEPT_OPERATIONS, OperationId};

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

pub(super) fn account(db: &Connection, name: &str) -> Result<Option<Account>, StoreError> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM accounts WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
}

pub(super) fn accounts(db: &Connection) -> Result<Vec<Account>, StoreError> {
    let mut sql = db.prepare_cached("SELECT body FROM accounts ORDER BY name")?;
    let rows = sql.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
}

pub(super) fn tokens(db: &Connection, account: AccountId) -> Result<Vec<TokenRecord>, StoreError> {
    let mut sql = db.prepare_cached("SELECT body, used FROM tokens WHERE account = ?1 ORDER BY id")?;
    let rows = sql.query_map([account.as_bytes()], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    rows.map(|row| {
        let (body, used) = row?;
        with_use(&body, used)
    })
    .collect()
}

pub(super) fn commit(db: &Connection, change: &AccessChange) -> Result<(), StoreError> {
    let account = change.account();
    let before = db
        .prepare_cached("SELECT version, operations FROM accounts WHERE id = ?1")?
        .query_row([account.id.as_bytes()], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    let mut operations: Vec<OperationId> = match &before {
        Some((_, operations)) => serde_json::from_str(operations)?,
        None => Vec::new(),
    };
    if operations.contains(&change.operation()) {
        return Ok(());
    }
    let version = before.map(|(version, _)| version);
    if version != change.expected() || (version.is_none() && self::account(db, &account.name)?.is_some()) {
        return Err(StoreError::Conflict);
    }
    operations.push(change.operation());
    let old = operations.len().saturating_sub(KEPT_OPERATIONS);
    operations.drain(..old);
    if let Some(team) = change.team() {
        db.prepare_cached("INSERT INTO teams (id, body) VALUES (?1, ?2)")?
            .execute(params![team.id.as_bytes(), serde_json::to_string(team)?])?;
    }
    let sql =
        "INSERT INTO accounts (id, team, name, version, operations, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (id) DO UPDATE SET version = ?4, operations = ?5, body = ?6";
    db.prepare_cached(sql)?.execute(params![
        account.id.as_bytes(),
        account.team.as_bytes(),
        account.name,
        account.version,
        serde_json::to_string(&operations)?,
        serde_json::to_string(account)?
    ])?;
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
