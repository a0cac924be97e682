//! One case through every way there is to judge it: as `serve` does, with a tick for each timer
//! and kills; without a tick; as `replay` does; and as `explain` looks at it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use foghorn::config::{Config, rules_from_record};
use foghorn::explain::{DecisionLine, Question, Story};
use foghorn::fold::{Fold, notifications};
use foghorn::history::History;
use foghorn::model::{
    EventOutcome, Journaled, Name, Notification, OutcomeChange, Reason, Record, RulesRecord, Seq,
    Severity, Silence, SourceKind, Timestamp, Until,
};
use foghorn::render::Templates;
use foghorn::replay::{Refold, Stored};
use foghorn::rules::RuleSet;
use foghorn::simulate::Chance;
use foghorn::store::EventRow;

use crate::generate::{Case, DEVICES, File, H, Inhibit, Item, M, Rule, START, Step, What};
use crate::oracle::Oracle;

/// What one run of a case gave.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) wrong: Vec<String>,
    pub(crate) said: Vec<Notification>,
}

thread_local! {
    /// Reading a file takes longer than a case.
    static READ: RefCell<HashMap<String, Option<RuleSet>>> = RefCell::default();
}

fn compile(record: &RulesRecord) -> Option<RuleSet> {
    READ.with_borrow_mut(|read| {
        if read.len() > 64 {
            read.clear();
        }
        let known = read.entry(record.text.clone());
        known.or_insert_with(|| rules_from_record(record)).clone()
    })
}

fn templates() -> &'static Templates {
    static BUILTIN: OnceLock<Templates> = OnceLock::new();
    BUILTIN.get_or_init(Templates::builtin)
}

/// As `Config::record` has it.
fn record(file: &File, start: bool) -> RulesRecord {
    let least = |word: &Option<&str>| word.and_then(Severity::parse).unwrap_or(Severity::Info);
    let destinations = file.destinations.iter();
    let destinations = destinations.map(|(name, word)| (Name::new(name), least(word)));
    RulesRecord {
        text: file.text(),
        destinations: destinations.collect(),
        start,
    }
}

/// Every file of a case is one that `serve` would take.
fn files_are_fine(case: &Case) -> Option<String> {
    let reloads = case.steps.iter().filter_map(|step| match &step.what {
        What::Reload(file) => Some(file),
        _ => None,
    });
    let mut all = std::iter::once(&case.file).chain(reloads);
    all.find_map(|file| {
        let parsed = Config::parse(&file.text(), None, &|_| None);
        let config = match parsed {
            Ok(config) => config,
            Err(problems) => return Some(format!("the file has problems: {problems}")),
        };
        let by_destination = |record: RulesRecord| {
            let mut all = record.destinations;
            all.sort();
            all
        };
        let same = by_destination(config.record()) == by_destination(record(file, false));
        (!same).then(|| "the file has problems: other destinations".to_owned())
    })
}

fn entry_of(step: &Step, file: &File) -> Option<Record> {
    Some(match &step.what {
        What::Post(items) => Record::Received {
            source: Name::new("mist"),
            kind: SourceKind::default(),
            cursor: None,
            body: Item::body(items).to_string().into(),
        },
        What::Clock(offset) => Record::Clock { offset_ms: *offset },
        What::Reload(file) => Record::Rules(record(file, false)),
        What::Restart => Record::Rules(record(file, true)),
        What::Kill => return None,
        What::Silence { id, matches, until } => Record::Silence(Silence {
            id: format!("silence{id}"),
            matches: matches.json(),
            until: until.map_or(Until::Resolved, |until| {
                Until::At(Timestamp::from_millis(START + until))
            }),
            author: "somebody".to_owned(),
            comment: String::new(),
            created: Timestamp::from_millis(START + step.at),
        }),
        What::Expire(id) => Record::Expire {
            id: format!("silence{id}"),
            author: "somebody".to_owned(),
        },
    })
}

/// A fold that can be killed: what it said of each entry, and its last snapshot.
struct Serve {
    fold: Fold,
    journal: Vec<Journaled>,
    /// What was said after each entry.
    said: Vec<Vec<Notification>>,
    saved: Option<(usize, Arc<[u8]>)>,
    seen: Vec<Vec<u8>>,
    rules: RulesRecord,
    chance: Chance,
}

impl Serve {
    fn start(rules: &RulesRecord, chance: Chance) -> Result<Self, String> {
        let compiled = compile(rules).ok_or("the rules cannot be read")?;
        Ok(Self {
            fold: Fold::new(Arc::new(compiled), compile),
            journal: Vec::new(),
            said: Vec::new(),
            saved: None,
            seen: Vec::new(),
            rules: rules.clone(),
            chance,
        })
    }

