//! Calendars: when the clock on the wall says so.

use crate::model::Timestamp;

/// A named time interval: a union of periods, each in its zone; or one span of time.
#[derive(Clone, Debug, Default)]
pub struct TimeInterval {}

impl TimeInterval {
    /// Whether this wall time is in it.
    #[must_use]
    pub fn contains(&self, _wall: Timestamp) -> bool {
        false
    }

    /// The first wall time after this one at which `contains` changes. `None`: never again.
    #[must_use]
    pub fn next_change(&self, _wall: Timestamp) -> Option<Timestamp> {
        None
    }
}

/// A time of day in a zone.
#[derive(Clone, Debug)]
pub struct Daily {}

impl Daily {
    /// The first wall time after this one at which the clock shows it. `None`: never again.
    #[must_use]
    pub fn next(&self, _wall: Timestamp) -> Option<Timestamp> {
        None
    }
}
