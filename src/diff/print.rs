//! The comparison as text: a few lines for people, or every entry for machines.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Diff, MovedReport, Report};
use crate::model::{Subject, Timestamp, human_duration, plural};

/// Maximum number of entries of a list for people.
const MOST: usize = 10;

/// Returns the comparison for people. `period` names the traffic, as in "last 7 days"; `names` are
/// the names of the two sides. Times are UTC.
#[must_use]
pub fn text(diff: &Diff, period: &str, names: (&str, &str)) -> String {
    let mut text = headline(diff, period);
    let changed: Vec<_> = diff
        .rules
        .iter()
        .filter(|rule| rule.before != rule.after)
        .collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\nBy rule, {} -> {}:", names.0, names.1);
    // Columns are as wide as their widest number, or the arrows would not line up.
    let width = |number: u64| number.to_string().len();
    let widest = |side: fn(&super::RuleMessages) -> u64| {
        changed.iter().map(|r| width(side(r))).max().unwrap_or(1)
    };
    let (before, after) = (widest(|r| r.before), widest(|r| r.after));
    for rule in changed.iter().take(2 * MOST) {
        let _ = writeln!(
            text,
            "  {:>before$} -> {:<after$}  {}",
            rule.before, rule.after, rule.rule
        );
    }
    and_more(&mut text, changed.len(), 2 * MOST);
    // Unchanged rules are only counted: a long list of them would hide the others.
    let same = diff.rules.len() - changed.len();
    if same > 0 {
        let (rules, messages) = (
            plural(same as u64, "rule"),
            if same == 1 { "sends" } else { "send" },
        );
        let _ = writeln!(
            text,
            "  {}{rules} {messages} as many",
            if changed.is_empty() { "" } else { "the other " }
        );
    }
    told_list(
        &mut text,
        &format!("No longer told by {}", names.1),
        &diff.missed,
    );
    told_list(&mut text, &format!("Told by {} only", names.1), &diff.new);
    moved_list(
        &mut text,
        &format!("Later by {}", names.1),
        "later",
        &diff.later,
    );
    moved_list(
        &mut text,
        &format!("Earlier by {}", names.1),
        "earlier",
        &diff.earlier,
    );
    text
}

/// Returns the period: `last 7 days`.
#[must_use]
pub fn last(since: std::time::Duration) -> String {
    let days = since.as_secs() / 86_400;
    match (since.as_secs() % 86_400, days) {
        (0, 1) => "last day".to_owned(),
        (0, 2..) => format!("last {days} days"),
        _ => format!("last {}", human_duration(since)),
    }
}

/// Returns the first line: `last 7 days: 212 -> 41 messages; would have missed: sw-garage 19 Nov
/// 03:12 (4 min)`.
#[must_use]
pub fn headline(diff: &Diff, period: &str) -> String {
    let mut text = format!(
        "{period}: {} -> {}; ",
        diff.before,
        plural(diff.after, "message")
    );
    if diff.missed.is_empty() {
        text.push_str("would have missed nothing\n");
        return text;
    }
    // The line is a headline: three names fit, and the list below has all of them.
    let shown: Vec<String> = worst_first(&diff.missed)
        .into_iter()
        .take(3)
        .map(brief)
        .collect();
    let _ = write!(text, "would have missed: {}", shown.join(", "));
    if diff.missed.len() > shown.len() {
        let _ = write!(text, " and {} more", diff.missed.len() - shown.len());
    }
    text.push('\n');
    text
}

/// Sorts by severity, then by duration: short outages of low severity come last.
pub(crate) fn worst_first(list: &[Report]) -> Vec<&Report> {
    let mut list: Vec<&Report> = list.iter().collect();
    let length = |told: &Report| match told.subject.ends_at {
        None if told.lasting => std::time::Duration::MAX,
        end => end.map(|end| end.since(began(told))).unwrap_or_default(),
    };
    list.sort_by_key(|told| (std::cmp::Reverse((told.severity, length(told))), told.at));
    list
}

/// Returns one entry in short: `sw-garage 19 Nov 03:12 (4 min)`.
pub(crate) fn brief(told: &Report) -> String {
    let lasted = lasted(told)
        .map(|lasted| format!(" ({lasted})"))
        .unwrap_or_default();
    format!(
        "{} {}{lasted}",
        name(&told.subject),
        day_and_time(began(told))
    )
}

fn told_list(text: &mut String, title: &str, list: &[Report]) {
    if list.is_empty() {
        return;
    }
    // The order of a single entry means nothing.
    let worst = if list.len() > 1 {
        ", the worst first"
    } else {
        ""
    };
    let _ = writeln!(text, "\n{title}: {}{worst} (UTC):", list.len());
    for told in worst_first(list).into_iter().take(MOST) {
        let lasted = lasted(told)
            .map(|lasted| format!("{lasted}, "))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "  {:>12}  {}  {lasted}{}, by {}",
            day_and_time(began(told)),
            place(&told.subject),
            told.what,
            told.rule
        );
    }
    and_more(text, list.len(), MOST);
}

