//! `/api/v1/silences`: the silences in force, for users the auth admits. Also creates and ends
//! silences for the pages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

use super::auth::User;
use super::body::{read_body, read_json};
use super::reply::{ApiError, refusal, reply};
use super::{Peer, Refused, State};
use crate::clock;
use crate::engine::SilenceState;
use crate::follower::Published;
use crate::links::{LinkKey, id_of};
use crate::model::{Field, Record, Secret, Silence, Timestamp, Until, parse_duration};
use crate::render::{markup, one_line};
use crate::rules::Matcher;
use crate::store::{Journal, Store};

/// Maximum number of silences in force.
const MOST: usize = 1_000;
/// Maximum size of a silence's `match`, in bytes.
const MAX_MATCH: usize = 8 * 1024;
/// Maximum number of characters of a name and of a comment.
const MAX_AUTHOR: usize = 80;
const MAX_COMMENT: usize = 500;
/// Maximum duration of a silence.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Time an answer waits until the engine has applied the silence.
const FOLDED_WITHIN: Duration = Duration::from_secs(5);

/// State that silencing needs beside the store.
#[derive(Clone, Debug)]
pub struct Silencing {
    pub(super) key: LinkKey,
    published: watch::Receiver<Published>,
}

impl Silencing {
    /// Creates the state from the token and the judge's published state.
    #[must_use]
    pub fn new(token: &Secret, published: watch::Receiver<Published>) -> Self {
        Self {
            key: LinkKey::of(token),
            published,
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<SilenceState> {
        self.published
            .borrow()
            .silences
            .iter()
            .find(|state| state.silence.id == id)
            .cloned()
    }
}

/// Returns the routes.
pub(super) fn routes<S: Journal>(state: &State<S>) -> BoxedFilter<(Response,)> {
    let state = state.clone();
    let all = warp::path::end().map(|| None);
    let one = warp::path::param::<String>()
        .and(warp::path::end())
        .map(Some);
    warp::path!("api" / "v1" / "silences" / ..)
        .and(all.or(one).unify())
        .and(warp::method())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        // The body is read only after the auth admitted the request.
        .and_then(
            move |id: Option<String>, method, query: String, headers, peer: Option<Peer>, body| {
                let state = state.clone();
                async move {
                    let Some(silencing) = state.silencing.clone() else {
                        return Err(Refused::NOT_FOUND.into());
                    };
                    let answer = match state.auth.enter(&method, &headers, peer.as_ref()) {
                        Ok(user) => {
                            let asked = (&method, id.as_deref(), query.as_str());
                            answer(&state, &silencing, &user, asked, &headers, body).await
                        }
                        Err(problem) => Err(problem),
                    };
                    let answer = answer.unwrap_or_else(|problem| refusal(&problem));
                    state.metrics.silence("api", answer.status().as_u16());
                    Ok::<_, warp::Rejection>(answer)
                }
            },
        )
        .boxed()
}

async fn answer<S: Journal>(
    state: &State<S>,
    silencing: &Silencing,
    user: &User,
    (method, id, query): (&Method, Option<&str>, &str),
    headers: &HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> Result<Response, ApiError> {
    // Unknown parameters are errors: a misspelt one must not be ignored.
    let known = if id.is_some() { "author" } else { "" };
    if let Some((name, _)) =
        form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name != known)
    {
        let error = format!("`{}` is not asked for here", one_line(&name));
        return Err(ApiError::bad(error, "docs/api.md says what is"));
    }
    match (method, id) {
        (&Method::GET | &Method::HEAD, None) => {
            // Before that, the list would be incomplete.
            check_ready(state)?;
            let silences = Arc::clone(&silencing.published.borrow().silences);
            Ok(reply(
                StatusCode::OK,
                &silences.iter().map(json_of).collect(),
            ))
        }
        (&Method::POST, None) => {
            let body = read_body(state, headers, "application/json", body).await?;
            let asked = read_json(&body).map_err(|e| {
                ApiError::bad(
                    format!("the body cannot be parsed: {e}"),
                    "docs/api.md shows one",
                )
            })?;
            let now = state.wall();
            let silence = silence(asked, user, now)?;
            // The limit bounds the work of the engine, which compares events with the silences in
            // force.
            check_room(silencing, &silence.id)?;
            let (made, heeded) = make(state, silencing, silence).await?;
            // `over` lets the caller explain why the new silence is not in the list.
            let mut answer = json_of(&made);
            if let (SilenceResult::Over, Some(answer)) = (heeded, answer.as_object_mut()) {
                answer.insert("over".to_owned(), true.into());
            }
            Ok(reply(
                if heeded == SilenceResult::Later {
                    StatusCode::ACCEPTED
                } else {
                    StatusCode::CREATED
                },
                &answer,
            ))
        }
        (&Method::DELETE, Some(id)) => {
            check_ready(state)?;
            let author = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "author");
            let author = text(
                author.as_ref().map(|(_, value)| value.as_ref()),
                "author",
                MAX_AUTHOR,
            )?;
            let found = expire(state, silencing, id, or_user(author, user)).await?;
            Ok(reply(StatusCode::OK, &json_of(&found)))
        }
        (_, None) => Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed",
            "GET, HEAD, POST",
        )),
        (_, Some(_)) => Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed",
            "DELETE",
        )),
    }
}

