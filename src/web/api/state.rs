//! `/api/v1`: incidents, destinations, sources and totals.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::Api;
use super::live::counts;
use super::request::{Query, bad, unreadable};
use crate::dispatcher::DestinationStatus;
use crate::engine::{Fullness, IncidentState};
use crate::history::EventQuery;
use crate::model::{EventOutcome, Name, Timestamp, parse_duration};
use crate::store::{self, DeadLetter, DeliveryState, Noise};
use crate::web::reply::ApiError;

/// Maximum number of dead letters listed.
const DEAD_LETTERS: usize = 100;
/// Minimum interval between two computations of the same totals.
const KEPT: Duration = Duration::from_secs(10);
/// Number of spans on a chart.
const SPANS: i64 = 200;
/// Minimum number of events for the most active devices, time spent on more events, and number of
/// devices listed.
const SAMPLE: usize = 1_000;
const LOOKS: Duration = Duration::from_millis(50);
const TOP: usize = 50;

/// Latest totals by period, with the time of their computation.
#[derive(Default)]
pub(super) struct Kept(Mutex<BTreeMap<Duration, (Timestamp, Arc<Value>)>>);

/// Returns the open incidents.
pub(super) async fn incidents<S: store::Archive>(api: &Api<S>) -> Result<Value, ApiError> {
    let (incidents, fullness) = {
        let published = api.looking.published.borrow();
        (
            Arc::clone(&published.incidents),
            Arc::clone(&published.fullness),
        )
    };
    let (found, total) = &*incidents;
    let now = api.state.wall();
    let alerts = found
        .iter()
        .map(|incident| incident.alerts.clone())
        .collect();
    // One query for all incidents: the page asks for them often.
    let reached = api
        .state
        .store
        .reached(alerts)
        .await
        .map_err(|e| unreadable(&e))?;
    let one =
        |(incident, reached): (&IncidentState, &Vec<_>)| incident_json(incident, reached, now);
    let all: Vec<Value> = found.iter().zip(&reached).map(one).collect();
    Ok(json!({"incidents": all, "total": total, "alerts": followed(&fullness)}))
}

/// Returns the number of open alerts, their limit, and the rules with most of them.
fn followed(fullness: &Fullness) -> Value {
    let held = |(rule, open): &(Arc<str>, usize)| json!({"rule": rule, "open": open});
    json!({
        "open": fullness.open,
        "limit": fullness.limit,
        "rules": fullness.rules.iter().map(held).collect::<Vec<_>>(),
        "full_since": fullness.since.map(Timestamp::rfc3339),
        "passed_on": fullness.passed_on,
    })
}

fn incident_json(
    incident: &IncidentState,
    reached: &[(Name, DeliveryState)],
    now: Timestamp,
) -> Value {
    let which = |states: &[DeliveryState]| -> Vec<&str> {
        reached
            .iter()
            .filter(|(_, state)| states.contains(state))
            .map(|(name, _)| name.as_str())
            .collect()
    };
    let first = incident.subjects.first();
    // The list shows one site per incident: that of the first subject.
    let site = first.and_then(|s| s.site.clone().or_else(|| s.site_id.clone()));
    let subject = |s: &crate::model::Subject| {
        json!({
            "device": s.device, "device_mac": s.device_mac, "part": s.part, "site": s.site,
            "starts_at": s.starts_at.map(Timestamp::rfc3339), "ends_at": s.ends_at.map(Timestamp::rfc3339),
        })
    };
    json!({
        "id": incident.id,
        "rule": incident.rule,
        "condition": incident.condition,
        "type": incident.kind,
        "severity": incident.severity.word(),
        "site": site,
        "started": incident.started.rfc3339(),
        "duration_ms": u64::try_from(now.since(incident.started).as_millis()).unwrap_or(u64::MAX),
        "told": incident.told.iter().map(crate::model::Name::as_str).collect::<Vec<_>>(),
        "delivered": which(&[DeliveryState::Delivered, DeliveryState::Digested]),
        "waiting": which(&[DeliveryState::Queued]),
        "failed": which(&[DeliveryState::Dead, DeliveryState::Discarded]),
        "subjects": incident.subjects.iter().map(subject).collect::<Vec<_>>(),
        "more": incident.more,
        "devices": incident.devices,
        "state": incident.standing.word(),
        "why": incident.why,
    })
}

