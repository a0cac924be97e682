//! The outbox: messages being sent, and the result of each attempt.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Lease, Result, Totals};
use crate::model::{Message, Name, Receipt, Timestamp};

/// A message queued for one destination.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Number of the delivery. Deliveries of one incident are sent in this order.
    pub id: DeliveryId,
    /// Destination of the message.
    pub to: Name,
    /// The message.
    pub message: Arc<Message>,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Journal time of the first attempt.
    pub first_try: Option<Timestamp>,
    /// Earliest journal time of the next attempt.
    pub due: Timestamp,
    /// True if the message must be sent in its smallest form, because the full one was rejected.
    pub plain: bool,
}

/// Number of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub i64);

/// One attempt to deliver a message, and the next state of the delivery.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Journal time of the attempt.
    pub at: Timestamp,
    /// HTTP status of the reply; `None` where there was no reply.
    pub status: Option<u16>,
    /// Error; for a success, the beginning of the reply.
    pub reply: String,
    /// Next state of the delivery.
    pub next: Next,
    /// New receipt of the message's incident; `None` keeps the old one.
    pub receipt: Option<Receipt>,
}

/// Next state of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The destination accepted the message.
    Delivered,
    /// Foghorn tries again.
    Again {
        /// Earliest journal time of the next attempt.
        due: Timestamp,
        /// True if the message is sent in its smallest form.
        plain: bool,
    },
    /// Foghorn gave up: the message is a dead letter, kept and listed.
    Dead,
}

/// State of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// Waiting, or being sent.
    Queued,
    /// The destination accepted the message.
    Delivered,
    /// Sent together with others, in one summary.
    Digested,
    /// Given up: a dead letter.
    Dead,
    /// Given up, then discarded by a person.
    Discarded,
}

impl DeliveryState {
    /// Returns the word the API uses.
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

/// Messages to be sent.
pub trait Outbox: Totals {
    /// Returns up to `limit` queued deliveries for a destination with an id above `after`, by id,
    /// due or not; stops early past 4 MiB. The result is empty only at the end. A damaged delivery
    /// becomes a dead letter.
    fn queued(
        &self,
        to: &Name,
        after: DeliveryId,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Delivery>>> + Send;

    /// Returns the receipt of an incident at the lane's destination: that of the last attempt that
    /// had one. It is kept as long as that attempt's delivery.
    fn receipt(
        &self,
        lane: &Lease,
        incident: &str,
    ) -> impl Future<Output = Result<Option<Receipt>>> + Send;

    /// Records one attempt and its receipt. Does not change a delivery that is no longer queued.
    fn settle(
        &self,
        lane: &Lease,
        id: DeliveryId,
        attempt: Attempt,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Replaces queued deliveries by summaries: `folded` become `digested`, `summaries` are queued.
    /// All or nothing; nothing if none of `folded` is still queued.
    fn summarise(
        &self,
        lane: &Lease,
        to: &Name,
        folded: Vec<DeliveryId>,
        summaries: Vec<Message>,
        at: Timestamp,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Queues a message from Foghorn itself, outside any step, once per name in `about.to`.
    fn enqueue(&self, message: Message, at: Timestamp) -> impl Future<Output = Result<()>> + Send;

    /// Returns the number of messages a destination accepted at or after this journal time.
    fn delivered_since(
        &self,
        to: &Name,
        since: Timestamp,
    ) -> impl Future<Output = Result<u32>> + Send;

    /// Follows the newest delivery of any destination. Lanes wait on it.
    fn outbox(&self) -> watch::Receiver<DeliveryId>;
}
