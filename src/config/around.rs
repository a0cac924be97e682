//! What stands beside the rules: `inhibit_rules`, `topology`, digests, and that all of it fits
//! together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::matching::{certain, matcher, unquoted_mac};
use super::read::{Reader, Section};
use super::rules::{self, Known};
use super::spelling::did_you_mean;
use super::tree::{At, Node, Tree};
use super::{calendar, keys, loops};
use crate::model::{Name, Severity};
use crate::rules::{
    Cycle, Daily, DigestSchedule, InhibitRule, Matcher, Rule, Surroundings, TimeInterval, Topology,
};

/// The rules, every template they name with its place, and what stands beside them.
pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
    destinations: &[(Name, Severity)],
) -> (Vec<Rule>, Vec<(At, String)>, Surroundings) {
    let time_intervals = calendar::time_intervals(reader, file);
    let (digests, names) = digests(reader, file, destinations);
    let mut known = Known {
        destinations,
        digests: &names,
        intervals: &time_intervals,
        used: Vec::new(),
        templates: Vec::new(),
    };
    let rules = rules::resolve(reader, file, &mut known);
    let Known {
        mut used,
        templates,
        ..
    } = known;
    let maintenance = calendar::maintenance(reader, file, &time_intervals, &mut used);
    unused(reader, file, &time_intervals, &used);
    let topology = topology(reader, file);
    let inhibit_rules = inhibit_rules(reader, file, &rules, &topology);
    (
        rules,
        templates,
        Surroundings {
            time_intervals,
            maintenance,
            inhibit_rules,
            topology,
            digests,
        },
    )
}

/// Time intervals that nothing names.
fn unused(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
    known: &BTreeMap<Name, TimeInterval>,
    used: &[Name],
) {
    let entries = file
        .get("time_intervals")
        .and_then(|node| reader.entries(node, "time_intervals"));
    for (name, at, _) in entries.unwrap_or_default() {
        if known.contains_key(&Name::new(name)) && !used.iter().any(|used| used.as_str() == name) {
            let help = "name it in `mute_time_intervals`, `active_time_intervals` or `maintenance`";
            reader
                .problems
                .warn(at, format!("nothing uses the time interval `{name}`"), help);
        }
    }
}

/// Whether this is the settings of a digest.
pub(super) fn is_digest(node: &Node) -> bool {
    matches!(&node.tree, Tree::Map(entries) if entries.iter().any(|(key, _)| key.scalar().is_some_and(|s| s.text == "digest")))
}

/// The digests that can be used, and the name of every one the file defines.
fn digests(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
    destinations: &[(Name, Severity)],
) -> (Vec<DigestSchedule>, Vec<Name>) {
    let mut usable = Vec::new();
    let mut names = Vec::new();
    let Some(Tree::Map(entries)) = file.get("destinations").map(|node| &node.tree) else {
        return (usable, names);
    };
    for (key, node) in entries.iter().filter(|(_, node)| is_digest(node)) {
        let Some(name) = key.scalar().map(|scalar| scalar.text.as_str()) else {
            continue;
        };
        names.push(Name::new(name));
        usable.extend(digest(reader, name, node, destinations));
    }
    (usable, names)
}

fn digest(
    reader: &mut Reader<'_>,
    name: &str,
    node: &Node,
    destinations: &[(Name, Severity)],
) -> Option<DigestSchedule> {
    let place = format!("destination `{name}`");
    let section = reader.section(node, keys::DESTINATION, &place)?;
    for key in keys::DESTINATION
        .iter()
        .map(|key| key.name)
        .filter(|key| !["digest", "min_severity"].contains(key))
    {
        if section.get(key).is_some() {
            let help = "a digest sends nothing itself: it belongs to those it goes `into`";
            reader.problems.error(
                section.key_at(key),
                format!("{place} is a digest and has no `{key}`"),
                help,
            );
        }
    }
    let severity = section
        .get("min_severity")
        .and_then(|n| reader.word(n, "min_severity", keys::SEVERITIES));
    let settings = reader.section(section.get("digest")?, keys::DIGEST, "digest")?;
    let zone = calendar::zone_of(reader, &settings).unwrap_or_else(|| reader.zone.clone());
    let mut times = Vec::new();
    match settings.get("at") {
        Some(node) => {
            for item in reader.one_or_many(node, "at") {
                let text = reader.text(item, "at");
                times.extend(text.and_then(|text| calendar::minute(reader, item, text, false)));
            }
        }
        None => reader.problems.error(
            settings.at,
            format!("{place} does not say when"),
            "as in {at: \"08:00\"}",
        ),
    }
    let mut into: Vec<Name> = destinations.iter().map(|(name, _)| name.clone()).collect();
    let named = settings
        .get("into")
        .map(|node| reader.texts(node, "into"))
        .unwrap_or_default();
    if !named.is_empty() && !named.iter().any(|(name, _)| *name == "all") {
        let known: Vec<&str> = destinations.iter().map(|(name, _)| name.as_str()).collect();
        for (other, at) in named.iter().filter(|(name, _)| !known.contains(name)) {
            let what =
                format!("{place} goes into \"{other}\", which is not a destination that sends");
            reader
                .problems
                .error(*at, what, did_you_mean(other, &known, "defined"));
        }
        into.retain(|name| named.iter().any(|(wanted, _)| *wanted == name.as_str()));
    }
    if times.is_empty() || into.is_empty() {
        return None;
    }
    Some(DigestSchedule {
        name: Name::new(name),
        min_severity: severity.and_then(Severity::parse).unwrap_or(Severity::Info),
        at: Daily::new(times, zone),
        into,
    })
}

