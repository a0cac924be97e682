//! The rule engine: a deterministic state machine from time-stamped inputs to decisions.
//!
//! The engine reads no clock, does no IO and knows nothing of Slack or SQLite; `follower` feeds it.
//! For that reason `test` and `replay` run the same code as `serve`. [`Engine::handle`] fires every
//! timer that is due, each at its own due time, then applies the input. Time is journal time, and
//! only inputs move it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Event, EventFates, Name, Silence, Timestamp};
use crate::rules::{Policy, RuleSet};

mod absent;
mod alert;
mod close;
mod clues;
mod decision;
mod digest;
mod flap;
mod full;
mod gate;
mod incident;
mod inhibit;
mod judge;
mod open;
mod outcomes;
mod past;
mod reload;
mod say;
mod seen;
mod silence;
mod table;
mod tell;
mod timer;
mod view;
mod window;

pub use clues::PLANNED;
pub use decision::{Decision, Verdict};
pub use full::Fullness;
pub use outcomes::{Judgement, Reaction};
pub use seen::MEMORY as DUPLICATE_MEMORY;
pub use silence::SilenceState;
pub use view::{IncidentState, Progress};

use alert::{Alert, AlertId};
use incident::Incident;
use outcomes::Counters;
use seen::Seen;
use table::BoxMap;
use timer::Timer;
use window::Windows;

/// An input of the engine.
#[derive(Clone, Debug)]
pub enum Input {
    /// An event arrived.
    Event(Arc<Event>),
    /// Time passed.
    Tick,
    /// Time passed, and something is due. At most [`DUE_AT_ONCE`] timers fire; the others fire with
    /// the next input. The messages of a mass outage are thus made in batches, each of which takes
    /// little memory.
    Due,
    /// The process starts. Events sent while it was down were not received.
    Started,
    /// These rules apply from here on.
    Rules(Arc<RuleSet>),
    /// A person silenced some alerts.
    Silence(Silence),
    /// A person ended a silence before its time.
    Expire {
        /// The silence's id.
        id: String,
    },
    /// The offset between wall time and journal time changes.
    Clock {
        /// Signed milliseconds.
        offset_ms: i64,
    },
}

/// Timers that fire with one [`Input::Due`].
pub const DUE_AT_ONCE: usize = 500;

/// Limits on the engine's memory. Beyond them new alerts are sent but not tracked. An alert that
/// has notified somebody and can still end is never dropped.
#[derive(Clone, Copy, Debug)]
pub struct EngineLimits {
    /// Alerts open at once.
    pub alerts: usize,
    /// Last closes remembered, to recognise an opening that arrives after its close.
    pub closes: usize,
    /// Thresholds being counted at once.
    pub windows: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        // An alert takes some 3 KiB, its incident and its message half as much again, and each may
        // have one of its own: all together they take less than 96 MiB.
        Self {
            alerts: 16_000,
            closes: 50_000,
            windows: 20_000,
        }
    }
}

/// One type that opens a condition, as the catalogue of a source knows it.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// The topic on which it arrives.
    pub topic: &'static str,
    /// The type.
    pub kind: &'static str,
    /// The alarm's group; empty if unknown.
    pub group: &'static str,
}

/// Looks up the types that open a condition in the catalogue of a source.
pub type Openings = fn(&str) -> Vec<Opening>;

/// The state machine.
#[derive(Clone, Debug)]
pub struct Engine {
    rules: Arc<RuleSet>,
    by_name: HashMap<Arc<str>, usize>,
    openings: Openings,
    /// Caches by rule position and condition: does the rule match any opening of the condition?
    watches: HashMap<(usize, Arc<str>), bool>,
    /// Caches by condition: does any rule match an opening of it?
    watched: HashMap<Arc<str>, bool>,
    limits: EngineLimits,
    state: EngineState,
    seen: Seen,
    index: Indexes,
    decisions: Vec<Decision>,
}

/// Everything a snapshot holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct EngineState {
    now: Timestamp,
    offset_ms: i64,
    next_id: u64,
    alerts: BoxMap<Alert>,
    incidents: BoxMap<Incident>,
    closes: close::Closes,
    windows: Windows,
    #[serde(rename = "ledger")]
    counters: Counters,
    /// Times of recent state changes, for the detection of flapping.
    #[serde(default)]
    changes: flap::Changes,
    #[serde(default)]
    notes: clues::Notes,
    #[serde(default)]
    silences: Vec<silence::ActiveSilence>,
    #[serde(default)]
    collectors: digest::PendingReports,
    #[serde(default)]
    absences: absent::Absences,
    /// True once the first input has arrived.
    #[serde(default)]
    begun: bool,
    /// Events suppressed by a cooldown that has ended, by rule and fingerprint. The next alert
    /// reports their number.
    unsaid: BTreeMap<String, u64>,
    /// Policies of removed rules that still have open alerts.
    orphans: BTreeMap<Arc<str>, Arc<Policy>>,
    /// Set while more alerts are open than the engine can track.
    #[serde(default)]
    full: Option<full::Full>,
    /// Earlier versions of rules, by number: those that notified about alerts which are still open.
    #[serde(default)]
    pasts: BTreeMap<u64, past::PastRule>,
}

