//! `tests:`: what the rules must say, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::calendar::instant;
use super::keys;
use super::matching::matcher;
use super::read::{Reader, Section};
use super::spelling::did_you_mean;
use super::tree::{Node, Tree};
use super::{around, settings};
use crate::model::{Name, Severity, Timestamp};
use crate::rules::{Rule, RuleSet};

/// One test of the file.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// What it shows.
    pub name: String,
    /// The line it begins on.
    pub line: u64,
    /// When virtual time begins; `None`: where it always does.
    pub start: Option<Timestamp>,
    /// What happens, by time.
    pub events: Vec<TestEvent>,
    /// Every message that must come of it, in order.
    pub expect: Vec<Expectation>,
    /// How far time runs on.
    pub until: Option<Duration>,
}

/// Something that happens in a test.
#[derive(Clone, Debug)]
pub struct TestEvent {
    /// When, from the test's beginning.
    pub at: Duration,
    /// What.
    pub what: TestInput,
}

/// What happens in a test.
#[derive(Clone, Debug)]
pub enum TestInput {
    /// Everything else that was written: `type`, `device`, `site`, `reason` and whatever Mist would
    /// send.
    Event(Map<String, Value>),
    /// A person wants to hear nothing of these for a while.
    Silence(TestSilence),
    /// A person ends the silence of this name.
    Expire(String),
    /// The file changes: these rules apply from here on.
    Reload(Arc<RuleSet>),
}

/// A silence in a test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestSilence {
    /// What `expire` knows it by; a place in the list where it has no name.
    pub id: String,
    /// As `match` in rules, as JSON.
    pub matches: Value,
    /// How long; `None`: until what it matches is over.
    pub lasts: Option<Duration>,
    /// Who.
    pub author: String,
    /// Why.
    pub comment: String,
}

/// A message that must come; what is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectation {
    /// When, from the test's beginning.
    pub at: Option<Duration>,
    /// Which rule tells.
    pub rule: Option<String>,
    /// Why now: a word of [`crate::model::Reason`].
    pub reason: Option<String>,
    /// Whom, in any order.
    pub notify: Option<Vec<String>>,
    /// A part of title or text.
    pub contains: Option<String>,
    /// How bad it is.
    pub severity: Option<Severity>,
    /// Its incident.
    pub incident: Option<String>,
    /// The whole title.
    pub title: Option<String>,
    /// The whole text.
    pub text: Option<String>,
    /// The line it stands on.
    pub line: u64,
}

pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
    rules: &[Rule],
    destinations: &[(Name, Severity)],
) -> Vec<TestCase> {
    let Some(node) = file.get("tests") else {
        return Vec::new();
    };
    let mut cases = Vec::new();
    for item in reader.list(node, "tests") {
        let Some(section) = reader.section(item, keys::TEST, "a test") else {
            continue;
        };
        let name = section
            .get("name")
            .and_then(|node| reader.text(node, "name"));
        if section.get("name").is_none() {
            reader
                .problems
                .error(section.at, "a test has no `name`", "say what it shows");
        }
        let items = section
            .get("events")
            .map(|node| reader.list(node, "events"))
            .unwrap_or_default();
        let read = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| input(reader, file, destinations, item, index));
        let mut events: Vec<TestEvent> = read.collect();
        events.sort_by_key(|event| event.at);
        expirable(reader, items, &events);
        if items.is_empty() {
            reader
                .problems
                .error(section.at, "a test has no `events`", "");
        }
        if section.get("expect").is_none() {
            let help = "where nothing may be said, write expect: []";
            reader
                .problems
                .error(section.at, "a test has no `expect`", help);
        }
        let expect = section
            .get("expect")
            .map(|node| reader.list(node, "expect"))
            .unwrap_or_default();
        let known: Vec<Arc<str>> = events
            .iter()
            .filter_map(|event| match &event.what {
                TestInput::Reload(rules) => Some(rules.rules()),
                _ => None,
            })
            .flatten()
            .map(|rule| Arc::clone(&rule.name))
            .chain(rules.iter().map(|rule| Arc::clone(&rule.name)))
            .collect();
        let expect = expect
            .iter()
            .filter_map(|item| expectation(reader, item, &known))
            .collect();
        let until = section
            .get("until")
            .and_then(|node| reader.duration(node, "until"));
        let start = section
            .get("start")
            .and_then(|node| instant(reader, node, "start", &TimeZone::UTC));
        cases.push(TestCase {
            name: name.unwrap_or_default().to_owned(),
            line: section.at.line,
            start,
            events,
            expect,
            until,
        });
    }
    untested(reader, file, rules, &cases);
    cases
}

