//! From alerts to messages: firing, ending, grouping, and the content for each destination.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::alert::{Alert, AlertId, AlertState, Member, SuppressedBy};
use super::decision::Verdict;
use super::incident::{Incident, Sample};
use super::table::NameSet;
use super::{Engine, Timer};
use crate::model::{Event, Name, Notification, Phase, Reason, Severity};

/// The reason an incident sends a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// Something changed.
    Change,
    /// It is still open.
    Reminder,
    /// Some of its alerts became stale. This has a message of its own, since it is neither a
    /// beginning nor an end.
    Stale,
    /// Some of its alerts no longer flap.
    Stable,
}

impl Trigger {
    /// Returns whether the message is about a few alerts only, and not about other changes.
    const fn is_aside(self) -> bool {
        matches!(self, Self::Stale | Self::Stable)
    }

    /// Returns whether the message is about this alert.
    const fn concerns(self, alert: &Alert) -> bool {
        match self {
            Self::Change | Self::Reminder => true,
            Self::Stale => alert.stale,
            Self::Stable => alert.stable,
        }
    }
}

impl Engine {
    /// Handles an alert's timer.
    pub(super) fn alert_due(&mut self, id: AlertId) {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        alert.timer = None;
        let rule = Arc::clone(&alert.rule);
        let now = self.state.now;
        let policy = self.policy(&rule);
        let Some(alert) = self.state.alerts.get(&id) else {
            return;
        };
        // Several reasons may be due at once; the order of the arms below decides.
        let stale = policy
            .stale_after
            .is_some_and(|after| alert.last_event + after <= now);
        let lasted = match alert.state {
            // A device that is down on purpose may stay silent for longer than `stale_after`.
            AlertState::Pending { since } if stale => {
                self.pending_until(alert, since, &policy) <= now
            }
            AlertState::Pending { since } => since + policy.r#for <= now,
            _ => false,
        };
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        let quiet_ends = alert
            .quiet
            .as_ref()
            .and_then(|quiet| quiet.until)
            .is_some_and(|until| until <= now);
        let hidden = alert
            .quiet
            .as_ref()
            .is_some_and(|quiet| matches!(quiet.by, SuppressedBy::Maintenance(_)));
        let calm = alert
            .flap
            .as_ref()
            .is_some_and(|flap| flap.calm_at(&policy) <= now);
        match alert.state {
            AlertState::Pending { since } if lasted => self.mature(id, since),
            AlertState::Closing { .. } => self.finish(id),
            AlertState::Collecting => self.drop_alert(
                id,
                &Verdict::BelowThreshold {
                    seen: 0,
                    need: 0,
                    within: policy.cooldown,
                },
            ),
            AlertState::Flapping if calm => self.calm(id),
            // An alert without an end is over with the maintenance that suppressed it.
            AlertState::Firing if quiet_ends && hidden && !alert.lasting => self.forget(id),
            AlertState::Firing | AlertState::Flapping if quiet_ends => self.release(id),
            AlertState::Firing if !alert.lasting => self.forget(id),
            AlertState::Pending { .. } | AlertState::Firing | AlertState::Flapping => {
                alert.stale = true;
                self.finish(id);
            }
            AlertState::Ended => {}
        }
    }

    /// Removes an alert without an end after its cooldown, without a message.
    pub(super) fn forget(&mut self, id: AlertId) {
        let incident = self
            .state
            .alerts
            .get(&id)
            .and_then(|a| self.state.incidents.get(&a.incident?))
            .map(|incident| incident.key.clone());
        let Some(mut alert) = self.remove_alert(id) else {
            return;
        };
        if let Some(quiet) = &alert.quiet {
            let reason = quiet.by.suppression();
            self.state.counters.alert_dropped(id, &mut alert, reason);
        }
        let collectors = &mut self.state.collectors;
        let collected = incident.is_some_and(|incident| {
            collectors.add_more(&incident, alert.more_since, &alert.told_to)
        });
        // Only one place keeps the count, or it would be reported twice.
        if !collected {
            self.keep_count(&alert);
        }
    }

    /// Keeps the number of suppressed events for the next alert with the same fingerprint.
    pub(super) fn keep_count(&mut self, alert: &Alert) {
        if alert.more_since > 0 && self.state.unsaid.len() < self.limits.windows {
            let key = format!("{}\u{1f}{}", alert.rule, alert.fingerprint);
            self.state.unsaid.insert(key, alert.more_since);
        }
    }

