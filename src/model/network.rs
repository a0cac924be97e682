//! Network addresses.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// An address or a network: `192.0.2.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Reads an address or network. Returns `None` if it is neither, or if bits beyond the prefix
    /// are set.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let network = if text.contains('/') {
            text.parse::<IpNet>().ok()?
        } else {
            IpNet::from(text.parse::<IpAddr>().ok()?.to_canonical())
        };
        (network.addr() == network.network()).then_some(Self(network))
    }

    /// Returns whether it is a single address.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Returns whether it contains the address. An IPv4-mapped IPv6 address counts as the IPv4
    /// address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            write!(f, "{}", self.0.addr())
        } else {
            write!(f, "{}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_and_no_other() {
        for (network, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7", "::ffff:192.0.2.7", "::192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/9", "10.127.0.1", "10.128.0.0"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("::/0", "::1", "203.0.113.1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
        ] {
            let network = Network::parse(network).unwrap_or_else(|| panic!("{network}"));
            assert!(
                network.contains(inside.parse().unwrap()),
                "{network} holds {inside}"
            );
            assert!(
                !network.contains(outside.parse().unwrap()),
                "{network} does not hold {outside}"
            );
            assert_eq!(Network::parse(&network.to_string()), Some(network));
        }
        for text in [
            "",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10/8",
            "10.0.0.0/+8",
            "::/129",
            "proxy",
            "1.2.3.4:80",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
