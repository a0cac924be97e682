//! The fold: `decisions = fold(rules, journal)`, the one code path of `serve`, `test` and `replay`.
//!
//! A [`Fold`] takes journal entries in order and returns decisions. It reads no clock and does no
//! IO.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use serde::{Deserialize, Serialize};

use crate::engine::{
    Decision, Engine, EngineLimits, Fullness, IncidentState, Input, Judgement, Opening, Reaction,
    SilenceState, Verdict,
};
use crate::model::{
    Event, EventFates, Journaled, Message, Name, Notification, OutcomeChange, Record, RulesRecord,
    Seq, Timestamp,
};
use crate::rules::RuleSet;
use crate::source::{self, Arrival, ParsedItem, Role};

/// Compiles a journaled text of rules; `None` if this release cannot read it.
pub type Compile = fn(&RulesRecord) -> Option<RuleSet>;

/// The engine with its rules and clock, as the journal determines them.
pub struct Fold {
    engine: Engine,
    compile: Compile,
    header: Header,
}

/// The part of a snapshot beside the engine's state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Header {
    rules: Option<RulesRecord>,
    offset_ms: i64,
}

/// The conclusions from one entry.
#[derive(Debug, Default)]
pub struct Conclusions {
    /// The engine's decisions, in order.
    pub decisions: Vec<Decision>,
    /// Outcomes of the entry's events, in order.
    pub judgements: Vec<Judgement>,
    /// Outcomes of earlier events that were pending, in order.
    pub changes: Vec<OutcomeChange>,
    /// Problems with the entry that are worth a log line.
    pub remarks: Vec<Remark>,
}

impl Conclusions {
    fn add(&mut self, reaction: Reaction) {
        // Most entries make one reaction, whose list is taken without a copy.
        if self.decisions.is_empty() {
            self.decisions = reaction.decisions;
        } else {
            self.decisions.extend(reaction.decisions);
        }
        self.judgements.extend(reaction.judgement);
        self.changes.extend(reaction.changes);
    }
}

/// A problem with an entry that operators should see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Signed and well-formed, but not understood.
    Malformed {
        /// The source.
        source: Name,
        /// Its position in the journal.
        seq: Seq,
        /// The expectation that was not met.
        why: &'static str,
        /// Number of items of the post it applies to.
        count: u64,
    },
    /// This release cannot read the rules of the entry: the previous ones stay in force.
    RulesUnreadable,
}

/// The first bytes of an LZ4 frame.
const PACKED: [u8; 4] = 0x184D_2204_u32.to_le_bytes();

/// Unpacks a snapshot. Those of the first releases are not packed.
fn unpacked(snapshot: &[u8]) -> Result<Cow<'_, [u8]>, std::io::Error> {
    if !snapshot.starts_with(&PACKED) {
        return Ok(snapshot.into());
    }
    let mut plain = Vec::new();
    FrameDecoder::new(snapshot).read_to_end(&mut plain)?;
    Ok(plain.into())
}

