//! Conversion of one item of `events[]`, in any shape, to events.

use std::sync::Arc;

use serde_json::Value;

use super::catalogue::{self, CatalogueEntry};
use super::fields::{self, Item, count, first, id, list, mac};
use super::{alarm, clues, digest, is_chatty, note, parts};
use crate::model::{
    Clues, Condition, Device, Event, EventId, Name, Phase, Severity, Site, Timestamp,
};
use crate::source::Role;

/// Properties shared by all items of one body.
pub(super) struct Origin<'a> {
    pub(super) source: &'a Name,
    pub(super) topic: Arc<str>,
    pub(super) received: Timestamp,
}

/// The part of an event that is the same for all events of an item.
pub(super) struct Draft {
    pub(super) event: Event,
    pub(super) raw: Arc<Value>,
    pub(super) entry: Option<&'static CatalogueEntry>,
    /// End of an alarm's time window.
    pub(super) last_seen: Option<Timestamp>,
}

impl Origin<'_> {
    /// Returns the item's events: one, or for an alarm one per device it is about.
    pub(super) fn events(&self, item: Item) -> Vec<Event> {
        let topic = &*self.topic;
        let kind = self.kind(&item);
        let entry = self.entry(&kind, &item);
        let own_time = item.get("timestamp").and_then(fields::time);
        let reasons = {
            let mut reasons = list(&item, "reason");
            reasons.extend(list(&item, "reasons"));
            reasons
        };
        // A sender's clock may be ahead; an event in the future would stay open too long, so its
        // time is capped.
        let mut event = Event {
            id: EventId::default(),
            source: self.source.clone(),
            topic: Arc::clone(&self.topic),
            condition: None,
            phase: Phase::Event,
            severity: first(&item, &["severity"]).and_then(|word| Severity::parse(&word)),
            group: first(&item, &["group"])
                .map(|group| group.to_ascii_lowercase())
                .or_else(|| {
                    entry
                        .map(|entry| entry.group.to_owned())
                        .filter(|group| !group.is_empty())
                }),
            status: status(&item),
            site: Site {
                id: id(&item, "site_id"),
                name: first(&item, &["site_name"]),
            },
            org_id: id(&item, "org_id"),
            device: self.device(&kind, &item),
            listed: Vec::new(),
            reasons,
            text: first(&item, &["text", "message", "suggestion"]),
            count: count(&item),
            more: 0,
            time: own_time.unwrap_or(self.received).min(self.received),
            own_time: own_time.is_some(),
            received: self.received,
            clues: Clues::default(),
            digest: 0,
            raw: Arc::new(Value::Null),
            kind,
        };
        let device = event
            .device
            .as_ref()
            .and_then(|device| device.mac.as_deref());
        // Alarms find their parts per device later, in the fan-out.
        let part = entry
            .filter(|_| topic != "alarms")
            .and_then(|entry| part(entry, &item));
        event.digest = match (topic, device, own_time) {
            ("device-events" | "device-updowns", Some(device), Some(time)) => {
                let port = first(&item, &["port_id"]);
                // Two neighbors can be lost in the same second; only the text distinguishes them.
                digest::of_device(
                    &event.kind,
                    device,
                    time,
                    port.as_deref().or(part.as_deref()),
                )
            }
            _ => digest::of_item(topic, &item),
        };
        // An alarm's own time can be that of its report; `last_seen` is closer to the event.
        if topic == "alarms" {
            let last_seen = alarm::last_seen(&event, entry, &item);
            event.time = event.time.min(last_seen.unwrap_or(event.time));
            let raw = Arc::new(Value::Object(item));
            return alarm::fan_out(&Draft {
                event,
                raw,
                entry,
                last_seen,
            });
        }
        if let Some(entry) = entry {
            (event.condition, event.phase) = condition(entry, event.status.as_deref(), part, false);
        }
        event.clues = clues::of(&event, entry, &item);
        if event.device.is_some() {
            event.more = event.count - 1;
        }
        event.raw = Arc::new(Value::Object(item));
        vec![event]
    }

    fn kind(&self, item: &Item) -> String {
        match &*self.topic {
            "ping" => "ping".to_owned(),
            "alarms" => first(item, &["type"])
                .or_else(|| symptom(item))
                .unwrap_or_default(),
            _ => first(item, &["type"]).unwrap_or_default(),
        }
    }

    /// Returns the catalogue's entry for the type, or for the symptom of an alarm with an unknown
    /// type.
    fn entry(&self, kind: &str, item: &Item) -> Option<&'static CatalogueEntry> {
        match &*self.topic {
            "alarms" => catalogue::lookup("alarms", kind).or_else(|| {
                catalogue::lookup("alarms", &symptom(item)?)
                    .filter(|entry| entry.topic() == "alarms")
            }),
            "device-updowns" => catalogue::lookup("device-events", kind),
            topic => catalogue::lookup(topic, kind),
        }
    }

    /// Returns the device an item is about. The field depends on the topic: a client's `mac`, for
    /// example, belongs to no device.
    fn device(&self, kind: &str, item: &Item) -> Option<Device> {
        let topic = &*self.topic;
        let (by_prefix, type_name) = (kind_by_prefix(kind), kind);
        let of_devices = matches!(
            topic,
            "alarms" | "device-events" | "device-updowns" | "mxedge-events"
        );
        // The order of the keys matters: the first one present names the device most precisely.
        let (macs, names): (&[&str], &[&str]) = match topic {
            "ping" => return None,
            "mxedge-events" => (&["mxedge_id", "mac"], &["mxedge_name", "device_name"]),
            "audits" => (&["device_id"], &["device_name"]),
            _ if of_devices || by_prefix.is_some() => (
                &["mac", "ap", "device_mac", "device_id", "mxedge_id"],
                &["device_name", "ap_name", "mxedge_name", "hostname"],
            ),
            _ if is_chatty(topic) => (&["ap", "ap_id"], &["ap_name"]),
            _ => (&["ap", "device_mac"], &["ap_name", "device_name"]),
        };
        let mac = macs.iter().find_map(|key| mac(&first(item, &[*key])?));
        let name = first(item, names);
        if mac.is_none() && name.is_none() {
            return None;
        }
        let said = first(item, &["device_type"])
            .map(|kind| kind.to_ascii_lowercase())
            .filter(|kind| kind != "unknown");
        let kind = match topic {
            "mxedge-events" => Some("mxedge".to_owned()),
            _ => by_prefix.map(str::to_owned).or(said).or_else(|| {
                let of_ap = !of_devices && (item.contains_key("ap") || item.contains_key("ap_id"));
                of_ap.then(|| "ap".to_owned())
            }),
        };
        Some(Device {
            mac,
            name,
            kind,
            model: first(item, &["model"]),
            port: first(item, &["port_id", "port"]),
            note: note::of(type_name, item),
        })
    }
}

