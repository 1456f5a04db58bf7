//! Transfers: reading them, and the doors `commit`, `touch` and `retry`.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::{Opening, Place, Record, StoreError};
use super::{outbox, tries, usage};
use crate::clock::Timestamp;
use crate::transfer::lease::{Counts, LeaseSummary, is_exhausted};
use crate::transfer::{
    AccountId, Change, Journal, LinkId, SlotOwner, SlotWrite, Slots, State, TeamId, Touch, Transfer,
    TransferId, due,
};

pub(super) fn read(db: &Connection, team: TeamId, id: TransferId) -> Result<Option<Record>, StoreError> {
    Ok(find(db, id)?.filter(|record| record.transfer.team() == team))
}

/// A record by its id alone, inside this room.
pub(super) fn find(db: &Connection, id: TransferId) -> Result<Option<Record>, StoreError> {
    let row = db
        .prepare_cached("SELECT core, journal, leases_open, leases_changed FROM transfers WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| {
            let (open, changed) = (row.get::<_, u64>(2)?, row.get::<_, u64>(3)?);
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, open, changed))
        })
        .optional()?;
    let Some((core, journal, open, changed)) = row else { return Ok(None) };
    let transfer: Transfer = serde_json::from_str(&core)?;
    let journal: Journal = serde_json::from_str(&journal)?;
    let counts = counts(db, &transfer)?;
    let leases = summary(db, &transfer, &counts, open, Timestamp::from_millis(changed))?;
    Ok(Some(Record { transfer, journal, counts, leases }))
}

fn counts(db: &Connection, transfer: &Transfer) -> Result<Vec<(LinkId, Counts)>, StoreError> {
    transfer
        .links()
        .iter()
        .map(|link| Ok((link.id, counts_of_link(db, link.id)?.unwrap_or_default())))
        .collect()
}

pub(super) fn counts_of_link(db: &Connection, link: LinkId) -> Result<Option<Counts>, StoreError> {
    let counts = db
        .prepare_cached("SELECT used, held, returned, last FROM links WHERE id = ?1")?
        .query_row([link.as_bytes()], |row| {
            let last = row.get::<_, Option<u64>>(3)?.map(Timestamp::from_millis);
            Ok(Counts { used: row.get(0)?, held: row.get(1)?, returned: row.get(2)?, last })
        })
        .optional()?;
    Ok(counts)
}

fn counts_of(counts: &[(LinkId, Counts)], link: LinkId) -> Counts {
    counts.iter().find(|(id, _)| *id == link).map_or(Counts::default(), |(_, counts)| *counts)
}

fn summary(
    db: &Connection,
    transfer: &Transfer,
    counts: &[(LinkId, Counts)],
    open: u64,
    changed: Timestamp,
) -> Result<LeaseSummary, StoreError> {
    let next_end: Option<u64> = db
        .prepare_cached("SELECT min(ends) FROM leases WHERE transfer = ?1")?
        .query_row([transfer.id().as_bytes()], |row| row.get(0))?;
    Ok(LeaseSummary {
        open,
        next_end: next_end.map(Timestamp::from_millis),
        exhausted: is_exhausted(transfer, |link| counts_of(counts, link), open, changed),
        changed,
    })
}

