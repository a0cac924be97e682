//! Content of the bodies of one kind of source.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Rejected;
use crate::model::{Event, Link, Name, Seq, SourceKind, Subject, Timestamp};

/// A journaled body with the circumstances of its arrival.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Source of the body.
    pub source: &'a Name,
    /// Kind of that source.
    pub kind: SourceKind,
    /// Position in the journal, from which the events' ids derive.
    pub seq: Seq,
    /// Wall time at which Foghorn received it.
    pub received: Timestamp,
    /// Raw bytes of the body.
    pub body: &'a [u8],
}

impl<'a> Arrival<'a> {
    /// Creates an arrival from a source of the default kind.
    #[must_use]
    pub fn new(source: &'a Name, seq: Seq, received: Timestamp, body: &'a [u8]) -> Self {
        Self {
            source,
            kind: SourceKind::default(),
            seq,
            received,
            body,
        }
    }
}

/// One piece of a journaled body.
#[derive(Clone, Debug)]
pub enum ParsedItem {
    /// One event, after fan-out.
    Event(Arc<Event>),
    /// Well-formed content that Foghorn does not understand, or too much of it. It is kept, counted
    /// and shown.
    Malformed {
        /// Reason, for people.
        why: &'static str,
        /// Number of items it stands for.
        count: u64,
    },
}

/// Effect of an event type on its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens the condition.
    Opens,
    /// Closes the condition.
    Closes,
    /// Opens or closes it, depending on the event's `status`.
    Status,
}

/// An event type that a kind of source is known to send.
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    /// Topic on which it arrives.
    pub topic: &'static str,
    /// Another topic on which it arrives too.
    pub also_on: Option<&'static str>,
    /// Type in the sender's spelling.
    pub kind: &'static str,
    /// Group of an alarm; empty if unknown.
    pub group: &'static str,
    /// Effect on its condition.
    pub role: Option<Role>,
    /// Name of the condition; empty without a role.
    pub condition: &'static str,
    /// Type of the devices it is about, if its name contains it.
    pub device_type: Option<&'static str>,
}

/// Content and vocabulary of the bodies of one kind of source.
pub trait Dialect: Sync {
    /// Passes on the events of a body in order, at least those at these places (1 is the first),
    /// each with its item as sent, if it has one of its own. Any bytes give some answer. Only one
    /// event is in memory at a time, because a megabyte of body can become a hundred megabytes of
    /// events.
    fn each(
        &self,
        arrival: &Arrival<'_>,
        places: RangeInclusive<u64>,
        take: &mut dyn FnMut(ParsedItem, Option<&str>),
    );

    /// Checks in one pass that a body can be parsed later, and returns its normalised topic.
    ///
    /// # Errors
    ///
    /// [`Rejected::NotJson`], then [`Rejected::TooDeep`].
    fn topic(&self, body: &[u8]) -> Result<Option<String>, Rejected>;

    /// Returns the number of events in a body, before fan-out; 0 if it has no list of them.
    fn count_events(&self, body: &[u8]) -> u64;

    /// Returns true for a topic with much traffic that few rules need. It is stored only if a rule
    /// names it.
    fn is_chatty(&self, topic: &str) -> bool;

    /// Returns true for the topic of the sender's test button.
    fn is_test(&self, topic: &str) -> bool;

    /// Returns true if no event on this topic opens or closes a condition.
    fn is_endless(&self, topic: &str) -> bool;

    /// Returns all known topics.
    fn topics(&self) -> &'static [&'static str];

    /// Returns all known event types.
    fn types(&self) -> Box<dyn Iterator<Item = EventType>>;

    /// Returns the types with this name, on any topic.
    fn types_named(&self, name: &str) -> Box<dyn Iterator<Item = EventType>>;

    /// Builds the body that the source would send for `{type, device?, site?, topic?, …}` at the
    /// time `at`, for `tests:` in rules.yaml.
    fn synthesise(&self, fields: Map<String, Value>, at: Timestamp) -> Value;

    /// Returns the host of the portal for settings without one.
    fn portal(&self) -> &'static str;

    /// Returns a link to a device's page in the portal on this host, if its ids are known and
    /// well-formed.
    fn page(&self, host: &str, subject: &Subject) -> Option<Link>;
}
