//! Full-text search of events, in a separate file, `search.db`. All of it can be rebuilt from rows
//! and journal. The writer therefore never syncs it, and a damaged file is deleted.
//!
//! Each 100,000 events have an index of their own, and the newest is queried first. A query ends as
//! soon as its page is full, a rare word costs little in each index, and retention drops whole
//! indexes. The indexes store words without positions (`detail=none`).

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::connection::give_back;
use super::files::beside;
use crate::model::EventId;
use crate::store::{Doc, Term};

/// Version of the file format; a file with another version is rebuilt.
const VERSION: i64 = 2;
/// Number of free pages kept in the file: 1 MiB.
const SPARE_PAGES: i64 = 128;
/// Number of events in one index.
const EVENTS: i64 = if cfg!(test) { 50 } else { 100_000 };

/// The search indexes and their connections.
pub(super) struct Search {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    indexed: AtomicI64,
}

impl Search {
    /// Opens the file beside the database, or creates it. `newest` is the newest row of the
    /// database: an index beyond it belongs to another database.
    pub(super) fn open(path: &Path, newest: EventId) -> rusqlite::Result<Self> {
        // `None` means: the file is readable, but must be rebuilt.
        let open = || -> rusqlite::Result<Option<Self>> {
            let writer = connect(path)?;
            let version: i64 = writer.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version == 0 {
                let tables: i64 =
                    writer.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
                // Version 0 with tables is no file of ours that was just created.
                if tables > 0 {
                    return Ok(None);
                }
                writer.execute_batch(
                    "BEGIN; CREATE TABLE parts (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, docs INTEGER NOT NULL) STRICT;
                     PRAGMA user_version = 2; COMMIT;",
                )?;
            } else if version != VERSION {
                return Ok(None);
            }
            let last = writer.query_row("SELECT coalesce(max(last), 0) FROM parts", [], |row| {
                row.get::<_, i64>(0)
            })?;
            if last > newest.0 {
                tracing::warn!(
                    found = last,
                    stored = newest.0,
                    "search.db indexes newer events than foghorn.db holds: foghorn.db is an older copy, or its log, foghorn.db-wal, \
                     was lost. Nobody is notified about the missing events. search.db is rebuilt"
                );
                return Ok(None);
            }
            let reader = Mutex::new(connect(path)?);
            Ok(Some(Self {
                writer: Mutex::new(writer),
                reader,
                indexed: AtomicI64::new(last),
            }))
        };
        if let Ok(Some(search)) = open() {
            return Ok(search);
        }
        // Everything in the file can be rebuilt, so any doubt about it ends here.
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(beside(path, suffix));
        }
        open()?.ok_or(rusqlite::Error::InvalidQuery)
    }

    pub(super) fn indexed(&self) -> EventId {
        EventId(self.indexed.load(Ordering::Acquire))
    }

    /// Adds events in order, and drops indexes whose events are all older than `first`.
    pub(super) fn add(&self, docs: &[Doc], upto: EventId, first: EventId) -> rusqlite::Result<()> {
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        let part: Option<(i64, i64)> = transaction
            .query_row(
                "SELECT first, docs FROM parts ORDER BY first DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        // A crash can lose the last additions or repeat them; events already indexed are skipped
        // below.
        let known = self.indexed().0;
        let begin = docs.first().map_or(upto.0, |doc| doc.id.0).max(known + 1);
        let (part, held) = match part.filter(|(_, docs)| *docs < EVENTS) {
            Some(part) => part,
            None => {
                let sql = format!(
                    "CREATE VIRTUAL TABLE e{begin} USING fts5(w, content='', detail=none, columnsize=0,
                         tokenize=\"unicode61 remove_diacritics 0\")"
                );
                transaction.execute_batch(&sql)?;
                transaction.execute("INSERT INTO parts VALUES (?1, ?1, 0)", [begin])?;
                (begin, 0)
            }
        };
        {
            let mut statement = transaction
                .prepare_cached(&format!("INSERT INTO e{part} (rowid, w) VALUES (?1, ?2)"))?;
            for doc in docs.iter().filter(|doc| doc.id.0 > known) {
                statement.execute((doc.id.0, doc.words.join(" ")))?;
            }
        }
        let docs = held + i64::try_from(docs.len()).unwrap_or(0);
        transaction.execute(
            "UPDATE parts SET last = ?2, docs = ?3 WHERE first = ?1",
            (part, upto.0.max(part), docs),
        )?;
        // The newest index stays even if it is old, because the next events go there.
        let gone: Vec<i64> = transaction
            .prepare_cached("SELECT first FROM parts WHERE last < ?1 AND first <> ?2")?
            .query_map((first.0, part), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for gone in gone {
            transaction.execute_batch(&format!(
                "DROP TABLE e{gone}; DELETE FROM parts WHERE first = {gone}"
            ))?;
        }
        transaction.commit()?;
        // The pages of dropped indexes go back to the disk.
        let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free > SPARE_PAGES {
            give_back(&connection, free - SPARE_PAGES)?;
        }
        self.indexed.store(upto.0.max(known), Ordering::Release);
        Ok(())
    }

    /// Passes the numbers of matching events to `found`, newest first, until it returns false.
    /// Events match if they have all words and lie between `after` and `before`. Between two
    /// indexes the search stops if `enough` returns true; it then returns the event to continue
    /// before.
    pub(super) fn find(
        &self,
        terms: &[Term],
        (before, after): (EventId, EventId),
        enough: &dyn Fn() -> bool,
        found: &mut dyn FnMut(EventId) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<Option<EventId>> {
        // Words without a searchable character give an empty query, which FTS5 rejects.
        let question = question(terms);
        if question.is_empty() {
            return Ok(None);
        }
        let reader: MutexGuard<'_, Connection> =
            self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let parts: Vec<i64> = reader
            .prepare_cached(
                "SELECT first FROM parts WHERE first < ?1 AND last > ?2 ORDER BY first DESC",
            )?
            .query_map((before.0, after.0), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut asked = None;
        for part in parts {
            // At least one index is queried per call, so a slow search still makes progress.
            if asked.is_some() && enough() {
                return Ok(asked);
            }
            asked = Some(EventId(part));
            let sql = format!(
                "SELECT rowid FROM e{part} WHERE e{part} MATCH ?1 AND rowid < ?2 AND rowid > ?3 ORDER BY rowid DESC"
            );
            let mut statement = reader.prepare_cached(&sql)?;
            let mut rows = statement.query((&question, before.0, after.0))?;
            while let Some(row) = rows.next()? {
                if !found(EventId(row.get(0)?))? {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "page_size", 8_192)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", 4 << 20, |row| {
        row.get::<_, i64>(0)
    })?;
    connection
        .pragma_update_and_check(None, "wal_autocheckpoint", 512, |row| row.get::<_, i64>(0))?;
    connection.pragma_update(None, "cache_size", -2_048)?;
    Ok(connection)
}

/// Builds the FTS5 query. Words contain no quotes, and inside quotes nothing else has a special
/// meaning.
fn question(terms: &[Term]) -> String {
    let one = |term: &Term| match term {
        Term::Is(word) => format!("\"{}\"", word.replace('"', "")),
        Term::Begins(word) => format!("\"{}\"*", word.replace('"', "")),
    };
    terms.iter().map(one).collect::<Vec<_>>().join(" AND ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_takes_long_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let search = Search::open(&dir.path().join("search.db"), EventId(200)).unwrap();
        for n in 0..4 {
            let docs = (n * 50 + 1..=n * 50 + 50).map(|id| Doc {
                id: EventId(id),
                words: vec!["word".to_owned()],
            });
            let docs: Vec<Doc> = docs.collect();
            search.add(&docs, EventId(n * 50 + 50), EventId(1)).unwrap();
        }
        let terms = [Term::Begins("wo".to_owned())];
        let (mut before, mut found, mut questions) = (EventId::LAST, Vec::new(), 0);
        loop {
            let mut take = |id: EventId| {
                found.push(id.0);
                Ok(true)
            };
            questions += 1;
            match search
                .find(&terms, (before, EventId(0)), &|| true, &mut take)
                .unwrap()
            {
                Some(next) => before = next,
                None => break,
            }
        }
        assert_eq!((found, questions), ((1..=200).rev().collect(), 4));
    }
}
