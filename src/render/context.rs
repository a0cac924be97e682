//! The documented names of templates, with their values for one notification. See docs/templates.md
//! for users.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::helpers::{capitalise, humanise, mac};
use super::kinds::{self, Kinds};
use super::markup;
use crate::model::{
    Collected, Happening, Message, Notification, Reason, Subject, human_duration, removed_from,
};

/// All names of templates.
pub(super) const NAMES: [&str; 71] = [
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
    "id",
    "cause",
    "evidence",
    "removed",
    "unfollowed",
    "behind",
    "behind_total",
    "behind_nouns",
    "behind_back",
    "behind_back_total",
    "behind_dark",
    "behind_dark_total",
    "changes",
    "changing",
    "ended",
    "ended_total",
    "lasting",
    "lasting_total",
    "updown",
    "collected",
    "kinds",
    "condition_words",
    "because",
    "behind_other",
    "behind_dark_words",
    "remaining",
    "remaining_total",
    "within",
    "whom",
    "note",
    "by_device",
    "meanwhile",
];

/// All names of an item of `subjects`, `ended`, `lasting`, `remaining`, `behind`, `behind_back` and
/// `behind_dark`.
pub(super) const SUBJECT: [&str; 17] = [
    "site_id",
    "site",
    "device_mac",
    "device",
    "device_type",
    "model",
    "part",
    "note",
    "org_id",
    "starts_at",
    "ends_at",
    "events",
    "changes",
    "changing_ms",
    "changing",
    "name",
    "kinds",
];

/// All names of an item of `group`.
pub(super) const GROUP: [&str; 2] = ["name", "value"];

/// All names within `collected`.
pub(super) const COLLECTED: [&str; 7] = [
    "maintenance",
    "since",
    "events",
    "quiet",
    "total",
    "more",
    "items",
];

/// All names of an item of `collected.items`.
pub(super) const ITEM: [&str; 11] = [
    "at",
    "rule",
    "reason",
    "incident",
    "severity",
    "topic",
    "type",
    "condition",
    "title",
    "more",
    "subjects",
];

/// Maximum length of lists, so that no template can run for long.
const MAX_LIST: usize = 100;

/// Returns the names and their values.
pub(super) fn of(whole: &Notification) -> Value {
    // A message with beginnings and ends is named after the beginnings.
    let begins = matches!(
        whole.reason,
        Reason::First | Reason::NewEvents | Reason::Absent
    );
    let lasting = || whole.subjects.iter().filter(|s| s.ends_at.is_none());
    let meanwhile = begins && (1..whole.subjects.len()).contains(&lasting().count());
    let begun = meanwhile.then(|| Notification {
        subjects: lasting().cloned().collect(),
        ..whole.clone()
    });
    let all = begun.as_ref().unwrap_or(whole);
    let kinds = Kinds::of(&all.subjects);
    // Several alerts may be about the same device: people want to read its name once.
    let about = &Notification {
        subjects: kinds::each_once(&all.subjects),
        ..all.clone()
    };
    let Value::Object(mut names) = data(about) else {
        return Value::Null;
    };
    let first = about.subjects.first();
    let total = (about.subjects.len() as u64).saturating_add(about.more);
    let many = total > 1;
    let (noun, nouns) = noun_of(&about.subjects);
    let over = matches!(about.reason, Reason::Resolved | Reason::Recovered);
    let part = first.and_then(|s| s.part.clone()).filter(|_| !many);
    // a very long one would push out of the title what happened to it
    let name = markup::cut(&name(about, total, noun, nouns), 80);
    let site = common_site(about);
    // A word of ours may be capitalised, but not the name of a device.
    let ours = ["port ", "switch ", "gateway "]
        .iter()
        .any(|word| name.starts_with(word));
    let what = kinds.words().unwrap_or_else(|| what(about));
    // A note is shown only if it applies to all subjects and is not part of their name.
    let note = first.and_then(|s| s.note.clone()).filter(|note| {
        let all = about.more == 0 && about.subjects.iter().all(|s| s.note.as_ref() == Some(note));
        all && !name.contains(note.as_str())
    });
    let within = about.insight.within_ms;
    let more = json!({
        "whom": whom(&name, noun, &what),
        "note": note,
        "within": changing(within),
        "by_device": is_by_device(about, &kinds),
        "Name": if ours { capitalise(&name) } else { name.clone() },
        "place": site.as_ref().filter(|site| **site != name),
        "total": total,
        "many": many,
        "name": name,
        "noun": noun,
        "nouns": nouns,
        "be": if many { "are" } else { "is" },
        "have": if many { "have" } else { "has" },
        "condition_words": kinds.conditions().or_else(|| about.condition.as_deref().map(humanise)).unwrap_or_else(|| what.clone()),
        "what": what,
        "kinds": kinds.all().len().max(1),
        "because": because(about).map(spaced).filter(|_| !many && kinds.all().len() < 2),
        "over": over,
        "unfollowed": about.insight.unfollowed,
        "removed": about.insight.evidence.as_deref().and_then(removed_from),
        "meanwhile": meanwhile,
        "still": about.reason == Reason::Repeat,
        "part": part,
        "device": first.and_then(device_name),
        "site": site,
        "updown": is_updown(about, &kinds),
        "changing": changing(about.subjects.iter().map(|s| s.changing_ms).max().unwrap_or_default()),
    });
    let (behind, other) = behind(all);
    list(
        &mut names,
        "subjects",
        about.subjects.iter().collect(),
        &kinds,
    );
    list(
        &mut names,
        "behind",
        behind.iter().collect(),
        &Kinds::of(&[]),
    );
    // Templates with both kinds in one message need each list on its own.
    for (ended, lasting, subjects) in [
        ("ended", "lasting", &whole.subjects),
        ("behind_back", "behind_dark", &behind),
    ] {
        let (over, not): (Vec<Subject>, Vec<Subject>) =
            subjects.iter().cloned().partition(|s| s.ends_at.is_some());
        list(
            &mut names,
            ended,
            kinds::each_once(&over).iter().collect(),
            &Kinds::of(&over),
        );
        list(
            &mut names,
            lasting,
            kinds::each_once(&not).iter().collect(),
            &Kinds::of(&not),
        );
    }
    let remaining = kinds::each_once(&about.insight.remaining);
    list(
        &mut names,
        "remaining",
        remaining.iter().collect(),
        &Kinds::of(&remaining).beside(&kinds),
    );
    names.insert(
        "remaining_total".to_owned(),
        about.insight.remaining_total.into(),
    );
    let dark: Vec<Subject> = behind
        .iter()
        .filter(|s| s.ends_at.is_none())
        .cloned()
        .collect();
    names.insert("behind_dark_words".to_owned(), kinds::counted(&dark).into());
    let (one, several) = noun_of(&behind);
    names.insert(
        "behind_nouns".to_owned(),
        if behind.len() == 1 { one } else { several }.into(),
    );
    names.insert("behind_other".to_owned(), other.into());
    if let Value::Object(more) = more {
        names.extend(more);
    }
    let mut names = Value::Object(names);
    // Values from events may be long or deep: the bound protects every template.
    bound(&mut names, 0);
    names
}

