//! The journal, the outbox and the step that moves both: the contract, in words and as a trait.
//!
//! *Journal*: entries in order, each durable before `append` returns. *Outbox*: messages not yet
//! settled. *Step*: what the processor concluded from entries up to a position, all of it or none.
//! Nothing above this module may assume SQLite.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::JournalClock;
pub use crate::model::MessageFates;
use crate::model::{Journaled, Message, Name, Record, Seq, Timestamp};

mod acts;
mod events;
mod sqlite;

pub use acts::{Act, Acted, Acts};
pub use events::{
    AttemptRow, Doc, EventFate, EventId, EventRow, FateChange, Mark, Noise, Past, RowQuery, Rows,
    SentMessage, Term, WaitsWith, Wanted,
};
pub use sqlite::{Reader, Repaired, Sqlite, begin_anew, held, is_held, log_damage, repair};

/// What went wrong with the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It cannot write now (disk full, a write error); a later try may succeed. Ingest answers 503.
    #[error("the store cannot write: {0}")]
    Transient(String),
    /// It must not be used: damaged, locked by another process, from a newer release.
    #[error("{0}")]
    Fatal(String),
}

/// One question looks at so many events at most: so that none takes long.
pub const EVENTS_LOOKED_AT: usize = 20_000;

/// A store's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What the processor concluded from the entries up to `seq`.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The cursor after this step.
    pub seq: Seq,
    /// New messages, in order.
    pub outgoing: Arc<Vec<Outgoing>>,
    /// What became of each event of the step. A row that is there already stays as it is: a refold
    /// adds nothing. They may be there before the step is.
    pub events: Arc<Vec<EventRow>>,
    /// What became of earlier events, in order.
    pub fates: Vec<FateChange>,
    /// The memory of duplicates this step adds: opaque, given back by `recover`.
    pub seen: Vec<u8>,
    /// Blocks `seen` of steps at or before this journal time may be forgotten. Applied by steps
    /// with a snapshot only, so that a refold from the snapshot meets the memory it had.
    pub seen_until: Option<Timestamp>,
    /// A snapshot of the engine as of `seq`, when one is due.
    pub snapshot: Option<Arc<[u8]>>,
    /// How far the snapshot is, for [`Past::mark`]: events judged and entries folded, and the
    /// newest number of an alert.
    pub reached: Reached,
    /// Journal time of the step, for retention.
    pub at: Timestamp,
}

/// A new message, for the destinations its notification names.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What to say.
    pub message: Message,
    /// The alerts it is about.
    pub alerts: Vec<u64>,
}

/// How far a fold has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Events judged and entries folded, together: what folding from one place to another costs.
    pub work: u64,
    /// The newest number that was given to an alert.
    pub alert: u64,
}

/// What a restart begins with.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Everything at or below was committed: its messages are never made again.
    pub cursor: Seq,
    /// The newest snapshot: its position and bytes. The fold restarts from there.
    pub snapshot: Option<(Seq, Vec<u8>)>,
    /// The memory of duplicates of steps at or below the snapshot, oldest first.
    pub seen: Vec<Vec<u8>>,
}

/// A message on its way to one destination.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number; deliveries of one incident are sent in this order.
    pub id: DeliveryId,
    /// Whom to tell.
    pub to: Name,
    /// What to say.
    pub message: Message,
    /// Tries so far.
    pub attempts: u32,
    /// Journal time of the first try.
    pub first_try: Option<Timestamp>,
    /// Not before this journal time.
    pub due: Timestamp,
    /// Send it in its smallest form: the full one was refused.
    pub plain: bool,
}

/// The number of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub i64);

/// One try to reach a destination, and what becomes of the delivery.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Journal time of the try.
    pub at: Timestamp,
    /// HTTP status of the reply; `None` where there was no reply.
    pub status: Option<u16>,
    /// What went wrong; of a success the beginning of the reply.
    pub reply: String,
    /// What becomes of the delivery.
    pub next: Next,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The destination has it.
    Delivered,
    /// It is tried again.
    Again {
        /// Not before this journal time.
        due: Timestamp,
        /// In its smallest form.
        plain: bool,
    },
    /// It is given up: a dead letter, kept and listed.
    Dead,
}

