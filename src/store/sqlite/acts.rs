//! Actions of people on messages, in SQL.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;

use super::connection::checksum;
use super::writer::{NewMessage, WriteGroup};
use crate::model::{Name, Timestamp};
use crate::store::{ActionResult, DeadLetterAction, DeliveryId, DeliveryState, Result};

/// Additions of schema 3: totals of discarded messages, and the short name by which a message is
/// found.
pub(super) const SCHEMA: &str = "
ALTER TABLE fates ADD COLUMN discarded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN message TEXT;
UPDATE outbox SET message = nullif(CAST(json_extract(CAST(body AS TEXT), '$.about.id') AS TEXT), '')
    WHERE json_valid(CAST(body AS TEXT));
CREATE INDEX outbox_message ON outbox (message) WHERE message IS NOT NULL;
";

/// Maximum number of dead letters in one transaction.
const AT_ONCE: i64 = 500;

impl WriteGroup<'_> {
    pub(super) fn act(
        &mut self,
        act: DeadLetterAction,
        id: DeliveryId,
        at: Timestamp,
    ) -> Result<ActionResult> {
        if let Some(done) = self.act_on(act, id, at)? {
            return Ok(ActionResult::Done(vec![done]));
        }
        let sql = "SELECT state FROM outbox WHERE id = ?1";
        let state = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row([id.0], |row| row.get(0)).optional())?;
        Ok(state.map_or(ActionResult::Missing, ActionResult::OtherState))
    }

    /// Acts on a dead letter; returns `None` if the delivery is not one.
    fn act_on(
        &mut self,
        act: DeadLetterAction,
        id: DeliveryId,
        at: Timestamp,
    ) -> Result<Option<(Name, DeliveryId)>> {
        let (sql, state) = match act {
            DeadLetterAction::Resend => (
                "UPDATE outbox SET id = ?2, state = ?4, due = ?3, first_try = NULL, plain = 0,
                     settled_at = NULL
                 WHERE id = ?1 AND state = ?5 RETURNING dest",
                DeliveryState::Queued,
            ),
            DeadLetterAction::Discard => (
                "UPDATE outbox SET id = ?2, state = ?4, settled_at = ?3
                 WHERE id = ?1 AND state = ?5 RETURNING dest",
                DeliveryState::Discarded,
            ),
        };
        // Lanes look for higher numbers only, so a message to resend gets a new one.
        let new = if act == DeadLetterAction::Resend {
            self.heads.id + 1
        } else {
            id.0
        };
        let to: Option<String> = self.connection.prepare_cached(sql).and_then(|mut s| {
            let dead = DeliveryState::Dead;
            s.query_row((id.0, new, at.millis(), state, dead), |row| row.get(0))
                .optional()
        })?;
        let Some(to) = to.map(|to| Name::new(&to)) else {
            return Ok(None);
        };
        // The history follows the delivery to its new number, or retention would delete it
        // separately.
        if new != id.0 {
            self.heads.id = new;
            self.execute(
                "UPDATE told SET delivery = ?2 WHERE delivery = ?1",
                (id.0, new),
            )?;
            self.execute(
                "UPDATE attempts SET delivery = ?2 WHERE delivery = ?1",
                (id.0, new),
            )?;
            self.execute(
                "UPDATE receipts SET delivery = ?2 WHERE delivery = ?1",
                (id.0, new),
            )?;
        }
        self.count(&to, |fates| {
            fates.dead = fates.dead.saturating_sub(1);
            match act {
                DeadLetterAction::Resend => fates.queued += 1,
                DeadLetterAction::Discard => fates.discarded += 1,
            }
        });
        Ok(Some((to, DeliveryId(new))))
    }

    /// Acts on dead letters up to a number. Messages given up again in the meantime keep their
    /// state.
    pub(super) fn act_on_some(
        &mut self,
        act: DeadLetterAction,
        to: &Name,
        upto: DeliveryId,
        at: Timestamp,
    ) -> Result<u64> {
        let sql = "SELECT id FROM outbox WHERE state <> 0 AND state = ?1 AND dest = ?2 AND id <= ?3
                   ORDER BY id LIMIT ?4";
        let ids: Vec<i64> = self.connection.prepare_cached(sql).and_then(|mut s| {
            s.query_map((DeliveryState::Dead, to.as_str(), upto.0, AT_ONCE), |row| {
                row.get(0)
            })?
            .collect()
        })?;
        let mut done = 0;
        for id in ids {
            done += u64::from(self.act_on(act, DeliveryId(id), at)?.is_some());
        }
        Ok(done)
    }

    pub(super) fn again(
        &mut self,
        message: &str,
        to: &[Name],
        at: Timestamp,
    ) -> Result<ActionResult> {
        let sql = "SELECT id, dest, state FROM outbox WHERE message = ?1 ORDER BY id";
        let found: Vec<(i64, String, DeliveryState)> =
            self.connection.prepare_cached(sql).and_then(|mut s| {
                s.query_map([message], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                    .collect()
            })?;
        if found.is_empty() {
            return Ok(ActionResult::Missing);
        }
        let wanted = found
            .into_iter()
            .map(|(id, dest, state)| (Name::new(&dest), id, state));
        let wanted: Vec<(Name, i64, DeliveryState)> =
            wanted.filter(|(dest, ..)| to.contains(dest)).collect();
        // Two copies of one message in a queue would both be sent.
        let queued = DeliveryState::Queued;
        if wanted.iter().any(|(.., state)| *state == queued) {
            return Ok(ActionResult::OtherState(queued));
        }
        // Later rows replace earlier ones, so the newest message of each destination remains.
        let newest: BTreeMap<Name, i64> =
            wanted.into_iter().map(|(dest, id, _)| (dest, id)).collect();
        if newest.is_empty() {
            return Ok(ActionResult::OtherDestination);
        }
        // All copies are read before the first is queued: a damaged one must leave nothing behind.
        let mut copies = Vec::new();
        for (dest, id) in newest {
            let sql = "SELECT body, crc FROM outbox WHERE id = ?1";
            let (body, crc): (Vec<u8>, i64) = self
                .connection
                .prepare_cached(sql)
                .and_then(|mut s| s.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))))?;
            if crc != checksum(&[&body]) {
                return Ok(ActionResult::Missing);
            }
            copies.push((
                id,
                NewMessage {
                    to: vec![dest],
                    id: message.to_owned(),
                    body,
                    alerts: Vec::new(),
                },
            ));
        }
        let mut made = Vec::new();
        for (id, new) in copies {
            self.queue(&new, at)?;
            let copy = self.heads.id;
            self.execute(
                "INSERT INTO told (alert, delivery) SELECT alert, ?2 FROM told WHERE delivery = ?1",
                (id, copy),
            )?;
            made.extend(new.to.into_iter().map(|to| (to, DeliveryId(copy))));
        }
        Ok(ActionResult::Done(made))
    }
}
