//! What became of each event, as rows: the engine says it with each input, and here it is gathered
//! until it is kept with the step.

use std::sync::Arc;

mod feed;
mod pages;
#[doc(hidden)]
pub mod words;

pub use feed::{Feed, Frame};
pub use pages::{Found, Past, Question, catch_up, keep_indexed, shown};

use crate::engine::{Decision, Judgement};
use crate::fold::Conclusions;
use crate::model::{Event, EventId, OutcomeChange, Seq};
use crate::store::EventRow;

/// What one step adds to the history.
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// The events judged, in order.
    pub rows: Vec<EventRow>,
    /// What became of earlier ones, in order.
    pub changes: Vec<OutcomeChange>,
    /// A sample of the events: whatever was asked for by [`History::show`].
    pub shown: Vec<(EventRow, Arc<Event>)>,
}

/// Adds up what became of events.
#[derive(Debug, Default)]
pub struct History {
    /// Everything up to here was judged before.
    before: EventId,
    added: Added,
    show: usize,
}

impl History {
    /// Begins after this position.
    #[must_use]
    pub fn after(folded: Seq) -> Self {
        Self {
            before: EventId::new(folded, u64::MAX),
            ..Self::default()
        }
    }

    /// Adds what the events of one entry, and those that waited, became.
    pub fn add(&mut self, conclusions: &mut Conclusions) {
        let mut decisions = conclusions.decisions.as_slice();
        for judgement in conclusions.judgements.drain(..) {
            let id = judgement.event.id;
            // Both are in order: those of the next event begin where those of this one end.
            let is_its = |decision: &Decision| decision.event.is_none_or(|event| event == id);
            let end = decisions.iter().position(|decision| !is_its(decision));
            let (own, rest) = decisions.split_at(end.unwrap_or(decisions.len()));
            decisions = rest;
            self.add_row(judgement, own);
        }
        for mut change in conclusions.changes.drain(..) {
            // A restored engine does not know what was judged before it.
            change.upto = change.upto.max(self.before);
            self.added.changes.push(change);
        }
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

    fn add_row(&mut self, judgement: Judgement, decisions: &[Decision]) {
        let Judgement {
            event,
            outcome,
            waits,
            by,
        } = judgement;
        let mut row = EventRow {
            id: event.id,
            received: event.received,
            outcome,
            waits,
            rules: Vec::new(),
            alerts: Vec::new(),
            told: by,
        };
        for decision in decisions.iter().filter(|d| d.event.is_some()) {
            if let Some(rule) = &decision.rule
                && !row.rules.contains(rule)
            {
                row.rules.push(Arc::clone(rule));
            }
            for alert in &decision.alerts {
                if !row.alerts.contains(alert) {
                    row.alerts.push(*alert);
                }
            }
        }
        // Who notified of what it belongs to may have nothing to decide about it.
        for rule in &row.told {
            if !row.rules.contains(rule) {
                row.rules.push(Arc::clone(rule));
            }
        }
        if self.show > 0 {
            self.show -= 1;
            self.added.shown.push((row.clone(), event));
        }
        self.added.rows.push(row);
    }
}
