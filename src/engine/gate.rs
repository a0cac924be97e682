//! Suppression of alerts, checked in this order: inhibition, silences, the intervals of the rule,
//! maintenances. When one ends, the alert is checked again from the top.

use std::sync::Arc;

use super::Engine;
use super::alert::{Alert, AlertId, AlertState, SuppressedBy, Suppression};
use super::decision::Verdict;
use crate::model::{Name, Timestamp};
use crate::rules::{DuringMute, Policy};

/// The result of the check.
pub(super) enum Gate {
    Open,
    /// Only digests receive it.
    Digests,
    Shut(Suppression),
}

impl Engine {
    /// Lets a firing alert join its incident, or suppresses it.
    pub(super) fn release(&mut self, id: AlertId) {
        match self.gate(id) {
            Gate::Shut(quiet) => self.keep_quiet(id, quiet),
            gate => {
                self.index.held.remove(&id);
                let Some(alert) = self.state.alerts.get_mut(&id) else {
                    return;
                };
                alert.quiet = None;
                // An alert that was suppressed after its incident was sent keeps its place there.
                if let Some(incident) = alert.incident {
                    return self.say_later(id, incident);
                }
                alert.for_digests = matches!(gate, Gate::Digests);
                self.join(id);
            }
        }
    }

    /// Schedules another message of the incident for this alert.
    fn say_later(&mut self, id: AlertId, incident: u64) {
        let now = self.state.now;
        if let Some(known) = self.state.incidents.get_mut(&incident) {
            known.change(now);
        }
        self.arm_alert(id);
        self.arm_incident(incident);
    }

    pub(super) fn keep_quiet(&mut self, id: AlertId, quiet: Suppression) {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        let lasting = alert.lasting;
        if quiet.by == SuppressedBy::Drop && !lasting {
            // Such an alert leaves nothing behind, not even its cooldown.
            return self.drop_alert(id, &Verdict::Muted { until: None });
        }
        let news = alert.quiet.as_ref() != Some(&quiet);
        alert.quiet = Some(quiet.clone());
        let rule = Arc::clone(&alert.rule);
        self.index.held.insert(id);
        self.arm_alert(id);
        // The decision is repeated only if the reason changed: alerts are checked often.
        if !news {
            return;
        }
        let until = quiet.until.map(|until| until.shifted(self.state.offset_ms));
        let verdict = match &quiet.by {
            SuppressedBy::Hold => Verdict::Holding {
                until: until.unwrap_or(self.state.now),
            },
            SuppressedBy::Source(source) => self.inhibited_by(id, *source),
            SuppressedBy::Silence(silence) => self.silenced_by(silence),
            SuppressedBy::Mute | SuppressedBy::Drop => Verdict::Muted { until },
            SuppressedBy::Maintenance(name) => Verdict::Maintenance {
                name: name.clone(),
                // An alert without an end stays suppressed for good, whenever the maintenance ends.
                until: until.filter(|_| lasting),
            },
        };
        self.decide(&[id], None, Some(&rule), verdict);
        if let SuppressedBy::Maintenance(name) = quiet.by {
            self.hide(&name, id);
        }
    }

    /// Checks suppressed alerts again.
    pub(super) fn recheck_held(&mut self, which: impl Fn(&SuppressedBy) -> bool) {
        // A released alert leaves the set, so the ids are copied first.
        let held: Vec<AlertId> = self.index.held.iter().copied().collect();
        for id in held {
            if self
                .state
                .alerts
                .get(&id)
                .and_then(|a| a.quiet.as_ref())
                .is_some_and(|q| which(&q.by))
            {
                self.release(id);
            }
        }
    }

    pub(super) fn gate(&self, id: AlertId) -> Gate {
        self.state
            .alerts
            .get(&id)
            .map_or(Gate::Open, |alert| self.gate_of(alert))
    }

    /// Checks an alert, which may be an untracked one.
    pub(super) fn gate_of(&self, alert: &Alert) -> Gate {
        let shut = |by, until| Gate::Shut(Suppression { by, until });
        // A topology says most about the cause, so inhibition comes first.
        if let Some((source, until)) = self.explained_by(alert) {
            return shut(SuppressedBy::Source(source), until);
        }
        let policy = self.policy(&alert.rule);
        // A flapping alert opens again and again. The hold counts from its first change, or it
        // would never end.
        let began = alert
            .flap
            .as_ref()
            .filter(|_| alert.state == AlertState::Flapping)
            .map_or(alert.opened(), |flap| flap.since);
        let held_until = began + self.hold(&alert.event);
        // After the first message a hold is pointless: people already know.
        if held_until > self.state.now && alert.told_to.is_empty() {
            return shut(SuppressedBy::Hold, Some(held_until));
        }
        if let Some(silence) = self.silence_of(alert) {
            return shut(SuppressedBy::Silence(silence), None);
        }
        if let Some(gate) = self.muted(alert, &policy) {
            return gate;
        }
        let wall = self.wall();
        let mut maintenance = self.rules.surroundings().maintenance.iter();
        let window =
            maintenance.find(|m| m.during.contains(wall) && m.matcher.matches(&alert.event));
        window.map_or(Gate::Open, |window| {
            let end = window.during.next_change(wall);
            shut(
                SuppressedBy::Maintenance(window.name.clone()),
                end.map(|end| self.journal(end)),
            )
        })
    }

