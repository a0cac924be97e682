//! Earlier versions of rules. A reload may change, rename or remove a rule with open alerts.
//! Destinations notified of them still hear of the end, which only the earlier version can
//! recognise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Engine;
use super::alert::{Alert, AlertId, AlertState};
use super::open::subject_key;
use super::outcomes::Effects;
use super::reload::event_of;
use crate::model::{Event, Field, Phase};
use crate::rules::{Matcher, Policy, Resolve, Rule, Threshold, When};

/// An earlier version of a rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub(super) struct PastRule {
    pub(super) rule: Arc<Rule>,
}

/// The part of a rule that distinguishes its alerts and recognises their end, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Written {
    name: Arc<str>,
    line: u64,
    matcher: Value,
    when: Option<String>,
    by: Option<Vec<Field>>,
    resolve: Ends,
    threshold: Option<Threshold>,
    absent: Option<Duration>,
    group_by: Vec<Field>,
}

/// `resolve` as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ends {
    Implied,
    Never,
    When(Value),
}

impl Written {
    pub(super) fn of(rule: &Rule) -> Self {
        Self {
            name: Arc::clone(&rule.name),
            line: rule.line,
            // As JSON it can be stored and compared, unlike a compiled matcher.
            matcher: rule.matcher.json(),
            when: rule.when.as_ref().map(|when| when.text().to_owned()),
            by: rule.by.clone(),
            resolve: match &rule.resolve {
                Resolve::Implied => Ends::Implied,
                Resolve::Never => Ends::Never,
                Resolve::When(matcher) => Ends::When(matcher.json()),
            },
            threshold: rule.threshold.clone(),
            absent: rule.absent,
            group_by: rule.policy.group_by.clone(),
        }
    }

    /// Returns whether both match the same events.
    pub(super) fn looks_alike(&self, other: &Self) -> bool {
        self.matcher == other.matcher && self.when == other.when
    }

    /// Returns whether alerts of both have the same fingerprints and ends.
    pub(super) fn ends_alike(&self, other: &Self) -> bool {
        let counts = |one: &Self| one.threshold.as_ref().map(|t| t.distinct.clone());
        self.by == other.by
            && self.resolve == other.resolve
            && counts(self) == counts(other)
            // Without `by`, a threshold counts per group.
            && (self.threshold.is_none() || self.by.is_some() || self.group_by == other.group_by)
            && self.absent.is_some() == other.absent.is_some()
            && (self.absent.is_none() || self.looks_alike(other))
    }

    /// Returns whether both have the same threshold.
    pub(super) fn counts_alike(&self, other: &Self) -> bool {
        self.threshold == other.threshold
    }
}

impl From<PastRule> for Written {
    fn from(past: PastRule) -> Self {
        Self::of(&past.rule)
    }
}

impl From<Written> for PastRule {
    /// Restores a rule. A part that this release cannot read ends nothing, and the alert becomes
    /// stale.
    fn from(written: Written) -> Self {
        let matcher = Matcher::from_json(&written.matcher);
        let resolve = match &written.resolve {
            Ends::Implied => Resolve::Implied,
            Ends::Never => Resolve::Never,
            Ends::When(matcher) => {
                Matcher::from_json(matcher).map_or(Resolve::Never, Resolve::When)
            }
        };
        let when = written.when.as_deref().map(When::compile);
        // An unreadable matcher matches everything, which must not end an absence.
        let readable = matcher.is_ok() && !matches!(when, Some(Err(_)));
        let rule = Rule {
            name: written.name,
            line: written.line,
            matcher: matcher.unwrap_or_default(),
            by: written.by,
            resolve,
            threshold: written.threshold,
            when: when.and_then(Result::ok),
            absent: written.absent.filter(|_| readable),
            // Only the groups matter for ends; everything else comes from the rule in force.
            policy: Arc::new(Policy {
                group_by: written.group_by,
                ..Policy::default()
            }),
        };
        Self {
            rule: Arc::new(rule),
        }
    }
}

impl Engine {
    /// Returns the rule of an alert: the earlier version that notified, if the one in force
    /// differs.
    pub(super) fn rule_of(&self, alert: &Alert) -> Option<&Arc<Rule>> {
        match alert.past {
            Some(past) => self.state.pasts.get(&past).map(|past| &past.rule),
            None => self.rule(&alert.rule),
        }
    }

