//! The number of an event.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Seq;

/// Maximum number of events in one POST.
const PLACES: u64 = 1 << 20;

/// Number of an event: its journal entry and its place within that. Later events have greater
/// numbers. People and snapshots see `<position>.<place>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub i64);

impl EventId {
    /// Greater than the number of every event.
    pub const LAST: Self = Self(i64::MAX);

    /// Returns the number of the event at this place.
    #[must_use]
    pub fn new(seq: Seq, place: u64) -> Self {
        Self(i64::try_from(seq.0 * PLACES + place.min(PLACES - 1)).unwrap_or(i64::MAX))
    }

    /// Returns the first number of an entry.
    #[must_use]
    pub fn first_of(seq: Seq) -> Self {
        Self::new(seq, 0)
    }

    /// Reads `<position>.<place>`.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let (seq, place) = id.split_once('.')?;
        let (seq, place): (u64, u64) = (seq.parse().ok()?, place.parse().ok()?);
        (seq < 1 << 42 && place < PLACES).then(|| Self::new(Seq(seq), place))
    }

    /// Returns its place in the entry.
    #[must_use]
    pub fn place(self) -> u64 {
        u64::try_from(self.0).unwrap_or_default() % PLACES
    }

    /// Returns the journal entry it came with.
    #[must_use]
    pub fn seq(self) -> Seq {
        Seq(u64::try_from(self.0).unwrap_or_default() / PLACES)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq(), self.place())
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Placeholders for missing events have an empty id in older snapshots.
        let text = Cow::<str>::deserialize(from)?;
        Ok(Self::parse(&text).unwrap_or_default())
    }
}
