//! The schema: created, migrated and checked.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::connection::{connect, connect_read_only};
use super::{acts, journal, marks, past, receipts};
use crate::store::{Error, Result};

/// Schema version this release writes.
pub(super) const VERSION: i64 = 4;
/// Application id of our databases: "FOGH".
pub(super) const APPLICATION: i64 = 0x464f_4748;

const SCHEMA: &str = "
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind INTEGER NOT NULL, source TEXT NOT NULL, body BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY, dest TEXT NOT NULL, state INTEGER NOT NULL, attempts INTEGER NOT NULL, first_try INTEGER,
    due INTEGER NOT NULL, plain INTEGER NOT NULL, why TEXT, settled_at INTEGER, body BLOB NOT NULL, crc INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_queued ON outbox (dest, id) WHERE state = 0;
CREATE INDEX outbox_settled ON outbox (state, settled_at) WHERE state <> 0;
CREATE TABLE snapshot (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE seen (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE fates (
    dest TEXT PRIMARY KEY, total INTEGER NOT NULL, delivered INTEGER NOT NULL, digested INTEGER NOT NULL,
    dead INTEGER NOT NULL, queued INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- One row: the last position and time, the wall time then, the cursor, the last delivery. Numbers are never used again,
-- even when retention has removed their rows.
CREATE TABLE heads (
    one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, at INTEGER NOT NULL, wall INTEGER NOT NULL,
    cursor INTEGER NOT NULL, id INTEGER NOT NULL
) STRICT;
INSERT INTO heads VALUES (1, 0, 0, 0, 0, 0);
";

/// Opens the database for writing, and creates, migrates or checks its schema. `is_known` means
/// that a database existed before, so an empty one is damage.
pub(super) fn open(path: &Path, is_known: bool) -> Result<Connection> {
    let fatal = |e: rusqlite::Error| match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::Fatal(format!("{} is locked by another program", path.display()))
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Fatal(format!(
            "{} is damaged or not a database: {e}",
            path.display()
        )),
        _ => Error::Fatal(format!("{}: {e}", path.display())),
    };
    // Setting up the connection writes to the file, so a foreign or newer database is refused
    // before.
    refuse_others(path)?;
    let mut connection = connect(path, 2_048).map_err(fatal)?;
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(fatal)?;
    let application: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(fatal)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(fatal)?;
    // Each branch is one transaction: a crash during a migration leaves the old schema.
    match (tables, application, version) {
        (0, ..) if is_known => {
            return Err(Error::Fatal(format!(
                "{} is damaged: it is empty, but there was a journal",
                path.display()
            )));
        }
        (0, ..) => {
            let transaction = connection.transaction().map_err(fatal)?;
            transaction.execute_batch(SCHEMA).map_err(fatal)?;
            transaction.execute_batch(past::SCHEMA).map_err(fatal)?;
            transaction.execute_batch(acts::SCHEMA).map_err(fatal)?;
            transaction.execute_batch(receipts::SCHEMA).map_err(fatal)?;
            transaction
                .pragma_update(None, "application_id", APPLICATION)
                .map_err(fatal)?;
            transaction
                .pragma_update(None, "user_version", VERSION)
                .map_err(fatal)?;
            transaction.commit().map_err(fatal)?;
        }
        (_, APPLICATION, VERSION) => {}
        (_, APPLICATION, older @ 1..VERSION) => {
            let transaction = connection.transaction().map_err(fatal)?;
            if older == 1 {
                // Schema 1 stored no outcomes: the history of events begins with the migration.
                transaction.execute_batch(past::SCHEMA).map_err(fatal)?;
            }
            if older < 3 {
                transaction.execute_batch(acts::SCHEMA).map_err(fatal)?;
            }
            transaction.execute_batch(receipts::SCHEMA).map_err(fatal)?;
            transaction
                .pragma_update(None, "user_version", VERSION)
                .map_err(fatal)?;
            transaction.commit().map_err(fatal)?;
        }
        (_, APPLICATION, version) => return Err(newer(path, version)),
        _ => return Err(foreign(path)),
    }
    check_tables(&connection, path)?;
    // These additions are compatible with older releases, so they need no version and may be
    // repeated.
    connection.execute_batch(marks::SCHEMA).map_err(fatal)?;
    connection.execute_batch(journal::CURSORS).map_err(fatal)?;
    past::add_told(&connection).map_err(fatal)?;
    past::add_status(&mut connection).map_err(fatal)?;
    Ok(connection)
}

/// Columns each table must have. With a table missing, Foghorn would accept posts and never notify.
const TABLES: &[(&str, &str)] = &[
    ("journal", "seq, at, kind, source, body, crc"),
    (
        "outbox",
        "id, dest, state, attempts, first_try, due, plain, why, settled_at, body, crc, message",
    ),
    ("snapshot", "seq, body, crc"),
    ("seen", "seq, at, body, crc"),
    (
        "fates",
        "dest, total, delivered, digested, dead, queued, discarded",
    ),
    ("heads", "one, seq, at, wall, cursor, id"),
    ("events", "id, received, fate, why, waits, rules, alerts"),
    ("told", "alert, delivery"),
    ("attempts", "delivery, nth, at, state, why"),
    ("receipts", "id, dest, incident, delivery, body, crc"),
];

/// Refuses a database of this release's schema that lacks a table or a column. Databases of older
/// releases may have fewer.
pub(super) fn check_tables(connection: &Connection, path: &Path) -> Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != VERSION {
        return Ok(());
    }
    for (table, columns) in TABLES {
        connection
            .prepare(&format!("SELECT {columns} FROM {table}"))
            .map_err(|e| {
                Error::Fatal(format!(
                    "{} is damaged: its table `{table}`: {e}",
                    path.display()
                ))
            })?;
    }
    Ok(())
}

/// Refuses a database of a newer release or of another program before anything is written to it.
fn refuse_others(path: &Path) -> Result<()> {
    let Ok(connection) = connect_read_only(path) else {
        return Ok(());
    };
    let said = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
        row.get::<_, i64>(0)
    });
    match (tables, said("application_id"), said("user_version")) {
        (Ok(1..), Ok(APPLICATION), Ok(version)) if version > VERSION => Err(newer(path, version)),
        (Ok(1..), Ok(application), _) if application != APPLICATION => Err(foreign(path)),
        // An unreadable file is reported by the open that follows.
        _ => Ok(()),
    }
}

