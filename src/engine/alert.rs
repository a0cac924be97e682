//! Alerts: one rule applied to one subject.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Event, Happening, Name, Phase, Severity, Subject, Timestamp, removed_from};
use crate::rules::Policy;

use super::table::NameSet;

/// The number of an alert; newer alerts have higher numbers.
pub(super) type AlertId = u64;

/// Maximum number of subjects named by one alert.
const MAX_SUBJECTS: usize = 50;

/// The state of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AlertState {
    /// Members below the rule's threshold.
    Collecting,
    /// Open since `since` (journal time), for less than the rule's `for`.
    Pending { since: Timestamp },
    /// Open for longer than its `for`. An alert without an incident is suppressed.
    Firing,
    /// Goes up and down too often to send each change.
    Flapping,
    /// Ended, but a reopening before `until` (journal time) is the same alert.
    Closing { until: Timestamp },
    /// Ended after somebody was notified: the recovery is still to be sent.
    Ended,
}

/// The record of an alert's flapping.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Flap {
    /// Number of changes.
    pub(super) changes: u64,
    /// Journal time of the first and the last change counted.
    pub(super) since: Timestamp,
    pub(super) last: Timestamp,
    /// Destinations notified that it flaps.
    pub(super) told: BTreeSet<Name>,
}

impl Flap {
    /// Returns the time from which it counts as stable: at once if its rule no longer has
    /// `flapping`.
    pub(super) fn calm_at(&self, policy: &Policy) -> Timestamp {
        self.last
            + policy
                .flapping
                .map_or(Duration::ZERO, |flapping| flapping.stable)
    }
}

/// The reason an alert is suppressed, and the end of that (journal time) if it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Suppression {
    pub(super) by: SuppressedBy,
    pub(super) until: Option<Timestamp>,
}

/// The cause of a suppression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SuppressedBy {
    /// The alert waits for another that may inhibit it.
    Hold,
    /// This alert inhibits it.
    Source(AlertId),
    /// A silence.
    Silence(String),
    /// The intervals of its rule.
    Mute,
    /// The intervals of its rule, with `drop`.
    Drop,
    /// A maintenance.
    Maintenance(Name),
}

impl SuppressedBy {
    /// Returns the outcome of events that it suppressed to the end, as a metric label.
    pub(super) const fn suppression(&self) -> &'static str {
        match self {
            Self::Hold => "ended_untold",
            Self::Source(_) => "inhibited",
            Self::Silence(_) => "silenced",
            Self::Mute | Self::Drop => "muted",
            Self::Maintenance(_) => "maintenance",
        }
    }
}

/// A subject that is unreachable because of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Dark {
    pub(super) alert: AlertId,
    pub(super) subject: Subject,
}

/// A placeholder for the event of an alert in snapshots that did not keep it.
fn nothing() -> Arc<Event> {
    Arc::new(Event::nothing(Name::new(""), Timestamp::EPOCH))
}

