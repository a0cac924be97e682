//! What two sets of rules make of the same traffic: how many messages each sends, and what one
//! tells that the other does not. Pure: it compares notifications.
//!
//! What is compared is what people were told of, not how: a thing counts as told when any rule of
//! the other side tells of the same condition (or type) of the same device at that time, whatever
//! the rule is called.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::model::{Notification, Reason, Severity, Subject, Timestamp};

mod print;

pub(crate) use print::{brief, day_and_time, name, worst_first};
pub use print::{headline, json, last, text};

/// What has no end counts as told when it was told this long before …
const BEFORE: Duration = Duration::from_secs(24 * 3_600);
/// … or after.
const AFTER: Duration = Duration::from_secs(3_600);

/// One thing somebody was told of: a device that was down, a radar.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The condition, else Mist's type.
    pub what: String,
    /// The rule that told first.
    pub rule: String,
    /// Whom it concerns, with its times by the sender's clock.
    pub subject: Subject,
    /// How bad it was said to be.
    pub severity: Severity,
    /// When it was told first.
    pub at: Timestamp,
    /// Whether it can end.
    pub lasting: bool,
    /// The conversation it was told in.
    incident: String,
    /// Only listed there: what the conversation is about explains it.
    behind: bool,
}

/// One thing both sides tell of, one of them later.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// As the first side tells it.
    pub told: Told,
    /// When the other side tells it.
    pub other: Timestamp,
}

impl Moved {
    /// How much later or earlier.
    #[must_use]
    pub fn by(&self) -> Duration {
        self.other
            .since(self.told.at)
            .max(self.told.at.since(self.other))
    }
}

/// How many messages a rule sends on each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMessages {
    /// Its name.
    pub rule: String,
    /// By the rules compared.
    pub before: u64,
    /// By the other ones.
    pub after: u64,
}

/// What differs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// Messages by the first rules, one per destination.
    pub before: u64,
    /// Messages by the other rules.
    pub after: u64,
    /// By rule, those with the greatest change first.
    pub rules: Vec<RuleMessages>,
    /// Told by the first only.
    pub missed: Vec<Told>,
    /// Told by the other only.
    pub new: Vec<Told>,
    /// Told by both, later by the other.
    pub later: Vec<Moved>,
    /// Told by both, earlier by the other.
    pub earlier: Vec<Moved>,
}

/// Compares what two sets of rules say of the same traffic.
#[must_use]
pub fn diff(before: &[Notification], after: &[Notification]) -> Diff {
    let (first, other) = (told(before), told(after));
    let (mut later, mut earlier) = (Vec::new(), Vec::new());
    let first_of_other = Finder::new(&other);
    let mut matched: HashMap<usize, usize> = HashMap::new();
    let mut missed = Vec::new();
    for (index, told) in first.iter().enumerate() {
        match first_of_other.find(told) {
            // Several that the other side tells as one: only the first of them says when.
            Some(found) => {
                matched.entry(found).or_insert(index);
            }
            None => missed.push(told.clone()),
        }
    }
    for (found, index) in matched {
        let (Some(told), Some(found)) = (first.get(index), other.get(found)) else {
            continue;
        };
        if told.behind {
            continue; // its time is that of what explains it
        }
        let moved = Moved {
            told: told.clone(),
            other: found.at,
        };
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

/// Without what was only listed behind something that is in the list itself.
fn on_their_own(mut list: Vec<Told>) -> Vec<Told> {
    let explain: HashSet<String> = list
        .iter()
        .filter(|told| !told.behind)
        .map(|told| told.incident.clone())
        .collect();
    list.retain(|told| !told.behind || !explain.contains(&told.incident));
    list
}

/// Messages, one per destination.
#[must_use]
pub fn count(notifications: &[Notification]) -> u64 {
    notifications.iter().map(|n| n.to.len() as u64).sum()
}

fn by_rule(before: &[Notification], after: &[Notification]) -> Vec<RuleMessages> {
    let mut rules: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
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
    rules.sort_by_key(|rule| {
        (
            std::cmp::Reverse(rule.before.abs_diff(rule.after)),
            std::cmp::Reverse(rule.before),
        )
    });
    rules
}

/// Everything these messages tell of, by the time it was told first.
#[must_use]
pub fn told(notifications: &[Notification]) -> Vec<Told> {
    let mut tellings = Tellings::default();
    for notification in notifications {
        match &notification.collected {
            None => tellings.note(notification, notification.at, false),
            // A digest or a maintenance's report tells what it lists, each as it stands, and
            // nothing of its own.
            Some(collected) => collected
                .items
                .iter()
                .for_each(|item| tellings.note(item, notification.at, true)),
        }
    }
    merge(tellings.all)
}

/// Incident and subject; of what a report lists also when it began.
type Key<'n> = (&'n str, String, Option<Option<Timestamp>>);

#[derive(Default)]
struct Tellings<'n> {
    all: Vec<Told>,
    /// Of each incident, what was told and has not ended.
    open: HashMap<Key<'n>, usize>,
}

