//! Actions of people on messages: `/api/v1/dead-letters` and `/api/v1/messages`.

use futures_util::stream::BoxStream;
use serde::Deserialize;
use serde_json::{Value, json};
use warp::http::{HeaderMap, StatusCode, header};

use super::Api;
use super::request::{bad, unreadable};
use crate::model::Name;
use crate::store::{self, ActionResult, DeadLetterAction, DeliveryId};
use crate::web::auth::User;
use crate::web::body::read_body;
use crate::web::reply::ApiError;

type Body = BoxStream<'static, Result<bytes::Bytes, warp::Error>>;

/// Body of a request for an action.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ActionRequest {
    to: Option<String>,
}

/// Returns true for the paths of actions.
pub(super) fn is_act(path: &[&str]) -> bool {
    matches!(
        path,
        ["dead-letters", _, "resend" | "discard"] | ["messages", _, "again"]
    )
}

/// Performs the action of this path.
pub(super) async fn answer<S: store::Archive + store::Desk>(
    api: &Api<S>,
    path: &[&str],
    (headers, user, body): (&HeaderMap, &User, Body),
) -> Result<Value, ApiError> {
    let said = read(api, headers, body).await?;
    match path {
        ["dead-letters", "all", act] => all(api, act_of(act), said, user).await,
        ["dead-letters", id, act] => one(api, id, act_of(act), user).await,
        ["messages", id, ..] => again(api, id, said, user).await,
        _ => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "nothing here",
            "docs/api.md lists what there is",
        )),
    }
}

fn act_of(word: &str) -> DeadLetterAction {
    if word == "discard" {
        DeadLetterAction::Discard
    } else {
        DeadLetterAction::Resend
    }
}

/// Reads the body, which may be missing.
async fn read<S: store::Store>(
    api: &Api<S>,
    headers: &HeaderMap,
    body: Body,
) -> Result<ActionRequest, ApiError> {
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Ok(ActionRequest::default());
    }
    let body = read_body(&api.state, headers, "application/json", body).await?;
    let wrong = |e: serde_json::Error| {
        bad(
            format!("the body cannot be parsed: {e}"),
            "as in {\"to\": \"ops\"}",
        )
    };
    // serde would accept a list as the fields in their order.
    let map = serde_json::from_slice::<serde_json::Map<String, Value>>(&body).map_err(wrong)?;
    // serde would read null as no name, which means all destinations: too much for a mistake.
    if map.get("to").is_some_and(Value::is_null) {
        return Err(bad(
            "`to` is null",
            "name a destination, or leave `to` out for all of them",
        ));
    }
    serde_json::from_value(map.into()).map_err(wrong)
}

/// Returns the configured destinations.
fn known<S>(api: &Api<S>) -> Vec<Name> {
    api.looking.kinds.all().into_keys().collect()
}

fn named(to: &str, among: &[Name]) -> Result<Name, ApiError> {
    let to = Name::new(to.trim());
    if among.contains(&to) {
        return Ok(to);
    }
    let known: Vec<&str> = among.iter().map(Name::as_str).collect();
    let help = format!("known: {}", known.join(", "));
    let error = format!(
        "no destination `{}` is configured",
        crate::render::one_line(to.as_str())
    );
    Err(ApiError::new(StatusCode::CONFLICT, error, help))
}

fn done(made: Vec<(Name, DeliveryId)>) -> Value {
    let one =
        |(to, id): (Name, DeliveryId)| json!({"destination": to.as_str(), "id": id.0.to_string()});
    json!({"deliveries": made.into_iter().map(one).collect::<Vec<_>>()})
}

