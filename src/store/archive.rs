//! The archive: what became of each event and message, for pages, searches and tools.

use std::future::Future;
use std::sync::Arc;

use super::{Delivery, DeliveryId, DeliveryState, Journal, Reached, Result, Totals};
use crate::model::{Journaled, Message, Name, Seq, Timestamp};

/// Places in one POST that a number has room for.
const PLACES: u64 = 1 << 20;

/// An event's number: its journal entry and its place in it. Greater is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub i64);

impl EventId {
    /// Greater than that of every event.
    pub const LAST: Self = Self(i64::MAX);

    /// The number of an event at this place.
    #[must_use]
    pub fn new(seq: Seq, place: u64) -> Self {
        Self(i64::try_from(seq.0 * PLACES + place.min(PLACES - 1)).unwrap_or(i64::MAX))
    }

    /// The first number of an entry.
    #[must_use]
    pub fn first_of(seq: Seq) -> Self {
        Self::new(seq, 0)
    }

    /// Reads `<position>.<place>`, as an event says its id.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let (seq, place) = id.split_once('.')?;
        let (seq, place): (u64, u64) = (seq.parse().ok()?, place.parse().ok()?);
        (seq < 1 << 42 && place < PLACES).then(|| Self::new(Seq(seq), place))
    }

    /// Its place in it.
    #[must_use]
    pub fn place(self) -> u64 {
        u64::try_from(self.0).unwrap_or_default() % PLACES
    }

    /// The journal entry it came with.
    #[must_use]
    pub fn seq(self) -> Seq {
        Seq(u64::try_from(self.0).unwrap_or_default() / PLACES)
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.seq(), self.place())
    }
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventFate {
    /// An alert it is part of may still be told.
    Pending,
    /// It is part of a message.
    Told,
    /// No rule looks for it.
    Unmatched,
    /// The same had come before.
    Duplicate,
    /// Known to a rule, and kept quiet: why, as on `/metrics`.
    Suppressed(Arc<str>),
}

impl EventFate {
    /// Every word there is.
    pub const WORDS: [&'static str; 5] =
        ["pending", "told", "unmatched", "duplicate", "suppressed"];

    /// The word in the API.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Told => "told",
            Self::Unmatched => "unmatched",
            Self::Duplicate => "duplicate",
            Self::Suppressed(_) => "suppressed",
        }
    }

    /// Why it was kept quiet.
    #[must_use]
    pub fn why(&self) -> Option<&Arc<str>> {
        match self {
            Self::Suppressed(why) => Some(why),
            _ => None,
        }
    }
}

/// What an event waits with, while it is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitsWith {
    /// One alert, which alone decides its fate.
    Alert(u64),
    /// Several alerts that share it, by the number of what they share.
    Ticket(u64),
}

/// One event after it was judged. What it says is in its journal entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its number.
    pub id: EventId,
    /// Wall time at which we got it.
    pub received: Timestamp,
    /// What became of it so far.
    pub fate: EventFate,
    /// What it waits with.
    pub waits: Option<WaitsWith>,
    /// The rules that had something to say about it.
    pub rules: Vec<Arc<str>>,
    /// The alerts it is part of: messages about it are found by them.
    pub alerts: Vec<u64>,
    /// The rules that told it, once it is told; empty where that was not noted.
    pub told: Vec<Arc<str>>,
}

/// What became later of the events that waited so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FateChange {
    /// What they waited with.
    pub waits: WaitsWith,
    /// None after this one.
    pub upto: EventId,
    /// What became of them.
    pub fate: EventFate,
    /// The rule that told them, where they are told.
    pub by: Option<Arc<str>>,
}

/// One word an event is found by, whole or by how it begins: letters and digits in lower case,
/// nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// The whole word.
    Is(String),
    /// How a word begins.
    Begins(String),
}

/// The words an event is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    /// The event.
    pub id: EventId,
    /// The words, without repeats.
    pub words: Vec<String>,
}

/// Which fate is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly this one.
    Exactly(EventFate),
    /// Kept quiet, whatever the reason.
    Suppressed,
    /// Told by this rule, without regard to case.
    ToldBy(String),
}

impl Wanted {
    /// Whether this is one of them.
    #[must_use]
    pub fn is(&self, row: &EventRow) -> bool {
        match self {
            Self::Exactly(wanted) => *wanted == row.fate,
            Self::Suppressed => matches!(row.fate, EventFate::Suppressed(_)),
            Self::ToldBy(rule) => {
                let is_it = |told: &Arc<str>| told.to_lowercase() == rule.trim().to_lowercase();
                row.fate == EventFate::Told && (row.told.is_empty() || row.told.iter().any(is_it))
            }
        }
    }
}

