//! Failed tries at passwords and tokens, by link or address.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::StoreError;
use super::outbox;
use crate::clock::Timestamp;
use crate::transfer::tries::{Tried, Tries, TryAnswer};
use crate::transfer::{Event, LinkId, OperationId, TeamId, TransferId};

fn key(of: &Tried) -> String {
    match of {
        Tried::Link(link) => link.to_string(),
        Tried::Address(address) => address.clone(),
    }
}

fn read(db: &Connection, key: &str) -> Result<Tries, StoreError> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM tries WHERE tried = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(body.map(|body| serde_json::from_str(&body)).transpose()?.unwrap_or_default())
}

fn write(db: &Connection, of: &Tried, tries: &Tries) -> Result<(), StoreError> {
    if tries.failures() == 0 {
        db.prepare_cached("DELETE FROM tries WHERE tried = ?1")?.execute([key(of)])?;
        return Ok(());
    }
    let sql = "INSERT OR REPLACE INTO tries (tried, body, forgotten) VALUES (?1, ?2, ?3)";
    let forgotten = tries.forgotten(of).map(Timestamp::as_millis);
    db.prepare_cached(sql)?.execute(params![key(of), serde_json::to_string(tries)?, forgotten])?;
    Ok(())
}

pub(super) fn take(
    db: &Connection,
    of: &Tried,
    id: OperationId,
    now: Timestamp,
) -> Result<TryAnswer, StoreError> {
    if let Tried::Link(link) = of
        && !db.prepare_cached("SELECT 1 FROM links WHERE id = ?1")?.exists([link.as_bytes()])?
    {
        return Ok(TryAnswer::Gone);
    }
    let before = read(db, &key(of))?;
    let mut tries = before.clone();
    let answer = tries.take(of, id, now);
    if answer == TryAnswer::Taken && tries != before {
        db.prepare_cached("DELETE FROM tries WHERE forgotten <= ?1")?.execute([now.as_millis()])?;
        write(db, of, &tries)?;
    }
    Ok(answer)
}

pub(super) fn give_back(db: &Connection, of: &Tried, id: OperationId) -> Result<(), StoreError> {
    let before = read(db, &key(of))?;
    let mut tries = before.clone();
    tries.give_back(id);
    if tries == before { Ok(()) } else { write(db, of, &tries) }
}

pub(super) fn failed(db: &Connection, team: TeamId, links: &[LinkId]) -> Result<Vec<u32>, StoreError> {
    links
        .iter()
        .map(|link| {
            Ok(if is_of(db, team, *link)?.is_some() { read(db, &link.to_string())?.failures() } else { 0 })
        })
        .collect()
}

pub(super) fn forget(
    db: &Connection,
    team: TeamId,
    transfer: TransferId,
    link: LinkId,
    event: &Event,
) -> Result<(), StoreError> {
    if is_of(db, team, link)? != Some(transfer) {
        return Err(StoreError::NotFound);
    }
    let gone = db.prepare_cached("DELETE FROM tries WHERE tried = ?1")?.execute([link.to_string()])?;
    if gone == 0 { Ok(()) } else { outbox::append(db, std::slice::from_ref(event)) }
}

/// What failed of the links of a transfer goes with them.
pub(super) fn drop_of(db: &Connection, transfer: TransferId) -> Result<(), StoreError> {
    let sql = "DELETE FROM tries WHERE tried IN (SELECT lower(hex(id)) FROM links WHERE transfer = ?1)";
    db.prepare_cached(sql)?.execute([transfer.as_bytes()])?;
    Ok(())
}

/// The transfer of a link, if it is the team's.
fn is_of(db: &Connection, team: TeamId, link: LinkId) -> Result<Option<TransferId>, StoreError> {
    let sql = "SELECT transfers.id FROM links JOIN transfers ON transfers.id = links.transfer
               WHERE links.id = ?1 AND transfers.team = ?2";
    let of = params![link.as_bytes(), team.as_bytes()];
    let id = db.prepare_cached(sql)?.query_row(of, |row| row.get(0)).optional()?;
    Ok(id.map(TransferId::from_bytes))
}
