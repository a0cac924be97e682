//! Rows of events in SQLite: written with the step, read on other connections.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use super::connection::{checksum, int, uint};
use crate::model::{
    EventId, EventOutcome, Message, Name, OutcomeChange, Seq, Timestamp, WaitsWith,
};
use crate::store::{
    AttemptRow, DeliveryId, DeliveryState, EVENTS_LOOKED_AT, EventRow, RowQuery, Rows, SentMessage,
    Wanted,
};

/// Additions of schema 2.
pub(super) const SCHEMA: &str = "
-- What became of each event; what it says is in the journal. `waits`: twice an alert's number, or twice a ticket's and one.
CREATE TABLE events (
    id INTEGER PRIMARY KEY, received INTEGER NOT NULL, fate INTEGER NOT NULL, why TEXT, waits INTEGER,
    rules TEXT NOT NULL, alerts TEXT NOT NULL
) STRICT;
CREATE INDEX events_fate ON events (fate);
CREATE INDEX events_waits ON events (waits) WHERE waits IS NOT NULL;
-- Which message is about which alert, and how each try to deliver it went.
CREATE TABLE told (alert INTEGER NOT NULL, delivery INTEGER NOT NULL, PRIMARY KEY (alert, delivery)) STRICT, WITHOUT ROWID;
CREATE INDEX told_delivery ON told (delivery);
CREATE TABLE attempts (
    delivery INTEGER NOT NULL, nth INTEGER NOT NULL, at INTEGER NOT NULL, state INTEGER NOT NULL, why TEXT,
    PRIMARY KEY (delivery, nth)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER outbox_gone AFTER DELETE ON outbox BEGIN
    DELETE FROM told WHERE delivery = old.id;
    DELETE FROM attempts WHERE delivery = old.id;
END;
";

/// Adds the column for the rules that notified about an event, in the format of `rules`. It needs
/// no new schema version, because older releases ignore the column.
pub(super) fn add_told(connection: &Connection) -> rusqlite::Result<()> {
    let known = "SELECT 1 FROM pragma_table_info('events') WHERE name = 'told'";
    if !connection.prepare(known)?.exists([])? {
        connection.execute_batch("ALTER TABLE events ADD COLUMN told TEXT")?;
    }
    Ok(())
}

/// Adds the column for the HTTP status of each attempt. Older releases wrote the status into `why`;
/// this function extracts it once. It needs no new schema version either.
pub(super) fn add_status(connection: &mut Connection) -> rusqlite::Result<()> {
    let known = "SELECT 1 FROM pragma_table_info('attempts') WHERE name = 'status'";
    if connection.prepare(known)?.exists([])? {
        return Ok(());
    }
    // One transaction: after a crash the column is missing and everything is repeated.
    let transaction = connection.transaction()?;
    transaction.execute_batch("ALTER TABLE attempts ADD COLUMN status INTEGER")?;
    {
        let mut read = transaction.prepare("SELECT delivery, nth, state, why FROM attempts")?;
        let mut write = transaction
            .prepare("UPDATE attempts SET status = ?3 WHERE delivery = ?1 AND nth = ?2")?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let (delivery, nth): (i64, i64) = (row.get(0)?, row.get(1)?);
            let why: Option<String> = row.get(3)?;
            if let Some(status) = why.and_then(|why| status_in(row.get(2).ok()?, &why)) {
                write.execute((delivery, nth, status))?;
            }
        }
    }
    transaction.commit()
}

/// Finds the HTTP status in the text an older release stored: before the reply, after the reason,
/// or inside it.
fn status_in(state: DeliveryState, why: &str) -> Option<u16> {
    let status = match state {
        DeliveryState::Delivered => why.split(' ').next(),
        _ => match why.rsplit_once(" (HTTP ") {
            Some((_, after)) => after.strip_suffix(')'),
            None => why
                .split_once(" answered ")
                .and_then(|(_, after)| after.get(..3)),
        },
    };
    status?
        .parse()
        .ok()
        .filter(|status| (100..600).contains(status))
}

