//! Faults, as Mist would report them. Each function notes the events and returns the truth about
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::chance::Chance;
use super::feed::CloudFeed;
use super::incident::{Fault, SimIncident};
use super::network::{SimDevice, SimSite};
use crate::model::{Timestamp, human_duration};

const SECOND: Duration = Duration::from_secs(1);
/// Index of the change from which on something counts as flapping.
const FLAPS_AT: usize = 3;

fn macs<'a>(devices: impl IntoIterator<Item = &'a Arc<SimDevice>>) -> BTreeSet<String> {
    devices
        .into_iter()
        .map(|device| device.mac.clone())
        .collect()
}

/// Returns the incident of a single device with default values.
fn of_device(
    fault: Fault,
    device: &Arc<SimDevice>,
    at: Timestamp,
    ended_at: Option<Timestamp>,
) -> SimIncident {
    SimIncident {
        fault,
        place: device.place.clone(),
        root: Some(device.clone()),
        devices: macs([device]),
        began_at: at,
        detected_at: at,
        ended_at,
        tells: &[],
        what: format!("{}: {}", device.name, fault.word()),
        over: format!("{} is well again", device.name),
    }
}

/// An AP loses power, and its port goes down with it.
pub(super) fn ap_outage(
    feed: &mut CloudFeed,
    site: &SimSite,
    ap: &Arc<SimDevice>,
    at: Timestamp,
    lasts: Duration,
) -> SimIncident {
    let back = at + lasts;
    // The switch sees the port before Mist's cloud misses the AP, and sees it again while the AP
    // starts.
    if let (Some(switch), Some((_, port))) = (site.switch_of(ap), &ap.behind) {
        access_port(feed, &switch, port, at, false);
        access_port(feed, &switch, port, back - SECOND * 30, true);
    }
    feed.down(at, ap);
    feed.up(back, ap);
    feed.restarted(back + SECOND * 2, ap, "power_cycle");
    feed.configured(back + SECOND * 6, ap);
    SimIncident {
        tells: &["ap_offline"],
        what: format!("{} lost power", ap.name),
        over: format!("{} is back after {}", ap.name, human_duration(lasts)),
        ..of_device(Fault::ApOutage, ap, at, Some(back))
    }
}

/// A switch fails, and the APs behind it with it. Mist notices them in any order, within a minute.
/// Returns the outage of the switch, and that of an AP which does not recover with it.
pub(super) fn switch_outage(
    feed: &mut CloudFeed,
    site: &SimSite,
    switch: &Arc<SimDevice>,
    at: Timestamp,
    lasts: Duration,
    left_behind: bool,
    chance: &mut Chance,
) -> Vec<SimIncident> {
    let aps = site.behind(switch);
    let back = at + lasts;
    // A switch without power reports its restart afterwards, and its uplink goes down.
    let power = chance.percent(50);
    feed.down(at, switch);
    feed.up(back, switch);
    if power {
        feed.restarted(back + SECOND * 3, switch, "power_cycle");
    }
    feed.configured(back + SECOND * 20, switch);
    let gateway = site.gateways.first();
    if let (Some(gateway), Some((_, port)), true) = (gateway, &switch.behind, power) {
        feed.device(
            at - SECOND * 2,
            gateway,
            "GW_PORT_DOWN",
            &port_text(port, false, &switch.name),
        );
        feed.device(
            back - SECOND * 60,
            gateway,
            "GW_PORT_UP",
            &port_text(port, true, &switch.name),
        );
    }
    let stays = if left_behind {
        chance.pick(&aps).cloned()
    } else {
        None
    };
    let mut incidents = vec![SimIncident {
        // The port of the gateway is a sign of the same outage.
        devices: macs(aps.iter().chain([switch]).chain(gateway)),
        began_at: at - SECOND * 60,
        tells: &["switch_offline"],
        what: format!("{} failed, and with it {} APs", switch.name, aps.len()),
        over: format!(
            "{} is back after {}, and its APs soon after",
            switch.name,
            human_duration(lasts)
        ),
        ..of_device(Fault::SwitchOutage, switch, at, Some(back))
    }];
    // Mist's cloud may miss an AP up to a minute before or after the switch.
    for ap in &aps {
        let down = (at - SECOND * 60) + chance.seconds(0, 120);
        let mut up = back + chance.seconds(30, 150);
        if stays.as_ref().is_some_and(|stays| stays.mac == ap.mac) {
            // Well after the time in which APs recover with their switch.
            up = back + Duration::from_secs(20 * 60);
            incidents.push(SimIncident {
                tells: &["ap_offline"],
                what: format!("{} did not come back with {}", ap.name, switch.name),
                over: format!("{} is back too", ap.name),
                ..of_device(Fault::LeftBehind, ap, back, Some(up))
            });
        }
        feed.down(down, ap);
        feed.up(up, ap);
        feed.restarted(up + SECOND * 2, ap, "power_cycle");
        feed.configured(up + SECOND * 5, ap);
    }
    incidents
}

