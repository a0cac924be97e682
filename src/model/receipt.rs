//! References to messages that a destination has accepted.

use serde_json::Value;

/// The reference returned by a destination when it accepted a message: Slack's channel and
/// timestamp, or a ticket's id. Only the destination understands it.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt(Value);

impl Receipt {
    /// Maximum length as JSON, in bytes.
    pub const MAX: usize = 1_024;

    /// Wraps the reference. Returns `None` if it is longer than [`Receipt::MAX`].
    #[must_use]
    pub fn new(reference: Value) -> Option<Self> {
        (reference.to_string().len() <= Self::MAX).then_some(Self(reference))
    }

    /// Returns the reference.
    #[must_use]
    pub const fn reference(&self) -> &Value {
        &self.0
    }
}
