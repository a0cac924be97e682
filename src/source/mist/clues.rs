//! Evidence in an event about other events of its device: that it is connected after all, or what
//! may have caused its outage.

use super::catalogue::CatalogueEntry;
use super::fields::{Item, first};
use crate::model::{Cause, Clues, Event, Phase, removed_from};
use crate::source::Role;

/// Types that only a connected device can cause, because it reports them itself or has received
/// what was sent to it. Actions of the cloud alone (a new config, an assignment, a schedule) are
/// not among them.
const ALIVE: &[&str] = &[
    "AP_CONFIGURED",
    "AP_RECONFIGURED",
    "AP_RESTARTED",
    "AP_UPGRADED",
    "AP_RRM_ACTION",
    "AP_RADAR_DETECTED",
    "AP_BEACON_STUCK",
    "AP_PORT_UP",
    "AP_PORT_DOWN",
    "AP_RADSEC_FAILURE",
    "AP_RADSEC_RECOVERY",
    "AP_CERT_REGENERATED",
    "SW_CONFIGURED",
    "SW_RECONFIGURED",
    "SW_RESTARTED",
    "SW_UPGRADED",
    "SW_PORT_UP",
    "SW_PORT_DOWN",
    "SW_PORT_STORM_CONTROL",
    "SW_PORT_BPDU_BLOCKED",
    "SW_PORT_BPDU_ERROR_CLEARED",
    "SW_DYNAMIC_PORT_ASSIGNED",
    "SW_STP_TOPO_CHANGED",
    "SW_LACPD_TIMEOUT",
    "SW_LACPD_TIMEOUT_CLEARED",
    "SW_OSPF_NEIGHBOR_UP",
    "SW_OSPF_NEIGHBOR_DOWN",
    "SW_BGP_NEIGHBOR_UP",
    "SW_BGP_NEIGHBOR_DOWN",
    "SW_LOOP_DETECTED",
    "SW_LOOP_CLEARED",
    "SW_DOT1XD_USR_AUTHENTICATED",
    "SW_DOT1XD_USR_SESSION_DISCONNECTED",
    "SW_DOT1XD_USR_SESSION_HELD",
    "SW_IP_CONFLICT",
    "SW_ZTP_FINISHED",
    "GW_CONFIGURED",
    "GW_RECONFIGURED",
    "GW_RESTARTED",
    "GW_UPGRADED",
    "GW_PORT_UP",
    "GW_PORT_DOWN",
    "GW_ARP_RESOLVED",
    "GW_ARP_UNRESOLVED",
    "GW_DHCP_RESOLVED",
    "GW_DHCP_UNRESOLVED",
    "GW_OSPF_NEIGHBOR_UP",
    "GW_OSPF_NEIGHBOR_DOWN",
    "GW_BGP_NEIGHBOR_UP",
    "GW_BGP_NEIGHBOR_DOWN",
    "GW_ZTP_FINISHED",
    "ME_CONFIGURED",
    "ME_RESTARTED",
    "ME_SERVICE_STARTED",
    "ME_SERVICE_CRASHED",
    "ME_RESOURCE_USAGE",
];

/// Prefix of a device's event types, and the condition they disprove.
const OFFLINE: [(&str, &str); 4] = [
    ("AP_", "ap_offline"),
    ("SW_", "switch_offline"),
    ("GW_", "gateway_offline"),
    ("ME_", "edge_offline"),
];

/// Returns the evidence in an event whose device is known.
pub(super) fn of(event: &Event, entry: Option<&CatalogueEntry>, item: &Item) -> Clues {
    let kind = event.kind.to_ascii_uppercase().replace('-', "_");
    let of_device = matches!(
        &*event.topic,
        "device-events" | "device-updowns" | "mxedge-events"
    );
    if &*event.topic == "audits" {
        return Clues {
            audit_id: first(item, &["id"]),
            admin: first(item, &["admin_name"]).map(|name| without_address(&name)),
            ..Clues::default()
        };
    }
    if !of_device {
        // A `count` above one means that a link went down and up several times. For services it
        // counts clients, and for a Marvis action, which has a status, its findings.
        let link = entry.is_some_and(|e| {
            let linked = !e.sub_id.is_empty() && !e.condition.contains("_alarm_");
            e.role != Some(Role::Status)
                && (linked || e.condition.contains("vpn") || e.condition.contains("tunnel"))
        });
        let one = event.phase == Phase::Open && event.device.is_some() && link;
        return Clues {
            times: if one { event.count } else { 0 },
            ..Clues::default()
        };
    }
    let alive = ALIVE.contains(&kind.as_str());
    let removed = removed_from(&kind).is_some();
    let disproves = OFFLINE
        .iter()
        .find(|(prefix, _)| (alive || removed) && kind.starts_with(prefix))
        .map(|(_, name)| (*name).into());
    Clues {
        disproves,
        removed,
        cause: cause(&kind, event),
        ends_plan: kind.ends_with("_UPGRADED") || kind.ends_with("_UPGRADE_FAILED"),
        audit_id: first(item, &["audit_id"]),
        ..Clues::default()
    }
}

