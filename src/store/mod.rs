//! The contract of a store, as small traits. Code that uses a store takes only the traits it needs.
//!
//! *Journal*: entries in order, each durable before `append` returns. *Outbox*: messages without a
//! final state. *Step*: conclusions of the judge from entries up to a position, all or nothing.
//! Writes are durable on return. After [`Error::Transient`] nothing of that call has happened as
//! far as this process can see, and every write except `append` and `enqueue` may be repeated
//! safely. `tests/store_contract.rs` tests every store against this contract.

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
    Archive, AttemptRow, DeadLetter, Doc, EventRow, KeptSnapshot, Noise, RowQuery, Rows, Sent,
    SentMessage, Term, Wanted,
};
pub use desk::{ActionResult, DeadLetterAction, Desk};
pub use journal::Journal;
pub use lease::{Duty, Lease, Leases};
pub use outbox::{Attempt, Delivery, DeliveryId, DeliveryState, Next, Outbox};
pub use steps::{Outgoing, Reached, Recovered, Step, Steps};

/// Failure of a store operation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot write now (disk full, a write error). A later attempt may succeed. Ingest
    /// answers 503.
    #[error("the store cannot write: {0}")]
    Transient(String),
    /// The store must not be used: it is damaged, locked by another process, or from a newer
    /// release.
    #[error("{0}")]
    Fatal(String),
    /// Another process has the duty now. Drop all state of the duty and acquire the lease again.
    #[error("another process has taken over: {0}")]
    Lost(String),
    /// The write may have happened. Ingest answers 503; Foghorn never appends the record again.
    #[error("the store did not confirm the write: {0}")]
    Unknown(String),
}

/// Maximum number of events scanned per query.
pub const EVENTS_LOOKED_AT: usize = 20_000;

/// A store's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Limits on the stored past. Undelivered messages, the newest snapshot, the entries after it and
/// the memory of duplicates are kept regardless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Maximum age of stored data, in journal time.
    pub age: Duration,
    /// Maximum number of bytes of all files, including the log and the search index. Dead letters
    /// are kept until `age` regardless.
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

/// Base of all store traits. Clones share the store.
pub trait Store: Clone + Send + Sync + 'static {
    /// Returns the journal clock.
    fn clock(&self) -> JournalClock;
}

/// Totals of messages by outcome, all taken at the same moment.
pub trait Totals: Store {
    /// Returns the totals of every destination.
    fn totals(&self) -> impl Future<Output = Result<Vec<(Name, MessageFates)>>> + Send;

    /// Returns the totals of one destination.
    fn totals_of(&self, to: &Name) -> impl Future<Output = Result<MessageFates>> + Send;
}
