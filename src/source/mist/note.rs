//! What an item says of a device beside what happened to it, in a few words for a chat.

use super::fields::{Item, first, list, mac};

/// So many names a note holds.
const SHOWN: usize = 2;

/// `5 GHz, channel 36, before that 44`, `VLAN 77`, `power cycle`; none where there is nothing of
/// that kind.
pub(super) fn of(kind: &str, item: &Item) -> Option<String> {
    let kind = kind.to_ascii_uppercase().replace('-', "_");
    if kind.contains("RRM_ACTION") || kind.contains("RADAR_DETECTED") || kind == "1026" {
        return radio(item);
    }
    if kind == "MISSING_VLAN" {
        let vlan = first(item, &["missing_vlan_id", "vlan_id", "vlan", "vlans"])?;
        return Some(if vlan.starts_with(|c: char| c.is_ascii_digit()) {
            format!("VLAN {vlan}")
        } else {
            vlan
        });
    }
    if kind.ends_with("_RESTARTED") {
        let reason = first(item, &["reason", "reasons"])?;
        return Some(reason.replace('_', " "));
    }
    None
}

/// What an alarm about security saw: `SSID FreeWifi, BSSID aa:bb:cc:dd:ee:ff`.
pub(super) fn threat(item: &Item) -> Option<String> {
    let named = |word: &str, mut names: Vec<String>| {
        // A chat needs an impression, not a complete list.
        let more = names.len().saturating_sub(SHOWN);
        names.truncate(SHOWN);
        let names = names.join(", ");
        match (names.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(format!("{word} {names}")),
            (false, more) => Some(format!("{word} {names} and {more} more")),
        }
    };
    let ssids = named("SSID", list(item, "ssids"));
    let bssids = named(
        "BSSID",
        list(item, "bssids")
            .iter()
            .map(|text| spelled(text))
            .collect(),
    );
    match (ssids, bssids) {
        (Some(ssids), Some(bssids)) => Some(format!("{ssids}, {bssids}")),
        (ssids, bssids) => ssids.or(bssids),
    }
}

/// A MAC with colons; other text as it is.
fn spelled(text: &str) -> String {
    match mac(text) {
        Some(mac) if mac.len() == 12 && mac.is_ascii() => (0..12)
            .step_by(2)
            .filter_map(|i| mac.get(i..i + 2))
            .collect::<Vec<_>>()
            .join(":"),
        _ => text.to_owned(),
    }
}

/// Which port of which switch an AP that Marvis names hangs on.
pub(super) fn uplink(entity: &Item) -> Option<String> {
    let switch = first(entity, &["connected_switch_name", "connected_switch_mac"])?;
    let port = first(entity, &["port_id"])?;
    Some(format!("port {port} of {switch}"))
}

fn radio(item: &Item) -> Option<String> {
    let channel = first(item, &["channel"]);
    let before = first(item, &["pre_channel"]);
    let band = list(item, "band")
        .into_iter()
        .next()
        .map(|band| match band.as_str() {
            "24" | "2.4" => "2.4 GHz".to_owned(),
            "5" | "6" => format!("{band} GHz"),
            _ => band,
        });
    let said = match (channel, before) {
        (Some(channel), Some(before)) if channel == before => {
            Some(format!("still on channel {channel}"))
        }
        (Some(channel), Some(before)) => {
            Some(format!("now on channel {channel}, before that {before}"))
        }
        (Some(channel), None) => Some(format!("on channel {channel}")),
        (None, _) => None,
    };
    let said: Vec<String> = [band, said].into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(", "))
}
