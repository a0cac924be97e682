//! The engine seen from outside: what is open now. Nothing here changes what it decides.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::Engine;
use super::alert::{Alert, AlertId, By, State as AlertState};
use crate::model::{Name, Severity, Subject, Timestamp};

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

/// Alerts named of one incident: so many of the oldest and of the newest.
const MAX_ALERTS: usize = 16;
/// Subjects shown of one incident.
const MAX_SUBJECTS: usize = 50;

impl Engine {
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
