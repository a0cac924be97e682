//! What operators and machines look at: `/healthz` for anyone; `/readyz` and `/metrics` for this machine only.

use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::{Peer, Refused, State, from_this_machine, plain, reading};
use crate::store::Store;

/// The routes.
pub(super) fn routes<S: Store>(state: &State<S>) -> BoxedFilter<(Response,)> {
    let healthz = get("healthz").map(|| plain(StatusCode::OK, "ok"));
    let ready = state.ready.clone();
    let readyz = get("readyz").and(local()).untuple_one().map(move || {
        if *ready.borrow() {
            plain(StatusCode::OK, "ready")
        } else {
            plain(StatusCode::SERVICE_UNAVAILABLE, "still judging what came before the start")
        }
    });
    let shared = state.clone();
    let metrics = get("metrics").and(local()).untuple_one().map(move || {
        let text = shared.metrics.encode(shared.store.last(), &shared.store.fates());
        let mut response = Response::new(text.into());
        let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    });
    healthz.or(readyz).unify().or(metrics).unify().boxed()
}

/// GET or HEAD of exactly this path.
fn get(path: &'static str) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::path(path).and(warp::path::end()).and(warp::method()).and_then(reading).untuple_one()
}

/// Requests of this machine only, under its own name: a page elsewhere whose name was made to mean loopback is not.
pub(super) fn local() -> impl Filter<Extract = ((),), Error = Rejection> + Clone {
    warp::ext::optional::<Peer>().and(warp::header::headers_cloned()).and_then(
        async |peer: Option<Peer>, headers: HeaderMap| {
            if from_this_machine(peer.as_ref(), &headers) && names_this_machine(&headers) {
                Ok(())
            } else {
                Err(Rejection::from(Refused::new(StatusCode::FORBIDDEN, "for this machine only")))
            }
        },
    )
}

/// Whether `Host` is localhost or an address, which no one else's DNS can hand out.
pub(super) fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<std::net::IpAddr>().is_ok()
}