    fn append(&mut self, at: i64, record: Record) -> Vec<Notification> {
        let last = self
            .journal
            .last()
            .map_or(Timestamp::EPOCH, |entry| entry.at);
        let entry = Journaled {
            seq: Seq(self.journal.len() as u64 + 1),
            at: last.max(Timestamp::from_millis(START + at)),
            record,
        };
        let said: Vec<Notification> = notifications(self.fold.apply(&entry).decisions).collect();
        self.journal.push(entry);
        self.said.push(said.clone());
        if self.chance.percent(10) {
            self.seen.push(self.fold.take_seen());
            self.saved = Some((self.journal.len(), self.fold.snapshot()));
        }
        said
    }

    /// Appends a tick for each timer that is due by then, as the processor does.
    fn until(&mut self, at: i64, mut heard: impl FnMut(&[Notification])) {
        for _ in 0..10_000 {
            let due = self.fold.next_wakeup();
            let Some(due) = due.filter(|due| due.millis() - START <= at) else {
                return;
            };
            // It wakes a little late.
            let late = (due.millis() - START + self.chance.between(0, 3) as i64).min(at);
            heard(&self.append(late, Record::Tick));
        }
    }

    /// Kills it: the fold goes on from the last snapshot, and must say what was said.
    fn kill(&mut self) -> Result<(), String> {
        let from = self.saved.as_ref().map_or(0, |(at, _)| *at);
        let fallback = compile(&self.rules).ok_or("the rules cannot be read")?;
        let fallback = Arc::new(fallback);
        self.fold = match &self.saved {
            None => Fold::new(fallback, compile),
            Some((_, snapshot)) => {
                let seen = self.seen.iter().map(Vec::as_slice);
                Fold::restore(snapshot, seen, &fallback, compile)?
            }
        };
        for (entry, said) in self.journal.iter().zip(&self.said).skip(from) {
            let again: Vec<Notification> =
                notifications(self.fold.apply(entry).decisions).collect();
            if again != *said {
                return Err(format!(
                    "a refold differs: entry {}: {} became {}",
                    entry.seq,
                    brief(said),
                    brief(&again)
                ));
            }
        }
        Ok(())
    }
}

/// Messages in a few words.
pub(crate) fn brief(all: &[Notification]) -> String {
    let one = |about: &Notification| {
        let subjects: Vec<String> = about
            .subjects
            .iter()
            .map(|subject| {
                let name = subject.device_mac.as_deref().unwrap_or("site");
                let name = DEVICES
                    .iter()
                    .enumerate()
                    .find(|(n, _)| crate::generate::mac(*n) == name)
                    .map_or(name, |(_, device)| device.0);
                let part = subject.part.as_deref().unwrap_or_default();
                let what = subject.of.as_ref().map_or("", |of| of.kind.as_str());
                let end = if subject.ends_at.is_some() {
                    " ended"
                } else {
                    ""
                };
                format!("{name}{part} {what}{end}")
            })
            .collect();
        let to: Vec<&str> = about.to.iter().map(Name::as_str).collect();
        format!(
            "{:>9.3} {} {} {} -> {}: {} ({})",
            (about.at.millis() - START) as f64 / 1_000.0,
            about.rule,
            about.reason,
            about.severity,
            to.join(","),
            subjects.join(", "),
            about.incident,
        )
    };
    all.iter().map(one).collect::<Vec<_>>().join("\n    ")
}

/// What two ways of judging say must be equal, one by one.
fn same(what: &str, one: &[Notification], other: &[Notification]) -> Option<String> {
    let first = one.iter().zip(other).position(|(a, b)| a != b);
    let at = first.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))?;
    let show = |all: &[Notification]| {
        all.get(at).map_or_else(
            || "nothing".to_owned(),
            |one| brief(std::slice::from_ref(one)),
        )
    };
    let deep = match (one.get(at), other.get(at)) {
        (Some(a), Some(b)) if brief(std::slice::from_ref(a)) == brief(std::slice::from_ref(b)) => {
            format!("\n{a:?}\n{b:?}")
        }
        _ => String::new(),
    };
    Some(format!(
        "{what} differs: {} became {}{deep}",
        show(one),
        show(other)
    ))
}

/// Runs a case, and holds the laws against it; of those that take a second fold the one of that
/// number, of five.
pub(crate) fn run(case: &Case, which: Option<u64>) -> Outcome {
    match judged(case, which) {
        Ok(outcome) => outcome,
        Err(wrong) => Outcome {
            wrong: vec![wrong],
            said: Vec::new(),
        },
    }
}

