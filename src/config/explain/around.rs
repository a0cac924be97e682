//! What stands beside the rules, for `check --explain`.

use std::fmt::Write;

use super::super::Config;
use super::{fields, span};
use crate::model::Name;
use crate::rules::{DuringMute, IntervalPart, Matcher, Period, Policy, Test, TimeInterval};

pub(super) fn write_digests(config: &Config, out: &mut String) -> std::fmt::Result {
    for digest in &config.rules.surroundings().digests {
        let times: Vec<String> = digest
            .at
            .times()
            .iter()
            .map(|minute| clock(*minute))
            .collect();
        let zone = digest.at.zone().iana_name().unwrap_or("this machine's");
        writeln!(
            out,
            "  {}: # digest; `notify: all` does not mean it",
            digest.name
        )?;
        writeln!(out, "    min_severity: {}", digest.min_severity)?;
        writeln!(out, "    at: [{}]  # zone {zone}", times.join(", "))?;
        writeln!(out, "    into: [{}]", names(&digest.into))?;
    }
    Ok(())
}

/// What is there; what is not there needs no words.
pub(super) fn write(config: &Config, out: &mut String) -> std::fmt::Result {
    let around = config.rules.surroundings();
    if !around.time_intervals.is_empty() {
        writeln!(out, "time_intervals:")?;
    }
    for (name, interval) in &around.time_intervals {
        writeln!(out, "  {name}: {}", when(interval))?;
    }
    if !around.maintenance.is_empty() {
        writeln!(
            out,
            "maintenance:  # what matches is not told while it lasts, and reported when it is over"
        )?;
    }
    for one in &around.maintenance {
        writeln!(out, "  - {}  # line {}", one.name, one.line)?;
        writeln!(out, "    match: {}", matcher(&one.matcher))?;
        writeln!(out, "    when: {}", when(&one.during))?;
    }
    if !around.inhibit_rules.is_empty() {
        writeln!(
            out,
            "inhibit_rules:  # while a source lasts, pending too, its targets are not told"
        )?;
    }
    for rule in &around.inhibit_rules {
        writeln!(
            out,
            "  - source: {}  # line {}",
            matcher(&rule.source),
            rule.line
        )?;
        writeln!(out, "    target: {}", matcher(&rule.target))?;
        writeln!(out, "    equal: [{}]", fields(&rule.equal))?;
        if rule.via_topology {
            writeln!(out, "    via: topology  # only what hangs below the source")?;
        }
        let within = rule.within.map_or_else(|| "any time".to_owned(), span);
        writeln!(out, "    within: {within}")?;
        writeln!(
            out,
            "    hold: {}  # a target waits so long for a source told later",
            span(rule.hold)
        )?;
    }
    if !around.topology.is_empty() {
        writeln!(out, "topology:")?;
    }
    for (parent, child) in around.topology.links() {
        writeln!(out, "  {child}: reached through {parent}")?;
    }
    Ok(())
}

/// When a rule says nothing.
pub(super) fn write_mutes(policy: &Policy, out: &mut String) -> std::fmt::Result {
    let (mute, active) = (&policy.mute_time_intervals, &policy.active_time_intervals);
    if mute.is_empty() && active.is_empty() {
        return Ok(());
    }
    if !mute.is_empty() {
        writeln!(out, "    mute_time_intervals: [{}]", names(mute))?;
    }
    if !active.is_empty() {
        writeln!(out, "    active_time_intervals: [{}]", names(active))?;
    }
    let what = match policy.during_mute {
        DuringMute::Hold => "hold  # told at the end if it still lasts",
        DuringMute::Digest => "digest  # kept for the digests",
        DuringMute::Drop => "drop  # never told",
    };
    writeln!(out, "    during_mute: {what}")
}

fn names(names: &[Name]) -> String {
    names
        .iter()
        .map(Name::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn when(interval: &TimeInterval) -> String {
    let parts: Vec<String> = interval
        .parts()
        .iter()
        .map(|part| match part {
            IntervalPart::Period(one) => period(one),
            IntervalPart::Span(from, until) => format!("from {from} until {until}"),
        })
        .collect();
    if parts.is_empty() {
        "never".to_owned()
    } else {
        parts.join("; or ")
    }
}

fn period(period: &Period) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut add = |what: &str, items: Vec<String>| {
        if !items.is_empty() {
            words.push(format!("{what}{}", items.join(", ")));
        }
    };
    let next_day = |from, until| if until <= from { " the day after" } else { "" };
    let times = period.times.iter();
    add(
        "",
        times
            .map(|(a, b)| format!("{}-{}{}", clock(*a), clock(*b), next_day(a, b)))
            .collect(),
    );
    add(
        "on ",
        period
            .weekdays
            .iter()
            .map(|day| format!("{day:?}").to_ascii_lowercase())
            .collect(),
    );
    add(
        "on days ",
        period
            .days_of_month
            .iter()
            .map(|(a, b)| range(a, b))
            .collect(),
    );
    add(
        "in months ",
        period
            .months
            .iter()
            .map(|months| range(months.start(), months.end()))
            .collect(),
    );
    add(
        "in ",
        period
            .years
            .iter()
            .map(|years| range(years.start(), years.end()))
            .collect(),
    );
    let zone = period.zone.iana_name().unwrap_or("this machine's");
    format!(
        "{} (zone {zone})",
        if words.is_empty() {
            "always".to_owned()
        } else {
            words.join(" ")
        }
    )
}

fn range<T: PartialEq + std::fmt::Display>(from: &T, until: &T) -> String {
    if from == until {
        from.to_string()
    } else {
        format!("{from}:{until}")
    }
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// A match, about as its author wrote it.
fn matcher(matcher: &Matcher) -> String {
    let test = |(field, wanted): &(crate::model::Field, Test)| format!("{field}: {}", test(wanted));
    let mut words: Vec<String> = matcher.tests.iter().map(test).collect();
    if !matcher.not.is_empty() {
        words.push(format!(
            "not: {{{}}}",
            matcher.not.iter().map(test).collect::<Vec<_>>().join(", ")
        ));
    }
    if words.is_empty() {
        "everything".to_owned()
    } else {
        format!("{{{}}}", words.join(", "))
    }
}

fn test(test: &Test) -> String {
    let list = |all: Vec<String>| match all.as_slice() {
        [one] => one.clone(),
        all => format!("[{}]", all.join(", ")),
    };
    match test {
        Test::OneOf(patterns) => list(patterns.iter().map(ToString::to_string).collect()),
        Test::AnyOf(tests) => list(tests.iter().map(self::test).collect()),
        Test::Exists(there) => format!("{{exists: {there}}}"),
        Test::Number { gt, gte, lt, lte } => {
            let bounds = [("gt", gt), ("gte", gte), ("lt", lt), ("lte", lte)];
            let all = bounds
                .iter()
                .filter_map(|(word, n)| Some(format!("{word}: {}", n.as_ref()?)));
            format!("{{{}}}", all.collect::<Vec<_>>().join(", "))
        }
    }
}