    /// Returns the name under which an alert is indexed by its fingerprint. Earlier versions of a
    /// rule have their own.
    pub(super) fn place(rule: &Arc<str>, past: Option<u64>) -> Arc<str> {
        match past {
            Some(past) => format!("{rule}\u{1f}{past}").into(),
            None => Arc::clone(rule),
        }
    }

    /// Returns whether the end of its condition ends an alert.
    pub(super) fn ends_with_condition(&self, alert: &Alert) -> bool {
        self.rule_of(alert)
            .is_none_or(|rule| matches!(rule.resolve, Resolve::Implied) && rule.absent.is_none())
    }

    /// Closes alerts by earlier versions of rules.
    pub(super) fn resolve_by_pasts(&mut self, event: &Arc<Event>, effects: &mut Effects) {
        if self.state.pasts.is_empty() {
            return;
        }
        // Closing alerts changes the state, so the rules are copied first.
        let pasts: Vec<(u64, Arc<Rule>)> = self
            .state
            .pasts
            .iter()
            .map(|(id, past)| (*id, Arc::clone(&past.rule)))
            .collect();
        for (id, rule) in pasts {
            let place = Self::place(&rule.name, Some(id));
            // An absence ends with the event it waited for, which has no `resolve`.
            if rule.absent.is_some() {
                let looked_for = rule.matcher.matches(event)
                    && rule
                        .when
                        .as_ref()
                        .is_none_or(|when| when.holds(event) == Ok(true));
                let fingerprint = self.absence_of(&rule, event);
                let known = self
                    .index
                    .by_fingerprint
                    .get(&(place, fingerprint))
                    .copied();
                if let Some(alert) = known.filter(|_| looked_for) {
                    self.came(alert, event, effects);
                }
            } else if let Resolve::When(ends) = &rule.resolve
                && ends.matches(event)
            {
                self.resolve_in(&place, &rule, event, effects);
            }
        }
    }

    /// Returns the key that the rules in force would give to an alert of an earlier version.
    fn alias(&self, alert: &Alert) -> Option<String> {
        let rule = self
            .rule(&alert.rule)
            .filter(|rule| rule.absent.is_none())?;
        if matches!(rule.resolve, Resolve::Implied) && self.ends_with_condition(alert) {
            // Both versions find it by its condition.
            return None;
        }
        match (&alert.event.condition, &rule.resolve) {
            (_, Resolve::When(_)) => Some(self.own_key(rule, &alert.event)),
            (Some(condition), Resolve::Implied) if alert.event.phase == Phase::Open => {
                Some(subject_key(&alert.event, condition))
            }
            _ => None,
        }
    }

    /// Returns alerts of earlier versions of this rule that the rules in force know by this key.
    pub(super) fn known_as(&self, key: &str, rule: Option<&Arc<str>>) -> Vec<AlertId> {
        let known = self.index.aliases.get(key).into_iter().flatten().copied();
        let of_rule = |id: &AlertId| {
            let alert = self.state.alerts.get(id);
            alert.is_some_and(|alert| rule.is_none_or(|rule| alert.rule == *rule))
        };
        known.filter(of_rule).collect()
    }

    /// Returns the alert of an earlier version that this event opens again, with the key and the
    /// part of its member. The version in force treats such events as having no end.
    pub(super) fn notified_before(
        &self,
        rule: &Rule,
        event: &Event,
    ) -> Option<(AlertId, String, Option<String>)> {
        // A reload may have happened several times since, so there may be several versions.
        let pasts = self.state.pasts.values();
        let of_name = pasts.filter(|past| past.rule.name == rule.name);
        for past in of_name {
            let (key, part) = match (&event.condition, &past.rule.resolve) {
                (Some(condition), Resolve::Implied) if event.phase == Phase::Open => {
                    (subject_key(event, condition), condition.sub_id.clone())
                }
                (_, Resolve::When(_)) if past.rule.matcher.matches(event) => {
                    (self.own_key(&past.rule, event), None)
                }
                _ => continue,
            };
            // The key is shared by all rules, so the alert must be of this one.
            for id in self.index.by_key.get(&key).into_iter().flatten() {
                let same = self.state.alerts.get(id).is_some_and(|alert| {
                    alert.lasting
                        && alert.past.is_some()
                        && alert.rule == rule.name
                        && alert.state != AlertState::Ended
                        && alert.member(&key, part.as_ref()).is_some()
                });
                if same {
                    return Some((*id, key, part));
                }
            }
        }
        None
    }

