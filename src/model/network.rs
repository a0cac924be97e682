//! Addresses that belong together.

use std::fmt;
use std::net::IpAddr;

/// An address, or all that begin like it: `192.0.2.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads one; `None` when it is none, or when bits beyond its prefix are set.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            None => (text.parse::<IpAddr>().ok()?.to_canonical(), None),
            Some((address, prefix)) => {
                let plain = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
                (
                    address.parse().ok()?,
                    Some(prefix.parse::<u8>().ok().filter(|_| plain)?),
                )
            }
        };
        let all = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(all);
        let fits = prefix <= all && bits(address) & !mask(prefix, all) == 0;
        fits.then_some(Self { address, prefix })
    }

    /// Whether it is one address and no more.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.prefix == if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether this address is one of them. An IPv4 address in the clothes of IPv6 is itself.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let all = if address.is_ipv4() { 32 } else { 128 };
        address.is_ipv4() == self.address.is_ipv4()
            && (bits(address) ^ bits(self.address)) & mask(self.prefix, all) == 0
    }
}

/// The first `prefix` of `all` bits.
fn mask(prefix: u8, all: u8) -> u128 {
    let ones = if all == 32 {
        u128::from(u32::MAX)
    } else {
        u128::MAX
    };
    ones & !ones.checked_shr(u32::from(prefix)).unwrap_or_default()
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.prefix) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{}", self.address),
            (address, prefix) => write!(f, "{address}/{prefix}"),
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