/// The WAN fails: Mist loses the whole site, in any order, within a minute.
pub(super) fn wan_outage(
    feed: &mut CloudFeed,
    site: &SimSite,
    at: Timestamp,
    lasts: Duration,
    chance: &mut Chance,
) -> Option<SimIncident> {
    let gateway = site.gateways.first()?;
    let back = at + lasts;
    for device in site.devices() {
        let first = device.mac == gateway.mac;
        let (down, up) = match device.family {
            _ if first => (at, back),
            // The two gateways of a pair fail together.
            super::network::Family::Gateway => {
                (at + chance.seconds(0, 4), back + chance.seconds(0, 4))
            }
            _ => (
                (at - SECOND * 60) + chance.seconds(0, 120),
                back + chance.seconds(2, 60),
            ),
        };
        feed.down(down, device);
        feed.up(up, device);
    }
    // The gateway reports the port only after it is connected again.
    feed.device(
        back + SECOND,
        gateway,
        "GW_PORT_UP",
        &port_text("ge-0/0/0", true, "WAN"),
    );
    feed.configured(back + SECOND * 30, gateway);
    Some(SimIncident {
        devices: macs(site.devices()),
        began_at: at - SECOND * 60,
        tells: &["gateway_offline"],
        what: format!(
            "the WAN of {} failed: Mist lost all {} devices",
            site.place.name,
            site.devices().count()
        ),
        over: format!(
            "the WAN of {} is back after {}",
            site.place.name,
            human_duration(lasts)
        ),
        ..of_device(Fault::WanOutage, gateway, at, Some(back))
    })
}

/// Interference from something other than Wi-Fi on an AP's channel: the AP moves, and moves again.
pub(super) fn interference(
    feed: &mut CloudFeed,
    ap: &Arc<SimDevice>,
    at: Timestamp,
    chance: &mut Chance,
) -> SimIncident {
    let mut when = at;
    let mut channel = 1;
    for _ in 0..chance.between(1, 4) {
        // The next channel must differ from the present one.
        let others: Vec<u64> = [1, 6, 11]
            .into_iter()
            .filter(|other| *other != channel)
            .collect();
        let next = *chance.pick(&others).unwrap_or(&6);
        rrm_action(feed, ap, when, "interference-ap-non-wifi", (channel, next));
        channel = next;
        when = when + chance.minutes(10, 90);
    }
    SimIncident {
        tells: &["ap_rrm_action", "non_wifi_interference"],
        what: format!(
            "something that is no WiFi drives {} off its channel",
            ap.name
        ),
        ..of_device(Fault::Interference, ap, at, None)
    }
}

