//! The only thread that writes. All waiting jobs share one transaction and one sync.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{oneshot, watch};

use super::connection::{checksum, connect, give_back, int};
use super::files::{SEARCH, beside};
use super::heads::{self, Fates, Heads};
use super::journal::{self, JournalRow};
use super::outbox::SETTLED_BEFORE;
use super::{marks, past, receipts};
use crate::clock::JournalClock;
use crate::model::{EventId, MessageFates, Name, Seq, Timestamp};
use crate::store::{
    Attempt, DeliveryId, DeliveryState, Error, EventRow, Next, Recovered, Result, Retention, Step,
};

/// Maximum number of jobs and bytes in one transaction.
const GROUP_JOBS: usize = 1_024;
const GROUP_BYTES: usize = 8 << 20;
/// Interval between runs of retention while there is activity, and the number of rows removed at
/// once, so that ingest does not wait for it.
const RETAIN_EVERY: Duration = Duration::from_secs(30);
const RETAIN_ROWS: i64 = 1_000;
/// Number of free pages kept in the file for new rows: 4 MiB.
const SPARE_PAGES: i64 = 512;

/// Length at which the log is written back. This repeats after as much growth again, or after
/// `LOG_EVERY`.
const LOG_BYTES: u64 = 4 << 20;
const LOG_EVERY: Duration = Duration::from_millis(250);

/// Answers a caller with the result of its group's commit.
type Answer = Box<dyn FnOnce(Result<()>) + Send>;

/// Does the work of a job. Returns its result in this group, and the function that answers the
/// caller.
type Work = Box<dyn FnOnce(Result<&mut WriteGroup<'_>>) -> (Result<()>, Answer) + Send>;

/// The request of one caller. Given a group it does its work there; given an error it only passes
/// that on.
pub(super) struct Job {
    /// Number of bytes the job adds to its group.
    weight: usize,
    work: Work,
}

impl Job {
    /// Creates a job, and the receiver for its answer. The answer holds the result of `work` once
    /// that is durable.
    pub(super) fn new<T: Send + 'static>(
        weight: usize,
        work: impl FnOnce(&mut WriteGroup<'_>) -> Result<T> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T>>) {
        let (answer, answered) = oneshot::channel();
        let work = move |group: Result<&mut WriteGroup<'_>>| {
            let done = group.and_then(work);
            let end = done.as_ref().map(|_| ()).map_err(Clone::clone);
            // The send fails if the caller has gone away; nobody needs the answer then.
            let answer: Answer = Box::new(move |durable| drop(answer.send(durable.and(done))));
            (end, answer)
        };
        (
            Self {
                weight,
                work: Box::new(work),
            },
            answered,
        )
    }
}

/// State that every handle reads, as of the last durable group.
pub(super) struct Shared {
    pub(super) fates: Mutex<Fates>,
    pub(super) appended: watch::Sender<Seq>,
    pub(super) outbox: watch::Sender<DeliveryId>,
}

/// An open transaction, and the positions that hold once it is durable.
pub(super) struct WriteGroup<'c> {
    pub(super) connection: &'c Connection,
    pub(super) heads: Heads,
    fates: Fates,
    touched: BTreeSet<Name>,
}

/// A message in the format of the outbox.
pub(super) struct NewMessage {
    pub(super) to: Vec<Name>,
    /// Short name by which people refer to the message.
    pub(super) id: String,
    pub(super) body: Vec<u8>,
    /// Alerts the message is about.
    pub(super) alerts: Vec<u64>,
}

