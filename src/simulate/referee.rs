//! The referee: compares messages with the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::incident::{Fault, SimIncident, SimNoise};
use crate::model::{Message, Reason, Timestamp, human_duration};
use crate::render::markup;
use crate::rules::{Policy, RuleSet};

/// Additional time a message may take beyond `for` and `group_wait`: Mist's own batching and
/// delivery.
const DELIVERY: Duration = Duration::from_secs(10);

/// The strictness of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Time after an incident in which messages still belong to it, since flapping is watched for a
    /// while.
    pub afterwards: Duration,
    /// Additional delay for POSTs that were lost or late.
    pub late: Duration,
}

impl Tolerance {
    /// For traffic that arrives completely and in time.
    pub const STRICT: Self = Self {
        afterwards: Duration::from_secs(15 * 60),
        late: Duration::ZERO,
    };
    /// For traffic that is partly lost or late.
    pub const LOSSY: Self = Self {
        afterwards: Duration::from_secs(3_600),
        late: Duration::from_secs(120),
    };
}

/// The report of one incident.
#[derive(Clone, Debug)]
pub struct IncidentReport {
    /// Its kind.
    pub fault: Fault,
    /// Its description.
    pub what: String,
    /// Time of the first message; `None`: never.
    pub told_at: Option<Timestamp>,
    /// Time from the detection to the first message.
    pub delay: Duration,
    /// Maximum for that time.
    pub allowed: Duration,
    /// Number of messages that belong to it.
    pub messages: usize,
    /// Number of messages about its end, for each Foghorn incident that reported it. Empty if it
    /// was never reported or has no end.
    pub ends: Vec<usize>,
    /// Its messages as text.
    pub said: Vec<String>,
}

impl IncidentReport {
    /// Returns whether the delay is too long.
    #[must_use]
    pub fn late(&self) -> bool {
        self.told_at.is_some() && self.delay > self.allowed
    }

    /// Returns whether each end was reported exactly once.
    #[must_use]
    pub fn ended_well(&self) -> bool {
        self.ends.iter().all(|ends| *ends == 1)
    }
}

/// The result of the comparison.
#[derive(Clone, Debug, Default)]
pub struct RefereeReport {
    /// The report of each incident.
    pub reports: Vec<IncidentReport>,
    /// Number of all messages.
    pub messages: usize,
    /// Messages that belong to no incident as text, with the noise that probably caused them.
    pub unwanted: Vec<String>,
}

impl RefereeReport {
    /// Adds the figures of another result.
    pub fn add(&mut self, other: Self) {
        self.reports.extend(other.reports);
        self.messages += other.messages;
        self.unwanted.extend(other.unwanted);
    }

    /// Returns the number of incidents that were reported.
    #[must_use]
    pub fn told(&self) -> usize {
        self.reports
            .iter()
            .filter(|report| report.told_at.is_some())
            .count()
    }

    /// Returns the number of messages per incident, without unwanted ones.
    #[must_use]
    pub fn messages_per_incident(&self) -> f64 {
        let wanted = self.messages.saturating_sub(self.unwanted.len());
        wanted as f64 / self.reports.len().max(1) as f64
    }

    /// Returns the complaints, one line each.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for report in &self.reports {
            let IncidentReport { fault, what, .. } = report;
            let said = if report.said.is_empty() {
                "    (nothing was said)".to_owned()
            } else {
                report
                    .said
                    .iter()
                    .map(|line| format!("    {line}"))
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            // Every complaint shows the messages, since they are what must be judged.
            let mut complain =
                |about: &str| complaints.push(format!("{}: {about}: {what}\n{said}", fault.word()));
            if report.told_at.is_none() {
                complain("never told");
            }
            if report.late() {
                let (delay, allowed) =
                    (human_duration(report.delay), human_duration(report.allowed));
                complain(&format!("told after {delay}, {allowed} allowed"));
            }
            if !report.ended_well() {
                complain(&format!("its end was told {:?} times", report.ends));
            }
        }
        complaints
    }
}

