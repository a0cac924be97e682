//! Reloads: alerts keep their state by rule name. Alerts that were sent stay until their end is
//! sent, by the earlier version of their rule. Unsent alerts are judged by the rules in force, and
//! dropped if their rule was removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Engine;
use super::alert::{Alert, AlertId, AlertState, Member, SuppressedBy};
use super::decision::Verdict;
use super::open::{distinct, group, severity, subject_key};
use super::past::Written;
use super::table::NameSet;
use crate::model::{Condition, Device, Event, Name, Phase, Severity, Site, Timestamp};
use crate::rules::{InhibitRule, Policy, Resolve, Rule, RuleSet, Surroundings};

/// The effect of a reload on a rule that has alerts.
#[derive(Clone, Copy, Debug, Default)]
struct RuleChange {
    /// The rule was removed.
    gone: bool,
    /// Its alerts have other fingerprints or ends.
    ends: bool,
    /// It has another threshold.
    counts: bool,
    /// It matches other events.
    looks: bool,
    /// Its `for`, groups or intervals changed.
    waits: bool,
}

impl RuleChange {
    fn between(before: &Rule, now: &Rule, intervals: bool) -> Self {
        let (was, is) = (Written::of(before), Written::of(now));
        Self {
            gone: false,
            ends: !was.ends_alike(&is),
            counts: !was.counts_alike(&is),
            looks: !was.looks_alike(&is),
            // An interval may change without the rule that names it.
            waits: !waits_alike(&before.policy, &now.policy)
                || intervals && (is_timed(&before.policy) || is_timed(&now.policy)),
        }
    }
}

fn waits_alike(a: &Policy, b: &Policy) -> bool {
    a.r#for == b.r#for
        && a.severity == b.severity
        && a.group_by == b.group_by
        && a.during_mute == b.during_mute
        && a.mute_time_intervals == b.mute_time_intervals
        && a.active_time_intervals == b.active_time_intervals
}

fn is_timed(policy: &Policy) -> bool {
    !policy.mute_time_intervals.is_empty() || !policy.active_time_intervals.is_empty()
}

impl Engine {
    /// Applies new rules.
    pub(super) fn set_rules(&mut self, rules: Arc<RuleSet>) {
        // Untracked alerts are sent by the rules that matched them.
        self.passed_on_due(true);
        let changes = self.changes(&rules);
        let changed = |name: &Arc<str>| changes.get(name).copied().unwrap_or_default();
        // Removed rules come first: their policy is still known here.
        self.drop_gone(&changes);
        self.remember(&|name| changed(name).gone || changed(name).ends);
        let before = std::mem::replace(&mut self.rules, rules);
        self.by_name = self
            .rules
            .rules()
            .iter()
            .enumerate()
            .map(|(position, rule)| (Arc::clone(&rule.name), position))
            .collect();
        // A rule that has returned has a policy of its own again.
        let by_name = &self.by_name;
        self.state
            .orphans
            .retain(|rule, _| !by_name.contains_key(rule));
        let all = self.rules.rules();
        let counts = |rule: &Arc<str>| all.iter().any(|r| r.name == *rule && r.threshold.is_some());
        self.state.windows.retain(counts);
        // The caches hold answers of the previous rules.
        self.watches.clear();
        self.watched.clear();
        self.forget_pasts();
        self.index_aliases();
        self.sort_absences(&|name| changed(name).ends);
        self.name_destinations();
        // The keys depend on the positions of the inhibit rules, so the index is rebuilt.
        self.index.sources.clear();
        self.index.targets.clear();
        // Unsent alerts are judged before anything is linked, or links to dropped alerts would
        // appear.
        self.rejudge_all(&changes);
        self.cut_links(before.surroundings());
        self.arm_all();
        self.relate_all();
        self.recheck_held(|_| true);
        // Before the first input there is no time from which to wait.
        if self.state.begun {
            self.watch_absences(false);
        }
    }

