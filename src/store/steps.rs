//! The step: what the judge concluded from entries up to a position, all of it or none.

use std::future::Future;
use std::sync::Arc;

use super::{EventRow, Lease, Result, Store};
use crate::model::{Message, OutcomeChange, Seq, Timestamp};

/// What the judge concluded from the entries up to `seq`.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The cursor after this step.
    pub seq: Seq,
    /// New messages, in order.
    pub outgoing: Arc<Vec<Outgoing>>,
    /// What became of each event of the step. A row that is there already stays as it is: a refold
    /// adds nothing. They may be there before the step is.
    pub events: Arc<Vec<EventRow>>,
    /// What became of earlier events, in order.
    pub outcomes: Vec<OutcomeChange>,
    /// The memory of duplicates this step adds: opaque, given back by `recover`.
    pub seen: Vec<u8>,
    /// Blocks `seen` of steps at or before this journal time may be forgotten. Applied by steps
    /// with a snapshot only, so that a refold from the snapshot meets the memory it had.
    pub seen_until: Option<Timestamp>,
    /// A snapshot of the engine as of `seq`, when one is due.
    pub snapshot: Option<Arc<[u8]>>,
    /// How far the snapshot is, for [`super::Archive::mark`]: events judged and entries folded, and the
    /// newest number of an alert.
    pub reached: Reached,
    /// Journal time of the step, for retention.
    pub at: Timestamp,
}

/// A new message, for the destinations its notification names.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What to say.
    pub message: Message,
    /// The alerts it is about.
    pub alerts: Vec<u64>,
}

/// How far a fold has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Events judged and entries folded, together: what folding from one place to another costs.
    pub work: u64,
    /// The newest number that was given to an alert.
    pub alert: u64,
}

/// What a restart begins with.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Everything at or below was committed: its messages are never made again.
    pub cursor: Seq,
    /// The newest snapshot: its position and bytes. The fold restarts from there.
    pub snapshot: Option<(Seq, Vec<u8>)>,
    /// The memory of duplicates of steps at or below the snapshot, oldest first.
    pub seen: Vec<Vec<u8>>,
}

/// The steps of the judge.
pub trait Steps: Store {
    /// What a restart begins with. Forgets the memory of duplicates above the snapshot: the refold
    /// writes it again.
    fn recover(&self, judge: &Lease) -> impl Future<Output = Result<Recovered>> + Send;

    /// Moves the cursor, adds the messages to the outbox (once per name in `about.to`) and keeps
    /// memory and snapshot: all of it or none. A step at or below the cursor makes no message
    /// again.
    ///
    /// `from` is the cursor as the judge knows it. Where it stands elsewhere, somebody else judges:
    /// [`super::Error::Lost`], and nothing of the step is there but rows of its events.
    fn commit(
        &self,
        judge: &Lease,
        from: Seq,
        step: Step,
    ) -> impl Future<Output = Result<()>> + Send;
}
