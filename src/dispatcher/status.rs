//! State of every destination.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Name, Timestamp};

/// State of one destination, for metrics, pages and logs. The store knows how many messages wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationStatus {
    /// Nothing is sent before this journal time.
    pub paused_until: Option<Timestamp>,
    /// Journal time of the last success.
    pub last_success: Option<Timestamp>,
    /// Journal time of the last failure, and why.
    pub last_error: Option<(Timestamp, String)>,
    /// Why it takes nothing any more.
    pub disabled: Option<String>,
    /// Tries by outcome: `delivered`, `retry`, `retry_after`, `bad_payload`, `broken`.
    pub attempts: BTreeMap<&'static str, u64>,
    /// Times its backlog was summarised.
    pub folds: u64,
}

/// State of every destination. Clones share it; it outlives a reload.
#[derive(Clone, Debug, Default)]
pub struct Statuses(Arc<Mutex<BTreeMap<Name, DestinationStatus>>>);

impl Statuses {
    /// All of them, as they are now.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Name, DestinationStatus> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn note(&self, name: &Name, change: impl FnOnce(&mut DestinationStatus)) {
        change(
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(name.clone())
                .or_default(),
        );
    }
}