/// Indexes for fast lookups; rebuilt from the state.
#[derive(Clone, Debug, Default)]
struct Indexes {
    by_fingerprint: HashMap<(Arc<str>, String), AlertId>,
    by_key: HashMap<String, Vec<AlertId>>,
    by_group: HashMap<(Arc<str>, String), u64>,
    /// Alerts of earlier versions of rules, by the keys that the rules in force give them.
    aliases: BTreeMap<String, Vec<AlertId>>,
    timers: BTreeSet<(Timestamp, Timer)>,
    /// Alerts that are dropped first when there are too many, oldest first: nobody waits for their
    /// end.
    spare: BTreeSet<AlertId>,
    /// Alerts suppressed at the moment.
    held: BTreeSet<AlertId>,
    /// Alerts that may inhibit others, by inhibit rule and the value of its `equal` fields.
    sources: HashMap<(usize, String), BTreeSet<AlertId>>,
    /// Alerts that may be inhibited, by the same keys.
    targets: HashMap<(usize, String), BTreeSet<AlertId>>,
    /// The alerts inhibited by each alert.
    targets_of: HashMap<AlertId, BTreeSet<AlertId>>,
    /// The due times of timers that exist only once.
    single: BTreeMap<Timer, Timestamp>,
}

impl Indexes {
    fn note(&mut self, id: AlertId, member: &alert::Member) {
        let ids = self.by_key.entry(member.key.clone()).or_default();
        // Ascending, so that a restored engine closes in the same order as one that never stopped.
        if let Err(place) = ids.binary_search(&id) {
            ids.insert(place, id);
        }
    }

    /// Removes members from the index, except keys that a remaining member still has.
    fn forget(&mut self, id: AlertId, gone: &[alert::Member], stay: &[alert::Member]) {
        for member in gone.iter().filter(|m| !stay.iter().any(|s| s.key == m.key)) {
            if let Some(ids) = self.by_key.get_mut(&member.key) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_key.remove(&member.key);
                }
            }
        }
    }
}

