//! The `absent` rules: events that should keep arriving, and do not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alert::{Alert, AlertId, AlertState, Member};
use super::decision::Verdict;
use super::outcomes::Effects;
use super::{Engine, Timer};
use crate::model::{Event, Name, Timestamp};
use crate::rules::Rule;

/// The waits of each `absent` rule: by rule, then by fingerprint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Absences {
    known: BTreeMap<Arc<str>, BTreeMap<String, Absence>>,
    /// Due times of waits without an alert; rebuilt from `known` after a restart.
    #[serde(skip)]
    due: BTreeSet<(Timestamp, Arc<str>, String)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Absence {
    /// Journal time of the last event, or of the start.
    last: Timestamp,
    /// The last event; `None` if none has arrived yet.
    event: Option<Arc<Event>>,
    /// The alert, while it is open.
    alert: Option<AlertId>,
    /// `last` plus the window of the rule.
    due: Timestamp,
}

impl Absences {
    /// Starts the wait anew from `last`.
    fn wait(&mut self, rule: &Arc<str>, fingerprint: &str, window: Duration, last: Timestamp) {
        let known = self.known.entry(Arc::clone(rule)).or_default();
        let fresh = Absence {
            last,
            event: None,
            alert: None,
            due: last,
        };
        let absence = known.entry(fingerprint.to_owned()).or_insert(fresh);
        // The set has the due time in its keys, so the old entry must leave first.
        self.due
            .remove(&(absence.due, Arc::clone(rule), fingerprint.to_owned()));
        (absence.last, absence.due) = (last, last + window);
        // A missing event was reported already; its arrival starts the wait again.
        if absence.alert.is_none() {
            self.due
                .insert((absence.due, Arc::clone(rule), fingerprint.to_owned()));
        }
    }

    fn get_mut(&mut self, rule: &Arc<str>, fingerprint: &str) -> Option<&mut Absence> {
        self.known.get_mut(rule)?.get_mut(fingerprint)
    }

    /// Returns the rules that wait for something.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.known.keys()
    }

    pub(super) fn reindex(&mut self) {
        let all = self
            .known
            .iter()
            .flat_map(|(rule, known)| known.iter().map(move |(fp, absence)| (rule, fp, absence)));
        let waits = all.filter(|(_, _, absence)| absence.alert.is_none());
        self.due = waits
            .map(|(rule, fp, absence)| (absence.due, Arc::clone(rule), fp.clone()))
            .collect();
    }
}

impl Engine {
    /// Returns whether an alert reports a missing event.
    pub(super) fn is_absence(&self, alert: &Alert) -> bool {
        self.rule_of(alert)
            .is_some_and(|rule| rule.absent.is_some())
    }

    /// Restarts all waits at a start of the process: events sent while it was down could not be
    /// received.
    pub(super) fn listen(&mut self) {
        self.watch_absences(true);
    }

    /// Updates the waits after a change of rules. New rules start to wait now; with `start` all of
    /// them do.
    pub(super) fn watch_absences(&mut self, start: bool) {
        let (now, rules) = (self.state.now, Arc::clone(&self.rules));
        let windows: BTreeMap<Arc<str>, (Duration, bool)> = rules
            .rules()
            .iter()
            .filter_map(|rule| Some((Arc::clone(&rule.name), (rule.absent?, rule.by.is_none()))))
            .collect();
        let absences = &mut self.state.absences;
        absences.known.retain(|name, _| windows.contains_key(name));
        for (name, (window, single)) in &windows {
            // With `by`, a device is waited for once it has sent something; without `by` there is a
            // single wait from the start.
            let known = absences.known.entry(Arc::clone(name)).or_default();
            let waits: Vec<(String, Timestamp)> = known
                .iter()
                .map(|(fp, absence)| (fp.clone(), absence.last))
                .collect();
            if waits.is_empty() && *single {
                absences.wait(name, "", *window, now);
            }
            for (fingerprint, last) in waits {
                absences.wait(name, &fingerprint, *window, if start { now } else { last });
            }
        }
        absences.reindex();
        self.arm_absences();
    }

    /// Handles the arrival of an event that a rule waits for.
    pub(super) fn present(
        &mut self,
        rule: &Arc<Rule>,
        window: Duration,
        event: &Arc<Event>,
        effects: &mut Effects,
    ) {
        let now = self.state.now;
        let fingerprint = self.absence_of(rule, event);
        let absences = &mut self.state.absences;
        let new = absences.get_mut(&rule.name, &fingerprint).is_none();
        if new
            && absences
                .known
                .get(&rule.name)
                .is_some_and(|known| known.len() >= self.limits.windows)
        {
            effects.suppressed = effects.suppressed.or(Verdict::TooMany.suppression());
            return self.decide(&[], Some(event), Some(&rule.name), Verdict::TooMany);
        }
        let alert = absences
            .get_mut(&rule.name, &fingerprint)
            .and_then(|absence| absence.alert.take());
        absences.wait(&rule.name, &fingerprint, window, now);
        if let Some(absence) = absences.get_mut(&rule.name, &fingerprint) {
            // The event is kept without its payload: a message about its absence needs names only.
            absence.event = Some(Arc::new(event.slim()));
        }
        match alert {
            Some(alert) => self.came(alert, event, effects),
            None => {
                effects.suppressed = effects.suppressed.or(Verdict::Expected.suppression());
                self.decide(&[], Some(event), Some(&rule.name), Verdict::Expected);
            }
        }
        self.arm_absences();
    }

