//! `server:`, `sources:` and `destinations:`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::around::is_digest;
use super::read::{Reader, Section};
use super::redact::has_password;
use super::spelling::nearest;
use super::tree::{At, Node, Tree};
use super::{Log, Server, keys, page_access};
use crate::destination::{
    CONSOLE, Destination, DestinationKind, DestinationSettings, KINDS, Overflow, RateLimit,
    SettingValue, Unusable, Values,
};
use crate::model::{Name, Secret, Setting, Severity, Shape, SourceKind};
use crate::render::Body;
use crate::source::{self, SourceSettings};

/// An address and a port, as `server.listen` and `--listen` have it.
#[must_use]
pub fn listen_address(text: &str) -> Option<SocketAddr> {
    text.replace("localhost:", "127.0.0.1:").parse().ok()
}

/// The server, and where its address stands.
pub(super) fn server(reader: &mut Reader<'_>, file: &Section<'_>) -> (Server, At) {
    let mut server = Server::with_defaults(&reader.dir);
    let Some(section) = file
        .get("server")
        .and_then(|node| reader.section(node, keys::SERVER, "server"))
    else {
        return (server, At::START);
    };
    if let Some(node) = section.get("listen")
        && let Some(text) = reader.text(node, "listen")
    {
        match listen_address(text) {
            Some(listen) => server.listen = listen,
            None => {
                let help = "write an address and a port, as in 127.0.0.1:8080";
                reader.problems.error(
                    node.at,
                    format!("`listen`: \"{text}\" is not an address"),
                    help,
                );
            }
        }
    }
    if let Some(node) = section.get("public_url")
        && let Some(text) = reader.text(node, "public_url")
    {
        if has_password(text) {
            reader.problems.error(
                node.at,
                "`public_url` names a user or a password",
                "everyone in the chat would see it: leave it out",
            );
        } else if reqwest::Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        {
            server.public_url = Some(text.trim_end_matches('/').to_owned());
        } else {
            reader.problems.error(
                node.at,
                "`public_url` is not a URL",
                "write it as in https://foghorn.example.net",
            );
        }
    }
    server.access = page_access::read(reader, &section);
    let path = |key: &str, reader: &mut Reader<'_>| {
        let text = section.get(key).and_then(|node| reader.text(node, key))?;
        Some(reader.path(text))
    };
    if let Some(data) = path("data", reader) {
        server.data = data;
    }
    server.templates = path("templates", reader);
    if let Some(kept) = section
        .get("retention")
        .and_then(|n| reader.section(n, keys::RETENTION, "retention"))
    {
        set(
            &mut server.retention.age,
            kept.get("age").and_then(|n| reader.positive(n, "age")),
        );
        set(
            &mut server.retention.size,
            kept.get("size").and_then(|n| reader.size(n, "size")),
        );
    }
    set(
        &mut server.max_body,
        section
            .get("max_body")
            .and_then(|n| reader.size(n, "max_body")),
    );
    let connections = section
        .get("max_connections")
        .and_then(|n| reader.count(n, "max_connections"));
    set(
        &mut server.max_connections,
        connections.and_then(|n| usize::try_from(n).ok()),
    );
    if section
        .get("log")
        .and_then(|n| reader.word(n, "log", &["text", "json"]))
        == Some("json")
    {
        server.log = Log::Json;
    }
    set(
        &mut server.edit_rules,
        section
            .get("edit_rules")
            .and_then(|n| reader.flag(n, "edit_rules")),
    );
    (
        server,
        section.get("listen").map_or(section.at, |node| node.at),
    )
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// The sources; without any, `mist` with the environment's secret.
pub(super) fn sources(reader: &mut Reader<'_>, file: &Section<'_>) -> Vec<SourceSettings> {
    let implied = SourceSettings::new(source::default_name().as_str(), SourceKind::default());
    let Some(entries) = file
        .get("sources")
        .and_then(|node| reader.entries(node, "sources"))
        .filter(|e| !e.is_empty())
    else {
        return vec![SourceSettings {
            secrets: secret_of(reader, &implied).into_iter().collect(),
            ..implied
        }];
    };
    let mut sources = Vec::new();
    for (name, at, node) in entries {
        check_name(reader, name, at, "source");
        let mut source = SourceSettings::new(name, SourceKind::default());
        if !matches!(node.tree, Tree::Null)
            && let Some(section) = reader.section(node, keys::SOURCE, &format!("source `{name}`"))
        {
            let kind = section
                .get("kind")
                .and_then(|n| reader.word(n, "kind", &source::WORDS))
                .and_then(source::kind);
            if let Some(kind) = kind {
                source = SourceSettings::new(name, kind);
            }
            if let Some(secrets) = section.get("secrets") {
                let secrets = reader.one_or_many(secrets, "secrets");
                source.secrets = secrets
                    .iter()
                    .filter_map(|node| reader.secret(node, "secrets"))
                    .collect();
            } else if let Some(variable) = source.secret_variable()
                && secret_of(reader, &source).is_some()
            {
                reader.problems.warn(
                    at,
                    format!("{variable} is set, and this source does not use it"),
                    format!("add secrets: [\"env:{variable}\"]"),
                );
            }
            let flag = |key: &str, reader: &mut Reader<'_>| {
                section.get(key).and_then(|n| reader.flag(n, key))
            };
            source.allow_unsigned = flag("allow_unsigned", reader).unwrap_or(false);
            source.allow_v1 = flag("allow_v1", reader).unwrap_or(false);
            source.store_all = section
                .get("store")
                .and_then(|n| reader.word(n, "store", &["useful", "all"]))
                == Some("all");
            let age = section
                .get("max_event_age")
                .and_then(|n| reader.duration_or_never(n, "max_event_age"));
            set(&mut source.max_event_age, age);
            if let Some(node) = section.get("portal")
                && let Some(host) = reader.text(node, "portal")
            {
                if host
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
                {
                    source.portal = host.to_owned();
                } else {
                    reader.problems.error(
                        node.at,
                        format!("`portal` must be a host, as in {}", source.portal),
                        "",
                    );
                }
            }
        }
        sources.push(source);
    }
    sources
}

