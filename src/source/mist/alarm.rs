//! Alarms. One about devices becomes one event per device; one about a service, the air or a threat
//! becomes one event at its site.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::catalogue::{About, CatalogueEntry};
use super::fields::{Item, LISTED, first, list, mac, time};
use super::normal::{Draft, condition, kind_by_prefix, unknown_action};
use super::parts::{self, Part};
use super::{clues, digest, note};
use crate::model::{Device, Event, Phase, Timestamp};
use crate::source::Role;

/// Fields in which alarms list devices, and the kind of these devices.
pub(super) const LISTS: [(&str, &str); 4] = [
    ("aps", "ap"),
    ("switches", "switch"),
    ("gateways", "gateway"),
    ("mxedges", "mxedge"),
];

/// One event of an alarm: its device, and the part if the condition has one.
struct AlarmTarget {
    device: Device,
    sub_id: Option<String>,
}

/// Maximum time by which `last_seen` may precede the `timestamp`. An alarm arrives up to ten
/// minutes after the event and counts repeats for a while; a greater difference means another clock
/// or another matter.
const LATE: Duration = Duration::from_secs(3_600);

/// Returns the time of the latest event of an alarm, which may be long before or after the alarm
/// was created. A Marvis action has none, because its `last_seen` stays the first when it is
/// resolved.
pub(super) fn last_seen(
    event: &Event,
    entry: Option<&CatalogueEntry>,
    item: &Item,
) -> Option<Timestamp> {
    let action = event.group.as_deref() == Some("marvis")
        || entry.is_some_and(|e| e.role == Some(Role::Status));
    let last = item
        .get("last_seen")
        .and_then(time)
        .map(|last| last.min(event.received))?;
    let before = event.time.since(last);
    // Mist writes `last_seen` without fractions of a second.
    let same = before < Duration::from_secs(1) && last <= event.time;
    (!action && event.own_time && !same && before <= LATE).then_some(last)
}

/// Sets the time of an alarm's only event, from the alarm's time and the latest one seen. If there
/// are several devices or ports, it is unknown which was seen last. Each then keeps the earlier
/// time, so that a recovered one is not opened again.
fn happened(event: &mut Event, last_seen: Option<Timestamp>) {
    let Some(last) = last_seen.filter(|last| *last > event.time) else {
        return;
    };
    if event.phase == Phase::Close {
        event.time = last;
    } else {
        event.clues.last = Some(last);
    }
}

/// Maximum amount of text that an alarm's events repeat in total.
const COPIED: usize = 16 << 20;

/// Returns the maximum number of events of one alarm. Mist lists ten devices; further ones are
/// counted, not named.
fn most(event: &Event) -> usize {
    let text = event.text.as_ref().map_or(0, String::len)
        + event.reasons.iter().map(String::len).sum::<usize>();
    (COPIED / text.max(1)).clamp(10, LISTED)
}

/// Returns the events of one alarm, each with its own content hash.
pub(super) fn fan_out(draft: &Draft) -> Vec<Event> {
    let Value::Object(item) = &*draft.raw else {
        return Vec::new();
    };
    let listed = listed(item, draft);
    let entities = entities(item);
    let about = draft
        .entry
        .map_or_else(|| guess(draft, &entities), |entry| entry.about);
    let mut places: Vec<Device> = match about {
        About::Site => return vec![at_site(draft, listed, entities)],
        About::Entity if !entities.is_empty() => entities,
        About::Entity | About::Device if !listed.is_empty() => listed,
        About::Entity | About::Device => entities,
    };
    // Without a list, the alarm may name one device in the fields that events use.
    if places.is_empty() {
        places.extend(draft.event.device.clone());
    }
    let alone = places.len() == 1;
    let places: Vec<AlarmTarget> = places
        .into_iter()
        .flat_map(|device| parted(device, draft, item, alone))
        .take(most(&draft.event))
        .collect();
    if places.is_empty() {
        return vec![at_site(draft, Vec::new(), Vec::new())];
    }
    let others = places.len() as u64 - 1;
    // Each event gets its own device and part; everything else is copied from the draft.
    let event = |(n, place): (usize, AlarmTarget)| {
        let mut event = draft.event.clone();
        if let Some(entry) = draft.entry {
            (event.condition, event.phase) =
                condition(entry, event.status.as_deref(), place.sub_id, false);
        }
        let port = place.device.port.clone();
        let note = place
            .device
            .note
            .clone()
            .or_else(|| note::of(&event.kind, item));
        event.device = Some(Device {
            note,
            ..place.device
        });
        if event.condition.is_none()
            && let Some((condition, phase)) = unknown_action(&event, item, port)
        {
            (event.condition, event.phase) = (Some(condition), phase);
        }
        if others == 0 || alone && others < 9 {
            event.clues = clues::of(&event, draft.entry, item);
            event.clues.times /= others + 1; // counted together
        }
        if others == 0 {
            happened(&mut event, draft.last_seen);
        }
        // Mist lists ten devices at most, and only then does `count` include unlisted ones. They
        // are counted with the first event.
        event.count = if n == 0 && others >= 9 {
            event.count.saturating_sub(others).max(1)
        } else {
            1
        };
        event.more = event.count - 1;
        event.digest = digest::nth(event.digest, n);
        event.raw = Arc::clone(&draft.raw);
        event
    };
    places.into_iter().enumerate().map(event).collect()
}

