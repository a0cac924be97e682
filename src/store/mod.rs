//! What a store promises, in words and as small traits: whoever uses it takes only those it needs.
//!
//! *Journal*: entries in order, each durable before `append` returns. *Outbox*: messages not yet
//! settled. *Step*: what the judge concluded from entries up to a position, all of it or none.
//! Writes are durable on return. After [`Error::Transient`] nothing of that call has happened as far
//! as this process can see, and every write but `append` and `enqueue` may be tried again without
//! harm. `tests/store_contract.rs` holds each store to it.

use std::future::Future;
use std::time::Duration;

use crate::clock::JournalClock;
pub use crate::model::MessageFates;
use crate::model::Name;

mod archive;
mod desk;
mod journal;
mod lease;
mod outbox;
pub mod sqlite;
mod steps;

pub use archive::{
    Archive, AttemptRow, DeadLetter, Doc, EventRow, Mark, Noise, RowQuery, Rows, Sent, SentMessage,
    Term, Wanted,
};
pub use desk::{Act, Acted, Desk};
pub use journal::Journal;
pub use lease::{Duty, Lease, Leases};
pub use outbox::{Attempt, Delivery, DeliveryId, DeliveryState, Next, Outbox};
pub use steps::{Outgoing, Reached, Recovered, Step, Steps};

/// What went wrong with the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It cannot write now (disk full, a write error); a later try may succeed. Ingest answers 503.
    #[error("the store cannot write: {0}")]
    Transient(String),
    /// It must not be used: damaged, locked by another process, from a newer release.
    #[error("{0}")]
    Fatal(String),
    /// Another process has the duty now: drop what is held and acquire it anew.
    #[error("another process does this now: {0}")]
    Lost(String),
    /// It may have happened. Ingest answers 503; a record is never appended again by us.
    #[error("the store did not say whether it has written: {0}")]
    Unknown(String),
}

/// One question looks at so many events at most: so that none takes long.
pub const EVENTS_LOOKED_AT: usize = 20_000;

/// A store's result.
pub type Result<T> = std::result::Result<T, Error>;

/// How much of the past is kept. Undelivered messages, the newest snapshot, entries after it and
/// the memory of duplicates are kept whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Nothing older than this in journal time.
    pub age: Duration,
    /// Not more than this many bytes of files, with the log and the index of the search; dead
    /// letters are kept until `age` all the same.
    pub size: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(30 * 86_400),
            size: 512 << 20,
        }
    }
}

/// What every handle on a store has in common. Clones share the store.
pub trait Store: Clone + Send + Sync + 'static {
    /// Journal time.
    fn clock(&self) -> JournalClock;
}

/// How many messages came to which end, consistent in itself.
pub trait Totals: Store {
    /// Of every destination.
    fn totals(&self) -> impl Future<Output = Result<Vec<(Name, MessageFates)>>> + Send;

    /// Of one destination.
    fn totals_of(&self, to: &Name) -> impl Future<Output = Result<MessageFates>> + Send;
}
