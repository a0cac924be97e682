//! The limit of open alerts. At the limit people are notified once, and new events are still sent,
//! grouped and without a later recovery. Nothing is lost silently.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::decision::Verdict;
use super::gate::Gate;
use super::incident::Sample;
use super::outcomes::Effects;
use super::tell::short;
use super::{Engine, Timer};
use crate::model::{Event, Field, Name, Notification, Reason, Severity, Subject, Timestamp};
use crate::rules::Rule;

/// Type of the message about it.
const KIND: &str = "too_many_alerts";
/// Maximum number of untracked subjects named in one message; the others are counted.
const NAMED: usize = 500;
/// Number of rules named in that message, largest first.
const HOLDERS: usize = 3;

/// The state while more alerts are open than the engine tracks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Full {
    /// Wall time of its beginning.
    since: Timestamp,
    /// Destinations notified of it.
    to: Vec<Name>,
    /// Events sent without being tracked.
    passed_on: u64,
    /// Subjects that wait to be sent, by rule.
    waiting: BTreeMap<Arc<str>, Waiting>,
}

/// Untracked subjects of one rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    /// Journal time of the next message; `None` if nothing waits.
    due: Option<Timestamp>,
    /// Journal time of the last message.
    sent: Option<Timestamp>,
    subjects: Vec<Subject>,
    more: u64,
    severity: Severity,
    started: Timestamp,
    sample: Sample,
}

/// Use of the limit of open alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fullness {
    /// Number of open alerts.
    pub open: usize,
    /// Maximum number of open alerts.
    pub limit: usize,
    /// Rules with most open alerts and their number, largest first.
    pub rules: Vec<(Arc<str>, usize)>,
    /// Wall time since when the limit is exceeded; `None` if it is not.
    pub since: Option<Timestamp>,
    /// Events sent since then without being tracked.
    pub passed_on: u64,
}

impl Engine {
    /// Returns the use of the limit of open alerts.
    #[must_use]
    pub fn fullness(&self) -> Fullness {
        let mut held: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for alert in self.state.alerts.values() {
            *held.entry(&alert.rule).or_default() += 1;
        }
        let mut rules: Vec<(Arc<str>, usize)> = held
            .into_iter()
            .map(|(rule, n)| (Arc::clone(rule), n))
            .collect();
        // Equal rules are sorted by name, so that a replay gives the same list.
        rules.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        rules.truncate(HOLDERS);
        let full = self.state.full.as_ref();
        Fullness {
            open: self.state.alerts.len(),
            limit: self.limits.alerts,
            rules,
            since: full.map(|full| full.since),
            passed_on: full.map_or(0, |full| full.passed_on),
        }
    }

    /// Makes room for one more alert, and returns whether there is some. Alerts whose end nobody
    /// waits for are dropped: they have no end and were sent, or nobody could be notified.
    pub(super) fn has_room(&mut self) -> bool {
        if self.state.alerts.len() < self.limits.alerts {
            return true;
        }
        while let Some(spare) = self.index.spare.pop_first() {
            if self.state.alerts.get(&spare).is_some_and(Alert::is_spare) {
                self.forget(spare);
                break;
            }
        }
        self.state.alerts.len() < self.limits.alerts
    }

