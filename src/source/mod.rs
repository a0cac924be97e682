//! Sources of events: verifies that a body is genuine, and converts a journaled one to events.
//!
//! `KINDS` is the only table of kinds. Each entry has a [`Dialect`], which parses the bodies, and
//! the [`Intake`]s through which they arrive. No code outside this module names a kind.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use warp::http::HeaderMap;

use crate::model::{Cursor, Link, Name, Record, Secret, SourceKind, Subject, Timestamp};
use crate::render::Portal;

mod dialect;
mod intake;
pub mod mist;

pub use dialect::{Arrival, Dialect, EventType, ParsedItem, Role};
pub use intake::{Again, Answer, Ask, Intake, Portion, Pull, Signature, Trouble};

/// One kind of source.
struct Registration {
    /// Number in the journal: never changed, never reused.
    number: SourceKind,
    /// Word in `kind`, in the path of its posts, and as the name of its first source.
    word: &'static str,
    /// Environment variable with the secret of that source.
    secret: &'static str,
    dialect: &'static dyn Dialect,
    intakes: &'static [Intake],
}

/// All kinds; the first is the default.
static KINDS: [Registration; 1] = [Registration {
    number: SourceKind(0),
    word: "mist",
    secret: "MIST_WEBHOOK_SECRET",
    dialect: &mist::Mist,
    intakes: &[Intake::Posted(&mist::Mist)],
}];

/// Words of all kinds; the first is the default.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
pub const WORDS: [&str; KINDS.len()] = {
    let mut words = [""; KINDS.len()];
    let mut n = 0;
    while n < words.len() {
        words[n] = KINDS[n].word;
        n += 1;
    }
    words
};

/// Description of `sources` in the reference of rules.yaml.
pub const ABOUT: &str = "Who sends to us. `mist` is POST /mist, another, `lab`, is POST /mist/lab.";
/// Description of `portal` in the reference of rules.yaml.
pub const ABOUT_PORTAL: &str =
    "The host of your cloud's portal, for links. Default manage.mist.com.";

impl Registration {
    fn default() -> &'static Self {
        let [first, ..] = &KINDS;
        first
    }

    fn signature(&self) -> Option<&'static dyn Signature> {
        self.intakes.iter().find_map(|intake| match intake {
            Intake::Posted(signature) => Some(*signature),
            Intake::Pulled(_) => None,
        })
    }
}

fn registration(kind: SourceKind) -> Option<&'static Registration> {
    KINDS.iter().find(|line| line.number == kind)
}

fn dialect(kind: SourceKind) -> Option<&'static dyn Dialect> {
    registration(kind).map(|line| line.dialect)
}

/// Returns the kind with this word.
#[must_use]
pub fn kind(word: &str) -> Option<SourceKind> {
    KINDS
        .iter()
        .find(|line| line.word == word)
        .map(|line| line.number)
}

/// Returns the word of a kind; `None` if this release does not know the kind.
#[must_use]
pub fn word(kind: SourceKind) -> Option<&'static str> {
    registration(kind).map(|line| line.word)
}

/// Returns the name of the source that exists without settings: the word of the default kind.
#[must_use]
pub fn default_name() -> Name {
    Name::new(Registration::default().word)
}

/// Returns the words of the kinds that post. The path of their posts begins with the word.
pub fn posting() -> impl Iterator<Item = &'static str> {
    KINDS
        .iter()
        .filter(|line| line.signature().is_some())
        .map(|line| line.word)
}

/// Returns all known event types of all kinds.
pub fn types() -> impl Iterator<Item = EventType> {
    KINDS.iter().flat_map(|line| line.dialect.types())
}

/// Returns the types with this name, of any kind and topic.
pub fn types_named(name: &str) -> impl Iterator<Item = EventType> {
    KINDS
        .iter()
        .flat_map(move |line| line.dialect.types_named(name))
}

