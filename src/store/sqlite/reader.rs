//! Reading beside a running `serve`: no lock, no writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::connection::connect_read_only;
use super::{check, files, heads, journal, outbox, schema};
use crate::model::{Journaled, Message, Name, Seq, Timestamp};
use crate::store::{DeadLetter, Error, Result, Sent};

/// A question about the newest entries looks at so many at most.
const LOOKED_BACK: u64 = 200_000;

/// The stored journal, read only. Sees what was durable at each batch, also while another process
/// writes.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens a data folder's database without claiming the folder.
    ///
    /// # Errors
    /// One line that names the folder or the file and what is wrong with it.
    pub fn open(dir: &Path) -> Result<Self> {
        let path: PathBuf = files::database(dir);
        let cannot = |e: &dyn std::fmt::Display| {
            Error::Fatal(format!("cannot read {}: {e}", path.display()))
        };
        if std::fs::metadata(&path).map_err(|e| cannot(&e))?.len() == 0 {
            return Err(cannot(&"it is empty"));
        }
        let connection = connect_read_only(&path).map_err(|e| cannot(&e))?;
        schema::check_readable(&connection, &path)?;
        Ok(Self { connection, path })
    }

    /// The newest entry's position and its wall time; `None` while there is none.
    ///
    /// # Errors
    /// When the database cannot be read, or its journal does not end where it should.
    pub fn newest(&self) -> Result<Option<(Seq, Timestamp)>> {
        let heads = heads::heads(&self.connection)?;
        Ok((heads.seq.0 > 0).then_some((heads.seq, heads.wall)))
    }

    /// Whether all tables are there, and the newest entries, so many, as they were written.
    ///
    /// # Errors
    /// What is damaged.
    pub fn check(&self, newest: u64) -> Result<()> {
        schema::check_tables(&self.connection, &self.path)?;
        let after = Seq(heads::heads(&self.connection)?.seq.0.saturating_sub(newest));
        self.entries(after).try_for_each(|entry| entry.map(drop))
    }

    /// Whether every page was looked at, and is sound: for at most so long. Sees what a running
    /// `serve` may not have met yet.
    ///
    /// # Errors
    /// What is damaged.
    pub fn whole(&self, most: Duration) -> Result<bool> {
        check::whole_within(&self.connection, most)
    }

    /// Wall time of a source's newest post among the last 200,000 entries.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn heard(&self, source: &Name) -> Result<Option<Timestamp>> {
        let heads = heads::heads(&self.connection)?;
        let after = Seq(heads.seq.0.saturating_sub(LOOKED_BACK));
        let at = journal::newest_post(&self.connection, source, after)?;
        Ok(at.map(|at| at.shifted(heads.wall.millis().saturating_sub(heads.at.millis()))))
    }

    /// Up to `limit` entries after `after`, in order; stops early past 4 MiB of bodies. Empty only
    /// at the end.
    ///
    /// # Errors
    /// When the database cannot be read, or an entry is damaged.
    pub fn read(&self, after: Seq, limit: usize) -> Result<Vec<Journaled>> {
        journal::entries(&self.connection, after, limit)
    }

    /// Every entry after `after`, a batch at a time in memory. Ends after the first error.
    pub fn entries(&self, after: Seq) -> impl Iterator<Item = Result<Journaled>> + '_ {
        let (mut batch, mut after, mut over) = (Vec::new().into_iter(), after, false);
        std::iter::from_fn(move || {
            if batch.len() == 0 && !over {
                match self.read(after, 1_000) {
                    Ok(entries) => batch = entries.into_iter(),
                    Err(e) => {
                        over = true;
                        return Some(Err(e));
                    }
                }
            }
            let entry: Option<Journaled> = batch.next();
            match &entry {
                Some(entry) => after = entry.seq,
                None => over = true,
            }
            entry.map(Ok)
        })
    }

    /// Every delivery that is still kept of the messages this wants, in the order they were made.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn deliveries(&self, wanted: impl Fn(&Message) -> bool) -> Result<Vec<Sent>> {
        outbox::deliveries(&self.connection, wanted).map_err(Error::from)
    }

    /// The newest `limit` dead letters, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>> {
        outbox::dead_letters(&self.connection, limit).map_err(Error::from)
    }
}
