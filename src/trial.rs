//! Runs the `tests:` of rules.yaml: the engine in virtual time, its messages compared with the
//! expected ones.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Expectation, TestCase, TestInput};
use crate::engine::Decision;
use crate::fold::{Compile, Fold, messages};
use crate::model::{Event, Journaled, Message, Name, Record, Seq, Silence, Timestamp, Until};
use crate::render::{Templates, markup};
use crate::rules::RuleSet;
use crate::source::{self, Arrival, ParsedItem};

mod how;

/// The beginning of virtual time: Monday, 5 January 2026, midnight UTC.
pub const BEGINNING: Timestamp = Timestamp::from_millis(1_767_571_200_000);

/// The result of one case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Name of the case.
    pub name: String,
    /// Its line in the file.
    pub line: u64,
    /// The failure, ready to print; `None` if the case passed.
    pub failure: Option<String>,
    /// The rules that sent a message.
    pub rules: Vec<String>,
}

/// Maximum number of decisions in a case; with more, something repeats without end.
const MOST_DECISIONS: usize = 20_000;

/// Runs one case, unless `stop` returns true. `file` is the name of the rules file.
#[must_use]
pub fn run(
    case: &TestCase,
    rules: &Arc<RuleSet>,
    templates: &Templates,
    file: &str,
    stop: &dyn Fn() -> bool,
) -> Outcome {
    let course = match fold(case, rules, stop) {
        Ok(course) => course,
        Err(why) => {
            let failure = Some(format!("    {why}\n"));
            return Outcome {
                name: case.name.clone(),
                line: case.line,
                failure,
                rules: Vec::new(),
            };
        }
    };
    let start = course.start;
    let said = messages(course.decisions.clone(), templates);
    let mut spoke: Vec<String> = said
        .iter()
        .map(|message| message.about.rule.clone())
        .collect();
    spoke.sort_unstable();
    spoke.dedup();
    // Order matters: the third message is compared with the third expectation.
    let same = |(e, m): (&Expectation, &Message)| differences(e, m, start).is_empty();
    let matches = said.len() == case.expect.len() && case.expect.iter().zip(&said).all(same);
    let failure = (!matches).then(|| {
        side_by_side(&case.expect, &said, start)
            + &how::how_it_came(&case.expect, &said, &course, rules, file)
    });
    Outcome {
        name: case.name.clone(),
        line: case.line,
        failure,
        rules: spoke,
    }
}

