//! What the engine concluded, and why; each prints as an English sentence.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{EventId, Name, Notification, Timestamp, human_duration};

/// What the engine concluded about one event or timer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Journal time: when the input came, or when the timer was due.
    pub at: Timestamp,
    /// The event it is about; `None` for timers.
    pub event: Option<EventId>,
    /// The alerts it is about, by number: what follows from an event later is found by them.
    pub alerts: Vec<u64>,
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
    /// It is older than what is known: its condition had ended since, or the end is older than the
    /// beginning.
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
    /// As many alerts are open as are followed: this one is sent with others, and not followed.
    OverLimit {
        /// Why it is not even sent, as a metric label.
        kept: Option<&'static str>,
    },
    /// As many things are waited for as can be: this one is not.
    TooMany,
    /// The rule was removed before it was told.
    RuleRemoved,
    /// Nobody takes messages of this severity from this rule.
    NobodyToTell,
    /// It waits a little for an alert that may explain it.
    Holding {
        /// Until when, wall time.
        until: Timestamp,
    },
    /// Another alert explains it.
    Inhibited {
        /// What that alert is about.
        by: String,
        /// Its rule.
        rule: Arc<str>,
        /// The line of the one of `inhibit_rules` by which it does, where the rules still say so.
        line: Option<u64>,
    },
    /// A person silenced it.
    Silenced {
        /// The silence.
        id: String,
        /// Who made it.
        author: String,
        /// Until when, wall time; `None`: until it is resolved.
        until: Option<Timestamp>,
    },
    /// It is outside of its rule's hours.
    Muted {
        /// Until when, wall time; `None`: for good.
        until: Option<Timestamp>,
    },
    /// A maintenance hides it.
    Maintenance {
        /// Which.
        name: Name,
        /// Until when, wall time.
        until: Option<Timestamp>,
    },
    /// Its device is away on purpose (an upgrade): it has longer, and does not count among several.
    Planned {
        /// Until when, wall time.
        until: Timestamp,
    },
    /// It changed too often to be told each time.
    Flapping {
        /// How often …
        changes: u64,
        /// … within how long.
        within: Duration,
    },
    /// It goes on changing.
    StillFlapping {
        /// How often so far.
        changes: u64,
    },
    /// Nothing changed for a while.
    Stable {
        /// Whether it is well.
        up: bool,
    },
    /// Only a connected device sends this: it is not gone.
    HeardFrom {
        /// The event's type.
        kind: String,
    },
    /// Its device was removed: it is not down any more.
    Removed {
        /// The event's type.
        kind: String,
    },
    /// What should come came.
    Expected,
    /// What should come did not.
    Missing {
        /// Since when, wall time.
        since: Timestamp,
    },
    /// Its `when` could not be evaluated: no match.
    WhenFailed {
        /// Why.
        why: String,
    },
    /// It is kept for a digest.
    Collected {
        /// Which.
        into: Name,
        /// When that is told, wall time.
        until: Timestamp,
    },
    /// A silence begins.
    SilenceBegins {
        /// Which.
        id: String,
        /// It was over before it began: its time had passed, or nothing it matches was open.
        over: bool,
    },
    /// A silence ends.
    SilenceEnds {
        /// Which.
        id: String,
    },
    /// A silence whose `match` this release cannot read.
    SilenceUnreadable {
        /// Which.
        id: String,
    },
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
            Self::OverLimit { kept: Some(kept) } => kept,
            Self::TooMany => "over_limit",
            Self::RuleRemoved => "rule_removed",
            Self::NobodyToTell => "nobody_to_tell",
            Self::Inhibited { .. } => "inhibited",
            Self::Silenced { .. } => "silenced",
            Self::Muted { .. } => "muted",
            Self::Maintenance { .. } => "maintenance",
            Self::Planned { .. } => "planned",
            Self::Expected => "expected",
            Self::WhenFailed { .. } => "when_failed",
            _ => return None,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => f.write_str("the same event had come before"),
            Self::Unmatched => f.write_str("no rule looks for it"),
            Self::Overtaken => {
                f.write_str("it was overtaken: something newer about the same condition is known")
            }
            Self::TooOld { age } => write!(f, "it is {} old: kept, not told", human_duration(*age)),
            Self::BelowThreshold { seen, need, within } => {
                write!(
                    f,
                    "{seen} of {need} events within {}",
                    human_duration(*within)
                )
            }
            Self::Pending { until } => write!(f, "pending until {until}"),
            Self::Firing => f.write_str("fires; the message waits for its company"),
            Self::Again => f.write_str("belongs to an alert that is open already"),
            Self::Cooldown { since } => {
                write!(f, "told less than `cooldown` ago; {since} since then")
            }
            Self::EndedUntold => f.write_str("it ended before this rule told anybody"),
            Self::Ended => f.write_str("it ended, which will be told"),
            Self::Closing { until } => {
                write!(f, "it ended; a reopening before {until} is the same alert")
            }
            Self::NothingOpen => f.write_str("it ends something that was not open"),
            Self::OverLimit { kept: None } => f.write_str(
                "as many alerts are open as are followed: it is told with others, without its end",
            ),
            Self::OverLimit { kept: Some(kept) } => write!(
                f,
                "as many alerts are open as are followed, and it is not told: {}",
                kept.replace('_', " ")
            ),
            Self::TooMany => f.write_str("too much is waited for already; this is not"),
            Self::RuleRemoved => f.write_str(
                "its rule was removed, or looks for something else now, before it was told",
            ),
            Self::NobodyToTell => f.write_str("no destination of the rule takes this severity"),
            Self::Holding { until } => {
                write!(f, "waits until {until} for an alert that may explain it")
            }
            Self::Inhibited { by, rule, .. } => {
                write!(f, "kept quiet: {by} explains it (rule {rule})")
            }
            Self::Silenced {
                id,
                author,
                until: Some(until),
            } => {
                write!(f, "kept quiet: silence {id} by {author} until {until}")
            }
            Self::Silenced {
                id,
                author,
                until: None,
            } => {
                write!(
                    f,
                    "kept quiet: silence {id} by {author} until it is resolved"
                )
            }
            Self::Muted { until: Some(until) } => {
                write!(f, "kept quiet until {until}: outside of its rule's hours")
            }
            Self::Muted { until: None } => f.write_str("not told: outside of its rule's hours"),
            Self::Maintenance {
                name,
                until: Some(until),
            } => write!(f, "kept quiet until {until}: maintenance {name}"),
            Self::Maintenance { name, until: None } => write!(f, "not told: maintenance {name}"),
            Self::Planned { until } => {
                write!(f, "pending until {until}: its device is being upgraded")
            }
            Self::Flapping { changes, within } => {
                write!(
                    f,
                    "is flapping: {changes} changes within {}",
                    human_duration(*within)
                )
            }
            Self::StillFlapping { changes } => {
                write!(f, "is still flapping: {changes} changes so far")
            }
            Self::Stable { up: true } => f.write_str("is stable again: up"),
            Self::Stable { up: false } => f.write_str("is stable again: down"),
            Self::HeardFrom { kind } => write!(f, "is over: only a connected device sends {kind}"),
            Self::Removed { kind } => write!(f, "is over: its device was removed ({kind})"),
            Self::Expected => f.write_str("came as expected"),
            Self::Missing { since } => write!(f, "nothing came since {since}"),
            Self::WhenFailed { why } => {
                write!(f, "`when` could not be evaluated, which is no match: {why}")
            }
            Self::Collected { into, until } => write!(f, "kept for {into}, which tells at {until}"),
            Self::SilenceBegins { id, over: false } => write!(f, "silence {id} begins"),
            Self::SilenceBegins { id, over: true } => {
                write!(
                    f,
                    "silence {id} is over before it began: nothing that it waits for is open, or its time is up"
                )
            }
            Self::SilenceEnds { id } => write!(f, "silence {id} ends"),
            Self::SilenceUnreadable { id } => {
                write!(f, "silence {id} cannot be read by this release")
            }
            Self::Notify(notification) => {
                let names: Vec<&str> = notification
                    .to
                    .iter()
                    .map(crate::model::Name::as_str)
                    .collect();
                write!(f, "notify {}: {}", names.join(", "), notification.reason)
            }
        }
    }
}
