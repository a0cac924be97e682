//! Sliding windows: the recent events without an end that a rule counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alert::Member;
use crate::model::Timestamp;
use crate::rules::Threshold;

/// The samples of each rule, by fingerprint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Windows(BTreeMap<Arc<str>, BTreeMap<String, Window>>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Window {
    samples: Vec<Member>,
    keep: Duration,
}

impl Windows {
    /// Adds a sample. `Ok` holds the samples once the threshold is reached, and the count starts
    /// anew; `Err` holds the number so far.
    pub(super) fn add(
        &mut self,
        rule: &Arc<str>,
        fingerprint: &str,
        sample: Member,
        threshold: &Threshold,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Member>, usize> {
        self.bound(limit, now);
        let windows = self.0.entry(Arc::clone(rule)).or_default();
        let window = windows.entry(fingerprint.to_owned()).or_default();
        window.keep = threshold.window;
        // With `distinct` a repeated value replaces the earlier one.
        window.samples.retain(|s| {
            now.since(s.opened) <= threshold.window
                && (sample.value.is_none() || s.value != sample.value)
        });
        window.samples.push(sample);
        if window.samples.len() < threshold.count as usize {
            return Err(window.samples.len());
        }
        let samples = std::mem::take(&mut window.samples);
        windows.remove(fingerprint);
        Ok(samples)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Arc<str>) -> bool) {
        self.0.retain(|rule, _| keep(rule));
    }

    /// Removes windows without recent samples if there are too many, and then all windows of the
    /// largest rule.
    fn bound(&mut self, limit: usize, now: Timestamp) {
        // Rules share the limit: the largest one makes room for the others.
        let size = |windows: &Self| windows.0.values().map(BTreeMap::len).sum::<usize>();
        if size(self) < limit {
            return;
        }
        for windows in self.0.values_mut() {
            // The last sample is the newest; a window without recent samples can no longer reach
            // its threshold.
            windows.retain(|_, w| {
                w.samples
                    .last()
                    .is_some_and(|s| now.since(s.opened) <= w.keep)
            });
        }
        if size(self) >= limit
            && let Some(fullest) = self.0.values_mut().max_by_key(|windows| windows.len())
        {
            fullest.clear();
        }
    }
}
