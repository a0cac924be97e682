//! Noise: events of a healthy network that nobody wants to read.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::chance::Chance;
use super::faults::{access_port, rrm_action};
use super::feed::{CloudFeed, object};
use super::incident::SimNoise;
use super::network::{SimDevice, SimNetwork, SimSite};
use crate::model::Timestamp;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Returns a time of day, in UTC.
pub(super) fn at_hour(midnight: Timestamp, hour: u64) -> Timestamp {
    midnight + Duration::from_secs(hour * 3_600)
}

/// An AP is down for a moment.
pub(super) fn blink(
    feed: &mut CloudFeed,
    ap: &Arc<SimDevice>,
    at: Timestamp,
    chance: &mut Chance,
) -> SimNoise {
    let back = at + chance.seconds(30, 150);
    feed.down(at, ap);
    feed.up(back, ap);
    feed.configured(back + SECOND * 4, ap);
    quiet(at, back, [ap], format!("{} blinks", ap.name))
}

/// A person restarts an AP.
pub(super) fn restart(
    feed: &mut CloudFeed,
    ap: &Arc<SimDevice>,
    at: Timestamp,
    chance: &mut Chance,
) -> SimNoise {
    let audit = feed.audit(
        at,
        Some(&ap.place),
        &ap.place.org_id,
        &format!("Restart Device \"{}\"", ap.name),
    );
    // The AP is up again before the shipped rules would notify.
    let back = at + chance.seconds(80, 150);
    feed.device(
        at + SECOND,
        ap,
        "AP_RESTART_BY_USER",
        &json!({"audit_id": audit}),
    );
    feed.down(at + SECOND * 10, ap);
    feed.up(back, ap);
    feed.restarted(back + SECOND, ap, "user_restart");
    feed.configured(back + SECOND * 6, ap);
    quiet(at, back, [ap], format!("{} is restarted by hand", ap.name))
}

/// APs notice a network of the neighbours, which is no concern of this one.
pub(super) fn neighbours(
    feed: &mut CloudFeed,
    network: &SimNetwork,
    midnight: Timestamp,
    chance: &mut Chance,
) {
    let at = midnight + chance.seconds(0, 86_000);
    let (Some(site), true) = (chance.pick(&network.sites), chance.percent(30)) else {
        return;
    };
    let Some(ap) = chance.pick(&site.aps) else {
        return;
    };
    let more = json!({
        "group": "security", "severity": "info", "aps": [ap.mac], "hostnames": [ap.name],
        "ssids": ["office"], "bssids": ["d420b0fe1201"],
    });
    feed.alarm(at, &site.place, "honeypot_ssid", None, &more);
}

/// The radios are planned anew every night at three.
pub(super) fn nightly_rrm(
    feed: &mut CloudFeed,
    network: &SimNetwork,
    midnight: Timestamp,
    chance: &mut Chance,
) {
    for site in &network.sites {
        for ap in &site.aps {
            let at = at_hour(midnight, 3) + chance.seconds(0, 600);
            // The radios change independently, and most nights only some of them.
            if chance.percent(60) {
                let five = *chance.pick(&[36, 44, 52, 149]).unwrap_or(&36);
                rrm_action(feed, ap, at, "scheduled-site_rrm", (149, five));
            }
            if chance.percent(20) {
                let low = *chance.pick(&[1, 6, 11]).unwrap_or(&1);
                rrm_action(feed, ap, at + SECOND * 3, "scheduled-site_rrm", (6, low));
            }
        }
    }
}

/// Numbers of events per day.
pub(super) struct Volume {
    pub(super) ports: u64,
    pub(super) joins: u64,
    pub(super) logins: u64,
    pub(super) audits: u64,
    pub(super) co_channel: u64,
}

/// Adds a day of ports, clients, channels and administrators.
pub(super) fn day(
    feed: &mut CloudFeed,
    network: &SimNetwork,
    midnight: Timestamp,
    volume: &Volume,
    chance: &mut Chance,
) {
    // People cause these, and they work by day.
    let day = |chance: &mut Chance| midnight + chance.seconds(6 * 3_600, 23 * 3_600);
    for _ in 0..volume.ports {
        let at = day(chance);
        let Some((_, switch)) = any_switch(network, chance) else {
            continue;
        };
        let port = access(&switch, chance);
        access_port(feed, &switch, &port, at, false);
        access_port(
            feed,
            &switch,
            &port,
            at + chance.span(SECOND * 3, MINUTE * 90),
            true,
        );
    }
    // Logins and spanning-tree changes are what switches log most.
    for _ in 0..volume.logins {
        let at = day(chance);
        let Some((_, switch)) = any_switch(network, chance) else {
            continue;
        };
        let port = access(&switch, chance);
        // Each client has another MAC, so that no two events are duplicates.
        let client = format!(
            "ac:91:a1:{:02x}:{:02x}:07",
            chance.between(0, 255),
            chance.between(0, 255)
        );
        let (kind, text) = match chance.between(1, 3) {
            1 => (
                "SW_DOT1XD_USR_AUTHENTICATED",
                format!(
                    "Custom_log Dot1x User host/pc logged in MacAddress {client} interface {port}.0 vlan Staff"
                ),
            ),
            2 => (
                "SW_DOT1XD_USR_SESSION_DISCONNECTED",
                format!(
                    "Dot1x User host/pc session with MacAddress {client} interface {port}.0 vlan Staff disconnected"
                ),
            ),
            _ => (
                "SW_STP_TOPO_CHANGED",
                "TopoChgCnt 5, RootID 32768.08:05:e2:5e:dc:7e, RootCost 10000".to_owned(),
            ),
        };
        feed.device(at, &switch, kind, &json!({"port_id": port, "text": text}));
    }
    for _ in 0..volume.joins {
        join(feed, network, day(chance), chance);
    }
    for _ in 0..volume.co_channel {
        let at = day(chance);
        let Some(ap) = any_ap(network, chance) else {
            continue;
        };
        rrm_action(feed, &ap, at, "interference-ap-co-channel", (1, 11));
    }
    for _ in 0..volume.audits {
        administrator(feed, network, day(chance), chance);
    }
}

