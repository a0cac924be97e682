//! `/api/v1/tune`: changes to the rules that help. Finding them takes long: one at a time, on a
//! thread beside everything else.

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

/// Finds what helps, in the traffic of the last so long; blocks for as long as that takes.
pub type Tuner = Arc<dyn Fn(Duration) -> Result<Value, String> + Send + Sync>;

/// How long what was found is shown.
const KEPT: Duration = Duration::from_secs(3_600);
/// How far back one may look.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// For how many spans of time what was found is kept.
const SPANS: usize = 4;

/// What was found last, by how far back it looked, and since when something is being found.
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

/// Shared by the thread that finds and those who ask.
#[derive(Clone, Default)]
pub(super) struct Tuning(Arc<Mutex<Slot>>);

/// Says at its end, whatever that is, that nothing is being found any more.
struct Busy(Tuning, Duration, Clock);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut slot = self.0.slot();
        slot.since = None;
        if std::thread::panicking() {
            // Else whoever asks would have it tried again and again.
            let why = "it could not be found: the log says why".to_owned();
            slot.keep(self.1, self.2.wall(), Err(why));
        }
    }
}

impl Tuning {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, where nothing is being found.
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
            tracing::warn!(%error, "nothing can be found now");
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no thread for it now",
                "try again",
            ));
        }
        // The thread waits for this lock before it says that it is done.
        slot.since = Some(began);
        Ok(())
    }
}

/// With when it was found, and how long that took.
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
                // Said once; who asks again has it tried again.
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
