//! `/api/v1/silences`: what is silenced, for those whom the auth lets in. Making and ending one,
//! for the pages too.

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

/// The most silences in force at once.
const MOST: usize = 1_000;
/// Maximum size of a silence's `match`, in bytes.
const MAX_MATCH: usize = 8 * 1024;
/// The most characters of a name and of a comment.
const MAX_AUTHOR: usize = 80;
const MAX_COMMENT: usize = 500;
/// The longest silence.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// How long an answer waits for the engine to know.
const FOLDED_WITHIN: Duration = Duration::from_secs(5);

/// What silencing needs beside the store.
#[derive(Clone, Debug)]
pub struct Silencing {
    pub(super) key: LinkKey,
    published: watch::Receiver<Published>,
}

impl Silencing {
    /// Puts it together: the token, and what the judge published.
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

/// The routes.
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
    let known = if id.is_some() { "author" } else { "" };
    if let Some((name, _)) =
        form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name != known)
    {
        let error = format!("`{}` is not asked for here", one_line(&name));
        return Err(ApiError::bad(error, "docs/api.md says what is"));
    }
    match (method, id) {
        (&Method::GET | &Method::HEAD, None) => {
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
                    format!("the body does not read: {e}"),
                    "docs/api.md shows one",
                )
            })?;
            let now = state.wall();
            let silence = silence(asked, user, now)?;
            check_room(silencing, &silence.id)?;
            let (made, heeded) = make(state, silencing, silence).await?;
            let mut answer = json_of(&made);
            if let (Heeded::Over, Some(answer)) = (heeded, answer.as_object_mut()) {
                answer.insert("over".to_owned(), true.into());
            }
            Ok(reply(
                if heeded == Heeded::Later {
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

/// What is silenced is known once everything journaled before the start is judged.
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

/// What a request to silence says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    #[serde(rename = "match")]
    matches: Option<Value>,
    all: bool,
    #[serde(rename = "for")]
    lasts: Option<String>,
    until: Option<String>,
    author: Option<String>,
    comment: Option<String>,
}

fn silence(asked: Asked, user: &User, now: Timestamp) -> Result<Silence, ApiError> {
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

/// Who it was: as they say, else as the auth knows them.
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
    Matcher::from_json(matches).map(|_| ()).map_err(|error| {
        let not = map.get("not").and_then(Value::as_object);
        let mut named = map.keys().chain(not.into_iter().flat_map(|not| not.keys()));
        let unknown = named.find(|name| *name != "not" && Field::parse(name).is_none());
        ApiError::bad(error, unknown.map(|name| meant(name)).unwrap_or_default())
    })
}

/// The field a word was meant to be, or all of them.
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

/// When a silence ends that was asked for so.
pub(super) fn until(
    lasts: Option<&str>,
    until: Option<&str>,
    now: Timestamp,
) -> Result<Until, ApiError> {
    let example =
        "write `for` as in 2h, or `until` as in 2026-01-05T12:00:00Z, morning or resolved";
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

/// The next 08:00 in the machine's zone.
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

/// A name or a comment, on one line and not too long.
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

/// A person's name, and a comment.
pub(super) fn said(
    author: Option<&str>,
    comment: Option<&str>,
) -> Result<(String, String), ApiError> {
    Ok((
        text(author, "author", MAX_AUTHOR)?,
        text(comment, "comment", MAX_COMMENT)?,
    ))
}

/// Whether one more silence may be made.
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

/// What became of a silence that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heeded {
    /// It is in force.
    InForce,
    /// It was over at once: until resolved, and nothing lasts.
    Over,
    /// The engine has much to do and will come to it.
    Later,
}

/// Makes a silence: it is journaled.
pub(super) async fn make<S: Journal>(
    state: &State<S>,
    silencing: &Silencing,
    silence: Silence,
) -> Result<(SilenceState, Heeded), ApiError> {
    let folded = append(state, silencing, Record::Silence(silence.clone())).await?;
    tracing::info!(id = %silence.id, author = %silence.author, "a silence begins");
    let unknown = SilenceState {
        silence,
        matching: 0,
    };
    Ok(match silencing.find(&unknown.silence.id) {
        Some(found) if folded => (found, Heeded::InForce),
        None if folded => (unknown, Heeded::Over),
        _ => (unknown, Heeded::Later),
    })
}

/// Ends a silence before its time.
pub(super) async fn expire<S: Journal>(
    state: &State<S>,
    silencing: &Silencing,
    id: &str,
    author: String,
) -> Result<SilenceState, ApiError> {
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

/// Journals it, and waits a little for the engine. Whether the engine knows.
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

/// A silence, as the API says it.
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
