//! What became of each event: rows out of what the engine did, so that their sums are the engine's
//! own counts.
//!
//! The engine counts fates and names none. A [`History`] looks at it after each timer and each
//! event: the counts say what moved, the alerts that were touched say whose events these were. It
//! remembers, by alert, how many events wait with it: no more than the engine does, and found again
//! in a restored one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

mod feed;
mod pages;
#[doc(hidden)]
pub mod words;

pub use feed::{Feed, Frame};
pub use pages::{Found, Past, Question, catch_up, keep_indexed, shown};

use crate::engine::{Decision, Deed, Engine, Input, Verdict, Waiting};
use crate::model::{Event, EventFates, Seq, Timestamp};
use crate::store::{EventFate, EventId, EventRow, FateChange, WaitsWith};

/// What one step adds to the history.
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// The events judged, in order.
    pub rows: Vec<EventRow>,
    /// What became of earlier ones, in order.
    pub changes: Vec<FateChange>,
    /// A sample of the events: whatever was asked for by [`History::show`].
    pub shown: Vec<(EventRow, Arc<Event>)>,
}

/// Follows one engine.
#[derive(Debug, Default)]
pub struct History {
    /// The counts as of the last look.
    known: EventFates,
    /// The alerts that events wait with.
    waiting: BTreeMap<u64, Waiting>,
    /// How many alerts still share each of these.
    tickets: HashMap<u64, u32>,
    newest_ticket: u64,
    /// The newest event there is a row of, or was before the restart.
    last: EventId,
    added: Added,
    show: usize,
}

/// What the counts gained since the last look, as far as it is not accounted for.
struct Gained {
    told: u64,
    suppressed: BTreeMap<String, u64>,
}

impl Gained {
    fn since(known: &EventFates, now: &EventFates) -> Self {
        let gained = |(why, count): (&String, &u64)| {
            let more = count - known.suppressed.get(why).copied().unwrap_or_default();
            (more > 0).then(|| (why.clone(), more))
        };
        Self {
            told: now.told - known.told,
            suppressed: now.suppressed.iter().filter_map(gained).collect(),
        }
    }

    fn left(&self) -> u64 {
        self.told + self.suppressed.values().sum::<u64>()
    }

    /// Takes so many of this fate; where the counts say otherwise they are right, and another is
    /// given.
    fn take(&mut self, count: u64, wanted: EventFate) -> EventFate {
        let reason = wanted.why().filter(|why| {
            self.suppressed
                .get(&***why)
                .is_some_and(|left| *left >= count)
        });
        let reason = reason.map(|why| why.to_string());
        let other = || {
            let fits = |(why, left): (&String, &u64)| (*left >= count).then(|| why.clone());
            self.suppressed.iter().find_map(fits)
        };
        if self.told >= count
            && (wanted == EventFate::Told || (reason.is_none() && other().is_none()))
        {
            self.told -= count;
            return EventFate::Told;
        }
        let Some(reason) = reason.or_else(other) else {
            return wanted;
        };
        if let Some(left) = self.suppressed.get_mut(&reason) {
            *left -= count;
        }
        EventFate::Suppressed(reason.into())
    }
}

impl History {
    /// Follows an engine from where it stands: at this position.
    #[must_use]
    pub fn of(engine: &Engine, folded: Seq) -> Self {
        let (waiting, newest_ticket) = engine.all_waiting();
        let mut history = Self {
            known: engine.fates().clone(),
            newest_ticket,
            last: EventId::new(folded, u64::MAX),
            ..Self::default()
        };
        for (alert, waiting) in waiting {
            for ticket in &waiting.shared {
                *history.tickets.entry(*ticket).or_default() += 1;
            }
            history.waiting.insert(alert, waiting);
        }
        history
    }

    /// Lets the engine handle an input, and notes what that did to events.
    pub fn handle(&mut self, engine: &mut Engine, at: Timestamp, input: &Input) -> Vec<Decision> {
        let event = if let Input::Event(event) = input {
            Some(event)
        } else {
            None
        };
        let mut decisions = Vec::new();
        engine.handle_watched(at, input, &mut |engine, deed, touched, made| {
            self.look(
                engine,
                event.filter(|_| deed == Deed::Input),
                touched,
                &made,
            );
            decisions.extend(made);
        });
        decisions
    }

    /// Keeps up to so many of the next events at hand.
    pub fn show(&mut self, most: usize) {
        self.show = most;
    }

    /// How many events were judged since [`History::take`].
    #[must_use]
    pub fn judged(&self) -> usize {
        self.added.rows.len()
    }

