//! The whole but for HTTP, in virtual time: store, judge and dispatcher, a seeded chat that
//! answers as chats do on bad days, seeded posts that are lost, late and repeated, and crashes. The
//! seed decides everything.
//!
//! ```sh
//! cargo test --test simulated                     # a few seeds
//! FOGHORN_SEEDS=500 cargo test --release --test simulated -- --nocapture
//! FOGHORN_SEED=7 cargo test --test simulated      # the one that failed
//! ```
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, reason = "seeds are named")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use foghorn::clock::Clock;
use foghorn::config::{Config, rules_from_record};
use foghorn::dispatcher::{Dispatcher, Statuses, Summarise};
use foghorn::judge::Judge;
use foghorn::metrics::Metrics;
use foghorn::model::{Journaled, Message, Name, Record, Seq, SourceKind, Timestamp};
use foghorn::render::Templates;
use foghorn::simulate::Chance;
use foghorn::store::sqlite::Sqlite;
use foghorn::store::{Journal, MessageFates, Retention, Totals};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::chat::{Chat, Try};
use crate::held::Held;

mod chat;
mod held;
mod laws;

/// Monday, 5 January 2026, midnight UTC.
const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);
/// The chat has bad days for so long; then it is well.
const BAD: Duration = Duration::from_secs(2 * 3_600);
/// How long a chat that hangs is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);

const RULES: &str = r#"
rules:
  - name: AP unreachable
    match: {condition: ap_offline}
    for: 1m
    group_by: [device]
    repeat_interval: 20m
  - name: radar
    match: {type: AP_RADAR_DETECTED}
    cooldown: 5m
destinations:
  ops: {slack: {url: "https://chat.example/ops"}, rate_limit: {limit: 1, per: 10s, burst: 2}, overflow_after: 20s}
  calm: {webhook: {url: "https://chat.example/calm"}, rate_limit: {limit: 2, per: 1s, burst: 4}}
"#;

