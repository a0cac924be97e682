//! What is asked of the stored journal: which decisions belong to an event, a device or a message.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Line, Teller, describe, nearest_text};
use crate::engine::{Decision, Verdict};
use crate::fold::{Compile, Fold};
use crate::model::{
    Device, Event, EventId, Journaled, Message, Name, Phase, Reason, Record, Severity, Timestamp,
};
use crate::render::Templates;
use crate::rules::{RuleSet, fold as folded};
use crate::source::{self, Arrival, Parsed};

/// What somebody wants explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// An event, by its id.
    Event(EventId),
    /// A message, by its id.
    Message(String),
    /// Everything about a device, by name or MAC, since a wall time.
    Device(String, Timestamp),
}

/// One line of the answer, and the message where it made one.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// The line; its time is wall time.
    pub line: Line,
    /// What was told.
    pub message: Option<Box<Message>>,
}

/// The journal as it is folded again, and what of it may be asked for.
pub struct Story<'t> {
    question: Question,
    file: String,
    templates: &'t Templates,
    fold: Fold,
    rules: Arc<RuleSet>,
    teller: Teller,
    chapters: Vec<Chapter>,
    /// The events asked for.
    asked: HashSet<EventId>,
    /// What every event that a rule concerned itself with is, in words.
    events: HashMap<EventId, String>,
    /// The first event with a content.
    contents: HashMap<u64, EventId>,
    positions: Option<(u64, u64)>,
    /// Of one event that was judged: what is known of it, so that nothing else need be kept.
    known: Option<Known>,
    /// How many events were folded.
    folded: usize,
}

/// What is known of an event that was judged: its story may begin at any snapshot from before its
/// alerts.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The alerts it is part of.
    pub alerts: BTreeSet<u64>,
    /// The events that had come before: what came before the snapshot is not remembered. `None`
    /// where the story begins with the journal.
    pub repeats: Option<HashSet<EventId>>,
    /// Of an event that had come before: which one that was.
    pub first: Option<EventId>,
}

