//! Inhibition: an alert whose cause is another alert is not sent. A link between two alerts lasts
//! as long as both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::alert::{Alert, AlertId, AlertState, Dark, SuppressedBy, Suppression};
use super::decision::Verdict;
use crate::model::{Condition, Event, Field, Phase, Subject, Timestamp};
use crate::rules::InhibitRule;

/// Maximum number of subjects listed behind an alert.
const MAX_BEHIND: usize = 1_000;

/// Maximum time in which devices recover after the recovery of the device they depend on.
const SETTLE: Duration = Duration::from_secs(300);

/// Conditions of unreachable devices.
const OFFLINE: [&str; 4] = [
    "ap_offline",
    "switch_offline",
    "gateway_offline",
    "edge_offline",
];

impl Engine {
    /// Links an alert with those that it inhibits and those that inhibit it.
    pub(super) fn relate(&mut self, id: AlertId) {
        let rules = Arc::clone(&self.rules);
        let inhibit = &rules.surroundings().inhibit_rules;
        if inhibit.is_empty() {
            return;
        }
        let Some(event) = self.state.alerts.get_mut(&id).map(|a| {
            a.related = true;
            Arc::clone(&a.event)
        }) else {
            return;
        };
        // An alert may be source by one rule and target by another, such as a switch behind a
        // gateway.
        for (position, rule) in inhibit.iter().enumerate() {
            if rule.source.matches(&event)
                && let Some(key) = self.source_key(rule, &event)
            {
                self.index
                    .sources
                    .entry((position, key.clone()))
                    .or_default()
                    .insert(id);
                // The source may open after its targets: both directions are looked up.
                let targets = self
                    .index
                    .targets
                    .get(&(position, key))
                    .cloned()
                    .unwrap_or_default();
                targets
                    .into_iter()
                    .for_each(|target| self.link(rule, id, target));
            }
            if rule.target.matches(&event)
                && let Some(key) = self.target_key(rule, &event)
            {
                self.index
                    .targets
                    .entry((position, key.clone()))
                    .or_default()
                    .insert(id);
                let sources = self
                    .index
                    .sources
                    .get(&(position, key))
                    .cloned()
                    .unwrap_or_default();
                sources
                    .into_iter()
                    .for_each(|source| self.link(rule, source, id));
            }
        }
    }

    /// Rebuilds the index after a restart. Links are part of the snapshot and are not judged again.
    pub(super) fn index_relations(&mut self) {
        let rules = Arc::clone(&self.rules);
        for (position, rule) in rules.surroundings().inhibit_rules.iter().enumerate() {
            // The index is filled after the loop, which borrows the state.
            let mut found = Vec::new();
            for (&id, alert) in self.state.alerts.iter().filter(|(_, a)| a.related) {
                if rule.source.matches(&alert.event)
                    && let Some(key) = self.source_key(rule, &alert.event)
                {
                    found.push((true, key, id));
                }
                if rule.target.matches(&alert.event) {
                    found.extend(
                        self.target_key(rule, &alert.event)
                            .map(|key| (false, key, id)),
                    );
                }
            }
            for (source, key, id) in found {
                let index = if source {
                    &mut self.index.sources
                } else {
                    &mut self.index.targets
                };
                index.entry((position, key)).or_default().insert(id);
            }
        }
    }

    fn link(&mut self, rule: &InhibitRule, source: AlertId, target: AlertId) {
        let (Some(above), Some(below)) = (
            self.state.alerts.get(&source),
            self.state.alerts.get(&target),
        ) else {
            return;
        };
        // Two alerts that could inhibit each other would both stay silent.
        let mutual = rule.source.matches(&below.event) && rule.target.matches(&above.event);
        let fits = source != target
            && !mutual
            && !self.explains(target, source)
            && above.is_active()
            && (below.is_active() || !below.lasting && !below.settled)
            // After the first message it is too late to suppress the alert.
            && below.told_to.is_empty()
            && self.fits(rule, above, below);
        if !fits {
            return;
        }
        let subjects: Vec<Subject> = below.subjects().collect();
        let (held, name) = (below.is_held(), Arc::clone(&below.rule));
        if !self
            .state
            .alerts
            .get_mut(&target)
            .is_some_and(|below| below.sources.insert(source))
        {
            return;
        }
        self.index
            .targets_of
            .entry(source)
            .or_default()
            .insert(target);
        self.explain(target);
        // The message about the source lists what is behind it.
        if let Some(above) = self.state.alerts.get_mut(&source) {
            subjects
                .into_iter()
                .for_each(|subject| darken(above, target, subject));
        }
        // A suppressed alert gets its reason from the check; one that is pending has no message yet
        // to suppress.
        if held {
            self.release(target);
        } else {
            let verdict = self.inhibited_by(target, source);
            self.decide(&[target], None, Some(&name), verdict);
        }
    }

