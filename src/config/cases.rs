//! `tests:`: what the rules must say, in virtual time.

use std::time::Duration;

use serde_json::{Map, Value};

use super::keys;
use super::problem::did_you_mean;
use super::raw::{Node, Tree};
use super::read::{Reader, Section};
use crate::model::Severity;
use crate::rules::Rule;

/// One test of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct TestCase {
    /// What it shows.
    pub name: String,
    /// The line it begins on.
    pub line: u64,
    /// What happens, by time.
    pub events: Vec<TestEvent>,
    /// Every message that must come of it, in order.
    pub expect: Vec<Expectation>,
    /// How far time runs on.
    pub until: Option<Duration>,
}

/// Something that happens in a test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestEvent {
    /// When, from the test's beginning.
    pub at: Duration,
    /// Everything else that was written: `type`, `device`, `site`, `reason` and whatever Mist would send.
    pub fields: Map<String, Value>,
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

pub(super) fn resolve(reader: &mut Reader<'_>, file: &Section<'_>, rules: &[Rule]) -> Vec<TestCase> {
    let Some(node) = file.get("tests") else { return Vec::new() };
    let mut cases = Vec::new();
    for item in reader.list(node, "tests") {
        let Some(section) = reader.section(item, keys::TEST, "a test") else { continue };
        let name = section.get("name").and_then(|node| reader.text(node, "name"));
        if section.get("name").is_none() {
            reader.problems.error(section.at, "a test has no `name`", "say what it shows");
        }
        let items = section.get("events").map(|node| reader.list(node, "events")).unwrap_or_default();
        let mut events: Vec<TestEvent> = items.iter().filter_map(|item| event(reader, item)).collect();
        events.sort_by_key(|event| event.at);
        if items.is_empty() {
            reader.problems.error(section.at, "a test has no `events`", "");
        }
        if section.get("expect").is_none() {
            let help = "where nothing may be said, write expect: []";
            reader.problems.error(section.at, "a test has no `expect`", help);
        }
        let expect = section.get("expect").map(|node| reader.list(node, "expect")).unwrap_or_default();
        let expect = expect.iter().filter_map(|item| expectation(reader, item, rules)).collect();
        let until = section.get("until").and_then(|node| reader.duration(node, "until"));
        cases.push(TestCase {
            name: name.unwrap_or_default().to_owned(),
            line: section.at.line,
            events,
            expect,
            until,
        });
    }
    cases
}

fn event(reader: &mut Reader<'_>, node: &Node) -> Option<TestEvent> {
    let entries = reader.entries(node, "an event")?;
    let mut at = None;
    let mut fields = Map::new();
    for (key, _, value) in entries {
        if key == "at" {
            at = reader.duration(value, "at");
        } else {
            fields.insert(key.to_owned(), value.json());
        }
    }
    let Tree::Map(written) = &node.tree else { return None };
    let has = |key: &str| written.iter().any(|(k, _)| k.scalar().is_some_and(|s| s.text == key));
    if !has("at") {
        reader.problems.error(node.at, "an event has no `at`", "as in {at: 0s, type: AP_DISCONNECTED}");
    }
    if !has("type") && !has("topic") {
        reader.problems.error(node.at, "an event has no `type`", "as in {at: 0s, type: AP_DISCONNECTED}");
    }
    at.map(|at| TestEvent { at, fields })
}

fn expectation(reader: &mut Reader<'_>, node: &Node, rules: &[Rule]) -> Option<Expectation> {
    let section = reader.section(node, keys::EXPECT, "an expected message")?;
    let text = |key: &str, reader: &mut Reader<'_>| {
        section.get(key).and_then(|node| reader.text(node, key)).map(str::to_owned)
    };
    let rule = text("rule", reader);
    if let (Some(rule), Some(node)) = (&rule, section.get("rule"))
        && !rules.iter().any(|r| *r.name == **rule)
    {
        let known: Vec<&str> = rules.iter().map(|r| &*r.name).collect();
        let help = did_you_mean(rule, &known, "");
        reader.problems.error(node.at, format!("there is no rule \"{rule}\""), help);
    }
    let severity = section.get("severity").and_then(|node| reader.word(node, "severity", keys::SEVERITIES));
    let notify = section.get("notify").map(|node| reader.texts(node, "notify"));
    Some(Expectation {
        at: section.get("at").and_then(|node| reader.duration(node, "at")),
        rule,
        reason: section.get("reason").and_then(|n| reader.word(n, "reason", keys::REASONS)).map(str::to_owned),
        notify: notify.map(|names| names.into_iter().map(|(name, _)| name.to_owned()).collect()),
        contains: text("contains", reader),
        severity: severity.and_then(Severity::parse),
        incident: text("incident", reader),
        title: text("title", reader),
        text: text("text", reader),
        line: section.at.line,
    })
}
