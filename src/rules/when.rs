//! `when`: an expression, for what a map cannot say.

use crate::model::Event;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct When {}

impl When {
    /// Whether it holds.
    ///
    /// # Errors
    /// One line, when it cannot be evaluated for this event: that is no match.
    pub fn holds(&self, _event: &Event) -> Result<bool, String> {
        Ok(true)
    }
}
