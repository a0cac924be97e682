//! `match`: a map of fields and tests; and what can be said of it beforehand, by the catalogue.

use std::collections::BTreeSet;

use super::keys;
use super::read::Reader;
use super::spelling::{did_you_mean, nearest};
use super::tree::{At, Node, Plain, Tree};
use crate::model::{Field, Severity};
use crate::rules::{Matcher, Pattern, Test};
use crate::source::{self, EventType, Role};

/// A match: a map of fields and tests, and `not`.
pub(super) fn matcher(reader: &mut Reader<'_>, node: &Node, place: &str) -> Option<Matcher> {
    if let Some(word) = node.scalar().map(|scalar| scalar.text.as_str()) {
        let field = if conditions().any(|known| same(known, word)) {
            "condition"
        } else {
            "type"
        };
        let help = format!("as in {place}: {{{field}: {word}}}");
        let what = format!("`{place}` must be a map, not a single value");
        reader.problems.error(node.at, what, help);
        return None;
    }
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
                reader.problems.error(
                    value.at,
                    format!("`{key}` is an empty list: it can never match"),
                    "",
                );
                return None;
            }
            any_of(reader, &field, key, items)?
        }
    };
    Some((field, test))
}

fn any_of(reader: &mut Reader<'_>, field: &Field, key: &str, items: &[Node]) -> Option<Test> {
    let (maps, values): (Vec<&Node>, Vec<&Node>) = items
        .iter()
        .partition(|item| matches!(item.tree, Tree::Map(_)));
    let values = patterns(reader, field, key, &values);
    // What is wrong with each is told, not only with the first.
    let maps: Vec<Option<Test>> = maps
        .into_iter()
        .map(|item| bounds(reader, item, key))
        .collect();
    Some(Test::any_of(
        values,
        maps.into_iter().collect::<Option<_>>()?,
    ))
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
        let number = reader
            .text(node, key)?
            .parse::<f64>()
            .ok()
            .filter(|n| n.is_finite());
        if number.is_none() {
            reader
                .problems
                .error(node.at, format!("`{key}` must be a number"), "");
        }
        number
    };
    let (gt, gte, lt, lte) = (bound("gt"), bound("gte"), bound("lt"), bound("lte"));
    if let Some(exists) = section.get("exists") {
        if [gt, gte, lt, lte].iter().any(Option::is_some) {
            reader.problems.error(
                exists.at,
                "`exists` stands alone",
                "a bound matches only where the field is there",
            );
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
        reader.problems.error(
            node.at,
            format!("no number is within the bounds of `{key}`: it can never match"),
            "",
        );
    }
    Some(Test::Number { gt, gte, lt, lte })
}

fn patterns(reader: &mut Reader<'_>, field: &Field, key: &str, items: &[&Node]) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    let mut open = false;
    for item in items {
        let Some(text) = reader.text(item, key) else {
            continue;
        };
        let number = item.scalar().is_some_and(|s| s.kind == Plain::Number);
        if number && matches!(field, Field::Device | Field::DeviceMac) && text.len() >= 10 {
            unquoted_mac(reader, item.at, text);
            continue;
        }
        if text.starts_with('/') && (text.len() == 1 || !text.ends_with('/')) {
            let help = "quote it: a comma ends an unquoted one";
            reader.problems.error(
                item.at,
                format!("unfinished regular expression `{text}`"),
                help,
            );
            open = true;
            continue;
        }
        // `[/x,y/]`: this is the rest of what was reported.
        if open && text.ends_with('/') && !text.starts_with('/') {
            open = false;
            continue;
        }
        if text.contains('?') && !text.starts_with('/') {
            let help =
                "* stands for any text; for one letter use a regular expression, as in /ap-./";
            reader
                .problems
                .warn(item.at, "a ? stands for itself here", help);
        }
        let word = known_word(reader, field, item.at, text);
        match Pattern::parse_within(&mut reader.patterns, &word) {
            Some(Ok(pattern)) => patterns.push(pattern),
            Some(Err(wrong)) => reader.problems.error(item.at, wrong, ""),
            None => {}
        }
    }
    patterns
}

