//! What is whole in a damaged database, in a new one. The old one is never written to.
//!
//! Rows are read by SQLite, in the order of their numbers, around what it cannot read. Journal
//! entries, the snapshot and messages prove themselves by their checksums. What else there is can
//! be made again: the judge folds the journal anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use super::connection::{checksum, uint};
use super::files::{self, Folder, SEARCH, beside};
use super::journal::{Entry, entry_checksum};
use super::log::{self, End};
use super::{receipts, schema};
use crate::clock::Clock;
use crate::model::{Record, Seq, Timestamp};
use crate::store::{DeliveryState, Error, Result};

mod rows;

use rows::Table;

/// Entries may lack for so long: what is older than a longer gap was taken by retention and is no
/// part of the journal.
const GAP: i64 = 100_000;
/// Rows in one transaction.
const AT_ONCE: usize = 5_000;

/// What was kept and what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Where the repaired database is.
    pub database: PathBuf,
    /// Where the damaged one was put; `None` where it stays.
    pub set_aside: Option<PathBuf>,
    /// Journal entries kept, and of how many nothing was found.
    pub entries: u64,
    /// Entries that are lost. Ticks stand in their place, so that all others keep their numbers.
    pub lost: u64,
    /// Messages kept, by state: queued, delivered, digested, dead, discarded.
    pub messages: [u64; 5],
    /// Messages found whose text is damaged.
    pub damaged_messages: u64,
    /// Those of them that waited, as far as their beginning can be read: whom each was for, and
    /// its title.
    pub unsaid: Vec<String>,
    /// Messages of which nothing is there, though retention left older ones: lost, or dead letters
    /// sent again under a new number.
    pub missing_messages: u64,
    /// Messages that were made once and of which nothing is there: removed by retention, or lost.
    pub vanished_messages: u64,
    /// Where the engine goes on from: the snapshot's position. `None`: from the oldest entry kept.
    pub snapshot: Option<Seq>,
    /// Whole pages of SQLite's log that come after a damaged one: what they hold is lost.
    pub log_pages: u64,
    /// How far the journal was judged was not to be read: it was taken from what had been judged
    /// at least.
    pub cursor_guessed: bool,
}

/// Makes a sound database of what is whole in `from`'s: in `to`, or in `from` itself, where the
/// damaged one is set aside.
///
/// # Errors
/// One line that names the folder: in use, nothing to be found in it, or not writable. Then nothing
/// was changed.
pub fn repair(from: &Path, to: Option<&Path>) -> Result<Repaired> {
    let named =
        |e: &dyn std::fmt::Display| Error::Fatal(format!("data folder {}: {e}", from.display()));
    if !from.is_dir() {
        return Err(named(&"there is no such folder"));
    }
    let _held = files::lock(from)?;
    let damaged = files::database(from);
    if !damaged.exists() && !beside(&damaged, "-wal").exists() {
        return Err(named(&"it has no database"));
    }
    let alone = beside(&damaged, ".log");
    remove(&alone);
    // Its rows would be read as this release's, and what they hold beyond that be lost.
    let is_ours = open(&damaged, &alone).and_then(|old| schema::check_not_newer(&old, &damaged));
    remove(&alone);
    is_ours?;
    // Asked before SQLite drops what is behind the damage.
    let behind = match log::end(&damaged) {
        Ok(End::Broken(pages)) => pages,
        _ => 0,
    };
    let is_new = to.is_some_and(|to| !to.exists());
    let claimed = to.map(Folder::claim).transpose()?;
    let target = files::database(to.unwrap_or(from));
    if to.is_some() && target.exists() {
        return Err(Error::Fatal(format!(
            "{} is there already: name a folder without one",
            target.display()
        )));
    }
    let new = beside(&target, ".repairing");
    remove(&new);
    let made = open(&damaged, &alone).and_then(|old| salvage(&old, &new));
    remove(&alone);
    if made.as_ref().map_or(true, |repaired| {
        repaired.entries == 0 && repaired.messages.iter().sum::<u64>() == 0
    }) {
        remove(&new);
        made?;
        let nothing = "nothing of a Foghorn database was found in it, so nothing was changed; restore a backup, or";
        return Err(named(&format!("{nothing} {}", files::begin_anew(from))));
    }
    let mut repaired = made?;
    repaired.log_pages = behind;
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
    if let Some(folder) = claimed {
        folder.mark()?;
    }
    for dir in std::iter::once(from).chain(to) {
        files::give(&files::made(dir), dir).map_err(|e| named(&e))?;
    }
    repaired.database = target;
    Ok(repaired)
}

