//! Events from a few fields, for the `tests:` of rules.yaml, in the form Mist would send.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::alarm::LISTS;
use super::catalogue::{self, About, CatalogueEntry};
use super::fields::{self, text};
use super::normal::kind_by_prefix;
use crate::model::Timestamp;

/// Organisation of all synthetic events.
const ORG_ID: &str = "0f0f0f0f-0000-4000-8000-000000000001";

/// Builds the body that Mist would POST for `{type, device?, site?, topic?, ...}` at the time `at`.
/// The topic follows from the type, MAC and site id from the names. All other fields are copied
/// unchanged and take precedence.
///
/// `device` is a name or a MAC, or a list of them for an alarm about several.
#[must_use]
pub(super) fn synthesise(mut fields: Map<String, Value>, at: Timestamp) -> Value {
    let kind = fields.get("type").and_then(text).unwrap_or_default();
    let topic = fields
        .remove("topic")
        .as_ref()
        .and_then(text)
        .map(|topic| super::envelope::normalise_topic(&topic));
    let topic = topic.unwrap_or_else(|| topic_of(&kind).to_owned());
    let site = fields
        .remove("site")
        .as_ref()
        .and_then(text)
        .unwrap_or_else(|| "Test site".to_owned());
    let devices: Vec<(String, Option<String>)> = match fields.remove("device") {
        Some(Value::Array(list)) => list.iter().filter_map(text).map(known).collect(),
        Some(one) => text(&one).map(known).into_iter().collect(),
        None => Vec::new(),
    };

    // Ids and names derive from each other, so the same name is the same device in every test.
    let mut event = Map::new();
    event.insert("org_id".to_owned(), json!(ORG_ID));
    event.insert("site_id".to_owned(), json!(site_id(&site)));
    event.insert("site_name".to_owned(), json!(site));
    event.insert("timestamp".to_owned(), json!(at.millis() as f64 / 1e3));
    match topic.as_str() {
        "alarms" => alarm(&mut event, &mut fields, &kind, &devices),
        "ping" => {
            event.insert("name".to_owned(), json!("test"));
        }
        _ => single(&mut event, &topic, &kind, &devices),
    }
    event.extend(fields);
    json!({ "topic": topic, "events": [event] })
}

/// Returns the topic of a type: from the catalogue, else by the spelling of the type.
fn topic_of(kind: &str) -> &'static str {
    let in_lower_case = !kind.bytes().any(|byte| byte.is_ascii_uppercase());
    if kind == "ping" {
        return "ping";
    }
    // The catalogue treats ap_offline and AP_OFFLINE as one alarm. For unknown types the spelling
    // distinguishes alarms from events.
    let entries: Vec<&CatalogueEntry> = catalogue::named(kind).collect();
    let exact = entries.iter().find(|entry| entry.kind == kind);
    if let Some(entry) = exact.or(entries.first()) {
        return entry.topic();
    }
    match kind_by_prefix(kind) {
        _ if in_lower_case
            && !kind.is_empty()
            && !kind.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            "alarms"
        }
        Some("mxedge") => "mxedge-events",
        _ if kind.starts_with("NAC_") => "nac-events",
        _ => "device-events",
    }
}

/// Returns the MAC of a device, and its name if that was given.
fn known(device: String) -> (String, Option<String>) {
    let digits: String = device
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.'))
        .collect();
    let is_mac = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match fields::mac(&device) {
        Some(mac) if is_mac => (mac, None),
        _ => (format!("02{}", hex(&device, 5)), Some(device)),
    }
}

