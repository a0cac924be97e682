//! What the engine concluded, and why; each prints as an English sentence.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Notification, Timestamp, human_duration};

/// What the engine concluded about one event or timer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Journal time: when the input came, or when the timer was due.
    pub at: Timestamp,
    /// The event it is about; `None` for timers.
    pub event: Option<String>,
    /// The rule it is about; `None` where it concerns the event alone.
    pub rule: Option<Arc<str>>,
    /// What was concluded.
    pub verdict: Verdict,
}

/// The conclusion, with its reason.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The same event had come before.
    Duplicate,
    /// No rule looks for it.
    Unmatched,
    /// It is older than what is known: its condition had ended since, or the end is older than the beginning.
    Overtaken,
    /// It is older than `max_event_age`.
    TooOld {
        /// How old.
        age: Duration,
    },
    /// The rule waits for more of them.
    BelowThreshold {
        /// How many so far.
        seen: usize,
        /// How many it takes.
        need: u32,
        /// Within how long.
        within: Duration,
    },
    /// The condition must last until then before anything is said.
    Pending {
        /// Until when, journal time.
        until: Timestamp,
    },
    /// It fires; the message waits for its company.
    Firing,
    /// It belongs to an alert that fires already.
    Again,
    /// One of its kind was told less than `cooldown` ago: counted, for the next message.
    Cooldown {
        /// How many came since that message.
        since: u64,
    },
    /// It ended before anything was said.
    EndedUntold,
    /// It ended; the end is told when the message goes.
    Ended,
    /// It ended, but one reopening before then would be the same alert.
    Closing {
        /// Until when, journal time.
        until: Timestamp,
    },
    /// It ended, and nothing was open.
    NothingOpen,
    /// There are more alerts than the bound allows, and this one was not told yet.
    OverLimit,
    /// The rule was removed before it was told.
    RuleRemoved,
    /// Nobody takes messages of this severity from this rule.
    NobodyToTell,
    /// Something to say, and to whom.
    Notify(Box<Notification>),
}

impl Verdict {
    /// The fate of an event this verdict keeps quiet, as a metric label.
    #[must_use]
    pub const fn suppression(&self) -> Option<&'static str> {
        Some(match self {
            Self::Overtaken => "overtaken",
            Self::TooOld { .. } => "too_old",
            Self::BelowThreshold { .. } => "below_threshold",
            Self::Cooldown { .. } => "cooldown",
            Self::EndedUntold => "ended_untold",
            Self::NothingOpen => "nothing_open",
            Self::OverLimit => "over_limit",
            Self::RuleRemoved => "rule_removed",
            Self::NobodyToTell => "nobody_to_tell",
            _ => return None,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => f.write_str("the same event had come before"),
            Self::Unmatched => f.write_str("no rule looks for it"),
            Self::Overtaken => f.write_str("it was overtaken: something newer about the same condition is known"),
            Self::TooOld { age } => write!(f, "it is {} old: kept, not told", human_duration(*age)),
            Self::BelowThreshold { seen, need, within } => {
                write!(f, "{seen} of {need} events within {}", human_duration(*within))
            }
            Self::Pending { until } => write!(f, "pending until {until}"),
            Self::Firing => f.write_str("fires; the message waits for its company"),
            Self::Again => f.write_str("belongs to an alert that is open already"),
            Self::Cooldown { since } => write!(f, "told less than `cooldown` ago; {since} since then"),
            Self::EndedUntold => f.write_str("it ended before anything was said"),
            Self::Ended => f.write_str("it ended, which will be told"),
            Self::Closing { until } => write!(f, "it ended; a reopening before {until} is the same alert"),
            Self::NothingOpen => f.write_str("it ends something that was not open"),
            Self::OverLimit => f.write_str("too many alerts are open; this one was not told yet and was dropped"),
            Self::RuleRemoved => f.write_str("its rule was removed before it was told"),
            Self::NobodyToTell => f.write_str("no destination of the rule takes this severity"),
            Self::Notify(notification) => {
                let names: Vec<&str> = notification.to.iter().map(crate::model::Name::as_str).collect();
                write!(f, "notify {}: {}", names.join(", "), notification.reason)
            }
        }
    }
}
