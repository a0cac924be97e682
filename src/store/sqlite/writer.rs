//! The one thread that writes: whatever waits shares one transaction and one sync.

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
use super::journal::{self, Entry};
use super::outbox::SETTLED_BEFORE;
use super::{marks, past, receipts};
use crate::clock::JournalClock;
use crate::model::{EventId, MessageFates, Name, Seq, Timestamp};
use crate::store::{
    Attempt, DeliveryId, DeliveryState, Error, EventRow, Next, Recovered, Result, Retention, Step,
};

/// At most this many jobs and bytes share a transaction.
const GROUP_JOBS: usize = 1_024;
const GROUP_BYTES: usize = 8 << 20;
/// How often retention looks, while there is activity; how much it removes at once, so that ingest
/// does not wait for it.
const RETAIN_EVERY: Duration = Duration::from_secs(30);
const RETAIN_ROWS: i64 = 1_000;
/// Free pages left in the file for what comes next: 4 MiB.
const SPARE_PAGES: i64 = 512;

/// The log is put away when it is longer: again after as much more, or so long.
const LOG_BYTES: u64 = 4 << 20;
const LOG_EVERY: Duration = Duration::from_millis(250);

/// Answers a caller once its group is durable, or not.
type Answer = Box<dyn FnOnce(Result<()>) + Send>;

/// What a job does: its end in this group, and how to answer its caller.
type Work = Box<dyn FnOnce(Result<&mut Group<'_>>) -> (Result<()>, Answer) + Send>;

/// One caller's wish. Given a group it does its work there; given an error it only learns that.
pub(super) struct Job {
    /// Bytes it brings, for the bound on groups.
    weight: usize,
    work: Work,
}

impl Job {
    /// A job and where its answer arrives: what `work` gives, once that is durable.
    pub(super) fn new<T: Send + 'static>(
        weight: usize,
        work: impl FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T>>) {
        let (answer, answered) = oneshot::channel();
        let work = move |group: Result<&mut Group<'_>>| {
            let done = group.and_then(work);
            let end = done.as_ref().map(|_| ()).map_err(Clone::clone);
            // A caller that has gone away needs no answer.
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

/// What everyone may look at, as of the last durable group.
pub(super) struct Shared {
    pub(super) fates: Mutex<Fates>,
    pub(super) appended: watch::Sender<Seq>,
    pub(super) outbox: watch::Sender<DeliveryId>,
}

/// A transaction under way, and where everything will stand once it is durable.
pub(super) struct Group<'c> {
    pub(super) connection: &'c Connection,
    pub(super) heads: Heads,
    fates: Fates,
    touched: BTreeSet<Name>,
}

/// A message as the outbox keeps it.
pub(super) struct NewMessage {
    pub(super) to: Vec<Name>,
    /// The short name people ask about it by.
    pub(super) id: String,
    pub(super) body: Vec<u8>,
    /// The alerts it is about.
    pub(super) alerts: Vec<u64>,
}

impl Group<'_> {
    pub(super) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut s| s.execute(params))
            .map_err(Error::from)
    }

    pub(super) fn append(&mut self, entry: &Entry, now: Timestamp, wall: Timestamp) -> Result<Seq> {
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

    /// Commits a step with its messages as the outbox keeps them; of its rows, those from
    /// `written` on are new. Where the cursor is not at `from`, does nothing and says where it is.
    pub(super) fn commit(
        &mut self,
        from: Seq,
        step: &Step,
        messages: &[NewMessage],
        written: usize,
    ) -> Result<Option<Seq>> {
        if self.heads.cursor != from {
            return Ok(Some(self.heads.cursor));
        }
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
        if any {
            summaries
                .iter()
                .try_for_each(|summary| self.queue(summary, at))
        } else {
            Ok(())
        }
    }

    /// One message of `to` goes from queued to `state`.
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

    /// Writes where everything stands, as far as it moved.
    fn finish(&self, before: &Heads) -> Result<()> {
        let Heads {
            seq,
            at,
            wall,
            cursor,
            id,
            snapshot: _,
        } = self.heads;
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

    /// Removes one chunk of what retention allows. `beside`: how many bytes the other files take.
    /// Gives the rows removed and pages given back.
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
        let horizon = (now - retention.age).millis();
        // Entries the snapshot has made needless, but never the newest entry: it tells a damaged
        // end from the true one.
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
        // However much the others take, some of the past is kept.
        let room = retention
            .size
            .saturating_sub(beside)
            .max(retention.size / 4);
        if gone == 0 && used > int(room) {
            // The oldest first: a chunk of entries, and the messages settled by then.
            let by = number("SELECT max(at) FROM journal WHERE seq <= ?1", upto)?;
            gone += removed(self.execute("DELETE FROM journal WHERE seq <= ?1", [upto])?);
            gone += removed(self.execute(
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state <> 0 AND state <> ?3 AND settled_at <= ?1
                     ORDER BY settled_at LIMIT ?2)",
                (by.unwrap_or(i64::MAX), RETAIN_ROWS, DeliveryState::Dead),
            )?);
        }
        // What became of events goes with them, an entry's at once.
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
        let free = pages("freelist_count")?;
        if free > SPARE_PAGES {
            give_back(self.connection, (free - SPARE_PAGES).min(SPARE_PAGES))?;
            gone += free - pages("freelist_count")?;
        }
        Ok(gone)
    }
}