impl WriteGroup<'_> {
    pub(super) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut s| s.execute(params))
            .map_err(Error::from)
    }

    pub(super) fn append(
        &mut self,
        entry: &JournalRow,
        now: Timestamp,
        wall: Timestamp,
    ) -> Result<Seq> {
        // The system clock can go back; journal time must not.
        let (seq, at) = (Seq(self.heads.seq.0 + 1), now.max(self.heads.at));
        let crc = entry.checksum(seq, at);
        self.execute(
            "INSERT INTO journal (seq, at, kind, source, body, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (int(seq.0), at.millis(), entry.kind, entry.source.as_str(), entry.body.as_ref(), crc),
        )?;
        if let Some(cursor) = &entry.cursor {
            journal::keep_cursor(self.connection, &entry.source, cursor)?;
        }
        (self.heads.seq, self.heads.at, self.heads.wall) = (seq, at, wall);
        Ok(seq)
    }

    /// Commits a step with its messages in the format of the outbox. Event rows before `written`
    /// are stored already. If the cursor is not at `from`, does nothing and returns the cursor.
    pub(super) fn commit(
        &mut self,
        from: Seq,
        step: &Step,
        messages: &[NewMessage],
        written: usize,
    ) -> Result<Option<Seq>> {
        // Another judge has committed since: its messages exist already.
        if self.heads.cursor != from {
            return Ok(Some(self.heads.cursor));
        }
        // A step at the cursor repeats one whose messages were created before the restart.
        if step.seq > self.heads.cursor {
            for message in messages {
                self.queue(message, step.at)?;
            }
            self.heads.cursor = step.seq;
        }
        self.note(step.events.get(written..).unwrap_or_default())?;
        past::change(self.connection, &step.outcomes)?;
        if !step.seen.is_empty() {
            self.execute(
                "INSERT OR REPLACE INTO seen (seq, at, body, crc) VALUES (?1, ?2, ?3, ?4)",
                (
                    int(step.seq.0),
                    step.at.millis(),
                    &step.seen,
                    checksum(&[&step.seen]),
                ),
            )?;
        }
        // The repeated fold after a restart passes snapshots that are stored already.
        if let Some(snapshot) = &step.snapshot
            && self.heads.snapshot.is_none_or(|newest| step.seq > newest)
        {
            self.execute(
                "INSERT INTO snapshot (seq, body, crc) VALUES (?1, ?2, ?3)",
                (int(step.seq.0), snapshot, checksum(&[snapshot])),
            )?;
            self.execute("DELETE FROM snapshot WHERE seq < ?1", [int(step.seq.0)])?;
            marks::keep(self.connection, step.seq, step.reached, snapshot)?;
            if let Some(until) = step.seen_until {
                self.execute("DELETE FROM seen WHERE at <= ?1", [until.millis()])?;
            }
            self.heads.snapshot = Some(step.seq);
        }
        Ok(None)
    }

    /// Adds rows of events.
    pub(super) fn note(&mut self, events: &[EventRow]) -> Result<()> {
        past::insert(self.connection, events).map_err(Error::from)
    }

    pub(super) fn recover(&mut self) -> Result<Recovered> {
        let snapshot = heads::snapshot(self.connection)?;
        let upto = snapshot.as_ref().map_or(Seq(0), |(seq, _)| *seq);
        self.execute("DELETE FROM seen WHERE seq > ?1", [int(upto.0)])?;
        Ok(Recovered {
            cursor: self.heads.cursor,
            snapshot,
            seen: heads::seen(self.connection, upto)?,
        })
    }

    pub(super) fn queue(&mut self, message: &NewMessage, at: Timestamp) -> Result<()> {
        let crc = checksum(&[&message.body]);
        for to in &message.to {
            // One delivery per destination: each has its own state and attempts.
            self.heads.id += 1;
            self.execute(
                "INSERT INTO outbox (id, dest, state, attempts, due, plain, body, crc, message)
                     VALUES (?1, ?2, 0, 0, ?3, 0, ?4, ?5, nullif(?6, ''))",
                (
                    self.heads.id,
                    to.as_str(),
                    at.millis(),
                    &message.body,
                    crc,
                    &message.id,
                ),
            )?;
            for alert in &message.alerts {
                self.execute(
                    "INSERT OR IGNORE INTO told (alert, delivery) VALUES (?1, ?2)",
                    (int(*alert), self.heads.id),
                )?;
            }
            self.count(to, |fates| {
                fates.total += 1;
                fates.queued += 1;
            });
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, id: DeliveryId, attempt: &Attempt) -> Result<()> {
        let at = attempt.at.millis();
        let (state, due, plain, settled_at) = match attempt.next {
            Next::Delivered => (DeliveryState::Delivered, None, false, Some(at)),
            Next::Again { due, plain } => (DeliveryState::Queued, Some(due.millis()), plain, None),
            Next::Dead => (DeliveryState::Dead, None, false, Some(at)),
        };
        // The outbox shows `why` as the reason of a failure; a successful reply is kept with the
        // attempt only.
        let why = Some(&attempt.reply).filter(|_| attempt.next != Next::Delivered);
        let sql = "UPDATE outbox SET state = ?2, attempts = attempts + 1, first_try = coalesce(first_try, ?3),
                       due = coalesce(?4, due), plain = max(plain, ?5), why = ?6, settled_at = ?7
                   WHERE id = ?1 AND state = 0 RETURNING dest";
        let to: Option<String> = self.connection.prepare_cached(sql).and_then(|mut s| {
            s.query_row((id.0, state, at, due, plain, why, settled_at), |row| {
                row.get(0)
            })
            .optional()
        })?;
        // No row means that the delivery was settled or discarded meanwhile: the attempt must not
        // change it again.
        if let Some(to) = to {
            let nth = "(SELECT coalesce(max(nth), 0) + 1 FROM attempts WHERE delivery = ?1)";
            let sql = format!(
                "INSERT INTO attempts (delivery, nth, at, state, status, why)
                 VALUES (?1, {nth}, ?2, ?3, ?4, ?5)"
            );
            self.execute(&sql, (id.0, at, state, attempt.status, &attempt.reply))?;
            let to = Name::new(&to);
            if let Some(receipt) = &attempt.receipt {
                receipts::put(self.connection, &to, id, receipt)?;
            }
            self.leave(&to, state);
        }
        Ok(())
    }

    pub(super) fn summarise(
        &mut self,
        to: &Name,
        folded: &[DeliveryId],
        summaries: &[NewMessage],
        at: Timestamp,
    ) -> Result<()> {
        let mut any = false;
        for id in folded {
            let sql = "UPDATE outbox SET state = ?4, settled_at = ?3 WHERE id = ?1 AND dest = ?2 AND state = 0";
            let digested = DeliveryState::Digested;
            if self.execute(sql, (id.0, to.as_str(), at.millis(), digested))? == 1 {
                any = true;
                self.leave(to, digested);
            }
        }
        // If every message left the queue meanwhile, a summary would repeat them.
        if any {
            summaries
                .iter()
                .try_for_each(|summary| self.queue(summary, at))
        } else {
            Ok(())
        }
    }

    /// Counts one message of `to` that leaves the queue for `state`.
    fn leave(&mut self, to: &Name, state: DeliveryState) {
        self.count(to, |fates| {
            let fate = match state {
                DeliveryState::Delivered => &mut fates.delivered,
                DeliveryState::Digested => &mut fates.digested,
                DeliveryState::Dead => &mut fates.dead,
                DeliveryState::Queued | DeliveryState::Discarded => return,
            };
            *fate += 1;
            fates.queued = fates.queued.saturating_sub(1);
        });
    }

    pub(super) fn count(&mut self, to: &Name, change: impl FnOnce(&mut MessageFates)) {
        change(self.fates.entry(to.clone()).or_default());
        self.touched.insert(to.clone());
    }

    /// Writes the positions and totals that changed.
    fn finish(&self, before: &Heads) -> Result<()> {
        let Heads {
            seq,
            at,
            wall,
            cursor,
            id,
            snapshot: _,
        } = self.heads;
        // Nothing changed in a group that only added event rows or retention; an update would cost
        // a page.
        if self.heads != *before {
            self.execute(
                "UPDATE heads SET seq = ?1, at = ?2, wall = ?3, cursor = ?4, id = ?5",
                (int(seq.0), at.millis(), wall.millis(), int(cursor.0), id),
            )?;
        }
        for (to, fates) in self
            .touched
            .iter()
            .filter_map(|to| self.fates.get_key_value(to))
        {
            self.execute(
                "INSERT OR REPLACE INTO fates (dest, total, delivered, digested, dead, queued, discarded)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (
                    to.as_str(),
                    int(fates.total),
                    int(fates.delivered),
                    int(fates.digested),
                    int(fates.dead),
                    int(fates.queued),
                    int(fates.discarded),
                ),
            )?;
        }
        Ok(())
    }

    /// Removes one chunk of what retention allows to remove. `beside` is the size of the other
    /// files. Returns the number of rows removed plus pages returned to the disk.
    pub(super) fn retain(
        &mut self,
        retention: Retention,
        beside: u64,
        now: Timestamp,
    ) -> Result<i64> {
        let number = |sql: &str, param: i64| -> Result<Option<i64>> {
            self.connection
                .prepare_cached(sql)
                .and_then(|mut s| s.query_row([param], |row| row.get(0)))
                .map_err(Error::from)
        };
        let pages = |name: &str| -> Result<i64> {
            self.connection
                .pragma_query_value(None, name, |row| row.get(0))
                .map_err(Error::from)
        };
        let removed = |rows: usize| int(rows as u64);
        // Age is applied first; size only removes more if that was not enough.
        let horizon = (now - retention.age).millis();
        // Entries before the snapshot are no longer needed. The newest entry always stays, because
        // its position proves that the end of the journal is not damaged.
        let upto = self
            .heads
            .snapshot
            .map_or(0, |seq| int(seq.0))
            .min(int(self.heads.seq.0) - 1);
        let first = number("SELECT min(seq) FROM journal WHERE seq >= ?1", 0)?.unwrap_or(i64::MAX);
        let upto = upto.min(first.saturating_add(RETAIN_ROWS - 1));
        let mut gone = removed(self.execute(
            "DELETE FROM journal WHERE seq <= ?1 AND at < ?2",
            (upto, horizon),
        )?);
        gone += removed(self.execute(
            &format!("DELETE FROM outbox WHERE id IN ({SETTLED_BEFORE})"),
            (horizon, RETAIN_ROWS),
        )?);
        let free = pages("freelist_count")?;
        let used = (pages("page_count")? - free + free.min(SPARE_PAGES)) * pages("page_size")?;
        // A quarter of the limit stays for the past, however large the other files are.
        let room = retention
            .size
            .saturating_sub(beside)
            .max(retention.size / 4);
        if gone == 0 && used > int(room) {
            // The oldest data goes first: a chunk of entries, and the messages settled by then.
            let by = number("SELECT max(at) FROM journal WHERE seq <= ?1", upto)?;
            gone += removed(self.execute("DELETE FROM journal WHERE seq <= ?1", [upto])?);
            gone += removed(self.execute(
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state <> 0 AND state <> ?3 AND settled_at <= ?1
                     ORDER BY settled_at LIMIT ?2)",
                (by.unwrap_or(i64::MAX), RETAIN_ROWS, DeliveryState::Dead),
            )?);
        }
        // The outcomes of an entry's events are deleted with the entry.
        let first = number("SELECT min(seq) FROM journal WHERE seq >= ?1", 0)?;
        let kept = first.map_or(i64::MAX, |seq| {
            EventId::first_of(Seq(u64::try_from(seq).unwrap_or_default())).0
        });
        let marks = marks::retain(self.connection, first.unwrap_or(i64::MAX), retention.size);
        gone += removed(marks?);
        gone += removed(self.execute(
            "DELETE FROM events WHERE id < ?1 AND id IN (SELECT id FROM events ORDER BY id LIMIT ?2)",
            (kept, RETAIN_ROWS * 4),
        )?);
        // Free pages beyond the reserve go back to the disk in small steps, because each moves
        // other pages.
        let free = pages("freelist_count")?;
        if free > SPARE_PAGES {
            give_back(self.connection, (free - SPARE_PAGES).min(SPARE_PAGES))?;
            gone += free - pages("freelist_count")?;
        }
        Ok(gone)
    }
}

