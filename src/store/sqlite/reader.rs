//! Read-only access beside a running `serve`: no lock, no writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::connection::connect_read_only;
use super::{check, files, heads, journal, outbox, schema};
use crate::model::{Journaled, Message, Name, Seq, Timestamp};
use crate::store::{DeadLetter, Error, Result, Sent};

/// Maximum number of entries scanned by a query about the newest entries.
const LOOKED_BACK: u64 = 200_000;

/// Read-only handle on the stored journal. Each batch sees everything that is durable at that time,
/// even if another process writes.
#[derive(Debug)]
pub struct JournalReader {
    connection: Connection,
    path: PathBuf,
}

impl JournalReader {
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

    /// Returns the newest entry's position and wall time; `None` if the journal is empty.
    pub fn newest(&self) -> Result<Option<(Seq, Timestamp)>> {
        let heads = heads::heads(&self.connection)?;
        Ok((heads.seq.0 > 0).then_some((heads.seq, heads.wall)))
    }

    /// Checks that all tables exist, and the checksums of the newest entries.
    ///
    /// # Errors
    ///
    /// The damage found.
    pub fn check(&self, newest: u64) -> Result<()> {
        schema::check_tables(&self.connection, &self.path)?;
        let after = Seq(heads::heads(&self.connection)?.seq.0.saturating_sub(newest));
        self.entries(after).try_for_each(|entry| entry.map(drop))
    }

    /// Checks every page for at most `most`. Returns false if the time was too short. Finds damage
    /// that a running `serve` has not read yet.
    ///
    /// # Errors
    ///
    /// The damage found.
    pub fn whole(&self, most: Duration) -> Result<bool> {
        check::whole_within(&self.connection, most)
    }

    /// Returns the wall time of a source's newest post among the last 200,000 entries.
    pub fn heard(&self, source: &Name) -> Result<Option<Timestamp>> {
        let heads = heads::heads(&self.connection)?;
        let after = Seq(heads.seq.0.saturating_sub(LOOKED_BACK));
        let at = journal::newest_post(&self.connection, source, after)?;
        Ok(at.map(|at| at.shifted(heads.wall.millis().saturating_sub(heads.at.millis()))))
    }

    /// Returns up to `limit` entries after `after`, in order; stops early past 4 MiB of bodies. The
    /// result is empty only at the end.
    ///
    /// # Errors
    ///
    /// When the database cannot be read, or an entry is damaged.
    pub fn read(&self, after: Seq, limit: usize) -> Result<Vec<Journaled>> {
        journal::entries(&self.connection, after, limit)
    }

    /// Returns every entry after `after`, with one batch at a time in memory. Ends after the first
    /// error.
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

    /// Returns every stored delivery of the messages that `wanted` accepts, in the order they were
    /// created.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn deliveries(&self, wanted: impl Fn(&Message) -> bool) -> Result<Vec<Sent>> {
        outbox::deliveries(&self.connection, wanted).map_err(Error::from)
    }

    /// Returns the newest `limit` dead letters, newest first.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>> {
        outbox::dead_letters(&self.connection, limit).map_err(Error::from)
    }
}
