//! Plain data shared by all other modules, without behaviour of its own.
//!
//! Knows nothing of HTTP, SQLite, YAML or chats.

mod event;
mod event_id;
mod fates;
mod network;
mod notification;
mod outcome;
mod page_access;
mod receipt;
mod record;
mod secret;
mod setting;
mod text;
mod time;

pub(crate) use event::plain;
pub use event::{
    Cause, Clues, Condition, Device, Event, Field, Identity, Path, Phase, Severity, Site, exactly,
    removed_from,
};
pub use event_id::EventId;
pub use fates::{EventFates, MessageFates};
pub use network::Network;
pub use notification::{
    Collected, DigestOf, Gap, Happening, Insight, Link, Message, Notification, Reason, Subject,
};
pub use outcome::{EventOutcome, OutcomeChange, WaitsWith};
pub use page_access::PageAccess;
pub use receipt::Receipt;
pub use record::{Cursor, Journaled, Name, Record, RulesRecord, Seq, Silence, SourceKind, Until};
pub use secret::Secret;
pub use setting::{Setting, Shape};
pub use text::{is_invisible, normal};
pub use time::{Timestamp, human_duration, parse_duration, plural};
