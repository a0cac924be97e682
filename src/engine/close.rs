//! What ends a condition, and what came too late to begin one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::alert::{AlertId, Member, State};
use super::decision::Verdict;
use super::open::subject_key;
use super::outcomes::Effects;
use crate::model::{Condition, Event, Timestamp};
use crate::rules::{Resolve, Rule};

/// The last close of each condition, to know an opening that was overtaken. Bounded: the oldest go
/// first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Closes {
    latest: BTreeMap<Arc<str>, Timestamp>,
    /// The same by time; made anew from `latest` after a restart.
    #[serde(skip)]
    order: BTreeSet<(Timestamp, Arc<str>)>,
}

impl Closes {
    pub(super) fn note(&mut self, key: &str, time: Timestamp, limit: usize) {
        let known = self
            .latest
            .get_key_value(key)
            .map(|(key, known)| (*known, Arc::clone(key)));
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

    /// Finds the order again after a restart.
    pub(super) fn reindex(&mut self) {
        self.order = self
            .latest
            .iter()
            .map(|(key, time)| (*time, Arc::clone(key)))
            .collect();
    }

    /// When it closed last.
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
    /// The condition ended since, by the sender's own clock.
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

    /// Whether what this opens was closed later than it.
    pub(super) fn closed_after(&self, key: &str, event: &Event) -> bool {
        is_late(event) && self.state.closes.after(key, event.time)
    }

    /// A condition ends: closes what it opened, in every rule, whether or not the closing event
    /// matches the rule.
    pub(super) fn close(
        &mut self,
        event: &Arc<Event>,
        condition: &Condition,
        effects: &mut Effects,
    ) {
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
        if !found && self.watched(&condition.name) {
            effects.suppressed = effects.suppressed.or(Verdict::NothingOpen.suppression());
        }
    }

    /// Whether any rule looks for openings of a condition.
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

    /// An event that a rule's own `resolve` looks for: closes the alert with equal `by` fields.
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
        self.resolve_in(&Arc::clone(&rule.name), &rule, event, effects);
    }

    /// An event that a rule's own `resolve` looks for closes what it opened; `place` is where that
    /// is found.
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
        // Of several that are counted together, only the event's own device is well again.
        let one = rule.threshold.is_some() && event.device.is_some();
        let known = (Arc::clone(place), fingerprint);
        let known = self.index.by_fingerprint.get(&known).copied();
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

    /// An event about an alert that was told counts as told with it, unless all who know of it are
    /// gone.
    pub(super) fn heard_again(&self, id: AlertId, effects: &mut Effects) {
        let alert = self.state.alerts.get(&id);
        match alert.filter(|alert| self.is_heard(alert)) {
            Some(alert) => effects.notified_by(&alert.rule),
            None => {
                effects.suppressed = effects.suppressed.or(Verdict::NobodyToTell.suppression());
            }
        }
    }

    /// Closes those open members of an alert that the event ends; then the alert, if that ends it.
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
        for member in alert.members.iter_mut().filter(|m| m.is_open() && ends(m)) {
            if is_late(event) && event.time.whole() < member.last_opened() {
                overtaken = true;
            } else {
                member.ends_at = Some(event.time.max(member.starts_at));
                member.heard(event, false);
                closed += 1;
            }
        }
        if closed == 0 {
            if overtaken {
                effects.suppressed = effects.suppressed.or(Verdict::Overtaken.suppression());
                self.decide(&[id], Some(event), Some(&rule), Verdict::Overtaken);
            }
            return overtaken;
        }
        alert.last_event = self.state.now;
        let incident = alert.incident;
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
        // What shows that it is over by the way says nothing of what it is.
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
        let over = alert.open_count() < need
            && (alert.state != State::Collecting || alert.open_count() == 0);
        let was_open = alert.open_count() + closed >= need;
        let state = alert.state;
        if over && was_open && state != State::Collecting && self.changed(id, Some(event), 1) {
            if !told {
                effects.waits_with.push(id);
            }
        } else if over && state == State::Flapping && !was_open {
            // A threshold's member ends while too few are open anyway: it is told how it stands
            // when it is calm.
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

/// Whether its sender says that it happened before the second in which it came. Else it happened
/// now, in the order in which it came: our clock may have been set back meanwhile, so that times
/// are no order.
fn is_late(event: &Event) -> bool {
    event.time.whole() < event.received.whole()
}
