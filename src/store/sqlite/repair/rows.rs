//! Rows that SQLite can still read from a damaged database, in the order of their numbers.

use rusqlite::{Connection, MAIN_DB, OptionalExtension, Row};

/// Number of body bytes read from a row whose rest is lost.
const BEGINNING: usize = 1_024;

/// Receives a row's number, and the row itself unless it is damaged. The first column is the
/// number.
pub(super) type Take<'t> = dyn FnMut(i64, Option<&Row<'_>>) -> rusqlite::Result<()> + 't;

/// A table of the damaged database.
pub(super) struct Table<'c> {
    pub(super) connection: &'c Connection,
    pub(super) name: &'static str,
    /// Columns to read, without the row's number.
    pub(super) columns: &'static str,
}

impl Table<'_> {
    /// Passes on every readable row, and the numbers of damaged ones. Skips pages that cannot be
    /// read at all.
    pub(super) fn each(&self, take: &mut Take<'_>) -> rusqlite::Result<()> {
        let mut after = i64::MIN;
        while !self.read_on(&mut after, take)? {
            match self.next(after) {
                Ok(Some(id)) => {
                    take(id, None)?;
                    after = id;
                }
                Ok(None) => break,
                Err(_) => match self.beyond(after) {
                    Some(further) => after = further,
                    None => break,
                },
            }
        }
        Ok(())
    }

    /// Reads until a row cannot be read. Returns true at the end of the table.
    fn read_on(&self, after: &mut i64, take: &mut Take<'_>) -> rusqlite::Result<bool> {
        let sql = format!(
            "SELECT rowid, {} FROM {} NOT INDEXED WHERE rowid > ?1 ORDER BY rowid",
            self.columns, self.name
        );
        let Ok(mut statement) = self.connection.prepare(&sql) else {
            return Ok(true);
        };
        let mut rows = statement.query([*after])?;
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    // Numbers must grow. A smaller one means a page of another table, or an outdated page.
                    let id = row.get(0)?;
                    if id <= *after {
                        return Ok(false);
                    }
                    take(id, Some(row))?;
                    *after = id;
                }
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    /// Returns the number of the next row, which may itself be damaged.
    fn next(&self, after: i64) -> rusqlite::Result<Option<i64>> {
        let sql = format!(
            "SELECT rowid FROM {} NOT INDEXED WHERE rowid > ?1 ORDER BY rowid LIMIT 1",
            self.name
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement.query_row([after], |row| row.get(0)).optional()
    }

    /// Returns a position behind the unreadable pages, found by bisection.
    fn beyond(&self, after: i64) -> Option<i64> {
        let from = after.max(0);
        let (mut bad, mut good) = (0, None);
        // The step doubles until a readable position is found; bisection then finds the first one.
        for power in 0..48 {
            let step = 1_i64 << power;
            if self.next(from + step).is_ok() {
                good = Some(step);
                break;
            }
            bad = step;
        }
        let mut good = good?;
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if self.next(from + middle).is_ok() {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(from + good)
    }

    /// Returns the readable beginning of a row's body.
    pub(super) fn beginning(&self, id: i64) -> Vec<u8> {
        let mut bytes = vec![0; BEGINNING];
        let read = self
            .connection
            .blob_open(MAIN_DB, self.name, "body", id, true)
            .and_then(|blob| blob.read_at(&mut bytes, 0));
        bytes.truncate(read.unwrap_or(0));
        bytes
    }
}
