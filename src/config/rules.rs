//! `defaults:` and `rules:`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::keys;
use super::matching::{endless, impossible, improbable, matcher};
use super::problem::did_you_mean;
use super::raw::{At, Node, Tree};
use super::read::{Reader, Section};
use crate::model::{Name, Severity};
use crate::rules::{Policy, Resolve, Rule, Threshold};

/// The rules that can be used, and every template they name, with its place.
pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
    destinations: &[(Name, Severity)],
) -> (Vec<Rule>, Vec<(At, String)>) {
    let mut templates = Vec::new();
    let mut defaults = Policy::default();
    if let Some(section) = file.get("defaults").and_then(|node| reader.section(node, keys::DEFAULTS, "defaults")) {
        policy(reader, &section, "`defaults`", &mut defaults, destinations, &mut templates);
    }
    let Some(node) = file.get("rules") else {
        reader.problems.error(file.at, "there are no `rules`", "see the first rule in the README");
        return (Vec::new(), templates);
    };
    let items = reader.list(node, "rules");
    if items.is_empty() && matches!(node.tree, Tree::List(_)) {
        reader.problems.error(node.at, "there are no `rules`", "see the first rule in the README");
    }
    let mut seen: HashMap<Arc<str>, u64> = HashMap::new();
    let mut rules = Vec::new();
    for item in items {
        let Some(rule) = rule(reader, item, &defaults, destinations, &mut templates) else { continue };
        if let Some(first) = seen.insert(Arc::clone(&rule.name), rule.line) {
            let at = name_at(item);
            let help = format!("the first is on line {first}; a rule's name is its identity");
            reader.problems.error(at, format!("two rules are called \"{}\"", rule.name), help);
            seen.insert(Arc::clone(&rule.name), first);
        } else {
            rules.push(rule);
        }
    }
    (rules, templates)
}

fn name_at(item: &Node) -> At {
    match &item.tree {
        Tree::Map(entries) => entries
            .iter()
            .find(|(key, _)| key.scalar().is_some_and(|s| s.text == "name"))
            .map_or(item.at, |(_, value)| value.at),
        Tree::Null | Tree::Scalar(_) | Tree::List(_) => item.at,
    }
}