    /// Returns the effect of the reload on each rule that has alerts or absences.
    fn changes(&self, rules: &RuleSet) -> BTreeMap<Arc<str>, RuleChange> {
        let of_alerts = self.state.alerts.values().map(|alert| &alert.rule);
        let names: BTreeSet<&Arc<str>> = of_alerts.chain(self.state.absences.names()).collect();
        // Comparing the texts cannot miss a field, and reloads are rare.
        let intervals = |set: &RuleSet| format!("{:?}", set.surroundings().time_intervals);
        let intervals = intervals(&self.rules) != intervals(rules);
        let now: BTreeMap<&Arc<str>, &Arc<Rule>> = rules
            .rules()
            .iter()
            .map(|rule| (&rule.name, rule))
            .collect();
        let change = |name: &Arc<str>| match (self.rule(name), now.get(name)) {
            (Some(before), Some(now)) => RuleChange::between(before, now, intervals),
            (_, None) => RuleChange {
                gone: true,
                ..RuleChange::default()
            },
            // A removed rule has returned. Its alerts keep their earlier version.
            (None, Some(_)) => RuleChange::default(),
        };
        names
            .into_iter()
            .map(|name| (Arc::clone(name), change(name)))
            .collect()
    }

    /// Drops the unsent alerts of removed rules, and keeps the policy for those that were sent.
    fn drop_gone(&mut self, changes: &BTreeMap<Arc<str>, RuleChange>) {
        let is_gone = |alert: &Alert| changes.get(&alert.rule).is_some_and(|change| change.gone);
        let gone: Vec<(AlertId, Arc<str>, bool)> = self
            .state
            .alerts
            .iter()
            .filter(|(_, alert)| is_gone(alert))
            .map(|(id, alert)| (*id, Arc::clone(&alert.rule), alert.told_to.is_empty()))
            .collect();
        for (id, rule, untold) in gone {
            if untold {
                self.drop_alert(id, &Verdict::RuleRemoved);
            } else {
                // The policy in force until now still applies to the end.
                let policy = self.policy(&rule);
                self.state.orphans.insert(rule, policy);
            }
        }
    }

    /// Updates the destinations of incidents. New alerts go to the destinations in force, even in
    /// an existing incident; former destinations only receive ends. An alert that nobody accepted
    /// is sent if there is now a destination.
    fn name_destinations(&mut self) {
        let now = self.state.now;
        let incidents: Vec<u64> = self.state.incidents.keys().copied().collect();
        for id in incidents {
            let Some(incident) = self.state.incidents.get(&id) else {
                continue;
            };
            let named = if incident.is_for_digests() {
                self.digests()
            } else if self.by_name.contains_key(&incident.rule) {
                self.targets(&self.policy(&incident.rule))
            } else {
                Vec::new()
            };
            if named == incident.notify {
                continue;
            }
            let worst = incident.severity;
            let takes = |(_, least): &&(Name, Severity)| worst >= *least;
            let takers: Vec<Name> = named
                .iter()
                .filter(takes)
                .map(|(name, _)| name.clone())
                .collect();
            let before: Vec<Name> = incident
                .notify
                .iter()
                .filter(takes)
                .map(|(name, _)| name.clone())
                .collect();
            // A new destination hears of later alerts only: it never saw the beginning of these.
            let fresh: Vec<&Name> = takers
                .iter()
                .filter(|name| !before.contains(name))
                .collect();
            let mut unheard = false;
            for id in incident.alerts.iter().copied().collect::<Vec<_>>() {
                let Some(alert) = self.state.alerts.get_mut(&id).filter(|a| a.settled) else {
                    continue;
                };
                if !alert.told_to.is_empty() {
                    alert.late.add(fresh.iter().copied());
                // Nobody accepted it before, so it is not settled any more.
                } else if alert.lasting && alert.is_alive() && !takers.is_empty() {
                    (alert.settled, unheard) = (false, true);
                    self.index.spare.remove(&id);
                }
            }
            if let Some(incident) = self.state.incidents.get_mut(&id) {
                incident.notify = named;
                if unheard {
                    incident.change(now);
                }
            }
        }
    }