/// Returns the destinations with their state, and the dead letters.
pub(super) async fn destinations<S: store::Archive>(api: &Api<S>) -> Result<Value, ApiError> {
    let store = &api.state.store;
    let offset = api.state.offset_ms();
    let wall = |at: Timestamp| at.shifted(offset).rfc3339();
    let now = store.clock().now();
    let oldest: BTreeMap<_, _> = store
        .oldest_queued()
        .await
        .map_err(|e| unreadable(&e))?
        .into_iter()
        .collect();
    let dead = store
        .dead_letters(DEAD_LETTERS)
        .await
        .map_err(|e| unreadable(&e))?;
    let totals = store.totals().await.map_err(|e| unreadable(&e))?;
    let fates: BTreeMap<_, _> = totals.into_iter().collect();
    let statuses = api.looking.statuses.all();
    let kinds = api.looking.kinds.all();
    // Removed destinations stay listed while totals exist, because dead letters may still wait
    // there.
    let names: std::collections::BTreeSet<_> = kinds.keys().chain(fates.keys()).cloned().collect();
    let one = |name: &crate::model::Name| {
        let status = statuses.get(name).cloned().unwrap_or_default();
        let fates = fates.get(name).cloned().unwrap_or_default();
        let paused = status.paused_until.filter(|until| *until > now);
        // The order is that of severity: only one state is shown.
        let state = match (kinds.contains_key(name), &status.disabled, paused) {
            (false, ..) => "gone",
            (_, Some(_), _) => "refuses",
            (_, None, Some(_)) => "paused",
            (_, None, None) if fails(&status) => "fails",
            (_, None, None) => "ok",
        };
        json!({
            "name": name.as_str(),
            "kind": kinds.get(name),
            "queued": fates.queued,
            "delivered": fates.delivered,
            "digested": fates.digested,
            "dead": fates.dead,
            "discarded": fates.discarded,
            "oldest": oldest.get(name).map(|at| wall(*at)),
            "last_success": status.last_success.map(wall),
            "last_error": status.last_error.as_ref().map(|(at, why)| json!({"at": wall(*at), "why": why})),
            "paused_until": paused.map(wall),
            "state": state,
        })
    };
    let letter = |letter: &DeadLetter| {
        let message = &letter.delivery.message;
        json!({
            "id": letter.delivery.id.0.to_string(), "destination": letter.delivery.to.as_str(), "at": wall(letter.at),
            "why": letter.why, "attempts": letter.delivery.attempts, "title": message.title, "rule": message.about.rule,
        })
    };
    let dead_letters: Vec<Value> = dead.iter().map(letter).collect();
    Ok(
        json!({"destinations": names.iter().map(one).collect::<Vec<_>>(), "dead_letters": dead_letters}),
    )
}

/// Returns true if the last attempt failed.
fn fails(status: &DestinationStatus) -> bool {
    status
        .last_error
        .as_ref()
        .is_some_and(|(at, _)| status.last_success.is_none_or(|success| success < *at))
}

/// Returns the sources and the totals of their events.
pub(super) fn feed<S: store::Archive>(api: &Api<S>) -> Value {
    let now = api.state.wall();
    let metrics = &api.state.metrics;
    let one = |source: &crate::source::SourceSettings| {
        let heard = metrics.heard(&source.name, now);
        json!({
            "name": source.name.as_str(),
            "last_post": heard.last.map(Timestamp::rfc3339),
            "posts_per_minute": heard.per_minute,
            "signature_failures": heard.signature_failures,
            "signed": !source.secrets.is_empty(),
        })
    };
    let sources: Vec<Value> = api.state.current().sources.iter().map(one).collect();
    let (judged, last) = (
        api.looking.published.borrow().folded,
        api.state.store.last(),
    );
    let totals = counts(&metrics.events(), metrics.per_second(now));
    json!({"sources": sources, "totals": totals, "behind": last.0.saturating_sub(judged.0)})
}

/// Returns totals of notified and suppressed events.
pub(super) async fn noise<S: store::Archive>(
    api: &Api<S>,
    asked: &Query,
) -> Result<Value, ApiError> {
    asked.only(&["since"])?;
    let since = asked.text("since").unwrap_or_else(|| "7d".to_owned());
    let span =
        parse_duration(&since).map_err(|why| bad(format!("`since`: {why}"), "as in since=7d"))?;
    let now = api.state.wall();
    // Totals are cached briefly, because every open page asks for them.
    let kept = || api.noise.0.lock().unwrap_or_else(PoisonError::into_inner);
    kept().retain(|_, (at, _)| now.since(*at) < KEPT);
    if let Some((_, value)) = kept().get(&span) {
        return Ok((**value).clone());
    }
    // Spans are whole minutes, and not more than the chart has room for.
    let wide = i64::try_from(span.as_millis()).unwrap_or(i64::MAX) / SPANS;
    let width = [60_000, 300_000, 900_000, 3_600_000, 4 * 3_600_000]
        .into_iter()
        .find(|width| wide <= *width);
    let width = width.unwrap_or(86_400_000);
    let from = now - span;
    let sums = api
        .state
        .store
        .noise(from, width)
        .await
        .map_err(|e| unreadable(&e))?;
    let talkers = talkers(api, from).await?;
    let spans = every_span(&sums.spans, (from, now), width);
    let value = Arc::new(noise_json(&sums, (&spans, width), talkers));
    kept().insert(span, (now, Arc::clone(&value)));
    Ok((*value).clone())
}