    /// Handles an incident's timer.
    pub(super) fn incident_due(&mut self, id: u64) {
        let Some(incident) = self.state.incidents.get_mut(&id) else {
            return;
        };
        incident.timer = None;
        self.withdraw(id);
        let Some(incident) = self.state.incidents.get(&id) else {
            return;
        };
        let changes = incident.changed.is_some();
        let policy = self.policy(&incident.rule);
        let reminder = incident
            .deadline(&policy, self.reminds(id))
            .is_some_and(|due| due <= self.state.now);
        if !changes && !reminder {
            // The alerts that wanted the message are suppressed now.
            return self.arm_incident(id);
        }
        self.flush(
            id,
            if changes {
                Trigger::Change
            } else {
                Trigger::Reminder
            },
        );
    }

    /// Fires an alert that has passed its `for`.
    pub(super) fn fire(&mut self, id: AlertId) {
        if let Some(alert) = self.state.alerts.get_mut(&id) {
            alert.state = AlertState::Firing;
        }
        self.release(id);
    }

    /// Lets an alert join its incident, whose message waits for `group_wait`.
    pub(super) fn join(&mut self, id: AlertId) {
        let now = self.state.now;
        let Some(alert) = self.state.alerts.get(&id) else {
            return;
        };
        let (rule, group, severity) =
            (Arc::clone(&alert.rule), alert.group.clone(), alert.severity);
        let mut sample = Sample::of(&alert.event);
        if alert.event.phase == Phase::Close {
            // The rule matches the end itself, so the message is not about the condition.
            sample.condition = None;
        }
        // Alerts for digests form incidents of their own, or the others would be sent early.
        let for_digests = alert.for_digests;
        let mut identity = group
            .iter()
            .map(|(_, identity, _)| identity.as_str())
            .collect::<Vec<_>>()
            .join("\u{1f}");
        if for_digests {
            identity.push_str(super::incident::DIGESTS);
        }
        let known = self
            .index
            .by_group
            .get(&(Arc::clone(&rule), identity.clone()))
            .copied();
        let incident = match known {
            Some(incident) => {
                if let Some(known) = self.state.incidents.get_mut(&incident) {
                    known.sample = sample;
                }
                incident
            }
            None => self.new_incident(&rule, identity, group, sample, for_digests),
        };
        if let Some(known) = self.state.incidents.get_mut(&incident) {
            known.sample_of = Some(id);
            known.alerts.insert(id);
            known.severity = known.severity.max(severity);
            known.change(now);
        }
        if let Some(alert) = self.state.alerts.get_mut(&id) {
            alert.incident = Some(incident);
        }
        self.arm_alert(id);
        self.arm_incident(incident);
    }

    fn new_incident(
        &mut self,
        rule: &Arc<str>,
        identity: String,
        group: Vec<(String, String, String)>,
        sample: Sample,
        for_digests: bool,
    ) -> u64 {
        let id = self.next_id();
        let policy = self.policy(rule);
        // Rule, group and time name the incident, so that a refold gives it the same name.
        let now = self.state.now.millis().to_le_bytes();
        let key = short(&[rule.as_bytes(), identity.as_bytes(), &now], 10);
        let incident = Incident {
            key,
            rule: Arc::clone(rule),
            identity: identity.clone(),
            group: group
                .into_iter()
                .map(|(field, _, label)| (field, label))
                .collect(),
            alerts: BTreeSet::new(),
            told: NameSet::default(),
            notify: if for_digests {
                self.digests()
            } else {
                self.targets(&policy)
            },
            severity: Severity::Info,
            sent_severity: None,
            last_message: None,
            passed: None,
            changed: None,
            sample,
            sample_of: None,
            timer: None,
        };
        self.state.incidents.insert(id, incident);
        self.index.by_group.insert((Arc::clone(rule), identity), id);
        id
    }

    /// Raises the severity of an alert's incident: destinations that accept only this severity are
    /// notified now.
    pub(super) fn escalate(&mut self, alert: AlertId, id: u64, severity: Severity) {
        let now = self.state.now;
        let (Some(alert), Some(incident)) = (
            self.state.alerts.get_mut(&alert),
            self.state.incidents.get_mut(&id),
        ) else {
            return;
        };
        incident.severity = incident.severity.max(severity);
        // A destination that was not notified of an alert without an end is in no cooldown.
        if !alert.lasting && incident.is_news_to_some(alert) {
            alert.settled = false;
        }
        if incident.is_owed(alert) {
            incident.change(now);
            self.arm_incident(id);
        }
    }

