//! Counters of events: each event has one outcome. Code that changes an outcome counts it and
//! reports the events concerned, so that no other module has to work that out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Decision;
use super::alert::{Alert, AlertId};
use super::table::BoxMap;
use crate::model::{Event, EventFates, EventId, EventOutcome, OutcomeChange, WaitsWith};

/// Conclusions from one input.
#[derive(Clone, Debug, Default)]
pub struct Reaction {
    /// Decisions, in order.
    pub decisions: Vec<Decision>,
    /// Outcome of the event, if the input was one.
    pub judgement: Option<Judgement>,
    /// Outcomes of earlier events, in order. It includes this event if it was pending only within
    /// this input.
    pub changes: Vec<OutcomeChange>,
}

/// Outcome of one event as soon as it was judged.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The event.
    pub event: Arc<Event>,
    /// Its outcome so far.
    pub outcome: EventOutcome,
    /// The alert or ticket it waits with, while it is pending.
    pub waits: Option<WaitsWith>,
    /// The rules that notified of it; empty unless its outcome is notified.
    pub by: Vec<Arc<str>>,
}

/// Counts events by outcome. An event that waits with several alerts is a *ticket*: notified as
/// soon as one of them is, suppressed when the last of them is dropped.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counters {
    fates: EventFates,
    tickets: BTreeMap<u64, u32>,
    next_ticket: u64,
    /// Merged alerts, by the alert that now decides the outcome of their events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    inherited: BTreeMap<AlertId, Vec<AlertId>>,
    /// The last event judged.
    #[serde(skip)]
    last: EventId,
    #[serde(skip)]
    judgement: Option<Judgement>,
    #[serde(skip)]
    changes: Vec<OutcomeChange>,
}

/// The results of all rules for an event; the greatest is its outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    /// Rules that notified of its alert, or will do so without an alert.
    pub(super) notified: Vec<Arc<str>>,
    pub(super) waits_with: Vec<AlertId>,
    pub(super) suppressed: Option<&'static str>,
}

impl Effects {
    pub(super) fn notified_by(&mut self, rule: &Arc<str>) {
        if !self.notified.contains(rule) {
            self.notified.push(Arc::clone(rule));
        }
    }
}

impl Counters {
    pub(super) fn fates(&self) -> &EventFates {
        &self.fates
    }

    /// Returns the changes since the last call.
    pub(super) fn take(&mut self) -> (Option<Judgement>, Vec<OutcomeChange>) {
        (self.judgement.take(), std::mem::take(&mut self.changes))
    }

    pub(super) fn duplicate(&mut self, event: &Arc<Event>) {
        self.fates.duplicate += 1;
        self.judged(event, EventOutcome::Duplicate, None, Vec::new());
    }

    pub(super) fn unmatched(&mut self, event: &Arc<Event>) {
        self.fates.unmatched += 1;
        self.judged(event, EventOutcome::Unmatched, None, Vec::new());
    }

    pub(super) fn notified(&mut self, event: &Arc<Event>, by: Vec<Arc<str>>) {
        self.fates.told += 1;
        self.judged(event, EventOutcome::Notified, None, by);
    }

    pub(super) fn suppressed(&mut self, event: &Arc<Event>, reason: &str) {
        self.suppress(reason, 1);
        let outcome = EventOutcome::Suppressed(reason.into());
        self.judged(event, outcome, None, Vec::new());
    }

    /// Counts an event that waits with these alerts.
    pub(super) fn pending(
        &mut self,
        event: &Arc<Event>,
        alerts: &mut BoxMap<Alert>,
        ids: &BTreeSet<AlertId>,
    ) {
        self.fates.pending += 1;
        // Most events wait with a single alert, which needs no ticket.
        let only = ids.first().filter(|_| ids.len() == 1);
        let waits = match only.and_then(|id| Some((*id, alerts.get_mut(id)?))) {
            Some((id, alert)) => {
                alert.waiting += 1;
                WaitsWith::Alert(id)
            }
            None => self.share(alerts, ids),
        };
        self.judged(event, EventOutcome::Pending, Some(waits), Vec::new());
    }

