//! Opening a database: its file, its settings, and whether it is whole.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::{Failure, Kind};
use crate::storage::StoreError;

/// A lock that another process holds (`token create` beside a running service) is waited for so long.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// A connection that writes, on a database that is made where there is none.
///
/// # Errors
/// There is no room for it, another process holds it, or it is damaged.
pub(super) fn to_write(path: &Path) -> Result<Connection, StoreError> {
    // Made here for its mode, which SQLite gives the write-ahead log too.
    std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(
        |error| match error.kind() {
            std::io::ErrorKind::StorageFull => StoreError::Full(error.to_string()),
            _ => StoreError::Unavailable(error.to_string()),
        },
    )?;
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mode = enter_wal(&db)?;
    if mode != "wal" {
        return Err(StoreError::Unavailable(format!("no write-ahead log here, only {mode:?}")));
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "secure_delete", "ON")?;
    // The pages of a whole group of commits, or they are written before their time and read again.
    db.pragma_update(None, "cache_size", -16_000)?;
    check(&db, path)?;
    Ok(db)
}

/// A connection that reads.
pub(super) fn to_read(path: &Path) -> Result<Connection, StoreError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// A database of up to so many bytes is read through when it is opened; a larger one would hold up the start, and
/// what is wrong with it shows where it is used.
const CHECKED: u64 = 32 << 20;

fn check(db: &Connection, path: &Path) -> Result<(), StoreError> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() > CHECKED) {
        return Ok(());
    }
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    let found = found.replace('\n', " ");
    Err(Failure { kind: Kind::Damaged, text: format!("{found}{}", Kind::Damaged.what_to_do()) }.into())
}

/// The step into the write-ahead log does not wait for a lock by itself, as everything else does.
fn enter_wal(db: &Connection) -> Result<String, StoreError> {
    let give_up = Instant::now() + BUSY;
    loop {
        match db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)) {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && Instant::now() < give_up =>
            {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            done => return Ok(done?),
        }
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "cache_size", -2000)?;
    db.pragma_update(None, "foreign_keys", "OFF")?;
    // What a savepoint sets aside holds slots too: it stays off the disk.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "trusted_schema", "OFF")?;
    // A statement is planned once, and not again for other values.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}
