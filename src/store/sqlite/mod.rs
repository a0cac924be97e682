//! The store on one SQLite file. One thread writes; reads use other connections.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use crate::clock::{Clock, JournalClock};
use crate::model::{Seq, Timestamp};
use crate::store::{Attempt, DeliveryId, Error, Journal as _, Result, Retention};

mod acts;
mod check;
mod connection;
mod contract;
mod files;
mod heads;
mod journal;
mod log;
mod marks;
mod outbox;
mod past;
mod reader;
mod receipts;
mod repair;
mod schema;
mod search;
mod sums;
mod writer;

pub use files::{begin_anew, held, is_held, log_damage};
pub use reader::JournalReader;
pub use repair::{Repaired, repair};

use connection::connect_read_only;
use files::{Folder, SEARCH};
use heads::Fates;
use search::Search;
use sums::Sums;
use writer::{Job, Shared, WriteGroup, Writer, bytes_beside, checkpoint};

/// Time after which a search returns its results so far. The caller can continue from there.
const ENOUGH: Duration = Duration::from_millis(80);
/// Time a start waits for the integrity check, enough for about 60 MiB. A larger database is served
/// while the check continues.
const LOOKS: Duration = Duration::from_millis(50);
/// Maximum number of event rows written at once.
const ROWS: usize = 1_000;

/// A store in one data folder. Clones share it; dropping the last one waits for the writer and
/// releases the folder.
#[derive(Clone)]
pub struct Sqlite {
    inner: Arc<SqliteState>,
}

struct SqliteState {
    path: PathBuf,
    clock: JournalClock,
    retention: Retention,
    shared: Arc<Shared>,
    reader: Arc<Mutex<Connection>>,
    /// Separate connection for pages, so that a long query delays neither judging nor sending.
    past: Arc<Mutex<Connection>>,
    /// Separate connection for totals, which read all rows, so that pages do not wait for them.
    sums: Arc<Mutex<(Connection, Sums)>>,
    search: Arc<Search>,
    /// `None` only during the drop: the threads end when their senders are dropped.
    jobs: Option<Sender<Job>>,
    stop: Option<(Sender<()>, Sender<()>)>,
    /// Damage found while the store is open.
    damaged: watch::Receiver<Option<Error>>,
    looking: rusqlite::InterruptHandle,
    threads: Vec<JoinHandle<()>>,
    /// Declared last: the folder is released after the threads have ended.
    _folder: Folder,
}

impl Drop for SqliteState {
    fn drop(&mut self) {
        (self.jobs, self.stop) = (None, None);
        self.looking.interrupt();
        for thread in self.threads.drain(..) {
            // A panic was already logged by its thread, and the journal on the disk is unaffected.
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

    /// Opens the store like [`Self::open`], and waits at most `patience` for the integrity check.
    fn open_within(
        dir: &Path,
        clock: Clock,
        retention: Retention,
        patience: Duration,
    ) -> Result<Self> {
        // The lock comes first: everything below may write to the folder.
        let folder = Folder::claim(dir)?;
        let path = folder.database();
        // Opening the database makes SQLite drop a damaged part of its log without notice, so the
        // log is checked before.
        folder.check_log()?;
        let connection = schema::open(&path, folder.is_marked())?;
        folder.mark()?;
        let named = |e: Error| Error::Fatal(format!("{}: {e}", path.display()));
        let look = connect_read_only(&path).map_err(|e| named(e.into()))?;
        let looking = look.get_interrupt_handle();
        let (found, damaged) = watch::channel(None);
        let (first, looked) = sync_channel(1);
        let (stop_looking, looking_stopped) = channel();
        // The check reads the whole file, so it gets a thread and a connection of its own.
        let looks = spawn("store-check", move || {
            check::keep_looking(&look, &first, &found, &looking_stopped)
        })?;
        let heads = heads::heads(&connection).map_err(named)?;
        let fates = heads::fates(&connection).map_err(|e| named(e.into()))?;
        let reader = connect_read_only(&path).map_err(|e| named(e.into()))?;
        let past = connect_read_only(&path).map_err(|e| named(e.into()))?;
        let sums = connect_read_only(&path).map_err(|e| named(e.into()))?;
        let newest = past::newest(&past).map_err(|e| named(e.into()))?;
        let search =
            Search::open(&path.with_file_name(SEARCH), newest).map_err(|e| named(e.into()))?;
        // Damage that is found in time prevents the start; damage found later arrives through
        // `damaged`.
        match looked.recv_timeout(patience) {
            Ok(Err(fatal @ Error::Fatal(_))) => return Err(named(fatal)),
            Err(RecvTimeoutError::Timeout) => {
                tracing::info!("large database: the integrity check continues in the background");
            }
            _ => {}
        }
        // Journal time never goes back, even if the system clock was behind during the restart.
        let clock = JournalClock::resume(
            clock,
            (heads.seq > Seq(0)).then_some((heads.at, heads.wall)),
        );
        let shared = Arc::new(Shared {
            fates: Mutex::new(fates),
            appended: watch::Sender::new(heads.seq),
            outbox: watch::Sender::new(DeliveryId(heads.id)),
        });

        // A capacity of one is enough for `news`: the checkpointer only needs to know that
        // something was written.
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
        let inner = SqliteState {
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

    /// Follows damage found while the store is open. The whole database is checked after the start
    /// and once a day.
    #[must_use]
    pub fn damaged(&self) -> watch::Receiver<Option<Error>> {
        self.inner.damaged.clone()
    }

    /// Removes everything that retention allows to remove as of `now` (journal time). The writer
    /// does the same gradually by itself.
    ///
    /// # Errors
    ///
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
        work: impl FnOnce(&mut WriteGroup<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let gone = || Error::Fatal("the store's writer stopped".to_owned());
        let (job, answer) = Job::new(weight, work);
        self.inner
            .jobs
            .as_ref()
            .ok_or_else(gone)?
            .send(job)
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Returns the message totals as of the last durable group.
    fn fates(&self) -> MutexGuard<'_, Fates> {
        let fates = self.inner.shared.fates.lock();
        fates.unwrap_or_else(PoisonError::into_inner)
    }

    async fn settle_now(&self, id: DeliveryId, attempt: Attempt) -> Result<()> {
        self.write(0, move |group| group.settle(id, &attempt)).await
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