/// An uplink that flaps. Mist reports it in one of six ways: as a critical port, as a flapping port
/// found by Marvis, as a VPN path, or only by the port itself.
pub(super) fn flapping_uplink(
    feed: &mut CloudFeed,
    site: &SimSite,
    switch: &Arc<SimDevice>,
    at: Timestamp,
    chance: &mut Chance,
) -> Option<SimIncident> {
    let gateway = site.gateways.first()?;
    let way = chance.between(1, 6);
    // The ways are tied to the device: switches have no VPN paths.
    let (device, port) = if matches!(way, 1 | 2 | 5) {
        (switch, "xe-0/1/0")
    } else {
        (gateway, "ge-0/0/0")
    };
    let changes = changes(at, chance);
    for (nth, when) in changes.iter().enumerate() {
        let (when, up) = (*when, nth % 2 == 1);
        let kind = |down: &'static str, up_kind: &'static str| if up { up_kind } else { down };
        // Every way has the port events; some have alarms in addition.
        match way {
            1 | 2 | 5 => {
                let text = port_text(port, up, "Uplink to core");
                feed.device(when, device, kind("SW_PORT_DOWN", "SW_PORT_UP"), &text);
            }
            _ => feed.device(
                when,
                device,
                kind("GW_PORT_DOWN", "GW_PORT_UP"),
                &port_text(port, up, "WAN"),
            ),
        }
        match way {
            1 => critical_port(
                feed,
                device,
                port,
                when,
                kind("sw_critical_port_down", "sw_critical_port_up"),
            ),
            3 => critical_port(
                feed,
                device,
                port,
                when,
                kind("gw_critical_port_down", "gw_critical_port_up"),
            ),
            4 => {
                let state = if up { "up" } else { "down" };
                let text = json!({"text": format!("vpn path hub-1-wan0 {state}"), "vpn_name": "hub-1-wan0"});
                feed.device(
                    when + SECOND,
                    device,
                    kind("GW_VPN_PATH_DOWN", "GW_VPN_PATH_UP"),
                    &text,
                );
            }
            _ => {}
        }
    }
    let detected_at = *changes.get(FLAPS_AT)?;
    let mut ended_at = *changes.last()?;
    let mut told_at = detected_at;
    if way == 2 {
        // Changes of an ordinary port are not reported, but Marvis notices the flapping.
        let entity = json!({"port_id": port});
        told_at = detected_at + chance.minutes(5, 20);
        let id = feed.marvis(
            told_at,
            device,
            "port_flap",
            None,
            ("open", "check_port"),
            &entity,
        );
        // Marvis needs a while to notice that the port is stable.
        ended_at = ended_at + chance.minutes(20, 60);
        feed.marvis(
            ended_at,
            device,
            "port_flap",
            Some(&id),
            ("resolved", "check_port"),
            &entity,
        );
    }
    Some(SimIncident {
        devices: macs([device]),
        began_at: at,
        detected_at: told_at,
        tells: &[
            "sw_critical_port",
            "gw_critical_port",
            "gw_vpn_path",
            "port_flap",
            "sw_port",
            "gw_port",
        ],
        what: format!(
            "the uplink {port} of {} comes and goes: {} changes",
            device.name,
            changes.len()
        ),
        over: format!("the uplink of {} is stable again", device.name),
        ..of_device(Fault::FlappingUplink, device, at, Some(ended_at))
    })
}

/// Returns the times of changes, every one to two minutes for forty minutes. The first is down and
/// the last is up.
fn changes(at: Timestamp, chance: &mut Chance) -> Vec<Timestamp> {
    let mut changes = vec![at];
    let mut when = at;
    while when.since(at) < Duration::from_secs(38 * 60) || changes.len() % 2 == 1 {
        when = when + chance.seconds(60, 120);
        changes.push(when);
    }
    changes
}

fn critical_port(
    feed: &mut CloudFeed,
    device: &SimDevice,
    port: &str,
    at: Timestamp,
    kind: &'static str,
) {
    // The alarm of a recovery is only information, as in Mist.
    let severity = if kind.ends_with("down") {
        "critical"
    } else {
        "info"
    };
    let list = if kind.starts_with("sw") {
        "switches"
    } else {
        "gateways"
    };
    let more = json!({
        "severity": severity, "hostnames": [device.name], list: [device.mac], "port_ids": [port], "model": device.model,
    });
    feed.alarm(at + SECOND * 3, &device.place, kind, None, &more);
}