pub(super) const PENDING: i64 = 0;
pub(super) const TOLD: i64 = 1;
const UNMATCHED: i64 = 2;
const DUPLICATE: i64 = 3;
const SUPPRESSED: i64 = 4;

const COLUMNS: &str = "id, received, fate, why, waits, rules, alerts, told";
/// Separator between the names of rules.
pub(super) const BETWEEN: &str = "\u{1f}";

fn code(outcome: &EventOutcome) -> (i64, Option<&str>) {
    match outcome {
        EventOutcome::Pending => (PENDING, None),
        EventOutcome::Notified => (TOLD, None),
        EventOutcome::Unmatched => (UNMATCHED, None),
        EventOutcome::Duplicate => (DUPLICATE, None),
        EventOutcome::Suppressed(why) => (SUPPRESSED, Some(why)),
    }
}

fn number(waits: WaitsWith) -> i64 {
    match waits {
        WaitsWith::Alert(alert) => int(alert) * 2,
        WaitsWith::Ticket(ticket) => int(ticket) * 2 + 1,
    }
}

/// Adds rows. An existing row keeps its outcome.
pub(super) fn insert(connection: &Connection, added: &[EventRow]) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO events (id, received, fate, why, waits, rules, alerts, told)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, nullif(?8, ''))";
    let mut statement = connection.prepare_cached(sql)?;
    for row in added {
        let (fate, why) = code(&row.outcome);
        let alerts = row
            .alerts
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let received = row.received.millis();
        let (rules, told) = (row.rules.join(BETWEEN), row.told.join(BETWEEN));
        statement.execute((
            row.id.0,
            received,
            fate,
            why,
            row.waits.map(number),
            rules,
            alerts,
            told,
        ))?;
    }
    Ok(())
}

/// Stores changed outcomes of rows.
pub(super) fn change(connection: &Connection, changes: &[OutcomeChange]) -> rusqlite::Result<()> {
    let sql = "UPDATE events SET fate = ?3, why = ?4, told = ?5, waits = NULL WHERE waits = ?1 AND id <= ?2";
    let mut statement = connection.prepare_cached(sql)?;
    for OutcomeChange {
        waits,
        upto,
        outcome,
        by,
    } in changes
    {
        let (fate, why) = code(outcome);
        statement.execute((number(*waits), upto.0, fate, why, by.as_deref()))?;
    }
    Ok(())
}

fn row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let why = || {
        row.get::<_, Option<String>>(3)
            .map(|why| Arc::from(why.unwrap_or_default()))
    };
    // The lowest bit distinguishes tickets from alerts, see `number`.
    let waits = |number: i64| match (number / 2, number % 2) {
        (alert, 0) => WaitsWith::Alert(uint(alert)),
        (ticket, _) => WaitsWith::Ticket(uint(ticket)),
    };
    let listed = |column: usize, between: &str| -> rusqlite::Result<Vec<String>> {
        let text = row.get_ref(column)?.as_str_or_null()?.unwrap_or_default();
        Ok(text
            .split(between)
            .filter(|one| !one.is_empty())
            .map(str::to_owned)
            .collect())
    };
    Ok(EventRow {
        id: EventId(row.get(0)?),
        received: Timestamp::from_millis(row.get(1)?),
        outcome: match row.get::<_, i64>(2)? {
            PENDING => EventOutcome::Pending,
            TOLD => EventOutcome::Notified,
            UNMATCHED => EventOutcome::Unmatched,
            DUPLICATE => EventOutcome::Duplicate,
            _ => EventOutcome::Suppressed(why()?),
        },
        waits: row.get::<_, Option<i64>>(4)?.map(waits),
        rules: listed(5, BETWEEN)?.into_iter().map(Arc::from).collect(),
        alerts: listed(6, ",")?
            .iter()
            .filter_map(|number| number.parse().ok())
            .collect(),
        told: listed(7, BETWEEN)?.into_iter().map(Arc::from).collect(),
    })
}

