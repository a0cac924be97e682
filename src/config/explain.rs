//! `check --explain`: everything the file says and everything it leaves out, with its value.

use std::fmt::Write;
use std::time::Duration;

mod around;

use super::{Config, Log};
use crate::destination::{DestinationSettings, Overflow};
use crate::model::Field;
use crate::model::PageAccess;
use crate::rules::{Resolve, Rule};
use crate::source::{self, Role};

/// Every setting, also the implied ones, in the words of rules.yaml.
#[must_use]
pub fn explain(config: &Config) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(config, &mut out);
    out
}

fn write_all(config: &Config, out: &mut String) -> std::fmt::Result {
    let server = &config.server;
    let log = if server.log == Log::Json {
        "json"
    } else {
        "text"
    };
    writeln!(out, "server:")?;
    writeln!(out, "  listen: {}", server.listen)?;
    writeln!(
        out,
        "  public_url: {}",
        server
            .public_url
            .as_deref()
            .unwrap_or("none: messages link to Mist only")
    )?;
    write_access(&server.access, out)?;
    writeln!(out, "  data: {}", server.data.display())?;
    match &server.templates {
        Some(folder) => writeln!(out, "  templates: {}", folder.display())?,
        None => writeln!(out, "  templates: the built-in ones")?,
    }
    writeln!(
        out,
        "  retention: {{age: {}, size: {}}}",
        span(server.retention.age),
        bytes(server.retention.size)
    )?;
    writeln!(out, "  max_body: {}", bytes(server.max_body))?;
    writeln!(out, "  max_connections: {}", server.max_connections)?;
    writeln!(out, "  log: {log}")?;
    writeln!(out, "  edit_rules: {}", server.edit_rules)?;
    writeln!(out, "sources:")?;
    for source in &config.sources {
        let trust = match (source.secrets.len(), source.allow_unsigned) {
            (0, false) => "none: unsigned posts, from this machine only".to_owned(),
            (0, true) => "none: unsigned posts, from anywhere".to_owned(),
            (n, _) => format!("{n}"),
        };
        let kind = source::word(source.kind).unwrap_or_default();
        writeln!(out, "  {}:  # POST {}", source.name, source.path())?;
        writeln!(out, "    kind: {kind}")?;
        writeln!(out, "    secrets: {trust}")?;
        writeln!(out, "    allow_unsigned: {}", source.allow_unsigned)?;
        writeln!(out, "    allow_v1: {}", source.allow_v1)?;
        writeln!(
            out,
            "    store: {}",
            if source.store_all { "all" } else { "useful" }
        )?;
        writeln!(out, "    max_event_age: {}", or_never(source.max_event_age))?;
        writeln!(out, "    portal: {}", source.portal)?;
    }
    writeln!(out, "destinations:")?;
    for destination in &config.destinations {
        write_destination(destination, out)?;
    }
    around::write_digests(config, out)?;
    around::write(config, out)?;
    writeln!(out, "rules:")?;
    for rule in config.rules.rules() {
        write_rule(rule, config, out)?;
    }
    Ok(())
}

fn write_access(access: &PageAccess, out: &mut String) -> std::fmt::Result {
    let password = if access.password.is_some() {
        "set: everyone logs in"
    } else {
        "none"
    };
    writeln!(out, "  password: {password}")?;
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    let proxies = list(
        access
            .trusted_proxies
            .iter()
            .map(ToString::to_string)
            .collect(),
    );
    writeln!(out, "  trusted_proxies: {proxies}")?;
    let header = access
        .user_header
        .as_deref()
        .unwrap_or("none: a proxy is not asked who it is, only whether it was https");
    writeln!(out, "  user_header: {header}")?;
    writeln!(out, "  hosts: {}", list(access.hosts.clone()))
}

fn write_destination(d: &DestinationSettings, out: &mut String) -> std::fmt::Result {
    let pace = d.rate_limit;
    let overflow = if d.overflow == Overflow::Summary {
        "summary"
    } else {
        "queue"
    };
    writeln!(out, "  {}: # {}", d.name, d.target.kind().word)?;
    writeln!(out, "    min_severity: {}", d.min_severity)?;
    writeln!(
        out,
        "    rate_limit: {{limit: {}, per: {}, burst: {}}}",
        pace.limit,
        span(pace.per),
        pace.burst
    )?;
    writeln!(out, "    overflow: {overflow}")?;
    writeln!(out, "    overflow_after: {}", span(d.overflow_after))?;
    writeln!(out, "    timeout: {}", span(d.timeout))?;
    let (first, max, last) = (
        span(d.retry.first),
        span(d.retry.max),
        span(d.retry.give_up_after),
    );
    writeln!(
        out,
        "    retry: {{first: {first}, max: {max}, give_up_after: {last}}}"
    )
}

