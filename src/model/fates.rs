//! Counters of events and messages: each event and message is counted in exactly one outcome.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Numbers of judged events by outcome; `total` is the sum of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventFates {
    /// Events judged, after fan-out.
    pub total: u64,
    /// The same event arrived before.
    pub duplicate: u64,
    /// No rule matches it.
    pub unmatched: u64,
    /// Part of an alert that may still be sent.
    pub pending: u64,
    /// Part of a message that was made.
    pub told: u64,
    /// Suppressed although a rule matches, by reason.
    pub suppressed: BTreeMap<String, u64>,
}

/// Numbers of messages by outcome and destination. They survive restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFates {
    /// Messages made for this destination, digests included.
    pub total: u64,
    /// Accepted by the destination.
    pub delivered: u64,
    /// Included in a summary.
    pub digested: u64,
    /// Given up.
    pub dead: u64,
    /// Given up and deleted by a person.
    pub discarded: u64,
    /// Waiting to be sent.
    pub queued: u64,
}
