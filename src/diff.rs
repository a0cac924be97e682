//! Comparison of two sets of rules on the same traffic: the number of messages, and the outages
//! that only one of them reports. The module is pure: it compares notifications.
//!
//! The comparison is about what people were notified of, not how. An outage counts as reported by
//! both if any rule of the other side reports the same condition (or type) of the same device at
//! that time, whatever the name of the rule.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::model::{Notification, Reason, Severity, Subject, Timestamp};

mod print;

pub(crate) use print::{brief, day_and_time, name, worst_first};
pub use print::{headline, json, last, text};

/// For events without an end, maximum time that the other side may be earlier …
const BEFORE: Duration = Duration::from_secs(24 * 3_600);
/// … or later.
const AFTER: Duration = Duration::from_secs(3_600);

/// Something that people were notified of: a device that was down, a radar event.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Condition, or else Mist's type.
    pub what: String,
    /// The first rule that notified.
    pub rule: String,
    /// The subject, with its times by the sender's clock.
    pub subject: Subject,
    /// Severity in the message.
    pub severity: Severity,
    /// Time of the first notification.
    pub at: Timestamp,
    /// True if it can end.
    pub lasting: bool,
    /// The incident.
    incident: String,
    /// True if it was only listed as behind the subject of a message.
    behind: bool,
}

/// Something that both sides report, one of them later.
#[derive(Clone, Debug, PartialEq)]
pub struct MovedReport {
    /// The report of the first side.
    pub told: Report,
    /// Time of the report of the other side.
    pub other: Timestamp,
}

impl MovedReport {
    /// Returns the difference of the times.
    #[must_use]
    pub fn by(&self) -> Duration {
        self.other
            .since(self.told.at)
            .max(self.told.at.since(self.other))
    }
}

/// Numbers of messages of a rule on each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMessages {
    /// Its name.
    pub rule: String,
    /// Number of messages by the first rules.
    pub before: u64,
    /// Number of messages by the other rules.
    pub after: u64,
}

/// The differences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// Messages by the first rules, one per destination.
    pub before: u64,
    /// Messages by the other rules.
    pub after: u64,
    /// Rules, largest change first.
    pub rules: Vec<RuleMessages>,
    /// Reported by the first rules only.
    pub missed: Vec<Report>,
    /// Reported by the other rules only.
    pub new: Vec<Report>,
    /// Reported by both, later by the other rules.
    pub later: Vec<MovedReport>,
    /// Reported by both, earlier by the other rules.
    pub earlier: Vec<MovedReport>,
}

/// Compares the notifications of two sets of rules on the same traffic.
#[must_use]
pub fn diff(before: &[Notification], after: &[Notification]) -> Diff {
    let (first, other) = (reports(before), reports(after));
    let (mut later, mut earlier) = (Vec::new(), Vec::new());
    let first_of_other = Finder::new(&other);
    let mut matched: HashMap<usize, usize> = HashMap::new();
    let mut missed = Vec::new();
    for (index, told) in first.iter().enumerate() {
        match first_of_other.find(told) {
            // If the other side reports several as one, the first of them has the time.
            Some(found) => {
                matched.entry(found).or_insert(index);
            }
            None => missed.push(told.clone()),
        }
    }
    for (found, index) in matched {
        // A map has no order of its own; the lists are sorted below.
        let (Some(told), Some(found)) = (first.get(index), other.get(found)) else {
            continue;
        };
        if told.behind {
            // Its time is that of the outage it is behind.
            continue;
        }
        let moved = MovedReport {
            told: told.clone(),
            other: found.at,
        };
        // Repeated events without an end have no time in common unless they are the same event.
        let same = told.lasting || told.subject.starts_at == found.subject.starts_at;
        if same && moved.by() >= Duration::from_secs(1) {
            if found.at > told.at {
                &mut later
            } else {
                &mut earlier
            }
            .push(moved);
        }
    }
    later.sort_by_key(|moved| (moved.told.at, moved.told.subject.device.clone()));
    earlier.sort_by_key(|moved| (moved.told.at, moved.told.subject.device.clone()));
    let finder = Finder::new(&first);
    let new = on_their_own(
        other
            .iter()
            .filter(|told| finder.find(told).is_none())
            .cloned()
            .collect(),
    );
    let missed = on_their_own(missed);
    Diff {
        before: count(before),
        after: count(after),
        rules: by_rule(before, after),
        missed,
        new,
        later,
        earlier,
    }
}

