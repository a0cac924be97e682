//! Changes one key of one rule in the text of rules.yaml. Comments and layout stay as they are.
//!
//! A change is tried at the most readable place and then checked: the new text must mean exactly
//! the old file with that key set. If no place passes this check, there is no change; nothing is
//! guessed.

use serde_json::{Map, Value};

use crate::config::problem::Collector;
use crate::config::raw;
use crate::config::tree::{At, Node, Tree};

/// A changed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// Complete new text.
    pub text: String,
    /// Line that changed or was added, from 1.
    pub line: usize,
}

/// Sets a key of a rule: for example `["for"]` to `"3m"`, or `["match", "not", "device"]` to
/// `["ap-1"]`. `None` if the layout of the file has no safe place for it.
#[must_use]
pub fn set(text: &str, rule: &str, key: &[&str], value: &Value) -> Option<Edited> {
    let root = parse(text)?;
    let (position, node) = find_rule(&root, rule)?;
    let mut wanted = root.json();
    put(wanted.get_mut("rules")?.get_mut(position)?, key, value)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    // Every candidate is checked by parsing the resulting text.
    let tries = places(&lines, node, key, value);
    tries
        .into_iter()
        .find(|edited| parse(&edited.text).is_some_and(|root| root.json() == wanted))
}

/// Returns the value of a rule's key as JSON.
#[must_use]
pub fn value(text: &str, rule: &str, key: &[&str]) -> Option<Value> {
    let root = parse(text)?;
    let (_, rule) = find_rule(&root, rule)?;
    key.iter()
        .try_fold(rule, |node, key| get(node, key))
        .map(Node::json)
}

/// Returns the file as JSON, which is YAML too, with the rules of another text appended. The tests
/// are only those of that text, without expectations. The file wins if both define a key. `None` if
/// either is not a map.
#[must_use]
pub fn joined(text: &str, more: &str) -> Option<String> {
    let (mut root, mut more) = (parse(text)?.json(), parse(more)?.json());
    let (root, more) = (root.as_object_mut()?, more.as_object_mut()?);
    if let Some(Value::Array(added)) = more.remove("rules") {
        match root
            .entry("rules")
            .or_insert_with(|| Value::Array(Vec::new()))
        {
            Value::Array(rules) => rules.extend(added),
            _ => return None,
        }
    }
    let mut tests = more
        .remove("tests")
        .unwrap_or_else(|| Value::Array(Vec::new()));
    // Their expectations may name rules that no longer exist.
    for test in tests
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        test.insert("expect".to_owned(), Value::Array(Vec::new()));
    }
    root.insert("tests".to_owned(), tests);
    serde_json::to_string_pretty(root).ok()
}

/// Formats a value as YAML on one line.
#[must_use]
pub fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(flow).collect::<Vec<_>>().join(", ")
        ),
        Value::Object(map) => format!("{{{}}}", pairs(map)),
        // JSON is valid YAML, with strings in quotes.
        other => other.to_string(),
    }
}

