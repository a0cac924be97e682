//! Pages of past events: rows with their events, found by words, and the index for that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::words::{self, Key};
use crate::model::{Event, EventId, Journaled, Record, Seq, Timestamp};
use crate::source::{self, Arrival, ParsedItem};
use crate::store::{self, Doc, EventRow, RowQuery, Term, Wanted};

/// Maximum number of unindexed events scanned per query.
const TAIL: usize = 2_000;
/// Time after which reading a page stops, and minimum number of events before that. A page may be
/// short.
const MOMENT: Duration = Duration::from_millis(60);
const FEWEST: usize = 20;
/// Events indexed at once.
const INDEXED_AT_ONCE: usize = 500;
/// Number of entries within 20 ms from which indexing gives way.
const FLOOD: u64 = 20;
/// Maximum number of characters of one value, and of the text, in a list.
const SHOWN: usize = 300;
const TEXT: usize = 160;

/// A query for past events; `None` matches anything.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Only events before this one.
    pub before: Option<EventId>,
    /// Maximum number of events.
    pub limit: usize,
    /// Beginnings of words.
    pub text: String,
    /// Mist's topic.
    pub topic: Option<String>,
    /// Mist's type.
    pub kind: Option<String>,
    /// The site, by name or id.
    pub site: Option<String>,
    /// The device, by name or MAC.
    pub device: Option<String>,
    /// A rule that concerned the event.
    pub rule: Option<String>,
    /// The outcome of the event.
    pub fate: Option<Wanted>,
}

impl EventQuery {
    fn terms(&self) -> Vec<Term> {
        // A value of a filter must match exactly; words of the text may be incomplete.
        let keys = [
            (Key::Topic, &self.topic),
            (Key::Type, &self.kind),
            (Key::Site, &self.site),
            (Key::Device, &self.device),
            (Key::Rule, &self.rule),
        ];
        let keys = keys
            .into_iter()
            .filter_map(|(key, value)| Some(Term::Is(key.word(value.as_ref()?))));
        keys.chain(words::terms(&self.text)).collect()
    }

    /// Returns whether the query matches every event.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms().is_empty() && self.fate.is_none()
    }
}

/// A page of events, newest first.
#[derive(Clone, Debug, Default)]
pub struct EventPage {
    /// The outcome and content of each event.
    pub events: Vec<(EventRow, Arc<Event>)>,
    /// The event before which the next page continues.
    pub next: Option<EventId>,
}

/// Reads the past events of a store.
#[derive(Clone, Debug)]
pub struct PastEvents<S> {
    store: S,
}

