//! Juniper Mist: signature, envelope and topics.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::{Map, Value};
use warp::http::HeaderMap;

use super::{Arrival, Dialect, EventType, ParsedItem, Rejected, Signature, SourceSettings};
use crate::model::{EventId, Link, Secret, Seq, Subject, Timestamp};

mod catalogue;
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
mod portal;
mod synthesise;

use body::Opened;
use catalogue::CatalogueEntry;
use fields::Item;
use normal::kind_by_prefix;

/// Maximum number of events parsed from one body. Mist sends a few hundred at once; ten times as
/// many still work.
pub const MOST: usize = 10_000;
/// Topics that Mist is known to send.
const TOPICS: &[&str] = &[
    "alarms",
    "audits",
    "asset-raw",
    "asset-raw-rssi",
    "client-info",
    "client-join",
    "client-latency",
    "client-sessions",
    "device-events",
    "device-updowns",
    "discovered-raw-rssi",
    "guest-authorizations",
    "location",
    "location-asset",
    "location-centrak",
    "location-client",
    "location-sdk",
    "location-unclient",
    "minis-application",
    "mxedge-events",
    "nac-accounting",
    "nac-events",
    "nac-sdk",
    "occupancy-alerts",
    "ping",
    "rssi-zone",
    "sdkclient-scan-data",
    "site-sle",
    "vbeacon",
    "wifi-conn-raw",
    "wifi-unconn-raw",
    "zone",
];
/// Maximum number of bytes of nested alerts that are read, each with its surrounding item.
const NESTED_BYTES: usize = 64 << 20;

/// Mist's webhooks: content and signature.
pub(super) struct Mist;

impl Dialect for Mist {
    /// Passes on one event per item, one per device of an alarm about devices, and one per nested
    /// occupancy alert. Each is passed on before the next is parsed. Everything beyond [`MOST`] is
    /// [`ParsedItem::Malformed`].
    fn each(
        &self,
        arrival: &Arrival<'_>,
        places: RangeInclusive<u64>,
        take: &mut dyn FnMut(ParsedItem, Option<&str>),
    ) {
        let mut malformed = |why, count| take(ParsedItem::Malformed { why, count }, None);
        let Ok(text) = std::str::from_utf8(arrival.body) else {
            return malformed("the body is not text", 1);
        };
        let text = body::mended(text);
        let Opened { topic, items, more } = match body::open(&text, MOST) {
            Ok(opened) => opened,
            Err(why) => return malformed(why, 1),
        };
        let origin = normal::Origin {
            source: arrival.source,
            topic: topic.into(),
            received: arrival.received,
        };
        // An item of these topics can become several events, or none of its own.
        let fans_out = matches!(&*origin.topic, "alarms" | "occupancy-alerts");
        let mut reader = ItemReader {
            origin,
            seq: arrival.seq,
            given: 0,
            nested: 0,
            left: more,
            text: None,
            take,
        };
        for raw in items {
            let place = reader.given as u64 + 1;
            if place > *places.end() {
                return;
            }
            // An item of these topics is always one event, so it can be skipped without parsing it.
            if place < *places.start() && !fans_out {
                reader.given += 1;
                continue;
            }
            reader.text = Some(raw.get());
            match serde_json::from_str(raw.get()) {
                Ok(Value::Object(item)) => reader.item(item, raw.get().len()),
                Ok(_) => reader.malformed("an item of `events` is not an object"),
                Err(_) => reader.malformed("a number in an item of `events` is too large"),
            }
        }
        if reader.left > 0 {
            let (why, count) = (
                "the post holds more events than are judged of one post",
                reader.left,
            );
            (reader.take)(ParsedItem::Malformed { why, count }, None);
        }
    }

    fn topic(&self, body: &[u8]) -> Result<Option<String>, Rejected> {
        envelope::check(body)
    }

    fn count_events(&self, body: &[u8]) -> u64 {
        envelope::count_events(body)
    }

    fn is_chatty(&self, topic: &str) -> bool {
        is_chatty(topic)
    }

    fn is_test(&self, topic: &str) -> bool {
        topic == "ping"
    }

    fn is_endless(&self, topic: &str) -> bool {
        topic == "audits"
    }

    fn topics(&self) -> &'static [&'static str] {
        TOPICS
    }

    fn types(&self) -> Box<dyn Iterator<Item = EventType>> {
        Box::new(catalogue::all().iter().map(event_type))
    }

    fn types_named(&self, name: &str) -> Box<dyn Iterator<Item = EventType>> {
        Box::new(catalogue::named(name).map(event_type))
    }

    fn synthesise(&self, fields: Map<String, Value>, at: Timestamp) -> Value {
        synthesise::synthesise(fields, at)
    }

    fn portal(&self) -> &'static str {
        portal::HOST
    }

    fn page(&self, host: &str, subject: &Subject) -> Option<Link> {
        portal::page(host, subject)
    }
}

impl Signature for Mist {
    fn verify(
        &self,
        settings: &SourceSettings,
        headers: &HeaderMap,
        from_this_machine: bool,
        body: &[u8],
    ) -> Result<(), Rejected> {
        signature::verify(settings, headers, from_this_machine, body)
    }

    fn sign(&self, secret: &Secret, body: &[u8]) -> (&'static str, String) {
        (signature::V2, signature::sign(secret, body))
    }
}

/// Converts an entry of the catalogue for code that does not know Mist.
fn event_type(entry: &CatalogueEntry) -> EventType {
    let is_device_event = entry.family == "device-event";
    let changes = ["_CONNECTED", "_DISCONNECTED", "_RESTARTED"];
    let is_updown = is_device_event && changes.iter().any(|end| entry.kind.ends_with(end));
    EventType {
        topic: entry.topic(),
        also_on: is_updown.then_some("device-updowns"),
        kind: entry.kind,
        group: entry.group,
        role: entry.role,
        condition: entry.condition,
        device_type: kind_by_prefix(entry.kind).filter(|_| entry.family != "alarm"),
    }
}

/// Parses the items of one body, within limits.
struct ItemReader<'a> {
    origin: normal::Origin<'a>,
    seq: Seq,
    /// Number of events passed on.
    given: usize,
    /// Number of bytes of nested alerts read.
    nested: usize,
    /// Number of items beyond the limits.
    left: u64,
    /// Text of the current item as it was sent.
    text: Option<&'a str>,
    take: &'a mut dyn FnMut(ParsedItem, Option<&str>),
}

impl ItemReader<'_> {
    fn full(&self) -> bool {
        self.given >= MOST || self.nested >= NESTED_BYTES
    }

    fn give(&mut self, parsed: ParsedItem) {
        self.given += 1;
        (self.take)(parsed, self.text);
    }

    fn malformed(&mut self, why: &'static str) {
        if self.full() {
            self.left += 1;
        } else {
            self.give(ParsedItem::Malformed { why, count: 1 });
        }
    }

    /// Parses one item of `bytes` bytes.
    fn item(&mut self, mut item: Item, bytes: usize) {
        match nested(&self.origin.topic, &mut item) {
            None => self.events(item),
            // The fields of the surrounding item belong to each nested one.
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
            event.id = EventId::new(self.seq, self.given as u64 + 1);
            self.give(ParsedItem::Event(Arc::new(event)));
        }
    }
}

/// Takes the real events out of an occupancy alert, which nests them.
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

/// Returns true for a topic with data about every client (locations, raw radio data, sessions).
/// That is much traffic that few rules need, so it is stored only if a rule names it.
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