pub(super) fn opening(db: &Connection, link: LinkId, now: Timestamp) -> Result<Option<Opening>, StoreError> {
    let id = db
        .prepare_cached("SELECT transfer FROM links WHERE id = ?1")?
        .query_row([link.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(id) = id.map(TransferId::from_bytes) else { return Ok(None) };
    let Some(record) = find(db, id)? else { return Ok(None) };
    let slot = slot(db, record.transfer.team(), id, SlotOwner::Link(link), now)?;
    Ok(Some(Opening { record, slot, now }))
}

/// Like a key with a time to live: after the deadline it is not there, whether or not it was deleted.
pub(super) fn slot(
    db: &Connection,
    team: TeamId,
    id: TransferId,
    owner: SlotOwner,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT slot FROM slots JOIN transfers ON transfers.id = slots.transfer
               WHERE slots.transfer = ?1 AND slots.owner = ?2 AND transfers.team = ?3 AND transfers.deadline > ?4";
    let bytes = params![id.as_bytes(), slot_key(owner), team.as_bytes(), now.as_millis()];
    Ok(db.prepare_cached(sql)?.query_row(bytes, |row| row.get(0)).optional()?)
}

/// Brings the pages that hold these slots into memory.
pub(super) fn warm_slots(db: &Connection, which: &[(TeamId, TransferId)]) -> Result<(), StoreError> {
    let mut sql = db.prepare_cached("SELECT 1 FROM slots WHERE transfer = ?1")?;
    for (_, id) in which {
        sql.exists([id.as_bytes()])?;
    }
    Ok(())
}

fn slot_key(owner: SlotOwner) -> [u8; 16] {
    match owner {
        SlotOwner::Owner => *LinkId::OWNER.as_bytes(),
        SlotOwner::Link(id) => *id.as_bytes(),
    }
}

pub(super) fn commit(db: &Connection, change: &Change, now: Timestamp) -> Result<(), StoreError> {
    let before = find(db, change.id())?;
    match (&before, change.expected()) {
        (Some(before), _) if before.transfer.has_applied(change.context().operation) => return Ok(()),
        (Some(before), Some(version))
            if before.transfer.version() == version && before.transfer.team() == change.team() => {}
        (None, None) => {}
        // Sent again, or somebody else was first: gone is what was asked for.
        (None, Some(_)) if change.forgets() => return Ok(()),
        _ => return Err(StoreError::Conflict),
    }
    let record = change.record();
    let late = record.deadline() <= now
        || before.as_ref().is_some_and(|before| before.transfer.deadline() <= now)
        || !record.state().is_live();
    if change.slots().puts() && late {
        return Err(StoreError::Conflict);
    }
    let id = record.id();
    if change.forgets() {
        if before.is_some_and(|before| before.leases.open > 0) {
            return Err(StoreError::Conflict);
        }
        tries::drop_of(db, id)?;
        for table in ["slots", "links"] {
            db.prepare_cached(&format!("DELETE FROM {table} WHERE transfer = ?1"))?
                .execute([id.as_bytes()])?;
        }
        db.prepare_cached("DELETE FROM transfers WHERE id = ?1")?.execute([id.as_bytes()])?;
        return outbox::append(db, change.events());
    }
    usage::apply(db, before.as_ref().map(|before| &before.transfer), change)?;
    write_slots(db, id, change.slots())?;
    let known = before.as_ref().map_or(0, |before| before.transfer.links().len());
    for link in record.links().iter().skip(known) {
        db.prepare_cached("INSERT INTO links (id, transfer) VALUES (?1, ?2)")?
            .execute(params![link.id.as_bytes(), id.as_bytes()])?;
    }
    // A change writes no lease and no count: what was read above still holds.
    let leases = before.as_ref().map_or(LeaseSummary::default(), |before| before.leases);
    let counts = before.as_ref().map_or(&[][..], |before| &before.counts);
    let exhausted = is_exhausted(record, |link| counts_of(counts, link), leases.open, leases.changed);
    let leases = LeaseSummary { exhausted, ..leases };
    let mut journal = before.map_or_else(Journal::default, |before| before.journal);
    journal.upload_deadline = journal.upload_deadline.max(change.upload_deadline());
    if !matches!(record.state(), State::Uploading | State::Ended) {
        journal = Journal::default();
    }
    let sql = "INSERT INTO transfers (id, team, owner, version, state, deadline, core, journal, due)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (id) DO UPDATE
               SET version = ?4, state = ?5, deadline = ?6, core = ?7, journal = ?8, due = ?9";
    db.prepare_cached(sql)?.execute(params![
        id.as_bytes(),
        record.team().as_bytes(),
        record.owner().as_bytes(),
        record.version(),
        record.state().as_str(),
        record.deadline().as_millis(),
        serde_json::to_string(record)?,
        serde_json::to_string(&journal)?,
        due(record, &journal, &leases).map(Timestamp::as_millis),
    ])?;
    outbox::append(db, change.events())
}

fn write_slots(db: &Connection, id: TransferId, slots: &Slots) -> Result<(), StoreError> {
    match slots {
        Slots::Keep => {}
        Slots::Write(writes) => {
            for write in writes {
                let owner = slot_key(write.owner());
                match write {
                    SlotWrite::Put(slot) => db
                        .prepare_cached(
                            "INSERT OR REPLACE INTO slots (transfer, owner, slot) VALUES (?1, ?2, ?3)",
                        )?
                        .execute(params![id.as_bytes(), owner, slot.bytes])?,
                    SlotWrite::Drop(_) => db
                        .prepare_cached("DELETE FROM slots WHERE transfer = ?1 AND owner = ?2")?
                        .execute(params![id.as_bytes(), owner])?,
                };
            }
        }
        Slots::Destroy => {
            db.prepare_cached("DELETE FROM slots WHERE transfer = ?1")?.execute([id.as_bytes()])?;
        }
    }
    Ok(())
}

/// The place in the due index, in milliseconds, once counts and leases are written.
fn due_of(
    db: &Connection,
    transfer: &Transfer,
    journal: &Journal,
    open: u64,
    changed: Timestamp,
) -> Result<Option<u64>, StoreError> {
    let leases = summary(db, transfer, &counts(db, transfer)?, open, changed)?;
    Ok(due(transfer, journal, &leases).map(Timestamp::as_millis))
}

/// Writes how many leases are open and when they changed, after the leases themselves.
pub(super) fn write_leases(
    db: &Connection,
    record: &Record,
    open: u64,
    changed: Timestamp,
) -> Result<(), StoreError> {
    let at = due_of(db, &record.transfer, &record.journal, open, changed)?;
    db.prepare_cached("UPDATE transfers SET leases_open = ?2, leases_changed = ?3, due = ?4 WHERE id = ?1")?
        .execute(params![record.transfer.id().as_bytes(), open, changed.as_millis(), at])?;
    Ok(())
}

fn write_journal(db: &Connection, record: &Record) -> Result<(), StoreError> {
    let Record { transfer, journal, leases, .. } = record;
    let at = due(transfer, journal, leases).map(Timestamp::as_millis);
    db.prepare_cached("UPDATE transfers SET journal = ?2, due = ?3 WHERE id = ?1")?.execute(params![
        transfer.id().as_bytes(),
        serde_json::to_string(journal)?,
        at
    ])?;
    Ok(())
}

pub(super) fn touch(db: &Connection, touch: &Touch) -> Result<(), StoreError> {
    let mut record = read(db, touch.team, touch.transfer)?.ok_or(StoreError::NotFound)?;
    record.journal.touch(&record.transfer, touch).map_err(|_| StoreError::TouchRefused)?;
    write_journal(db, &record)
}

pub(super) fn retry(db: &Connection, team: TeamId, id: TransferId, at: Timestamp) -> Result<(), StoreError> {
    let mut record = read(db, team, id)?.ok_or(StoreError::NotFound)?;
    if record.transfer.state() != State::Ended {
        return Ok(());
    }
    record.journal.retry(at);
    write_journal(db, &record)
}

pub(super) fn front(db: &Connection, until: Timestamp, limit: usize) -> Result<Vec<Place>, StoreError> {
    let places = db
        .prepare_cached("SELECT due, team, id FROM transfers WHERE due <= ?1 ORDER BY due LIMIT ?2")?
        .query_map(params![until.as_millis(), limit], |row| {
            Ok(Place {
                due: Timestamp::from_millis(row.get(0)?),
                team: TeamId::from_bytes(row.get(1)?),
                transfer: TransferId::from_bytes(row.get(2)?),
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(places)
}

pub(super) fn states(db: &Connection, ids: &[TransferId]) -> Result<Vec<Option<State>>, StoreError> {
    let mut sql = db.prepare_cached("SELECT state FROM transfers WHERE id = ?1")?;
    ids.iter()
        .map(|id| {
            let state: Option<String> = sql.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
            Ok(state.map(|state| serde_json::from_value(serde_json::Value::String(state))).transpose()?)
        })
        .collect()
}

pub(super) fn teams(db: &Connection, ids: &[TransferId]) -> Result<Vec<(TeamId, TransferId)>, StoreError> {
    let mut sql = db.prepare_cached("SELECT team FROM transfers WHERE id = ?1")?;
    let mut found = Vec::new();
    for id in ids {
        let team = sql.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
        found.extend(team.map(|team| (TeamId::from_bytes(team), *id)));
    }
    Ok(found)
}

pub(super) fn live(db: &Connection, team: TeamId, owner: AccountId) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM transfers
               WHERE team = ?1 AND owner = ?2 AND state IN ('uploading', 'held', 'available')";
    Ok(db.query_row(sql, params![team.as_bytes(), owner.as_bytes()], |row| row.get(0))?)
}
