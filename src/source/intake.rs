//! How the bodies of one kind come: posted to us, or fetched by us.

use std::time::Duration;

use bytes::Bytes;
use warp::http::HeaderMap;

use super::{Rejected, SourceSettings, Verified};
use crate::model::{Cursor, Secret, Timestamp};

/// One way in which a source's bodies come. A kind may have several.
pub enum Intake {
    /// The source posts them; each proves who sent it.
    Posted(&'static dyn Signature),
    /// We ask for them, where the settings say how.
    Pulled(fn(&SourceSettings) -> Option<Box<dyn Pull>>),
}

/// The proof that a POST comes from someone who knows the secret.
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

    /// The header that signs a body, as its sender would write it: name and value.
    fn sign(&self, secret: &Secret, body: &[u8]) -> (&'static str, String);
}

/// A source that is asked: two pure functions. Whoever drives them sends what [`Pull::ask`] says,
/// keeps the pace, and appends the bodies in order, the last of them with the new cursor.
pub trait Pull: Send + Sync {
    /// The next question, going on from where the last answer that was stored left off.
    fn ask(&self, cursor: Option<&Cursor>, now: Timestamp) -> Ask;

    /// What an answer to the question from this cursor brought.
    ///
    /// # Errors
    /// [`Trouble`] where it holds no bodies; the cursor stays.
    fn take(&self, cursor: Option<&Cursor>, answer: &Answer) -> Result<Portion, Trouble>;
}

/// A question to a pulled source: a GET.
#[derive(Debug)]
pub struct Ask {
    /// Where to; it may hold a token.
    pub url: Secret,
    /// What goes with it; a value may be a token.
    pub headers: Vec<(String, Secret)>,
    /// The most bytes an answer may have.
    pub at_most: usize,
    /// How long it may take.
    pub within: Duration,
}

/// The answer to an [`Ask`], whole.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// What one answer brought.
#[derive(Debug)]
pub struct Portion {
    /// Bodies to be journaled, in order.
    pub bodies: Vec<Verified>,
    /// Where to go on from once they are stored.
    pub cursor: Cursor,
    /// When to ask again.
    pub again: Again,
}

/// When to ask a pulled source again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// At once: there is more.
    Now,
    /// After this long.
    After(Duration),
}

/// Why an answer brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It may work later, not before this long where the source says so.
    #[error("{why}")]
    Passing {
        /// One line, without secrets.
        why: String,
        /// What the source asked for.
        after: Option<Duration>,
    },
    /// It will not work until a person does something.
    #[error("{0}")]
    Lasting(String),
}
