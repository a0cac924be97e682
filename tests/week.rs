//! What the shipped rules make of simulated weeks: every incident told, in time, its end once, and
//! hardly anything else.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use foghorn::config::Config;
use foghorn::model::{Message, Name, Seq, SourceKind, Timestamp};
use foghorn::replay::{Post, Replay};
use foghorn::simulate::referee::{RefereeReport, Tolerance, judge};
use foghorn::simulate::{Fault, Options, Preset, Simulation, simulate};
use foghorn::source::{Arrival, ParsedItem};

/// Monday, 5 January 2026, midnight.
const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);

/// What one seed's messages were, and how many events there were.
struct Outcome {
    verdict: RefereeReport,
    events: usize,
}

fn config() -> Config {
    Config::load_offline(None, &|_| None).expect("the shipped rules are fine")
}

/// Folds the traffic by the shipped rules.
fn replay(config: &Config, simulation: &Simulation) -> Vec<Message> {
    let templates = config
        .load_templates()
        .expect("the shipped templates are fine");
    let mut replay = Replay::new(Arc::clone(&config.rules), &templates);
    let mut messages = Vec::new();
    for post in &simulation.posts {
        let body = post.body.clone().into();
        messages.extend(replay.post(&Post {
            received_at: Some(post.received_at),
            source: Name::new("mist"),
            kind: SourceKind::default(),
            body,
        }));
    }
    messages.extend(replay.finish(None));
    messages
}

/// Compares the messages with the truth.
fn verdict(
    config: &Config,
    simulation: &Simulation,
    messages: &[Message],
    lossy: bool,
) -> RefereeReport {
    let allowance = if lossy {
        Tolerance::LOSSY
    } else {
        Tolerance::STRICT
    };
    judge(
        messages,
        (&simulation.incidents, &simulation.quiet),
        &config.rules,
        allowance,
    )
}

/// What a network of this kind may cost.
struct Limits {
    preset: Preset,
    lossy: bool,
    seeds: std::ops::Range<u64>,
    /// Unwanted messages of any one seed.
    unwanted: usize,
}

impl Limits {
    /// Of the lossy weeks every second has one webhook only: what is lost there comes no second
    /// time.
    fn options(&self, seed: u64) -> Options {
        let site_webhooks = !self.lossy || seed.is_multiple_of(2);
        Options {
            preset: self.preset,
            seed,
            start: START,
            days: 7,
            lossy: self.lossy,
            site_webhooks,
        }
    }

    fn run(&self, config: &Config, seed: u64) -> Outcome {
        let simulation = simulate(self.options(seed));
        let messages = replay(config, &simulation);
        let verdict = verdict(config, &simulation, &messages, self.lossy);
        Outcome {
            verdict,
            events: simulation.events(),
        }
    }

    /// Runs every seed, prints the figures, and gives what is wrong with them.
    fn judge(&self, name: &str) -> Vec<String> {
        let config = config();
        let mut wrong = Vec::new();
        let mut total = RefereeReport::default();
        let mut events = 0;
        for seed in self.seeds.clone() {
            let Outcome {
                verdict,
                events: came,
            } = self.run(&config, seed);
            wrong.extend(
                verdict
                    .complaints()
                    .into_iter()
                    .map(|line| format!("seed {seed}: {line}")),
            );
            if verdict.unwanted.len() > self.unwanted {
                let all = verdict.unwanted.join("\n    ");
                wrong.push(format!(
                    "seed {seed}: {} unwanted messages:\n    {all}",
                    verdict.unwanted.len()
                ));
            }
            events += came;
            total.add(verdict);
        }
        let weeks = self.seeds.clone().count();
        println!(
            "\n{name}: {weeks} weeks\n{total}\n  {} messages were sent; a script that posts every event sends {events} ({} a week)",
            total.messages,
            events / weeks.max(1),
        );
        if total.messages_per_incident() > 2.2 {
            wrong.push(format!(
                "{:.2} messages an incident",
                total.messages_per_incident()
            ));
        }
        wrong
    }

