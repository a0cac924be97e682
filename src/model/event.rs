//! Events: the items of a source, in a normalised form.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EventId, Name, Timestamp};

/// The severity of an event or alert. Ordered: `Info < Warning < Critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth looking at.
    Warning,
    /// Worth waking up for.
    Critical,
}

impl Severity {
    /// Returns the word in rules.yaml and in messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Reads our words and Mist's (`warn`), ignoring case. Returns `None` for any other.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "info" => Some(Self::Info),
            "warn" | "warning" => Some(Self::Warning),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Returns the thing from which a device was removed by an event of this type; `None` for other
/// types.
#[must_use]
pub fn removed_from(kind: &str) -> Option<&'static str> {
    // Topics spell the same type with hyphens or underscores.
    let kind = kind.to_ascii_uppercase().replace('-', "_");
    match kind.rsplit('_').next() {
        Some("UNCLAIMED") => Some("the inventory"),
        Some("UNASSIGNED") => Some("its site"),
        _ => None,
    }
}

/// The effect of an event on its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The condition begins.
    Open,
    /// The condition ends.
    Close,
    /// The event has no end.
    Event,
}

impl Phase {
    /// Returns the word in rules.yaml.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Event => "event",
        }
    }
}

/// The condition that an event opens or closes, from the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Name in the catalogue, in lower case: `ap_offline`.
    pub name: Arc<str>,
    /// The part of the device (a port, a peer) if the event names one. Without it the condition is
    /// about the whole device.
    pub sub_id: Option<String>,
    /// True if the condition is about the site even though devices are listed.
    pub of_site: bool,
    /// True if `sub_id` is a port whose name does not say so.
    #[serde(default)]
    pub on_port: bool,
}

/// The site an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Mist's id; `None` for events of the organisation.
    pub id: Option<String>,
    /// Its name, if the event carries one.
    pub name: Option<String>,
}

/// A device an event is about or lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// 12 lower-case hex digits if the event has a well-formed MAC; otherwise the text as received,
    /// in lower case.
    pub mac: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// `ap`, `switch`, `gateway`, `mxedge`, or whatever else Mist says.
    pub kind: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its port, if the event names one.
    pub port: Option<String>,
    /// Further details from the event in a few words: "VLAN 77", "port ge-0/0/1 of sw-1".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Signals about other events of the device. Only the source can recognise them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clues {
    /// A condition of the device that this event disproves: only a connected device sends it.
    pub disproves: Option<Arc<str>>,
    /// True if the device was removed, so that no more events will follow.
    pub removed: bool,
    /// A possible cause of other events.
    pub cause: Option<Cause>,
    /// True if it ends planned work: an upgrade is over, or failed.
    pub ends_plan: bool,
    /// Id under which the action of an administrator is recorded.
    pub audit_id: Option<String>,
    /// Name of the administrator, if the event is that record.
    pub admin: Option<String>,
    /// Number of occurrences counted by the sender; 0 or 1 if there was no count.
    pub times: u64,
    /// Time of the last occurrence, if it is later than the event's own time.
    pub last: Option<Timestamp>,
}

/// A possible cause of an outage or a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Part of a sentence in the past tense, without a full stop: "an upgrade began".
    pub text: String,
    /// True if it takes the device down for a while on purpose.
    pub planned: bool,
    /// True if it affects devices connected to this one, not the device itself.
    pub elsewhere: bool,
    /// True if the device reports it after its recovery. It then counts although it arrives later.
    #[serde(default)]
    pub told_after: bool,
    /// True if the device has recovered from planned work.
    #[serde(default)]
    pub back: bool,
    /// Text that may name the affected device (the description of a port).
    pub mentions: Option<String>,
}

