//! `decisions = fold(rules, journal)`: the one code path of `serve`, `test` and `replay`.
//!
//! A [`Fold`] takes journal entries in order and gives decisions; it reads no clock and does no IO.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use serde::{Deserialize, Serialize};

use crate::engine::{
    Decision, Engine, Fullness, IncidentState, Input, Judgement, Limits, Opening, Reaction,
    SilenceState, Verdict,
};
use crate::model::{
    Event, EventFates, Journaled, Message, Name, Notification, OutcomeChange, Record, RulesRecord,
    Seq, Timestamp,
};
use crate::rules::RuleSet;
use crate::source::{self, Arrival, Parsed, Role};

/// Makes rules of a journaled text; `None` when this release cannot read it.
pub type Compile = fn(&RulesRecord) -> Option<RuleSet>;

/// The engine, and what stands between it and the journal.
pub struct Fold {
    engine: Engine,
    compile: Compile,
    header: Header,
}

/// What a snapshot holds beside the engine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Header {
    rules: Option<RulesRecord>,
    offset_ms: i64,
}

/// What one entry led to.
#[derive(Debug, Default)]
pub struct Conclusions {
    /// The engine's decisions, in order.
    pub decisions: Vec<Decision>,
    /// What became of the entry's events, in order.
    pub judgements: Vec<Judgement>,
    /// What became of events that waited, in order.
    pub changes: Vec<OutcomeChange>,
    /// What of the entry is worth a log line: what was not understood.
    pub remarks: Vec<Remark>,
}

impl Conclusions {
    fn add(&mut self, reaction: Reaction) {
        // Mostly there is one: then nothing is moved.
        if self.decisions.is_empty() {
            self.decisions = reaction.decisions;
        } else {
            self.decisions.extend(reaction.decisions);
        }
        self.judgements.extend(reaction.judgement);
        self.changes.extend(reaction.changes);
    }
}

/// Something an operator wants to see of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Signed and well-formed, but not understood.
    Malformed {
        /// The source.
        source: Name,
        /// Its place in the journal.
        seq: Seq,
        /// What was expected.
        why: &'static str,
        /// How many items of the post it is said of.
        count: u64,
    },
    /// The rules of this entry cannot be read by this release: those before stay.
    RulesUnreadable,
}

/// What an LZ4 frame begins with.
const PACKED: [u8; 4] = 0x184D_2204_u32.to_le_bytes();

/// A snapshot's bytes as they were before packing; those of the first releases were not packed.
fn unpacked(snapshot: &[u8]) -> Result<Cow<'_, [u8]>, std::io::Error> {
    if !snapshot.starts_with(&PACKED) {
        return Ok(snapshot.into());
    }
    let mut plain = Vec::new();
    FrameDecoder::new(snapshot).read_to_end(&mut plain)?;
    Ok(plain.into())
}

