//! What to say (data), and how it reads (rendered).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Name, Severity, Timestamp};

/// Why a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The first message of an incident.
    First,
    /// More joined an incident already told.
    NewEvents,
    /// Some are back while others are not.
    Recovered,
    /// A reminder that it still lasts.
    Repeat,
    /// The whole incident is over.
    Resolved,
    /// Nothing was heard of it for `stale_after`; it is no longer followed.
    Stale,
    /// It goes up and down too often to be told each time.
    Flapping,
    /// Nothing changed any more for a while: the state as it is.
    Stable,
    /// What should keep coming does not come.
    Absent,
    /// Several messages in one: at a digest's time, after a maintenance, or because the
    /// destination's pace would have delayed them.
    Digest,
}

impl Reason {
    /// Whether it speaks of something that lasts now, rather than of an end.
    #[must_use]
    pub const fn begins(self) -> bool {
        matches!(
            self,
            Self::First | Self::NewEvents | Self::Absent | Self::Flapping | Self::Repeat
        )
    }

    /// The word in tests, templates and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::NewEvents => "new-events",
            Self::Recovered => "recovered",
            Self::Repeat => "repeat",
            Self::Resolved => "resolved",
            Self::Stale => "stale",
            Self::Flapping => "flapping",
            Self::Stable => "stable",
            Self::Absent => "absent",
            Self::Digest => "digest",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One thing a message is about: a device, a port of it, or a site. All times are wall time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// The sender's id of the site.
    pub site_id: Option<String>,
    /// The site's name.
    pub site: Option<String>,
    /// 12 lower-case hex digits.
    pub device_mac: Option<String>,
    /// The device's name.
    pub device: Option<String>,
    /// `ap`, `switch`, `gateway`, `mxedge` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<String>,
    /// Its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What tells it apart on the device: a port, a peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Whether `part` names a port, and does not say so itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_port: bool,
    /// What its latest event says of it beside, in a few words: a channel, a VLAN, where it hangs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The organisation's id, for links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// When it began, by the sender's clock.
    pub starts_at: Option<Timestamp>,
    /// When it ended; `None` while it lasts and for what has no end.
    pub ends_at: Option<Timestamp>,
    /// How many events told of it.
    pub events: u64,
    /// How often it changed between well and not while it flapped; 0 where it did not.
    #[serde(skip_serializing_if = "is_zero")]
    pub changes: u64,
    /// Within how long these changes came, in milliseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub changing_ms: u64,
    /// What happened to it, where that is known: one message may speak of several kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<Box<Happening>>,
}

impl Subject {
    /// What its device is known by: the MAC, or the name where there is none. `None` of what is
    /// about no device.
    #[must_use]
    pub fn device_key(&self) -> Option<&str> {
        self.device_mac.as_deref().or(self.device.as_deref())
    }
}

/// What happened to a [`Subject`]: that of the event that opened its alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Happening {
    /// Mist's type.
    pub kind: String,
    /// The condition, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Mist's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What the stream of events knows beside the event that tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Insight {
    /// What happened just before and explains it, as half a sentence: "an upgrade restarted it".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The type of the event that shows that it is over, where no event said so: its own was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// What cannot be reached because of it, and is not told on its own; with `ends_at` what is
    /// back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<Subject>,
    /// What else of the incident still lasts, where it is little enough to be named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<Subject>,
    /// How much that is.
    #[serde(skip_serializing_if = "is_zero")]
    pub remaining_total: u64,
    /// Too many alerts are open to follow these: no message will say when they are over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unfollowed: bool,
    /// Within how many milliseconds its rule counted so many events without an end.
    #[serde(skip_serializing_if = "is_zero")]
    pub within_ms: u64,
}

