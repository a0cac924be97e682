//! Evaluation of a request's origin by the configuration, without session or clock.

use std::net::IpAddr;

use warp::http::{HeaderMap, header};

use crate::model::PageAccess;
use crate::web::{Peer, from_this_machine};

/// Maximum length of a name from a proxy.
const MAX_NAME: usize = 128;
/// Maximum number of proxies in a chain.
const MOST_HOPS: usize = 8;

/// The URL under which people reach this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::web) struct Public {
    host: String,
    port: Option<u16>,
    origin: String,
    https: bool,
}

impl Public {
    pub(in crate::web) fn of(url: &str) -> Option<Self> {
        let url = reqwest::Url::parse(url).ok()?;
        Some(Self {
            host: url.host_str()?.to_ascii_lowercase(),
            port: url.port_or_known_default(),
            origin: url.origin().ascii_serialization(),
            https: url.scheme() == "https",
        })
    }

    pub(in crate::web) fn is_named(&self, name: &str) -> bool {
        self.host == name
    }
}

/// User named by a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProxyUser {
    /// The request came through no trusted proxy, or proxies name no users here.
    Nothing,
    /// A trusted proxy named no user, or not in a reliable way.
    Unclear,
    /// The user's name.
    Name(String),
}

impl PageAccess {
    /// Returns true if the request comes directly from a trusted proxy.
    pub(super) fn is_proxy(&self, peer: Option<&Peer>) -> bool {
        peer.is_some_and(|peer| self.trusts(peer.ip()))
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(ip))
    }

    /// Returns the user that a trusted proxy names.
    pub(super) fn proxy_says(&self, headers: &HeaderMap, peer: Option<&Peer>) -> ProxyUser {
        let Some(name) = self.user_header.as_ref().filter(|_| self.is_proxy(peer)) else {
            return ProxyUser::Nothing;
        };
        // A second header may come from the client, so only a single one is reliable.
        let mut values = headers.get_all(name).iter();
        let (one, another) = (values.next(), values.next());
        let said = one
            .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
            .map(str::trim);
        match said {
            Some(said) if another.is_none() && is_name(said) => ProxyUser::Name(said.to_owned()),
            _ => ProxyUser::Unclear,
        }
    }

    /// Returns true if the request was made on this machine and not forwarded, judged by address
    /// and headers.
    pub(super) fn is_here(&self, headers: &HeaderMap, peer: Option<&Peer>) -> bool {
        let named = self
            .user_header
            .as_ref()
            .is_some_and(|name| headers.contains_key(name));
        from_this_machine(peer, headers) && !named
    }

    /// Returns true if the user's browser uses HTTPS.
    pub(super) fn is_https(
        &self,
        public: Option<&Public>,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> bool {
        let (name, port) = host(headers).unwrap_or_default();
        let publicly = public.is_some_and(|public| {
            public.https && public.host == name && (port.is_none() || port == public.port)
        });
        let said = headers
            .get("x-forwarded-proto")
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"));
        publicly || (said && self.is_proxy(peer))
    }

    /// Returns true if the request uses one of our host names. This stops pages whose DNS name
    /// resolves to this machine.
    pub(super) fn knows_host(&self, public: Option<&Public>, headers: &HeaderMap) -> bool {
        if !headers.contains_key(header::HOST) {
            return true;
        }
        let Some((name, _)) = host(headers) else {
            return false;
        };
        is_own(&name)
            || public.is_some_and(|public| public.is_named(&name))
            || self.hosts.contains(&name)
    }

    /// Returns the addresses that a wrong password counts against, the most likely one last. Behind
    /// a trusted proxy that is the client it names. A proxy that is trusted only as part of a
    /// network may be a client that forges the header, so it counts too.
    pub(super) fn clients(&self, headers: &HeaderMap, peer: &Peer) -> Vec<IpAddr> {
        let values = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok());
        let named: Vec<&str> = values
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        let peer = peer.ip();
        // The nearest hop is last in the header; everything before the first untrusted one can be
        // forged.
        let named = named.iter().rev().map_while(|hop| address(hop));
        let mut blamed = Vec::new();
        for hop in std::iter::once(peer).chain(named).take(MOST_HOPS) {
            if !self.trusts(hop) {
                blamed.push(hop);
                return blamed;
            }
            if !self.is_surely_a_proxy(hop) {
                blamed.push(hop);
            }
        }
        if blamed.is_empty() {
            blamed.push(peer);
        }
        blamed
    }

    fn is_surely_a_proxy(&self, ip: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.is_single() && network.contains(ip))
    }
}

/// Parses `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.parse().ok();
    let with_port = || {
        hop.parse::<std::net::SocketAddr>()
            .ok()
            .map(|address| address.ip())
    };
    bare.or_else(with_port).map(|ip: IpAddr| ip.to_canonical())
}

fn is_name(said: &str) -> bool {
    !said.is_empty() && said.len() <= MAX_NAME && !said.chars().any(char::is_control)
}

/// Returns the host name in lower case, and the port. `None` unless exactly one valid `Host` header
/// exists.
pub(in crate::web) fn host(headers: &HeaderMap) -> Option<(String, Option<u16>)> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return None;
    };
    let host = host.to_str().ok()?;
    let (name, rest) = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = match rest {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse().ok()?),
    };
    Some((name.trim_end_matches('.').to_ascii_lowercase(), port))
}

/// Returns true for localhost and IP addresses, which no foreign DNS name can stand for.
pub(in crate::web) fn is_own(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

/// Returns true unless the `Origin` header names another site.
pub(in crate::web) fn knows_origin(public: Option<&Public>, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    let (Ok(origin), None) = (origin.to_str(), origins.next()) else {
        return false;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let is_host = origin
        .split_once("://")
        .is_some_and(|(_, named)| !host.is_empty() && named == host);
    is_host || public.is_some_and(|public| public.origin == origin)
}

/// Returns true unless the browser says that a page of another site sent this request.
pub(in crate::web) fn is_same_site(headers: &HeaderMap) -> bool {
    headers
        .get_all("sec-fetch-site")
        .iter()
        .all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"))
}
