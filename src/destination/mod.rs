//! Destinations: one file per kind, which implements [`Destination`], and one line in [`KINDS`].
//!
//! A destination is pure: it returns what to send, and interprets replies. Retries, limits and the
//! client exist only once, in [`crate::dispatcher`] and [`crate::wire`].

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use crate::pacing::{RateLimit, Retry};

use crate::model::{Message, Name, Receipt, Secret, Setting, Severity, Shape};
use crate::wire::{HttpRequest, Reply};

mod console;
mod layout;
mod slack;
mod teams;
mod values;
mod webhook;

pub use console::CONSOLE;
pub use values::{SettingValue, Unusable, Values};

/// All kinds of destinations. Everything that differs by kind comes from here: keys of rules.yaml,
/// their schema, previews, `send-test`, `doctor` and errors.
pub const KINDS: &[DestinationKind] = &[slack::KIND, teams::KIND, webhook::KIND, CONSOLE];

/// One kind of destination.
pub struct DestinationKind {
    /// Key in rules.yaml.
    pub word: &'static str,
    /// Name at the beginning of a sentence.
    pub label: &'static str,
    /// Meaning of the key, in one line.
    pub doc: &'static str,
    /// Settings under the key.
    pub settings: &'static [Setting],
    /// Environment variable whose URL makes a destination of this kind where the file defines none.
    pub variable: Option<&'static str>,
    /// Pace unless the file says otherwise.
    pub rate_limit: RateLimit,
    /// Treatment of messages the pace would delay, unless the file says otherwise.
    pub overflow: Overflow,
    /// Creates a destination from its settings.
    pub make: fn(&Values) -> Result<Arc<dyn Destination>, Unusable>,
    /// Makes what is posted for a message, for people to look at: without any address.
    pub preview: Option<fn(&Message) -> Value>,
    /// True if its destinations give receipts, and want the incident's last one back.
    pub remembers: bool,
}

impl DestinationKind {
    /// The key of rules.yaml.
    #[must_use]
    pub const fn setting(&self) -> Setting {
        let shape = if self.settings.is_empty() {
            Shape::Open
        } else {
            Shape::Map(self.settings)
        };
        Setting::new(self.word, shape, self.doc)
    }
}

/// A receiver of messages. Pure: the dispatcher sends what it asks for, waits, retries and settles.
pub trait Destination: SameAs + Any + fmt::Debug + Send + Sync {
    /// Its line in [`KINDS`].
    fn kind(&self) -> &'static DestinationKind;

    /// The URL that messages go to; `None` where they stay on this machine.
    fn url(&self) -> Option<&Secret>;

    /// The next thing to do for a message. `past`: the receipt of its incident's last delivery here.
    /// `heard`: the replies to what was asked for so far, oldest first.
    fn next(&self, content: &Content<'_>, past: Option<&Receipt>, heard: &[Reply]) -> Action;
}

/// Returns the cure where a URL belongs to another chat than `kind`.
fn another_chat(url: &reqwest::Url, kind: &str) -> Option<&'static str> {
    let host = url.host_str().unwrap_or_default();
    let (other, help) = match host {
        "hooks.slack.com" | "hooks.slack-gov.com" => {
            ("slack", "this URL is Slack's: write slack: {url: …}")
        }
        _ if host.ends_with(".logic.azure.com") || host.ends_with(".powerplatform.com") => {
            ("teams", "this URL is Teams': write teams: {url: …}")
        }
        _ => return None,
    };
    (other != kind).then_some(help)
}

/// Comparison of destinations, so that a reload knows those that changed. Implemented for whatever
/// can be compared.
pub trait SameAs {
    /// Returns true if `other` is of the same type and equal.
    fn same_as(&self, other: &dyn Any) -> bool;
}

impl<T: PartialEq + Any> SameAs for T {
    fn same_as(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>() == Some(self)
    }
}

impl PartialEq for dyn Destination {
    fn eq(&self, other: &Self) -> bool {
        let other: &dyn Any = other;
        self.same_as(other)
    }
}

/// A message to be sent, and how small it must become.
#[derive(Clone, Copy, Debug)]
pub struct Content<'m> {
    /// The message; `about.incident` is the same for all messages of an incident.
    pub message: &'m Message,
    /// Its size.
    pub size: Size,
}

/// Next step of a try.
#[derive(Debug)]
pub enum Action {
    /// Send this, and ask again with the reply.
    Send(HttpRequest),
    /// Print this to standard output, and ask again.
    Print(String),
    /// End of the try, and the receipt of the incident from now on unless it stays as it is.
    Done(SendOutcome, Option<Receipt>),
}

/// A destination that sends one request a message and remembers nothing.
fn once(
    heard: &[Reply],
    request: impl FnOnce() -> HttpRequest,
    classify: fn(u16, &str, &Reply) -> SendOutcome,
) -> Action {
    let outcome = match heard.last() {
        None => return Action::Send(request()),
        Some(Reply::Printed) => SendOutcome::Delivered,
        Some(Reply::Failed { why }) => SendOutcome::Retry { why: why.clone() },
        Some(reply @ Reply::Http { status, body, .. }) => classify(*status, body, reply),
    };
    Action::Done(outcome, None)
}

