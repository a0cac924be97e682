//! Closes of conditions, and openings that arrive after their close.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::alert::{AlertId, AlertState, Member};
use super::decision::Verdict;
use super::open::subject_key;
use super::outcomes::Effects;
use crate::model::{Condition, Event, Timestamp};
use crate::rules::{Resolve, Rule};

/// The last close of each condition, to recognise an opening that arrives late. The number is
/// bounded; the oldest are dropped first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Closes {
    latest: BTreeMap<Arc<str>, Timestamp>,
    /// The same by time; rebuilt from `latest` after a restart.
    #[serde(skip)]
    order: BTreeSet<(Timestamp, Arc<str>)>,
}

impl Closes {
    pub(super) fn note(&mut self, key: &str, time: Timestamp, limit: usize) {
        let known = self
            .latest
            .get_key_value(key)
            .map(|(key, known)| (*known, Arc::clone(key)));
        // A late close must not replace a newer one.
        let key = match known {
            Some((known, _)) if known >= time => return,
            Some(known) => {
                self.order.remove(&known);
                known.1
            }
            None => Arc::from(key),
        };
        self.order.insert((time, Arc::clone(&key)));
        self.latest.insert(key, time);
        while self.latest.len() > limit {
            match self.order.pop_first() {
                Some((_, oldest)) => self.latest.remove(&oldest),
                None => break,
            };
        }
    }

    /// Rebuilds the order after a restart.
    pub(super) fn reindex(&mut self) {
        self.order = self
            .latest
            .iter()
            .map(|(key, time)| (*time, Arc::clone(key)))
            .collect();
    }

    /// Returns the time of the last close.
    pub(super) fn last(&self, key: &str) -> Option<Timestamp> {
        self.latest.get(key).copied()
    }

    pub(super) fn after(&self, key: &str, time: Timestamp) -> bool {
        self.latest
            .get(key)
            .is_some_and(|closed| closed.whole() > time.whole())
    }
}

impl Engine {
    /// Returns whether the condition has ended since this event, by the sender's clock.
    pub(super) fn overtaken(&self, event: &Event, condition: &Condition) -> bool {
        let key = subject_key(event, condition);
        let part = || {
            condition
                .sub_id
                .as_ref()
                .map(|part| format!("{key}|{}", part.to_lowercase()))
        };
        self.closed_after(&key, event) || part().is_some_and(|key| self.closed_after(&key, event))
    }

    /// Returns whether the key was closed after the time of a late event.
    pub(super) fn closed_after(&self, key: &str, event: &Event) -> bool {
        is_late(event) && self.state.closes.after(key, event.time)
    }

    /// Closes what a condition opened, in every rule, even if the closing event does not match the
    /// rule.
    pub(super) fn close(
        &mut self,
        event: &Arc<Event>,
        condition: &Condition,
        effects: &mut Effects,
    ) {
        // Members are found by device; a part such as a port narrows them, and its close is
        // remembered apart.
        let key = subject_key(event, condition);
        let closed = match &condition.sub_id {
            Some(part) => format!("{key}|{}", part.to_lowercase()),
            None => key.clone(),
        };
        self.state
            .closes
            .note(&closed, event.time, self.limits.closes);
        let mut found = false;
        for id in self.index.by_key.get(&key).cloned().unwrap_or_default() {
            let ends =
                |alert: &&super::alert::Alert| alert.lasting && self.ends_with_condition(alert);
            if self.state.alerts.get(&id).filter(ends).is_some() {
                found |= self.close_members(id, event, effects, |m| {
                    m.key == key && m.is_part(condition.sub_id.as_ref())
                });
            }
        }
        for id in self.known_as(&key, None) {
            found |= self.close_alias(id, event, effects, condition.sub_id.as_ref());
        }
        // An end without an alert counts as suppressed only if a rule could have opened one; else
        // it is unmatched.
        if !found && self.watched(&condition.name) {
            effects.suppressed = effects.suppressed.or(Verdict::NothingOpen.suppression());
        }
    }

    /// Returns whether any rule matches openings of a condition.
    fn watched(&mut self, condition: &Arc<str>) -> bool {
        if let Some(&known) = self.watched.get(condition) {
            return known;
        }
        let rules = Arc::clone(&self.rules);
        let watched = rules
            .rules()
            .iter()
            .any(|rule| self.looks_for(rule, condition));
        self.watched.insert(Arc::clone(condition), watched);
        watched
    }

    /// Closes the alert with equal `by` fields if the event matches the rule's own `resolve`.
    pub(super) fn resolve_by_match(
        &mut self,
        position: usize,
        event: &Arc<Event>,
        effects: &mut Effects,
    ) {
        let Some(rule) = self.rules.rules().get(position).cloned() else {
            return;
        };
        let Resolve::When(matcher) = &rule.resolve else {
            return;
        };
        if !matcher.matches(event) {
            return;
        }
        // The rule in force finds its alerts by its own name.
        self.resolve_in(&Arc::clone(&rule.name), &rule, event, effects);
    }

