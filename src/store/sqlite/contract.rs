//! Implementation of the store's contract by [`Sqlite`].

use std::sync::{Arc, PoisonError};

use rusqlite::Connection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::journal::JournalRow;
use super::writer::{NewMessage, WriteGroup};
use super::{ENOUGH, ROWS, Sqlite, journal, marks, outbox, past, receipts};
use crate::clock::JournalClock;
use crate::model::{
    Cursor, EventId, Journaled, Message, MessageFates, Name, Receipt, Record, Seq, Timestamp,
};
use crate::store::{
    ActionResult, Archive, Attempt, DeadLetter, DeadLetterAction, Delivery, DeliveryId,
    DeliveryState, Desk, Doc, Duty, EVENTS_LOOKED_AT, Error, EventRow, Journal, KeptSnapshot,
    Lease, Leases, Next, Noise, Outbox, Outgoing, Recovered, Result, RowQuery, Rows, SentMessage,
    Step, Steps, Store, Totals,
};

fn new_message(message: &Message, to: Vec<Name>, alerts: &[u64]) -> Result<NewMessage> {
    let body = serde_json::to_vec(message)
        .map_err(|e| Error::Fatal(format!("cannot write a message: {e}")))?;
    Ok(NewMessage {
        to,
        id: message.about.id.clone(),
        body,
        alerts: alerts.to_vec(),
    })
}

impl Journal for Sqlite {
    async fn append(&self, record: Record) -> Result<Seq> {
        let entry = JournalRow::new(record)?;
        // Read here, not in the writer: only a task knows tokio's (possibly paused) time.
        let (now, wall) = (self.inner.clock.now(), self.inner.clock.clock().wall());
        self.write(entry.body.len(), move |group| {
            group.append(&entry, now, wall)
        })
        .await
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Journaled>> {
        self.look(move |connection| journal::entries(connection, after, limit))
            .await
    }

    async fn cursor(&self, source: &Name) -> Result<Option<Cursor>> {
        let source = source.clone();
        self.look(move |connection| journal::cursor(connection, &source))
            .await
    }

    fn news(&self) -> watch::Receiver<Seq> {
        self.inner.shared.appended.subscribe()
    }
}

impl Steps for Sqlite {
    async fn commit(&self, _judge: &Lease, from: Seq, step: Step) -> Result<()> {
        // Many rows are written in slices beforehand, so that posts do not wait for all of them.
        let ahead = step.events.len().saturating_sub(1) / ROWS;
        for n in 0..ahead {
            let events = Arc::clone(&step.events);
            let slice = move |group: &mut WriteGroup<'_>| {
                group.note(events.get(n * ROWS..(n + 1) * ROWS).unwrap_or_default())
            };
            self.write(ROWS * 64, slice).await?;
        }
        let written = ahead * ROWS;
        let messages = step
            .outgoing
            .iter()
            .map(|Outgoing { message, alerts }| {
                new_message(message, message.about.to.clone(), alerts)
            })
            .collect::<Result<Vec<_>>>()?;
        let weight = messages.iter().map(|message| message.body.len()).sum();
        let commit =
            move |group: &mut WriteGroup<'_>| group.commit(from, &step, &messages, written);
        match self.write(weight, commit).await? {
            None => Ok(()),
            Some(cursor) => Err(Error::Lost(format!(
                "the cursor is at {cursor}, not at {from}"
            ))),
        }
    }

    async fn recover(&self, _judge: &Lease) -> Result<Recovered> {
        self.write(0, |group| group.recover()).await
    }
}

impl Leases for Sqlite {
    /// Grants every duty: the folder's lock is held as long as the store is open.
    async fn acquire(&self, duty: Duty) -> Result<Lease> {
        Ok(Lease::granted(duty, 1, CancellationToken::new()))
    }
}

