//! What is told later, together: by digests, at their time of day; and by maintenances, when they
//! are over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alert::{Alert, AlertId};
use super::decision::Verdict;
use super::table::Names;
use super::{Engine, Timer};
use crate::model::{Collected, Insight, Name, Notification, Reason, Severity, Subject, Timestamp};

/// How many items one digest keeps; what is beyond is counted.
const MAX_ITEMS: usize = 500;

/// What waits to be told together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Collector {
    /// Whom to tell.
    to: BTreeSet<Name>,
    /// Wall time of the first of them.
    since: Timestamp,
    /// Wall time at which it is told.
    due: Timestamp,
    /// How many events had come and had been told by then.
    total: u64,
    told: u64,
    more: u64,
    /// By incident, or by alert where a maintenance hid it.
    items: Vec<(String, Notification)>,
}

/// The digests' and the maintenances' collectors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Collectors {
    digests: BTreeMap<Name, Collector>,
    maintenance: BTreeMap<Name, Collector>,
}

impl Collectors {
    pub(super) fn hides(&self) -> bool {
        !self.maintenance.is_empty()
    }

    /// What came silently and belongs to an incident that digests are to tell of; whether nobody
    /// else is to hear of it.
    pub(super) fn add_more(&mut self, incident: &str, more: u64, told: &Names) -> bool {
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

impl Collector {
    /// Adds an item, or brings what is known of it up to date.
    fn add(&mut self, key: String, about: Notification) {
        let about = Notification {
            event: Value::Null,
            ..about
        };
        let room = self.items.len() < MAX_ITEMS;
        match self.items.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => {
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
    /// Takes from a notification of so many events those destinations that collect, and lets them.
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
        self.arm_calendar();
        (!about.to.is_empty()).then_some(about)
    }

    fn collector(&self, due: Timestamp, to: BTreeSet<Name>) -> Collector {
        let fates = self.state.counters.fates();
        Collector {
            to,
            since: self.wall(),
            due,
            total: fates.total,
            told: fates.told,
            more: 0,
            items: Vec::new(),
        }
    }

    /// A maintenance hides an alert: its report names it.
    pub(super) fn hide(&mut self, name: &Name, id: AlertId) {
        let Some(alert) = self.state.alerts.get(&id) else {
            return;
        };
        let policy = self.policy(&alert.rule);
        let about = self.describe(alert);
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

    /// An alert that a maintenance hid is over: its report says so.
    pub(super) fn hidden_ended(&mut self, id: AlertId) {
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

    /// Whatever is due by the calendar is told, each at its own time.
    pub(super) fn calendar_due(&mut self, maintenance: bool) {
        let wall = self.wall();
        let collectors = &mut self.state.collectors;
        let all = if maintenance {
            &mut collectors.maintenance
        } else {
            &mut collectors.digests
        };
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
        let first = |all: &BTreeMap<Name, Collector>| all.values().map(|c| c.due).min();
        let digests = first(&self.state.collectors.digests).map(|due| self.journal(due));
        let maintenance = first(&self.state.collectors.maintenance).map(|due| self.journal(due));
        self.arm(Timer::Digests, digests);
        self.arm(Timer::Maintenance, maintenance);
    }

    /// How much came silently since an incident was told that lasts: a digest says so, and whoever
    /// hears of it otherwise.
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
        for id in &incident.alerts {
            if let Some(alert) = self
                .state
                .alerts
                .get_mut(id)
                .filter(|a| a.settled && a.told_to.contains(digest))
            {
                more += alert.more_since;
                if alert.told_to.iter().all(|told| told == digest) {
                    alert.more_since = 0;
                }
            }
        }
        more
    }

    fn report(&mut self, name: &Name, collector: Collector, maintenance: bool) {
        let digests = &self.rules.surroundings().digests;
        let schedule = digests
            .iter()
            .find(|digest| !maintenance && digest.name == *name);
        // Where the rules in force say; of a digest that is gone, where it went until then.
        let to: Vec<Name> = match schedule {
            Some(schedule) => schedule.into.clone(),
            None => collector.to.into_iter().collect(),
        };
        let there: Vec<Name> = to.iter().filter(|to| self.is_there(to)).cloned().collect();
        // What nobody can be told any more becomes dead letters: it does not vanish.
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
        let Some(first) = items.first() else { return };
        let fates = self.state.counters.fates();
        let events = fates.total.saturating_sub(collector.total);
        let told = fates.told.saturating_sub(collector.told);
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
