//! Integrity check of a database: every page, as SQLite checks it, and the outbox against its
//! totals. Without the check, damage shows only when somebody reads the page.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use crate::store::{Error, Result};

/// Interval between two checks in one process, because disks also fail while it serves.
const DAILY: Duration = Duration::from_secs(86_400);

/// Fails with the damage found. SQLite accepts a table that became empty, so the queued messages
/// are counted in three places.
pub(super) fn whole(connection: &Connection) -> Result<()> {
    let damaged = |what: &str| Err(Error::Fatal(format!("the database is damaged: {what}")));
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if said != "ok" {
        // The lines with asterisks are headings of SQLite's report.
        return damaged(
            said.lines()
                .find(|line| !line.starts_with("***"))
                .unwrap_or(&said),
        );
    }
    // `NOT INDEXED` reads the table itself; without it the same query reads the partial index of
    // queued messages.
    let sql = "SELECT dest, sum(counted), sum(listed), sum(there) FROM (
            SELECT dest, queued AS counted, 0 AS listed, 0 AS there FROM fates
            UNION ALL SELECT dest, 0, count(*), 0 FROM outbox WHERE state = 0 GROUP BY dest
            UNION ALL SELECT dest, 0, 0, count(*) FROM outbox NOT INDEXED WHERE state = 0 GROUP BY dest)
        GROUP BY dest HAVING sum(counted) <> sum(there) OR sum(listed) <> sum(there) LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?]));
    match connection.query_row(sql, [], read) {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(()),
        Err(e) => Err(e.into()),
        Ok((dest, [counted, listed, there])) => {
            let (dest, [counted, listed, there]): (String, [i64; 3]) =
                (dest, [counted, listed, there]);
            damaged(&format!(
                "{counted} messages should wait for {dest}, but {there} exist and {listed} are in the index"
            ))
        }
    }
}

/// Checks like [`whole`], for at most `most`. Returns false if the time was too short and no damage
/// was found.
pub(super) fn whole_within(connection: &Connection, most: Duration) -> Result<bool> {
    let handle = connection.get_interrupt_handle();
    let (done, over) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if over.recv_timeout(most) == Err(RecvTimeoutError::Timeout) {
                handle.interrupt();
            }
        });
        let looked = whole(connection);
        drop(done);
        match looked {
            Ok(()) => Ok(true),
            Err(Error::Transient(_)) => Ok(false),
            Err(fatal) => Err(fatal),
        }
    })
}

/// Checks at once and then daily until `stop` is closed. The result of the first check also goes to
/// `first`, for a caller that waits for it.
pub(super) fn keep_looking(
    connection: &Connection,
    first: &SyncSender<Result<()>>,
    found: &watch::Sender<Option<Error>>,
    stop: &Receiver<()>,
) {
    loop {
        let looked = whole(connection);
        // The receiver may be gone: a start waits for the first check only for a short time.
        let _ = first.try_send(looked.clone());
        // Other errors mean an interrupt or a failing read, which the next reader reports.
        if let Err(fatal @ Error::Fatal(_)) = looked {
            found.send_replace(Some(fatal));
            return;
        }
        if stop.recv_timeout(DAILY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
