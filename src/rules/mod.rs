//! Rules in their resolved form, which cannot contain mistakes any more.
//!
//! `config` reads rules.yaml into these types, and `engine` judges by them. This module knows
//! neither YAML nor time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Field, Name, Severity};

mod calendar;
mod index;
mod json;
mod matcher;
mod pattern;
mod topology;
mod when;

pub use calendar::{Daily, IntervalPart, MIDNIGHT, Minute, Period, TimeInterval, moment};
pub use index::Index;
pub use matcher::{Matcher, Mismatch, Test};
pub use pattern::Pattern;
pub(crate) use pattern::{Allowance, fold, mac};
pub use topology::{Cycle, Topology};
pub use when::{When, WhenProblem};

/// All rules in the order of the file, with the index that finds the few an event can match.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    opening: Index,
    resolving: Index,
    destinations: Vec<(Name, Severity)>,
    max_event_age: BTreeMap<Name, Option<Duration>>,
    surroundings: Surroundings,
}

/// The settings beside the rules.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `time_intervals`.
    pub time_intervals: BTreeMap<Name, TimeInterval>,
    /// `maintenance`.
    pub maintenance: Vec<Maintenance>,
    /// `inhibit_rules`.
    pub inhibit_rules: Vec<InhibitRule>,
    /// `topology`.
    pub topology: Topology,
    /// Destinations of the kind `digest`, which are not among the others.
    pub digests: Vec<DigestSchedule>,
}

/// An entry of `inhibit_rules`: while a source is open (pending counts), its targets are not sent.
#[derive(Clone, Debug)]
pub struct InhibitRule {
    /// The line of rules.yaml on which it begins.
    pub line: u64,
    /// Matches the alerts that inhibit.
    pub source: Matcher,
    /// Matches the alerts that are inhibited.
    pub target: Matcher,
    /// Fields that must be present and equal.
    pub equal: Vec<Field>,
    /// Maximum time between the beginnings of target and source, by the sender's clock.
    pub within: Option<Duration>,
    /// True if targets must be below the source in `topology`.
    pub via_topology: bool,
    /// Time that a target waits after its beginning for a source reported later.
    pub hold: Duration,
}

/// An entry of `maintenance`: matching alerts are not sent while it lasts, and reported afterwards.
#[derive(Clone, Debug)]
pub struct Maintenance {
    /// Its name, which identifies it across reloads.
    pub name: Name,
    /// The line of rules.yaml on which it begins.
    pub line: u64,
    /// Matches the alerts; empty: all.
    pub matcher: Matcher,
    /// Its times.
    pub during: TimeInterval,
}

/// A destination that collects messages, and sends them to others at set times.
#[derive(Clone, Debug)]
pub struct DigestSchedule {
    /// The destination's name.
    pub name: Name,
    /// The lowest severity it accepts.
    pub min_severity: Severity,
    /// Its times.
    pub at: Daily,
    /// The destinations of the digest.
    pub into: Vec<Name>,
}

/// A rule: the events to look for, and what to do about them.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, which identifies it across reloads.
    pub name: Arc<str>,
    /// The line of rules.yaml on which it begins (1 is the first).
    pub line: u64,
    /// Matches its events.
    pub matcher: Matcher,
    /// The fields that distinguish its alerts; `None`: the default (see rules-language, `by`).
    pub by: Option<Vec<Field>>,
    /// The way its alerts are closed.
    pub resolve: Resolve,
    /// The number of events it takes.
    pub threshold: Option<Threshold>,
    /// A further condition that `match` cannot express.
    pub when: Option<When>,
    /// If set, the rule fires when no matching event has arrived for this long.
    pub absent: Option<Duration>,
    /// Its actions and delays.
    pub policy: Arc<Policy>,
}

/// The way a rule's alerts are closed.
#[derive(Clone, Debug)]
pub enum Resolve {
    /// By the closing types of the condition, if there is one.
    Implied,
    /// Never.
    Never,
    /// By an event that matches, with equal `by` fields.
    When(Matcher),
}

/// `threshold: {count, window, distinct}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// Number of events; at least 1.
    pub count: u32,
    /// Time in which they must arrive.
    pub window: Duration,
    /// Field whose different values are counted instead of events.
    pub distinct: Option<Field>,
}

/// `flapping: {changes, window, stable}`: an alert that changes between up and down this often is
/// sent once, and again when it is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flapping {
    /// Number of changes between up and down.
    pub changes: u32,
    /// Time in which they must happen.
    pub window: Duration,
    /// Time without a change after which it is stable.
    pub stable: Duration,
}

impl Default for Flapping {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            changes: 4,
            window: minutes(30),
            stable: minutes(10),
        }
    }
}

/// `during_mute`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuringMute {
    /// Sent at the end of the interval if it is still open.
    #[default]
    Hold,
    /// Sent to digests.
    Digest,
    /// Never sent.
    Drop,
}

