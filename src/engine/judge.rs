//! From an event to what the rules make of it, and to its one outcome.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::alert::AlertId;
use super::decision::Verdict;
use super::outcomes::Effects;
use crate::model::{Event, Field, Phase};
use crate::rules::{Resolve, Rule};

impl Engine {
    /// Every rule judges the event; its outcome is the greatest any of them gives it.
    pub(super) fn judge(&mut self, event: &Arc<Event>) {
        if self.seen.is_duplicate(event, self.state.now) {
            self.state.counters.duplicate(event);
            self.decide(&[], Some(event), None, Verdict::Duplicate);
            return;
        }
        let mut effects = Effects::default();
        self.take_clues(event);
        if let Some(condition) = &event.clues.disproves {
            self.disprove(event, condition, &mut effects);
        }
        let closes = event.phase == Phase::Close;
        let condition = event.condition.as_ref().map(|c| Arc::clone(&c.name));
        let (topic, kind, condition_name) = (&event.topic, &event.kind, condition.as_deref());
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
                continue; // what closes an alert does not open one, though the rule's `match` fits it too
            }
            let own = closes
                && !condition
                    .as_ref()
                    .is_some_and(|c| self.watches(position, &rule, c));
            if closes && !own {
                continue; // it found what it closes above, by condition and subject
            }
            let standing = match (&standing, &rule.resolve) {
                (Some(event), Resolve::When(_)) => {
                    let key = self.own_key(&rule, event);
                    self.standing(event, |event| self.closed_after(&key, event))
                }
                (standing, _) => standing.clone(),
            };
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

    /// An opening that is not over yet: as it came, or of the last time the sender counted where
    /// what it told of first is over.
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

    /// What `match` cannot say. An expression that fails is no match.
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

    /// Counts the event's one outcome.
    fn settle(&mut self, event: &Arc<Event>, effects: Effects) {
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

    /// Whether a rule looks for openings of a condition: then a closing type only closes what it
    /// opened.
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
        // Of a condition the catalogue does not know, an event that closes it is taken for nothing
        // else.
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
