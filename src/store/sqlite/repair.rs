//! Repair: copies everything readable from a damaged database into a new one. The damaged one is
//! never written to.
//!
//! SQLite reads the rows in the order of their numbers and skips what it cannot read. Checksums
//! confirm journal entries, the snapshot and messages. The rest can be rebuilt: the judge folds the
//! journal again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use super::connection::{checksum, uint};
use super::files::{self, Folder, SEARCH, beside};
use super::journal::{JournalRow, entry_checksum};
use super::log::{self, End};
use super::{receipts, schema};
use crate::clock::Clock;
use crate::model::{Record, Seq, Timestamp};
use crate::store::{DeliveryState, Error, Result};

mod rows;

use rows::Table;

/// Longest run of missing entries inside the journal. Entries before a longer gap are remains that
/// retention deleted.
const GAP: i64 = 100_000;
/// Number of rows in one transaction.
const AT_ONCE: usize = 5_000;

/// Result of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Path of the repaired database.
    pub database: PathBuf,
    /// Path the damaged database was moved to; `None` if it was not moved.
    pub set_aside: Option<PathBuf>,
    /// Number of journal entries in the repaired database, including the ticks that replace lost
    /// entries.
    pub entries: u64,
    /// Number of lost entries. Ticks replace them, so that all other entries keep their numbers.
    pub lost: u64,
    /// Messages kept, by state: queued, delivered, digested, dead, discarded.
    pub messages: [u64; 5],
    /// Number of messages found with a damaged body.
    pub damaged_messages: u64,
    /// Queued messages with a damaged body, by destination and title, as far as they can be read.
    pub unsaid: Vec<String>,
    /// Number of messages without a trace although retention kept older ones: they are lost, or
    /// dead letters sent again under a new number.
    pub missing_messages: u64,
    /// Number of messages that once existed and left no trace: removed by retention, or lost.
    pub vanished_messages: u64,
    /// Position of the snapshot the engine continues from; `None` if it starts at the oldest entry.
    pub snapshot: Option<Seq>,
    /// Number of intact pages of SQLite's log after a damaged one. Their data is lost.
    pub log_pages: u64,
    /// True if the cursor could not be read. It was then set to the newest position that is known
    /// to be judged.
    pub cursor_guessed: bool,
}

/// Creates a sound database from the readable parts of `from`'s, in `to`, or in `from` itself after
/// setting the damaged one aside.
///
/// # Errors
///
/// One line that names the folder: it is in use, nothing was found in it, or it is not writable.
/// Nothing was changed then.
pub fn repair(from: &Path, to: Option<&Path>) -> Result<Repaired> {
    let named =
        |e: &dyn std::fmt::Display| Error::Fatal(format!("data folder {}: {e}", from.display()));
    if !from.is_dir() {
        return Err(named(&"there is no such folder"));
    }
    // A running `serve` must not write to the database while it is copied.
    let _held = files::lock(from)?;
    let damaged = files::database(from);
    if !damaged.exists() && !beside(&damaged, "-wal").exists() {
        return Err(named(&"it has no database"));
    }
    let alone = beside(&damaged, ".log");
    remove(&alone);
    // Additions of a newer schema would be lost in the copy.
    let is_ours = open(&damaged, &alone).and_then(|old| schema::check_not_newer(&old, &damaged));
    remove(&alone);
    is_ours?;
    // Counted before SQLite drops the frames behind the damage.
    let behind = match log::end(&damaged) {
        Ok(End::Broken(pages)) => pages,
        _ => 0,
    };
    // Claiming creates the folder, so this must be asked before.
    let is_new = to.is_some_and(|to| !to.exists());
    let claimed = to.map(Folder::claim).transpose()?;
    let target = files::database(to.unwrap_or(from));
    if to.is_some() && target.exists() {
        return Err(Error::Fatal(format!(
            "{} already exists: name a folder without a database",
            target.display()
        )));
    }
    // The new database gets its final name only once it is complete and synced: a crash leaves the
    // old one in place.
    let new = beside(&target, ".repairing");
    remove(&new);
    let made = open(&damaged, &alone).and_then(|old| salvage(&old, &new));
    remove(&alone);
    if made.as_ref().map_or(true, |repaired| {
        repaired.entries == 0 && repaired.messages.iter().sum::<u64>() == 0
    }) {
        remove(&new);
        made?;
        let nothing = "it contains no readable part of a Foghorn database, so nothing was changed; restore a backup, or";
        return Err(named(&format!("{nothing} {}", files::begin_anew(from))));
    }
    let mut repaired = made?;
    repaired.log_pages = behind;
    // Ownership is set before the rename, so the service never finds a database it cannot write.
    let placed = || -> std::io::Result<Option<PathBuf>> {
        fs::File::open(&new)?.sync_all()?;
        if let Some(to) = to.filter(|_| is_new) {
            files::give(&[to.to_owned()], from)?;
        }
        files::give(std::slice::from_ref(&new), to.unwrap_or(from))?;
        let aside = if to.is_some() {
            None
        } else {
            Some(set_aside(&damaged)?)
        };
        fs::rename(&new, &target)?;
        files::sync_folder(to.unwrap_or(from))?;
        Ok(aside)
    };
    repaired.set_aside = placed().map_err(|e| named(&e))?;
    // The marker says a database exists, so it is written only now that this is true.
    if let Some(folder) = claimed {
        folder.mark()?;
    }
    for dir in std::iter::once(from).chain(to) {
        files::give(&files::made(dir), dir).map_err(|e| named(&e))?;
    }
    repaired.database = target;
    Ok(repaired)
}

