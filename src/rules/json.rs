//! A matcher as JSON: `match` of a silence, which is data and stands in no file.

use serde_json::Value;

use super::{Matcher, Pattern, Test};
use crate::model::{Field, plain};

impl Matcher {
    /// Reads a map of fields to a value or a list of values.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let map = value.as_object().ok_or("`match` must be a map of fields")?;
        let mut tests = Vec::new();
        for (key, value) in map {
            let field = Field::parse(key).ok_or_else(|| format!("there is no field `{key}`"))?;
            let values = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
            let patterns = values.iter().map(|v| Pattern::parse(&plain(v))).collect::<Result<Vec<_>, _>>()?;
            tests.push((field, Test::OneOf(patterns)));
        }
        Ok(Self { tests, not: Vec::new() })
    }
}
