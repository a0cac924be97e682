//! Incidents: alerts of one rule with equal `group_by` values, which share messages.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alert::{Alert, AlertId, AlertState};
use super::table::NameSet;
use crate::model::{Event, Name, Severity, Timestamp};
use crate::rules::Policy;

/// Maximum size of the raw event kept for templates.
const MAX_SAMPLE_BYTES: usize = 16 * 1024;

/// The alerts of one rule with equal `group_by` values, from the first that fires to the last that
/// ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Incident {
    /// The name used by people and destinations.
    pub(super) key: String,
    pub(super) rule: Arc<str>,
    /// The values of the group's fields.
    pub(super) identity: String,
    /// The values of the group's fields for people.
    pub(super) group: Vec<(String, String)>,
    pub(super) alerts: BTreeSet<AlertId>,
    /// Destinations that received its first message.
    pub(super) told: NameSet,
    /// Destinations of new alerts by the rules in force, each with the lowest severity it accepts.
    pub(super) notify: Vec<(Name, Severity)>,
    /// The highest severity of its alerts and messages.
    pub(super) severity: Severity,
    /// Severity of its last message. `None` before the first, and in snapshots of older releases.
    #[serde(default)]
    pub(super) sent_severity: Option<Severity>,
    pub(super) last_message: Option<Timestamp>,
    /// Time of the last reminder that was suppressed.
    #[serde(default)]
    pub(super) passed: Option<Timestamp>,
    /// Time of the first change that has not been sent.
    pub(super) changed: Option<Timestamp>,
    pub(super) sample: Sample,
    /// The alert of that event. `None` in snapshots of older releases.
    #[serde(default)]
    pub(super) sample_of: Option<AlertId>,
    #[serde(skip)]
    pub(super) timer: Option<Timestamp>,
}

/// The data of the latest event for templates.
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
        // Thousands of incidents may be open, each with a sample.
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

/// The suffix of `identity` for incidents that only digests receive.
pub(super) const DIGESTS: &str = "\u{1f}\u{1f}digests";

impl Incident {
    /// Returns whether only digests receive it.
    pub(super) fn is_for_digests(&self) -> bool {
        self.identity.ends_with(DIGESTS)
    }

    /// Returns the time of its next message by this policy.
    pub(super) fn deadline(&self, policy: &Policy, reminds: bool) -> Option<Timestamp> {
        // A second message keeps its distance from the first, but waits for `group_wait` as well.
        let flush = self.changed.map(|changed| {
            let waited = changed + policy.group_wait;
            self.last_message
                .map_or(waited, |last| waited.max(last + policy.group_interval))
        });
        // A suppressed reminder counts as one.
        let reminded = self.last_message.max(self.passed);
        let repeat = policy
            .repeat_interval
            .filter(|_| reminds)
            .zip(reminded)
            .map(|(every, last)| last + every);
        [flush, repeat].into_iter().flatten().min()
    }

    /// Returns whether any destination of this incident has not been notified of the alert.
    pub(super) fn is_news_to_some(&self, alert: &Alert) -> bool {
        let mut takes = self
            .notify
            .iter()
            .filter(|(_, least)| self.severity >= *least);
        takes.any(|(name, _)| !alert.told_to.contains(name) && !alert.late.contains(name))
    }

    /// Returns whether an alert still has something to send: it began, became worse, flaps or
    /// ended.
    pub(super) fn is_owed(&self, alert: &Alert) -> bool {
        let mut takes = self
            .notify
            .iter()
            .filter(|(_, least)| self.severity >= *least);
        match (alert.state, &alert.flap) {
            // No message was made yet.
            _ if !alert.settled => true,
            (AlertState::Ended, _) => true,
            (AlertState::Flapping, Some(flap)) => {
                takes.any(|(name, _)| !flap.told.contains(name) && !alert.late.contains(name))
            }
            // The end is always owed; the rest depends on the destinations that accept the
            // incident.
            _ => alert.lasting && alert.is_alive() && self.is_news_to_some(alert),
        }
    }

    /// Notes a change that is to be sent.
    pub(super) fn change(&mut self, at: Timestamp) {
        self.changed = Some(self.changed.map_or(at, |first| first.min(at)));
    }
}

/// Returns whether a raw event is small enough to be kept.
pub(super) fn is_short(raw: &Value) -> bool {
    approximate_size(raw) <= MAX_SAMPLE_BYTES
}

/// Estimates the length of a JSON text without serialising the value.
fn approximate_size(value: &Value) -> usize {
    match value {
        // The result only decides whether a sample is kept, so escapes and digits do not matter.
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
