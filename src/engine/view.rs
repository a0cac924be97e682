//! The view from outside: open incidents and alerts. Nothing here changes a decision.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::Engine;
use super::alert::{Alert, AlertId, AlertState, SuppressedBy};
use crate::model::{Name, Severity, Subject, Timestamp};

/// The progress of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Destinations were notified.
    Notified,
    /// It goes up and down too often to send each change.
    Flapping,
    /// It waits for its rule's `for`, or for `group_wait`.
    Pending,
    /// It is suppressed.
    Held,
}

impl Progress {
    /// Returns the word in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Notified => "told",
            Self::Flapping => "flapping",
            Self::Pending => "pending",
            Self::Held => "held",
        }
    }
}

/// An open incident, or an alert that may become one.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentState {
    /// Name for destinations; `alert-` and a number for an alert without an incident.
    pub id: String,
    /// The rule.
    pub rule: Arc<str>,
    /// Condition of its latest event.
    pub condition: Option<String>,
    /// Mist's type of that event.
    pub kind: String,
    /// Highest severity of its alerts.
    pub severity: Severity,
    /// Beginning, by the sender's clock.
    pub started: Timestamp,
    /// Destinations notified, whether or not their message has arrived.
    pub told: BTreeSet<Name>,
    /// Numbers of its alerts; a sample if there are very many.
    pub alerts: Vec<u64>,
    /// Its subjects; a sample if there are very many.
    pub subjects: Vec<Subject>,
    /// Number of subjects that are not in the sample.
    pub more: usize,
    /// Number of different devices, or of sites if no device is named.
    pub devices: usize,
    /// Its progress.
    pub standing: Progress,
    /// Reason it is suppressed or waits, as a sentence.
    pub why: Option<String>,
}

/// Maximum number of alerts named per incident, from each end of the list.
const MAX_ALERTS: usize = 16;
/// Maximum number of subjects shown per incident.
const MAX_SUBJECTS: usize = 50;

impl Engine {
    /// Returns open incidents and alerts, newest first: at most `limit`, and their total number.
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
        // An incident of events without an end is never open.
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
        // Incidents come first: they were sent, while single alerts still wait.
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
        // Flapping is the more useful state: it explains why no further message comes.
        let (standing, why) = match (flaps, told) {
            (true, _) => (
                Progress::Flapping,
                Some("it goes up and down too often to be told each time".to_owned()),
            ),
            (false, true) => (Progress::Notified, None),
            (false, false) => (
                Progress::Pending,
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
            // The incident's own list: alerts that joined later may have other destinations.
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
        // A suppression is what people ask about, whatever the state of the alert.
        let (standing, why) = match (&alert.quiet, alert.state) {
            (Some(quiet), _) => (Progress::Held, Some(self.kept_quiet(id, &quiet.by))),
            (None, AlertState::Pending { since }) => {
                let until = self.pending_until(alert, since, &self.policy(&alert.rule));
                let wait = crate::model::human_duration(until.since(since));
                (
                    Progress::Pending,
                    Some(format!("its rule waits {wait} before it is told")),
                )
            }
            (None, AlertState::Flapping) => (Progress::Flapping, None),
            (None, _) => (Progress::Pending, None),
        };
        IncidentState {
            // An alert without an incident has no name of its own, but the page needs one.
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

    fn kept_quiet(&self, id: AlertId, by: &SuppressedBy) -> String {
        match by {
            SuppressedBy::Hold => "it waits a little for an alert that may explain it".to_owned(),
            SuppressedBy::Source(source) => self.inhibited_by(id, *source).to_string(),
            SuppressedBy::Silence(silence) => self.silenced_by(silence).to_string(),
            SuppressedBy::Mute | SuppressedBy::Drop => {
                "it is outside of its rule's hours".to_owned()
            }
            SuppressedBy::Maintenance(name) => format!("maintenance {name}"),
        }
    }
}

/// Returns the condition of an alert; the last event before an absence is not its subject.
fn about(absence: bool, condition: Option<&Arc<str>>) -> Option<String> {
    if absence {
        Some("absent".to_owned())
    } else {
        condition.map(ToString::to_string)
    }
}

/// Returns the first and the last alerts.
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

/// The subjects of an incident: a sample, the number of others, and the number of devices.
struct Concerned {
    subjects: Vec<Subject>,
    more: usize,
    devices: usize,
}

fn concerned(all: impl Iterator<Item = Subject>) -> Concerned {
    let (mut subjects, mut more, mut devices) = (Vec::new(), 0, HashSet::new());
    // The first name that exists identifies the device; without one, the site.
    for subject in all {
        let named = [
            &subject.device_mac,
            &subject.device,
            &subject.site_id,
            &subject.site,
        ];
        // The number covers all of them, also those beyond the sample.
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