impl Fold {
    /// A fold that begins with an empty state and these rules.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>, compile: Compile) -> Self {
        Self {
            engine: Engine::new(rules, openings, Limits::default()),
            compile,
            header: Header::default(),
        }
    }

    /// Continues from a snapshot made by [`Fold::snapshot`].
    ///
    /// # Errors
    /// One line, when the bytes are no snapshot this release can read.
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
        let rules = header
            .rules
            .as_ref()
            .and_then(compile)
            .map_or_else(|| Arc::clone(fallback), Arc::new);
        let engine = Engine::restore(rules, openings, Limits::default(), engine, seen)
            .map_err(|e| e.to_string())?;
        Ok(Self {
            engine,
            compile,
            header,
        })
    }

    /// Of a snapshot only what rules and clock were then, with an empty state.
    ///
    /// # Errors
    /// One line, when the bytes are no snapshot this release can read.
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

    /// The state as bytes, without the memory of duplicates (see [`Fold::take_seen`]).
    ///
    /// As LZ4: it says the same words of each of many thousand alerts, and as it is it would take
    /// several times the memory that the engine takes.
    #[must_use]
    pub fn snapshot(&self) -> Arc<[u8]> {
        // Neither maps with string keys and plain data nor writing to memory can fail.
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

    /// What the memory of duplicates gained since the last call.
    pub fn take_seen(&mut self) -> Vec<u8> {
        self.engine.take_seen()
    }

    /// Folds one entry.
    pub fn apply(&mut self, entry: &Journaled) -> Conclusions {
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
        let starts = matches!(&entry.record, Record::Rules(record) if record.start);
        if starts && matches!(input, Input::Rules(_)) {
            conclusions.add(self.engine.handle(entry.at, &Input::Started));
        }
        conclusions
    }

    fn apply_body(&mut self, at: Timestamp, arrival: &Arrival<'_>, conclusions: &mut Conclusions) {
        let mut malformed: Vec<(&'static str, u64)> = Vec::new();
        source::each(arrival, &mut |parsed| match parsed {
            Parsed::Event(event) => {
                conclusions.add(self.engine.handle(at, &Input::Event(event)));
            }
            Parsed::Malformed { why, count } => {
                match malformed.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, known)) => *known += count,
                    None => malformed.push((why, count)),
                }
            }
        });
        if malformed.is_empty() {
            return;
        }
        // Time moves, though nothing else does.
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

    /// Puts rules into force that are not from the journal.
    pub fn reload(&mut self, at: Timestamp, rules: Arc<RuleSet>) -> Vec<Decision> {
        self.engine.handle(at, &Input::Rules(rules)).decisions
    }

    /// Lets time pass.
    pub fn tick(&mut self, at: Timestamp) -> Vec<Decision> {
        self.engine.handle(at, &Input::Tick).decisions
    }

    /// Lets time run on until nothing is pending or waiting.
    pub fn wind_down(&mut self) -> Vec<Decision> {
        self.engine.wind_down().decisions
    }

    /// Tells what waits for a digest, each at its time.
    pub fn tell_digests(&mut self) -> Vec<Decision> {
        self.engine.tell_digests().decisions
    }

    /// Journal time at which something will happen by itself, if anything will.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.engine.next_wakeup()
    }

    /// Where every event ended so far.
    #[must_use]
    pub fn fates(&self) -> &EventFates {
        self.engine.fates()
    }

    /// How many alerts and incidents are open.
    #[must_use]
    pub fn open(&self) -> (usize, usize) {
        self.engine.open()
    }

    /// How many alerts are open of those that can be followed, and which rules hold most.
    #[must_use]
    pub fn fullness(&self) -> Fullness {
        self.engine.fullness()
    }

    /// What lasts, the youngest first: at most `limit`, and how many there are.
    #[must_use]
    pub fn incidents(&self, limit: usize) -> (Vec<IncidentState>, usize) {
        self.engine.incidents(limit)
    }

    /// The newest number that was given to an alert or an incident: whatever begins later has a
    /// greater one.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.engine.newest()
    }

    /// Whether an alert is still there: when it is not, nothing is decided about it any more.
    #[must_use]
    pub fn has(&self, alert: u64) -> bool {
        self.engine.has(alert)
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<RuleSet> {
        self.engine.rules()
    }

    /// The silences that stand, oldest first.
    #[must_use]
    pub fn silences(&self) -> Vec<SilenceState> {
        self.engine.silences()
    }

    /// Wall time minus journal time, as journaled last.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.header.offset_ms
    }
}

/// The notifications among decisions.
pub fn notifications(decisions: Vec<Decision>) -> impl Iterator<Item = Notification> {
    decisions
        .into_iter()
        .filter_map(|decision| match decision.verdict {
            Verdict::Notify(notification) => Some(*notification),
            _ => None,
        })
}

/// The messages among decisions, rendered.
pub fn messages(decisions: Vec<Decision>, templates: &crate::render::Templates) -> Vec<Message> {
    notifications(decisions)
        .map(|notification| templates.render(notification))
        .collect()
}

/// The types that open a condition, from the catalogues of all kinds of source.
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