/// Deletes a temporary database of ours with its log.
fn remove(database: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(beside(database, suffix));
    }
}

/// Renames the damaged database and its log to a free name, and deletes the search index, which is
/// rebuilt.
fn set_aside(database: &Path) -> std::io::Result<PathBuf> {
    let free = |n: u32| {
        if n == 1 {
            ".damaged".to_owned()
        } else {
            format!(".damaged{n}")
        }
    };
    let taken = |name: &str| {
        beside(database, name).exists() || beside(database, &format!("{name}-wal")).exists()
    };
    // An earlier repair may have used the name already, and its file must not be overwritten.
    let name = (1..=u32::MAX)
        .map(free)
        .find(|name| !taken(name))
        .unwrap_or_default();
    let aside = beside(database, &name);
    for suffix in ["", "-wal"] {
        if beside(database, suffix).exists() {
            fs::rename(beside(database, suffix), beside(&aside, suffix))?;
        }
    }
    let _ = fs::remove_file(beside(database, "-shm"));
    remove(&database.with_file_name(SEARCH));
    Ok(aside)
}

/// Opens the damaged database. If only its log exists, SQLite reads it as the log of an empty
/// database, `alone`.
fn open(damaged: &Path, alone: &Path) -> Result<Connection> {
    let failed =
        |e: &dyn std::fmt::Display| Error::Fatal(format!("cannot read {}: {e}", damaged.display()));
    let mut path = damaged;
    // SQLite deletes the log of an empty file.
    if fs::metadata(damaged).map_or(0, |meta| meta.len()) == 0 && beside(damaged, "-wal").exists() {
        path = alone;
        fs::write(alone, [0; 8_192]).map_err(|e| failed(&e))?;
        fs::copy(beside(damaged, "-wal"), beside(alone, "-wal")).map_err(|e| failed(&e))?;
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = connection.map_err(|e| failed(&e))?;
    // Set before the first read: it makes SQLite accept a truncated file.
    let _ = connection.execute_batch("PRAGMA writable_schema = ON");
    Ok(connection)
}

/// Copies the readable rows of `old` to `new`.
fn salvage(old: &Connection, new: &Path) -> Result<Repaired> {
    let connection = schema::open(new, false)?;
    let failed = |e: rusqlite::Error| Error::Fatal(format!("cannot write {}: {e}", new.display()));
    let mut sieve = Sieve {
        old,
        connection: &connection,
        waiting: 0,
        heads: None,
        judged: 0,
        damaged: BTreeMap::new(),
    };
    connection.execute_batch("BEGIN").map_err(failed)?;
    sieve.take_all().map_err(failed)?;
    let (heads, judged, damaged) = (sieve.heads, sieve.judged, sieve.damaged);
    // `join` deletes and counts rows, so it runs in a transaction of its own.
    connection.execute_batch("COMMIT; BEGIN").map_err(failed)?;
    let mut repaired = Repaired::default();
    join(&connection, heads, judged, &mut repaired)?;
    lost_of(&connection, damaged, &mut repaired).map_err(failed)?;
    let made = connection
        .query_row("SELECT id FROM heads", [], |row| row.get::<_, i64>(0))
        .map_err(failed)?;
    let found = repaired.messages.iter().sum::<u64>()
        + repaired.damaged_messages
        + repaired.missing_messages;
    repaired.vanished_messages = uint(made).saturating_sub(found);
    // Without the checkpoint the data would stay in a log that the rename leaves behind.
    connection
        .execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
        .map_err(failed)?;
    connection.close().map_err(|(_, e)| failed(e))?;
    Ok(repaired)
}

/// A row of the outbox without the short name, in the order of the columns.
type MessageRow = (
    i64,
    String,
    i64,
    i64,
    Option<i64>,
    i64,
    i64,
    Option<String>,
    Option<i64>,
    Vec<u8>,
    i64,
);

/// Row of `heads`: position, time, wall time, cursor, last delivery.
type Stood = (i64, i64, i64, i64, i64);

/// Copies each row of `old` whose checksum is right.
struct Sieve<'c> {
    old: &'c Connection,
    connection: &'c Connection,
    waiting: usize,
    heads: Option<Stood>,
    /// Newest position that is known to be judged.
    judged: i64,
    /// Damaged messages, with the readable beginning of those that were queued.
    damaged: BTreeMap<i64, String>,
}

