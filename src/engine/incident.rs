//! The alerts of one rule with equal `group_by` values, told as one conversation.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alert::{Alert, AlertId, State};
use super::table::Names;
use crate::model::{Event, Name, Severity, Timestamp};
use crate::rules::Policy;

/// The longest raw event an incident keeps for its templates.
const MAX_SAMPLE_BYTES: usize = 16 * 1024;

/// The alerts of one rule with equal `group_by` values, from the first that fires to the last that
/// ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Incident {
    /// What people and destinations call it.
    pub(super) key: String,
    pub(super) rule: Arc<str>,
    /// What identifies the group.
    pub(super) identity: String,
    /// What the rule groups by, as people read it.
    pub(super) group: Vec<(String, String)>,
    pub(super) alerts: BTreeSet<AlertId>,
    /// Destinations that got its first message.
    pub(super) told: Names,
    /// Whom the rules in force tell of what begins, each with the least severity it takes.
    pub(super) notify: Vec<(Name, Severity)>,
    /// The highest of its alerts, and of its messages.
    pub(super) severity: Severity,
    /// The severity of its last message; `None` before the first, and in snapshots of older
    /// releases.
    #[serde(default)]
    pub(super) sent_severity: Option<Severity>,
    pub(super) last_message: Option<Timestamp>,
    /// When a reminder was due last of which nothing might be said.
    #[serde(default)]
    pub(super) passed: Option<Timestamp>,
    /// When the first change not told yet came about.
    pub(super) changed: Option<Timestamp>,
    pub(super) sample: Sample,
    /// The alert whose event that was; `None` in snapshots of older releases.
    #[serde(default)]
    pub(super) sample_of: Option<AlertId>,
    #[serde(skip)]
    pub(super) timer: Option<Timestamp>,
}

/// What the telling event brought, for templates.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) source: Name,
    pub(super) topic: Arc<str>,
    pub(super) kind: String,
    pub(super) condition: Option<Arc<str>>,
    pub(super) why: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) raw: Arc<Value>,
}

impl Sample {
    pub(super) fn of(event: &Event) -> Self {
        let small = is_short(&event.raw);
        Self {
            source: event.source.clone(),
            topic: Arc::clone(&event.topic),
            kind: event.kind.clone(),
            condition: event.condition.as_ref().map(|c| Arc::clone(&c.name)),
            why: event.reasons.first().cloned(),
            detail: event.text.clone(),
            raw: if small {
                Arc::clone(&event.raw)
            } else {
                Arc::new(Value::Null)
            },
        }
    }
}

/// What the identity of an incident ends in that is for the digests only.
pub(super) const DIGESTS: &str = "\u{1f}\u{1f}digests";

impl Incident {
    /// Whether it is for the digests only.
    pub(super) fn is_for_digests(&self) -> bool {
        self.identity.ends_with(DIGESTS)
    }

    /// When something is to be said next, by this policy.
    pub(super) fn deadline(&self, policy: &Policy, reminds: bool) -> Option<Timestamp> {
        let flush = self.changed.map(|changed| {
            let waited = changed + policy.group_wait;
            self.last_message
                .map_or(waited, |last| waited.max(last + policy.group_interval))
        });
        let reminded = self.last_message.max(self.passed);
        let repeat = policy
            .repeat_interval
            .filter(|_| reminds)
            .zip(reminded)
            .map(|(every, last)| last + every);
        [flush, repeat].into_iter().flatten().min()
    }

    /// Whether a destination takes this incident that knows nothing of the alert.
    pub(super) fn is_news_to_some(&self, alert: &Alert) -> bool {
        let mut takes = self
            .notify
            .iter()
            .filter(|(_, least)| self.severity >= *least);
        takes.any(|(name, _)| !alert.told_to.contains(name) && !alert.late.contains(name))
    }

    /// Whether an alert has something left to say: that it began, became worse, flaps or ended.
    pub(super) fn is_owed(&self, alert: &Alert) -> bool {
        let mut takes = self
            .notify
            .iter()
            .filter(|(_, least)| self.severity >= *least);
        match (alert.state, &alert.flap) {
            _ if !alert.settled => true,
            (State::Ended, _) => true,
            (State::Flapping, Some(flap)) => {
                takes.any(|(name, _)| !flap.told.contains(name) && !alert.late.contains(name))
            }
            _ => alert.lasting && alert.is_alive() && self.is_news_to_some(alert),
        }
    }

    /// Notes a change that is to be told.
    pub(super) fn change(&mut self, at: Timestamp) {
        self.changed = Some(self.changed.map_or(at, |first| first.min(at)));
    }
}

/// Whether a raw event is short enough to be kept.
pub(super) fn is_short(raw: &Value) -> bool {
    approximate_size(raw) <= MAX_SAMPLE_BYTES
}

/// The size of a JSON value's text, without making it.
fn approximate_size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => {
            items
                .iter()
                .map(|item| approximate_size(item) + 1)
                .sum::<usize>()
                + 2
        }
        Value::Object(map) => {
            map.iter()
                .map(|(key, item)| key.len() + 4 + approximate_size(item))
                .sum::<usize>()
                + 2
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}
