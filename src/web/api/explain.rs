//! Explanation of the decisions about one event. The journal is folded again from the last snapshot
//! before its alerts until all of them are closed. Only one explanation runs at a time, in small
//! steps, and it stops if its client leaves.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use warp::http::StatusCode;

use super::Api;
use super::request::unreadable;
use crate::engine::Verdict;
use crate::explain::{Chapter, EventFacts, Question, Story};
use crate::fold::Fold;
use crate::history;
use crate::model::{Event, EventId, EventOutcome, Record, Seq, Timestamp};
use crate::store::{self, EventRow, KeptSnapshot};
use crate::web::reply::ApiError;

/// Maximum work to reach an event, and maximum work after it. The explanation omits what happened
/// to the alerts beyond that. Each takes about a second.
const BEFORE: u64 = 150_000;
const AFTER: usize = 150_000;
/// Time after which only `AFTER_LONG` work after the event is allowed.
const LONG: Duration = Duration::from_millis(1_500);
const AFTER_LONG: usize = 20_000;
/// Maximum work if there is no snapshot from before the event.
const ANEW: usize = 200_000;
/// Time limit, including the wait for other explanations.
const WITHIN: Duration = Duration::from_secs(20);
/// Number of entries read at once, and number of body bytes folded without a pause.
const READ: usize = 200;
const BYTES: usize = 128 << 10;
/// Number of pages searched for the event that a duplicate repeats.
const PAGES: usize = 5;

/// Returns the decisions about an event; `None` if finding them would take too long.
pub(super) async fn explained<S: store::Archive>(
    api: &Api<S>,
    row: &EventRow,
    event: &Arc<Event>,
) -> Result<Option<Vec<Value>>, ApiError> {
    let busy = || {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "another event is being explained",
            "try again",
        )
    };
    if let Some(found) = alone(api, row, event).await? {
        return Ok(Some(found));
    }
    let fold = async {
        let _turn = api.explaining.acquire().await.map_err(|_| busy())?;
        fold(api, row, event).await
    };
    tokio::time::timeout(WITHIN, fold).await.unwrap_or(Ok(None))
}

/// Explains an event without rules and alerts, as most are. Only the rules in force at that time
/// are needed, so nothing is folded.
async fn alone<S: store::Archive>(
    api: &Api<S>,
    row: &EventRow,
    event: &Arc<Event>,
) -> Result<Option<Vec<Value>>, ApiError> {
    // Other outcomes involve an alert, so they need a fold.
    let verdict = match &row.outcome {
        EventOutcome::Unmatched => Some(Verdict::Unmatched),
        EventOutcome::Duplicate => Some(Verdict::Duplicate),
        EventOutcome::Suppressed(why) if Some(&**why) == Verdict::NothingOpen.suppression() => None,
        _ => return Ok(None),
    };
    if !row.rules.is_empty() || !row.alerts.is_empty() {
        return Ok(None);
    }
    let (store, place) = (&api.state.store, row.id.seq());
    let (rules, file) = (
        Arc::clone(&api.state.current().rules),
        api.looking.file.clone(),
    );
    let templates = Arc::clone(&api.looking.templates.borrow());
    let mark = store
        .mark(place, u64::MAX)
        .await
        .map_err(|e| unreadable(&e))?;
    // A snapshot also contains the rules and the clock of its time, so only later changes are read.
    let setting = mark.and_then(|mark| {
        Some((
            mark.seq,
            Fold::setting(&mark.snapshot, &rules, api.looking.compile).ok()?,
        ))
    });
    let (after, setting) = setting.map_or((Seq(0), None), |(seq, fold)| (seq, Some(fold)));
    let settings = store
        .settings(after, place)
        .await
        .map_err(|e| unreadable(&e))?;
    let known = EventFacts {
        first: first_like(api, row, event).await,
        ..EventFacts::default()
    };
    let asked = Question::Event(row.id);
    let mut story = Story::new(asked, rules, api.looking.compile, &templates, file.clone())
        .of_known(setting, known);
    settings.iter().for_each(|entry| story.entry(entry));
    let (_, entries) = store
        .entries(vec![place])
        .await
        .map_err(|e| unreadable(&e))?;
    // Retention may have removed the entry since the row was read.
    let Some(entry) = entries.first() else {
        return Ok(None);
    };
    story.alone(entry.at, event, verdict);
    Ok(Some(answer(&story, &file, row, false, None)))
}

