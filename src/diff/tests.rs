use serde_json::Value;

use super::*;
use crate::model::{Collected, Insight, Name};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// `ap-1 at 3m`, told by a rule; times in milliseconds.
fn said(
    rule: &str,
    reason: Reason,
    at: i64,
    device: &str,
    starts: i64,
    ends: Option<i64>,
) -> Notification {
    let at_ms = Timestamp::from_millis;
    let lasts = ends.is_none() && reason != Reason::Stale;
    Notification {
        id: String::new(),
        at: at_ms(at),
        to: vec![Name::new("chat")],
        source: Name::new("mist"),
        rule: rule.to_owned(),
        template: None,
        reason,
        incident: format!("{rule} {device}"),
        severity: Severity::Warning,
        topic: "device-events".to_owned(),
        kind: "AP_DISCONNECTED".to_owned(),
        condition: Some("ap_offline".to_owned()),
        group: Vec::new(),
        subjects: vec![Subject {
            device: Some(device.to_owned()),
            starts_at: Some(at_ms(starts)),
            ends_at: ends.map(at_ms),
            ..Subject::default()
        }],
        firing: u64::from(lasts),
        more: 0,
        more_since: 0,
        started: at_ms(starts),
        duration_ms: None,
        why: None,
        detail: None,
        event: Value::Null,
        insight: Insight::default(),
        collected: None,
    }
}

fn outage(rule: &str, device: &str, starts: i64, wait: i64, ends: i64) -> [Notification; 2] {
    [
        said(rule, Reason::First, starts + wait, device, starts, None),
        said(rule, Reason::Resolved, ends, device, starts, Some(ends)),
    ]
}

/// An event with no end.
fn event(rule: &str, device: &str, at: i64) -> Notification {
    Notification {
        firing: 0,
        condition: None,
        ..said(rule, Reason::First, at, device, at, None)
    }
}

fn names(list: &[Report]) -> Vec<&str> {
    list.iter()
        .filter_map(|told| told.subject.device.as_deref())
        .collect()
}

#[test]
fn the_same_traffic_under_the_same_rules_differs_in_nothing() {
    let said = [
        outage("down", "ap-1", 0, 3 * MINUTE, HOUR),
        outage("down", "ap-2", HOUR, 3 * MINUTE, 2 * HOUR),
    ]
    .concat();
    let found = diff(&said, &said);
    assert_eq!((found.before, found.after), (4, 4));
    assert!(
        found.missed.is_empty()
            && found.new.is_empty()
            && found.later.is_empty()
            && found.earlier.is_empty()
    );
}

#[test]
fn what_only_one_side_tells_is_missed_or_new() {
    let short = outage("down", "ap-1", 0, MINUTE, 4 * MINUTE);
    let long = outage("down", "ap-2", HOUR, MINUTE, 2 * HOUR);
    let found = diff(&[short, long.clone()].concat(), &long);
    assert_eq!(
        (names(&found.missed), names(&found.new)),
        (vec!["ap-1"], vec![])
    );
    let told = &found.missed[0];
    assert_eq!(
        (told.subject.ends_at, told.lasting),
        (Some(Timestamp::from_millis(4 * MINUTE)), true)
    );
    let found = diff(&long, &[]);
    assert_eq!(
        found.rules,
        [RuleMessages {
            rule: "down".to_owned(),
            before: 2,
            after: 0
        }]
    );
}

#[test]
fn a_renamed_rule_that_waits_longer_misses_nothing_and_tells_later() {
    let before = outage("down", "ap-1", 0, MINUTE, HOUR);
    let after = outage("AP unreachable", "ap-1", 0, 3 * MINUTE, HOUR);
    let found = diff(&before, &after);
    assert!(found.missed.is_empty() && found.new.is_empty());
    assert_eq!(
        found.later.iter().map(MovedReport::by).collect::<Vec<_>>(),
        [Duration::from_secs(120)]
    );
    assert_eq!(diff(&after, &before).earlier.len(), 1);
}

#[test]
fn two_outages_told_as_one_are_not_missed() {
    let before = [
        outage("down", "ap-1", 0, 0, 5 * MINUTE),
        outage("down", "ap-1", 6 * MINUTE, 0, 12 * MINUTE),
    ]
    .concat();
    let after = outage("down", "ap-1", 0, 0, 12 * MINUTE);
    let found = diff(&before, &after);
    assert!(
        found.missed.is_empty() && found.later.is_empty() && found.earlier.is_empty(),
        "{found:?}"
    );
    assert_eq!((found.before, found.after), (4, 2));
}

#[test]
fn another_device_or_another_day_is_another_thing() {
    let before = outage("down", "ap-1", 0, 0, MINUTE);
    for after in [
        outage("down", "ap-2", 0, 0, MINUTE),
        outage("down", "ap-1", HOUR, 0, 2 * HOUR),
    ] {
        let found = diff(&before, &after);
        assert_eq!((found.missed.len(), found.new.len()), (1, 1), "{after:?}");
    }
}

#[test]
fn another_condition_of_the_same_device_is_another_thing() {
    let before = outage("down", "ap-1", MINUTE, 0, HOUR);
    let mut after = outage("config", "ap-1", 2 * MINUTE, 0, HOUR);
    after
        .iter_mut()
        .for_each(|n| n.condition = Some("ap_config".to_owned()));
    let found = diff(&before, &after);
    assert_eq!((found.missed.len(), found.new.len()), (1, 1));
}

#[test]
fn what_has_no_end_counts_as_told_within_a_day() {
    let first = event("radar", "ap-1", 0);
    for (later, missed) in [(HOUR, 0), (23 * HOUR, 0), (25 * HOUR, 1)] {
        let before = [first.clone(), event("radar", "ap-1", later)];
        let found = diff(&before, std::slice::from_ref(&first));
        assert_eq!(
            (found.missed.len(), found.later.len()),
            (missed, 0),
            "{later}"
        );
    }
}