/// One warning for every rule of which no test expects a message; none where there are no tests
/// (then `check` says so in one line), or where one does not say whose message it expects.
fn untested(reader: &mut Reader<'_>, file: &Section<'_>, rules: &[Rule], cases: &[TestCase]) {
    let expected = || cases.iter().flat_map(|case| &case.expect);
    if cases.is_empty() || expected().any(|message| message.rule.is_none()) {
        return;
    }
    let missing: Vec<String> = rules
        .iter()
        .filter(|rule| !expected().any(|message| message.rule.as_deref() == Some(&*rule.name)))
        .map(|rule| format!("\"{}\" (line {})", rule.name, rule.line))
        .collect();
    if !missing.is_empty() {
        let help = "add one that expects a message of it";
        reader.problems.warn(
            file.key_at("tests"),
            format!("no test shows what these rules say: {}", missing.join(", ")),
            help,
        );
    }
}

/// What happens: an event, unless it says otherwise.
fn input(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
    destinations: &[(Name, Severity)],
    node: &Node,
    index: usize,
) -> Option<TestEvent> {
    let is = |key: &Node, words: &[&str]| key.scalar().is_some_and(|s| words.contains(&&*s.text));
    match &node.tree {
        Tree::Map(written)
            if written
                .iter()
                .any(|(key, _)| is(key, &["silence", "expire"])) =>
        {
            deed(reader, node, index)
        }
        Tree::Map(written) if written.iter().any(|(key, _)| is(key, &["reload"])) => {
            reload(reader, file, destinations, node)
        }
        _ => event(reader, node),
    }
}

/// The file changes: what is given stands instead of what the file says.
fn reload(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
    destinations: &[(Name, Severity)],
    node: &Node,
) -> Option<TestEvent> {
    let section = reader.section(node, keys::RELOAD, "a reload")?;
    let at = section.get("at").map(|node| reader.duration(node, "at"));
    if at.is_none() {
        let help = "as in {at: 5m, reload: {rules: []}}";
        reader.problems.error(node.at, "a reload has no `at`", help);
    }
    let changed = reader.section(section.get("reload")?, keys::FILE, "a reload")?;
    let file = file.with(&changed);
    // What stays as it is was found fault with before, and what changes is only a test.
    let known = reader.problems.len();
    let names = match changed.get("destinations") {
        Some(_) => settings::destinations(reader, &file).1,
        None => destinations.to_vec(),
    };
    let (rules, _, surroundings) = around::resolve(reader, &file, &names);
    reader.problems.keep_new_errors(known);
    let rules = RuleSet::new(rules, names).with_surroundings(surroundings);
    Some(TestEvent {
        at: at.flatten()?,
        what: TestInput::Reload(Arc::new(rules)),
    })
}

fn deed(reader: &mut Reader<'_>, node: &Node, index: usize) -> Option<TestEvent> {
    let section = reader.section(node, keys::DEED, "a silence")?;
    let at = section.get("at").map(|node| reader.duration(node, "at"));
    if at.is_none() {
        reader.problems.error(
            node.at,
            "a silence has no `at`",
            "as in {at: 5m, silence: {match: {site: x}, for: 1h}}",
        );
    }
    let what = match (section.get("silence"), section.get("expire")) {
        (Some(_), Some(expire)) => {
            reader.problems.error(
                expire.at,
                "`silence` and `expire` are two things",
                "make two of it",
            );
            None
        }
        (Some(node), None) => silence(reader, node, index).map(TestInput::Silence),
        (None, Some(node)) => reader
            .text(node, "expire")
            .map(|name| TestInput::Expire(name.to_owned())),
        (None, None) => None,
    };
    Some(TestEvent {
        at: at.flatten()?,
        what: what?,
    })
}

