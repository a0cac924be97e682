//! Conversion between messages, delivery states and rows of the outbox.

use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql};

use super::connection::{BATCH_BYTES, checksum, int};
use crate::model::{Message, Name, Timestamp};
use crate::store::{DeadLetter, Delivery, DeliveryId, DeliveryState, Sent};

/// States in the order of their codes in `outbox.state` and `attempts.state`. Statements write 0,
/// the code of queued deliveries, literally: SQLite uses a partial index only if the query contains
/// its condition.
const STATES: [DeliveryState; 5] = [
    DeliveryState::Queued,
    DeliveryState::Delivered,
    DeliveryState::Digested,
    DeliveryState::Dead,
    DeliveryState::Discarded,
];

impl ToSql for DeliveryState {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let code = STATES.iter().position(|state| state == self);
        Ok((code.unwrap_or_default() as i64).into())
    }
}

impl FromSql for DeliveryState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let code = value.as_i64()?;
        let state = usize::try_from(code).ok().and_then(|n| STATES.get(n));
        state.copied().ok_or(FromSqlError::OutOfRange(code))
    }
}

/// Counts the messages a destination accepted since a time.
const DELIVERED_SINCE: &str = "SELECT count(*) FROM outbox
    WHERE state <> 0 AND state = ?1 AND settled_at >= ?2 AND dest = ?3";
/// Selects the newest dead letters.
const DEAD_LETTERS: &str =
    "SELECT id, dest, attempts, first_try, due, plain, body, crc, settled_at, why FROM outbox
    WHERE state <> 0 AND state = ?1 ORDER BY settled_at DESC, id DESC LIMIT ?2";
/// Selects deliveries settled before a time.
pub(super) const SETTLED_BEFORE: &str =
    "SELECT id FROM outbox WHERE state <> 0 AND settled_at < ?1 LIMIT ?2";

/// A batch of queued deliveries, with the damaged ones listed separately.
#[derive(Default)]
pub(super) struct Queued {
    pub(super) sound: Vec<Delivery>,
    pub(super) damaged: Vec<(DeliveryId, String)>,
}

/// Returns a destination's queued deliveries above `after`.
pub(super) fn queued(
    connection: &Connection,
    to: &Name,
    after: DeliveryId,
    limit: usize,
) -> rusqlite::Result<Queued> {
    let sql = "SELECT id, dest, attempts, first_try, due, plain, body, crc FROM outbox
               WHERE state = 0 AND dest = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((to.as_str(), after.0, int(limit as u64)))?;
    let (mut found, mut bytes) = (Queued::default(), 0);
    while bytes <= BATCH_BYTES
        && let Some(row) = rows.next()?
    {
        match delivery(row)? {
            Ok((delivery, size)) => {
                bytes += size;
                found.sound.push(delivery);
            }
            // A damaged delivery must not block the ones behind it: the caller makes it a dead
            // letter.
            Err(damaged) => found.damaged.push(damaged),
        }
    }
    Ok(found)
}

/// Returns the destination of a delivery.
pub(super) fn destination(
    connection: &Connection,
    id: DeliveryId,
) -> rusqlite::Result<Option<Name>> {
    let mut statement = connection.prepare_cached("SELECT dest FROM outbox WHERE id = ?1")?;
    statement
        .query_row([id.0], |row| Ok(Name::new(row.get_ref(0)?.as_str()?)))
        .optional()
}

/// Returns the number of messages a destination accepted at or after a journal time.
pub(super) fn delivered_since(
    connection: &Connection,
    to: &Name,
    since: Timestamp,
) -> rusqlite::Result<u32> {
    connection.prepare_cached(DELIVERED_SINCE)?.query_row(
        (DeliveryState::Delivered, since.millis(), to.as_str()),
        |row| row.get(0),
    )
}