/// Returns the messages of a case, whatever it expects: time since the beginning, rule and reason.
///
/// # Errors
/// Fails with the reason the case was not run to its end.
pub fn said(
    case: &TestCase,
    rules: &Arc<RuleSet>,
    templates: &Templates,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<(Duration, String, &'static str)>, String> {
    let course = fold(case, rules, stop)?;
    let start = course.start;
    let one = |message: Message| {
        let about = message.about;
        (
            about.at.since(start),
            about.rule.clone(),
            about.reason.word(),
        )
    };
    Ok(messages(course.decisions, templates)
        .into_iter()
        .map(one)
        .collect())
}

/// The course of a case.
struct Course {
    /// Time of its beginning.
    start: Timestamp,
    /// The decisions, in order.
    decisions: Vec<Decision>,
    /// The events, in order.
    events: Vec<Arc<Event>>,
}

/// Advances time timer by timer.
fn run_on(
    fold: &mut Fold,
    course: &mut Course,
    until: Timestamp,
    stop: &dyn Fn() -> bool,
) -> Result<(), String> {
    // One tick for the whole time could make decisions without end, which nothing would stop.
    while let Some(due) = fold.next_wakeup().filter(|due| *due <= until) {
        course.decisions.extend(fold.tick(due));
        if course.decisions.len() > MOST_DECISIONS {
            let so_far = crate::model::human_duration(due.since(course.start));
            return Err(format!(
                "after {so_far} it made more than 20,000 decisions: make `until` shorter, or what repeats rarer"
            ));
        }
        if stop() {
            return Err("it took too long and was stopped".to_owned());
        }
    }
    course.decisions.extend(fold.tick(until));
    Ok(())
}

fn fold(case: &TestCase, rules: &Arc<RuleSet>, stop: &dyn Fn() -> bool) -> Result<Course, String> {
    // A case names no rules for the journal to compile: they are given.
    const NEVER: Compile = |_| None;
    let source = source::default_name();
    let start = case.start.unwrap_or(BEGINNING);
    let mut fold = Fold::new(Arc::clone(rules), NEVER);
    let mut course = Course {
        start,
        decisions: fold.tick(start),
        events: Vec::new(),
    };
    let mut events: Vec<_> = case.events.iter().collect();
    // The file may list events in any order.
    events.sort_by_key(|event| event.at);
    for (index, event) in events.into_iter().enumerate() {
        let at = start + event.at;
        run_on(&mut fold, &mut course, at, stop)?;
        let seq = Seq(index as u64 + 1);
        let record = match &event.what {
            TestInput::Event(fields) => {
                let envelope = source::synthesise(fields.clone(), at);
                let body = serde_json::to_vec(&envelope).unwrap_or_default();
                let arrival = Arrival::new(&source, seq, at, &body);
                // The engine receives events as from Mist, so that the tests cover the parser and
                // the catalogue.
                for parsed in source::parse(&arrival) {
                    if let ParsedItem::Event(event) = parsed {
                        course.events.push(Arc::clone(&event));
                        course.decisions.extend(fold.handle_event(at, event));
                    }
                }
                continue;
            }
            TestInput::Silence(silence) => Record::Silence(Silence {
                id: silence.id.clone(),
                matches: silence.matches.clone(),
                until: silence
                    .lasts
                    .map_or(Until::Resolved, |lasts| Until::At(at + lasts)),
                author: silence.author.clone(),
                comment: silence.comment.clone(),
                created: at,
            }),
            TestInput::Expire(id) => Record::Expire {
                id: id.clone(),
                author: String::new(),
            },
            TestInput::Reload(rules) => {
                course.decisions.extend(fold.reload(at, Arc::clone(rules)));
                continue;
            }
        };
        course
            .decisions
            .extend(fold.apply(&Journaled { seq, at, record }).decisions);
    }
    match case.until {
        Some(until) => run_on(&mut fold, &mut course, start + until, stop)?,
        None => course.decisions.extend(fold.wind_down()),
    }
    Ok(course)
}

/// Returns the keys in which a message differs from the expected one, each with the actual value.
fn differences(expected: &Expectation, message: &Message, start: Timestamp) -> Vec<String> {
    let about = &message.about;
    let mut found = Vec::new();
    let mut differ = |key: &str, equal: bool, actual: String| {
        if !equal {
            found.push(format!("{key}: {actual}"));
        }
    };
    let at = about.at.since(start);
    // A key that the case leaves out matches anything.
    differ(
        "at",
        expected.at.is_none_or(|wanted| wanted == at),
        offset(at),
    );
    differ(
        "rule",
        expected
            .rule
            .as_ref()
            .is_none_or(|wanted| *wanted == about.rule),
        about.rule.clone(),
    );
    differ(
        "reason",
        expected
            .reason
            .as_ref()
            .is_none_or(|wanted| wanted == about.reason.word()),
        about.reason.to_string(),
    );
    differ(
        "severity",
        expected
            .severity
            .is_none_or(|wanted| wanted == about.severity),
        about.severity.to_string(),
    );
    // The order of destinations means nothing.
    let to = names(&about.to);
    let same_names = |wanted: &Vec<String>| {
        let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        wanted == to
    };
    differ(
        "notify",
        expected.notify.as_ref().is_none_or(same_names),
        format!("[{}]", to.join(", ")),
    );
    // Cases are written without markup.
    let (title, text) = (markup::plain(&message.title), markup::plain(&message.text));
    differ(
        "title",
        expected
            .title
            .as_ref()
            .is_none_or(|wanted| *wanted == title),
        format!("{title:?}"),
    );
    differ(
        "text",
        expected.text.as_ref().is_none_or(|wanted| *wanted == text),
        format!("{text:?}"),
    );
    differ(
        "incident",
        expected
            .incident
            .as_ref()
            .is_none_or(|wanted| *wanted == about.incident),
        about.incident.clone(),
    );
    // `contains` may span both, with the title first.
    let said = format!("{title}\n{text}");
    differ(
        "contains",
        expected
            .contains
            .as_ref()
            .is_none_or(|part| said.contains(part.as_str())),
        format!("{said:?}"),
    );
    found
}

fn names(to: &[Name]) -> Vec<&str> {
    let mut names: Vec<&str> = to.iter().map(Name::as_str).collect();
    names.sort_unstable();
    names
}

/// Returns expected and actual messages side by side.
fn side_by_side(expected: &[Expectation], said: &[Message], start: Timestamp) -> String {
    let mut text = String::new();
    // Either list may be longer.
    for index in 0..expected.len().max(said.len()) {
        let (wanted, actual) = (expected.get(index), said.get(index));
        let verdict = match (wanted, actual) {
            (Some(wanted), Some(message)) => match differences(wanted, message, start) {
                same if same.is_empty() => "ok".to_owned(),
                differ => format!("DIFFERS in {}", differ.join("; ")),
            },
            (Some(_), None) => "MISSING: nothing was said".to_owned(),
            (None, _) => "UNEXPECTED".to_owned(),
        };
        let _ = writeln!(text, "    {}. {verdict}", index + 1);
        let _ = writeln!(
            text,
            "       expected  {}",
            wanted.map_or_else(|| "nothing".to_owned(), describe_expected)
        );
        let _ = writeln!(
            text,
            "       actual    {}",
            actual.map_or_else(
                || "nothing".to_owned(),
                |message| describe_message(message, start)
            )
        );
    }
    text
}

fn describe_expected(expected: &Expectation) -> String {
    // Only the keys that the case gives are printed, in the order of the documentation.
    let keys = [
        expected.at.map(|at| format!("at: {}", offset(at))),
        expected.rule.as_ref().map(|rule| format!("rule: {rule}")),
        expected
            .reason
            .as_ref()
            .map(|reason| format!("reason: {reason}")),
        expected
            .severity
            .as_ref()
            .map(|severity| format!("severity: {severity}")),
        expected
            .notify
            .as_ref()
            .map(|notify| format!("notify: [{}]", notify.join(", "))),
        expected
            .contains
            .as_ref()
            .map(|part| format!("contains: {part:?}")),
        expected
            .title
            .as_ref()
            .map(|title| format!("title: {title:?}")),
        expected.text.as_ref().map(|text| format!("text: {text:?}")),
        expected
            .incident
            .as_ref()
            .map(|incident| format!("incident: {incident}")),
    ];
    keys.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn describe_message(message: &Message, start: Timestamp) -> String {
    let about = &message.about;
    format!(
        "at: {}, rule: {}, reason: {}, severity: {}, notify: [{}], title: {:?}",
        offset(about.at.since(start)),
        about.rule,
        about.reason,
        about.severity,
        names(&about.to).join(", "),
        markup::plain(&message.title),
    )
}

/// Formats a duration as in the file: `3m10s`.
fn offset(at: Duration) -> String {
    let (ms, s) = (at.subsec_millis(), at.as_secs());
    let parts = [
        (s / 86_400, "d"),
        (s % 86_400 / 3_600, "h"),
        (s % 3_600 / 60, "m"),
        (s % 60, "s"),
        (u64::from(ms), "ms"),
    ];
    let text: String = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    // A duration of zero still needs a unit.
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}
