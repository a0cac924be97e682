//! Posts of sources, each on the path of its kind. A post is answered 200 only if it is durable or
//! deliberately not stored.

use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::{BODY_DEADLINE, Peer, Refused, State, from_this_machine, plain};
use crate::source::{self, Rejected, SourceSettings};
use crate::store::Journal;

/// Number of bytes of a refused body that are read and discarded, and the time limit for that.
const DRAINED: u64 = 16 * 1024 * 1024;
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);

const TOO_LARGE: Refused = Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "body too large");
const BUSY: Refused = Refused::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "too much at once, try again",
);

/// Returns the routes of all kinds of sources that post.
pub(super) fn route<S: Journal>(state: &State<S>) -> BoxedFilter<(Response,)> {
    let mut routes = source::posting().map(|kind| route_of(state, kind));
    // Filters differ in type until they are boxed. The rejection is used if no kind exists.
    let nothing = warp::any().and_then(async || Err::<Response, _>(warp::reject::not_found()));
    let first = routes.next().unwrap_or_else(|| nothing.boxed());
    routes.fold(first, |all, route| all.or(route).unify().boxed())
}

fn route_of<S: Journal>(state: &State<S>, kind: &'static str) -> BoxedFilter<(Response,)> {
    let state = state.clone();
    let named = warp::path::param::<String>().and(warp::path::end());
    let default = warp::path::end().map(|| kind.to_owned());
    // A source named like its kind has the short path only, not two paths.
    let named = named.and_then(move |name: String| async move {
        if name == kind {
            Err(Rejection::from(Refused::NOT_FOUND))
        } else {
            Ok(name)
        }
    });
    warp::path(kind)
        .and(default.or(named).unify())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        .and_then(move |name: String, method, headers, peer, body| {
            let state = state.clone();
            async move {
                take(&state, (kind, &name), method, headers, peer, body)
                    .await
                    .map_err(Rejection::from)
            }
        })
        .boxed()
}

/// Handles one POST for a source, and counts the answer. Fails if there is no source of that name.
pub(super) async fn take<S: Journal>(
    state: &State<S>,
    (kind, name): (&str, &str),
    method: Method,
    headers: HeaderMap,
    peer: Option<Peer>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> Result<Response, Refused> {
    let current = state.current();
    let settings = current
        .sources
        .iter()
        .find(|of| of.name.as_str() == name && source::word(of.kind) == Some(kind))
        .ok_or(Refused::NOT_FOUND)?;
    if method != Method::POST {
        return Err(Refused::method("POST"));
    }
    // Chatty topics are most of the traffic, so they are stored only on demand.
    let rules = &current.rules;
    let wanted = |topic: &str| settings.store_all || rules.names_topic(topic);
    let answer = post(
        state,
        settings,
        current.max_body,
        wanted,
        &headers,
        peer.as_ref(),
        body,
    )
    .await;
    let status = answer
        .as_ref()
        .map_or_else(|refused| refused.status, |_| StatusCode::OK);
    state.metrics.post(&settings.name, status.as_u16());
    if status == StatusCode::OK {
        state.metrics.heard_of(&settings.name, state.wall());
    }
    answer.map(|()| plain(StatusCode::OK, "ok"))
}

/// Handles a post to a known source. The checks run in the order in which the answers are
/// documented.
async fn post<S: Journal>(
    state: &State<S>,
    settings: &SourceSettings,
    max_body: usize,
    wanted: impl Fn(&str) -> bool,
    headers: &HeaderMap,
    peer: Option<&Peer>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> Result<(), Refused> {
    // The time limit covers the head's checks and the body; a slow sender holds bytes of the shared
    // budget.
    let mut body = pin!(body);
    let read = async {
        readable(headers)?;
        tokio::time::timeout(
            BODY_DEADLINE,
            read(headers, max_body, &state.bytes, body.as_mut()),
        )
        .await
        .map_err(|_| Refused::new(StatusCode::REQUEST_TIMEOUT, "body took too long"))?
    };
    let (body, _held) = match read.await {
        Ok(read) => read,
        Err(refused) => {
            if matches!(
                refused.status,
                StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE
            ) {
                drain(headers, body).await;
            }
            return Err(refused);
        }
    };
    // From here on the connection is not closed to make room: the sender waits for an answer.
    if let Some(peer) = peer {
        peer.set_answering();
    }
    // A page in a local browser must not count as this machine. Its POST has an `Origin`.
    let local = from_this_machine(peer, headers) && !headers.contains_key(header::ORIGIN);
    let verified = source::verify(settings, headers, local, body).map_err(refused)?;
    // The signature is checked first: an unsigned post must not even be counted by topic.
    if let Some(topic) = verified.chatty_topic().filter(|topic| !wanted(topic)) {
        state.metrics.not_stored(topic, verified.count_events());
        return Ok(());
    }
    if verified.is_test() {
        tracing::info!(source = %settings.name, "ping received");
        state.metrics.ping();
    }
    let stored = state.store.append(verified.into_record(None)).await;
    // `/readyz` reports a store that cannot write until a post succeeds again.
    *state
        .unstored
        .lock()
        .unwrap_or_else(PoisonError::into_inner) =
        stored.is_err().then(|| state.store.clock().now());
    stored.map(drop).map_err(|error| {
        tracing::warn!(%error, "could not store a post");
        Refused::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "cannot store it now, try again",
        )
    })
}

fn refused(rejected: Rejected) -> Refused {
    let status = match rejected {
        Rejected::SignatureMissing | Rejected::SignatureWrong | Rejected::UnsignedFromAfar => {
            StatusCode::UNAUTHORIZED
        }
        Rejected::NotJson | Rejected::TooDeep => StatusCode::BAD_REQUEST,
    };
    Refused::new(status, rejected.text())
}

/// Checks that the head declares JSON without an encoding.
fn readable(headers: &HeaderMap) -> Result<(), Refused> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "encoded bodies are not supported",
        ));
    }
    if !headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .all(|value| value.to_str().is_ok_and(is_json))
    {
        return Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content type is not JSON",
        ));
    }
    Ok(())
}