fn pairs(map: &Map<String, Value>) -> String {
    map.iter()
        .map(|(key, value)| format!("{key}: {}", flow(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns true if a text needs no quotes to be read as text in YAML.
fn is_plain(text: &str) -> bool {
    let duration = crate::model::parse_duration(text).is_ok();
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let special = [
        "true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf",
    ];
    duration || (word && !special.iter().any(|s| s.eq_ignore_ascii_case(text)))
}

fn parse(text: &str) -> Option<Node> {
    raw::parse(text, &mut Collector::new("", text))
}

fn find_rule<'n>(root: &'n Node, name: &str) -> Option<(usize, &'n Node)> {
    let Tree::List(rules) = &get(root, "rules")?.tree else {
        return None;
    };
    let called = |rule: &Node| {
        get(rule, "name")
            .and_then(Node::scalar)
            .is_some_and(|scalar| scalar.text == name)
    };
    rules.iter().enumerate().find(|(_, rule)| called(rule))
}

fn get<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Tree::Map(entries) = &node.tree else {
        return None;
    };
    entries
        .iter()
        .find(|(name, _)| name.scalar().is_some_and(|s| s.text == key))
        .map(|(_, value)| value)
}

/// Applies the change to the parsed file.
fn put(node: &mut Value, key: &[&str], value: &Value) -> Option<()> {
    let (first, rest) = key.split_first()?;
    let map = node.as_object_mut()?;
    if rest.is_empty() {
        map.insert((*first).to_owned(), value.clone());
        return Some(());
    }
    put(
        map.entry((*first).to_owned())
            .or_insert_with(|| Value::Object(Map::new())),
        rest,
        value,
    )
}

/// Returns all possible ways to make the change, the most readable first.
fn places(lines: &[&str], map: &Node, key: &[&str], value: &Value) -> Vec<Edited> {
    let Some((first, rest)) = key.split_first() else {
        return Vec::new();
    };
    match get(map, first) {
        Some(known) if rest.is_empty() => replace(lines, known, value).into_iter().collect(),
        Some(known) => places(lines, known, rest, value),
        None => {
            let nested = rest.iter().rev().fold(value.clone(), |inner, key| {
                Value::Object(Map::from_iter([((*key).to_owned(), inner)]))
            });
            insert(lines, map, first, &nested)
        }
    }
}

/// Replaces a value that is on one line.
fn replace(lines: &[&str], known: &Node, value: &Value) -> Option<Edited> {
    let new = flow(value);
    if matches!(known.tree, Tree::Scalar(_)) {
        return write(lines, known.at, known.at.width, &new);
    }
    // A list or map in brackets ends with its closing bracket.
    write(
        lines,
        known.at,
        bracketed(&rest_of_line(lines, known.at)?)?,
        &new,
    )
}

/// Returns the length in characters of the bracketed value at the beginning of the text.
fn bracketed(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (index, c) in text.chars().enumerate() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.checked_sub(1)?,
            (None, _) => {}
        }
        if depth == 0 {
            return (index > 0).then_some(index + 1);
        }
    }
    None
}

/// Adds a missing key.
fn insert(lines: &[&str], map: &Node, key: &str, value: &Value) -> Vec<Edited> {
    let Tree::Map(entries) = &map.tree else {
        return Vec::new();
    };
    let entry = format!("{key}: {}", flow(value));
    let Some((first, _)) = entries.first() else {
        return write(lines, map.at, "{}".len(), &format!("{{{entry}}}"))
            .into_iter()
            .collect();
    };
    let called =
        |(name, _): &&(Node, Node), wanted: &str| name.scalar().is_some_and(|s| s.text == wanted);
    let mut tries = Vec::new();
    // A key can only be added in the style of the map: inside braces, or as a line of its own.
    let in_braces = character(lines, map.at) == Some('{');
    if in_braces {
        if !entries.iter().any(|(name, _)| {
            name.scalar()
                .is_some_and(|s| matches!(s.text.as_str(), "match" | "name"))
        }) {
            tries.extend(
                entries
                    .last()
                    .and_then(|(_, last)| append(lines, last, &entry)),
            );
        }
        // Best before the entry that follows `match` or `name`, otherwise before any other.
        let after = |wanted: &str| {
            entries
                .iter()
                .position(|e| called(&e, wanted))
                .and_then(|position| entries.get(position + 1))
        };
        let by_choice = [after("match"), after("name")].into_iter().flatten();
        let others = entries.iter().skip(1).chain(entries.first());
        tries.extend(
            by_choice
                .chain(others)
                .filter_map(|(name, _)| write(lines, name.at, 0, &format!("{entry}, "))),
        );
    } else {
        // A new line, best below `match`, otherwise below any other entry.
        let indent = " ".repeat(index(first.at.column).unwrap_or_default());
        let line = format!("{indent}{entry}");
        let by_choice = ["match", "name"]
            .into_iter()
            .filter_map(|wanted| entries.iter().find(|e| called(e, wanted)));
        for (_, value) in by_choice.chain(entries.iter().rev()) {
            tries.extend(below(lines, last_line(value), &line));
        }
    }
    tries
}

