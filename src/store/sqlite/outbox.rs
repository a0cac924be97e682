//! Rows of the outbox: how messages and where they stand become columns and back.

use rusqlite::{Connection, OptionalExtension, Row};

use super::connection::{BATCH_BYTES, checksum, int};
use crate::model::{Message, Name, Timestamp};
use crate::store::{DeadLetter, Delivery, DeliveryId, Fate, Sent};

/// A queued, delivered, digested, dead, discarded message: `outbox.state`.
pub(super) const QUEUED: i64 = 0;
pub(super) const DELIVERED: i64 = 1;
pub(super) const DIGESTED: i64 = 2;
pub(super) const DEAD: i64 = 3;
pub(super) const DISCARDED: i64 = 4;

/// The word of a state.
pub(super) fn state_word(state: i64) -> &'static str {
    match state {
        DELIVERED => "delivered",
        DIGESTED => "digested",
        DEAD => "dead",
        DISCARDED => "discarded",
        _ => "queued",
    }
}

/// A batch of queued deliveries, and those that are damaged.
#[derive(Default)]
pub(super) struct Queued {
    pub(super) sound: Vec<Delivery>,
    pub(super) damaged: Vec<(DeliveryId, String)>,
}

/// A destination's queued deliveries above `after`.
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
            Err(damaged) => found.damaged.push(damaged),
        }
    }
    Ok(found)
}

/// Whom a delivery tells.
pub(super) fn destination(
    connection: &Connection,
    id: DeliveryId,
) -> rusqlite::Result<Option<Name>> {
    let mut statement = connection.prepare_cached("SELECT dest FROM outbox WHERE id = ?1")?;
    statement
        .query_row([id.0], |row| Ok(Name::new(row.get_ref(0)?.as_str()?)))
        .optional()
}

/// How many messages a destination took at or after a journal time.
pub(super) fn delivered_since(
    connection: &Connection,
    to: &Name,
    since: Timestamp,
) -> rusqlite::Result<u32> {
    let sql = "SELECT count(*) FROM outbox WHERE state = 1 AND settled_at >= ?1 AND dest = ?2";
    connection
        .prepare_cached(sql)?
        .query_row((since.millis(), to.as_str()), |row| row.get(0))
}

/// The newest dead letters, as far as they can be read: one that died of damage was logged then,
/// and is counted.
pub(super) fn dead_letters(
    connection: &Connection,
    limit: usize,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let sql =
        "SELECT id, dest, attempts, first_try, due, plain, body, crc, settled_at, why FROM outbox
               WHERE state = 3 ORDER BY settled_at DESC, id DESC LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([int(limit as u64)])?;
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

/// Every delivery of the messages wanted, as far as they can be read.
pub(super) fn deliveries(
    connection: &Connection,
    wanted: impl Fn(&Message) -> bool,
) -> rusqlite::Result<Vec<Sent>> {
    let sql = "SELECT id, dest, attempts, first_try, due, plain, body, crc, settled_at, why, state FROM outbox ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let Ok((delivery, _)) = delivery(row)? else {
            continue;
        };
        if wanted(&delivery.message) {
            let fate = match row.get::<_, i64>(10)? {
                DELIVERED => Fate::Delivered,
                DIGESTED => Fate::Digested,
                DEAD => Fate::Dead,
                DISCARDED => Fate::Discarded,
                _ => Fate::Queued,
            };
            let at = row.get::<_, Option<i64>>(8)?.map(Timestamp::from_millis);
            found.push(Sent {
                delivery,
                fate,
                at,
                why: row.get(9)?,
            });
        }
    }
    Ok(found)
}

/// A delivery and its size, or which one is damaged and how.
type Checked = std::result::Result<(Delivery, usize), (DeliveryId, String)>;

fn delivery(row: &Row<'_>) -> rusqlite::Result<Checked> {
    let id = DeliveryId(row.get(0)?);
    match checked(row, id) {
        // Of another type than was written: this row's, and no other's.
        Err(e) if e.sqlite_error_code().is_none() => {
            Ok(Err((id, format!("it does not read: {e}"))))
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
        Err(e) => return Ok(Err((id, format!("it does not read: {e}")))),
    };
    let delivery = Delivery {
        id,
        to: Name::new(row.get_ref(1)?.as_str()?),
        message,
        attempts: u32::try_from(row.get::<_, i64>(2)?).unwrap_or(u32::MAX),
        first_try: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        due: Timestamp::from_millis(row.get(4)?),
        plain: row.get(5)?,
    };
    Ok(Ok((delivery, body.len())))
}
