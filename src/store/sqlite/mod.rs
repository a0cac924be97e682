//! The store on one SQLite file: writes by one thread, reads beside it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use crate::clock::{Clock, JournalClock};
use crate::model::{Journaled, Message, MessageFates, Name, Record, Seq, Timestamp};
use crate::store::{
    Act, Acted, Acts, Attempt, DeadLetter, Delivery, DeliveryId, DeliveryState, Doc,
    EVENTS_LOOKED_AT, Error, EventId, EventRow, Mark, Next, Noise, Outgoing, Past, Recovered,
    Result, Retention, RowQuery, Rows, SentMessage, Step, Store,
};

mod acts;
mod check;
mod connection;
mod files;
mod heads;
mod journal;
mod log;
mod marks;
mod outbox;
mod past;
mod reader;
mod repair;
mod schema;
mod search;
mod sums;
mod writer;

pub use files::{begin_anew, held, is_held, log_damage};
pub use reader::Reader;
pub use repair::{Repaired, repair};

use connection::{connect_read_only, problem};
use files::{Folder, SEARCH};
use journal::Entry;
use search::Search;
use sums::Sums;
use writer::{Group, Job, NewMessage, Shared, Writer, bytes_beside, checkpoint};

/// A search that took so long gives what it has found: who asks may go on from there.
const ENOUGH: Duration = Duration::from_millis(80);
/// A start waits for so long until every page was looked at: some 60 MiB. A bigger database is
/// served meanwhile.
const LOOKS: Duration = Duration::from_millis(50);
/// Rows of events written at once.
const ROWS: usize = 1_000;

/// The [`Store`] in one data folder. Clones share it; the last one to go waits for the writer and
/// releases the folder.
#[derive(Clone)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    clock: JournalClock,
    retention: Retention,
    shared: Arc<Shared>,
    reader: Arc<Mutex<Connection>>,
    /// Of its own, so that a long question holds up neither judging nor sending.
    past: Arc<Mutex<Connection>>,
    /// Of its own as well: sums go over all rows, and pages do not wait for them.
    sums: Arc<Mutex<(Connection, Sums)>>,
    search: Arc<Search>,
    /// `None` only while dropping: the threads end when their senders are gone.
    jobs: Option<Sender<Job>>,
    stop: Option<(Sender<()>, Sender<()>)>,
    /// What was found damaged while it is open, and what ends a look that is under way.
    damaged: watch::Receiver<Option<Error>>,
    looking: rusqlite::InterruptHandle,
    threads: Vec<JoinHandle<()>>,
    /// Last: released once the threads have ended.
    _folder: Folder,
}

