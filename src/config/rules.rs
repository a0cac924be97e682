//! `defaults:` and `rules:`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::calendar::named_interval;
use super::cure;
use super::keys;
use super::matching::{endless, impossible, improbable, matcher};
use super::read::{Reader, Section};
use super::spelling::did_you_mean;
use super::tree::{At, Node, Tree};
use crate::model::{Field, Name, Severity};
use crate::rules::{
    DuringMute, Flapping, Matcher, Policy, Resolve, Rule, Threshold, TimeInterval, When,
};

/// What rules may name, and what they did name.
pub(super) struct Known<'a> {
    /// Those that send.
    pub(super) destinations: &'a [(Name, Severity)],
    pub(super) digests: &'a [Name],
    pub(super) intervals: &'a BTreeMap<Name, TimeInterval>,
    /// The time intervals they named.
    pub(super) used: Vec<Name>,
    /// The templates they named, with their places.
    pub(super) templates: Vec<(At, String)>,
}

/// The rules that can be used.
pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
    known: &mut Known<'_>,
) -> Vec<Rule> {
    let mut defaults = Policy::default();
    if let Some(section) = file
        .get("defaults")
        .and_then(|node| reader.section(node, keys::DEFAULTS, "defaults"))
    {
        policy(reader, &section, "`defaults`", &mut defaults, known);
    }
    let Some(node) = file.get("rules") else {
        reader.problems.error(
            file.at,
            "there are no `rules`",
            "see the first rule in the README",
        );
        return Vec::new();
    };
    let items = reader.list(node, "rules");
    if items.is_empty() && matches!(node.tree, Tree::List(_)) {
        reader.problems.error(
            node.at,
            "there are no `rules`",
            "see the first rule in the README",
        );
    }
    let mut seen: HashMap<Arc<str>, u64> = HashMap::new();
    let mut rules = Vec::new();
    for item in items {
        let Some(rule) = rule(reader, item, &defaults, known) else {
            continue;
        };
        if let Some(first) = seen.insert(Arc::clone(&rule.name), rule.line) {
            let at = name_at(item);
            let help = format!("the first is on line {first}; a rule's name is its identity");
            reader
                .problems
                .error(at, format!("two rules are called \"{}\"", rule.name), help);
            seen.insert(Arc::clone(&rule.name), first);
        } else {
            rules.push(rule);
        }
    }
    rules
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
    known: &mut Known<'_>,
) -> Option<Rule> {
    let section = reader.section(node, keys::RULE, "a rule")?;
    let name: Option<Arc<str>> = match section.get("name") {
        Some(node) => reader.text(node, "name").map(Arc::from),
        None => {
            reader.problems.error(
                section.at,
                "a rule has no `name`",
                "its name is how messages and history know it",
            );
            None
        }
    };
    let called = format!("rule \"{}\"", name.as_deref().unwrap_or("?"));
    let matcher = match section.get("match") {
        Some(node) => matcher(reader, node, "match"),
        None => {
            let help = "write match: {} if it really means every event";
            reader
                .problems
                .error(section.at, format!("{called} has no `match`"), help);
            None
        }
    };
    let by = section.get("by").and_then(|node| reader.fields(node, "by"));
    let resolve = match section.get("resolve") {
        None => Resolve::Implied,
        Some(node)
            if node
                .scalar()
                .is_some_and(|s| s.text.eq_ignore_ascii_case("never")) =>
        {
            Resolve::Never
        }
        Some(node) if node.scalar().is_some() => {
            reader.problems.error(
                node.at,
                "`resolve` must be a match or `never`",
                "as in resolve: {type: AP_CONNECTED}",
            );
            Resolve::Implied
        }
        Some(node) => super::matching::matcher(reader, node, "resolve")
            .map_or(Resolve::Implied, Resolve::When),
    };
    let threshold = section
        .get("threshold")
        .and_then(|node| threshold(reader, node));
    let mut own = defaults.clone();
    policy(reader, &section, &called, &mut own, known);
    let own_duration =
        |key: &str, reader: &mut Reader<'_>| section.get(key).and_then(|n| reader.duration(n, key));
    own.r#for = own_duration("for", reader).unwrap_or(Duration::ZERO);
    own.keep_firing_for = own_duration("keep_firing_for", reader).unwrap_or(Duration::ZERO);
    let when = section
        .get("when")
        .and_then(|node| when(reader, node, &called));
    let absent = section.get("absent").and_then(|node| absent(reader, node));
    let matcher = matcher?;
    if section.get("absent").is_some() {
        absence_has_no(reader, &section, &called);
        own.flapping = None;
    } else {
        without_an_end(reader, &section, &called, &matcher, &resolve, &mut own);
        let lasts = match resolve {
            Resolve::When(_) => true,
            Resolve::Implied => endless(&matcher).is_none(),
            Resolve::Never => false,
        };
        if lasts && let Some(field) = by.iter().flatten().find(|field| is_of_one_event(field)) {
            reader.problems.warn(
                section.key_at("by"),
                format!("with `{field}` in its `by`, {called} makes an alert of every event, though what it is about lasts"),
                "name what it is about, as in by: [device]; many that are open are not followed any more",
            );
        }
    }
    let stale = section.get("stale_after").and(own.stale_after);
    if stale.is_some_and(|stale| stale < own.r#for) {
        reader.problems.warn(
            section.key_at("stale_after"),
            format!("{called} is stale before it fires: `stale_after` is shorter than `for`"),
            "make `stale_after` longer",
        );
    }
    if let Some(why) = impossible(&matcher) {
        reader.problems.error(
            section.key_at("match"),
            format!("{called} can never match: {why}"),
            "",
        );
    } else if let Some(why) = improbable(&matcher) {
        reader.problems.warn(
            section.key_at("match"),
            format!("{called} will hardly ever match: {why}"),
            "",
        );
    }
    Some(Rule {
        name: name?,
        line: section.at.line,
        matcher,
        by,
        resolve,
        threshold,
        when,
        absent,
        policy: Arc::new(own),
    })
}

