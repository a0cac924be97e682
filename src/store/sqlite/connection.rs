//! Setup of connections, and conversion of SQLite's values and errors.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::store::Error;

/// Number of body bytes that ends a batch.
pub(super) const BATCH_BYTES: usize = 4 << 20;

impl From<rusqlite::Error> for Error {
    /// Converts an error of SQLite: damage is fatal, anything else may pass.
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType,
            QueryReturnedNoRows, Utf8Error,
        };
        // Repeating the call cannot repair a missing or malformed row.
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
                Self::Fatal(format!("the database is damaged: {error}"))
            }
            None if is_other => Self::Fatal(format!("the database is damaged: {error}")),
            _ => Self::Transient(error.to_string()),
        }
    }
}

/// Converts a `u64` for a column, because SQLite's integers are signed.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Converts a column back to `u64`.
pub(super) fn uint(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// Returns the CRC-32 of the parts.
pub(super) fn checksum(parts: &[&[u8]]) -> i64 {
    let mut crc = crc32fast::Hasher::new();
    parts.iter().for_each(|part| crc.update(part));
    i64::from(crc.finalize())
}

/// Opens a connection for a writer. `cache` is in KiB.
pub(super) fn connect(path: &Path, cache: i64) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // The first two work only before the first table is created. Pages of 8 KiB halve the number of
    // pages per group of posts, and each page costs two system calls.
    connection.pragma_update(None, "page_size", 8_192)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Another thread runs the checkpoints. This limit only bounds the log if the writer never
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

/// Returns free pages to the disk. Each step of the statement frees one page, so it must run to its
/// end.
pub(super) fn give_back(connection: &Connection, pages: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = statement.query([])?;
    while steps.next()?.is_some() {}
    Ok(())
}

/// Opens a connection that only reads.
pub(super) fn connect_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -1_024)?;
    Ok(connection)
}