/// The settings of a rule for its alerts. They are serialised, since alerts that were sent keep
/// them if their rule is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The rule's own severity; `None`: the event's, else warning.
    pub severity: Option<Severity>,
    /// Time for which the condition must last.
    pub r#for: Duration,
    /// Time to wait for a reopening after a close.
    pub keep_firing_for: Duration,
    /// For events without an end: time without an event that ends the quiet after a message.
    pub cooldown: Duration,
    /// Time without any event after which an alert ends. `None`: never.
    pub stale_after: Option<Duration>,
    /// The detection of flapping. `None`: off.
    pub flapping: Option<Flapping>,
    /// Names of `time_intervals` in which it is muted.
    pub mute_time_intervals: Vec<Name>,
    /// Names of `time_intervals` outside of which it is muted; if there are none, it is not.
    pub active_time_intervals: Vec<Name>,
    /// The handling of alerts that fire while it is muted.
    pub during_mute: DuringMute,
    /// Fields whose equal values make alerts one incident.
    pub group_by: Vec<Field>,
    /// Time the first message waits for further alerts.
    pub group_wait: Duration,
    /// Minimum time between further messages.
    pub group_interval: Duration,
    /// Time between reminders. `None`: none.
    pub repeat_interval: Option<Duration>,
    /// The destinations. `None`: all.
    pub notify: Option<Vec<Name>>,
    /// The template; `None`: chosen by condition, type and topic.
    pub template: Option<String>,
}

impl Default for Policy {
    /// The documented defaults.
    fn default() -> Self {
        Self {
            severity: None,
            r#for: Duration::ZERO,
            keep_firing_for: Duration::ZERO,
            cooldown: Duration::from_secs(3_600),
            stale_after: Some(Duration::from_secs(7 * 86_400)),
            flapping: Some(Flapping::default()),
            mute_time_intervals: Vec::new(),
            active_time_intervals: Vec::new(),
            during_mute: DuringMute::Hold,
            group_by: vec![Field::Site],
            group_wait: Duration::from_secs(10),
            group_interval: Duration::from_secs(300),
            repeat_interval: None,
            notify: None,
            template: None,
        }
    }
}

impl RuleSet {
    /// Indexes the rules. `destinations` are all destinations, each with the lowest severity it
    /// accepts.
    #[must_use]
    pub fn new(rules: Vec<Rule>, destinations: Vec<(Name, Severity)>) -> Self {
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
        let opening = Index::new(rules.iter().map(|rule| Some(&rule.matcher)));
        // Other rules close by condition, which the engine looks up without an index.
        let resolving = Index::new(rules.iter().map(|rule| match &rule.resolve {
            Resolve::When(matcher) => Some(matcher),
            Resolve::Implied | Resolve::Never => None,
        }));
        Self {
            rules,
            opening,
            resolving,
            destinations,
            max_event_age: BTreeMap::new(),
            surroundings: Surroundings::default(),
        }
    }

    /// Returns a copy with one rule changed, as `tune` tries it.
    #[must_use]
    pub fn changed(&self, name: &str, change: impl Fn(&mut Rule)) -> Self {
        let mut rules: Vec<Rule> = self.rules.iter().map(|rule| Rule::clone(rule)).collect();
        rules
            .iter_mut()
            .filter(|rule| *rule.name == *name)
            .for_each(change);
        // The index depends on the rules, but nothing else does.
        let Self {
            rules,
            opening,
            resolving,
            ..
        } = Self::new(rules, Vec::new());
        Self {
            rules,
            opening,
            resolving,
            ..self.clone()
        }
    }

    /// Sets each source's `max_event_age`; a source not named here has 24 h.
    #[must_use]
    pub fn with_max_event_age(mut self, ages: BTreeMap<Name, Option<Duration>>) -> Self {
        self.max_event_age = ages;
        self
    }

    /// Sets the settings beside the rules.
    #[must_use]
    pub fn with_surroundings(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = surroundings;
        self
    }

    /// Returns the settings beside the rules.
    #[must_use]
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Returns the maximum age of an opening from this source. `None`: any age.
    #[must_use]
    pub fn max_event_age(&self, source: &Name) -> Option<Duration> {
        self.max_event_age
            .get(source)
            .copied()
            .unwrap_or(Some(Duration::from_secs(24 * 3_600)))
    }

    /// Returns the rules in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Returns all destinations, each with the lowest severity it accepts.
    #[must_use]
    pub fn destinations(&self) -> &[(Name, Severity)] {
        &self.destinations
    }

    /// Returns the positions of rules that could match an event of this topic, type and condition,
    /// ascending.
    pub fn candidates(&self, topic: &str, kind: &str, condition: Option<&str>) -> Vec<usize> {
        self.opening.candidates(topic, kind, condition)
    }

    /// Returns the positions of rules whose `resolve` could match such an event, ascending.
    pub fn resolvers(&self, topic: &str, kind: &str, condition: Option<&str>) -> Vec<usize> {
        self.resolving.candidates(topic, kind, condition)
    }

    /// Returns whether a rule names this topic in `match.topic`. If so, even a noisy topic is
    /// stored.
    #[must_use]
    pub fn names_topic(&self, topic: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.matcher.names_topic(topic))
    }
}