/// A database of ours that nobody needs, with its log.
fn remove(database: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(beside(database, suffix));
    }
}

/// Moves the damaged database and its log to a name that is free. The index of the search goes: it
/// is made anew.
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

/// Opens the damaged database. Where there is only its log, SQLite reads that as the log of an empty
/// one, `alone`.
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
    // Before anything is read: SQLite then takes a file that was cut short, too.
    let _ = connection.execute_batch("PRAGMA writable_schema = ON");
    Ok(connection)
}

/// Writes what is whole in `old` to `new`.
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
    connection
        .execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
        .map_err(failed)?;
    connection.close().map_err(|(_, e)| failed(e))?;
    Ok(repaired)
}

/// A row of the outbox but for the short name, in the order of the columns.
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

/// Where everything stood: position, time, wall time, cursor, last delivery.
type Stood = (i64, i64, i64, i64, i64);

/// Copies each row of `old` that proves itself.
struct Sieve<'c> {
    old: &'c Connection,
    connection: &'c Connection,
    waiting: usize,
    heads: Option<Stood>,
    /// So far was judged at least.
    judged: i64,
    /// Messages that are not whole, and what can be read of those that waited.
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

    /// Whoever reads a cursor looks at its checksum.
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
        // Its checksum covers the body only.
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
        // The short name is kept by releases from schema 3 on.
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

    /// A message whose text is not whole.
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

/// Makes one database of the rows that were found: no gap in the journal, nothing beyond its end,
/// counts that agree.
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

    repaired.cursor_guessed = heads.is_none();
    let cursor = heads.map_or(0, |heads| heads.3).max(judged).min(last);
    // One that was judged from entries beyond what is known, or from before the oldest kept, is of
    // no use.
    connection.execute(
        "DELETE FROM snapshot WHERE seq > ?1 OR seq < ?2",
        (cursor, first - 1),
    )?;
    let snapshot = number("SELECT max(seq) FROM snapshot")?;
    run(
        "DELETE FROM snapshot WHERE seq <> ?1",
        snapshot.unwrap_or(0),
    )?;
    run("DELETE FROM seen WHERE seq > ?1", snapshot.unwrap_or(0))?;
    repaired.snapshot = snapshot.map(|seq| Seq(uint(seq)));

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

/// What a message says first, as far as that can be read.
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

/// Of which messages there is no whole copy: each was written more than once. What has a number
/// beyond the last was never a message.
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
    // Retention takes what was settled first: it leaves no gap behind what is settled and still
    // there, nor among what waits.
    let (mut before, mut has_settled, mut waits) = (None, false, false);
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

/// Where the journal begins: at the oldest entry that no long gap parts from the end.
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

/// Puts ticks where entries are missing, at the time of the entry before. Gives the time of the
/// last entry.
fn fill(connection: &Connection, first: i64, last: i64, at: i64, lost: &mut u64) -> Result<i64> {
    let sql = "SELECT at FROM journal WHERE seq = ?1";
    let mut known = connection.prepare(sql)?;
    let sql =
        "INSERT INTO journal (seq, at, kind, source, body, crc) VALUES (?1, ?2, 1, '', x'', ?3)";
    let mut put = connection.prepare(sql)?;
    let tick = Entry::new(Record::Tick)?;
    let mut before = None;
    for seq in first..=last {
        let found = known
            .query_row([seq], |row| row.get::<_, i64>(0))
            .optional()?;
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