    /// Ends an alert, at once or after the rule's `keep_firing_for`.
    pub(super) fn end_alert(&mut self, id: AlertId, event: Option<&Event>) {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        let rule = Arc::clone(&alert.rule);
        let told = !alert.told_to.is_empty();
        let policy = self.policy(&rule);
        let keep = policy.keep_firing_for;
        // The policy needed the whole engine, so the alert is looked up again.
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        if told && !keep.is_zero() && alert.state == AlertState::Firing {
            let until = self.state.now + keep;
            alert.state = AlertState::Closing { until };
            self.decide(&[id], event, Some(&rule), Verdict::Closing { until });
            self.arm_alert(id);
            return;
        }
        let verdict = match (told, alert.settled) {
            (true, _) => Verdict::Ended,
            (false, true) => Verdict::NobodyToTell,
            (false, false) => Verdict::EndedUntold,
        };
        self.decide(&[id], event, Some(&rule), verdict);
        self.finish(id);
    }

    /// Finishes an alert: its end is sent if it was sent; otherwise it is removed.
    pub(super) fn finish(&mut self, id: AlertId) {
        // Members that are still open leave first and count towards the next alert.
        self.gather(id);
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        let incident = alert.incident;
        if alert.told_to.is_empty() {
            let inhibited = !alert.sources.is_empty();
            if let Some(mut alert) = self.remove_alert(id) {
                let quiet = alert.quiet.as_ref().map(|quiet| quiet.by.suppression());
                let reason = if inhibited {
                    "inhibited"
                } else {
                    quiet.unwrap_or("ended_untold")
                };
                self.state.counters.alert_dropped(id, &mut alert, reason);
            }
        } else {
            self.let_go(id);
            let Some(alert) = self.state.alerts.get_mut(&id) else {
                return;
            };
            alert.state = AlertState::Ended;
            alert.quiet = None;
            self.index.held.remove(&id);
            self.arm_alert(id);
        }
        let Some(incident) = incident else { return };
        let now = self.state.now;
        // The last end is sent at once; earlier ends wait for `group_wait`.
        let over = self.is_over(incident);
        let told = self
            .state
            .alerts
            .get(&id)
            .map(|alert| (alert.stale, alert.stable));
        match told {
            Some((true, _)) => self.flush(incident, Trigger::Stale),
            Some((false, true)) if !over => self.flush(incident, Trigger::Stable),
            _ if over => {
                self.withdraw(incident);
                self.flush(incident, Trigger::Change);
            }
            Some(_) => {
                if let Some(known) = self.state.incidents.get_mut(&incident) {
                    known.change(now);
                }
                self.arm_incident(incident);
            }
            None => {}
        }
    }

    /// Returns whether nothing of an incident is open any more.
    fn is_over(&self, incident: u64) -> bool {
        let Some(known) = self.state.incidents.get(&incident) else {
            return false;
        };
        let lasts = |id: &AlertId| {
            self.state
                .alerts
                .get(id)
                .filter(|a| a.lasting)
                .map(|alert| alert.state != AlertState::Ended)
        };
        // Older alerts mostly end first. With thousands of alerts, the newest one decides soonest.
        if known.alerts.last().and_then(lasts) == Some(true) {
            return false;
        }
        let mut ended = false;
        known.alerts.iter().filter_map(lasts).all(|on| {
            ended |= !on;
            !on
        }) && ended
    }

