//! The kinds of events in a message, each once, and the kinds of each subject.

use std::collections::{HashMap, HashSet};

use super::helpers::{capitalise, humanise};
use super::subject_key;
use crate::model::{Happening, Notification, Subject};

/// Maximum number of kinds in a title.
const NAMED: usize = 4;

/// The kinds of events in a message, and the kinds of each subject.
pub(super) struct Kinds {
    all: Vec<Happening>,
    /// Indices into `all` by the key of the subject.
    of: HashMap<String, Vec<usize>>,
}

impl Kinds {
    pub(super) fn of(subjects: &[Subject]) -> Self {
        let mut kinds = Self {
            all: Vec::new(),
            of: HashMap::new(),
        };
        let mut known: HashMap<String, usize> = HashMap::new();
        for (subject, of) in subjects.iter().filter_map(|s| Some((s, s.of.as_deref()?))) {
            // The same kind in another spelling is not added again.
            let kind = *known.entry(kind_key(of)).or_insert_with(|| {
                kinds.all.push(of.clone());
                kinds.all.len() - 1
            });
            let own = kinds.of.entry(subject_key(subject)).or_default();
            if !own.contains(&kind) {
                own.push(kind);
            }
        }
        kinds
    }

    /// Returns the kinds together with those of another message. Names of kinds are left out only
    /// if there is a single one in both.
    pub(super) fn beside(mut self, others: &Self) -> Self {
        for of in &others.all {
            if !self.all.iter().any(|known| kind_key(known) == kind_key(of)) {
                self.all.push(of.clone());
            }
        }
        self
    }

    pub(super) fn all(&self) -> &[Happening] {
        &self.all
    }

    /// Returns the kinds in words: `DHCP failure and DNS failure`, `Power supply alarm and fan
    /// alarm`. `None` if none is known.
    pub(super) fn words(&self) -> Option<String> {
        let words: Vec<String> = self.all.iter().map(type_words).collect();
        (!words.is_empty()).then(|| in_a_row(&words))
    }

    /// Returns the conditions in words, for recoveries: `DHCP and DNS`.
    pub(super) fn conditions(&self) -> Option<String> {
        let words: Vec<String> = self
            .all
            .iter()
            .filter_map(|of| of.condition.as_deref())
            .map(humanise)
            .collect();
        (!words.is_empty()).then(|| in_a_row(&words))
    }

    /// Returns the kinds of one subject if it does not have all of them: `PSU`, `PSU and fan`.
    pub(super) fn of_one(&self, subject: &Subject) -> Option<String> {
        let own = self
            .of
            .get(&subject_key(subject))
            .filter(|own| own.len() < self.all.len())?;
        let offline = |of: &Happening| {
            of.condition
                .as_deref()
                .is_some_and(|c| c.ends_with("_offline"))
        };
        // All of them mean that the device is down: the type of the device says the rest.
        if self.all.iter().all(offline) {
            return None;
        }
        let words: Vec<String> = self.all.iter().map(type_words).collect();
        let shared = shared_words(&words);
        let short = |i: &usize| {
            words
                .get(*i)
                .map(|words| uncapitalised(&without_words(words, shared)))
        };
        Some(row(&own.iter().filter_map(short).collect::<Vec<_>>()))
    }
}

/// Returns the key of a kind: the condition, or else the type, in any spelling.
pub(super) fn kind_key(of: &Happening) -> String {
    of.condition.as_ref().unwrap_or(&of.kind).to_lowercase()
}

/// Returns whether both are about the same problem under two names: a port by its own event, and by
/// an alarm about critical ports.
pub(super) fn is_one_thing(a: &Subject, b: &Subject) -> bool {
    let conditions = [a, b].map(|s| {
        s.of.as_deref()
            .and_then(|of| of.condition.as_deref())
            .map(family)
    });
    let [Some(family), Some(other)] = conditions else {
        return false;
    };
    let site = |s: &Subject| s.site_id.clone().or_else(|| s.site.clone());
    // These services belong to the site, whichever device reports them.
    let of_site = ["dhcp", "dns", "arp"].contains(&family);
    let place = if of_site {
        site(a) == site(b)
    } else {
        a.device_key() == b.device_key()
    };
    let part = match (&a.part, &b.part) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        _ => true,
    };
    family == other && place && part
}

