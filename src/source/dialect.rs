//! What a body of one kind says.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Rejected;
use crate::model::{Event, Link, Name, Seq, SourceKind, Subject, Timestamp};

/// A journaled body with all that is known of how it came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The source it came from.
    pub source: &'a Name,
    /// The kind of that source.
    pub kind: SourceKind,
    /// Its place in the journal: makes the events' ids.
    pub seq: Seq,
    /// Wall time at which we got it.
    pub received: Timestamp,
    /// The raw bytes.
    pub body: &'a [u8],
}

impl<'a> Arrival<'a> {
    /// A body from a source of the default kind.
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
pub enum Parsed {
    /// One event, after fan-out.
    Event(Arc<Event>),
    /// Something signed and well-formed that we do not understand, or too much of it: kept, counted
    /// and shown.
    Malformed {
        /// What was expected, for people.
        why: &'static str,
        /// How many items it stands for.
        count: u64,
    },
}

/// What a type does to its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens it.
    Opens,
    /// Closes it.
    Closes,
    /// Either, as the event's `status` says.
    Status,
}

/// One type of event that a kind of source is known to send.
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    /// The topic it comes on.
    pub topic: &'static str,
    /// Another topic it comes on, too.
    pub also_on: Option<&'static str>,
    /// The type as the sender spells it.
    pub kind: &'static str,
    /// The group of an alarm; empty where unknown.
    pub group: &'static str,
    /// What it does to its condition.
    pub role: Option<Role>,
    /// The condition; empty without a role.
    pub condition: &'static str,
    /// The type of the devices it tells of, where its name says so.
    pub device_type: Option<&'static str>,
}

/// What the bodies of one kind of source say, and the words they use.
pub trait Dialect: Sync {
    /// Gives each event of a body in order, those at these places (1 is the first) at least. With
    /// each comes its item as it was sent, where it has one of its own. Total: any bytes give
    /// some answer. Holds one event at a time: a body of a megabyte can be made to become a
    /// hundred of them.
    fn each(
        &self,
        arrival: &Arrival<'_>,
        places: RangeInclusive<u64>,
        take: &mut dyn FnMut(Parsed, Option<&str>),
    );

    /// Checks in one pass that a body can be read later, and gives its topic, normalised.
    ///
    /// # Errors
    /// [`Rejected::NotJson`], then [`Rejected::TooDeep`].
    fn topic(&self, body: &[u8]) -> Result<Option<String>, Rejected>;

    /// How many events a body carries, before fan-out; 0 where it has no list of them.
    fn count_events(&self, body: &[u8]) -> u64;

    /// Whether a topic is much traffic that hardly any rule wants: not stored unless one names it.
    fn is_chatty(&self, topic: &str) -> bool;

    /// Whether a topic is that of the sender's test button.
    fn is_test(&self, topic: &str) -> bool;

    /// Whether nothing on this topic opens or closes anything.
    fn is_endless(&self, topic: &str) -> bool;

    /// Every topic there is known to be.
    fn topics(&self) -> &'static [&'static str];

    /// Every type there is known to be.
    fn types(&self) -> Box<dyn Iterator<Item = EventType>>;

    /// The types of this name, whatever their topic.
    fn types_named(&self, name: &str) -> Box<dyn Iterator<Item = EventType>>;

    /// The body that would have been sent for `{type, device?, site?, topic?, …}`, happening at
    /// `at`: for `tests:` of rules.yaml.
    fn synthesise(&self, fields: Map<String, Value>, at: Timestamp) -> Value;

    /// The host of the portal where the settings name none.
    fn portal(&self) -> &'static str;

    /// A link to a device's page in the portal on this host, where the ids for it are at hand and
    /// well-formed.
    fn page(&self, host: &str, subject: &Subject) -> Option<Link>;
}
