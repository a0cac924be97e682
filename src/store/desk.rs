//! What people do with messages: send again what was given up, put it away, send anything once
//! more.

use std::future::Future;

use super::{DeliveryId, DeliveryState, Result, Store};
use crate::model::Name;

/// What is done with a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is queued anew, behind what waits: with its tries so far, and all the time there is.
    Resend,
    /// It is put away: kept as long as retention says, and no longer listed.
    Discard,
}

/// What an act came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    /// It is done, to these deliveries. What is queued again has a new number: it is sent after
    /// what is queued already.
    Done(Vec<(Name, DeliveryId)>),
    /// There is none of that number or name.
    Missing,
    /// Not in this state.
    Stands(DeliveryState),
    /// It never went to any of these destinations.
    Elsewhere,
}

/// What people do with messages. Each is one transaction, durable on return.
pub trait Desk: Store {
    /// Whom a delivery tells.
    fn destination(&self, id: DeliveryId) -> impl Future<Output = Result<Option<Name>>> + Send;

    /// Does something with one dead letter. Done once, it is no dead letter any more.
    fn act(&self, act: Act, id: DeliveryId) -> impl Future<Output = Result<Acted>> + Send;

    /// Does it with all dead letters of a destination; gives how many. Not one transaction where
    /// there are very many.
    fn act_on_all(&self, act: Act, to: &Name) -> impl Future<Output = Result<u64>> + Send;

    /// Queues a copy of the newest message of this short name to each of these destinations that it
    /// went to. None where one of them has it queued already.
    fn again(&self, message: &str, to: Vec<Name>) -> impl Future<Output = Result<Acted>> + Send;
}
