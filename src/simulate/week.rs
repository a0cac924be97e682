//! A week of a network: the times of faults and of noise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::chance::Chance;
use super::deliver::deliver;
use super::feed::CloudFeed;
use super::incident::{Fault, SimIncident, SimNoise};
use super::network::{Preset, SimDevice, SimNetwork, SimSite};
use super::noise::{self, Volume};
use super::{Options, Simulation, faults};
use crate::model::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Minimum distance between two events of one device: changes within 30 minutes would count as
/// flapping.
const APART: Duration = Duration::from_secs(50 * 60);

/// Faults in a week at home.
const HOME: [(Fault, u64); 10] = [
    (Fault::WanOutage, 1),
    (Fault::SwitchOutage, 1),
    (Fault::ApOutage, 3),
    (Fault::FlappingUplink, 1),
    (Fault::FlappingAp, 1),
    (Fault::Dhcp, 1),
    (Fault::Interference, 1),
    (Fault::BadCable, 1),
    (Fault::PowerSupply, 1),
    (Fault::GrowingAlarm, 1),
];

/// Faults in a week on a campus. Those that need most room come first.
const CAMPUS: [(Fault, u64); 10] = [
    (Fault::WanOutage, 2),
    (Fault::SwitchOutage, 4),
    (Fault::ApOutage, 14),
    (Fault::FlappingUplink, 3),
    (Fault::FlappingAp, 3),
    (Fault::Dhcp, 2),
    (Fault::Interference, 4),
    (Fault::BadCable, 3),
    (Fault::PowerSupply, 2),
    (Fault::GrowingAlarm, 1),
];

/// Simulates the network and the time given by the options.
#[must_use]
pub fn simulate(options: Options) -> Simulation {
    let chance = Chance::new(options.seed);
    let network = SimNetwork::build(options.preset, &mut chance.part("network"));
    let mut week = Week {
        options,
        feed: CloudFeed::new(chance.part("ids")),
        busy: BTreeMap::new(),
        incidents: Vec::new(),
        quiet: Vec::new(),
        network: network.clone(),
    };
    // Upgrades are planned first, since all APs must be free; noise takes the time that is left.
    week.upgrades(&mut chance.part("upgrades"));
    week.faults(&mut chance.part("faults"));
    week.noise(&mut chance.part("noise"));
    week.incidents.sort_by_key(|incident| incident.detected_at);
    let Week {
        feed,
        incidents,
        quiet,
        ..
    } = week;
    let posts = deliver(
        &feed.finish(),
        (options.lossy, options.site_webhooks),
        &mut chance.part("deliver"),
    );
    Simulation {
        network,
        posts,
        incidents,
        quiet,
    }
}

struct Week {
    options: Options,
    feed: CloudFeed,
    network: SimNetwork,
    /// The times at which each device is in use.
    busy: BTreeMap<String, Vec<(Timestamp, Timestamp)>>,
    incidents: Vec<SimIncident>,
    quiet: Vec<SimNoise>,
}

impl Week {
    /// Upgrades everything in one night of the week, or in that of a single day.
    fn upgrades(&mut self, chance: &mut Chance) {
        // A short simulation has its upgrade in the first night.
        let night = chance.between(0, self.options.days.saturating_sub(1).min(6));
        let at = noise::at_hour(
            self.options.start + DAY * u32::try_from(night).unwrap_or(0),
            1,
        ) + MINUTE * 30;
        let quiet = noise::upgrade_night(&mut self.feed, &self.network, at, chance);
        // The APs are busy, so no fault is planned at the same time.
        for mac in &quiet.devices {
            self.busy
                .entry(mac.clone())
                .or_default()
                .push((quiet.from, quiet.to));
        }
        self.quiet.push(quiet);
    }

    fn faults(&mut self, chance: &mut Chance) {
        let table = match self.options.preset {
            Preset::Home => HOME,
            Preset::Campus => CAMPUS,
        };
        let days = self.options.days;
        for (fault, in_a_week) in table {
            // The number is rounded at random, so that single days differ.
            let whole = in_a_week * days / 7;
            let rest = chance.between(1, 7) <= in_a_week * days % 7;
            for _ in 0..whole + u64::from(rest) {
                self.fault(fault, chance);
            }
        }
    }