/// Returns the newest dead letters that can be read. A letter that died of damage was logged at
/// that time, and is counted.
pub(super) fn dead_letters(
    connection: &Connection,
    limit: usize,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let mut statement = connection.prepare_cached(DEAD_LETTERS)?;
    let mut rows = statement.query((DeliveryState::Dead, int(limit as u64)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Ok((delivery, _)) = delivery(row)? {
            let why = row.get::<_, Option<String>>(9)?.unwrap_or_default();
            found.push(DeadLetter {
                delivery,
                at: Timestamp::from_millis(row.get(8)?),
                why,
            });
        }
    }
    Ok(found)
}

/// Returns every readable delivery of the wanted messages.
pub(super) fn deliveries(
    connection: &Connection,
    wanted: impl Fn(&Message) -> bool,
) -> rusqlite::Result<Vec<Sent>> {
    let sql = "SELECT id, dest, attempts, first_try, due, plain, body, crc, settled_at, why, state FROM outbox ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        // A damaged message is reported when its lane reads it; here it is skipped.
        let Ok((delivery, _)) = delivery(row)? else {
            continue;
        };
        if wanted(&delivery.message) {
            let at = row.get::<_, Option<i64>>(8)?.map(Timestamp::from_millis);
            found.push(Sent {
                delivery,
                state: row.get(10)?,
                at,
                why: row.get(9)?,
            });
        }
    }
    Ok(found)
}

/// A delivery and its size, or the number of a damaged one and its damage.
type Checked = std::result::Result<(Delivery, usize), (DeliveryId, String)>;

fn delivery(row: &Row<'_>) -> rusqlite::Result<Checked> {
    let id = DeliveryId(row.get(0)?);
    match checked(row, id) {
        // A column of the wrong type is damage of this row only; other errors concern the whole query.
        Err(e) if e.sqlite_error_code().is_none() => {
            Ok(Err((id, format!("it cannot be parsed: {e}"))))
        }
        read => read,
    }
}

fn checked(row: &Row<'_>, id: DeliveryId) -> rusqlite::Result<Checked> {
    let body = row.get_ref(6)?.as_blob()?;
    if row.get::<_, i64>(7)? != checksum(&[body]) {
        return Ok(Err((id, "it has a wrong checksum".to_owned())));
    }
    let message: Message = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(e) => return Ok(Err((id, format!("it cannot be parsed: {e}")))),
    };
    let delivery = Delivery {
        id,
        to: Name::new(row.get_ref(1)?.as_str()?),
        message: Arc::new(message),
        attempts: u32::try_from(row.get::<_, i64>(2)?).unwrap_or(u32::MAX),
        first_try: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        due: Timestamp::from_millis(row.get(4)?),
        plain: row.get(5)?,
    };
    Ok(Ok((delivery, body.len())))
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn settled_messages_are_found_by_their_index() {
        let dir = tempfile::tempdir().unwrap();
        let connection = schema::open(&dir.path().join("a.db"), false).unwrap();
        for sql in [DELIVERED_SINCE, DEAD_LETTERS, SETTLED_BEFORE] {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let mut statement = connection.prepare(&sql).unwrap();
            let values = vec![0; statement.parameter_count()];
            let plan: String = statement
                .query_row(rusqlite::params_from_iter(values), |row| row.get(3))
                .unwrap();
            assert!(plan.contains("outbox_settled"), "{sql}: {plan}");
        }
    }

    #[test]
    fn states_are_what_older_releases_wrote() {
        let connection = Connection::open_in_memory().unwrap();
        let code = |state: DeliveryState| -> (i64, DeliveryState) {
            connection
                .query_row("SELECT ?1, ?1", [state], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .unwrap()
        };
        let codes = STATES.map(code);
        assert_eq!(codes.map(|(code, _)| code), [0, 1, 2, 3, 4]);
        assert_eq!(codes.map(|(_, state)| state), STATES);
        let unknown = connection.query_row("SELECT 5", [], |row| row.get::<_, DeliveryState>(0));
        assert!(unknown.is_err());
    }
}
