//! Actions of people on messages: resend or discard dead letters, and send a copy of any message.

use std::future::Future;

use super::{DeliveryId, DeliveryState, Result, Store};
use crate::model::Name;

/// Action on a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterAction {
    /// Queue it again, behind the waiting messages. It keeps its attempts and gets the full time
    /// again.
    Resend,
    /// Discard it. It is kept for the retention period, and no longer listed.
    Discard,
}

/// Result of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionResult {
    /// Done, for these deliveries. A message queued again has a new number, because it is sent
    /// after the messages already queued.
    Done(Vec<(Name, DeliveryId)>),
    /// No message has that number or name.
    Missing,
    /// The delivery is in this state, which does not allow the action.
    OtherState(DeliveryState),
    /// The message was never sent to any of these destinations.
    OtherDestination,
}

/// Actions of people on messages. Each is one transaction, durable on return.
pub trait Desk: Store {
    /// Returns the destination of a delivery.
    fn destination(&self, id: DeliveryId) -> impl Future<Output = Result<Option<Name>>> + Send;

    /// Acts on one dead letter. Afterwards it is no longer a dead letter.
    fn act(
        &self,
        act: DeadLetterAction,
        id: DeliveryId,
    ) -> impl Future<Output = Result<ActionResult>> + Send;

    /// Acts on all dead letters of a destination and returns their number. A large number takes
    /// several transactions.
    fn act_on_all(
        &self,
        act: DeadLetterAction,
        to: &Name,
    ) -> impl Future<Output = Result<u64>> + Send;

    /// Queues a copy of the newest message with this short name, for those of the destinations that
    /// it went to. Queues nothing if one of them has the message queued already.
    fn again(
        &self,
        message: &str,
        to: Vec<Name>,
    ) -> impl Future<Output = Result<ActionResult>> + Send;
}
