//! Outcomes of single events; `fates` counts them.

use std::sync::Arc;

use super::EventId;

/// Outcome of one event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventOutcome {
    /// Part of an alert that may still be sent.
    Pending,
    /// Part of a message.
    Notified,
    /// No rule matches it.
    Unmatched,
    /// The same event arrived before.
    Duplicate,
    /// Matched by a rule, but nothing was sent: the reason, as on `/metrics`.
    Suppressed(Arc<str>),
}

impl EventOutcome {
    /// All words.
    pub const WORDS: [&'static str; 5] =
        ["pending", "told", "unmatched", "duplicate", "suppressed"];

    /// Returns the word in the API.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Notified => "told",
            Self::Unmatched => "unmatched",
            Self::Duplicate => "duplicate",
            Self::Suppressed(_) => "suppressed",
        }
    }

    /// Returns the reason nothing was sent.
    #[must_use]
    pub fn why(&self) -> Option<&Arc<str>> {
        match self {
            Self::Suppressed(why) => Some(why),
            _ => None,
        }
    }
}

/// The alert or ticket a pending event waits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitsWith {
    /// A single alert, which decides its outcome.
    Alert(u64),
    /// Several alerts, by the number of their ticket.
    Ticket(u64),
}

/// The outcome of earlier events that waited with an alert or ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeChange {
    /// The alert or ticket.
    pub waits: WaitsWith,
    /// The last event concerned.
    pub upto: EventId,
    /// The outcome.
    pub outcome: EventOutcome,
    /// The rule that notified, if one did.
    pub by: Option<Arc<str>>,
}
