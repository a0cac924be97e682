//! From alerts to messages: firing, ending, grouping, and what to say to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::alert::{Alert, AlertId, Member, State};
use super::decision::Verdict;
use super::incident::{Incident, Sample};
use super::{Engine, Timer};
use crate::model::{Event, Insight, Name, Notification, Phase, Reason, Severity, Subject};

/// Beyond this many, alerts and incidents no longer keep the raw event for their templates.
const SAMPLED: usize = 2_000;

/// Why an incident speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Something changed.
    Change,
    /// It still lasts.
    Reminder,
    /// Some of it is no longer followed: said on its own, since that is neither a beginning nor an end.
    Stale,
}

impl Engine {
    /// An alert's timer is due.
    pub(super) fn alert_due(&mut self, id: AlertId) {
        let Some(alert) = self.state.alerts.get_mut(&id) else { return };
        alert.timer = None;
        let rule = Arc::clone(&alert.rule);
        let now = self.state.now;
        let policy = self.policy(&rule);
        let Some(alert) = self.state.alerts.get_mut(&id) else { return };
        match alert.state {
            State::Pending { since } if since + policy.r#for <= now => self.fire(id, None),
            State::Closing { .. } => self.finish(id),
            State::Collecting => {
                self.drop_alert(id, &Verdict::BelowThreshold { seen: 0, need: 0, within: policy.cooldown })
            }
            State::Firing if !alert.lasting => {
                // Quiet for its cooldown: over, without a word.
                if let Some(alert) = self.remove_alert(id).filter(|a| a.more_since > 0)
                    && self.state.unsaid.len() < self.limits.windows
                {
                    self.state.unsaid.insert(format!("{}\u{1f}{}", alert.rule, alert.fingerprint), alert.more_since);
                }
            }
            State::Pending { .. } | State::Firing => {
                alert.stale = true;
                self.finish(id);
            }
            State::Ended => {}
        }
    }

    /// An incident's timer is due.
    pub(super) fn incident_due(&mut self, id: u64) {
        let Some(incident) = self.state.incidents.get_mut(&id) else { return };
        incident.timer = None;
        let changes = incident.changed.is_some();
        self.flush(id, if changes { Cause::Change } else { Cause::Reminder });
    }

    /// Keeps what the event brought until the incident takes it over.
    pub(super) fn sample(&mut self, id: AlertId, event: &Event) {
        let whole = self.state.alerts.len() <= SAMPLED;
        if let Some(alert) = self.state.alerts.get_mut(&id) {
            let mut sample = Sample::of(event, whole);
            if event.phase == Phase::Close {
                sample.condition = None; // told for its own sake, not as the end of something
            }
            alert.sample = Some(sample);
        }
    }

    /// An alert passed its `for`: it joins its incident, and its message waits for company.
    pub(super) fn fire(&mut self, id: AlertId, event: Option<&Event>) {
        if let Some(event) = event {
            self.sample(id, event);
        }
        let now = self.state.now;
        let Some(rule) = self.state.alerts.get(&id).map(|a| Arc::clone(&a.rule)) else { return };
        let counts = self.threshold(&rule).is_some();
        let Some(alert) = self.state.alerts.get_mut(&id) else { return };
        alert.state = State::Firing;
        let (severity, sample) = (alert.severity, alert.sample.take());
        // What counts its members goes on counting with the rest of them when it ends.
        let group = if counts { alert.group.clone() } else { std::mem::take(&mut alert.group) };
        let identity = group.iter().map(|(_, identity, _)| identity.as_str()).collect::<Vec<_>>().join("\u{1f}");
        let known = self.index.by_group.get(&(Arc::clone(&rule), identity.clone())).copied();
        let incident = match (known, sample) {
            (Some(incident), sample) => {
                if let (Some(known), Some(sample)) = (self.state.incidents.get_mut(&incident), sample) {
                    known.sample = sample;
                }
                incident
            }
            (None, Some(sample)) => self.new_incident(&rule, identity, group, sample),
            (None, None) => return, // a firing alert always brings its sample
        };
        if let Some(known) = self.state.incidents.get_mut(&incident) {
            known.alerts.insert(id);
            known.severity = known.severity.max(severity);
            known.change(now);
        }
        if let Some(alert) = self.state.alerts.get_mut(&id) {
            alert.incident = Some(incident);
        }
        self.arm_alert(id);
        self.arm_incident(incident);
    }