/// What rows are asked for: the newest first.
#[derive(Clone, Debug)]
pub struct RowQuery {
    /// Only earlier ones.
    pub before: EventId,
    /// Only later ones.
    pub after: EventId,
    /// At most so many.
    pub limit: usize,
    /// All of these words; only events that are indexed are found by words.
    pub terms: Vec<Term>,
    /// This fate.
    pub fate: Option<Wanted>,
}

/// Rows, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The newest first.
    pub rows: Vec<EventRow>,
    /// Ask for those before this one; `None` when there are no more. There may be more though
    /// `rows` is not full: one question looks at so many only.
    pub next: Option<EventId>,
}

/// An earlier [`super::Attempt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// Journal time.
    pub at: Timestamp,
    /// State of the delivery after it: `Queued` where it was to be tried again.
    pub state: DeliveryState,
    /// HTTP status of the reply, where there was one.
    pub status: Option<u16>,
    /// What went wrong, or the beginning of the reply.
    pub reply: Option<String>,
}

impl AttemptRow {
    /// The word in the API: `delivered`, `again` or `dead`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.state {
            DeliveryState::Queued => "again",
            state => state.word(),
        }
    }
}

/// A message to one destination, wherever it has come to.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// Its number.
    pub id: DeliveryId,
    /// Whom it tells.
    pub to: Name,
    /// Where it stands.
    pub state: DeliveryState,
    /// What it says.
    pub message: Message,
    /// The tries, oldest first.
    pub attempts: Vec<AttemptRow>,
}

/// A snapshot that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Everything up to here is in it.
    pub seq: Seq,
    /// How far that was.
    pub reached: Reached,
    /// The snapshot, without the memory of duplicates.
    pub snapshot: Vec<u8>,
}

/// How many events met which fate, in spans of time and by rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// By the beginning of the span: told, and all others but pending ones.
    pub spans: Vec<(Timestamp, u64, u64)>,
    /// By rule: told, and all others but pending ones.
    pub rules: Vec<(String, u64, u64)>,
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

/// What became of events and messages, beside the journal.
pub trait Archive: Journal + Totals {
    /// Rows, newest first.
    fn rows(&self, query: RowQuery) -> impl Future<Output = Result<Rows>> + Send;

    /// Rows after this one, oldest first.
    fn next_rows(
        &self,
        after: EventId,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<EventRow>>> + Send;

    /// One row.
    fn row(&self, id: EventId) -> impl Future<Output = Result<Option<EventRow>>> + Send;

    /// How many rows there are.
    fn count(&self) -> impl Future<Output = Result<u64>> + Send;

    /// The journal entries at these positions, as far as they are kept and not very many bytes: how
    /// many of the positions were looked at, at least one, and what is there.
    fn entries(
        &self,
        seqs: Vec<Seq>,
    ) -> impl Future<Output = Result<(usize, Vec<Journaled>)>> + Send;

    /// The newest of the snapshots kept from before an entry and from before every alert from this
    /// number on: folding from there gives what was decided, once what came twice is known.
    fn mark(&self, entry: Seq, alert: u64) -> impl Future<Output = Result<Option<Mark>>> + Send;

    /// The entries after `after` and before `before` that say which rules are in force, and how the
    /// clock stands.
    fn settings(
        &self,
        after: Seq,
        before: Seq,
    ) -> impl Future<Output = Result<Vec<Journaled>>> + Send;

    /// The events of the entries after `after` up to `upto` that had come before.
    fn duplicates(
        &self,
        after: Seq,
        upto: Seq,
    ) -> impl Future<Output = Result<Vec<EventId>>> + Send;

    /// The newest event found by its words: all before it are too.
    fn indexed(&self) -> EventId;

    /// Lets events be found by their words, in order. An index that is lost is made again. Works on
    /// the caller's thread.
    fn index(&self, docs: Vec<Doc>, upto: EventId) -> impl Future<Output = Result<()>> + Send;

    /// The messages about any of these alerts, oldest first.
    fn sent(&self, alerts: Vec<u64>) -> impl Future<Output = Result<Vec<SentMessage>>> + Send;

    /// For each of these lists of alerts the destinations of the messages about them, each with the
    /// best state it has one in: delivered, digested, queued, dead, discarded.
    fn reached(
        &self,
        alerts: Vec<Vec<u64>>,
    ) -> impl Future<Output = Result<Vec<Vec<(Name, DeliveryState)>>>> + Send;

    /// The oldest queued message of each destination: journal time of its first try, else of its
    /// making.
    fn oldest_queued(&self) -> impl Future<Output = Result<Vec<(Name, Timestamp)>>> + Send;

    /// Sums since a wall time, in spans of so many milliseconds.
    fn noise(&self, since: Timestamp, span_ms: i64) -> impl Future<Output = Result<Noise>> + Send;

    /// The newest `limit` dead letters, newest first.
    fn dead_letters(&self, limit: usize) -> impl Future<Output = Result<Vec<DeadLetter>>> + Send;
}
