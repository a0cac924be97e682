//! A journaled body with its items as text, to be parsed one at a time.
//!
//! A megabyte of JSON becomes many as a tree, so items stay text until they are needed. If a body
//! has more items than Mist ever sends, the rest is only counted.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::envelope::normalise_topic;

/// Content of a body.
pub(super) struct Opened<'a> {
    /// Normalised topic.
    pub(super) topic: String,
    /// Items as text, up to the requested number.
    pub(super) items: Vec<&'a RawValue>,
    /// Number of further items.
    pub(super) more: u64,
}

/// Opens a body with at most `most` items, or returns what is wrong with it.
pub(super) fn open(text: &str, most: usize) -> Result<Opened<'_>, &'static str> {
    const SHAPE: &str = "the body is not an object with `topic` and `events`";
    if !text.trim_ascii_start().starts_with('{') {
        return Err(SHAPE);
    }
    let Outer { topic, events } =
        serde_json::from_str(text).map_err(|_| "the body cannot be read")?;
    let List { items, more } = match events {
        Some(raw) if raw.get().starts_with('[') => read_list(raw.get(), most)?,
        Some(_) => return Err("`events` is not a list"),
        None => return Err("there is no `events`"),
    };
    // An empty list would be counted as nothing at all, and the post would vanish from the totals.
    if items.is_empty() {
        return Err("`events` is empty");
    }
    match topic.map(|raw| serde_json::from_str::<Value>(raw.get())) {
        Some(Ok(Value::String(topic))) => Ok(Opened {
            topic: normalise_topic(&topic),
            items,
            more,
        }),
        Some(_) => Err("`topic` is not text"),
        None => Err("there is no `topic`"),
    }
}

/// Replaces each half of a surrogate pair by U+FFFD. Senders write such halves where they cut a
/// text; JSON's grammar allows them, but no Rust string can contain one.
pub(super) fn mended(text: &str) -> Cow<'_, str> {
    let (mut mended, mut kept, mut at) = (String::new(), 0, 0);
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        let escape = at + found;
        // A high half followed by a low half is a valid pair; any other half stands alone.
        let (length, lone) = match unit(text, escape) {
            Some(0xD800..=0xDBFF) if matches!(unit(text, escape + 6), Some(0xDC00..=0xDFFF)) => {
                (12, false)
            }
            Some(0xD800..=0xDFFF) => (6, true),
            _ => (2, false),
        };
        if lone {
            mended.push_str(text.get(kept..escape).unwrap_or_default());
            mended.push_str("\\ufffd");
            kept = escape + length;
        }
        at = escape + length;
    }
    if kept == 0 {
        return text.into();
    }
    mended.push_str(text.get(kept..).unwrap_or_default());
    mended.into()
}

/// Returns the UTF-16 unit escaped at this place, if any.
fn unit(text: &str, at: usize) -> Option<u32> {
    u32::from_str_radix(text.get(at..at + 6)?.strip_prefix("\\u")?, 16).ok()
}

/// The two keys of interest. If a key occurs twice, the last one counts, as usual in JSON.
#[derive(Default)]
struct Outer<'a> {
    topic: Option<&'a RawValue>,
    events: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Outer<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Outer<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut outer = Outer::default();
                // Unknown keys are skipped without building their values.
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "topic" => outer.topic = Some(map.next_value()?),
                        "events" => outer.events = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(outer)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

struct List<'a> {
    items: Vec<&'a RawValue>,
    more: u64,
}

fn read_list(text: &str, most: usize) -> Result<List<'_>, &'static str> {
    struct AtMost(usize);
    impl<'de> Visitor<'de> for AtMost {
        type Value = List<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut list = List {
                items: Vec::new(),
                more: 0,
            };
            while list.items.len() < self.0
                && let Some(item) = seq.next_element()?
            {
                list.items.push(item);
            }
            // Items beyond the limit are only counted, which takes no memory.
            while seq.next_element::<IgnoredAny>()?.is_some() {
                list.more += 1;
            }
            Ok(list)
        }
    }
    serde_json::Deserializer::from_str(text)
        .deserialize_seq(AtMost(most))
        .map_err(|_| "`events` cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_pair_is_replaced_and_a_pair_is_not() {
        for (text, whole) in [
            (r#"["\ud800"]"#, r#"["\ufffd"]"#),
            (
                r#"["a\uDFFFb\ud83d\ude00c\ud83dd"]"#,
                r#"["a\ufffdb\ud83d\ude00c\ufffdd"]"#,
            ),
            (r#"["\ud800\ud83d\ude00"]"#, r#"["\ufffd\ud83d\ude00"]"#),
            (
                r#"["\\ud800 \" é \u00e9 \n"]"#,
                r#"["\\ud800 \" é \u00e9 \n"]"#,
            ),
            (r#"["\\\ud800"]"#, r#"["\\\ufffd"]"#),
        ] {
            assert_eq!(mended(text), whole);
            assert!(serde_json::from_str::<Value>(whole).is_ok(), "{whole}");
        }
        for text in ["\\", "\\u", "\\ud8", "\\é", "\\ud800\\", "\\ud800\\u"] {
            mended(text);
        }
    }

    #[test]
    fn of_keys_that_come_twice_the_last_counts_and_the_rest_is_counted() {
        let opened = open(
            r#" {"events":1,"x":1e400,"topic":"a","events":[1,{},[2]],"topic":"Al_Arms"}"#,
            2,
        )
        .unwrap();
        let items: Vec<&str> = opened.items.iter().map(|item| item.get()).collect();
        assert_eq!(
            (opened.topic.as_str(), items, opened.more),
            ("al-arms", vec!["1", "{}"], 1)
        );
    }
}
