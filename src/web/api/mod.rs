//! `/api/v1` without silences: passes authorized requests to their handlers.

use std::sync::Arc;

use futures_util::stream::StreamExt;
use tokio::sync::Semaphore;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use self::events::Looking;
use self::request::{Query, Request, whole_chunks};
use super::reply::{ApiError, refusal, reply};
use super::{Peer, Refused, State};
use crate::history::PastEvents;
use crate::store;

mod acts;
pub mod events;
mod explain;
mod live;
mod request;
pub mod rules;
mod state;
#[cfg(test)]
mod tests;
mod tune;

pub use tune::Tuner;

/// First path segments below `/api/v1/`.
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

/// State of the API's handlers.
struct Api<S> {
    state: State<S>,
    looking: Looking,
    past: PastEvents<S>,
    live: live::LiveStreams,
    noise: state::Kept,
    explaining: Semaphore,
    tuning: tune::Tuning,
}

/// Returns the routes.
#[must_use]
pub(super) fn routes<S: store::Archive + store::Desk>(
    state: &State<S>,
    looking: Looking,
) -> BoxedFilter<(Response,)> {
    let api = Arc::new(Api {
        past: PastEvents::new(state.store.clone()),
        live: live::LiveStreams::new(looking.feed.clone(), looking.stop.clone()),
        noise: state::Kept::default(),
        state: state.clone(),
        looking,
        explaining: Semaphore::new(1),
        tuning: tune::Tuning::default(),
    });
    // Unknown paths are left to the routes of silences and logins, which are separate.
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
                    // The auth comes first: without it the answer must not reveal which paths
                    // exist.
                    let user = match api.state.auth.enter(&method, &headers, peer.as_ref()) {
                        Ok(user) => user,
                        Err(error) => return refusal(&error),
                    };
                    let body = whole_chunks(body).boxed();
                    let request = Request {
                        method,
                        asked: Query::of(&query),
                        headers,
                        user,
                        body,
                    };
                    let path: Vec<&str> = path.iter().map(String::as_str).collect();
                    answer(&api, &path, request)
                        .await
                        .unwrap_or_else(|error| refusal(&error))
                }
            },
        )
        .boxed()
}

async fn answer<S: store::Archive + store::Desk>(
    api: &Arc<Api<S>>,
    path: &[&str],
    request: Request,
) -> Result<Response, ApiError> {
    // The routes for rules read large bodies and have methods of their own.
    if matches!(path, ["rules", ..] | ["replay-diff"]) {
        return rules::answer(&api.state, path, request).await;
    }
    let Request {
        method,
        asked,
        headers,
        user,
        body,
    } = request;
    let (asked, headers) = (&asked, &headers);
    let reads = matches!(method, Method::GET | Method::HEAD);
    // Actions come before the check of the method, because they have methods of their own.
    let value = match path {
        _ if acts::is_act(path) => {
            if method != Method::POST {
                return Err(ApiError::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method not allowed",
                    "POST",
                ));
            }
            acts::answer(api, path, (headers, &user, body)).await?
        }
        // Checked before the method: POST starts a search here.
        ["tune"] => return tune::answer(api, &method, asked),
        _ if !reads => {
            return Err(ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed",
                "GET, HEAD",
            ));
        }
        ["events"] => events::page(api, asked).await?,
        ["events", id] => return events::one(api, id, asked).await,
        ["live"] => return Ok(live::answer(api, headers, &user)),
        ["incidents"] => state::incidents(api).await?,
        ["destinations"] => state::destinations(api).await?,
        ["feed"] => state::feed(api),
        ["noise"] => state::noise(api, asked).await?,
        _ => {
            return Err(ApiError::new(
                StatusCode::NOT_FOUND,
                Refused::NOT_FOUND.why,
                "docs/api.md lists what there is",
            ));
        }
    };
    Ok(reply(StatusCode::OK, &value))
}
