//! `/api/v1/tune`: useful changes to the rules. Finding them takes long, so one search runs at a
//! time, on a thread of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::Api;
use super::request::{Query, bad};
use crate::clock::Clock;
use crate::model::{Timestamp, parse_duration};
use crate::store;
use crate::web::reply::{ApiError, reply};

/// Finds useful changes for the traffic of a period. Blocks until it is done.
pub type Tuner = Arc<dyn Fn(Duration) -> Result<Value, String> + Send + Sync>;

/// Time for which a result is kept.
const KEPT: Duration = Duration::from_secs(3_600);
/// Maximum period.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// Number of periods for which results are kept.
const SPANS: usize = 4;

/// Latest results by period, and the start of the running search.
#[derive(Default)]
struct Slot {
    since: Option<Timestamp>,
    made: Vec<(Duration, Timestamp, Result<Value, String>)>,
}

impl Slot {
    fn keep(&mut self, span: Duration, at: Timestamp, found: Result<Value, String>) {
        self.forget(span);
        self.made.push((span, at, found));
        let over = self.made.len().saturating_sub(SPANS);
        self.made.drain(..over);
    }

    fn forget(&mut self, span: Duration) {
        self.made.retain(|(known, ..)| *known != span);
    }
}

/// State shared by the search thread and the requests.
#[derive(Clone, Default)]
pub(super) struct Tuning(Arc<Mutex<Slot>>);

/// Marks the search as finished when dropped, even after a panic.
struct Busy(Tuning, Duration, Clock);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut slot = self.0.slot();
        slot.since = None;
        if std::thread::panicking() {
            // Without a result, every poll of the page would start the search again.
            let why = "it could not be found: the log says why".to_owned();
            slot.keep(self.1, self.2.wall(), Err(why));
        }
    }
}

impl Tuning {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a search unless one is running.
    fn begin(&self, tuner: &Tuner, span: Duration, clock: Clock) -> Result<(), ApiError> {
        let mut slot = self.slot();
        if slot.since.is_some() {
            return Ok(());
        }
        let (began, mine, tuner) = (clock.wall(), self.clone(), Arc::clone(tuner));
        let work = move || {
            let busy = Busy(mine, span, clock);
            let found = tuner(span).map(|found| dressed(found, span, began, clock.wall()));
            busy.0.slot().keep(span, clock.wall(), found);
        };
        let thread = std::thread::Builder::new()
            .name("tuner".to_owned())
            .spawn(work);
        if let Err(error) = thread {
            tracing::warn!(%error, "could not start a search for suggestions");
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no thread for it now",
                "try again",
            ));
        }
        // The thread needs this lock to finish, so it cannot clear the value before it is set.
        slot.since = Some(began);
        Ok(())
    }
}

/// Adds the time and duration of the search to its result.
fn dressed(mut found: Value, span: Duration, began: Timestamp, now: Timestamp) -> Value {
    if let Some(map) = found.as_object_mut() {
        map.insert(
            "since".to_owned(),
            crate::model::human_duration(span).into(),
        );
        map.insert("made_at".to_owned(), now.rfc3339().into());
        map.insert(
            "took_ms".to_owned(),
            json!(u64::try_from(now.since(began).as_millis()).unwrap_or(u64::MAX)),
        );
    }
    found
}

pub(super) fn answer<S: store::Archive>(
    api: &Api<S>,
    method: &Method,
    asked: &Query,
) -> Result<Response, ApiError> {
    let Some(tuner) = &api.looking.tuner else {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "nothing here",
            "docs/api.md lists what there is",
        ));
    };
    asked.only(&["since"])?;
    let since = asked.text("since").unwrap_or_else(|| "7d".to_owned());
    let example = "as in since=7d; at most 31d";
    let span = parse_duration(&since).map_err(|why| bad(format!("`since`: {why}"), example))?;
    if span > LONGEST {
        return Err(bad("`since` is too long", example));
    }
    let clock = api.state.store.clock().clock();
    let now = clock.wall();
    let begin = || {
        api.tuning.begin(tuner, span, clock)?;
        let since = api.tuning.slot().since.unwrap_or(now);
        let busy = json!({"busy": true, "since_ms": u64::try_from(clock.wall().since(since).as_millis()).unwrap_or(0)});
        Ok(reply(StatusCode::ACCEPTED, &busy))
    };
    // GET also starts a search, so that a page needs only to repeat the same request.
    match *method {
        Method::GET | Method::HEAD => {
            let mut slot = api.tuning.slot();
            slot.made.retain(|(_, at, _)| now.since(*at) < KEPT);
            match slot
                .made
                .iter()
                .find(|(known, ..)| *known == span)
                .map(|(.., found)| found.clone())
            {
                Some(Ok(found)) => Ok(reply(StatusCode::OK, &found)),
                // The error is shown once; the next request starts the search again.
                Some(Err(why)) => {
                    slot.forget(span);
                    Err(ApiError::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        why,
                        "mend that, then look again",
                    ))
                }
                None => {
                    drop(slot);
                    begin()
                }
            }
        }
        Method::POST => {
            api.tuning.slot().forget(span);
            begin()
        }
        _ => Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed",
            "GET, HEAD, POST",
        )),
    }
}