    /// Moves the open members of an ending threshold alert to a new alert, where they count towards
    /// the next threshold.
    fn gather(&mut self, id: AlertId) {
        let now = self.state.now;
        let Some(rule) = self.state.alerts.get(&id).map(|a| Arc::clone(&a.rule)) else {
            return;
        };
        let Some(threshold) = self.threshold(&rule) else {
            return;
        };
        let Some(alert) = self
            .state
            .alerts
            .get_mut(&id)
            .filter(|a| a.lasting && !a.stale)
        else {
            return;
        };
        // All members have ended, which is the usual case.
        if !alert.members.iter().any(Member::is_open) {
            return;
        }
        let (rest, ended): (Vec<Member>, Vec<Member>) = std::mem::take(&mut alert.members)
            .into_iter()
            .partition(Member::is_open);
        // The ended members stay, since the message about the end names them.
        alert.members = ended;
        alert.left = rest.len() as u64;
        self.index.forget(id, &rest, &alert.members);
        let members: Vec<Member> = rest
            .into_iter()
            .filter(|m| now.since(m.opened) <= threshold.window)
            .collect();
        // Only members within the window can count again.
        if members.is_empty() {
            return;
        }
        let next = Alert {
            state: AlertState::Collecting,
            members,
            incident: None,
            told_to: NameSet::default(),
            late: NameSet::default(),
            past: None,
            settled: false,
            sent: None,
            left: 0,
            more: 0,
            more_since: 0,
            waiting: 0,
            tickets: Vec::new(),
            flap: None,
            stable: false,
            quiet: None,
            related: false,
            explained: false,
            sources: BTreeSet::new(),
            behind: Vec::new(),
            refuted: None,
            evidence: None,
            timer: None,
            ..alert.clone()
        };
        // There is no room: the members are lost, and later events count anew.
        if self.state.alerts.len() >= self.limits.alerts {
            return;
        }
        let id = self.next_id();
        next.members
            .iter()
            .for_each(|member| self.index.note(id, member));
        self.index
            .by_fingerprint
            .insert((rule, next.fingerprint.clone()), id);
        self.state.alerts.insert(id, next);
        self.arm_alert(id);
    }

    /// Removes an alert from its incident, and the incident if it is empty.
    pub(super) fn leave(&mut self, alert: AlertId, incident: Option<u64>) {
        let Some(id) = incident else { return };
        let Some(known) = self.state.incidents.get_mut(&id) else {
            return;
        };
        known.alerts.remove(&alert);
        if known.alerts.is_empty() {
            if let Some(due) = known.timer {
                self.index.timers.remove(&(due, Timer::Incident(id)));
            }
            self.index
                .by_group
                .remove(&(Arc::clone(&known.rule), known.identity.clone()));
            self.state.incidents.remove(&id);
            return;
        }
        self.weigh(id);
        let Some(known) = self.state.incidents.get(&id) else {
            return;
        };
        // The newest alerts come first: old ones seldom wait, and there may be thousands.
        let mut newest = known
            .alerts
            .iter()
            .rev()
            .filter_map(|id| self.state.alerts.get(id));
        // A change that only the removed alert had needs no message any more.
        let owed = known.changed.is_none() || newest.any(|a| known.is_owed(a) && !a.is_held());
        if let (false, Some(known)) = (owed, self.state.incidents.get_mut(&id)) {
            known.changed = None;
        }
        self.arm_incident(id);
    }

    /// Lowers the severity of an incident to that of its messages and open alerts.
    fn weigh(&mut self, id: u64) {
        let Some(known) = self.state.incidents.get(&id) else {
            return;
        };
        let mut newest = known
            .alerts
            .iter()
            .rev()
            .filter_map(|id| self.state.alerts.get(id));
        let lasts = |a: &Alert| a.state != AlertState::Ended;
        // The usual case needs no pass over all alerts.
        if known.sent_severity >= Some(known.severity)
            || newest.any(|a| lasts(a) && a.severity >= known.severity)
        {
            return;
        }
        let all = || self.members(id);
        let most = all().filter(|a| lasts(a)).map(|a| a.severity).max();
        let most = most.or_else(|| all().map(|a| a.severity).max());
        let severity = most.max(known.sent_severity);
        if let (Some(severity), Some(known)) = (severity, self.state.incidents.get_mut(&id)) {
            known.severity = severity;
        }
    }

    /// Returns whether an incident has something to remind of: it was sent and is still open.
    pub(super) fn reminds(&self, id: u64) -> bool {
        let Some(incident) = self.state.incidents.get(&id) else {
            return false;
        };
        let names = || incident.notify.iter().map(|(name, _)| name);
        self.members(id).any(|a| {
            let knows = || names().any(|name| a.told_to.contains(name));
            a.lasting && a.is_alive() && a.state != AlertState::Flapping && knows()
        })
    }

    pub(super) fn members(&self, incident: u64) -> impl Iterator<Item = &Alert> {
        self.state
            .incidents
            .get(&incident)
            .into_iter()
            .flat_map(|i| &i.alerts)
            .filter_map(|id| self.state.alerts.get(id))
    }

