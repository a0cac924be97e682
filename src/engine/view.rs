//! The engine seen from outside: what each thing it did moved, and what is open now. Nothing here
//! changes what it decides.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::alert::{Alert, AlertId, By, State as AlertState};
use super::{Decision, Engine, Input, Timer};
use crate::model::{Name, Severity, Subject, Timestamp};

/// One thing the engine did: fired a timer, judged an event, or took another input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A timer was due.
    Timer,
    /// The input itself.
    Input,
}

/// The events whose fate an alert still decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many it decides alone.
    pub alone: u64,
    /// Those it shares with other alerts, each by its number, ascending.
    pub shared: Vec<u64>,
    /// Whether somebody knows of the alert.
    pub told: bool,
    /// Why they would be suppressed, were the alert over now.
    pub reason: &'static str,
    /// Its rule.
    pub rule: Arc<str>,
}

/// How far an incident has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It was told.
    Told,
    /// It goes up and down too often to be told each time.
    Flapping,
    /// It waits: for its rule's `for`, or for company.
    Pending,
    /// Something keeps it quiet.
    Held,
}

impl Standing {
    /// The word in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Flapping => "flapping",
            Self::Pending => "pending",
            Self::Held => "held",
        }
    }
}

/// An incident that lasts, or an alert on its way to be one.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentState {
    /// What destinations call it; `alert-` and a number for what is in no incident yet.
    pub id: String,
    /// The rule.
    pub rule: Arc<str>,
    /// What it is about: the condition of its latest event.
    pub condition: Option<String>,
    /// Mist's type of that event.
    pub kind: String,
    /// The greatest of its alerts.
    pub severity: Severity,
    /// When it began, by the sender's clock.
    pub started: Timestamp,
    /// Whom it was told to, whether or not they have the message yet.
    pub told: BTreeSet<Name>,
    /// Its alerts, by number; some when there are very many.
    pub alerts: Vec<u64>,
    /// Whom it concerns; a sample when there are very many.
    pub subjects: Vec<Subject>,
    /// How many of them are not in the sample.
    pub more: usize,
    /// How many different devices they are; of what names no device, sites.
    pub devices: usize,
    /// How far it has come.
    pub standing: Standing,
    /// What keeps it quiet, or what it waits for, as a sentence.
    pub why: Option<String>,
}

/// Who looks at the engine after each thing it did: with the alerts that may have moved, and the
/// decisions made.
pub type Look<'l> = &'l mut dyn FnMut(&Engine, Deed, &[u64], Vec<Decision>);

/// Alerts named of one incident: so many of the oldest and of the newest.
const MAX_ALERTS: usize = 16;
/// Subjects shown of one incident.
const MAX_SUBJECTS: usize = 50;

impl Engine {
    /// As [`Engine::handle`], one thing at a time: `look` sees the engine after each timer and
    /// after the input, with the decisions that led to and the alerts they may have moved.
    pub fn handle_watched(&mut self, at: Timestamp, input: &Input, look: Look<'_>) {
        let at = at.max(self.state.now);
        if let (Input::Event(event), true) = (input, self.state.begun) {
            self.fire_watched(at, usize::MAX, look);
            self.state.now = at;
            self.judge(event);
            let made = std::mem::take(&mut self.decisions);
            look(self, Deed::Input, &[], made);
            self.fire_watched(at, usize::MAX, look);
            return;
        }
        let most = if matches!(input, Input::Due) {
            super::DUE_AT_ONCE
        } else {
            usize::MAX
        };
        if self.state.begun && !self.fire_watched(at, most, look) {
            return;
        }
        let made = self.handle(at, input);
        look(self, Deed::Input, &[], made);
    }

    /// As [`Engine::fire_some`].
    fn fire_watched(&mut self, at: Timestamp, most: usize, look: Look<'_>) -> bool {
        for _ in 0..most {
            let Some(&(due, timer)) = self.index.timers.first().filter(|(due, _)| *due <= at)
            else {
                return true;
            };
            let touched = self.touched_by(timer);
            self.index.timers.pop_first();
            self.state.now = self.state.now.max(due);
            self.timer_due(timer);
            let made = std::mem::take(&mut self.decisions);
            look(self, Deed::Timer, &touched, made);
        }
        false
    }