/// Returns every span of the period, including empty ones, so that the chart has no gaps. A very
/// long period starts at its first event.
fn every_span(
    found: &[(Timestamp, u64, u64)],
    (from, now): (Timestamp, Timestamp),
    width: i64,
) -> Vec<(Timestamp, u64, u64)> {
    let last = now.millis().div_euclid(width);
    // The period may be longer than the stored past by far; most of it would be empty spans.
    let is_long = last - from.millis().div_euclid(width) > SPANS * 2;
    let begin = if is_long {
        found.first().map_or(now, |(at, ..)| *at)
    } else {
        from
    };
    let mut found = found.iter().peekable();
    let span = |at: i64| {
        let at = Timestamp::from_millis(at * width);
        while found.next_if(|(found, ..)| *found < at).is_some() {}
        found
            .next_if(|(found, ..)| *found == at)
            .copied()
            .unwrap_or((at, 0, 0))
    };
    (begin.millis().div_euclid(width)..=last)
        .map(span)
        .collect()
}

fn noise_json(
    sums: &Noise,
    (spans, width): (&[(Timestamp, u64, u64)], i64),
    talkers: Talkers,
) -> Value {
    let span = |(at, told, quiet): &(Timestamp, u64, u64)| json!({"at": at.rfc3339(), "told": told, "quiet": quiet});
    let rule = |(rule, told, quiet): &(String, u64, u64)| json!({"rule": rule, "events": told + quiet, "told": told, "quiet": quiet});
    json!({
        "width_ms": width,
        "buckets": spans.iter().map(span).collect::<Vec<_>>(),
        "rules": sums.rules.iter().map(rule).collect::<Vec<_>>(),
        "devices": talkers.devices,
        "devices_sampled": talkers.sampled,
        "devices_events": talkers.events,
        "devices_since": talkers.since.map(Timestamp::rfc3339),
    })
}

/// Devices with the most events.
struct Talkers {
    devices: Vec<Value>,
    /// Number of events read, and the time of the oldest one.
    events: usize,
    since: Option<Timestamp>,
    /// True if older events were left out.
    sampled: bool,
}

/// Returns the devices with the most events. Device names are stored only in the journal, so newest
/// events are read as time allows.
async fn talkers<S: store::Archive>(api: &Api<S>, from: Timestamp) -> Result<Talkers, ApiError> {
    let clock = api.state.store.clock();
    let begun = clock.clock().elapsed();
    let mut since = None;
    let mut sums = BTreeMap::<String, (u64, u64)>::new();
    let (mut before, mut looked, mut sampled) = (None, 0, false);
    // Pages bound the memory, and the time limit is checked after each of them.
    'pages: loop {
        let question = EventQuery {
            before,
            limit: 500,
            ..EventQuery::default()
        };
        let found = api.past.page(&question).await.map_err(|e| unreadable(&e))?;
        for (row, event) in &found.events {
            if row.received < from {
                break 'pages;
            }
            looked += 1;
            since = Some(row.received);
            // Events without a device cannot be counted, but they are part of the sample.
            let Some(device) = &event.device else {
                continue;
            };
            let Some(name) = device.name.as_ref().or(device.mac.as_ref()) else {
                continue;
            };
            let sum = sums.entry(name.chars().take(100).collect()).or_default();
            *sum = (
                sum.0 + 1,
                sum.1 + u64::from(row.outcome == EventOutcome::Notified),
            );
        }
        before = found.next;
        let enough = looked >= SAMPLE && clock.clock().elapsed().saturating_sub(begun) >= LOOKS;
        sampled = enough && before.is_some();
        if before.is_none() || sampled {
            break;
        }
        tokio::task::yield_now().await;
    }
    // Ties keep the order of names, so repeated requests agree.
    let mut top: Vec<(String, (u64, u64))> = sums.into_iter().collect();
    top.sort_by_key(|(_, (events, _))| std::cmp::Reverse(*events));
    let one = |(device, (events, told)): (String, (u64, u64))| json!({"device": device, "events": events, "told": told});
    let devices = top.into_iter().take(TOP).map(one).collect();
    Ok(Talkers {
        devices,
        events: looked,
        since,
        sampled,
    })
}
