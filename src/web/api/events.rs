//! `/api/v1/events`: stored events and their outcomes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warp::http::StatusCode;
use warp::reply::Response;

use super::Api;
use super::explain::explained;
use super::request::{Query, bad, unreadable};
use crate::destination;
use crate::dispatcher::Statuses;
use crate::fold::Compile;
use crate::follower::Published;
use crate::history::{EventQuery, Feed, shown};
use crate::model::{EventId, EventOutcome, Message, Name, Timestamp};
use crate::render::Templates;
use crate::store::{self, SentMessage, Wanted};
use crate::web::reply::{ApiError, reply_text};

/// Maximum and default number of events on a page.
const MOST: usize = 200;
const USUAL: usize = 50;

/// State that the API needs beside the store.
#[derive(Clone)]
pub struct Looking {
    /// State that the judge published.
    pub published: watch::Receiver<Published>,
    /// Stream of new events and counts.
    pub feed: Feed,
    /// Status of each destination.
    pub statuses: Statuses,
    /// Templates of messages, for explanations.
    pub templates: watch::Receiver<Arc<Templates>>,
    /// Compiles a journaled rules text.
    pub compile: Compile,
    /// Path of the rules file.
    pub file: String,
    /// Ends all streams.
    pub stop: CancellationToken,
    /// Kind of each destination.
    pub kinds: DestinationKinds,
    /// Finds useful changes to the rules; without it the path does not exist.
    pub tuner: Option<super::Tuner>,
}

/// Kinds of the destinations, replaced when the rules change. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct DestinationKinds(Arc<Mutex<BTreeMap<Name, &'static str>>>);

impl DestinationKinds {
    /// Replaces all kinds.
    pub fn replace(&self, kinds: impl IntoIterator<Item = (Name, &'static str)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kinds.into_iter().collect();
    }

    pub(super) fn all(&self) -> BTreeMap<Name, &'static str> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn id(text: &str, what: &str) -> Result<EventId, ApiError> {
    let wrong = || bad(format!("`{what}` is not an event's id"), "as in 123.1");
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_one = text
        .split_once('.')
        .is_some_and(|(position, place)| digits(position) && digits(place));
    // Numbers too large for an id are valid, but no event has them.
    EventId::parse(text)
        .or(is_one.then_some(EventId::LAST))
        .ok_or_else(wrong)
}

fn question(asked: &Query) -> Result<EventQuery, ApiError> {
    // A misspelt filter must not be ignored: it would show every event.
    asked.only(&[
        "limit", "before", "q", "topic", "type", "site", "device", "rule", "fate", "why",
    ])?;
    let limit = match asked.text("limit").map(|limit| limit.parse::<usize>()) {
        None => USUAL,
        Some(Ok(limit)) if (1..=MOST).contains(&limit) => limit,
        Some(_) => return Err(bad(format!("`limit` is not a number from 1 to {MOST}"), "")),
    };
    let rule = asked.text("rule");
    // The API's words differ from the stored outcomes, and one of them depends on the rule asked
    // for.
    let fate = match (asked.text("fate").as_deref(), asked.text("why")) {
        (None, None) => None,
        (None | Some("suppressed"), Some(why)) => {
            Some(Wanted::Exactly(EventOutcome::Suppressed(why.into())))
        }
        (Some("suppressed"), None) => Some(Wanted::Suppressed),
        (Some("pending"), None) => Some(Wanted::Exactly(EventOutcome::Pending)),
        (Some("told"), None) => Some(
            rule.clone()
                .map_or(Wanted::Exactly(EventOutcome::Notified), Wanted::ToldBy),
        ),
        (Some("unmatched"), None) => Some(Wanted::Exactly(EventOutcome::Unmatched)),
        (Some("duplicate"), None) => Some(Wanted::Exactly(EventOutcome::Duplicate)),
        (Some(_), Some(_)) => {
            return Err(bad(
                "only what is suppressed has a `why`",
                "fate=suppressed&why=inhibited",
            ));
        }
        (Some(_), None) => {
            let help = format!("known: {}", EventOutcome::WORDS.join(", "));
            return Err(bad("there is no such `fate`", help));
        }
    };
    Ok(EventQuery {
        before: asked
            .text("before")
            .map(|before| id(&before, "before"))
            .transpose()?,
        limit,
        text: asked.text("q").unwrap_or_default(),
        topic: asked.text("topic"),
        kind: asked.text("type"),
        site: asked.text("site"),
        device: asked.text("device"),
        rule,
        fate,
    })
}

pub(super) async fn page<S: store::Archive>(
    api: &Api<S>,
    asked: &Query,
) -> Result<Value, ApiError> {
    let question = question(asked)?;
    let found = api.past.page(&question).await.map_err(|e| unreadable(&e))?;
    let total = if question.is_everything() && question.before.is_none() {
        Some(api.past.count().await.map_err(|e| unreadable(&e))?)
    } else {
        None
    };
    let events: Vec<Value> = found
        .events
        .iter()
        .map(|(row, event)| shown(row, event))
        .collect();
    Ok(
        json!({"events": events, "next": found.next.map(|next| next.to_string()), "total_estimate": total}),
    )
}

/// One event, with its item exactly as it was sent. A JSON tree would sort its keys and round its
/// numbers.
#[derive(serde::Serialize)]
struct EventDetail {
    #[serde(flatten)]
    shown: serde_json::Map<String, Value>,
    raw: Box<RawValue>,
}

pub(super) async fn one<S: store::Archive>(
    api: &Api<S>,
    text: &str,
    asked: &Query,
) -> Result<Response, ApiError> {
    asked.only(&["decisions"])?;
    let id = id(text, text)?;
    let Some((row, event, sent_as)) = api.past.event(id).await.map_err(|e| unreadable(&e))? else {
        let help = "it never was, retention took it, or it came before this release kept what became of events";
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "there is no such event",
            help,
        ));
    };
    // Messages are found through the event's alerts, so they include those before this event.
    let sent = api
        .state
        .store
        .sent(row.alerts.clone())
        .await
        .map_err(|e| unreadable(&e))?;
    let decisions = match asked.text("decisions").as_deref() {
        Some("no") => None,
        _ => explained(api, &row, &event).await?,
    };
    let mut value = shown(&row, &event);
    // If the stored body cannot be split into items, the parsed item must do.
    let raw = sent_as
        .or_else(|| RawValue::from_string(event.raw.to_string()).ok())
        .unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.insert("decisions".to_owned(), json!(decisions));
        map.insert(
            "messages".to_owned(),
            messages(&sent, api.state.offset_ms()),
        );
    }
    let one = EventDetail {
        shown: value.as_object().cloned().unwrap_or_default(),
        raw,
    };
    // Serializing a map with string keys and valid JSON cannot fail.
    Ok(reply_text(
        StatusCode::OK,
        &serde_json::to_string(&one).unwrap_or_default(),
    ))
}