/// Clients get no address. Mist notices, Marvis confirms, and both report the end.
pub(super) fn dhcp(
    feed: &mut CloudFeed,
    site: &SimSite,
    at: Timestamp,
    lasts: Duration,
    chance: &mut Chance,
) -> Option<SimIncident> {
    let ap = chance.pick(&site.aps)?.clone();
    // Either product may report it alone, so rules must cope with one, the other, or both.
    let (infra, marvis) = *chance.pick(&[(true, false), (false, true), (true, true)])?;
    let back = at + lasts;
    let mut incident = SimIncident {
        root: None,
        devices: BTreeSet::new(),
        tells: &["infra_dhcp", "dhcp_failure"],
        what: format!("clients at {} get no address", site.place.name),
        over: format!("clients at {} get addresses again", site.place.name),
        ..of_device(Fault::Dhcp, &ap, at, Some(back))
    };
    if infra {
        let more = |severity: &str| {
            json!({
                "severity": severity, "aps": [ap.mac], "hostnames": [ap.name], "servers": ["192.0.2.53"],
                "vlans": [20], "ssids": ["office"], "client_count": 7, "incident_count": 12,
            })
        };
        feed.alarm(
            at,
            &site.place,
            "infra_dhcp_failure",
            None,
            &more("critical"),
        );
        feed.alarm(back, &site.place, "infra_dhcp_success", None, &more("info"));
    }
    if marvis {
        let more = |status: &str| {
            json!({
                "group": "marvis", "severity": "critical", "status": status, "category": "connectivity",
                "details": {"action": "check_dhcp", "category": "connectivity", "status": status,
                            "symptom": "dhcp_failure"},
                "impacted_entities": [{"entity_type": "dhcp server", "entity_name": "192.0.2.53"}],
                "root_cause": "server unresponsive", "impacted_client_count": 7,
            })
        };
        // Marvis confirms what was reported before; on its own it is the first.
        let (opens, ends) = if infra {
            (chance.minutes(2, 5), chance.minutes(2, 10))
        } else {
            Default::default()
        };
        let id = feed.alarm(at + opens, &site.place, "dhcp_failure", None, &more("open"));
        feed.alarm(
            back + ends,
            &site.place,
            "dhcp_failure",
            Some(&id),
            &more("resolved"),
        );
        incident.ended_at = Some(back + ends);
    }
    Some(incident)
}

/// Marvis finds a bad cable, repeats the alarm, and finds the cable repaired.
pub(super) fn bad_cable(
    feed: &mut CloudFeed,
    switch: &Arc<SimDevice>,
    at: Timestamp,
    lasts: Duration,
    chance: &mut Chance,
) -> SimIncident {
    let port = format!("ge-0/0/{}", chance.between(0, 11));
    let entity = json!({"port_id": port});
    let action = "test_replace_cable";
    let id = feed.marvis(at, switch, "bad_cable", None, ("open", action), &entity);
    // Marvis repeats its finding, which must not become a second message.
    feed.marvis(
        at + lasts / 2,
        switch,
        "bad_cable",
        Some(&id),
        ("open", action),
        &entity,
    );
    feed.marvis(
        at + lasts,
        switch,
        "bad_cable",
        Some(&id),
        ("resolved", action),
        &entity,
    );
    SimIncident {
        tells: &["bad_cable"],
        what: format!("the cable at {port} of {} is bad", switch.name),
        over: format!("the cable at {port} of {} was replaced", switch.name),
        ..of_device(Fault::BadCable, switch, at, Some(at + lasts))
    }
}

/// One of two power supplies fails: reported on two topics, and cleared on both.
pub(super) fn power_supply(
    feed: &mut CloudFeed,
    switch: &Arc<SimDevice>,
    at: Timestamp,
    lasts: Duration,
) -> SimIncident {
    let text = json!({"text": "FPC 0 PEM 1 Not Powered", "alarm_class": "Major", "version": "21.4R3-S4.18"});
    let alarm = |severity: &str| {
        json!({
            "severity": severity, "switches": [switch.mac], "hostnames": [switch.name], "model": switch.model,
            "reasons": ["FPC 0 PEM 1 Not Powered"],
        })
    };
    let back = at + lasts;
    // Both topics report it a few seconds apart: one message is expected.
    feed.device(at, switch, "SW_ALARM_CHASSIS_PSU", &text);
    feed.alarm(
        at + SECOND * 5,
        &switch.place,
        "sw_alarm_chassis_psu",
        None,
        &alarm("warn"),
    );
    feed.device(back, switch, "SW_ALARM_CHASSIS_PSU_CLEAR", &text);
    feed.alarm(
        back + SECOND * 5,
        &switch.place,
        "sw_alarm_chassis_psu_clear",
        None,
        &alarm("info"),
    );
    SimIncident {
        tells: &["sw_alarm_chassis_psu"],
        what: format!("a power supply of {} failed", switch.name),
        over: format!("the power supply of {} works again", switch.name),
        ..of_device(Fault::PowerSupply, switch, at, Some(back))
    }
}

