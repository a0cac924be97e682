//! The outbox: messages on their way, and how each try to deliver one went.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Lease, Result, Totals};
use crate::model::{Message, Name, Receipt, Timestamp};

/// A message on its way to one destination.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number; deliveries of one incident are sent in this order.
    pub id: DeliveryId,
    /// Its destination.
    pub to: Name,
    /// The message.
    pub message: Arc<Message>,
    /// Tries so far.
    pub attempts: u32,
    /// Journal time of the first try.
    pub first_try: Option<Timestamp>,
    /// Not before this journal time.
    pub due: Timestamp,
    /// Send it in its smallest form: the full one was refused.
    pub plain: bool,
}

/// The number of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub i64);

/// One try to reach a destination, and what becomes of the delivery.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Journal time of the try.
    pub at: Timestamp,
    /// HTTP status of the reply; `None` where there was no reply.
    pub status: Option<u16>,
    /// The problem; of a success the beginning of the reply.
    pub reply: String,
    /// Next state of the delivery.
    pub next: Next,
    /// Receipt of the message's incident from now on; `None`: as before.
    pub receipt: Option<Receipt>,
}

/// Next state of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The destination has it.
    Delivered,
    /// It is tried again.
    Again {
        /// Not before this journal time.
        due: Timestamp,
        /// In its smallest form.
        plain: bool,
    },
    /// It is given up: a dead letter, kept and listed.
    Dead,
}

/// State of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// On its way.
    Queued,
    /// The destination has it.
    Delivered,
    /// Sent with others, in one message.
    Digested,
    /// Given up: a dead letter.
    Dead,
    /// Given up, and put away by a person.
    Discarded,
}

impl DeliveryState {
    /// The word in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Digested => "digested",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }
}

/// The messages to be sent.
pub trait Outbox: Totals {
    /// Up to `limit` queued deliveries for a destination with an id above `after`, by id, due or
    /// not; stops early past 4 MiB. Empty only at the end. A damaged one becomes a dead letter.
    fn queued(
        &self,
        to: &Name,
        after: DeliveryId,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Delivery>>> + Send;

    /// Receipt of an incident at the lane's destination: that of the last attempt that had one. Kept as long as that attempt's delivery.
    fn receipt(
        &self,
        lane: &Lease,
        incident: &str,
    ) -> impl Future<Output = Result<Option<Receipt>>> + Send;

    /// Settles one attempt, and stores its receipt with it. A delivery that is not queued any more
    /// stays as it is.
    fn settle(
        &self,
        lane: &Lease,
        id: DeliveryId,
        attempt: Attempt,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Replaces queued deliveries by summaries: `folded` become `digested`, `summaries` are queued.
    /// All of it or none; where none of `folded` is queued any more, none.
    fn summarise(
        &self,
        lane: &Lease,
        to: &Name,
        folded: Vec<DeliveryId>,
        summaries: Vec<Message>,
        at: Timestamp,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Queues a message of Foghorn's own, outside any step, once per name in `about.to`.
    fn enqueue(&self, message: Message, at: Timestamp) -> impl Future<Output = Result<()>> + Send;

    /// Number of messages a destination took at or after this journal time.
    fn delivered_since(
        &self,
        to: &Name,
        since: Timestamp,
    ) -> impl Future<Output = Result<u32>> + Send;

    /// Follows the newest delivery of any destination: what lanes wait on.
    fn outbox(&self) -> watch::Receiver<DeliveryId>;
}