/// Whether a field differs from event to event, whatever they are about.
fn is_of_one_event(field: &Field) -> bool {
    const NAMES: [&str; 7] = [
        "id",
        "event_id",
        "timestamp",
        "time",
        "when",
        "last_seen",
        "audit_id",
    ];
    match field {
        Field::Id => true,
        Field::Raw(path) => path
            .0
            .last()
            .is_some_and(|name| NAMES.contains(&name.as_str())),
        _ => false,
    }
}

/// What needs an end, on what has none: a problem where the rule says so itself, nothing where
/// `defaults` do.
fn without_an_end(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    called: &str,
    matcher: &Matcher,
    resolve: &Resolve,
    own: &mut Policy,
) {
    let why = match resolve {
        Resolve::When(_) => return,
        Resolve::Never => Some("it never resolves".to_owned()),
        Resolve::Implied => None,
    };
    let Some(why) = endless(matcher).or(why) else {
        return;
    };
    let help = match resolve {
        Resolve::Never => "leave it out, or say what ends it with `resolve`",
        Resolve::Implied | Resolve::When(_) => {
            "say what ends it with `resolve`, or use `threshold`"
        }
    };
    for (key, given) in [
        ("for", !own.r#for.is_zero()),
        ("keep_firing_for", !own.keep_firing_for.is_zero()),
    ] {
        if given {
            reader.problems.error(
                section.key_at(key),
                format!("{called} has `{key}`, but {why}"),
                help,
            );
        }
    }
    if section.get("flapping").is_some() && own.flapping.is_some() {
        let help = "say what ends it with `resolve`, or leave `flapping` out";
        reader.problems.error(
            section.key_at("flapping"),
            format!("{called} has `flapping`, but {why}"),
            help,
        );
    }
    own.flapping = None;
}

/// An expression, and where in it something is wrong.
fn when(reader: &mut Reader<'_>, node: &Node, called: &str) -> Option<When> {
    let text = reader.text(node, "when")?;
    let problem = match When::compile(text) {
        Ok(when) => return Some(when),
        Err(problem) => problem,
    };
    let help = problem
        .unknown
        .as_ref()
        .map(|(word, known)| did_you_mean(word, known, "known"))
        .or_else(|| cure::expression(text).map(str::to_owned))
        .unwrap_or_default();
    // Quotes stand before it; where it has several lines or escapes, only the whole can be shown.
    let length = text.chars().count();
    let quote = node
        .at
        .width
        .checked_sub(length)
        .filter(|more| matches!(more, 0 | 2) && !text.contains('\n'));
    let at = problem.range.zip(quote).and_then(|(range, quote)| {
        let before = text.get(..range.start)?.chars().count() + quote / 2;
        let width = text.get(range)?.chars().count().max(1);
        Some(At {
            column: node.at.column + before as u64,
            width,
            ..node.at
        })
    });
    reader.problems.error(
        at.unwrap_or(node.at),
        format!("`when` of {called}: {}", problem.message),
        help,
    );
    None
}

fn absent(reader: &mut Reader<'_>, node: &Node) -> Option<Duration> {
    let section = reader.section(node, keys::ABSENT, "absent")?;
    match section.get("window") {
        Some(node) => reader.positive(node, "window"),
        None => {
            reader.problems.error(
                section.at,
                "`absent` has no `window`",
                "as in absent: {window: 1h}",
            );
            None
        }
    }
}

/// Keys that are about something that happens, beside `absent`, which is about nothing happening.
fn absence_has_no(reader: &mut Reader<'_>, section: &Section<'_>, called: &str) {
    for key in [
        "for",
        "keep_firing_for",
        "resolve",
        "threshold",
        "cooldown",
        "flapping",
    ] {
        if section.get(key).is_some() {
            let help = match key {
                "for" => "`window` is how long nothing must come",
                "resolve" => "it is over when one comes",
                _ => "make two rules of it",
            };
            reader.problems.error(
                section.key_at(key),
                format!("{called} has `{key}` beside `absent`"),
                help,
            );
        }
    }
}

/// The keys that `defaults` and rules share.
fn policy(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    called: &str,
    policy: &mut Policy,
    known: &mut Known<'_>,
) {
    if let Some(word) = section
        .get("severity")
        .and_then(|n| reader.word(n, "severity", keys::SEVERITIES))
    {
        policy.severity = Severity::parse(word);
    }
    if let Some(node) = section.get("group_by") {
        if matches!(&node.tree, Tree::List(items) if items.is_empty()) {
            policy.group_by = Vec::new();
        } else if let Some(fields) = reader.fields(node, "group_by") {
            policy.group_by = fields;
        }
    }
    if let Some(wait) = section
        .get("group_wait")
        .and_then(|n| reader.duration(n, "group_wait"))
    {
        policy.group_wait = wait;
    }
    if let Some(interval) = section
        .get("group_interval")
        .and_then(|n| reader.duration(n, "group_interval"))
    {
        policy.group_interval = interval;
    }
    if let Some(cooldown) = section
        .get("cooldown")
        .and_then(|n| reader.duration(n, "cooldown"))
    {
        policy.cooldown = cooldown;
    }
    if let Some(repeat) = section
        .get("repeat_interval")
        .and_then(|n| reader.duration_or_never(n, "repeat_interval"))
    {
        policy.repeat_interval = repeat;
    }
    if let Some(stale) = section
        .get("stale_after")
        .and_then(|n| reader.duration_or_never(n, "stale_after"))
    {
        policy.stale_after = stale;
    }
    if let Some(node) = section.get("flapping")
        && let Some(given) = flapping(reader, node, policy.flapping.unwrap_or_default())
    {
        policy.flapping = given;
    }
    mutes(reader, section, called, policy, known);
    if let Some(node) = section.get("notify") {
        policy.notify = notify(reader, node, called, known);
    }
    if let Some(node) = section.get("template")
        && let Some(name) = reader.text(node, "template")
    {
        known.templates.push((node.at, name.to_owned()));
        policy.template = Some(name.to_owned());
    }
}

/// `{changes, window, stable}`, what is left out as in `from`; or `off`, which is `Some(None)`.
fn flapping(reader: &mut Reader<'_>, node: &Node, from: Flapping) -> Option<Option<Flapping>> {
    if let Some(word) = node.scalar() {
        let text = word.text.to_ascii_lowercase();
        if keys::OFF.contains(&text.as_str()) {
            return Some(None);
        }
        if ["on", "true", "yes"].contains(&text.as_str()) {
            return Some(Some(from));
        }
        let help = "write {changes: 4, window: 30m, stable: 10m}, or off";
        reader.problems.error(
            node.at,
            format!("`flapping` cannot be \"{}\"", word.text),
            help,
        );
        return None;
    }
    let section = reader.section(node, keys::FLAPPING, "flapping")?;
    let changes = section
        .get("changes")
        .and_then(|n| reader.count(n, "changes"));
    if changes == Some(1) {
        let help = "one change is none: it goes down and comes back; at least 2";
        reader.problems.error(
            section.key_at("changes"),
            "`changes` of 1 would call everything flapping",
            help,
        );
    }
    let window = section
        .get("window")
        .and_then(|n| reader.positive(n, "window"));
    let stable = section
        .get("stable")
        .and_then(|n| reader.positive(n, "stable"));
    Some(Some(Flapping {
        changes: changes.unwrap_or(from.changes),
        window: window.unwrap_or(from.window),
        stable: stable.unwrap_or(from.stable),
    }))
}

fn mutes(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    called: &str,
    policy: &mut Policy,
    known: &mut Known<'_>,
) {
    let mut named = |key: &str, reader: &mut Reader<'_>| {
        let items = reader.one_or_many(section.get(key)?, key);
        let found = items
            .iter()
            .filter_map(|item| named_interval(reader, item, key, called, known.intervals));
        let names: Vec<Name> = found.map(|(name, _)| name).collect();
        known.used.extend(names.iter().cloned());
        Some(names)
    };
    if let Some(names) = named("mute_time_intervals", reader) {
        policy.mute_time_intervals = names;
    }
    if let Some(names) = named("active_time_intervals", reader) {
        policy.active_time_intervals = names;
    }
    match section
        .get("during_mute")
        .and_then(|n| reader.word(n, "during_mute", keys::MUTED))
    {
        Some("hold") => policy.during_mute = DuringMute::Hold,
        Some("drop") => policy.during_mute = DuringMute::Drop,
        Some(_) => {
            policy.during_mute = DuringMute::Digest;
            if known.digests.is_empty() {
                let help = "add one: destinations: {morning: {digest: {at: \"08:00\"}}}";
                let what = format!(
                    "{called} keeps for a digest what it does not tell, and there is no digest"
                );
                reader
                    .problems
                    .error(section.key_at("during_mute"), what, help);
            }
        }
        None => {}
    }
}

