//! Who sends to us: checks that a body is genuine, and turns a journaled one into events.
//!
//! [`KINDS`] is the one table of kinds. A line has a [`Dialect`], what the bodies say, and the
//! [`Intake`]s by which they come. Nothing outside this module names a kind.

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

pub use dialect::{Arrival, Dialect, EventType, Parsed, Role};
pub use intake::{Again, Answer, Ask, Intake, Portion, Pull, Signature, Trouble};

/// One kind of source.
struct Registration {
    /// Its number in the journal: never changed, never given to another.
    number: SourceKind,
    /// Its word, in `kind`, in the path of its posts, and as the name of its first source.
    word: &'static str,
    /// The environment variable with the secret of that source.
    secret: &'static str,
    dialect: &'static dyn Dialect,
    intakes: &'static [Intake],
}

/// Every kind; the first is the default.
static KINDS: [Registration; 1] = [Registration {
    number: SourceKind(0),
    word: "mist",
    secret: "MIST_WEBHOOK_SECRET",
    dialect: &mist::Mist,
    intakes: &[Intake::Posted(&mist::Mist)],
}];

/// The words of all kinds; the first is the default.
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

/// What rules.yaml's reference says of `sources`.
pub const ABOUT: &str = "Who sends to us. `mist` is POST /mist, another, `lab`, is POST /mist/lab.";
/// What rules.yaml's reference says of `portal`.
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

/// The kind of this word; `None` for any other.
#[must_use]
pub fn kind(word: &str) -> Option<SourceKind> {
    KINDS
        .iter()
        .find(|line| line.word == word)
        .map(|line| line.number)
}

/// The word of a kind; `None` of one that this release does not know.
#[must_use]
pub fn word(kind: SourceKind) -> Option<&'static str> {
    registration(kind).map(|line| line.word)
}

/// The name of the source there is without settings: the word of the default kind.
#[must_use]
pub fn default_name() -> Name {
    Name::new(Registration::default().word)
}

/// The words of the kinds that post: each is where the path of its posts begins.
pub fn posting() -> impl Iterator<Item = &'static str> {
    KINDS
        .iter()
        .filter(|line| line.signature().is_some())
        .map(|line| line.word)
}

/// Every type of event that any kind is known to send.
pub fn types() -> impl Iterator<Item = EventType> {
    KINDS.iter().flat_map(|line| line.dialect.types())
}

/// The types of this name, of any kind and topic.
pub fn types_named(name: &str) -> impl Iterator<Item = EventType> {
    KINDS
        .iter()
        .flat_map(move |line| line.dialect.types_named(name))
}

/// Every topic that any kind is known to have.
pub fn topics() -> impl Iterator<Item = &'static str> {
    KINDS
        .iter()
        .flat_map(|line| line.dialect.topics().iter().copied())
}

/// Whether nothing on this topic opens or closes anything, whatever the kind.
#[must_use]
pub fn is_endless(topic: &str) -> bool {
    KINDS.iter().any(|line| line.dialect.is_endless(topic))
}

/// The body that the default kind would have sent, see [`Dialect::synthesise`].
#[must_use]
pub fn synthesise(fields: Map<String, Value>, at: Timestamp) -> Value {
    Registration::default().dialect.synthesise(fields, at)
}

/// A body whose sender was checked: the only thing that can be journaled as received. Only this
/// module makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    source: Name,
    kind: SourceKind,
    topic: Option<String>,
    body: Bytes,
}

impl Verified {
    /// A body whose sender is known to be the source's: that it can be read is checked here.
    fn new(settings: &SourceSettings, body: Bytes) -> Result<Self, Rejected> {
        let dialect = dialect(settings.kind).ok_or(Rejected::SignatureMissing)?;
        Ok(Self {
            source: settings.name.clone(),
            kind: settings.kind,
            topic: dialect.topic(&body)?,
            body,
        })
    }

