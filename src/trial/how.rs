//! The decisions that led to an unexpected message, or to none.

use std::collections::BTreeSet;

use super::{Course, differences, offset};
use crate::config::Expectation;
use crate::engine::{Decision, Verdict};
use crate::explain::{self, Explainer};
use crate::model::{EventId, Message, Timestamp};
use crate::rules::RuleSet;

/// Maximum number of lines of decisions shown for a failed case.
const MOST: usize = 30;

/// The rules and alerts with unexpected messages.
#[derive(Default)]
struct Wrong {
    /// Rules with a missing message: all of their decisions may matter.
    rules: BTreeSet<String>,
    /// True if a missing message names no rule: decisions of any rule may matter.
    any: bool,
    /// Alerts with an unexpected message.
    alerts: BTreeSet<u64>,
}

impl Wrong {
    fn of(expected: &[Expectation], said: &[Message], course: &Course) -> Self {
        let mut wrong = Self::default();
        for index in 0..expected.len().max(said.len()) {
            let (wanted, actual) = (expected.get(index), said.get(index));
            if wanted.zip(actual).is_some_and(|(wanted, actual)| {
                differences(wanted, actual, course.start).is_empty()
            }) {
                continue;
            }
            // The rule of a wrong message is known from its alerts; a missing one has only its
            // name.
            match wanted {
                Some(Expectation {
                    rule: Some(rule), ..
                }) => wrong.rules.extend([rule.clone()]),
                Some(_) if actual.is_none() => wrong.any = true,
                _ => {}
            }
            let told = |d: &&Decision| matches!(&d.verdict, Verdict::Notify(n) if actual.is_some_and(|message| **n == message.about));
            wrong.alerts.extend(
                course
                    .decisions
                    .iter()
                    .filter(told)
                    .flat_map(|d| d.alerts.clone()),
            );
        }
        wrong
    }

    fn concerns(&self, decision: &Decision) -> bool {
        match &decision.rule {
            // A silence that was never in force suppressed nothing, which the case may not expect.
            _ if matches!(decision.verdict, Verdict::SilenceBegins { over: true, .. }) => true,
            _ if self.any
                || decision
                    .alerts
                    .iter()
                    .any(|alert| self.alerts.contains(alert)) =>
            {
                true
            }
            Some(rule) => self.rules.contains(&**rule),
            // The event matched no rule, which may be the reason.
            None => !self.rules.is_empty() && decision.event.is_some(),
        }
    }
}

/// Returns the decisions that led to the difference.
pub(super) fn how_it_came(
    expected: &[Expectation],
    said: &[Message],
    course: &Course,
    rules: &RuleSet,
    file: &str,
) -> String {
    let when = |at: Timestamp| offset(at.since(course.start));
    let wrong = Wrong::of(expected, said, course);
    let find = |id: EventId| course.events.iter().find(|event| event.id == id);
    let mut explainer = Explainer::default();
    let mut lines = Vec::new();
    // Every decision passes through the teller, which remembers the alerts, even if its line is not
    // shown.
    for decision in &course.decisions {
        let mut line = explainer.say(decision, rules, &when);
        if let (Verdict::Unmatched, Some(event)) =
            (&decision.verdict, decision.event.and_then(find))
        {
            line.text
                .push_str(&explain::nearest_text(rules, event, file));
        }
        if wrong.concerns(decision) {
            lines.push(line);
        }
    }
    let describe =
        |id: EventId| find(id).map_or_else(|| id.to_string(), |event| explain::describe(event));
    let mut printed = explain::print(&lines, file, &describe, &when);
    // A rule with a missing message may have no decision at all: the reason is what its events
    // failed.
    for rule in rules
        .rules()
        .iter()
        .filter(|r| wrong.rules.contains(&*r.name))
    {
        if course
            .decisions
            .iter()
            .any(|d| d.rule.as_ref() == Some(&rule.name))
        {
            continue;
        }
        for event in &course.events {
            if let Some(near) = explain::near(rule, event) {
                let (name, line, event) = (&rule.name, rule.line, explain::describe(event));
                printed.push(format!(
                    "{name} ({file}:{line}) does not match {event}: {near}"
                ));
            }
        }
    }
    if printed.is_empty() {
        return String::new();
    }
    // The beginning shows the cause; what follows are its consequences.
    let more = printed.len().saturating_sub(MOST);
    printed.truncate(MOST);
    if more > 0 {
        printed.push(format!("and {more} more"));
    }
    printed
        .iter()
        .fold("    how it came to that:\n".to_owned(), |text, line| {
            text + "       " + line + "\n"
        })
}