#[test]
fn two_rules_about_one_outage_are_one_thing() {
    let both = [
        outage("down", "ap-1", 0, MINUTE, HOUR),
        outage("mass outage", "ap-1", 0, 5 * MINUTE, HOUR),
    ]
    .concat();
    assert_eq!(reports(&both).len(), 1);
    let found = diff(&both, &both[..2]);
    assert!(found.missed.is_empty() && found.after == 2);
}

#[test]
fn other_destinations_and_reminders_are_not_told_twice() {
    let mut said = outage("down", "ap-1", 0, MINUTE, HOUR).to_vec();
    said.insert(
        1,
        Notification {
            to: vec![Name::new("other")],
            ..said[0].clone()
        },
    );
    said.insert(
        2,
        Notification {
            reason: Reason::Repeat,
            at: Timestamp::from_millis(10 * MINUTE),
            ..said[0].clone()
        },
    );
    assert_eq!(reports(&said).len(), 1);
}

#[test]
fn long_lists_are_cut_for_people_and_whole_for_machines() {
    let many: Vec<Notification> = (0..25)
        .flat_map(|n| outage("down", &format!("ap-{n}"), n * HOUR, 0, n * HOUR + MINUTE))
        .collect();
    let found = diff(&many, &[]);
    let said = text(&found, "last 7 days", ("rules.yaml", "other.yaml"));
    assert!(
        said.starts_with(
            "last 7 days: 50 -> 0 messages; would have missed: ap-0 1 Jan 00:00 (1 min), "
        ),
        "{said}"
    );
    assert!(
        said.contains("and 22 more\n")
            && said.contains("and 15 more (`--format json` has them all)"),
        "{said}"
    );
    assert_eq!(
        json(&found, None, None, ("a", "b"))["missed"]
            .as_array()
            .map(Vec::len),
        Some(25)
    );
}

#[test]
fn what_hangs_behind_or_comes_in_a_digest_is_told() {
    let before = outage("down", "ap-1", 0, MINUTE, HOUR);
    let mut parent = outage("down", "sw-1", 0, MINUTE, HOUR);
    parent[0].insight.behind = before[0].subjects.clone();
    let found = diff(&[before.clone(), parent.clone()].concat(), &parent);
    assert!(
        found.missed.is_empty() && found.later.is_empty(),
        "{found:?}"
    );

    // With the parent goes what hangs behind it, unnamed; without it, it is missed.
    let found = diff(&parent, &[]);
    assert_eq!(names(&found.missed), ["sw-1"]);
    let alone = outage("down", "sw-1", 0, MINUTE, HOUR);
    let found = diff(&parent, &alone);
    let shown = text(&found, "last day", ("a", "b"));
    assert!(
        shown.contains("would have missed: ap-1 1 Jan 00:00\n")
            && shown.contains("behind ap_offline"),
        "{shown}"
    );

    let mut digest = said("morning", Reason::Digest, 8 * HOUR, "x", 0, None);
    let items = vec![before[1].clone()];
    let since = Timestamp::EPOCH;
    digest.collected = Some(Box::new(Collected {
        maintenance: false,
        since,
        events: 2,
        quiet: 0,
        more: 0,
        items,
    }));
    let mut ended = digest.clone();
    ended.collected.as_mut().unwrap().items[0].subjects[0].starts_at = Some(Timestamp::EPOCH);
    let found = diff(&before, &[ended]);
    assert!(
        found.missed.is_empty() && found.later.len() == 1,
        "{found:?}"
    );
}

#[test]
fn a_digest_and_a_report_tell_what_they_list_each_on_its_own_and_nothing_else() {
    let [first, second] = [(0, MINUTE), (2 * HOUR, 2 * HOUR + MINUTE)]
        .map(|(starts, ends)| said("A", Reason::First, ends, "ap-1", starts, Some(ends)));
    for (maintenance, incident) in [(false, "another"), (true, "")] {
        let mut items = vec![first.clone(), second.clone()];
        items[1].incident = incident.to_owned();
        if maintenance {
            items[0].incident.clear();
        }
        let mut report = said(
            "dg",
            Reason::Digest,
            8 * HOUR,
            "ap-1",
            0,
            Some(2 * HOUR + MINUTE),
        );
        (report.condition, report.kind) = (None, String::new());
        report.subjects.extend(second.subjects.clone());
        let since = Timestamp::EPOCH;
        report.collected = Some(Box::new(Collected {
            maintenance,
            since,
            events: 4,
            quiet: 4,
            more: 0,
            items,
        }));
        let found = diff(std::slice::from_ref(&report), &[]);
        let all: Vec<_> = found
            .missed
            .iter()
            .map(|t| (t.rule.as_str(), t.what.as_str(), lasted(t)))
            .collect();
        assert_eq!(
            all,
            [("A", "ap_offline", MINUTE), ("A", "ap_offline", MINUTE)],
            "maintenance: {maintenance}"
        );
        let both = [
            outage("A", "ap-1", 0, 0, MINUTE),
            outage("A", "ap-1", 2 * HOUR, 0, 2 * HOUR + MINUTE),
        ]
        .concat();
        let found = diff(&both, &[report]);
        assert!(
            found.missed.is_empty() && found.new.is_empty() && found.later.len() == 2,
            "{found:?}"
        );
    }
}

fn lasted(told: &Report) -> i64 {
    told.subject.ends_at.unwrap().millis() - told.subject.starts_at.unwrap().millis()
}