    /// The topic it carries, normalised; `None` where it names none.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// The topic, where it is one of those that tell of every client's every step.
    #[must_use]
    pub fn chatty_topic(&self) -> Option<&str> {
        let dialect = dialect(self.kind)?;
        self.topic().filter(|topic| dialect.is_chatty(topic))
    }

    /// Whether somebody pressed the sender's test button.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let is_test = |dialect: &dyn Dialect| self.topic().is_some_and(|t| dialect.is_test(t));
        dialect(self.kind).is_some_and(is_test)
    }

    /// How many events it carries, before fan-out. Reads the body again: for what is not journaled.
    #[must_use]
    pub fn count_events(&self) -> u64 {
        dialect(self.kind).map_or(0, |dialect| dialect.count_events(&self.body))
    }

    /// The raw body's length in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// The record to be journaled; with the last body of an answer goes the new cursor.
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

/// How one source is set up; resolved from rules.yaml.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Its name: the default kind's word is `POST /<word>`, any other is `POST /<word>/<name>`.
    pub name: Name,
    /// What it is.
    pub kind: SourceKind,
    /// Secrets valid at once. Empty: unsigned posts, from loopback only unless `allow_unsigned`.
    pub secrets: Vec<Secret>,
    /// Accept unsigned posts from anywhere.
    pub allow_unsigned: bool,
    /// Accept the older of two signatures where the newer is absent.
    pub allow_v1: bool,
    /// Store the chatty topics too.
    pub store_all: bool,
    /// Openings older than this are kept and shown, not told. `None`: no limit.
    pub max_event_age: Option<Duration>,
    /// The host of the portal, for links; empty is the kind's own.
    pub portal: String,
}

impl SourceSettings {
    /// The settings of a source of which nothing but name and kind is said.
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

    /// The environment variable with the secret of the source that is named as its kind.
    #[must_use]
    pub fn secret_variable(&self) -> Option<&'static str> {
        registration(self.kind)
            .filter(|line| line.word == self.name.as_str())
            .map(|line| line.secret)
    }

    /// The path of its posts.
    #[must_use]
    pub fn path(&self) -> String {
        match word(self.kind).unwrap_or_default() {
            word if word == self.name.as_str() => format!("/{word}"),
            word => format!("/{word}/{}", self.name),
        }
    }

    /// The header that signs a body with its first secret, as its sender would: name and value.
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

/// Why a POST was refused. Each becomes one status and one short reason; nothing of the request is
/// repeated.
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
    /// The reason, as it is answered.
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

/// Turns one journaled body into events. Total: any bytes give some answer.
#[must_use]
pub fn parse(arrival: &Arrival<'_>) -> Vec<Parsed> {
    let mut parsed = Vec::new();
    each(arrival, &mut |one| parsed.push(one));
    parsed
}

/// As [`parse`], and holds one event at a time.
pub fn each(arrival: &Arrival<'_>, take: &mut dyn FnMut(Parsed)) {
    each_at(arrival, 1..=u64::MAX, &mut |parsed, _| take(parsed));
}

/// As [`each`], of the events at these places at least, see [`Dialect::each`].
pub fn each_at(
    arrival: &Arrival<'_>,
    places: RangeInclusive<u64>,
    take: &mut dyn FnMut(Parsed, Option<&str>),
) {
    match dialect(arrival.kind) {
        Some(dialect) => dialect.each(arrival, places, take),
        None => {
            let why = "its kind of source is unknown to this release";
            take(Parsed::Malformed { why, count: 1 }, None);
        }
    }
}

/// Whether a body surely holds events that can be read: for who would rather not read them.
#[must_use]
pub fn is_readable(kind: SourceKind, body: &[u8]) -> bool {
    let readable = |dialect: &dyn Dialect| {
        dialect.count_events(body) > 0 && matches!(dialect.topic(body), Ok(Some(_)))
    };
    dialect(kind).is_some_and(readable)
}

/// Checks a POST's signature over the raw bytes, then that it can be read later.
///
/// `from_this_machine` is true for a loopback peer without a forwarding header.
///
/// # Errors
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