/// An event in normalised form, with the raw JSON for matching and templates.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Foghorn's number of the event.
    pub id: EventId,
    /// The source that sent it.
    pub source: Name,
    /// Mist's topic, always with hyphens: `device-events`.
    pub topic: Arc<str>,
    /// Mist's type as received; empty if there was none.
    pub kind: String,
    /// The condition it opens or closes; `None` for phase `Event`.
    pub condition: Option<Condition>,
    /// The effect on that condition.
    pub phase: Phase,
    /// Mist's severity, if there was one.
    pub severity: Option<Severity>,
    /// An alarm's group: `infrastructure`, `marvis`, `security`, …
    pub group: Option<String>,
    /// A Marvis action's status.
    pub status: Option<String>,
    /// The site.
    pub site: Site,
    /// The organisation's id.
    pub org_id: Option<String>,
    /// The device it is about; `None` for an event about a site.
    pub device: Option<Device>,
    /// The devices listed by an event about a site (perhaps a sample, see `more`).
    pub listed: Vec<Device>,
    /// Reasons: `reason`, then `reasons[]`.
    pub reasons: Vec<String>,
    /// Free text: `text`, `message`, or the alarm's suggestion.
    pub text: Option<String>,
    /// The sender's count (an alarm's `count`), at least 1.
    pub count: u64,
    /// Number of affected things beyond those it names.
    #[serde(default)]
    pub more: u64,
    /// Time of the event by the sender's clock, never later than `received`.
    pub time: Timestamp,
    /// True if the sender gave that time; otherwise `time` is `received`.
    pub own_time: bool,
    /// Time of arrival, by the wall clock.
    pub received: Timestamp,
    /// Signals about other events of its device.
    #[serde(default)]
    pub clues: Clues,
    /// Content hash, to recognise duplicates.
    pub digest: u64,
    /// The raw JSON from the sender.
    pub raw: Arc<Value>,
}

/// A path below `event.` in the raw JSON: `event.details.status`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Path(pub Vec<String>);

/// The fields a rule may name, in `match`, `by` and `group_by`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is the word of rules.yaml")]
pub enum Field {
    Id,
    Topic,
    Type,
    Condition,
    Phase,
    Severity,
    Group,
    Status,
    Site,
    SiteId,
    OrgId,
    Device,
    DeviceMac,
    DeviceType,
    Model,
    Port,
    Reason,
    Text,
    /// Anything else in the raw JSON: `event.<path>`.
    Raw(Path),
}

impl Field {
    /// Every named field with its word, in the order the documentation lists them.
    pub const NAMED: [(&'static str, Self); 18] = [
        ("id", Self::Id),
        ("topic", Self::Topic),
        ("type", Self::Type),
        ("condition", Self::Condition),
        ("phase", Self::Phase),
        ("severity", Self::Severity),
        ("group", Self::Group),
        ("status", Self::Status),
        ("site", Self::Site),
        ("site_id", Self::SiteId),
        ("org_id", Self::OrgId),
        ("device", Self::Device),
        ("device_mac", Self::DeviceMac),
        ("device_type", Self::DeviceType),
        ("model", Self::Model),
        ("port", Self::Port),
        ("reason", Self::Reason),
        ("text", Self::Text),
    ];

    /// Reads a field's word, or `event.<path>` with dots between the keys. Returns `None` for any
    /// other word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        if let Some(path) = word.strip_prefix("event.") {
            let keys: Vec<String> = path.split('.').map(str::to_owned).collect();
            return (!keys.iter().any(String::is_empty)).then_some(Self::Raw(Path(keys)));
        }
        Self::NAMED
            .into_iter()
            .find(|(name, _)| *name == word)
            .map(|(_, field)| field)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(path) => write!(f, "event.{}", path.0.join(".")),
            named => f.write_str(
                Self::NAMED
                    .iter()
                    .find(|(_, field)| field == named)
                    .map_or("", |(word, _)| word),
            ),
        }
    }
}

/// The text that identifies something: by id and MAC, by name only if there is neither. Two
/// identities are equal if and only if their texts are.
pub type Identity = String;

impl Event {
    /// Returns an empty event, as a placeholder where none was received.
    #[must_use]
    pub fn nothing(source: Name, at: Timestamp) -> Self {
        Self {
            id: EventId::default(),
            source,
            topic: Arc::from(""),
            kind: String::new(),
            condition: None,
            phase: Phase::Event,
            severity: None,
            group: None,
            status: None,
            site: Site::default(),
            org_id: None,
            device: None,
            listed: Vec::new(),
            reasons: Vec::new(),
            text: None,
            count: 1,
            more: 0,
            time: at,
            own_time: false,
            received: at,
            clues: Clues::default(),
            digest: 0,
            raw: Arc::new(Value::Null),
        }
    }

    /// Returns the event without its payload: enough to identify it, and small enough to keep many.
    #[must_use]
    pub fn slim(&self) -> Self {
        Self {
            raw: Arc::new(Value::Null),
            listed: Vec::new(),
            text: None,
            ..self.clone()
        }
    }

