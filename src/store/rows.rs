//! The database: its schema, how connections are set up, and how rows become words of the model and
//! back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::{
    DeadLetter, Delivery, DeliveryId, Error, Fate, MessageFates, Result, Sent, acts, marks, past,
};
use crate::model::{Journaled, Message, Name, Record, Seq, Timestamp};

/// The schema this release writes.
pub(super) const VERSION: i64 = 3;
/// Tells our database from any other: "FOGH".
pub(super) const APPLICATION: i64 = 0x464f_4748;

/// A queued, delivered, digested, dead, discarded message: `outbox.state`.
pub(super) const QUEUED: i64 = 0;
pub(super) const DELIVERED: i64 = 1;
pub(super) const DIGESTED: i64 = 2;
pub(super) const DEAD: i64 = 3;
pub(super) const DISCARDED: i64 = 4;

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

/// Where everything stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heads {
    pub(super) seq: Seq,
    pub(super) at: Timestamp,
    pub(super) wall: Timestamp,
    pub(super) cursor: Seq,
    pub(super) id: i64,
    /// The newest snapshot's position.
    pub(super) snapshot: Option<Seq>,
}

pub(super) type Fates = BTreeMap<Name, MessageFates>;

/// What an error of SQLite means to the caller.
pub(super) fn problem(error: &rusqlite::Error) -> Error {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, QueryReturnedNoRows,
        Utf8Error,
    };
    // A row that is not there or not as it was written will not be at the next try either.
    let is_other = matches!(
        error,
        QueryReturnedNoRows
            | InvalidColumnType(..)
            | FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | Utf8Error(..)
    );
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Fatal(format!("the database is damaged: {error}"))
        }
        None if is_other => Error::Fatal(format!("the database is damaged: {error}")),
        _ => Error::Transient(error.to_string()),
    }
}

/// `u64` in a column: SQLite's integers are signed.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// And back.
pub(super) fn uint(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// Opens the database for writing, making or checking its schema. `is_known`: there was one, so an
/// empty one is damage.
pub(super) fn open(path: &Path, is_known: bool) -> Result<Connection> {
    let fatal = |e: rusqlite::Error| match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::Fatal(format!("{} is locked by another program", path.display()))
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Fatal(format!("{} is damaged or no database: {e}", path.display()))
        }
        _ => Error::Fatal(format!("{}: {e}", path.display())),
    };
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
    match (tables, application, version) {
        (0, ..) if is_known => {
            return Err(Error::Fatal(format!(
                "{} is damaged: it holds nothing, and there was a journal",
                path.display()
            )));
        }
        (0, ..) => {
            let transaction = connection.transaction().map_err(fatal)?;
            transaction.execute_batch(SCHEMA).map_err(fatal)?;
            transaction.execute_batch(past::SCHEMA).map_err(fatal)?;
            transaction.execute_batch(acts::SCHEMA).map_err(fatal)?;
            transaction
                .pragma_update(None, "application_id", APPLICATION)
                .map_err(fatal)?;
            transaction
                .pragma_update(None, "user_version", VERSION)
                .map_err(fatal)?;
            transaction.commit().map_err(fatal)?;
        }
        (_, APPLICATION, VERSION) => {}
        (_, APPLICATION, older @ (1 | 2)) => {
            let transaction = connection.transaction().map_err(fatal)?;
            if older == 1 {
                // What became of events was not kept before: their history begins now.
                transaction.execute_batch(past::SCHEMA).map_err(fatal)?;
            }
            transaction.execute_batch(acts::SCHEMA).map_err(fatal)?;
            transaction
                .pragma_update(None, "user_version", VERSION)
                .map_err(fatal)?;
            transaction.commit().map_err(fatal)?;
        }
        (_, APPLICATION, version) => return Err(newer(path, version)),
        _ => return Err(foreign(path)),
    }
    check_tables(&connection, path)?;
    connection.execute_batch(marks::SCHEMA).map_err(fatal)?;
    past::add_told(&connection).map_err(fatal)?;
    Ok(connection)
}

/// What each table must have. Without one of them, all would be taken and nothing told.
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
];

/// Refuses a database of this release's schema that lacks a table or a column. One of an older
/// release has fewer by right.
pub(super) fn check_tables(connection: &Connection, path: &Path) -> Result<()> {
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|e| problem(&e))?;
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

