//! Checks of the destinations, and of our own public address. Nothing is posted.

use std::time::Duration;

use tokio::net::TcpStream;

use super::LIMIT;
use super::report::CheckResult;
use crate::clock::Clock;
use crate::destination::DestinationSettings;
use crate::model::Secret;
use crate::source;
use crate::web::HEALTHY;
use crate::wire::{Http, HttpRequest, Method, Reply, Transport as _, Url, is_local};

/// Returns the name of a destination in findings.
pub(super) fn name(settings: &DestinationSettings) -> String {
    format!("destination {}", settings.name)
}

/// Checks name, connection and certificate of a destination, and returns the seconds by which its
/// clock is ahead. It requests only the head of `/`: the path is the secret, so it is not sent. The
/// host may be secret too, so it is not printed.
pub(super) async fn destination(
    settings: DestinationSettings,
) -> (CheckResult, Option<(String, i64)>) {
    let check = name(&settings);
    let Some(url) = settings.target.url() else {
        let found = CheckResult::ok(&check, "prints to standard output only");
        return (found, None);
    };
    let Some(origin) = origin(url) else {
        return (
            CheckResult::problem(
                &check,
                "its URL is not valid",
                "write it as in https://hooks.slack.com/services/…",
            ),
            None,
        );
    };
    // The placeholder of a missing secret; the findings about the config name it.
    if origin.host_str() == Some("missing.invalid") {
        return (
            CheckResult::warning(
                &check,
                "not checked: its URL is missing",
                "set the variable that the finding about `config` names; --env-file reads the file of the service",
            ),
            None,
        );
    }
    // All steps share one time limit: doctor must not wait for each of them.
    let clock = Clock::system();
    let left = || LIMIT.saturating_sub(clock.elapsed());
    // Behind a proxy this machine may not resolve names, so only the request through it counts.
    let through_proxy = !is_local(&origin) && proxied();
    if !through_proxy && let Err((what, help)) = connect(&origin, left()).await {
        return (CheckResult::problem(&check, what, help), None);
    }
    let head = HttpRequest::new(Method::HEAD, Secret::new(origin.as_str()));
    match Http::new(false).send(&head, left()).await {
        Reply::Http { date, .. } => {
            let way = match (through_proxy, origin.scheme()) {
                (true, _) => "through the proxy of the environment",
                (_, "https") => "by name, connection and certificate",
                _ => "by name and connection, without TLS",
            };
            let took = clock.elapsed().as_millis();
            let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date.trim()).ok());
            let ahead = date.map(|date| date.timestamp().as_second() - clock.wall().seconds());
            let what = format!(
                "reachable, {way}, in {took} ms. Try it: foghorn send-test {}",
                settings.name
            );
            (
                CheckResult::ok(&check, what),
                ahead.map(|ahead| (settings.name.to_string(), ahead)),
            )
        }
        Reply::Failed { why } => {
            let help = if why.contains("certificate") {
                "if a proxy decrypts TLS, add its CA to this machine: update-ca-certificates. Is the clock right?"
            } else {
                "the connection worked, but there was no answer: is it the right host, or a device in between?"
            };
            (
                CheckResult::problem(&check, format!("TLS or HTTP: {why}"), help),
                None,
            )
        }
        Reply::Printed => (CheckResult::ok(&check, "prints here"), None),
    }
}

/// Resolves the host and connects to one of its addresses.
async fn connect(origin: &Url, within: Duration) -> Result<(), (String, &'static str)> {
    const DNS: &str = "check the URL and /etc/resolv.conf";
    const TCP: &str =
        "is the host up? Does a firewall block this machine? Behind a proxy, set HTTPS_PROXY";
    let clock = Clock::system();
    let host = origin
        .host_str()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = origin.port_or_known_default().unwrap_or(443);
    let found = tokio::time::timeout(within, tokio::net::lookup_host((host, port))).await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) => return Err(("DNS: the host in its URL is not found".to_owned(), DNS)),
        Err(_) => return Err(("DNS: no answer within 5 s".to_owned(), DNS)),
    };
    // Both steps share one time limit, so the second gets what the first left.
    let left = within.saturating_sub(clock.elapsed());
    match tokio::time::timeout(left, TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err((format!("TCP: {}", plain(&error)), TCP)),
        Err(_) => Err(("TCP: no connection within 5 s".to_owned(), TCP)),
    }
}

/// Returns an error of the system without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Returns scheme, host and port of a URL.
fn origin(url: &Secret) -> Option<Url> {
    let mut origin = Url::parse(url.expose()).ok().filter(Url::has_host)?;
    origin.set_path("/");
    origin.set_query(None);
    origin.set_fragment(None);
    origin.set_username("").ok()?;
    origin.set_password(None).ok()?;
    Some(origin)
}

fn proxied() -> bool {
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    names
        .iter()
        .any(|name| crate::config::environment(name).is_some_and(|value| !value.is_empty()))
}

/// Checks that our public address leads to a Foghorn.
pub(super) async fn public_url(url: &str, runs: bool) -> CheckResult {
    const CHECK: &str = "public_url";
    const REACH: &str = "check its DNS name, the proxy in front of Foghorn, and the firewall. A network's public address may be \
                         unreachable from inside: then run doctor elsewhere";
    let Ok(healthz) = Url::parse(&format!("{url}/healthz")) else {
        return CheckResult::problem(
            CHECK,
            "not a URL",
            "write it as in https://foghorn.example.net",
        );
    };
    // The answer of `/healthz` is unique, so a foreign server at that address is noticed.
    let get = HttpRequest::new(Method::GET, Secret::new(healthz));
    match Http::new(true).send(&get, LIMIT).await {
        Reply::Http {
            status: 200, body, ..
        } if body.trim() == HEALTHY => CheckResult::ok(CHECK, format!("{url} leads to Foghorn")),
        Reply::Http { status, .. } if !runs => {
            let what = format!("{url} answers {status}, but no server runs here");
            CheckResult::warning(CHECK, what, "start the server, then run doctor again")
        }
        Reply::Http { status, .. } => {
            let what = format!("{url}/healthz answers {status}, but not like Foghorn");
            let mut posts = String::new();
            for kind in source::posting() {
                posts = format!("{posts}, /{kind}");
            }
            let help =
                format!("forward /healthz{posts} and /silence/ from the proxy to this server");
            CheckResult::warning(CHECK, what, help)
        }
        Reply::Failed { why } => CheckResult::problem(CHECK, format!("{url}: {why}"), REACH),
        Reply::Printed => CheckResult::ok(CHECK, url),
    }
}