/// YAML drops a number's leading zeros, so a MAC of digits must not be one.
pub(super) fn unquoted_mac(reader: &mut Reader<'_>, at: At, text: &str) {
    reader.problems.error(
        at,
        format!("YAML reads {text} as a number, not as a MAC"),
        "put quotes around it",
    );
}

/// The word to compare with; words no event will ever have are problems, those nobody has heard of
/// are warnings.
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
            reader
                .problems
                .error(at, format!("no event has the severity \"{text}\""), help);
        }
        Field::Phase
            if !["open", "close", "event"].contains(&text.to_ascii_lowercase().as_str()) =>
        {
            reader.problems.error(
                at,
                format!("no event has the phase \"{text}\""),
                "known: open, close, event",
            );
        }
        Field::Type if source::types_named(text).next().is_none() => {
            let kinds = source::types().map(|entry| entry.kind);
            let help = nearest(text, kinds)
                .map(|near| format!("did you mean \"{near}\"?"))
                .unwrap_or_default();
            reader.problems.warn(
                at,
                format!("\"{text}\" is a type nobody has heard of"),
                help,
            );
        }
        Field::Condition if !conditions().any(|c| same(c, text)) => {
            let help = nearest(text, conditions())
                .map(|near| format!("did you mean \"{near}\"?"))
                .unwrap_or_default();
            let of_type = source::types_named(text).next().is_some();
            let help = if of_type {
                format!("it is a type: write type: {text}")
            } else {
                help
            };
            reader.problems.warn(
                at,
                format!("\"{text}\" is a condition nobody has heard of"),
                help,
            );
        }
        Field::Topic if !source::topics().any(|topic| same(topic, text)) => {
            let help =
                nearest(text, source::topics()).map(|near| format!("did you mean \"{near}\"?"));
            reader.problems.warn(
                at,
                format!("\"{text}\" is a topic nobody has heard of"),
                help.unwrap_or_default(),
            );
        }
        _ => {}
    }
    text.to_owned()
}

fn same(a: &str, b: &str) -> bool {
    crate::rules::fold(a) == crate::rules::fold(b)
}

fn conditions() -> impl Iterator<Item = &'static str> {
    source::types()
        .map(|entry| entry.condition)
        .filter(|condition| !condition.is_empty())
}

/// The values a matcher accepts for a field, folded, where it lists them literally.
fn listed(matcher: &Matcher, field: &Field) -> Option<BTreeSet<String>> {
    let (_, test) = matcher.tests.iter().find(|(f, _)| f == field)?;
    Some(test.literals()?.map(str::to_owned).collect())
}

/// The catalogue's entries of the types a matcher lists, when it knows them all.
fn entries(matcher: &Matcher) -> Option<Vec<EventType>> {
    let kinds = listed(matcher, &Field::Type)?;
    let found: Vec<Vec<EventType>> = kinds
        .iter()
        .map(|kind| source::types_named(kind).collect())
        .collect();
    (!found.is_empty() && found.iter().all(|entries| !entries.is_empty()))
        .then(|| found.into_iter().flatten().collect())
}

/// The conditions a matcher asks for, and the types that have none, when it asks for nothing else.
pub(super) fn certain(matcher: &Matcher) -> Option<BTreeSet<String>> {
    if let Some(conditions) = listed(matcher, &Field::Condition) {
        return Some(conditions);
    }
    let name = |entry: EventType| {
        if entry.condition.is_empty() {
            entry.kind
        } else {
            entry.condition
        }
    };
    Some(
        entries(matcher)?
            .into_iter()
            .map(|entry| crate::rules::fold(name(entry)))
            .collect(),
    )
}

