//! The words by which an event is found: those people read, and one for each value of a filter.

use std::collections::BTreeSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::model::{Event, normal};
use crate::rules::mac;
use crate::store::Term;

/// Maximum number of words per event, and of characters per word. Enough to find an event, whatever
/// was sent.
const MOST: usize = 64;
const LONGEST: usize = 40;
/// Maximum length of the text searched for words, per field.
const TEXT: usize = 2_000;

/// The fields an event can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Topic,
    Type,
    Site,
    Device,
    Rule,
}

impl Key {
    /// Returns the word for a value. It begins with a private character, so that it never equals a
    /// word of a text.
    pub fn word(self, value: &str) -> String {
        let letter = match self {
            Self::Topic => 'o',
            Self::Type => 't',
            Self::Site => 's',
            Self::Device => 'd',
            Self::Rule => 'r',
        };
        let value = normal(value).trim().to_lowercase();
        // A MAC has many spellings; the filter accepts any.
        let value = if self == Self::Device {
            mac(&value).unwrap_or(value)
        } else {
            value
        };
        let hash = Sha256::digest(value.as_bytes());
        let hex: String = hash
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("\u{e000}{letter}{hex}")
    }
}

/// Returns the words of a text, in lower case.
fn split(text: &str) -> impl Iterator<Item = String> + '_ {
    let text = text
        .get(..text.floor_char_boundary(TEXT))
        .unwrap_or_default();
    let text = normal(text);
    let words = text.split(|c: char| !is_part(c));
    let words: Vec<String> = words.filter(|word| !word.is_empty()).map(short).collect();
    words.into_iter()
}

/// Returns a word in lower case, cut to the maximum length.
fn short(word: &str) -> String {
    word.chars()
        .flat_map(char::to_lowercase)
        .filter(|c| is_part(*c))
        .take(LONGEST)
        .collect()
}

/// Returns whether the character is part of a word. Private characters are reserved for filters.
fn is_part(c: char) -> bool {
    c.is_alphanumeric()
}

/// Returns the words of an event.
pub fn of(event: &Event, rules: &[Arc<str>]) -> Vec<String> {
    let device = event.device.as_ref();
    let named: Vec<(Key, &str)> = [
        (Key::Topic, Some(&*event.topic)),
        (Key::Type, Some(event.kind.as_str())),
        (Key::Site, event.site.name.as_deref()),
        (Key::Site, event.site.id.as_deref()),
        (Key::Device, device.and_then(|d| d.name.as_deref())),
        (Key::Device, device.and_then(|d| d.mac.as_deref())),
    ]
    .into_iter()
    .filter_map(|(key, value)| {
        value
            .filter(|value| !value.is_empty())
            .map(|value| (key, value))
    })
    .collect();
    // Values for filters come first: texts may use up the limit.
    let mut words: BTreeSet<String> = named.iter().map(|(key, value)| key.word(value)).collect();
    words.extend(rules.iter().map(|rule| Key::Rule.word(rule)));
    let condition = event.condition.as_ref().map(|condition| &*condition.name);
    let texts = named
        .iter()
        // The topic is in every event, so as a word it finds nothing.
        .filter(|(key, _)| *key != Key::Topic)
        .map(|(_, value)| *value);
    let more = event
        .text
        .as_deref()
        .into_iter()
        .chain(condition)
        .chain(event.status.as_deref());
    let more = more
        .chain(event.reasons.iter().map(String::as_str))
        .chain(device.and_then(|d| d.port.as_deref()));
    for text in texts.chain(more) {
        for word in split(text) {
            if words.len() >= MOST {
                return words.into_iter().collect();
            }
            words.insert(word);
        }
    }
    words.into_iter().collect()
}

/// Returns the terms of a search: each begins a word. A MAC in any spelling is one word.
pub fn terms(text: &str) -> Vec<Term> {
    let mut found = Vec::new();
    for part in normal(text).split_whitespace().take(16) {
        let bare: String = part
            .chars()
            .filter(|c| !matches!(c, ':' | '-' | '.'))
            .collect();
        // The beginning of a MAC has pairs of digits; a name like `ab-1` has not.
        let is_mac = !bare.is_empty()
            && bare.len() < part.len()
            && bare.len() <= 12
            && bare.chars().all(|c| c.is_ascii_hexdigit());
        let pairs = part
            .split([':', '-'])
            .rev()
            .skip(1)
            .all(|pair| pair.len() == 2);
        if let Some(mac) = mac(part) {
            found.push(Term::Begins(mac));
        } else if is_mac && pairs && part.contains([':', '-']) {
            found.push(Term::Begins(bare.to_lowercase()));
        } else {
            found.extend(split(part).map(Term::Begins));
        }
    }
    found
}

/// Returns whether an event with these words matches.
pub fn fits(words: &[String], terms: &[Term]) -> bool {
    terms.iter().all(|term| match term {
        Term::Is(wanted) => words.iter().any(|word| word == wanted),
        Term::Begins(wanted) => words.iter().any(|word| word.starts_with(wanted.as_str())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_becomes_beginnings_of_words() {
        let begins = |words: &[&str]| {
            words
                .iter()
                .map(|w| Term::Begins((*w).to_owned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            terms("AP_Disc  kitchen"),
            begins(&["ap", "disc", "kitchen"])
        );
        assert_eq!(terms("5C:5B:35:00:0"), begins(&["5c5b35000"]));
        for mac in ["5c5b.35E4.fca1", "5c-5b-35-e4-fc-a1", "5C5B35E4FCA1"] {
            assert_eq!(terms(mac), begins(&["5c5b35e4fca1"]), "{mac}");
            assert_eq!(
                Key::Device.word(mac),
                Key::Device.word("5c5b35e4fca1"),
                "{mac}"
            );
        }
        assert_eq!(terms("ge-0/0/12"), begins(&["ge", "0", "0", "12"]));
        assert_eq!(
            terms("\" OR * \u{e000}t1 <script>"),
            begins(&["or", "t1", "script"])
        );
        assert_eq!(terms("Ärger"), begins(&["ärger"]));
        assert_eq!(terms("..- - :"), begins(&[]));
        assert!(terms("-- !").is_empty());
    }
}