    fn new_incident(
        &mut self,
        rule: &Arc<str>,
        identity: String,
        group: Vec<(String, String, String)>,
        sample: Sample,
    ) -> u64 {
        let id = self.next_id();
        let policy = self.policy(rule);
        let mut hash = Sha256::new();
        for part in [rule.as_bytes(), identity.as_bytes(), &self.state.now.millis().to_le_bytes(), &id.to_le_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let key: String = hash.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        let incident = Incident {
            key,
            rule: Arc::clone(rule),
            identity: identity.clone(),
            group: group.into_iter().map(|(field, _, label)| (field, label)).collect(),
            alerts: BTreeSet::new(),
            told: BTreeSet::new(),
            notify: self.targets(&policy),
            severity: Severity::Info,
            last_message: None,
            changed: None,
            sample,
            timer: None,
        };
        self.state.incidents.insert(id, incident);
        self.index.by_group.insert((Arc::clone(rule), identity), id);
        id
    }

    /// An alert of an incident became worse: destinations that take only this much hear of it now.
    pub(super) fn escalate(&mut self, id: u64, severity: Severity) {
        let now = self.state.now;
        if let Some(incident) = self.state.incidents.get_mut(&id).filter(|i| i.severity < severity) {
            incident.severity = severity;
            incident.change(now);
            self.arm_incident(id);
        }
    }

    /// An alert's condition ended: at once, or after the rule's `keep_firing_for`.
    pub(super) fn end_alert(&mut self, id: AlertId, event: Option<&Event>) {
        let Some(alert) = self.state.alerts.get_mut(&id) else { return };
        let rule = Arc::clone(&alert.rule);
        let told = !alert.told_to.is_empty();
        let policy = self.policy(&rule);
        let keep = policy.keep_firing_for;
        let Some(alert) = self.state.alerts.get_mut(&id) else { return };
        if told && !keep.is_zero() && alert.state == State::Firing {
            let until = self.state.now + keep;
            alert.state = State::Closing { until };
            self.decide(event, Some(&rule), Verdict::Closing { until });
            self.arm_alert(id);
            return;
        }
        let verdict = if told { Verdict::Ended } else { Verdict::EndedUntold };
        self.decide(event, Some(&rule), verdict);
        self.finish(id);
    }

    /// An alert is over: what was told is told back, what was not is forgotten.
    fn finish(&mut self, id: AlertId) {
        self.gather(id);
        let Some(alert) = self.state.alerts.get_mut(&id) else { return };
        let incident = alert.incident;
        if alert.told_to.is_empty() {
            if let Some(mut alert) = self.remove_alert(id) {
                self.state.ledger.alert_dropped(&mut alert, "ended_untold");
            }
        } else {
            alert.state = State::Ended;
            self.arm_alert(id);
        }
        let Some(incident) = incident else { return };
        let now = self.state.now;
        let alerts = |engine: &Self| {
            engine.members(incident).filter(|a| a.lasting).map(|a| (a.state, a.stale)).collect::<Vec<_>>()
        };
        let lasting = alerts(self);
        let Some(known) = self.state.incidents.get_mut(&incident) else { return };
        let ended = lasting.iter().any(|(state, _)| *state == State::Ended);
        let over = lasting.iter().all(|(state, _)| *state == State::Ended);
        let stale = lasting.iter().any(|(state, stale)| *state == State::Ended && *stale);
        if stale {
            self.flush(incident, Cause::Stale);
        } else if ended && over {
            self.flush(incident, Cause::Change);
        } else if ended {
            known.change(now);
            self.arm_incident(incident);
        }
    }

    /// A threshold's alert ends while some of what it counted still lasts: these count towards the next one.
    fn gather(&mut self, id: AlertId) {
        let now = self.state.now;
        let Some(rule) = self.state.alerts.get(&id).map(|a| Arc::clone(&a.rule)) else { return };
        let Some(threshold) = self.threshold(&rule) else { return };
        let Some(alert) = self.state.alerts.get_mut(&id).filter(|a| a.lasting && !a.stale) else { return };
        if !alert.members.iter().any(Member::is_open) {
            return;
        }
        let (rest, ended): (Vec<Member>, Vec<Member>) =
            std::mem::take(&mut alert.members).into_iter().partition(Member::is_open);
        alert.members = ended;
        alert.left = rest.len() as u64;
        self.index.forget(id, &rest, &alert.members);
        let members: Vec<Member> = rest.into_iter().filter(|m| now.since(m.opened) <= threshold.window).collect();
        if members.is_empty() {
            return;
        }
        let next = Alert {
            state: State::Collecting,
            members,
            incident: None,
            told_to: BTreeSet::new(),
            settled: false,
            left: 0,
            more: 0,
            more_since: 0,
            waiting: 0,
            tickets: Vec::new(),
            sample: None,
            timer: None,
            ..alert.clone()
        };
        let id = self.next_id();
        next.members.iter().for_each(|member| self.index.note(id, member));
        self.index.by_fingerprint.insert((rule, next.fingerprint.clone()), id);
        self.index.untold.insert(id);
        self.state.alerts.insert(id, next);
        self.arm_alert(id);
    }

    /// An alert that is gone leaves its incident; an empty incident goes too.
    pub(super) fn leave(&mut self, alert: AlertId, incident: Option<u64>) {
        let Some(id) = incident else { return };
        let Some(known) = self.state.incidents.get_mut(&id) else { return };
        known.alerts.remove(&alert);
        if known.alerts.is_empty() {
            if let Some(due) = known.timer {
                self.index.timers.remove(&(due, Timer::Incident(id)));
            }
            self.index.by_group.remove(&(Arc::clone(&known.rule), known.identity.clone()));
            self.state.incidents.remove(&id);
            return;
        }
        let waits = known
            .alerts
            .iter()
            .filter_map(|id| self.state.alerts.get(id))
            .any(|a| !a.settled || a.state == State::Ended);
        if !waits {
            known.changed = None;
        }
        self.arm_incident(id);
    }

    /// Whether an incident has something to remind of: told, and still lasting.
    pub(super) fn reminds(&self, id: u64) -> bool {
        self.members(id).any(|a| a.lasting && a.is_alive() && !a.told_to.is_empty())
    }

    fn members(&self, incident: u64) -> impl Iterator<Item = &Alert> {
        self.state
            .incidents
            .get(&incident)
            .into_iter()
            .flat_map(|i| &i.alerts)
            .filter_map(|id| self.state.alerts.get(id))
    }

    /// Says what there is to say about an incident now, to each destination what it does not know yet.
    fn flush(&mut self, id: u64, cause: Cause) {
        let Some(incident) = self.state.incidents.get(&id) else { return };
        let rule = Arc::clone(&incident.rule);
        let mut destinations: Vec<(Name, Severity)> = incident.notify.clone();
        for name in self.members(id).flat_map(|a| &a.told_to) {
            if !destinations.iter().any(|(known, _)| known == name) {
                destinations.push((name.clone(), Severity::Critical)); // only what it knows of is told back
            }
        }
        // Destinations that are told the same share one message.
        let mut parts: BTreeMap<Part, Vec<Name>> = BTreeMap::new();
        for (name, least) in destinations {
            let part = self.part(id, &name, least, cause);
            if !(part.news.is_empty() && part.ends.is_empty() && part.still.is_empty()) {
                parts.entry(part).or_default().push(name);
            }
        }
        let spoke = !parts.is_empty();
        let mut notifications: Vec<Notification> =
            parts.iter().filter_map(|(part, to)| self.notification(id, part, to.clone())).collect();
        for (part, to) in &parts {
            for alert in &part.news {
                if let Some(alert) = self.state.alerts.get_mut(alert) {
                    alert.told_to.extend(to.iter().cloned());
                }
            }
        }
        self.settle_incident(id, cause, spoke, parts.into_values().flatten());
        notifications.sort_by(|a, b| a.to.cmp(&b.to));
        for notification in notifications {
            self.decide(None, Some(&rule), Verdict::Notify(Box::new(notification)));
        }
    }

    /// What one destination is to be told.
    fn part(&self, id: u64, name: &Name, least: Severity, cause: Cause) -> Part {
        let Some(incident) = self.state.incidents.get(&id) else { return Part::default() };
        let known = |a: &Alert| a.told_to.contains(name);
        let pick = |wanted: &dyn Fn(&Alert) -> bool| -> Vec<AlertId> {
            incident.alerts.iter().copied().filter(|a| self.state.alerts.get(a).is_some_and(wanted)).collect()
        };
        let wanted = cause != Cause::Stale
            && incident.severity >= least
            && incident.notify.iter().any(|(target, _)| target == name);
        let news = if wanted { pick(&|a| a.is_alive() && !known(a) && (a.lasting || !a.settled)) } else { Vec::new() };
        let ends = pick(&|a| a.state == State::Ended && known(a) && (a.stale || cause != Cause::Stale));
        let still = match cause {
            Cause::Reminder => pick(&|a| a.lasting && a.is_alive() && known(a)),
            Cause::Change | Cause::Stale => Vec::new(),
        };
        let firing =
            incident.alerts.iter().filter_map(|a| self.state.alerts.get(a)).filter(|a| a.lasting && a.is_alive());
        let over = firing.clone().next().is_none();
        let reason = match (news.is_empty(), ends.is_empty()) {
            (false, _) if incident.told.contains(name) => Reason::NewEvents,
            (false, _) => Reason::First,
            (true, false) if cause == Cause::Stale => Reason::Stale,
            (true, false) if over => Reason::Resolved,
            (true, false) => Reason::Recovered,
            (true, true) => Reason::Repeat,
        };
        Part { reason: Some(reason), news, ends, still }
    }

    fn notification(&self, id: u64, part: &Part, to: Vec<Name>) -> Option<Notification> {
        let incident = self.state.incidents.get(&id)?;
        let reason = part.reason?;
        let alerts =
            || part.news.iter().chain(&part.ends).chain(&part.still).filter_map(|id| self.state.alerts.get(id));
        let subjects: Vec<Subject> = alerts().flat_map(Alert::subjects).collect();
        let lasting =
            self.members(id).filter(|a| a.lasting && a.is_alive()).map(|a| a.open_count() as u64).sum::<u64>();
        let firing = lasting + alerts().map(|a| a.left).sum::<u64>();
        let started = self.members(id).flat_map(|a| &a.members).map(|m| m.starts_at).min().unwrap_or(self.state.now);
        let ended = alerts().flat_map(|a| &a.members).filter_map(|m| m.ends_at).max();
        let duration_ms = match reason {
            Reason::Resolved | Reason::Recovered => {
                let first = subjects.iter().filter_map(|s| s.starts_at).min().unwrap_or(started);
                ended.map(|ended| ended.since(first))
            }
            Reason::Repeat | Reason::Stale => Some(self.wall().since(started)),
            _ => None,
        };
        Some(Notification {
            id: String::new(),
            at: self.wall(),
            to,
            source: incident.sample.source.clone(),
            rule: incident.rule.to_string(),
            template: self.policy(&incident.rule).template.clone(),
            reason,
            incident: incident.key.clone(),
            severity: incident.severity,
            topic: incident.sample.topic.to_string(),
            kind: incident.sample.kind.clone(),
            condition: incident.sample.condition.as_ref().map(ToString::to_string),
            group: incident.group.clone(),
            subjects,
            firing,
            more: alerts().map(|a| a.more).sum(),
            more_since: self.members(id).map(|a| a.more_since).sum::<u64>(),
            started,
            duration_ms: duration_ms.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            why: incident.sample.why.clone(),
            detail: incident.sample.detail.clone(),
            event: (*incident.sample.raw).clone(),
            insight: Insight::default(),
            collected: None,
        })
    }

    /// Books what a flush told, and forgets what is over.
    fn settle_incident(&mut self, id: u64, cause: Cause, spoke: bool, to: impl Iterator<Item = Name>) {
        let now = self.state.now;
        let Some(incident) = self.state.incidents.get_mut(&id) else { return };
        if cause != Cause::Stale {
            incident.changed = None;
        }
        if spoke {
            incident.last_message = Some(now);
            incident.told.extend(to);
        }
        let alerts: Vec<AlertId> = incident.alerts.iter().copied().collect();
        for alert_id in alerts {
            let Some(alert) = self.state.alerts.get_mut(&alert_id) else { continue };
            if cause == Cause::Stale && !alert.stale {
                continue;
            }
            if spoke {
                alert.more_since = 0;
            }
            if alert.told_to.is_empty() {
                self.state.ledger.alert_dropped(alert, "nobody_to_tell");
            } else {
                self.state.ledger.alert_told(alert);
                self.index.untold.remove(&alert_id);
            }
            alert.settled = true;
            if alert.state == State::Ended {
                self.remove_alert(alert_id);
            } else {
                self.arm_alert(alert_id);
            }
        }
        self.arm_incident(id);
    }
}

/// What one destination is to be told: what is new to it, what ended, what still lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    reason: Option<Reason>,
    news: Vec<AlertId>,
    ends: Vec<AlertId>,
    still: Vec<AlertId>,
}