    /// The alerts a timer may tell or drop.
    fn touched_by(&self, timer: Timer) -> Vec<AlertId> {
        let of = |incident: u64| {
            self.state
                .incidents
                .get(&incident)
                .into_iter()
                .flat_map(|i| i.alerts.iter().copied())
        };
        match timer {
            Timer::Alert(id) => {
                let incident = self.state.alerts.get(&id).and_then(|alert| alert.incident);
                std::iter::once(id)
                    .chain(incident.into_iter().flat_map(of))
                    .collect()
            }
            Timer::Incident(id) => of(id).collect(),
            Timer::Silences
            | Timer::Absences
            | Timer::Maintenance
            | Timer::Digests
            | Timer::PassedOn => Vec::new(),
        }
    }

    /// The events whose fate an alert still decides; `None` when the alert is gone.
    #[must_use]
    pub fn waiting(&self, alert: u64) -> Option<Waiting> {
        self.state.alerts.get(&alert).map(waiting)
    }

    /// The newest number that was given to an alert or an incident: whatever begins later has a
    /// greater one.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.state.next_id
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<crate::rules::RuleSet> {
        &self.rules
    }

    /// Every alert that still decides the fate of events, and the number that was given last to
    /// what several share.
    #[must_use]
    pub fn all_waiting(&self) -> (Vec<(u64, Waiting)>, u64) {
        // An alert may still list what another one decided.
        let ledger = serde_json::to_value(&self.state.ledger).unwrap_or_default();
        let undecided = |ticket: &u64| ledger.pointer(&format!("/tickets/{ticket}")).is_some();
        let all = self
            .state
            .alerts
            .iter()
            .map(|(id, alert)| (*id, waiting(alert)));
        let live = all.map(|(id, mut waiting)| {
            waiting.shared.retain(undecided);
            (id, waiting)
        });
        let newest = ledger
            .get("next_ticket")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or_default();
        (
            live.filter(|(_, waiting)| waiting.alone > 0 || !waiting.shared.is_empty())
                .collect(),
            newest,
        )
    }

    /// What lasts, the youngest first: at most `limit`, and how many there are.
    #[must_use]
    pub fn incidents(&self, limit: usize) -> (Vec<IncidentState>, usize) {
        let open = |a: &&Alert| a.is_active() && a.incident.is_none();
        let alone = || {
            self.state
                .alerts
                .iter()
                .rev()
                .filter(|(_, alert)| open(alert))
        };
        let lasts = |id: u64| {
            self.members(id)
                .any(|a| a.lasting && a.state != AlertState::Ended)
        };
        let mut told: Vec<u64> = self
            .state
            .incidents
            .keys()
            .rev()
            .copied()
            .filter(|id| lasts(*id))
            .collect();
        let total = told.len() + alone().count();
        told.truncate(limit);
        let mut found: Vec<IncidentState> = told
            .into_iter()
            .filter_map(|id| self.incident_state(id))
            .collect();
        found.extend(
            alone()
                .take(limit.saturating_sub(found.len()))
                .map(|(id, alert)| self.alert_state(*id, alert)),
        );
        (found, total)
    }

    fn incident_state(&self, id: u64) -> Option<IncidentState> {
        let incident = self.state.incidents.get(&id)?;
        let alerts: Vec<&Alert> = self.members(id).collect();
        let flaps = alerts.iter().any(|a| a.state == AlertState::Flapping);
        let told = !incident.told.is_empty();
        let (standing, why) = match (flaps, told) {
            (true, _) => (
                Standing::Flapping,
                Some("it goes up and down too often to be told each time".to_owned()),
            ),
            (false, true) => (Standing::Told, None),
            (false, false) => (
                Standing::Pending,
                Some("its message waits for company".to_owned()),
            ),
        };
        let Concerned {
            subjects,
            more,
            devices,
        } = concerned(alerts.iter().flat_map(|a| a.subjects()));
        Some(IncidentState {
            id: incident.key.clone(),
            rule: Arc::clone(&incident.rule),
            condition: about(
                alerts.iter().any(|alert| self.is_absence(alert)),
                incident.sample.condition.as_ref(),
            ),
            kind: incident.sample.kind.clone(),
            severity: incident.severity,
            started: alerts
                .iter()
                .map(|a| a.began())
                .min()
                .unwrap_or(self.state.now),
            told: incident.told.iter().cloned().collect(),
            alerts: ends(&incident.alerts),
            more,
            devices,
            subjects,
            standing,
            why,
        })
    }