/// Returns all known topics of all kinds.
pub fn topics() -> impl Iterator<Item = &'static str> {
    KINDS
        .iter()
        .flat_map(|line| line.dialect.topics().iter().copied())
}

/// Returns true if no event on this topic opens or closes a condition, for any kind.
#[must_use]
pub fn is_endless(topic: &str) -> bool {
    KINDS.iter().any(|line| line.dialect.is_endless(topic))
}

/// Builds the body that the default kind would send, see [`Dialect::synthesise`].
#[must_use]
pub fn synthesise(fields: Map<String, Value>, at: Timestamp) -> Value {
    Registration::default().dialect.synthesise(fields, at)
}

/// A body with a verified sender. Only this module creates it, and only it can be journaled as
/// received.
#[derive(Clone, Debug)]
pub struct Verified {
    source: Name,
    kind: SourceKind,
    topic: Option<String>,
    body: Bytes,
}

impl Verified {
    /// Creates the value for a verified sender, after checking that the body can be parsed.
    fn new(settings: &SourceSettings, body: Bytes) -> Result<Self, Rejected> {
        let dialect = dialect(settings.kind).ok_or(Rejected::SignatureMissing)?;
        Ok(Self {
            source: settings.name.clone(),
            kind: settings.kind,
            topic: dialect.topic(&body)?,
            body,
        })
    }

    /// Returns the normalised topic; `None` if the body names none.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// Returns the topic if it is a chatty one.
    #[must_use]
    pub fn chatty_topic(&self) -> Option<&str> {
        let dialect = dialect(self.kind)?;
        self.topic().filter(|topic| dialect.is_chatty(topic))
    }

    /// Returns true if somebody pressed the sender's test button.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let is_test = |dialect: &dyn Dialect| self.topic().is_some_and(|t| dialect.is_test(t));
        dialect(self.kind).is_some_and(is_test)
    }

    /// Returns the number of events before fan-out. It parses the body again, so it is meant for
    /// bodies that are not journaled.
    #[must_use]
    pub fn count_events(&self) -> u64 {
        dialect(self.kind).map_or(0, |dialect| dialect.count_events(&self.body))
    }

    /// Returns the body's length in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// Returns the record to append. The last body of an answer carries the new cursor.
    #[must_use]
    pub fn into_record(self, cursor: Option<Cursor>) -> Record {
        Record::Received {
            source: self.source,
            kind: self.kind,
            cursor,
            body: self.body,
        }
    }
}

/// Settings of one source, from rules.yaml.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Name of the source. A source named like its kind has the path `/<word>`, any other
    /// `/<word>/<name>`.
    pub name: Name,
    /// Kind of the source.
    pub kind: SourceKind,
    /// Secrets that are valid at the same time. If empty, posts are unsigned, from loopback only
    /// unless `allow_unsigned`.
    pub secrets: Vec<Secret>,
    /// Accepts unsigned posts from anywhere.
    pub allow_unsigned: bool,
    /// Accepts the older of two signatures if the newer is missing.
    pub allow_v1: bool,
    /// Stores chatty topics too.
    pub store_all: bool,
    /// Maximum age of an event that opens an alert. Older ones are stored and shown, but not
    /// notified. `None`: no limit.
    pub max_event_age: Option<Duration>,
    /// Host of the portal, for links; empty for the default of the kind.
    pub portal: String,
}

impl SourceSettings {
    /// Creates the default settings of a source.
    #[must_use]
    pub fn new(name: &str, kind: SourceKind) -> Self {
        Self {
            name: Name::new(name),
            kind,
            secrets: Vec::new(),
            allow_unsigned: false,
            allow_v1: false,
            store_all: false,
            max_event_age: Some(Duration::from_secs(86_400)),
            portal: dialect(kind).map_or_else(String::new, |d| d.portal().to_owned()),
        }
    }

