//! What keeps an alert from being told: an alert that explains it, a silence, its rule's hours, a
//! maintenance. In this order; what ends it lets the alert go through again, from the top.

use std::sync::Arc;

use super::Engine;
use super::alert::{Alert, AlertId, By, Quiet, State};
use super::decision::Verdict;
use crate::model::{Name, Timestamp};
use crate::rules::{DuringMute, Policy};

/// Whether an alert may be told now.
pub(super) enum Gate {
    Open,
    /// To the digests only.
    Digests,
    Shut(Quiet),
}

impl Engine {
    /// An alert is to be told: it joins its incident, or waits for what keeps it quiet to end.
    pub(super) fn release(&mut self, id: AlertId) {
        match self.gate(id) {
            Gate::Shut(quiet) => self.keep_quiet(id, quiet),
            gate => {
                self.index.held.remove(&id);
                let Some(alert) = self.state.alerts.get_mut(&id) else {
                    return;
                };
                alert.quiet = None;
                if let Some(incident) = alert.incident {
                    return self.say_later(id, incident);
                }
                alert.for_digests = matches!(gate, Gate::Digests);
                self.join(id);
            }
        }
    }

    /// What an alert of an incident has left to say waits for company again.
    fn say_later(&mut self, id: AlertId, incident: u64) {
        let now = self.state.now;
        if let Some(known) = self.state.incidents.get_mut(&incident) {
            known.change(now);
        }
        self.arm_alert(id);
        self.arm_incident(incident);
    }

    pub(super) fn keep_quiet(&mut self, id: AlertId, quiet: Quiet) {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        let lasting = alert.lasting;
        if quiet.by == By::Drop && !lasting {
            // Nothing of it lasts beyond the mute, not even its cooldown.
            return self.drop_alert(id, &Verdict::Muted { until: None });
        }
        let news = alert.quiet.as_ref() != Some(&quiet);
        alert.quiet = Some(quiet.clone());
        let rule = Arc::clone(&alert.rule);
        self.index.held.insert(id);
        self.arm_alert(id);
        if !news {
            return;
        }
        let until = quiet.until.map(|until| until.shifted(self.state.offset_ms));
        let verdict = match &quiet.by {
            By::Hold => Verdict::Holding {
                until: until.unwrap_or(self.state.now),
            },
            By::Source(source) => self.inhibited_by(id, *source),
            By::Silence(silence) => self.silenced_by(silence),
            By::Mute | By::Drop => Verdict::Muted { until },
            By::Maintenance(name) => Verdict::Maintenance {
                name: name.clone(),
                until: until.filter(|_| lasting),
            },
        };
        self.decide(&[id], None, Some(&rule), verdict);
        if let By::Maintenance(name) = quiet.by {
            self.hide(&name, id);
        }
    }

    /// Lets all alerts that are kept quiet try again.
    pub(super) fn recheck_held(&mut self, which: impl Fn(&By) -> bool) {
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

    /// Whether an alert, also one that is not followed, may be told now.
    pub(super) fn gate_of(&self, alert: &Alert) -> Gate {
        let shut = |by, until| Gate::Shut(Quiet { by, until });
        if let Some((source, until)) = self.explained_by(alert) {
            return shut(By::Source(source), until);
        }
        let policy = self.policy(&alert.rule);
        // What flaps opens again and again: what may explain it had since its first change to come.
        let began = alert
            .flap
            .as_ref()
            .filter(|_| alert.state == State::Flapping)
            .map_or(alert.opened(), |flap| flap.since);
        let held_until = began + self.hold(&alert.event);
        if held_until > self.state.now && alert.told_to.is_empty() {
            return shut(By::Hold, Some(held_until));
        }
        if let Some(silence) = self.silence_of(alert) {
            return shut(By::Silence(silence), None);
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
                By::Maintenance(window.name.clone()),
                end.map(|end| self.journal(end)),
            )
        })
    }

    /// What the rule's calendar makes of it.
    fn muted(&self, alert: &Alert, policy: &Policy) -> Option<Gate> {
        let wall = self.wall();
        let shut = |by, until| Some(Gate::Shut(Quiet { by, until }));
        if alert
            .quiet
            .as_ref()
            .is_some_and(|quiet| quiet.by == By::Drop)
        {
            return shut(By::Drop, None);
        }
        if !self.is_mute(policy, wall) {
            return None;
        }
        let digests = !self.rules.surroundings().digests.is_empty();
        match policy.during_mute {
            // Whoever was notified before the mute hears the rest when it is over.
            DuringMute::Digest if digests && (alert.told_to.is_empty() || alert.for_digests) => {
                Some(Gate::Digests)
            }
            DuringMute::Hold | DuringMute::Digest => shut(
                By::Mute,
                self.mute_ends(policy, wall).map(|end| self.journal(end)),
            ),
            DuringMute::Drop => shut(By::Drop, None),
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

    /// The first wall time after this one at which the rule is not mute; not further off than some
    /// dozen changes.
    fn mute_ends(&self, policy: &Policy, wall: Timestamp) -> Option<Timestamp> {
        let intervals = &self.rules.surroundings().time_intervals;
        let mut at = wall;
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

    /// A wall time as journal time.
    pub(super) fn journal(&self, wall: Timestamp) -> Timestamp {
        wall.shifted(self.state.offset_ms.saturating_neg())
    }

    /// Before an incident speaks: what something keeps quiet by now waits for the end of that. What
    /// was not told yet leaves the incident until then.
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
                // Its rule became mute after it joined.
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
                Gate::Shut(quiet) if quiet.by != By::Drop => self.keep_quiet(id, quiet),
                Gate::Shut(_) | Gate::Digests | Gate::Open => {}
            }
        }
    }

    /// Whether an alert that was told must not be spoken of now, unless it is over.
    pub(super) fn is_hushed(&self, id: AlertId) -> bool {
        matches!(self.gate(id), Gate::Shut(_))
    }

    /// Notes that timers which depend on the wall clock have moved.
    pub(super) fn clock_set(&mut self) {
        self.recheck_held(|by| matches!(by, By::Mute | By::Maintenance(_)));
        self.arm_silences();
        self.arm_calendar();
    }

    /// When a pending alert is past its `for`; later while its device is away on purpose.
    pub(super) fn pending_until(
        &self,
        alert: &Alert,
        since: Timestamp,
        policy: &Policy,
    ) -> Timestamp {
        let plain = since + policy.r#for;
        if self.is_planned(alert) {
            plain.max(since + super::clues::PLANNED)
        } else {
            plain
        }
    }

    /// An alert that was not told yet waits again, as if it had opened then.
    pub(super) fn pend(&mut self, id: AlertId, since: Timestamp) {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        alert.state = State::Pending { since };
        alert.quiet = None;
        let incident = alert.incident.take();
        self.index.held.remove(&id);
        self.leave(id, incident);
    }

    /// A pending alert lasted long enough.
    pub(super) fn mature(&mut self, id: AlertId, since: Timestamp) {
        let Some(alert) = self.state.alerts.get(&id) else {
            return;
        };
        let rule = Arc::clone(&alert.rule);
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
            alert.state = State::Firing;
        }
        self.decide(&[id], None, Some(&rule), Verdict::Firing);
        self.release(id);
    }
}
