//! Openings: new alerts and repeated events, for conditions, thresholds and events without an end.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::alert::{Alert, AlertId, AlertState, Member, SuppressedBy};
use super::decision::Verdict;
use super::outcomes::Effects;
use super::table::NameSet;
use super::{Engine, Timer};
use crate::model::{Condition, Event, Field, Phase, Severity, Subject};
use crate::rules::{Resolve, Rule, Threshold};

impl Engine {
    /// Handles the opening of a condition, which may be a repetition.
    pub(super) fn begins(&mut self, rule: &Arc<Rule>, event: &Arc<Event>, effects: &mut Effects) {
        let (key, part) = match (&event.condition, &rule.resolve) {
            (Some(condition), Resolve::Implied) => {
                (subject_key(event, condition), condition.sub_id.clone())
            }
            _ => (self.own_key(rule, event), None),
        };
        // Devices upgraded together are no mass outage: they do not count towards a threshold.
        if rule.threshold.is_some() && self.is_away(event, event.time) {
            let verdict = Verdict::Planned {
                until: self.wall() + super::clues::PLANNED,
            };
            effects.suppressed = effects.suppressed.or(verdict.suppression());
            return self.decide(&[], Some(event), Some(&rule.name), verdict);
        }
        // The member with the same part comes first: one alert may hold several ports.
        let known =
            self.index
                .by_key
                .get(&key)
                .into_iter()
                .flatten()
                .filter_map(|id| {
                    let alert = self.state.alerts.get(id).filter(|a| {
                        a.lasting && a.rule == rule.name && a.state != AlertState::Ended
                    })?;
                    alert
                        .member(&key, part.as_ref())
                        .map(|(_, exact)| (!exact, *id))
                });
        let known = known.min().map(|(_, id)| id);
        let fingerprint = self.fingerprint(rule, event);
        let by_fingerprint = || {
            self.index
                .by_fingerprint
                .get(&(Arc::clone(&rule.name), fingerprint.clone()))
                .copied()
                .filter(|id| self.state.alerts.get(id).is_some_and(|alert| alert.lasting))
        };
        // An alert of an earlier version of the rule has another key: the event belongs to its
        // first member.
        let alias = || {
            let id = self.known_as(&key, Some(&rule.name)).pop()?;
            let member = self.state.alerts.get(&id)?.members.first()?;
            Some((id, member.key.clone(), member.part.clone()))
        };
        // The key is exact; a fingerprint may combine several devices.
        let found = known
            .or_else(by_fingerprint)
            .map(|id| (id, key.clone(), part.clone()));
        match found.or_else(alias) {
            Some((id, key, part)) => self.open_again(id, rule, event, key, part, effects),
            None => self.open_new(rule, event, fingerprint, key, part, effects),
        }
    }

    fn open_new(
        &mut self,
        rule: &Arc<Rule>,
        event: &Arc<Event>,
        fingerprint: String,
        key: String,
        part: Option<String>,
        effects: &mut Effects,
    ) {
        let now = self.state.now;
        let value = distinct(rule, event);
        let member = Member::new(event, key, part, value, now);
        // A threshold counts first; without one a single event is enough.
        let state = if rule.threshold.is_some() {
            AlertState::Collecting
        } else {
            AlertState::Pending { since: now }
        };
        let Some(id) = self.add_alert(rule, event, fingerprint, vec![member], true, state, effects)
        else {
            return;
        };
        match &rule.threshold {
            Some(threshold) => self.recount(id, rule, threshold, event, effects),
            None => self.begin(id, rule, event, effects),
        }
    }

