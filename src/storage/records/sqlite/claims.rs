//! Claims of what is due. One process serves from a database, so they live in its memory: a claim writes nothing, and
//! ends with the process (ADR 19).

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::{Claim, Claimed, StoreError};
use crate::clock::Timestamp;
use crate::transfer::{TeamId, TransferId};

/// Who is claimed, and until when. What is written to a transfer ends its claim: its place in the index is a new one.
#[derive(Default)]
pub(super) struct Claims(HashMap<TransferId, Timestamp>);

impl Claims {
    pub(super) fn end(&mut self, id: TransferId) {
        self.0.remove(&id);
    }

    pub(super) fn take(
        &mut self,
        db: &Connection,
        what: Claim,
        limit: usize,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        self.0.retain(|_, until| *until > now);
        let sql = match what {
            Claim::All => "SELECT team, id FROM transfers WHERE due <= ?1 ORDER BY due",
            Claim::Live => {
                "SELECT team, id FROM transfers WHERE due <= ?1 AND state NOT IN ('ended', 'purged') ORDER BY due"
            }
        };
        let mut sql = db.prepare_cached(sql)?;
        let due = sql.query_map(params![now.as_millis()], |row| {
            Ok((TeamId::from_bytes(row.get(0)?), TransferId::from_bytes(row.get(1)?)))
        })?;
        let free = due.filter(|row| !row.as_ref().is_ok_and(|(_, id)| self.0.contains_key(id)));
        let transfers = free.take(limit).collect::<Result<Vec<_>, _>>()?;
        self.0.extend(transfers.iter().map(|(_, id)| (*id, now.after(lease))));
        Ok(Claimed { now, transfers })
    }

    /// As [`Claims::take`], of these alone.
    pub(super) fn take_these(
        &mut self,
        db: &Connection,
        what: Claim,
        ids: &[TransferId],
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        self.0.retain(|_, until| *until > now);
        let sql = match what {
            Claim::All => "SELECT team FROM transfers WHERE id = ?1 AND due <= ?2",
            Claim::Live => {
                "SELECT team FROM transfers WHERE id = ?1 AND due <= ?2 AND state NOT IN ('ended', 'purged')"
            }
        };
        let mut sql = db.prepare_cached(sql)?;
        let mut transfers = Vec::new();
        for id in ids.iter().filter(|id| !self.0.contains_key(id)) {
            let team = sql.query_row(params![id.as_bytes(), now.as_millis()], |row| row.get(0)).optional()?;
            transfers.extend(team.map(|team| (TeamId::from_bytes(team), *id)));
        }
        self.0.extend(transfers.iter().map(|(_, id)| (*id, now.after(lease))));
        Ok(Claimed { now, transfers })
    }

    /// When there is something to claim next. A claim counts until it is ended or made anew.
    pub(super) fn next(&self, db: &Connection) -> Result<Option<Timestamp>, StoreError> {
        let mut sql =
            db.prepare_cached("SELECT due, id FROM transfers WHERE due IS NOT NULL ORDER BY due")?;
        let due = sql.query_map([], |row| {
            Ok((Timestamp::from_millis(row.get(0)?), TransferId::from_bytes(row.get(1)?)))
        })?;
        let mut free = due.filter(|row| !row.as_ref().is_ok_and(|(_, id)| self.0.contains_key(id)));
        let free = free.next().transpose()?.map(|(due, _)| due);
        Ok(free.into_iter().chain(self.0.values().copied()).min())
    }
}
