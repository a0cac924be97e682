//! What the journal holds.

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

/// The name of a source or a destination, as the operator wrote it in rules.yaml.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

impl Name {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
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

/// The number of a kind of source, in the table of kinds. The default is the kind of every body
/// that was journaled before kinds were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceKind(pub u16);

/// How far a pulled source has been read. Only that source understands the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(Arc<str>);

impl Cursor {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One thing that happened to Foghorn. Everything decided is a fold over these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A body as it came, posted or fetched: journaled verbatim so that a better parser can read
    /// it again.
    Received {
        /// The source that verified it.
        source: Name,
        /// The kind of that source, whose dialect reads the body.
        kind: SourceKind,
        /// Where a pulled source goes on from, once this is stored.
        cursor: Option<Cursor>,
        /// The raw bytes.
        body: bytes::Bytes,
    },
    /// Time passed: a timer of the engine is due.
    Tick,
    /// These rules apply from here on.
    Rules(RulesRecord),
    /// The wall clock was found to differ from journal time: wall = `at` + `offset_ms` from here
    /// on.
    Clock {
        /// Signed milliseconds.
        offset_ms: i64,
    },
    /// A person wants to hear nothing of these for a while.
    Silence(Silence),
    /// A person ended a silence before its time.
    Expire {
        /// The silence's id.
        id: String,
        /// Who.
        author: String,
    },
}

/// Say nothing about what matches, until then. What was told before is still told to be over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its name: 8 letters and digits. A second record with the same id replaces the first.
    pub id: String,
    /// As `match` in rules.yaml, as JSON.
    pub matches: serde_json::Value,
    /// Until when.
    pub until: Until,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Wall time at which it was made.
    pub created: Timestamp,
}

/// When a silence ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// At this wall time.
    At(Timestamp),
    /// When nothing it matches lasts any more.
    Resolved,
}

/// The rules as they were read, with the destinations that stood then (some come from the
/// environment).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesRecord {
    /// The text of rules.yaml.
    pub text: String,
    /// Every destination and the least severity it takes.
    pub destinations: Vec<(Name, Severity)>,
    /// Foghorn started with them: what came before, while it did not run, was not heard.
    #[serde(default)]
    pub start: bool,
}

/// A record with its place in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journaled {
    /// Its position.
    pub seq: Seq,
    /// Journal time: never goes back, whatever the wall clock does.
    pub at: Timestamp,
    /// What happened.
    pub record: Record,
}