impl Sieve<'_> {
    fn take_all(&mut self) -> rusqlite::Result<()> {
        let of = |name, columns| Table {
            connection: self.old,
            name,
            columns,
        };
        let journal = of("journal", "at, kind, source, body, crc");
        let cursors = of("cursors", "source, cursor, crc");
        let snapshot = of("snapshot", "body, crc");
        let seen = of("seen", "at, body, crc");
        let heads = of("heads", "seq, at, wall, cursor, id");
        let kept = of("receipts", "dest, incident, delivery, body, crc");
        let columns = "dest, state, attempts, first_try, due, plain, why, settled_at, body, crc";
        let outbox = of("outbox", columns);
        journal.each(&mut |seq, row| self.entry(seq, row))?;
        cursors.each(&mut |_, row| self.cursor(row))?;
        // Numbers below 1 were never given to a message, so such a row is damaged.
        outbox.each(&mut |id, row| match id {
            1.. => self.message(&outbox, id, row),
            _ => Ok(()),
        })?;
        kept.each(&mut |_, row| self.receipt(row))?;
        snapshot.each(&mut |seq, row| self.snapshot(seq, row))?;
        seen.each(&mut |seq, row| self.seen(seq, row))?;
        heads.each(&mut |_, row| {
            let read = row.map(<(i64, i64, i64, i64, i64, i64)>::try_from);
            if let Some(Ok((1, seq, at, wall, cursor, last))) = read
                && cursor <= seq
                && seq > 0
            {
                self.heads = Some((seq, at, wall, cursor, last));
            }
            Ok(())
        })
    }

    fn entry(&mut self, seq: i64, row: Option<&Row<'_>>) -> rusqlite::Result<()> {
        let read = row.map(<(i64, i64, i64, String, Vec<u8>, i64)>::try_from);
        let Some(Ok((_, at, kind, source, body, crc))) = read else {
            return Ok(());
        };
        let (place, time) = (Seq(uint(seq)), Timestamp::from_millis(at));
        if seq < 1 || crc != entry_checksum(place, time, kind, &source, &body) {
            return Ok(());
        }
        let sql = "INSERT OR IGNORE INTO journal (seq, at, kind, source, body, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.put(sql, (seq, at, kind, source, body, crc))
    }

    /// Copies a cursor. Its checksum is verified when it is used.
    fn cursor(&mut self, row: Option<&Row<'_>>) -> rusqlite::Result<()> {
        let read = row.map(<(i64, String, String, i64)>::try_from);
        let Some(Ok((_, source, cursor, crc))) = read else {
            return Ok(());
        };
        let sql = "INSERT OR IGNORE INTO cursors (source, cursor, crc) VALUES (?1, ?2, ?3)";
        self.put(sql, (source, cursor, crc))
    }

    fn receipt(&mut self, row: Option<&Row<'_>>) -> rusqlite::Result<()> {
        let read = row.map(<(i64, String, String, i64, Vec<u8>, i64)>::try_from);
        let Some(Ok((_, to, incident, delivery, body, crc))) = read else {
            return Ok(());
        };
        let row = (to.as_str(), incident.as_str(), delivery, &body[..], crc);
        receipts::salvage(self.connection, row)
    }

    fn snapshot(&mut self, seq: i64, row: Option<&Row<'_>>) -> rusqlite::Result<()> {
        let read = row.map(<(i64, Vec<u8>, i64)>::try_from);
        let Some(Ok((_, body, crc))) = read else {
            return Ok(());
        };
        if crc != checksum(&[&body]) {
            return Ok(());
        }
        self.judged = self.judged.max(seq);
        let sql = "INSERT OR IGNORE INTO snapshot (seq, body, crc) VALUES (?1, ?2, ?3)";
        self.put(sql, (seq, body, crc))
    }

    fn seen(&mut self, seq: i64, row: Option<&Row<'_>>) -> rusqlite::Result<()> {
        let read = row.map(<(i64, i64, Vec<u8>, i64)>::try_from);
        let Some(Ok((_, at, body, crc))) = read else {
            return Ok(());
        };
        if crc != checksum(&[&body]) {
            return Ok(());
        }
        self.judged = self.judged.max(seq);
        let sql = "INSERT OR IGNORE INTO seen (seq, at, body, crc) VALUES (?1, ?2, ?3, ?4)";
        self.put(sql, (seq, at, body, crc))
    }

    fn message(
        &mut self,
        outbox: &Table<'_>,
        id: i64,
        row: Option<&Row<'_>>,
    ) -> rusqlite::Result<()> {
        let read = row.map(MessageRow::try_from);
        // The checksum covers the body only, so the other columns are checked by type and range.
        let Some(Ok((
            _,
            to,
            state @ 0..=4,
            attempts,
            first,
            due,
            plain @ 0..=1,
            why,
            settled,
            body,
            crc,
        ))) = read
        else {
            return self.spoiled(outbox, id);
        };
        if crc != checksum(&[&body]) {
            return self.spoiled(outbox, id);
        }
        // The column exists from schema 3 on; older databases have no short names.
        let sql = "SELECT message FROM outbox NOT INDEXED WHERE id = ?1";
        let name = self.old.query_row(sql, [id], |row| row.get(0));
        let name: Option<String> = name.unwrap_or_default();
        let sql = "INSERT OR IGNORE INTO outbox (id, dest, state, attempts, first_try, due, plain, why, settled_at, body, crc, message)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        let columns = (
            id, to, state, attempts, first, due, plain, why, settled, body, crc, name,
        );
        self.put(sql, columns)
    }

    /// Records a message with a damaged body.
    fn spoiled(&mut self, outbox: &Table<'_>, id: i64) -> rusqlite::Result<()> {
        let sql = "SELECT dest, state FROM outbox NOT INDEXED WHERE id = ?1";
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
        let said = match self.old.query_row(sql, [id], read) {
            Ok((to, 0)) => format!("for {to}: {}", title(&outbox.beginning(id))),
            _ => String::new(),
        };
        self.damaged.insert(id, said);
        Ok(())
    }

    fn put(&mut self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.connection.execute(sql, params)?;
        self.waiting += 1;
        if self.waiting >= AT_ONCE {
            self.waiting = 0;
            self.connection.execute_batch("COMMIT; BEGIN")?;
        }
        Ok(())
    }
}

