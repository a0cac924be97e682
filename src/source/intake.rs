//! Ways in which bodies of a source arrive: posted to Foghorn, or fetched by it.

use std::time::Duration;

use bytes::Bytes;
use warp::http::HeaderMap;

use super::{Rejected, SourceSettings, Verified};
use crate::model::{Cursor, Secret, Timestamp};

/// One way in which bodies of a source arrive. A kind may have several.
pub enum Intake {
    /// The source posts bodies, each with a proof of its sender.
    Posted(&'static dyn Signature),
    /// Foghorn fetches the bodies if the settings say how.
    Pulled(fn(&SourceSettings) -> Option<Box<dyn Pull>>),
}

/// Proof that the sender of a POST knows the secret.
pub trait Signature: Sync {
    /// Checks the headers against the raw bytes. `from_this_machine` is true for a loopback peer
    /// without a forwarding header.
    ///
    /// # Errors
    /// A [`Rejected`] that is answered 401.
    fn verify(
        &self,
        settings: &SourceSettings,
        headers: &HeaderMap,
        from_this_machine: bool,
        body: &[u8],
    ) -> Result<(), Rejected>;

    /// Returns the header that signs a body as its sender would: name and value.
    fn sign(&self, secret: &Secret, body: &[u8]) -> (&'static str, String);
}

/// A source that is polled, as two pure functions. The driver sends the requests of [`Pull::ask`],
/// keeps the pace, and appends the bodies in order; the last one carries the new cursor.
pub trait Pull: Send + Sync {
    /// Returns the next request, which continues after the last stored answer.
    fn ask(&self, cursor: Option<&Cursor>, now: Timestamp) -> Ask;

    /// Returns the bodies of an answer to the request from this cursor.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if it contains none; the cursor stays.
    fn take(&self, cursor: Option<&Cursor>, answer: &Answer) -> Result<Portion, Trouble>;
}

/// A request to a polled source: a GET.
#[derive(Debug)]
pub struct Ask {
    /// URL of the request, which may contain a token.
    pub url: Secret,
    /// Headers of the request; a value may be a token.
    pub headers: Vec<(String, Secret)>,
    /// Maximum size of the answer in bytes.
    pub at_most: usize,
    /// Time limit of the request.
    pub within: Duration,
}

/// The complete answer to an [`Ask`].
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Response headers.
    pub headers: HeaderMap,
    /// Response body.
    pub body: Bytes,
}

/// Content of one answer.
#[derive(Debug)]
pub struct Portion {
    /// Bodies to append to the journal, in order.
    pub bodies: Vec<Verified>,
    /// Cursor to continue from once they are stored.
    pub cursor: Cursor,
    /// Time of the next request.
    pub again: Again,
}

/// Time of the next request to a polled source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// At once, because there is more.
    Now,
    /// After this time.
    After(Duration),
}

/// Reason why an answer contained no bodies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// A later request may succeed, after the time the source asks for, if any.
    #[error("{why}")]
    Passing {
        /// One line without secrets.
        why: String,
        /// Waiting time the source asked for.
        after: Option<Duration>,
    },
    /// Requests fail until a person intervenes.
    #[error("{0}")]
    Lasting(String),
}
