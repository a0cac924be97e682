//! Topology: the connections between devices, as the operator described them.

use std::collections::{BTreeMap, BTreeSet};

use super::pattern::{fold, mac};
use crate::model::Event;

/// `topology.links`: which devices are reached through which. A device is named by its name or its
/// MAC, in any spelling. Each device should always be named the same way: only its events show that
/// name and MAC belong together.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// The first spelling of each name, by the key used for comparison.
    names: BTreeMap<String, String>,
    /// The direct parents of each device.
    parents: BTreeMap<String, BTreeSet<String>>,
}

/// A circle of devices that would be reached through themselves; the first is repeated at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<String>);

impl Topology {
    /// Creates a topology from links of a parent to a child.
    ///
    /// # Errors
    /// Fails if a device would be reached through itself.
    pub fn new<'a>(links: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Cycle> {
        let mut topology = Self::default();
        for (parent, child) in links {
            // The first spelling is the one that people see.
            for name in [parent, child] {
                topology
                    .names
                    .entry(key(name))
                    .or_insert_with(|| name.to_owned());
            }
            topology
                .parents
                .entry(key(child))
                .or_default()
                .insert(key(parent));
        }
        match topology.cycle() {
            Some(cycle) => Err(cycle),
            None => Ok(topology),
        }
    }

    /// Returns whether it has no links.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns every link, parent first, with the operator's names.
    pub fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parents.iter().flat_map(move |(child, parents)| {
            parents
                .iter()
                .filter_map(move |parent| Some((self.name(parent)?, self.name(child)?)))
        })
    }

    /// Returns the topology's name of the event's device. `None`: the topology does not contain it.
    #[must_use]
    pub fn node(&self, event: &Event) -> Option<&str> {
        keys(event).into_iter().find_map(|key| self.name(&key))
    }

    /// Returns every device through which the event's device is reached, directly or not.
    #[must_use]
    pub fn above(&self, event: &Event) -> Vec<&str> {
        self.ancestors(keys(event))
            .iter()
            .filter_map(|key| self.name(key))
            .collect()
    }

    /// Returns whether the target's device is reached through the source's, directly or not. Links
    /// may name the source's device by its name or by its MAC.
    #[must_use]
    pub fn explains(&self, source: &Event, target: &Event) -> bool {
        let above = self.ancestors(keys(target));
        keys(source).iter().any(|key| above.contains(key))
    }

    /// Returns whether the target's device cannot be reached without the source's: every path leads
    /// through it.
    #[must_use]
    pub fn needs(&self, source: &Event, target: &Event) -> bool {
        let without = keys(source);
        let mut met: BTreeSet<String> = BTreeSet::new();
        let mut left = keys(target);
        let mut any = false;
        while let Some(key) = left.pop() {
            // A path that meets the source ends there, and the others must meet it as well.
            if without.contains(&key) || !met.insert(key.clone()) {
                continue;
            }
            match self.parents.get(&key) {
                Some(parents) => {
                    any = true;
                    left.extend(parents.iter().cloned());
                }
                // The topology may know the device by only one of its names.
                None if keys(target).contains(&key) => {}
                None => return false,
            }
        }
        any
    }

    fn name(&self, key: &str) -> Option<&str> {
        self.names.get(key).map(String::as_str)
    }

    fn ancestors(&self, from: Vec<String>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut left = from;
        while let Some(key) = left.pop() {
            for parent in self.parents.get(&key).into_iter().flatten() {
                if found.insert(parent.clone()) {
                    left.push(parent.clone());
                }
            }
        }
        found
    }

    /// Returns a path from a device back to itself.
    fn cycle(&self) -> Option<Cycle> {
        let none = BTreeSet::new();
        let parents = |key: &String| self.parents.get(key).unwrap_or(&none);
        let mut children: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
        for (child, parents) in &self.parents {
            parents
                .iter()
                .for_each(|parent| children.entry(parent).or_default().push(child));
        }
        // Devices without a parent are removed repeatedly. The rest is in a circle or below one.
        let mut waits: BTreeMap<&String, usize> = self
            .names
            .keys()
            .map(|key| (key, parents(key).len()))
            .collect();
        let mut free: Vec<&String> = waits
            .iter()
            .filter(|(_, above)| **above == 0)
            .map(|(key, _)| *key)
            .collect();
        while let Some(key) = free.pop() {
            waits.remove(key);
            for child in children.get(key).into_iter().flatten() {
                if let Some(above) = waits.get_mut(child) {
                    *above -= 1;
                    if *above == 0 {
                        free.push(child);
                    }
                }
            }
        }
        // Going up from any of the rest must meet a device twice.
        let mut at = *waits.keys().next()?;
        let mut way: Vec<&String> = Vec::new();
        let mut met = BTreeSet::new();
        while met.insert(at) {
            way.push(at);
            at = parents(at).iter().find(|key| waits.contains_key(key))?;
        }
        way.push(at);
        let circle = way.iter().skip_while(|key| **key != at);
        let mut circle: Vec<String> = circle
            .filter_map(|key| self.name(key))
            .map(str::to_owned)
            .collect();
        // The path was followed upwards, but links are written parent first.
        circle.reverse();
        Some(Cycle(circle))
    }
}