/// Completes the database from the rows that were found: no gap in the journal, nothing beyond its
/// end, totals that agree.
fn join(
    connection: &Connection,
    heads: Option<Stood>,
    judged: i64,
    repaired: &mut Repaired,
) -> Result<()> {
    let number = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, Option<i64>>(0))
            .map_err(Error::from)
    };
    let run = |sql: &str, n: i64| connection.execute(sql, [n]).map_err(Error::from);
    let newest = number("SELECT max(seq) FROM journal")?.unwrap_or(0);
    // The position in `heads` can be newer than the newest readable entry, but damage must not make
    // it absurd.
    let last = heads
        .map_or(newest, |heads| heads.0)
        .clamp(newest, newest.saturating_add(GAP));
    let first = oldest(connection, last)?;
    run("DELETE FROM journal WHERE seq < ?1", first)?;
    repaired.entries = uint(number("SELECT count(*) FROM journal")?.unwrap_or(0));
    let at = fill(
        connection,
        first,
        last,
        heads.map_or(0, |heads| heads.1),
        &mut repaired.lost,
    )?;

    // Everything up to a snapshot or a duplicate memory has been judged, even if `heads` is
    // unreadable. A cursor that is too low would send old messages again.
    repaired.cursor_guessed = heads.is_none();
    let cursor = heads.map_or(0, |heads| heads.3).max(judged).min(last);
    // A snapshot beyond the cursor, or one whose following entries are missing, is of no use.
    connection.execute(
        "DELETE FROM snapshot WHERE seq > ?1 OR seq < ?2",
        (cursor, first - 1),
    )?;
    let snapshot = number("SELECT max(seq) FROM snapshot")?;
    run(
        "DELETE FROM snapshot WHERE seq <> ?1",
        snapshot.unwrap_or(0),
    )?;
    // The restart writes the memory above the snapshot again.
    run("DELETE FROM seen WHERE seq > ?1", snapshot.unwrap_or(0))?;
    repaired.snapshot = snapshot.map(|seq| Seq(uint(seq)));

    // Numbers of deliveries are never reused, even if their rows are lost.
    let ids = number("SELECT max(id) FROM outbox")?
        .unwrap_or(0)
        .max(heads.map_or(0, |heads| heads.4));
    let wall = heads.map_or_else(|| Clock::system().wall().millis(), |heads| heads.2);
    let sql = "UPDATE heads SET seq = ?1, at = ?2, wall = ?3, cursor = ?4, id = ?5";
    connection.execute(sql, (last, at, wall, cursor, ids))?;
    let counts = "INSERT INTO fates (dest, total, delivered, digested, dead, queued, discarded)
        SELECT dest, count(*), sum(state = 1), sum(state = 2), sum(state = 3), sum(state = 0), sum(state = 4)
        FROM outbox GROUP BY dest";
    connection.execute(counts, [])?;
    for (state, kept) in (0..).zip(repaired.messages.iter_mut()) {
        *kept = uint(
            number(&format!(
                "SELECT count(*) FROM outbox WHERE state = {state}"
            ))?
            .unwrap_or(0),
        );
    }
    Ok(())
}