fn any_switch(network: &SimNetwork, chance: &mut Chance) -> Option<(SimSite, Arc<SimDevice>)> {
    let site = chance.pick(&network.sites)?;
    Some((site.clone(), chance.pick(&site.switches)?.clone()))
}

fn any_ap(network: &SimNetwork, chance: &mut Chance) -> Option<Arc<SimDevice>> {
    let site = chance.pick(&network.sites)?;
    chance.pick(&site.aps).cloned()
}

/// Returns a port without an AP.
fn access(switch: &SimDevice, chance: &mut Chance) -> String {
    let most = if switch.model.contains("48") { 47 } else { 11 };
    format!(
        "ge-0/0/{}",
        chance.between(if most > 20 { 24 } else { 4 }, most)
    )
}

fn join(feed: &mut CloudFeed, network: &SimNetwork, at: Timestamp, chance: &mut Chance) {
    let Some(ap) = any_ap(network, chance) else {
        return;
    };
    let client = format!("a6dd8e{:06x}", chance.number() & 0x00ff_ffff);
    let item = json!({
        "ap": ap.mac, "ap_name": ap.name, "band": "5", "bssid": "5c5b35f91801", "connect": at.seconds(),
        "connect_float": at.millis() as f64 / 1e3, "mac": client, "org_id": ap.place.org_id, "random_mac": true,
        "rssi": -57, "site_id": ap.place.id, "site_name": ap.place.name, "ssid": "office", "timestamp": at.seconds(),
        "version": 2, "wlan_id": "77ed81d2-4fab-4df7-807a-0b679900d8f7",
    });
    feed.note(at, "client-join", Some(&ap.place.clone()), object(&item));
}

/// An administrator logs in, or changes a WLAN or a device, which is then configured again.
fn administrator(feed: &mut CloudFeed, network: &SimNetwork, at: Timestamp, chance: &mut Chance) {
    let Some(site) = chance.pick(&network.sites) else {
        return;
    };
    let org = &network.org_id;
    // Four kinds of actions, of which only the last two change a device.
    match chance.between(1, 4) {
        1 => {
            feed.audit(at, None, org, "Accessed Org \"Example\"");
        }
        2 => {
            feed.audit(at, None, org, "Login with Role \"admin\"");
        }
        3 => {
            let audit = feed.audit(at, Some(&site.place), org, "Update WLAN \"office\"");
            for ap in site.aps.iter().take(10) {
                let more = json!({"audit_id": audit});
                feed.device(at + SECOND * 3, ap, "AP_CONFIG_CHANGED_BY_USER", &more);
                feed.configured(at + SECOND * chance_seconds(chance), ap);
            }
        }
        _ => {
            let Some(switch) = chance.pick(&site.switches) else {
                return;
            };
            let message = format!("Update Device \"{}\"", switch.name);
            let audit = feed.audit(at, Some(&site.place), org, &message);
            feed.device(
                at + SECOND * 2,
                switch,
                "SW_CONFIG_CHANGED_BY_USER",
                &json!({"audit_id": audit}),
            );
            feed.configured(at + SECOND * 40, switch);
        }
    }
}

fn chance_seconds(chance: &mut Chance) -> u32 {
    u32::try_from(chance.between(5, 30)).unwrap_or(5)
}

/// Upgrades all APs in one night, some at a time.
pub(super) fn upgrade_night(
    feed: &mut CloudFeed,
    network: &SimNetwork,
    at: Timestamp,
    chance: &mut Chance,
) -> SimNoise {
    let mut last = at;
    for site in &network.sites {
        let mut when = at;
        // Mist upgrades in batches, so that clients find another AP.
        for some in site.aps.chunks(20) {
            for ap in some {
                last = last.max(upgrade(feed, ap, when + chance.seconds(0, 60), chance));
            }
            when = when + chance.minutes(4, 6);
        }
    }
    let all = network.sites.iter().flat_map(|site| &site.aps);
    quiet(at, last, all, "an upgrade night".to_owned())
}

/// Upgrades an AP. Returns the time at which it is done.
pub(super) fn upgrade(
    feed: &mut CloudFeed,
    ap: &Arc<SimDevice>,
    at: Timestamp,
    chance: &mut Chance,
) -> Timestamp {
    let text = json!({"text": "from version 0.14.29313 to 0.14.29633", "audit_id": "e9a88814-fa81-4bdc-84b0-84e8735420e5"});
    let down = at + chance.seconds(60, 150);
    let up = down + chance.seconds(100, 240);
    feed.device(at, ap, "AP_UPGRADE_BY_SCHEDULE", &text);
    feed.down(down, ap);
    // The shipped rules must not report this outage.
    feed.up(up, ap);
    feed.restarted(up + SECOND, ap, "upgrade");
    feed.device(up + SECOND * 3, ap, "AP_UPGRADED", &text);
    feed.configured(up + SECOND * 8, ap);
    up + SECOND * 8
}

fn quiet<'a>(
    from: Timestamp,
    to: Timestamp,
    who: impl IntoIterator<Item = &'a Arc<SimDevice>>,
    what: String,
) -> SimNoise {
    SimNoise {
        from,
        to,
        devices: who.into_iter().map(|device| device.mac.clone()).collect(),
        what,
    }
}
