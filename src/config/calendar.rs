//! Calendars: `time_intervals`, `maintenance`, and the times of digests.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;

use super::cure;
use super::keys;
use super::matching::matcher;
use super::read::{Reader, Section};
use super::spelling::{did_you_mean, nearest};
use super::tree::{Node, Tree};
use crate::model::{Name, Timestamp};
use crate::rules::{IntervalPart, MIDNIGHT, Maintenance, Minute, Period, TimeInterval, moment};

const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// `time_intervals`, by name.
pub(super) fn time_intervals(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
) -> BTreeMap<Name, TimeInterval> {
    let mut named = BTreeMap::new();
    let entries = file
        .get("time_intervals")
        .and_then(|node| reader.entries(node, "time_intervals"));
    for (name, _, node) in entries.unwrap_or_default() {
        let zone = reader.zone.clone();
        let parts = intervals(reader, node, &format!("time interval `{name}`"), &zone);
        named.insert(Name::new(name), TimeInterval::new(parts));
    }
    named
}

/// One map of a period or a span, or a list of them.
fn intervals(
    reader: &mut Reader<'_>,
    node: &Node,
    place: &str,
    zone: &TimeZone,
) -> Vec<IntervalPart> {
    let items = match &node.tree {
        Tree::List(items) => items.as_slice(),
        Tree::Null | Tree::Scalar(_) | Tree::Map(_) => std::slice::from_ref(node),
    };
    if items.is_empty() {
        reader.problems.error(
            node.at,
            format!("{place} is empty"),
            "as in {times: \"22:00-06:00\"}",
        );
    }
    items
        .iter()
        .filter_map(|item| interval(reader, item, place, zone))
        .collect()
}

fn interval(
    reader: &mut Reader<'_>,
    node: &Node,
    place: &str,
    zone: &TimeZone,
) -> Option<IntervalPart> {
    let section = reader.section(node, keys::INTERVAL, place)?;
    let zone = zone_of(reader, &section).unwrap_or_else(|| zone.clone());
    let rest = ["times", "weekdays", "days_of_month", "months", "years"];
    if section.get("from").is_some() || section.get("until").is_some() {
        if let Some(key) = rest.iter().find(|key| section.get(key).is_some()) {
            let help = "`from` and `until` are once; what comes again has a list item of its own";
            reader.problems.error(
                section.key_at(key),
                format!("{place} has `{key}` beside `from` or `until`"),
                help,
            );
        }
        return span(reader, &section, place, &zone);
    }
    if !rest.iter().any(|key| section.get(key).is_some()) {
        reader.problems.error(
            node.at,
            format!("{place} does not say when"),
            "as in {times: \"22:00-06:00\"}",
        );
        return None;
    }
    let times = section
        .get("times")
        .map(|node| times(reader, node))
        .unwrap_or_default();
    let weekdays = ranges(reader, &section, "weekdays", |word| named(word, &DAYS));
    let months = ranges(reader, &section, "months", |word| {
        named(word, &MONTHS).or_else(|| word.parse().ok().filter(|n| (1..=12).contains(n)))
    });
    let days = ranges(reader, &section, "days_of_month", |word| {
        word.parse()
            .ok()
            .filter(|n: &i16| *n != 0 && (-31..=31).contains(n))
    });
    let years = ranges(reader, &section, "years", |word| {
        word.parse().ok().filter(|n| (1970..=9999).contains(n))
    });
    for (from, until) in &days {
        if from.signum() == until.signum() && from > until {
            let what = format!("no month has days from {from} to {until}");
            reader.problems.error(
                section.key_at("days_of_month"),
                what,
                "the first comes first, as in 1:5 or -3:-1",
            );
        }
    }
    for (from, until) in &years {
        if from > until {
            reader.problems.error(
                section.key_at("years"),
                format!("{until} is before {from}"),
                "",
            );
        }
    }
    Some(IntervalPart::Period(Period {
        zone,
        times,
        weekdays: around(&weekdays, 7)
            .flat_map(|range| range.filter_map(|n| Weekday::from_monday_one_offset(n).ok()))
            .collect(),
        days_of_month: days
            .iter()
            .filter_map(|(a, b)| Some((i8::try_from(*a).ok()?, i8::try_from(*b).ok()?)))
            .collect(),
        months: around(&months, 12).collect(),
        years: years
            .into_iter()
            .map(|(from, until)| from..=until)
            .collect(),
    }))
}

