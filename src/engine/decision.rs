//! Conclusions of the engine with their reasons; each prints as an English sentence.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{EventId, Name, Notification, Timestamp, human_duration};

/// One conclusion of the engine about an event or a timer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Journal time of the input, or of the timer's due time.
    pub at: Timestamp,
    /// The event concerned; `None` for timers.
    pub event: Option<EventId>,
    /// Numbers of the alerts concerned. Later consequences of an event are found by them.
    pub alerts: Vec<u64>,
    /// The rule concerned; `None` if the decision is about the event alone.
    pub rule: Option<Arc<str>>,
    /// The conclusion.
    pub verdict: Verdict,
}

/// The conclusion, with its reason.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The same event arrived before.
    Duplicate,
    /// No rule matches it.
    Unmatched,
    /// It is outdated: its condition has ended since, or the end is older than the beginning.
    Overtaken,
    /// It is older than `max_event_age`.
    TooOld {
        /// Its age.
        age: Duration,
    },
    /// The rule's threshold is not reached.
    BelowThreshold {
        /// Number of events so far.
        seen: usize,
        /// Number required.
        need: u32,
        /// Window of the threshold.
        within: Duration,
    },
    /// It fires if the condition lasts until then.
    Pending {
        /// Due time, journal time.
        until: Timestamp,
    },
    /// It fires; the message waits for `group_wait`.
    Firing,
    /// It belongs to an alert that is already open.
    Again,
    /// An alert of the same kind was sent less than `cooldown` ago; the next message reports the
    /// count.
    Cooldown {
        /// Number of events since that message.
        since: u64,
    },
    /// It ended before anybody was notified.
    EndedUntold,
    /// It ended; the next message of the incident says so.
    Ended,
    /// It ended, but a reopening before `until` continues the same alert.
    Closing {
        /// End of that time, journal time.
        until: Timestamp,
    },
    /// It ends a condition that was not open.
    NothingOpen,
    /// The limit of open alerts is reached: it is sent with others, without a later recovery.
    OverLimit {
        /// Reason it was not sent, as a metric label; `None` if it was.
        kept: Option<&'static str>,
    },
    /// The limit of windows or absences is reached; this one is not tracked.
    TooMany,
    /// Its rule was removed before anybody was notified.
    RuleRemoved,
    /// No destination of the rule accepts this severity.
    NobodyToTell,
    /// It waits for an alert that may inhibit it.
    Holding {
        /// End of the wait, wall time.
        until: Timestamp,
    },
    /// Another alert inhibits it.
    Inhibited {
        /// Label of that alert's subject.
        by: String,
        /// Rule of that alert.
        rule: Arc<str>,
        /// Line of the inhibit rule, if the rules in force still have it.
        line: Option<u64>,
    },
    /// A person silenced it.
    Silenced {
        /// Id of the silence.
        id: String,
        /// Author of the silence.
        author: String,
        /// End, wall time; `None`: until it is resolved.
        until: Option<Timestamp>,
    },
    /// The time is outside its rule's intervals.
    Muted {
        /// End, wall time; `None`: for good.
        until: Option<Timestamp>,
    },
    /// A maintenance suppresses it.
    Maintenance {
        /// Name of the maintenance.
        name: Name,
        /// End, wall time.
        until: Option<Timestamp>,
    },
    /// Its device is being upgraded: the alert waits longer and does not count towards a threshold.
    Planned {
        /// End of the wait, wall time.
        until: Timestamp,
    },
    /// It changes too often to send each change.
    Flapping {
        /// Number of changes.
        changes: u64,
        /// Time in which they happened.
        within: Duration,
    },
    /// It is still flapping.
    StillFlapping {
        /// Number of changes so far.
        changes: u64,
    },
    /// It has not changed for the rule's `stable` time.
    Stable {
        /// True if it is up.
        up: bool,
    },
    /// Only a connected device sends this event, so the device is up.
    HeardFrom {
        /// Type of the event.
        kind: String,
    },
    /// Its device was removed from the inventory.
    Removed {
        /// Type of the event.
        kind: String,
    },
    /// An event that an `absent` rule expects arrived.
    Expected,
    /// An event that an `absent` rule expects did not arrive.
    Missing {
        /// Time of the last one, wall time.
        since: Timestamp,
    },
    /// Its `when` could not be evaluated, which counts as no match.
    WhenFailed {
        /// The error.
        why: String,
    },
    /// It waits for a digest.
    Collected {
        /// Name of the digest.
        into: Name,
        /// Time of the digest, wall time.
        until: Timestamp,
    },
    /// A silence begins.
    SilenceBegins {
        /// Id of the silence.
        id: String,
        /// True if it ended at once: its time had passed, or nothing it matches was open.
        over: bool,
    },
    /// A silence ends.
    SilenceEnds {
        /// Id of the silence.
        id: String,
    },
    /// A silence whose `match` this release cannot read.
    SilenceUnreadable {
        /// Id of the silence.
        id: String,
    },
    /// A notification to send.
    Notify(Box<Notification>),
}

impl Verdict {
    /// Returns the outcome of an event that this verdict suppresses, as a metric label.
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
            // The others do not decide the outcome of an event on their own.
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
            // The reason is a metric label, which has no spaces.
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
            // With an end the alert waits for it; without one it is dropped.
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
                // The text of the message is shown beside the decision, so names and reason are
                // enough.
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
