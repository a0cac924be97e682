//! Decisions in English: each is a line that names its rule, and for an alert that was not sent,
//! what would have been needed. `explain` reads the stored journal, `test` a case that failed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Decision, PLANNED, Verdict};
use crate::model::{Event, EventId, Field, Timestamp, human_duration};
use crate::rules::{Policy, Rule, RuleSet};

mod nearest;
mod quiet;
mod story;

pub(crate) use nearest::near;
pub use nearest::nearest_text;
pub(crate) use story::moment;
pub use story::{Chapter, EventFacts, Question, Story};

/// One decision for people.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionLine {
    /// Journal time.
    pub at: Timestamp,
    /// The event it is about; `None` for timers.
    pub event: Option<EventId>,
    /// The rule it is about.
    pub rule: Option<Arc<str>>,
    /// The line of the rule in its file.
    pub line: Option<u64>,
    /// The alerts it is about.
    pub alerts: Vec<u64>,
    /// Name of the verdict: `ended_untold`.
    pub verdict: String,
    /// The conclusion, and what would have been needed.
    pub text: String,
}

/// Turns decisions into lines. It remembers the alerts, to say what one lacked when it ended.
#[derive(Clone, Debug, Default)]
pub struct Explainer {
    alerts: HashMap<u64, AlertFacts>,
    offset_ms: i64,
}

#[derive(Clone, Debug)]
struct AlertFacts {
    since: Timestamp,
    /// Time at which it fired.
    fired: Option<Timestamp>,
    /// End of its wait for an alert that may inhibit it.
    held: Option<Timestamp>,
    /// True if its device was down on purpose.
    planned: bool,
    /// True if somebody was notified.
    told: bool,
    quiet: SuppressionState,
}

impl AlertFacts {
    fn new(since: Timestamp) -> Self {
        Self {
            since,
            fired: None,
            held: None,
            planned: false,
            told: false,
            quiet: SuppressionState::Never,
        }
    }
}

/// The suppression of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SuppressionState {
    Never,
    /// Suppressed now, for the reason in this sentence.
    Now(String),
    Before,
}

impl Explainer {
    /// Returns the line of a decision; decisions come in order. `when` formats a time.
    pub fn say(
        &mut self,
        decision: &Decision,
        rules: &RuleSet,
        when: &dyn Fn(Timestamp) -> String,
    ) -> DecisionLine {
        let rule = decision
            .rule
            .as_ref()
            .and_then(|name| rules.rules().iter().find(|rule| rule.name == *name));
        let needed = self.needed(decision, rule.map(Arc::as_ref))
            + &quiet::by_what(decision, rule.map(Arc::as_ref), rules);
        let said = counted(decision, rule.map(Arc::as_ref))
            .unwrap_or_else(|| decision.verdict.to_string());
        let said = said + &needed;
        // The state of the alert before this decision was needed for the text.
        self.note(decision, &said);
        let text = with_times(&said, when);
        DecisionLine {
            at: decision.at,
            event: decision.event,
            rule: decision.rule.clone(),
            line: rule.map(|rule| rule.line),
            alerts: decision.alerts.clone(),
            verdict: word(&decision.verdict),
            text,
        }
    }

    /// Sets the difference between wall time and journal time.
    pub fn set_offset(&mut self, offset_ms: i64) {
        self.offset_ms = offset_ms;
    }

