//! One rule on one subject.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Event, Happening, Name, Phase, Severity, Subject, Timestamp, removed_from};
use crate::rules::Policy;

use super::table::Names;

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
    /// Open, and past its `for`. Without an incident something keeps it quiet.
    Firing,
    /// Goes up and down too often to be told each time.
    Flapping,
    /// Ended, but a reopening before `until` (journal time) is the same alert.
    Closing { until: Timestamp },
    /// Ended and told "down": the end is still to be told.
    Ended,
}

/// How an alert flaps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Flap {
    /// How often it changed.
    pub(super) changes: u64,
    /// Journal time of the first and the last change counted.
    pub(super) since: Timestamp,
    pub(super) last: Timestamp,
    /// Destinations that know that it flaps.
    pub(super) told: BTreeSet<Name>,
}

impl Flap {
    /// When it will have been calm for long enough; at once where its rule does not look for it any
    /// more.
    pub(super) fn calm_at(&self, policy: &Policy) -> Timestamp {
        self.last
            + policy
                .flapping
                .map_or(Duration::ZERO, |flapping| flapping.stable)
    }
}

/// What keeps an alert from being told, and until when (journal time) if time ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quiet {
    pub(super) by: By,
    pub(super) until: Option<Timestamp>,
}

/// What keeps an alert from being told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum By {
    /// It waits for an alert that may explain it.
    Hold,
    /// This alert explains it.
    Source(AlertId),
    /// A silence.
    Silence(String),
    /// Its rule's intervals.
    Mute,
    /// Its rule's intervals, for good.
    Drop,
    /// A maintenance.
    Maintenance(Name),
}

impl By {
    /// The outcome of events that it kept quiet to the end, as a metric label.
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

/// Something that cannot be reached because of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Dark {
    pub(super) alert: AlertId,
    pub(super) subject: Subject,
}

