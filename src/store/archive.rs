//! Archive of stored events and messages, with their outcomes, for pages, searches and tools.

use std::future::Future;
use std::sync::Arc;

use super::{Delivery, DeliveryId, DeliveryState, Journal, Reached, Result, Totals};
use crate::model::{EventId, EventOutcome, Journaled, Message, Name, Seq, Timestamp, WaitsWith};

/// One event after the judge decided about it. Its text is in its journal entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Number of the event.
    pub id: EventId,
    /// Wall time at which Foghorn received it.
    pub received: Timestamp,
    /// Latest outcome of the event.
    pub outcome: EventOutcome,
    /// Alert or group that a pending event waits with.
    pub waits: Option<WaitsWith>,
    /// Rules that matched the event.
    pub rules: Vec<Arc<str>>,
    /// Alerts the event belongs to. Messages about the event are found through them.
    pub alerts: Vec<u64>,
    /// Rules that notified about the event; empty if that was not stored.
    pub told: Vec<Arc<str>>,
}

/// One word of a search, complete or a prefix: lower-case letters and digits only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// The whole word.
    Is(String),
    /// The beginning of a word.
    Begins(String),
}

/// Words by which a search finds an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    /// The event.
    pub id: EventId,
    /// The words, without repeats.
    pub words: Vec<String>,
}

/// Outcome that a search asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly this outcome.
    Exactly(EventOutcome),
    /// Suppressed, for any reason.
    Suppressed,
    /// Notified by the rule of this name, compared without case.
    ToldBy(String),
}

impl Wanted {
    /// Returns true if the event has this outcome.
    #[must_use]
    pub fn is(&self, row: &EventRow) -> bool {
        match self {
            Self::Exactly(wanted) => *wanted == row.outcome,
            Self::Suppressed => matches!(row.outcome, EventOutcome::Suppressed(_)),
            Self::ToldBy(rule) => {
                let is_it = |told: &Arc<str>| told.to_lowercase() == rule.trim().to_lowercase();
                row.outcome == EventOutcome::Notified
                    && (row.told.is_empty() || row.told.iter().any(is_it))
            }
        }
    }
}

/// Query for events, newest first.
#[derive(Clone, Debug)]
pub struct RowQuery {
    /// Only events before this one.
    pub before: EventId,
    /// Only events after this one.
    pub after: EventId,
    /// Maximum number of rows.
    pub limit: usize,
    /// Words that must all occur. Only indexed events are found by words.
    pub terms: Vec<Term>,
    /// Outcome the events must have.
    pub fate: Option<Wanted>,
}

/// One page of rows, and the position of the next page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The newest first.
    pub rows: Vec<EventRow>,
    /// Events before this one are on the next page; `None` if there are no more. A page can be
    /// short and still have a successor, because a query scans a limited number of events.
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
    /// Error, or the beginning of the reply.
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

/// A message to one destination, in any state.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// Number of the delivery.
    pub id: DeliveryId,
    /// Destination of the message.
    pub to: Name,
    /// State of the delivery.
    pub state: DeliveryState,
    /// The message itself.
    pub message: Message,
    /// Attempts, oldest first.
    pub attempts: Vec<AttemptRow>,
}

/// An engine snapshot kept in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSnapshot {
    /// Position of the last entry the snapshot includes.
    pub seq: Seq,
    /// Progress of the engine at that position.
    pub reached: Reached,
    /// The snapshot, without the memory of duplicates.
    pub snapshot: Vec<u8>,
}

/// Totals of notified and other events, by span of time and by rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// By the start of the span: events notified, and all others except pending ones.
    pub spans: Vec<(Timestamp, u64, u64)>,
    /// By rule: events notified, and all others except pending ones.
    pub rules: Vec<(String, u64, u64)>,
}

/// A message Foghorn gave up on. It is kept and listed.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The message, its destination and its attempts.
    pub delivery: Delivery,
    /// Journal time at which Foghorn gave up.
    pub at: Timestamp,
    /// Reason of the last failure.
    pub why: String,
}

/// A delivery with its current state.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message, its destination and its attempts.
    pub delivery: Delivery,
    /// State of the delivery.
    pub state: DeliveryState,
    /// Journal time at which the state became final; `None` while the delivery is queued.
    pub at: Option<Timestamp>,
    /// Reason why the last attempt failed, if it did.
    pub why: Option<String>,
}

/// Outcomes of events and messages, stored beside the journal.
pub trait Archive: Journal + Totals {
    /// Returns rows, newest first.
    fn rows(&self, query: RowQuery) -> impl Future<Output = Result<Rows>> + Send;

    /// Returns rows after this event, oldest first.
    fn next_rows(
        &self,
        after: EventId,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<EventRow>>> + Send;

    /// Returns one row.
    fn row(&self, id: EventId) -> impl Future<Output = Result<Option<EventRow>>> + Send;

    /// Returns the number of rows.
    fn count(&self) -> impl Future<Output = Result<u64>> + Send;

    /// Returns the stored journal entries at these positions, limited by their size. The number is
    /// how many of the positions were read; it is at least one.
    fn entries(
        &self,
        seqs: Vec<Seq>,
    ) -> impl Future<Output = Result<(usize, Vec<Journaled>)>> + Send;

    /// Returns the newest kept snapshot that is older than the entry and than every alert numbered
    /// `alert` or higher. A fold from there repeats the decisions, provided the duplicates are
    /// known.
    fn mark(
        &self,
        entry: Seq,
        alert: u64,
    ) -> impl Future<Output = Result<Option<KeptSnapshot>>> + Send;

    /// Returns the entries between `after` and `before` that set the rules in force and the clock.
    fn settings(
        &self,
        after: Seq,
        before: Seq,
    ) -> impl Future<Output = Result<Vec<Journaled>>> + Send;

    /// Returns the duplicates among the events of the entries after `after`, up to `upto`.
    fn duplicates(
        &self,
        after: Seq,
        upto: Seq,
    ) -> impl Future<Output = Result<Vec<EventId>>> + Send;

    /// Returns the newest event the search index contains. All events before it are indexed too.
    fn indexed(&self) -> EventId;

    /// Adds events to the search index, in order. A lost index is rebuilt. Works on the caller's
    /// thread.
    fn index(&self, docs: Vec<Doc>, upto: EventId) -> impl Future<Output = Result<()>> + Send;

    /// Returns the messages about any of these alerts, oldest first.
    fn sent(&self, alerts: Vec<u64>) -> impl Future<Output = Result<Vec<SentMessage>>> + Send;

    /// Returns, for each list of alerts, the destinations of the messages about them. Each
    /// destination has its best delivery state: delivered, digested, queued, dead, discarded.
    fn reached(
        &self,
        alerts: Vec<Vec<u64>>,
    ) -> impl Future<Output = Result<Vec<Vec<(Name, DeliveryState)>>>> + Send;

    /// Returns the oldest queued message of each destination: journal time of its first attempt, or
    /// of its creation if it has none.
    fn oldest_queued(&self) -> impl Future<Output = Result<Vec<(Name, Timestamp)>>> + Send;

    /// Returns totals since a wall time, in spans of `span_ms` milliseconds.
    fn noise(&self, since: Timestamp, span_ms: i64) -> impl Future<Output = Result<Noise>> + Send;

    /// Returns the newest `limit` dead letters, newest first.
    fn dead_letters(&self, limit: usize) -> impl Future<Output = Result<Vec<DeadLetter>>> + Send;
}