    /// What was added since the last call.
    pub fn take(&mut self) -> Added {
        std::mem::take(&mut self.added)
    }

    fn look(
        &mut self,
        engine: &Engine,
        event: Option<&Arc<Event>>,
        touched: &[u64],
        made: &[Decision],
    ) {
        let now = engine.fates();
        if event.is_none() && now.pending == self.known.pending {
            return self.refresh(engine, made);
        }
        let mut gained = Gained::since(&self.known, now);
        // An event that waits is none of those that moved.
        let (own, waits) = match event {
            Some(_) if now.duplicate > self.known.duplicate => (Some(EventFate::Duplicate), None),
            Some(_) if now.unmatched > self.known.unmatched => (Some(EventFate::Unmatched), None),
            Some(event) => match self.waits(engine, event, made) {
                Some(waits) => (Some(EventFate::Pending), Some(waits)),
                None => (None, None),
            },
            None => (None, None),
        };
        let moved = gained.left() - u64::from(event.is_some() && own.is_none()).min(gained.left());
        if moved > 0 {
            self.moved(engine, touched, made, moved, &mut gained);
        }
        if let Some(event) = event {
            let fate = own.unwrap_or_else(|| gained.take(1, likely(&event.id, made)));
            let told = if fate == EventFate::Told {
                tellers(engine, &event.id, made)
            } else {
                Vec::new()
            };
            self.add(event, (fate, told), waits, made);
        }
        self.refresh(engine, made);
        self.known.clone_from(now);
    }

    /// Brings up to date why what waits would be suppressed.
    fn refresh(&mut self, engine: &Engine, made: &[Decision]) {
        for alert in made.iter().flat_map(|decision| &decision.alerts) {
            if let Some(known) = self.waiting.get_mut(alert)
                && let Some(waiting) = engine.waiting(*alert)
            {
                known.reason = waiting.reason;
            }
        }
    }

    /// What an event that was just judged waits with, if it waits.
    fn waits(&mut self, engine: &Engine, event: &Event, made: &[Decision]) -> Option<WaitsWith> {
        let about = made
            .iter()
            .filter(|decision| decision.event.as_ref() == Some(&event.id));
        let alerts: BTreeSet<u64> = about
            .flat_map(|decision| decision.alerts.iter().copied())
            .collect();
        let mut shares = None;
        for alert in alerts {
            let Some(waiting) = engine.waiting(alert) else {
                continue;
            };
            let known = self.waiting.get(&alert).map_or(0, |known| known.alone);
            let newest = waiting
                .shared
                .last()
                .copied()
                .filter(|ticket| *ticket > self.newest_ticket);
            if waiting.alone > known || newest.is_some() {
                let known = self.waiting.entry(alert).or_default();
                (known.reason, known.rule) = (waiting.reason, Arc::clone(&waiting.rule));
                match newest {
                    Some(ticket) => {
                        known.shared.push(ticket);
                        *self.tickets.entry(ticket).or_default() += 1;
                        shares = Some(ticket);
                    }
                    None => {
                        known.alone += 1;
                        return Some(WaitsWith::Alert(alert));
                    }
                }
            }
        }
        let ticket = shares?;
        self.newest_ticket = ticket;
        Some(WaitsWith::Ticket(ticket))
    }

    /// Finds whose events moved: among the alerts that were touched, else among all.
    fn moved(
        &mut self,
        engine: &Engine,
        touched: &[u64],
        made: &[Decision],
        mut moved: u64,
        gained: &mut Gained,
    ) {
        let named = made
            .iter()
            .flat_map(|decision| decision.alerts.iter().copied());
        let near: BTreeSet<u64> = touched.iter().copied().chain(named).collect();
        for alert in near {
            moved -= self.moved_with(engine, alert, made, gained).min(moved);
        }
        if moved > 0 {
            let all: Vec<u64> = self.waiting.keys().copied().collect();
            for alert in all {
                moved -= self.moved_with(engine, alert, made, gained).min(moved);
            }
        }
    }

