//! Questions to the stored journal: the decisions that belong to an event, a device or a message.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{DecisionLine, Explainer, describe, nearest_text};
use crate::engine::{Decision, Verdict};
use crate::fold::{Compile, Fold};
use crate::model::{
    Device, Event, EventId, Journaled, Message, Name, Phase, Reason, Record, Severity, Timestamp,
};
use crate::render::Templates;
use crate::rules::{RuleSet, fold as folded};
use crate::source::{self, Arrival, ParsedItem};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// An event, by its id.
    Event(EventId),
    /// A message, by its id.
    Message(String),
    /// Everything about a device, by name or MAC, since a wall time.
    Device(String, Timestamp),
}

/// One line of the answer, with the message it made.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// The line; its time is wall time.
    pub line: DecisionLine,
    /// The message, if it made one.
    pub message: Option<Box<Message>>,
}

/// The journal while it is folded again, and the parts that may answer the question.
pub struct Story<'t> {
    question: Question,
    file: String,
    templates: &'t Templates,
    fold: Fold,
    rules: Arc<RuleSet>,
    explainer: Explainer,
    chapters: Vec<Chapter>,
    /// The events in question.
    asked: HashSet<EventId>,
    /// Descriptions of the events that concerned any rule.
    events: HashMap<EventId, String>,
    /// The first event with each content hash.
    contents: HashMap<u64, EventId>,
    positions: Option<(u64, u64)>,
    /// Facts about a single event that was judged before, so that nothing else needs to be kept.
    known: Option<EventFacts>,
    /// Number of events folded.
    folded: usize,
}

/// Facts about an event that was judged before. With them the story may begin at any snapshot from
/// before its alerts.
#[derive(Clone, Debug, Default)]
pub struct EventFacts {
    /// The alerts it belongs to.
    pub alerts: BTreeSet<u64>,
    /// The duplicates after the snapshot whose first event is before it. `None` if the story begins
    /// with the journal.
    pub repeats: Option<HashSet<EventId>>,
    /// The first event, if this one is a duplicate.
    pub first: Option<EventId>,
}

impl<'t> Story<'t> {
    /// Begins with an empty state and these rules, until the journal names others. `file` is the
    /// name of the rules file.
    #[must_use]
    pub fn new(
        question: Question,
        rules: Arc<RuleSet>,
        compile: Compile,
        templates: &'t Templates,
        file: String,
    ) -> Self {
        Self {
            question,
            file,
            templates,
            // Old entries are judged by these rules until the journal names others.
            fold: Fold::new(Arc::clone(&rules), compile),
            rules,
            explainer: Explainer::default(),
            chapters: Vec::new(),
            asked: HashSet::new(),
            events: HashMap::new(),
            contents: HashMap::new(),
            positions: None,
            known: None,
            folded: 0,
        }
    }

    /// Continues from this fold, with a single event and its alerts. The answer is the same, and
    /// nothing else is kept.
    #[must_use]
    pub fn of_known(self, fold: Option<Fold>, known: EventFacts) -> Self {
        let fold = fold.unwrap_or(self.fold);
        Self {
            rules: Arc::clone(fold.rules()),
            fold,
            known: Some(known),
            ..self
        }
    }

    /// Adds events that are known to be duplicates.
    pub fn repeats(&mut self, more: impl IntoIterator<Item = EventId>) {
        if let Some(repeats) = self.known.as_mut().and_then(|known| known.repeats.as_mut()) {
            repeats.extend(more);
        }
    }

    /// Returns the number of events folded.
    #[must_use]
    pub fn folded(&self) -> usize {
        self.folded
    }