/// Refuses what a newer release or another program wrote before anything is written to it: setting
/// a connection up does.
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
        // What cannot be read is told by who opens it.
        _ => Ok(()),
    }
}

/// A connection as every writer needs it. `cache` in KiB.
pub(super) fn connect(path: &Path, cache: i64) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // The first two count only before the first table. A group of posts fills half as many pages of
    // 8 KiB as of 4, and each costs two system calls.
    connection.pragma_update(None, "page_size", 8_192)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Checkpoints are the other thread's; this back-stop bounds the log of a writer that never
    // pauses.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 8_192, |row| {
        row.get::<_, i64>(0)
    })?;
    connection.pragma_update_and_check(None, "journal_size_limit", 4 << 20, |row| {
        row.get::<_, i64>(0)
    })?;
    connection.pragma_update(None, "cache_size", -cache)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Gives so many free pages back to the disk. Each step of the statement frees one: it is stepped
/// to its end.
pub(super) fn give_back(connection: &Connection, pages: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = statement.query([])?;
    while steps.next()?.is_some() {}
    Ok(())
}

/// A connection that only reads.
pub(super) fn connect_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -1_024)?;
    Ok(connection)
}

/// Refuses a schema this release cannot read.
pub(super) fn check_readable(connection: &Connection, path: &Path) -> Result<()> {
    let said = |pragma| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(|e| problem(&e))
    };
    let (application, version) = (said("application_id")?, said("user_version")?);
    match (application, version) {
        // Schemas 2 and 3 add what is not read here.
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

/// Where everything stood. Fails where the end of the journal is not the end that was written.
pub(super) fn heads(connection: &Connection) -> Result<Heads> {
    let read = || -> rusqlite::Result<(Heads, Option<u64>)> {
        let mut heads =
            connection.query_row("SELECT seq, at, wall, cursor, id FROM heads", [], |row| {
                Ok(Heads {
                    seq: Seq(uint(row.get(0)?)),
                    at: Timestamp::from_millis(row.get(1)?),
                    wall: Timestamp::from_millis(row.get(2)?),
                    cursor: Seq(uint(row.get(3)?)),
                    id: row.get(4)?,
                    snapshot: None,
                })
            })?;
        let newest = |sql| connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
        heads.snapshot = newest("SELECT max(seq) FROM snapshot")?.map(|seq| Seq(uint(seq)));
        Ok((heads, newest("SELECT max(seq) FROM journal")?.map(uint)))
    };
    let (heads, newest) = read().map_err(|e| problem(&e))?;
    // Retention always leaves the newest entry.
    if newest.unwrap_or(0) != heads.seq.0 {
        let ends = newest.unwrap_or(0);
        return Err(Error::Fatal(format!(
            "the database is damaged: its journal ends at {ends}, not at {}",
            heads.seq
        )));
    }
    Ok(heads)
}

/// The fates of every destination's messages.
pub(super) fn fates(connection: &Connection) -> rusqlite::Result<Fates> {
    let mut statement = connection
        .prepare("SELECT dest, total, delivered, digested, dead, queued, discarded FROM fates")?;
    let rows = statement.query_map([], |row| {
        let count = |column| row.get(column).map(uint);
        Ok((
            Name::new(row.get_ref(0)?.as_str()?),
            MessageFates {
                total: count(1)?,
                delivered: count(2)?,
                digested: count(3)?,
                dead: count(4)?,
                queued: count(5)?,
                discarded: count(6)?,
            },
        ))
    })?;
    rows.collect()
}

/// The newest snapshot.
pub(super) fn snapshot(connection: &Connection) -> Result<Option<(Seq, Vec<u8>)>> {
    let row = connection
        .query_row(
            "SELECT seq, body, crc FROM snapshot ORDER BY seq DESC LIMIT 1",
            [],
            |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, Vec<u8>>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            },
        )
        .optional()
        .map_err(|e| problem(&e))?;
    match row {
        Some((seq, body, crc)) if crc == checksum(&[&body]) => Ok(Some((Seq(uint(seq)), body))),
        Some((seq, ..)) => Err(Error::Fatal(format!(
            "the database is damaged: the snapshot at {seq} has a wrong checksum"
        ))),
        None => Ok(None),
    }
}