    /// Finds a time and devices without another fault, and adds the fault.
    fn fault(&mut self, fault: Fault, chance: &mut Chance) {
        // A busy week may have no room left; then the fault is left out.
        for _ in 0..300 {
            let Some(site) = chance.pick(&self.network.sites).cloned() else {
                return;
            };
            let (Some(ap), Some(switch)) = (
                chance.pick(&site.aps).cloned(),
                chance.pick(&site.switches).cloned(),
            ) else {
                return;
            };
            let lasts = how_long(fault, chance);
            let room = (DAY * u32::try_from(self.options.days).unwrap_or(1))
                .saturating_sub(lasts + HOUR * 2);
            let at = self.options.start + MINUTE * 30 + chance.span(Duration::ZERO, room);
            // All devices that the fault affects must be free, or two causes would mix.
            let touched: Vec<String> = match fault {
                Fault::WanOutage => site.devices().map(|device| device.mac.clone()).collect(),
                Fault::SwitchOutage => site
                    .behind(&switch)
                    .iter()
                    .chain([&switch])
                    .map(|device| device.mac.clone())
                    .collect(),
                Fault::ApOutage | Fault::LeftBehind | Fault::Interference | Fault::FlappingAp => {
                    vec![ap.mac.clone()]
                }
                Fault::BadCable | Fault::PowerSupply => vec![switch.mac.clone()],
                Fault::FlappingUplink => site
                    .gateways
                    .iter()
                    .chain([&switch])
                    .map(|device| device.mac.clone())
                    .collect(),
                Fault::GrowingAlarm => site
                    .gateways
                    .iter()
                    .map(|device| device.mac.clone())
                    .collect(),
                Fault::Dhcp => {
                    // A failed WAN would explain it, so the gateways must be free.
                    let gateways = site.gateways.iter().map(|device| device.mac.clone());
                    gateways
                        .chain([format!("dhcp of {}", site.place.id)])
                        .collect()
                }
            };
            if self.alone(fault, &site, at) && self.take(&touched, at, at + lasts) {
                self.happen(fault, &site, (&ap, &switch), at, lasts, chance);
                return;
            }
        }
    }

    fn happen(
        &mut self,
        fault: Fault,
        site: &SimSite,
        (ap, switch): (&Arc<SimDevice>, &Arc<SimDevice>),
        at: Timestamp,
        lasts: Duration,
        chance: &mut Chance,
    ) {
        let feed = &mut self.feed;
        let happened = match fault {
            Fault::ApOutage | Fault::LeftBehind => {
                vec![faults::ap_outage(feed, site, ap, at, lasts)]
            }
            Fault::SwitchOutage => {
                let left_behind = chance.percent(35);
                faults::switch_outage(feed, site, switch, at, lasts, left_behind, chance)
            }
            Fault::WanOutage => faults::wan_outage(feed, site, at, lasts, chance)
                .into_iter()
                .collect(),
            Fault::Interference => vec![faults::interference(feed, ap, at, chance)],
            Fault::FlappingUplink => faults::flapping_uplink(feed, site, switch, at, chance)
                .into_iter()
                .collect(),
            Fault::Dhcp => faults::dhcp(feed, site, at, lasts, chance)
                .into_iter()
                .collect(),
            Fault::BadCable => vec![faults::bad_cable(feed, switch, at, lasts, chance)],
            Fault::PowerSupply => vec![faults::power_supply(feed, switch, at, lasts)],
            Fault::FlappingAp => faults::flapping_ap(feed, ap, at, chance)
                .into_iter()
                .collect(),
            Fault::GrowingAlarm => match site.gateways.first() {
                Some(gateway) => vec![faults::growing_alarm(feed, gateway, at, lasts, chance)],
                None => Vec::new(),
            },
        };
        self.incidents.extend(happened);
    }