impl<'n> Tellings<'n> {
    /// `whole`: it is told as it stands, its end too.
    fn note(&mut self, notification: &'n Notification, at: Timestamp, whole: bool) {
        // What cannot be reached because of it is told with it.
        let subjects = notification.subjects.iter().map(|subject| (subject, false));
        for (subject, behind) in subjects.chain(
            notification
                .insight
                .behind
                .iter()
                .map(|subject| (subject, true)),
        ) {
            // A report lists alerts that were in no incident: each is a thing of its own.
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
                // Another destination's, or a reminder.
                (Some(told), _) if told.lasting || told.behind || told.at == at => {}
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

fn one(notification: &Notification, subject: &Subject, at: Timestamp, behind: bool) -> Told {
    let what = notification
        .condition
        .as_ref()
        .unwrap_or(&notification.kind);
    Told {
        what: if behind {
            format!("behind {what}")
        } else {
            what.clone()
        },
        rule: notification.rule.clone(),
        subject: subject.clone(),
        severity: notification.severity,
        at,
        // When what is behind something is back is not always told.
        lasting: subject.ends_at.is_some() || (notification.firing > 0 && !behind),
        incident: notification.incident.clone(),
        behind,
    }
}

/// What several rules tell of is one thing, told when the first of them tells it.
fn merge(mut all: Vec<Told>) -> Vec<Told> {
    let mut known: HashMap<(String, String, Option<Timestamp>), usize> = HashMap::new();
    let mut merged: Vec<Told> = Vec::new();
    all.sort_by_key(|told| told.at);
    for told in all {
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

/// What tells one subject from another: by id and MAC, by name only where there is none.
#[must_use]
pub fn identity(subject: &Subject) -> String {
    let device = subject.device_mac.as_ref().or(subject.device.as_ref());
    let site = subject.site_id.as_ref().or(subject.site.as_ref());
    let part = subject.part.as_deref().unwrap_or_default();
    format!("{}\u{1f}{part}", device.or(site).map_or("", String::as_str)).to_lowercase()
}

/// Finds who else tells of a thing.
struct Finder<'t> {
    all: &'t [Told],
    by_subject: HashMap<String, Vec<usize>>,
}

impl<'t> Finder<'t> {
    fn new(all: &'t [Told]) -> Self {
        let mut by_subject: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, told) in all.iter().enumerate() {
            by_subject
                .entry(identity(&told.subject))
                .or_default()
                .push(index);
        }
        Self { all, by_subject }
    }

    /// The nearest that tells of the same.
    fn find(&self, told: &Told) -> Option<usize> {
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

fn start(told: &Told) -> Timestamp {
    told.subject.starts_at.unwrap_or(told.at)
}

/// Whether two sides tell of the same thing, the subject being equal.
fn same(told: &Told, other: &Told) -> bool {
    if told.subject.starts_at.is_some() && told.subject.starts_at == other.subject.starts_at {
        return true; // also where an incident of several conditions is called by another of them
    }
    if !told.what.eq_ignore_ascii_case(&other.what) {
        return false;
    }
    if told.lasting || other.lasting {
        let end = |told: &Told| match (told.subject.ends_at, told.lasting) {
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