/// An AP that goes down and up every minute or two.
pub(super) fn flapping_ap(
    feed: &mut CloudFeed,
    ap: &Arc<SimDevice>,
    at: Timestamp,
    chance: &mut Chance,
) -> Option<SimIncident> {
    let changes = changes(at, chance);
    for (nth, when) in changes.iter().enumerate() {
        if nth % 2 == 0 {
            feed.down(*when, ap);
        } else {
            feed.up(*when, ap);
        }
    }
    Some(SimIncident {
        // Without enough changes it is no flapping, and there is nothing to expect.
        detected_at: *changes.get(FLAPS_AT)?,
        tells: &["ap_offline"],
        what: format!("{} comes and goes: {} changes", ap.name, changes.len()),
        over: format!("{} is stable again", ap.name),
        ..of_device(Fault::FlappingAp, ap, at, changes.last().copied())
    })
}

/// A VPN peer is lost. The alarm is sent again each minute, with the same id and a growing count.
pub(super) fn growing_alarm(
    feed: &mut CloudFeed,
    gateway: &Arc<SimDevice>,
    at: Timestamp,
    lasts: Duration,
    chance: &mut Chance,
) -> SimIncident {
    let mut id: Option<String> = None;
    let mut count = 1;
    let mut when = at;
    while when.since(at) < lasts {
        let mut more = json!({
            "severity": "warn", "gateways": [gateway.mac], "hostnames": [gateway.name], "count": count,
            "reasons": ["peer hub-1 down"],
        });
        // Mist marks a repeated alarm as an update.
        if let (Some(_), Some(more)) = (&id, more.as_object_mut()) {
            more.insert("update".to_owned(), true.into());
        }
        let sent = feed.alarm(when, &gateway.place, "vpn_peer_down", id.as_deref(), &more);
        id = Some(sent);
        count += chance.between(1, 60);
        when = when + chance.seconds(50, 70);
    }
    let back = at + lasts;
    let more = json!({
        "severity": "info", "gateways": [gateway.mac], "hostnames": [gateway.name], "reasons": ["peer hub-1 up"],
    });
    feed.alarm(back, &gateway.place, "vpn_peer_up", None, &more);
    SimIncident {
        tells: &["vpn_peer", "gw_vpn_peer"],
        what: format!(
            "{} lost its peer hub-1; the alarm comes again and again",
            gateway.name
        ),
        over: format!("{} has its peer hub-1 again", gateway.name),
        ..of_device(Fault::GrowingAlarm, gateway, at, Some(back))
    }
}

/// A port of a switch with a device that is connected or removed.
pub(super) fn access_port(
    feed: &mut CloudFeed,
    switch: &SimDevice,
    port: &str,
    at: Timestamp,
    up: bool,
) {
    let kind = if up { "SW_PORT_UP" } else { "SW_PORT_DOWN" };
    feed.device(at, switch, kind, &port_text(port, up, ""));
}

/// Returns the fields of a port's event.
fn port_text(port: &str, up: bool, description: &str) -> serde_json::Value {
    let index = 500 + port.bytes().map(u64::from).sum::<u64>() % 100;
    let state = if up { "up(1)" } else { "down(2)" };
    let mut text =
        format!("ifIndex {index}, ifAdminStatus up(1), ifOperStatus {state}, ifName {port}");
    if !description.is_empty() {
        text = format!("{text} Port Description: {description}");
    }
    json!({"port_id": port, "text": text})
}

/// An AP changes its channel, with the two events that follow.
pub(super) fn rrm_action(
    feed: &mut CloudFeed,
    ap: &SimDevice,
    at: Timestamp,
    reason: &str,
    (from, to): (u64, u64),
) {
    let band = if to > 14 { "5" } else { "24" };
    let more = json!({
        "band": band, "bandwidth": 20, "channel": to, "power": 12, "usage": band,
        "pre_bandwidth": 20, "pre_channel": from, "pre_power": 12, "pre_usage": band, "reason": reason,
    });
    feed.device(at, ap, "AP_RRM_ACTION", &more);
    // All automatic changes share one audit id in Mist.
    let audit = json!({"audit_id": "6175746f-0000-0000-3157-000000000000"});
    feed.device(at, ap, "AP_CONFIG_CHANGED_BY_RRM", &audit);
    feed.configured(at + SECOND, ap);
}
