//! `/api/v1`, but for silences: which request is for which handler, once the door let it in.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

use super::door::Guest;
use super::events::{self, Looking};
use super::silences::{Problem, refusal, reply};
use super::{Peer, Refused, State, acts, live, rules_api, state_api, tune_api};
use crate::history::Past;
use crate::store;

/// What comes first below `/api/v1/`.
const KNOWN: [&str; 11] = [
    "events",
    "live",
    "incidents",
    "destinations",
    "feed",
    "noise",
    "dead-letters",
    "messages",
    "tune",
    "rules",
    "replay-diff",
];

/// What answers: the state of the server, and what looking needs.
pub(super) struct Api<S> {
    pub(super) state: State<S>,
    pub(super) looking: Looking,
    pub(super) past: Past<S>,
    pub(super) live: live::Live,
    pub(super) noise: state_api::Kept,
    pub(super) explaining: Semaphore,
    pub(super) tuning: tune_api::Tuning,
}

/// A request that was let in.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) asked: Asked,
    pub(super) headers: HeaderMap,
    pub(super) guest: Guest,
    /// Not read yet.
    pub(super) body: BoxStream<'static, Result<Bytes, warp::Error>>,
}

/// The routes.
#[must_use]
pub(super) fn routes<S: store::Archive + store::Desk>(
    state: &State<S>,
    looking: Looking,
) -> BoxedFilter<(Response,)> {
    let api = Arc::new(Api {
        past: Past::new(state.store.clone()),
        live: live::Live::new(looking.feed.clone(), looking.stop.clone()),
        noise: state_api::Kept::default(),
        state: state.clone(),
        looking,
        explaining: Semaphore::new(1),
        tuning: tune_api::Tuning::default(),
    });
    let ours = warp::path::tail().and_then(async |tail: warp::path::Tail| {
        let path: Vec<String> = tail.as_str().split('/').map(str::to_owned).collect();
        let is_known = path
            .first()
            .is_some_and(|first| KNOWN.contains(&first.as_str()));
        if is_known {
            Ok(path)
        } else {
            Err(warp::reject::not_found())
        }
    });
    warp::path!("api" / "v1" / ..)
        .and(ours)
        .and(warp::method())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        .then(
            move |path: Vec<String>, method, query: String, headers, peer: Option<Peer>, body| {
                let api = Arc::clone(&api);
                async move {
                    let guest = match api.state.door.enter(&method, &headers, peer.as_ref()) {
                        Ok(guest) => guest,
                        Err(problem) => return refusal(&problem),
                    };
                    let body = whole_chunks(body).boxed();
                    let request = Request {
                        method,
                        asked: Asked::of(&query),
                        headers,
                        guest,
                        body,
                    };
                    let path: Vec<&str> = path.iter().map(String::as_str).collect();
                    answer(&api, &path, request)
                        .await
                        .unwrap_or_else(|problem| refusal(&problem))
                }
            },
        )
        .boxed()
}

fn whole_chunks(
    body: impl futures_util::Stream<Item = Result<impl Buf, warp::Error>> + Send + 'static,
) -> impl futures_util::Stream<Item = Result<Bytes, warp::Error>> + Send + 'static {
    body.map_ok(|mut chunk| chunk.copy_to_bytes(chunk.remaining()))
}

async fn answer<S: store::Archive + store::Desk>(
    api: &Arc<Api<S>>,
    path: &[&str],
    request: Request,
) -> Result<Response, Problem> {
    if matches!(path, ["rules", ..] | ["replay-diff"]) {
        return rules_api::answer(&api.state, path, request).await;
    }
    let Request {
        method,
        asked,
        headers,
        guest,
        body,
    } = request;
    let (asked, headers) = (&asked, &headers);
    let reads = matches!(method, Method::GET | Method::HEAD);
    let value = match path {
        _ if acts::is_act(path) => {
            if method != Method::POST {
                return Err(Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method not allowed",
                    "POST",
                ));
            }
            acts::answer(api, path, (headers, &guest, body)).await?
        }
        ["tune"] => return tune_api::answer(api, &method, asked),
        _ if !reads => {
            return Err(Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed",
                "GET, HEAD",
            ));
        }
        ["events"] => events::page(api, asked).await?,
        ["events", id] => return events::one(api, id, asked).await,
        ["live"] => return Ok(live::answer(api, headers, &guest)),
        ["incidents"] => state_api::incidents(api).await?,
        ["destinations"] => state_api::destinations(api).await?,
        ["feed"] => state_api::feed(api),
        ["noise"] => state_api::noise(api, asked).await?,
        _ => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                Refused::NOT_FOUND.why,
                "docs/api.md lists what there is",
            ));
        }
    };
    Ok(reply(StatusCode::OK, &value))
}

/// What stands after the `?`.
pub(super) struct Asked(BTreeMap<String, String>);

impl Asked {
    fn of(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self(
            pairs
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// A value that is not empty.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.0
            .get(key)
            .filter(|value| !value.trim().is_empty())
            .cloned()
    }

    /// Refuses a word that means nothing here: a misspelt filter would show everything.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let help = format!("known: {}", known.join(", "));
                Err(bad(
                    format!("`{}` is not asked for here", crate::render::one_line(key)),
                    help,
                ))
            }
        }
    }
}

pub(super) fn bad(error: impl Into<String>, help: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, error, help)
}

/// The store cannot be read.
pub(super) fn unreadable(error: &store::Error) -> Problem {
    tracing::warn!(%error, "the past cannot be read");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the store cannot be read now",
        "try again; the log says why",
    )
}