/// Returns the first bytes of a name's hash in hex: stable, and different for different names.
fn hex(name: &str, bytes: usize) -> String {
    Sha256::digest(name)
        .iter()
        .take(bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Returns an id in Mist's format.
fn site_id(name: &str) -> String {
    let groups = [8, 4, 4, 4, 12];
    let digits = hex(name, 16);
    let mut digits = digits.chars();
    groups
        .map(|length| digits.by_ref().take(length).collect::<String>())
        .join("-")
}

/// Fills in the device of an event that has only one.
fn single(
    event: &mut Map<String, Value>,
    topic: &str,
    kind: &str,
    devices: &[(String, Option<String>)],
) {
    let Some((mac, name)) = devices.first() else {
        return;
    };
    // Each topic has its own field for the device, as in real posts.
    let (mac_key, mac, name_key) = match topic {
        "mxedge-events" => (
            "mxedge_id",
            format!("00000000-0000-0000-1000-{mac}"),
            "mxedge_name",
        ),
        "audits" => (
            "device_id",
            format!("00000000-0000-0000-1000-{mac}"),
            "device_name",
        ),
        "device-events" | "device-updowns" => ("mac", mac.clone(), "device_name"),
        _ => ("ap", mac.clone(), "ap_name"),
    };
    event.insert(mac_key.to_owned(), json!(mac));
    if let Some(name) = name {
        event.insert(name_key.to_owned(), json!(name));
    }
    if let (Some(kind), "device-events" | "device-updowns") = (kind_by_prefix(kind), topic) {
        event.insert("device_type".to_owned(), json!(kind));
    }
}

/// Fills in the devices of an alarm, in the fields that alarms of this type use.
fn alarm(
    event: &mut Map<String, Value>,
    fields: &mut Map<String, Value>,
    kind: &str,
    devices: &[(String, Option<String>)],
) {
    let entry = catalogue::lookup("alarms", kind);
    // Severity and group come from the catalogue, as a real alarm would have them; a test can
    // overwrite both.
    if let Some(entry) = entry {
        if let Some(severity) = entry.severity {
            event.insert("severity".to_owned(), json!(severity));
        }
        if !entry.group.is_empty() {
            event.insert("group".to_owned(), json!(entry.group));
        }
    }
    event.insert("count".to_owned(), json!(devices.len().max(1)));
    let kind = device_kind(kind, entry);
    // Marvis lists entities; other alarms list MACs, and names in a second list.
    if entry.is_some_and(|entry| entry.about == About::Entity || entry.group == "marvis") {
        let port = fields.get("port_id").cloned();
        let entity = |(mac, name): &(String, Option<String>)| {
            let mut entity = json!({ "entity_mac": mac, "entity_type": kind });
            if let (Some(entity), Some(name)) = (entity.as_object_mut(), name) {
                entity.insert("entity_name".to_owned(), json!(name));
            }
            if let (Some(entity), Some(port)) = (entity.as_object_mut(), &port) {
                entity.insert("port_id".to_owned(), port.clone());
            }
            entity
        };
        event.insert(
            "impacted_entities".to_owned(),
            devices.iter().map(entity).collect(),
        );
    } else if !devices.is_empty() {
        let key = LISTS
            .iter()
            .find(|(_, of)| *of == kind)
            .map_or("aps", |(key, _)| key);
        event.insert(
            key.to_owned(),
            devices.iter().map(|(mac, _)| json!(mac)).collect(),
        );
        let names: Vec<Value> = devices
            .iter()
            .filter_map(|(_, name)| name.as_ref().map(|name| json!(name)))
            .collect();
        // Names belong to MACs by position, so an incomplete list would be wrong.
        if names.len() == devices.len() {
            event.insert("hostnames".to_owned(), names.into());
        }
    }
}

/// Returns the kind of device an alarm is about, by the words of its type and condition. Most are
/// about APs.
fn device_kind(kind: &str, entry: Option<&CatalogueEntry>) -> &'static str {
    let kind = kind.to_ascii_lowercase();
    if let Some(device) = kind_by_prefix(&kind) {
        return device;
    }
    let words = format!("{kind} {}", entry.map_or("", |entry| entry.condition));
    let any = |needles: &[&str]| needles.iter().any(|needle| words.contains(needle));
    if any(&["gateway", "vpn", "tunnel", "wan", "gw_"]) {
        "gateway"
    } else if any(&["switch", "vc_", "port", "cable", "negotiation", "sw_"]) {
        "switch"
    } else if any(&["edge"]) {
        "mxedge"
    } else {
        "ap"
    }
}
