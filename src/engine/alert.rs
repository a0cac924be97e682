//! One rule on one subject.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::incident::Sample;
use crate::model::{Event, Name, Severity, Subject, Timestamp};

/// The number of an alert; higher is younger.
pub(super) type AlertId = u64;

/// How many subjects one alert names at most.
const MAX_SUBJECTS: usize = 50;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Members below the rule's threshold.
    Collecting,
    /// Open since `since` (journal time), for less than the rule's `for`.
    Pending { since: Timestamp },
    /// Open.
    Firing,
    /// Ended, but a reopening before `until` (journal time) is the same alert.
    Closing { until: Timestamp },
    /// Ended and told "down": the end is still to be told.
    Ended,
}

/// One rule on one subject, from its first event to the message that tells its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Alert {
    pub(super) rule: Arc<str>,
    pub(super) fingerprint: String,
    /// Whether it can end; what has no end is quiet for its `cooldown` instead.
    pub(super) lasting: bool,
    pub(super) state: State,
    pub(super) members: Vec<Member>,
    pub(super) severity: Severity,
    /// Journal time of the last event.
    pub(super) last_event: Timestamp,
    /// The incident, once it fires.
    pub(super) incident: Option<u64>,
    /// Destinations that know of it.
    pub(super) told_to: BTreeSet<Name>,
    /// Its first message was made, or nobody was there to tell.
    pub(super) settled: bool,
    /// How many of a threshold's members lasted on when it ended.
    #[serde(default)]
    pub(super) left: u64,
    /// Ended because nothing was heard of it.
    pub(super) stale: bool,
    /// Things the sender counted beyond those it listed.
    pub(super) more: u64,
    /// Events that came silently since the last message.
    pub(super) more_since: u64,
    /// Events whose fate this alert alone decides.
    pub(super) waiting: u64,
    /// Events whose fate it shares with other alerts.
    pub(super) tickets: Vec<u64>,
    /// What its rule groups by, until it fires: field, identity, label.
    pub(super) group: Vec<(String, String, String)>,
    /// What its event brought, until the incident takes it over.
    pub(super) sample: Option<Sample>,
    /// When its timer is due, if it has one.
    #[serde(skip)]
    pub(super) timer: Option<Timestamp>,
}

/// One thing that is open (or was) within an alert: usually the only one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    /// Condition and device (or site): what a close finds it by.
    pub(super) key: String,
    /// What tells it apart on that device.
    pub(super) part: Option<String>,
    /// What `threshold.distinct` counts.
    pub(super) value: Option<String>,
    /// Journal time it opened.
    pub(super) opened: Timestamp,
    /// When it began, by the sender's clock.
    pub(super) starts_at: Timestamp,
    /// When it ended, by the sender's clock.
    pub(super) ends_at: Option<Timestamp>,
    /// Whom it concerns.
    pub(super) subjects: Vec<Subject>,
    /// How many events told of it.
    pub(super) events: u64,
}

impl Member {
    pub(super) fn new(event: &Event, key: String, part: Option<String>, value: Option<String>, at: Timestamp) -> Self {
        Self {
            key,
            part,
            value,
            opened: at,
            starts_at: event.time,
            ends_at: None,
            subjects: subjects(event),
            events: 1,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.ends_at.is_none()
    }

    /// Another event about the same thing.
    pub(super) fn again(&mut self, event: &Event) {
        self.starts_at = self.starts_at.min(event.time);
        self.heard(event, true);
    }

    /// An event about it, whatever it says: it may bring names, and devices not listed before.
    pub(super) fn heard(&mut self, event: &Event, add: bool) {
        self.events += 1;
        let room = add && self.subjects.len() < MAX_SUBJECTS;
        for subject in subjects(event) {
            let same = |known: &Subject| match (&known.device_mac, &subject.device_mac) {
                (Some(known), Some(new)) => known == new,
                _ => known.device == subject.device,
            };
            match self.subjects.iter_mut().find(|known| same(known)) {
                Some(known) => {
                    known.device = subject.device.or_else(|| known.device.take());
                    known.site = subject.site.or_else(|| known.site.take());
                    known.model = subject.model.or_else(|| known.model.take());
                }
                None if subject.device.is_none() && subject.device_mac.is_none() => {}
                None if room => self.subjects.push(subject),
                None => {}
            }
        }
    }

    /// Whether one side lacking its part, or both having the same, makes them the same thing.
    pub(super) fn is_part(&self, part: Option<&String>) -> bool {
        match (&self.part, part) {
            (Some(own), Some(other)) => own.eq_ignore_ascii_case(other),
            _ => true,
        }
    }
}

impl Alert {
    /// Whether it is open and past its `for`.
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.state, State::Firing | State::Closing { .. })
    }

    /// How many members count towards a threshold: distinct values where the rule asks for them.
    pub(super) fn open_count(&self) -> usize {
        let open = || self.members.iter().filter(|m| m.is_open());
        let values: BTreeSet<&String> = open().filter_map(|m| m.value.as_ref()).collect();
        values.len() + open().filter(|m| m.value.is_none()).count()
    }

    /// The subjects as they stand, opening order.
    pub(super) fn subjects(&self) -> impl Iterator<Item = Subject> + '_ {
        self.members.iter().flat_map(|member| {
            member.subjects.iter().map(|subject| Subject {
                starts_at: Some(member.starts_at),
                ends_at: if self.lasting { member.ends_at } else { None },
                events: member.events,
                part: member.part.clone().or_else(|| subject.part.clone()),
                ..subject.clone()
            })
        })
    }
}

/// Whom an event concerns: its device; the devices it lists; else its site.
fn subjects(event: &Event) -> Vec<Subject> {
    let base = Subject {
        site_id: event.site.id.clone(),
        site: event.site.name.clone(),
        org_id: event.org_id.clone(),
        ..Subject::default()
    };
    let of = |device: &crate::model::Device| Subject {
        device_mac: device.mac.clone(),
        device: device.name.clone(),
        device_type: device.kind.clone(),
        model: device.model.clone(),
        part: device.port.clone(),
        ..base.clone()
    };
    match &event.device {
        Some(device) => vec![of(device)],
        None if event.listed.is_empty() => vec![base],
        None => event.listed.iter().take(MAX_SUBJECTS).map(of).collect(),
    }
}