/// An alert, from its first event to the message about its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Alert {
    pub(super) rule: Arc<str>,
    pub(super) fingerprint: String,
    /// True if it can end. An alert without an end stays quiet for its `cooldown` instead.
    pub(super) lasting: bool,
    pub(super) state: AlertState,
    pub(super) members: Vec<Member>,
    pub(super) severity: Severity,
    /// Journal time of the last event.
    pub(super) last_event: Timestamp,
    /// The incident, from when it fires.
    pub(super) incident: Option<u64>,
    /// Destinations notified of it.
    pub(super) told_to: NameSet,
    /// Destinations that the rule named only after the first message. They receive only later alerts.
    #[serde(default, skip_serializing_if = "NameSet::is_empty")]
    pub(super) late: NameSet,
    /// The number of the earlier rule that notified of it, if that recognises the end differently
    /// than the rule in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) past: Option<u64>,
    /// True once its first message was made, or nobody could be notified.
    pub(super) settled: bool,
    /// Journal time of the last message about its beginning.
    #[serde(default)]
    pub(super) sent: Option<Timestamp>,
    /// Number of a threshold's members that were still open when it ended.
    #[serde(default)]
    pub(super) left: u64,
    /// Ended because no event arrived for the rule's `stale_after`.
    pub(super) stale: bool,
    /// Its flapping, until people are notified that it is stable.
    #[serde(default)]
    pub(super) flap: Option<Flap>,
    /// It has become stable, which is still to be sent.
    #[serde(default)]
    pub(super) stable: bool,
    /// The reason it is suppressed, if it is.
    #[serde(default)]
    pub(super) quiet: Option<Suppression>,
    /// Only digests receive it.
    #[serde(default)]
    pub(super) for_digests: bool,
    /// True while it takes part in inhibition: from its opening to its end.
    #[serde(default)]
    pub(super) related: bool,
    /// True if another alert has inhibited it at any time.
    #[serde(default)]
    pub(super) explained: bool,
    /// Alerts that inhibit it.
    #[serde(default)]
    pub(super) sources: BTreeSet<AlertId>,
    /// Subjects that it inhibits, or inhibited.
    #[serde(default)]
    pub(super) behind: Vec<Dark>,
    /// Time, by the sender's clock, of an event from a device that should be unreachable because of
    /// this alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refuted: Option<Timestamp>,
    /// Type of the event that proves the end, if no event announced it.
    #[serde(default)]
    pub(super) evidence: Option<String>,
    /// Number of things the sender counted beyond those it listed.
    pub(super) more: u64,
    /// Events suppressed since the last message.
    pub(super) more_since: u64,
    /// Number of events whose outcome depends on this alert alone.
    pub(super) waiting: u64,
    /// Events whose outcome depends on several alerts.
    pub(super) tickets: Vec<u64>,
    /// Values of the fields its rule groups by: field, identity, label.
    pub(super) group: Vec<(String, String, String)>,
    /// The event that opened it, for later matching and messages.
    #[serde(default = "nothing")]
    pub(super) event: Arc<Event>,
    /// Due time of its timer, if it has one.
    #[serde(skip)]
    pub(super) timer: Option<Timestamp>,
}

/// One open (or ended) condition within an alert; most alerts have only one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    /// Condition and device (or site), by which a close finds it.
    pub(super) key: String,
    /// The part of the device, such as a port.
    pub(super) part: Option<String>,
    /// The value counted by `threshold.distinct`.
    pub(super) value: Option<String>,
    /// Journal time of the opening.
    pub(super) opened: Timestamp,
    /// Start by the sender's clock, which people see.
    pub(super) starts_at: Timestamp,
    /// Newest opening by the sender's clock; a close that is older is ignored. It is later than
    /// `starts_at` if the outage was reported again, or reopened before its end was sent. `None` in
    /// snapshots of older releases: `starts_at`.
    #[serde(default)]
    pub(super) newest: Option<Timestamp>,
    /// End by the sender's clock.
    pub(super) ends_at: Option<Timestamp>,
    /// The devices or sites it concerns.
    pub(super) subjects: Vec<Subject>,
    /// Number of events about it.
    pub(super) events: u64,
    /// Number of occurrences, as counted by the sender.
    #[serde(default)]
    pub(super) times: u64,
}