    /// Returns whether the answer is complete: the event was judged, and none of its alerts is
    /// left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let gone = |known: &EventFacts| known.alerts.iter().all(|alert| !self.fold.has(*alert));
        !self.asked.is_empty() && self.known.as_ref().is_some_and(gone)
    }

    /// Folds one entry; entries come in order.
    pub fn entry(&mut self, entry: &Journaled) {
        self.positions = Some((
            self.positions.map_or(entry.seq.0, |(first, _)| first),
            entry.seq.0,
        ));
        match &entry.record {
            Record::Received {
                source, kind, body, ..
            } => {
                let arrival = Arrival {
                    source,
                    kind: *kind,
                    seq: entry.seq,
                    received: entry.at.shifted(self.fold.offset_ms()),
                    body,
                };
                for parsed in source::parse(&arrival) {
                    match parsed {
                        ParsedItem::Event(event) => self.event(entry.at, &event),
                        // Time passes even if the body cannot be parsed.
                        ParsedItem::Malformed { .. } => {
                            let decisions = self.fold.tick(entry.at);
                            self.keep(decisions, None);
                        }
                    }
                }
            }
            Record::Rules(_) => {
                let decisions = self.fold.apply(entry).decisions;
                self.keep(decisions, None);
                // The rules change after the entry: decisions about it are those of the earlier
                // rules.
                self.rules = Arc::clone(self.fold.rules());
            }
            _ => {
                let decisions = self.fold.apply(entry).decisions;
                self.keep(decisions, None);
            }
        }
    }

    fn event(&mut self, at: Timestamp, event: &Arc<Event>) {
        let asked = match &self.question {
            Question::Event(id) => *id == event.id,
            Question::Device(name, since) => event.received >= *since && is_about(event, name),
            Question::Message(_) => false,
        };
        // The event is noted before it is judged: its decisions are kept only if it is in question.
        if asked {
            self.asked.insert(event.id);
        }
        self.folded += 1;
        let decisions = self.judged(at, event);
        let concerns = |decisions: &[Decision]| {
            decisions
                .iter()
                .any(|d| d.rule.is_some() && d.event.is_some())
        };
        // For a single event, descriptions of the others would only take memory.
        if self.known.is_none() && (asked || concerns(&decisions)) {
            let happened = if event.own_time && event.received.since(event.time).as_secs() >= 60 {
                format!(", of {}", moment_beside(event.time, event.received))
            } else {
                String::new()
            };
            let said = format!(
                "event {}: {} on {}{happened}",
                event.id,
                describe(event),
                event.topic
            );
            self.events.insert(event.id, said);
        }
        // An event without any decision still needs a line in the answer.
        let silent = asked && !decisions.iter().any(|d| d.event == Some(event.id));
        self.keep(decisions, Some(event));
        if silent {
            self.keep_silence(at, event);
        }
        if self.known.is_none() {
            self.contents
                .entry(event.digest)
                .or_insert_with(|| event.id);
        }
    }

    /// Adds an event without alerts. Its outcome determines the decision, whatever else was open.
    pub fn alone(&mut self, at: Timestamp, event: &Arc<Event>, verdict: Option<Verdict>) {
        self.asked.insert(event.id);
        let Some(verdict) = verdict else {
            return self.keep_silence(at, event);
        };
        let decision = Decision {
            at,
            event: Some(event.id),
            alerts: Vec::new(),
            rule: None,
            verdict,
        };
        self.keep(vec![decision], Some(event));
    }

    /// Judges an event. One that is known to be a duplicate only moves time.
    fn judged(&mut self, at: Timestamp, event: &Arc<Event>) -> Vec<Decision> {
        let repeats = self.known.as_mut().and_then(|known| known.repeats.as_mut());
        if !repeats.is_some_and(|repeats| repeats.remove(&event.id)) {
            return self.fold.handle_event(at, Arc::clone(event));
        }
        // The first event may be before the snapshot, where this fold has no memory of it.
        let mut decisions = self.fold.tick(at);
        let (event, verdict) = (Some(event.id), Verdict::Duplicate);
        decisions.push(Decision {
            at,
            event,
            alerts: Vec::new(),
            rule: None,
            verdict,
        });
        decisions
    }

    /// Adds a line for an event without a decision, mostly the end of a condition that was not
    /// open.
    fn keep_silence(&mut self, at: Timestamp, event: &Event) {
        // The engine makes no decision about these events, so the text comes from the phase.
        let (verdict, text) = match event.phase {
            Phase::Close => (
                "nothing_open",
                "it ends something, but no rule had it open: nothing to say",
            ),
            Phase::Open | Phase::Event => ("nothing", "no rule had anything to say about it"),
        };
        let line = DecisionLine {
            at: at.shifted(self.fold.offset_ms()),
            event: Some(event.id),
            rule: None,
            line: None,
            alerts: Vec::new(),
            verdict: verdict.to_owned(),
            text: text.to_owned(),
        };
        self.chapters.push(Chapter {
            line,
            message: None,
        });
    }

    fn keep(&mut self, mut decisions: Vec<Decision>, event: Option<&Event>) {
        let offset = self.fold.offset_ms();
        if let Some(event) = event {
            event_first(&mut decisions, event.id);
        }
        for mut decision in decisions {
            // Decisions have journal time, but people read wall time.
            if let Verdict::Pending { until } | Verdict::Closing { until } = &mut decision.verdict {
                *until = until.shifted(offset);
            }
            // A decision without rule or alert is kept only if its event is in question.
            let alone =
                decision.rule.is_none() && decision.alerts.is_empty() && decision.event.is_some();
            let asked = decision.event.is_some_and(|id| self.asked.contains(&id));
            if alone && !asked {
                continue;
            }
            let other = |known: &EventFacts| {
                !asked
                    && !decision
                        .alerts
                        .iter()
                        .any(|alert| known.alerts.contains(alert))
            };
            // For a single event, only its own alerts belong to the answer.
            if self.known.as_ref().is_some_and(other) {
                continue;
            }
            self.explainer.set_offset(offset);
            let beside = decision.at.shifted(offset);
            let mut line = self
                .explainer
                .say(&decision, &self.rules, &|at| moment_beside(at, beside));
            line.at = line.at.shifted(offset);
            if let Some(event) = event.filter(|event| asked && decision.event == Some(event.id)) {
                self.add_to(&mut line, &decision.verdict, event);
            }
            let message = match decision.verdict {
                Verdict::Notify(notification) if self.known.is_none() => {
                    Some(Box::new(self.templates.render(*notification)))
                }
                _ => None,
            };
            self.chapters.push(Chapter { line, message });
        }
    }

    /// Adds to a line what only the event itself shows.
    fn add_to(&self, line: &mut DecisionLine, verdict: &Verdict, event: &Event) {
        match verdict {
            Verdict::Duplicate => {
                // The first event may be before the snapshot; then only the store knows it.
                let known = self.known.as_ref().and_then(|known| known.first);
                if let Some(first) = known.or_else(|| self.contents.get(&event.digest).copied()) {
                    line.text = format!("{}, as {first}", line.text);
                }
            }
            Verdict::Pending { .. } | Verdict::Firing => {
                line.text.push_str(&self.nobody(line, event))
            }
            Verdict::Unmatched => line
                .text
                .push_str(&nearest_text(&self.rules, event, &self.file)),
            _ => {}
        }
    }

    /// Returns a note if no destination of a rule accepts the event's severity.
    fn nobody(&self, line: &DecisionLine, event: &Event) -> String {
        let Some(rule) = self
            .rules
            .rules()
            .iter()
            .find(|rule| line.rule.as_ref() == Some(&rule.name))
        else {
            return String::new();
        };
        // The same default as in the engine.
        let severity = rule
            .policy
            .severity
            .or(event.severity)
            .unwrap_or(Severity::Warning);
        // Digests are no destinations of the rule set, but a rule may name them.
        let digests = self
            .rules
            .surroundings()
            .digests
            .iter()
            .map(|digest| (&digest.name, digest.min_severity));
        let named = |name: &Name| {
            rule.policy
                .notify
                .as_ref()
                .is_none_or(|names| names.contains(name))
        };
        let all = self
            .rules
            .destinations()
            .iter()
            .map(|(name, least)| (name, *least))
            .chain(digests);
        let least = all
            .filter(|(name, _)| named(name))
            .map(|(_, least)| least)
            .min();
        // The least demanding destination decides whether anybody is notified.
        match least {
            Some(least) if severity >= least => String::new(),
            Some(least) => {
                format!(
                    "; but nobody is told: it is {severity}, and its destinations take {least} or worse"
                )
            }
            None => "; but nobody is told: the rule has no destination".to_owned(),
        }
    }

    /// Returns the first and the last journal position that was folded.
    #[must_use]
    pub fn positions(&self) -> Option<(u64, u64)> {
        self.positions
    }

    /// Describes an event.
    #[must_use]
    pub fn describe(&self, event: EventId) -> String {
        self.events
            .get(&event)
            .cloned()
            .unwrap_or_else(|| format!("event {event}"))
    }

    /// Returns the answer in order; empty if nothing matches. `sent` is the message in question as
    /// the outbox has it. If the beginning of the journal was removed, numbers differ, and it is
    /// found by rule and time.
    #[must_use]
    pub fn answer(&self, sent: Option<&Message>) -> Vec<&Chapter> {
        // A summary has no decision of its own: the messages in it are what led to it.
        let of_digest = sent
            .filter(|sent| sent.about.collected.is_none())
            .map(|sent| sent.folded.as_slice());
        let held: HashSet<(&str, Reason, Timestamp)> = of_digest
            .unwrap_or_default()
            .iter()
            .map(|of| (of.incident.as_str(), of.reason, of.at))
            .collect();
        let is_message = |chapter: &&Chapter| match (&self.question, &chapter.message) {
            (Question::Message(id), Some(message)) => {
                let (about, sent) = (&message.about, sent.map(|sent| &sent.about));
                about.id.eq_ignore_ascii_case(id)
                    || held.contains(&(about.incident.as_str(), about.reason, about.at))
                    || sent.is_some_and(|s| {
                        s.rule == about.rule && s.at == about.at && s.reason == about.reason
                    })
            }
            _ => false,
        };
        let asked = |line: &DecisionLine| line.event.is_some_and(|id| self.asked.contains(&id));
        let from_message = self
            .chapters
            .iter()
            .filter(is_message)
            .flat_map(|c| &c.line.alerts);
        let from_events = self
            .chapters
            .iter()
            .filter(|c| asked(&c.line))
            .flat_map(|c| &c.line.alerts);
        // Two steps: the alerts come from the lines in question, and then all lines of these alerts
        // belong to the answer.
        let alerts: BTreeSet<u64> = from_message.chain(from_events).copied().collect();
        let since = match &self.question {
            Question::Device(_, since) => *since,
            _ => Timestamp::from_millis(i64::MIN),
        };
        let belongs = |chapter: &&Chapter| {
            let line = &chapter.line;
            let others = line.event.is_some()
                && !asked(line)
                && !matches!(self.question, Question::Message(_));
            let shared = line.alerts.iter().any(|alert| alerts.contains(alert));
            // Additions by other devices to the same alert are another story.
            let joins = matches!(
                line.verdict.as_str(),
                "again" | "below_threshold" | "cooldown" | "pending" | "firing"
            );
            line.at >= since
                && (asked(line) || is_message(chapter) || (shared && !(others && joins)))
        };
        self.chapters.iter().filter(belongs).collect()
    }
}

