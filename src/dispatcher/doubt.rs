//! Decision whether a refusal is the fault of the message or of the destination.
//!
//! "No such webhook" can mean a deleted webhook, or a single message that something on the way
//! rejects. Only other messages can decide: if they are accepted, the refused one is at fault.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Timestamp;
use crate::store::DeliveryId;

/// Number of refused messages in a row that proves the destination's fault.
const ENOUGH: usize = 3;

/// Refusals so far.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// Refused messages, each with the number of its first refused attempt.
    refused: BTreeMap<DeliveryId, u64>,
    /// Messages refused since the last success, and the latest of them.
    since: BTreeSet<DeliveryId>,
    last: Option<DeliveryId>,
    /// Number of the newest successful attempt, and of the newest refused one.
    taken: u64,
    doubted: u64,
    /// Time at which a refused message may be tried again.
    probe: Option<Timestamp>,
}

/// Deliveries that may be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Any delivery.
    Any,
    /// A delivery that was not refused lately; from this time on any.
    Fresh(Option<Timestamp>),
    /// None before this time.
    Wait(Timestamp),
    /// Any delivery, but the one refused last only if there is no other.
    Probe,
}

impl Doubt {
    /// Returns true if there are refusals that no success has contradicted.
    pub(super) fn is_there(&self) -> bool {
        !self.since.is_empty()
    }

    pub(super) fn turn(&self, now: Timestamp) -> Turn {
        match self.probe {
            _ if self.since.is_empty() => Turn::Any,
            Some(probe) if probe <= now => Turn::Probe,
            Some(probe) if self.since.len() >= ENOUGH => Turn::Wait(probe),
            probe => Turn::Fresh(probe),
        }
    }

    /// Returns true if the message was refused since the last success.
    pub(super) fn of(&self, id: DeliveryId) -> bool {
        self.since.contains(&id)
    }

    pub(super) fn was_last(&self, id: DeliveryId) -> bool {
        self.last == Some(id)
    }

    /// Returns true if the message was ever refused and not accepted since.
    pub(super) fn knows(&self, id: DeliveryId) -> bool {
        self.refused.contains_key(&id)
    }

    /// Sets the time at which a refused message may be tried again.
    pub(super) fn probe_at(&mut self, at: Timestamp) {
        self.probe = Some(at);
    }

    pub(super) fn next_probe(&self) -> Option<Timestamp> {
        self.probe.filter(|_| self.is_there())
    }

    /// Returns true if a further refusal proves the message's fault: it was refused before, and
    /// others were accepted since.
    pub(super) fn convicts(&self, id: DeliveryId) -> bool {
        self.refused
            .get(&id)
            .is_some_and(|first| self.taken > *first)
    }

    /// Records a refusal at this attempt.
    pub(super) fn refused(&mut self, id: DeliveryId, number: u64) {
        self.refused.entry(id).or_insert(number);
        self.since.insert(id);
        (self.last, self.doubted) = (Some(id), number.max(self.doubted));
    }

    /// Returns true if the destination's fault is proven.
    pub(super) fn is_certain(&self) -> bool {
        self.since.len() >= ENOUGH
    }

    /// Records a success at this attempt. Returns true if it contradicts the refusals; an earlier
    /// attempt does not.
    pub(super) fn take(&mut self, id: DeliveryId, number: u64) -> bool {
        self.forget(id);
        self.taken = self.taken.max(number);
        // An attempt that began before a refusal proves nothing about the destination now.
        let clear = self.since.is_empty() || number > self.doubted;
        if clear {
            self.since.clear();
            (self.last, self.probe) = (None, None);
        }
        clear
    }

    /// Removes a message that is delivered or a dead letter.
    pub(super) fn forget(&mut self, id: DeliveryId) {
        self.refused.remove(&id);
        self.since.remove(&id);
    }
}