fn judged(case: &Case, which: Option<u64>) -> Result<Outcome, String> {
    let chance = Chance::new(case.steps.len() as u64).part("serve");
    let first = record(&case.file, true);
    let mut serve = Serve::start(&first, chance)?;
    let mut oracle = Oracle::new(case);
    let mut all = Vec::new();
    all.extend(serve.append(0, Record::Rules(first)));
    let mut file = &case.file;
    let mut kills = Ok(());
    let end = case.steps.last().map_or(0, |step| step.at) + 9 * H;
    // The time after the last step is looked at a few times, too.
    let rests = [M, 10 * M, H, 3 * H, 9 * H].map(|rest| end - 9 * H + rest);
    let mut rests = rests.into_iter().filter(|_| !case.steps.is_empty());
    for step in &case.steps {
        serve.until(step.at, |said| {
            said.iter().for_each(|about| oracle.heard(about));
            all.extend_from_slice(said);
        });
        oracle.settled(step.at);
        if let What::Kill = step.what {
            kills = kills.and(serve.kill());
            continue;
        }
        if let What::Reload(new) = &step.what {
            file = new;
        }
        let Some(record) = entry_of(step, file) else {
            continue;
        };
        let said = serve.append(step.at, record);
        oracle.step(step);
        said.iter().for_each(|about| oracle.heard(about));
        all.extend(said);
    }
    for rest in rests.by_ref() {
        serve.until(rest, |said| {
            said.iter().for_each(|about| oracle.heard(about));
            all.extend_from_slice(said);
        });
        oracle.settled(rest);
    }
    let mut wrong = oracle.wrong;
    wrong.extend(kills.err());
    let Some(which) = which else {
        return Ok(Outcome { wrong, said: all });
    };
    // Each takes as long as the case itself.
    wrong.extend(match which {
        0 => files_are_fine(case),
        1 => without_ticks(&serve, end, &all)?,
        2 => replayed(case, &serve, end, &all)?,
        3 => explained(case, &serve, &all)?,
        _ => reasons(case, &serve)?,
    });
    Ok(Outcome { wrong, said: all })
}

/// Ticks are neutral: timers fire at their own times.
fn without_ticks(serve: &Serve, end: i64, all: &[Notification]) -> Result<Option<String>, String> {
    let rules = compile(&serve.rules).ok_or("the rules cannot be read")?;
    let mut fold = Fold::new(Arc::new(rules), compile);
    let mut said = Vec::new();
    for entry in &serve.journal {
        if entry.record != Record::Tick {
            said.extend(notifications(fold.apply(entry).decisions));
        }
    }
    said.extend(notifications(
        fold.tick(Timestamp::from_millis(START + end)),
    ));
    Ok(same("a fold without ticks", all, &said))
}

/// `replay` of the stored journal says what `serve` said, where the rules are those it began with.
fn replayed(
    case: &Case,
    serve: &Serve,
    end: i64,
    all: &[Notification],
) -> Result<Option<String>, String> {
    // Replay runs by the wall clock: where that was set, times are others.
    let other = |step: &Step| matches!(step.what, What::Reload(_) | What::Restart | What::Clock(_));
    if case.steps.iter().any(other) || case.file.rules.iter().any(|rule| rule.absent.is_some()) {
        return Ok(None);
    }
    let rules = compile(&serve.rules).ok_or("the rules cannot be read")?;
    let mut replay = Refold::new(Arc::new(rules));
    let mut stored = Stored::since(None);
    let mut said = Vec::new();
    for entry in &serve.journal {
        stored.take(entry.clone(), |heard| said.extend(replay.hear(&heard)));
    }
    // Without a time to run to, reminders and what goes stale come no more: else the same is said.
    let winds_down = |rule: &Rule| rule.repeat.is_none() && rule.stale.is_none();
    let until = Timestamp::from_millis(START + end);
    let ends = case.file.rules.iter().all(winds_down) && !case.file.digest;
    let until = (!ends).then_some(until);
    said.extend(replay.finish(until));
    let said: Vec<Notification> = notifications(said).map(without_place).collect();
    let all: Vec<Notification> = all.iter().cloned().map(without_place).collect();
    Ok(same("replay", &all, &said))
}

/// Numbers depend on where in the journal it stands: replay leaves out what is no traffic.
fn without_place(about: Notification) -> Notification {
    Notification {
        id: String::new(),
        incident: String::new(),
        ..about
    }
}