/// Appends an entry after a value that is on one line.
fn append(lines: &[&str], value: &Node, entry: &str) -> Option<Edited> {
    let width = if matches!(value.tree, Tree::Scalar(_)) {
        value.at.width
    } else {
        bracketed(&rest_of_line(lines, value.at)?)?
    };
    let at = At {
        column: value.at.column.checked_add(u64::try_from(width).ok()?)?,
        ..value.at
    };
    write(lines, at, 0, &format!(", {entry}"))
}

fn rest_of_line(lines: &[&str], at: At) -> Option<String> {
    Some(
        lines
            .get(index(at.line)?)?
            .chars()
            .skip(index(at.column)?)
            .collect(),
    )
}

/// Returns the last line of a value, as far as its parts show.
fn last_line(node: &Node) -> u64 {
    match &node.tree {
        Tree::Null | Tree::Scalar(_) => node.at.line,
        Tree::List(items) => items.iter().map(last_line).fold(node.at.line, u64::max),
        Tree::Map(entries) => entries
            .iter()
            .map(|(_, value)| last_line(value))
            .fold(node.at.line, u64::max),
    }
}

/// Converts a number that counts from 1 to an index.
fn index(number: u64) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

fn character(lines: &[&str], at: At) -> Option<char> {
    lines.get(index(at.line)?)?.chars().nth(index(at.column)?)
}

/// Replaces `width` characters by `new`.
fn write(lines: &[&str], at: At, width: usize, new: &str) -> Option<Edited> {
    let (number, column) = (index(at.line)?, index(at.column)?);
    let line = lines.get(number)?;
    let before: String = line.chars().take(column).collect();
    let after: String = line.chars().skip(column.checked_add(width)?).collect();
    let line = format!("{before}{new}{after}");
    let text = lines
        .iter()
        .enumerate()
        .map(|(n, old)| if n == number { line.as_str() } else { old })
        .collect();
    Some(Edited {
        text,
        line: number + 1,
    })
}

