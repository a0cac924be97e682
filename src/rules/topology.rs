//! What hangs on what, as the operator drew it.

use crate::model::Event;

/// `topology.links`: which devices are reached through which.
#[derive(Clone, Debug, Default)]
pub struct Topology {}

impl Topology {
    /// The event's device as the topology calls it. `None`: it is not in it.
    #[must_use]
    pub fn node(&self, _event: &Event) -> Option<&str> {
        None
    }

    /// Every device through which the event's device is reached, directly or not.
    #[must_use]
    pub fn above(&self, _event: &Event) -> Vec<&str> {
        Vec::new()
    }
}