    /// Returns the fingerprint of a wait.
    pub(super) fn absence_of(&self, rule: &Rule, event: &Event) -> String {
        if rule.by.is_some() {
            self.fingerprint(rule, event)
        } else {
            String::new()
        }
    }

    /// Closes the alert of a missing event. The event may be older than the alert; its arrival is
    /// what counts.
    pub(super) fn came(&mut self, alert: AlertId, event: &Arc<Event>, effects: &mut Effects) {
        let began = self
            .state
            .alerts
            .get(&alert)
            .map_or(event.time, Alert::began);
        let came = Arc::new(Event {
            time: event.time.max(began),
            ..(**event).clone()
        });
        self.close_members(alert, &came, effects, |_| true);
    }

    /// Sorts waits by the fingerprints of changed rules. An open alert stays with its wait, so that
    /// it is not sent twice.
    pub(super) fn sort_absences(&mut self, changed: &dyn Fn(&Arc<str>) -> bool) {
        let names: Vec<Arc<str>> = self.state.absences.known.keys().cloned().collect();
        for name in names.into_iter().filter(|name| changed(name)) {
            let rule = self
                .rule(&name)
                .filter(|rule| rule.absent.is_some())
                .cloned();
            let known = self.state.absences.known.remove(&name).unwrap_or_default();
            let Some(rule) = rule else { continue };
            let mut sorted: BTreeMap<String, Absence> = BTreeMap::new();
            for absence in known.into_values() {
                let fingerprint = match &absence.event {
                    Some(event) if rule.matcher.matches(event) => self.absence_of(&rule, event),
                    None if rule.by.is_none() => String::new(),
                    _ => continue,
                };
                let kept = sorted.entry(fingerprint).or_insert_with(|| absence.clone());
                let alert = kept.alert.or(absence.alert);
                // Several old waits may share a new fingerprint: the latest event decides, and an
                // alert is never lost.
                if absence.last > kept.last {
                    *kept = absence;
                }
                kept.alert = alert;
            }
            self.state.absences.known.insert(name, sorted);
        }
    }

    /// Fires the waits that are due.
    pub(super) fn absences_due(&mut self) {
        let now = self.state.now;
        while let Some((due, name, fingerprint)) = self.state.absences.due.pop_first() {
            if due > now {
                self.state.absences.due.insert((due, name, fingerprint));
                break;
            }
            self.absence_due(&name, &fingerprint);
        }
        self.arm_absences();
    }

    fn absence_due(&mut self, name: &Arc<str>, fingerprint: &str) {
        let now = self.state.now;
        let Some(rule) = self.rule(name).cloned() else {
            return;
        };
        let Some(absence) = self.state.absences.get_mut(name, fingerprint) else {
            return;
        };
        let last = absence.last;
        // A rule without `by` may have waited since the start without any event: then there is none
        // to name.
        let event = absence
            .event
            .clone()
            .unwrap_or_else(|| Arc::new(Event::nothing(Name::new(""), last)));
        let key = format!("{name}|{fingerprint}");
        let began = last.shifted(self.state.offset_ms);
        let member = Member {
            starts_at: began,
            events: 0,
            ..Member::new(&event, key, None, None, now)
        };
        let mut effects = Effects::default();
        let added = self.add_alert(
            &rule,
            &event,
            fingerprint.to_owned(),
            vec![member],
            true,
            AlertState::Firing,
            &mut effects,
        );
        match (added, self.state.absences.get_mut(name, fingerprint)) {
            (Some(id), Some(absence)) => {
                absence.alert = Some(id);
                self.decide(&[id], None, Some(name), Verdict::Missing { since: began });
                self.relate(id);
                self.release(id);
            }
            // There was no room, or the wait is gone: the next window decides anew.
            _ => self
                .state
                .absences
                .wait(name, fingerprint, rule.absent.unwrap_or_default(), now),
        }
    }

    /// Starts a wait anew if its alert ended for another reason than the arrival of the event.
    pub(super) fn forget_absence(&mut self, id: AlertId) {
        let now = self.state.now;
        let Some(alert) = self.state.alerts.get(&id) else {
            return;
        };
        let (rule, fingerprint) = (Arc::clone(&alert.rule), alert.fingerprint.clone());
        let past = alert.past;
        let Some(window) = self.rule(&rule).and_then(|rule| rule.absent) else {
            return;
        };
        let known = self.state.absences.known.get(&rule);
        let is_its = |absence: &Absence| absence.alert == Some(id);
        let own = known.is_some_and(|known| known.get(&fingerprint).is_some_and(is_its));
        // After a reload the wait may have another fingerprint than the alert.
        let other = || {
            let mut all = known.filter(|_| past.is_some()).into_iter().flatten();
            all.find(|(_, absence)| is_its(absence))
                .map(|(fp, _)| fp.clone())
        };
        let fingerprint = if own { Some(fingerprint) } else { other() };
        let Some(fingerprint) = fingerprint else {
            return;
        };
        let Some(absence) = self.state.absences.get_mut(&rule, &fingerprint) else {
            return;
        };
        absence.alert = None;
        self.state.absences.wait(&rule, &fingerprint, window, now);
        self.arm_absences();
    }

    pub(super) fn arm_absences(&mut self) {
        let due = self.state.absences.due.first().map(|(due, _, _)| *due);
        self.arm(Timer::Absences, due);
    }
}
