//! The outcomes of events as rows: the engine reports them with each input, and they are collected
//! here until the step is committed.

use std::sync::Arc;

mod feed;
mod pages;
#[doc(hidden)]
pub mod words;

pub use feed::{Feed, Frame};
pub use pages::{EventPage, EventQuery, PastEvents, catch_up, keep_indexed, shown};

use crate::engine::{Decision, Judgement};
use crate::fold::Conclusions;
use crate::model::{Event, EventId, OutcomeChange, Seq};
use crate::store::EventRow;

/// The rows of one step.
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// The events judged, in order.
    pub rows: Vec<EventRow>,
    /// Outcomes of earlier events, in order.
    pub changes: Vec<OutcomeChange>,
    /// A sample of the events, as requested by [`History::show`].
    pub shown: Vec<(EventRow, Arc<Event>)>,
}

/// Collects the outcomes of events.
#[derive(Debug, Default)]
pub struct History {
    /// The last event judged before.
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

    /// Adds the outcomes of an entry's events, and of earlier events that were pending.
    pub fn add(&mut self, conclusions: &mut Conclusions) {
        let mut decisions = conclusions.decisions.as_slice();
        for judgement in conclusions.judgements.drain(..) {
            let id = judgement.event.id;
            // Both lists are in order: the decisions of the next event begin where those of this
            // one end.
            let is_its = |decision: &Decision| decision.event.is_none_or(|event| event == id);
            let end = decisions.iter().position(|decision| !is_its(decision));
            let (own, rest) = decisions.split_at(end.unwrap_or(decisions.len()));
            decisions = rest;
            self.add_row(judgement, own);
        }
        for mut change in conclusions.changes.drain(..) {
            // A restored engine does not know the events judged before the snapshot.
            change.upto = change.upto.max(self.before);
            self.added.changes.push(change);
        }
    }

    /// Keeps a sample of up to `most` of the next events.
    pub fn show(&mut self, most: usize) {
        self.show = most;
    }

    /// Returns the number of events judged since [`History::take`].
    #[must_use]
    pub fn judged(&self) -> usize {
        self.added.rows.len()
    }

    /// Returns the rows added since the last call.
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
        // Decisions of timers may stand between those of the event.
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
        // A rule that notified of the event's alert may have made no decision about it.
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