/// Returns the possible cause of an outage that the event names.
fn cause(kind: &str, event: &Event) -> Option<Cause> {
    let port = || event.device.as_ref().and_then(|d| d.port.clone());
    let on_port = |what: &str| match port() {
        Some(port) => format!("port {port} {what}"),
        None => format!("a port {what}"),
    };
    // Only events of the device itself, or of a port that feeds it, can explain an outage. Planned
    // causes announce a restart in advance.
    let (text, planned) = match kind {
        "AP_UPGRADE_BY_SCHEDULE" | "GW_UPGRADE_BY_SCHEDULE" | "GW_UPGRADE_BY_MIST" => {
            ("a scheduled upgrade began".to_owned(), true)
        }
        "AP_UPGRADE_BY_USER" | "SW_UPGRADE_BY_USER" | "GW_UPGRADE_BY_USER" => {
            ("an upgrade was started".to_owned(), true)
        }
        "SW_UPGRADE_PENDING"
        | "SW_UPGRADE_IMAGE_UPLOADED"
        | "SW_UPGRADE_SOFTWARE_ADD"
        | "SW_UPGRADE_SOFTWARE_ADD_RETRY"
        | "GW_UPGRADE_PENDING"
        | "GW_UPGRADE_IMAGE_UPLOADED"
        | "GW_UPGRADE_SOFTWARE_ADD"
        | "GW_UPGRADE_SOFTWARE_ADD_RETRY"
        | "GW_UPGRADE_REBOOTING" => ("an upgrade was about to restart it".to_owned(), true),
        "AP_RESTART_BY_USER"
        | "SW_RESTART_BY_USER"
        | "GW_RESTART_BY_USER"
        | "GW_RESTARTED_BY_USER"
        | "ME_RESTART_BY_USER" => ("it was restarted by hand".to_owned(), false),
        "AP_RESTARTED" | "SW_RESTARTED" | "GW_RESTARTED" | "ME_RESTARTED" => {
            match event.reasons.first() {
                Some(reason) => (
                    format!("it restarted ({})", reason.replace(['_', '-'], " ")),
                    false,
                ),
                None => ("it restarted".to_owned(), false),
            }
        }
        "AP_RADAR_DETECTED" => ("radar was detected".to_owned(), false),
        "AP_PORT_DOWN" | "SW_PORT_DOWN" | "GW_PORT_DOWN" | "SW_VC_PORT_DOWN" => {
            (on_port("went down"), false)
        }
        "SW_BOUNCE_PORT" | "GW_BOUNCE_PORT" => (on_port("was bounced"), false),
        "SW_PORT_BPDU_BLOCKED" => (on_port("was blocked (BPDU)"), false),
        "SW_ALARM_CHASSIS_POE" | "GW_ALARM_CHASSIS_POE" => ("its PoE failed".to_owned(), false),
        "SW_ALARM_CHASSIS_PSU" | "GW_ALARM_CHASSIS_PSU" => {
            ("a power supply failed".to_owned(), false)
        }
        "AP_CONFIG_CHANGED_BY_USER" | "SW_CONFIG_CHANGED_BY_USER" | "GW_CONFIG_CHANGED_BY_USER" => {
            ("its configuration was changed".to_owned(), false)
        }
        _ => return None,
    };
    // A switch port can take down the device connected to it, which the event names only in its
    // text.
    let elsewhere = kind.starts_with("SW_") && (kind.contains("PORT") || kind.contains("POE"));
    let mentions = elsewhere.then(|| event.text.clone()).flatten();
    let restarted = kind.ends_with("_RESTARTED");
    // A restart without a reason may be the planned one; a power cut names its reason.
    let upgraded = |reason: &String| reason.to_ascii_lowercase().contains("upgrade");
    let back = restarted && (event.reasons.is_empty() || event.reasons.iter().any(upgraded));
    Some(Cause {
        text,
        planned,
        elsewhere,
        told_after: restarted,
        back,
        mentions,
    })
}

/// Removes the address from `First Last email`: a name is enough for a chat.
fn without_address(name: &str) -> String {
    let words: Vec<&str> = name
        .split_whitespace()
        .filter(|word| !word.contains('@'))
        .collect();
    if words.is_empty() {
        name.to_owned()
    } else {
        words.join(" ")
    }
}