/// Returns one row.
pub(super) fn one(connection: &Connection, id: EventId) -> rusqlite::Result<Option<EventRow>> {
    let sql = format!("SELECT {COLUMNS} FROM events WHERE id = ?1");
    connection
        .prepare_cached(&sql)?
        .query_row([id.0], row)
        .optional()
}

/// Returns rows after this event, oldest first.
pub(super) fn next(
    connection: &Connection,
    after: EventId,
    limit: usize,
) -> rusqlite::Result<Vec<EventRow>> {
    let sql = format!("SELECT {COLUMNS} FROM events WHERE id > ?1 ORDER BY id LIMIT ?2");
    connection
        .prepare_cached(&sql)?
        .query_map((after.0, int(limit as u64)), row)?
        .collect()
}

/// Returns the newest row's number, 0 if there is none.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<EventId> {
    connection
        .query_row("SELECT coalesce(max(id), 0) FROM events", [], |row| {
            row.get(0)
        })
        .map(EventId)
}

/// Returns the oldest row's number, 0 if there is none.
pub(super) fn oldest(connection: &Connection) -> rusqlite::Result<EventId> {
    connection
        .prepare_cached("SELECT coalesce(min(id), 0) FROM events")?
        .query_row([], |row| row.get(0))
        .map(EventId)
}

/// Returns the number of rows.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM events")?
        .query_row([], |row| row.get(0).map(uint))
}

