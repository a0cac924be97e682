//! Tuning: finds the rules with most messages, and tries a change for each on the traffic itself.
//!
//! Every number is measured: the traffic is folded again with the changed rule and compared with
//! the present messages. The module is pure: traffic and rules in, suggestions out. `cli` writes
//! them into rules.yaml.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::diff::{self, Diff, Report};
use crate::fold::{Compile, Fold, notifications};
use crate::model::{Event, Journaled, Notification, Record, Seq, Timestamp};
use crate::replay::TrafficEntry;
use crate::rules::RuleSet;
use crate::source::{self, ParsedItem};

mod candidates;
mod change;

pub use change::KeyChange;

/// Number of messages below which a rule is left alone.
const NOISY: u64 = 10;
/// Maximum number of rules examined, noisiest first.
const RULES: usize = 8;
/// Duration up to which an outage counts as a blip, whose loss costs nothing.
pub const BLIP: Duration = Duration::from_secs(180);

/// Traffic, read once and folded many times.
#[derive(Clone, Debug, Default)]
pub struct ParsedTraffic {
    heard: Vec<(Timestamp, Read)>,
    seq: Seq,
}

/// One entry, parsed.
#[derive(Clone, Debug)]
enum Read {
    Event(Arc<Event>),
    /// A silence that was made or ended.
    Silence(Record),
}

impl ParsedTraffic {
    /// Adds the next entry; time never goes back.
    pub fn push(&mut self, heard: &TrafficEntry) {
        self.seq.0 += 1;
        let last = self.heard.last().map(|(at, _)| *at);
        let later = |at: Timestamp| last.map_or(at, |last| last.max(at));
        let post = match heard {
            TrafficEntry::Post(post) => post,
            TrafficEntry::Silence { at, record } => {
                return self.heard.push((later(*at), Read::Silence(record.clone())));
            }
        };
        let parse = |at| {
            source::parse(&post.arrival(self.seq, at))
                .into_iter()
                .filter_map(|parsed| match parsed {
                    ParsedItem::Event(event) => Some(event),
                    ParsedItem::Malformed { .. } => None,
                })
        };
        // A bare body arrives at the time of its newest event.
        let newest = || {
            parse(Timestamp::MAX)
                .filter(|event| event.own_time)
                .map(|event| event.time)
                .max()
        };
        let at = later(
            post.received_at
                .or_else(newest)
                .or(last)
                .unwrap_or(Timestamp::EPOCH),
        );
        let events: Vec<_> = parse(at).map(|event| (at, Read::Event(event))).collect();
        self.heard.extend(events);
    }

    /// Returns the times of the first and the last entry.
    #[must_use]
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.heard
            .first()
            .zip(self.heard.last())
            .map(|((first, _), (last, _))| (*first, *last))
    }

    /// Returns the notifications of these rules, without raw events.
    #[must_use]
    pub fn fold(&self, rules: &Arc<RuleSet>) -> Vec<Notification> {
        const NEVER: Compile = |_| None;
        let mut fold = Fold::new(Arc::clone(rules), NEVER);
        let mut said = Vec::new();
        // Raw events would take most of the memory, and nothing here reads them.
        let mut hear = |decisions| {
            said.extend(notifications(decisions).map(|n| Notification {
                event: serde_json::Value::Null,
                ..n
            }));
        };
        for (at, read) in &self.heard {
            hear(match read {
                Read::Event(event) => fold.handle_event(*at, Arc::clone(event)),
                Read::Silence(record) => {
                    fold.apply(&Journaled {
                        seq: self.seq,
                        at: *at,
                        record: record.clone(),
                    })
                    .decisions
                }
            });
        }
        // Both sides of a comparison must have sent everything.
        hear(fold.wind_down());
        hear(fold.tell_digests());
        said
    }
}

/// A change to one rule, with its measured benefit and cost.
#[derive(Clone, Debug)]
pub struct Suggestion {
    /// The rule.
    pub rule: String,
    /// The change.
    pub change: KeyChange,
    /// Messages of the rule as it is.
    pub before: u64,
    /// Number of messages saved, of all rules.
    pub saved: u64,
    /// Number of outages the rule reports.
    pub told: usize,
    /// Number it would report.
    pub told_after: usize,
    /// Reports that nobody would miss: blips, and repetitions.
    pub quiet: Vec<Report>,
    /// Reports that would be lost although they may matter.
    pub lost: Vec<Report>,
    /// Delays of the reports that would come later.
    pub later: Vec<Duration>,
}

/// The messages of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleNoise {
    /// Its name.
    pub rule: String,
    /// The line on which it begins; `None` for a digest or a maintenance, whose messages are not a
    /// rule's.
    pub line: Option<u64>,
    /// Number of messages, one per destination.
    pub messages: u64,
    /// Names in the messages and the number of messages with each, most frequent first.
    pub talkers: Vec<(String, u64)>,
}

/// The result of tuning.
#[derive(Clone, Debug, Default)]
pub struct TuningReport {
    /// Messages by the present rules, one per destination.
    pub messages: u64,
    /// Rules with messages, noisiest first.
    pub rules: Vec<RuleNoise>,
    /// Suggestions, at most one per rule, most helpful first.
    pub suggestions: Vec<Suggestion>,
    /// Noisy rules for which no change helps.
    pub helpless: Vec<(String, u64)>,
}

