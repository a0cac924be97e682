//! The HTTP server: ingest, API and page. Filters check requests; handlers do the work.

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

/// Maximum number of body bytes held at once, over all connections.
const BYTES_IN_FLIGHT: usize = 48 * 1024 * 1024;

/// Maximum time from a request's head to the last byte of its body.
const BODY_DEADLINE: Duration = Duration::from_secs(15);

/// Settings that requests are checked against. A change of rules.yaml replaces them as a whole.
#[derive(Clone, Debug)]
pub struct Current {
    /// Sources that may post.
    pub sources: Vec<SourceSettings>,
    /// Rules in force. A chatty topic is stored if a rule names it.
    pub rules: Arc<RuleSet>,
    /// Maximum size of a post's body.
    pub max_body: usize,
}

/// State shared by all handlers. Clones are cheap and share everything.
#[derive(Clone)]
pub struct State<S> {
    store: S,
    metrics: Metrics,
    ready: watch::Receiver<bool>,
    current: Arc<RwLock<Arc<Current>>>,
    bytes: Arc<Semaphore>,
    /// Journal time of the newest post that could not be stored, unless a later one was stored.
    unstored: Arc<Mutex<Option<Timestamp>>>,
    silencing: Option<Arc<Silencing>>,
    auth: Arc<Auth>,
    rulebook: Option<Arc<dyn rules_api::Rulebook>>,
    /// Additional routes that need a store with an archive.
    more: Option<BoxedFilter<(Response,)>>,
}

impl<S: Store> State<S> {
    /// Creates the state. `ready` becomes true when everything journaled before the start has been
    /// judged.
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

    /// Adds the routes for silences.
    #[must_use]
    pub fn with_silencing(self, silencing: Silencing) -> Self {
        Self {
            silencing: Some(Arc::new(silencing)),
            ..self
        }
    }

    /// Sets the auth. Without one, only this machine may read, and nobody may act.
    #[must_use]
    pub fn with_auth(self, auth: Auth) -> Self {
        let auth = Arc::new(auth.counting(self.metrics.clone()));
        Self { auth, ..self }
    }

    /// Adds the routes for the rules. Must be called before [`Self::with_looking`].
    #[must_use]
    pub fn with_rulebook(self, rulebook: Arc<dyn rules_api::Rulebook>) -> Self {
        Self {
            rulebook: Some(rulebook),
            ..self
        }
    }

    /// Adds the routes for the past and the current state.
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

    /// Returns wall time minus journal time.
    fn offset_ms(&self) -> i64 {
        self.store.clock().offset_ms()
    }

    /// Returns the wall time.
    fn wall(&self) -> Timestamp {
        self.store.clock().clock().wall()
    }

    /// Replaces sources and rules. Requests in progress finish with the old ones.
    pub fn replace(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }

    /// Replaces the access rules. Sessions they no longer allow end at once.
    pub fn replace_access(&self, access: PageAccess) {
        self.auth.replace(access);
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns all routes; every error has an answer.
#[must_use]
pub fn routes<S: Journal + Totals>(state: &State<S>) -> BoxedFilter<(Response,)> {
    // The routes of ingest come first, because posts are the most frequent requests.
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
    // A plain rejection: a `Refused` would replace the reason of another route's refusal.
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

/// A refused request: a status and a short reason, without any detail of the request or the server.
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

/// Returns true for a path whose clients expect JSON.
fn is_of_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Rewrites a refusal by [`recover`] in the format of the API; leaves other answers unchanged.
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

/// Converts rejections to answers. Errors get their bodies only here.
async fn recover(rejection: Rejection) -> Result<Response, Infallible> {
    // Only our filters refuse requests. Any other rejection means that no route has this path.
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
        // The rest of the body is not read, so the connection cannot be used again.
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

/// Creates an answer with one line of plain text.
fn plain(status: StatusCode, line: &'static str) -> Response {
    let mut response = HttpResponse::new(format!("{line}\n").into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// Accepts GET and HEAD; refuses other methods with 405.
async fn reading(method: Method) -> Result<(), Rejection> {
    if matches!(method, Method::GET | Method::HEAD) {
        Ok(())
    } else {
        Err(Refused::method("GET, HEAD").into())
    }
}

/// Returns true if a request was made on this machine: from loopback, and not through a proxy,
/// because all requests of a proxy come from its address.
fn from_this_machine(peer: Option<&Peer>, headers: &HeaderMap) -> bool {
    peer.is_some_and(Peer::is_loopback) && !headers.keys().any(|name| is_forwarding(name.as_str()))
}

/// Returns true for a header that proxies and tunnels add.
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
    // Prefixes cover families of headers whose members vary between proxies.
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