/// The secret of a source that stands in the environment.
fn secret_of(reader: &Reader<'_>, source: &SourceSettings) -> Option<Secret> {
    let secret = (reader.env)(source.secret_variable()?)?;
    Some(secret.trim())
        .filter(|secret| !secret.is_empty())
        .map(Secret::new)
}

fn check_name(reader: &mut Reader<'_>, name: &str, at: At, what: &str) {
    if name.is_empty()
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    {
        let help = "letters, digits, - and _ are";
        reader
            .problems
            .error(at, format!("`{name}` cannot be the name of a {what}"), help);
    }
}

/// The destinations that can be used, and every name the file defines (so that one broken URL does
/// not make every rule that names it a problem). Digests are not among them.
pub(super) fn destinations(
    reader: &mut Reader<'_>,
    file: &Section<'_>,
) -> (Vec<DestinationSettings>, Vec<(Name, Severity)>) {
    let node = file.get("destinations");
    let Some(entries) = node
        .and_then(|node| reader.entries(node, "destinations"))
        .filter(|e| !e.is_empty())
    else {
        return (implied_destinations(reader), Vec::new());
    };
    let mut usable = Vec::new();
    let mut names = Vec::new();
    for (name, at, node) in entries {
        check_name(reader, name, at, "destination");
        if name == "all" {
            reader.problems.error(
                at,
                "`all` cannot be the name of a destination",
                "`notify: all` means every one",
            );
        }
        // It tells through the others.
        if is_digest(node) {
            continue;
        }
        let settings = destination(reader, name, node);
        let least = settings
            .as_ref()
            .map_or(Severity::Info, |settings| settings.min_severity);
        names.push((Name::new(name), least));
        usable.extend(settings);
    }
    if names.is_empty() {
        return (implied_destinations(reader), names);
    }
    (usable, names)
}

