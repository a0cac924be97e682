//! A text, as markup of a template and as a value of an event: to payloads.

use foghorn::model::{Link, Message, Name, Notification, Reason, Severity};
use foghorn::render::markup;

use super::{NOW, payload};

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(&data[..data.len().min(1_000)]);
    let spans = markup::parse(&text);
    assert!(
        spans
            .iter()
            .map(|span| span.what.plain().len())
            .sum::<usize>()
            <= text.len() + spans.len() * 32
    );
    // a value reads as itself, and is nothing but text
    let value = markup::escape(&text);
    assert_eq!(markup::plain(&value), markup::clean(&text));
    assert!(
        markup::parse(&value)
            .iter()
            .all(|span| matches!(span.what, markup::What::Text(_)) && !span.bold)
    );
    let flags = data.first().copied().unwrap_or_default();
    payload::check(&message(&text, flags));
    let escaped = message(&value, flags);
    payload::check(&escaped);
}

/// A message that says this everywhere a template may.
pub fn message(text: &str, flags: u8) -> Message {
    let reasons = [
        Reason::First,
        Reason::Resolved,
        Reason::Digest,
        Reason::Flapping,
        Reason::Stale,
        Reason::Repeat,
    ];
    let severities = [Severity::Info, Severity::Warning, Severity::Critical];
    let pick = usize::from(flags);
    let about = Notification {
        id: text.chars().take(6).collect(),
        at: NOW,
        to: vec![Name::new("ops")],
        source: Name::new("mist"),
        rule: text.to_owned(),
        template: None,
        reason: reasons[pick % reasons.len()],
        incident: text.to_owned(),
        severity: severities[pick % severities.len()],
        topic: text.to_owned(),
        kind: text.to_owned(),
        condition: Some(text.to_owned()),
        group: vec![(text.to_owned(), text.to_owned())],
        subjects: Vec::new(),
        firing: 1,
        more: 0,
        more_since: 0,
        started: NOW,
        duration_ms: None,
        why: Some(text.to_owned()),
        detail: Some(text.to_owned()),
        event: serde_json::Value::Null,
        insight: Default::default(),
        collected: None,
    };
    let link = Link {
        label: text.to_owned(),
        url: "https://manage.mist.com/admin/?a=(1)&b=2".to_owned(),
    };
    let line = text.lines().next().unwrap_or_default();
    Message {
        title: line.to_owned(),
        text: text.repeat(1 + pick % 8),
        facts: vec![(line.to_owned(), text.to_owned()); pick % 16],
        links: vec![link; pick % 9],
        about,
        folded: Vec::new(),
    }
}
