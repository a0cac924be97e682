//! Receipts: references by which destinations find earlier messages of an incident.

use rusqlite::{Connection, OptionalExtension};

use super::connection::checksum;
use crate::model::{Name, Receipt};
use crate::store::{DeliveryId, Error, Result};

/// Additions of schema 4. A receipt is deleted together with its `delivery`, whose attempt returned
/// it.
pub(super) const SCHEMA: &str = "
CREATE TABLE receipts (
    id INTEGER PRIMARY KEY, dest TEXT NOT NULL, incident TEXT NOT NULL, delivery INTEGER NOT NULL, body BLOB NOT NULL,
    crc INTEGER NOT NULL, UNIQUE (dest, incident)
) STRICT;
CREATE INDEX receipts_delivery ON receipts (delivery);
CREATE TRIGGER receipts_gone AFTER DELETE ON outbox BEGIN
    DELETE FROM receipts WHERE delivery = old.id;
END;
";

/// Stores a receipt unless a later delivery has stored one.
const PUT: &str = "INSERT INTO receipts (dest, incident, delivery, body, crc) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (dest, incident) DO UPDATE SET delivery = excluded.delivery, body = excluded.body, crc = excluded.crc
    WHERE excluded.delivery >= delivery";

fn crc(to: &str, incident: &str, body: &[u8]) -> i64 {
    // The length separates the two texts: without it, moving a character between them would give the
    // same checksum.
    checksum(&[
        &to.len().to_le_bytes(),
        to.as_bytes(),
        incident.as_bytes(),
        body,
    ])
}

/// Stores the receipt of a delivery attempt under the message's incident.
pub(super) fn put(
    connection: &Connection,
    to: &Name,
    id: DeliveryId,
    receipt: &Receipt,
) -> Result<()> {
    let sql =
        "SELECT json_extract(CAST(body AS TEXT), '$.about.incident') FROM outbox WHERE id = ?1";
    let incident: String = connection
        .prepare_cached(sql)?
        .query_row([id.0], |row| row.get(0))?;
    let body = receipt.reference().to_string().into_bytes();
    let crc = crc(to.as_str(), &incident, &body);
    let values = (to.as_str(), &incident, id.0, &body, crc);
    connection.prepare_cached(PUT)?.execute(values)?;
    Ok(())
}

/// Returns the receipt of an incident. A damaged receipt counts as none: the destination then
/// starts a new thread of messages.
pub(super) fn receipt(
    connection: &Connection,
    to: &Name,
    incident: &str,
) -> Result<Option<Receipt>> {
    let sql = "SELECT body, crc FROM receipts WHERE dest = ?1 AND incident = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement
        .query_row((to.as_str(), incident), |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))
        })
        .optional()
        .map_err(Error::from)?;
    let sound = row.filter(|(body, sum)| *sum == crc(to.as_str(), incident, body));
    Ok(sound.and_then(|(body, _)| Receipt::new(serde_json::from_slice(&body).ok()?)))
}

/// Copies a row of a damaged database if its checksum is right.
pub(super) fn salvage(
    connection: &Connection,
    (to, incident, delivery, body, sum): (&str, &str, i64, &[u8], i64),
) -> rusqlite::Result<()> {
    if sum == crc(to, incident, body) {
        let values = (to, incident, delivery, body, sum);
        connection.prepare_cached(PUT)?.execute(values)?;
    }
    Ok(())
}
