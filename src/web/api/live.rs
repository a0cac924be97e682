//! `/api/v1/live`: a stream of events as they are judged, counts each second, and hints to reload.
//! All clients share one channel.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use super::Api;
use crate::history::{Feed, Frame};
use crate::model::{EventFates, EventId, MessageFates, Name};
use crate::store;
use crate::web::auth::User;
use crate::web::reply::{ApiError, refusal};

/// Interval between counts.
const EACH: Duration = Duration::from_secs(1);
/// Interval between heartbeats of an idle stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Maximum number of streams.
const MOST: usize = 64;
/// Maximum number of missed events sent to a client that reconnects.
const AGAIN: usize = 100;

/// Connected clients of the stream.
pub(super) struct LiveStreams {
    feed: Feed,
    stop: CancellationToken,
    watching: Arc<AtomicUsize>,
    counting: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// One place among the clients, until dropped.
struct StreamPermit(Arc<AtomicUsize>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl LiveStreams {
    pub(super) fn new(feed: Feed, stop: CancellationToken) -> Self {
        Self {
            feed,
            stop,
            watching: Arc::default(),
            counting: Mutex::new(None),
        }
    }

    fn place(&self) -> Option<StreamPermit> {
        let taken = self
            .watching
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < MOST).then_some(n + 1)
            });
        taken.ok().map(|_| StreamPermit(Arc::clone(&self.watching)))
    }
}

/// Returns a stream. It ends when the server stops, when the user's access ends, or when the client
/// is too slow.
pub(super) fn answer<S: store::Archive>(
    api: &Arc<Api<S>>,
    headers: &HeaderMap,
    user: &User,
) -> Response {
    let Some(place) = api.live.place() else {
        let help = "close some of the pages that are open";
        return refusal(&ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MOST} pages are open"),
            help,
        ));
    };
    // Watching starts before the missed events are read, so that none falls between the two.
    let frames = api.live.feed.watch();
    count(api);
    let since = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(EventId::parse);
    let start = Watcher {
        frames,
        place,
        stop: api.live.stop.clone(),
        again: Vec::new(),
        missed: since,
    };
    let api = Arc::clone(api);
    let stream = stream::unfold(start, move |mut watcher| {
        let api = Arc::clone(&api);
        async move {
            if let Some(since) = watcher.missed.take() {
                watcher.again = missed(&api, since).await;
            }
            watcher
                .next()
                .await
                .map(|event| (Ok::<_, Infallible>(event), watcher))
        }
    });
    // A user whose access ends must authenticate again.
    let stream = stream.take_until(user.over());
    // warp requires `Sync`, although only one connection polls the stream.
    let stream = sync_wrapper(stream);
    let kept = warp::sse::keep_alive()
        .interval(HEARTBEAT)
        .text("")
        .stream(stream);
    let mut response = warp::sse::reply(kept).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

struct Watcher {
    frames: broadcast::Receiver<Arc<Frame>>,
    /// Held as long as the client is connected.
    #[expect(dead_code, reason = "its end is its use")]
    place: StreamPermit,
    stop: CancellationToken,
    /// Missed events, newest first.
    again: Vec<Frame>,
    missed: Option<EventId>,
}

impl Watcher {
    async fn next(&mut self) -> Option<warp::sse::Event> {
        if let Some(frame) = self.again.pop() {
            return Some(event(&frame));
        }
        tokio::select! {
            biased;
            frame = self.frames.recv() => match frame {
                Ok(frame) => Some(event(&frame)),
                // A slow client reconnects and names the last event it saw.
                Err(RecvError::Lagged(_) | RecvError::Closed) => None,
            },
            () = self.stop.cancelled() => None,
        }
    }
}

fn event(frame: &Frame) -> warp::sse::Event {
    let event = warp::sse::Event::default()
        .event(frame.kind)
        .data(frame.data.as_str());
    match &frame.id {
        Some(id) => event.id(id.as_str()),
        None => event,
    }
}