/// Extracts the title from the readable part of a message.
fn title(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let said = text
        .split_once("\"title\":\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    said.map_or_else(
        || "cannot be read".to_owned(),
        |(title, _)| title.chars().take(120).collect(),
    )
}

/// Counts messages without an intact copy. A message can occur in several copies, because each
/// change writes its row again. Numbers above the last one never belonged to a message.
fn lost_of(
    connection: &Connection,
    damaged: BTreeMap<i64, String>,
    repaired: &mut Repaired,
) -> rusqlite::Result<()> {
    let last: i64 = connection.query_row("SELECT id FROM heads", [], |row| row.get(0))?;
    let mut kept = connection.prepare("SELECT 1 FROM outbox WHERE id = ?1")?;
    let mut known = BTreeMap::new();
    for (id, said) in damaged.into_iter().take_while(|(id, _)| *id <= last) {
        if !kept.exists([id])? {
            repaired.damaged_messages += 1;
            known.insert(id, !said.is_empty());
            repaired
                .unsaid
                .extend(Some(said).filter(|said| !said.is_empty()));
        }
    }
    let mut all = connection.prepare("SELECT id, state FROM outbox")?;
    for row in all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (id, state) = row?;
        let waits = matches!(state, DeliveryState::Queued | DeliveryState::Dead);
        known.insert(id, waits);
    }
    // Retention deletes settled messages, the oldest first. So it leaves no gap after a settled
    // message that still exists, nor between two messages that wait.
    let (mut before, mut has_settled, mut waits) = (None, false, false);
    // The entry after the last number closes the final gap.
    for (id, waits_too) in known.into_iter().chain([(last.saturating_add(1), true)]) {
        if let Some(before) = before
            && (has_settled || (waits && waits_too))
        {
            repaired.missing_messages += uint(id - before - 1);
        }
        (before, has_settled, waits) = (Some(id), has_settled || !waits_too, waits_too);
    }
    Ok(())
}

/// Returns the first position of the journal: the oldest entry without a long gap between it and
/// the end.
fn oldest(connection: &Connection, last: i64) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare("SELECT seq FROM journal ORDER BY seq DESC")?;
    let mut first = last + 1;
    for seq in statement.query_map([], |row| row.get::<_, i64>(0))? {
        let seq = seq?;
        if first - seq > GAP {
            break;
        }
        first = seq;
    }
    Ok(first)
}

/// Inserts ticks for missing entries, with the time of the entry before. Returns the time of the
/// last entry.
fn fill(connection: &Connection, first: i64, last: i64, at: i64, lost: &mut u64) -> Result<i64> {
    let sql = "SELECT at FROM journal WHERE seq = ?1";
    let mut known = connection.prepare(sql)?;
    let sql =
        "INSERT INTO journal (seq, at, kind, source, body, crc) VALUES (?1, ?2, 1, '', x'', ?3)";
    let mut put = connection.prepare(sql)?;
    let tick = JournalRow::new(Record::Tick)?;
    let mut before = None;
    for seq in first..=last {
        let found = known
            .query_row([seq], |row| row.get::<_, i64>(0))
            .optional()?;
        // A tick changes nothing except the time, so it can replace any lost entry.
        before = match (found, before) {
            (Some(found), _) => Some(found),
            (None, before) => {
                let at = before.unwrap_or(at);
                let crc = tick.checksum(Seq(uint(seq)), Timestamp::from_millis(at));
                put.execute((seq, at, crc))?;
                *lost += 1;
                Some(at)
            }
        };
    }
    Ok(before.unwrap_or(at).max(at))
}
