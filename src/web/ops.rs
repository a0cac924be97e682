//! Health and metrics: `/healthz` for everyone; `/readyz` and `/metrics` for this machine, for
//! holders of the token, and for users the auth admits.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::auth::Auth;
use super::reply::ApiError;
use super::{Peer, Refused, State, plain, reading};
use crate::store::{Journal, Store, Totals};

/// Answer of `/healthz`, which no other program gives. It shows whether a public address leads to
/// Foghorn, without the version.
pub const HEALTHY: &str = "foghorn: ok";

/// Answer of `/readyz` while posts cannot be stored.
pub const UNSTORED: &str = "posts cannot be stored: is the disk full?";

/// Time for which `/readyz` reports a failed write. It must end by itself: a sender that waits for
/// readiness sends no post that could succeed.
const FULL: Duration = Duration::from_secs(60);

/// Returns the routes.
pub(super) fn routes<S: Journal + Totals>(state: &State<S>) -> BoxedFilter<(Response,)> {
    let healthz = get("healthz").map(|| plain(StatusCode::OK, HEALTHY));
    let shared = state.clone();
    let readyz = get("readyz")
        .and(watcher(state))
        .untuple_one()
        .map(move || {
            let unstored = *shared
                .unstored
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // A failed write is reported before the backlog: it needs a person, the backlog only
            // time.
            if unstored.is_some_and(|at| shared.store.clock().now().since(at) < FULL) {
                plain(StatusCode::SERVICE_UNAVAILABLE, UNSTORED)
            } else if *shared.ready.borrow() {
                plain(StatusCode::OK, "ready")
            } else {
                plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "still judging what came before the start",
                )
            }
        });
    let shared = state.clone();
    let metrics = get("metrics")
        .and(watcher(state))
        .untuple_one()
        .then(move || {
            let shared = shared.clone();
            async move { scraped(&shared).await }
        });
    healthz.or(readyz).unify().or(metrics).unify().boxed()
}

/// Returns the metrics for Prometheus.
async fn scraped<S: Journal + Totals>(state: &State<S>) -> Response {
    let totals = match state.store.totals().await {
        Ok(totals) => totals,
        Err(error) => {
            tracing::warn!(%error, "the store cannot be read");
            let why = "the store cannot be read now";
            return plain(StatusCode::SERVICE_UNAVAILABLE, why);
        }
    };
    let text = state.metrics.encode(state.store.last(), &totals);
    let mut response = Response::new(text.into());
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Accepts GET or HEAD of exactly this path.
fn get(path: &'static str) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::path(path)
        .and(warp::path::end())
        .and(warp::method())
        .and_then(reading)
        .untuple_one()
}

/// Accepts requests for public data if they use one of our host names, so that no other site can
/// pass for ours.
pub(super) fn named<S: Store>(state: &State<S>) -> BoxedFilter<((),)> {
    checked(state, Auth::check_host)
}

fn watcher<S: Store>(state: &State<S>) -> BoxedFilter<((),)> {
    checked(state, Auth::check_watcher)
}

fn checked<S: Store>(
    state: &State<S>,
    check: fn(&Auth, &HeaderMap, Option<&Peer>) -> Result<(), ApiError>,
) -> BoxedFilter<((),)> {
    let auth = Arc::clone(&state.auth);
    let seen = warp::ext::optional::<Peer>().and(warp::header::headers_cloned());
    seen.and_then(move |peer: Option<Peer>, headers: HeaderMap| {
        let checked = check(&auth, &headers, peer.as_ref());
        async move {
            checked.map_err(|problem| {
                let why = match problem.status {
                    StatusCode::MISDIRECTED_REQUEST => "this server does not go by that name",
                    StatusCode::UNAUTHORIZED => "not authorized",
                    _ => "for this machine only",
                };
                Rejection::from(Refused::new(problem.status, why))
            })
        }
    })
    .boxed()
}
