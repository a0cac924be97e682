//! Records of the journal.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Severity, Timestamp};

/// The position of an entry in the journal: 1, 2, 3 …, never reused.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The name of a source or a destination in rules.yaml.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

impl Name {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// The number of a kind of source in the table of kinds. The default is the kind of bodies
/// journaled before kinds existed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceKind(pub u16);

/// The position up to which a pulled source has been read. Only that source understands the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(Arc<str>);

impl Cursor {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An input of Foghorn. Every decision is a fold over these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A body as received, posted or fetched. It is journaled verbatim, so that a better parser can
    /// read it again.
    Received {
        /// The source that verified it.
        source: Name,
        /// The kind of that source, whose dialect reads the body.
        kind: SourceKind,
        /// The position from which a pulled source continues, once this is stored.
        cursor: Option<Cursor>,
        /// The raw bytes.
        body: bytes::Bytes,
    },
    /// Time passed: a timer of the engine is due.
    Tick,
    /// These rules apply from now on.
    Rules(RulesRecord),
    /// The difference between wall clock and journal time changed: from now on wall time is `at` +
    /// `offset_ms`.
    Clock {
        /// Signed milliseconds.
        offset_ms: i64,
    },
    /// A person silenced some alerts.
    Silence(Silence),
    /// A person ended a silence before its time.
    Expire {
        /// The silence's id.
        id: String,
        /// The author.
        author: String,
    },
}

/// A silence: no messages about matching alerts until its end. The recovery of an outage that was
/// sent before is still sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its name: 8 letters and digits. A second record with the same id replaces the first.
    pub id: String,
    /// The same as `match` in rules.yaml, as JSON.
    pub matches: serde_json::Value,
    /// Its end.
    pub until: Until,
    /// Its author.
    pub author: String,
    /// The reason given.
    pub comment: String,
    /// Wall time of its creation.
    pub created: Timestamp,
}

/// The end of a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// This wall time.
    At(Timestamp),
    /// The time when no alert that it matches is open.
    Resolved,
}

/// The rules as they were read, with the destinations of that time (some come from the
/// environment).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesRecord {
    /// The text of rules.yaml.
    pub text: String,
    /// All destinations, each with the lowest severity it accepts.
    pub destinations: Vec<(Name, Severity)>,
    /// True at a start of Foghorn: events sent while it was down were not received.
    #[serde(default)]
    pub start: bool,
}

/// A record with its position in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journaled {
    /// Its position.
    pub seq: Seq,
    /// Journal time. It never goes back, whatever the wall clock does.
    pub at: Timestamp,
    /// The record.
    pub record: Record,
}