    /// Sends an alert that cannot be tracked together with others of its rule, unless it is
    /// suppressed.
    pub(super) fn pass_on(
        &mut self,
        rule: &Arc<Rule>,
        event: &Arc<Event>,
        alert: &Alert,
        effects: &mut Effects,
    ) {
        self.say_full();
        // An untracked alert cannot wait for a suppression to end, so what suppresses it now
        // decides for good. A hold alone suppresses nothing.
        let kept = if self.is_behind_any(alert) {
            Some("inhibited")
        } else {
            match self.gate_of(alert) {
                Gate::Open => None,
                Gate::Digests => Some("muted"),
                Gate::Shut(quiet) => match quiet.by {
                    super::alert::SuppressedBy::Hold => None,
                    by => Some(by.suppression()),
                },
            }
        };
        let takers = self.targets(&rule.policy);
        let nobody = !takers.iter().any(|(_, least)| alert.severity >= *least);
        let kept = kept.or_else(|| nobody.then_some("nobody_to_tell"));
        self.decide(
            &[],
            Some(event),
            Some(&rule.name),
            Verdict::OverLimit { kept },
        );
        if let Some(kept) = kept {
            effects.suppressed = effects.suppressed.or(Some(kept));
            return;
        }
        effects.notified_by(&rule.name);
        let now = self.state.now;
        let Some(full) = &mut self.state.full else {
            return;
        };
        full.passed_on += 1;
        let waiting = full
            .waiting
            .entry(Arc::clone(&rule.name))
            .or_insert_with(|| Waiting {
                due: None,
                sent: None,
                subjects: Vec::new(),
                more: 0,
                severity: alert.severity,
                started: event.time,
                sample: Sample::of(event),
            });
        // The first subject after a message starts a new one, which keeps the distance that
        // `group_interval` asks for.
        if waiting.due.is_none() {
            let soon = now + rule.policy.group_wait;
            let apart = waiting.sent.map(|sent| sent + rule.policy.group_interval);
            waiting.due = Some(apart.map_or(soon, |apart| apart.max(soon)));
            waiting.started = event.time;
            waiting.sample = Sample::of(event);
            waiting.severity = alert.severity;
        }
        waiting.severity = waiting.severity.max(alert.severity);
        // A rule may name one device many times: the message lists it once.
        waiting.started = waiting.started.min(event.time);
        for subject in alert.subjects() {
            let room = waiting.subjects.len() < NAMED;
            let same = |known: &&mut Subject| {
                known.device_mac == subject.device_mac
                    && known.device == subject.device
                    && known.part == subject.part
                    && known.site_id == subject.site_id
            };
            match waiting.subjects.iter_mut().find(same) {
                Some(known) => known.events += subject.events,
                None if room => waiting.subjects.push(subject),
                None => waiting.more += 1,
            }
        }
        self.arm_passed_on();
    }

    /// Sends the untracked subjects that are due, or all of them.
    pub(super) fn passed_on_due(&mut self, all: bool) {
        let now = self.state.now;
        let Some(full) = &mut self.state.full else {
            return;
        };
        let mut due: Vec<(Arc<str>, Waiting)> = Vec::new();
        for (rule, waiting) in &mut full.waiting {
            if waiting.due.is_some_and(|at| all || at <= now) {
                // `sent` stays, so that the next message keeps its distance.
                let left = Waiting {
                    due: None,
                    sent: Some(now),
                    subjects: Vec::new(),
                    more: 0,
                    ..waiting.clone()
                };
                due.push((Arc::clone(rule), std::mem::replace(waiting, left)));
            }
        }
        for (rule, waiting) in due {
            self.send_passed_on(&rule, waiting);
        }
        self.arm_passed_on();
    }

    fn send_passed_on(&mut self, rule: &Arc<str>, waiting: Waiting) {
        let takers = self.targets(&self.policy(rule)).into_iter();
        let takes = |(_, least): &(Name, Severity)| waiting.severity >= *least;
        let to: Vec<Name> = takers.filter(takes).map(|(name, _)| name).collect();
        let at = self.wall();
        // These messages belong to no incident, but chats group by this name.
        let incident = short(
            &[rule.as_bytes(), b"passed on", &at.millis().to_le_bytes()],
            10,
        );
        let events = waiting
            .subjects
            .iter()
            .map(|subject| subject.events)
            .sum::<u64>()
            + waiting.more;
        let mut about = Notification {
            id: short(&[incident.as_bytes(), b"first"], 6),
            to,
            incident,
            severity: waiting.severity,
            subjects: waiting.subjects,
            more: waiting.more,
            started: waiting.started,
            ..self.blank(rule, &waiting.sample, false)
        };
        // The message must say that no recovery will follow.
        about.insight.unfollowed = true;
        if about.to.is_empty() {
            return self.decide(&[], None, Some(rule), Verdict::NobodyToTell);
        }
        if let Some(about) = self.collect(&[], about, events) {
            self.decide(&[], None, Some(rule), Verdict::Notify(Box::new(about)));
        }
    }

