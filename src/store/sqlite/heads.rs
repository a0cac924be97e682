//! The current positions of journal, cursor and outbox, and the state a restart begins with.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::connection::{checksum, int, uint};
use crate::model::{MessageFates, Name, Seq, Timestamp};
use crate::store::{Error, Result};

/// Current positions of journal, cursor and outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heads {
    pub(super) seq: Seq,
    pub(super) at: Timestamp,
    pub(super) wall: Timestamp,
    pub(super) cursor: Seq,
    pub(super) id: i64,
    /// Position of the newest snapshot.
    pub(super) snapshot: Option<Seq>,
}

pub(super) type Fates = BTreeMap<Name, MessageFates>;

/// Reads the current positions. Fails if the journal does not end at the recorded position.
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
    let (heads, newest) = read()?;
    // Retention always keeps the newest entry, so another end means that entries are lost.
    if newest.unwrap_or(0) != heads.seq.0 {
        let ends = newest.unwrap_or(0);
        return Err(Error::Fatal(format!(
            "the database is damaged: its journal ends at {ends}, not at {}",
            heads.seq
        )));
    }
    Ok(heads)
}

/// Returns the message totals of every destination.
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

/// Returns the newest snapshot.
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
        .optional()?;
    // A damaged snapshot is fatal: without it the fold would start at an entry that retention may
    // have removed.
    match row {
        Some((seq, body, crc)) if crc == checksum(&[&body]) => Ok(Some((Seq(uint(seq)), body))),
        Some((seq, ..)) => Err(Error::Fatal(format!(
            "the database is damaged: the snapshot at {seq} has a wrong checksum"
        ))),
        None => Ok(None),
    }
}

/// Returns the duplicate memory of steps at or below `upto`, oldest first.
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
    // A damaged memory is fatal too: without it old events would be notified again.
    read()?
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