/// Inserts a line below this one, with the same line ending.
fn below(lines: &[&str], line: u64, new: &str) -> Option<Edited> {
    let number = index(line)?;
    let above = lines.get(number)?;
    let ending = if above.ends_with("\r\n") {
        "\r\n"
    } else {
        "\n"
    };
    let missing = if above.ends_with('\n') { "" } else { ending };
    let new = format!("{missing}{new}{ending}");
    let text = lines
        .iter()
        .enumerate()
        .flat_map(|(n, old)| [*old, if n == number { new.as_str() } else { "" }]);
    Some(Edited {
        text: text.collect(),
        line: number + 2,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BLOCK: &str = "\
# mine
rules:
  - name: AP unreachable   # the wifi
    match: {condition: ap_offline}
    # as agreed with Ann
    severity: warning

  - {name: Switch, match: {condition: switch_offline}, for: 1m}
  - name: Reboot
    match:
      type: AP_RESTARTED
      # not the planned ones
      not: {reason: [\"*upgrade*\"]}
    by: [device_mac] # one each
    threshold:
      count: 2
      window: 1h
tests: []
";

    /// What changed, as lines without and with the change.
    fn changed(
        text: &str,
        rule: &str,
        key: &[&str],
        value: &Value,
    ) -> Option<(Vec<String>, Vec<String>, usize)> {
        let edited = set(text, rule, key, value)?;
        let only = |a: &str, b: &str| {
            let b: Vec<&str> = b.lines().collect();
            a.lines()
                .filter(|line| !b.contains(line))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        Some((
            only(text, &edited.text),
            only(&edited.text, text),
            edited.line,
        ))
    }

    #[test]
    fn one_key_changes_and_nothing_else() {
        /// Rule, key, value; the lines that go, those that come, and where.
        type Case = (
            &'static str,
            &'static [&'static str],
            Value,
            &'static [&'static str],
            &'static [&'static str],
            usize,
        );
        let cases: &[Case] = &[
            (
                "AP unreachable",
                &["for"],
                json!("3m"),
                &[],
                &["    for: 3m"],
                5,
            ),
            (
                "AP unreachable",
                &["severity"],
                json!("info"),
                &["    severity: warning"],
                &["    severity: info"],
                6,
            ),
            (
                "AP unreachable",
                &["match", "not", "device"],
                json!(["ap-1", "10"]),
                &["    match: {condition: ap_offline}"],
                &["    match: {condition: ap_offline, not: {device: [ap-1, \"10\"]}}"],
                4,
            ),
            (
                "Switch",
                &["for"],
                json!("5m"),
                &["  - {name: Switch, match: {condition: switch_offline}, for: 1m}"],
                &["  - {name: Switch, match: {condition: switch_offline}, for: 5m}"],
                8,
            ),
            (
                "Switch",
                &["keep_firing_for"],
                json!("5m"),
                &["  - {name: Switch, match: {condition: switch_offline}, for: 1m}"],
                &[
                    "  - {name: Switch, match: {condition: switch_offline}, keep_firing_for: 5m, for: 1m}",
                ],
                8,
            ),
            (
                "Reboot",
                &["cooldown"],
                json!("6h"),
                &[],
                &["    cooldown: 6h"],
                14,
            ),
            (
                "Reboot",
                &["match", "not", "device"],
                json!(["ap-1"]),
                &["      not: {reason: [\"*upgrade*\"]}"],
                &["      not: {reason: [\"*upgrade*\"], device: [ap-1]}"],
                13,
            ),
            (
                "Reboot",
                &["by"],
                json!(["site"]),
                &["    by: [device_mac] # one each"],
                &["    by: [site] # one each"],
                14,
            ),
            (
                "Reboot",
                &["threshold", "count"],
                json!(3),
                &["      count: 2"],
                &["      count: 3"],
                16,
            ),
        ];
        for (rule, key, value, without, with, line) in cases {
            let (old, new, at) =
                changed(BLOCK, rule, key, value).unwrap_or_else(|| panic!("{rule} {key:?}"));
            assert_eq!(
                (old, new, at),
                (own(without), own(with), *line),
                "{rule} {key:?}"
            );
        }
    }

    fn own(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn odd_layouts_are_changed_rightly_or_not_at_all() {
        for (text, fits) in [
            ("rules:\n- name: a\n  match: {}", true),
            ("rules:\r\n- name: a\r\n  match: {type: X}\r\n", true),
            ("rules: [{name: a, match: {type: X}}]\n", true),
            ("{rules: [{match: {type: X}, name: a}]}", true),
            ("rules:\n- match: {type: [X,\n    Y]}\n  name: a\n", true),
            (
                "rules:\n- match:\n    type: [\n      X,\n    ]\n  name: |\n    a\n",
                false,
            ),
            ("rules:\n- {name: a,\n   match: {type: X}\n  }\n", true),
            (
                "rules:\n- name: \"a\" # {for: 1m}\n  match: {text: \"not: {device}\"}\n",
                true,
            ),
            (
                "rules: &all\n- name: a\n  match: &m {type: X}\n- name: b\n  match: *m\n",
                true,
            ),
            ("rules:\n- name: b\n  match: {}\n", false),
            ("rules: nonsense\n", false),
            ("\t", false),
        ] {
            for (key, value) in [
                (&["for"][..], json!("3m")),
                (&["match", "not", "device"], json!(["x"])),
            ] {
                let edited = set(text, "a", key, &value);
                // A shared `match` must not change for the other rule.
                let shared = text.contains("*m") && key.len() > 1;
                assert_eq!(
                    edited.is_some(),
                    fits && !shared,
                    "{text:?} {key:?}: {edited:?}"
                );
            }
        }
    }

    #[test]
    fn values_are_written_so_that_they_stay_what_they_are() {
        for text in [
            "ap-1",
            "3m",
            "true",
            "007",
            "1e3",
            "a b",
            "a: b",
            "*",
            "",
            "#x",
            "12",
            "ap_1.x",
            "é",
            "null",
            "5c5b35000001",
        ] {
            let yaml = format!("rules: {}", flow(&json!([text])));
            assert_eq!(
                parse(&yaml).map(|root| root.json()),
                Some(json!({"rules": [text]})),
                "{yaml}"
            );
        }
    }
}