    fn note(&mut self, decision: &Decision, said: &str) {
        let offset_ms = self.offset_ms;
        for alert in &decision.alerts {
            // The end frees the entry: there may be very many alerts.
            match decision.verdict {
                Verdict::Ended | Verdict::EndedUntold => {
                    self.alerts.remove(alert);
                    continue;
                }
                // A threshold alert begins when there are enough events.
                Verdict::BelowThreshold { .. } => continue,
                _ => {}
            }
            let known = self
                .alerts
                .entry(*alert)
                .or_insert_with(|| AlertFacts::new(decision.at));
            match &decision.verdict {
                Verdict::Firing => {
                    (known.fired, known.quiet) = (Some(decision.at), SuppressionState::Never)
                }
                Verdict::Inhibited { .. }
                | Verdict::Silenced { .. }
                | Verdict::Muted { .. }
                | Verdict::Maintenance { .. } => {
                    known.quiet = SuppressionState::Now(said.to_owned())
                }
                Verdict::Holding { until } => {
                    known.held = Some(until.shifted(offset_ms.saturating_neg()));
                }
                Verdict::Planned { .. } => known.planned = true,
                Verdict::Notify(_) | Verdict::Collected { .. } => known.told = true,
                // The alert that inhibited it has ended, so its `for` starts again.
                Verdict::Pending { .. } if matches!(known.quiet, SuppressionState::Now(_)) => {
                    *known = AlertFacts {
                        quiet: SuppressionState::Before,
                        ..AlertFacts::new(decision.at)
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns what would have been needed for a message, or what the alert waits for.
    fn needed(&self, decision: &Decision, rule: Option<&Rule>) -> String {
        // The first alert that is known stands for the others of the decision.
        let known = decision
            .alerts
            .iter()
            .find_map(|alert| self.alerts.get(alert));
        match (&decision.verdict, rule) {
            (Verdict::Pending { .. }, Some(rule)) if !rule.policy.r#for.is_zero() => {
                format!(" (`for` is {})", human_duration(rule.policy.r#for))
            }
            (Verdict::EndedUntold, Some(rule)) => known
                .map(|known| lacked(known, decision.at, &rule.policy))
                .unwrap_or_default(),
            (Verdict::Again, Some(rule)) => known
                .map(|known| waits(known, decision.at, &rule.policy))
                .unwrap_or_default(),
            // A count of zero is the timer's, when the window is over.
            (Verdict::BelowThreshold { seen, need, .. }, _) if *need > 0 => {
                let more = (*need as usize).saturating_sub(*seen);
                format!(": {more} more would be needed")
            }
            (Verdict::Cooldown { .. }, Some(rule)) => {
                format!(
                    "; told again once {} have passed without one",
                    human_duration(rule.policy.cooldown)
                )
            }
            _ => String::new(),
        }
    }
}

/// Returns what an open alert that was not sent waits for.
fn waits(known: &AlertFacts, now: Timestamp, policy: &Policy) -> String {
    let wait = human_duration(policy.r#for);
    match (&known.quiet, known.fired) {
        _ if known.told => String::new(),
        // The suppression is the reason, even if the alert is past its `for`.
        (SuppressionState::Now(by), _) => format!(", which nobody was told of yet: {by}"),
        (_, Some(_)) if known.held.is_some_and(|until| until > now) => {
            ", which waits for one that may explain it (`hold` of `inhibit_rules`)".to_owned()
        }
        (_, Some(_)) => ", whose message waits for company".to_owned(),
        (_, None) if policy.r#for.is_zero() => String::new(),
        (_, None) => format!(", which is pending: the rule waits {wait} (`for`)"),
    }
}

/// Returns what an alert lacked that ended before anybody was notified.
fn lacked(known: &AlertFacts, ended: Timestamp, policy: &Policy) -> String {
    let lasted = ended.since(known.since);
    // A suppression is the reason, however long the alert lasted.
    if let SuppressionState::Now(by) = &known.quiet {
        return format!(": until then it was not told: {by}");
    }
    if let Some(fired) = known.fired {
        if known.held.is_some_and(|until| ended < until) {
            return ": it fired, but was over while it waited for an alert that may explain it (`hold` of `inhibit_rules`)".to_owned();
        }
        // The wait began when both the firing and the hold were over.
        let waited = ended.since(known.held.map_or(fired, |until| until.max(fired)));
        let (wait, key, what) = if waited <= policy.group_wait {
            (policy.group_wait, "group_wait", "for company")
        } else {
            (
                policy.group_interval,
                "group_interval",
                "since the incident's last one",
            )
        };
        let wait = human_duration(wait);
        return format!(
            ": it fired, but was over while its message waited {wait} {what} (`{key}`)"
        );
    }
    // The difference is between the rounded values, so that the numbers shown add up.
    let (waits, why) = if known.planned && policy.r#for < PLANNED {
        (PLANNED, "its device was being upgraded, which may take")
    } else {
        (policy.r#for, "the rule waits")
    };
    let key = if known.planned { "" } else { " (`for`)" };
    let more = human_duration(as_shown(waits).saturating_sub(as_shown(lasted)));
    let (lasted, wait) = (human_duration(lasted), human_duration(waits));
    let after = if known.quiet == SuppressionState::Before {
        " after what had kept it quiet"
    } else {
        ""
    };
    format!(": it lasted {lasted}{after}, {why} {wait}{key}: {more} more were needed")
}

/// Returns a duration without the part that people are not shown.
fn as_shown(duration: Duration) -> Duration {
    let seconds = duration.as_secs();
    let unit = match seconds {
        0..600 => 1,
        600..86_400 => 60,
        _ => 3_600,
    };
    Duration::from_secs(seconds - seconds % unit)
}

/// Returns the text for a rule that counts different values.
fn counted(decision: &Decision, rule: Option<&Rule>) -> Option<String> {
    let Verdict::BelowThreshold { seen, need, within } = &decision.verdict else {
        return None;
    };
    let what = match rule?.threshold.as_ref()?.distinct.as_ref()? {
        Field::Device | Field::DeviceMac => "devices".to_owned(),
        Field::Site => "sites".to_owned(),
        field => format!("different values of {field}"),
    };
    Some(format!(
        "{seen} of {need} {what} within {}",
        human_duration(*within)
    ))
}

/// Returns the verdict's name in snake case.
fn word(verdict: &Verdict) -> String {
    if let Verdict::Notify(_) = verdict {
        // The debug text of a notification is long.
        return "notify".to_owned();
    }
    // The name is derived from the variant, so a new verdict needs no entry here.
    let debug = format!("{verdict:?}");
    let name = debug
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    let mut word = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

/// Returns the text with its times formatted for people.
fn with_times(text: &str, when: &dyn Fn(Timestamp) -> String) -> String {
    let one = |word: &str| {
        // A time may end a sentence or stand in brackets.
        let bare = word.trim_end_matches([',', ';', ':', '.', ')']);
        let time = Timestamp::parse_rfc3339(bare)?;
        Some(format!(
            "{}{}",
            when(time),
            word.get(bare.len()..).unwrap_or_default()
        ))
    };
    text.split(' ')
        .map(|word| one(word).unwrap_or_else(|| word.to_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Describes an event in a few words: `AP_DISCONNECTED of ap-1 (Home)`.
#[must_use]
pub fn describe(event: &Event) -> String {
    // Some events have no type; the topic says at least what they are about.
    let kind = if event.kind.is_empty() {
        event.topic.as_ref()
    } else {
        event.kind.as_str()
    };
    let status = event
        .status
        .as_ref()
        .map(|status| format!(" {status}"))
        .unwrap_or_default();
    let device = event
        .device
        .as_ref()
        .and_then(|d| d.name.as_ref().or(d.mac.as_ref()));
    let port = event
        .device
        .as_ref()
        .and_then(|d| d.port.as_ref())
        .map(|port| format!(" {port}"))
        .unwrap_or_default();
    let site = event.site.name.as_ref().or(event.site.id.as_ref());
    match (device, site) {
        (Some(device), Some(site)) => format!("{kind}{status} of {device}{port} ({site})"),
        (Some(device), None) => format!("{kind}{status} of {device}{port}"),
        (None, Some(site)) => format!("{kind}{status} at {site}"),
        (None, None) => format!("{kind}{status}"),
    }
}

/// Prints lines by time, each event followed by its decisions. `describe` formats an event, `when`
/// a time.
#[must_use]
pub fn print(
    lines: &[DecisionLine],
    file: &str,
    describe: &dyn Fn(EventId) -> String,
    when: &dyn Fn(Timestamp) -> String,
) -> Vec<String> {
    let times: Vec<String> = lines.iter().map(|line| when(line.at)).collect();
    let width = times.iter().map(String::len).max().unwrap_or_default();
    let mut printed = Vec::new();
    let mut last: Option<&DecisionLine> = None;
    for (line, time) in lines.iter().zip(&times) {
        let rule = match (&line.rule, line.line) {
            (Some(rule), Some(number)) => format!("{rule} ({file}:{number}): "),
            (Some(rule), None) => format!("{rule}: "),
            (None, _) => String::new(),
        };
        match line.event {
            Some(event) => {
                // Decisions about the same event share one line for the event.
                if last.is_none_or(|last| last.event != Some(event)) {
                    printed.push(format!("{time:<width$}  {}", describe(event)));
                }
                printed.push(format!("{:<width$}    {rule}{}", "", line.text));
            }
            None => printed.push(format!("{time:<width$}  {rule}{}", line.text)),
        }
        last = Some(line);
    }
    printed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_inside_a_sentence_are_written_anew() {
        let when = |at: Timestamp| format!("<{}>", at.seconds());
        for (text, said) in [
            ("pending until 1970-01-01T00:03:00Z", "pending until <180>"),
            ("until 1970-01-01T00:00:01.5Z: muted", "until <1>: muted"),
            ("nothing at all, 3 of 5", "nothing at all, 3 of 5"),
        ] {
            assert_eq!(with_times(text, &when), said);
        }
    }

    #[test]
    fn what_was_kept_quiet_lacked_something_else() {
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let explained = || Verdict::Inhibited {
            by: "sw-1".to_owned(),
            rule: "Switches".into(),
            line: None,
        };
        let pending = |minutes| Verdict::Pending { until: at(minutes) };
        let policy = |group_interval| Policy {
            r#for: Duration::from_secs(180),
            group_interval: Duration::from_secs(group_interval),
            ..Policy::default()
        };
        let lacked_by = |ended: Timestamp, story: Vec<(i64, Verdict)>| {
            let mut explainer = Explainer::default();
            for (minute, verdict) in story {
                let said = verdict.to_string();
                let decision = Decision {
                    at: at(minute),
                    event: None,
                    rule: None,
                    alerts: vec![7],
                    verdict,
                };
                explainer.note(&decision, &said);
            }
            lacked(&explainer.alerts[&7], ended, &policy(300))
        };
        let lacked = |story| lacked_by(at(10), story);
        let fires = || vec![(0, pending(3)), (3, Verdict::Firing)];
        let soon = at(3) + Duration::from_secs(5);
        assert!(lacked_by(soon, fires()).contains("for company (`group_wait`)"));
        assert!(
            lacked(fires())
                .contains("waited 5 min since the incident's last one (`group_interval`)")
        );
        let held = [fires(), vec![(3, Verdict::Holding { until: at(11) })]].concat();
        assert!(
            lacked(held.clone()).contains("(`hold` of `inhibit_rules`)"),
            "{}",
            lacked(held)
        );
        let planned = vec![(0, pending(3)), (3, Verdict::Planned { until: at(20) })];
        assert!(lacked(planned).contains("being upgraded, which may take 20 min: 10 min more"));
        let quiet = vec![(0, pending(3)), (3, Verdict::Firing), (3, explained())];
        assert_eq!(
            lacked(quiet.clone()),
            ": until then it was not told: kept quiet: sw-1 explains it (rule Switches)"
        );
        let anew = lacked([quiet, vec![(9, pending(12))]].concat());
        assert!(
            anew.contains("it lasted 1 min after what had kept it quiet")
                && anew.contains("2 min more"),
            "{anew}"
        );
    }

    #[test]
    fn what_is_shown_adds_up() {
        let known = AlertFacts::new(Timestamp::EPOCH);
        for (lasted, waits, said) in [
            (
                2_900,
                5,
                "it lasted 2 s, the rule waits 5 s (`for`): 3 s more",
            ),
            (
                128_400,
                180,
                "it lasted 2 min 8 s, the rule waits 3 min (`for`): 52 s more",
            ),
            (
                3_661_000,
                7_200,
                "it lasted 1 h 1 min, the rule waits 2 h (`for`): 59 min more",
            ),
        ] {
            let text = super::lacked(
                &known,
                Timestamp::from_millis(lasted),
                &Policy {
                    r#for: Duration::from_secs(waits),
                    ..Policy::default()
                },
            );
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn verdicts_have_words() {
        assert_eq!(word(&Verdict::EndedUntold), "ended_untold");
        assert_eq!(
            word(&Verdict::Pending {
                until: Timestamp::EPOCH
            }),
            "pending"
        );
    }
}
