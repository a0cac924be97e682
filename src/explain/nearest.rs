//! The rules nearest to an event that matches none, and the test it failed.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use crate::model::{Event, Field};
use crate::rules::{Matcher, Mismatch, Rule, RuleSet};

/// Maximum number of rules named.
const NEAREST: usize = 3;

/// The part of a rule that an event failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Near {
    /// A test of its `match`.
    Match(Mismatch),
    /// Its `when`, as written.
    When(String),
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match(mismatch) => mismatch.fmt(f),
            Self::When(text) => write!(f, "its `when` says no: {text}"),
        }
    }
}

/// Returns the part of a rule that an event fails; `None` if the rule matches.
pub(crate) fn near(rule: &Rule, event: &Event) -> Option<Near> {
    match rule.matcher.mismatch(event) {
        Some(mismatch) => Some(Near::Match(mismatch)),
        None => rule
            .when
            .as_ref()
            .filter(|when| when.holds(event) == Ok(false))
            .map(|w| Near::When(w.text().to_owned())),
    }
}

/// Returns the nearest rules, each with the first test the event failed. Rules for events of this
/// kind come first; if there are any, no other rules are returned.
fn nearest(rules: &RuleSet, event: &Event) -> Vec<(Arc<Rule>, Near)> {
    let fits = |test: &(_, _)| {
        Matcher {
            tests: vec![test.clone()],
            not: Vec::new(),
        }
        .matches(event)
    };
    let mut found: Vec<_> = rules
        .rules()
        .iter()
        .filter_map(|rule| {
            let near = near(rule, event)?;
            let tests = &rule.matcher.tests;
            let passed = tests.iter().filter(|test| fits(test)).count();
            let kind = |field: &Field| {
                matches!(
                    field,
                    Field::Type | Field::Condition | Field::Topic | Field::Phase
                )
            };
            let of_kind: Vec<_> = tests.iter().filter(|(field, _)| kind(field)).collect();
            let other_kind = of_kind.iter().any(|test| !fits(test));
            let any_kind = of_kind.is_empty();
            // Rules of this kind come first, then those with the fewest failed tests and the most
            // passed ones.
            let distance = (other_kind, any_kind, tests.len() - passed, Reverse(passed));
            (!other_kind || passed > 0).then(|| (distance, (Arc::clone(rule), near)))
        })
        .collect();
    found.sort_by_key(|(distance, _)| *distance);
    let other_kind = found
        .first()
        .is_some_and(|((other_kind, ..), _)| *other_kind);
    found.retain(|(distance, _)| distance.0 == other_kind);
    found
        .into_iter()
        .map(|(_, near)| near)
        .take(NEAREST)
        .collect()
}

/// Returns the text about the nearest rules: `; nearest: AP unreachable (rules.yaml:4), but its …`.
#[must_use]
pub fn nearest_text(rules: &RuleSet, event: &Event, file: &str) -> String {
    let one = |(rule, near): &(Arc<Rule>, Near)| {
        // With a failed `when` the `match` was passed, which is worth saying.
        let matches = if matches!(near, Near::When(_)) {
            " matches"
        } else {
            ""
        };
        format!("{} ({file}:{}){matches}, but {near}", rule.name, rule.line)
    };
    let near: Vec<String> = nearest(rules, event).iter().map(one).collect();
    if near.is_empty() {
        String::new()
    } else {
        format!("; nearest: {}", near.join("; "))
    }
}