/// Returns the list without entries behind something that is in the list itself.
fn on_their_own(mut list: Vec<Report>) -> Vec<Report> {
    let explain: HashSet<String> = list
        .iter()
        .filter(|told| !told.behind)
        .map(|told| told.incident.clone())
        .collect();
    list.retain(|told| !told.behind || !explain.contains(&told.incident));
    list
}

/// Returns the number of messages, one per destination.
#[must_use]
pub fn count(notifications: &[Notification]) -> u64 {
    notifications.iter().map(|n| n.to.len() as u64).sum()
}

fn by_rule(before: &[Notification], after: &[Notification]) -> Vec<RuleMessages> {
    let mut rules: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    // A message to three destinations counts three times: each of them disturbs somebody.
    for notification in before {
        rules.entry(&notification.rule).or_default().0 += notification.to.len() as u64;
    }
    for notification in after {
        rules.entry(&notification.rule).or_default().1 += notification.to.len() as u64;
    }
    let mut rules: Vec<RuleMessages> = rules
        .into_iter()
        .map(|(rule, (before, after))| RuleMessages {
            rule: rule.to_owned(),
            before,
            after,
        })
        .collect();
    // People look for the largest change; among equal ones the noisier rule comes first.
    rules.sort_by_key(|rule| {
        (
            std::cmp::Reverse(rule.before.abs_diff(rule.after)),
            std::cmp::Reverse(rule.before),
        )
    });
    rules
}

/// Returns everything these messages report, by the time of the first report.
#[must_use]
pub fn reports(notifications: &[Notification]) -> Vec<Report> {
    let mut list = ReportList::default();
    for notification in notifications {
        match &notification.collected {
            None => list.note(notification, notification.at, false),
            // A digest or a report of a maintenance reports its items in their present state, and
            // nothing of its own.
            Some(collected) => collected
                .items
                .iter()
                .for_each(|item| list.note(item, notification.at, true)),
        }
    }
    merge(list.all)
}

/// Incident and subject; for items of a report also their beginning.
type Key<'n> = (&'n str, String, Option<Option<Timestamp>>);

#[derive(Default)]
struct ReportList<'n> {
    all: Vec<Report>,
    /// Index of the open reports of each incident.
    open: HashMap<Key<'n>, usize>,
}

impl<'n> ReportList<'n> {
    /// Adds a notification. With `whole` it is an item of a report, which includes the end.
    fn note(&mut self, notification: &'n Notification, at: Timestamp, whole: bool) {
        // Subjects behind an outage are reported with it.
        let subjects = notification.subjects.iter().map(|subject| (subject, false));
        for (subject, behind) in subjects.chain(
            notification
                .insight
                .behind
                .iter()
                .map(|subject| (subject, true)),
        ) {
            // Items of a report may have no incident: each is a report of its own.
            let alone = (whole && notification.incident.is_empty()).then_some(subject.starts_at);
            let key = (notification.incident.as_str(), identity(subject), alone);
            let known = self
                .open
                .get(&key)
                .and_then(|&index| self.all.get_mut(index));
            match (known, notification.reason) {
                (Some(told), _) if subject.ends_at.is_some() => {
                    told.subject.ends_at = subject.ends_at;
                    told.lasting = true;
                    self.open.remove(&key);
                }
                (Some(_), Reason::Stale) => {
                    self.open.remove(&key);
                }
                // The message went to another destination, or was a reminder.
                (Some(told), _) if told.lasting || told.behind || told.at == at => {}
                // An end or a reminder without a beginning is about an outage before the traffic.
                (None, Reason::Resolved | Reason::Recovered | Reason::Stale | Reason::Repeat)
                    if !whole => {}
                _ => {
                    if subject.ends_at.is_none() {
                        self.open.insert(key, self.all.len());
                    }
                    self.all.push(one(notification, subject, at, behind));
                }
            }
        }
    }
}

