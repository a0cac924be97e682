//! The catalogue of Mist's types: what each opens or closes, how it is called, what it is about.
//! Data, in `catalogue.tsv`; a type not in it still works.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::model::Severity;
use crate::source::Role;

/// What a type is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// One device; an alarm that lists several is one event for each.
    Device,
    /// A site; the devices listed are its subjects.
    Site,
    /// The alarm's impacted entities, one event for each.
    Entity,
}

/// One type Mist is known to send.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// `alarm`, `device-event` or `mxedge-event`.
    pub(super) family: &'static str,
    /// As Mist spells it.
    pub(super) kind: &'static str,
    /// An alarm's group; empty where unknown.
    pub(super) group: &'static str,
    /// Mist's severity, where published.
    pub(super) severity: Option<Severity>,
    /// What it does to its condition.
    pub(super) role: Option<Role>,
    /// The condition; empty without a role.
    pub(super) condition: &'static str,
    /// The field that tells two conditions of one device apart; `text:<word>` is the word after
    /// that in its text or reasons, `unit` what they number of a chassis; `a|b` is `b` where
    /// there is no `a`, and `a+b` both together.
    pub(super) sub_id: &'static str,
    /// What it is about.
    pub(super) about: About,
}

impl Entry {
    /// The topic events of this type come on.
    #[must_use]
    pub(super) fn topic(&self) -> &'static str {
        match self.family {
            "alarm" => "alarms",
            "mxedge-event" => "mxedge-events",
            _ => "device-events",
        }
    }
}

struct Catalogue {
    entries: Vec<Entry>,
    by_kind: HashMap<String, Vec<usize>>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let entries: Vec<Entry> = include_str!("catalogue.tsv")
        .lines()
        .skip(1)
        .filter_map(entry)
        .collect();
    let mut by_kind: HashMap<String, Vec<usize>> = HashMap::new();
    for (position, entry) in entries.iter().enumerate() {
        by_kind.entry(key(entry.kind)).or_default().push(position);
    }
    Catalogue { entries, by_kind }
});

fn entry(line: &'static str) -> Option<Entry> {
    let columns: Vec<&'static str> = line.split('\t').collect();
    let column = |n: usize| columns.get(n).copied().unwrap_or_default();
    Some(Entry {
        family: columns.first().copied()?,
        kind: columns.get(1).copied()?,
        group: column(3),
        severity: Severity::parse(column(4)),
        role: match column(5) {
            "opens" => Some(Role::Opens),
            "closes" => Some(Role::Closes),
            "status" => Some(Role::Status),
            _ => None,
        },
        condition: column(6),
        sub_id: column(7),
        about: match column(8) {
            "site" => About::Site,
            "entity" => About::Entity,
            _ => About::Device,
        },
    })
}

/// Types compare without regard to case and with `-` = `_`.
fn key(kind: &str) -> String {
    kind.to_ascii_lowercase().replace('-', "_")
}

/// Every known type.
#[must_use]
pub(super) fn all() -> &'static [Entry] {
    &CATALOGUE.entries
}

/// The entry of a type as it comes on a topic: that topic's own before another's.
#[must_use]
pub(super) fn lookup(topic: &str, kind: &str) -> Option<&'static Entry> {
    let positions = CATALOGUE.by_kind.get(&key(kind))?;
    let of_topic = |entry: &&Entry| entry.topic() == topic;
    let mut entries = positions
        .iter()
        .filter_map(|&position| CATALOGUE.entries.get(position));
    entries.clone().find(of_topic).or_else(|| entries.next())
}

/// Every type of this name, on whatever topic.
pub(super) fn named(kind: &str) -> impl Iterator<Item = &'static Entry> + use<> {
    CATALOGUE
        .by_kind
        .get(&key(kind))
        .into_iter()
        .flatten()
        .filter_map(|&position| CATALOGUE.entries.get(position))
}