    /// Returns the environment variable with the secret, if the source is named like its kind.
    #[must_use]
    pub fn secret_variable(&self) -> Option<&'static str> {
        registration(self.kind)
            .filter(|line| line.word == self.name.as_str())
            .map(|line| line.secret)
    }

    /// Returns the path of its posts.
    #[must_use]
    pub fn path(&self) -> String {
        match word(self.kind).unwrap_or_default() {
            word if word == self.name.as_str() => format!("/{word}"),
            word => format!("/{word}/{}", self.name),
        }
    }

    /// Returns the header that signs a body with the first secret, as its sender would: name and
    /// value.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> Option<(&'static str, String)> {
        let signature = registration(self.kind)?.signature()?;
        Some(signature.sign(self.secrets.first()?, body))
    }
}

impl Portal for SourceSettings {
    fn page(&self, subject: &Subject) -> Option<Link> {
        let dialect = dialect(self.kind)?;
        let host = Some(self.portal.as_str()).filter(|host| !host.is_empty());
        dialect.page(host.unwrap_or(dialect.portal()), subject)
    }
}

/// Reason why a POST was rejected. Each becomes a status and a short text, without any content of
/// the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub enum Rejected {
    /// 401: no signature where a secret is set.
    SignatureMissing,
    /// 401: the signature does not fit the body.
    SignatureWrong,
    /// 401: unsigned, and not from loopback (or through a proxy).
    UnsignedFromAfar,
    /// 400: not JSON.
    NotJson,
    /// 400: nested deeper than 127 levels.
    TooDeep,
}

impl Rejected {
    /// Returns the text of the answer.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::SignatureMissing => "signature missing",
            Self::SignatureWrong => "signature does not match",
            Self::UnsignedFromAfar => "unsigned posts are accepted from this machine only",
            Self::NotJson => "body is not JSON",
            Self::TooDeep => "body is nested too deeply",
        }
    }
}

/// Converts a journaled body to events. Any bytes give some answer.
#[must_use]
pub fn parse(arrival: &Arrival<'_>) -> Vec<ParsedItem> {
    let mut parsed = Vec::new();
    each(arrival, &mut |one| parsed.push(one));
    parsed
}

/// Converts like [`parse`], with one event in memory at a time.
pub fn each(arrival: &Arrival<'_>, take: &mut dyn FnMut(ParsedItem)) {
    each_at(arrival, 1..=u64::MAX, &mut |parsed, _| take(parsed));
}

/// Converts like [`each`], at least the events at these places, see [`Dialect::each`].
pub fn each_at(
    arrival: &Arrival<'_>,
    places: RangeInclusive<u64>,
    take: &mut dyn FnMut(ParsedItem, Option<&str>),
) {
    match dialect(arrival.kind) {
        Some(dialect) => dialect.each(arrival, places, take),
        None => {
            let why = "its kind of source is unknown to this release";
            take(ParsedItem::Malformed { why, count: 1 }, None);
        }
    }
}

/// Returns true if a body certainly contains readable events, without parsing them.
#[must_use]
pub fn is_readable(kind: SourceKind, body: &[u8]) -> bool {
    let readable = |dialect: &dyn Dialect| {
        dialect.count_events(body) > 0 && matches!(dialect.topic(body), Ok(Some(_)))
    };
    dialect(kind).is_some_and(readable)
}

/// Verifies the signature of a POST over the raw bytes, then checks that the body can be parsed
/// later.
///
/// `from_this_machine` is true for a loopback peer without a forwarding header.
///
/// # Errors
///
/// [`Rejected`], in this order: signature, JSON, depth.
pub fn verify(
    settings: &SourceSettings,
    headers: &HeaderMap,
    from_this_machine: bool,
    body: Bytes,
) -> Result<Verified, Rejected> {
    let signature = registration(settings.kind).and_then(Registration::signature);
    signature.ok_or(Rejected::SignatureMissing)?.verify(
        settings,
        headers,
        from_this_machine,
        &body,
    )?;
    Verified::new(settings, body)
}
