//! Parts of a device that distinguish its conditions: a port, a peer, a power supply. The catalogue
//! says which field contains them.

use super::catalogue::CatalogueEntry;
use super::fields::{Item, first, list, word_after};

/// One part of a device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Name; several pieces are separated by `, `.
    pub(super) name: String,
    /// The port, if the part is one.
    pub(super) port: Option<String>,
}

/// Returns the parts an item is about: the first of the catalogue's alternatives that the item
/// contains (`a|b`; `a+b` is both together). `port` is the port given with its device. `alone`
/// means that the item's ports and texts can concern no other device.
pub(super) fn of(
    entry: &CatalogueEntry,
    item: &Item,
    port: Option<&str>,
    alone: bool,
) -> Vec<Part> {
    // Each piece of an alternative is looked up by itself, and several are joined to one name.
    let all = |alternative: &str| {
        let mut parts: Vec<Part> = Vec::new();
        for piece in alternative.split('+') {
            let found = named(piece, item, port, alone);
            parts = match (parts.as_slice(), found.as_slice()) {
                ([], _) => found,
                ([..], [piece]) => parts.into_iter().map(|part| part.with(piece)).collect(),
                _ => parts,
            };
        }
        parts
    };
    entry
        .sub_id
        .split('|')
        .map(all)
        .find(|parts| !parts.is_empty())
        .unwrap_or_default()
}

impl Part {
    fn new(name: String) -> Self {
        Self { name, port: None }
    }

    fn with(self, other: &Self) -> Self {
        Self {
            name: format!("{}, {}", self.name, other.name),
            port: self.port.or_else(|| other.port.clone()),
        }
    }
}

fn named(field: &str, item: &Item, port: Option<&str>, alone: bool) -> Vec<Part> {
    // A text or a list of the item can concern any of its devices, so it is used only if there is
    // no other device.
    let names: Vec<String> = match field.split_once(':') {
        Some(("text", word)) if alone => texts(item)
            .iter()
            .filter_map(|text| word_after(text, word))
            .map(|name| port_of(name, word))
            .collect(),
        None if field == "unit" && alone => {
            texts(item).iter().filter_map(|text| unit(text)).collect()
        }
        None if field == "port_id" => {
            let listed = || {
                ["port_id", "port_ids"]
                    .map(|key| list(item, key))
                    .into_iter()
                    .find(|l| !l.is_empty())
            };
            match port {
                Some(port) => vec![port.to_owned()],
                None if alone => listed().unwrap_or_default(),
                None => Vec::new(),
            }
        }
        None if field == "missing_vlan_id" => first(item, &[field])
            .map(|id| format!("VLAN {id}"))
            .into_iter()
            .collect(),
        None if field != "unit" => first(item, &[field]).into_iter().collect(),
        _ => Vec::new(),
    };
    let mut parts: Vec<Part> = Vec::new();
    for name in names {
        if !parts
            .iter()
            .any(|known| known.name.eq_ignore_ascii_case(&name))
        {
            let port = (field == "port_id").then(|| name.clone());
            parts.push(Part {
                port,
                ..Part::new(name)
            });
        }
    }
    parts
}

/// Returns the texts of an item: events have one text, alarms a list of reasons.
fn texts(item: &Item) -> Vec<String> {
    let text = first(item, &["text"]).map(|text| vec![text]);
    text.unwrap_or_else(|| list(item, "reasons"))
}

/// Returns the port of a logical interface: `ge-0/0/7` for `ge-0/0/7.0`.
fn port_of(name: String, word: &str) -> String {
    match name.rsplit_once('.') {
        Some((port, unit))
            if word == "interface" && unit.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            port.to_owned()
        }
        _ => name,
    }
}

/// Numbered units of a chassis, as senders spell them and as Foghorn names them.
const UNITS: [(&str, &str); 14] = [
    ("fpc", "FPC"),
    ("pem", "PEM"),
    ("psu", "PSU"),
    ("supply", "PSU"),
    ("fan", "fan"),
    ("tray", "fan tray"),
    ("module", "module"),
    ("member", "member"),
    ("slot", "slot"),
    ("engine", "RE"),
    ("re", "RE"),
    ("cb", "CB"),
    ("pic", "PIC"),
    ("node", "node"),
];

/// Returns the numbered units of a chassis in a text: `FPC 0, PSU 1` for "FPC 0 Power Supply 1 Not
/// Powered".
fn unit(text: &str) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    let mut before = String::new();
    for word in text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        // A number follows its unit either directly (`FPC0`) or as the next word (`FPC 0`).
        let digits = word.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let letters = word
            .strip_suffix(digits)
            .unwrap_or_default()
            .to_ascii_lowercase();
        let kind = if letters.is_empty() {
            std::mem::take(&mut before)
        } else {
            letters
        };
        if digits.is_empty() {
            before = kind;
        } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            found.extend(
                UNITS
                    .iter()
                    .find(|(word, _)| *word == kind)
                    .map(|(_, name)| format!("{name} {digits}")),
            );
        }
    }
    Some(found.join(", ")).filter(|found| !found.is_empty())
}

/// Returns true if a part is a port but its name does not contain that word.
pub(super) fn is_port(part: &str) -> bool {
    let part = part.to_ascii_lowercase();
    let digits = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let named = ["ge-", "xe-", "et-", "mge-", "eth", "ae", "irb", "me"]
        .iter()
        .any(|p| part.strip_prefix(p).is_some_and(digits));
    // a name with `->` is a path from a port to a peer
    (part.contains('/') || named) && !part.contains("->")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chassis_unit_is_found_in_whatever_words() {
        for (text, expected) in [
            ("FPC 0 Power Supply 1 Not Powered", Some("FPC 0, PSU 1")),
            ("PSU1 failed", Some("PSU 1")),
            ("PEM 1 Not OK", Some("PEM 1")),
            ("FPC 2 Fan Tray 0 Failure", Some("FPC 2, fan tray 0")),
            ("FPC 1 PSU Sensor too Warm", Some("FPC 1")),
            ("Routing Engine 0: too hot (75 C)", Some("RE 0")),
            ("host fpc0x 12 is warm", None),
            ("Power supply failed", None),
            ("é 1 fan", None),
            ("", None),
        ] {
            assert_eq!(unit(text).as_deref(), expected, "{text}");
        }
    }
}