/// Returns the kind of device that the prefix of a type names.
pub(super) fn kind_by_prefix(kind: &str) -> Option<&'static str> {
    match kind.split_once('_')?.0 {
        prefix if prefix.eq_ignore_ascii_case("ap") => Some("ap"),
        prefix if prefix.eq_ignore_ascii_case("sw") => Some("switch"),
        prefix if prefix.eq_ignore_ascii_case("gw") => Some("gateway"),
        prefix if prefix.eq_ignore_ascii_case("me") || prefix.eq_ignore_ascii_case("tt") => {
            Some("mxedge")
        }
        _ => None,
    }
}

fn details(item: &Item) -> Option<&Item> {
    item.get("details").and_then(Value::as_object)
}

fn symptom(item: &Item) -> Option<String> {
    first(details(item)?, &["symptom"])
}

fn status(item: &Item) -> Option<String> {
    let status = first(item, &["status"]).or_else(|| first(details(item)?, &["status"]));
    status.map(|status| status.to_ascii_lowercase())
}

/// Returns the condition of an entry, and its phase by role and status.
pub(super) fn condition(
    entry: &CatalogueEntry,
    status: Option<&str>,
    sub_id: Option<String>,
    of_site: bool,
) -> (Option<Condition>, Phase) {
    let phase = match entry.role {
        None => return (None, Phase::Event),
        Some(Role::Opens) => Phase::Open,
        Some(Role::Closes) => Phase::Close,
        Some(Role::Status) => match status {
            Some("resolved" | "validated" | "closed") => Phase::Close,
            // `open`, `new`, `reoccured` (sic) and unknown words: a false alert is better than none.
            _ => Phase::Open,
        },
    };
    (
        Some(Condition {
            name: entry.condition.to_ascii_lowercase().into(),
            on_port: sub_id.as_deref().is_some_and(parts::is_port),
            sub_id,
            of_site,
        }),
        phase,
    )
}

/// Returns the condition of a Marvis action that is missing in the catalogue. It opens and closes
/// by its status like the others.
pub(super) fn unknown_action(
    event: &Event,
    item: &Item,
    sub_id: Option<String>,
) -> Option<(Condition, Phase)> {
    if event.group.as_deref() != Some("marvis") || event.kind.is_empty() {
        return None;
    }
    // Only an action with a status can be followed; without one it stays a single event.
    let phase = match event.status.as_deref()? {
        "resolved" | "validated" | "closed" => Phase::Close,
        _ => Phase::Open,
    };
    let name = event.kind.to_ascii_lowercase().replace('-', "_").into();
    let sub_id = sub_id.or_else(|| first(item, &["port_id"]));
    Some((
        Condition {
            name,
            on_port: sub_id.as_deref().is_some_and(parts::is_port),
            sub_id,
            of_site: event.device.is_none(),
        },
        phase,
    ))
}

/// Returns the part that distinguishes the event from other conditions of its device.
fn part(entry: &CatalogueEntry, item: &Item) -> Option<String> {
    parts::of(entry, item, None, true)
        .into_iter()
        .next()
        .map(|part| part.name)
}
