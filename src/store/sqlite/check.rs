//! Whether a database is whole: every page as SQLite checks it, and the outbox against what is
//! counted of it. Damage shows only where it is read, and what is never read is never told.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use crate::store::{Error, Result};

/// So long between two looks of one process: disks rot while it serves.
const DAILY: Duration = Duration::from_secs(86_400);

/// Fails with what is damaged. A table that became empty is sound to SQLite: what waits is counted
/// in three places.
pub(super) fn whole(connection: &Connection) -> Result<()> {
    let damaged = |what: &str| Err(Error::Fatal(format!("the database is damaged: {what}")));
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if said != "ok" {
        return damaged(
            said.lines()
                .find(|line| !line.starts_with("***"))
                .unwrap_or(&said),
        );
    }
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
                "of {counted} messages that wait for {dest}, {there} are there and {listed} listed"
            ))
        }
    }
}

/// As [`whole`], for at most so long. `false`: what could be looked at in that time is sound.
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

/// Looks at once, and each day anew, until told to stop; who waits for the `first` look learns of
/// it too.
pub(super) fn keep_looking(
    connection: &Connection,
    first: &SyncSender<Result<()>>,
    found: &watch::Sender<Option<Error>>,
    stop: &Receiver<()>,
) {
    loop {
        let looked = whole(connection);
        // Who opened the store may have gone on without it.
        let _ = first.try_send(looked.clone());
        // Interrupted, or it cannot be read now: whoever needs to read says so.
        if let Err(fatal @ Error::Fatal(_)) = looked {
            found.send_replace(Some(fatal));
            return;
        }
        if stop.recv_timeout(DAILY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
