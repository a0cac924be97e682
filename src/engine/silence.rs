//! Silences: alerts that people have muted for a time. They are inputs like events, so that a
//! replay agrees.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::{Alert, AlertId, SuppressedBy};
use super::decision::Verdict;
use super::{Engine, Timer};
use crate::model::{Silence, Until};
use crate::rules::Matcher;

/// Maximum number of silences; the oldest are ended first.
const MOST: usize = 1_000;

/// A silence in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ActiveSilence {
    silence: Silence,
    /// With `until: resolved`, the alerts whose end it waits for.
    waits_for: BTreeSet<AlertId>,
    #[serde(skip)]
    matcher: Option<Arc<Matcher>>,
}

impl ActiveSilence {
    fn matches(&self, alert: &Alert) -> bool {
        self.matcher
            .as_ref()
            .is_some_and(|matcher| matcher.matches(&alert.event))
    }
}

/// A silence in force with its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilenceState {
    /// The silence.
    pub silence: Silence,
    /// Number of open alerts it matches.
    pub matching: usize,
}

impl Engine {
    /// Returns the silences in force, oldest first.
    #[must_use]
    pub fn silences(&self) -> Vec<SilenceState> {
        // Each silence is compared with every open alert, which is why the result is cached for a
        // second.
        let matching = |standing: &ActiveSilence| {
            self.state
                .alerts
                .values()
                .filter(|alert| alert.is_active() && standing.matches(alert))
                .count()
        };
        let state = |standing: &ActiveSilence| SilenceState {
            silence: standing.silence.clone(),
            matching: matching(standing),
        };
        self.state.silences.iter().map(state).collect()
    }

    /// Adds or replaces a silence.
    pub(super) fn silence(&mut self, silence: &Silence) {
        let Ok(matcher) = Matcher::from_json(&silence.matches) else {
            self.decide(
                &[],
                None,
                None,
                Verdict::SilenceUnreadable {
                    id: silence.id.clone(),
                },
            );
            return;
        };
        // A changed silence keeps its id and replaces the earlier version.
        self.state
            .silences
            .retain(|known| known.silence.id != silence.id);
        let oldest = self.state.silences.first().map(|s| s.silence.id.clone());
        if let (true, Some(oldest)) = (self.state.silences.len() >= MOST, oldest) {
            self.expire(&oldest);
        }
        let mut standing = ActiveSilence {
            silence: silence.clone(),
            waits_for: BTreeSet::new(),
            matcher: Some(Arc::new(matcher)),
        };
        if silence.until == Until::Resolved {
            let open = self
                .state
                .alerts
                .iter()
                .filter(|(_, alert)| alert.is_active() && standing.matches(alert));
            standing.waits_for = open.map(|(id, _)| *id).collect();
        }
        // A silence that would end at once is reported, but never in force.
        let over = match silence.until {
            Until::Resolved => standing.waits_for.is_empty(),
            Until::At(end) => end <= self.wall(),
        };
        self.decide(
            &[],
            None,
            None,
            Verdict::SilenceBegins {
                id: silence.id.clone(),
                over,
            },
        );
        if !over {
            self.state.silences.push(standing);
        }
        self.arm_silences();
        // The previous version may have suppressed more.
        self.recheck_held(|by| matches!(by, SuppressedBy::Silence(id) if *id == silence.id));
    }

    /// Ends a silence before its time.
    pub(super) fn expire(&mut self, id: &str) {
        self.end_silences(|standing| standing.silence.id == id);
    }

    /// Ends the silences whose time is over.
    pub(super) fn silences_due(&mut self) {
        let wall = self.wall();
        self.end_silences(
            |standing| matches!(standing.silence.until, Until::At(end) if end <= wall),
        );
    }

    fn end_silences(&mut self, ends: impl Fn(&ActiveSilence) -> bool) {
        let (over, stand) = std::mem::take(&mut self.state.silences)
            .into_iter()
            .partition(ends);
        // The silences must be gone before alerts are checked again.
        self.state.silences = stand;
        self.arm_silences();
        let over: Vec<ActiveSilence> = over;
        for standing in over {
            self.decide(
                &[],
                None,
                None,
                Verdict::SilenceEnds {
                    id: standing.silence.id.clone(),
                },
            );
            self.recheck_held(
                |by| matches!(by, SuppressedBy::Silence(id) if *id == standing.silence.id),
            );
        }
    }

    pub(super) fn arm_silences(&mut self) {
        let ends = self
            .state
            .silences
            .iter()
            .filter_map(|standing| match standing.silence.until {
                Until::At(end) => Some(self.journal(end)),
                Until::Resolved => None,
            });
        let due = ends.min();
        self.arm(Timer::Silences, due);
    }

    /// Returns the silence that suppresses an alert.
    pub(super) fn silence_of(&self, alert: &Alert) -> Option<String> {
        self.state
            .silences
            .iter()
            .find(|standing| standing.matches(alert))
            .map(|s| s.silence.id.clone())
    }

    pub(super) fn silenced_by(&self, id: &str) -> Verdict {
        let silence = self
            .state
            .silences
            .iter()
            .map(|standing| &standing.silence)
            .find(|silence| silence.id == id);
        Verdict::Silenced {
            // A silence that has just ended is unknown here, but the decision still names its id.
            id: id.to_owned(),
            author: silence.map(|s| s.author.clone()).unwrap_or_default(),
            until: silence.and_then(|s| match s.until {
                Until::At(end) => Some(end),
                Until::Resolved => None,
            }),
        }
    }

    /// Adds a new alert to the silences that wait until everything is resolved.
    pub(super) fn awaited(&mut self, id: AlertId) {
        let Some(alert) = self.state.alerts.get(&id).filter(|alert| alert.lasting) else {
            return;
        };
        for standing in self
            .state
            .silences
            .iter_mut()
            // A silence until a fixed time does not depend on single alerts.
            .filter(|s| s.silence.until == Until::Resolved)
        {
            if standing.matches(alert) {
                standing.waits_for.insert(id);
            }
        }
    }

    /// Removes an ended alert from silences, and ends those that wait for nothing else.
    pub(super) fn awaited_no_more(&mut self, id: AlertId) {
        let mut over = false;
        for standing in self
            .state
            .silences
            .iter_mut()
            .filter(|s| s.silence.until == Until::Resolved)
        {
            // A silence that never waited for the alert is not affected.
            over |= standing.waits_for.remove(&id) && standing.waits_for.is_empty();
        }
        if over {
            self.end_silences(|s| s.silence.until == Until::Resolved && s.waits_for.is_empty());
        }
    }

    /// Compiles the matchers after a restart.
    pub(super) fn recompile_silences(&mut self) {
        for standing in &mut self.state.silences {
            standing.matcher = Matcher::from_json(&standing.silence.matches)
                .ok()
                .map(Arc::new);
        }
    }
}