/// Settings of one destination; resolved from rules.yaml.
#[derive(Clone, Debug)]
pub struct DestinationSettings {
    /// Its name in `notify`.
    pub name: Name,
    /// The destination itself.
    pub target: Arc<dyn Destination>,
    /// Messages below this severity are not for it.
    pub min_severity: Severity,
    /// Its pace.
    pub rate_limit: RateLimit,
    /// Treatment of messages the pace would delay.
    pub overflow: Overflow,
    /// Time a message may wait at the destination's pace before `overflow` applies.
    pub overflow_after: Duration,
    /// Time for all requests of one try.
    pub timeout: Duration,
    /// Waits after a send failed.
    pub retry: Retry,
}

impl PartialEq for DestinationSettings {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            target,
            min_severity,
            rate_limit,
            overflow,
            overflow_after,
            timeout,
            retry,
        } = self;
        **target == *other.target
            && *name == other.name
            && *min_severity == other.min_severity
            && *rate_limit == other.rate_limit
            && *overflow == other.overflow
            && *overflow_after == other.overflow_after
            && *timeout == other.timeout
            && *retry == other.retry
    }
}

/// Treatment of messages that would wait too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// All that wait become a few summaries.
    Summary,
    /// They wait.
    Queue,
}

impl DestinationSettings {
    /// A destination with the defaults of its kind.
    #[must_use]
    pub fn with_defaults(name: Name, target: Arc<dyn Destination>) -> Self {
        let kind = target.kind();
        Self {
            name,
            target,
            min_severity: Severity::Info,
            rate_limit: kind.rate_limit,
            overflow: kind.overflow,
            overflow_after: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            retry: Retry {
                first: Duration::from_secs(1),
                max: Duration::from_secs(300),
                give_up_after: Duration::from_secs(72 * 3_600),
            },
        }
    }
}

/// A pace of so many messages in so many seconds.
const fn pace(limit: u32, seconds: u64, burst: u32) -> RateLimit {
    RateLimit {
        limit,
        per: Duration::from_secs(seconds),
        burst,
    }
}

/// Outcome of one try: retry or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The other side has it (Slack: shown; Teams: accepted).
    Delivered,
    /// Try again later, with backoff.
    Retry {
        /// Reason.
        why: String,
    },
    /// The destination asked everyone to wait.
    RetryAfter {
        /// The wait, clamped to 1 s .. 1 h.
        wait: Duration,
    },
    /// This payload will never be taken: once more in its smallest form, then it is a dead letter.
    BadPayload {
        /// Reason.
        why: String,
    },
    /// This destination takes nothing any more: disable it, tell through another one, probe.
    Broken {
        /// Reason and advice.
        why: String,
    },
}

/// Size a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The usual layout, shrunk only to fit the limits.
    Full,
    /// Plain text only: the second try after the other side refused the payload.
    Plain,
}

/// Returns what each kind posts for a message, by the kind's key: to be looked at, so without any
/// address.
pub fn previews(message: &Message) -> impl Iterator<Item = (&'static str, Value)> {
    let shown = |kind: &DestinationKind| Some((kind.word, kind.preview?(message)));
    KINDS.iter().filter_map(shown)
}

/// Outcome by the status, where the destination has no more to say about it.
fn by_status(who: &str, status: u16, reply: &Reply) -> SendOutcome {
    let why = format!("{who} answered {status}");
    match status {
        429 => SendOutcome::RetryAfter {
            wait: retry_after(reply),
        },
        408 | 425 | 500.. => SendOutcome::Retry { why },
        413 => SendOutcome::BadPayload {
            why: format!("{why}: too big"),
        },
        400 | 409 | 415 | 422 => SendOutcome::BadPayload { why },
        300..400 => SendOutcome::Broken {
            why: format!("{why}, a redirect, which is never followed: set the final URL"),
        },
        _ => SendOutcome::Broken { why },
    }
}

/// Wait that a 429 asks for: seconds or a date, within 1 s and 1 h; 30 s where it does not
/// say.
fn retry_after(reply: &Reply) -> Duration {
    let Reply::Http {
        retry_after: Some(text),
        date,
        ..
    } = reply
    else {
        return Duration::from_secs(30);
    };
    let seconds = match text.trim().parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Some(seconds.ceil()),
        Ok(_) => None,
        #[expect(clippy::cast_precision_loss, reason = "clamped to an hour below")]
        Err(_) => http_date(text)
            .zip(date.as_deref().and_then(http_date))
            .map(|(until, now)| (until - now) as f64),
    };
    seconds.map_or(Duration::from_secs(30), |s| {
        Duration::from_secs_f64(s.clamp(1.0, 3_600.0))
    })
}

/// Seconds since 1970 of a date as HTTP writes it, up to the end of the year 9999, which some say
/// where they mean "never".
fn http_date(text: &str) -> Option<i64> {
    let text = text.trim();
    let usual = jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S GMT", text).ok();
    let usual = usual.map(|time| {
        time.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0))
            .as_secs()
    });
    usual.or_else(|| {
        jiff::fmt::rfc2822::parse(text)
            .ok()
            .map(|time| time.timestamp().as_second())
    })
}

#[cfg(test)]
mod tests;