impl<S: store::Archive> PastEvents<S> {
    /// Creates a reader of this store.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Returns a page of events.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub async fn page(&self, question: &EventQuery) -> store::Result<EventPage> {
        let terms = question.terms();
        let mut query = RowQuery {
            before: question.before.unwrap_or(EventId::LAST),
            after: EventId(-1),
            limit: question.limit,
            terms: Vec::new(),
            fate: question.fate.clone(),
        };
        // Without words the rows alone answer the query.
        if terms.is_empty() {
            let rows = self.store.rows(query).await?;
            let (events, stopped) = self.some(rows.rows).await?;
            return Ok(EventPage {
                events,
                next: stopped.or(rows.next),
            });
        }
        // The newest events may not be indexed yet: they are scanned.
        let indexed = self.store.indexed();
        let mut found = EventPage::default();
        if query.before > indexed {
            let tail = RowQuery {
                after: indexed,
                limit: TAIL,
                ..query.clone()
            };
            let rows = self.store.rows(tail).await?;
            let (events, stopped) = self.some(rows.rows).await?;
            let more = stopped.or(rows.next);
            for (row, event) in events {
                let fits = words::fits(&words::of(&event, &row.rules), &terms);
                if fits && found.events.len() == question.limit {
                    found.next = found.events.last().map(|(row, _)| row.id);
                    return Ok(found);
                }
                if fits {
                    found.events.push((row, event));
                }
            }
            // The scan ended early, so the index must not be asked yet: events between would be
            // missed.
            if more.is_some() {
                found.next = more;
                return Ok(found);
            }
            query.before = EventId(indexed.0 + 1);
        }
        query.limit -= found.events.len();
        query.terms = terms;
        let rows = self.store.rows(query).await?;
        let (events, stopped) = self.some(rows.rows).await?;
        found.events.extend(events);
        // A page that the scan filled continues below its last event.
        found.next = stopped.or(rows.next).or_else(|| {
            let last = found.events.last().map(|(row, _)| row.id);
            last.filter(|_| found.events.len() >= question.limit)
        });
        Ok(found)
    }

    /// Returns the number of events.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub async fn count(&self) -> store::Result<u64> {
        self.store.count().await
    }

    /// Returns one event, with its item as it was sent if it has one of its own.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub async fn event(
        &self,
        id: EventId,
    ) -> store::Result<Option<(EventRow, Arc<Event>, Option<Box<RawValue>>)>> {
        let Some(row) = self.store.row(id).await? else {
            return Ok(None);
        };
        let (_, entries) = self.store.entries(vec![id.seq()]).await?;
        let mut found = None;
        // A body may hold thousands of events; only the wanted place is read.
        for entry in &entries {
            let Some(arrival) = arrival(entry, row.received) else {
                continue;
            };
            source::each_at(
                &arrival,
                id.place()..=id.place(),
                &mut |parsed, text| match parsed {
                    ParsedItem::Event(event) if event.id == id => {
                        let sent =
                            text.and_then(|text| RawValue::from_string(text.to_owned()).ok());
                        found = Some((event, sent));
                    }
                    _ => {}
                },
            );
        }
        Ok(found.map(|(event, sent)| (row, event, sent)))
    }

    /// Returns the events of these rows whose journal entry still exists. Reading stops after a
    /// moment, but not before the first few; the last row that was read is then returned, too.
    async fn some(
        &self,
        rows: Vec<EventRow>,
    ) -> store::Result<(Vec<(EventRow, Arc<Event>)>, Option<EventId>)> {
        let clock = self.store.clock().clock();
        let begun = clock.elapsed();
        self.events(rows, &|| clock.elapsed().saturating_sub(begun) >= MOMENT)
            .await
    }

    async fn events(
        &self,
        rows: Vec<EventRow>,
        enough: &(dyn Fn() -> bool + Sync),
    ) -> store::Result<(Vec<(EventRow, Arc<Event>)>, Option<EventId>)> {
        let mut seqs: Vec<Seq> = rows.iter().map(|row| row.id.seq()).collect();
        seqs.dedup();
        let mut rows = rows.into_iter().peekable();
        let mut found = Vec::with_capacity(rows.len());
        while !seqs.is_empty() {
            // The store may return fewer entries than asked for, to bound the memory.
            let (looked, entries) = self.store.entries(seqs.clone()).await?;
            seqs.drain(..looked.clamp(1, seqs.len()));
            for entry in entries {
                let of_it = |row: &EventRow| row.id.seq() == entry.seq;
                // Rows before this entry have lost theirs.
                while rows.next_if(|row| !of_it(row)).is_some() {}
                let mut wanted = Vec::new();
                while let Some(row) = rows.next_if(of_it) {
                    wanted.push(row);
                }
                let Some(last) = wanted.last().map(|row| row.id) else {
                    break;
                };
                let events = parsed(&entry, &wanted);
                let kept =
                    |row: EventRow| events.get(&row.id).map(|event| (row, Arc::clone(event)));
                found.extend(wanted.into_iter().filter_map(kept));
                if found.len() >= FEWEST && rows.peek().is_some() && enough() {
                    return Ok((found, Some(last)));
                }
            }
        }
        Ok((found, None))
    }
}