fn rule(
    reader: &mut Reader<'_>,
    node: &Node,
    defaults: &Policy,
    destinations: &[(Name, Severity)],
    templates: &mut Vec<(At, String)>,
) -> Option<Rule> {
    let section = reader.section(node, keys::RULE, "a rule")?;
    let name: Option<Arc<str>> = match section.get("name") {
        Some(node) => reader.text(node, "name").map(Arc::from),
        None => {
            reader.problems.error(section.at, "a rule has no `name`", "its name is how messages and history know it");
            None
        }
    };
    let called = format!("rule \"{}\"", name.as_deref().unwrap_or("?"));
    let matcher = match section.get("match") {
        Some(node) => matcher(reader, node, "match"),
        None => {
            let help = "write match: {} if it really means every event";
            reader.problems.error(section.at, format!("{called} has no `match`"), help);
            None
        }
    };
    let by = section.get("by").and_then(|node| reader.fields(node, "by"));
    let resolve = match section.get("resolve") {
        None => Resolve::Implied,
        Some(node) if node.scalar().is_some_and(|s| s.text.eq_ignore_ascii_case("never")) => Resolve::Never,
        Some(node) if node.scalar().is_some() => {
            reader.problems.error(
                node.at,
                "`resolve` must be a match or `never`",
                "as in resolve: {type: AP_CONNECTED}",
            );
            Resolve::Implied
        }
        Some(node) => super::matching::matcher(reader, node, "resolve").map_or(Resolve::Implied, Resolve::When),
    };
    let threshold = section.get("threshold").and_then(|node| threshold(reader, node));
    let mut own = defaults.clone();
    policy(reader, &section, &called, &mut own, destinations, templates);
    let own_duration = |key: &str, reader: &mut Reader<'_>| section.get(key).and_then(|n| reader.duration(n, key));
    own.r#for = own_duration("for", reader).unwrap_or(Duration::ZERO);
    own.keep_firing_for = own_duration("keep_firing_for", reader).unwrap_or(Duration::ZERO);
    let matcher = matcher?;
    if !matches!(resolve, Resolve::When(_)) {
        for (key, given) in [("for", own.r#for), ("keep_firing_for", own.keep_firing_for)] {
            if !given.is_zero()
                && let Some(endless) = endless(&matcher)
            {
                let what = format!("{called} has `{key}`, but {endless}");
                reader.problems.error(section.key_at(key), what, "say what ends it with `resolve`, or use `threshold`");
            }
        }
    }
    if let Some(why) = impossible(&matcher) {
        reader.problems.error(section.key_at("match"), format!("{called} can never match: {why}"), "");
    } else if let Some(why) = improbable(&matcher) {
        reader.problems.warn(section.key_at("match"), format!("{called} will hardly ever match: {why}"), "");
    }
    Some(Rule {
        name: name?,
        line: section.at.line,
        matcher,
        by,
        resolve,
        threshold,
        when: None,
        absent: None,
        policy: Arc::new(own),
    })
}

/// The keys that `defaults` and rules share.
fn policy(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    called: &str,
    policy: &mut Policy,
    destinations: &[(Name, Severity)],
    templates: &mut Vec<(At, String)>,
) {
    if let Some(word) = section.get("severity").and_then(|n| reader.word(n, "severity", keys::SEVERITIES)) {
        policy.severity = Severity::parse(word);
    }
    if let Some(node) = section.get("group_by") {
        if matches!(&node.tree, Tree::List(items) if items.is_empty()) {
            policy.group_by = Vec::new();
        } else if let Some(fields) = reader.fields(node, "group_by") {
            policy.group_by = fields;
        }
    }
    if let Some(wait) = section.get("group_wait").and_then(|n| reader.duration(n, "group_wait")) {
        policy.group_wait = wait;
    }
    if let Some(interval) = section.get("group_interval").and_then(|n| reader.duration(n, "group_interval")) {
        policy.group_interval = interval;
    }
    if let Some(cooldown) = section.get("cooldown").and_then(|n| reader.duration(n, "cooldown")) {
        policy.cooldown = cooldown;
    }
    if let Some(repeat) = section.get("repeat_interval").and_then(|n| reader.duration_or_never(n, "repeat_interval")) {
        policy.repeat_interval = repeat;
    }
    if let Some(stale) = section.get("stale_after").and_then(|n| reader.duration_or_never(n, "stale_after")) {
        policy.stale_after = stale;
    }
    if let Some(node) = section.get("notify") {
        policy.notify = notify(reader, node, called, destinations);
    }
    if let Some(node) = section.get("template")
        && let Some(name) = reader.text(node, "template")
    {
        templates.push((node.at, name.to_owned()));
        policy.template = Some(name.to_owned());
    }
}

fn notify(reader: &mut Reader<'_>, node: &Node, called: &str, destinations: &[(Name, Severity)]) -> Option<Vec<Name>> {
    let names = reader.texts(node, "notify");
    if names.iter().any(|(name, _)| *name == "all") {
        return None;
    }
    if names.is_empty() && matches!(node.tree, Tree::List(_)) {
        reader.problems.warn(node.at, format!("{called} tells nobody"), "its alerts are only recorded");
    }
    let known: Vec<&str> = destinations.iter().map(|(name, _)| name.as_str()).collect();
    let mut found: Vec<Name> = Vec::new();
    for (name, at) in names {
        if !known.contains(&name) {
            let what = format!("{called} sends to \"{name}\", which is not a destination");
            reader.problems.error(at, what, did_you_mean(name, &known, "defined"));
        } else if !found.iter().any(|n| n.as_str() == name) {
            found.push(Name::new(name));
        }
    }
    Some(found)
}

fn threshold(reader: &mut Reader<'_>, node: &Node) -> Option<Threshold> {
    let section = reader.section(node, keys::THRESHOLD, "threshold")?;
    for key in ["count", "window"] {
        if section.get(key).is_none() {
            reader.problems.error(section.at, format!("`threshold` has no `{key}`"), "as in {count: 5, window: 10m}");
        }
    }
    let count = section.get("count").and_then(|n| reader.count(n, "count"));
    let window = section.get("window").and_then(|n| reader.positive(n, "window"));
    let distinct = section.get("distinct").map(|node| {
        let word = reader.text(node, "distinct")?;
        reader.field(node.at, word)
    });
    Some(Threshold { count: count?, window: window?, distinct: distinct.flatten() })
}
