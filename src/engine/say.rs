//! Notifications: the data of an incident's messages.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::Engine;
use super::alert::{Alert, AlertId};
use super::incident::{Incident, Sample};
use super::tell::{MessagePart, short};
use crate::model::{Insight, Name, Notification, Reason, Severity, Subject, Timestamp};

/// Maximum number of alerts searched for a cause.
const EXPLAINED: usize = 50;
/// Maximum number of other open subjects named.
const REMAINING: u64 = 5;
/// Maximum number of subjects in a message; the others are counted.
const NAMED: usize = 2_000;

impl Engine {
    /// Returns the notification for a part of an incident.
    pub(super) fn notification(
        &self,
        id: u64,
        part: &MessagePart,
        to: Vec<Name>,
    ) -> Option<Notification> {
        let incident = self.state.incidents.get(&id)?;
        let reason = part.reason;
        let alerts = || part.alerts().filter_map(|id| self.state.alerts.get(&id));
        let subjects: Vec<Subject> = alerts().flat_map(Alert::subjects).take(NAMED).collect();
        let beyond = alerts().flat_map(Alert::subjects).skip(NAMED).count() as u64;
        // Counts cover the whole incident, not only the part: the message says how much is still
        // down.
        let lasting = self
            .members(id)
            .filter(|a| lasts_on(a, reason))
            .map(|a| a.open_count() as u64)
            .sum::<u64>();
        let firing = lasting + alerts().map(|a| a.left).sum::<u64>();
        let started = began(&subjects, reason).unwrap_or(self.state.now);
        let ended = alerts().filter_map(Alert::ends_at).max();
        // Only some reasons have a duration: the outage that ended, or the time it has lasted so
        // far.
        let duration_ms = match reason {
            Reason::Resolved | Reason::Recovered => ended.map(|ended| ended.since(started)),
            Reason::Repeat | Reason::Stale | Reason::Absent => Some(self.wall().since(started)),
            _ => None,
        };
        let at = self.wall();
        let names: Vec<&[u8]> = to.iter().map(|name| name.as_str().as_bytes()).collect();
        let about = [
            incident.key.as_bytes(),
            reason.word().as_bytes(),
            &at.millis().to_le_bytes(),
        ];
        // Removed devices have a message of their own besides the recovered ones, so its id must
        // differ.
        let removed: &[&[u8]] = if alerts().all(Alert::is_removed) {
            &[b"removed"]
        } else {
            &[]
        };
        Some(Notification {
            id: short(&[&about[..], &names, removed].concat(), 6),
            at,
            to,
            reason,
            incident: incident.key.clone(),
            severity: incident.severity,
            group: incident.group.clone(),
            subjects,
            firing,
            more: alerts().map(|a| a.more).sum::<u64>() + beyond,
            more_since: alerts().map(|a| a.more_since).sum::<u64>(),
            started,
            duration_ms: duration_ms.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            insight: self.insight(id, part),
            ..self.blank(
                &incident.rule,
                &self.sample(incident, part),
                alerts().any(|alert| self.is_absence(alert)),
            )
        })
    }

    /// Returns the sample of the incident's latest event. The part's own event is used if the
    /// latest is about an alert or condition outside of the part.
    fn sample(&self, incident: &Incident, part: &MessagePart) -> Sample {
        let alerts = || part.alerts().filter_map(|id| self.state.alerts.get(&id));
        let condition = |alert: &Alert| alert.event.condition.as_ref().map(|c| Arc::clone(&c.name));
        let told = &incident.sample;
        let another = incident
            .sample_of
            .is_some_and(|of| !part.alerts().any(|id| id == of));
        match alerts().last() {
            Some(last)
                if another
                    || told.condition.is_some()
                        && !alerts().any(|a| condition(a) == told.condition) =>
            {
                Sample::of(&last.event)
            }
            _ => told.clone(),
        }
    }

    /// Returns a notification about a single alert, for a report.
    pub(super) fn describe(&self, alert: &Alert) -> Notification {
        Notification {
            severity: alert.severity,
            group: alert
                .group
                .iter()
                .map(|(field, _, label)| (field.clone(), label.clone()))
                .collect(),
            subjects: alert.subjects().collect(),
            firing: alert.open_count() as u64,
            more: alert.more,
            started: alert.began(),
            duration_ms: alert
                .ends_at()
                .map(|ended| ended.since(alert.began()))
                .map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            // A report shows no message of the alert, so it has no destinations and no id.
            ..self.blank(
                &alert.rule,
                &Sample::of(&alert.event),
                self.is_absence(alert),
            )
        }
    }