fn is_json(content_type: &str) -> bool {
    let media = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    media
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

/// Reads the rest of a refused body, within limits. A client that still sends when the connection
/// closes never sees the answer.
async fn drain(
    headers: &HeaderMap,
    mut body: Pin<&mut (impl Stream<Item = Result<impl Buf, warp::Error>> + Send)>,
) {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    // With `Expect`, the client has not sent the body yet.
    if headers.contains_key(header::EXPECT) || declared.is_some_and(|length| length > DRAINED) {
        return;
    }
    let rest = async {
        let mut taken = 0;
        while let Some(Ok(chunk)) = body.next().await {
            taken += chunk.remaining() as u64;
            if taken > DRAINED {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_DEADLINE, rest).await;
}

/// Reads the whole body and counts its bytes, so that a wrong or missing length cannot exceed the
/// limit. The permit reserves these bytes in the budget of all connections.
pub(super) async fn read(
    headers: &HeaderMap,
    max_body: usize,
    budget: &Arc<Semaphore>,
    mut body: Pin<&mut (impl Stream<Item = Result<impl Buf, warp::Error>> + Send)>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refused> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    // A declared length that is too large is refused before any byte is read.
    if declared.is_some_and(|length| {
        length
            .trim()
            .parse::<u64>()
            .map_or(true, |length| length > max_body as u64)
    }) {
        return Err(TOO_LARGE);
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut held: Option<OwnedSemaphorePermit> = None;
    while let Some(chunk) = body.next().await {
        let mut chunk =
            chunk.map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "body cut short"))?;
        let length = chunk.remaining();
        if length == 0 {
            continue;
        }
        if first.len() + rest.len() + length > max_body {
            return Err(TOO_LARGE);
        }
        // The permit is taken per chunk, so a client that declares much and sends nothing holds
        // nothing.
        let permits = u32::try_from(length).map_err(|_| TOO_LARGE)?;
        let more = Arc::clone(budget)
            .try_acquire_many_owned(permits)
            .map_err(|_| BUSY)?;
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        // Most bodies consist of one chunk, which is not copied.
        let chunk = chunk.copy_to_bytes(length);
        if first.is_empty() {
            first = chunk;
        } else {
            rest.extend_from_slice(&chunk);
        }
    }
    if rest.is_empty() {
        return Ok((first, held));
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok((whole.freeze(), held))
}