/// Returns the body of a journal entry, if it has one.
fn arrival(entry: &Journaled, received: Timestamp) -> Option<Arrival<'_>> {
    let Record::Received {
        source, kind, body, ..
    } = &entry.record
    else {
        return None;
    };
    Some(Arrival {
        source,
        kind: *kind,
        seq: entry.seq,
        received,
        body,
    })
}

/// Returns the events of these rows, which belong to one journal entry.
fn parsed(entry: &Journaled, rows: &[EventRow]) -> HashMap<EventId, Arc<Event>> {
    let mut found = HashMap::new();
    let places = || rows.iter().map(|row| row.id.place());
    // The parser reads only this range: a body may hold thousands of events.
    let (Some(first), Some(from), Some(to)) = (rows.first(), places().min(), places().max()) else {
        return found;
    };
    let Some(arrival) = arrival(entry, first.received) else {
        return found;
    };
    source::each_at(&arrival, from..=to, &mut |parsed, _| {
        if let ParsedItem::Event(event) = parsed {
            found.insert(event.id, event);
        }
    });
    found
}

/// Indexes some more events, and returns whether there may be more. Runs on the caller's thread.
///
/// # Errors
/// Fails if the store cannot be read, or the index cannot be written.
pub async fn catch_up<S: store::Archive>(store: &S) -> store::Result<bool> {
    let rows = store.next_rows(store.indexed(), INDEXED_AT_ONCE).await?;
    let Some(last) = rows.last().map(|row| row.id) else {
        return Ok(false);
    };
    // Fewer rows than asked for means that the end was reached.
    let more = rows.len() == INDEXED_AT_ONCE;
    let (events, _) = PastEvents::new(store.clone())
        .events(rows, &|| false)
        .await?;
    let docs = events.iter().map(|(row, event)| Doc {
        id: row.id,
        words: words::of(event, &row.rules),
    });
    // The index continues after the last row, even if its event is lost.
    store.index(docs.collect(), last).await?;
    Ok(more)
}

/// Indexes new events until stopped. It gives way during a flood; unindexed events are scanned by
/// queries. Runs on a thread of its own.
pub async fn keep_indexed<S: store::Archive>(store: S, stop: CancellationToken) {
    let mut more = true;
    loop {
        let before = store.last().0;
        let pause = if more {
            Duration::from_millis(20)
        } else {
            Duration::from_millis(500)
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // Ingest and judging need the disk more during a flood.
        let flood = more && store.last().0 - before > FLOOD;
        if flood {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        more = match catch_up(&store).await {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "events cannot be indexed now; searching them is slower");
                // The disk may be full: a retry at once would fill the log, too.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_secs(30)) => false,
                }
            }
        };
    }
}

/// Returns an event for lists, with long values cut.
#[must_use]
pub fn shown(row: &EventRow, event: &Event) -> Value {
    let cut = |text: &str| text.chars().take(SHOWN).collect::<String>();
    let maybe = |text: Option<&String>| text.map(|text| cut(text));
    let device = event.device.as_ref();
    // Some types have a reason instead of a text, which says the same.
    let text = event.text.as_ref().or_else(|| event.reasons.first());
    json!({
        "id": row.id.to_string(),
        "at": event.time.rfc3339(),
        "received_at": row.received.rfc3339(),
        "topic": cut(&event.topic),
        "type": cut(&event.kind),
        "condition": event.condition.as_ref().map(|condition| &*condition.name),
        "phase": event.phase.word(),
        "severity": event.severity.map(crate::model::Severity::word),
        "site": maybe(event.site.name.as_ref()),
        "site_id": maybe(event.site.id.as_ref()),
        "device": maybe(device.and_then(|d| d.name.as_ref())),
        "device_mac": maybe(device.and_then(|d| d.mac.as_ref())),
        "fate": row.outcome.word(),
        "why": row.outcome.why(),
        "rules": row.rules,
        "text": text.map(|text| text.chars().take(TEXT).collect::<String>()),
    })
}