    fn hold(&self, name: &str) {
        let wrong = self.judge(name);
        assert!(
            wrong.is_empty(),
            "{name}: {} things are wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}

#[test]
fn home() {
    Limits {
        preset: Preset::Home,
        lossy: false,
        seeds: 1..9,
        unwanted: 0,
    }
    .hold("home");
}

#[test]
fn home_with_losses() {
    Limits {
        preset: Preset::Home,
        lossy: true,
        seeds: 11..19,
        unwanted: 2,
    }
    .hold("home, lossy");
}

#[test]
fn campus() {
    Limits {
        preset: Preset::Campus,
        lossy: false,
        seeds: 21..22,
        unwanted: 2,
    }
    .hold("campus");
}

#[test]
fn campus_with_losses() {
    Limits {
        preset: Preset::Campus,
        lossy: true,
        seeds: 31..33,
        unwanted: 8,
    }
    .hold("campus, lossy");
}

#[test]
#[ignore = "minutes: for whoever changes the engine or the shipped rules"]
fn many_weeks() {
    Limits {
        preset: Preset::Home,
        lossy: false,
        seeds: 100..160,
        unwanted: 0,
    }
    .hold("home");
    Limits {
        preset: Preset::Home,
        lossy: true,
        seeds: 200..260,
        unwanted: 2,
    }
    .hold("home, lossy");
    Limits {
        preset: Preset::Campus,
        lossy: false,
        seeds: 300..304,
        unwanted: 2,
    }
    .hold("campus");
    Limits {
        preset: Preset::Campus,
        lossy: true,
        seeds: 400..404,
        unwanted: 8,
    }
    .hold("campus, lossy");
}

/// Prints what happened and what was said of it, side by side in time.
#[test]
#[ignore = "shows one week: FOGHORN_SEED=2 cargo test --test week show -- --ignored --nocapture"]
fn show() {
    let seed = std::env::var("FOGHORN_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let preset = if std::env::var("FOGHORN_CAMPUS").is_ok() {
        Preset::Campus
    } else {
        Preset::Home
    };
    let simulation = simulate(Options {
        preset,
        seed,
        start: START,
        days: 7,
        lossy: false,
        site_webhooks: true,
    });
    let messages = replay(&config(), &simulation);
    let happened = simulation
        .incidents
        .iter()
        .map(|i| (i.detected_at, format!("* {}", i.what)));
    let said = messages.iter().map(|m| {
        let title = foghorn::render::markup::plain(&m.title);
        (
            m.about.at,
            format!("    {} [{}] {title}", m.about.rule, m.about.reason),
        )
    });
    let mut all: Vec<_> = happened.chain(said).collect();
    all.sort();
    all.iter()
        .for_each(|(at, line)| println!("{} {line}", at.rfc3339()));
}

#[test]
fn a_seed_names_one_week_and_every_body_of_it_is_understood() {
    let options = Options {
        preset: Preset::Home,
        seed: 3,
        start: START,
        days: 7,
        lossy: true,
        site_webhooks: true,
    };
    let (one, same) = (simulate(options), simulate(options));
    assert_eq!(one.posts, same.posts);
    assert_ne!(one.posts, simulate(Options { seed: 4, ..options }).posts);
    assert!(one.posts.is_sorted_by_key(|post| post.received_at));
    for post in &one.posts {
        let parsed = foghorn::source::parse(&Arrival::new(
            &Name::new("mist"),
            Seq(1),
            post.received_at,
            post.body.as_bytes(),
        ));
        for item in &parsed {
            let ParsedItem::Event(event) = item else {
                panic!("not understood: {}", post.body)
            };
            assert!(
                event.own_time && event.time <= post.received_at,
                "{}",
                post.body
            );
        }
    }
    let macs: BTreeSet<_> = one
        .network
        .sites
        .iter()
        .flat_map(|site| site.devices())
        .map(|d| &d.mac)
        .collect();
    assert_eq!(macs.len(), 5);
}

#[test]
fn the_referee_sees_what_is_wrong() {
    let config = config();
    let options = Options {
        preset: Preset::Home,
        seed: 1,
        start: START,
        days: 7,
        lossy: false,
        site_webhooks: true,
    };
    let mut simulation = simulate(options);
    simulation
        .incidents
        .retain(|incident| matches!(incident.fault, Fault::ApOutage | Fault::BadCable));
    let messages: Vec<Message> = {
        let all = replay(&config, &simulation);
        let its = |message: &Message| {
            let one = std::slice::from_ref(message);
            verdict(&config, &simulation, one, false)
                .unwanted
                .is_empty()
        };
        all.into_iter().filter(its).collect()
    };
    let find = |messages: &[Message]| {
        let verdict = verdict(&config, &simulation, messages, false);
        (verdict.complaints().join("\n"), verdict.unwanted.len())
    };
    assert_eq!(find(&messages), (String::new(), 0));

    let outage = messages
        .iter()
        .position(|message| message.about.rule == "AP unreachable")
        .unwrap();
    let end = messages
        .iter()
        .position(|message| message.about.reason.word() == "resolved")
        .unwrap();
    let mut lost = messages.clone();
    lost.remove(outage);
    assert!(find(&lost).0.contains("never told"), "{:?}", find(&lost));
    let mut late = messages.clone();
    late[outage].about.at = late[outage].about.at + Duration::from_secs(11);
    assert!(
        find(&late).0.contains("3 min 20 s allowed"),
        "{:?}",
        find(&late)
    );
    let mut twice = messages.clone();
    twice.insert(end, messages[end].clone());
    assert!(
        find(&twice).0.contains("its end was told [2] times"),
        "{:?}",
        find(&twice)
    );
    let mut never = messages.clone();
    never.remove(end);
    assert!(
        find(&never).0.contains("its end was told [0] times"),
        "{:?}",
        find(&never)
    );
    let mut other = messages.clone();
    other[outage].about.subjects[0].device_mac = Some("5c5b35000000".to_owned());
    assert_eq!(find(&other).1, 1);
}