impl Member {
    pub(super) fn new(
        event: &Event,
        key: String,
        part: Option<String>,
        value: Option<String>,
        at: Timestamp,
    ) -> Self {
        Self {
            key,
            part,
            value,
            opened: at,
            starts_at: event.time,
            // An update of an alarm names its last occurrence, which an older close must not end.
            newest: Some(event.latest()),
            ends_at: None,
            subjects: subjects(event),
            events: 1,
            times: event.clues.times,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.ends_at.is_none()
    }

    /// Adds another opening event of the same condition.
    pub(super) fn again(&mut self, event: &Event) {
        self.newest = Some(self.newest.unwrap_or(self.starts_at).max(event.latest()));
        self.starts_at = self.starts_at.min(event.time);
        self.heard(event, true);
    }

    /// Returns the second of its newest opening. A valid close is not older.
    pub(super) fn last_opened(&self) -> Timestamp {
        self.newest.unwrap_or(self.starts_at).whole()
    }

    /// Adds an event about it, an opening or a close. The event may bring names, and devices not
    /// listed before.
    pub(super) fn heard(&mut self, event: &Event, add: bool) {
        self.events += 1;
        let room = add && self.subjects.len() < MAX_SUBJECTS;
        for subject in subjects(event) {
            // Names change and may be missing; a MAC identifies the device wherever both sides have
            // one.
            let same = |known: &Subject| match (&known.device_mac, &subject.device_mac) {
                (Some(known), Some(new)) => known == new,
                _ => known.device == subject.device,
            };
            match self.subjects.iter_mut().find(|known| same(known)) {
                Some(known) => {
                    known.device = subject.device.or_else(|| known.device.take());
                    known.site = subject.site.or_else(|| known.site.take());
                    known.model = subject.model.or_else(|| known.model.take());
                    known.is_port |= subject.is_port;
                    // The note of a close is about the recovery and would replace the one about the
                    // outage.
                    if add {
                        known.note = subject.note.or_else(|| known.note.take());
                    }
                }
                None if subject.device.is_none() && subject.device_mac.is_none() => {}
                None if room => self.subjects.push(subject),
                None => {}
            }
        }
    }

    /// Returns whether the parts are compatible: one side has none, or one list contains all of the
    /// other.
    pub(super) fn is_part(&self, part: Option<&String>) -> bool {
        let within = |part: &str, other: &str| {
            // A combined alarm lists several ports: one of them is a part of it, too.
            part.split(", ").all(|piece| {
                other
                    .split(", ")
                    .any(|known| known.eq_ignore_ascii_case(piece))
            })
        };
        match (&self.part, part) {
            (Some(own), Some(other)) => within(own, other) || within(other, own),
            _ => true,
        }
    }

    /// Returns whether the part is the same.
    fn is_exactly(&self, part: Option<&String>) -> bool {
        match (&self.part, part) {
            (Some(own), Some(other)) => own.eq_ignore_ascii_case(other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}

impl Alert {
    /// Returns the position of the member that an opening repeats, and whether the part is the
    /// same. A member with a compatible part is used only if none has the same part.
    pub(super) fn member(&self, key: &str, part: Option<&String>) -> Option<(usize, bool)> {
        let place = |fits: &dyn Fn(&Member) -> bool| {
            self.members.iter().position(|m| m.key == key && fits(m))
        };
        let exact = place(&|m| m.is_exactly(part)).map(|place| (place, true));
        exact.or_else(|| place(&|m| m.is_part(part)).map(|place| (place, false)))
    }

    /// Returns whether it is open and past its `for`.
    pub(super) fn is_alive(&self) -> bool {
        matches!(
            self.state,
            AlertState::Firing | AlertState::Closing { .. } | AlertState::Flapping
        )
    }

    /// Returns whether it may inhibit others: it is pending or has fired, and can end.
    pub(super) fn is_active(&self) -> bool {
        self.lasting && (self.is_alive() || matches!(self.state, AlertState::Pending { .. }))
    }

    /// Returns whether nobody waits for its end: it has none and was sent, or nobody could be
    /// notified.
    pub(super) fn is_spare(&self) -> bool {
        self.settled && (!self.lasting || self.told_to.is_empty())
    }

    /// Returns whether it ended because its device was removed.
    pub(super) fn is_removed(&self) -> bool {
        self.evidence.as_deref().and_then(removed_from).is_some()
    }

    /// Returns the number of events whose outcome it decides.
    pub(super) fn waits_with(&self) -> u64 {
        self.waiting + self.tickets.len() as u64
    }

    /// Returns whether it is suppressed.
    pub(super) fn is_held(&self) -> bool {
        self.quiet.is_some()
    }

    /// Returns its start by the sender's clock.
    pub(super) fn began(&self) -> Timestamp {
        // Closed members count only if none is open: people ask how long the present outage lasts.
        let open = self
            .members
            .iter()
            .filter(|m| m.is_open())
            .map(|m| m.starts_at)
            .min();
        open.or_else(|| self.members.iter().map(|m| m.starts_at).min())
            .unwrap_or(self.event.time)
    }

    /// Returns the end of the cooldown. It counts from the last event, or from the message if that
    /// was delayed by more than `group_wait`.
    pub(super) fn cooled_at(&self, policy: &Policy) -> Timestamp {
        let sent = self.sent.map(|sent| sent - policy.group_wait);
        self.last_event.max(sent.unwrap_or(self.last_event)) + policy.cooldown
    }

    /// Returns the end of its newest closed member, by the sender's clock.
    pub(super) fn ends_at(&self) -> Option<Timestamp> {
        self.members.iter().filter_map(|m| m.ends_at).max()
    }

    /// Returns the time of the newest event that said it is open, by the sender's clock.
    pub(super) fn last_said(&self) -> Timestamp {
        let open = self.members.iter().filter(|m| m.is_open());
        open.map(Member::last_opened)
            .max()
            .unwrap_or_else(|| self.began())
    }

    /// Returns whether it is about an unreachable device.
    pub(super) fn is_offline(&self) -> bool {
        let condition = self.event.condition.as_ref();
        self.event.device.is_some() && condition.is_some_and(|c| c.name.ends_with("_offline"))
    }

    /// Returns the journal time of its opening.
    pub(super) fn opened(&self) -> Timestamp {
        self.members
            .iter()
            .map(|m| m.opened)
            .min()
            .unwrap_or(self.last_event)
    }

    /// Returns a name for its subject: device, site, or else the rule.
    pub(super) fn label(&self) -> String {
        let subject = self.members.iter().flat_map(|m| &m.subjects).next();
        subject
            .and_then(|s| {
                s.device
                    .clone()
                    .or_else(|| s.device_mac.clone())
                    .or_else(|| s.site.clone())
            })
            .or_else(|| subject.and_then(|s| s.site_id.clone()))
            .unwrap_or_else(|| self.rule.to_string())
    }

    /// Returns the number of members that count towards a threshold: distinct values if the rule
    /// asks for them.
    pub(super) fn open_count(&self) -> usize {
        let open = || self.members.iter().filter(|m| m.is_open());
        let values: BTreeSet<&String> = open().filter_map(|m| m.value.as_ref()).collect();
        values.len() + open().filter(|m| m.value.is_none()).count()
    }

    /// Returns the subjects with their current state, in the order of opening.
    pub(super) fn subjects(&self) -> impl Iterator<Item = Subject> + '_ {
        // Alerts of an incident share one message: each subject carries its own condition and
        // times.
        let of = happening(&self.event);
        self.members.iter().flat_map(move |member| {
            let of = of.clone();
            member.subjects.iter().map(move |subject| Subject {
                of: of.clone(),
                starts_at: Some(member.starts_at),
                // The close of a condition without an end is no recovery.
                ends_at: if self.lasting { member.ends_at } else { None },
                events: member.events,
                changes: self.flap.as_ref().map_or(0, |flap| flap.changes),
                changing_ms: self.flap.as_ref().map_or(0, |f| {
                    u64::try_from(f.last.since(f.since).as_millis()).unwrap_or(0)
                }),
                part: member.part.clone().or_else(|| subject.part.clone()),
                ..subject.clone()
            })
        })
    }
}

/// Returns a summary of the event; `None` if a snapshot did not keep the event.
fn happening(event: &Event) -> Option<Box<Happening>> {
    let known = !event.kind.is_empty() || event.condition.is_some();
    // A rule may match the end of a condition: then the condition is not what happened.
    let condition = event
        .condition
        .as_ref()
        .filter(|_| event.phase != Phase::Close)
        .map(|c| c.name.to_string());
    known.then(|| {
        Box::new(Happening {
            kind: event.kind.clone(),
            condition,
            group: event.group.clone(),
        })
    })
}

/// Returns whether the part is a port whose name does not say so.
fn on_port(event: &Event, device: &crate::model::Device) -> bool {
    match (&event.condition, &device.port) {
        (Some(condition), _) if condition.sub_id.is_some() => condition.on_port,
        (_, Some(port)) => !port.to_ascii_lowercase().starts_with("port"),
        _ => false,
    }
}

/// Returns the subjects of an event: its device, the devices it lists, or its site.
fn subjects(event: &Event) -> Vec<Subject> {
    let base = Subject {
        site_id: event.site.id.clone(),
        site: event.site.name.clone(),
        org_id: event.org_id.clone(),
        ..Subject::default()
    };
    // Listed devices carry no site of their own.
    let of = |device: &crate::model::Device| Subject {
        device_mac: device.mac.clone(),
        device: device.name.clone(),
        device_type: device.kind.clone(),
        model: device.model.clone(),
        part: device.port.clone(),
        is_port: on_port(event, device),
        note: device.note.clone(),
        ..base.clone()
    };
    match &event.device {
        Some(device) => vec![of(device)],
        None if event.listed.is_empty() => vec![base],
        // The alarm counts all of them; the list may be long.
        None => event.listed.iter().take(MAX_SUBJECTS).map(of).collect(),
    }
}