    /// Checks the intervals of the rule.
    fn muted(&self, alert: &Alert, policy: &Policy) -> Option<Gate> {
        let wall = self.wall();
        let shut = |by, until| Some(Gate::Shut(Suppression { by, until }));
        // `drop` is final, even after the interval has ended.
        if alert
            .quiet
            .as_ref()
            .is_some_and(|quiet| quiet.by == SuppressedBy::Drop)
        {
            return shut(SuppressedBy::Drop, None);
        }
        if !self.is_mute(policy, wall) {
            return None;
        }
        let digests = !self.rules.surroundings().digests.is_empty();
        match policy.during_mute {
            // Destinations notified before the interval receive the rest afterwards.
            DuringMute::Digest if digests && (alert.told_to.is_empty() || alert.for_digests) => {
                Some(Gate::Digests)
            }
            DuringMute::Hold | DuringMute::Digest => shut(
                SuppressedBy::Mute,
                self.mute_ends(policy, wall).map(|end| self.journal(end)),
            ),
            DuringMute::Drop => shut(SuppressedBy::Drop, None),
        }
    }

    fn is_mute(&self, policy: &Policy, wall: Timestamp) -> bool {
        let intervals = &self.rules.surroundings().time_intervals;
        let inside = |name: &Name| {
            intervals
                .get(name)
                .is_some_and(|interval| interval.contains(wall))
        };
        policy.mute_time_intervals.iter().any(inside)
            || !policy.active_time_intervals.is_empty()
                && !policy.active_time_intervals.iter().any(inside)
    }

    /// Returns the next wall time at which the rule is not muted. The search stops after 64
    /// changes.
    fn mute_ends(&self, policy: &Policy, wall: Timestamp) -> Option<Timestamp> {
        let intervals = &self.rules.surroundings().time_intervals;
        let mut at = wall;
        // Intervals may overlap for ever; 64 changes bound the work, and the alert is checked again
        // then.
        for _ in 0..64 {
            let names = policy
                .mute_time_intervals
                .iter()
                .chain(&policy.active_time_intervals);
            at = names
                .filter_map(|name| intervals.get(name)?.next_change(at))
                .min()?;
            if !self.is_mute(policy, at) {
                return Some(at);
            }
        }
        Some(at)
    }

    /// Converts wall time to journal time.
    pub(super) fn journal(&self, wall: Timestamp) -> Timestamp {
        wall.shifted(self.state.offset_ms.saturating_neg())
    }

    /// Checks the alerts of an incident before a message: those suppressed meanwhile wait, and
    /// those not sent yet leave the incident.
    pub(super) fn withdraw(&mut self, incident: u64) {
        let Some(known) = self.state.incidents.get(&incident) else {
            return;
        };
        let for_digests = known.is_for_digests();
        let speaks = |a: &&Alert| a.is_alive() && known.is_owed(a);
        let alerts: Vec<AlertId> = known
            .alerts
            .iter()
            .copied()
            .filter(|id| self.state.alerts.get(id).as_ref().is_some_and(speaks))
            .collect();
        for id in alerts {
            let gate = self.gate(id);
            let Some(alert) = self.state.alerts.get_mut(&id) else {
                continue;
            };
            let untold = alert.told_to.is_empty() && !alert.settled;
            match gate {
                // The interval of its rule began after it had joined.
                Gate::Digests if untold && !for_digests => {
                    alert.incident = None;
                    self.leave(id, Some(incident));
                    self.release(id);
                }
                Gate::Shut(quiet) if untold => {
                    alert.incident = None;
                    self.leave(id, Some(incident));
                    self.keep_quiet(id, quiet);
                }
                Gate::Shut(quiet) if quiet.by != SuppressedBy::Drop => self.keep_quiet(id, quiet),
                Gate::Shut(_) | Gate::Digests | Gate::Open => {}
            }
        }
    }

    /// Returns whether an alert is suppressed now.
    pub(super) fn is_hushed(&self, id: AlertId) -> bool {
        matches!(self.gate(id), Gate::Shut(_))
    }

    /// Adjusts everything that depends on wall time.
    pub(super) fn clock_set(&mut self) {
        self.recheck_held(|by| matches!(by, SuppressedBy::Mute | SuppressedBy::Maintenance(_)));
        self.arm_silences();
        self.arm_calendar();
    }

    /// Returns the end of a pending alert's `for`, later if its device is down on purpose.
    pub(super) fn pending_until(
        &self,
        alert: &Alert,
        since: Timestamp,
        policy: &Policy,
    ) -> Timestamp {
        let plain = since + policy.r#for;
        if self.is_planned(alert) {
            // A long `for` already covers an upgrade.
            plain.max(since + super::clues::PLANNED)
        } else {
            plain
        }
    }

    /// Makes an unsent alert pending again, as if it had opened at `since`.
    pub(super) fn pend(&mut self, id: AlertId, since: Timestamp) {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        alert.state = AlertState::Pending { since };
        alert.quiet = None;
        let incident = alert.incident.take();
        self.index.held.remove(&id);
        self.leave(id, incident);
    }

    /// Fires a pending alert, unless its device turns out to be down on purpose.
    pub(super) fn mature(&mut self, id: AlertId, since: Timestamp) {
        let Some(alert) = self.state.alerts.get(&id) else {
            return;
        };
        let rule = Arc::clone(&alert.rule);
        // Events since the opening may have shown that the device is being upgraded.
        let until = self.pending_until(alert, since, &self.policy(&rule));
        if until > self.state.now {
            self.decide(
                &[id],
                None,
                Some(&rule),
                Verdict::Planned {
                    until: until.shifted(self.state.offset_ms),
                },
            );
            self.arm_alert(id);
            return;
        }
        if let Some(alert) = self.state.alerts.get_mut(&id) {
            alert.state = AlertState::Firing;
        }
        self.decide(&[id], None, Some(&rule), Verdict::Firing);
        self.release(id);
    }
}