    /// Returns whether no other outage of the site is near: nobody could tell the two apart.
    fn alone(&self, fault: Fault, site: &SimSite, at: Timestamp) -> bool {
        let loses = |fault| {
            matches!(
                fault,
                Fault::ApOutage | Fault::SwitchOutage | Fault::WanOutage | Fault::FlappingAp
            )
        };
        let close = |other: &SimIncident| {
            // Within this time two outages could have the same cause.
            at.since(other.began_at).max(other.began_at.since(at)) < MINUTE * 8
        };
        !loses(fault)
            || !self
                .incidents
                .iter()
                .any(|other| other.place.id == site.place.id && loses(other.fault) && close(other))
    }

    /// Reserves the devices for this time if they are free around it.
    fn take(&mut self, macs: &[String], from: Timestamp, to: Timestamp) -> bool {
        let free = |mac: &String| {
            self.busy.get(mac).is_none_or(|taken| {
                taken
                    .iter()
                    .all(|(f, t)| to + APART < *f || *t + APART < from)
            })
        };
        // Either all devices are reserved or none.
        let free = macs.iter().all(free);
        if free {
            for mac in macs {
                self.busy.entry(mac.clone()).or_default().push((from, to));
            }
        }
        free
    }

    fn noise(&mut self, chance: &mut Chance) {
        let (volume, blinks) = match self.options.preset {
            Preset::Home => (
                Volume {
                    ports: 6,
                    joins: 6,
                    logins: 1,
                    audits: 2,
                    co_channel: 1,
                },
                1,
            ),
            Preset::Campus => (
                Volume {
                    ports: 560,
                    joins: 350,
                    logins: 280,
                    audits: 12,
                    co_channel: 40,
                },
                14,
            ),
        };
        for day in 0..self.options.days {
            let midnight = self.options.start + DAY * u32::try_from(day).unwrap_or(0);
            noise::nightly_rrm(&mut self.feed, &self.network, midnight, chance);
            noise::day(&mut self.feed, &self.network, midnight, &volume, chance);
            for nth in 0..blinks {
                // Some restarts are made by a person.
                self.blink(midnight, nth == 0 && day % 3 == 1, chance);
            }
            noise::neighbours(&mut self.feed, &self.network, midnight, chance);
        }
    }

    fn blink(&mut self, midnight: Timestamp, by_hand: bool, chance: &mut Chance) {
        for _ in 0..20 {
            let at = midnight + chance.span(Duration::ZERO, DAY - MINUTE * 10);
            let Some(ap) = chance
                .pick(&self.network.sites)
                .and_then(|site| chance.pick(&site.aps))
                .cloned()
            else {
                return;
            };
            // A busy AP is skipped, or its outage would explain the noise.
            if self.take(std::slice::from_ref(&ap.mac), at, at + MINUTE * 3) {
                let quiet = if by_hand {
                    noise::restart(&mut self.feed, &ap, at, chance)
                } else {
                    noise::blink(&mut self.feed, &ap, at, chance)
                };
                self.quiet.push(quiet);
                return;
            }
        }
    }
}

/// Returns a duration for a fault.
fn how_long(fault: Fault, chance: &mut Chance) -> Duration {
    match fault {
        Fault::ApOutage | Fault::LeftBehind => {
            // Most outages are short, and few last for hours.
            let most = *chance.pick(&[15, 60, 240]).unwrap_or(&15);
            chance.minutes(5, most)
        }
        Fault::SwitchOutage => chance.minutes(6, 90),
        Fault::WanOutage => chance.minutes(6, 60),
        Fault::Interference => chance.minutes(270, 271),
        Fault::FlappingUplink => chance.minutes(110, 120),
        Fault::FlappingAp => chance.minutes(55, 56),
        Fault::Dhcp => chance.minutes(8, 90),
        Fault::BadCable => chance.minutes(120, 900),
        Fault::PowerSupply => chance.minutes(20, 480),
        Fault::GrowingAlarm => chance.minutes(12, 60),
    }
}