/// Returns the family of a condition, whoever reports it: `port` for `sw_critical_port` and
/// `sw_port`, `vpn` for `gw_vpn_path`.
fn family(condition: &str) -> &str {
    let prefixes = ["infra_", "ap_", "sw_", "gw_"];
    let rest = prefixes
        .iter()
        .find_map(|prefix| condition.strip_prefix(prefix))
        .unwrap_or(condition);
    match rest.strip_suffix("_failure").unwrap_or(rest) {
        vpn if vpn.starts_with("vpn_") => "vpn",
        port if port.ends_with("_port") => "port",
        other => other,
    }
}

/// Counts devices by type: `12 switches and 200 APs`.
pub(super) fn counted(subjects: &[Subject]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for kind in subjects
        .iter()
        .map(|s| s.device_type.as_deref().unwrap_or_default())
    {
        match counts.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind, 1)),
        }
    }
    // Devices that others depend on come first.
    let rank = |kind: &str| {
        ["gateway", "switch", "mxedge", "ap"]
            .iter()
            .position(|k| *k == kind)
            .unwrap_or(9)
    };
    counts.sort_by_key(|(kind, _)| rank(kind));
    row(&counts
        .into_iter()
        .map(|(kind, count)| {
            let (one, several) = nouns(kind);
            format!("{count} {}", if count == 1 { one } else { several })
        })
        .collect::<Vec<_>>())
}

/// Returns the name of a device type, singular and plural.
pub(super) fn nouns(device_type: &str) -> (&'static str, &'static str) {
    match device_type {
        "ap" => ("AP", "APs"),
        "switch" => ("switch", "switches"),
        "gateway" => ("gateway", "gateways"),
        "mxedge" => ("Mist Edge", "Mist Edges"),
        _ => ("device", "devices"),
    }
}

/// Returns the type in words. A type that is only a number is called an event.
pub(super) fn type_words(of: &Happening) -> String {
    match (of.kind.as_str(), of.condition.as_deref()) {
        ("", condition) => humanise(condition.unwrap_or_default()),
        (kind, _) if kind.bytes().all(|b| b.is_ascii_digit()) => format!("Event {kind}"),
        (kind, _) => humanise(kind),
    }
}

/// Returns each subject once, with the most detailed information. A device with and without its
/// port is the same subject.
pub(super) fn each_once(subjects: &[Subject]) -> Vec<Subject> {
    let place = |s: &Subject| {
        s.device_key()
            .map(|device| (device.to_owned(), s.of.as_deref().map(kind_key)))
    };
    let with_part: HashSet<_> = subjects
        .iter()
        .filter(|s| s.part.is_some())
        .filter_map(place)
        .collect();
    let mut found: HashMap<String, usize> = HashMap::new();
    let mut once: Vec<Subject> = Vec::new();
    for subject in subjects {
        // The entry without a port adds nothing to the one with it.
        if subject.part.is_none() && place(subject).is_some_and(|place| with_part.contains(&place))
        {
            continue;
        }
        let at = *found.entry(subject_key(subject)).or_insert(once.len());
        match once.get_mut(at) {
            Some(known) => merge(known, subject),
            None => once.push(subject.clone()),
        }
    }
    once
}

fn merge(known: &mut Subject, other: &Subject) {
    known.starts_at = known
        .starts_at
        .min(other.starts_at)
        .or(known.starts_at)
        .or(other.starts_at);
    known.ends_at = known.ends_at.zip(other.ends_at).map(|(a, b)| a.max(b));
    known.events = known.events.saturating_add(other.events);
    known.note = known.note.take().or_else(|| other.note.clone());
    known.changes = known.changes.max(other.changes);
    known.changing_ms = known.changing_ms.max(other.changing_ms);
}