/// The reason a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot cannot be read: {0}")]
pub struct BadSnapshot(#[from] serde_json::Error);

impl Engine {
    /// Creates an engine with an empty state.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>, openings: Openings, limits: EngineLimits) -> Self {
        let mut engine = Self {
            rules: Arc::default(),
            by_name: HashMap::new(),
            openings,
            watches: HashMap::new(),
            watched: HashMap::new(),
            limits,
            state: EngineState::default(),
            seen: Seen::default(),
            index: Indexes::default(),
            decisions: Vec::new(),
        };
        // The rules go through the same path as a reload, which fills all that depends on them.
        engine.set_rules(rules);
        engine
    }

    /// Continues from a snapshot. `seen` holds the memory of duplicates up to that point, oldest
    /// first.
    ///
    /// # Errors
    /// Fails if this release cannot read the bytes.
    pub fn restore<'a>(
        rules: Arc<RuleSet>,
        openings: Openings,
        limits: EngineLimits,
        snapshot: &[u8],
        seen: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, BadSnapshot> {
        let mut engine = Self::new(rules, openings, limits);
        // The state of the new engine is replaced, so its indexes are rebuilt afterwards.
        engine.state = serde_json::from_slice(snapshot)?;
        seen.into_iter().for_each(|bytes| engine.seen.load(bytes));
        engine.reindex();
        Ok(engine)
    }

    /// Writes the state, without the memory of duplicates (see [`Engine::take_seen`]).
    ///
    /// # Errors
    /// Fails if the writer fails.
    pub fn snapshot(&self, to: impl std::io::Write) -> std::io::Result<()> {
        Ok(serde_json::to_writer(to, &self.state)?)
    }

    /// Returns the content hashes added to the memory of duplicates since the last call. The caller
    /// stores them with the step and passes them to `restore`.
    pub fn take_seen(&mut self) -> Vec<u8> {
        self.seen.take_fresh()
    }

    /// Fires every timer due at or before `at`, each at its own due time, then applies the input.
    pub fn handle(&mut self, at: Timestamp, input: &Input) -> Reaction {
        // Journal time never runs backwards: a late input takes the time of the one before it.
        let at = at.max(self.state.now);
        // The first input of all starts the `absent` rules, as a restart does.
        if !std::mem::replace(&mut self.state.begun, true) {
            self.state.now = at;
            self.listen();
        }
        if matches!(input, Input::Due) && !self.fire_some(at, DUE_AT_ONCE) {
            return self.react();
        }
        self.fire_timers(at);
        self.state.now = at;
        match input {
            Input::Event(event) => self.judge(event),
            Input::Tick | Input::Due => {}
            Input::Started => self.listen(),
            Input::Rules(rules) => self.set_rules(Arc::clone(rules)),
            Input::Silence(silence) => self.silence(silence),
            Input::Expire { id } => self.expire(id),
            Input::Clock { offset_ms } => {
                self.state.offset_ms = *offset_ms;
                self.clock_set();
            }
        }
        // The input itself may have armed timers that are due at once.
        self.fire_timers(at);
        self.react()
    }

    /// Takes the conclusions since the last call.
    fn react(&mut self) -> Reaction {
        let (judgement, changes) = self.state.counters.take();
        Reaction {
            decisions: std::mem::take(&mut self.decisions),
            judgement,
            changes,
        }
    }

    /// Returns how many events ended in each outcome so far.
    #[must_use]
    pub fn fates(&self) -> &EventFates {
        self.state.counters.fates()
    }

    /// Returns whether an alert still exists; later decisions cannot concern one that does not.
    #[must_use]
    pub fn has(&self, alert: u64) -> bool {
        self.state.alerts.get(&alert).is_some()
    }

    /// Returns the newest number given to an alert or an incident. Later ones get greater numbers.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.state.next_id
    }

    /// Returns the rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Returns the numbers of open alerts and incidents.
    #[must_use]
    pub fn open(&self) -> (usize, usize) {
        (self.state.alerts.len(), self.state.incidents.len())
    }

    /// Wall time of the current input.
    fn wall(&self) -> Timestamp {
        self.state.now.shifted(self.state.offset_ms)
    }

    fn decide(
        &mut self,
        alerts: &[AlertId],
        event: Option<&Event>,
        rule: Option<&Arc<str>>,
        verdict: Verdict,
    ) {
        self.decisions.push(Decision {
            at: self.state.now,
            event: event.map(|e| e.id),
            alerts: alerts.to_vec(),
            rule: rule.cloned(),
            verdict,
        });
    }

    fn rule(&self, name: &Arc<str>) -> Option<&Arc<crate::rules::Rule>> {
        self.rules.rules().get(*self.by_name.get(name)?)
    }

    /// Returns the policy of a rule, including a removed rule that still has alerts.
    fn policy(&self, rule: &Arc<str>) -> Arc<Policy> {
        let current = self
            .by_name
            .get(rule)
            .and_then(|&position| self.rules.rules().get(position))
            .map(|r| &r.policy);
        current
            .or_else(|| self.state.orphans.get(rule))
            .map(Arc::clone)
            .unwrap_or_default()
    }

    /// Returns the next number for an alert or an incident.
    fn next_id(&mut self) -> u64 {
        self.state.next_id += 1;
        self.state.next_id
    }

    fn threshold(&self, rule: &Arc<str>) -> Option<crate::rules::Threshold> {
        self.rules
            .rules()
            .get(*self.by_name.get(rule)?)?
            .threshold
            .clone()
    }

    fn reindex(&mut self) {
        // Indexes are not part of the snapshot: a stale index could contradict the state it came
        // with.
        self.index = Indexes::default();
        self.state.closes.reindex();
        self.state.changes.reindex();
        self.state.notes.reindex();
        self.state.absences.reindex();
        self.recompile_silences();
        for (&id, alert) in self.state.alerts.iter() {
            self.index.by_fingerprint.insert(
                (
                    Self::place(&alert.rule, alert.past),
                    alert.fingerprint.clone(),
                ),
                id,
            );
            alert
                .members
                .iter()
                .for_each(|member| self.index.note(id, member));
            if alert.is_spare() {
                self.index.spare.insert(id);
            }
            if alert.is_held() {
                self.index.held.insert(id);
            }
            for &source in &alert.sources {
                self.index.targets_of.entry(source).or_default().insert(id);
            }
        }
        for (&id, incident) in self.state.incidents.iter() {
            self.index
                .by_group
                .insert((Arc::clone(&incident.rule), incident.identity.clone()), id);
        }
        // These need the indexes above.
        self.index_aliases();
        self.index_relations();
        self.arm_all();
        self.arm_silences();
        self.arm_calendar();
        self.arm_absences();
        self.arm_passed_on();
    }

    /// Returns whether a destination of this name exists.
    fn is_there(&self, name: &Name) -> bool {
        let known = self.rules.destinations().iter().map(|(known, _)| known);
        let digests = self.rules.surroundings().digests.iter().map(|d| &d.name);
        known.chain(digests).any(|known| known == name)
    }

    /// Returns whether any destination notified of an alert still exists.
    fn is_heard(&self, alert: &alert::Alert) -> bool {
        alert.told_to.iter().any(|name| self.is_there(name))
    }

    /// Returns the digests, each with the lowest severity it accepts.
    fn digests(&self) -> Vec<(Name, crate::model::Severity)> {
        let digests = self.rules.surroundings().digests.iter();
        digests.map(|d| (d.name.clone(), d.min_severity)).collect()
    }

    /// Returns the destinations of a rule, each with the lowest severity it accepts.
    fn targets(&self, policy: &Policy) -> Vec<(Name, crate::model::Severity)> {
        let all = self.rules.destinations();
        match &policy.notify {
            // Digests take part only if a rule names them.
            None => all.to_vec(),
            Some(names) => {
                let digests = self
                    .rules
                    .surroundings()
                    .digests
                    .iter()
                    .map(|d| (d.name.clone(), d.min_severity));
                all.iter()
                    .cloned()
                    .chain(digests)
                    .filter(|(name, _)| names.contains(name))
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests;
