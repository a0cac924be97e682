//! The documented names a template may use, and their values for one notification.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::helpers::{capitalise, humanise, mac};
use crate::model::{Notification, Reason, Subject, human_duration};

/// Every name a template may use.
pub(super) const NAMES: [&str; 39] = [
    "at",
    "destination",
    "rule",
    "reason",
    "incident",
    "severity",
    "topic",
    "type",
    "condition",
    "title",
    "text",
    "subjects",
    "event",
    "duration",
    "duration_ms",
    "count",
    "more",
    "more_since",
    "firing",
    "site",
    "device",
    "started",
    "why",
    "detail",
    "group",
    "source",
    "total",
    "many",
    "name",
    "noun",
    "nouns",
    "be",
    "have",
    "what",
    "over",
    "still",
    "part",
    "Name",
    "place",
];

/// Every name of an item of `subjects`.
pub(super) const SUBJECT: [&str; 12] = [
    "site_id",
    "site",
    "device_mac",
    "device",
    "device_type",
    "model",
    "part",
    "org_id",
    "starts_at",
    "ends_at",
    "events",
    "name",
];

/// Every name of an item of `group`.
pub(super) const GROUP: [&str; 2] = ["name", "value"];

/// Lists are cut to this many items, so that no template can be made to run for long.
const MAX_LIST: usize = 100;

/// The names and their values.
pub(super) fn of(about: &Notification) -> Value {
    let about = &told_apart(about);
    let Value::Object(mut names) = data(about) else { return Value::Null };
    let first = about.subjects.first();
    let total = (about.subjects.len() as u64).saturating_add(about.more);
    let many = total > 1;
    let (noun, nouns) = noun(about);
    let over = matches!(about.reason, Reason::Resolved | Reason::Recovered);
    let part = first.and_then(|s| s.part.clone()).filter(|_| !many);
    let name = name(about, total, noun, nouns);
    let site = common_site(about);
    // a word of ours may be capitalised, a device's name may not
    let ours = ["port ", "switch ", "gateway "].iter().any(|word| name.starts_with(word));
    let more = json!({
        "Name": if ours { capitalise(&name) } else { name.clone() },
        "place": site.as_ref().filter(|site| **site != name),
        "total": total,
        "many": many,
        "name": name,
        "noun": noun,
        "nouns": nouns,
        "be": if many { "are" } else { "is" },
        "have": if many { "have" } else { "has" },
        "what": what(about),
        "over": over,
        "still": about.reason == Reason::Repeat,
        "part": part,
        "device": first.and_then(device_name),
        "site": site,
    });
    if let Value::Object(more) = more {
        names.extend(more);
    }
    if let Some(Value::Array(subjects)) = names.get_mut("subjects") {
        for (value, subject) in subjects.iter_mut().zip(&about.subjects) {
            if let Value::Object(value) = value {
                value.insert("name".to_owned(), subject_name(subject).into());
            }
        }
    }
    let mut names = Value::Object(names);
    bound(&mut names, 0);
    names
}

/// The notification as documented JSON: what a webhook sends by default, and the core of every template's names.
pub(crate) fn data(about: &Notification) -> Value {
    let subjects: Vec<Value> = about.subjects.iter().map(subject).collect();
    json!({
        "at": about.at.rfc3339(),
        "destination": about.to.first().map(|name| name.as_str().to_owned()),
        "source": about.source.as_str(),
        "rule": about.rule,
        "reason": about.reason.word(),
        "incident": about.incident,
        "severity": about.severity.word(),
        "topic": about.topic,
        "type": about.kind,
        "condition": about.condition,
        "group": about.group.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>(),
        "subjects": subjects,
        "count": about.subjects.iter().map(|s| s.events).fold(0, u64::saturating_add),
        "firing": about.firing,
        "more": about.more,
        "more_since": about.more_since,
        "started": about.started.rfc3339(),
        "duration": about.duration_ms.map(|ms| human_duration(Duration::from_millis(ms))),
        "duration_ms": about.duration_ms,
        "why": about.why,
        "detail": about.detail,
        "event": about.event,
    })
}

fn subject(subject: &Subject) -> Value {
    json!({
        "site_id": subject.site_id,
        "site": subject.site,
        "device_mac": subject.device_mac,
        "device": subject.device,
        "device_type": subject.device_type,
        "model": subject.model,
        "part": subject.part,
        "org_id": subject.org_id,
        "starts_at": subject.starts_at.map(|t| t.rfc3339()),
        "ends_at": subject.ends_at.map(|t| t.rfc3339()),
        "events": subject.events,
    })
}

/// The same device told of with its port (or peer) and without is one thing to people.
fn told_apart(about: &Notification) -> Cow<'_, Notification> {
    if about.subjects.len() < 2 {
        return Cow::Borrowed(about);
    }
    let device = |s: &Subject| s.device_mac.clone().or_else(|| s.device.clone());
    let with_part: HashSet<String> = about.subjects.iter().filter(|s| s.part.is_some()).filter_map(device).collect();
    let stays = |s: &Subject| s.part.is_some() || device(s).is_none_or(|device| !with_part.contains(&device));
    if about.subjects.iter().all(stays) {
        return Cow::Borrowed(about);
    }
    let subjects = about.subjects.iter().filter(|s| stays(s)).cloned().collect();
    Cow::Owned(Notification { subjects, ..about.clone() })
}

