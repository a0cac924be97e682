//! Timers: what is due, and when.

use std::sync::Arc;
use std::time::Duration;

use super::alert::{Alert, AlertId, AlertState, SuppressedBy};
use super::{Engine, Reaction};
use crate::model::Timestamp;

/// The owner of a timer. Timers due at the same time fire in this order: alerts before incidents,
/// so that a message includes all alerts that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Silences,
    Absences,
    Alert(AlertId),
    Incident(u64),
    Maintenance,
    Digests,
    PassedOn,
}

impl Engine {
    /// Fires all timers due at `at`. Timers that an input makes due at once fire with it, so an
    /// extra tick at the same time changes nothing.
    pub(super) fn fire_timers(&mut self, at: Timestamp) {
        self.fire_some(at, usize::MAX);
    }

    /// Fires at most `most` timers that are due, and returns whether none is left.
    pub(super) fn fire_some(&mut self, at: Timestamp, most: usize) -> bool {
        for _ in 0..most {
            match self.index.timers.first() {
                // Firing one timer may arm another that is due earlier than the rest: the set is
                // read anew each time.
                Some(&(due, timer)) if due <= at => {
                    self.index.timers.pop_first();
                    self.state.now = self.state.now.max(due);
                    self.timer_due(timer);
                }
                _ => return true,
            }
        }
        false
    }

    fn timer_due(&mut self, timer: Timer) {
        self.index.single.remove(&timer);
        match timer {
            Timer::Silences => self.silences_due(),
            Timer::Absences => self.absences_due(),
            Timer::Alert(id) => self.alert_due(id),
            Timer::Incident(id) => self.incident_due(id),
            Timer::Maintenance => self.calendar_due(true),
            Timer::Digests => self.calendar_due(false),
            Timer::PassedOn => self.passed_on_due(false),
        }
    }

