//! The door `lease`: what `transfer::lease` decides, written in the same transaction.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::{LeaseAnswer, Record, StoreError};
use super::{outbox, transfers};
use crate::clock::Timestamp;
use crate::transfer::lease::{
    Counts, Lease, LeaseChange, LeaseOp, LeaseRequest, Leases, StreamRef, open_stream,
};
use crate::transfer::{Context, HolderId, LeaseId, LinkId, State, TransferId};

/// The most leases that are ended in one operation.
const END_AT_ONCE: usize = 500;

pub(super) fn apply(db: &Connection, ask: &LeaseRequest, now: Timestamp) -> Result<LeaseAnswer, StoreError> {
    let record = transfers::read(db, ask.team, ask.transfer)?.ok_or(StoreError::NotFound)?;
    let context = Context { now, ..ask.context.clone() };
    let transfer = &record.transfer;
    match &ask.op {
        LeaseOp::Open(open) => {
            let held = held_by(db, ask.transfer, open.link, open.holder)?;
            let leases = Leases {
                transfer,
                counts: record.counts_of(open.link),
                held: &held,
                open: record.leases.open,
                now,
            };
            match open_stream(leases, open, ask.times, &context) {
                Ok((stream, change)) => {
                    if change.is_some() {
                        write(db, &record, change.as_slice(), now)?;
                    }
                    Ok(LeaseAnswer::Opened(stream))
                }
                Err(refused) => Ok(LeaseAnswer::Refused(refused)),
            }
        }
        LeaseOp::Renew { stream, written } => progress(db, ask, *stream, *written, false, &record, &context),
        LeaseOp::Settle { stream, written } => progress(db, ask, *stream, *written, true, &record, &context),
        LeaseOp::EndDue => {
            let mut ended = Vec::new();
            for lease in due(db, ask.transfer, now)? {
                let (id, ends) = (lease.id, lease.ends(transfer, ask.times));
                match lease.end_due(transfer, ask.times, &context) {
                    Some(change) => ended.push(change),
                    // Written under other times than the operator's of today.
                    None => put_off(db, ask.transfer, id, ends)?,
                }
            }
            write(db, &record, &ended, now)?;
            Ok(LeaseAnswer::Ended(ended.len()))
        }
    }
}

fn progress(
    db: &Connection,
    ask: &LeaseRequest,
    stream: StreamRef,
    written: u64,
    ended: bool,
    record: &Record,
    context: &Context,
) -> Result<LeaseAnswer, StoreError> {
    let transfer = &record.transfer;
    let Some(lease) = find(db, ask.transfer, stream.lease)? else { return Ok(LeaseAnswer::Stop) };
    let link = transfer.link(lease.link);
    let until = transfer.slot_deadline(link.and_then(|link| link.deadline));
    let stands = link.is_some_and(|link| link.stands(context.now));
    let live = transfer.state() == State::Available && context.now < until && stands;
    let change = lease.progress(stream, written, ended, transfer, ask.times, context);
    let known = change.is_some();
    if known {
        write(db, record, change.as_slice(), context.now)?;
    }
    Ok(if ended {
        LeaseAnswer::Settled
    } else if live && known {
        LeaseAnswer::Goes { until }
    } else {
        LeaseAnswer::Stop
    })
}

/// Writes the leases, their counts and events, and then the transfer's place in the due index, once.
fn write(
    db: &Connection,
    record: &Record,
    changes: &[LeaseChange],
    now: Timestamp,
) -> Result<(), StoreError> {
    let changed_at = if changes.is_empty() { record.leases.changed } else { now };
    let mut open = record.leases.open;
    for change in changes {
        write_lease(db, record.transfer.id(), change, now)?;
        match change.holds() {
            (None, Some(_)) => open += 1,
            (Some(_), None) => open = open.saturating_sub(1),
            _ => {}
        }
    }
    transfers::write_leases(db, record, open, changed_at)
}

fn write_lease(
    db: &Connection,
    transfer: TransferId,
    change: &LeaseChange,
    now: Timestamp,
) -> Result<(), StoreError> {
    let lease = change.lease();
    let (before, after) = change.holds();
    if after.is_some() {
        let sql =
            "INSERT INTO leases (transfer, id, link, holder, ends, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT (transfer, id) DO UPDATE SET ends = ?5, body = ?6";
        db.prepare_cached(sql)?.execute(params![
            transfer.as_bytes(),
            lease.id.as_bytes(),
            lease.link.as_bytes(),
            lease.holder.as_bytes(),
            change.ends().as_millis(),
            serde_json::to_string(lease)?,
        ])?;
    } else {
        db.prepare_cached("DELETE FROM leases WHERE transfer = ?1 AND id = ?2")?
            .execute(params![transfer.as_bytes(), lease.id.as_bytes()])?;
    }
    if before != after {
        move_counts(db, lease.link, |counts| counts.moved(before, after, now))?;
    }
    outbox::append(db, change.events())
}

fn put_off(db: &Connection, transfer: TransferId, id: LeaseId, ends: Timestamp) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE leases SET ends = ?3 WHERE transfer = ?1 AND id = ?2")?.execute(params![
        transfer.as_bytes(),
        id.as_bytes(),
        ends.as_millis()
    ])?;
    Ok(())
}

fn move_counts(db: &Connection, link: LinkId, to: impl FnOnce(Counts) -> Counts) -> Result<(), StoreError> {
    let before = transfers::counts_of_link(db, link)?.ok_or(StoreError::NotFound)?;
    let Counts { used, held, returned, last } = to(before);
    db.prepare_cached("UPDATE links SET used = ?2, held = ?3, returned = ?4, last = ?5 WHERE id = ?1")?
        .execute(params![link.as_bytes(), used, held, returned, last.map(Timestamp::as_millis)])?;
    Ok(())
}

fn find(db: &Connection, transfer: TransferId, id: LeaseId) -> Result<Option<Lease>, StoreError> {
    let sql = "SELECT body FROM leases WHERE transfer = ?1 AND id = ?2";
    let body: Option<String> = db
        .prepare_cached(sql)?
        .query_row(params![transfer.as_bytes(), id.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
}

fn held_by(
    db: &Connection,
    transfer: TransferId,
    link: LinkId,
    holder: HolderId,
) -> Result<Vec<Lease>, StoreError> {
    // Left to itself the planner reads every lease of the transfer.
    let sql = "SELECT body FROM leases INDEXED BY leases_holder
               WHERE transfer = ?1 AND link = ?2 AND holder = ?3";
    let mut sql = db.prepare_cached(sql)?;
    let rows = sql.query_map(params![transfer.as_bytes(), link.as_bytes(), holder.as_bytes()], body)?;
    parsed(rows)
}

fn due(db: &Connection, transfer: TransferId, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
    let sql = "SELECT body FROM leases WHERE transfer = ?1 AND ends <= ?2 ORDER BY ends LIMIT ?3";
    let mut sql = db.prepare_cached(sql)?;
    let rows = sql.query_map(params![transfer.as_bytes(), now.as_millis(), END_AT_ONCE], body)?;
    parsed(rows)
}

fn body(row: &rusqlite::Row<'_>) -> rusqlite::Result<String> {
    row.get(0)
}

fn parsed(rows: impl Iterator<Item = rusqlite::Result<String>>) -> Result<Vec<Lease>, StoreError> {
    rows.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
}
