//! Flapping: an alert that changes too often is reported once, and again when it is stable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::alert::{AlertId, AlertState, Flap};
use super::decision::Verdict;
use super::tell::Trigger;
use crate::model::{Event, Timestamp};
use crate::rules::Flapping;

/// Maximum number of changes remembered per alert. No rule needs more to detect flapping.
const MOST: usize = 1_000;

/// Recent changes of state, by rule and fingerprint; they outlive the alerts. The number is
/// bounded, and the oldest are dropped first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Changes {
    latest: BTreeMap<String, Vec<Timestamp>>,
    /// The keys by their last change; rebuilt from `latest` after a restart.
    #[serde(skip)]
    order: BTreeSet<(Timestamp, String)>,
}

impl Changes {
    /// Notes `n` changes now. Returns the number of changes within the window, and the first of
    /// them.
    fn note(
        &mut self,
        key: String,
        n: u64,
        now: Timestamp,
        flapping: &Flapping,
        limit: usize,
    ) -> (u64, Timestamp) {
        let times = self.latest.entry(key.clone()).or_default();
        if let Some(&last) = times.last() {
            self.order.remove(&(last, key.clone()));
        }
        times.retain(|time| now.since(*time) <= flapping.window);
        // The sender's own count may be huge; what it exceeds MOST by is still part of the result.
        let kept = usize::try_from(n).unwrap_or(MOST).min(MOST);
        times.extend(std::iter::repeat_n(now, kept));
        let excess = times
            .len()
            .saturating_sub(MOST.max(flapping.changes as usize));
        times.drain(..excess);
        let found = (
            n.max(times.len() as u64),
            times.first().copied().unwrap_or(now),
        );
        self.order.insert((now, key));
        while self.latest.len() > limit {
            match self.order.pop_first() {
                Some((_, oldest)) => self.latest.remove(&oldest),
                None => break,
            };
        }
        found
    }

    fn forget(&mut self, key: &str) {
        if let Some(times) = self.latest.remove(key)
            && let Some(&last) = times.last()
        {
            self.order.remove(&(last, key.to_owned()));
        }
    }

    /// Removes changes at or after `since`.
    fn take_back(&mut self, key: &str, since: Timestamp) {
        let Some(times) = self.latest.get_mut(key) else {
            return;
        };
        let Some(&last) = times.last() else { return };
        times.retain(|time| *time < since);
        // The key is sorted by its last change, which may have been removed.
        self.order.remove(&(last, key.to_owned()));
        match times.last() {
            Some(&last) => {
                self.order.insert((last, key.to_owned()));
            }
            None => {
                self.latest.remove(key);
            }
        }
    }

    pub(super) fn reindex(&mut self) {
        let last = |(key, times): (&String, &Vec<Timestamp>)| {
            times.last().map(|&last| (last, key.clone()))
        };
        self.order = self.latest.iter().filter_map(last).collect();
    }
}

impl Engine {
    /// Handles `n` changes of an alert between up and down. Returns whether it flaps, in which case
    /// the caller has nothing else to do.
    pub(super) fn changed(&mut self, id: AlertId, event: Option<&Event>, n: u64) -> bool {
        let now = self.state.now;
        // Becoming stale is no change of the device.
        let Some(alert) = self.state.alerts.get(&id).filter(|a| a.lasting && !a.stale) else {
            return false;
        };
        let rule = Arc::clone(&alert.rule);
        let Some(flapping) = self.policy(&rule).flapping else {
            return false;
        };
        let Some(alert) = self
            .state
            .alerts
            .get(&id)
            .filter(|alert| !self.is_absence(alert))
        else {
            return false;
        };
        if alert.state != AlertState::Flapping && (alert.explained || self.is_planned(alert)) {
            // The cause was another device or an upgrade.
            return false;
        }
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return false;
        };
        // It flaps already: each change only delays the time from which it counts as stable.
        if let (AlertState::Flapping, Some(flap)) = (alert.state, &mut alert.flap) {
            flap.changes += n;
            flap.last = now;
            let changes = flap.changes;
            self.decide(
                &[id],
                event,
                Some(&rule),
                Verdict::StillFlapping { changes },
            );
            // It may inhibit alerts that began just before this outage.
            self.relate(id);
            self.arm_alert(id);
            return true;
        }
        let key = format!("{rule}\u{1f}{}", alert.fingerprint);
        let (changes, since) = self
            .state
            .changes
            .note(key, n, now, &flapping, self.limits.closes);
        if changes < u64::from(flapping.changes) {
            return false;
        }
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return false;
        };
        let flap = Flap {
            changes,
            since,
            last: now,
            told: BTreeSet::new(),
        };
        alert.state = AlertState::Flapping;
        alert.flap = Some(flap);
        alert.stable = false;
        let incident = alert.incident;
        self.decide(
            &[id],
            event,
            Some(&rule),
            Verdict::Flapping {
                changes,
                within: now.since(since),
            },
        );
        // A flapping alert may inhibit others, like one that is down.
        self.relate(id);
        match incident.and_then(|incident| self.state.incidents.get_mut(&incident)) {
            // Its incident was sent before: the news waits for `group_wait` there. Otherwise it
            // joins an incident first.
            Some(known) => {
                known.change(now);
                self.arm_alert(id);
                incident
                    .into_iter()
                    .for_each(|incident| self.arm_incident(incident));
            }
            None => self.release(id),
        }
        true
    }

    /// Notes that another alert inhibits this one: its opening then does not count as a change.
    pub(super) fn explain(&mut self, id: AlertId) {
        let Some(alert) = self
            .state
            .alerts
            .get_mut(&id)
            .filter(|a| a.state != AlertState::Flapping)
        else {
            return;
        };
        // The cause was the other device, so a later outage must not be taken for flapping.
        alert.explained = true;
        let (key, opened) = (
            format!("{}\u{1f}{}", alert.rule, alert.fingerprint),
            alert.opened(),
        );
        self.state.changes.take_back(&key, opened);
    }

    /// Ends the flapping of an alert that has not changed for the rule's `stable` time.
    pub(super) fn calm(&mut self, id: AlertId) {
        let Some(alert) = self.state.alerts.get(&id) else {
            return;
        };
        let (rule, need) = (
            Arc::clone(&alert.rule),
            self.threshold(&alert.rule).map_or(1, |t| t.count as usize),
        );
        let up = alert.open_count() < need;
        // The count starts again, or the next change would make it flap at once.
        self.state
            .changes
            .forget(&format!("{rule}\u{1f}{}", alert.fingerprint));
        self.decide(&[id], None, Some(&rule), Verdict::Stable { up });
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        alert.state = AlertState::Firing;
        // Nobody was notified that it flaps, so its end is sent like any other.
        if alert.flap.as_ref().is_none_or(|flap| flap.told.is_empty()) {
            alert.flap = None;
            let incident = alert.incident;
            if up {
                self.finish(id);
            } else if let Some(incident) = incident {
                self.arm_alert(id);
                // Reminders go on; an alert that flaps has none.
                self.arm_incident(incident);
            } else {
                self.release(id);
            }
            return;
        }
        alert.stable = true;
        if up {
            self.finish(id);
        } else {
            let incident = alert.incident;
            self.arm_alert(id);
            incident
                .into_iter()
                .for_each(|incident| self.flush(incident, Trigger::Stable));
        }
    }
}