/// What a digest, or a report about a maintenance, stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collected {
    /// Whether a maintenance hid these; else they were kept for a digest.
    pub maintenance: bool,
    /// Wall time since when they were collected.
    pub since: Timestamp,
    /// How many events came in that time.
    pub events: u64,
    /// How many of them no message told of.
    pub quiet: u64,
    /// What is not among `items`, because there are too many.
    pub more: u64,
    /// What was not told at its time, in its order, as it stands now. Without raw events.
    pub items: Vec<Notification>,
}

/// What to tell, as data: the documented context of templates and of a webhook's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// A short name for this very message, for people to ask about it: 6 letters and digits.
    #[serde(default)]
    pub id: String,
    /// Wall time at which it was decided.
    pub at: Timestamp,
    /// Whom to tell.
    pub to: Vec<Name>,
    /// The source of the telling event, for links into the right portal.
    pub source: Name,
    /// The rule's name.
    pub rule: String,
    /// The template the rule names; `None`: chosen by condition, type and topic.
    pub template: Option<String>,
    /// Why now.
    pub reason: Reason,
    /// Which conversation it belongs to. Messages of one incident arrive in order.
    pub incident: String,
    /// The incident's highest.
    pub severity: Severity,
    /// Mist's topic of the telling event.
    pub topic: String,
    /// Mist's type of the telling event.
    pub kind: String,
    /// The condition, where there is one.
    pub condition: Option<String>,
    /// What the rule groups by, as people read it: `[("site", "Home")]`.
    pub group: Vec<(String, String)>,
    /// Whom it concerns: what is new, or what ended (those with `ends_at`). Opening order.
    pub subjects: Vec<Subject>,
    /// How many subjects of the incident still last after this message.
    pub firing: u64,
    /// Things the sender counted beyond the subjects it listed: "and N more".
    pub more: u64,
    /// Events that came silently since the last message ("12 more since").
    pub more_since: u64,
    /// When the incident began (the earliest start of its subjects), by the sender's clock.
    pub started: Timestamp,
    /// How long it lasted, once resolved; how long it has lasted, in a repeat.
    pub duration_ms: Option<u64>,
    /// The telling event's reason, where it has one.
    pub why: Option<String>,
    /// The telling event's text, where it has one.
    pub detail: Option<String>,
    /// The telling event's raw JSON; `Null` where it is no longer at hand.
    pub event: Value,
    /// What else is known.
    #[serde(default)]
    pub insight: Insight,
    /// Of a digest: what it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<Box<Collected>>,
}

/// Where to look further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What people click.
    pub label: String,
    /// An absolute URL.
    pub url: String,
}

/// How a notification reads: rendered, in the neutral markup of [`crate::render::markup`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// One line.
    pub title: String,
    /// One to a few sentences.
    pub text: String,
    /// Name and value.
    pub facts: Vec<(String, String)>,
    /// Where to look further.
    pub links: Vec<Link>,
    /// What it says, as data.
    pub about: Notification,
    /// Of a digest: the notifications it stands for, so that it can be folded again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folded: Vec<DigestOf>,
}

/// One notification inside a digest, without the raw event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DigestOf {
    /// When it was decided, wall time.
    pub at: Timestamp,
    /// The rule's name.
    pub rule: String,
    /// Why.
    pub reason: Reason,
    /// The incident.
    pub incident: String,
    /// Its severity.
    pub severity: Severity,
    /// The condition, where there is one: an AP that was offline "was down".
    #[serde(default)]
    pub condition: Option<String>,
    /// Things counted beyond its subjects.
    #[serde(default)]
    pub more: u64,
    /// Events that came silently since the message before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_since: u64,
    /// Its title, in the neutral markup.
    pub title: String,
    /// Whom it concerned.
    pub subjects: Vec<Subject>,
    /// Devices behind these, which no message of their own tells of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<Subject>,
}

/// Time in which a destination took no message. All times are wall time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The chat, as people call it: `Slack`.
    pub chat: String,
    /// The first try that failed.
    pub from: Timestamp,
    /// The first message taken afterwards.
    pub to: Timestamp,
}