    /// Judges unsent alerts by the changed rules.
    fn rejudge_all(&mut self, changes: &BTreeMap<Arc<str>, RuleChange>) {
        let untold: Vec<(AlertId, RuleChange)> = self
            .state
            .alerts
            .iter()
            .filter(|(_, a)| a.told_to.is_empty() && !a.settled)
            .filter_map(|(id, a)| Some((*id, *changes.get(&a.rule)?)))
            .filter(|(_, c)| c.ends || c.counts || c.looks || c.waits)
            .collect();
        // Judging one alert may remove or merge others.
        for (id, change) in untold {
            let known = self
                .state
                .alerts
                .get(&id)
                .map(|alert| Arc::clone(&alert.rule));
            let Some(rule) = known.and_then(|name| self.rule(&name).cloned()) else {
                continue;
            };
            // Without a type there is no event to match: the alert is about its absence.
            let absence = rule.absent.is_some()
                || self
                    .state
                    .alerts
                    .get(&id)
                    .is_some_and(|alert| alert.event.kind.is_empty());
            if absence && change.ends {
                // The changed rule starts a new wait.
                self.drop_alert(id, &Verdict::RuleRemoved);
                continue;
            }
            if change.looks && !absence && !self.still_looked_for(id, &rule) {
                self.drop_alert(id, &Verdict::RuleRemoved);
                continue;
            }
            if change.ends || change.counts {
                self.place_anew(id, &rule);
            } else if change.waits {
                self.wait_anew(id, &rule);
            }
        }
    }