/// What stands for the event in snapshots that did not keep it.
fn nothing() -> Arc<Event> {
    Arc::new(Event::nothing(Name::new(""), Timestamp::EPOCH))
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
    pub(super) told_to: Names,
    /// Destinations that its rule named only after it was told: they hear of what begins later.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub(super) late: Names,
    /// The rule as it was when it told of it, where that ends it otherwise than the one in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) past: Option<u64>,
    /// Its first message was made, or nobody was there to tell.
    pub(super) settled: bool,
    /// Journal time of the last message that notified someone of its beginning.
    #[serde(default)]
    pub(super) sent: Option<Timestamp>,
    /// How many of a threshold's members lasted on when it ended.
    #[serde(default)]
    pub(super) left: u64,
    /// Ended because nothing was heard of it.
    pub(super) stale: bool,
    /// How it flaps, while it does and until it was told that it does not any more.
    #[serde(default)]
    pub(super) flap: Option<Flap>,
    /// It does not flap any more, which is to be told.
    #[serde(default)]
    pub(super) stable: bool,
    /// What keeps it from being told.
    #[serde(default)]
    pub(super) quiet: Option<Quiet>,
    /// It is for the digests only.
    #[serde(default)]
    pub(super) for_digests: bool,
    /// Whether it takes part in what explains what: from when it is open to when it is over.
    #[serde(default)]
    pub(super) related: bool,
    /// Whether another alert explained it at any time.
    #[serde(default)]
    pub(super) explained: bool,
    /// Alerts that explain it.
    #[serde(default)]
    pub(super) sources: BTreeSet<AlertId>,
    /// What it explains, or explained.
    #[serde(default)]
    pub(super) behind: Vec<Dark>,
    /// When something that it should explain was heard, by the sender's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refuted: Option<Timestamp>,
    /// The type of the event that shows that it is over though none said so.
    #[serde(default)]
    pub(super) evidence: Option<String>,
    /// Things the sender counted beyond those it listed.
    pub(super) more: u64,
    /// Events that came silently since the last message.
    pub(super) more_since: u64,
    /// Events whose outcome this alert alone decides.
    pub(super) waiting: u64,
    /// Events whose outcome it shares with other alerts.
    pub(super) tickets: Vec<u64>,
    /// What its rule groups by: field, identity, label.
    pub(super) group: Vec<(String, String, String)>,
    /// The event that opened it, for what is matched and told later.
    #[serde(default = "nothing")]
    pub(super) event: Arc<Event>,
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
    /// When it began, by the sender's clock: the start people see.
    pub(super) starts_at: Timestamp,
    /// The newest opening, by the sender's clock: an end that is older was overtaken by it. Later
    /// than `starts_at` where the outage was told of again, or was reopened before its end was
    /// told. `None` in snapshots of older releases: `starts_at`.
    #[serde(default)]
    pub(super) newest: Option<Timestamp>,
    /// When it ended, by the sender's clock.
    pub(super) ends_at: Option<Timestamp>,
    /// Whom it concerns.
    pub(super) subjects: Vec<Subject>,
    /// How many events told of it.
    pub(super) events: u64,
    /// How often the sender counted it.
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

    /// Another event about the same thing.
    pub(super) fn again(&mut self, event: &Event) {
        self.newest = Some(self.newest.unwrap_or(self.starts_at).max(event.latest()));
        self.starts_at = self.starts_at.min(event.time);
        self.heard(event, true);
    }

    /// The second of its newest opening: what ends it is not older.
    pub(super) fn last_opened(&self) -> Timestamp {
        self.newest.unwrap_or(self.starts_at).whole()
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
                    known.is_port |= subject.is_port;
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

    /// Whether one side lacking its part, or a piece of it, or both having the same, makes them the
    /// same thing.
    pub(super) fn is_part(&self, part: Option<&String>) -> bool {
        let within = |part: &str, other: &str| {
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

    /// Whether it is that very part.
    fn is_exactly(&self, part: Option<&String>) -> bool {
        match (&self.part, part) {
            (Some(own), Some(other)) => own.eq_ignore_ascii_case(other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}

impl Alert {
    /// Where the member is that an opening tells of again, and whether it is that very one: others
    /// stand for it only where there is none.
    pub(super) fn member(&self, key: &str, part: Option<&String>) -> Option<(usize, bool)> {
        let place = |fits: &dyn Fn(&Member) -> bool| {
            self.members.iter().position(|m| m.key == key && fits(m))
        };
        let exact = place(&|m| m.is_exactly(part)).map(|place| (place, true));
        exact.or_else(|| place(&|m| m.is_part(part)).map(|place| (place, false)))
    }

    /// Whether it is open and past its `for`.
    pub(super) fn is_alive(&self) -> bool {
        matches!(
            self.state,
            State::Firing | State::Closing { .. } | State::Flapping
        )
    }

    /// Whether it is on its way to be told, or was: then it may explain others.
    pub(super) fn is_active(&self) -> bool {
        self.lasting && (self.is_alive() || matches!(self.state, State::Pending { .. }))
    }

    /// Whether nobody waits for its end: it has none and was told, or nobody was there to tell.
    pub(super) fn is_spare(&self) -> bool {
        self.settled && (!self.lasting || self.told_to.is_empty())
    }

    /// Whether it is over since its device was removed.
    pub(super) fn is_removed(&self) -> bool {
        self.evidence.as_deref().and_then(removed_from).is_some()
    }

    /// Returns how many events it decides the outcome of.
    pub(super) fn waits_with(&self) -> u64 {
        self.waiting + self.tickets.len() as u64
    }

    /// Whether it should be told, but something keeps it quiet.
    pub(super) fn is_held(&self) -> bool {
        self.quiet.is_some()
    }

    /// When it began, by the sender's clock.
    pub(super) fn began(&self) -> Timestamp {
        let open = self
            .members
            .iter()
            .filter(|m| m.is_open())
            .map(|m| m.starts_at)
            .min();
        open.or_else(|| self.members.iter().map(|m| m.starts_at).min())
            .unwrap_or(self.event.time)
    }

    /// When the cooldown of what has no end is over: counted from its last event, or from its
    /// message where that waited for more than company.
    pub(super) fn cooled_at(&self, policy: &Policy) -> Timestamp {
        let sent = self.sent.map(|sent| sent - policy.group_wait);
        self.last_event.max(sent.unwrap_or(self.last_event)) + policy.cooldown
    }

    /// When it ended, by the sender's clock: all of it, as far as it did.
    pub(super) fn ends_at(&self) -> Option<Timestamp> {
        self.members.iter().filter_map(|m| m.ends_at).max()
    }

    /// When it was last said that it lasts, by the sender's clock.
    pub(super) fn last_said(&self) -> Timestamp {
        let open = self.members.iter().filter(|m| m.is_open());
        open.map(Member::last_opened)
            .max()
            .unwrap_or_else(|| self.began())
    }

    /// Whether it is about a device that cannot be reached.
    pub(super) fn is_offline(&self) -> bool {
        let condition = self.event.condition.as_ref();
        self.event.device.is_some() && condition.is_some_and(|c| c.name.ends_with("_offline"))
    }

    /// Journal time at which it opened.
    pub(super) fn opened(&self) -> Timestamp {
        self.members
            .iter()
            .map(|m| m.opened)
            .min()
            .unwrap_or(self.last_event)
    }

    /// What people call what it is about.
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

    /// How many members count towards a threshold: distinct values where the rule asks for them.
    pub(super) fn open_count(&self) -> usize {
        let open = || self.members.iter().filter(|m| m.is_open());
        let values: BTreeSet<&String> = open().filter_map(|m| m.value.as_ref()).collect();
        values.len() + open().filter(|m| m.value.is_none()).count()
    }

    /// The subjects as they stand, opening order.
    pub(super) fn subjects(&self) -> impl Iterator<Item = Subject> + '_ {
        let of = happening(&self.event);
        self.members.iter().flat_map(move |member| {
            let of = of.clone();
            member.subjects.iter().map(move |subject| Subject {
                of: of.clone(),
                starts_at: Some(member.starts_at),
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

/// What an event says happened; nothing where a snapshot did not keep it.
fn happening(event: &Event) -> Option<Box<Happening>> {
    let known = !event.kind.is_empty() || event.condition.is_some();
    // the end of something may be told for its own sake
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

/// Whether what tells a device's trouble apart is a port that does not say so itself.
fn on_port(event: &Event, device: &crate::model::Device) -> bool {
    match (&event.condition, &device.port) {
        (Some(condition), _) if condition.sub_id.is_some() => condition.on_port,
        (_, Some(port)) => !port.to_ascii_lowercase().starts_with("port"),
        _ => false,
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
        is_port: on_port(event, device),
        note: device.note.clone(),
        ..base.clone()
    };
    match &event.device {
        Some(device) => vec![of(device)],
        None if event.listed.is_empty() => vec![base],
        None => event.listed.iter().take(MAX_SUBJECTS).map(of).collect(),
    }
}
