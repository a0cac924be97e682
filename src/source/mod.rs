//! Who sends to us: checks that a POST is genuine, and turns a journaled body into events.

use std::sync::Arc;

use bytes::Bytes;
use warp::http::HeaderMap;

use crate::model::{Event, Name, Secret, Seq, Timestamp};

pub mod mist;

/// A POST whose sender was checked: the only thing ingest can journal. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    source: Name,
    topic: Option<String>,
    body: Bytes,
}

impl Verified {
    /// The topic it carries, normalised; `None` where it names none.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// Whether this is one of the topics that tell of every client's every step: see
    /// [`mist::is_chatty`].
    #[must_use]
    pub fn is_chatty(&self) -> bool {
        self.topic().is_some_and(mist::is_chatty)
    }

    /// How many events it carries, before fan-out. Reads the body again: for what is not journaled.
    #[must_use]
    pub fn count_events(&self) -> u64 {
        mist::envelope::count_events(&self.body)
    }

    /// The raw body's length in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// The source that checked it, and the raw body.
    #[must_use]
    pub fn into_parts(self) -> (Name, Bytes) {
        (self.source, self.body)
    }
}

/// How one source is set up; resolved from rules.yaml.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Its name: `mist` is `POST /mist`, any other, `lab`, is `POST /mist/lab`.
    pub name: Name,
    /// Secrets valid at once. Empty: unsigned posts, from loopback only unless `allow_unsigned`.
    pub secrets: Vec<Secret>,
    /// Accept unsigned posts from anywhere.
    pub allow_unsigned: bool,
    /// Accept `X-Mist-Signature` (SHA-1) where v2 is absent.
    pub allow_v1: bool,
    /// Store the chatty topics too.
    pub store_all: bool,
    /// Openings older than this are kept and shown, not told. `None`: no limit.
    pub max_event_age: Option<std::time::Duration>,
    /// The host of the cloud's portal, for links.
    pub portal: String,
}

/// Why a POST was refused. Each becomes one status and one short reason; nothing of the request is
/// repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// 401: no signature where a secret is set.
    #[error("signature missing")]
    SignatureMissing,
    /// 401: the signature does not fit the body.
    #[error("signature does not match")]
    SignatureWrong,
    /// 401: unsigned, and not from loopback (or through a proxy).
    #[error("unsigned posts are accepted from this machine only")]
    UnsignedFromAfar,
    /// 400: not JSON.
    #[error("body is not JSON")]
    NotJson,
    /// 400: nested deeper than 127 levels.
    #[error("body is nested too deeply")]
    TooDeep,
}

/// What a journaled body turned out to hold.
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

/// Turns one journaled body into events. Total: any bytes give some answer.
///
/// `received` is wall time; `seq` makes the events' ids.
#[must_use]
pub fn parse(source: &Name, seq: Seq, received: Timestamp, body: &[u8]) -> Vec<Parsed> {
    let mut parsed = Vec::new();
    each(source, seq, received, body, &mut |one| parsed.push(one));
    parsed
}

/// As [`parse`], and holds one event at a time: a body of a megabyte can be made to become a
/// hundred of them.
pub fn each(
    source: &Name,
    seq: Seq,
    received: Timestamp,
    body: &[u8],
    take: &mut dyn FnMut(Parsed),
) {
    mist::each(source, seq, received, body, take);
}

/// As [`each`], of the events at these places alone, ascending: gives each with its item as it was
/// sent, where it has one of its own. The others are read only where an item may be several events.
pub fn each_at(
    source: &Name,
    seq: Seq,
    received: Timestamp,
    body: &[u8],
    places: &[u64],
    take: &mut dyn FnMut(Parsed, Option<&str>),
) {
    mist::each_at(source, seq, received, body, Some(places), take);
}

/// Checks a POST's signature over the raw bytes, then that it is JSON of bearable depth.
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
    mist::signature::verify(settings, headers, from_this_machine, &body)?;
    let topic = mist::envelope::check(&body)?;
    Ok(Verified {
        source: settings.name.clone(),
        topic,
        body,
    })
}
