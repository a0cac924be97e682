//! What became of each event, as rows: the words of the store's second half, for pages and searches.

use std::sync::Arc;

use crate::model::{Seq, Timestamp};

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

    /// The journal entry it came with.
    #[must_use]
    pub fn seq(self) -> Seq {
        Seq(u64::try_from(self.0).unwrap_or_default() / PLACES)
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.seq(), u64::try_from(self.0).unwrap_or_default() % PLACES)
    }
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
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

impl Fate {
    /// Every word there is.
    pub const WORDS: [&'static str; 5] = ["pending", "told", "unmatched", "duplicate", "suppressed"];

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
    pub fate: Fate,
    /// What it waits with.
    pub waits: Option<WaitsWith>,
    /// The rules that had something to say about it.
    pub rules: Vec<Arc<str>>,
    /// The alerts it is part of: messages about it are found by them.
    pub alerts: Vec<u64>,
}

/// What became later of the events that waited so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FateChange {
    /// What they waited with.
    pub waits: WaitsWith,
    /// None after this one.
    pub upto: EventId,
    /// What became of them.
    pub fate: Fate,
}
