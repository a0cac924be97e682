//! Content hash of an event: equal if Mist sends the same thing again, on every build and machine.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fields::Item;
use crate::model::Timestamp;

/// Returns the content hash of a device's event, equal on device-events and device-updowns.
pub(super) fn of_device(kind: &str, device: &str, time: Timestamp, port: Option<&str>) -> u64 {
    let mut hash = Sha256::new();
    let kind = kind.to_ascii_lowercase().replace('-', "_");
    for part in [
        "device",
        &kind,
        device,
        &time.millis().to_string(),
        port.unwrap_or_default(),
    ] {
        text(&mut hash, part);
    }
    finish(hash)
}

/// Returns the content hash of a whole item without `for_site`, in which copies differ.
pub(super) fn of_item(topic: &str, item: &Item) -> u64 {
    let mut hash = Sha256::new();
    text(&mut hash, "item");
    text(&mut hash, topic);
    object(&mut hash, item.iter().filter(|(key, _)| *key != "for_site"));
    finish(hash)
}

/// Returns the content hash of one of the events that an item was fanned out to.
pub(super) fn nth(item: u64, place: usize) -> u64 {
    if place == 0 {
        return item;
    }
    let mut hash = Sha256::new();
    hash.update(item.to_be_bytes());
    hash.update((place as u64).to_be_bytes());
    finish(hash)
}

fn finish(hash: Sha256) -> u64 {
    hash.finalize()
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Hashes the length before the text, so that no two different values look alike.
fn text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

fn object<'a>(hash: &mut Sha256, entries: impl Iterator<Item = (&'a String, &'a Value)>) {
    let mut entries: Vec<_> = entries.collect();
    // The order of keys has no meaning in JSON.
    entries.sort_unstable_by_key(|(key, _)| *key);
    hash.update((entries.len() as u64).to_be_bytes());
    for (key, entry) in entries {
        text(hash, key);
        value(hash, entry);
    }
}

/// Hashes a value. serde_json bounds the nesting.
fn value(hash: &mut Sha256, it: &Value) {
    match it {
        // Each kind of value has its own first byte, so that `"1"` and `1` differ.
        Value::Null => hash.update("n"),
        Value::Bool(truth) => hash.update(if *truth { "t" } else { "f" }),
        Value::Number(number) => {
            hash.update("#");
            text(hash, &number.to_string());
        }
        Value::String(string) => {
            hash.update("\"");
            text(hash, string);
        }
        Value::Array(items) => {
            hash.update("[");
            hash.update((items.len() as u64).to_be_bytes());
            for item in items {
                value(hash, item);
            }
        }
        Value::Object(map) => {
            hash.update("{");
            object(hash, map.iter());
        }
    }
}