    /// Closes the alert that an event resolves by the rule's own `resolve`; `place` is the index
    /// entry under which the alert is found.
    pub(super) fn resolve_in(
        &mut self,
        place: &Arc<str>,
        rule: &Arc<Rule>,
        event: &Arc<Event>,
        effects: &mut Effects,
    ) {
        let fingerprint = self.fingerprint(rule, event);
        let key = self.own_key(rule, event);
        self.state.closes.note(&key, event.time, self.limits.closes);
        // Within a threshold of several devices, the event resolves only its own device.
        let one = rule.threshold.is_some() && event.device.is_some();
        let known = (Arc::clone(place), fingerprint);
        let known = self.index.by_fingerprint.get(&known).copied();
        // Only the rule in force has aliases. An earlier version finds its alerts by its own name.
        let aliases = if *place == rule.name {
            self.known_as(&key, Some(&rule.name))
        } else {
            Vec::new()
        };
        if known.is_none() && aliases.is_empty() {
            effects.suppressed = effects.suppressed.or(Verdict::NothingOpen.suppression());
        }
        if let Some(id) = known {
            self.close_members(id, event, effects, |member| !one || member.key == key);
        }
        for id in aliases {
            self.close_alias(id, event, effects, None);
        }
    }

    /// Counts an event about an alert as notified, unless all destinations that know of the alert
    /// were removed.
    pub(super) fn heard_again(&self, id: AlertId, effects: &mut Effects) {
        let alert = self.state.alerts.get(&id);
        match alert.filter(|alert| self.is_heard(alert)) {
            Some(alert) => effects.notified_by(&alert.rule),
            None => {
                effects.suppressed = effects.suppressed.or(Verdict::NobodyToTell.suppression());
            }
        }
    }

    /// Closes the open members that an event ends, and then the alert if nothing of it is left.
    pub(super) fn close_members(
        &mut self,
        id: AlertId,
        event: &Arc<Event>,
        effects: &mut Effects,
        ends: impl Fn(&Member) -> bool,
    ) -> bool {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return false;
        };
        let rule = Arc::clone(&alert.rule);
        let told = !alert.told_to.is_empty();
        let (mut closed, mut overtaken) = (0, false);
        // Clocks of senders differ: an end never lies before its beginning.
        for member in alert.members.iter_mut().filter(|m| m.is_open() && ends(m)) {
            if is_late(event) && event.time.whole() < member.last_opened() {
                overtaken = true;
            } else {
                member.ends_at = Some(event.time.max(member.starts_at));
                member.heard(event, false);
                closed += 1;
            }
        }
        // Nothing closed: the only news may be that the event is older than the opening.
        if closed == 0 {
            if overtaken {
                effects.suppressed = effects.suppressed.or(Verdict::Overtaken.suppression());
                self.decide(&[id], Some(event), Some(&rule), Verdict::Overtaken);
            }
            return overtaken;
        }
        alert.last_event = self.state.now;
        let incident = alert.incident;
        // Whoever was notified of the outage hears of its end. Otherwise the reason for the silence
        // so far is the outcome of this event, too.
        if told {
            self.heard_again(id, effects);
        } else {
            let kept_quiet = alert.quiet.as_ref().map(|quiet| quiet.by.suppression());
            effects.suppressed = effects
                .suppressed
                .or(kept_quiet)
                .or_else(|| alert.settled.then_some("nobody_to_tell"))
                .or(Verdict::EndedUntold.suppression());
        }
        // Indirect evidence of the end says nothing about the condition, so it makes no sample.
        let says_so = self
            .state
            .alerts
            .get(&id)
            .is_some_and(|alert| alert.evidence.is_none());
        if let Some(incident) = incident
            .filter(|_| says_so)
            .and_then(|id| self.state.incidents.get_mut(&id))
        {
            incident.sample = super::incident::Sample::of(event);
            incident.sample_of = Some(id);
        }
        let need = self.threshold(&rule).map_or(1, |t| t.count as usize);
        let Some(alert) = self.state.alerts.get(&id) else {
            return true;
        };
        // A threshold that was never reached ends only when nothing is left of it.
        let over = alert.open_count() < need
            && (alert.state != AlertState::Collecting || alert.open_count() == 0);
        let was_open = alert.open_count() + closed >= need;
        let state = alert.state;
        // The change may make it flap. Then `changed` has taken care of it.
        if over && was_open && state != AlertState::Collecting && self.changed(id, Some(event), 1) {
            if !told {
                effects.waits_with.push(id);
            }
        } else if over && state == AlertState::Flapping && !was_open {
            // A member of a threshold ends while too few are open anyway: the message follows when
            // it is stable.
            if !told {
                effects.waits_with.push(id);
            }
            self.arm_alert(id);
        } else if over {
            self.end_alert(id, Some(event));
        } else {
            self.arm_alert(id);
        }
        true
    }
}

/// Returns whether the sender dates an event before the second of its arrival. Only then do times
/// decide the order; otherwise arrival does, because our clock may have been set back.
fn is_late(event: &Event) -> bool {
    event.time.whole() < event.received.whole()
}