/// Fails until everything journaled before the start is judged, because the silences in force are
/// unknown until then.
fn check_ready<S: Store>(state: &State<S>) -> Result<(), ApiError> {
    if *state.ready.borrow() {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "still judging what came before the start",
        "try again soon",
    ))
}

/// Body of a request to create a silence.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SilenceRequest {
    #[serde(rename = "match")]
    matches: Option<Value>,
    all: bool,
    #[serde(rename = "for")]
    lasts: Option<String>,
    until: Option<String>,
    author: Option<String>,
    comment: Option<String>,
}

fn silence(asked: SilenceRequest, user: &User, now: Timestamp) -> Result<Silence, ApiError> {
    let matches = asked.matches.unwrap_or_else(|| json!({}));
    check_match(&matches, asked.all)?;
    let bytes = clock::unguessable().map_err(|_| {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no randomness for an id",
            "",
        )
    })?;
    Ok(Silence {
        id: id_of(&bytes),
        matches,
        until: until(asked.lasts.as_deref(), asked.until.as_deref(), now)?,
        author: or_user(text(asked.author.as_deref(), "author", MAX_AUTHOR)?, user),
        comment: text(asked.comment.as_deref(), "comment", MAX_COMMENT)?,
        created: now,
    })
}

/// Returns the given author, or else the name of the user.
fn or_user(author: String, user: &User) -> String {
    let known = || {
        text(
            Some(&user.name.chars().take(MAX_AUTHOR).collect::<String>()),
            "author",
            MAX_AUTHOR,
        )
    };
    let known = if author.is_empty() {
        known().unwrap_or_default()
    } else {
        author
    };
    if known.is_empty() {
        "api".to_owned()
    } else {
        known
    }
}

fn check_match(matches: &Value, all: bool) -> Result<(), ApiError> {
    let Some(map) = matches.as_object() else {
        return Err(ApiError::bad(
            "`match` must be a map of fields",
            "as in {\"condition\": \"ap_offline\"}",
        ));
    };
    match (map.is_empty(), all) {
        (true, false) => {
            let help = "name what to silence in `match`; to silence everything say \"all\": true";
            return Err(ApiError::bad(
                "an empty `match` would silence everything",
                help,
            ));
        }
        (false, true) => {
            return Err(ApiError::bad(
                "`all` and `match` contradict each other",
                "leave one out",
            ));
        }
        _ => {}
    }
    if matches.to_string().len() > MAX_MATCH {
        return Err(ApiError::bad(
            "`match` is longer than 8 KiB",
            "make several silences of it",
        ));
    }
    // The matcher's error names no field, so the advice looks for the unknown one.
    Matcher::from_json(matches).map(|_| ()).map_err(|error| {
        let not = map.get("not").and_then(Value::as_object);
        let mut named = map.keys().chain(not.into_iter().flat_map(|not| not.keys()));
        let unknown = named.find(|name| *name != "not" && Field::parse(name).is_none());
        ApiError::bad(error, unknown.map(|name| meant(name)).unwrap_or_default())
    })
}