    /// Returns whether a rule makes one alert inhibit the other, whatever their states.
    pub(super) fn fits(&self, rule: &InhibitRule, above: &Alert, below: &Alert) -> bool {
        let (above_began, below_began) = (above.began().whole(), below.began().whole());
        let apart = above_began
            .since(below_began)
            .max(below_began.since(above_began));
        // Senders have different resolutions: beginnings are compared by whole seconds.
        let key = self.source_key(rule, &above.event);
        rule.source.matches(&above.event)
            && rule.target.matches(&below.event)
            && key.is_some()
            && key == self.target_key(rule, &below.event)
            && (!rule.via_topology
                || self
                    .rules
                    .surroundings()
                    .topology
                    .explains(&above.event, &below.event))
            && rule.within.is_none_or(|within| apart <= within)
            && !self.is_refuted(rule, above, below)
    }

    /// Returns whether events contradict the inhibition: the target, or others behind the same
    /// source, sent something after the source was reported down.
    fn is_refuted(&self, rule: &InhibitRule, above: &Alert, below: &Alert) -> bool {
        if !above.is_offline() || is_same_device(&above.event, &below.event) {
            return false;
        }
        // Events on their way when the source went down arrive a little later.
        let late = above.last_said() + super::clues::AFTER;
        let device = below.event.identity(&Field::Device);
        let heard = |name: &str| self.state.closes.last(&format!("{name}|{device}"));
        let between = |at: Timestamp| at > late && at < below.began();
        let target =
            || below.event.device.is_some() && OFFLINE.into_iter().filter_map(heard).any(between);
        // With `within` the rule is about coincidence; only the target itself can contradict it.
        rule.within.is_none() && above.refuted.is_some_and(|at| at > late) || target()
    }

    /// Handles an event from a device that should be unreachable: alerts that claimed so, by rules
    /// without `within`, no longer inhibit anything.
    pub(super) fn hear(&mut self, event: &Event) {
        let ended = event
            .condition
            .as_ref()
            .filter(|c| event.phase == Phase::Close && c.name.ends_with("_offline"));
        let name = event.clues.disproves.as_ref().or(ended.map(|c| &c.name));
        // A removed device sends nothing: the event is about the inventory.
        let Some(name) = name.filter(|_| event.device.is_some() && !event.clues.removed) else {
            return;
        };
        if self.index.sources.is_empty() {
            return;
        }
        let rules = Arc::clone(&self.rules);
        let around = rules.surroundings();
        let gone = |kind: &str, topic: &str| Event {
            kind: kind.to_owned(),
            topic: topic.into(),
            condition: Some(Condition {
                name: Arc::clone(name),
                sub_id: None,
                of_site: false,
                on_port: false,
            }),
            phase: Phase::Open,
            ..event.clone()
        };
        // The device's own outage, as its events would report it, tells which rules would apply to
        // it.
        let mut outages: Vec<Event> = (self.openings)(name)
            .iter()
            .map(|o| gone(o.kind, o.topic))
            .collect();
        if outages.is_empty() {
            outages.push(gone(&event.kind, &event.topic));
        }
        let mut refuted: BTreeSet<AlertId> = BTreeSet::new();
        for (position, rule) in around.inhibit_rules.iter().enumerate() {
            let target = outages.iter().find(|outage| rule.target.matches(outage));
            let Some(target) = target.filter(|_| rule.within.is_none()) else {
                continue;
            };
            let Some(key) = self.target_key(rule, target) else {
                continue;
            };
            let sources = self
                .index
                .sources
                .get(&(position, key))
                .into_iter()
                .flatten();
            refuted.extend(sources.copied().filter(|source| {
                let above = self.state.alerts.get(source).filter(|a| a.is_offline());
                above.is_some_and(|above| {
                    let late = above.last_said() + super::clues::AFTER;
                    // With several parents the device may be up through another one.
                    let only = !rule.via_topology || around.topology.needs(&above.event, target);
                    event.time > late && only && !is_same_device(&above.event, target)
                })
            }));
        }
        for source in refuted {
            self.refute(source, event.time);
        }
    }

    /// Notes that an alert's claim was contradicted. What it suppresses is sent soon, unless the
    /// alert ends first.
    fn refute(&mut self, source: AlertId, at: Timestamp) {
        let Some(above) = self.state.alerts.get_mut(&source) else {
            return;
        };
        // Only the first time counts, or repeated events would delay the others for ever.
        if above.refuted.is_none_or(|known| known <= above.last_said()) {
            above.refuted = Some(at);
        }
        for target in self
            .index
            .targets_of
            .get(&source)
            .cloned()
            .unwrap_or_default()
        {
            // The check now sets a limit to the suppression.
            let alert = self.state.alerts.get(&target);
            let held = alert.and_then(|alert| alert.quiet.as_ref());
            if held.is_some_and(|quiet| matches!(quiet.by, SuppressedBy::Source(_))) {
                self.release(target);
            }
        }
    }

