//! `defaults:` and `rules:`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::keys;
use super::problem::{did_you_mean, nearest};
use super::raw::{At, Node, Plain, Tree};
use super::read::{Reader, Section};
use crate::model::{Field, Name, Severity};
use crate::rules::{Matcher, Pattern, Policy, Resolve, Rule, Test, Threshold};
use crate::source::mist::catalogue::{self, Entry, Role};

/// Topics Mist is known to send.
const TOPICS: &[&str] = &[
    "alarms",
    "audits",
    "asset-raw",
    "asset-raw-rssi",
    "client-info",
    "client-join",
    "client-latency",
    "client-sessions",
    "device-events",
    "device-updowns",
    "discovered-raw-rssi",
    "guest-authorizations",
    "location",
    "location-asset",
    "location-centrak",
    "location-client",
    "location-sdk",
    "location-unclient",
    "minis-application",
    "mxedge-events",
    "nac-accounting",
    "nac-events",
    "nac-sdk",
    "occupancy-alerts",
    "ping",
    "rssi-zone",
    "sdkclient-scan-data",
    "site-sle",
    "vbeacon",
    "wifi-conn-raw",
    "wifi-unconn-raw",
    "zone",
];

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
        Some(node) => self::matcher(reader, node, "resolve").map_or(Resolve::Implied, Resolve::When),
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

/// A match: a map of fields and tests, and `not`.
pub(super) fn matcher(reader: &mut Reader<'_>, node: &Node, place: &str) -> Option<Matcher> {
    let entries = reader.entries(node, &format!("`{place}`"))?;
    let mut matcher = Matcher::default();
    for (key, at, value) in entries {
        if key == "not" {
            for (key, at, value) in reader.entries(value, "`not`").unwrap_or_default() {
                matcher.not.extend(one_test(reader, key, at, value));
            }
        } else {
            matcher.tests.extend(one_test(reader, key, at, value));
        }
    }
    Some(matcher)
}

fn one_test(reader: &mut Reader<'_>, key: &str, at: At, value: &Node) -> Option<(Field, Test)> {
    let field = reader.field(at, key)?;
    let test = match &value.tree {
        Tree::Map(_) => bounds(reader, value, key)?,
        Tree::Null => {
            reader.problems.error(
                at,
                format!("`{key}` has no value"),
                "to ask whether it is there, write {exists: true}",
            );
            return None;
        }
        Tree::Scalar(_) | Tree::List(_) => {
            let items = reader.one_or_many(value, key);
            if items.is_empty() {
                reader.problems.error(value.at, format!("`{key}` is an empty list: it can never match"), "");
                return None;
            }
            Test::OneOf(patterns(reader, &field, key, items))
        }
    };
    Some((field, test))
}

fn bounds(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Test> {
    if let Tree::Map(entries) = &node.tree
        && entries.iter().any(|(key, _)| key.scalar().is_none())
    {
        reader.text(node, key);
        return None;
    }
    let section = reader.section(node, keys::BOUNDS, &format!("`{key}`"))?;
    let mut bound = |key: &str| {
        let node = section.get(key)?;
        let number = reader.text(node, key)?.parse::<f64>().ok().filter(|n| n.is_finite());
        if number.is_none() {
            reader.problems.error(node.at, format!("`{key}` must be a number"), "");
        }
        number
    };
    let (gt, gte, lt, lte) = (bound("gt"), bound("gte"), bound("lt"), bound("lte"));
    if let Some(exists) = section.get("exists") {
        if [gt, gte, lt, lte].iter().any(Option::is_some) {
            reader.problems.error(exists.at, "`exists` stands alone", "a bound matches only where the field is there");
        }
        return reader.flag(exists, "exists").map(Test::Exists);
    }
    if [gt, gte, lt, lte].iter().all(Option::is_none) {
        return None;
    }
    let low = gt.or(gte).map(|low| low.max(gte.unwrap_or(low)));
    let high = lt.or(lte).map(|high| high.min(lte.unwrap_or(high)));
    if let (Some(low), Some(high)) = (low, high)
        && (low > high || (low == high && (gt == Some(low) || lt == Some(high))))
    {
        reader.problems.error(node.at, format!("no number is within the bounds of `{key}`: it can never match"), "");
    }
    Some(Test::Number { gt, gte, lt, lte })
}

fn patterns(reader: &mut Reader<'_>, field: &Field, key: &str, items: &[Node]) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    let mut open = false;
    for item in items {
        let Some(text) = reader.text(item, key) else { continue };
        let number = item.scalar().is_some_and(|s| s.kind == Plain::Number);
        if number && matches!(field, Field::Device | Field::DeviceMac) && text.len() >= 10 {
            reader.problems.error(
                item.at,
                format!("YAML reads {text} as a number, not as a MAC"),
                "put quotes around it",
            );
            continue;
        }
        if text.starts_with('/') && (text.len() == 1 || !text.ends_with('/')) {
            let help = "quote it: a comma ends an unquoted one";
            reader.problems.error(item.at, format!("unfinished regular expression `{text}`"), help);
            open = true;
            continue;
        }
        // `[/x,y/]`: this is the rest of what was reported.
        if open && text.ends_with('/') && !text.starts_with('/') {
            open = false;
            continue;
        }
        match Pattern::parse(&known_word(reader, field, item.at, text)) {
            Ok(pattern) => patterns.push(pattern),
            Err(wrong) => reader.problems.error(item.at, wrong, ""),
        }
    }
    patterns
}

/// The word to compare with; words no event will ever have are problems, those nobody has heard of are warnings.
fn known_word(reader: &mut Reader<'_>, field: &Field, at: At, text: &str) -> String {
    if text.contains('*') || text.starts_with('/') {
        return text.to_owned();
    }
    match field {
        Field::Severity => {
            if let Some(severity) = Severity::parse(text) {
                return severity.word().to_owned();
            }
            let help = did_you_mean(text, keys::SEVERITIES, "known");
            reader.problems.error(at, format!("no event has the severity \"{text}\""), help);
        }
        Field::Phase if !["open", "close", "event"].contains(&text.to_ascii_lowercase().as_str()) => {
            reader.problems.error(at, format!("no event has the phase \"{text}\""), "known: open, close, event");
        }
        Field::Type if catalogue::named(text).next().is_none() => {
            let kinds = catalogue::all().iter().map(|entry| entry.kind);
            let help = nearest(text, kinds).map(|near| format!("did you mean \"{near}\"?")).unwrap_or_default();
            reader.problems.warn(at, format!("\"{text}\" is a type nobody has heard of"), help);
        }
        Field::Condition if !conditions().any(|c| same(c, text)) => {
            let help = nearest(text, conditions()).map(|near| format!("did you mean \"{near}\"?")).unwrap_or_default();
            let of_type = catalogue::named(text).next().is_some();
            let help = if of_type { format!("it is a type: write type: {text}") } else { help };
            reader.problems.warn(at, format!("\"{text}\" is a condition nobody has heard of"), help);
        }
        Field::Topic if !TOPICS.iter().any(|topic| same(topic, text)) => {
            let help = nearest(text, TOPICS.iter().copied()).map(|near| format!("did you mean \"{near}\"?"));
            reader.problems.warn(at, format!("\"{text}\" is a topic nobody has heard of"), help.unwrap_or_default());
        }
        _ => {}
    }
    text.to_owned()
}

fn same(a: &str, b: &str) -> bool {
    crate::rules::fold(a) == crate::rules::fold(b)
}

fn conditions() -> impl Iterator<Item = &'static str> {
    catalogue::all().iter().map(|entry| entry.condition).filter(|condition| !condition.is_empty())
}

