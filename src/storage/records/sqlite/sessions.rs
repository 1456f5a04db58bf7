//! Sessions that are over.

use rusqlite::{Connection, params};

use super::super::StoreError;
use crate::transfer::session::DeadSession;

pub(super) fn forget(db: &Connection, dead: &[DeadSession]) -> Result<(), StoreError> {
    let mut sql = db.prepare_cached("DELETE FROM tokens WHERE id = ?1 AND account = ?2")?;
    for session in dead {
        sql.execute(params![session.id().as_bytes(), session.account().as_bytes()])?;
    }
    Ok(())
}