async fn fold<S: store::Archive>(
    api: &Api<S>,
    row: &EventRow,
    event: &Event,
) -> Result<Option<Vec<Value>>, ApiError> {
    let (store, place) = (&api.state.store, row.id.seq());
    let (rules, file) = (
        Arc::clone(&api.state.current().rules),
        api.looking.file.clone(),
    );
    let templates = Arc::clone(&api.looking.templates.borrow());
    let folded = api.looking.published.borrow().folded;
    let (mark, is_cut) = beginning(store, row).await.map_err(|e| unreadable(&e))?;
    let (mut after, first) = (
        mark.as_ref().map_or(Seq(0), |mark| mark.seq),
        first_like(api, row, event).await,
    );
    let restored =
        mark.and_then(|mark| Fold::restore(&mark.snapshot, [], &rules, api.looking.compile).ok());
    let (begun, from_mark) = (after, restored.is_some());
    let mut story = Story::new(
        Question::Event(row.id),
        rules,
        api.looking.compile,
        &templates,
        file.clone(),
    );
    let known = || EventFacts {
        alerts: row.alerts.iter().copied().collect(),
        repeats: None,
        first,
    };
    if let Some(restored) = restored {
        story = story.of_known(
            Some(restored),
            EventFacts {
                repeats: Some(HashSet::new()),
                ..known()
            },
        );
    } else if store
        .read(Seq(0), 1)
        .await
        .map_err(|e| unreadable(&e))?
        .first()
        .is_some_and(|entry| entry.seq == Seq(1))
    {
        // A fold of the complete journal gives the alerts the numbers they had, so the stored numbers
        // can be used.
        (story, after) = (story.of_known(None, known()), Seq(0));
    } else {
        after = Seq(0);
    }
    let clock = store.clock().clock();
    let started = clock.elapsed();
    let (mut bytes, mut before, mut rest) = (0, None, None);
    'all: loop {
        let entries = store.read(after, READ).await.map_err(|e| unreadable(&e))?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            break;
        };
        // The snapshot lacks the duplicate memory, so the stored outcomes replace it.
        if from_mark {
            // Retention removed entries meanwhile.
            if after == begun && first.seq.0 != after.0 + 1 {
                return Ok(None);
            }
            let repeats = store
                .duplicates(after, last.seq)
                .await
                .map_err(|e| unreadable(&e))?;
            story.repeats(repeats);
        }
        after = last.seq;
        for entry in &entries {
            // Entries the judge has not folded yet have no decisions.
            if entry.seq > folded || (entry.seq > place && story.is_over()) {
                break 'all;
            }
            let by_then = if entry.seq > place {
                *before.get_or_insert(story.folded())
            } else {
                story.folded()
            };
            let is_long = clock.elapsed().saturating_sub(started) > LONG;
            if story.folded().saturating_sub(by_then) > if is_long { AFTER_LONG } else { AFTER } {
                rest = Some(entry.at.shifted(api.state.offset_ms()));
                break 'all;
            }
            story.entry(entry);
            if !from_mark && entry.seq <= place && story.folded() > ANEW {
                return Ok(None);
            }
            // A pause after this many bytes lets other tasks of the thread run.
            bytes += if let Record::Received { body, .. } = &entry.record {
                body.len()
            } else {
                1_024
            };
            if bytes > BYTES {
                bytes = 0;
                tokio::task::yield_now().await;
            }
        }
    }
    Ok(Some(answer(&story, &file, row, is_cut, rest)))
}

/// Returns the snapshot to start from. The flag is true if the event's alerts are older than it.
async fn beginning<S: store::Archive>(
    store: &S,
    row: &EventRow,
) -> store::Result<(Option<KeptSnapshot>, bool)> {
    let nearest = store.mark(row.id.seq(), u64::MAX).await?;
    let Some(born) = row.alerts.iter().min() else {
        return Ok((nearest, false));
    };
    let mark = store.mark(row.id.seq(), *born).await?;
    let work = |mark: &Option<KeptSnapshot>| mark.as_ref().map_or(0, |mark| mark.reached.work);
    let is_far = work(&nearest).saturating_sub(work(&mark)) > BEFORE;
    Ok(if is_far {
        (nearest, true)
    } else {
        (mark, false)
    })
}

/// Returns the event that a duplicate repeats, if it is found quickly.
async fn first_like<S: store::Archive>(
    api: &Api<S>,
    row: &EventRow,
    event: &Event,
) -> Option<EventId> {
    if row.outcome != EventOutcome::Duplicate {
        return None;
    }
    let device = event
        .device
        .as_ref()
        .and_then(|device| device.mac.clone().or_else(|| device.name.clone()));
    let kind = Some(event.kind.clone()).filter(|kind| !kind.is_empty());
    let topic = Some(event.topic.to_string());
    // The query narrows the search; the content hash decides.
    let mut asked = history::EventQuery {
        before: Some(row.id),
        limit: 200,
        topic,
        kind,
        device,
        ..history::EventQuery::default()
    };
    for _ in 0..PAGES {
        let found = api.past.page(&asked).await.ok()?;
        let same = |(row, other): &&(EventRow, Arc<Event>)| {
            other.digest == event.digest && row.outcome != EventOutcome::Duplicate
        };
        if let Some((row, _)) = found.events.iter().find(same) {
            return Some(row.id);
        }
        asked.before = Some(found.next?);
    }
    None
}

/// Returns the lines of the explanation. Notes replace omitted parts.
fn answer(
    story: &Story<'_>,
    file: &str,
    row: &EventRow,
    is_cut: bool,
    rest: Option<Timestamp>,
) -> Vec<Value> {
    let line = |chapter: &Chapter| {
        let line = &chapter.line;
        json!({
            "at": line.at.rfc3339(), "event": line.event, "rule": line.rule, "file": line.line.map(|_| file),
            "line": line.line, "text": line.text,
        })
    };
    let note = |at: Timestamp, what: &str| {
        let text = format!(
            "{what} is left out here: `foghorn explain {}` says all of it",
            row.id
        );
        json!({"at": at.rfc3339(), "event": null, "rule": null, "file": null, "line": null, "text": text})
    };
    let chapters = story.answer(None);
    let began = chapters
        .first()
        .map_or(row.received, |chapter| chapter.line.at);
    // An explanation with gaps must say so, or the reader would draw wrong conclusions.
    let before = is_cut.then(|| note(began, "how it began, long before,"));
    let after = rest.map(|at| note(at, "what came of it after this"));
    before
        .into_iter()
        .chain(chapters.into_iter().map(line))
        .chain(after)
        .collect()
}