fn moved_list(text: &mut String, title: &str, word: &str, list: &[MovedReport]) {
    if list.is_empty() {
        return;
    }
    // One distance describes all of them only if they hardly differ.
    let mut by: Vec<_> = list.iter().map(MovedReport::by).collect();
    by.sort_unstable();
    let middle = by.get(by.len() / 2).copied().unwrap_or_default();
    let most = by.last().copied().unwrap_or_default();
    let alike = most
        .saturating_sub(by.first().copied().unwrap_or_default())
        .as_secs()
        < 10;
    let by = human_duration(middle);
    let by = if alike {
        by
    } else {
        format!("{by} in the middle and {} at most", human_duration(most))
    };
    let _ = writeln!(text, "\n{title}: {}, by {by} (UTC):", list.len());
    let mut longest: Vec<&MovedReport> = list.iter().collect();
    longest.sort_by_key(|moved| (std::cmp::Reverse(moved.by()), moved.told.at));
    for moved in longest.into_iter().take(MOST) {
        let (told, by) = (&moved.told, human_duration(moved.by()));
        let _ = writeln!(
            text,
            "  {:>12}  {}  {by} {word}, {}, by {}",
            day_and_time(began(told)),
            place(&told.subject),
            told.what,
            told.rule
        );
    }
    and_more(text, list.len(), MOST);
}

fn and_more(text: &mut String, all: usize, shown: usize) {
    if all > shown {
        let _ = writeln!(
            text,
            "  and {} more (`--format json` has them all)",
            all - shown
        );
    }
}

fn began(told: &Report) -> Timestamp {
    told.subject.starts_at.unwrap_or(told.at)
}

/// Returns the duration; `None` for events without an end.
fn lasted(told: &Report) -> Option<String> {
    match told.subject.ends_at {
        Some(end) => Some(human_duration(end.since(began(told)))),
        None if told.lasting => Some("still lasting".to_owned()),
        None => None,
    }
}

/// Returns a name for a subject: its device, or else its site.
#[must_use]
pub(crate) fn name(subject: &Subject) -> String {
    let device = subject.device.as_ref().or(subject.device_mac.as_ref());
    let site = subject.site.as_ref().or(subject.site_id.as_ref());
    let name = device.or(site).map_or("?", String::as_str);
    match &subject.part {
        Some(part) => format!("{name} {part}"),
        None => name.to_owned(),
    }
}

fn place(subject: &Subject) -> String {
    let site = subject
        .site
        .as_ref()
        .filter(|_| subject.device.is_some() || subject.device_mac.is_some());
    match site {
        Some(site) => format!("{} ({site})", name(subject)),
        None => name(subject),
    }
}

/// Formats a time: `19 Nov 03:12`, in UTC.
#[must_use]
pub(crate) fn day_and_time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).map_or_else(
        |_| at.rfc3339(),
        |at| {
            at.to_zoned(jiff::tz::TimeZone::UTC)
                .strftime("%-d %b %H:%M")
                .to_string()
        },
    )
}

/// Returns the complete comparison for machines, as one object.
#[must_use]
pub fn json(
    diff: &Diff,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    names: (&str, &str),
) -> Value {
    // Machines need both times, but people see only the difference.
    let moved = |list: &[MovedReport]| -> Vec<Value> {
        let one = |moved: &MovedReport| {
            let mut value = told(&moved.told);
            if let Some(map) = value.as_object_mut() {
                map.insert("after_told_at".to_owned(), json!(moved.other.rfc3339()));
                map.insert("seconds".to_owned(), json!(moved.by().as_secs()));
            }
            value
        };
        list.iter().map(one).collect()
    };
    json!({
        "from": from.map(Timestamp::rfc3339),
        "until": until.map(Timestamp::rfc3339),
        "before": {"config": names.0, "messages": diff.before},
        "after": {"config": names.1, "messages": diff.after},
        "rules": diff.rules.iter().map(|r| json!({"rule": r.rule, "before": r.before, "after": r.after})).collect::<Vec<_>>(),
        "missed": diff.missed.iter().map(told).collect::<Vec<_>>(),
        "new": diff.new.iter().map(told).collect::<Vec<_>>(),
        "later": moved(&diff.later),
        "earlier": moved(&diff.earlier),
    })
}

fn told(told: &Report) -> Value {
    let subject = &told.subject;
    json!({
        "what": told.what,
        "rule": told.rule,
        "severity": told.severity.word(),
        "told_at": told.at.rfc3339(),
        "site_id": subject.site_id,
        "site": subject.site,
        "device_mac": subject.device_mac,
        "device": subject.device,
        "part": subject.part,
        "starts_at": subject.starts_at.map(Timestamp::rfc3339),
        "ends_at": subject.ends_at.map(Timestamp::rfc3339),
        "duration_s": subject.ends_at.map(|end| end.since(began(told)).as_secs()),
    })
}