/// Returns messages, each with its destinations.
fn messages(sent: &[SentMessage], offset_ms: i64) -> Value {
    let wall = |at: Timestamp| at.shifted(offset_ms).rfc3339();
    let mut found: Vec<(&SentMessage, Vec<Value>)> = Vec::new();
    for one in sent {
        let attempt = |a: &store::AttemptRow| json!({"at": wall(a.at), "status": a.word(), "http": a.status, "reply": a.reply});
        let attempts: Vec<Value> = one.attempts.iter().map(attempt).collect();
        let sent = json!({"id": one.id.0.to_string(), "name": one.to.as_str(), "state": one.state.word(), "attempts": attempts});
        // Deliveries of one message are grouped, because the page shows the message once.
        let same = |other: &SentMessage| other.message.about == one.message.about;
        match found.iter_mut().find(|(known, _)| same(known)) {
            Some((_, destinations)) => destinations.push(sent),
            None => found.push((one, vec![sent])),
        }
    }
    let one = |(sent, destinations): (&SentMessage, Vec<Value>)| {
        let message = &sent.message;
        json!({
            "id": message.about.id, "at": message.about.at.rfc3339(), "reason": message.about.reason.word(),
            "rule": message.about.rule, "incident": message.about.incident, "title": message.title,
            "text": message.text, "destinations": destinations, "shown": previews(message),
        })
    };
    found.into_iter().map(one).collect()
}

/// Returns the body that each kind of destination would post for a message.
fn previews(message: &Message) -> Vec<Value> {
    let one = |(kind, body)| json!({"kind": kind, "body": body});
    destination::previews(message).map(one).collect()
}
