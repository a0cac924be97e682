//! Settings of `server:` for access to the page.

use std::net::SocketAddr;

use super::Server;
use super::read::{Reader, Section};
use crate::model::{Network, PageAccess, Secret};
use crate::password;

/// Where proxies mostly say who asks.
const USER_HEADER: &str = "X-Forwarded-User";

pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>) -> PageAccess {
    let password = password(reader, section);
    let mut access = PageAccess {
        password,
        ..PageAccess::default()
    };
    if let Some(node) = section.get("trusted_proxies") {
        for (text, at) in reader.texts(node, "trusted_proxies") {
            match Network::parse(text) {
                Some(network) => access.trusted_proxies.push(network),
                None => {
                    let what = format!(
                        "`trusted_proxies`: \"{text}\" is neither an address nor a network"
                    );
                    reader
                        .problems
                        .error(at, what, "write it as in 192.0.2.7 or 10.0.0.0/8");
                }
            }
        }
    }
    // A proxy that is there for https only may hand on a header that anyone sent: beside a password
    // it is asked for by name.
    access.user_header = access.password.is_none().then(|| USER_HEADER.to_owned());
    if let Some(node) = section.get("user_header")
        && let Some(text) = reader.text(node, "user_header")
    {
        if warp::http::HeaderName::from_bytes(text.as_bytes()).is_ok() {
            access.user_header = Some(text.to_owned());
        } else {
            reader.problems.error(
                node.at,
                format!("`user_header`: \"{text}\" cannot be the name of a header"),
                "",
            );
        }
        if access.trusted_proxies.is_empty() {
            let help = "add `trusted_proxies`";
            reader.problems.warn(
                node.at,
                "`user_header` means nothing: no proxy is trusted to say who asks",
                help,
            );
        }
    }
    if let Some(node) = section.get("hosts") {
        for (text, at) in reader.texts(node, "hosts") {
            let name = text.trim_end_matches('.').to_ascii_lowercase();
            if !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            {
                access.hosts.push(name);
            } else {
                let help = "only the name, as in foghorn.lan: no https://, no port, no *";
                reader
                    .problems
                    .error(at, format!("`hosts`: \"{text}\" is not a name"), help);
            }
        }
    }
    access
}

/// The hash of the password. What stands there may be the password itself: it is never repeated.
fn password(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Secret> {
    let node = section.get("password")?;
    let named = node.scalar().is_some_and(|scalar| {
        ["env:", "file:"]
            .iter()
            .any(|way| scalar.text.starts_with(way))
    });
    let hash = if named {
        reader.secret(node, "password")?
    } else {
        Secret::new(reader.text(node, "password")?)
    };
    match password::objection(&hash) {
        None => Some(hash),
        // What is named may be missing where nobody logs in.
        Some(_) if named && reader.offline => None,
        Some(why) => {
            let help = "run `foghorn hash-password` and write here what it prints, in quotes";
            reader
                .problems
                .error(node.at, format!("`password` {why}"), help);
            None
        }
    }
}

impl Server {
    /// What is worth a look about who may see the page when this address is listened on, and what
    /// to do.
    #[must_use]
    pub fn unseen(&self, listen: SocketAddr) -> Option<(&'static str, &'static str)> {
        let PageAccess {
            password,
            trusted_proxies,
            ..
        } = &self.access;
        let by_https = self
            .public_url
            .as_ref()
            .is_some_and(|url| url.starts_with("https://"));
        if listen.ip().is_loopback() || (password.is_none() && !trusted_proxies.is_empty()) {
            None
        } else if password.is_none() {
            let help = "to see it from elsewhere: `server.password` or `server.trusted_proxies`";
            Some((
                "posts are taken from elsewhere, and the page is for this machine only",
                help,
            ))
        } else if trusted_proxies.is_empty() && !by_https {
            let help = "put a proxy with https before it, and name it in `server.trusted_proxies`";
            Some((
                "the password travels over plain http, where others may read it",
                help,
            ))
        } else {
            None
        }
    }
}