impl fmt::Display for RefereeReport {
    /// Prints a table with a line for each kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<Fault, Vec<&IncidentReport>> = BTreeMap::new();
        for report in &self.reports {
            kinds.entry(report.fault).or_default().push(report);
        }
        writeln!(
            f,
            "  {:<16} {:>5} {:>5} {:>5} {:>8} {:>9}",
            "incident", "count", "told", "late", "end off", "messages"
        )?;
        // Kinds are sorted, so that two runs can be compared line by line.
        for (fault, reports) in &kinds {
            let count = |is: fn(&IncidentReport) -> bool| {
                reports.iter().filter(|report| is(report)).count()
            };
            let messages: usize = reports.iter().map(|report| report.messages).sum();
            writeln!(
                f,
                "  {:<16} {:>5} {:>5} {:>5} {:>8} {:>9.2}",
                fault.word(),
                reports.len(),
                count(|report| report.told_at.is_some()),
                count(IncidentReport::late),
                count(|report| !report.ended_well()),
                messages as f64 / reports.len().max(1) as f64,
            )?;
        }
        write!(
            f,
            "  in all: {} of {} told, {:.2} messages each, {} unwanted",
            self.told(),
            self.reports.len(),
            self.messages_per_incident(),
            self.unwanted.len(),
        )
    }
}

/// Compares these messages, which must be in order, with the truth.
#[must_use]
pub fn judge(
    messages: &[Message],
    (incidents, quiet): (&[SimIncident], &[SimNoise]),
    rules: &RuleSet,
    allowance: Tolerance,
) -> RefereeReport {
    let mut verdict = RefereeReport {
        messages: messages.len(),
        ..RefereeReport::default()
    };
    let mut wanted = BTreeSet::new();
    for incident in incidents {
        let about = |(_, message): &(usize, &Message)| belongs(message, incident, allowance);
        let its: Vec<(usize, &Message)> = messages.iter().enumerate().filter(about).collect();
        // A message may belong to several incidents; it is unwanted only if it belongs to none.
        wanted.extend(its.iter().map(|(nth, _)| *nth));
        let its: Vec<&Message> = its.into_iter().map(|(_, message)| message).collect();
        verdict
            .reports
            .push(report(incident, &its, messages, rules, allowance));
    }
    let strangers = messages
        .iter()
        .enumerate()
        .filter(|(nth, _)| !wanted.contains(nth));
    verdict.unwanted = strangers
        .map(|(_, message)| mistaken(message, incidents, quiet))
        .collect();
    verdict
}

/// Returns whether a message belongs to an incident: it is in its time, and about one of its
/// devices or, without a device, its site.
fn belongs(message: &Message, incident: &SimIncident, allowance: Tolerance) -> bool {
    let about = &message.about;
    let in_time =
        about.at >= incident.began_at && about.at <= incident.last_sign() + allowance.afterwards;
    // An incident without an end may be repeated at any time.
    let no_end = incident.ended_at.is_none() && about.at >= incident.began_at;
    let concerned = |subject: &crate::model::Subject| match &subject.device_mac {
        Some(mac) if incident.root.is_some() => incident.devices.contains(mac),
        _ => {
            subject.site_id.as_ref() == Some(&incident.place.id)
                && incident.root.is_none()
                && tells(message, incident)
        }
    };
    let in_time = in_time || (no_end && tells(message, incident));
    in_time && about.subjects.iter().any(concerned)
}

/// Returns whether the message is about a condition or type of the incident.
fn tells(message: &Message, incident: &SimIncident) -> bool {
    let about = &message.about;
    let said = [
        about
            .condition
            .as_deref()
            .unwrap_or_default()
            .to_lowercase(),
        about.kind.to_lowercase(),
    ];
    incident
        .tells
        .iter()
        .any(|tells| said.iter().any(|word| word == tells))
}

/// Returns whether a message names the root of the incident.
fn names_root(message: &Message, incident: &SimIncident, ended: bool) -> bool {
    message.about.subjects.iter().any(|subject| {
        let root = incident
            .root
            .as_ref()
            .is_none_or(|root| subject.device_mac.as_ref() == Some(&root.mac));
        root && (!ended || subject.ends_at.is_some())
    })
}

