//! The journal: entries in order, each durable before `append` returns.

use std::future::Future;

use tokio::sync::watch;

use super::{Result, Store};
use crate::model::{Cursor, Journaled, Name, Record, Seq};

/// The journal. Any process may append to it without a lease, because incoming data needs no
/// decision.
pub trait Journal: Store {
    /// Appends a record and returns its position. Its `at` is journal time, never before that of
    /// its predecessor. Do not repeat a call after [`super::Error::Unknown`]: the record may be
    /// stored.
    fn append(&self, record: Record) -> impl Future<Output = Result<Seq>> + Send;

    /// Returns up to `limit` entries after `after`, in order; stops early past 4 MiB of bodies. The
    /// result is empty only at the end.
    fn read(&self, after: Seq, limit: usize)
    -> impl Future<Output = Result<Vec<Journaled>>> + Send;

    /// Returns the newest cursor of a pulled source: that of the last record appended with one. It
    /// outlives the entry it came with.
    fn cursor(&self, source: &Name) -> impl Future<Output = Result<Option<Cursor>>> + Send;

    /// Follows the newest journal position. A hint: it may lag behind.
    fn news(&self) -> watch::Receiver<Seq>;

    /// Returns the newest journal position, as far as [`Self::news`] knows.
    fn last(&self) -> Seq {
        *self.news().borrow()
    }
}