fn write_rule(rule: &Rule, config: &Config, out: &mut String) -> std::fmt::Result {
    let policy = &rule.policy;
    writeln!(out, "  - name: {}  # line {}", rule.name, rule.line)?;
    let (opens, closes) = types_of(rule);
    if !opens.is_empty() {
        writeln!(out, "    # opened by {}", opens.join(", "))?;
    }
    match &rule.resolve {
        Resolve::Never => writeln!(out, "    resolve: never")?,
        Resolve::When(_) => writeln!(out, "    resolve: its own match")?,
        Resolve::Implied if !closes.is_empty() => {
            writeln!(out, "    # closed by {}", closes.join(", "))?
        }
        Resolve::Implied if opens.is_empty() => {
            writeln!(
                out,
                "    # closed by what the catalogue says, where it knows an end"
            )?;
        }
        Resolve::Implied => writeln!(
            out,
            "    # closed by nothing Foghorn knows: stays open until cooldown or stale_after"
        )?,
    }
    if let Some(when) = &rule.when {
        writeln!(out, "    when: {}", when.text().trim().replace('\n', " "))?;
    }
    if let Some(window) = rule.absent {
        writeln!(
            out,
            "    absent: {{window: {}}}  # counted from the last event, or from the start",
            span(window)
        )?;
    }
    let by = rule.by.as_ref().map_or_else(
        || match &rule.threshold {
            Some(threshold) if threshold.distinct.is_some() => {
                format!("[{}] (as group_by)", fields(&policy.group_by))
            }
            _ => "the condition's subject, else the device or site and the type".to_owned(),
        },
        |by| format!("[{}]", fields(by)),
    );
    writeln!(out, "    by: {by}")?;
    writeln!(out, "    for: {}", span(policy.r#for))?;
    writeln!(out, "    keep_firing_for: {}", span(policy.keep_firing_for))?;
    if let Some(t) = &rule.threshold {
        let distinct = t
            .distinct
            .as_ref()
            .map(|field| format!(", distinct: {field}"))
            .unwrap_or_default();
        writeln!(
            out,
            "    threshold: {{count: {}, window: {}{distinct}}}",
            t.count,
            span(t.window)
        )?;
    }
    match &policy.flapping {
        Some(f) => {
            let (window, stable) = (span(f.window), span(f.stable));
            writeln!(
                out,
                "    flapping: {{changes: {}, window: {window}, stable: {stable}}}",
                f.changes
            )?;
        }
        None => writeln!(out, "    flapping: off")?,
    }
    around::write_mutes(policy, out)?;
    writeln!(out, "    cooldown: {}", span(policy.cooldown))?;
    writeln!(
        out,
        "    severity: {}",
        policy
            .severity
            .map_or("Mist's, else warning", crate::model::Severity::word)
    )?;
    writeln!(out, "    group_by: [{}]", fields(&policy.group_by))?;
    writeln!(out, "    group_wait: {}", span(policy.group_wait))?;
    writeln!(out, "    group_interval: {}", span(policy.group_interval))?;
    writeln!(
        out,
        "    repeat_interval: {}",
        or_never(policy.repeat_interval)
    )?;
    writeln!(out, "    stale_after: {}", or_never(policy.stale_after))?;
    let names: Vec<&str> = match &policy.notify {
        Some(names) => names.iter().map(crate::model::Name::as_str).collect(),
        None => config
            .destinations
            .iter()
            .map(|d| d.name.as_str())
            .collect(),
    };
    writeln!(out, "    notify: [{}]", names.join(", "))?;
    let template = policy
        .template
        .as_deref()
        .unwrap_or("chosen by condition, type and topic");
    writeln!(out, "    template: {template}")
}

/// The types that open and close what a rule looks for, where it names types or conditions.
fn types_of(rule: &Rule) -> (Vec<String>, Vec<String>) {
    let names = |field: &Field| rule.matcher.tests.iter().any(|(f, _)| f == field);
    if !names(&Field::Type) && !names(&Field::Condition) {
        return (Vec::new(), Vec::new());
    }
    let mut conditions = Vec::new();
    let mut opens = Vec::new();
    for entry in source::types() {
        let mut known = vec![(Field::Type, entry.kind), (Field::Topic, entry.topic)];
        // An alarm's group is known only where it was published.
        if !entry.group.is_empty() {
            known.push((Field::Group, entry.group));
        }
        if !entry.condition.is_empty() {
            known.push((Field::Condition, entry.condition));
        } else if names(&Field::Condition) {
            continue;
        }
        let closing = entry.role == Some(Role::Closes);
        if rule.matcher.could_match(&known) && !closing {
            opens.push(entry.kind.to_owned());
            if !entry.condition.is_empty() {
                conditions.push(entry.condition);
            }
        }
    }
    let closes = source::types()
        .filter(|e| e.role != Some(Role::Opens) && conditions.contains(&e.condition));
    let mut closes: Vec<String> = closes.map(|entry| entry.kind.to_owned()).collect();
    opens.dedup();
    closes.dedup();
    (opens, closes)
}

fn fields(fields: &[Field]) -> String {
    fields
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn or_never(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "never".to_owned(), span)
}

/// A duration as rules.yaml spells it.
fn span(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, millis) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ] {
        if left >= millis {
            let _ = write!(out, "{}{unit}", left / millis);
            left %= millis;
        }
    }
    out
}

fn bytes(size: u64) -> String {
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        .into_iter()
        .find(|(_, unit)| size >= *unit && size.is_multiple_of(*unit))
        .map_or_else(
            || size.to_string(),
            |(name, unit)| format!("{}{name}", size / unit),
        )
}