/// Returns the key by which a device is compared.
fn key(name: &str) -> String {
    mac(name).unwrap_or_else(|| fold(name))
}

fn keys(event: &Event) -> Vec<String> {
    let Some(device) = &event.device else {
        return Vec::new();
    };
    device
        .name
        .iter()
        .chain(&device.mac)
        .map(|name| key(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::matcher::tests::event;
    use super::*;
    use crate::model::Device;

    fn of(name: Option<&str>, mac: Option<&str>) -> Event {
        let device = Device {
            name: name.map(str::to_owned),
            mac: mac.map(str::to_owned),
            ..Device::default()
        };
        Event {
            device: Some(device),
            ..event()
        }
    }

    #[test]
    fn what_hangs_below_is_explained_in_any_spelling() {
        let topology = Topology::new([
            ("gw", "SW_Garage"),
            ("sw-garage", "ap-1"),
            ("sw-garage", "5C:5B:35:00:00:02"),
        ])
        .unwrap();
        let (gw, switch) = (
            of(Some("GW"), None),
            of(Some("sw-garage"), Some("aabbccddeeff")),
        );
        let (by_name, by_mac) = (of(Some("AP_1"), None), of(None, Some("5c5b35000002")));
        assert_eq!(topology.node(&switch), Some("SW_Garage"));
        assert_eq!(topology.above(&by_mac), ["gw", "SW_Garage"]);
        assert!(topology.above(&gw).is_empty());
        for target in [&by_name, &by_mac] {
            assert!(topology.explains(&gw, target) && topology.explains(&switch, target));
            assert!(!topology.explains(target, &switch) && !topology.explains(target, target));
        }
        assert_eq!(topology.node(&of(Some("elsewhere"), None)), None);
        assert_eq!(
            topology.node(&Event {
                device: None,
                ..event()
            }),
            None
        );
        assert_eq!(topology.links().count(), 3);
    }

    #[test]
    fn a_device_named_in_two_ways_answers_to_both() {
        let topology = Topology::new([("sw-garage", "ap-1"), ("aabbccddeeff", "ap-2")]).unwrap();
        let switch = of(Some("sw-garage"), Some("aabbccddeeff"));
        assert!(topology.explains(&switch, &of(Some("ap-1"), None)));
        assert!(topology.explains(&switch, &of(Some("ap-2"), None)));
    }

    #[test]
    fn a_circle_is_refused_and_named() {
        let links = [("x", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("b", "d")];
        let Cycle(way) = Topology::new(links).unwrap_err();
        assert_eq!(way, ["a", "b", "c", "a"]);
        assert_eq!(
            Topology::new([("A", "a")]).unwrap_err(),
            Cycle(vec!["A".to_owned(), "A".to_owned()])
        );
        let long: Vec<(String, String)> = (0..3_000)
            .map(|n| (format!("d{n}"), format!("d{}", n + 1)))
            .collect();
        assert!(Topology::new(long.iter().map(|(a, b)| (a.as_str(), b.as_str()))).is_ok());
        let circle = long
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .chain([("d3000", "d0")]);
        assert_eq!(Topology::new(circle).unwrap_err().0.len(), 3_002);
    }
}
