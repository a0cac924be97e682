//! Notification about a destination that refuses everything.

use crate::destination::DestinationSettings;
use crate::model::{Message, Name, Notification, Reason, Severity, Timestamp};
use crate::render::markup;

/// Creates the message for `other` that `broken` accepts no messages.
pub(super) fn refusal(
    broken: &DestinationSettings,
    other: &Name,
    why: &str,
    wall: Timestamp,
) -> Message {
    let kind = broken.target.kind().label;
    // The notification has no rule and no alert, so the fields about them stay empty. One incident
    // per destination keeps repeated refusals together.
    let about = Notification {
        id: String::new(),
        at: wall,
        to: vec![other.clone()],
        source: Name::new("foghorn"),
        rule: "foghorn".to_owned(),
        template: None,
        reason: Reason::First,
        incident: format!("foghorn/destination/{}", broken.name),
        severity: Severity::Critical,
        topic: "foghorn".to_owned(),
        kind: "destination_refuses".to_owned(),
        condition: None,
        group: vec![("destination".to_owned(), broken.name.to_string())],
        subjects: vec![],
        firing: 0,
        more: 0,
        more_since: 0,
        started: wall,
        duration_ms: None,
        why: Some(why.to_owned()),
        detail: None,
        event: serde_json::Value::Null,
        insight: Default::default(),
        collected: None,
    };
    Message {
        title: format!(
            "{kind} destination `{}` refuses messages: {}",
            broken.name,
            markup::escape(why)
        ),
        text: "Its messages are kept and it is tried again every hour; a restart tries it at once."
            .to_owned(),
        facts: vec![],
        links: vec![],
        about,
        folded: vec![],
    }
}