impl Drop for Inner {
    fn drop(&mut self) {
        (self.jobs, self.stop) = (None, None);
        self.looking.interrupt();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; the journal is what is on the disk.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite")
            .field("last", &self.last())
            .finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens a data folder, making it where it is missing, for this process alone.
    ///
    /// # Errors
    /// [`Error::Fatal`], one line that names the folder: in use by another process, not writable,
    /// its database missing, damaged, locked, or from a newer release.
    pub fn open(dir: &Path, clock: Clock, retention: Retention) -> Result<Self> {
        Self::open_within(dir, clock, retention, LOOKS)
    }

    /// As [`Self::open`]; waits for so long until all of it was looked at.
    fn open_within(
        dir: &Path,
        clock: Clock,
        retention: Retention,
        patience: Duration,
    ) -> Result<Self> {
        let folder = Folder::claim(dir)?;
        let path = folder.database();
        folder.check_log()?;
        let connection = schema::open(&path, folder.is_marked())?;
        folder.mark()?;
        let named = |e: Error| Error::Fatal(format!("{}: {e}", path.display()));
        let look = connect_read_only(&path).map_err(|e| named(problem(&e)))?;
        let looking = look.get_interrupt_handle();
        let (found, damaged) = watch::channel(None);
        let (first, looked) = sync_channel(1);
        let (stop_looking, looking_stopped) = channel();
        let looks = spawn("store-check", move || {
            check::keep_looking(&look, &first, &found, &looking_stopped)
        })?;
        let heads = heads::heads(&connection).map_err(named)?;
        let fates = heads::fates(&connection).map_err(|e| named(problem(&e)))?;
        let reader = connect_read_only(&path).map_err(|e| named(problem(&e)))?;
        let past = connect_read_only(&path).map_err(|e| named(problem(&e)))?;
        let sums = connect_read_only(&path).map_err(|e| named(problem(&e)))?;
        let newest = past::newest(&past).map_err(|e| named(problem(&e)))?;
        let search =
            Search::open(&path.with_file_name(SEARCH), newest).map_err(|e| named(problem(&e)))?;
        match looked.recv_timeout(patience) {
            Ok(Err(fatal @ Error::Fatal(_))) => return Err(named(fatal)),
            Err(RecvTimeoutError::Timeout) => {
                tracing::info!(
                    "the database is big: whether all of it is whole is looked at meanwhile"
                );
            }
            _ => {}
        }
        let clock = JournalClock::resume(
            clock,
            (heads.seq > Seq(0)).then_some((heads.at, heads.wall)),
        );
        let shared = Arc::new(Shared {
            fates: Mutex::new(fates),
            appended: watch::Sender::new(heads.seq),
            outbox: watch::Sender::new(DeliveryId(heads.id)),
        });

        let (jobs, incoming) = channel::<Job>();
        let (written, news) = sync_channel(1);
        let checkpoints = Arc::new(Mutex::new(()));
        let (stop, stopped) = channel();
        let writer = Writer {
            path: path.clone(),
            connection: Some(connection),
            heads,
            shared: shared.clone(),
            clock,
            retention,
            checkpoints: Arc::clone(&checkpoints),
            written,
        };
        let threads = vec![
            looks,
            spawn("store-writer", move || writer.run(&incoming))?,
            spawn("store-checkpoint", {
                let path: PathBuf = path.clone();
                move || checkpoint(&path, &checkpoints, &news, &stopped)
            })?,
        ];
        let reader = Arc::new(Mutex::new(reader));
        let (jobs, stop) = (Some(jobs), Some((stop, stop_looking)));
        let (past, sums, search) = (
            Arc::new(Mutex::new(past)),
            Arc::new(Mutex::new((sums, Sums::default()))),
            Arc::new(search),
        );
        let inner = Inner {
            path,
            clock,
            retention,
            shared,
            reader,
            past,
            sums,
            search,
            jobs,
            stop,
            damaged,
            looking,
            threads,
            _folder: folder,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Follows what is found damaged while it is open: all of it is looked at after the start and
    /// each day.
    #[must_use]
    pub fn damaged(&self) -> watch::Receiver<Option<Error>> {
        self.inner.damaged.clone()
    }

    /// Removes at once what retention allows as of `now` (journal time). The writer does this by
    /// itself, bit by bit.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn retain(&self, now: Timestamp) -> Result<()> {
        let retention = self.inner.retention;
        let beside = bytes_beside(&self.inner.path);
        while self
            .write(0, move |group| group.retain(retention, beside, now))
            .await?
            > 0
        {}
        Ok(())
    }

    async fn write<T: Send + 'static>(
        &self,
        weight: usize,
        work: impl FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let gone = || Error::Fatal("the store's writer has ended".to_owned());
        let (job, answer) = Job::new(weight, work);
        self.inner
            .jobs
            .as_ref()
            .ok_or_else(gone)?
            .send(job)
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn look_back<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &Search) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (past, search) = (Arc::clone(&self.inner.past), Arc::clone(&self.inner.search));
        let work = move || {
            work(
                &past.lock().unwrap_or_else(PoisonError::into_inner),
                &search,
            )
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|e| Error::Transient(format!("a read was interrupted: {e}")))?
    }

    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let reader = self.inner.reader.clone();
        tokio::task::spawn_blocking(move || {
            work(&reader.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
        .map_err(|e| Error::Transient(format!("a read was interrupted: {e}")))?
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(512 << 10)
        .spawn(run);
    thread.map_err(|e| Error::Fatal(format!("cannot start the thread {name}: {e}")))
}

fn new_message(message: &Message, to: Vec<Name>, alerts: &[u64]) -> Result<NewMessage> {
    let body = serde_json::to_vec(message)
        .map_err(|e| Error::Fatal(format!("cannot write a message: {e}")))?;
    Ok(NewMessage {
        to,
        id: message.about.id.clone(),
        body,
        alerts: alerts.to_vec(),
    })
}

impl Store for Sqlite {
    async fn append(&self, record: Record) -> Result<Seq> {
        let entry = Entry::new(record)?;
        // Read here, not in the writer: only a task knows tokio's (possibly paused) time.
        let (now, wall) = (self.inner.clock.now(), self.inner.clock.clock().wall());
        self.write(entry.body.len(), move |group| {
            group.append(&entry, now, wall)
        })
        .await
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Journaled>> {
        self.look(move |connection| journal::entries(connection, after, limit))
            .await
    }

    async fn commit(&self, step: Step) -> Result<()> {
        // A flood's rows go ahead in slices: whoever posts does not wait for all of them.
        let ahead = step.events.len().saturating_sub(1) / ROWS;
        for n in 0..ahead {
            let events = Arc::clone(&step.events);
            let slice = move |group: &mut Group<'_>| {
                group.note(events.get(n * ROWS..(n + 1) * ROWS).unwrap_or_default())
            };
            self.write(ROWS * 64, slice).await?;
        }
        let written = ahead * ROWS;
        let messages = step
            .outgoing
            .iter()
            .map(|Outgoing { message, alerts }| {
                new_message(message, message.about.to.clone(), alerts)
            })
            .collect::<Result<Vec<_>>>()?;
        let weight = messages.iter().map(|message| message.body.len()).sum();
        self.write(weight, move |group| group.commit(&step, &messages, written))
            .await
    }

    async fn recover(&self) -> Result<Recovered> {
        self.write(0, |group| group.recover()).await
    }

    async fn queued(&self, to: &Name, after: DeliveryId, limit: usize) -> Result<Vec<Delivery>> {
        loop {
            let to = to.clone();
            let read = move |connection: &Connection| {
                outbox::queued(connection, &to, after, limit).map_err(|e| problem(&e))
            };
            let outbox::Queued { sound, damaged } = self.look(read).await?;
            let none_damaged = damaged.is_empty();
            for (id, why) in damaged {
                // One flipped bit must not hold up a destination: this message is lost, counted and
                // said to be.
                tracing::error!(delivery = id.0, %why, "a stored message is damaged: a dead letter");
                let attempt = Attempt {
                    at: self.inner.clock.now(),
                    status: None,
                    reply: format!("damaged: {why}"),
                    next: Next::Dead,
                };
                self.settle(id, attempt).await?;
            }
            if none_damaged || !sound.is_empty() {
                return Ok(sound);
            }
        }
    }

    async fn settle(&self, id: DeliveryId, attempt: Attempt) -> Result<()> {
        self.write(0, move |group| group.settle(id, &attempt)).await
    }

    async fn fold(
        &self,
        to: &Name,
        folded: Vec<DeliveryId>,
        digests: Vec<Message>,
        at: Timestamp,
    ) -> Result<()> {
        let to = to.clone();
        let digests = digests
            .iter()
            .map(|digest| new_message(digest, vec![to.clone()], &[]))
            .collect::<Result<Vec<_>>>()?;
        self.write(0, move |group| group.fold(&to, &folded, &digests, at))
            .await
    }

    async fn enqueue(&self, message: Message, at: Timestamp) -> Result<()> {
        let message = new_message(&message, message.about.to.clone(), &[])?;
        self.write(message.body.len(), move |group| group.queue(&message, at))
            .await
    }

    async fn delivered_since(&self, to: &Name, since: Timestamp) -> Result<u32> {
        let to = to.clone();
        self.look(move |connection| {
            outbox::delivered_since(connection, &to, since).map_err(|e| problem(&e))
        })
        .await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>> {
        self.look(move |connection| {
            outbox::dead_letters(connection, limit).map_err(|e| problem(&e))
        })
        .await
    }

    fn fates(&self) -> Vec<(Name, MessageFates)> {
        let fates = self
            .inner
            .shared
            .fates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        fates
            .iter()
            .map(|(to, fates)| (to.clone(), fates.clone()))
            .collect()
    }

    fn fates_of(&self, to: &Name) -> MessageFates {
        self.inner
            .shared
            .fates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(to)
            .cloned()
            .unwrap_or_default()
    }

    fn last(&self) -> Seq {
        *self.inner.shared.appended.borrow()
    }

    fn appended(&self) -> watch::Receiver<Seq> {
        self.inner.shared.appended.subscribe()
    }

    fn outbox(&self) -> watch::Receiver<DeliveryId> {
        self.inner.shared.outbox.subscribe()
    }

    fn clock(&self) -> JournalClock {
        self.inner.clock
    }
}

impl Acts for Sqlite {
    async fn destination(&self, id: DeliveryId) -> Result<Option<Name>> {
        self.look(move |connection| outbox::destination(connection, id).map_err(|e| problem(&e)))
            .await
    }

    async fn act(&self, act: Act, id: DeliveryId) -> Result<Acted> {
        let at = self.inner.clock.now();
        self.write(0, move |group| group.act(act, id, at)).await
    }

    async fn act_on_all(&self, act: Act, to: &Name) -> Result<u64> {
        let at = self.inner.clock.now();
        let (mut done, upto) = (0, *self.inner.shared.outbox.borrow());
        loop {
            let to = to.clone();
            let some = self
                .write(0, move |group| group.act_on_some(act, &to, upto, at))
                .await?;
            done += some;
            if some == 0 {
                return Ok(done);
            }
        }
    }

    async fn again(&self, message: &str, to: Vec<Name>) -> Result<Acted> {
        let (at, message) = (self.inner.clock.now(), message.to_owned());
        self.write(0, move |group| group.again(&message, &to, at))
            .await
    }
}

impl Past for Sqlite {
    async fn rows(&self, query: RowQuery) -> Result<Rows> {
        let clock = self.inner.clock.clock();
        self.look_back(move |connection, search| {
            if query.terms.is_empty() {
                return past::by_fate(connection, &query).map_err(|e| problem(&e));
            }
            let begun = clock.elapsed();
            let enough = || clock.elapsed().saturating_sub(begun) >= ENOUGH;
            let (mut page, mut looked, mut last) = (Rows::default(), 0, None);
            let mut take = |id: EventId| {
                let is_long = looked >= EVENTS_LOOKED_AT || (looked % 256 == 255 && enough());
                if page.rows.len() >= query.limit || is_long {
                    page.next = last;
                    return Ok(false);
                }
                (looked, last) = (looked + 1, Some(id));
                // What retention took is not found any more.
                let row = past::one(connection, id)?;
                page.rows.extend(
                    row.filter(|row| query.fate.as_ref().is_none_or(|wanted| wanted.is(row))),
                );
                Ok(true)
            };
            let span = (query.before, query.after);
            let rest = search
                .find(&query.terms, span, &enough, &mut take)
                .map_err(|e| problem(&e))?;
            page.next = page.next.or(rest);
            Ok(page)
        })
        .await
    }

    async fn next_rows(&self, after: EventId, limit: usize) -> Result<Vec<EventRow>> {
        self.look_back(move |connection, _| {
            past::next(connection, after, limit).map_err(|e| problem(&e))
        })
        .await
    }

    async fn row(&self, id: EventId) -> Result<Option<EventRow>> {
        self.look_back(move |connection, _| past::one(connection, id).map_err(|e| problem(&e)))
            .await
    }

    async fn count(&self) -> Result<u64> {
        self.look_back(|connection, _| past::count(connection).map_err(|e| problem(&e)))
            .await
    }

    async fn entries(&self, seqs: Vec<Seq>) -> Result<(usize, Vec<Journaled>)> {
        self.look_back(move |connection, _| journal::entries_at(connection, &seqs))
            .await
    }

    async fn mark(&self, entry: Seq, alert: u64) -> Result<Option<Mark>> {
        self.look_back(move |connection, _| marks::before(connection, entry, alert))
            .await
    }

    async fn settings(&self, after: Seq, before: Seq) -> Result<Vec<Journaled>> {
        self.look_back(move |connection, _| {
            let seqs = journal::settings(connection, after, before).map_err(|e| problem(&e))?;
            journal::entries_at(connection, &seqs).map(|(_, entries)| entries)
        })
        .await
    }

    async fn duplicates(&self, after: Seq, upto: Seq) -> Result<Vec<EventId>> {
        self.look_back(move |connection, _| {
            past::duplicates(connection, after, upto).map_err(|e| problem(&e))
        })
        .await
    }

    fn indexed(&self) -> EventId {
        self.inner.search.indexed()
    }

    async fn index(&self, docs: Vec<Doc>, upto: EventId) -> Result<()> {
        let first = self
            .look_back(|connection, _| past::oldest(connection).map_err(|e| problem(&e)))
            .await?;
        self.inner
            .search
            .add(&docs, upto, first)
            .map_err(|e| problem(&e))
    }

    async fn sent(&self, alerts: Vec<u64>) -> Result<Vec<SentMessage>> {
        self.look_back(move |connection, _| {
            past::sent(connection, &alerts).map_err(|e| problem(&e))
        })
        .await
    }

    async fn reached(&self, alerts: Vec<Vec<u64>>) -> Result<Vec<Vec<(Name, DeliveryState)>>> {
        self.look_back(move |connection, _| {
            alerts
                .iter()
                .map(|alerts| past::reached(connection, alerts).map_err(|e| problem(&e)))
                .collect()
        })
        .await
    }

    async fn oldest_queued(&self) -> Result<Vec<(Name, Timestamp)>> {
        self.look_back(|connection, _| past::oldest_queued(connection).map_err(|e| problem(&e)))
            .await
    }

    async fn noise(&self, since: Timestamp, span_ms: i64) -> Result<Noise> {
        let sums = Arc::clone(&self.inner.sums);
        let work = move || {
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            let (connection, sums) = &mut *sums;
            sums.noise(connection, since, span_ms)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|e| Error::Transient(format!("a read was interrupted: {e}")))?
            .map_err(|e| problem(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn damage_of_what_nobody_reads_is_found_beside_serving() {
        let dir = tempfile::tempdir().unwrap();
        let open = |patience| {
            Sqlite::open_within(dir.path(), Clock::system(), Retention::default(), patience)
        };
        drop(open(LOOKS).unwrap());
        let path = dir.path().join("foghorn.db");
        let database = Connection::open(&path).unwrap();
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'attempts'";
        let root = database
            .query_row(sql, [], |row| row.get::<_, u32>(0))
            .unwrap() as usize;
        database
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        drop(database);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[(root - 1) * 8_192..root * 8_192].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let refused = open(Duration::from_secs(60)).unwrap_err().to_string();
        assert!(
            refused.contains("foghorn.db: the database is damaged"),
            "{refused}"
        );
        // Too big to wait for.
        if let Ok(store) = open(Duration::ZERO) {
            let mut damaged = store.damaged();
            let found = damaged.wait_for(Option::is_some).await.unwrap().clone();
            assert!(matches!(found, Some(Error::Fatal(_))), "{found:?}");
        }
    }
}