    /// Returns the time of its last occurrence.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.clues.last.unwrap_or(self.time)
    }

    /// Returns all values of a field: none if it is missing, several for lists (`reasons[]`,
    /// arrays). `site` and `device` have name, id and MAC as values.
    pub fn values(&self, field: &Field) -> Vec<Cow<'_, Value>> {
        fn text(value: &str) -> Cow<'static, Value> {
            Cow::Owned(Value::String(value.to_owned()))
        }
        fn maybe(value: Option<&String>) -> Vec<Cow<'static, Value>> {
            value.map(|v| text(v)).into_iter().collect()
        }
        let device = self.device.as_ref();
        match field {
            Field::Id => vec![text(&self.id.to_string())],
            Field::Topic => vec![text(&self.topic)],
            Field::Type if self.kind.is_empty() => Vec::new(),
            Field::Type => vec![text(&self.kind)],
            Field::Condition => self.condition.iter().map(|c| text(&c.name)).collect(),
            Field::Phase => vec![text(self.phase.word())],
            Field::Severity => self.severity.iter().map(|s| text(s.word())).collect(),
            Field::Group => maybe(self.group.as_ref()),
            Field::Status => maybe(self.status.as_ref()),
            Field::Site => self
                .site
                .name
                .iter()
                .chain(&self.site.id)
                .map(|s| text(s))
                .collect(),
            Field::SiteId => maybe(self.site.id.as_ref()),
            Field::OrgId => maybe(self.org_id.as_ref()),
            Field::Device => device
                .iter()
                .flat_map(|d| d.name.iter().chain(&d.mac))
                .map(|s| text(s))
                .collect(),
            Field::DeviceMac => maybe(device.and_then(|d| d.mac.as_ref())),
            Field::DeviceType => maybe(device.and_then(|d| d.kind.as_ref())),
            Field::Model => maybe(device.and_then(|d| d.model.as_ref())),
            Field::Port => maybe(device.and_then(|d| d.port.as_ref())),
            Field::Reason => self.reasons.iter().map(|s| text(s)).collect(),
            // A rule on `text` should find the reason, too: Mist puts it in either place.
            Field::Text => self
                .text
                .iter()
                .chain(self.reasons.iter())
                .map(|s| text(s))
                .collect(),
            Field::Raw(path) => raw_values(&self.raw, &path.0),
        }
    }

    /// Returns the identity of the event for a field, by which alerts are distinguished and
    /// grouped: site id before site name, MAC before device name. The text is empty if the field is
    /// missing.
    #[must_use]
    pub fn identity(&self, field: &Field) -> Identity {
        let device = self.device.as_ref();
        match field {
            Field::Site | Field::SiteId => self
                .site
                .id
                .clone()
                .or_else(|| self.site.name.clone())
                .unwrap_or_default(),
            Field::Device | Field::DeviceMac => device
                .and_then(|d| d.mac.clone().or_else(|| d.name.clone()))
                .unwrap_or_default(),
            _ => {
                let mut values: Vec<String> = self.values(field).iter().map(|v| plain(v)).collect();
                // The order within a list says nothing.
                if matches!(field, Field::Raw(_)) {
                    values.sort_unstable();
                }
                values.join(",")
            }
        }
    }

    /// Returns [`Event::identity`] for people, with the site's name instead of its id.
    #[must_use]
    pub fn label(&self, field: &Field) -> String {
        let device = self.device.as_ref();
        match field {
            Field::Site => self
                .site
                .name
                .clone()
                .or_else(|| self.site.id.clone())
                .unwrap_or_default(),
            Field::Device => device
                .and_then(|d| d.name.clone().or_else(|| d.mac.clone()))
                .unwrap_or_default(),
            other => self.identity(other),
        }
    }
}

fn raw_values<'a>(value: &'a Value, path: &[String]) -> Vec<Cow<'a, Value>> {
    let Some((key, rest)) = path.split_first() else {
        return match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items
                .iter()
                .filter(|v| !v.is_null())
                .map(Cow::Borrowed)
                .collect(),
            one => vec![Cow::Borrowed(one)],
        };
    };
    match value {
        Value::Object(map) => map
            .get(key)
            .map(|v| raw_values(v, rest))
            .unwrap_or_default(),
        // A path goes through lists, as in `event.ports.name`.
        Value::Array(items) => items
            .iter()
            .flat_map(|item| raw_values(item, path))
            .collect(),
        _ => Vec::new(),
    }
}

/// Returns a value of `match` that matches only this text. A `*`, or a `/` at the beginning, would
/// make it a pattern.
#[must_use]
pub fn exactly(text: &str) -> String {
    if text.contains('*') || text.starts_with('/') {
        format!("/^{}$/", regex::escape(text))
    } else {
        text.to_owned()
    }
}

/// Returns a JSON scalar as text, strings without their quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
