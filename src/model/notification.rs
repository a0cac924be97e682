//! Notifications (the data of a message) and messages (rendered text).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Name, Severity, Timestamp};

/// The reason a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The first message of an incident.
    First,
    /// More alerts joined an incident that was already sent.
    NewEvents,
    /// Some subjects have recovered while others have not.
    Recovered,
    /// A reminder that it is still open.
    Repeat,
    /// The whole incident has ended.
    Resolved,
    /// No event arrived for `stale_after`; it is no longer tracked.
    Stale,
    /// It goes up and down too often to send each change.
    Flapping,
    /// It has not changed for a while: the present state.
    Stable,
    /// An event that should keep arriving is missing.
    Absent,
    /// Several messages in one: at a digest's time, after a maintenance, or because the
    /// destination's pace would have delayed them.
    Digest,
}

impl Reason {
    /// Returns whether it is about something open, not about an end.
    #[must_use]
    pub const fn begins(self) -> bool {
        matches!(
            self,
            Self::First | Self::NewEvents | Self::Absent | Self::Flapping | Self::Repeat
        )
    }

    /// Returns the word in tests, templates and JSON.
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

/// A subject of a message: a device, a part of it, or a site. All times are wall time.
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
    /// The part of the device: a port, a peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// True if `part` is a port whose name does not say so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_port: bool,
    /// Further details from its latest event, in a few words: a channel, a VLAN, an uplink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The organisation's id, for links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// Beginning, by the sender's clock.
    pub starts_at: Option<Timestamp>,
    /// End; `None` while it is open, and if it has no end.
    pub ends_at: Option<Timestamp>,
    /// Number of events about it.
    pub events: u64,
    /// Number of changes between up and down while it flapped; 0 if it did not.
    #[serde(skip_serializing_if = "is_zero")]
    pub changes: u64,
    /// Time in which these changes happened, in milliseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub changing_ms: u64,
    /// The event that affected it, if known: one message may cover several kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<Box<Happening>>,
}

impl Subject {
    /// Returns the key of its device: the MAC, or else the name. `None` if it is not about a
    /// device.
    #[must_use]
    pub fn device_key(&self) -> Option<&str> {
        self.device_mac.as_deref().or(self.device.as_deref())
    }
}

/// The kind of event that opened the alert of a [`Subject`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Happening {
    /// Mist's type.
    pub kind: String,
    /// The condition, if there is one.
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

/// Facts from other events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Insight {
    /// The probable cause, as part of a sentence: "an upgrade restarted it".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Type of the event that proves the end, if the event that announces it was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Subjects that are unreachable because of it, and have no message of their own. Those with
    /// `ends_at` have recovered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<Subject>,
    /// Other open subjects of the incident, if they are few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<Subject>,
    /// Number of other open subjects.
    #[serde(skip_serializing_if = "is_zero")]
    pub remaining_total: u64,
    /// True if the alerts are not tracked because too many are open: no recovery will follow.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unfollowed: bool,
    /// Time in milliseconds in which the rule counted these events without an end.
    #[serde(skip_serializing_if = "is_zero")]
    pub within_ms: u64,
}

/// The content of a digest, or of a report about a maintenance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collected {
    /// True for a maintenance, false for a digest.
    pub maintenance: bool,
    /// Wall time of the first item.
    pub since: Timestamp,
    /// Number of events in that time.
    pub events: u64,
    /// Number of those events that no message covered.
    pub quiet: u64,
    /// Number of items beyond `items`.
    pub more: u64,
    /// The items in the order of their time, with their present state and without raw events.
    pub items: Vec<Notification>,
}

/// The data of a message: the documented context of templates and of a webhook's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Short name of this message, by which people can refer to it: 6 letters and digits.
    #[serde(default)]
    pub id: String,
    /// Wall time of the decision.
    pub at: Timestamp,
    /// The destinations.
    pub to: Vec<Name>,
    /// The source of the latest event, for links into the right portal.
    pub source: Name,
    /// The rule's name.
    pub rule: String,
    /// The template named by the rule; `None`: chosen by condition, type and topic.
    pub template: Option<String>,
    /// The reason it is sent now.
    pub reason: Reason,
    /// The incident it belongs to. Messages of one incident arrive in order.
    pub incident: String,
    /// Highest severity of the incident.
    pub severity: Severity,
    /// Mist's topic of the latest event.
    pub topic: String,
    /// Mist's type of the latest event.
    pub kind: String,
    /// The condition, if there is one.
    pub condition: Option<String>,
    /// Values of the rule's `group_by` for people: `[("site", "Home")]`.
    pub group: Vec<(String, String)>,
    /// The subjects: those that are new, or have ended (with `ends_at`), in the order of their
    /// opening.
    pub subjects: Vec<Subject>,
    /// Number of subjects of the incident that are still open after this message.
    pub firing: u64,
    /// Number of things the sender counted beyond the subjects it listed: "and N more".
    pub more: u64,
    /// Number of events suppressed since the last message ("12 more since").
    pub more_since: u64,
    /// Earliest beginning of its subjects, by the sender's clock.
    pub started: Timestamp,
    /// Duration of the outage once it is resolved, or so far in a reminder.
    pub duration_ms: Option<u64>,
    /// Reason in the latest event, if there is one.
    pub why: Option<String>,
    /// Text of the latest event, if there is one.
    pub detail: Option<String>,
    /// Raw JSON of the latest event; `Null` if it was not kept.
    pub event: Value,
    /// Facts from other events.
    #[serde(default)]
    pub insight: Insight,
    /// The content of a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<Box<Collected>>,
}

/// A link for further details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The text people click.
    pub label: String,
    /// An absolute URL.
    pub url: String,
}

/// A rendered notification, in the neutral markup of [`crate::render::markup`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Title, one line.
    pub title: String,
    /// Text, one to a few sentences.
    pub text: String,
    /// Names and values.
    pub facts: Vec<(String, String)>,
    /// Links for further details.
    pub links: Vec<Link>,
    /// The data of the message.
    pub about: Notification,
    /// The notifications included in a digest, so that it can be included in another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folded: Vec<DigestOf>,
}

/// A notification inside a digest, without the raw event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DigestOf {
    /// Wall time of the decision.
    pub at: Timestamp,
    /// The rule's name.
    pub rule: String,
    /// The reason.
    pub reason: Reason,
    /// The incident.
    pub incident: String,
    /// Its severity.
    pub severity: Severity,
    /// The condition, if there is one: an AP that was offline "was down".
    #[serde(default)]
    pub condition: Option<String>,
    /// Number of things counted beyond its subjects.
    #[serde(default)]
    pub more: u64,
    /// Number of events suppressed since the message before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_since: u64,
    /// Its title, in the neutral markup.
    pub title: String,
    /// Its subjects.
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
