//! Reports for later: digests, sent at their time of day, and maintenances, reported when they are
//! over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alert::{Alert, AlertId};
use super::decision::Verdict;
use super::table::NameSet;
use super::{Engine, Timer};
use crate::model::{Collected, Insight, Name, Notification, Reason, Severity, Subject, Timestamp};

/// Maximum number of items in one digest; the others are counted.
const MAX_ITEMS: usize = 500;

/// The items of one future report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PendingReport {
    /// The destinations of the report.
    to: BTreeSet<Name>,
    /// Wall time at which the first item was added.
    since: Timestamp,
    /// Wall time of the report.
    due: Timestamp,
    /// Counters of events and of notified events at the beginning.
    total: u64,
    told: u64,
    more: u64,
    /// The items by incident, or by alert for a maintenance.
    items: Vec<(String, Notification)>,
}

/// The items collected for digests and for maintenances.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PendingReports {
    digests: BTreeMap<Name, PendingReport>,
    maintenance: BTreeMap<Name, PendingReport>,
}

impl PendingReports {
    pub(super) fn hides(&self) -> bool {
        !self.maintenance.is_empty()
    }

    /// Adds suppressed events to the incident's item in each digest. Returns whether the digests
    /// were the only destinations.
    pub(super) fn add_more(&mut self, incident: &str, more: u64, told: &NameSet) -> bool {
        let mut heard = Vec::new();
        for (name, collector) in &mut self.digests {
            if let Some((_, about)) = collector.items.iter_mut().find(|(key, _)| key == incident) {
                about.more_since = about.more_since.saturating_add(more);
                heard.push(name);
            }
        }
        told.iter().all(|name| heard.contains(&name))
    }
}

impl PendingReport {
    /// Adds an item or updates the existing one.
    fn add(&mut self, key: String, about: Notification) {
        // Reports never show the raw event, which may be large.
        let about = Notification {
            event: Value::Null,
            ..about
        };
        let room = self.items.len() < MAX_ITEMS;
        match self.items.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => {
                // The update may name fewer subjects than before: those that have recovered stay in
                // the report.
                let mut subjects = std::mem::take(&mut known.subjects);
                for subject in &about.subjects {
                    match subjects.iter_mut().find(|s| is_same(s, subject)) {
                        Some(old) => *old = subject.clone(),
                        None => subjects.push(subject.clone()),
                    }
                }
                let more_since = known.more_since.saturating_add(about.more_since);
                *known = Notification {
                    subjects,
                    more_since,
                    started: known.started.min(about.started),
                    ..about
                };
            }
            None if room => self.items.push((key, about)),
            None => self.more += 1,
        }
    }
}

fn is_same(a: &Subject, b: &Subject) -> bool {
    a.device_mac == b.device_mac
        && a.device == b.device
        && a.part == b.part
        && a.site_id == b.site_id
        && a.of == b.of
}

impl Engine {
    /// Moves a notification about `events` events into the digests among its destinations, and
    /// returns it for the others.
    pub(super) fn collect(
        &mut self,
        alerts: &[AlertId],
        mut about: Notification,
        events: u64,
    ) -> Option<Notification> {
        let rules = Arc::clone(&self.rules);
        let digests = &rules.surroundings().digests;
        let (collect, tell): (Vec<Name>, Vec<Name>) = std::mem::take(&mut about.to)
            .into_iter()
            .partition(|to| digests.iter().any(|d| d.name == *to));
        about.to = tell;
        let rule: Arc<str> = about.rule.as_str().into();
        for name in collect {
            let Some(schedule) = digests.iter().find(|d| d.name == name) else {
                continue;
            };
            let wall = self.wall();
            let Some(due) = schedule.at.next(wall) else {
                continue;
            };
            let mut fresh = self.collector(due, schedule.into.iter().cloned().collect());
            // The events of this item belong to the report, though they were counted before its
            // collector existed.
            fresh.total = fresh.total.saturating_sub(events);
            fresh.told = fresh.told.saturating_sub(events);
            let collector = self
                .state
                .collectors
                .digests
                .entry(name.clone())
                .or_insert(fresh);
            collector.add(about.incident.clone(), about.clone());
            self.decide(
                alerts,
                None,
                Some(&rule),
                Verdict::Collected {
                    into: name,
                    until: due,
                },
            );
        }
        // A new collector may be due before the others.
        self.arm_calendar();
        (!about.to.is_empty()).then_some(about)
    }

    fn collector(&self, due: Timestamp, to: BTreeSet<Name>) -> PendingReport {
        let fates = self.state.counters.fates();
        PendingReport {
            to,
            since: self.wall(),
            due,
            total: fates.total,
            told: fates.told,
            more: 0,
            items: Vec::new(),
        }
    }

    /// Adds an alert suppressed by a maintenance to the report of that maintenance.
    pub(super) fn hide(&mut self, name: &Name, id: AlertId) {
        let Some(alert) = self.state.alerts.get(&id) else {
            return;
        };
        let policy = self.policy(&alert.rule);
        let about = self.describe(alert);
        // The report goes to the destinations that the alert would have notified.
        let to = self
            .targets(&policy)
            .into_iter()
            .filter(|(_, least)| about.severity >= *least)
            .map(|(name, _)| name);
        let to: Vec<Name> = to.collect();
        let wall = self.wall();
        let window = self
            .rules
            .surroundings()
            .maintenance
            .iter()
            .find(|m| m.name == *name);
        let Some(due) = window.and_then(|m| m.during.next_change(wall)) else {
            return;
        };
        let mut fresh = self.collector(due, BTreeSet::new());
        // The events of the first alert were counted before the collector existed.
        fresh.total = fresh.total.saturating_sub(
            self.state
                .alerts
                .get(&id)
                .map(Alert::waits_with)
                .unwrap_or_default(),
        );
        let collector = self
            .state
            .collectors
            .maintenance
            .entry(name.clone())
            .or_insert(fresh);
        collector.to.extend(to);
        collector.add(format!("alert-{id}"), about);
        self.arm_calendar();
    }