fn one(notification: &Notification, subject: &Subject, at: Timestamp, behind: bool) -> Report {
    let what = notification
        .condition
        .as_ref()
        .unwrap_or(&notification.kind);
    Report {
        what: if behind {
            format!("behind {what}")
        } else {
            what.clone()
        },
        rule: notification.rule.clone(),
        subject: subject.clone(),
        severity: notification.severity,
        at,
        // The recovery of subjects behind an outage is not always reported.
        lasting: subject.ends_at.is_some() || (notification.firing > 0 && !behind),
        incident: notification.incident.clone(),
        behind,
    }
}

/// Merges reports by several rules: the first report counts.
fn merge(mut all: Vec<Report>) -> Vec<Report> {
    let mut known: HashMap<(String, String, Option<Timestamp>), usize> = HashMap::new();
    let mut merged: Vec<Report> = Vec::new();
    // The first report decides the time and the rule that are shown.
    all.sort_by_key(|told| told.at);
    for told in all {
        // Rules differ in the case of types, and a repeated outage of the device has another start.
        let key = (
            told.what.to_lowercase(),
            identity(&told.subject),
            told.subject.starts_at,
        );
        match known.get(&key).and_then(|&index| merged.get_mut(index)) {
            Some(same) => {
                same.subject.ends_at = same.subject.ends_at.max(told.subject.ends_at);
                same.severity = same.severity.max(told.severity);
            }
            None => {
                known.insert(key, merged.len());
                merged.push(told);
            }
        }
    }
    merged
}

/// Returns the identity of a subject: by id and MAC, by name only if there is neither.
#[must_use]
pub fn identity(subject: &Subject) -> String {
    let device = subject.device_mac.as_ref().or(subject.device.as_ref());
    let site = subject.site_id.as_ref().or(subject.site.as_ref());
    let part = subject.part.as_deref().unwrap_or_default();
    format!("{}\u{1f}{part}", device.or(site).map_or("", String::as_str)).to_lowercase()
}

/// Finds the report of the same outage on the other side.
struct Finder<'t> {
    all: &'t [Report],
    by_subject: HashMap<String, Vec<usize>>,
}

impl<'t> Finder<'t> {
    fn new(all: &'t [Report]) -> Self {
        let mut by_subject: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, told) in all.iter().enumerate() {
            by_subject
                .entry(identity(&told.subject))
                .or_default()
                .push(index);
        }
        Self { all, by_subject }
    }

    /// Returns the nearest report of the same outage.
    fn find(&self, told: &Report) -> Option<usize> {
        let candidates = self.by_subject.get(&identity(&told.subject))?;
        let near = |index: &&usize| self.all.get(**index).is_some_and(|other| same(told, other));
        let distance = |index: &&usize| {
            let other = self.all.get(**index);
            let apart = |a: Timestamp, b: Timestamp| a.millis().abs_diff(b.millis());
            other.map(|other| (apart(start(told), start(other)), apart(told.at, other.at)))
        };
        candidates.iter().filter(near).min_by_key(distance).copied()
    }
}

fn start(told: &Report) -> Timestamp {
    told.subject.starts_at.unwrap_or(told.at)
}

/// Returns whether both are reports of the same outage, given that the subject is the same.
fn same(told: &Report, other: &Report) -> bool {
    // An incident of several conditions may be named after another of them.
    if told.subject.starts_at.is_some() && told.subject.starts_at == other.subject.starts_at {
        return true;
    }
    if !told.what.eq_ignore_ascii_case(&other.what) {
        return false;
    }
    if told.lasting || other.lasting {
        let end = |told: &Report| match (told.subject.ends_at, told.lasting) {
            (Some(end), _) => end,
            (None, true) => Timestamp::MAX,
            (None, false) => told.at,
        };
        return start(told) <= end(other) && start(other) <= end(told);
    }
    told.at.since(other.at) <= BEFORE && other.at.since(told.at) <= AFTER
}

#[cfg(test)]
mod tests;