/// Ranges that may go on at the beginning: saturday to monday.
fn around(ranges: &[(i16, i16)], last: i8) -> impl Iterator<Item = RangeInclusive<i8>> + '_ {
    let small = move |n: &i16| i8::try_from(*n).unwrap_or(last);
    ranges.iter().flat_map(move |(from, until)| {
        let (from, until) = (small(from), small(until));
        if from <= until {
            vec![from..=until]
        } else {
            vec![from..=last, 1..=until]
        }
    })
}

/// `a`, or `a:b`, one or many.
fn ranges(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    read: impl Fn(&str) -> Option<i16>,
) -> Vec<(i16, i16)> {
    let Some(node) = section.get(key) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (text, at) in reader.texts(node, key) {
        let folded = text.to_ascii_lowercase();
        let (from, until) = folded.split_once(':').unwrap_or((&folded, &folded));
        if let (Some(from), Some(until)) = (read(from.trim()), read(until.trim())) {
            found.push((from, until));
            continue;
        }
        let words: &[&str] = match key {
            "weekdays" => &DAYS,
            "months" => &MONTHS,
            _ => &[],
        };
        let near = [from, until]
            .into_iter()
            .filter(|word| read(word).is_none())
            .find_map(|word| nearest(word, words.iter().copied()));
        let example = match key {
            "weekdays" => "monday:friday",
            "months" => "june:august",
            "years" => "2026:2028",
            _ => "1:5, or -1 for the last",
        };
        let help = near.map_or_else(
            || format!("as in {example}"),
            |near| format!("did you mean \"{near}\"?"),
        );
        reader
            .problems
            .error(at, format!("`{key}` cannot be \"{text}\""), help);
    }
    found
}

/// A name, or at least its first three letters, from 1.
fn named(word: &str, names: &[&str]) -> Option<i16> {
    let at = names
        .iter()
        .position(|name| *name == word || (word.len() >= 3 && name.starts_with(word)))?;
    i16::try_from(at + 1).ok()
}

fn times(reader: &mut Reader<'_>, node: &Node) -> Vec<(Minute, Minute)> {
    let items = match &node.tree {
        Tree::List(items) => items.as_slice(),
        Tree::Null | Tree::Scalar(_) | Tree::Map(_) => std::slice::from_ref(node),
    };
    items
        .iter()
        .filter_map(|item| time_span(reader, item))
        .collect()
}

fn time_span(reader: &mut Reader<'_>, node: &Node) -> Option<(Minute, Minute)> {
    let (start, end) = if node.scalar().is_some() {
        let text = reader.text(node, "times")?;
        let Some((start, end)) = text.split_once('-') else {
            reader.problems.error(
                node.at,
                format!("`times` cannot be \"{text}\""),
                "as in \"22:00-06:00\"",
            );
            return None;
        };
        (
            minute(reader, node, start.trim(), false),
            minute(reader, node, end.trim(), true),
        )
    } else {
        let section = reader.section(node, keys::SPAN, "a time of `times`")?;
        let mut edge = |key: &str, end| match section.get(key) {
            Some(node) => reader
                .text(node, key)
                .and_then(|text| minute(reader, node, text, end)),
            None => {
                let help = "as in {start: \"22:00\", end: \"06:00\"}";
                reader.problems.error(
                    section.at,
                    format!("a time of `times` has no `{key}`"),
                    help,
                );
                None
            }
        };
        (edge("start", false), edge("end", true))
    };
    let (start, end) = (start?, end?);
    if start == end {
        reader.problems.error(
            node.at,
            "it ends when it starts",
            "for the whole day, leave `times` out",
        );
        return None;
    }
    Some((start, end))
}

