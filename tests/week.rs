//! What the shipped rules make of simulated weeks: every incident told, in time, its end once, and hardly anything else.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::sync::Arc;
use std::thread;

use foghorn::config::Config;
use foghorn::model::{Name, Timestamp};
use foghorn::replay::{Post, Replay};
use foghorn::simulate::referee::{Allowance, Verdict, judge};
use foghorn::simulate::{Options, Preset, simulate};

/// Monday, 5 January 2026, midnight.
const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);

/// What one seed's messages were, and how many events there were.
struct Outcome {
    verdict: Verdict,
    events: usize,
}

fn config() -> Config {
    Config::load_offline(None, &|_| None).expect("the shipped rules are fine")
}

fn run(config: &Config, preset: Preset, seed: u64, days: u64, lossy: bool) -> Outcome {
    let simulation = simulate(Options { preset, seed, start: START, days, lossy });
    let templates = config.load_templates().expect("the shipped templates are fine");
    let mut replay = Replay::new(Arc::clone(&config.rules), &templates);
    let mut messages = Vec::new();
    for post in &simulation.posts {
        let body = post.body.clone().into();
        let post = Post { received_at: Some(post.received_at), source: Name::new("mist"), body };
        messages.extend(replay.post(&post));
    }
    messages.extend(replay.finish(None));
    let allowance = if lossy { Allowance::LOSSY } else { Allowance::STRICT };
    let truth = (simulation.incidents.as_slice(), simulation.quiet.as_slice());
    let verdict = judge(&messages, truth, &config.rules, allowance);
    Outcome { verdict, events: simulation.events() }
}

/// What a network of this kind may cost.
struct Limits {
    preset: Preset,
    days: u64,
    lossy: bool,
    seeds: &'static [u64],
    /// Unwanted messages of any one seed.
    unwanted: usize,
}

/// Runs every seed, two at a time, prints the figures, and gives what is wrong with them.
fn weeks(name: &str, limits: &Limits) -> Vec<String> {
    let config = config();
    let mut outcomes: Vec<(u64, Outcome)> = Vec::new();
    for seeds in limits.seeds.chunks(2) {
        thread::scope(|scope| {
            let (config, limits) = (&config, &limits);
            let runs: Vec<_> = seeds
                .iter()
                .map(|seed| {
                    (*seed, scope.spawn(|| run(config, limits.preset, *seed, limits.days, limits.lossy)))
                })
                .collect();
            outcomes.extend(runs.into_iter().map(|(seed, run)| (seed, run.join().unwrap())));
        });
    }
    let mut wrong = Vec::new();
    let mut total = Verdict::default();
    let mut events = 0;
    for (seed, outcome) in outcomes {
        let verdict = &outcome.verdict;
        wrong.extend(verdict.complaints().into_iter().map(|line| format!("seed {seed}: {line}")));
        if verdict.unwanted.len() > limits.unwanted {
            let all = verdict.unwanted.join("\n    ");
            wrong.push(format!("seed {seed}: {} unwanted messages:\n    {all}", verdict.unwanted.len()));
        }
        events += outcome.events;
        total.add(outcome.verdict);
    }
    let runs = limits.seeds.len();
    println!(
        "\n{name}: {runs} runs of {} days\n{total}\n  messages sent: {}; a script that posts every event sends {events} ({} each)",
        limits.days,
        total.messages,
        events / runs.max(1),
    );
    if total.messages_per_incident() > 2.2 {
        wrong.push(format!("{:.2} messages an incident", total.messages_per_incident()));
    }
    wrong
}

fn hold(name: &str, limits: &Limits) {
    let wrong = weeks(name, limits);
    assert!(wrong.is_empty(), "{name}: {} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn home_weeks() {
    let limits =
        Limits { preset: Preset::Home, days: 7, lossy: false, seeds: &[1, 2, 3, 4, 5, 6, 7, 8], unwanted: 0 };
    hold("home", &limits);
}

#[test]
fn home_weeks_with_losses() {
    let limits = Limits { preset: Preset::Home, days: 7, lossy: true, seeds: &[11, 12, 13, 14, 15, 16], unwanted: 2 };
    hold("home, lossy", &limits);
}

#[test]
fn campus_days() {
    let limits = Limits { preset: Preset::Campus, days: 7, lossy: false, seeds: &[21, 22], unwanted: 2 };
    hold("campus", &limits);
}

#[test]
fn campus_days_with_losses() {
    let limits = Limits { preset: Preset::Campus, days: 7, lossy: true, seeds: &[31], unwanted: 8 };
    hold("campus, lossy", &limits);
}