impl Fold {
    /// Creates a fold with an empty state and these rules.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>, compile: Compile) -> Self {
        Self {
            engine: Engine::new(rules, openings, EngineLimits::default()),
            compile,
            header: Header::default(),
        }
    }

    /// Continues from a snapshot made by [`Fold::snapshot`].
    ///
    /// # Errors
    /// Fails with one line if this release cannot read the bytes.
    pub fn restore<'a>(
        snapshot: &[u8],
        seen: impl IntoIterator<Item = &'a [u8]>,
        fallback: &Arc<RuleSet>,
        compile: Compile,
    ) -> Result<Self, String> {
        let cut = "the snapshot is cut short".to_owned();
        let plain =
            unpacked(snapshot).map_err(|e| format!("the snapshot cannot be unpacked: {e}"))?;
        let (length, rest) = plain.split_first_chunk::<8>().ok_or_else(|| cut.clone())?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut.clone())?;
        let (header, engine) = rest.split_at_checked(length).ok_or(cut)?;
        let header: Header = serde_json::from_slice(header)
            .map_err(|e| format!("the snapshot cannot be read: {e}"))?;
        // Rules of a newer release may be unreadable here: the fallback keeps the state usable.
        let rules = header
            .rules
            .as_ref()
            .and_then(compile)
            .map_or_else(|| Arc::clone(fallback), Arc::new);
        let engine = Engine::restore(rules, openings, EngineLimits::default(), engine, seen)
            .map_err(|e| e.to_string())?;
        Ok(Self {
            engine,
            compile,
            header,
        })
    }

    /// Returns a fold with an empty state and the rules and the clock of a snapshot.
    ///
    /// # Errors
    /// Fails with one line if this release cannot read the bytes.
    pub fn setting(
        snapshot: &[u8],
        fallback: &Arc<RuleSet>,
        compile: Compile,
    ) -> Result<Self, String> {
        let bad = |e: &dyn std::fmt::Display| format!("the snapshot cannot be read: {e}");
        let mut plain: Box<dyn std::io::Read + '_> = if snapshot.starts_with(&PACKED) {
            Box::new(FrameDecoder::new(snapshot))
        } else {
            Box::new(snapshot)
        };
        let mut length = [0; 8];
        plain.read_exact(&mut length).map_err(|e| bad(&e))?;
        // Only the head is unpacked: the state may take many megabytes.
        let mut header = Vec::new();
        plain
            .take(u64::from_le_bytes(length))
            .read_to_end(&mut header)
            .map_err(|e| bad(&e))?;
        let header: Header = serde_json::from_slice(&header).map_err(|e| bad(&e))?;
        let rules = header
            .rules
            .as_ref()
            .and_then(compile)
            .map_or_else(|| Arc::clone(fallback), Arc::new);
        Ok(Self {
            header,
            ..Self::new(rules, compile)
        })
    }

    /// Returns the state as bytes, without the memory of duplicates (see [`Fold::take_seen`]).
    ///
    /// The bytes are packed with LZ4. The text repeats the same words for many thousand alerts, and
    /// unpacked it would take several times the memory of the engine.
    #[must_use]
    pub fn snapshot(&self) -> Arc<[u8]> {
        // Maps with string keys and plain data can always be written, and so can memory.
        let header = serde_json::to_vec(&self.header).unwrap_or_default();
        let mut packed = FrameEncoder::new(Vec::new());
        let written = packed
            .write_all(&(header.len() as u64).to_le_bytes())
            .and_then(|()| packed.write_all(&header))
            .and_then(|()| self.engine.snapshot(&mut packed));
        written
            .ok()
            .and_then(|()| packed.finish().ok())
            .unwrap_or_default()
            .into()
    }

    /// Returns the additions to the memory of duplicates since the last call.
    pub fn take_seen(&mut self) -> Vec<u8> {
        self.engine.take_seen()
    }

    /// Folds one entry.
    pub fn apply(&mut self, entry: &Journaled) -> Conclusions {
        // A body may hold thousands of events, each an input of its own; any other entry is one
        // input.
        let mut conclusions = Conclusions::default();
        let input = match &entry.record {
            Record::Received {
                source, kind, body, ..
            } => {
                let arrival = Arrival {
                    source,
                    kind: *kind,
                    seq: entry.seq,
                    received: entry.at.shifted(self.header.offset_ms),
                    body,
                };
                self.apply_body(entry.at, &arrival, &mut conclusions);
                return conclusions;
            }
            Record::Tick => Input::Due,
            Record::Rules(record) => match (self.compile)(record) {
                Some(rules) => {
                    self.header.rules = Some(record.clone());
                    Input::Rules(Arc::new(rules))
                }
                None => {
                    // Time still moves, or the next entry would jump.
                    conclusions.remarks.push(Remark::RulesUnreadable);
                    Input::Tick
                }
            },
            Record::Clock { offset_ms } => {
                self.header.offset_ms = *offset_ms;
                Input::Clock {
                    offset_ms: *offset_ms,
                }
            }
            Record::Silence(silence) => Input::Silence(silence.clone()),
            Record::Expire { id, .. } => Input::Expire { id: id.clone() },
        };
        conclusions.add(self.engine.handle(entry.at, &input));
        // The rules must be in force before `absent` starts to wait by them.
        let starts = matches!(&entry.record, Record::Rules(record) if record.start);
        if starts && matches!(input, Input::Rules(_)) {
            conclusions.add(self.engine.handle(entry.at, &Input::Started));
        }
        conclusions
    }

    fn apply_body(&mut self, at: Timestamp, arrival: &Arrival<'_>, conclusions: &mut Conclusions) {
        let mut malformed: Vec<(&'static str, u64)> = Vec::new();
        source::each(arrival, &mut |parsed| match parsed {
            ParsedItem::Event(event) => {
                conclusions.add(self.engine.handle(at, &Input::Event(event)));
            }
            ParsedItem::Malformed { why, count } => {
                // A flood of malformed items must not make a flood of log lines.
                match malformed.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, known)) => *known += count,
                    None => malformed.push((why, count)),
                }
            }
        });
        if malformed.is_empty() {
            return;
        }
        // Time moves even if no event was understood.
        conclusions.add(self.engine.handle(at, &Input::Tick));
        let remark = |(why, count)| Remark::Malformed {
            source: arrival.source.clone(),
            seq: arrival.seq,
            why,
            count,
        };
        conclusions
            .remarks
            .extend(malformed.into_iter().map(remark));
    }

    /// Folds one event that is not from the journal.
    pub fn handle_event(&mut self, at: Timestamp, event: Arc<Event>) -> Vec<Decision> {
        self.engine.handle(at, &Input::Event(event)).decisions
    }

    /// Applies rules that are not from the journal.
    pub fn reload(&mut self, at: Timestamp, rules: Arc<RuleSet>) -> Vec<Decision> {
        self.engine.handle(at, &Input::Rules(rules)).decisions
    }

    /// Advances time.
    pub fn tick(&mut self, at: Timestamp) -> Vec<Decision> {
        self.engine.handle(at, &Input::Tick).decisions
    }

    /// Advances time until nothing is pending or suppressed.
    pub fn wind_down(&mut self) -> Vec<Decision> {
        self.engine.wind_down().decisions
    }

    /// Advances time until every digest is sent.
    pub fn tell_digests(&mut self) -> Vec<Decision> {
        self.engine.tell_digests().decisions
    }

    /// Returns the journal time of the next timer, if there is one.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.engine.next_wakeup()
    }

    /// Returns how many events ended in each outcome so far.
    #[must_use]
    pub fn fates(&self) -> &EventFates {
        self.engine.fates()
    }

    /// Returns the numbers of open alerts and incidents.
    #[must_use]
    pub fn open(&self) -> (usize, usize) {
        self.engine.open()
    }

    /// Returns the use of the limit of open alerts.
    #[must_use]
    pub fn fullness(&self) -> Fullness {
        self.engine.fullness()
    }

    /// Returns open incidents and alerts, newest first: at most `limit`, and their total number.
    #[must_use]
    pub fn incidents(&self, limit: usize) -> (Vec<IncidentState>, usize) {
        self.engine.incidents(limit)
    }

    /// Returns the newest number given to an alert or an incident. Later ones get greater numbers.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.engine.newest()
    }

    /// Returns whether an alert still exists; later decisions cannot concern one that does not.
    #[must_use]
    pub fn has(&self, alert: u64) -> bool {
        self.engine.has(alert)
    }

    /// Returns the rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<RuleSet> {
        self.engine.rules()
    }

    /// Returns the silences in force, oldest first.
    #[must_use]
    pub fn silences(&self) -> Vec<SilenceState> {
        self.engine.silences()
    }

    /// Returns wall time minus journal time, as journaled last.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.header.offset_ms
    }
}

/// Returns the notifications among decisions.
pub fn notifications(decisions: Vec<Decision>) -> impl Iterator<Item = Notification> {
    decisions
        .into_iter()
        .filter_map(|decision| match decision.verdict {
            Verdict::Notify(notification) => Some(*notification),
            _ => None,
        })
}

/// Renders the messages among decisions.
pub fn messages(decisions: Vec<Decision>, templates: &crate::render::Templates) -> Vec<Message> {
    notifications(decisions)
        .map(|notification| templates.render(notification))
        .collect()
}

/// Returns the types that open a condition, from the catalogues of all kinds of source.
fn openings(condition: &str) -> Vec<Opening> {
    source::types()
        .filter(|of| of.condition == condition)
        .filter(|of| matches!(of.role, Some(Role::Opens | Role::Status)))
        .map(|of| Opening {
            topic: of.topic,
            kind: of.kind,
            group: of.group,
        })
        .collect()
}
