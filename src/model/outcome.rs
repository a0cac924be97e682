//! What became of events, one by one; `fates` counts them.

use std::sync::Arc;

use super::EventId;

/// Outcome of one event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventOutcome {
    /// An alert it is part of may still be notified.
    Pending,
    /// It is part of a message.
    Notified,
    /// No rule looks for it.
    Unmatched,
    /// The same had come before.
    Duplicate,
    /// Known to a rule, and nothing was sent: why, as on `/metrics`.
    Suppressed(Arc<str>),
}

impl EventOutcome {
    /// Every word there is.
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

    /// Returns the reason why nothing was sent.
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
    /// One alert, which alone decides its outcome.
    Alert(u64),
    /// Several alerts that share it, by the number of what they share.
    Ticket(u64),
}

/// Outcome, known only now, of the earlier events that waited so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeChange {
    /// What they waited with.
    pub waits: WaitsWith,
    /// None after this one.
    pub upto: EventId,
    /// What became of them.
    pub outcome: EventOutcome,
    /// The rule that notified, where one did.
    pub by: Option<Arc<str>>,
}
