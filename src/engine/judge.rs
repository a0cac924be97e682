//! Judging an event: the rules that match it, and its outcome.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::alert::AlertId;
use super::decision::Verdict;
use super::outcomes::Effects;
use crate::model::{Event, Field, Phase};
use crate::rules::{Resolve, Rule};

impl Engine {
    /// Applies every rule to the event and counts its outcome: the greatest of those the rules
    /// give.
    pub(super) fn judge(&mut self, event: &Arc<Event>) {
        if self.seen.is_duplicate(event, self.state.now) {
            self.state.counters.duplicate(event);
            self.decide(&[], Some(event), None, Verdict::Duplicate);
            return;
        }
        let mut effects = Effects::default();
        // Evidence comes before the rules: it may delay or close alerts that they are about to look
        // at.
        self.take_clues(event);
        if let Some(condition) = &event.clues.disproves {
            self.disprove(event, condition, &mut effects);
        }
        let closes = event.phase == Phase::Close;
        let condition = event.condition.as_ref().map(|c| Arc::clone(&c.name));
        let (topic, kind, condition_name) = (&event.topic, &event.kind, condition.as_deref());
        // Ends come before beginnings, since an event may end one alert and open another.
        if let (true, Some(condition)) = (closes, &event.condition) {
            self.close(event, condition, &mut effects);
        }
        for position in self.rules.resolvers(topic, kind, condition_name) {
            self.resolve_by_match(position, event, &mut effects);
        }
        self.resolve_by_pasts(event, &mut effects);
        self.hear(event);
        let opens = event
            .condition
            .as_ref()
            .filter(|_| event.phase == Phase::Open);
        let standing = match opens {
            Some(condition) => self.standing(event, |event| self.overtaken(event, condition)),
            None => Some(Arc::clone(event)),
        };
        let age = self.wall().since(event.latest());
        let too_old = !closes
            && self
                .rules
                .max_event_age(&event.source)
                .is_some_and(|max| age > max);
        // The index offers a superset: the matcher decides.
        for position in self.rules.candidates(topic, kind, condition_name) {
            let Some(rule) = self.rules.rules().get(position).cloned() else {
                continue;
            };
            if !rule.matcher.matches(event) || !self.holds(&rule, event, &mut effects) {
                continue;
            }
            if let Some(window) = rule.absent {
                self.present(&rule, window, event, &mut effects);
                continue;
            }
            if matches!(&rule.resolve, Resolve::When(ends) if ends.matches(event)) {
                // An event that closes an alert does not open one, even if it matches the rule.
                continue;
            }
            // A close opens an alert only if the rule cannot match any opening: then the end itself
            // is what it looks for.
            let own = closes
                && !condition
                    .as_ref()
                    .is_some_and(|c| self.watches(position, &rule, c));
            if closes && !own {
                // The close was handled above, by condition and subject.
                continue;
            }
            // A rule with its own `resolve` remembers closes under its own key.
            let standing = match (&standing, &rule.resolve) {
                (Some(event), Resolve::When(_)) => {
                    let key = self.own_key(&rule, event);
                    self.standing(event, |event| self.closed_after(&key, event))
                }
                (standing, _) => standing.clone(),
            };
            // An event that comes too late is counted, but opens nothing.
            let Some(event) = standing.as_ref().filter(|_| !too_old) else {
                let verdict = if standing.is_none() {
                    Verdict::Overtaken
                } else {
                    Verdict::TooOld { age }
                };
                effects.suppressed = effects.suppressed.or(verdict.suppression());
                self.decide(&[], Some(event), Some(&rule.name), verdict);
                continue;
            };
            let lasting = match rule.resolve {
                Resolve::Implied => event.phase == Phase::Open,
                Resolve::Never => false,
                Resolve::When(_) => true,
            };
            if lasting {
                self.begins(&rule, event, &mut effects);
            } else {
                self.happen(&rule, event, &mut effects);
            }
        }
        self.settle(event, effects);
    }

    /// Returns an opening that has not ended yet. If the first occurrence has ended, the sender's
    /// last count may still be open.
    fn standing(&self, event: &Arc<Event>, over: impl Fn(&Event) -> bool) -> Option<Arc<Event>> {
        if !over(event) {
            return Some(Arc::clone(event));
        }
        let last = event.clues.last.filter(|last| *last > event.time)?;
        let again = Event {
            time: last,
            ..(**event).clone()
        };
        (!over(&again)).then(|| Arc::new(again))
    }

    /// Evaluates `when`. An expression that fails counts as no match.
    fn holds(&mut self, rule: &Rule, event: &Event, effects: &mut Effects) -> bool {
        match rule.when.as_ref().map(|when| when.holds(event)) {
            None => true,
            Some(Ok(holds)) => holds,
            Some(Err(why)) => {
                let verdict = Verdict::WhenFailed { why };
                effects.suppressed = effects.suppressed.or(verdict.suppression());
                self.decide(&[], Some(event), Some(&rule.name), verdict);
                false
            }
        }
    }

    /// Counts the outcome of the event.
    fn settle(&mut self, event: &Arc<Event>, effects: Effects) {
        // An alert that this event opened may have been dropped again at once.
        let waits: BTreeSet<AlertId> = effects
            .waits_with
            .iter()
            .copied()
            .filter(|id| self.state.alerts.get(id).is_some())
            .collect();
        let counters = &mut self.state.counters;
        if !effects.notified.is_empty() {
            counters.notified(event, effects.notified);
        } else if !waits.is_empty() {
            counters.pending(event, &mut self.state.alerts, &waits);
        } else if let Some(reason) = effects.suppressed {
            counters.suppressed(event, reason);
        } else {
            counters.unmatched(event);
            self.decide(&[], Some(event), None, Verdict::Unmatched);
        }
    }

    /// Returns whether a rule matches openings of a condition. A closing event then only closes.
    fn watches(&mut self, position: usize, rule: &Rule, condition: &Arc<str>) -> bool {
        let key = (position, Arc::clone(condition));
        if let Some(&known) = self.watches.get(&key) {
            return known;
        }
        let watches = self.looks_for(rule, condition);
        self.watches.insert(key, watches);
        watches
    }

    pub(super) fn looks_for(&self, rule: &Rule, condition: &Arc<str>) -> bool {
        let openings = (self.openings)(condition);
        // A closing event of a condition unknown to the catalogue is nothing but a close.
        openings.is_empty()
            || openings.iter().any(|opening| {
                ["open", "new", "reoccured"].iter().any(|status| {
                    let mut known = vec![
                        (Field::Topic, opening.topic),
                        (Field::Type, opening.kind),
                        (Field::Condition, condition.as_ref()),
                        (Field::Phase, "open"),
                    ];
                    if opening.topic == "alarms" {
                        known.push((Field::Status, status));
                        if !opening.group.is_empty() {
                            known.push((Field::Group, opening.group));
                        }
                    }
                    rule.matcher.could_match(&known)
                })
            })
    }
}
