//! The cause of a suppression: its place in the file, and its end.

use crate::engine::{Decision, Verdict};
use crate::model::{Name, Timestamp};
use crate::rules::{DuringMute, Rule, RuleSet};

/// Returns what the verdict itself does not say about a suppression.
pub(super) fn by_what(decision: &Decision, rule: Option<&Rule>, rules: &RuleSet) -> String {
    let around = rules.surroundings();
    match (&decision.verdict, rule) {
        (
            Verdict::Inhibited {
                line: Some(line), ..
            },
            _,
        ) => format!(", by `inhibit_rules`, line {line}"),
        (Verdict::Maintenance { name, until }, _) => {
            let Some(window) = around
                .maintenance
                .iter()
                .find(|window| window.name == *name)
            else {
                return String::new();
            };
            // An alert without an end is dropped for the whole window, whose end the verdict does
            // not name.
            let end = window
                .during
                .next_change(decision.at)
                .filter(|_| until.is_none());
            let end = end.map(|end| format!(" until {end}")).unwrap_or_default();
            format!("{end} (line {})", window.line)
        }
        (Verdict::Muted { .. }, Some(rule)) => muted(rule, rules, decision.at),
        _ => String::new(),
    }
}

/// Returns the intervals that mute a rule, and the handling of alerts meanwhile.
fn muted(rule: &Rule, rules: &RuleSet, at: Timestamp) -> String {
    let (policy, intervals) = (&rule.policy, &rules.surroundings().time_intervals);
    let within = |name: &&Name| {
        intervals
            .get(*name)
            .is_some_and(|interval| interval.contains(at))
    };
    let listed = |names: Vec<&Name>| {
        names
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mute: Vec<&Name> = policy.mute_time_intervals.iter().filter(within).collect();
    // No interval mutes it now, so it is outside all of its active ones.
    let which = if mute.is_empty() {
        format!(
            "it speaks only within {}",
            listed(policy.active_time_intervals.iter().collect())
        )
    } else {
        format!("it is mute within {}", listed(mute))
    };
    let then = match policy.during_mute {
        DuringMute::Drop => "dropped (`during_mute: drop`)",
        DuringMute::Hold | DuringMute::Digest => "held until then",
    };
    format!(": {which}; {then}")
}
