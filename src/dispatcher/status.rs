//! State of every destination.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Name, Timestamp};

/// State of one destination, for metrics, pages and logs. The number of waiting messages is in the
/// store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationStatus {
    /// Journal time before which nothing is sent.
    pub paused_until: Option<Timestamp>,
    /// Journal time of the last success.
    pub last_success: Option<Timestamp>,
    /// Journal time and reason of the last failure.
    pub last_error: Option<(Timestamp, String)>,
    /// Reason why the destination accepts nothing any more.
    pub disabled: Option<String>,
    /// Number of attempts by outcome: `delivered`, `retry`, `retry_after`, `bad_payload`, `broken`.
    pub attempts: BTreeMap<&'static str, u64>,
    /// Number of times its backlog was summarised.
    pub folds: u64,
}

/// State of every destination. Clones share it, and it survives a reload.
#[derive(Clone, Debug, Default)]
pub struct Statuses(Arc<Mutex<BTreeMap<Name, DestinationStatus>>>);

impl Statuses {
    /// Returns a copy of all states.
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
