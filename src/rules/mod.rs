//! What the operator meant: rules, resolved, that cannot be wrong any more.
//!
//! `config` reads rules.yaml into these; `engine` judges by them. Neither YAML nor time is known
//! here.

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

pub use calendar::{Daily, MIDNIGHT, Minute, Part, Period, TimeInterval, moment};
pub use index::Index;
pub use matcher::{Matcher, Mismatch, Test};
pub use pattern::Pattern;
pub(crate) use pattern::{Allowance, fold, mac};
pub use topology::{Cycle, Topology};
pub use when::{When, WhenProblem};

/// Every rule, in the file's order, with the index that finds the few an event can match.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    opening: Index,
    resolving: Index,
    destinations: Vec<(Name, Severity)>,
    max_event_age: BTreeMap<Name, Option<Duration>>,
    surroundings: Surroundings,
}

/// What stands beside the rules.
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

/// One of `inhibit_rules`: while a source lasts (pending counts), its targets are not told.
#[derive(Clone, Debug)]
pub struct InhibitRule {
    /// The line of rules.yaml it begins on.
    pub line: u64,
    /// What explains.
    pub source: Matcher,
    /// What is explained.
    pub target: Matcher,
    /// Fields that must be equal, and there.
    pub equal: Vec<Field>,
    /// Only what began within this of the source, by the sender's clock.
    pub within: Option<Duration>,
    /// Only what hangs below the source by `topology`.
    pub via_topology: bool,
    /// How long after its beginning a target waits for a source told later.
    pub hold: Duration,
}

/// One of `maintenance`: what matches is not told while it lasts, and reported when it is over.
#[derive(Clone, Debug)]
pub struct Maintenance {
    /// Its name, which is its identity across reloads.
    pub name: Name,
    /// The line of rules.yaml it begins on.
    pub line: u64,
    /// What it is about; empty: everything.
    pub matcher: Matcher,
    /// When.
    pub during: TimeInterval,
}

/// A destination that collects, and tells others once a day.
#[derive(Clone, Debug)]
pub struct DigestSchedule {
    /// The destination's name.
    pub name: Name,
    /// The least severity it takes.
    pub min_severity: Severity,
    /// When.
    pub at: Daily,
    /// Whom it tells.
    pub into: Vec<Name>,
}

/// One rule: what to look for, and what to do then.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, which is its identity across reloads.
    pub name: Arc<str>,
    /// The line of rules.yaml it begins on (1 is the first).
    pub line: u64,
    /// What it looks for.
    pub matcher: Matcher,
    /// What makes two alerts different; `None`: the default (see rules-language, `by`).
    pub by: Option<Vec<Field>>,
    /// What closes its alerts.
    pub resolve: Resolve,
    /// How many it takes.
    pub threshold: Option<Threshold>,
    /// What `match` cannot say.
    pub when: Option<When>,
    /// Tell when nothing it matches came for this long, instead of when something does.
    pub absent: Option<Duration>,
    /// What to do, and when.
    pub policy: Arc<Policy>,
}

/// What closes a rule's alerts.
#[derive(Clone, Debug)]
pub enum Resolve {
    /// The closing types of the condition, where there is one.
    Implied,
    /// Nothing.
    Never,
    /// An event that matches, with equal `by` fields.
    When(Matcher),
}

/// `threshold: {count, window, distinct}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// How many; at least 1.
    pub count: u32,
    /// Within how long.
    pub window: Duration,
    /// Count different values of this field instead of events.
    pub distinct: Option<Field>,
}

/// `flapping: {changes, window, stable}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flapping {
    /// So many changes between well and not …
    pub changes: u32,
    /// … within so long are told once; then silence …
    pub window: Duration,
    /// … until nothing changed for so long.
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
    /// Told at the end if it still lasts.
    #[default]
    Hold,
    /// Kept for the digests.
    Digest,
    /// Never told.
    Drop,
}

/// What a rule does with its alerts. Serialisable: alerts already told keep it when their rule is
/// gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The rule's own; `None`: the event's, else warning.
    pub severity: Option<Severity>,
    /// The condition must last this long.
    pub r#for: Duration,
    /// After a close, wait this long for a reopening.
    pub keep_firing_for: Duration,
    /// Of events with no end: quiet until this long without one.
    pub cooldown: Duration,
    /// An alert with no event for this long ends. `None`: never.
    pub stale_after: Option<Duration>,
    /// What changes too often is told once. `None`: off.
    pub flapping: Option<Flapping>,
    /// `time_intervals` in which it is mute.
    pub mute_time_intervals: Vec<Name>,
    /// `time_intervals` outside of which it is mute; none: it never is for lack of one.
    pub active_time_intervals: Vec<Name>,
    /// What becomes of what fires meanwhile.
    pub during_mute: DuringMute,
    /// Alerts with equal values are one incident.
    pub group_by: Vec<Field>,
    /// The first message waits this long for its company.
    pub group_wait: Duration,
    /// The least time between additions.
    pub group_interval: Duration,
    /// Remind while firing. `None`: never.
    pub repeat_interval: Option<Duration>,
    /// Whom to tell: names, each with the least severity it takes. `None`: every destination.
    pub notify: Option<Vec<Name>>,
    /// Which message; `None`: chosen by condition, type and topic.
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
    /// Indexes the rules. `destinations`: every destination and the least severity it takes.
    #[must_use]
    pub fn new(rules: Vec<Rule>, destinations: Vec<(Name, Severity)>) -> Self {
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
        let opening = Index::new(rules.iter().map(|rule| Some(&rule.matcher)));
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

    /// The same with one rule changed: what `tune` tries.
    #[must_use]
    pub fn changed(&self, name: &str, change: impl Fn(&mut Rule)) -> Self {
        let mut rules: Vec<Rule> = self.rules.iter().map(|rule| Rule::clone(rule)).collect();
        rules
            .iter_mut()
            .filter(|rule| *rule.name == *name)
            .for_each(change);
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

    /// With each source's `max_event_age`; a source not named here has 24 h.
    #[must_use]
    pub fn with_max_event_age(mut self, ages: BTreeMap<Name, Option<Duration>>) -> Self {
        self.max_event_age = ages;
        self
    }

    /// With what stands beside the rules.
    #[must_use]
    pub fn with_surroundings(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = surroundings;
        self
    }

    /// What stands beside the rules.
    #[must_use]
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// How old an opening from this source may be to be told. `None`: any age.
    #[must_use]
    pub fn max_event_age(&self, source: &Name) -> Option<Duration> {
        self.max_event_age
            .get(source)
            .copied()
            .unwrap_or(Some(Duration::from_secs(24 * 3_600)))
    }

    /// The rules, in the file's order.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Every destination and the least severity it takes.
    #[must_use]
    pub fn destinations(&self) -> &[(Name, Severity)] {
        &self.destinations
    }

    /// Those rules that could match an event of this topic, type and condition, by position,
    /// ascending.
    pub fn candidates(&self, topic: &str, kind: &str, condition: Option<&str>) -> Vec<usize> {
        self.opening.candidates(topic, kind, condition)
    }

    /// Those rules whose `resolve` could match such an event, by position, ascending.
    pub fn resolvers(&self, topic: &str, kind: &str, condition: Option<&str>) -> Vec<usize> {
        self.resolving.candidates(topic, kind, condition)
    }

    /// Whether some rule names this topic in `match.topic`: then even a chatty topic is stored.
    #[must_use]
    pub fn names_topic(&self, topic: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.matcher.names_topic(topic))
    }
}