/// What the files beside the database take: its log, and the index of the search with its own.
pub(super) fn bytes_beside(database: &std::path::Path) -> u64 {
    let length = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let search = database.with_file_name(SEARCH);
    // A log that is long for a moment is no reason to remove anything for good.
    let logs = length(&beside(database, "-wal")).min(2 * LOG_BYTES)
        + length(&beside(&search, "-wal")).min(2 * LOG_BYTES);
    length(&search) + logs
}

/// The writer thread's state.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    /// `None` after an input/output error: opened anew for the next group, since a failed sync
    /// must not be repeated.
    pub(super) connection: Option<Connection>,
    pub(super) heads: Heads,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: JournalClock,
    pub(super) retention: Retention,
    /// Held during a checkpoint: SQLite refuses a second one at once, and does not wait.
    pub(super) checkpoints: Arc<Mutex<()>>,
    /// Wakes the checkpointer.
    pub(super) written: SyncSender<()>,
}

impl Writer {
    /// Until every sender is gone.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut waiting = VecDeque::new();
        let mut retained = self.clock.now();
        let mut retaining = false;
        let (log, mut shortened) = (beside(&self.path, "-wal"), (retained, 0));
        loop {
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
            // What was answered just now is likely to come again at once.
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
            // The transaction did not even begin: the first job learns it, the next ones try for
            // themselves.
            answers.push((job.work)(Err(e.clone())).1);
        }
        answers.into_iter().for_each(|answer| answer(end.clone()));
    }

    /// One transaction: all of it durable, or nothing of it and nothing remembered.
    fn transaction<T>(&mut self, work: impl FnOnce(&mut Group<'_>) -> Result<T>) -> Result<T> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.path, 2_048)?,
        };
        let fates = self
            .shared
            .fates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut group = Group {
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
        let Group {
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
                // Full means it is awake already.
                let _ = self.written.try_send(());
                Ok(value)
            }
            Err(e) => {
                tracing::warn!(error = %e, "the store could not write");
                // SQLite may have rolled back by itself; dropping the connection undoes whatever is
                // left.
                drop(connection);
                Err(e)
            }
        }
    }

    /// Puts away what the other thread has left of the log: beside a writer that never pauses it is
    /// never done. The next transaction begins the log anew.
    fn shorten_log(&mut self) {
        // Without this wait, a checkpointer that is slow on a busy disk lets the log grow on.
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

    /// One chunk. Whether there may be more.
    fn retain(&mut self, now: Timestamp) -> bool {
        let (retention, beside) = (self.retention, bytes_beside(&self.path));
        self.transaction(|group| group.retain(retention, beside, now))
            .is_ok_and(|gone| gone > 0)
    }
}

/// Moves what is in the log to the database, beside the writer: at most every 250 ms, and all of it
/// once it is quiet.
pub(super) fn checkpoint(
    path: &std::path::Path,
    checkpoints: &Mutex<()>,
    written: &Receiver<()>,
    stop: &Receiver<()>,
) {
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
                if stop.recv_timeout(Duration::from_millis(250)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                run("PASSIVE");
                dirty = true;
            }
            Err(RecvTimeoutError::Timeout) => {
                run("TRUNCATE");
                dirty = false;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