/// Returns the size of the files beside the database: its log, and the search index with its log.
pub(super) fn bytes_beside(database: &std::path::Path) -> u64 {
    let length = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let search = database.with_file_name(SEARCH);
    // A log can be long for a moment; that is no reason to delete data permanently.
    let logs = length(&beside(database, "-wal")).min(2 * LOG_BYTES)
        + length(&beside(&search, "-wal")).min(2 * LOG_BYTES);
    length(&search) + logs
}

/// State of the writer thread.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    /// `None` after an input/output error. The next group opens it again, because a failed sync
    /// must not be repeated on the same connection.
    pub(super) connection: Option<Connection>,
    pub(super) heads: Heads,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: JournalClock,
    pub(super) retention: Retention,
    /// Held during a checkpoint, because SQLite does not wait for another checkpoint but fails at
    /// once.
    pub(super) checkpoints: Arc<Mutex<()>>,
    /// Wakes the checkpointer.
    pub(super) written: SyncSender<()>,
}

impl Writer {
    /// Runs until every sender is dropped.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut waiting = VecDeque::new();
        let mut retained = self.clock.now();
        let mut retaining = false;
        let (log, mut shortened) = (beside(&self.path, "-wal"), (retained, 0));
        loop {
            // The thread sleeps only if there is nothing left to remove.
            if waiting.is_empty() {
                if retaining {
                    match jobs.try_recv() {
                        Ok(job) => waiting.push_back(job),
                        Err(TryRecvError::Empty) => {}
                        Err(TryRecvError::Disconnected) => return,
                    }
                } else {
                    match jobs.recv() {
                        Ok(job) => waiting.push_back(job),
                        Err(_) => return,
                    }
                }
            }
            // A client that was just answered often sends its next post at once; it can join this group.
            std::thread::yield_now();
            let mut weight: usize = waiting.iter().map(|job| job.weight).sum();
            while waiting.len() < GROUP_JOBS
                && weight < GROUP_BYTES
                && let Ok(job) = jobs.try_recv()
            {
                weight += job.weight;
                waiting.push_back(job);
            }
            if !waiting.is_empty() {
                self.group(&mut waiting);
            }
            let now = self.clock.now();
            // The length is read after each group, because only this thread makes the log grow.
            let length = std::fs::metadata(&log).map_or(0, |meta| meta.len());
            let (when, before) = shortened;
            if length <= LOG_BYTES {
                shortened.1 = 0;
            } else if length >= before + LOG_BYTES || now.since(when) >= LOG_EVERY {
                shortened = (now, length);
                self.shorten_log();
            }
            if now.since(retained) >= RETAIN_EVERY {
                (retained, retaining) = (now, true);
            }
            if retaining {
                retaining = self.retain(now);
            }
        }
    }

    /// Runs jobs until one fails or none waits, syncs once, and answers those that ran. The rest
    /// waits for the next group.
    fn group(&mut self, waiting: &mut VecDeque<Job>) {
        let mut answers = Vec::with_capacity(waiting.len());
        let end = self.transaction(|group| {
            while let Some(job) = waiting.pop_front() {
                let (end, answer) = (job.work)(Ok(&mut *group));
                answers.push(answer);
                end?;
            }
            Ok(())
        });
        if answers.is_empty()
            && let (Err(e), Some(job)) = (&end, waiting.pop_front())
        {
            // The transaction could not begin. The first job gets the error; the others try again
            // with the next group.
            answers.push((job.work)(Err(e.clone())).1);
        }
        answers.into_iter().for_each(|answer| answer(end.clone()));
    }

    /// Runs one transaction: all of it becomes durable, or nothing of it, in the database and in
    /// memory.
    fn transaction<T>(&mut self, work: impl FnOnce(&mut WriteGroup<'_>) -> Result<T>) -> Result<T> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.path, 2_048)?,
        };
        // The group changes a copy, because the totals are public and must not show what may be
        // rolled back.
        let fates = self
            .shared
            .fates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut group = WriteGroup {
            connection: &connection,
            heads: self.heads,
            fates,
            touched: BTreeSet::new(),
        };
        let end = connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(Error::from)
            .and_then(|()| {
                let value = work(&mut group)?;
                group.finish(&self.heads)?;
                connection.execute_batch("COMMIT")?;
                Ok(value)
            });
        let WriteGroup {
            heads,
            fates,
            touched,
            ..
        } = group;
        match end {
            Ok(value) => {
                let before = std::mem::replace(&mut self.heads, heads);
                self.connection = Some(connection);
                if !touched.is_empty() {
                    *self
                        .shared
                        .fates
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = fates;
                }
                if heads.seq != before.seq {
                    self.shared.appended.send_replace(heads.seq);
                }
                if heads.id != before.id {
                    self.shared.outbox.send_replace(DeliveryId(heads.id));
                }
                // A full channel means that the checkpointer is awake already.
                let _ = self.written.try_send(());
                Ok(value)
            }
            Err(e) => {
                tracing::warn!(error = %e, "the store could not write");
                // SQLite may have rolled back already; dropping the connection undoes the rest.
                drop(connection);
                Err(e)
            }
        }
    }

    /// Checkpoints the rest of the log, which the other thread cannot finish while the writer never
    /// pauses. The next transaction then starts the log from its beginning.
    fn shorten_log(&mut self) {
        // Waits for the checkpointer: on a busy disk it is slow, and the log would keep growing.
        let _alone = self
            .checkpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = &self.connection
            && let Err(e) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        {
            tracing::warn!(error = %e, "a checkpoint failed; the next one will do its work");
        }
    }

    /// Removes one chunk. Returns true if there may be more.
    fn retain(&mut self, now: Timestamp) -> bool {
        let (retention, beside) = (self.retention, bytes_beside(&self.path));
        self.transaction(|group| group.retain(retention, beside, now))
            .is_ok_and(|gone| gone > 0)
    }
}

/// Runs the checkpointer beside the writer. It copies the log to the database at most every 250 ms,
/// and completely once the writer is idle.
pub(super) fn checkpoint(
    path: &std::path::Path,
    checkpoints: &Mutex<()>,
    written: &Receiver<()>,
    stop: &Receiver<()>,
) {
    // Without a connection the writer's own checkpoints bound the log.
    let Ok(connection) = connect(path, 256) else {
        return;
    };
    let run = |mode: &str| {
        let _alone = checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        if let Err(e) = connection.query_row(&sql, [], |_| Ok(())) {
            tracing::warn!(error = %e, "a checkpoint failed; the next one will do its work");
        }
    };
    let mut dirty = false;
    loop {
        match written.recv_timeout(if dirty {
            Duration::from_secs(5)
        } else {
            Duration::MAX
        }) {
            Ok(()) => {
                // A post usually brings more: waiting a moment spares a checkpoint for each of
                // them.
                if stop.recv_timeout(Duration::from_millis(250)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                run("PASSIVE");
                dirty = true;
            }
            // Only an idle writer lets a checkpoint reach the end of the log and truncate it.
            Err(RecvTimeoutError::Timeout) => {
                run("TRUNCATE");
                dirty = false;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