/// Destinations that the environment gives, else the console.
fn implied_destinations(reader: &mut Reader<'_>) -> Vec<DestinationSettings> {
    let mut found = Vec::new();
    for kind in KINDS {
        let Some(variable) = kind.variable else {
            continue;
        };
        let Some(url) = (reader.env)(variable)
            .map(|v| v.trim().to_owned())
            .filter(|v| !v.is_empty())
        else {
            continue;
        };
        let mut values = Values::default();
        values.set("url", SettingValue::Secret(Secret::new(url)));
        match (kind.make)(&values) {
            Ok(target) => {
                found.push(DestinationSettings::with_defaults(
                    Name::new(kind.word),
                    target,
                ));
            }
            Err(Unusable::Missing(_)) => {}
            Err(Unusable::Wrong { what, help, .. }) => {
                let what = format!("`{variable}` {what}");
                reader.problems.error(At::default(), what, help);
            }
        }
    }
    if found.is_empty() {
        found.extend(console("console"));
    }
    found
}

/// Standard output by this name.
fn console(name: &str) -> Option<DestinationSettings> {
    let target = (CONSOLE.make)(&Values::default()).ok()?;
    Some(DestinationSettings::with_defaults(Name::new(name), target))
}

fn destination(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<DestinationSettings> {
    let words = || KINDS.iter().map(|kind| kind.word);
    let place = format!("destination `{name}`");
    if let Some(scalar) = node.scalar() {
        let kind = nearest(&scalar.text, words()).unwrap_or("slack");
        let help = format!("the kind is a key: {{{kind}: {{…}}}}");
        reader
            .problems
            .error(node.at, format!("{place} must be a map"), help);
        return None;
    }
    let section = reader.section(node, keys::DESTINATION, &place)?;
    let mut kinds = KINDS
        .iter()
        .filter_map(|kind| Some((kind, section.get(kind.word)?)));
    let Some((kind, settings)) = kinds.next() else {
        let help = format!("{} or digest", words().collect::<Vec<_>>().join(", "));
        reader
            .problems
            .error(section.at, format!("{place} does not say what it is"), help);
        return None;
    };
    if let Some((other, _)) = kinds.next() {
        let what = format!("{place} is both `{}` and `{}`", kind.word, other.word);
        let help = "make two destinations of it";
        reader
            .problems
            .error(section.key_at(other.word), what, help);
    }
    let target = target(reader, kind, settings, &place);
    let is_usable = target.is_some();
    // Without its URL it cannot be used, but the rest of it is still judged.
    let mut out = match target {
        Some(target) => DestinationSettings::with_defaults(Name::new(name), target),
        None => console(name)?,
    };
    let severity = section
        .get("min_severity")
        .and_then(|n| reader.word(n, "min_severity", keys::SEVERITIES));
    set(&mut out.min_severity, severity.and_then(Severity::parse));
    if let Some(pace) = section
        .get("rate_limit")
        .and_then(|n| reader.section(n, keys::RATE_LIMIT, "rate_limit"))
    {
        out.rate_limit = rate_limit(reader, &pace, out.rate_limit);
    }
    if let Some(node) = section.get("overflow") {
        set(&mut out.overflow, overflow(reader, node));
    }
    set(
        &mut out.overflow_after,
        section
            .get("overflow_after")
            .and_then(|n| reader.duration(n, "overflow_after")),
    );
    set(
        &mut out.timeout,
        section
            .get("timeout")
            .and_then(|n| reader.positive(n, "timeout")),
    );
    if let Some(retry) = section
        .get("retry")
        .and_then(|n| reader.section(n, keys::RETRY, "retry"))
    {
        set(
            &mut out.retry.first,
            retry.get("first").and_then(|n| reader.positive(n, "first")),
        );
        set(
            &mut out.retry.max,
            retry.get("max").and_then(|n| reader.positive(n, "max")),
        );
        set(
            &mut out.retry.give_up_after,
            retry
                .get("give_up_after")
                .and_then(|n| reader.positive(n, "give_up_after")),
        );
        if out.retry.first > out.retry.max {
            reader
                .problems
                .error(retry.at, "`retry`: `first` is longer than `max`", "");
        }
    }
    is_usable.then_some(out)
}

fn overflow(reader: &mut Reader<'_>, node: &Node) -> Option<Overflow> {
    if node.scalar().is_some_and(|scalar| scalar.text == "digest") {
        let what = "`overflow: digest` is called `overflow: summary`";
        reader.problems.error(node.at, what, "write summary");
        return None;
    }
    match reader.word(node, "overflow", keys::OVERFLOWS)? {
        "summary" => Some(Overflow::Summary),
        _ => Some(Overflow::Queue),
    }
}

/// The destination that the settings of its kind make.
fn target(
    reader: &mut Reader<'_>,
    kind: &DestinationKind,
    node: &Node,
    place: &str,
) -> Option<Arc<dyn Destination>> {
    let word = kind.word;
    if let Some(first) = kind.settings.first()
        && node.scalar().is_some()
    {
        let help = format!("write {word}: {{{}: \"env:NAME\"}}", first.name);
        let what = format!("`{word}` must be a map");
        reader.problems.error(node.at, what, help);
        return None;
    }
    if kind.settings.is_empty() && matches!(node.tree, Tree::Null) {
        return (kind.make)(&Values::default()).ok();
    }
    let section = reader.section(node, kind.settings, word)?;
    let mut values = Values::default();
    let mut is_whole = true;
    for setting in kind.settings {
        if let Some(node) = section.get(setting.name) {
            match value(reader, setting, node) {
                Some(value) => values.set(setting.name, value),
                None => is_whole = false,
            }
        }
    }
    match (kind.make)(&values) {
        Ok(target) => Some(target).filter(|_| is_whole),
        Err(Unusable::Missing(key)) => {
            // One that is there and does not read is a problem already.
            if section.get(key).is_none() {
                let what = format!("{place} has no `{key}`");
                reader.problems.error(section.at, what, "");
            }
            None
        }
        Err(Unusable::Wrong { key, what, help }) => {
            let at = section.get(key).map_or(section.at, |node| node.at);
            reader.problems.error(at, format!("`{key}` {what}"), help);
            None
        }
    }
}

/// The value of a setting of a kind of destination, by its shape.
fn value(reader: &mut Reader<'_>, setting: &Setting, node: &Node) -> Option<SettingValue> {
    match setting.shape {
        Shape::Headers => Some(SettingValue::Headers(headers(reader, node))),
        Shape::Any => body(reader, node).map(SettingValue::Body),
        _ => reader.secret(node, setting.name).map(SettingValue::Secret),
    }
}

fn headers(reader: &mut Reader<'_>, node: &Node) -> Vec<(String, Secret)> {
    let entries = reader.entries(node, "headers").unwrap_or_default();
    let mut headers = Vec::new();
    for (name, at, value) in entries {
        let Some(secret) = reader.secret(value, name) else {
            continue;
        };
        if warp::http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            reader
                .problems
                .error(at, format!("`{name}` cannot be the name of a header"), "");
        } else if warp::http::HeaderValue::from_str(secret.expose()).is_err() {
            reader.problems.error(
                value.at,
                format!("the header `{name}` cannot have this value"),
                "",
            );
        } else {
            headers.push((name.to_owned(), secret));
        }
    }
    headers
}

/// The tree whose texts are templates.
fn body(reader: &mut Reader<'_>, node: &Node) -> Option<Body> {
    match Body::compile(&reader.tree(node, "`body`")) {
        Ok(body) => Some(body),
        Err(found) => {
            for problem in found {
                reader.problems.error(
                    node.at,
                    format!("`body`: {}", problem.what),
                    problem.help.unwrap_or_default(),
                );
            }
            None
        }
    }
}

fn rate_limit(reader: &mut Reader<'_>, pace: &Section<'_>, default: RateLimit) -> RateLimit {
    let limit = pace.get("limit").and_then(|n| reader.count(n, "limit"));
    let per = pace.get("per").and_then(|n| reader.positive(n, "per"));
    let burst = pace.get("burst").and_then(|n| reader.count(n, "burst"));
    match (limit, per) {
        (None, None) => RateLimit {
            burst: burst.unwrap_or(default.burst),
            ..default
        },
        _ => {
            let limit = limit.unwrap_or(default.limit);
            let per = per.unwrap_or(Duration::from_secs(1));
            RateLimit {
                limit,
                per,
                burst: burst.unwrap_or(limit),
            }
        }
    }
}
