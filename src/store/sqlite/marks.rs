//! Older snapshots at intervals. An explanation of the past folds from the nearest one instead of
//! from the beginning of the journal. Nothing depends on them: a restart uses the newest snapshot,
//! and a missing one only makes explanations slower.

use rusqlite::{Connection, OptionalExtension};

use super::connection::{checksum, int, uint};
use crate::model::Seq;
use crate::store::{KeptSnapshot, Reached, Result};

/// Table of older snapshots. It needs no schema version, because older releases ignore it.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS marks (
    seq INTEGER PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL, work INTEGER NOT NULL, alert INTEGER NOT NULL
) STRICT;
";

/// Work between two of them: a fold of this length takes some tenths of a second.
const APART: u64 = if cfg!(test) { 20 } else { 20_000 };
/// Maximum number of snapshots, and of their bytes. In a small store they may take only one part in
/// `PART`.
const MOST: usize = 200;
const BYTES: u64 = 32 << 20;
const PART: u64 = 16;

/// Stores a snapshot if the last stored one is far enough away.
pub(super) fn keep(
    connection: &Connection,
    seq: Seq,
    reached: Reached,
    snapshot: &[u8],
) -> rusqlite::Result<()> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT max(work) FROM marks")?
        .query_row([], |row| row.get(0))?;
    // The distance is measured in work, because that decides how long a fold takes.
    if reached.work < last.map_or(0, uint) + APART {
        return Ok(());
    }
    let sql =
        "INSERT OR REPLACE INTO marks (seq, body, crc, work, alert) VALUES (?1, ?2, ?3, ?4, ?5)";
    let crc = checksum(&[snapshot]);
    let row = (
        int(seq.0),
        snapshot,
        crc,
        int(reached.work),
        int(reached.alert),
    );
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

/// Returns the newest snapshot before an entry and before every alert numbered `alert` or higher. A
/// damaged snapshot counts as none.
pub(super) fn before(
    connection: &Connection,
    entry: Seq,
    alert: u64,
) -> Result<Option<KeptSnapshot>> {
    let sql = "SELECT seq, body, crc, work, alert FROM marks WHERE seq < ?1 AND alert < ?2 ORDER BY seq DESC LIMIT 1";
    let read = || -> rusqlite::Result<Option<(KeptSnapshot, i64)>> {
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement.query_row((int(entry.0), int(alert)), |row| {
            let reached = Reached {
                work: row.get(3).map(uint)?,
                alert: row.get(4).map(uint)?,
            };
            Ok((
                KeptSnapshot {
                    seq: Seq(row.get(0).map(uint)?),
                    reached,
                    snapshot: row.get(1)?,
                },
                row.get(2)?,
            ))
        });
        found.optional()
    };
    // A damaged snapshot only costs time, so it is no error.
    let found = read()?;
    Ok(found
        .filter(|(mark, crc)| checksum(&[&mark.snapshot]) == *crc)
        .map(|(mark, _)| mark))
}

/// Removes snapshots from before the journal's first entry, and the least useful ones if there are
/// too many. Returns their number.
pub(super) fn retain(connection: &Connection, first: i64, size: u64) -> rusqlite::Result<usize> {
    let mut gone = connection
        .prepare_cached("DELETE FROM marks WHERE seq < ?1")?
        .execute([first.saturating_sub(1)])?;
    let mut statement =
        connection.prepare_cached("SELECT seq, work, length(body) FROM marks ORDER BY seq")?;
    let kept = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1).map(uint)?, row.get(2).map(uint)?))
    })?;
    let mut kept: Vec<(i64, u64, u64)> = kept.collect::<rusqlite::Result<_>>()?;
    while kept.len() > MOST
        || kept.iter().map(|(.., bytes)| bytes).sum::<u64>() > BYTES.min(size / PART)
    {
        // Removes the snapshot whose neighbours are closest together; the older one of two equals.
        let near = kept
            .windows(3)
            .enumerate()
            .min_by_key(|(_, three)| match three {
                [(_, before, _), _, (_, after, _)] => after.saturating_sub(*before),
                _ => u64::MAX,
            });
        let (seq, ..) = kept.remove(near.map_or(0, |(n, _)| n + 1));
        gone += connection
            .prepare_cached("DELETE FROM marks WHERE seq = ?1")?
            .execute([seq])?;
    }
    Ok(gone)
}