/// Returns the subject of an alarm that the catalogue does not know.
fn guess(draft: &Draft, entities: &[Device]) -> About {
    match draft.event.group.as_deref() {
        Some("security") => About::Site,
        _ if !entities.is_empty() => About::Entity,
        _ => About::Device,
    }
}

/// Returns the only event of an alarm about a site, or about nothing with a name.
fn at_site(draft: &Draft, listed: Vec<Device>, entities: Vec<Device>) -> Event {
    let mut event = draft.event.clone();
    event.device = None;
    event.listed = listed;
    event.listed.extend(entities);
    unique(&mut event.listed);
    event.listed.truncate(LISTED);
    // Mist lists ten devices at most, and only then does `count` include unlisted ones.
    let listed = event.listed.len() as u64;
    if listed >= 10 {
        event.more = event.count.saturating_sub(listed);
    }
    // A threat is not a device: its SSID or BSSID is shown with the devices that saw it.
    if event.group.as_deref() == Some("security")
        && let Value::Object(item) = &*draft.raw
    {
        let seen = note::threat(item);
        event
            .listed
            .iter_mut()
            .for_each(|device| device.note.clone_from(&seen));
    }
    if let Some(entry) = draft.entry {
        let of_site = entry.about == About::Site;
        (event.condition, event.phase) = condition(entry, event.status.as_deref(), None, of_site);
    }
    if event.condition.is_none()
        && let Value::Object(item) = &*draft.raw
        && let Some((condition, phase)) = unknown_action(&event, item, None)
    {
        (event.condition, event.phase) = (Some(condition), phase);
    }
    happened(&mut event, draft.last_seen);
    event.raw = Arc::clone(&draft.raw);
    event
}

/// Returns the devices in `aps`, `switches`, `gateways` and `mxedges`, with names if it is certain
/// whose they are.
fn listed(item: &Item, draft: &Draft) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for (key, kind) in LISTS {
        devices.extend(list(item, key).into_iter().map(|text| Device {
            mac: mac(&text),
            kind: Some(kind.to_owned()),
            ..Device::default()
        }));
    }
    let names = list(item, "hostnames");
    if devices.is_empty() {
        let kind = kind_by_prefix(&draft.event.kind).map(str::to_owned);
        devices.extend(names.into_iter().map(|name| Device {
            name: Some(name),
            kind: kind.clone(),
            ..Device::default()
        }));
    } else if names.len() == devices.len() {
        // The two lists correspond only if they have the same length.
        for (device, name) in devices.iter_mut().zip(names) {
            device.name = Some(name);
        }
    }
    devices.retain(|device| device.mac.is_some() || device.name.is_some());
    unique(&mut devices);
    if let [only] = devices.as_mut_slice() {
        only.name = only
            .name
            .take()
            .or_else(|| first(item, &["hostname", "device_name"]));
        only.model = first(item, &["model"]);
        if let [port] = list(item, "port_ids").as_slice() {
            only.port = Some(port.clone());
        }
    }
    devices
}

/// Returns the devices (or services) that Marvis found affected.
fn entities(item: &Item) -> Vec<Device> {
    let one = |entity: &Value| {
        let entity = entity.as_object()?;
        let uplink = note::uplink(entity);
        let device = Device {
            mac: first(entity, &["entity_mac"]).and_then(|text| mac(&text)),
            name: first(entity, &["entity_name"])
                .filter(|name| !name.eq_ignore_ascii_case("unknown")),
            kind: first(entity, &["entity_type"]).map(|kind| kind.to_ascii_lowercase()),
            model: first(entity, &["entity_model", "model"]),
            // the port belongs to the switch to which the AP is connected, not to the AP
            port: first(entity, &["port_id"]).filter(|_| uplink.is_none()),
            note: uplink,
        };
        (device.mac.is_some() || device.name.is_some()).then_some(device)
    };
    match item.get("impacted_entities") {
        Some(Value::Array(entities)) => entities.iter().filter_map(one).take(LISTED).collect(),
        Some(entity) => one(entity).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Returns the places of a device: one, or one for each part if parts distinguish its conditions.
/// `alone` means that the alarm is about no other device.
fn parted(device: Device, draft: &Draft, item: &Item, alone: bool) -> Vec<AlarmTarget> {
    // The port belongs to the switch to which the AP is connected, not to the AP.
    if draft
        .entry
        .is_some_and(|entry| entry.condition == "ap_offline")
    {
        return vec![AlarmTarget {
            device: Device {
                port: None,
                ..device
            },
            sub_id: None,
        }];
    }
    let parts = draft
        .entry
        .map(|entry| parts::of(entry, item, device.port.as_deref(), alone))
        .unwrap_or_default();
    if parts.is_empty() {
        return vec![AlarmTarget {
            device,
            sub_id: None,
        }];
    }
    let place = |part: Part| {
        let port = part.port.or_else(|| device.port.clone());
        AlarmTarget {
            device: Device {
                port,
                ..device.clone()
            },
            sub_id: Some(part.name),
        }
    };
    parts.into_iter().map(place).collect()
}

/// Removes repeated devices (per port).
fn unique(devices: &mut Vec<Device>) {
    let mut seen = HashSet::new();
    devices.retain(|device| {
        let identity = device.mac.clone().or_else(|| device.name.clone());
        seen.insert((identity, device.port.clone()))
    });
}