fn notify(
    reader: &mut Reader<'_>,
    node: &Node,
    called: &str,
    known: &Known<'_>,
) -> Option<Vec<Name>> {
    let names = reader.texts(node, "notify");
    if names.iter().any(|(name, _)| *name == "all") {
        return None;
    }
    if names.is_empty() && matches!(node.tree, Tree::List(_)) {
        reader.problems.warn(
            node.at,
            format!("{called} tells nobody"),
            "its alerts are only recorded",
        );
    }
    let known: Vec<&str> = known
        .destinations
        .iter()
        .map(|(name, _)| name)
        .chain(known.digests)
        .map(Name::as_str)
        .collect();
    let mut found: Vec<Name> = Vec::new();
    for (name, at) in names {
        if !known.contains(&name) {
            let what = format!("{called} sends to \"{name}\", which is not a destination");
            reader
                .problems
                .error(at, what, did_you_mean(name, &known, "defined"));
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
            reader.problems.error(
                section.at,
                format!("`threshold` has no `{key}`"),
                "as in {count: 5, window: 10m}",
            );
        }
    }
    let count = section.get("count").and_then(|n| reader.count(n, "count"));
    let window = section
        .get("window")
        .and_then(|n| reader.positive(n, "window"));
    let distinct = section.get("distinct").map(|node| {
        let word = reader.text(node, "distinct")?;
        reader.field(node.at, word)
    });
    Some(Threshold {
        count: count?,
        window: window?,
        distinct: distinct.flatten(),
    })
}
