//! Receipts: what destinations remember of incidents.

use rusqlite::{Connection, OptionalExtension};

use super::connection::checksum;
use crate::model::{Name, Receipt};
use crate::store::{DeliveryId, Error, Result};

/// What schema 4 adds. `delivery`: the one whose attempt gave it; the receipt goes with it.
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

/// Stores a receipt whole, unless a later delivery has given one.
const PUT: &str = "INSERT INTO receipts (dest, incident, delivery, body, crc) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (dest, incident) DO UPDATE SET delivery = excluded.delivery, body = excluded.body, crc = excluded.crc
    WHERE excluded.delivery >= delivery";

fn crc(to: &str, incident: &str, body: &[u8]) -> i64 {
    // The length tells the end of one text from the beginning of the next.
    checksum(&[
        &to.len().to_le_bytes(),
        to.as_bytes(),
        incident.as_bytes(),
        body,
    ])
}

/// Stores what an attempt to deliver a message gave, for the message's incident.
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

/// The receipt of an incident. One that is damaged is none: the destination finds out anew.
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

/// Takes a row found in a damaged database, where its checksum is right.
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