/// Why nothing that matches has an end, when that is certain.
pub(super) fn endless(matcher: &Matcher) -> Option<String> {
    if listed(matcher, &Field::Topic).is_some_and(|topics| {
        !topics.is_empty() && topics.iter().all(|topic| source::is_endless(topic))
    }) {
        return Some("audits have no end".to_owned());
    }
    if matcher
        .tests
        .iter()
        .any(|(field, _)| *field == Field::Condition)
    {
        return None;
    }
    let endless = entries(matcher)?
        .into_iter()
        .find(|entry| source::types_named(entry.kind).all(|e| e.role.is_none()))?;
    Some(format!("{} has no end that Foghorn knows", endless.kind))
}

/// Why no event can match, when that is certain.
pub(super) fn impossible(matcher: &Matcher) -> Option<String> {
    for (field, test) in &matcher.tests {
        let Some(wanted) = test.literals() else {
            continue;
        };
        let excluded = |value: &str| {
            matcher
                .not
                .iter()
                .any(|(f, test)| f == field && test.holds_for(value))
        };
        let one_value = matches!(
            field,
            Field::Type | Field::Topic | Field::Condition | Field::Phase | Field::Severity
        );
        let mut wanted = wanted.peekable();
        if one_value && wanted.peek().is_some() && wanted.all(excluded) {
            return Some(format!("`not` excludes every {field} it asks for"));
        }
    }
    let entries = entries(matcher)?;
    if let Some(wanted) = listed(matcher, &Field::Condition)
        && !entries
            .iter()
            .any(|entry| wanted.contains(&crate::rules::fold(entry.condition)))
    {
        return Some("none of its types opens or closes its condition".to_owned());
    }
    let without_not = Matcher {
        tests: matcher.tests.clone(),
        not: Vec::new(),
    };
    let possible = |matcher: &Matcher| entries.iter().any(|entry| may_be(matcher, entry));
    if possible(matcher) {
        None
    } else if possible(&without_not) {
        Some("`not` excludes every event of its types".to_owned())
    } else if without_not
        .tests
        .iter()
        .any(|(field, _)| *field == Field::Phase)
    {
        Some("its types never have that phase".to_owned())
    } else {
        Some("its types never have that condition".to_owned())
    }
}

/// Whether an event of this type may pass the tests on what the catalogue knows of it.
fn may_be(matcher: &Matcher, entry: &EventType) -> bool {
    let phases: &[&str] = match entry.role {
        Some(Role::Opens) => &["open"],
        Some(Role::Closes) => &["close"],
        Some(Role::Status) => &["open", "close"],
        None => &["event"],
    };
    let known = |phase| {
        let condition =
            (!entry.condition.is_empty()).then_some((Field::Condition, entry.condition));
        condition
            .into_iter()
            .chain([(Field::Type, entry.kind), (Field::Phase, phase)])
            .collect::<Vec<_>>()
    };
    phases
        .iter()
        .any(|phase| matcher.could_match(&known(phase)))
}

/// Why hardly any event will match, as far as the catalogue knows.
pub(super) fn improbable(matcher: &Matcher) -> Option<String> {
    other_devices(matcher).or_else(|| other_topics(matcher))
}

/// Its types begin with the kind of device they tell of, and it asks for another.
fn other_devices(matcher: &Matcher) -> Option<String> {
    let entries = entries(matcher)?;
    let of_another = |entry: &EventType| {
        entry
            .device_type
            .is_some_and(|kind| !matcher.could_match(&[(Field::DeviceType, kind)]))
    };
    entries
        .iter()
        .all(of_another)
        .then(|| "its types tell of devices of another type".to_owned())
}

fn other_topics(matcher: &Matcher) -> Option<String> {
    let topics = listed(matcher, &Field::Topic)?;
    let entries = entries(matcher)?;
    let on = |entry: &EventType| {
        let mut on = std::iter::once(entry.topic).chain(entry.also_on);
        on.any(|topic| topics.contains(&crate::rules::fold(topic)))
    };
    (!entries.iter().any(on)).then(|| "its types come on other topics".to_owned())
}
