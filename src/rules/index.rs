//! The index of rules: finds the few that an event can match, so that ten thousand rules cost about
//! as much as ten.

use std::collections::HashMap;

use super::matcher::Matcher;
use super::pattern::fold;
use crate::model::Field;

/// Rules by the most selective literal of their matcher: type, else condition, else topic. The
/// others are tried for every event.
#[derive(Clone, Debug, Default)]
pub struct Index {
    by_type: HashMap<String, Vec<usize>>,
    by_condition: HashMap<String, Vec<usize>>,
    by_topic: HashMap<String, Vec<usize>>,
    always: Vec<usize>,
}

impl Index {
    /// Indexes matchers by their position; `None` is never a candidate.
    pub fn new<'a>(matchers: impl Iterator<Item = Option<&'a Matcher>>) -> Self {
        let mut index = Self::default();
        for (position, matcher) in matchers.enumerate() {
            if let Some(matcher) = matcher {
                index.add(position, matcher);
            }
        }
        index
    }

    fn add(&mut self, position: usize, matcher: &Matcher) {
        let keys = |wanted: &Field| -> Option<Vec<String>> {
            let (_, test) = matcher.tests.iter().find(|(field, _)| field == wanted)?;
            // A list may name the same value twice: each rule must appear once.
            let mut keys: Vec<String> = test.literals()?.map(str::to_owned).collect();
            keys.sort_unstable();
            keys.dedup();
            Some(keys)
        };
        let (map, keys) = if let Some(keys) = keys(&Field::Type) {
            (&mut self.by_type, keys)
        } else if let Some(keys) = keys(&Field::Condition) {
            (&mut self.by_condition, keys)
        } else if let Some(keys) = keys(&Field::Topic) {
            (&mut self.by_topic, keys)
        } else {
            self.always.push(position);
            return;
        };
        for key in keys {
            map.entry(key).or_default().push(position);
        }
    }

    /// Returns the positions of matchers that could match, ascending.
    pub fn candidates(&self, topic: &str, kind: &str, condition: Option<&str>) -> Vec<usize> {
        let mut found = self.always.clone();
        let mut add = |map: &HashMap<String, Vec<usize>>, key: &str| {
            if !map.is_empty() {
                found.extend(map.get(&fold(key)).into_iter().flatten().copied());
            }
        };
        add(&self.by_type, kind);
        add(&self.by_topic, topic);
        if let Some(condition) = condition {
            add(&self.by_condition, condition);
        }
        // The order of the rules is the order of their decisions.
        found.sort_unstable();
        found
    }
}