impl Outbox for Sqlite {
    async fn queued(&self, to: &Name, after: DeliveryId, limit: usize) -> Result<Vec<Delivery>> {
        loop {
            let to = to.clone();
            let read = move |connection: &Connection| {
                outbox::queued(connection, &to, after, limit).map_err(Error::from)
            };
            let outbox::Queued { sound, damaged } = self.look(read).await?;
            let none_damaged = damaged.is_empty();
            for (id, why) in damaged {
                // A flipped bit must not block a destination: the damaged message becomes a dead
                // letter, which is logged and counted.
                tracing::error!(delivery = id.0, %why, "a stored message is damaged: a dead letter");
                let attempt = Attempt {
                    at: self.inner.clock.now(),
                    status: None,
                    reply: format!("damaged: {why}"),
                    next: Next::Dead,
                    receipt: None,
                };
                self.settle_now(id, attempt).await?;
            }
            if none_damaged || !sound.is_empty() {
                return Ok(sound);
            }
        }
    }

    async fn receipt(&self, lane: &Lease, incident: &str) -> Result<Option<Receipt>> {
        let Duty::Lane(to) = lane.duty().clone() else {
            return Ok(None);
        };
        let incident = incident.to_owned();
        self.look(move |connection| receipts::receipt(connection, &to, &incident))
            .await
    }

    async fn settle(&self, _lane: &Lease, id: DeliveryId, attempt: Attempt) -> Result<()> {
        self.settle_now(id, attempt).await
    }

    async fn summarise(
        &self,
        _lane: &Lease,
        to: &Name,
        folded: Vec<DeliveryId>,
        summaries: Vec<Message>,
        at: Timestamp,
    ) -> Result<()> {
        let to = to.clone();
        let summaries = summaries
            .iter()
            .map(|summary| new_message(summary, vec![to.clone()], &[]))
            .collect::<Result<Vec<_>>>()?;
        self.write(0, move |group| {
            group.summarise(&to, &folded, &summaries, at)
        })
        .await
    }

    async fn enqueue(&self, message: Message, at: Timestamp) -> Result<()> {
        let message = new_message(&message, message.about.to.clone(), &[])?;
        self.write(message.body.len(), move |group| group.queue(&message, at))
            .await
    }

    async fn delivered_since(&self, to: &Name, since: Timestamp) -> Result<u32> {
        let to = to.clone();
        self.look(move |connection| {
            outbox::delivered_since(connection, &to, since).map_err(Error::from)
        })
        .await
    }

    fn outbox(&self) -> watch::Receiver<DeliveryId> {
        self.inner.shared.outbox.subscribe()
    }
}

impl Store for Sqlite {
    fn clock(&self) -> JournalClock {
        self.inner.clock
    }
}

impl Totals for Sqlite {
    async fn totals(&self) -> Result<Vec<(Name, MessageFates)>> {
        let fates = self.fates();
        let one = |(to, fates): (&Name, &MessageFates)| (to.clone(), fates.clone());
        Ok(fates.iter().map(one).collect())
    }

    async fn totals_of(&self, to: &Name) -> Result<MessageFates> {
        Ok(self.fates().get(to).cloned().unwrap_or_default())
    }
}

impl Desk for Sqlite {
    async fn destination(&self, id: DeliveryId) -> Result<Option<Name>> {
        self.look(move |connection| outbox::destination(connection, id).map_err(Error::from))
            .await
    }

    async fn act(&self, act: DeadLetterAction, id: DeliveryId) -> Result<ActionResult> {
        let at = self.inner.clock.now();
        self.write(0, move |group| group.act(act, id, at)).await
    }

    async fn act_on_all(&self, act: DeadLetterAction, to: &Name) -> Result<u64> {
        let at = self.inner.clock.now();
        // Messages that become dead letters during the call keep their state: without this bound it
        // would not end while a destination fails.
        let (mut done, upto) = (0, *self.inner.shared.outbox.borrow());
        loop {
            let to = to.clone();
            let some = self
                .write(0, move |group| group.act_on_some(act, &to, upto, at))
                .await?;
            done += some;
            if some == 0 {
                return Ok(done);
            }
        }
    }

    async fn again(&self, message: &str, to: Vec<Name>) -> Result<ActionResult> {
        let (at, message) = (self.inner.clock.now(), message.to_owned());
        self.write(0, move |group| group.again(&message, &to, at))
            .await
    }
}

