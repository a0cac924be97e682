//! Candidates for changes to a rule, chosen from its messages. Each is measured afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use super::KeyChange;
use crate::diff::{Report, identity, reports};
use crate::model::{Field, Notification, Reason, Severity, exactly};
use crate::rules::{Rule, RuleSet, Threshold};

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
/// Usual values, in seconds.
const FOR: &[u64] = &[
    30,
    MINUTE,
    2 * MINUTE,
    3 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
];
const KEEP: &[u64] = &[
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
];
const COOLDOWN: &[u64] = &[2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR];
const INTERVAL: &[u64] = &[15 * MINUTE, 30 * MINUTE, HOUR];
/// A value is tried if it concerns at least one report in this many.
const SHARE: usize = 4;
/// Maximum number of values tried per key.
const TRIES: usize = 4;

/// Returns changes to a rule that might help; `own` are its notifications.
pub(super) fn changes(rule: &Rule, own: &[Notification], rules: &RuleSet) -> Vec<KeyChange> {
    let told = reports(own);
    // A rule may report both kinds; the more frequent one decides which keys make sense.
    let lasting = told.iter().filter(|t| t.lasting).count() * 2 > told.len();
    let mut changes = Vec::new();
    if lasting {
        let lengths: Vec<Duration> = told
            .iter()
            .filter_map(|t| t.subject.ends_at.zip(t.subject.starts_at))
            .map(|(end, start)| end.since(start))
            .collect();
        changes.extend(values(FOR, rule.policy.r#for, &lengths, told.len()).map(KeyChange::For));
        let gaps = gaps(&told, |before, after| {
            before
                .subject
                .ends_at
                .zip(after.subject.starts_at)
                .map(|(end, start)| start.since(end))
        });
        changes.extend(
            values(KEEP, rule.policy.keep_firing_for, &gaps, told.len())
                .map(KeyChange::KeepFiringFor),
        );
    } else {
        let gaps = gaps(&told, |before, after| Some(after.at.since(before.at)));
        changes.extend(
            values(COOLDOWN, rule.policy.cooldown, &gaps, told.len()).map(KeyChange::Cooldown),
        );
        if rule.threshold.is_none() && rule.absent.is_none() {
            let window = |hours| Threshold {
                count: 3,
                window: Duration::from_secs(hours * HOUR),
                distinct: None,
            };
            changes.extend([window(1), window(6)].map(KeyChange::Threshold));
        }
    }
    // Longer intervals help only if a good part of the messages are additions.
    let additions = own
        .iter()
        .filter(|n| matches!(n.reason, Reason::NewEvents | Reason::Recovered))
        .count();
    if additions * SHARE >= own.len() {
        let longer = INTERVAL
            .iter()
            .map(|s| Duration::from_secs(*s))
            .filter(|v| *v > rule.policy.group_interval);
        changes.extend(longer.map(KeyChange::GroupInterval));
    }
    changes.extend(talker(own, &Field::Device).map(KeyChange::NotDevice));
    changes.extend(talker(own, &Field::Site).map(KeyChange::NotSite));
    // A critical message must not wait for a digest.
    if own.iter().all(|n| n.severity < Severity::Critical) {
        changes.extend(
            rules
                .surroundings()
                .digests
                .first()
                .map(|digest| KeyChange::Digest(digest.name.clone())),
        );
    }
    changes
}

/// Returns the values above the present one that concern enough of the reports.
fn values(
    all: &[u64],
    present: Duration,
    times: &[Duration],
    told: usize,
) -> impl Iterator<Item = Duration> {
    // A value concerns the outages and gaps that are shorter.
    let concerned = move |value: &Duration| times.iter().filter(|time| **time < *value).count();
    let enough: Vec<Duration> = all
        .iter()
        .map(|seconds| Duration::from_secs(*seconds))
        .filter(|value| *value > present && concerned(value) * SHARE >= told.max(1))
        .take(TRIES)
        .collect();
    enough.into_iter()
}

/// Returns the times between reports of the same subject.
fn gaps(told: &[Report], between: impl Fn(&Report, &Report) -> Option<Duration>) -> Vec<Duration> {
    let mut last: BTreeMap<String, &Report> = BTreeMap::new();
    told.iter()
        .filter_map(|told| {
            last.insert(identity(&told.subject), told)
                .and_then(|before| between(before, told))
        })
        .collect()
}

/// Returns the device or site with most of the messages, if others have some, too.
fn talker(own: &[Notification], field: &Field) -> Option<String> {
    let mut messages: BTreeMap<String, usize> = BTreeMap::new();
    for notification in own {
        let names = notification.subjects.iter().map(|subject| match field {
            Field::Site => subject.site.clone().or_else(|| subject.site_id.clone()),
            _ => subject
                .device
                .clone()
                .or_else(|| subject.device_mac.clone()),
        });
        let mut names: Vec<String> = names.map(Option::unwrap_or_default).collect();
        names.dedup();
        if let [one] = names.as_slice()
            && !one.is_empty()
        {
            *messages.entry(one.clone()).or_default() += 1;
        }
    }
    // If all messages are about one device, the rule itself is the question.
    let others = messages.len() > 1;
    let (name, most) = messages.into_iter().max_by_key(|(_, count)| *count)?;
    (others && most * 2 > own.len()).then(|| exactly(&name))
}
