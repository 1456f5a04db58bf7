//! The outbox: events that are not yet in the log.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::{OutboxEntry, OutboxLength, StoreError};
use crate::transfer::Event;

pub(super) fn append(db: &Connection, events: &[Event]) -> Result<(), StoreError> {
    // The look comes first: an insert that is ignored would still use up a number, and the log has no gaps.
    let mut known = db.prepare_cached("SELECT 1 FROM outbox WHERE id = ?1")?;
    let mut insert = db.prepare_cached("INSERT INTO outbox (id, event) VALUES (?1, ?2)")?;
    for event in events {
        if !known.exists([&event.id])? {
            insert.execute(params![event.id, serde_json::to_string(event)?])?;
        }
    }
    Ok(())
}

pub(super) fn read(db: &Connection, after: u64, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
    let mut sql = db.prepare_cached("SELECT seq, event FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let rows = sql.query_map(params![after, limit], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (seq, event) = row?;
        Ok(OutboxEntry { seq, event: serde_json::from_str(&event)? })
    })
    .collect()
}

pub(super) fn roll_forward(db: &Connection, to: u64, events: &[Event]) -> Result<(), StoreError> {
    trim(db, to)?;
    if length(db)?.last < to {
        db.prepare_cached("DELETE FROM sqlite_sequence WHERE name = 'outbox'")?.execute([])?;
        db.prepare_cached("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?1)")?.execute([to])?;
    }
    append(db, events)
}

pub(super) fn trim(db: &Connection, seq: u64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM outbox WHERE seq <= ?1")?.execute([seq])?;
    Ok(())
}

pub(super) fn length(db: &Connection) -> Result<OutboxLength, StoreError> {
    let last: Option<u64> = db
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let first: Option<u64> =
        db.prepare_cached("SELECT min(seq) FROM outbox")?.query_row([], |row| row.get(0))?;
    let last = last.unwrap_or(0);
    // Numbers are dense, so nothing need be counted.
    Ok(OutboxLength { entries: first.map_or(0, |first| last + 1 - first), last })
}
