//! One item of what a source sent, normalised once.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EventId, Name, Timestamp};

/// How much it matters. Ordered: `Info < Warning < Critical`.
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
    /// The word in rules.yaml and in messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Reads our words and Mist's (`warn`), without regard to case. `None` for any other.
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

/// What a type says that its device was removed from; `None` for any other type.
#[must_use]
pub fn removed_from(kind: &str) -> Option<&'static str> {
    let kind = kind.to_ascii_uppercase().replace('-', "_");
    match kind.rsplit('_').next() {
        Some("UNCLAIMED") => Some("the inventory"),
        Some("UNASSIGNED") => Some("its site"),
        _ => None,
    }
}

/// What an event does to its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It begins.
    Open,
    /// It ends.
    Close,
    /// Something that has no end.
    Event,
}

impl Phase {
    /// The word in rules.yaml.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Event => "event",
        }
    }
}

/// What an event opens or closes, from the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Lower case, as in the catalogue: `ap_offline`.
    pub name: Arc<str>,
    /// What tells two conditions of one device apart (a port, a peer), where the event says so. A
    /// side without it stands for the whole device.
    pub sub_id: Option<String>,
    /// Whether the condition is about the site even though devices are listed.
    pub of_site: bool,
    /// Whether `sub_id` names a port, and does not say so itself.
    #[serde(default)]
    pub on_port: bool,
}

/// The site an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Mist's id; absent for what belongs to the organisation.
    pub id: Option<String>,
    /// Its name, where the event carries one.
    pub name: Option<String>,
}

/// A device an event is about or lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// 12 lower-case hex digits where the event has a well-formed MAC, else the text as it came,
    /// lower-cased.
    pub mac: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// `ap`, `switch`, `gateway`, `mxedge`, or whatever else Mist says.
    pub kind: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its port, where the event says which.
    pub port: Option<String>,
    /// What the event says of it beside what happened, in a few words: "VLAN 77", "port ge-0/0/1
    /// of sw-1".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What an event tells about other events of its device: what only its source can know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clues {
    /// A condition of its device that cannot last, since this came: only a connected device sends
    /// it.
    pub disproves: Option<Arc<str>>,
    /// That is since its device was removed: nothing will be heard of it any more.
    pub removed: bool,
    /// What it may be the cause of.
    pub cause: Option<Cause>,
    /// It ends what was planned: an upgrade is over, or failed.
    pub ends_plan: bool,
    /// What people do is recorded under this id.
    pub audit_id: Option<String>,
    /// It is that record: who did it.
    pub admin: Option<String>,
    /// How often the sender counted the one thing it is about; 0 and 1 alike where it did not.
    pub times: u64,
    /// When the last of those times was, where that is later than the event's own time.
    pub last: Option<Timestamp>,
}

/// Something that may be why its device goes down, or came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Half a sentence, past tense, without a full stop: "an upgrade began".
    pub text: String,
    /// It takes the device away for a while, on purpose.
    pub planned: bool,
    /// Not of its own device but of what hangs on it.
    pub elsewhere: bool,
    /// The device says so of itself once it is back: then it counts though it comes after.
    #[serde(default)]
    pub told_after: bool,
    /// Its device is back from what was planned.
    #[serde(default)]
    pub back: bool,
    /// Text that may name what hangs on it (the description of a port).
    pub mentions: Option<String>,
}

/// One event, normalised, with the raw JSON kept for matching and templates.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Foghorn's own number of it.
    pub id: EventId,
    /// The source it came from.
    pub source: Name,
    /// Mist's topic, hyphens throughout: `device-events`.
    pub topic: Arc<str>,
    /// Mist's type as it came; empty where it sent none.
    pub kind: String,
    /// What it opens or closes. `None` for phase `Event`.
    pub condition: Option<Condition>,
    /// What it does to that condition.
    pub phase: Phase,
    /// As Mist says, where it says.
    pub severity: Option<Severity>,
    /// An alarm's group: `infrastructure`, `marvis`, `security`, …
    pub group: Option<String>,
    /// A Marvis action's status.
    pub status: Option<String>,
    /// The site.
    pub site: Site,
    /// The organisation's id.
    pub org_id: Option<String>,
    /// The one device it is about; `None` for what is about a site.
    pub device: Option<Device>,
    /// The devices an event about a site lists (perhaps a sample, see `more`).
    pub listed: Vec<Device>,
    /// Why: `reason`, then `reasons[]`.
    pub reasons: Vec<String>,
    /// Free text: `text`, `message`, or what the alarm suggests.
    pub text: Option<String>,
    /// How many the sender counted in this one (an alarm's `count`), at least 1.
    pub count: u64,
    /// How many things more it tells of than it names: the sender only counted them.
    #[serde(default)]
    pub more: u64,
    /// When it happened, by the sender's clock, never later than `received`.
    pub time: Timestamp,
    /// Whether the sender gave that time (false: `time` is `received`).
    pub own_time: bool,
    /// When we got it, by the wall clock.
    pub received: Timestamp,
    /// What it tells about other events of its device.
    #[serde(default)]
    pub clues: Clues,
    /// Its content's fingerprint, for recognising it when it comes again.
    pub digest: u64,
    /// What the sender sent.
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
    /// Anything else the sender sent: `event.<path>`.
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

    /// Reads a field's word, or `event.<path>` with dots between the path's keys. `None` for any
    /// other.
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

/// What tells one thing from another: by id and MAC, by name only where there is none. Two
/// identities are equal exactly when their texts are.
pub type Identity = String;

impl Event {
    /// An event nobody sent: what stands where there was none.
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

    /// The same without what the sender sent: enough to know it by, small enough to keep many.
    #[must_use]
    pub fn slim(&self) -> Self {
        Self {
            raw: Arc::new(Value::Null),
            listed: Vec::new(),
            text: None,
            ..self.clone()
        }
    }

    /// When it happened, the last time where it did several times.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.clues.last.unwrap_or(self.time)
    }

    /// Every value the event has for a field: none when it lacks it, several for lists
    /// (`reasons[]`, arrays) and for `site` and `device`, which answer to name, id and MAC
    /// alike.
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
            Field::Text => self
                .text
                .iter()
                .chain(self.reasons.iter())
                .map(|s| text(s))
                .collect(),
            Field::Raw(path) => raw_values(&self.raw, &path.0),
        }
    }

    /// What this event is for a field when alerts are told apart or grouped: site id before site
    /// name, MAC before device name; the empty text where it lacks the field.
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
                // A list of them is the same in any order.
                if matches!(field, Field::Raw(_)) {
                    values.sort_unstable();
                }
                values.join(",")
            }
        }
    }

    /// As [`Event::identity`], for people: the site's name rather than its id.
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
        Value::Array(items) => items
            .iter()
            .flat_map(|item| raw_values(item, path))
            .collect(),
        _ => Vec::new(),
    }
}

/// The value of `match` that fits this text alone: with a `*`, or a `/` at its beginning, it would
/// be read as a pattern.
#[must_use]
pub fn exactly(text: &str) -> String {
    if text.contains('*') || text.starts_with('/') {
        format!("/^{}$/", regex::escape(text))
    } else {
        text.to_owned()
    }
}

/// A JSON scalar as text, strings without their quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
