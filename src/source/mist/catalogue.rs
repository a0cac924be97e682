//! Catalogue of Mist's event types: the conditions they open or close, their names, and what they
//! are about. The data is in `catalogue.tsv`; unknown types work too.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::model::Severity;
use crate::source::Role;

/// Subject of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// One device; an alarm that lists several becomes one event for each.
    Device,
    /// A site; the listed devices are the event's subjects.
    Site,
    /// The impacted entities of the alarm, one event for each.
    Entity,
}

/// One type that Mist is known to send.
#[derive(Clone, Debug)]
pub(super) struct CatalogueEntry {
    /// `alarm`, `device-event` or `mxedge-event`.
    pub(super) family: &'static str,
    /// Type in Mist's spelling.
    pub(super) kind: &'static str,
    /// Group of an alarm; empty if unknown.
    pub(super) group: &'static str,
    /// Mist's severity, if published.
    pub(super) severity: Option<Severity>,
    /// Effect on its condition.
    pub(super) role: Option<Role>,
    /// The condition; empty without a role.
    pub(super) condition: &'static str,
    /// Field that distinguishes two conditions of one device. `text:<word>` is the word after
    /// `<word>` in its text or reasons, `unit` a numbered unit of a chassis. `a|b` means `b` if
    /// there is no `a`, and `a+b` both together.
    pub(super) sub_id: &'static str,
    /// Subject of the type.
    pub(super) about: About,
}

impl CatalogueEntry {
    /// Returns the topic on which events of this type arrive.
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
    entries: Vec<CatalogueEntry>,
    by_kind: HashMap<String, Vec<usize>>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let entries: Vec<CatalogueEntry> = include_str!("catalogue.tsv")
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

fn entry(line: &'static str) -> Option<CatalogueEntry> {
    let columns: Vec<&'static str> = line.split('\t').collect();
    // Missing columns count as empty, so a line may end early.
    let column = |n: usize| columns.get(n).copied().unwrap_or_default();
    Some(CatalogueEntry {
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

/// Returns the key of a type: types compare without case, and `-` equals `_`.
fn key(kind: &str) -> String {
    kind.to_ascii_lowercase().replace('-', "_")
}

/// Returns all known types.
#[must_use]
pub(super) fn all() -> &'static [CatalogueEntry] {
    &CATALOGUE.entries
}

/// Returns the entry of a type on a topic; an entry for that topic takes precedence.
#[must_use]
pub(super) fn lookup(topic: &str, kind: &str) -> Option<&'static CatalogueEntry> {
    let positions = CATALOGUE.by_kind.get(&key(kind))?;
    let of_topic = |entry: &&CatalogueEntry| entry.topic() == topic;
    let mut entries = positions
        .iter()
        .filter_map(|&position| CATALOGUE.entries.get(position));
    entries.clone().find(of_topic).or_else(|| entries.next())
}

/// Returns all types with this name, on any topic.
pub(super) fn named(kind: &str) -> impl Iterator<Item = &'static CatalogueEntry> + use<> {
    CATALOGUE
        .by_kind
        .get(&key(kind))
        .into_iter()
        .flatten()
        .filter_map(|&position| CATALOGUE.entries.get(position))
}