/// Refuses a database of a newer release, as far as its header can be read.
pub(super) fn check_not_newer(connection: &Connection, path: &Path) -> Result<()> {
    let said = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    match (said("application_id"), said("user_version")) {
        (Ok(APPLICATION), Ok(version)) if version > VERSION => Err(newer(path, version)),
        _ => Ok(()),
    }
}

/// Refuses a schema this release cannot read.
pub(super) fn check_readable(connection: &Connection, path: &Path) -> Result<()> {
    // Header fields prove whose database it is before any table is read.
    let said = |pragma| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(Error::from)
    };
    let (application, version) = (said("application_id")?, said("user_version")?);
    match (application, version) {
        // Readers of older schemas do not need what schemas 2 to 4 add.
        (APPLICATION, 1..=VERSION) => Ok(()),
        (APPLICATION, _) => Err(newer(path, version)),
        _ => Err(foreign(path)),
    }
}

fn foreign(path: &Path) -> Error {
    Error::Fatal(format!("{} is not a Foghorn database", path.display()))
}

pub(super) fn newer(path: &Path, version: i64) -> Error {
    Error::Fatal(format!(
        "{} was written by a newer Foghorn (schema {version}; this one knows {VERSION}). Nothing was changed. Run that version, \
         or restore a backup from before the upgrade",
        path.display()
    ))
}