/// What arrives, and when. Every device that went down comes back, and that is not lost.
fn posts(chance: &mut Chance) -> Vec<(Duration, Value)> {
    let mut all = Vec::new();
    for device in 0..chance.between(3, 12) {
        let mut at = Duration::ZERO;
        let event = |kind: &str, at: Duration| {
            json!({"topic": "device-updowns", "events": [{
                "type": kind, "device_name": format!("ap-{device}"), "device_type": "ap", "site_name": "Home",
                "mac": format!("5c5b35{device:06x}"), "site_id": "978c48e6-6ef6-11e6-8bbf-02e208b2d34f",
                "org_id": "1688605f-916a-47a1-8c68-f19618300a08",
                "timestamp": (START + at).millis() as f64 / 1_000.0,
            }]})
        };
        loop {
            let down = at + chance.seconds(10, 1_800);
            at = down + chance.seconds(5, 900);
            if at > BAD {
                break;
            }
            bring(&mut all, down, &event("AP_DISCONNECTED", down), chance);
            bring(&mut all, at, &event("AP_CONNECTED", at), chance);
            if chance.percent(20) {
                bring(&mut all, at, &event("AP_RADAR_DETECTED", at), chance);
            }
        }
        all.push((BAD, event("AP_CONNECTED", BAD)));
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

/// Lost, late, or repeated.
fn bring(all: &mut Vec<(Duration, Value)>, at: Duration, body: &Value, chance: &mut Chance) {
    let copies = if chance.percent(5) {
        0
    } else {
        1 + u64::from(chance.percent(20))
    };
    for _ in 0..copies {
        let late = if chance.percent(10) {
            chance.seconds(5, 90)
        } else {
            chance.seconds(0, 4)
        };
        all.push((at + late, body.clone()));
    }
}

/// One judge and one dispatcher, until they are dropped as a crash would.
struct Running(Vec<tokio::task::JoinHandle<()>>);

impl Running {
    async fn start(store: &Held, chat: &Chat, config: &Config) -> Self {
        let (_keep, templates) = watch::channel(Arc::new(Templates::builtin()));
        let (ready, _) = watch::channel(false);
        let compile = rules_from_record;
        let restored = Judge::restore(
            store.clone(),
            &config.rules,
            compile,
            templates,
            Metrics::default(),
            ready,
        )
        .await;
        let judge = restored.unwrap().with_snapshot_every(20);
        let summarise: Summarise =
            Arc::new(|waiting: &[Message], gap| Templates::builtin().digest(waiting, gap));
        let views = (Statuses::default(), Metrics::default());
        let dispatcher = Dispatcher::new(
            store.clone(),
            chat.clone(),
            config.destinations.clone(),
            summarise,
            views,
        );
        let judging =
            tokio::spawn(async move { judge.run(CancellationToken::new()).await.unwrap() });
        Self(vec![
            judging,
            tokio::spawn(async move { dispatcher.run(CancellationToken::new()).await.unwrap() }),
        ])
    }

    async fn crash(self, store: &Held) {
        for task in self.0 {
            task.abort();
            let ended = task.await;
            assert!(
                ended
                    .as_ref()
                    .is_err_and(tokio::task::JoinError::is_cancelled),
                "it ended by itself: {ended:?}"
            );
        }
        // What was asked of the store before is made before, and the tasks of the lanes end; no
        // time passes.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        while store.calls.load(Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// What happened, for the laws.
struct Course {
    events: u64,
    crashes: Vec<Duration>,
    journal: Vec<Journaled>,
    tries: Vec<Try>,
    fates: BTreeMap<String, MessageFates>,
    config: Config,
}

async fn run(seed: u64, dir: &Path) -> Course {
    let mut chance = Chance::new(seed).part("simulated");
    let clock = Clock::pinned(START);
    let config =
        Config::parse(RULES, None, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    let store = Held {
        store: Sqlite::open(dir, clock, Retention::default()).unwrap(),
        calls: Arc::default(),
    };
    let down = chance.minutes(10, 90);
    let outage = down..down + chance.minutes(1, 30);
    let chat = Chat {
        chance: chance.part("chat"),
        clock,
        outage,
        tries: Arc::default(),
    };
    store.append(Record::Rules(config.record())).await.unwrap();
    let mut running = Running::start(&store, &chat, &config).await;
    let (mut events, mut crashes) = (0, Vec::new());
    for (at, body) in posts(&mut chance) {
        tokio::time::sleep(at.saturating_sub(clock.elapsed())).await;
        let body = body.to_string().into();
        store
            .append(Record::Received {
                source: Name::new("mist"),
                kind: SourceKind::default(),
                cursor: None,
                body,
            })
            .await
            .unwrap();
        events += 1;
        if chance.percent(3) {
            running.crash(&store).await;
            crashes.push(clock.elapsed());
            running = Running::start(&store, &chat, &config).await;
        }
    }
    // Every timer of the rules runs out, and every retry.
    tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
    let names: Vec<Name> = config
        .destinations
        .iter()
        .map(|destination| destination.name.clone())
        .collect();
    for _ in 0..600 {
        let totals = store.totals().await.unwrap();
        let mut ours = totals.iter().filter(|(name, _)| names.contains(name));
        if ours.all(|(_, totals)| totals.queued == 0) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    running.crash(&store).await;
    let journal = store.read(Seq::default(), 1_000_000).await.unwrap();
    let tries = chat.tries.lock().unwrap().clone();
    let fates = store
        .totals()
        .await
        .unwrap()
        .into_iter()
        .map(|(name, fates)| (name.to_string(), fates))
        .collect();
    Course {
        events,
        crashes,
        journal,
        tries,
        fates,
        config,
    }
}

fn course(seed: u64) -> Course {
    // What is on a disk costs real time, and no disk fails here.
    let dir = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(run(seed, dir.path()))
}

fn judge(seed: u64) -> Course {
    println!("seed {seed}: again with FOGHORN_SEED={seed} cargo test --test simulated");
    let course = course(seed);
    let said = course.said();
    course.every_end_is_told(&said);
    let ids: BTreeSet<_> = said
        .iter()
        .map(|message| message.about.id.as_str())
        .collect();
    assert!(
        ids.len() == said.len() && !ids.contains(""),
        "messages without an id of their own"
    );
    for to in ["ops", "calm"] {
        course.every_message_arrives(&said, to);
        course.nothing_is_said_twice(&said, to);
        course.the_pace_is_kept(to);
    }
    let sum = |of: fn(&MessageFates) -> u64| course.fates.values().map(of).sum::<u64>();
    println!(
        "  {} events, {} crashes, {} messages, {} tries; {} delivered, {} digested, {} dead",
        course.events,
        course.crashes.len(),
        said.len(),
        course.tries.len(),
        sum(|fates| fates.delivered),
        sum(|fates| fates.digested),
        sum(|fates| fates.dead)
    );
    assert!(
        !said.is_empty() && course.tries.len() > said.len(),
        "nothing happened"
    );
    course
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

#[test]
fn what_is_accepted_is_told_on_bad_days_too() {
    let seeds = match (number("FOGHORN_SEED"), number("FOGHORN_SEEDS")) {
        (Some(one), _) => one..one + 1,
        (None, many) => 1..1 + many.unwrap_or(5),
    };
    let (mut crashes, mut dead, mut digested, mut unheard) = (0, 0, 0, 0);
    let several = seeds.end - seeds.start > 3;
    for seed in seeds {
        let course = judge(seed);
        crashes += course.crashes.len();
        dead += course.fates["calm"].dead;
        digested += course.fates["ops"].digested;
        unheard += course
            .tries
            .iter()
            .filter(|one| one.taken && !one.answered(200))
            .count();
    }
    // The laws say little where nothing of this happens.
    assert!(
        !several || (crashes > 0 && dead > 0 && digested > 0 && unheard > 0),
        "the days were not bad"
    );
}

#[test]
fn a_seed_repeats() {
    let mut twice = [course(2).tries, course(2).tries];
    let order = |one: &Try| (one.at, one.to.clone(), one.body.clone());
    twice.iter_mut().for_each(|tries| tries.sort_by_key(order));
    let differs = twice[0]
        .iter()
        .zip(&twice[1])
        .find(|(one, other)| one != other);
    assert!(
        differs.is_none() && twice[0].len() == twice[1].len(),
        "{differs:?}"
    );
}