    /// Returns the journal time of the next timer, if there is one.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.index.timers.first().map(|&(due, _)| due)
    }

    /// Returns the first timer of something pending or suppressed. Reminders and staleness do not
    /// count.
    pub(super) fn first_pending(&self) -> Option<(Timestamp, Timer)> {
        let waits = |a: &Alert| match a.state {
            AlertState::Pending { .. } | AlertState::Closing { .. } | AlertState::Flapping => true,
            _ => a.quiet.as_ref().is_some_and(|quiet| quiet.until.is_some()),
        };
        let silenced = || {
            let by_silence = |id: &AlertId| {
                self.state
                    .alerts
                    .get(id)
                    .and_then(|a| a.quiet.as_ref())
                    .map(|q| &q.by)
            };
            self.index
                .held
                .iter()
                .any(|id| matches!(by_silence(id), Some(SuppressedBy::Silence(_))))
        };
        let counts = |timer: &Timer| match timer {
            Timer::Alert(id) => self.state.alerts.get(id).is_some_and(waits),
            Timer::Incident(id) => self
                .state
                .incidents
                .get(id)
                .is_some_and(|i| i.changed.is_some()),
            Timer::Silences => silenced(),
            Timer::Maintenance | Timer::PassedOn => true,
            Timer::Absences | Timer::Digests => false,
        };
        let timers = || self.index.timers.iter();
        let first = timers().find(|(_, timer)| counts(timer))?;
        // The end of a silence on the way there still takes place, though nothing waits for it yet.
        let silences = timers().find(|(_, timer)| *timer == Timer::Silences);
        silences.into_iter().chain([first]).min().copied()
    }

    /// Advances time until nothing is pending or suppressed: `replay` does so after the last line.
    pub fn wind_down(&mut self) -> Reaction {
        while let Some((due, timer)) = self.first_pending() {
            self.index.timers.remove(&(due, timer));
            self.state.now = self.state.now.max(due);
            self.timer_due(timer);
        }
        self.react()
    }

    /// Advances time until every digest is sent. A comparison of rules does so after the last line;
    /// otherwise one side would miss items that the other has sent.
    pub fn tell_digests(&mut self) -> Reaction {
        while let Some(&(due, timer)) = self
            .index
            .timers
            .iter()
            .find(|(_, timer)| *timer == Timer::Digests)
        {
            // The timer leaves the set by hand, since `fire_some` would fire others, too.
            self.index.timers.remove(&(due, timer));
            self.state.now = self.state.now.max(due);
            self.timer_due(timer);
        }
        self.react()
    }

    pub(super) fn arm_all(&mut self) {
        let alerts: Vec<AlertId> = self.state.alerts.keys().copied().collect();
        let incidents: Vec<u64> = self.state.incidents.keys().copied().collect();
        alerts.into_iter().for_each(|id| self.arm_alert(id));
        incidents.into_iter().for_each(|id| self.arm_incident(id));
    }

    /// Sets an alert's timer by its state.
    pub(super) fn arm_alert(&mut self, id: AlertId) {
        let Some(rule) = self.state.alerts.get(&id).map(|a| Arc::clone(&a.rule)) else {
            return;
        };
        let policy = self.policy(&rule);
        let window = self.threshold(&rule).map(|t| t.window);
        let Some(alert) = self.state.alerts.get(&id) else {
            return;
        };
        let stale = policy.stale_after.map(|after| alert.last_event + after);
        let quiet = alert.quiet.as_ref().map(|quiet| quiet.until);
        let due = match alert.state {
            // One millisecond later even the newest member is outside the window.
            AlertState::Collecting => {
                let newest = alert.members.iter().map(|m| m.opened).max();
                newest
                    .zip(window)
                    .map(|(opened, window)| opened + window + Duration::from_millis(1))
            }
            // Both ends are possible: it fires, or it becomes stale before.
            AlertState::Pending { since } => Some(self.pending_until(alert, since, &policy))
                .into_iter()
                .chain(stale)
                .min(),
            AlertState::Firing if !alert.lasting => match quiet {
                Some(Some(until)) => Some(until),
                // Suppressed without a known end, it lasts as long as its cooldown.
                Some(None) => Some(alert.last_event + policy.cooldown),
                None => alert.settled.then(|| alert.cooled_at(&policy)),
            },
            AlertState::Firing => stale.into_iter().chain(quiet.flatten()).min(),
            AlertState::Flapping => {
                let calm = alert.flap.as_ref().map(|flap| flap.calm_at(&policy));
                calm.or(stale).into_iter().chain(quiet.flatten()).min()
            }
            AlertState::Closing { until } => Some(until),
            AlertState::Ended => None,
        };
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        // Arming an unchanged timer is frequent and must be cheap.
        if alert.timer != due {
            if let Some(old) = alert.timer {
                self.index.timers.remove(&(old, Timer::Alert(id)));
            }
            alert.timer = due;
        }
        if let Some(due) = due {
            self.index.timers.insert((due, Timer::Alert(id)));
        }
    }

    /// Sets an incident's timer to its next message.
    pub(super) fn arm_incident(&mut self, id: u64) {
        let Some(rule) = self.state.incidents.get(&id).map(|i| Arc::clone(&i.rule)) else {
            return;
        };
        let policy = self.policy(&rule);
        // Looking for something to remind of takes time, so the policy is asked first.
        let reminds = policy.repeat_interval.is_some() && self.reminds(id);
        let Some(incident) = self.state.incidents.get_mut(&id) else {
            return;
        };
        let due = incident.deadline(&policy, reminds);
        if incident.timer != due {
            if let Some(old) = incident.timer {
                self.index.timers.remove(&(old, Timer::Incident(id)));
            }
            incident.timer = due;
        }
        if let Some(due) = due {
            self.index.timers.insert((due, Timer::Incident(id)));
        }
    }

    /// Sets a timer that exists only once.
    pub(super) fn arm(&mut self, timer: Timer, due: Option<Timestamp>) {
        let known = self.index.single.get(&timer).copied();
        if known == due {
            return;
        }
        if let Some(known) = known {
            self.index.timers.remove(&(known, timer));
            self.index.single.remove(&timer);
        }
        if let Some(due) = due {
            self.index.timers.insert((due, timer));
            self.index.single.insert(timer, due);
        }
    }
}