/// Finds rows by number and outcome alone.
pub(super) fn by_fate(connection: &Connection, query: &RowQuery) -> rusqlite::Result<Rows> {
    let (fate, why) = match &query.fate {
        None => (None, None),
        Some(Wanted::Suppressed) => (Some(SUPPRESSED), None),
        Some(Wanted::ToldBy(_)) => (Some(TOLD), None),
        Some(Wanted::Exactly(fate)) => (Some(code(fate).0), code(fate).1.map(str::to_owned)),
    };
    // SQL filters by outcome only, and the limit bounds the rows scanned for a rare reason.
    let inner = if fate.is_some() {
        "fate = ?1 AND"
    } else {
        "?1 IS NULL AND"
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM events WHERE {inner} id < ?2 AND id > ?3 ORDER BY id DESC LIMIT {EVENTS_LOOKED_AT}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query((fate, query.before.0, query.after.0))?;
    let (mut page, mut looked, mut last) = (Rows::default(), 0, None);
    while let Some(next) = found.next()? {
        // One row more than the page holds has been found, so there is a next page.
        if page.rows.len() >= query.limit {
            page.next = last;
            return Ok(page);
        }
        looked += 1;
        last = Some(EventId(next.get(0)?));
        if why.is_none() || next.get_ref(3)?.as_str_or_null()? == why.as_deref() {
            let row = row(next)?;
            page.rows.extend(
                query
                    .fate
                    .as_ref()
                    .is_none_or(|wanted| wanted.is(&row))
                    .then_some(row),
            );
        }
    }
    page.next = last.filter(|_| looked >= EVENTS_LOOKED_AT);
    Ok(page)
}

/// Returns the duplicates among the events of the entries after `after`, up to `upto`.
pub(super) fn duplicates(
    connection: &Connection,
    after: Seq,
    upto: Seq,
) -> rusqlite::Result<Vec<EventId>> {
    let first = |seq: Seq| EventId::first_of(Seq(seq.0 + 1)).0;
    let mut statement = connection
        .prepare_cached("SELECT id FROM events WHERE fate = ?1 AND id >= ?2 AND id < ?3")?;
    let ids = statement.query_map((DUPLICATE, first(after), first(upto)), |row| {
        row.get(0).map(EventId)
    })?;
    ids.collect()
}

/// Returns the messages about any of these alerts, oldest first.
pub(super) fn sent(connection: &Connection, alerts: &[u64]) -> rusqlite::Result<Vec<SentMessage>> {
    let mut ids = std::collections::BTreeSet::new();
    // A message about several alerts must be listed once; the set also sorts by number.
    for alert in alerts {
        let mut statement =
            connection.prepare_cached("SELECT delivery FROM told WHERE alert = ?1 LIMIT 200")?;
        for id in statement.query_map([int(*alert)], |row| row.get::<_, i64>(0))? {
            ids.insert(id?);
        }
    }
    let mut found = Vec::new();
    for id in ids {
        let sql = "SELECT dest, state, body, crc FROM outbox WHERE id = ?1";
        let sent = connection.prepare_cached(sql)?.query_row([id], |row| {
            let body = row.get_ref(2)?.as_blob()?;
            let sound = row.get::<_, i64>(3)? == checksum(&[body]);
            let message = sound
                .then(|| serde_json::from_slice::<Message>(body).ok())
                .flatten();
            Ok((Name::new(row.get_ref(0)?.as_str()?), row.get(1)?, message))
        });
        // Skips a message that retention removed or that is damaged.
        if let Some((to, state, Some(message))) = sent.optional()? {
            let attempts = attempts(connection, id)?;
            found.push(SentMessage {
                id: DeliveryId(id),
                to,
                state,
                message,
                attempts,
            });
        }
    }
    Ok(found)
}

/// Returns the destinations of the messages about any of these alerts, each with its best delivery
/// state.
pub(super) fn reached(
    connection: &Connection,
    alerts: &[u64],
) -> rusqlite::Result<Vec<(Name, DeliveryState)>> {
    const BEST: [DeliveryState; 5] = [
        DeliveryState::Delivered,
        DeliveryState::Digested,
        DeliveryState::Queued,
        DeliveryState::Dead,
        DeliveryState::Discarded,
    ];
    let rank = |state: &DeliveryState| BEST.iter().position(|known| known == state);
    let sql = "SELECT dest, state FROM outbox WHERE id IN (SELECT delivery FROM told WHERE alert = ?1 LIMIT 200)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut best = std::collections::BTreeMap::<Name, DeliveryState>::new();
    for alert in alerts {
        let mut found = statement.query([int(*alert)])?;
        while let Some(row) = found.next()? {
            let (name, state) = (Name::new(row.get_ref(0)?.as_str()?), row.get(1)?);
            // Several messages can reach one destination; the best state counts.
            let known = best.entry(name).or_insert(state);
            if rank(&state) < rank(known) {
                *known = state;
            }
        }
    }
    Ok(best.into_iter().collect())
}

fn attempts(connection: &Connection, id: i64) -> rusqlite::Result<Vec<AttemptRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT at, state, status, why FROM attempts WHERE delivery = ?1 ORDER BY nth",
    )?;
    let attempt = |row: &Row<'_>| {
        Ok(AttemptRow {
            at: Timestamp::from_millis(row.get(0)?),
            state: row.get(1)?,
            status: row.get(2)?,
            reply: row.get(3)?,
        })
    };
    statement.query_map([id], attempt)?.collect()
}

/// Returns the oldest queued message of each destination.
pub(super) fn oldest_queued(connection: &Connection) -> rusqlite::Result<Vec<(Name, Timestamp)>> {
    let sql = "SELECT dest, coalesce(first_try, due) FROM outbox
               WHERE id IN (SELECT min(id) FROM outbox WHERE state = 0 GROUP BY dest)";
    let mut statement = connection.prepare_cached(sql)?;
    let one = |row: &Row<'_>| {
        Ok((
            Name::new(row.get_ref(0)?.as_str()?),
            Timestamp::from_millis(row.get(1)?),
        ))
    };
    statement.query_map([], one)?.collect()
}
