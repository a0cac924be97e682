//! Leases: the right of one process to do one part of the work.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use super::{Result, Store};
use crate::model::Name;

/// A part of the work that one process does at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Judging the journal: committing steps.
    Judge,
    /// Sending to one destination.
    Lane(Name),
}

/// The right to do one duty until another process takes it. Only a store grants one.
#[derive(Clone, Debug)]
pub struct Lease {
    duty: Duty,
    epoch: u64,
    lost: CancellationToken,
}

impl Lease {
    /// Creates a lease for this duty. The store cancels `lost` when another process takes the duty.
    pub(crate) fn granted(duty: Duty, epoch: u64, lost: CancellationToken) -> Self {
        Self { duty, epoch, lost }
    }

    /// Returns the duty the lease allows.
    #[must_use]
    pub fn duty(&self) -> &Duty {
        &self.duty
    }

    /// Returns a number greater than that of every earlier lease for the same duty.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Waits until another process has the duty.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

/// Grants leases.
pub trait Leases: Store {
    /// Waits until this process may do the duty, then returns the lease.
    fn acquire(&self, duty: Duty) -> impl Future<Output = Result<Lease>> + Send;
}
