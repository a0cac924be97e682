//! Juniper Mist: its signature, its envelope, its topics.

use std::sync::Arc;

use serde_json::Value;

use super::Parsed;
use crate::model::{Name, Seq, Timestamp};

pub mod catalogue;
pub mod envelope;
pub mod signature;

mod alarm;
mod body;
mod clues;
mod digest;
mod fields;
mod normal;
mod note;
mod parts;
mod synthesise;

pub(crate) use normal::kind_by_prefix;
pub use synthesise::synthesise;

use body::Opened;
use fields::Item;

/// The most that is judged of one body: Mist sends a few hundred events at once, and ten times that
/// is still fine.
pub const MOST: usize = 10_000;
/// As many bytes of nested alerts are read, each with all that surrounds it.
const NESTED_BYTES: usize = 64 << 20;

/// Turns one journaled body into events, in its order: one for each item, one for each device of an
/// alarm about devices, one for each nested occupancy alert. Each is given away before the next is
/// read. Total: what cannot be understood is [`Parsed::Malformed`], and so is what is more than
/// [`MOST`].
pub fn each(
    source: &Name,
    seq: Seq,
    received: Timestamp,
    body: &[u8],
    take: &mut dyn FnMut(Parsed),
) {
    each_at(source, seq, received, body, None, &mut |parsed, _| {
        take(parsed)
    });
}

/// As [`each`]; of the events at these places alone, where they are named. With each comes its item
/// as it was sent, where it has one of its own.
pub(super) fn each_at(
    source: &Name,
    seq: Seq,
    received: Timestamp,
    body: &[u8],
    places: Option<&[u64]>,
    take: &mut dyn FnMut(Parsed, Option<&str>),
) {
    let mut malformed = |why, count| take(Parsed::Malformed { why, count }, None);
    let Ok(text) = std::str::from_utf8(body) else {
        return malformed("the body is not text", 1);
    };
    let text = body::mended(text);
    let Opened { topic, items, more } = match body::open(&text, MOST) {
        Ok(opened) => opened,
        Err(why) => return malformed(why, 1),
    };
    let origin = normal::Origin {
        source,
        topic: topic.into(),
        received,
    };
    // Of these an item may be several events, or none of its own.
    let fans_out = matches!(&*origin.topic, "alarms" | "occupancy-alerts");
    let mut reader = Reader {
        origin,
        seq,
        given: 0,
        nested: 0,
        left: more,
        text: None,
        take,
    };
    for raw in items {
        if let Some(places) = places {
            let place = reader.given as u64 + 1;
            if places.last().is_none_or(|last| place > *last) {
                return;
            }
            if !fans_out && places.binary_search(&place).is_err() {
                reader.given += 1;
                continue;
            }
        }
        reader.text = Some(raw.get());
        match serde_json::from_str(raw.get()) {
            Ok(Value::Object(item)) => reader.item(item, raw.get().len()),
            Ok(_) => reader.malformed("an item of `events` is not an object"),
            Err(_) => {
                reader.malformed("a number in an item of `events` is beyond what can be held")
            }
        }
    }
    if reader.left > 0 {
        let why = "one post holds more than is judged of one";
        (reader.take)(
            Parsed::Malformed {
                why,
                count: reader.left,
            },
            None,
        );
    }
}

/// Reads the items of one body, within bounds.
struct Reader<'a> {
    origin: normal::Origin<'a>,
    seq: Seq,
    /// How many were given away.
    given: usize,
    /// How much of nested alerts was read.
    nested: usize,
    /// What there is no room for.
    left: u64,
    /// The item as it was sent.
    text: Option<&'a str>,
    take: &'a mut dyn FnMut(Parsed, Option<&str>),
}

impl Reader<'_> {
    fn full(&self) -> bool {
        self.given >= MOST || self.nested >= NESTED_BYTES
    }

    fn give(&mut self, parsed: Parsed) {
        self.given += 1;
        (self.take)(parsed, self.text);
    }

    fn malformed(&mut self, why: &'static str) {
        if self.full() {
            self.left += 1;
        } else {
            self.give(Parsed::Malformed { why, count: 1 });
        }
    }

    /// One item, `bytes` long.
    fn item(&mut self, mut item: Item, bytes: usize) {
        match nested(&self.origin.topic, &mut item) {
            None => self.events(item),
            // What surrounds them belongs to each.
            Some(inner) => {
                self.text = None;
                for inner in inner {
                    match inner {
                        _ if self.full() => self.left += 1,
                        Value::Object(inner) => {
                            let mut merged = item.clone();
                            merged.extend(inner);
                            self.nested += bytes;
                            self.events(merged);
                        }
                        _ => self.malformed("an item of `events` is not an object"),
                    }
                }
            }
        }
    }

    fn events(&mut self, item: Item) {
        if self.full() {
            self.left += 1;
            return;
        }
        for mut event in self.origin.events(item) {
            event.id = format!("{}.{}", self.seq, self.given + 1);
            self.give(Parsed::Event(Arc::new(event)));
        }
    }
}

/// Occupancy alerts nest the real events: takes them out.
fn nested(topic: &str, item: &mut Item) -> Option<Vec<Value>> {
    const NESTED: &str = "alert_events";
    if topic != "occupancy-alerts" {
        return None;
    }
    match item.remove(NESTED)? {
        Value::Array(nested) if !nested.is_empty() => Some(nested),
        other => {
            item.insert(NESTED.to_owned(), other);
            None
        }
    }
}

/// Whether a topic tells of every client's every step (places, raw radio data, clients' sessions):
/// much traffic that hardly any rule wants, so it is not stored unless one names it.
#[must_use]
pub fn is_chatty(topic: &str) -> bool {
    const NAMES: [&str; 5] = [
        "asset-raw",
        "sdkclient-scan-data",
        "vbeacon",
        "zone",
        "rssizone",
    ];
    const BEGINNINGS: [&str; 3] = ["location-", "client-", "asset-raw-"];
    const ENDINGS: [&str; 4] = ["-raw-rssi", "-asset-rssi", "-conn-raw", "-unconn-raw"];
    topic == "location"
        || NAMES.contains(&topic)
        || BEGINNINGS
            .iter()
            .any(|beginning| topic.starts_with(beginning))
        || ENDINGS.iter().any(|ending| topic.ends_with(ending))
}

#[cfg(test)]
mod tests;
