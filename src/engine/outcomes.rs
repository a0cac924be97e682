//! Counters of events: each has one outcome, whatever the rules make of it. What changes an outcome
//! counts it and says of which events, so that nobody has to find that out afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Decision;
use super::alert::{Alert, AlertId};
use super::table::Table;
use crate::model::{Event, EventFates, EventId, EventOutcome, OutcomeChange, WaitsWith};

/// Conclusions from one input.
#[derive(Clone, Debug, Default)]
pub struct Reaction {
    /// Decisions, in order.
    pub decisions: Vec<Decision>,
    /// What became of the event, where the input was one.
    pub judgement: Option<Judgement>,
    /// What became of earlier events, in order; of this one too, where it waited for no time.
    pub changes: Vec<OutcomeChange>,
}

/// Outcome of one event as soon as it was judged.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The event.
    pub event: Arc<Event>,
    /// Its outcome so far.
    pub outcome: EventOutcome,
    /// What it waits with, while it is pending.
    pub waits: Option<WaitsWith>,
    /// The rules that notified of what it belongs to; none unless it counts as notified.
    pub by: Vec<Arc<str>>,
}

/// Counts events by outcome. An event that several alerts wait with is a *ticket*: notified as soon
/// as one of them is, suppressed when the last of them was dropped.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counters {
    fates: EventFates,
    tickets: BTreeMap<u64, u32>,
    next_ticket: u64,
    /// Alerts that are gone, by the one that decides the outcome of their events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    inherited: BTreeMap<AlertId, Vec<AlertId>>,
    /// The event judged last.
    #[serde(skip)]
    last: EventId,
    #[serde(skip)]
    judgement: Option<Judgement>,
    #[serde(skip)]
    changes: Vec<OutcomeChange>,
}

/// What the rules make of an event; the greatest is its outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    /// Rules that notified of what it belongs to, or will without waiting for an alert.
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

    /// Takes what changed since the last call.
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

    /// One event waits with these alerts.
    pub(super) fn pending(
        &mut self,
        event: &Arc<Event>,
        alerts: &mut Table<Alert>,
        ids: &BTreeSet<AlertId>,
    ) {
        self.fates.pending += 1;
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

    /// Makes a ticket that these alerts share.
    fn share(&mut self, alerts: &mut Table<Alert>, ids: &BTreeSet<AlertId>) -> WaitsWith {
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
        self.last = event.id;
        self.judgement = Some(Judgement {
            event: Arc::clone(event),
            outcome,
            waits,
            by,
        });
    }

    /// The alert's message was made: so what waited with it was notified.
    pub(super) fn alert_notified(&mut self, id: AlertId, alert: &mut Alert) {
        let by = Some(Arc::clone(&alert.rule));
        let mut events = self.decide_alone(id, alert, &EventOutcome::Notified, by.as_ref());
        for ticket in alert.tickets.drain(..) {
            if self.tickets.remove(&ticket).is_some() {
                events += 1;
                let waits = WaitsWith::Ticket(ticket);
                self.change(waits, &EventOutcome::Notified, by.as_ref());
            }
        }
        self.fates.pending -= events;
        self.fates.told += events;
    }

    /// The alert will never be notified: nor will what waited with it alone.
    pub(super) fn alert_dropped(&mut self, id: AlertId, alert: &mut Alert, reason: &str) {
        if alert.waits_with() == 0 {
            return;
        }
        let outcome = EventOutcome::Suppressed(reason.into());
        let mut events = self.decide_alone(id, alert, &outcome, None);
        for ticket in alert.tickets.drain(..) {
            let Some(left) = self.tickets.get_mut(&ticket) else {
                continue; // another of its alerts was notified
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

    /// Decides the events that wait with this alert alone, and says how many they are.
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
            for gone in self.inherited.remove(&id).unwrap_or_default() {
                self.change(WaitsWith::Alert(gone), outcome, by);
            }
        }
        events
    }

    /// One alert takes over what waits with another, which goes.
    pub(super) fn hand_over(&mut self, from: (AlertId, &mut Alert), to: (AlertId, &mut Alert)) {
        let ((from_id, from), (to_id, to)) = (from, to);
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
