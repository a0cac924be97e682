//! The HTTP auth: what may come in, and what of us may be seen. Filters say what a request must be,
//! handlers what we do.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use warp::filters::BoxedFilter;
use warp::http::Response as HttpResponse;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Rejection};

use crate::metrics::Metrics;
use crate::model::{PageAccess, Timestamp};
use crate::rules::RuleSet;
use crate::source::SourceSettings;
use crate::store::{Archive, Desk, Journal, Store, Totals};

mod api;
mod auth;
mod body;
mod framing;
mod ingest;
mod ops;
mod page;
mod reply;
pub mod run_files;
mod serve;
mod silence_page;
mod silences;

pub use api::{Tuner, events, rules as rules_api};
pub use auth::Auth;
#[doc(hidden)]
pub use framing::has_two_ends;
pub use ops::{HEALTHY, UNSTORED};
pub use serve::{Limits, Peer, serve};
pub use silences::Silencing;

/// The most bytes of bodies held at once, over all connections.
const BYTES_IN_FLIGHT: usize = 48 * 1024 * 1024;

/// The longest a body may take from its head to its last byte.
const BODY_DEADLINE: Duration = Duration::from_secs(15);

/// What requests are judged by; replaced as a whole when rules.yaml changes.
#[derive(Clone, Debug)]
pub struct Current {
    /// Who may post.
    pub sources: Vec<SourceSettings>,
    /// The rules: a chatty topic is stored when one of them names it.
    pub rules: Arc<RuleSet>,
    /// The largest body taken.
    pub max_body: usize,
}

/// What handlers work with. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct State<S> {
    store: S,
    metrics: Metrics,
    ready: watch::Receiver<bool>,
    current: Arc<RwLock<Arc<Current>>>,
    bytes: Arc<Semaphore>,
    /// Journal time at which a post could not be stored, unless one could since.
    unstored: Arc<Mutex<Option<Timestamp>>>,
    silencing: Option<Arc<Silencing>>,
    auth: Arc<Auth>,
    rulebook: Option<Arc<dyn rules_api::Rulebook>>,
    /// More routes, of what only some stores can answer.
    more: Option<BoxedFilter<(Response,)>>,
}

impl<S: Store> State<S> {
    /// Puts it together. `ready`: whether everything journaled before the start has been judged.
    #[must_use]
    pub fn new(store: S, metrics: Metrics, ready: watch::Receiver<bool>, current: Current) -> Self {
        let bytes = Arc::new(Semaphore::new(BYTES_IN_FLIGHT));
        Self {
            store,
            metrics,
            ready,
            current: Arc::new(RwLock::new(Arc::new(current))),
            bytes,
            unstored: Arc::default(),
            silencing: None,
            auth: Arc::default(),
            rulebook: None,
            more: None,
        }
    }

    /// Lets people silence; without this there is nothing at those addresses.
    #[must_use]
    pub fn with_silencing(self, silencing: Silencing) -> Self {
        Self {
            silencing: Some(Arc::new(silencing)),
            ..self
        }
    }

    /// Lets people in by this auth; without one they look from this machine and do nothing.
    #[must_use]
    pub fn with_auth(self, auth: Auth) -> Self {
        let auth = Arc::new(auth.counting(self.metrics.clone()));
        Self { auth, ..self }
    }

    /// Shows the rules, and lets people change them; without this there is nothing at those
    /// addresses. Comes before [`Self::with_looking`].
    #[must_use]
    pub fn with_rulebook(self, rulebook: Arc<dyn rules_api::Rulebook>) -> Self {
        Self {
            rulebook: Some(rulebook),
            ..self
        }
    }

    /// Adds what shows the past and how things stand; without this there is nothing at those
    /// addresses.
    #[must_use]
    pub fn with_looking(self, looking: events::Looking) -> Self
    where
        S: Archive + Desk,
    {
        let more = api::routes(&self, looking);
        Self {
            more: Some(more),
            ..self
        }
    }

    /// Wall time minus journal time.
    fn offset_ms(&self) -> i64 {
        self.store.clock().offset_ms()
    }

    /// The wall clock.
    fn wall(&self) -> Timestamp {
        self.store.clock().clock().wall()
    }

    /// Replaces sources and rules; requests under way finish by the old ones.
    pub fn replace(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }

