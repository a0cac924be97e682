//! Juniper Mist: its signature, its envelope, its topics.

use std::sync::Arc;

use serde_json::Value;

use super::Parsed;
use crate::model::{Name, Seq, Timestamp};

pub mod catalogue;
pub mod envelope;
pub mod signature;

mod alarm;
mod clues;
mod digest;
mod fields;
mod normal;
mod synthesise;

pub(crate) use normal::kind_by_prefix;
pub use synthesise::synthesise;

use fields::Item;

/// Turns one journaled body into events, in its order: one for each item, one for each device of an alarm about
/// devices, one for each nested occupancy alert. Total: what cannot be understood is [`Parsed::Malformed`].
#[must_use]
pub fn parse(source: &Name, seq: Seq, received: Timestamp, body: &[u8]) -> Vec<Parsed> {
    let (topic, items) = match open(body) {
        Ok(opened) => opened,
        Err(why) => return vec![Parsed::Malformed { why }],
    };
    let origin = normal::Origin { source, topic: topic.into(), received };
    let mut parsed = Vec::with_capacity(items.len());
    for item in items {
        for item in unnest(&origin.topic, item) {
            let Value::Object(item) = item else {
                parsed.push(Parsed::Malformed { why: "an item of `events` is not an object" });
                continue;
            };
            for mut event in origin.events(item) {
                event.id = format!("{seq}.{}", parsed.len() + 1);
                parsed.push(Parsed::Event(Arc::new(event)));
            }
        }
    }
    parsed
}

/// The topic and the list of items, or what is wrong with the body.
fn open(body: &[u8]) -> Result<(String, Vec<Value>), &'static str> {
    let body: Value =
        serde_json::from_slice(body).map_err(|_| "a number or text in the body is beyond what JSON can hold")?;
    let Value::Object(mut body) = body else { return Err("the body is not an object with `topic` and `events`") };
    let items = match body.remove("events") {
        Some(Value::Array(items)) if items.is_empty() => return Err("`events` is empty"),
        Some(Value::Array(items)) => items,
        Some(_) => return Err("`events` is not a list"),
        None => return Err("there is no `events`"),
    };
    match body.get("topic") {
        Some(Value::String(topic)) => Ok((envelope::normalise_topic(topic), items)),
        Some(_) => Err("`topic` is not text"),
        None => Err("there is no `topic`"),
    }
}

/// Occupancy alerts nest the real events; what surrounds them belongs to each.
fn unnest(topic: &str, item: Value) -> Vec<Value> {
    const NESTED: &str = "alert_events";
    if topic != "occupancy-alerts" {
        return vec![item];
    }
    let Value::Object(mut outer) = item else { return vec![item] };
    match outer.remove(NESTED) {
        Some(Value::Array(nested)) if !nested.is_empty() => {
            let within = |inner: Value| match inner {
                Value::Object(inner) => {
                    let mut merged: Item = outer.clone();
                    merged.extend(inner);
                    Value::Object(merged)
                }
                other => other,
            };
            nested.into_iter().map(within).collect()
        }
        Some(other) => {
            outer.insert(NESTED.to_owned(), other);
            vec![Value::Object(outer)]
        }
        None => vec![Value::Object(outer)],
    }
}

/// Whether a topic tells of every client's every step (places, raw radio data, clients' sessions): much traffic that
/// hardly any rule wants, so it is not stored unless one names it.
#[must_use]
pub fn is_chatty(topic: &str) -> bool {
    const NAMES: [&str; 5] = ["asset-raw", "sdkclient-scan-data", "vbeacon", "zone", "rssizone"];
    const BEGINNINGS: [&str; 3] = ["location-", "client-", "asset-raw-"];
    const ENDINGS: [&str; 4] = ["-raw-rssi", "-asset-rssi", "-conn-raw", "-unconn-raw"];
    topic == "location"
        || NAMES.contains(&topic)
        || BEGINNINGS.iter().any(|beginning| topic.starts_with(beginning))
        || ENDINGS.iter().any(|ending| topic.ends_with(ending))
}

#[cfg(test)]
mod tests;