/// Returns the devices that are unreachable because of it, and in words the other suppressed
/// problems that are still open.
pub(super) fn behind(about: &Notification) -> (Vec<Subject>, Option<String>) {
    let own: HashSet<&str> = about
        .subjects
        .iter()
        .filter_map(Subject::device_key)
        .collect();
    // A device in the message itself is not behind it.
    let itself = |s: &Subject| s.device_key().is_some_and(|device| own.contains(device));
    let offline = |s: &Subject| {
        s.of.as_deref().is_none_or(|of| {
            of.condition
                .as_deref()
                .is_some_and(|c| c.ends_with("_offline"))
        })
    };
    let (dark, other): (Vec<Subject>, Vec<Subject>) = about
        .insight
        .behind
        .iter()
        .cloned()
        .partition(|s| offline(s) && !itself(s));
    let told = |s: &Subject| about.subjects.iter().any(|own| kinds::is_one_thing(own, s));
    let lasting: Vec<Subject> = other
        .into_iter()
        .filter(|s| s.ends_at.is_none() && !offline(s) && !told(s))
        .collect();
    // The port of a device that is down says nothing.
    let dark: Vec<Subject> = dark
        .into_iter()
        .map(|s| Subject { part: None, ..s })
        .collect();
    (kinds::each_once(&dark), Kinds::of(&lasting).words())
}

/// Returns the reason, if the text does not contain it anyway.
fn because(about: &Notification) -> Option<&str> {
    let why = about.why.as_deref().filter(|why| !why.trim().is_empty())?;
    let said = about.detail.as_deref().unwrap_or_default().to_lowercase();
    (![why.to_lowercase(), spaced(why).to_lowercase()]
        .iter()
        .any(|why| said.contains(why)))
    .then_some(why)
}

/// Returns `power_cycle` in words; a reason that has words is unchanged.
fn spaced(reason: &str) -> String {
    if reason.contains(' ') {
        reason.to_owned()
    } else {
        reason.replace('_', " ")
    }
}