async fn one<S: store::Archive + store::Desk>(
    api: &Api<S>,
    id: &str,
    act: DeadLetterAction,
    by: &User,
) -> Result<Value, ApiError> {
    let missing = || {
        let help =
            "it was sent again, or retention took it: `foghorn dead-letters` lists those there are";
        ApiError::new(StatusCode::NOT_FOUND, "there is no such dead letter", help)
    };
    // An id that is no number cannot exist, so both cases give the same answer.
    let number = id.parse().map(DeliveryId).map_err(|_| missing())?;
    if act == DeadLetterAction::Resend {
        // A message to a destination without a lane would wait forever.
        let dead = api
            .state
            .store
            .destination(number)
            .await
            .map_err(|e| unreadable(&e))?
            .ok_or_else(missing)?;
        named(dead.as_str(), &known(api))?;
    }
    match api
        .state
        .store
        .act(act, number)
        .await
        .map_err(|e| unwritable(&e))?
    {
        ActionResult::Done(made) => {
            tracing::info!(
                id,
                act = word(act),
                by = by.by(),
                "a person acted on a dead letter"
            );
            Ok(done(made))
        }
        ActionResult::OtherState(state) => {
            let error = format!("it is no dead letter any more: it is {}", state.word());
            Err(ApiError::new(StatusCode::CONFLICT, error, "look again"))
        }
        ActionResult::Missing | ActionResult::OtherDestination => Err(missing()),
    }
}

fn word(act: DeadLetterAction) -> &'static str {
    match act {
        DeadLetterAction::Resend => "resend",
        DeadLetterAction::Discard => "discard",
    }
}

async fn all<S: store::Archive + store::Desk>(
    api: &Api<S>,
    act: DeadLetterAction,
    said: ActionRequest,
    by: &User,
) -> Result<Value, ApiError> {
    let known = known(api);
    let to = match (said.to, act) {
        (Some(to), DeadLetterAction::Resend) => vec![named(&to, &known)?],
        (Some(to), DeadLetterAction::Discard) => vec![Name::new(to.trim())],
        (None, DeadLetterAction::Resend) => known,
        // Dead letters of removed destinations can be discarded too.
        (None, DeadLetterAction::Discard) => api
            .state
            .store
            .totals()
            .await
            .map_err(|e| unreadable(&e))?
            .into_iter()
            .map(|(name, _)| name)
            .collect(),
    };
    let mut count = 0;
    for to in &to {
        count += api
            .state
            .store
            .act_on_all(act, to)
            .await
            .map_err(|e| unwritable(&e))?;
    }
    tracing::info!(
        count,
        act = word(act),
        by = by.by(),
        "a person acted on dead letters"
    );
    Ok(json!({"count": count}))
}

async fn again<S: store::Archive + store::Desk>(
    api: &Api<S>,
    id: &str,
    said: ActionRequest,
    by: &User,
) -> Result<Value, ApiError> {
    let known = known(api);
    // Only configured destinations have a lane that would send the copy.
    let to = match &said.to {
        Some(to) => vec![named(to, &known)?],
        None => known,
    };
    // The copy gets a new number, so it is sent after the messages already queued.
    match api
        .state
        .store
        .again(id, to)
        .await
        .map_err(|e| unwritable(&e))?
    {
        ActionResult::Done(made) => {
            tracing::info!(
                message = id,
                deliveries = made.len(),
                by = by.by(),
                "a message was queued again"
            );
            Ok(done(made))
        }
        ActionResult::OtherState(_) => Err(ApiError::new(
            StatusCode::CONFLICT,
            "it is queued already",
            "it goes out at the destination's pace",
        )),
        ActionResult::OtherDestination => {
            let error = "it went to none of these destinations";
            Err(ApiError::new(
                StatusCode::CONFLICT,
                error,
                "its event's page lists where it went",
            ))
        }
        ActionResult::Missing => {
            let help = "retention took it, or it was never there: its short id is on the message";
            Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "there is no such message",
                help,
            ))
        }
    }
}

fn unwritable(error: &store::Error) -> ApiError {
    tracing::warn!(%error, "could not store an action");
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "cannot store it now, try again",
        "",
    )
}