    pub(super) fn blank(&self, rule: &Arc<str>, sample: &Sample, absence: bool) -> Notification {
        Notification {
            id: String::new(),
            at: self.wall(),
            to: Vec::new(),
            source: sample.source.clone(),
            rule: rule.to_string(),
            template: self.policy(rule).template.clone(),
            reason: Reason::First,
            incident: String::new(),
            severity: Severity::Info,
            topic: sample.topic.to_string(),
            kind: sample.kind.clone(),
            // The last event before an absence says nothing about the absence.
            condition: if absence {
                Some("absent".to_owned())
            } else {
                sample.condition.as_ref().map(ToString::to_string)
            },
            group: Vec::new(),
            subjects: Vec::new(),
            firing: 0,
            more: 0,
            more_since: 0,
            started: Timestamp::EPOCH,
            duration_ms: None,
            why: sample.why.clone(),
            detail: sample.detail.clone(),
            event: if sample.raw.is_null() {
                Value::Null
            } else {
                (*sample.raw).clone()
            },
            insight: Insight::default(),
            collected: None,
        }
    }

    /// Returns further facts about the alerts of a part.
    fn insight(&self, incident: u64, part: &MessagePart) -> Insight {
        let over = matches!(
            part.reason,
            Reason::Resolved | Reason::Recovered | Reason::Stable
        );
        let alerts = || part.alerts().filter_map(|id| self.state.alerts.get(&id));
        let causes: Vec<(&Alert, String)> = alerts()
            .take(EXPLAINED)
            .filter_map(|a| Some((a, self.cause_of(a, over)?)))
            .collect();
        // One cause for all can stand alone; otherwise it needs the device's name.
        let texts: BTreeSet<&String> = causes.iter().map(|(_, text)| text).collect();
        let many = part.alerts().nth(1).is_some();
        let cause = match (causes.first(), texts.len()) {
            (None, _) => None,
            (Some((_, text)), 1) if !many || causes.len() == part.alerts().count() => {
                Some(text.clone())
            }
            (Some((alert, text)), _) => Some(format!("{}: {text}", alert.label())),
        };
        let evidence = alerts().filter(|_| over).find_map(|a| a.evidence.clone());
        // A subject is listed once: as part of the message, as still down, or as behind something.
        let shown: BTreeSet<AlertId> = part.alerts().collect();
        let (remaining, remaining_total) = self.remaining(incident, part, &shown);
        let mut behind: Vec<Subject> = Vec::new();
        for dark in alerts()
            .flat_map(|a| &a.behind)
            .filter(|dark| !shown.contains(&dark.alert))
        {
            let subject = &dark.subject;
            let same = |s: &&mut Subject| {
                s.device_mac == subject.device_mac
                    && s.device == subject.device
                    && condition_of(s) == condition_of(subject)
            };
            match behind.iter_mut().find(same) {
                Some(known) => *known = subject.clone(),
                None => behind.push(subject.clone()),
            }
        }
        Insight {
            cause,
            evidence,
            behind,
            remaining,
            remaining_total,
            within_ms: self.within_ms(part),
            unfollowed: false,
        }
    }

    /// Returns the other open subjects of the incident, by name if they are few, and their number.
    fn remaining(
        &self,
        incident: u64,
        part: &MessagePart,
        shown: &BTreeSet<AlertId>,
    ) -> (Vec<Subject>, u64) {
        let left = part
            .alerts()
            .filter_map(|id| self.state.alerts.get(&id))
            .map(|a| a.left)
            .sum::<u64>();
        let others = || {
            let ids = self
                .state
                .incidents
                .get(&incident)
                .into_iter()
                .flat_map(|incident| &incident.alerts);
            let alerts = ids
                .filter(|id| !shown.contains(id))
                .filter_map(|id| self.state.alerts.get(id));
            alerts.filter(|a| lasts_on(a, part.reason))
        };
        let total = left + others().map(|a| a.open_count() as u64).sum::<u64>();
        // A partial list would look complete.
        if left > 0 || total > REMAINING {
            return (Vec::new(), total);
        }
        let named: Vec<Subject> = others()
            .flat_map(Alert::subjects)
            .filter(|s| s.ends_at.is_none())
            .collect();
        (
            if named.len() as u64 == total {
                named
            } else {
                Vec::new()
            },
            total,
        )
    }

    /// Returns the window of a threshold on events without an end.
    fn within_ms(&self, part: &MessagePart) -> u64 {
        let of = part
            .news
            .first()
            .and_then(|id| self.state.alerts.get(id))
            .filter(|alert| !alert.lasting);
        let threshold = of.and_then(|alert| self.threshold(&alert.rule));
        threshold.map_or(0, |t| {
            u64::try_from(t.window.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

/// Returns when the subjects that a message names began. If it reports a beginning, those that
/// ended meanwhile do not count.
fn began(subjects: &[Subject], reason: Reason) -> Option<Timestamp> {
    let lasting = subjects.iter().filter(|s| s.ends_at.is_none());
    let began = lasting.filter_map(|s| s.starts_at).min();
    let all = || subjects.iter().filter_map(|s| s.starts_at).min();
    began.filter(|_| reason.begins()).or_else(all)
}

/// Returns whether a message with this reason counts an alert as open. After an end, an unsent
/// alert is not "still" down.
fn lasts_on(alert: &Alert, reason: Reason) -> bool {
    alert.lasting && alert.is_alive() && (reason.begins() || alert.settled)
}

fn condition_of(subject: &Subject) -> Option<&str> {
    subject.of.as_deref().and_then(|of| of.condition.as_deref())
}