fn topology(reader: &mut Reader<'_>, file: &Section<'_>) -> Topology {
    let section = file
        .get("topology")
        .and_then(|node| reader.section(node, keys::TOPOLOGY, "topology"));
    let Some(node) = section.as_ref().and_then(|section| section.get("links")) else {
        return Topology::default();
    };
    let mut links = Vec::new();
    for (parent, at, children) in reader.entries(node, "links").unwrap_or_default() {
        if parent.len() >= 10
            && parent.bytes().all(|b| b.is_ascii_digit())
            && at.width == parent.len()
        {
            unquoted_mac(reader, at, parent);
        }
        for item in reader.one_or_many(children, parent) {
            let Some(child) = reader.text(item, parent) else {
                continue;
            };
            if item
                .scalar()
                .is_some_and(|s| s.kind == super::tree::Plain::Number)
                && child.len() >= 10
            {
                unquoted_mac(reader, item.at, child);
            }
            links.push((parent, child, item.at));
        }
    }
    match Topology::new(links.iter().map(|(parent, child, _)| (*parent, *child))) {
        Ok(topology) => topology,
        Err(Cycle(way)) => {
            let named = |a: &str, b: Option<&String>| {
                b.is_some_and(|b| crate::rules::fold(a) == crate::rules::fold(b))
            };
            let closing = links
                .iter()
                .find(|(parent, child, _)| named(parent, way.first()) && named(child, way.get(1)));
            let at = closing.map_or(node.at, |(.., at)| *at);
            let what = format!(
                "a device would be reached through itself: {}",
                way.join(" -> ")
            );
            reader.problems.error(
                at,
                what,
                "a link goes from what is nearer to the internet to what is behind it",
            );
            Topology::default()
        }
    }
}

fn inhibit_rules(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
    rules: &[Rule],
    topology: &Topology,
) -> Vec<InhibitRule> {
    let items = file
        .get("inhibit_rules")
        .map(|node| reader.list(node, "inhibit_rules"))
        .unwrap_or_default();
    let read = items
        .iter()
        .filter_map(|item| Some((item.at, inhibit_rule(reader, item, rules, topology)?)));
    let read: Vec<(At, InhibitRule)> = read.collect();
    loops::warn(reader, &read);
    read.into_iter().map(|(_, rule)| rule).collect()
}

fn inhibit_rule(
    reader: &mut Reader<'_>,
    node: &Node,
    rules: &[Rule],
    topology: &Topology,
) -> Option<InhibitRule> {
    let section = reader.section(node, keys::INHIBIT, "an inhibit rule")?;
    let mut side = |key: &str| match section.get(key) {
        Some(node) => matcher(reader, node, key),
        None => {
            let help = "as in {source: {condition: switch_offline}, target: {condition: ap_offline}, equal: site}";
            reader
                .problems
                .error(section.at, format!("an inhibit rule has no `{key}`"), help);
            None
        }
    };
    let (source, target) = (side("source"), side("target"));
    let equal = section
        .get("equal")
        .and_then(|node| reader.fields(node, "equal"))
        .unwrap_or_default();
    let within = section
        .get("within")
        .and_then(|node| reader.positive(node, "within"));
    let hold = section
        .get("hold")
        .and_then(|node| reader.duration(node, "hold"));
    let via = section
        .get("via")
        .and_then(|node| reader.word(node, "via", keys::VIA))
        .is_some();
    if via && topology.is_empty() {
        let help = "draw it: topology: {links: {sw-garage: [ap-garage]}}";
        reader.problems.warn(
            section.key_at("via"),
            "`via: topology`, but no `topology.links` are given",
            help,
        );
    } else if section.get("via").is_none() && section.get("equal").is_none() {
        let help = "say what is the same on both sides, as in equal: [site], or via: topology";
        reader.problems.warn(
            section.at,
            "one source anywhere will silence every target everywhere",
            help,
        );
    }
    for (key, side) in [("source", &source), ("target", &target)] {
        if let Some(side) = side
            && !rules.is_empty()
            && !rules.iter().any(|rule| may_share(side, &rule.matcher))
        {
            let what = format!("no rule looks for what is the `{key}` of this inhibit rule");
            reader.problems.warn(
                section.key_at(key),
                what,
                "it takes a rule that matches it, be it with `notify: []`",
            );
        }
    }
    Some(InhibitRule {
        line: section.at.line,
        source: source?,
        target: target?,
        equal,
        within,
        via_topology: via,
        hold: hold.unwrap_or(Duration::from_secs(30)),
    })
}

/// Whether an event, or another about the same condition, might match both: false only when that is
/// certain.
fn may_share(a: &Matcher, b: &Matcher) -> bool {
    let (Some(a), Some(b)): (Option<BTreeSet<String>>, Option<BTreeSet<String>>) =
        (certain(a), certain(b))
    else {
        return true;
    };
    !a.is_disjoint(&b)
}