    /// From now on others may see the page; whom that leaves out is let in no more.
    pub fn replace_access(&self, access: PageAccess) {
        self.auth.replace(access);
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Every route, with every error answered.
#[must_use]
pub fn routes<S: Journal + Totals>(state: &State<S>) -> BoxedFilter<(Response,)> {
    let routes = ingest::route(state)
        .or(ops::routes(state))
        .unify()
        .or(page::routes(state))
        .unify();
    let routes = routes.or(auth::login::routes(state)).unify();
    let routes = routes
        .or(silences::routes(state))
        .unify()
        .or(silence_page::routes(state))
        .unify();
    // Not a refusal of ours: that would hide why another route refused.
    let nothing = || {
        warp::any()
            .and_then(async || Err::<Response, _>(warp::reject::not_found()))
            .boxed()
    };
    let routes = routes
        .or(state.more.clone().unwrap_or_else(nothing))
        .unify()
        .recover(recover)
        .unify();
    warp::path::full()
        .and(routes)
        .map(|path: warp::path::FullPath, response| {
            if is_of_api(path.as_str()) {
                in_json(response)
            } else {
                response
            }
        })
        .with(warp::reply::with::header(
            "x-content-type-options",
            "nosniff",
        ))
        .map(reply)
        .boxed()
}

fn reply(reply: impl warp::Reply) -> Response {
    reply.into_response()
}

/// A request refused: a status, one short reason, and nothing of the request or of us.
#[derive(Clone, Debug)]
struct Refused {
    status: StatusCode,
    why: &'static str,
    allow: Option<&'static str>,
}

impl Refused {
    const fn new(status: StatusCode, why: &'static str) -> Self {
        Self {
            status,
            why,
            allow: None,
        }
    }

    const NOT_FOUND: Self = Self::new(StatusCode::NOT_FOUND, "nothing here");

    const fn method(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        }
    }
}

impl warp::reject::Reject for Refused {}

/// Whom its answers are for reads JSON.
fn is_of_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// A refusal of [`recover`] as the API words its own; any other answer as it is.
fn in_json(mut response: Response) -> Response {
    let Some(Refused { why, allow, .. }) = response.extensions().get::<Refused>() else {
        return response;
    };
    let help = allow.unwrap_or("docs/api.md lists what there is");
    let body = serde_json::json!({"error": why, "help": help});
    *response.body_mut() = format!("{body}\n").into();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// The one place where errors get their bodies.
async fn recover(rejection: Rejection) -> Result<Response, Infallible> {
    // Any other rejection is of a filter we do not use to refuse: the path fits no route.
    let refused = rejection
        .find::<Refused>()
        .cloned()
        .unwrap_or(Refused::NOT_FOUND);
    let mut response = plain(refused.status, refused.why);
    let headers = response.headers_mut();
    if let Some(allow) = refused.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    match refused.status {
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        // The rest of the body is not waited for.
        StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::REQUEST_TIMEOUT => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response.extensions_mut().insert(refused);
    Ok(response)
}

/// One line of plain text.
fn plain(status: StatusCode, line: &'static str) -> Response {
    let mut response = HttpResponse::new(format!("{line}\n").into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// GET or HEAD, else 405.
async fn reading(method: Method) -> Result<(), Rejection> {
    if matches!(method, Method::GET | Method::HEAD) {
        Ok(())
    } else {
        Err(Refused::method("GET, HEAD").into())
    }
}

/// Whether a request was made on this machine: from loopback, and not brought by a proxy, for which
/// everyone would be.
fn from_this_machine(peer: Option<&Peer>, headers: &HeaderMap) -> bool {
    peer.is_some_and(Peer::is_loopback) && !headers.keys().any(|name| is_forwarding(name.as_str()))
}

/// Headers that proxies and tunnels add.
fn is_forwarding(name: &str) -> bool {
    const NAMES: [&str; 11] = [
        "forwarded",
        "via",
        "x-real-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "fly-client-ip",
        "fastly-client-ip",
        "x-proxyuser-ip",
        "cdn-loop",
        "x-appengine-user-ip",
    ];
    const BEGINNINGS: [&str; 6] = [
        "x-forwarded",
        "cf-",
        "tailscale-",
        "x-envoy-",
        "x-original-",
        "x-azure-",
    ];
    NAMES.contains(&name)
        || BEGINNINGS
            .iter()
            .any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
pub(crate) mod document_tests;
#[cfg(test)]
mod silence_tests;
#[cfg(test)]
mod tests;
