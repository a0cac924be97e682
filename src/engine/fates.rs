//! The ledger of events: each has one fate, whatever the rules make of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::alert::{Alert, AlertId};
use super::table::Table;
use crate::model::EventFates;

/// Counts events by fate. An event that several alerts wait with is a *ticket*: told as soon as one
/// of them is told, suppressed when the last of them was dropped.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ledger {
    fates: EventFates,
    tickets: BTreeMap<u64, u32>,
    next_ticket: u64,
}

/// What one rule makes of an event; the greatest over all rules is its fate.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    pub(super) told: bool,
    pub(super) waits_with: Vec<u64>,
    pub(super) suppressed: Option<&'static str>,
}

impl Ledger {
    pub(super) fn fates(&self) -> &EventFates {
        &self.fates
    }

    pub(super) fn duplicate(&mut self) {
        self.fates.total += 1;
        self.fates.duplicate += 1;
    }

    pub(super) fn unmatched(&mut self) {
        self.fates.total += 1;
        self.fates.unmatched += 1;
    }

    pub(super) fn told(&mut self) {
        self.fates.total += 1;
        self.fates.told += 1;
    }

    pub(super) fn suppressed(&mut self, reason: &str) {
        self.fates.total += 1;
        self.suppress(reason, 1);
    }

    /// One event waits with these alerts.
    pub(super) fn pending(&mut self, alerts: &mut Table<Alert>, ids: &BTreeSet<AlertId>) {
        self.fates.total += 1;
        self.fates.pending += 1;
        if let (1, Some(only)) = (ids.len(), ids.first().and_then(|id| alerts.get_mut(id))) {
            only.waiting += 1;
            return;
        }
        self.next_ticket += 1;
        self.tickets.insert(
            self.next_ticket,
            u32::try_from(ids.len()).unwrap_or(u32::MAX),
        );
        for id in ids {
            if let Some(alert) = alerts.get_mut(id) {
                alert.tickets.push(self.next_ticket);
            }
        }
    }

    /// The alert's message was made: so what waited with it was told.
    pub(super) fn alert_told(&mut self, alert: &mut Alert) {
        let mut events = std::mem::take(&mut alert.waiting);
        for ticket in alert.tickets.drain(..) {
            events += u64::from(self.tickets.remove(&ticket).is_some());
        }
        self.fates.pending -= events;
        self.fates.told += events;
    }

    /// The alert will never be told: nor will what waited with it alone.
    pub(super) fn alert_dropped(&mut self, alert: &mut Alert, reason: &str) {
        let mut events = std::mem::take(&mut alert.waiting);
        for ticket in alert.tickets.drain(..) {
            if let Some(left) = self.tickets.get_mut(&ticket) {
                *left -= 1;
                if *left == 0 {
                    self.tickets.remove(&ticket);
                    events += 1;
                }
            }
        }
        self.fates.pending -= events;
        self.suppress(reason, events);
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