/// The values a matcher accepts for a field, folded, where it lists them literally.
fn listed(matcher: &Matcher, field: &Field) -> Option<BTreeSet<String>> {
    let (_, test) = matcher.tests.iter().find(|(f, _)| f == field)?;
    Some(test.literals()?.map(str::to_owned).collect())
}

/// The catalogue's entries of the types a matcher lists, when it knows them all.
fn entries(matcher: &Matcher) -> Option<Vec<&'static Entry>> {
    let kinds = listed(matcher, &Field::Type)?;
    let found: Vec<Vec<&'static Entry>> = kinds.iter().map(|kind| catalogue::named(kind).collect()).collect();
    (!found.is_empty() && found.iter().all(|entries| !entries.is_empty()))
        .then(|| found.into_iter().flatten().collect())
}

/// Why nothing that matches has an end, when that is certain.
fn endless(matcher: &Matcher) -> Option<String> {
    if listed(matcher, &Field::Topic).is_some_and(|topics| topics.iter().all(|topic| topic == "audits")) {
        return Some("audits have no end".to_owned());
    }
    if matcher.tests.iter().any(|(field, _)| *field == Field::Condition) {
        return None;
    }
    let endless = entries(matcher)?.into_iter().find(|entry| catalogue::named(entry.kind).all(|e| e.role.is_none()))?;
    Some(format!("{} has no end that Foghorn knows", endless.kind))
}

/// Why no event can match, when that is certain.
fn impossible(matcher: &Matcher) -> Option<String> {
    for (field, test) in &matcher.tests {
        let Some(mut wanted) = test.literals() else { continue };
        let excluded: Option<BTreeSet<&str>> =
            matcher.not.iter().find(|(f, _)| f == field).and_then(|(_, t)| t.literals()).map(Iterator::collect);
        let one_value = matches!(field, Field::Type | Field::Topic | Field::Condition | Field::Phase | Field::Severity);
        if let Some(excluded) = excluded
            && one_value
            && wanted.all(|w| excluded.contains(w))
        {
            return Some(format!("`not` excludes every {field} it asks for"));
        }
    }
    let entries = entries(matcher)?;
    if let Some(wanted) = listed(matcher, &Field::Condition)
        && !entries.iter().any(|entry| wanted.contains(&crate::rules::fold(entry.condition)))
    {
        return Some("none of its types opens or closes its condition".to_owned());
    }
    let phases = listed(matcher, &Field::Phase)?;
    let fits = |entry: &&Entry| match entry.role {
        Some(Role::Opens) => phases.contains("open"),
        Some(Role::Closes) => phases.contains("close"),
        Some(Role::Status) => true,
        None => phases.contains("event"),
    };
    (!entries.iter().any(fits)).then(|| "its types never have that phase".to_owned())
}

/// Why hardly any event will match, as far as the catalogue knows.
fn improbable(matcher: &Matcher) -> Option<String> {
    let topics = listed(matcher, &Field::Topic)?;
    let entries = entries(matcher)?;
    let updown = |entry: &Entry| {
        ["_CONNECTED", "_DISCONNECTED", "_RESTARTED"].iter().any(|end| entry.kind.ends_with(end))
            && entry.family == "device-event"
    };
    let on = |entry: &&Entry| {
        topics.contains(&crate::rules::fold(entry.topic())) || (topics.contains("device_updowns") && updown(entry))
    };
    (!entries.iter().any(on)).then(|| "its types come on other topics".to_owned())
}