/// `08:00`; `24:00` where it may end something.
pub(super) fn minute(
    reader: &mut Reader<'_>,
    node: &Node,
    text: &str,
    end: bool,
) -> Option<Minute> {
    let read = || {
        let (hour, minute) = text.split_once(':')?;
        let digits = |text: &str| {
            text.len() <= 2 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
        };
        if !digits(hour) || minute.len() != 2 || !digits(minute) {
            return None;
        }
        let (hour, minute): (Minute, Minute) = (hour.parse().ok()?, minute.parse().ok()?);
        let total = hour * 60 + minute;
        (minute < 60 && (total < MIDNIGHT || (end && total == MIDNIGHT))).then_some(total)
    };
    let found = read();
    if found.is_none() {
        reader.problems.error(
            node.at,
            format!("\"{text}\" is not a time of day"),
            "write hours and minutes, as in 08:00",
        );
    }
    found
}

/// The zone a section names, when it names one.
pub(super) fn zone_of(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<TimeZone> {
    let node = section.get("zone")?;
    let text = reader.text(node, "zone")?;
    let found = TimeZone::get(text).ok();
    if found.is_none() {
        let known: Vec<String> = jiff::tz::db()
            .available()
            .map(|name| name.to_string())
            .collect();
        let help = match cure::zone(text) {
            Some(zone) => {
                format!("an abbreviation means one time of the year: name a place, as in {zone}")
            }
            None => nearest(text, known.iter().map(String::as_str)).map_or_else(
                || "as in Europe/Paris".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            ),
        };
        reader
            .problems
            .error(node.at, format!("nobody knows the zone \"{text}\""), help);
    }
    found
}

/// `from` and `until`.
fn span(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    place: &str,
    zone: &TimeZone,
) -> Option<IntervalPart> {
    let mut edge = |key: &str| match section.get(key) {
        Some(node) => instant(reader, node, key, zone),
        None => {
            let help = "once is {from: \"2026-12-01 22:00\", until: \"2026-12-02 04:00\"}";
            reader
                .problems
                .error(section.at, format!("{place} has no `{key}`"), help);
            None
        }
    };
    let (from, until) = (edge("from"), edge("until"));
    let (from, until) = (from?, until?);
    if until <= from {
        reader.problems.error(
            section.key_at("until"),
            format!("{place} ends before it begins"),
            "",
        );
        return None;
    }
    Some(IntervalPart::Span(from, until))
}

/// A time with its offset as in RFC 3339, or by the clock of a zone.
pub(super) fn instant(
    reader: &mut Reader<'_>,
    node: &Node,
    key: &str,
    zone: &TimeZone,
) -> Option<Timestamp> {
    let text = reader.text(node, key)?;
    let local = || {
        text.parse::<DateTime>()
            .ok()
            .and_then(|local| moment(zone, local))
    };
    let found = Timestamp::parse_rfc3339(text).or_else(local);
    if found.is_none() {
        let help = "as in \"2026-12-01 22:00\", or 2026-12-01T22:00:00+01:00";
        reader
            .problems
            .error(node.at, format!("`{key}`: \"{text}\" is not a time"), help);
    }
    found
}

/// `maintenance`: a list, or names to the rest. `used` gains the time intervals it names.
pub(super) fn maintenance(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
    known: &BTreeMap<Name, TimeInterval>,
    used: &mut Vec<Name>,
) -> Vec<Maintenance> {
    let Some(node) = file.get("maintenance") else {
        return Vec::new();
    };
    let items: Vec<(Option<&str>, &Node)> = if matches!(node.tree, Tree::Map(_)) {
        let entries = reader.entries(node, "maintenance").unwrap_or_default();
        entries
            .into_iter()
            .map(|(name, _, node)| (Some(name), node))
            .collect()
    } else {
        reader
            .list(node, "maintenance")
            .iter()
            .map(|item| (None, item))
            .collect()
    };
    let mut found: Vec<Maintenance> = Vec::new();
    for (name, item) in items {
        let Some(one) = one_maintenance(reader, name, item, known, used) else {
            continue;
        };
        if let Some(first) = found.iter().find(|other| other.name == one.name) {
            let help = format!(
                "the first is on line {}; the name is its identity",
                first.line
            );
            reader.problems.error(
                item.at,
                format!("two of `maintenance` are called \"{}\"", one.name),
                help,
            );
        } else {
            found.push(one);
        }
    }
    found
}

fn one_maintenance(
    reader: &mut Reader<'_>,
    key: Option<&str>,
    node: &Node,
    known: &BTreeMap<Name, TimeInterval>,
    used: &mut Vec<Name>,
) -> Option<Maintenance> {
    let section = reader.section(node, keys::MAINTENANCE, "a maintenance")?;
    let name = match (section.get("name"), key) {
        (Some(node), _) => reader.text(node, "name"),
        (None, Some(key)) => Some(key),
        (None, None) => {
            reader.problems.error(
                section.at,
                "a maintenance has no `name`",
                "its name is how its report calls it",
            );
            None
        }
    };
    let place = format!("maintenance \"{}\"", name.unwrap_or("?"));
    let about = section
        .get("match")
        .map(|node| matcher(reader, node, "match"));
    let zone = zone_of(reader, &section).unwrap_or_else(|| reader.zone.clone());
    let once = section.get("from").is_some() || section.get("until").is_some();
    let mut parts = Vec::new();
    match section.get("every") {
        Some(every) => {
            if once {
                let help = "make two of it: one with `every`, one with `from` and `until`";
                reader.problems.error(
                    every.at,
                    format!("{place} has both `every` and `from` or `until`"),
                    help,
                );
            }
            parts = self::every(reader, every, &place, &zone, known, used);
        }
        None if once => parts.extend(span(reader, &section, &place, &zone)),
        None => {
            let help = "give it `every`, or `from` and `until`";
            reader
                .problems
                .error(section.at, format!("{place} does not say when"), help);
        }
    }
    Some(Maintenance {
        name: Name::new(name?),
        line: section.at.line,
        matcher: about.unwrap_or_else(|| Some(crate::rules::Matcher::default()))?,
        during: TimeInterval::new(parts),
    })
}

/// Names of time intervals, periods, or a list of both.
fn every(
    reader: &mut Reader<'_>,
    node: &Node,
    place: &str,
    zone: &TimeZone,
    known: &BTreeMap<Name, TimeInterval>,
    used: &mut Vec<Name>,
) -> Vec<IntervalPart> {
    let items = match &node.tree {
        Tree::List(items) if !items.is_empty() => items.as_slice(),
        Tree::Null | Tree::Scalar(_) | Tree::Map(_) | Tree::List(_) => std::slice::from_ref(node),
    };
    let mut parts = Vec::new();
    for item in items {
        if item.scalar().is_some() {
            let name = named_interval(reader, item, "every", place, known);
            if let Some((name, interval)) = name {
                parts.extend(interval.parts().iter().cloned());
                used.push(name);
            }
        } else {
            parts.extend(intervals(reader, item, place, zone));
        }
    }
    parts
}

/// A time interval by its name.
pub(super) fn named_interval<'k>(
    reader: &mut Reader<'_>,
    node: &Node,
    key: &str,
    place: &str,
    known: &'k BTreeMap<Name, TimeInterval>,
) -> Option<(Name, &'k TimeInterval)> {
    let text = reader.text(node, key)?;
    let name = Name::new(text);
    let found = known.get(&name);
    if found.is_none() {
        let names: Vec<&str> = known.keys().map(Name::as_str).collect();
        let help = did_you_mean(text, &names, "defined");
        let help = if names.is_empty() {
            "define it under `time_intervals`".to_owned()
        } else {
            help
        };
        reader.problems.error(
            node.at,
            format!("{place} names the time interval \"{text}\", which nobody defined"),
            help,
        );
    }
    found.map(|interval| (name, interval))
}