/// Returns the newest events after one, newest first.
async fn missed<S: store::Archive>(api: &Api<S>, since: EventId) -> Vec<Frame> {
    let question = crate::history::EventQuery {
        limit: AGAIN,
        ..Default::default()
    };
    let found = api.past.page(&question).await.unwrap_or_default();
    let frame = |(row, event): &(store::EventRow, Arc<crate::model::Event>)| Frame {
        kind: "event",
        id: Some(row.id.to_string()),
        data: crate::history::shown(row, event).to_string(),
    };
    found
        .events
        .iter()
        .take_while(|(row, _)| row.id > since)
        .map(frame)
        .collect()
}

/// Sends the counts each second while there are clients.
fn count<S: store::Archive>(api: &Arc<Api<S>>) {
    let mut counting = api
        .live
        .counting
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if counting.as_ref().is_some_and(|task| !task.is_finished()) {
        return;
    }
    let api = Arc::clone(api);
    *counting = Some(tokio::spawn(async move {
        let mut before = api.state.metrics.events().total;
        let mut published = api.looking.published.clone();
        published.mark_unchanged();
        let mut state = None;
        loop {
            tokio::select! {
                () = api.live.stop.cancelled() => return,
                () = tokio::time::sleep(EACH) => {}
            }
            // The next client starts the task again.
            if api.live.feed.watchers() == 0 {
                return;
            }
            api.live.feed.catch_up();
            let fates = api.state.metrics.events();
            let counts = counts(&fates, fates.total - before.min(fates.total));
            before = fates.total;
            api.live.feed.send(Frame {
                kind: "count",
                id: None,
                data: counts.to_string(),
            });
            // If the read fails, the next one follows in a second.
            let totals = api.state.store.totals().await.unwrap_or_default();
            let now = standing(&api, &totals, &mut published);
            if state
                .replace(now.clone())
                .is_some_and(|before| before != now)
            {
                api.live.feed.send(Frame {
                    kind: "state",
                    id: None,
                    data: "{}".to_owned(),
                });
            }
        }
    }));
}

/// Returns the state that a page shows beside events. If it changes, the page reloads that part.
fn standing<S>(
    api: &Api<S>,
    totals: &[(Name, MessageFates)],
    published: &mut tokio::sync::watch::Receiver<crate::follower::Published>,
) -> Vec<String> {
    let now = published.borrow_and_update().clone();
    // Only fields that the page displays are compared; counters change all the time.
    let incidents = now.incidents.0.iter().map(|i| {
        format!(
            "{} {} {:?} {}",
            i.id,
            i.standing.word(),
            i.told,
            i.subjects.len()
        )
    });
    let silences = now
        .silences
        .iter()
        .map(|silence| silence.silence.id.clone());
    let statuses = api
        .looking
        .statuses
        .all()
        .into_iter()
        .map(|(name, status)| {
            format!(
                "{name} {:?} {:?} {:?}",
                status.paused_until, status.last_error, status.disabled
            )
        });
    let queued = totals
        .iter()
        .map(|(name, of)| format!("{name} {} {}", of.queued > 0, of.dead));
    incidents
        .chain(silences)
        .chain(statuses)
        .chain(queued)
        .collect()
}

/// Returns the counts as JSON.
pub(super) fn counts(fates: &EventFates, per_second: u64) -> Value {
    let suppressed: HashMap<&String, &u64> = fates.suppressed.iter().collect();
    json!({
        "total": fates.total, "told": fates.told, "pending": fates.pending, "unmatched": fates.unmatched,
        "duplicate": fates.duplicate, "suppressed": suppressed, "per_second": per_second,
    })
}

/// Wraps a stream in a lock without contention, because warp requires `Sync` and the stream is
/// polled only through `&mut`.
fn sync_wrapper<T: Send + 'static>(
    stream: impl futures_util::Stream<Item = T> + Send + 'static,
) -> impl futures_util::Stream<Item = T> + Send + Sync + 'static {
    let stream = Mutex::new(Box::pin(stream));
    stream::poll_fn(move |context| {
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.as_mut().poll_next(context)
    })
}
