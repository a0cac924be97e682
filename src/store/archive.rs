//! The archive: what became of each event and message, for pages, searches and tools.

use std::future::Future;
use std::sync::Arc;

use super::{Delivery, DeliveryId, DeliveryState, Journal, Reached, Result, Totals};
use crate::model::{EventId, EventOutcome, Journaled, Message, Name, Seq, Timestamp, WaitsWith};

/// One event after it was judged. What it says is in its journal entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its number.
    pub id: EventId,
    /// Wall time at which we got it.
    pub received: Timestamp,
    /// What became of it so far.
    pub outcome: EventOutcome,
    /// What it waits with.
    pub waits: Option<WaitsWith>,
    /// The rules that had something to say about it.
    pub rules: Vec<Arc<str>>,
    /// The alerts it is part of: messages about it are found by them.
    pub alerts: Vec<u64>,
    /// The rules that told it, once it is told; empty where that was not noted.
    pub told: Vec<Arc<str>>,
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

/// Which outcome is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly this one.
    Exactly(EventOutcome),
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