/// Returns advice about an unknown field: the most similar field, or all of them.
fn meant(word: &str) -> String {
    let known = Field::NAMED.iter().map(|(name, _)| *name);
    let nearest = known
        .clone()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&word.to_lowercase(), name),
                name,
            )
        })
        .min();
    match nearest {
        Some((off, name)) if off <= 1 + word.chars().count() / 5 => {
            format!("did you mean \"{name}\"?")
        }
        _ => format!(
            "known: {}, event.<path>",
            known.collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Returns the end of a silence from the request's `for` or `until`.
pub(super) fn until(
    lasts: Option<&str>,
    until: Option<&str>,
    now: Timestamp,
) -> Result<Until, ApiError> {
    let example =
        "write `for` as in 2h, or `until` as in 2026-01-05T12:00:00Z, morning or resolved";
    // Exactly one of both is required: a silence without an end would be forgotten.
    let at = match (lasts, until) {
        (Some(lasts), None) => {
            now + parse_duration(lasts).map_err(|why| {
                ApiError::bad(format!("`for`: {why}"), "a silence lasts at most a year")
            })?
        }
        (None, Some("resolved")) => return Ok(Until::Resolved),
        (None, Some("morning")) => morning(now),
        (None, Some(time)) => Timestamp::parse_rfc3339(time).ok_or_else(|| {
            ApiError::bad(
                format!("`until`: \"{}\" is not a time", one_line(time)),
                example,
            )
        })?,
        (None, None) => {
            return Err(ApiError::bad(
                "it does not say when the silence ends",
                example,
            ));
        }
        (Some(_), Some(_)) => {
            return Err(ApiError::bad(
                "`for` and `until` contradict each other",
                "leave one out",
            ));
        }
    };
    if at <= now {
        return Err(ApiError::bad("the silence would be over at once", example));
    }
    if at.since(now) > LONGEST {
        return Err(ApiError::bad(
            "a silence lasts at most a year",
            "what is never to be told belongs in no rule",
        ));
    }
    Ok(Until::At(at))
}

/// Returns the next 08:00 in the machine's time zone.
pub(super) fn morning(now: Timestamp) -> Timestamp {
    let next = || -> Result<Timestamp, jiff::Error> {
        let local =
            jiff::Timestamp::from_millisecond(now.millis())?.to_zoned(jiff::tz::TimeZone::system());
        let eight = |day: jiff::civil::Date| day.at(8, 0, 0, 0).to_zoned(local.time_zone().clone());
        let today = eight(local.date())?;
        let at = if today.timestamp() > local.timestamp() {
            today
        } else {
            eight(local.date().tomorrow()?)?
        };
        Ok(Timestamp::from_millis(at.timestamp().as_millisecond()))
    };
    next().unwrap_or(now + Duration::from_secs(12 * 3_600))
}

/// Returns a name or a comment on one line; fails if it is too long.
pub(super) fn text(said: Option<&str>, what: &str, most: usize) -> Result<String, ApiError> {
    let text = one_line(said.unwrap_or_default());
    if text.chars().count() > most {
        return Err(ApiError::bad(
            format!("`{what}` is longer than {most} characters"),
            "",
        ));
    }
    Ok(markup::clean(&text))
}

/// Returns a checked name and comment.
pub(super) fn said(
    author: Option<&str>,
    comment: Option<&str>,
) -> Result<(String, String), ApiError> {
    Ok((
        text(author, "author", MAX_AUTHOR)?,
        text(comment, "comment", MAX_COMMENT)?,
    ))
}

/// Fails if no further silence may be created.
pub(super) fn check_room(silencing: &Silencing, id: &str) -> Result<(), ApiError> {
    let published = silencing.published.borrow();
    if published.silences.len() >= MOST
        && !published
            .silences
            .iter()
            .any(|state| state.silence.id == id)
    {
        let help = "end some first: `foghorn silence list`, `foghorn silence expire ID`";
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("{MOST} silences are in force"),
            help,
        ));
    }
    Ok(())
}

/// Result of creating a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SilenceResult {
    /// The silence is in force.
    InForce,
    /// The silence ended at once: it lasts until resolved, and no matching alert is open.
    Over,
    /// The engine is busy and applies the silence later.
    Later,
}

/// Creates a silence by appending it to the journal.
pub(super) async fn make<S: Journal>(
    state: &State<S>,
    silencing: &Silencing,
    silence: Silence,
) -> Result<(SilenceState, SilenceResult), ApiError> {
    let folded = append(state, silencing, Record::Silence(silence.clone())).await?;
    tracing::info!(id = %silence.id, author = %silence.author, "a silence begins");
    let unknown = SilenceState {
        silence,
        matching: 0,
    };
    Ok(match silencing.find(&unknown.silence.id) {
        Some(found) if folded => (found, SilenceResult::InForce),
        None if folded => (unknown, SilenceResult::Over),
        _ => (unknown, SilenceResult::Later),
    })
}

/// Ends a silence early.
pub(super) async fn expire<S: Journal>(
    state: &State<S>,
    silencing: &Silencing,
    id: &str,
    author: String,
) -> Result<SilenceState, ApiError> {
    // Checked before the record is written, so that the journal contains no useless entry.
    let Some(found) = silencing.find(id) else {
        let help = "it is over, or never was: `foghorn silence list` shows those in force";
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "no such silence is in force",
            help,
        ));
    };
    tracing::info!(id = %found.silence.id, %author, "a silence is ended");
    append(
        state,
        silencing,
        Record::Expire {
            id: id.to_owned(),
            author,
        },
    )
    .await?;
    Ok(found)
}

/// Appends the record and waits briefly for the engine. Returns true if the engine has applied it.
async fn append<S: Journal>(
    state: &State<S>,
    silencing: &Silencing,
    record: Record,
) -> Result<bool, ApiError> {
    let seq = state.store.append(record).await.map_err(|error| {
        tracing::warn!(%error, "a silence could not be stored");
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "cannot store it now, try again",
            "",
        )
    })?;
    let mut published = silencing.published.clone();
    let folded = published.wait_for(|published| published.folded >= seq);
    Ok(tokio::time::timeout(FOLDED_WITHIN, folded)
        .await
        .is_ok_and(|known| known.is_ok()))
}

/// Returns a silence in the format of the API.
pub(super) fn json_of(state: &SilenceState) -> Value {
    let SilenceState { silence, matching } = state;
    let until = match silence.until {
        Until::At(at) => at.rfc3339(),
        Until::Resolved => "resolved".to_owned(),
    };
    json!({
        "id": silence.id, "match": silence.matches, "until": until, "author": silence.author,
        "comment": silence.comment, "created": silence.created.rfc3339(), "matching": matching,
    })
}
