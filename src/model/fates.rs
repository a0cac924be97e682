//! Where every event ended: the first half of "nothing vanishes uncounted".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Events judged and the one fate of each: `total` is always the sum of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventFates {
    /// Events judged, after fan-out.
    pub total: u64,
    /// The same event had come before.
    pub duplicate: u64,
    /// No rule looks for it.
    pub unmatched: u64,
    /// Part of an alert that may still be told.
    pub pending: u64,
    /// Part of a message that was made.
    pub told: u64,
    /// Known to a rule, and kept quiet: by reason.
    pub suppressed: BTreeMap<String, u64>,
}

/// How many messages met which fate, per destination; true across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFates {
    /// Made for this destination, digests included.
    pub total: u64,
    /// The other side has them.
    pub delivered: u64,
    /// Folded into a digest.
    pub digested: u64,
    /// Given up.
    pub dead: u64,
    /// Given up, and put away by a person.
    pub discarded: u64,
    /// On their way.
    pub queued: u64,
}