/// What was notified of a device is what `explain` says of it.
fn explained(case: &Case, serve: &Serve, all: &[Notification]) -> Result<Option<String>, String> {
    let chosen = all.len() % DEVICES.len();
    let name = DEVICES[chosen].0;
    let rules = compile(&serve.rules).ok_or("the rules cannot be read")?;
    let question = Question::Device(name.to_owned(), Timestamp::EPOCH);
    let mut story = Story::new(
        question,
        Arc::new(rules),
        compile,
        templates(),
        "rules.yaml".to_owned(),
    );
    for entry in &serve.journal {
        story.entry(entry);
    }
    // A rule that waits for what does not come is about no device.
    let absent = |about: &Notification| {
        let rules = case.file.rules.iter();
        let mut rules = rules.chain(case.steps.iter().flat_map(|step| match &step.what {
            What::Reload(file) => file.rules.iter(),
            _ => [].iter(),
        }));
        rules.any(|rule| rule.name == about.rule && rule.absent.is_some())
    };
    let of_device = |about: &&Notification| {
        if absent(about) || about.reason == Reason::Digest {
            return false;
        }
        let mac = crate::generate::mac(chosen);
        about
            .subjects
            .iter()
            .any(|subject| subject.device_mac.as_deref() == Some(mac.as_str()))
    };
    let sent: BTreeSet<String> = all
        .iter()
        .filter(of_device)
        .map(|about| about.id.clone())
        .collect();
    let told: BTreeSet<String> = story
        .answer(None)
        .iter()
        .filter_map(|chapter| chapter.message.as_ref())
        .map(|message| message.about.id.clone())
        .collect();
    let missing: Vec<Notification> = all
        .iter()
        .filter(|about| sent.contains(&about.id) && !told.contains(&about.id))
        .cloned()
        .collect();
    Ok((!missing.is_empty()).then(|| {
        format!(
            "explain leaves out what was sent of {name}: {}",
            brief(&missing)
        )
    }))
}

/// What became of an event, by the history, is what `explain` says of it, and its reason is true.
fn reasons(case: &Case, serve: &Serve) -> Result<Option<String>, String> {
    let rules = compile(&serve.rules).ok_or("the rules cannot be read")?;
    let mut fold = Fold::new(Arc::new(rules), compile);
    let mut history = History::default();
    for entry in &serve.journal {
        history.add(&mut fold.apply(entry));
    }
    let added = history.take();
    let told = |row: &&EventRow| {
        let by_change = |change: &OutcomeChange| {
            row.waits == Some(change.waits)
                && row.id <= change.upto
                && change.outcome == EventOutcome::Notified
        };
        row.outcome == EventOutcome::Notified || added.changes.iter().any(by_change)
    };
    let step = added.rows.len() / 8 + 1;
    for row in added.rows.iter().step_by(step) {
        let question = Question::Event(row.id);
        let rules = compile(&serve.rules).ok_or("the rules cannot be read")?;
        let file = "rules.yaml".to_owned();
        let mut story = Story::new(question, Arc::new(rules), compile, templates(), file);
        for entry in &serve.journal {
            story.entry(entry);
        }
        let answer = story.answer(None);
        let lines: Vec<&DecisionLine> = answer.iter().map(|chapter| &chapter.line).collect();
        let notified = lines.iter().any(|line| line.verdict == "notify");
        let collected = lines.iter().any(|line| line.verdict == "collected");
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        if told(&row) && !notified && !collected {
            return Ok(Some(format!(
                "explain contradicts the outcome: event {} was notified: {texts:?}",
                row.id
            )));
        }
        if let Some(line) = lines
            .iter()
            .find(|line| names_the_wrong_key(case, line, &lines))
        {
            return Ok(Some(format!(
                "explain names the wrong key: event {}: {}: {texts:?}",
                row.id, line.text
            )));
        }
    }
    Ok(None)
}

/// Whether what ended within `for` or `hold` is said to have waited for company, or the other way
/// round, where nothing else kept it.
fn names_the_wrong_key(case: &Case, line: &DecisionLine, lines: &[&DecisionLine]) -> bool {
    let plain = case.file.maintenance.is_empty()
        && case
            .steps
            .iter()
            .all(|step| matches!(step.what, What::Post(_) | What::Kill));
    let rule = case
        .file
        .rules
        .iter()
        .find(|rule| line.rule.as_deref() == Some(rule.name.as_str()));
    let Some(rule) = rule.filter(|rule| plain && rule.mute.is_none() && rule.keep == 0) else {
        return false;
    };
    let own = lines.iter().filter(|other| other.alerts == line.alerts);
    let mut own = own.filter(|other| other.verdict != "below_threshold");
    let Some(first) = own.clone().next() else {
        return false;
    };
    let simple = own.all(|other| {
        ["pending", "firing", "again", "holding", "ended_untold"].contains(&other.verdict.as_str())
    });
    if line.verdict != "ended_untold" || !simple || rule.conditions.len() != 1 {
        return false;
    }
    let lasted = line.at.since(first.at).as_millis() as i64;
    let targets = |inhibit: &&Inhibit| inhibit.target == rule.conditions[0];
    let holds = case.file.inhibit.iter().filter(targets);
    let hold = holds.map(|inhibit| inhibit.hold.unwrap_or(30_000)).max();
    let company = line.text.contains("(`group_wait`)") || line.text.contains("(`group_interval`)");
    let waits = rule.wait.max(hold.unwrap_or(0));
    (company && lasted < waits) || (line.text.contains("(`for`)") && lasted >= rule.wait)
}