    /// Sends an incident's news, to each destination what it has not received yet.
    pub(super) fn flush(&mut self, id: u64, cause: Trigger) {
        self.weigh(id);
        let Some(incident) = self.state.incidents.get(&id) else {
            return;
        };
        let rule = Arc::clone(&incident.rule);
        // Destinations that were notified but are no longer named still receive the end.
        let mut destinations: Vec<(Name, Severity)> = incident.notify.clone();
        for name in self.members(id).flat_map(|a| a.told_to.iter()) {
            if !destinations.iter().any(|(known, _)| known == name) {
                // It receives only the ends of alerts it was notified of.
                destinations.push((name.clone(), Severity::Critical));
            }
        }
        let hushed: BTreeSet<AlertId> = incident
            .alerts
            .iter()
            .copied()
            .filter(|id| self.is_hushed(*id))
            .collect();
        // Destinations with the same content share one message.
        let mut parts: BTreeMap<MessagePart, Vec<Name>> = BTreeMap::new();
        for (name, least) in destinations {
            for part in self.parts(id, &name, least, cause, &hushed) {
                parts.entry(part).or_default().push(name.clone());
            }
        }
        let events = |part: &MessagePart| {
            part.alerts()
                .filter_map(|id| self.state.alerts.get(&id))
                .map(Alert::waits_with)
                .sum::<u64>()
        };
        // The notifications are made before the alerts are marked as sent, which changes their
        // content.
        let mut notifications: Vec<(Vec<AlertId>, u64, Notification)> = parts
            .iter()
            .filter_map(|(part, to)| {
                Some((
                    part.alerts().collect(),
                    events(part),
                    self.notification(id, part, to.clone())?,
                ))
            })
            .collect();
        let now = self.state.now;
        for (part, to) in &parts {
            for alert in &part.news {
                if let Some(alert) = self.state.alerts.get_mut(alert) {
                    alert.told_to.add(to);
                    alert.sent = Some(now);
                    if let (Reason::Flapping, Some(flap)) = (part.reason, &mut alert.flap) {
                        flap.told.extend(to.iter().cloned());
                    }
                }
            }
        }
        let spoken: BTreeSet<AlertId> = parts.keys().flat_map(MessagePart::alerts).collect();
        self.settle_incident(id, cause, &spoken, parts.into_values().flatten());
        // At one instant ends come first, so that the last message about a device is its present
        // state.
        notifications.sort_by(|(_, _, a), (_, _, b)| {
            (a.reason.begins(), &a.to, a.reason).cmp(&(b.reason.begins(), &b.to, b.reason))
        });
        for (alerts, events, notification) in notifications {
            if let Some(notification) = self.collect(&alerts, notification, events) {
                self.decide(
                    &alerts,
                    None,
                    Some(&rule),
                    Verdict::Notify(Box::new(notification)),
                );
            }
        }
    }

    /// Returns the parts of a message for one destination: news, ends, flapping, stable.
    fn parts(
        &self,
        id: u64,
        name: &Name,
        least: Severity,
        cause: Trigger,
        hushed: &BTreeSet<AlertId>,
    ) -> Vec<MessagePart> {
        let Some(incident) = self.state.incidents.get(&id) else {
            return Vec::new();
        };
        let known = |a: &Alert| a.told_to.contains(name);
        // Suppressed alerts are left out, except from parts about their end.
        let pick = |wanted: &dyn Fn(&Alert) -> bool, heard: bool| -> Vec<AlertId> {
            let fits = |id: &AlertId| {
                (heard || !hushed.contains(id))
                    && self
                        .state
                        .alerts
                        .get(id)
                        .is_some_and(|a| cause.concerns(a) && wanted(a))
            };
            incident.alerts.iter().copied().filter(fits).collect()
        };
        // A destination that is no longer named receives only the ends of alerts it knows.
        let named = incident.notify.iter().any(|(target, _)| target == name);
        let wanted = !cause.is_aside() && incident.severity >= least && named;
        let flaps = |a: &Alert| a.state == AlertState::Flapping;
        let wanted = |a: &Alert| wanted && !a.late.contains(name);
        let untold =
            |a: &Alert| wanted(a) && a.is_alive() && !known(a) && (a.lasting || !a.settled);
        let news = pick(&|a| untold(a) && !flaps(a), false);
        let flapping = pick(
            &|a| {
                wanted(a)
                    && flaps(a)
                    && a.flap
                        .as_ref()
                        .is_some_and(|flap| !flap.told.contains(name))
            },
            false,
        );
        let ends = pick(
            &|a| a.state == AlertState::Ended && known(a) && !a.stable,
            true,
        );
        // A removed device has not recovered, so it has a message of its own.
        let (removed, ends): (Vec<_>, Vec<_>) = ends
            .into_iter()
            .partition(|id| self.state.alerts.get(id).is_some_and(Alert::is_removed));
        let heard = |a: &Alert| a.flap.as_ref().is_some_and(|f| f.told.contains(name));
        let stable = pick(
            &|a| a.stable && known(a) && (heard(a) || a.state == AlertState::Ended),
            true,
        );
        let still = match cause {
            Trigger::Reminder => pick(
                &|a| named && a.lasting && a.is_alive() && known(a) && !flaps(a),
                false,
            ),
            Trigger::Change | Trigger::Stale | Trigger::Stable => Vec::new(),
        };
        // Only when nothing is left may a message say that the incident is resolved.
        let over = !self.members(id).any(|a| a.lasting && a.is_alive());
        let begins = match incident.told.contains(name) {
            _ if self
                .rule(&incident.rule)
                .is_some_and(|rule| rule.absent.is_some()) =>
            {
                Reason::Absent
            }
            true => Reason::NewEvents,
            false => Reason::First,
        };
        let ended = match over {
            _ if cause == Trigger::Stale => Reason::Stale,
            true => Reason::Resolved,
            false => Reason::Recovered,
        };
        let part = |reason, news, ends, still| MessagePart {
            reason,
            news,
            ends,
            still,
        };
        let none = Vec::new;
        // Beginnings and ends are separate messages, so that a filter on the reason finds each.
        let mut parts = vec![
            part(begins, news, none(), none()),
            part(ended, none(), ends, none()),
            part(ended, none(), removed, none()),
            part(Reason::Repeat, none(), none(), still),
            part(Reason::Flapping, flapping, none(), none()),
            part(Reason::Stable, none(), stable, none()),
        ];
        parts.retain(|part| part.alerts().next().is_some());
        parts
    }

