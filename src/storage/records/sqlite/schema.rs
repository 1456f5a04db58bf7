//! The tables, as migrations that are applied in order. A migration that was released is never changed.

use rusqlite::{Connection, TransactionBehavior};

use super::Failure;
use crate::storage::StoreError;

const MIGRATIONS: &[&str] = &[
    // 1
    "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    CREATE TABLE transfers (
        id BLOB PRIMARY KEY,
        team BLOB NOT NULL,
        owner BLOB NOT NULL,
        version INTEGER NOT NULL,
        state TEXT NOT NULL,
        deadline INTEGER NOT NULL,
        core TEXT NOT NULL,
        journal TEXT NOT NULL,
        leases_open INTEGER NOT NULL DEFAULT 0,
        leases_changed INTEGER NOT NULL DEFAULT 0,
        due INTEGER
    );
    CREATE INDEX transfers_due ON transfers (due, state) WHERE due IS NOT NULL;

    -- The keys: a row destroyed here is overwritten (secure_delete), and the transfer is unreadable.
    CREATE TABLE slots (
        transfer BLOB NOT NULL, owner BLOB NOT NULL, slot BLOB NOT NULL, PRIMARY KEY (transfer, owner)
    ) WITHOUT ROWID;

    CREATE TABLE links (
        id BLOB PRIMARY KEY,
        transfer BLOB NOT NULL,
        used INTEGER NOT NULL DEFAULT 0,
        held INTEGER NOT NULL DEFAULT 0,
        returned INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE INDEX links_transfer ON links (transfer);

    CREATE TABLE leases (
        transfer BLOB NOT NULL,
        id BLOB NOT NULL,
        link BLOB NOT NULL,
        holder BLOB NOT NULL,
        ends INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (transfer, id)
    ) WITHOUT ROWID;
    CREATE INDEX leases_holder ON leases (transfer, link, holder);
    CREATE INDEX leases_ends ON leases (transfer, ends);

    -- AUTOINCREMENT: a number is never used again, also after every entry was trimmed.
    CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, event TEXT NOT NULL);

    CREATE TABLE teams (id BLOB PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE accounts (
        id BLOB PRIMARY KEY,
        team BLOB NOT NULL,
        name TEXT NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        -- The last commits, newest last, so that one can be sent again.
        operations TEXT NOT NULL,
        body TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE tokens (
        id BLOB PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE,
        account BLOB NOT NULL,
        used INTEGER,
        body TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX tokens_account ON tokens (account);
    ",
    // 2: what is due is claimed from the index alone. The records themselves may have to come from the disk.
    "
    DROP INDEX transfers_due;
    CREATE INDEX transfers_due ON transfers (due, state, id, team) WHERE due IS NOT NULL;
    ",
    // 3: failed tries, by link or address.
    "
    CREATE TABLE tries (tried TEXT PRIMARY KEY, body TEXT NOT NULL, forgotten INTEGER) WITHOUT ROWID;
    CREATE INDEX tries_forgotten ON tries (forgotten) WHERE forgotten IS NOT NULL;
    ",
    // 4: what each team uses, counted from what is there, and its transfers in order.
    "
    CREATE TABLE usage (
        team BLOB PRIMARY KEY,
        bytes INTEGER NOT NULL,
        transfers INTEGER NOT NULL,
        uploads INTEGER NOT NULL,
        moves INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO usage (team, bytes, transfers, uploads, moves)
        SELECT team,
               sum(CASE WHEN state IN ('held', 'available') OR state = 'ended' AND core ->> '$.ended.from' != 'uploading'
                   THEN (SELECT coalesce(sum(value ->> '$.size'), 0) FROM json_each(core, '$.files')
                         WHERE value ->> '$.state' = 'whole')
                   ELSE 0 END),
               sum(state IN ('uploading', 'held', 'available')), sum(state = 'uploading'), 0
        FROM transfers GROUP BY team;
    CREATE INDEX transfers_team ON transfers (team, id);
    ",
    // 5: teams and accounts that change and go. One that was removed has no name any more.
    "
    CREATE TABLE new_teams (
        id BLOB PRIMARY KEY, name TEXT UNIQUE, version INTEGER NOT NULL, operations TEXT NOT NULL, body TEXT NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO new_teams SELECT id, body ->> '$.name', coalesce(body ->> '$.version', 0), '[]', body FROM teams;
    DROP TABLE teams;
    ALTER TABLE new_teams RENAME TO teams;

    CREATE TABLE new_accounts (
        id BLOB PRIMARY KEY,
        team BLOB NOT NULL,
        name TEXT UNIQUE,
        version INTEGER NOT NULL,
        operations TEXT NOT NULL,
        body TEXT NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO new_accounts SELECT id, team, name, version, operations, body FROM accounts;
    DROP TABLE accounts;
    ALTER TABLE new_accounts RENAME TO accounts;
    CREATE INDEX accounts_team ON accounts (team, name);
    ",
    // 6: when a lease of a link was last taken.
    "ALTER TABLE links ADD COLUMN last INTEGER;",
];

fn version(db: &Connection) -> Result<usize, Failure> {
    Ok(db.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Brings the database to the newest version, one migration a transaction.
///
/// # Errors
/// The database was written by a newer burnbag, or is damaged.
pub(super) fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    let found = version(db)?;
    if found > MIGRATIONS.len() {
        return Err(StoreError::Unavailable(format!(
            "the database has schema {found}, this burnbag knows {}: start the newer burnbag that wrote it",
            MIGRATIONS.len()
        )));
    }
    for (number, sql) in MIGRATIONS.iter().enumerate().skip(found) {
        let step = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Failure::from)?;
        // Another process may have done it while this one waited.
        if version(&step)? > number {
            continue;
        }
        step.execute_batch(sql).map_err(Failure::from)?;
        step.pragma_update(None, "user_version", number + 1).map_err(Failure::from)?;
        step.commit().map_err(Failure::from)?;
    }
    Ok(())
}