/// Adds a list of subjects for templates, and its full length, since a long one is cut.
fn list(names: &mut Map<String, Value>, name: &str, subjects: Vec<&Subject>, kinds: &Kinds) {
    // The total of `subjects` includes those that are only counted, see `of`.
    if name != "subjects" {
        names.insert(format!("{name}_total"), subjects.len().into());
    }
    let items = subjects.into_iter().take(MAX_LIST).map(|of| {
        let mut item = subject(of);
        if let Value::Object(item) = &mut item {
            item.insert("name".to_owned(), subject_name(of).into());
            item.insert("changing".to_owned(), changing(of.changing_ms));
            item.insert("kinds".to_owned(), kinds.of_one(of).into());
        }
        item
    });
    names.insert(name.to_owned(), items.collect());
}

/// Returns a duration for people.
fn changing(millis: u64) -> Value {
    if millis == 0 {
        Value::Null
    } else {
        human_duration(Duration::from_millis(millis)).into()
    }
}

/// Returns whether it goes up and down, like a device or a port. A DHCP failure at a site has other
/// words.
fn is_updown(about: &Notification, kinds: &Kinds) -> bool {
    let goes = |condition: Option<&str>| {
        condition.is_some_and(|c| c.ends_with("_offline") || kinds::is_of_port(c))
    };
    match kinds.all() {
        [] | [_] => goes(about.condition.as_deref()),
        all => all.iter().all(|of| goes(of.condition.as_deref())),
    }
}

/// Returns the notification as documented JSON: the default body of a webhook, and the core of
/// every template's names.
pub(crate) fn data(about: &Notification) -> Value {
    // Lists are complete here: only templates need the bound.
    let subjects: Vec<Value> = about.subjects.iter().map(subject).collect();
    let insight = &about.insight;
    json!({
        "id": about.id,
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
        "cause": insight.cause,
        "evidence": insight.evidence,
        "behind": insight.behind.iter().map(subject).collect::<Vec<_>>(),
        "changes": about.subjects.iter().map(|s| s.changes).fold(0, u64::saturating_add),
        "collected": about.collected.as_deref().map(collected),
        "event": about.event,
    })
}

/// Returns the content of a digest. `more` counts the items beyond the list.
fn collected(all: &Collected) -> Value {
    let items = all.items.iter().take(MAX_LIST).map(|item| {
        json!({
            "at": item.at.rfc3339(),
            "rule": item.rule,
            "reason": item.reason.word(),
            "incident": item.incident,
            "severity": item.severity.word(),
            "topic": item.topic,
            "type": item.kind,
            "condition": item.condition,
            // The titles are rendered later, see `add_texts`.
            "title": Value::Null,
            "more": item.more,
            "subjects": item.subjects.iter().take(MAX_LIST).map(subject).collect::<Vec<_>>(),
        })
    });
    let total = (all.items.len() as u64).saturating_add(all.more);
    json!({
        "maintenance": all.maintenance,
        "since": all.since.rfc3339(),
        "events": all.events,
        "quiet": all.quiet,
        "total": total,
        "more": total.saturating_sub(all.items.len().min(MAX_LIST) as u64),
        "items": items.collect::<Vec<_>>(),
    })
}

/// Adds the values that only a rendered message has: its title and text as plain text, and the
/// title of each collected item.
pub(crate) fn add_texts(names: &mut Value, message: &Message) {
    let items = names
        .pointer_mut("/collected/items")
        .and_then(Value::as_array_mut);
    // Items and titles have the same order.
    for (item, of) in items.into_iter().flatten().zip(&message.folded) {
        if let Value::Object(item) = item {
            item.insert("title".to_owned(), markup::plain(&of.title).into());
        }
    }
    if let Value::Object(names) = names {
        names.insert("title".to_owned(), markup::plain(&message.title).into());
        names.insert("text".to_owned(), markup::plain(&message.text).into());
    }
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
        "note": subject.note,
        "org_id": subject.org_id,
        "starts_at": subject.starts_at.map(|t| t.rfc3339()),
        "ends_at": subject.ends_at.map(|t| t.rfc3339()),
        "events": subject.events,
        "changes": subject.changes,
        "changing_ms": subject.changing_ms,
    })
}

/// Returns the type in words, for subjects without a kind.
fn what(about: &Notification) -> String {
    let kind = if about.kind.is_empty() {
        &about.topic
    } else {
        &about.kind
    };
    kinds::type_words(&Happening {
        kind: kind.clone(),
        ..Happening::default()
    })
}

/// Returns the name without the type of device if the words beside it contain that: "Switch loop
/// detected: sw-garage".
fn whom(name: &str, noun: &str, what: &str) -> String {
    let says_so = what
        .to_lowercase()
        .starts_with(&format!("{} ", noun.to_lowercase()));
    let bare = name
        .strip_prefix(noun)
        .and_then(|rest| rest.strip_prefix(' '))
        .filter(|_| says_so);
    bare.unwrap_or(name).to_owned()
}

