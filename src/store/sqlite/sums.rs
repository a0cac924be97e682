//! Totals of notified and other events, by minute and by rule. The first query after a start counts
//! all rows; later queries count only the new ones.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Row};

use super::past::{BETWEEN, PENDING, TOLD};
use crate::model::Timestamp;
use crate::store::Noise;

/// Width of a counter: whole minutes.
const MINUTE: i64 = 60_000;
/// Maximum number of pending events looked up again; with more of them everything is counted again.
const WAITING: usize = if cfg!(test) { 3 } else { 20_000 };

/// Totals so far.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Number of the newest event counted.
    upto: i64,
    /// Events up to `upto` that were pending.
    waiting: Vec<i64>,
    /// By minute and kind: events notified, and all others.
    minutes: BTreeMap<(i64, usize), (u64, u64)>,
    /// Distinct combinations of matching rules and notifying rules.
    kinds: Vec<Kind>,
    known: HashMap<Kind, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    rules: String,
    told: Option<String>,
}

/// Columns of one event that the totals need.
struct CountedEvent {
    id: i64,
    received: i64,
    fate: i64,
    kind: Kind,
}

const COLUMNS: &str = "id, received, fate, rules, told";

fn one(row: &Row<'_>) -> rusqlite::Result<CountedEvent> {
    let kind = Kind {
        rules: row.get(3)?,
        told: row.get(4)?,
    };
    Ok(CountedEvent {
        id: row.get(0)?,
        received: row.get(1)?,
        fate: row.get(2)?,
        kind,
    })
}

impl Sums {
    /// Returns totals since a wall time, in spans of `span_ms` milliseconds. Both are rounded to
    /// whole minutes.
    pub(super) fn noise(
        &mut self,
        connection: &Connection,
        since: Timestamp,
        span_ms: i64,
    ) -> rusqlite::Result<Noise> {
        self.catch_up(connection)?;
        let noise = self.sum(since, span_ms);
        // Looking up each pending event would take longer than one scan of all rows.
        if self.waiting.len() > WAITING {
            *self = Self::default();
        }
        Ok(noise)
    }

    fn catch_up(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let again = format!("SELECT {COLUMNS} FROM events WHERE id = ?1");
        for id in std::mem::take(&mut self.waiting) {
            // Retention may have removed the row meanwhile.
            if let Some(one) = connection
                .prepare_cached(&again)?
                .query_row([id], one)
                .optional()?
            {
                self.add(one);
            }
        }
        let sql = format!("SELECT {COLUMNS} FROM events WHERE id > ?1 ORDER BY id");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([self.upto])?;
        while let Some(row) = rows.next()? {
            let one = one(row)?;
            self.upto = one.id;
            self.add(one);
        }
        // Minutes before the oldest row that retention left must not show up in the totals.
        let oldest = "SELECT received FROM events ORDER BY id LIMIT 1";
        let oldest = connection
            .prepare_cached(oldest)?
            .query_row([], |row| row.get::<_, i64>(0))
            .optional()?;
        self.minutes = self
            .minutes
            .split_off(&(oldest.map_or(i64::MAX, |at| at.div_euclid(MINUTE)), 0));
        Ok(())
    }

    fn add(&mut self, one: CountedEvent) {
        // A pending event gets its outcome later; the next query looks it up again.
        if one.fate == PENDING {
            return self.waiting.push(one.id);
        }
        let kind = match self.known.get(&one.kind) {
            Some(kind) => *kind,
            None => {
                self.kinds.push(one.kind.clone());
                self.known.insert(one.kind, self.kinds.len() - 1);
                self.kinds.len() - 1
            }
        };
        let sum = self
            .minutes
            .entry((one.received.div_euclid(MINUTE), kind))
            .or_default();
        *(if one.fate == TOLD {
            &mut sum.0
        } else {
            &mut sum.1
        }) += 1;
    }

    fn sum(&self, since: Timestamp, span_ms: i64) -> Noise {
        let mut spans = BTreeMap::<i64, (u64, u64)>::new();
        let mut kinds = vec![(0, 0); self.kinds.len()];
        // Whole minutes are summed, so the first span can begin up to a minute before `since`.
        for ((minute, kind), (told, quiet)) in
            self.minutes.range((since.millis().div_euclid(MINUTE), 0)..)
        {
            let span = spans
                .entry(minute.saturating_mul(MINUTE).div_euclid(span_ms.max(1)))
                .or_default();
            *span = (span.0 + told, span.1 + quiet);
            if let Some(sum) = kinds.get_mut(*kind) {
                *sum = (sum.0 + told, sum.1 + quiet);
            }
        }
        let mut rules = BTreeMap::<&str, (u64, u64)>::new();
        for (kind, (told, quiet)) in self
            .kinds
            .iter()
            .zip(kinds)
            .filter(|(_, (told, quiet))| told + quiet > 0)
        {
            for rule in kind.rules.split(BETWEEN).filter(|rule| !rule.is_empty()) {
                let sum = rules.entry(rule).or_default();
                // A rule that matched an event which only another rule notified about counts it as
                // suppressed. Older events do not name the rule; they count for every rule.
                let tells = kind
                    .told
                    .as_ref()
                    .is_none_or(|told| told.split(BETWEEN).any(|teller| teller == rule));
                *sum = if tells {
                    (sum.0 + told, sum.1 + quiet)
                } else {
                    (sum.0, sum.1 + told + quiet)
                };
            }
        }
        let span = |(at, (told, quiet)): (i64, _)| {
            (
                Timestamp::from_millis(at.saturating_mul(span_ms.max(1))),
                told,
                quiet,
            )
        };
        Noise {
            spans: spans.into_iter().map(span).collect(),
            rules: rules
                .into_iter()
                .map(|(rule, (told, quiet))| (rule.to_owned(), told, quiet))
                .collect(),
        }
    }
}