impl Archive for Sqlite {
    async fn rows(&self, query: RowQuery) -> Result<Rows> {
        let clock = self.inner.clock.clock();
        self.look_back(move |connection, search| {
            if query.terms.is_empty() {
                return past::by_fate(connection, &query).map_err(Error::from);
            }
            // A rare outcome can make a search read many rows for few results. It stops by number and
            // by time, and the caller continues at `next`.
            let begun = clock.elapsed();
            let enough = || clock.elapsed().saturating_sub(begun) >= ENOUGH;
            let (mut page, mut looked, mut last) = (Rows::default(), 0, None);
            let mut take = |id: EventId| {
                let is_long = looked >= EVENTS_LOOKED_AT || (looked % 256 == 255 && enough());
                if page.rows.len() >= query.limit || is_long {
                    page.next = last;
                    return Ok(false);
                }
                (looked, last) = (looked + 1, Some(id));
                // Retention removed the event, but not yet its words.
                let row = past::one(connection, id)?;
                page.rows.extend(
                    row.filter(|row| query.fate.as_ref().is_none_or(|wanted| wanted.is(row))),
                );
                Ok(true)
            };
            let span = (query.before, query.after);
            let rest = search.find(&query.terms, span, &enough, &mut take)?;
            page.next = page.next.or(rest);
            Ok(page)
        })
        .await
    }

    async fn next_rows(&self, after: EventId, limit: usize) -> Result<Vec<EventRow>> {
        self.look_back(move |connection, _| {
            past::next(connection, after, limit).map_err(Error::from)
        })
        .await
    }

    async fn row(&self, id: EventId) -> Result<Option<EventRow>> {
        self.look_back(move |connection, _| past::one(connection, id).map_err(Error::from))
            .await
    }

    async fn count(&self) -> Result<u64> {
        self.look_back(|connection, _| past::count(connection).map_err(Error::from))
            .await
    }

    async fn entries(&self, seqs: Vec<Seq>) -> Result<(usize, Vec<Journaled>)> {
        self.look_back(move |connection, _| journal::entries_at(connection, &seqs))
            .await
    }

    async fn mark(&self, entry: Seq, alert: u64) -> Result<Option<KeptSnapshot>> {
        self.look_back(move |connection, _| marks::before(connection, entry, alert))
            .await
    }

    async fn settings(&self, after: Seq, before: Seq) -> Result<Vec<Journaled>> {
        self.look_back(move |connection, _| {
            let seqs = journal::settings(connection, after, before)?;
            journal::entries_at(connection, &seqs).map(|(_, entries)| entries)
        })
        .await
    }

    async fn duplicates(&self, after: Seq, upto: Seq) -> Result<Vec<EventId>> {
        self.look_back(move |connection, _| {
            past::duplicates(connection, after, upto).map_err(Error::from)
        })
        .await
    }

    fn indexed(&self) -> EventId {
        self.inner.search.indexed()
    }

    async fn index(&self, docs: Vec<Doc>, upto: EventId) -> Result<()> {
        let first = self
            .look_back(|connection, _| past::oldest(connection).map_err(Error::from))
            .await?;
        self.inner
            .search
            .add(&docs, upto, first)
            .map_err(Error::from)
    }

    async fn sent(&self, alerts: Vec<u64>) -> Result<Vec<SentMessage>> {
        self.look_back(move |connection, _| past::sent(connection, &alerts).map_err(Error::from))
            .await
    }

    async fn reached(&self, alerts: Vec<Vec<u64>>) -> Result<Vec<Vec<(Name, DeliveryState)>>> {
        self.look_back(move |connection, _| {
            alerts
                .iter()
                .map(|alerts| past::reached(connection, alerts).map_err(Error::from))
                .collect()
        })
        .await
    }

    async fn oldest_queued(&self) -> Result<Vec<(Name, Timestamp)>> {
        self.look_back(|connection, _| past::oldest_queued(connection).map_err(Error::from))
            .await
    }

    async fn noise(&self, since: Timestamp, span_ms: i64) -> Result<Noise> {
        let sums = Arc::clone(&self.inner.sums);
        let work = move || {
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            let (connection, sums) = &mut *sums;
            sums.noise(connection, since, span_ms)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|e| Error::Transient(format!("a read was interrupted: {e}")))?
            .map_err(Error::from)
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>> {
        self.look(move |connection| outbox::dead_letters(connection, limit).map_err(Error::from))
            .await
    }
}