fn report(
    incident: &SimIncident,
    its: &[&Message],
    all: &[Message],
    rules: &RuleSet,
    allowance: Tolerance,
) -> IncidentReport {
    // The first message must be about the root: an AP behind a failed switch does not report the
    // switch.
    let first = its.iter().find(|message| {
        let ending = matches!(
            message.about.reason,
            Reason::Resolved | Reason::Recovered | Reason::Stale
        );
        tells(message, incident) && names_root(message, incident, false) && !ending
    });
    let conversations: BTreeSet<&str> = match incident.ended_at {
        None => BTreeSet::new(),
        Some(_) => {
            let report = |message: &&&Message| {
                tells(message, incident) && names_root(message, incident, false)
            };
            its.iter()
                .filter(report)
                .map(|message| message.about.incident.as_str())
                .collect()
        }
    };
    // Each Foghorn incident that reported the outage must report its end as well.
    let ends_of = |conversation: &str| {
        let ends = |message: &&&Message| {
            let reason = message.about.reason;
            let over = match incident.root {
                Some(_) => matches!(
                    reason,
                    Reason::Resolved | Reason::Recovered | Reason::Stable
                ),
                None => matches!(reason, Reason::Resolved | Reason::Stable),
            };
            over && message.about.incident == conversation && names_root(message, incident, true)
        };
        its.iter().filter(ends).count()
    };
    let told_at = first.map(|message| message.about.at);
    IncidentReport {
        fault: incident.fault,
        what: format!("{} {}", incident.detected_at, incident.what),
        told_at,
        delay: told_at
            .map(|at| at.since(incident.detected_at))
            .unwrap_or_default(),
        allowed: first
            .map(|message| allowed(message, incident, all, rules) + allowance.late)
            .unwrap_or_default(),
        messages: its.len(),
        ends: conversations.into_iter().map(ends_of).collect(),
        said: its.iter().map(|message| readable(message)).collect(),
    }
}

/// Returns the maximum delay: `for`, `group_wait` and the delivery. Another interval is allowed if
/// the message joins an incident that was sent just before, or follows flapping.
fn allowed(
    message: &Message,
    incident: &SimIncident,
    all: &[Message],
    rules: &RuleSet,
) -> Duration {
    let policy: Policy = rules
        .rules()
        .iter()
        .find(|rule| *rule.name == *message.about.rule)
        .map(|rule| (*rule.policy).clone())
        .unwrap_or_default();
    // The usual delay of a first message.
    let base = policy.r#for + policy.group_wait + DELIVERY;
    let due = incident.detected_at + base;
    // Messages of one incident keep a distance, so the second may have to wait.
    let joins = all.iter().any(|before| {
        let at = before.about.at;
        before.about.incident == message.about.incident
            && at < message.about.at
            && due.since(at) < policy.group_interval + base
            && at <= due
    });
    let flapped = all.iter().any(|before| {
        let same = before.about.incident == message.about.incident;
        same && before.about.reason == Reason::Flapping && before.about.at < message.about.at
    });
    if joins || flapped {
        base + policy.group_interval
    } else {
        base
    }
}

/// Returns an unwanted message, with the noise that probably caused it.
fn mistaken(message: &Message, incidents: &[SimIncident], quiet: &[SimNoise]) -> String {
    let at = message.about.at;
    let near = |from: Timestamp, to: Timestamp| at >= from && at <= to + Duration::from_secs(3_600);
    let named: BTreeSet<&String> = message
        .about
        .subjects
        .iter()
        .filter_map(|s| s.device_mac.as_ref())
        .collect();
    let touches = |devices: &BTreeSet<String>| devices.iter().any(|mac| named.contains(mac));
    // Noise is the better explanation: an incident of the device may be long over.
    let noise = quiet
        .iter()
        .find(|quiet| near(quiet.from, quiet.to) && touches(&quiet.devices));
    let after = incidents
        .iter()
        .rfind(|incident| touches(&incident.devices) && incident.began_at <= at);
    let because = match (noise, after) {
        (Some(quiet), _) => quiet.what.clone(),
        (None, Some(incident)) => {
            format!("long after: {} ({})", incident.what, incident.last_sign())
        }
        (None, None) => "nothing of note".to_owned(),
    };
    format!("{} <- {because}", readable(message))
}

fn readable(message: &Message) -> String {
    let about = &message.about;
    format!(
        "{} [{}, {}] {}",
        about.at,
        about.rule,
        about.reason.word(),
        markup::plain(&message.title)
    )
}