    /// Returns the alert that inhibits this one. If its claim was contradicted, there is an end
    /// (journal time): devices behind it get some time to recover with it.
    pub(super) fn explained_by(&self, alert: &Alert) -> Option<(AlertId, Option<Timestamp>)> {
        let first = *alert.sources.first()?;
        let mut until = None;
        for source in &alert.sources {
            let above = self.state.alerts.get(source);
            let refuted = above.and_then(|a| a.refuted.filter(|at| *at > a.last_said()));
            // A single source without contradiction is enough.
            let Some(refuted) = refuted else {
                return Some((*source, None));
            };
            let wait = SETTLE.max(self.policy(&alert.rule).r#for);
            until = until.max(Some(self.journal(refuted) + wait));
        }
        until
            .filter(|until| *until > self.state.now)
            .map(|until| (first, Some(until)))
    }

    /// Returns whether any open alert inhibits one that is not tracked.
    pub(super) fn is_behind_any(&self, below: &Alert) -> bool {
        let rules = self.rules.surroundings().inhibit_rules.iter().enumerate();
        rules.into_iter().any(|(position, rule)| {
            let key = Some(&below.event)
                .filter(|event| rule.target.matches(event))
                .and_then(|event| self.target_key(rule, event));
            let sources = key.and_then(|key| self.index.sources.get(&(position, key)));
            let above = |id| self.state.alerts.get(id).filter(|above| above.is_active());
            let mut above = sources.into_iter().flatten().filter_map(above);
            above.any(|above| self.fits(rule, above, below))
        })
    }

    /// Removes the link between two alerts.
    pub(super) fn cut(&mut self, source: AlertId, target: AlertId) {
        if let Some(targets) = self.index.targets_of.get_mut(&source) {
            targets.remove(&target);
        }
        if let Some(above) = self.state.alerts.get_mut(&source) {
            above.behind.retain(|dark| dark.alert != target);
        }
        if let Some(below) = self.state.alerts.get_mut(&target) {
            below.sources.remove(&source);
        }
    }

    /// Returns whether an alert inhibits another, directly or through others. A circle would
    /// suppress all of its alerts.
    fn explains(&self, source: AlertId, target: AlertId) -> bool {
        let (mut known, mut next) = (BTreeSet::from([target]), vec![target]);
        while let Some(below) = next.pop() {
            let above = self
                .state
                .alerts
                .get(&below)
                .into_iter()
                .flat_map(|alert| &alert.sources);
            // An alert may be behind several others: each is visited once.
            next.extend(above.filter(|id| known.insert(**id)));
        }
        known.contains(&source)
    }

    /// Removes the links of an alert that has ended. Alerts that only it suppressed wait for their
    /// own `for`; alerts that suppressed it note the recovery.
    pub(super) fn unlink(&mut self, id: AlertId) {
        let now = self.state.now;
        let ended = self
            .state
            .alerts
            .get(&id)
            .map(Alert::ends_at)
            .unwrap_or_default();
        let sources = self
            .state
            .alerts
            .get_mut(&id)
            .map(|a| std::mem::take(&mut a.sources))
            .unwrap_or_default();
        for source in sources {
            if let Some(targets) = self.index.targets_of.get_mut(&source) {
                targets.remove(&id);
            }
            if let Some(above) = self.state.alerts.get_mut(&source) {
                let back = above.behind.iter_mut().filter(|dark| dark.alert == id);
                back.for_each(|dark| dark.subject.ends_at = Some(ended.unwrap_or(now)));
            }
        }
        // The index must not offer it as a source any more.
        self.forget_keys(id);
        if let Some(alert) = self.state.alerts.get_mut(&id) {
            alert.related = false;
        }
        for target in self.index.targets_of.remove(&id).unwrap_or_default() {
            let Some(below) = self.state.alerts.get_mut(&target) else {
                continue;
            };
            below.sources.remove(&id);
            // Another source still suppresses it.
            if !below.sources.is_empty() {
                continue;
            }
            let explained = below
                .quiet
                .as_ref()
                .is_some_and(|quiet| matches!(quiet.by, SuppressedBy::Source(_)));
            if !below.told_to.is_empty() {
                // It was sent, since the claim of its source had been contradicted.
                continue;
            }
            if below.lasting {
                self.restart(target);
            } else if explained {
                // The next event without an end is another alert.
                self.forget(target);
            }
        }
    }

    /// Makes an alert pending again after the end of the alert that inhibited it.
    fn restart(&mut self, id: AlertId) {
        let now = self.state.now;
        let Some(alert) = self.state.alerts.get(&id) else {
            return;
        };
        let rule = Arc::clone(&alert.rule);
        match alert.state {
            AlertState::Pending { .. } | AlertState::Firing => {
                self.pend(id, now);
                let until = now + self.policy(&rule).r#for;
                self.decide(&[id], None, Some(&rule), Verdict::Pending { until });
                self.arm_alert(id);
            }
            AlertState::Flapping => {
                // The flapping may have had the same cause: it is sent only if it continues.
                let stable = self.policy(&rule).flapping.unwrap_or_default().stable;
                self.keep_quiet(
                    id,
                    Suppression {
                        by: SuppressedBy::Hold,
                        until: Some(now + stable),
                    },
                );
            }
            AlertState::Collecting | AlertState::Closing { .. } | AlertState::Ended => {}
        }
    }

    /// Removes an alert from the index of sources and targets.
    fn forget_keys(&mut self, id: AlertId) {
        let rules = Arc::clone(&self.rules);
        let Some(event) = self.state.alerts.get(&id).map(|a| Arc::clone(&a.event)) else {
            return;
        };
        for (position, rule) in rules.surroundings().inhibit_rules.iter().enumerate() {
            let keys = [self.target_key(rule, &event), self.source_key(rule, &event)];
            for key in keys.into_iter().flatten() {
                // The alert may be in either index, or in both.
                for index in [&mut self.index.sources, &mut self.index.targets] {
                    let place = (position, key.clone());
                    if let Some(ids) = index.get_mut(&place) {
                        ids.remove(&id);
                        if ids.is_empty() {
                            index.remove(&place);
                        }
                    }
                }
            }
        }
    }

    /// Returns the time that a target waits after its beginning for a source reported later.
    pub(super) fn hold(&self, event: &Event) -> Duration {
        let rules = &self.rules.surroundings().inhibit_rules;
        let may = |rule: &&InhibitRule| {
            rule.target.matches(event) && self.target_key(rule, event).is_some()
        };
        rules
            .iter()
            .filter(may)
            .map(|rule| rule.hold)
            .max()
            .unwrap_or_default()
    }

    pub(super) fn inhibited_by(&self, target: AlertId, source: AlertId) -> Verdict {
        let (source, target) = (
            self.state.alerts.get(&source),
            self.state.alerts.get(&target),
        );
        // The alerts may match several rules; the first one is named.
        let says = |rule: &&InhibitRule| {
            source.is_some_and(|a| rule.source.matches(&a.event))
                && target.is_some_and(|a| rule.target.matches(&a.event))
        };
        Verdict::Inhibited {
            by: source.map(Alert::label).unwrap_or_default(),
            rule: source.map(|a| Arc::clone(&a.rule)).unwrap_or_default(),
            line: self
                .rules
                .surroundings()
                .inhibit_rules
                .iter()
                .find(says)
                .map(|rule| rule.line),
        }
    }

    fn source_key(&self, rule: &InhibitRule, event: &Event) -> Option<String> {
        equal(rule, event).filter(|_| {
            !rule.via_topology || self.rules.surroundings().topology.node(event).is_some()
        })
    }

    fn target_key(&self, rule: &InhibitRule, event: &Event) -> Option<String> {
        equal(rule, event).filter(|_| {
            !rule.via_topology || !self.rules.surroundings().topology.above(event).is_empty()
        })
    }
}

fn is_same_device(a: &Event, b: &Event) -> bool {
    a.device.is_some() && a.identity(&Field::Device) == b.identity(&Field::Device)
}

/// Returns the values of the fields that must be equal; `None` if one is missing.
fn equal(rule: &InhibitRule, event: &Event) -> Option<String> {
    let one = |field: &Field| Some(event.identity(field)).filter(|identity| !identity.is_empty());
    let all: Option<Vec<String>> = rule.equal.iter().map(one).collect();
    all.map(|all| all.join("\u{1f}"))
}

/// Lists a subject behind an alert, once.
fn darken(above: &mut Alert, alert: AlertId, subject: Subject) {
    let same = |dark: &&mut Dark| {
        dark.subject.device_mac == subject.device_mac
            && dark.subject.device == subject.device
            && dark.subject.part == subject.part
    };
    // A subject that is listed already is updated even if the list is full.
    let room = above.behind.len() < MAX_BEHIND;
    match above.behind.iter_mut().find(same) {
        Some(known) => *known = Dark { alert, subject },
        None if room => above.behind.push(Dark { alert, subject }),
        None => {}
    }
}
