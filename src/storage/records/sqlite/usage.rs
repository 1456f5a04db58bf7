//! What teams use of their quotas, and the list of a team's transfers.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::StoreError;
use crate::transfer::quota::{Holding, Usage};
use crate::transfer::{Change, TeamId, Transfer, TransferId};

pub(super) fn read(db: &Connection, team: TeamId) -> Result<Usage, StoreError> {
    let usage = db
        .prepare_cached("SELECT bytes, transfers, uploads, moves FROM usage WHERE team = ?1")?
        .query_row([team.as_bytes()], |row| {
            let held = Holding { bytes: row.get(0)?, transfers: row.get(1)?, uploads: row.get(2)? };
            Ok(Usage { held, moves: row.get(3)? })
        })
        .optional()?;
    Ok(usage.unwrap_or_default())
}

/// Moves what the team uses by what the transfer held and is to hold, or refuses before anything is written.
pub(super) fn apply(db: &Connection, before: Option<&Transfer>, change: &Change) -> Result<(), StoreError> {
    let held = before.map_or(Holding::default(), Transfer::holding);
    let usage = read(db, change.team())?;
    let moved = usage.moved(held, change.holding(), change.limits())?;
    if moved == usage { Ok(()) } else { write(db, change.team(), &moved) }
}

fn write(db: &Connection, team: TeamId, usage: &Usage) -> Result<(), StoreError> {
    let Usage { held: Holding { bytes, transfers, uploads }, moves } = usage;
    let sql =
        "INSERT OR REPLACE INTO usage (team, bytes, transfers, uploads, moves) VALUES (?1, ?2, ?3, ?4, ?5)";
    db.prepare_cached(sql)?.execute(params![team.as_bytes(), bytes, transfers, uploads, moves])?;
    Ok(())
}

pub(super) fn set(db: &Connection, team: TeamId, moves: u64, held: Holding) -> Result<bool, StoreError> {
    if read(db, team)?.moves != moves {
        return Ok(false);
    }
    write(db, team, &Usage { held, moves: moves + 1 })?;
    Ok(true)
}

pub(super) fn list(
    db: &Connection,
    team: TeamId,
    before: Option<TransferId>,
    limit: usize,
) -> Result<Vec<TransferId>, StoreError> {
    let sql = "SELECT id FROM transfers WHERE team = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
    // Behind every id, which has 16 bytes.
    let before = before.map_or_else(|| vec![u8::MAX; 17], |id| id.as_bytes().to_vec());
    let mut sql = db.prepare_cached(sql)?;
    let ids = sql.query_map(params![team.as_bytes(), before, limit], |row| row.get(0))?;
    ids.map(|id| Ok(TransferId::from_bytes(id?))).collect()
}