    /// Removes the members that the rule no longer matches, and returns whether any is left.
    fn still_looked_for(&mut self, id: AlertId, rule: &Rule) -> bool {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return false;
        };
        // An event kept without its payload cannot be judged completely: it stays.
        let fits = |event: &Event| {
            event.raw.is_null()
                || rule.matcher.matches(event)
                    && rule
                        .when
                        .as_ref()
                        .is_none_or(|when| when.holds(event) != Ok(false))
        };
        let members = std::mem::take(&mut alert.members);
        let one = members.len() == 1;
        let (kept, gone): (Vec<Member>, Vec<Member>) = members
            .into_iter()
            .partition(|member| fits(&event_of(&alert.event, member, one)));
        alert.members = kept;
        self.index.forget(id, &gone, &alert.members);
        !alert.members.is_empty()
    }

    /// Lets an unsent alert wait by the present rule, from its beginning.
    fn wait_anew(&mut self, id: AlertId, rule: &Rule) {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        // The message is still to be made, so it can follow the present rule.
        alert.group = group(rule, &alert.event);
        alert.severity = severity(rule, &alert.event);
        // The wait counts from the beginning: a shorter `for` may already be over.
        match alert.state {
            AlertState::Firing | AlertState::Pending { .. } if alert.lasting => {
                let since = match alert.state {
                    AlertState::Pending { since } => since,
                    _ => alert.opened(),
                };
                self.pend(id, since);
            }
            AlertState::Firing => {
                let incident = alert.incident.take();
                alert.quiet = None;
                self.leave(id, incident);
                self.release(id);
            }
            _ => {}
        }
    }

    /// Splits an unsent alert, and sorts its members by the fingerprints, threshold and waits of
    /// the present rule.
    fn place_anew(&mut self, id: AlertId, rule: &Arc<Rule>) {
        let Some(alert) = self.state.alerts.get(&id).cloned() else {
            return;
        };
        self.unplace(id, &alert);
        let one = alert.members.len() == 1;
        // The first new alert keeps the number, and with it the events that wait for an outcome.
        let mut own = Some(id);
        for member in alert.members.iter().filter(|member| member.is_open()) {
            let event = event_of(&alert.event, member, one);
            let lasting = match rule.resolve {
                Resolve::Implied => event.phase == Phase::Open,
                Resolve::Never => false,
                Resolve::When(_) => true,
            };
            let (key, part) = match (&event.condition, &rule.resolve) {
                (Some(condition), Resolve::Implied) if lasting => {
                    (subject_key(&event, condition), condition.sub_id.clone())
                }
                _ if lasting => (self.own_key(rule, &event), None),
                _ => (
                    format!("{}|{}", rule.name, self.fingerprint(rule, &event)),
                    None,
                ),
            };
            let member = Member {
                key,
                part,
                value: distinct(rule, &event),
                ..member.clone()
            };
            let fingerprint = self.fingerprint(rule, &event);
            let known = (Arc::clone(&rule.name), fingerprint.clone());
            let joined = self.index.by_fingerprint.get(&known).copied();
            // Members may join only an alert that was not sent and has the same kind of end.
            let joined = joined.filter(|other| {
                let other = self.state.alerts.get(other);
                other.is_some_and(|a| a.told_to.is_empty() && !a.settled && a.lasting == lasting)
            });
            let place = match joined {
                Some(other) => {
                    self.index.note(other, &member);
                    if let Some(other) = self.state.alerts.get_mut(&other) {
                        other.members.push(member);
                    }
                    other
                }
                None => {
                    let new = own.take().unwrap_or_else(|| self.next_id());
                    let first = new == id;
                    self.index.note(new, &member);
                    self.index.by_fingerprint.insert(known, new);
                    let placed = Alert {
                        fingerprint,
                        lasting,
                        state: AlertState::Collecting,
                        severity: severity(rule, &event),
                        group: group(rule, &event),
                        members: vec![member],
                        event: Arc::new(event),
                        incident: None,
                        quiet: None,
                        waiting: if first { alert.waiting } else { 0 },
                        tickets: if first {
                            alert.tickets.clone()
                        } else {
                            Vec::new()
                        },
                        sources: if first {
                            alert.sources.clone()
                        } else {
                            BTreeSet::new()
                        },
                        behind: if first {
                            alert.behind.clone()
                        } else {
                            Vec::new()
                        },
                        late: NameSet::default(),
                        sent: None,
                        timer: None,
                        ..alert.clone()
                    };
                    self.state.alerts.insert(new, placed);
                    new
                }
            };
            self.count_anew(place, rule);
        }
        // No new alert has taken the number, so others inherit its events.
        if own.is_some() {
            self.hand_over(id, alert, rule);
        }
    }

    /// Removes an alert from the indexes and its incident, but not from the state.
    fn unplace(&mut self, id: AlertId, alert: &Alert) {
        let place = (
            Self::place(&alert.rule, alert.past),
            alert.fingerprint.clone(),
        );
        if self.index.by_fingerprint.get(&place) == Some(&id) {
            self.index.by_fingerprint.remove(&place);
        }
        self.index.forget(id, &alert.members, &[]);
        self.index.held.remove(&id);
        if let Some(due) = alert.timer {
            self.index.timers.remove(&(due, super::Timer::Alert(id)));
        }
        self.leave(id, alert.incident);
    }

    /// Moves the events of a split alert to the alert that took its members.
    fn hand_over(&mut self, id: AlertId, mut alert: Alert, rule: &Arc<Rule>) {
        let heir = alert.members.iter().find_map(|member| {
            let event = event_of(&alert.event, member, alert.members.len() == 1);
            let place = (Arc::clone(&rule.name), self.fingerprint(rule, &event));
            self.index.by_fingerprint.get(&place).copied()
        });
        // Events cannot wait with an alert that was sent or is below its threshold.
        let pending = |heir: &Alert| !heir.settled && heir.state != AlertState::Collecting;
        let heir = heir.filter(|heir| self.state.alerts.get(heir).is_some_and(pending));
        if let Some(heir_id) = heir
            && let Some(heir) = self.state.alerts.get_mut(&heir_id)
        {
            let (from, to) = ((id, &mut alert), (heir_id, heir));
            self.state.counters.hand_over(from, to);
            // The events are counted with the heir now.
            if let Some(gone) = self.state.alerts.get_mut(&id) {
                (gone.waiting, gone.tickets) = (0, Vec::new());
            }
        }
        self.drop_alert(id, &Verdict::RuleRemoved);
    }

    /// Decides whether a sorted alert reaches the threshold of its rule, and since when.
    fn count_anew(&mut self, id: AlertId, rule: &Rule) {
        let now = self.state.now;
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        let need = rule
            .threshold
            .as_ref()
            .map_or(1, |threshold| threshold.count as usize);
        // As in `recount`, openings before the window no longer count.
        let lately = |m: &&Member| {
            rule.threshold
                .as_ref()
                .is_none_or(|t| now.since(m.opened) <= t.window)
        };
        let since = alert.members.iter().filter(lately).map(|m| m.opened);
        // A threshold is reached with the newest member, any other alert with its oldest.
        let since = if rule.threshold.is_some() {
            since.max()
        } else {
            since.min()
        };
        if alert.open_count() >= need
            && let Some(since) = since
        {
            alert.state = AlertState::Pending { since };
            // An event without an end has nothing to wait for.
            if !alert.lasting {
                self.fire(id);
            }
            return;
        }
        alert.state = AlertState::Collecting;
        let verdict = Verdict::BelowThreshold {
            seen: alert.open_count(),
            need: u32::try_from(need).unwrap_or(u32::MAX),
            within: rule
                .threshold
                .as_ref()
                .map(|t| t.window)
                .unwrap_or_default(),
        };
        // Its events were pending and are decided now; more of them may come.
        let reason = verdict.suppression().unwrap_or("dropped");
        self.state.counters.alert_dropped(id, alert, reason);
        if !alert.lasting {
            self.drop_alert(id, &verdict);
        }
    }

    /// Removes links that the inhibit rules in force no longer justify. Such alerts are sent after
    /// their own `for`, from their beginning.
    fn cut_links(&mut self, before: &Surroundings) {
        let now = self.rules.surroundings();
        // Comparing the texts is cheap and cannot miss a field.
        let written = |s: &Surroundings| format!("{:?}{:?}", s.inhibit_rules, s.topology);
        if written(before) == written(now) {
            return;
        }
        let linked: Vec<AlertId> = self
            .state
            .alerts
            .iter()
            .filter(|(_, a)| !a.sources.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for id in linked {
            self.cut_if_unexplained(id, Alert::opened);
        }
    }

    /// Removes unjustified links of an alert. An alert without any link left waits for its own
    /// `for` from `since`.
    pub(super) fn cut_if_unexplained(&mut self, id: AlertId, since: impl Fn(&Alert) -> Timestamp) {
        let Some(below) = self.state.alerts.get(&id) else {
            return;
        };
        let unexplained = |source: &&AlertId| !self.is_explained(**source, below);
        let cut: Vec<AlertId> = below.sources.iter().filter(unexplained).copied().collect();
        // Every source is checked first: one that remains keeps the alert suppressed.
        cut.iter().for_each(|source| self.cut(*source, id));
        let free = self.state.alerts.get(&id).filter(|a| a.sources.is_empty());
        // Without a change the alert waits as before, and its timer must not start again.
        let Some(alert) = free.filter(|_| !cut.is_empty()) else {
            return;
        };
        let held = alert
            .quiet
            .as_ref()
            .is_some_and(|q| matches!(q.by, SuppressedBy::Source(_)));
        match alert.state {
            AlertState::Firing if alert.lasting && held => {
                let (rule, since) = (Arc::clone(&alert.rule), since(alert));
                self.pend(id, since);
                let until = since + self.policy(&rule).r#for;
                self.decide(&[id], None, Some(&rule), Verdict::Pending { until });
                self.arm_alert(id);
            }
            AlertState::Firing | AlertState::Flapping if held => self.release(id),
            _ => {}
        }
    }

    /// Returns whether the inhibit rules in force make one alert inhibit the other.
    fn is_explained(&self, source: AlertId, below: &Alert) -> bool {
        let rules = &self.rules.surroundings().inhibit_rules;
        let above = self.state.alerts.get(&source);
        let fits = |rule: &InhibitRule| above.is_some_and(|above| self.fits(rule, above, below));
        rules.iter().any(fits)
    }

    /// Links alerts by the rules in force. Existing links stay while both sides last.
    fn relate_all(&mut self) {
        let (told, open): (Vec<_>, Vec<_>) = self
            .state
            .alerts
            .iter()
            .map(|(id, alert)| (*id, alert.settled))
            .partition(|(_, settled)| *settled);
        told.into_iter()
            .chain(open)
            .for_each(|(id, _)| self.relate(id));
    }
}

/// Returns the event of a member. An alert with several members keeps only the first event.
pub(super) fn event_of(event: &Event, member: &Member, one: bool) -> Event {
    let Some(subject) = member
        .subjects
        .first()
        .filter(|_| !one && event.device.is_some())
    else {
        return event.clone();
    };
    // The device, the site, the condition and the time differ; everything else is that of the first
    // event.
    Event {
        device: Some(Device {
            mac: subject.device_mac.clone(),
            name: subject.device.clone(),
            kind: subject.device_type.clone(),
            model: subject.model.clone(),
            port: subject.part.clone(),
            note: subject.note.clone(),
        }),
        site: Site {
            id: subject.site_id.clone(),
            name: subject.site.clone(),
        },
        condition: event.condition.as_ref().map(|condition| Condition {
            sub_id: member.part.clone(),
            ..condition.clone()
        }),
        time: member.starts_at,
        ..event.clone()
    }
}