/// Moves an event before its consequences. The engine links an alert to the one that inhibits it
/// before it reports the new alert.
fn event_first(decisions: &mut [Decision], event: EventId) {
    let is_its = |decision: &Decision| decision.event == Some(event);
    for index in 0..decisions.len() {
        let Some(first) = decisions.get(index).filter(|first| !is_its(first)) else {
            continue;
        };
        let Verdict::Inhibited { .. } = first.verdict else {
            continue;
        };
        // Only a decision about the same alert belongs after its event.
        let shares = |other: &Decision| {
            is_its(other)
                && other
                    .alerts
                    .iter()
                    .any(|alert| first.alerts.contains(alert))
        };
        let Some(rest) = decisions.get(index + 1..) else {
            continue;
        };
        let at = rest.iter().position(shares);
        // The event moves to the front, and everything between stays in order.
        if let Some(moved) = at.and_then(|at| decisions.get_mut(index..=index + 1 + at)) {
            moved.rotate_left(1);
        }
    }
}

/// Formats a time like [`moment`], with the year if it differs from that of `beside`.
fn moment_beside(at: Timestamp, beside: Timestamp) -> String {
    let year = |at: Timestamp| {
        at.rfc3339()
            .split('-')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    if year(at) == year(beside) {
        return moment(at);
    }
    jiff::Timestamp::from_millisecond(at.millis()).map_or_else(
        |_| at.rfc3339(),
        |at| {
            at.to_zoned(jiff::tz::TimeZone::UTC)
                .strftime("%-d %b %Y %H:%M:%S")
                .to_string()
        },
    )
}

/// Formats a time: `19 Nov 03:12:10`, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).map_or_else(
        |_| at.rfc3339(),
        |at| {
            at.to_zoned(jiff::tz::TimeZone::UTC)
                .strftime("%-d %b %H:%M:%S")
                .to_string()
        },
    )
}

/// Returns whether the event is about the device, or lists it.
fn is_about(event: &Event, name: &str) -> bool {
    // People write MACs with colons, hyphens, dots or nothing.
    let hex = |text: &str| {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase()
    };
    let is = |device: &Device| {
        device
            .name
            .as_ref()
            .is_some_and(|known| folded(known) == folded(name))
            || device.mac.as_ref().is_some_and(|mac| hex(mac) == hex(name))
    };
    event.device.iter().chain(&event.listed).any(is)
}