/// The memory of duplicates of steps at or below `upto`, oldest first.
pub(super) fn seen(connection: &Connection, upto: Seq) -> Result<Vec<Vec<u8>>> {
    let read = || -> rusqlite::Result<Vec<(i64, Vec<u8>, i64)>> {
        let mut statement =
            connection.prepare("SELECT seq, body, crc FROM seen WHERE seq <= ?1 ORDER BY seq")?;
        statement
            .query_map([int(upto.0)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect()
    };
    read()
        .map_err(|e| problem(&e))?
        .into_iter()
        .map(|(seq, body, crc)| {
            let damaged = || {
                Error::Fatal(format!(
                    "the database is damaged: the memory at {seq} has a wrong checksum"
                ))
            };
            if crc == checksum(&[&body]) {
                Ok(body)
            } else {
                Err(damaged())
            }
        })
        .collect()
}

/// CRC-32 of the parts.
pub(super) fn checksum(parts: &[&[u8]]) -> i64 {
    let mut crc = crc32fast::Hasher::new();
    parts.iter().for_each(|part| crc.update(part));
    i64::from(crc.finalize())
}

/// What a record is in the journal's columns.
pub(super) struct Entry {
    pub(super) kind: i64,
    pub(super) source: Name,
    pub(super) body: Bytes,
}

#[derive(Serialize, Deserialize)]
struct ClockBody {
    offset_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct ExpireBody {
    id: String,
    author: String,
}

impl Entry {
    pub(super) fn new(record: Record) -> Result<Self> {
        let unwritable = |e: serde_json::Error| Error::Fatal(format!("cannot write a record: {e}"));
        let (kind, source, body) = match record {
            Record::Post { source, body } => (0, source, body),
            Record::Tick => (1, Name::new(""), Bytes::new()),
            Record::Rules(rules) => (
                2,
                Name::new(""),
                serde_json::to_vec(&rules).map_err(unwritable)?.into(),
            ),
            Record::Clock { offset_ms } => (
                3,
                Name::new(""),
                serde_json::to_vec(&ClockBody { offset_ms })
                    .map_err(unwritable)?
                    .into(),
            ),
            Record::Silence(silence) => (
                4,
                Name::new(""),
                serde_json::to_vec(&silence).map_err(unwritable)?.into(),
            ),
            Record::Expire { id, author } => (
                5,
                Name::new(""),
                serde_json::to_vec(&ExpireBody { id, author })
                    .map_err(unwritable)?
                    .into(),
            ),
        };
        Ok(Self { kind, source, body })
    }

    /// Covers what the row says and where it stands. The source's length tells its end from the
    /// body's beginning.
    pub(super) fn checksum(&self, seq: Seq, at: Timestamp) -> i64 {
        entry_checksum(seq, at, self.kind, self.source.as_str(), &self.body)
    }
}

pub(super) fn entry_checksum(seq: Seq, at: Timestamp, kind: i64, source: &str, body: &[u8]) -> i64 {
    let (seq, at, kind) = (
        seq.0.to_le_bytes(),
        at.millis().to_le_bytes(),
        kind.to_le_bytes(),
    );
    let length = source.len().to_le_bytes();
    checksum(&[&seq, &at, &kind, &length, source.as_bytes(), body])
}

/// More than this many bytes of bodies end a batch.
const BATCH_BYTES: usize = 4 << 20;

/// Entries after `after`, each checked, none missing between them.
pub(super) fn entries(connection: &Connection, after: Seq, limit: usize) -> Result<Vec<Journaled>> {
    let sql =
        "SELECT seq, at, kind, source, body, crc FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = connection.prepare_cached(sql).map_err(|e| problem(&e))?;
    let mut rows = statement
        .query((int(after.0), int(limit as u64)))
        .map_err(|e| problem(&e))?;
    let (mut found, mut bytes) = (Vec::<Journaled>::new(), 0);
    while bytes <= BATCH_BYTES
        && let Some(row) = rows.next().map_err(|e| problem(&e))?
    {
        let seq = Seq(uint(row.get(0).map_err(|e| problem(&e))?));
        let (entry, size) = entry(row, seq).map_err(|e| problem(&e))?.map_err(|what| {
            Error::Fatal(format!(
                "the database is damaged: journal entry {seq} {what}"
            ))
        })?;
        if found.last().is_some_and(|before| before.seq.0 + 1 != seq.0) {
            return Err(Error::Fatal(format!(
                "the database is damaged: journal entries before {seq} are missing"
            )));
        }
        bytes += size;
        found.push(entry);
    }
    Ok(found)
}

/// Journal time of the newest post of a source after `after`.
pub(super) fn newest_post(
    connection: &Connection,
    source: &Name,
    after: Seq,
) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT at FROM journal WHERE kind = 0 AND source = ?1 AND seq > ?2 ORDER BY seq DESC LIMIT 1";
    let row = |row: &Row<'_>| Ok(Timestamp::from_millis(row.get(0)?));
    connection
        .query_row(sql, (source.as_str(), int(after.0)), row)
        .optional()
}

/// The newest entries between these that name rules, and that say how the clock stands.
pub(super) fn settings(
    connection: &Connection,
    after: Seq,
    before: Seq,
) -> rusqlite::Result<Vec<Seq>> {
    let sql = "SELECT max(seq) FROM journal WHERE seq > ?1 AND seq < ?2 AND kind = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut newest = |kind: i64| {
        let row = |row: &Row<'_>| row.get::<_, Option<i64>>(0);
        statement.query_row((int(after.0), int(before.0), kind), row)
    };
    let mut found: Vec<Seq> = [newest(2)?, newest(3)?]
        .into_iter()
        .flatten()
        .map(|seq| Seq(uint(seq)))
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// Those of these entries that are kept, up to about [`BATCH_BYTES`], and how many were looked at.
pub(super) fn entries_at(connection: &Connection, seqs: &[Seq]) -> Result<(usize, Vec<Journaled>)> {
    let sql = "SELECT seq, at, kind, source, body, crc FROM journal WHERE seq = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(|e| problem(&e))?;
    let (mut found, mut bytes, mut looked) = (Vec::<Journaled>::new(), 0, 0);
    for seq in seqs {
        if bytes > BATCH_BYTES {
            break;
        }
        looked += 1;
        let read = statement
            .query_row([int(seq.0)], |row| entry(row, *seq))
            .optional()
            .map_err(|e| problem(&e))?;
        let Some(read) = read else { continue };
        let (entry, size) = read.map_err(|what| {
            Error::Fatal(format!(
                "the database is damaged: journal entry {seq} {what}"
            ))
        })?;
        bytes += size;
        found.push(entry);
    }
    Ok((looked, found))
}

fn entry(
    row: &Row<'_>,
    seq: Seq,
) -> rusqlite::Result<std::result::Result<(Journaled, usize), String>> {
    let at = Timestamp::from_millis(row.get(1)?);
    let kind: i64 = row.get(2)?;
    let source = row.get_ref(3)?.as_bytes()?;
    let body = row.get_ref(4)?.as_blob()?;
    let crc: i64 = row.get(5)?;
    let Some(source) = std::str::from_utf8(source)
        .ok()
        .filter(|s| crc == entry_checksum(seq, at, kind, s, body))
    else {
        return Ok(Err("has a wrong checksum".to_owned()));
    };
    let record = match kind {
        0 => Ok(Record::Post {
            source: Name::new(source),
            body: Bytes::copy_from_slice(body),
        }),
        1 => Ok(Record::Tick),
        2 => serde_json::from_slice(body)
            .map(Record::Rules)
            .map_err(|e| format!("does not read: {e}")),
        3 => serde_json::from_slice::<ClockBody>(body)
            .map(|clock| Record::Clock {
                offset_ms: clock.offset_ms,
            })
            .map_err(|e| format!("does not read: {e}")),
        4 => serde_json::from_slice(body)
            .map(Record::Silence)
            .map_err(|e| format!("does not read: {e}")),
        5 => serde_json::from_slice::<ExpireBody>(body)
            .map(|expire| Record::Expire {
                id: expire.id,
                author: expire.author,
            })
            .map_err(|e| format!("does not read: {e}")),
        other => Err(format!("is of a kind this Foghorn does not know ({other})")),
    };
    Ok(record.map(|record| (Journaled { seq, at, record }, body.len())))
}

/// A batch of queued deliveries, and those that are damaged.
#[derive(Default)]
pub(super) struct Queued {
    pub(super) sound: Vec<Delivery>,
    pub(super) damaged: Vec<(DeliveryId, String)>,
}

/// A destination's queued deliveries above `after`.
pub(super) fn queued(
    connection: &Connection,
    to: &Name,
    after: DeliveryId,
    limit: usize,
) -> rusqlite::Result<Queued> {
    let sql = "SELECT id, dest, attempts, first_try, due, plain, body, crc FROM outbox
               WHERE state = 0 AND dest = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((to.as_str(), after.0, int(limit as u64)))?;
    let (mut found, mut bytes) = (Queued::default(), 0);
    while bytes <= BATCH_BYTES
        && let Some(row) = rows.next()?
    {
        match delivery(row)? {
            Ok((delivery, size)) => {
                bytes += size;
                found.sound.push(delivery);
            }
            Err(damaged) => found.damaged.push(damaged),
        }
    }
    Ok(found)
}

/// Whom a delivery tells.
pub(super) fn destination(
    connection: &Connection,
    id: DeliveryId,
) -> rusqlite::Result<Option<Name>> {
    let mut statement = connection.prepare_cached("SELECT dest FROM outbox WHERE id = ?1")?;
    statement
        .query_row([id.0], |row| Ok(Name::new(row.get_ref(0)?.as_str()?)))
        .optional()
}

/// The newest dead letters, as far as they can be read: one that died of damage was logged then,
/// and is counted.
pub(super) fn delivered_since(
    connection: &Connection,
    to: &Name,
    since: Timestamp,
) -> rusqlite::Result<u32> {
    let sql = "SELECT count(*) FROM outbox WHERE state = 1 AND settled_at >= ?1 AND dest = ?2";
    connection
        .prepare_cached(sql)?
        .query_row((since.millis(), to.as_str()), |row| row.get(0))
}

pub(super) fn dead_letters(
    connection: &Connection,
    limit: usize,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let sql =
        "SELECT id, dest, attempts, first_try, due, plain, body, crc, settled_at, why FROM outbox
               WHERE state = 3 ORDER BY settled_at DESC, id DESC LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([int(limit as u64)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Ok((delivery, _)) = delivery(row)? {
            let why = row.get::<_, Option<String>>(9)?.unwrap_or_default();
            found.push(DeadLetter {
                delivery,
                at: Timestamp::from_millis(row.get(8)?),
                why,
            });
        }
    }
    Ok(found)
}

/// Every delivery of the messages wanted, as far as they can be read.
pub(super) fn deliveries(
    connection: &Connection,
    wanted: impl Fn(&Message) -> bool,
) -> rusqlite::Result<Vec<Sent>> {
    let sql = "SELECT id, dest, attempts, first_try, due, plain, body, crc, settled_at, why, state FROM outbox ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let Ok((delivery, _)) = delivery(row)? else {
            continue;
        };
        if wanted(&delivery.message) {
            let fate = match row.get::<_, i64>(10)? {
                DELIVERED => Fate::Delivered,
                DIGESTED => Fate::Digested,
                DEAD => Fate::Dead,
                DISCARDED => Fate::Discarded,
                _ => Fate::Queued,
            };
            let at = row.get::<_, Option<i64>>(8)?.map(Timestamp::from_millis);
            found.push(Sent {
                delivery,
                fate,
                at,
                why: row.get(9)?,
            });
        }
    }
    Ok(found)
}

/// A delivery and its size, or which one is damaged and how.
type Checked = std::result::Result<(Delivery, usize), (DeliveryId, String)>;

fn delivery(row: &Row<'_>) -> rusqlite::Result<Checked> {
    let id = DeliveryId(row.get(0)?);
    match checked(row, id) {
        // Of another type than was written: this row's, and no other's.
        Err(e) if e.sqlite_error_code().is_none() => {
            Ok(Err((id, format!("it does not read: {e}"))))
        }
        read => read,
    }
}

fn checked(row: &Row<'_>, id: DeliveryId) -> rusqlite::Result<Checked> {
    let body = row.get_ref(6)?.as_blob()?;
    if row.get::<_, i64>(7)? != checksum(&[body]) {
        return Ok(Err((id, "it has a wrong checksum".to_owned())));
    }
    let message: Message = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(e) => return Ok(Err((id, format!("it does not read: {e}")))),
    };
    let delivery = Delivery {
        id,
        to: Name::new(row.get_ref(1)?.as_str()?),
        message,
        attempts: u32::try_from(row.get::<_, i64>(2)?).unwrap_or(u32::MAX),
        first_try: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        due: Timestamp::from_millis(row.get(4)?),
        plain: row.get(5)?,
    };
    Ok(Ok((delivery, body.len())))
}
