//! `/api/v1/live`: events as they are judged, counts each second, and when to look again. One
//! channel for all who watch.

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

/// How often counts are told.
const EACH: Duration = Duration::from_secs(1);
/// A silent stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Streams at once.
const MOST: usize = 64;
/// What came after an event's id is told again, but not more than this.
const AGAIN: usize = 100;

/// Who watches.
pub(super) struct Live {
    feed: Feed,
    stop: CancellationToken,
    watching: Arc<AtomicUsize>,
    counting: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// One place among those who watch, until dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Live {
    pub(super) fn new(feed: Feed, stop: CancellationToken) -> Self {
        Self {
            feed,
            stop,
            watching: Arc::default(),
            counting: Mutex::new(None),
        }
    }

    fn place(&self) -> Option<Place> {
        let taken = self
            .watching
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < MOST).then_some(n + 1)
            });
        taken.ok().map(|_| Place(Arc::clone(&self.watching)))
    }
}

/// A stream that ends with the server, with the right to look, and when its client is too slow.
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
    // Who may look no longer must ask again.
    let stream = stream.take_until(user.over());
    // The stream is polled by one connection only; warp asks for more.
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
    /// Held as long as it watches.
    #[expect(dead_code, reason = "its end is its use")]
    place: Place,
    stop: CancellationToken,
    /// What it missed, the newest first.
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
                // Too slow: its page asks again, by the id it saw last.
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

/// The newest events after one, newest first.
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

/// Tells the counts each second, as long as anyone watches.
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
            // What cannot be read now is looked at again in a second.
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

/// What a page shows beside events: when it differs, the page asks for it again.
fn standing<S>(
    api: &Api<S>,
    totals: &[(Name, MessageFates)],
    published: &mut tokio::sync::watch::Receiver<crate::follower::Published>,
) -> Vec<String> {
    let now = published.borrow_and_update().clone();
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

/// The counts as JSON.
pub(super) fn counts(fates: &EventFates, per_second: u64) -> Value {
    let suppressed: HashMap<&String, &u64> = fates.suppressed.iter().collect();
    json!({
        "total": fates.total, "told": fates.told, "pending": fates.pending, "unmatched": fates.unmatched,
        "duplicate": fates.duplicate, "suppressed": suppressed, "per_second": per_second,
    })
}

/// A stream behind a lock nobody contends for: what is polled through `&mut` only may be shared.
fn sync_wrapper<T: Send + 'static>(
    stream: impl futures_util::Stream<Item = T> + Send + 'static,
) -> impl futures_util::Stream<Item = T> + Send + Sync + 'static {
    let stream = Mutex::new(Box::pin(stream));
    stream::poll_fn(move |context| {
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.as_mut().poll_next(context)
    })
}