    fn open_again(
        &mut self,
        id: AlertId,
        rule: &Arc<Rule>,
        event: &Arc<Event>,
        key: String,
        part: Option<String>,
        effects: &mut Effects,
    ) {
        let now = self.state.now;
        let need = rule.threshold.as_ref().map_or(1, |t| t.count as usize);
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        alert.last_event = now;
        let worse = severity(rule, event);
        let escalates = worse > alert.severity;
        alert.severity = alert.severity.max(worse);
        let was_open = alert.open_count() >= need;
        // A higher count without a close in between means that it was down and up again each time.
        let mut changes = 0;
        let known = alert.member(&key, part.as_ref()).map(|(place, _)| place);
        match known.and_then(|place| alert.members.get_mut(place)) {
            Some(member) if member.is_open() => {
                changes = 2 * event.clues.times.saturating_sub(member.times.max(1));
                member.times = member.times.max(event.clues.times);
                // Of two descriptions of the part the longer one says more.
                if part.as_ref().map(String::len) > member.part.as_ref().map(String::len) {
                    member.part = part;
                }
                member.again(event);
            }
            Some(member) => {
                // It is open again, so the evidence of its end no longer counts.
                alert.evidence = None;
                let value = member.value.take().or_else(|| distinct(rule, event));
                // Down, up and down again is one outage if the alert did not end in between.
                let same = matches!(alert.state, AlertState::Closing { .. } | AlertState::Ended);
                let began = if same {
                    member.starts_at.min(event.time)
                } else {
                    event.time
                };
                let events = member.events + 1;
                *member = Member {
                    events,
                    starts_at: began,
                    ..Member::new(event, key, part, value, now)
                };
            }
            None => {
                let member = Member::new(event, key, part, distinct(rule, event), now);
                self.index.note(id, &member);
                alert.members.push(member);
            }
        }
        match alert.state {
            AlertState::Collecting => {
                // Below the threshold every event counts anew.
                if let Some(threshold) = &rule.threshold {
                    self.recount(id, rule, threshold, event, effects);
                }
                return;
            }
            AlertState::Ended => return self.reopen(id, rule, event, effects),
            AlertState::Closing { .. } if alert.open_count() < need => {}
            AlertState::Closing { .. } => alert.state = AlertState::Firing,
            AlertState::Pending { .. } | AlertState::Firing | AlertState::Flapping => {}
        }
        // Both are changes: repetitions known from the count, and this opening.
        changes += u64::from(!was_open && alert.open_count() >= need);
        // Before the first message the outcome is open. Afterwards it depends on whether anybody
        // was notified.
        if alert.told_to.is_empty() && !alert.settled {
            effects.waits_with.push(id);
        } else if alert.told_to.is_empty() {
            effects.suppressed = effects.suppressed.or(Verdict::NobodyToTell.suppression());
        } else {
            self.heard_again(id, effects);
        }
        let incident = self.state.alerts.get(&id).and_then(|alert| alert.incident);
        self.decide(&[id], Some(event), Some(&rule.name), Verdict::Again);
        self.arm_alert(id);
        if changes > 0 {
            self.changed(id, Some(event), changes);
        }
        // It may have reached the severity of another destination.
        if let (true, Some(incident)) = (escalates, incident) {
            self.escalate(id, incident, worse);
        }
    }

    /// Continues an alert that was sent and ended, and is down again before its end was sent: there
    /// is nothing new to send.
    fn reopen(&mut self, id: AlertId, rule: &Arc<Rule>, event: &Arc<Event>, effects: &mut Effects) {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        alert.state = AlertState::Firing;
        alert.stale = false;
        alert.stable = false;
        self.heard_again(id, effects);
        self.decide(&[id], Some(event), Some(&rule.name), Verdict::Again);
        // Its end had removed it from inhibition and silences.
        self.relate(id);
        self.awaited(id);
        if !self.changed(id, Some(event), 1) {
            self.arm_alert(id);
        }
    }

    /// Counts the members of a threshold on a condition: opened within the window, and still open.
    fn recount(
        &mut self,
        id: AlertId,
        rule: &Arc<Rule>,
        threshold: &Threshold,
        event: &Arc<Event>,
        effects: &mut Effects,
    ) {
        let now = self.state.now;
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        let counts = |m: &Member| m.is_open() && now.since(m.opened) <= threshold.window;
        let (kept, gone): (Vec<Member>, Vec<Member>) = std::mem::take(&mut alert.members)
            .into_iter()
            .partition(counts);
        alert.members = kept;
        // Members outside the window leave the index: a later close must not count them.
        self.index.forget(id, &gone, &alert.members);
        let seen = alert.open_count();
        if seen < threshold.count as usize {
            let verdict = Verdict::BelowThreshold {
                seen,
                need: threshold.count,
                within: threshold.window,
            };
            effects.suppressed = effects.suppressed.or(verdict.suppression());
            self.decide(&[id], Some(event), Some(&rule.name), verdict);
            self.arm_alert(id);
            return;
        }
        alert.state = AlertState::Pending { since: now };
        self.begin(id, rule, event, effects);
    }