/// Returns whether a device has the problem and not its site: an AP's RadSec, but not DHCP.
fn is_by_device(about: &Notification, kinds: &Kinds) -> bool {
    // The prefix of the type names the kind of device that reports the problem about itself.
    let own = |word: &str| {
        let word = word.to_ascii_lowercase();
        ["ap_", "sw_", "gw_", "me_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    };
    let named = about
        .subjects
        .iter()
        .all(|s| s.device.is_some() || s.device_mac.is_some());
    named
        && match kinds.all() {
            [] => own(about.condition.as_ref().unwrap_or(&about.kind)),
            all => all
                .iter()
                .all(|of| own(of.condition.as_ref().unwrap_or(&of.kind))),
        }
}

/// Returns the name of a site. Without a name it is the beginning of the id, since a complete one
/// is hard to read.
fn site_label(name: Option<&String>, id: Option<&String>) -> Option<String> {
    name.cloned().or_else(|| id.map(|id| short_id(id)))
}

fn short_id(id: &str) -> String {
    let is_id = id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    id.get(..8)
        .filter(|_| is_id)
        .map_or_else(|| id.to_owned(), |short| format!("site {short}"))
}

/// Returns the name of the subjects: `AP kitchen`, `port ge-0/0/1 of sw-1`, `3 APs`, `Home`.
fn name(about: &Notification, total: u64, noun: &str, nouns: &str) -> String {
    let Some(first) = about.subjects.first() else {
        return about
            .group
            .iter()
            .map(|(_, value)| short_id(value))
            .find(|v| !v.is_empty())
            .unwrap_or_default();
    };
    // Several subjects are counted; their names are in the text.
    if total > 1 {
        return match kinds::devices(about) {
            Some(1) if about.more == 0 && noun != "port" => parts_of(about, first),
            Some(devices) if noun != "port" => {
                format!("{} {nouns}", (devices as u64).saturating_add(about.more))
            }
            _ => format!("{total} {nouns}"),
        };
    }
    let name = subject_name(first);
    // A device named "switch-1" needs no "switch" before it.
    let has_noun = name.to_lowercase().starts_with(&noun.to_lowercase());
    match (&first.part, device_name(first)) {
        (Some(part), Some(device)) if first.is_port => format!("port {part} of {device}"),
        (Some(part), Some(device)) => format!("{part} of {device}"),
        (None, Some(_)) if !has_noun && noun != "device" => format!("{noun} {name}"),
        _ => name,
    }
}

/// Returns the name for several parts of one device: `a and b of gw-1`, `5 on gw-1`. If a part has
/// no name, it is the name of the device.
fn parts_of(about: &Notification, first: &Subject) -> String {
    let device = device_name(first).unwrap_or_default();
    let parts: Option<Vec<String>> = about.subjects.iter().map(|s| s.part.clone()).collect();
    match parts {
        Some(parts) if parts.len() <= 3 => format!("{} of {device}", kinds::row(&parts)),
        Some(parts) => format!("{} on {device}", parts.len()),
        None => device,
    }
}

/// Returns the name of a subject: its device (with its part), or its site; names before ids.
pub(super) fn subject_name(subject: &Subject) -> String {
    let part = match &subject.part {
        Some(part) if subject.is_port => format!(" port {part}"),
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
    let named = |text: String| {
        if text.len() == 36 {
            text.get(..8).map(str::to_owned).unwrap_or(text)
        } else {
            mac(&text)
        }
    };
    given(&subject.device).or_else(|| given(&subject.device_mac).map(named))
}

/// Returns the site of all subjects; `None` if there are several.
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
    // Without subjects the group may still name the site.
    match first {
        Some(first)
            if about
                .subjects
                .iter()
                .all(|s| site(s).as_ref() == Some(&first)) =>
        {
            Some(first)
        }
        Some(_) => None,
        None => grouped(),
    }
}

fn noun_of(subjects: &[Subject]) -> (&'static str, &'static str) {
    if !subjects.is_empty()
        && subjects
            .iter()
            .all(|s| s.device.is_none() && s.device_mac.is_none())
    {
        return ("site", "sites");
    }
    if !subjects.is_empty() && subjects.iter().all(|s| s.part.is_some() && s.is_port) {
        return ("port", "ports");
    }
    // Different types have only the general word in common.
    let kind = subjects.first().and_then(|s| s.device_type.as_deref());
    let all = kind.filter(|kind| {
        subjects
            .iter()
            .all(|s| s.device_type.as_deref() == Some(kind))
    });
    kinds::nouns(all.unwrap_or_default())
}

/// Cuts long lists, long texts and deep nesting.
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