    /// Closes an alert known by another key: all of it, or only the event's own device if it has
    /// several members.
    pub(super) fn close_alias(
        &mut self,
        id: AlertId,
        event: &Arc<Event>,
        effects: &mut Effects,
        part: Option<&String>,
    ) -> bool {
        let Some(alert) = self.state.alerts.get(&id) else {
            return false;
        };
        let (opened, one) = (Arc::clone(&alert.event), alert.members.len() == 1);
        let device = event.identity(&Field::Device);
        self.close_members(id, event, effects, |m| {
            // The first event of the alert may be of another device than this member.
            let own = || event_of(&opened, m, false).identity(&Field::Device) == device;
            (one || own()) && m.is_part(part)
        })
    }

    /// Indexes the alerts of earlier versions by the keys of the rules in force.
    pub(super) fn index_aliases(&mut self) {
        let mut aliases: BTreeMap<String, Vec<AlertId>> = BTreeMap::new();
        for (&id, alert) in self.state.alerts.iter().filter(|(_, a)| a.past.is_some()) {
            if let Some(alias) = self.alias(alert) {
                aliases.entry(alias).or_default().push(id);
            }
        }
        self.index.aliases = aliases;
    }

    /// Keeps the present version of rules whose alerts are open and were sent. `changed` selects
    /// the rules that from now on have other fingerprints or ends.
    pub(super) fn remember(&mut self, changed: &dyn Fn(&Arc<str>) -> bool) {
        let told: Vec<(AlertId, Arc<str>)> = self
            .state
            .alerts
            .iter()
            .filter(|(_, a)| a.lasting && a.past.is_none() && !a.told_to.is_empty())
            .filter(|(_, a)| changed(&a.rule))
            .map(|(id, a)| (*id, Arc::clone(&a.rule)))
            .collect();
        // Alerts of the same rule share one entry.
        let mut pasts: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for (id, name) in told {
            let Some(rule) = self.rule(&name).cloned() else {
                continue;
            };
            let past = match pasts.get(&name) {
                Some(past) => *past,
                None => {
                    let past = self.next_id();
                    self.state.pasts.insert(past, PastRule { rule });
                    pasts.insert(name, past);
                    past
                }
            };
            self.set_past(id, Some(past));
        }
    }

    /// Removes earlier versions that equal the one in force, or have no alerts any more.
    pub(super) fn forget_pasts(&mut self) {
        let tagged: Vec<(AlertId, u64)> = self
            .state
            .alerts
            .iter()
            .filter_map(|(id, alert)| Some((*id, alert.past?)))
            .collect();
        for (id, past) in &tagged {
            let alike = self.state.pasts.get(past).is_some_and(|past| {
                let now = self.rule(&past.rule.name).map(|rule| Written::of(rule));
                now.is_some_and(|now| now.ends_alike(&Written::of(&past.rule)))
            });
            if alike {
                self.set_past(*id, None);
            }
        }
        // Many alerts may share an entry: it goes with the last one.
        let used = |past: &u64| self.state.alerts.values().any(|a| a.past == Some(*past));
        let unused: Vec<u64> = self
            .state
            .pasts
            .keys()
            .copied()
            .filter(|p| !used(p))
            .collect();
        unused.iter().for_each(|past| {
            self.state.pasts.remove(past);
        });
    }

    fn set_past(&mut self, id: AlertId, past: Option<u64>) {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut alert.past, past);
        let (rule, fingerprint) = (Arc::clone(&alert.rule), alert.fingerprint.clone());
        let known = (Self::place(&rule, before), fingerprint.clone());
        // Another alert of the rule may have taken the place.
        if self.index.by_fingerprint.get(&known) == Some(&id) {
            self.index.by_fingerprint.remove(&known);
        }
        let place = (Self::place(&rule, past), fingerprint);
        self.index.by_fingerprint.entry(place).or_insert(id);
    }
}
