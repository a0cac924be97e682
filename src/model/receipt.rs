//! What a destination remembers of one incident.

use serde_json::Value;

/// The reference a destination was given when it took a message: Slack's channel and timestamp, a
/// ticket's id. Opaque to everyone but the destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt(Value);

impl Receipt {
    /// Maximum length as JSON, in bytes.
    pub const MAX: usize = 1_024;

    /// Wraps the reference; `None` where it is longer than [`Receipt::MAX`].
    #[must_use]
    pub fn new(reference: Value) -> Option<Self> {
        (reference.to_string().len() <= Self::MAX).then_some(Self(reference))
    }

    /// The reference.
    #[must_use]
    pub const fn reference(&self) -> &Value {
        &self.0
    }
}