    /// Records that a message was sent, and removes alerts that have ended.
    fn settle_incident(
        &mut self,
        id: u64,
        cause: Trigger,
        spoken: &BTreeSet<AlertId>,
        to: impl Iterator<Item = Name>,
    ) {
        let now = self.state.now;
        let Some(incident) = self.state.incidents.get_mut(&id) else {
            return;
        };
        if !cause.is_aside() {
            incident.changed = None;
        }
        if !spoken.is_empty() {
            incident.last_message = Some(now);
            incident.sent_severity = Some(incident.severity);
            incident.told.add(&to.collect::<Vec<_>>());
        // A suppressed reminder counts, or the timer would fire again at once.
        } else if cause == Trigger::Reminder {
            incident.passed = Some(now);
        }
        let alerts: Vec<AlertId> = incident.alerts.iter().copied().collect();
        for alert_id in alerts {
            let heard = self
                .state
                .alerts
                .get(&alert_id)
                .is_some_and(|a| self.is_heard(a));
            let Some(alert) = self.state.alerts.get_mut(&alert_id) else {
                continue;
            };
            if !cause.concerns(alert) {
                continue;
            }
            if spoken.contains(&alert_id) {
                alert.more_since = 0;
            }
            // The first message decides the outcome of the events that wait with the alert.
            let counters = &mut self.state.counters;
            if heard {
                counters.alert_notified(alert_id, alert);
            } else {
                counters.alert_dropped(alert_id, alert, "nobody_to_tell");
            }
            alert.settled = true;
            if alert.is_spare() {
                self.index.spare.insert(alert_id);
            }
            if alert.stable {
                (alert.stable, alert.flap) = (false, None);
            }
            if alert.state == AlertState::Ended {
                self.remove_alert(alert_id);
            } else {
                self.arm_alert(alert_id);
            }
        }
        self.arm_incident(id);
    }
}

/// The content for one destination: news, ends and open alerts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MessagePart {
    pub(super) reason: Reason,
    pub(super) news: Vec<AlertId>,
    pub(super) ends: Vec<AlertId>,
    pub(super) still: Vec<AlertId>,
}

impl MessagePart {
    pub(super) fn alerts(&self) -> impl Iterator<Item = AlertId> + '_ {
        self.news
            .iter()
            .chain(&self.ends)
            .chain(&self.still)
            .copied()
    }
}

/// Returns a short name derived from the parts; equal parts give equal names.
pub(super) fn short(parts: &[&[u8]], letters: usize) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut hash = Sha256::new();
    for part in parts {
        // The lengths keep "ab", "c" apart from "a", "bc".
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let letter = |byte: &u8| {
        ALPHABET
            .get(usize::from(*byte) % ALPHABET.len())
            .copied()
            .map_or('0', char::from)
    };
    hash.finalize().iter().take(letters).map(letter).collect()
}