    pub(super) fn arm_passed_on(&mut self) {
        let full = self.state.full.as_ref();
        let due = full.and_then(|full| full.waiting.values().filter_map(|w| w.due).min());
        self.arm(Timer::PassedOn, due);
    }

    /// Notifies once that the limit is reached: which rules have most alerts, and what to do.
    fn say_full(&mut self) {
        if self.state.full.is_some() {
            return;
        }
        let takers = self.rules.destinations().iter();
        let to: Vec<Name> = takers.map(|(name, _)| name.clone()).collect();
        self.state.full = Some(Full {
            since: self.wall(),
            to: to.clone(),
            passed_on: 0,
            waiting: BTreeMap::new(),
        });
        let fullness = self.fullness();
        let held: Vec<String> = fullness
            .rules
            .iter()
            .map(|(rule, n)| format!("{rule} holds {n}"))
            .collect();
        // A rule by `id` makes an alert of each event, the usual reason for a full engine.
        let apart = |name: &Arc<str>| {
            let by = self
                .rule(name)
                .and_then(|rule| rule.by.clone())
                .unwrap_or_default();
            by.contains(&Field::Id)
        };
        let advice = match fullness.rules.iter().find(|(rule, _)| apart(rule)) {
            Some((rule, _)) => format!(
                "With `id` in its `by` every event of {rule} is an alert of its own: take it out"
            ),
            None => "Where this is no real outage, give the rule a wider `by` or a `threshold`, or narrow its `match`".to_owned(),
        };
        let detail = format!(
            "Foghorn follows {} alerts at once, and all are open: {}. What is new is sent, but not followed: no message will say when it is over. {advice}",
            fullness.limit,
            held.join(", "),
        );
        self.tell_full(to, Reason::First, detail);
    }

    /// Notifies people once there is room again after an alert was dropped.
    pub(super) fn check_room(&mut self) {
        // A tenth must be free, so that one alert more or less does not make the messages
        // alternate.
        let limit = self.limits.alerts;
        if self.state.full.is_none()
            || self.state.alerts.len() >= limit.saturating_sub((limit / 10).max(1))
        {
            return;
        }
        self.passed_on_due(true);
        let Some(full) = self.state.full.take() else {
            return;
        };
        self.arm_passed_on();
        let detail = format!(
            "Fewer alerts are open, and what is new is followed again. {} events were sent meanwhile without being followed",
            full.passed_on
        );
        self.tell_full(full.to, Reason::Resolved, detail);
    }

    fn tell_full(&mut self, to: Vec<Name>, reason: Reason, detail: String) {
        let at = self.wall();
        // The newest number distinguishes this overflow from a later one.
        let incident = short(&[KIND.as_bytes(), &self.state.next_id.to_le_bytes()], 10);
        let sample = Sample::of(&Event::nothing(Name::new("foghorn"), at));
        let about = Notification {
            id: short(&[incident.as_bytes(), reason.word().as_bytes()], 6),
            at,
            to,
            reason,
            incident,
            severity: Severity::Critical,
            topic: "foghorn".to_owned(),
            kind: KIND.to_owned(),
            started: at,
            detail: Some(detail),
            // A rule's own template knows nothing of this message.
            template: None,
            ..self.blank(&Arc::from("foghorn"), &sample, false)
        };
        if about.to.is_empty() {
            return self.decide(&[], None, None, Verdict::NobodyToTell);
        }
        self.decide(&[], None, None, Verdict::Notify(Box::new(about)));
    }
}
