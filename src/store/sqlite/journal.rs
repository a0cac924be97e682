//! Conversion between records and rows of the journal.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::connection::{BATCH_BYTES, checksum, int, uint};
use crate::model::{Cursor, Journaled, Name, Record, Seq, SourceKind, Timestamp};
use crate::store::{Error, Result};

/// A record in the columns of the journal.
pub(super) struct JournalRow {
    pub(super) kind: i64,
    pub(super) source: Name,
    pub(super) body: Bytes,
    /// New cursor of the source, stored in a table of its own.
    pub(super) cursor: Option<Cursor>,
}

/// First line of the body if the source kind is not the first, or if there is a cursor.
#[derive(Serialize, Deserialize)]
struct BodyHead {
    kind: SourceKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<Cursor>,
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

impl JournalRow {
    pub(super) fn new(record: Record) -> Result<Self> {
        let unwritable = |e: serde_json::Error| Error::Fatal(format!("cannot write a record: {e}"));
        let mut cursor = None;
        let (kind, source, body) = match record {
            // Posts without a cursor keep their body as it came: they are most of the journal.
            Record::Received {
                source,
                kind: SourceKind(0),
                cursor: None,
                body,
            } => (0, source, body),
            Record::Received {
                source,
                kind,
                cursor: goes_on,
                body,
            } => {
                let head = BodyHead {
                    kind,
                    cursor: goes_on.clone(),
                };
                // One line of JSON, then the body. A line break cannot occur in the JSON itself.
                let mut whole = serde_json::to_vec(&head).map_err(unwritable)?;
                whole.push(b'\n');
                whole.extend_from_slice(&body);
                cursor = goes_on;
                (6, source, whole.into())
            }
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
        Ok(Self {
            kind,
            source,
            body,
            cursor,
        })
    }

    /// Returns the checksum of the row and its position. It includes the length of the source,
    /// which separates source and body.
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

/// Table of the newest cursor of each source. Older releases ignore it.
pub(super) const CURSORS: &str = "
CREATE TABLE IF NOT EXISTS cursors (source TEXT PRIMARY KEY, cursor TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
";

/// Stores the newest cursor of a source.
pub(super) fn keep_cursor(
    connection: &Connection,
    source: &Name,
    cursor: &Cursor,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO cursors (source, cursor, crc) VALUES (?1, ?2, ?3)";
    let crc = cursor_checksum(source, cursor.as_str());
    connection
        .prepare_cached(sql)?
        .execute((source.as_str(), cursor.as_str(), crc))
        .map(drop)
}

/// Returns the newest cursor of a source. A damaged cursor counts as none: the source is read again
/// from its beginning, and duplicates are recognised.
pub(super) fn cursor(connection: &Connection, source: &Name) -> Result<Option<Cursor>> {
    let sql = "SELECT cursor, crc FROM cursors WHERE source = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    let found = statement.query_row([source.as_str()], row).optional()?;
    Ok(found
        .filter(|(text, crc)| *crc == cursor_checksum(source, text))
        .map(|(text, _)| Cursor::new(&text)))
}

fn cursor_checksum(source: &Name, cursor: &str) -> i64 {
    checksum(&[source.as_str().as_bytes(), b"\n", cursor.as_bytes()])
}

/// Returns the entries after `after`. Checks each, and that none is missing between them.
pub(super) fn entries(connection: &Connection, after: Seq, limit: usize) -> Result<Vec<Journaled>> {
    let sql =
        "SELECT seq, at, kind, source, body, crc FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((int(after.0), int(limit as u64)))?;
    let (mut found, mut bytes) = (Vec::<Journaled>::new(), 0);
    while bytes <= BATCH_BYTES
        && let Some(row) = rows.next()?
    {
        let seq = Seq(uint(row.get(0)?));
        let (entry, size) = entry(row, seq)?.map_err(|what| {
            Error::Fatal(format!(
                "the database is damaged: journal entry {seq} {what}"
            ))
        })?;
        // Retention removes from the beginning only, so a gap between two entries means damage.
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

/// Returns the journal time of the newest post of a source after `after`.
pub(super) fn newest_post(
    connection: &Connection,
    source: &Name,
    after: Seq,
) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT at FROM journal WHERE kind IN (0, 6) AND source = ?1 AND seq > ?2 ORDER BY seq DESC LIMIT 1";
    let row = |row: &Row<'_>| Ok(Timestamp::from_millis(row.get(0)?));
    connection
        .query_row(sql, (source.as_str(), int(after.0)), row)
        .optional()
}

/// Returns the newest entry between these positions that sets the rules, and the newest that sets
/// the clock.
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

/// Returns the entries at these positions that are still stored, up to about [`BATCH_BYTES`], and
/// how many positions were read.
pub(super) fn entries_at(connection: &Connection, seqs: &[Seq]) -> Result<(usize, Vec<Journaled>)> {
    let sql = "SELECT seq, at, kind, source, body, crc FROM journal WHERE seq = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let (mut found, mut bytes, mut looked) = (Vec::<Journaled>::new(), 0, 0);
    for seq in seqs {
        // The first entry is always read, however large, so that every call makes progress.
        if bytes > BATCH_BYTES {
            break;
        }
        looked += 1;
        let read = statement
            .query_row([int(seq.0)], |row| entry(row, *seq))
            .optional()?;
        // Retention may have removed the entry.
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

/// Reads a body that begins with a [`BodyHead`].
fn received(source: &str, whole: &[u8]) -> Option<Record> {
    let end = whole.iter().position(|byte| *byte == b'\n')?;
    let (head, body) = whole.split_at_checked(end)?;
    let BodyHead { kind, cursor } = serde_json::from_slice(head).ok()?;
    Some(Record::Received {
        source: Name::new(source),
        kind,
        cursor,
        body: Bytes::copy_from_slice(body.get(1..)?),
    })
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
    // The checksum covers the bytes of the source, so text that is not UTF-8 fails the same way.
    let Some(source) = std::str::from_utf8(source)
        .ok()
        .filter(|s| crc == entry_checksum(seq, at, kind, s, body))
    else {
        return Ok(Err("has a wrong checksum".to_owned()));
    };
    let record = match kind {
        0 => Ok(Record::Received {
            source: Name::new(source),
            kind: SourceKind::default(),
            cursor: None,
            body: Bytes::copy_from_slice(body),
        }),
        1 => Ok(Record::Tick),
        2 => serde_json::from_slice(body)
            .map(Record::Rules)
            .map_err(|e| format!("cannot be parsed: {e}")),
        3 => serde_json::from_slice::<ClockBody>(body)
            .map(|clock| Record::Clock {
                offset_ms: clock.offset_ms,
            })
            .map_err(|e| format!("cannot be parsed: {e}")),
        4 => serde_json::from_slice(body)
            .map(Record::Silence)
            .map_err(|e| format!("cannot be parsed: {e}")),
        5 => serde_json::from_slice::<ExpireBody>(body)
            .map(|expire| Record::Expire {
                id: expire.id,
                author: expire.author,
            })
            .map_err(|e| format!("cannot be parsed: {e}")),
        6 => received(source, body).ok_or_else(|| "cannot be parsed".to_owned()),
        // A newer release wrote it: better refuse the database than skip an entry.
        other => Err(format!("is of a kind this release does not know ({other})")),
    };
    Ok(record.map(|record| (Journaled { seq, at, record }, body.len())))
}
