//! Whose fault a refusal is: the message's or the destination's.
//!
//! "No such webhook" may be said of a URL that is gone, or of one message that something on the way
//! does not like. Only other messages tell: where they are taken, the one that was refused is at
//! fault.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Timestamp;
use crate::store::DeliveryId;

/// So many messages in a row refused are the destination's fault, whatever else waits.
const ENOUGH: usize = 3;

/// Refusals so far.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// Messages that were refused, and the number of the try at which they first were.
    refused: BTreeMap<DeliveryId, u64>,
    /// Those of them that were since anything was taken, and the last of them.
    since: BTreeSet<DeliveryId>,
    last: Option<DeliveryId>,
    /// The newest try that was a success, and the newest that was refused.
    taken: u64,
    doubted: u64,
    /// Time at which one that was refused may be tried again.
    probe: Option<Timestamp>,
}

/// Which deliveries may be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Any.
    Any,
    /// One that was not refused lately; any, but the last of those rather not, from this time on.
    Fresh(Option<Timestamp>),
    /// None before this time.
    Wait(Timestamp),
    /// Any, but the last that was refused only where there is no other.
    Probe,
}

impl Doubt {
    /// Returns true if refusals stand that nothing has contradicted.
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

    /// Returns true if it was refused since anything was taken.
    pub(super) fn of(&self, id: DeliveryId) -> bool {
        self.since.contains(&id)
    }

    pub(super) fn was_last(&self, id: DeliveryId) -> bool {
        self.last == Some(id)
    }

    /// Returns true if it was ever refused and not yet taken.
    pub(super) fn knows(&self, id: DeliveryId) -> bool {
        self.refused.contains_key(&id)
    }

    /// A refused one is tried again at this time, not before.
    pub(super) fn probe_at(&mut self, at: Timestamp) {
        self.probe = Some(at);
    }

    pub(super) fn next_probe(&self) -> Option<Timestamp> {
        self.probe.filter(|_| self.is_there())
    }

    /// Returns true if it is at fault when it is refused now: it was before, and others were taken since.
    pub(super) fn convicts(&self, id: DeliveryId) -> bool {
        self.refused
            .get(&id)
            .is_some_and(|first| self.taken > *first)
    }

    /// Notes that it was refused, at this try.
    pub(super) fn refused(&mut self, id: DeliveryId, number: u64) {
        self.refused.entry(id).or_insert(number);
        self.since.insert(id);
        (self.last, self.doubted) = (Some(id), number.max(self.doubted));
    }

    /// Returns true if so many were refused that another would not tell more.
    pub(super) fn is_certain(&self) -> bool {
        self.since.len() >= ENOUGH
    }

    /// Notes that it was taken, at this try. Returns true if that contradicts what was refused: an
    /// earlier try does not.
    pub(super) fn take(&mut self, id: DeliveryId, number: u64) -> bool {
        self.forget(id);
        self.taken = self.taken.max(number);
        let clear = self.since.is_empty() || number > self.doubted;
        if clear {
            self.since.clear();
            (self.last, self.probe) = (None, None);
        }
        clear
    }

    /// Forgets one that is delivered, or a dead letter.
    pub(super) fn forget(&mut self, id: DeliveryId) {
        self.refused.remove(&id);
        self.since.remove(&id);
    }
}
