//! A network: sites with gateways, switches and the APs behind them.

use std::sync::Arc;

use super::chance::Chance;

/// The size of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// One site with a gateway, a switch and three APs.
    Home,
    /// 200 APs behind twelve switches, on one to three sites.
    Campus,
}

/// A site of the organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteIdentity {
    /// Mist's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The organisation's id.
    pub org_id: String,
}

/// The kind of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// An access point.
    Ap,
    /// A switch.
    Switch,
    /// A WAN edge.
    Gateway,
}

impl Family {
    /// Returns the word in `device_type`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ap => "ap",
            Self::Switch => "switch",
            Self::Gateway => "gateway",
        }
    }

    /// Returns the prefix of its event types.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Ap => "AP",
            Self::Switch => "SW",
            Self::Gateway => "GW",
        }
    }
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimDevice {
    /// 12 lower-case hex digits.
    pub mac: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub family: Family,
    /// Its model.
    pub model: &'static str,
    /// Its site.
    pub place: Arc<SiteIdentity>,
    /// Its uplink: the MAC and the port of the other device. A switch is connected to the gateway;
    /// a gateway has none.
    pub behind: Option<(String, String)>,
}

/// A site with its devices.
#[derive(Clone, Debug)]
pub struct SimSite {
    /// Its ids and names.
    pub place: Arc<SiteIdentity>,
    /// Its gateways, one or two.
    pub gateways: Vec<Arc<SimDevice>>,
    /// Its switches.
    pub switches: Vec<Arc<SimDevice>>,
    /// Its APs.
    pub aps: Vec<Arc<SimDevice>>,
}

impl SimSite {
    /// Returns every device: gateways, switches, APs.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<SimDevice>> {
        self.gateways.iter().chain(&self.switches).chain(&self.aps)
    }

    /// Returns the APs behind a switch.
    #[must_use]
    pub fn behind(&self, switch: &SimDevice) -> Vec<Arc<SimDevice>> {
        let behind = |ap: &&Arc<SimDevice>| {
            ap.behind
                .as_ref()
                .is_some_and(|(mac, _)| *mac == switch.mac)
        };
        self.aps.iter().filter(behind).cloned().collect()
    }

    /// Returns the switch a device is connected to.
    #[must_use]
    pub fn switch_of(&self, device: &SimDevice) -> Option<Arc<SimDevice>> {
        let (mac, _) = device.behind.as_ref()?;
        self.switches
            .iter()
            .find(|switch| switch.mac == *mac)
            .cloned()
    }
}

/// All sites of one organisation.
#[derive(Clone, Debug)]
pub struct SimNetwork {
    /// The organisation's id.
    pub org_id: String,
    /// Its sites.
    pub sites: Vec<SimSite>,
}

impl SimNetwork {
    /// Builds a network of this size.
    #[must_use]
    pub fn build(preset: Preset, chance: &mut Chance) -> Self {
        let org_id = chance.uuid();
        let mut place = |name: &str| {
            Arc::new(SiteIdentity {
                id: chance.uuid(),
                name: name.to_owned(),
                org_id: org_id.clone(),
            })
        };
        // All sites draw their ids in any case, so that both sizes use the same sequence
        // afterwards.
        let home = place("Home");
        let campus = ["Main Campus", "Science Park", "Hospital"].map(&mut place);
        let sites = match preset {
            Preset::Home => vec![Self::home(&home, chance)],
            Preset::Campus => {
                let count = usize::try_from(chance.between(1, 3)).unwrap_or(1);
                let places = campus.into_iter().take(count).enumerate();
                places
                    .map(|(nth, place)| Self::part(&place, nth, count, chance))
                    .collect()
            }
        };
        Self { org_id, sites }
    }

    fn home(place: &Arc<SiteIdentity>, chance: &mut Chance) -> SimSite {
        let gateway = device(place, Family::Gateway, "gw-home", "SRX300", None, chance);
        let on_gateway = Some((gateway.mac.clone(), "ge-0/0/1".to_owned()));
        let switch = device(
            place,
            Family::Switch,
            "sw-hall",
            "EX2300-C-12P",
            on_gateway,
            chance,
        );
        // The names are stable, since the demo's texts mention them.
        let names = ["ap-kitchen", "ap-office", "ap-attic"];
        let ap = |(nth, name): (usize, &str)| {
            let port = Some((switch.mac.clone(), format!("ge-0/0/{}", nth + 1)));
            device(place, Family::Ap, name, "AP43", port, chance)
        };
        let aps = names.into_iter().enumerate().map(ap).collect();
        SimSite {
            place: place.clone(),
            gateways: vec![gateway],
            switches: vec![switch],
            aps,
        }
    }

    /// Builds the campus's site `nth` of `count` with its share of twelve switches and 200 APs.
    fn part(place: &Arc<SiteIdentity>, nth: usize, count: usize, chance: &mut Chance) -> SimSite {
        let tag = place
            .name
            .chars()
            .next()
            .map_or('x', |first| first.to_ascii_lowercase());
        // Only a single site is large enough for a pair of gateways.
        let pair = count == 1 && chance.percent(50);
        let gateway = |n: usize, chance: &mut Chance| {
            device(
                place,
                Family::Gateway,
                &format!("gw-{tag}{n}"),
                "SRX345",
                None,
                chance,
            )
        };
        let gateways: Vec<_> = (1..=if pair { 2 } else { 1 })
            .map(|n| gateway(n, chance))
            .collect();
        // Switches are connected to one gateway of a pair: the topology has a single path.
        let uplink = gateways
            .first()
            .map(|gateway| gateway.mac.clone())
            .unwrap_or_default();
        let switches: Vec<_> = (1..=12 / count)
            .map(|n| {
                let on_gateway = Some((uplink.clone(), format!("ge-0/0/{n}")));
                device(
                    place,
                    Family::Switch,
                    &format!("sw-{tag}{n:02}"),
                    "EX4300-48P",
                    on_gateway,
                    chance,
                )
            })
            .collect();
        // 200 is divisible by one and by two; of three sites the first has two APs more.
        let share = 200 / count + if nth == 0 { 200 % count } else { 0 };
        let aps = (0..share).filter_map(|n| {
            // APs are spread over the switches in turn, so that each outage has about the same
            // size.
            let switch = switches.get(n % switches.len().max(1))?;
            let port = Some((
                switch.mac.clone(),
                format!("ge-0/0/{}", n / switches.len().max(1)),
            ));
            Some(device(
                place,
                Family::Ap,
                &format!("ap-{tag}{:03}", n + 1),
                "AP45",
                port,
                chance,
            ))
        });
        let aps = aps.collect();
        SimSite {
            place: place.clone(),
            gateways,
            switches,
            aps,
        }
    }
}

fn device(
    place: &Arc<SiteIdentity>,
    family: Family,
    name: &str,
    model: &'static str,
    behind: Option<(String, String)>,
    chance: &mut Chance,
) -> Arc<SimDevice> {
    // The first half of a MAC belongs to the vendor, as in real traffic.
    let vendor = match family {
        Family::Ap => "5c5b35",
        Family::Switch => "60c78d",
        Family::Gateway => "94f7ad",
    };
    let mac = format!("{vendor}{:06x}", chance.number() & 0x00ff_ffff);
    Arc::new(SimDevice {
        mac,
        name: name.to_owned(),
        family,
        model,
        place: place.clone(),
        behind,
    })
}