    /// Updates the report of a maintenance after an alert that it suppressed has ended.
    pub(super) fn hidden_ended(&mut self, id: AlertId) {
        // Most ends are outside of a maintenance and need no description.
        if !self.state.collectors.hides() {
            return;
        }
        let key = format!("alert-{id}");
        let Some(about) = self.state.alerts.get(&id).map(|alert| self.describe(alert)) else {
            return;
        };
        for collector in self.state.collectors.maintenance.values_mut() {
            if collector.items.iter().any(|(known, _)| *known == key) {
                collector.add(key.clone(), about.clone());
            }
        }
    }

    /// Sends the reports that are due, each at its own time.
    pub(super) fn calendar_due(&mut self, maintenance: bool) {
        let wall = self.wall();
        let collectors = &mut self.state.collectors;
        let all = if maintenance {
            &mut collectors.maintenance
        } else {
            &mut collectors.digests
        };
        // Reports change the collectors, so the names are taken first.
        let due: Vec<Name> = all
            .iter()
            .filter(|(_, c)| c.due <= wall)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            let collectors = &mut self.state.collectors;
            let all = if maintenance {
                &mut collectors.maintenance
            } else {
                &mut collectors.digests
            };
            if let Some(collector) = all.remove(&name) {
                self.report(&name, collector, maintenance);
            }
        }
        self.arm_calendar();
    }

    pub(super) fn arm_calendar(&mut self) {
        let first = |all: &BTreeMap<Name, PendingReport>| all.values().map(|c| c.due).min();
        let digests = first(&self.state.collectors.digests).map(|due| self.journal(due));
        let maintenance = first(&self.state.collectors.maintenance).map(|due| self.journal(due));
        self.arm(Timer::Digests, digests);
        self.arm(Timer::Maintenance, maintenance);
    }

    /// Returns how many events were suppressed since the last message of an open incident. The
    /// counts restart if the digest is the only destination.
    fn silent_since(&mut self, incident: &str, digest: &Name) -> u64 {
        let Some(incident) = self
            .state
            .incidents
            .values()
            .find(|known| known.key == incident)
        else {
            return 0;
        };
        let mut more = 0;
        // Alerts that have not been sent report their count with their own message.
        for id in &incident.alerts {
            if let Some(alert) = self
                .state
                .alerts
                .get_mut(id)
                .filter(|a| a.settled && a.told_to.contains(digest))
            {
                more += alert.more_since;
                // Another destination has not heard of these events yet, so they stay counted for
                // it.
                if alert.told_to.iter().all(|told| told == digest) {
                    alert.more_since = 0;
                }
            }
        }
        more
    }

    fn report(&mut self, name: &Name, collector: PendingReport, maintenance: bool) {
        let digests = &self.rules.surroundings().digests;
        let schedule = digests
            .iter()
            .find(|digest| !maintenance && digest.name == *name);
        // The rules in force decide. A removed digest keeps its former destinations.
        let to: Vec<Name> = match schedule {
            Some(schedule) => schedule.into.clone(),
            None => collector.to.into_iter().collect(),
        };
        let there: Vec<Name> = to.iter().filter(|to| self.is_there(to)).cloned().collect();
        // Messages to removed destinations become dead letters, so that nothing is lost silently.
        let to = if there.is_empty() { to } else { there };
        let mut items: Vec<Notification> = Vec::new();
        for (key, about) in collector.items {
            let more_since = about
                .more_since
                .saturating_add(self.silent_since(&key, name));
            items.push(Notification {
                more_since,
                ..about
            });
        }
        // A collector without items has nothing to report.
        let Some(first) = items.first() else { return };
        let fates = self.state.counters.fates();
        let events = fates.total.saturating_sub(collector.total);
        let told = fates.told.saturating_sub(collector.told);
        // The name is derived from data in the journal, so that a refold makes the same message.
        let incident = super::tell::short(
            &[
                name.as_str().as_bytes(),
                &collector.since.millis().to_le_bytes(),
            ],
            10,
        );
        let about = Notification {
            id: super::tell::short(&[incident.as_bytes(), b"digest"], 6),
            at: self.wall(),
            to,
            source: first.source.clone(),
            rule: name.to_string(),
            template: None,
            reason: Reason::Digest,
            incident,
            severity: items
                .iter()
                .map(|item| item.severity)
                .max()
                .unwrap_or(Severity::Info),
            topic: String::new(),
            kind: String::new(),
            condition: None,
            group: Vec::new(),
            subjects: items
                .iter()
                .flat_map(|item| item.subjects.clone())
                .collect(),
            firing: items
                .iter()
                .flat_map(|i| &i.subjects)
                .filter(|s| s.ends_at.is_none())
                .count() as u64,
            more: collector.more,
            more_since: 0,
            started: items
                .iter()
                .map(|item| item.started)
                .min()
                .unwrap_or(collector.since),
            duration_ms: None,
            why: None,
            detail: None,
            event: Value::Null,
            insight: Insight::default(),
            collected: Some(Box::new(Collected {
                maintenance,
                since: collector.since,
                events,
                quiet: events.saturating_sub(told),
                more: collector.more,
                items,
            })),
        };
        if about.to.is_empty() {
            return self.decide(&[], None, None, Verdict::NobodyToTell);
        }
        self.decide(&[], None, None, Verdict::Notify(Box::new(about)));
    }
}