    /// Starts a new alert: pending for the rule's `for`, or firing at once.
    fn begin(&mut self, id: AlertId, rule: &Arc<Rule>, event: &Arc<Event>, effects: &mut Effects) {
        effects.waits_with.push(id);
        self.relate(id);
        self.awaited(id);
        // The changes of an earlier occurrence were counted before.
        let first = event.clues.last != Some(event.time);
        let changes = if first {
            1 + 2 * event.clues.times.saturating_sub(1)
        } else {
            1
        };
        if self.changed(id, Some(event), changes) {
            return;
        }
        // Without `for` there is no pending state to wait in.
        if rule.policy.r#for.is_zero() {
            self.decide(&[id], Some(event), Some(&rule.name), Verdict::Firing);
            self.fire(id);
            return;
        }
        let now = self.state.now;
        let until = self
            .state
            .alerts
            .get(&id)
            .map_or(now, |alert| self.pending_until(alert, now, &rule.policy));
        self.decide(
            &[id],
            Some(event),
            Some(&rule.name),
            Verdict::Pending { until },
        );
        self.arm_alert(id);
    }

    /// Handles an event without an end: sent once, then quiet for the cooldown.
    pub(super) fn happen(&mut self, rule: &Arc<Rule>, event: &Arc<Event>, effects: &mut Effects) {
        // An earlier version of the rule may have taken it for the opening of a condition.
        if let Some((id, key, part)) = self.notified_before(rule, event) {
            return self.open_again(id, rule, event, key, part, effects);
        }
        let now = self.state.now;
        let fingerprint = self.fingerprint(rule, event);
        let known = self
            .index
            .by_fingerprint
            .get(&(Arc::clone(&rule.name), fingerprint.clone()))
            .copied()
            .filter(|id| {
                self.state
                    .alerts
                    .get(id)
                    .is_some_and(|alert| !alert.lasting)
            });
        if let Some(id) = known {
            return self.happen_again(id, rule, event, effects);
        }
        let member = Member::new(
            event,
            format!("{}|{fingerprint}", rule.name),
            None,
            distinct(rule, event),
            now,
        );
        let members = match &rule.threshold {
            None => vec![member],
            Some(threshold) => {
                match self.state.windows.add(
                    &rule.name,
                    &fingerprint,
                    member,
                    threshold,
                    now,
                    self.limits.windows,
                ) {
                    Ok(members) => members,
                    Err(seen) => {
                        let verdict = Verdict::BelowThreshold {
                            seen,
                            need: threshold.count,
                            within: threshold.window,
                        };
                        effects.suppressed = effects.suppressed.or(verdict.suppression());
                        self.decide(&[], Some(event), Some(&rule.name), verdict);
                        return;
                    }
                }
            }
        };
        let members = merge(members);
        // Events suppressed by an earlier cooldown are reported with this alert.
        let unsaid = self
            .state
            .unsaid
            .remove(&format!("{}\u{1f}{fingerprint}", rule.name))
            .unwrap_or_default();
        let Some(id) = self.add_alert(
            rule,
            event,
            fingerprint,
            members,
            false,
            AlertState::Firing,
            effects,
        ) else {
            return;
        };
        if let Some(alert) = self.state.alerts.get_mut(&id) {
            alert.more_since = unsaid;
        }
        effects.waits_with.push(id);
        self.decide(&[id], Some(event), Some(&rule.name), Verdict::Firing);
        self.relate(id);
        self.fire(id);
        // The rule's intervals may have dropped it at once.
        if self.state.alerts.get(&id).is_none() {
            effects.suppressed = effects
                .suppressed
                .or(Some(SuppressedBy::Drop.suppression()));
        }
    }

    /// Handles another event without an end: it shares the first message, or falls within its
    /// cooldown.
    fn happen_again(
        &mut self,
        id: AlertId,
        rule: &Arc<Rule>,
        event: &Arc<Event>,
        effects: &mut Effects,
    ) {
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        alert.last_event = self.state.now;
        let worse = severity(rule, event);
        let escalates = worse > alert.severity;
        alert.severity = alert.severity.max(worse);
        if let Some(member) = alert.members.first_mut() {
            member.again(event);
        }
        // A destination that accepts only the higher severity has not heard of it.
        if let (true, Some(incident)) = (escalates, alert.incident) {
            self.escalate(id, incident, worse);
        }
        let Some(alert) = self.state.alerts.get_mut(&id) else {
            return;
        };
        let verdict = if !alert.settled {
            effects.waits_with.push(id);
            Verdict::Again
        } else if alert.told_to.is_empty() {
            Verdict::NobodyToTell // nothing was sent, so there is nothing to cool down from
        } else {
            alert.more_since += 1;
            Verdict::Cooldown {
                since: alert.more_since,
            }
        };
        effects.suppressed = effects.suppressed.or(verdict.suppression());
        self.decide(&[id], Some(event), Some(&rule.name), verdict);
        self.arm_alert(id);
    }

    /// Ends the part of an alert in inhibition, silences, absences and reports.
    pub(super) fn let_go(&mut self, id: AlertId) {
        self.unlink(id);
        self.awaited_no_more(id);
        self.forget_absence(id);
        self.hidden_ended(id);
    }

    #[expect(clippy::too_many_arguments, reason = "each is one field of the alert")]
    pub(super) fn add_alert(
        &mut self,
        rule: &Arc<Rule>,
        event: &Arc<Event>,
        fingerprint: String,
        members: Vec<Member>,
        lasting: bool,
        state: AlertState,
        effects: &mut Effects,
    ) -> Option<AlertId> {
        let alert = Alert {
            rule: Arc::clone(&rule.name),
            fingerprint,
            lasting,
            state,
            members,
            severity: severity(rule, event),
            last_event: self.state.now,
            incident: None,
            told_to: NameSet::default(),
            late: NameSet::default(),
            past: None,
            settled: false,
            sent: None,
            left: 0,
            stale: false,
            flap: None,
            stable: false,
            quiet: None,
            for_digests: false,
            related: false,
            explained: false,
            sources: BTreeSet::new(),
            behind: Vec::new(),
            refuted: None,
            evidence: None,
            more: event.more,
            more_since: 0,
            waiting: 0,
            tickets: Vec::new(),
            group: group(rule, event),
            event: self.keepable(event),
            timer: None,
        };
        // The check comes after the alert is built: an alert without room is still sent, untracked.
        if !self.has_room() {
            self.pass_on(rule, event, &alert, effects);
            return None;
        }
        // Numbers are given in the order of opening, which decides what is "oldest" elsewhere.
        let id = self.next_id();
        let members = &alert.members;
        members
            .iter()
            .for_each(|member| self.index.note(id, member));
        let known = (Arc::clone(&rule.name), alert.fingerprint.clone());
        self.index.by_fingerprint.insert(known, id);
        self.state.alerts.insert(id, alert);
        Some(id)
    }

    /// Returns the key of an alert whose rule has its own `resolve`: the alert, and the device if
    /// several are counted together.
    pub(super) fn own_key(&self, rule: &Rule, event: &Event) -> String {
        let fingerprint = self.fingerprint(rule, event);
        match (&rule.threshold, &event.device) {
            (Some(_), Some(_)) => format!(
                "{}|{fingerprint}|{}",
                rule.name,
                event.identity(&Field::Device)
            ),
            _ => format!("{}|{fingerprint}", rule.name),
        }
    }

    /// Returns the fingerprint of an event's alert, which distinguishes it from other alerts of the
    /// rule.
    pub(super) fn fingerprint(&self, rule: &Rule, event: &Event) -> String {
        let joined = |fields: &[Field]| {
            fields
                .iter()
                .map(|f| event.identity(f))
                .collect::<Vec<_>>()
                .join("\u{1f}")
        };
        if let Some(by) = &rule.by {
            return joined(by);
        }
        // Counting across devices needs one alert for all of them.
        let counts_together = |t: &Threshold| {
            t.distinct.is_some()
                || match rule.resolve {
                    Resolve::Implied => event.phase == Phase::Open,
                    Resolve::When(_) => true,
                    Resolve::Never => false,
                }
        };
        if rule.threshold.as_ref().is_some_and(counts_together) {
            return joined(&rule.policy.group_by);
        }
        let subject = match &event.device {
            Some(_) => event.identity(&Field::Device),
            None => event.identity(&Field::Site),
        };
        match (&event.condition, &rule.resolve) {
            // An own `resolve` may end the alert with an event of another type, so the type is no
            // part of it.
            (_, Resolve::When(_)) => subject,
            (Some(condition), Resolve::Implied | Resolve::Never) if event.phase == Phase::Open => {
                let part = condition.sub_id.as_deref().unwrap_or_default();
                format!(
                    "{}\u{1f}{}",
                    subject_key(event, condition),
                    part.to_lowercase()
                )
            }
            _ => format!("{subject}\u{1f}{}", event.kind.to_lowercase()),
        }
    }

    /// Removes an alert that was never sent.
    pub(super) fn drop_alert(&mut self, id: AlertId, verdict: &Verdict) {
        if let Some(mut alert) = self.remove_alert(id) {
            let reason = verdict.suppression().unwrap_or("dropped");
            self.state.counters.alert_dropped(id, &mut alert, reason);
            self.keep_count(&alert);
            let rule = Arc::clone(&alert.rule);
            self.decide(&[id], None, Some(&rule), verdict.clone());
        }
    }

    /// Returns the event as an alert keeps it: complete if it is small and few alerts are open.
    fn keepable(&self, event: &Arc<Event>) -> Arc<Event> {
        let whole = self.state.alerts.len() <= SAMPLED && super::incident::is_short(&event.raw);
        if whole {
            Arc::clone(event)
        } else {
            Arc::new(event.slim())
        }
    }

    /// Removes an alert from the state, from every index and from its incident.
    pub(super) fn remove_alert(&mut self, id: AlertId) -> Option<Alert> {
        // The links need the alert, so they go first.
        self.let_go(id);
        let alert = self.state.alerts.remove(&id)?;
        let fingerprint = (
            Self::place(&alert.rule, alert.past),
            alert.fingerprint.clone(),
        );
        // Another alert may have taken over the fingerprint.
        if self.index.by_fingerprint.get(&fingerprint) == Some(&id) {
            self.index.by_fingerprint.remove(&fingerprint);
        }
        self.index.forget(id, &alert.members, &[]);
        self.index.spare.remove(&id);
        self.index.held.remove(&id);
        if let Some(due) = alert.timer {
            self.index.timers.remove(&(due, Timer::Alert(id)));
        }
        self.leave(id, alert.incident);
        self.check_room();
        Some(alert)
    }
}

