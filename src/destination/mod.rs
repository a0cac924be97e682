//! Whom we tell. A destination is two pure functions: `encode` a message, `classify` the reply.
//!
//! No retries, no limits, no client here: those exist once, in [`crate::dispatcher`] and [`http`].

use std::time::Duration;

use serde_json::Value;

pub use crate::pacing::{RateLimit, Retry};

use crate::model::{Message, Name, Secret, Severity};
use crate::render::{Body, one_line};

mod console;
pub mod http;
mod layout;
pub mod slack;
pub mod teams;
mod webhook;

/// How one destination is set up; resolved from rules.yaml.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationSettings {
    /// Its name in `notify`.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
    /// Messages below this severity are not for it.
    pub min_severity: Severity,
    /// Its pace.
    pub rate_limit: RateLimit,
    /// What happens to messages the pace would delay.
    pub overflow: Overflow,
    /// How long a message may wait at the destination's pace before `overflow` applies.
    pub overflow_after: Duration,
    /// The whole request.
    pub timeout: Duration,
    /// When a send failed.
    pub retry: Retry,
}

/// What a destination is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A Slack incoming webhook.
    Slack {
        /// The secret URL.
        url: Secret,
    },
    /// A Teams Workflows webhook.
    Teams {
        /// The secret URL.
        url: Secret,
    },
    /// Any URL.
    Webhook {
        /// The URL, which may hold a secret.
        url: Secret,
        /// Extra request headers; values may be secret.
        headers: Vec<(String, Secret)>,
        /// A JSON tree whose string leaves are templates; `None`: the notification as JSON.
        body: Option<Body>,
    },
    /// Standard output.
    Console,
}

impl Kind {
    /// The key in rules.yaml.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Slack { .. } => "slack",
            Self::Teams { .. } => "teams",
            Self::Webhook { .. } => "webhook",
            Self::Console => "console",
        }
    }
}

/// What happens to messages that would wait too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// All that wait are folded into digests.
    Digest,
    /// They wait.
    Queue,
}

impl DestinationSettings {
    /// A destination of this kind with its defaults: Slack 1/s burst 5; Teams 1 per 12 s burst 20;
    /// webhook 10/s burst 10; console unlimited in practice. `webhook` and `console` queue, the
    /// chats digest.
    #[must_use]
    pub fn with_defaults(name: Name, kind: Kind) -> Self {
        let (limit, per, burst, overflow) = match kind {
            Kind::Slack { .. } => (1, 1, 5, Overflow::Digest),
            Kind::Teams { .. } => (1, 12, 20, Overflow::Digest),
            Kind::Webhook { .. } => (10, 1, 10, Overflow::Queue),
            Kind::Console => (1_000, 1, 1_000, Overflow::Queue),
        };
        Self {
            name,
            kind,
            min_severity: Severity::Info,
            rate_limit: RateLimit {
                limit,
                per: Duration::from_secs(per),
                burst,
            },
            overflow,
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

/// One HTTP request, or a text for standard output.
#[derive(Clone, Debug)]
pub enum Request {
    /// POST this JSON.
    Post {
        /// Where to.
        url: Secret,
        /// Extra headers.
        headers: Vec<(String, Secret)>,
        /// The body.
        body: Value,
    },
    /// Print this.
    Print(String),
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The other side answered.
    Http {
        /// The status.
        status: u16,
        /// `Retry-After` as it came.
        retry_after: Option<String>,
        /// `Date` as it came: what a `Retry-After` that is a date counts from.
        date: Option<String>,
        /// The body's beginning (at most 8 KiB).
        body: String,
    },
    /// Nothing usable came back; the text never holds the URL.
    Failed {
        /// What went wrong: `connection refused`, `timed out`, …
        why: String,
    },
    /// It was printed.
    Printed,
}

/// Characters of an answer that are kept.
const SUMMARY: usize = 120;

impl Reply {
    /// The HTTP status, where the other side answered.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Http { status, .. } => Some(*status),
            Self::Failed { .. } | Self::Printed => None,
        }
    }

    /// The reply without its status, in one short line.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Http { body, .. } => one_line(body).chars().take(SUMMARY).collect(),
            Self::Failed { why } => why.clone(),
            Self::Printed => "printed".to_owned(),
        }
    }
}

/// How one try went: retry or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side has it (Slack: shown; Teams: accepted).
    Delivered,
    /// Try again later, with backoff.
    Retry {
        /// Why.
        why: String,
    },
    /// The destination asked everyone to wait.
    RetryAfter {
        /// How long, clamped to 1 s .. 1 h.
        wait: Duration,
    },
    /// This payload will never be taken: once more in its smallest form, then it is a dead letter.
    BadPayload {
        /// Why.
        why: String,
    },
    /// This destination takes nothing any more: disable it, tell through another one, probe.
    Broken {
        /// Why, and what to do.
        why: String,
    },
}

/// How small a message must become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The usual layout, shrunk only to fit the limits.
    Full,
    /// Plain text only: the second try after the other side refused the payload.
    Plain,
}

/// What each chat is posted for a message, by the key in rules.yaml: to be looked at, so without
/// any URL it goes to.
#[must_use]
pub fn shown(message: &Message) -> Value {
    let (slack, teams) = (
        slack::encode(message, Size::Full),
        teams::encode(message, Size::Full),
    );
    serde_json::json!({"slack": slack, "teams": teams})
}

impl DestinationSettings {
    /// The request that says this, within every limit of the other side.
    #[must_use]
    pub fn encode(&self, message: &Message, size: Size) -> Request {
        let (url, headers, body) = match &self.kind {
            Kind::Slack { url } => (url, Vec::new(), slack::encode(message, size)),
            Kind::Teams { url } => (url, Vec::new(), teams::encode(message, size)),
            Kind::Webhook { url, headers, body } => (
                url,
                headers.clone(),
                webhook::encode(message, body.as_ref()),
            ),
            Kind::Console => return Request::Print(console::encode(message)),
        };
        Request::Post {
            url: url.clone(),
            headers,
            body,
        }
    }

    /// What a reply means.
    #[must_use]
    pub fn classify(&self, reply: &Reply) -> Outcome {
        let (status, body) = match reply {
            Reply::Printed => return Outcome::Delivered,
            Reply::Failed { why } => return Outcome::Retry { why: why.clone() },
            Reply::Http { status, body, .. } => (*status, body.as_str()),
        };
        match &self.kind {
            Kind::Slack { .. } => slack::classify(status, body, reply),
            Kind::Teams { .. } => teams::classify(status, body, reply),
            Kind::Webhook { .. } | Kind::Console => webhook::classify(status, reply),
        }
    }
}

/// What a status means where the destination has no more to say about it.
fn by_status(who: &str, status: u16, reply: &Reply) -> Outcome {
    let why = format!("{who} answered {status}");
    match status {
        429 => Outcome::RetryAfter {
            wait: retry_after(reply),
        },
        408 | 425 | 500.. => Outcome::Retry { why },
        413 => Outcome::BadPayload {
            why: format!("{why}: too big"),
        },
        400 | 409 | 415 | 422 => Outcome::BadPayload { why },
        300..400 => Outcome::Broken {
            why: format!("{why}, a redirect, which is never followed: set the final URL"),
        },
        _ => Outcome::Broken { why },
    }
}

/// How long a 429 asks us to wait: seconds or a date, within 1 s and 1 h; 30 s where it does not
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