/// The type in words; of a type that is a mere number, that it is an event.
fn what(about: &Notification) -> String {
    let kind = if about.kind.is_empty() { &about.topic } else { &about.kind };
    if kind.bytes().all(|b| b.is_ascii_digit()) { format!("Event {kind}") } else { humanise(kind) }
}

/// Whether what tells a thing apart on its device is a port's name, and does not say so itself.
fn is_port(part: &str) -> bool {
    let part = part.to_ascii_lowercase();
    let digits = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    part.contains('/')
        || ["ge-", "xe-", "et-", "mge-", "eth", "ae", "irb", "me"]
            .iter()
            .any(|p| part.strip_prefix(p).is_some_and(digits))
}

/// A site without a name by the beginning of its id: a whole one reads badly, and tells no more.
fn site_label(name: Option<&String>, id: Option<&String>) -> Option<String> {
    name.cloned().or_else(|| id.map(|id| short_id(id)))
}

fn short_id(id: &str) -> String {
    let is_id = id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    id.get(..8).filter(|_| is_id).map_or_else(|| id.to_owned(), |short| format!("site {short}"))
}

/// `AP kitchen`, `port ge-0/0/1 of sw-1`, `3 APs`, `Home`.
fn name(about: &Notification, total: u64, noun: &str, nouns: &str) -> String {
    let Some(first) = about.subjects.first() else {
        return about.group.iter().map(|(_, value)| short_id(value)).find(|v| !v.is_empty()).unwrap_or_default();
    };
    if total > 1 {
        return format!("{total} {nouns}");
    }
    let name = subject_name(first);
    let has_noun = name.to_lowercase().starts_with(&noun.to_lowercase());
    match (&first.part, device_name(first)) {
        (Some(part), Some(device)) if is_port(part) => format!("port {part} of {device}"),
        (Some(part), Some(device)) => format!("{part} of {device}"),
        (None, Some(_)) if !has_noun && noun != "device" => format!("{noun} {name}"),
        _ => name,
    }
}

/// What one subject is called: its device (with its part), else its site; names before ids.
pub(super) fn subject_name(subject: &Subject) -> String {
    let part = match &subject.part {
        Some(part) if is_port(part) => format!(" port {part}"),
        Some(part) => format!(" {part}"),
        None => String::new(),
    };
    match device_name(subject) {
        Some(device) => device + &part,
        None => site_label(subject.site.as_ref(), subject.site_id.as_ref()).unwrap_or_default(),
    }
}

fn device_name(subject: &Subject) -> Option<String> {
    let given = |text: &Option<String>| text.clone().filter(|t| !t.trim().is_empty());
    let named =
        |text: String| if text.len() == 36 { text.get(..8).map(str::to_owned).unwrap_or(text) } else { mac(&text) };
    given(&subject.device).or_else(|| given(&subject.device_mac).map(named))
}

/// The site all subjects share; none when there are several.
fn common_site(about: &Notification) -> Option<String> {
    let site = |s: &Subject| site_label(s.site.as_ref(), s.site_id.as_ref());
    let first = about.subjects.first().and_then(site);
    let grouped = || {
        about
            .group
            .iter()
            .find(|(name, _)| name == "site")
            .map(|(_, value)| short_id(value))
            .filter(|site| !site.is_empty())
    };
    match first {
        Some(first) if about.subjects.iter().all(|s| site(s).as_ref() == Some(&first)) => Some(first),
        Some(_) => None,
        None => grouped(),
    }
}

fn noun(about: &Notification) -> (&'static str, &'static str) {
    let subjects = &about.subjects;
    if !subjects.is_empty() && subjects.iter().all(|s| s.device.is_none() && s.device_mac.is_none()) {
        return ("site", "sites");
    }
    if subjects.iter().any(|s| s.part.as_deref().is_some_and(is_port)) {
        return ("port", "ports");
    }
    let kind = subjects.first().and_then(|s| s.device_type.as_deref());
    match kind.filter(|kind| subjects.iter().all(|s| s.device_type.as_deref() == Some(kind))) {
        Some("ap") => ("AP", "APs"),
        Some("switch") => ("switch", "switches"),
        Some("gateway") => ("gateway", "gateways"),
        Some("mxedge") => ("Mist Edge", "Mist Edges"),
        _ => ("device", "devices"),
    }
}

/// Cuts long lists, long texts and deep nests.
fn bound(value: &mut Value, depth: usize) {
    match value {
        Value::Array(items) => {
            items.truncate(MAX_LIST);
            items.iter_mut().for_each(|item| bound(item, depth + 1));
        }
        Value::Object(map) if depth > 16 => *map = Map::new(),
        Value::Object(map) => map.values_mut().for_each(|item| bound(item, depth + 1)),
        Value::String(text) if text.len() > 8_192 => *text = super::markup::cut(text, 2_048),
        _ => {}
    }
}