    /// Creates a ticket for these alerts.
    fn share(&mut self, alerts: &mut BoxMap<Alert>, ids: &BTreeSet<AlertId>) -> WaitsWith {
        self.next_ticket += 1;
        let alerts_left = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        self.tickets.insert(self.next_ticket, alerts_left);
        for id in ids {
            if let Some(alert) = alerts.get_mut(id) {
                alert.tickets.push(self.next_ticket);
            }
        }
        WaitsWith::Ticket(self.next_ticket)
    }

    fn judged(
        &mut self,
        event: &Arc<Event>,
        outcome: EventOutcome,
        waits: Option<WaitsWith>,
        by: Vec<Arc<str>>,
    ) {
        self.fates.total += 1;
        // Outcomes decided later concern events up to this one.
        self.last = event.id;
        self.judgement = Some(Judgement {
            event: Arc::clone(event),
            outcome,
            waits,
            by,
        });
    }

    /// Counts the events that wait with an alert as notified.
    pub(super) fn alert_notified(&mut self, id: AlertId, alert: &mut Alert) {
        let by = Some(Arc::clone(&alert.rule));
        let mut events = self.decide_alone(id, alert, &EventOutcome::Notified, by.as_ref());
        for ticket in alert.tickets.drain(..) {
            // Another alert may have been notified before, which decided the ticket.
            if self.tickets.remove(&ticket).is_some() {
                events += 1;
                let waits = WaitsWith::Ticket(ticket);
                self.change(waits, &EventOutcome::Notified, by.as_ref());
            }
        }
        self.fates.pending -= events;
        self.fates.told += events;
    }

    /// Counts the events that wait with this alert alone as suppressed.
    pub(super) fn alert_dropped(&mut self, id: AlertId, alert: &mut Alert, reason: &str) {
        if alert.waits_with() == 0 {
            return;
        }
        let outcome = EventOutcome::Suppressed(reason.into());
        let mut events = self.decide_alone(id, alert, &outcome, None);
        for ticket in alert.tickets.drain(..) {
            let Some(left) = self.tickets.get_mut(&ticket) else {
                // Another alert of the ticket was notified.
                continue;
            };
            *left -= 1;
            if *left == 0 {
                self.tickets.remove(&ticket);
                events += 1;
                self.change(WaitsWith::Ticket(ticket), &outcome, None);
            }
        }
        self.fates.pending -= events;
        self.suppress(reason, events);
    }

    /// Decides the events that wait with this alert alone, and returns their number.
    fn decide_alone(
        &mut self,
        id: AlertId,
        alert: &mut Alert,
        outcome: &EventOutcome,
        by: Option<&Arc<str>>,
    ) -> u64 {
        let events = std::mem::take(&mut alert.waiting);
        if events > 0 {
            self.change(WaitsWith::Alert(id), outcome, by);
            // Merged alerts have numbers of their own in the history.
            for gone in self.inherited.remove(&id).unwrap_or_default() {
                self.change(WaitsWith::Alert(gone), outcome, by);
            }
        }
        events
    }

    /// Moves the events that wait with one alert to another.
    pub(super) fn hand_over(&mut self, from: (AlertId, &mut Alert), to: (AlertId, &mut Alert)) {
        let ((from_id, from), (to_id, to)) = (from, to);
        // `history` knows the events by the old alert, whose number must not be lost.
        if from.waiting > 0 {
            let mut more = self.inherited.remove(&from_id).unwrap_or_default();
            more.push(from_id);
            self.inherited.entry(to_id).or_default().extend(more);
        }
        to.waiting += std::mem::take(&mut from.waiting);
        to.tickets.append(&mut from.tickets);
    }

    fn change(&mut self, waits: WaitsWith, outcome: &EventOutcome, by: Option<&Arc<str>>) {
        self.changes.push(OutcomeChange {
            waits,
            upto: self.last,
            outcome: outcome.clone(),
            by: by.cloned(),
        });
    }

    fn suppress(&mut self, reason: &str, events: u64) {
        if events == 0 {
            return;
        }
        match self.fates.suppressed.get_mut(reason) {
            Some(count) => *count += events,
            None => {
                self.fates.suppressed.insert(reason.to_owned(), events);
            }
        }
    }
}
