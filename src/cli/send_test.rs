//! `send-test`: sends a sample message to one destination and prints its answer.

use super::{Failure, out};
use crate::clock::Clock;
use crate::config::Config;
use crate::destination::{Content, KINDS, SendOutcome, Size};
use crate::dispatcher::exchange;
use crate::model::{Name, Notification, Reason, Severity, Subject};
use crate::wire::{Http, Reply};

pub(super) fn run(config: &Config, name: &str) -> Result<(), Failure> {
    let Some(settings) = config.destinations.iter().find(|d| d.name.as_str() == name) else {
        return Err(Failure::usage(unknown(config, name)));
    };
    let templates = config
        .load_templates()
        .map_err(|problems| Failure::config(&problems))?;
    let message = templates.render(sample(&settings.name));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::unexpected)?;
    let content = Content {
        message: &message,
        size: Size::Full,
    };
    let http = Http::new(false);
    let sent = runtime.block_on(exchange(settings, content, None, &http));
    let said = match &sent.reply {
        Reply::Http { status, body, .. } if body.trim().is_empty() => {
            format!("status {status}, no text")
        }
        Reply::Http { status, body, .. } => {
            format!("status {status}: {}", crate::render::one_line(body))
        }
        Reply::Failed { why } => why.clone(),
        Reply::Printed => "printed".to_owned(),
    };
    match sent.outcome {
        SendOutcome::Delivered => {
            out(&format!("{name} accepted it ({said})\n"));
            Ok(())
        }
        SendOutcome::Retry { why } => Err(Failure::unexpected(format!(
            "{name} did not accept it: {why} ({said}); `serve` would try again"
        ))),
        SendOutcome::RetryAfter { wait } => Err(Failure::unexpected(format!(
            "{name} asks to wait {} s ({said}); `serve` would do so",
            wait.as_secs()
        ))),
        SendOutcome::BadPayload { why } | SendOutcome::Broken { why } => Err(Failure::unexpected(
            format!("{name} refused it: {why} ({said})"),
        )),
    }
}

/// Returns the reason why a destination cannot be used.
fn unknown(config: &Config, name: &str) -> String {
    let digests = &config.rules.surroundings().digests;
    if let Some(digest) = digests.iter().find(|digest| digest.name.as_str() == name) {
        let into: Vec<String> = digest
            .into
            .iter()
            .map(|name| format!("`foghorn send-test {name}`"))
            .collect();
        return format!(
            "`{name}` is a digest: it sends through other destinations; try {}",
            into.join(", ")
        );
    }
    let known: Vec<&str> = config
        .destinations
        .iter()
        .map(|d| d.name.as_str())
        .collect();
    let kind = KINDS.iter().find(|kind| kind.word == name);
    let variable = kind.and_then(|kind| kind.variable);
    let hint = variable.filter(|_| super::demo::is_only_console(config));
    let hint = hint.map(|variable| format!("\nset {variable}, or define it under `destinations:`"));
    format!(
        "there is no destination `{name}`; defined: {}{}",
        known.join(", "),
        hint.unwrap_or_default()
    )
}

/// Returns a sample notification that fills the parts of a real one.
fn sample(to: &Name) -> Notification {
    let now = Clock::system().wall();
    let began = now.shifted(-190_000);
    Notification {
        id: String::new(),
        at: now,
        to: vec![to.clone()],
        source: crate::source::default_name(),
        rule: "send-test".to_owned(),
        template: None,
        reason: Reason::First,
        incident: "send-test".to_owned(),
        severity: Severity::Info,
        topic: "device-events".to_owned(),
        kind: "AP_DISCONNECTED".to_owned(),
        condition: Some("ap_offline".to_owned()),
        group: vec![("site".to_owned(), "Foghorn test".to_owned())],
        subjects: vec![Subject {
            site: Some("Foghorn test".to_owned()),
            device: Some("ap-test".to_owned()),
            device_mac: Some("020000000001".to_owned()),
            device_type: Some("ap".to_owned()),
            starts_at: Some(began),
            events: 1,
            ..Subject::default()
        }],
        firing: 1,
        more: 0,
        more_since: 0,
        started: began,
        duration_ms: None,
        why: Some("this is only a test".to_owned()),
        detail: None,
        event: serde_json::Value::Null,
        insight: Default::default(),
        collected: None,
    }
}