/// A message given up: kept and listed.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The message, its destination and its tries.
    pub delivery: Delivery,
    /// Journal time at which it was given up.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// What became of a delivery.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message, its destination and its tries.
    pub delivery: Delivery,
    /// Where it stands.
    pub state: DeliveryState,
    /// Journal time at which that was settled; `None` while it is queued.
    pub at: Option<Timestamp>,
    /// Why the last try failed, where one did.
    pub why: Option<String>,
}

/// State of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// On its way.
    Queued,
    /// The destination has it.
    Delivered,
    /// Sent with others, in one message.
    Digested,
    /// Given up: a dead letter.
    Dead,
    /// Given up, and put away by a person.
    Discarded,
}

impl DeliveryState {
    /// The word in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Digested => "digested",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }
}

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

/// The journal, the outbox, and the step that moves both.
///
/// Writes are durable on return and share one sync with all that wait. After [`Error::Transient`]
/// nothing of that call has happened as far as this process can see; the caller may try again, and
/// every write but `append` and `enqueue` may be tried again without harm.
pub trait Store: Clone + Send + Sync + 'static {
    /// Journals a record and gives its position. Its `at` is journal time, never before its
    /// predecessor's.
    fn append(&self, record: Record) -> impl Future<Output = Result<Seq>> + Send;

    /// Up to `limit` entries after `after`, in order; stops early past 4 MiB of bodies. Empty only
    /// at the end.
    fn read(&self, after: Seq, limit: usize)
    -> impl Future<Output = Result<Vec<Journaled>>> + Send;

    /// Moves the cursor, adds the messages to the outbox (once per name in `about.to`) and keeps
    /// memory and snapshot: all of it or none. A step at or below the cursor makes no message
    /// again; a refold cuts its steps at the cursor, since one that straddles it would make
    /// them.
    fn commit(&self, step: Step) -> impl Future<Output = Result<()>> + Send;

    /// What a restart begins with. Forgets the memory of duplicates above the snapshot: the refold
    /// writes it again.
    fn recover(&self) -> impl Future<Output = Result<Recovered>> + Send;

    /// Up to `limit` queued deliveries for a destination with an id above `after`, by id, due or
    /// not; stops early past 4 MiB. Empty only at the end. A damaged one becomes a dead letter.
    fn queued(
        &self,
        to: &Name,
        after: DeliveryId,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Delivery>>> + Send;

    /// Settles one attempt. A delivery that is not queued any more stays as it is.
    fn settle(&self, id: DeliveryId, attempt: Attempt) -> impl Future<Output = Result<()>> + Send;

    /// Replaces queued deliveries by digests: `folded` become `digested`, `digests` are queued. All
    /// of it or none; where none of `folded` is queued any more, none.
    fn fold(
        &self,
        to: &Name,
        folded: Vec<DeliveryId>,
        digests: Vec<Message>,
        at: Timestamp,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Queues a message of Foghorn's own, outside any step, once per name in `about.to`.
    fn enqueue(&self, message: Message, at: Timestamp) -> impl Future<Output = Result<()>> + Send;

    /// How many messages a destination took at or after this journal time.
    fn delivered_since(
        &self,
        to: &Name,
        since: Timestamp,
    ) -> impl Future<Output = Result<u32>> + Send;

    /// The newest `limit` dead letters, newest first.
    fn dead_letters(&self, limit: usize) -> impl Future<Output = Result<Vec<DeadLetter>>> + Send;

    /// How many messages met which fate, per destination, consistent in itself.
    fn fates(&self) -> Vec<(Name, MessageFates)>;

    /// The fates of one destination's messages.
    fn fates_of(&self, to: &Name) -> MessageFates;

    /// The newest journal position.
    fn last(&self) -> Seq;

    /// Follows the newest journal position: what the processor waits on.
    fn appended(&self) -> watch::Receiver<Seq>;

    /// Follows the newest delivery of any destination: what dispatchers wait on.
    fn outbox(&self) -> watch::Receiver<DeliveryId>;

    /// Journal time.
    fn clock(&self) -> JournalClock;
}