/// Returns the group of an event: field, identity, label.
pub(super) fn group(rule: &Rule, event: &Event) -> Vec<(String, String, String)> {
    let of = |f: &Field| (f.to_string(), event.identity(f), event.label(f));
    rule.policy.group_by.iter().map(of).collect()
}

/// Number of alerts above which new ones no longer keep the raw event for templates.
const SAMPLED: usize = 2_000;

/// Returns condition and device (or site), by which a close on any topic finds its opening.
pub(super) fn subject_key(event: &Event, condition: &Condition) -> String {
    let subject = match &event.device {
        Some(_) if !condition.of_site => event.identity(&Field::Device),
        _ => event.identity(&Field::Site),
    };
    format!("{}|{subject}", condition.name)
}

pub(super) fn severity(rule: &Rule, event: &Event) -> Severity {
    rule.policy
        .severity
        .or(event.severity)
        .unwrap_or(Severity::Warning)
}

pub(super) fn distinct(rule: &Rule, event: &Event) -> Option<String> {
    rule.threshold
        .as_ref()?
        .distinct
        .as_ref()
        .map(|field| event.identity(field))
}

/// Merges members with the same subjects, so that each device is one subject.
fn merge(samples: Vec<Member>) -> Vec<Member> {
    let mut bare: Vec<Vec<Subject>> = Vec::new();
    let mut merged: Vec<Member> = Vec::new();
    for sample in samples {
        let subjects = sample
            .subjects
            .iter()
            .map(|s| Subject {
                note: None,
                ..s.clone()
            })
            .collect();
        let known = bare.iter().position(|known| *known == subjects);
        match known.and_then(|place| merged.get_mut(place)) {
            Some(known) => {
                known.events += sample.events;
                known.subjects = sample.subjects;
            }
            None => {
                bare.push(subjects);
                // Most alerts have one member, and a growing vector would take room for four.
                merged.reserve_exact(1);
                merged.push(sample);
            }
        }
    }
    merged
}
