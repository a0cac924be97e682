//! The step: conclusions of the judge from entries up to a position, all or nothing.

use std::future::Future;
use std::sync::Arc;

use super::{EventRow, Lease, Result, Store};
use crate::model::{Message, OutcomeChange, Seq, Timestamp};

/// Conclusions of the judge from the entries up to `seq`.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The cursor after this step.
    pub seq: Seq,
    /// New messages, in order.
    pub outgoing: Arc<Vec<Outgoing>>,
    /// Outcomes of the events of the step. An existing row is not changed, so a repeated fold adds
    /// nothing. The rows may be written before the rest of the step.
    pub events: Arc<Vec<EventRow>>,
    /// Changed outcomes of earlier events, in order.
    pub outcomes: Vec<OutcomeChange>,
    /// Duplicate memory this step adds: opaque bytes, returned by `recover`.
    pub seen: Vec<u8>,
    /// Duplicate memory of steps at or before this journal time may be deleted. Applied only by
    /// steps with a snapshot, so that a fold from the snapshot has the memory it had the first
    /// time.
    pub seen_until: Option<Timestamp>,
    /// Snapshot of the engine as of `seq`, if one is due.
    pub snapshot: Option<Arc<[u8]>>,
    /// Progress of the engine at the snapshot, for [`super::Archive::mark`].
    pub reached: Reached,
    /// Journal time of the step, used for retention.
    pub at: Timestamp,
}

/// A new message for the destinations its notification names.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The message itself.
    pub message: Message,
    /// Alerts the message is about.
    pub alerts: Vec<u64>,
}

/// Progress of a fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Number of events judged plus entries folded: a measure of the cost of a fold.
    pub work: u64,
    /// Highest alert number assigned so far.
    pub alert: u64,
}

/// State that a restart begins with.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Entries at or below this position are committed. Their messages are never created again.
    pub cursor: Seq,
    /// Position and bytes of the newest snapshot. The fold restarts from there.
    pub snapshot: Option<(Seq, Vec<u8>)>,
    /// Duplicate memory of steps at or below the snapshot, oldest first.
    pub seen: Vec<Vec<u8>>,
}

/// Steps of the judge.
pub trait Steps: Store {
    /// Returns the state that a restart begins with. Deletes the duplicate memory above the
    /// snapshot, because the repeated fold writes it again.
    fn recover(&self, judge: &Lease) -> impl Future<Output = Result<Recovered>> + Send;

    /// Moves the cursor, adds the messages to the outbox (once per name in `about.to`) and stores
    /// the duplicate memory and the snapshot, all or nothing. A step at or below the cursor creates
    /// no message again.
    ///
    /// `from` is the cursor as the judge knows it. If the stored cursor differs, another process
    /// judges: the call fails with [`super::Error::Lost`], and only event rows of the step may have
    /// been written.
    fn commit(
        &self,
        judge: &Lease,
        from: Seq,
        step: Step,
    ) -> impl Future<Output = Result<()>> + Send;
}