/// Looks for changes that reduce the messages of these rules on this traffic without losing
/// anything. `usable` returns whether a change can be made at all.
#[must_use]
pub fn tune(
    rules: &Arc<RuleSet>,
    traffic: &ParsedTraffic,
    usable: impl Fn(&str, &KeyChange) -> bool,
) -> TuningReport {
    let base = traffic.fold(rules);
    let mut tuning = TuningReport {
        messages: diff::count(&base),
        ..TuningReport::default()
    };
    // A comparison with nothing lists every rule with its messages.
    tuning.rules = diff::diff(&base, &[])
        .rules
        .iter()
        .map(|rule| noise(rules, &base, rule))
        .collect();
    // Each candidate folds the whole traffic again, so only the noisiest rules are tried.
    let noisy: Vec<_> = tuning
        .rules
        .iter()
        .filter(|noise| noise.messages >= NOISY)
        .take(RULES)
        .cloned()
        .collect();
    for RuleNoise {
        rule: name,
        messages,
        ..
    } in noisy
    {
        let Some(rule) = rules.rules().iter().find(|rule| *rule.name == *name) else {
            continue;
        };
        // Candidates are derived from what the rule itself reported.
        let own: Vec<Notification> = base.iter().filter(|n| n.rule == name).cloned().collect();
        let measured: Vec<Suggestion> = candidates::changes(rule, &own, rules)
            .into_iter()
            .filter(|change| usable(&name, change))
            .map(|change| measure(rules, traffic, &base, &own, (&name, messages), change))
            .collect();
        match best(measured, messages) {
            Some(suggestion) => tuning.suggestions.push(suggestion),
            None => tuning.helpless.push((name, messages)),
        }
    }
    tuning
        .suggestions
        .sort_by_key(|suggestion| std::cmp::Reverse(suggestion.saved));
    tuning
}

fn noise(rules: &RuleSet, base: &[Notification], rule: &diff::RuleMessages) -> RuleNoise {
    let mut talkers: BTreeMap<String, u64> = BTreeMap::new();
    for notification in base.iter().filter(|n| n.rule == rule.rule) {
        // A message that names a device twice still disturbs once.
        let names: BTreeSet<String> = notification.subjects.iter().map(diff::name).collect();
        for name in names {
            *talkers.entry(name).or_default() += notification.to.len() as u64;
        }
    }
    let mut talkers: Vec<(String, u64)> = talkers.into_iter().collect();
    talkers.sort_by_key(|(_, messages)| std::cmp::Reverse(*messages));
    // A digest or a maintenance has messages, but no rule with a line.
    let line = rules
        .rules()
        .iter()
        .find(|r| *r.name == *rule.rule)
        .map(|r| r.line);
    RuleNoise {
        rule: rule.rule.clone(),
        line,
        messages: rule.before,
        talkers,
    }
}

fn measure(
    rules: &Arc<RuleSet>,
    traffic: &ParsedTraffic,
    base: &[Notification],
    own: &[Notification],
    (name, messages): (&str, u64),
    change: KeyChange,
) -> Suggestion {
    let changed = Arc::new(rules.changed(name, |rule| change.apply(rule)));
    let after = traffic.fold(&changed);
    let Diff {
        before,
        after: now,
        missed,
        later,
        ..
    } = diff::diff(base, &after);
    let mut first: HashMap<(String, String), Timestamp> = HashMap::new();
    for told in diff::reports(&after) {
        // Reports come in order, so the first one stays.
        first.entry(thing(&told)).or_insert(told.at);
    }
    let repeats = |missed: &Report| {
        first
            .get(&thing(missed))
            .is_some_and(|first| *first <= missed.at)
    };
    // A longer cooldown does not lose a repetition: the next message counts it.
    let counts = matches!(change, KeyChange::Cooldown(_));
    let (quiet, lost) = missed
        .into_iter()
        .partition(|missed| is_blip(missed) || (counts && repeats(missed)));
    Suggestion {
        rule: name.to_owned(),
        change,
        before: messages,
        saved: before.saturating_sub(now),
        told: diff::reports(own).len(),
        told_after: diff::reports(
            &after
                .iter()
                .filter(|n| n.rule == name)
                .cloned()
                .collect::<Vec<_>>(),
        )
        .len(),
        quiet,
        lost,
        later: later.iter().map(diff::MovedReport::by).collect(),
    }
}

/// Returns what a report is about, without its time.
fn thing(told: &Report) -> (String, String) {
    (told.what.clone(), diff::identity(&told.subject))
}

/// Returns whether an outage ended before anybody could have acted.
fn is_blip(told: &Report) -> bool {
    told.subject
        .ends_at
        .zip(told.subject.starts_at)
        .is_some_and(|(end, start)| end.since(start) <= BLIP)
}

/// Returns the change that saves nearly as much as the best and costs least. A change that loses
/// something is chosen only if no other helps, and if it saves most of the messages and leaves the
/// rule some.
fn best(measured: Vec<Suggestion>, messages: u64) -> Option<Suggestion> {
    let (harmless, mut lossy): (Vec<_>, Vec<_>) =
        measured.into_iter().partition(|s| s.lost.is_empty());
    lossy.retain(|suggestion| suggestion.told_after > 0);
    let pick = |list: Vec<Suggestion>, share: u64| {
        let list: Vec<Suggestion> = list
            .into_iter()
            .filter(|s| s.saved * 100 >= messages * share)
            .collect();
        let most = list.iter().map(|s| s.saved).max()?;
        let cost = |s: &Suggestion| {
            (
                s.lost.len(),
                s.change.cost(),
                s.later.iter().sum::<Duration>(),
                s.quiet.len(),
            )
        };
        list.into_iter()
            // A few messages more or less are chance; within 5 % the cheaper change wins.
            .filter(|s| s.saved * 100 >= most * 95)
            .min_by_key(cost)
    };
    pick(harmless, 30).or_else(|| pick(lossy, 60))
}