impl<'t> Story<'t> {
    /// Begins with an empty state and these rules, until the journal names others. `file` is where
    /// rules stand.
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
            fold: Fold::new(Arc::clone(&rules), compile),
            rules,
            teller: Teller::default(),
            chapters: Vec::new(),
            asked: HashSet::new(),
            events: HashMap::new(),
            contents: HashMap::new(),
            positions: None,
            known: None,
            folded: 0,
        }
    }

    /// Goes on from here instead: of this event alone, and of the alerts it is known to be part of.
    /// Whatever is said of it is the same; the rest is not kept.
    #[must_use]
    pub fn of_known(self, fold: Option<Fold>, known: Known) -> Self {
        let fold = fold.unwrap_or(self.fold);
        Self {
            rules: Arc::clone(fold.rules()),
            fold,
            known: Some(known),
            ..self
        }
    }

    /// Adds to the events known to have come before.
    pub fn repeats(&mut self, more: impl IntoIterator<Item = EventId>) {
        if let Some(repeats) = self.known.as_mut().and_then(|known| known.repeats.as_mut()) {
            repeats.extend(more);
        }
    }

    /// How many events were folded.
    #[must_use]
    pub fn folded(&self) -> usize {
        self.folded
    }

    /// Whether all is said: the event was judged, and none of its alerts is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let gone = |known: &Known| known.alerts.iter().all(|alert| !self.fold.has(*alert));
        !self.asked.is_empty() && self.known.as_ref().is_some_and(gone)
    }

    /// Folds one entry; they come in order.
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
                        Parsed::Event(event) => self.event(entry.at, &event),
                        Parsed::Malformed { .. } => {
                            let decisions = self.fold.tick(entry.at);
                            self.keep(decisions, None);
                        }
                    }
                }
            }
            Record::Rules(_) => {
                let decisions = self.fold.apply(entry).decisions;
                self.keep(decisions, None);
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

    /// An event of which is known that no alert has to do with it: what became of it says what was
    /// decided, whatever was open.
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

    /// What the engine makes of an event. One that is known to have come before moves nothing but
    /// time.
    fn judged(&mut self, at: Timestamp, event: &Arc<Event>) -> Vec<Decision> {
        let repeats = self.known.as_mut().and_then(|known| known.repeats.as_mut());
        if !repeats.is_some_and(|repeats| repeats.remove(&event.id)) {
            return self.fold.handle_event(at, Arc::clone(event));
        }
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

    /// An event that led to no decision: the end of what was not open, mostly.
    fn keep_silence(&mut self, at: Timestamp, event: &Event) {
        let (verdict, text) = match event.phase {
            Phase::Close => (
                "nothing_open",
                "it ends something, but no rule had it open: nothing to say",
            ),
            Phase::Open | Phase::Event => ("nothing", "no rule had anything to say about it"),
        };
        let line = Line {
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
            // People read wall time.
            if let Verdict::Pending { until } | Verdict::Closing { until } = &mut decision.verdict {
                *until = until.shifted(offset);
            }
            // Its rule has nothing to say about it: kept only where it is asked for.
            let alone =
                decision.rule.is_none() && decision.alerts.is_empty() && decision.event.is_some();
            let asked = decision.event.is_some_and(|id| self.asked.contains(&id));
            if alone && !asked {
                continue;
            }
            let other = |known: &Known| {
                !asked
                    && !decision
                        .alerts
                        .iter()
                        .any(|alert| known.alerts.contains(alert))
            };
            if self.known.as_ref().is_some_and(other) {
                continue;
            }
            self.teller.set_offset(offset);
            let beside = decision.at.shifted(offset);
            let mut line = self
                .teller
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

    /// What only the event itself tells.
    fn add_to(&self, line: &mut Line, verdict: &Verdict, event: &Event) {
        match verdict {
            Verdict::Duplicate => {
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

    /// That no destination of a rule takes an event's severity, where that is so.
    fn nobody(&self, line: &Line, event: &Event) -> String {
        let Some(rule) = self
            .rules
            .rules()
            .iter()
            .find(|rule| line.rule.as_ref() == Some(&rule.name))
        else {
            return String::new();
        };
        let severity = rule
            .policy
            .severity
            .or(event.severity)
            .unwrap_or(Severity::Warning);
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

    /// The first and the last journal position that was folded.
    #[must_use]
    pub fn positions(&self) -> Option<(u64, u64)> {
        self.positions
    }

    /// What an event is, in words.
    #[must_use]
    pub fn describe(&self, event: EventId) -> String {
        self.events
            .get(&event)
            .cloned()
            .unwrap_or_else(|| format!("event {event}"))
    }

    /// The answer, in order: empty when there is nothing of the kind. `sent` is the message asked
    /// for as the outbox has it: where the journal's beginning was removed, numbers differ, and
    /// it is found by rule and time.
    #[must_use]
    pub fn answer(&self, sent: Option<&Message>) -> Vec<&Chapter> {
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
        let asked = |line: &Line| line.event.is_some_and(|id| self.asked.contains(&id));
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
            // What other devices add to the same alert is another story.
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

/// What an event leads to stands below it: an alert is linked to what explains it before it is said
/// to be there.
fn event_first(decisions: &mut [Decision], event: EventId) {
    let is_its = |decision: &Decision| decision.event == Some(event);
    for index in 0..decisions.len() {
        let Some(first) = decisions.get(index).filter(|first| !is_its(first)) else {
            continue;
        };
        let Verdict::Inhibited { .. } = first.verdict else {
            continue;
        };
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
        if let Some(moved) = at.and_then(|at| decisions.get_mut(index..=index + 1 + at)) {
            moved.rotate_left(1);
        }
    }
}

/// As [`moment`], with the year where it is not that of the time it is said at.
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

/// `19 Nov 03:12:10`, in UTC.
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

/// Whether a device is the event's, or one it lists.
fn is_about(event: &Event, name: &str) -> bool {
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