/// Returns the number of devices; `None` if a subject is not about a device.
pub(super) fn devices(about: &Notification) -> Option<usize> {
    let all: Option<HashSet<&str>> = about.subjects.iter().map(Subject::device_key).collect();
    all.map(|all| all.len())
}

/// Joins words, each once, without the words that all begin with: `A, b and c`.
fn in_a_row(words: &[String]) -> String {
    let mut each: Vec<&String> = Vec::new();
    // Two spellings of one type are one word for people.
    for word in words {
        if !each.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            each.push(word);
        }
    }
    let each: Vec<String> = each.into_iter().cloned().collect();
    // "Switch port down and up" does not repeat the words with which both begin.
    let shared = shared_words(&each);
    let mut parts: Vec<String> = each
        .iter()
        .enumerate()
        .map(|(i, word)| {
            if i == 0 {
                word.clone()
            } else {
                uncapitalised(&without_words(word, shared))
            }
        })
        .collect();
    if parts.len() > NAMED {
        let more = parts.len() + 1 - NAMED;
        parts.truncate(NAMED - 1);
        parts.push(format!("{more} more"));
    }
    capitalise(&row(&parts))
}

/// Joins parts: `a, b and c`.
pub(super) fn row(parts: &[String]) -> String {
    match parts.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// Returns the number of words with which all texts begin. A single one is needed to understand the
/// rest.
fn shared_words(all: &[String]) -> usize {
    let Some((first, others)) = all.split_first().filter(|(_, others)| !others.is_empty()) else {
        return 0;
    };
    let first: Vec<&str> = first.split(' ').collect();
    let alike = |other: &String| {
        // The last word always stays, or nothing would be left of one text.
        let most = first.len().min(other.split(' ').count()) - 1;
        first
            .iter()
            .zip(other.split(' '))
            .take(most)
            .take_while(|(a, b)| **a == *b)
            .count()
    };
    others
        .iter()
        .map(alike)
        .min()
        .filter(|shared| *shared > 1)
        .unwrap_or_default()
}

fn without_words(text: &str, count: usize) -> String {
    text.split(' ').skip(count).collect::<Vec<_>>().join(" ")
}

/// Returns the text with a lower-case first letter, unless its first word has other upper-case
/// letters: `AP`, `Wi-Fi`.
fn uncapitalised(text: &str) -> String {
    let word = text.split(' ').next().unwrap_or_default();
    if word.chars().skip(1).any(char::is_uppercase) || text.starts_with("Mist ") {
        return text.to_owned();
    }
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// Returns whether the condition is about a port that goes down and up.
pub(super) fn is_of_port(condition: &str) -> bool {
    condition.ends_with("_port") || condition.ends_with("_port_link")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_a_row() {
        let row = |words: &[&str]| in_a_row(&words.iter().map(|w| humanise(w)).collect::<Vec<_>>());
        assert_eq!(
            row(&["infra_dhcp_failure", "infra_dns_failure"]),
            "DHCP failure and DNS failure"
        );
        assert_eq!(
            row(&[
                "SW_ALARM_CHASSIS_MORE",
                "sw_alarm_chassis_less",
                "sw_alarm_chassis_none"
            ]),
            "Switch alarm chassis more, less and none"
        );
        assert_eq!(
            row(&["rogue_ap", "bssid_spoofing"]),
            "Rogue AP and BSSID spoofing"
        );
        assert_eq!(
            row(&["missing_vlan", "bad_cable", "bad_cable"]),
            "Missing VLAN and bad cable"
        );
        assert_eq!(
            row(&["SW_PORT_DOWN", "SW_RESTARTED"]),
            "Switch port down and switch restarted"
        );
        assert_eq!(row(&["a", "b", "c", "d", "e"]), "A, b, c and 2 more");
        assert_eq!(row(&["GW_TUNNEL_DOWN"]), "Gateway tunnel down");
    }
}