fn silence(reader: &mut Reader<'_>, node: &Node, index: usize) -> Option<TestSilence> {
    let section = reader.section(node, keys::SILENCE, "a silence")?;
    let text = |key: &str, reader: &mut Reader<'_>| {
        section
            .get(key)
            .and_then(|node| reader.text(node, key))
            .map(str::to_owned)
    };
    let Some(matches) = section.get("match") else {
        reader.problems.error(
            section.at,
            "a silence has no `match`",
            "as in match: {device: ap-1}",
        );
        return None;
    };
    let fine = matcher(reader, matches, "match").is_some();
    let lasts = section
        .get("for")
        .and_then(|node| reader.positive(node, "for"));
    let resolved = section
        .get("until")
        .and_then(|node| reader.word(node, "until", &["resolved"]))
        .is_some();
    if section.get("for").is_some() == section.get("until").is_some() {
        let help = "either for: 1h, or until: resolved";
        reader.problems.error(
            section.at,
            "a silence ends after a while, or when all is well",
            help,
        );
    }
    if !fine || (lasts.is_none() && !resolved) {
        return None;
    }
    Some(TestSilence {
        id: text("name", reader).unwrap_or_else(|| format!("silence-{}", index + 1)),
        matches: matches.json(),
        lasts,
        author: text("author", reader).unwrap_or_else(|| "test".to_owned()),
        comment: text("comment", reader).unwrap_or_default(),
    })
}

/// What is expired must have begun.
fn expirable(reader: &mut Reader<'_>, items: &[Node], events: &[TestEvent]) {
    let begun: Vec<&str> = events
        .iter()
        .filter_map(|event| match &event.what {
            TestInput::Silence(silence) => Some(silence.id.as_str()),
            TestInput::Event(_) | TestInput::Expire(_) | TestInput::Reload(_) => None,
        })
        .collect();
    for item in items {
        let Tree::Map(entries) = &item.tree else {
            continue;
        };
        let expire = entries
            .iter()
            .find(|(key, _)| key.scalar().is_some_and(|s| s.text == "expire"));
        if let Some((_, node)) = expire
            && let Some(name) = node.scalar()
            && !begun.contains(&name.text.as_str())
        {
            let help = did_you_mean(&name.text, &begun, "known");
            reader.problems.error(
                node.at,
                format!("no silence of this test is called \"{}\"", name.text),
                help,
            );
        }
    }
}

fn event(reader: &mut Reader<'_>, node: &Node) -> Option<TestEvent> {
    let entries = reader.entries(node, "an event")?;
    let mut at = None;
    let mut fields = Map::new();
    for (key, _, value) in entries {
        if key == "at" {
            at = reader.duration(value, "at");
        } else {
            fields.insert(key.to_owned(), reader.tree(value, "an event"));
        }
    }
    let Tree::Map(written) = &node.tree else {
        return None;
    };
    let has = |key: &str| {
        written
            .iter()
            .any(|(k, _)| k.scalar().is_some_and(|s| s.text == key))
    };
    if !has("at") {
        reader.problems.error(
            node.at,
            "an event has no `at`",
            "as in {at: 0s, type: AP_DISCONNECTED}",
        );
    }
    if !has("type") && !has("topic") {
        reader.problems.error(
            node.at,
            "an event has no `type`",
            "as in {at: 0s, type: AP_DISCONNECTED}",
        );
    }
    at.map(|at| TestEvent {
        at,
        what: TestInput::Event(fields),
    })
}

fn expectation(reader: &mut Reader<'_>, node: &Node, rules: &[Arc<str>]) -> Option<Expectation> {
    let section = reader.section(node, keys::EXPECT, "an expected message")?;
    let text = |key: &str, reader: &mut Reader<'_>| {
        section
            .get(key)
            .and_then(|node| reader.text(node, key))
            .map(str::to_owned)
    };
    let rule = text("rule", reader);
    if let (Some(rule), Some(node)) = (&rule, section.get("rule"))
        && !rules.iter().any(|known| **known == **rule)
    {
        let known: Vec<&str> = rules.iter().map(|known| &**known).collect();
        let help = did_you_mean(rule, &known, "");
        reader
            .problems
            .error(node.at, format!("there is no rule \"{rule}\""), help);
    }
    let severity = section
        .get("severity")
        .and_then(|node| reader.word(node, "severity", keys::SEVERITIES));
    let notify = section
        .get("notify")
        .map(|node| reader.texts(node, "notify"));
    Some(Expectation {
        at: section
            .get("at")
            .and_then(|node| reader.duration(node, "at")),
        rule,
        reason: section
            .get("reason")
            .and_then(|n| reader.word(n, "reason", keys::REASONS))
            .map(str::to_owned),
        notify: notify.map(|names| names.into_iter().map(|(name, _)| name.to_owned()).collect()),
        contains: text("contains", reader),
        severity: severity.and_then(Severity::parse),
        incident: text("incident", reader),
        title: text("title", reader),
        text: text("text", reader),
        line: section.at.line,
    })
}