    /// Notes what became of the events that waited with an alert, if it is decided. How many these
    /// are.
    fn moved_with(
        &mut self,
        engine: &Engine,
        alert: u64,
        made: &[Decision],
        gained: &mut Gained,
    ) -> u64 {
        let now = engine.waiting(alert);
        if !self.waiting.contains_key(&alert)
            || now
                .as_ref()
                .is_some_and(|now| now.alone > 0 || !now.shared.is_empty())
        {
            return 0;
        }
        let Some(known) = self.waiting.remove(&alert) else {
            return 0;
        };
        let rule = Arc::clone(&known.rule);
        let fate = match now {
            Some(now) if now.told => EventFate::Told,
            Some(_) => EventFate::Suppressed("nobody_to_tell".into()),
            None => gone(alert, made, known.reason),
        };
        let mut decided = Vec::new();
        for ticket in &known.shared {
            let Some(left) = self.tickets.get_mut(ticket) else {
                continue;
            };
            *left = left.saturating_sub(1);
            if fate == EventFate::Told || *left == 0 {
                self.tickets.remove(ticket);
                decided.push(WaitsWith::Ticket(*ticket));
            }
        }
        let count = known.alone + decided.len() as u64;
        if count == 0 {
            return 0;
        }
        let fate = gained.take(count, fate);
        let alone = (known.alone > 0).then_some(WaitsWith::Alert(alert));
        let upto = self.last;
        let by = (fate == EventFate::Told).then_some(rule);
        let change = |waits| FateChange {
            waits,
            upto,
            fate: fate.clone(),
            by: by.clone(),
        };
        let changes = alone.into_iter().chain(decided).map(change);
        self.added.changes.extend(changes);
        count
    }

    fn add(
        &mut self,
        event: &Arc<Event>,
        (fate, told): (EventFate, Vec<Arc<str>>),
        waits: Option<WaitsWith>,
        made: &[Decision],
    ) {
        let Some(id) = EventId::parse(&event.id) else {
            return;
        };
        let about = || {
            made.iter()
                .filter(|decision| decision.event.as_ref() == Some(&event.id))
        };
        let mut rules: Vec<Arc<str>> = Vec::new();
        let mut alerts: Vec<u64> = Vec::new();
        for decision in about() {
            if let Some(rule) = decision.rule.as_ref().filter(|rule| !rules.contains(rule)) {
                rules.push(Arc::clone(rule));
            }
            alerts.extend(
                decision
                    .alerts
                    .iter()
                    .filter(|alert| !alerts.contains(alert))
                    .collect::<Vec<_>>(),
            );
        }
        self.last = id;
        let row = EventRow {
            id,
            received: event.received,
            fate,
            waits,
            rules,
            alerts,
            told,
        };
        if self.show > 0 {
            self.show -= 1;
            self.added.shown.push((row.clone(), Arc::clone(event)));
        }
        self.added.rows.push(row);
    }
}

/// What became of the events of an alert that is gone.
fn gone(alert: u64, made: &[Decision], reason: &'static str) -> EventFate {
    let about = || {
        made.iter()
            .filter(|decision| decision.alerts.contains(&alert))
    };
    if about().any(|decision| matches!(decision.verdict, Verdict::Notify(_))) {
        return EventFate::Told;
    }
    let dropped = about().find_map(|decision| match &decision.verdict {
        verdict @ (Verdict::RuleRemoved | Verdict::BelowThreshold { .. }) => verdict.suppression(),
        _ => None,
    });
    EventFate::Suppressed(dropped.unwrap_or(reason).into())
}

/// The rules that told an event, or will at once: those with an alert of it that somebody knows of.
fn tellers(engine: &Engine, id: &str, made: &[Decision]) -> Vec<Arc<str>> {
    let mut rules: Vec<Arc<str>> = Vec::new();
    for decision in made
        .iter()
        .filter(|decision| decision.event.as_deref() == Some(id))
    {
        let ends = matches!(decision.verdict, Verdict::Ended | Verdict::Closing { .. });
        let is_told = |alert: &u64| engine.waiting(*alert).map_or(ends, |waiting| waiting.told);
        let tells = decision.verdict.suppression().is_none() && decision.alerts.iter().any(is_told);
        if let Some(rule) = decision
            .rule
            .as_ref()
            .filter(|rule| tells && !rules.contains(rule))
        {
            rules.push(Arc::clone(rule));
        }
    }
    rules
}

/// What an event's own decisions say of its fate, where it does not wait.
fn likely(id: &str, made: &[Decision]) -> EventFate {
    let about = || {
        made.iter()
            .filter(|decision| decision.event.as_deref() == Some(id))
    };
    let suppressed = about().find_map(|decision| decision.verdict.suppression());
    if about().any(|d| {
        matches!(
            d.verdict,
            Verdict::Again | Verdict::Ended | Verdict::Closing { .. }
        )
    }) {
        return EventFate::Told;
    }
    suppressed.map_or(EventFate::Told, |why| EventFate::Suppressed(why.into()))
}