    fn alert_state(&self, id: AlertId, alert: &Alert) -> IncidentState {
        let Concerned {
            subjects,
            more,
            devices,
        } = concerned(alert.subjects());
        let (standing, why) = match (&alert.quiet, alert.state) {
            (Some(quiet), _) => (Standing::Held, Some(self.kept_quiet(id, &quiet.by))),
            (None, AlertState::Pending { since }) => {
                let until = self.pending_until(alert, since, &self.policy(&alert.rule));
                let wait = crate::model::human_duration(until.since(since));
                (
                    Standing::Pending,
                    Some(format!("its rule waits {wait} before it is told")),
                )
            }
            (None, AlertState::Flapping) => (Standing::Flapping, None),
            (None, _) => (Standing::Pending, None),
        };
        IncidentState {
            id: format!("alert-{id}"),
            rule: Arc::clone(&alert.rule),
            condition: about(
                self.is_absence(alert),
                alert.event.condition.as_ref().map(|c| &c.name),
            ),
            kind: alert.event.kind.clone(),
            severity: alert.severity,
            started: alert.began(),
            told: alert.told_to.iter().cloned().collect(),
            alerts: vec![id],
            more,
            devices,
            subjects,
            standing,
            why,
        }
    }

    fn kept_quiet(&self, id: AlertId, by: &By) -> String {
        match by {
            By::Hold => "it waits a little for an alert that may explain it".to_owned(),
            By::Source(source) => self.inhibited_by(id, *source).to_string(),
            By::Silence(silence) => self.silenced_by(silence).to_string(),
            By::Mute | By::Drop => "it is outside of its rule's hours".to_owned(),
            By::Maintenance(name) => format!("maintenance {name}"),
        }
    }
}

/// What alerts are about; an absence is not what the last event told of.
fn about(absence: bool, condition: Option<&Arc<str>>) -> Option<String> {
    if absence {
        Some("absent".to_owned())
    } else {
        condition.map(ToString::to_string)
    }
}

/// The first and the last of these.
fn ends(alerts: &BTreeSet<AlertId>) -> Vec<u64> {
    if alerts.len() <= 2 * MAX_ALERTS {
        return alerts.iter().copied().collect();
    }
    alerts
        .iter()
        .take(MAX_ALERTS)
        .chain(alerts.iter().rev().take(MAX_ALERTS))
        .copied()
        .collect()
}

/// Whom something concerns: a sample, how many are not in it, and how many devices they are.
struct Concerned {
    subjects: Vec<Subject>,
    more: usize,
    devices: usize,
}

fn concerned(all: impl Iterator<Item = Subject>) -> Concerned {
    let (mut subjects, mut more, mut devices) = (Vec::new(), 0, HashSet::new());
    for subject in all {
        let named = [
            &subject.device_mac,
            &subject.device,
            &subject.site_id,
            &subject.site,
        ];
        devices.insert(
            named
                .into_iter()
                .find_map(Option::as_ref)
                .map(|name| name.to_lowercase()),
        );
        if subjects.len() < MAX_SUBJECTS {
            subjects.push(subject);
        } else {
            more += 1;
        }
    }
    Concerned {
        subjects,
        more,
        devices: devices.len(),
    }
}

fn waiting(alert: &Alert) -> Waiting {
    let quiet = alert.quiet.as_ref().map(|quiet| quiet.by.suppression());
    let reason = if alert.sources.is_empty() {
        quiet.unwrap_or("ended_untold")
    } else {
        "inhibited"
    };
    let (told, rule) = (!alert.told_to.is_empty(), Arc::clone(&alert.rule));
    Waiting {
        alone: alert.waiting,
        shared: alert.tickets.clone(),
        told,
        reason,
        rule,
    }
}
