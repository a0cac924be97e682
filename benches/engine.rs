//! The parts: `cargo bench --bench engine [-- FILTER]`; `cargo bench --bench engine -- plot` draws
//! `docs/benchmarks.svg`.
//!
//! Ten thousand rules may cost at most twice what ten do, for an event that meets as many
//! candidates; a hundred thousand open alerts at most twice what a hundred do.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, reason = "a benchmark takes the time")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use foghorn::config::{self, Config};
use foghorn::engine::{Engine, EngineLimits, Input, Opening};
use foghorn::fold::{self, Fold};
use foghorn::model::{
    Event, Field, Journaled, Name, Notification, Record, Seq, Severity, SourceKind, Timestamp,
};
use foghorn::render::{Templates, markup};
use foghorn::rules::{Matcher, Pattern, Policy, Resolve, Rule, RuleSet, Test};
use foghorn::source::{self, Arrival, ParsedItem};
use serde_json::json;

const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);
const RULES: [usize; 4] = [10, 100, 1_000, 10_000];
const ALERTS: [usize; 4] = [100, 1_000, 10_000, 100_000];
/// How many rules look at the event's type, whatever the number of rules.
const CANDIDATES: usize = 5;
/// Alerts of one site, whatever the number of alerts.
const A_SITE: usize = 50;

fn main() {
    if std::env::args().any(|argument| argument == "plot") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.svg");
        std::fs::write(path, plot()).unwrap();
        return println!("drawn: {path}");
    }
    divan::main();
}

// ---------------------------------------------------------------- the engine

#[divan::bench(args = RULES)]
fn rules(bencher: Bencher, rules: usize) {
    History::of_rules(rules).bench(bencher.counter(ItemsCount::new(1_u32)));
}

#[divan::bench(args = ALERTS)]
fn alerts(bencher: Bencher, alerts: usize) {
    History::of_alerts(alerts).bench(bencher.counter(ItemsCount::new(2_u32)));
}

/// An engine in some state, and what happens to it next.
struct History {
    engine: Engine,
    make: fn(usize) -> Vec<Event>,
    at: Timestamp,
    n: usize,
}

impl History {
    fn new(rules: Vec<Rule>, make: fn(usize) -> Vec<Event>) -> Self {
        let rules = Arc::new(RuleSet::new(
            rules,
            vec![(Name::new("slack"), Severity::Info)],
        ));
        let limits = EngineLimits {
            alerts: 200_000,
            ..EngineLimits::default()
        };
        Self {
            engine: Engine::new(rules, openings, limits),
            make,
            at: START,
            n: 0,
        }
    }

    /// So many rules, of which [`CANDIDATES`] look at the type of what happens, and none matches in
    /// the end.
    fn of_rules(rules: usize) -> Self {
        let rule = |n: usize| {
            let kind = if n < CANDIDATES {
                "AP_RADAR_DETECTED".to_owned()
            } else {
                format!("TYPE_{n}")
            };
            let tests = vec![
                is(Field::Type, &kind),
                is(Field::Site, "Lyon*"),
                is(Field::DeviceType, "ap"),
            ];
            rule(
                &format!("rule {n}"),
                Matcher { tests, not: vec![] },
                Policy::default(),
            )
        };
        Self::new((0..rules).map(rule).collect(), |n| {
            events("AP_RADAR_DETECTED", n)
        })
    }

    /// So many alerts open and told; what happens is that another device goes down and comes back.
    fn of_alerts(alerts: usize) -> Self {
        let policy = Policy {
            group_wait: Duration::ZERO,
            group_interval: Duration::ZERO,
            ..Policy::default()
        };
        let matcher = Matcher {
            tests: vec![is(Field::Condition, "ap_offline")],
            not: vec![],
        };
        let make = |n| [events("AP_DISCONNECTED", n), events("AP_CONNECTED", n)].concat();
        let mut history = Self::new(vec![rule("AP unreachable", matcher, policy)], make);
        for n in 0..alerts {
            history.happen(events("AP_DISCONNECTED", n));
        }
        assert_eq!(history.engine.open().0, alerts);
        history.n = alerts;
        history
    }

    /// One step after the other; making the events is not measured.
    fn bench(mut self, bencher: Bencher) {
        let (make, mut n) = (self.make, self.n);
        let next = || {
            n += 1;
            make(n)
        };
        bencher
            .with_inputs(next)
            .bench_local_values(|events| self.happen(events));
    }

    fn happen(&mut self, events: Vec<Event>) {
        for event in events {
            self.at = self.at + Duration::from_millis(1);
            black_box(self.engine.handle(self.at, &Input::Event(Arc::new(event))));
        }
    }

    /// Nanoseconds of one step: the best of many short runs, since others use this machine too.
    fn cost(mut self) -> f64 {
        const STEPS: usize = 200;
        let mut best = f64::MAX;
        for _ in 0..50 {
            let prepared: Vec<Vec<Event>> = (self.n..self.n + STEPS).map(self.make).collect();
            self.n += STEPS;
            let begun = Instant::now();
            prepared.into_iter().for_each(|events| self.happen(events));
            best = best.min(begun.elapsed().as_nanos() as f64 / STEPS as f64);
        }
        best
    }
}

fn openings(condition: &str) -> Vec<Opening> {
    let known = Opening {
        topic: "device-events",
        kind: "AP_DISCONNECTED",
        group: "",
    };
    if condition == "ap_offline" {
        vec![known]
    } else {
        vec![]
    }
}

fn is(field: Field, value: &str) -> (Field, Test) {
    (field, Test::OneOf(vec![Pattern::parse(value).unwrap()]))
}

fn rule(name: &str, matcher: Matcher, policy: Policy) -> Rule {
    let policy = Arc::new(policy);
    Rule {
        name: name.into(),
        line: 1,
        matcher,
        by: None,
        resolve: Resolve::Implied,
        threshold: None,
        when: None,
        absent: None,
        policy,
    }
}

// ---------------------------------------------------------------- what is sent

/// A POST with these events of the n-th device and those after it.
fn body(kind: &str, devices: std::ops::Range<usize>) -> Vec<u8> {
    let event = |n| {
        json!({
            "type": kind, "device_name": format!("ap-{n}"), "device_type": "ap", "mac": format!("5c5b35{n:06x}"),
            "site_id": format!("978c48e6-6ef6-11e6-8bbf-{:012x}", n / A_SITE), "site_name": format!("Site {}", n / A_SITE),
            "org_id": "1688605f-916a-47a1-8c68-f19618300a08", "timestamp": START.millis() / 1_000, "model": "AP45-WW",
            "reason": "AP lost power", "text": "what the device said of it, in a sentence of the usual length",
        })
    };
    json!({"topic": "device-events", "events": devices.map(event).collect::<Vec<_>>()})
        .to_string()
        .into_bytes()
}

/// One event, as the source reads it.
fn events(kind: &str, n: usize) -> Vec<Event> {
    let parsed = source::parse(&Arrival::new(
        &Name::new("mist"),
        Seq(n as u64),
        START,
        &body(kind, n..n + 1),
    ));
    parsed
        .into_iter()
        .map(|parsed| match parsed {
            ParsedItem::Event(event) => Arc::unwrap_or_clone(event),
            ParsedItem::Malformed { why, .. } => panic!("{why}"),
        })
        .collect()
}

// ---------------------------------------------------------------- parsing, folding, rendering

#[divan::bench(args = [1, 10])]
fn parse(bencher: Bencher, events: usize) {
    let (body, source) = (body("AP_DISCONNECTED", 0..events), Name::new("mist"));
    let counted = bencher
        .counter(ItemsCount::new(events))
        .counter(BytesCount::of_slice(&body));
    counted.bench_local(|| source::parse(&Arrival::new(&source, Seq(1), START, black_box(&body))));
}

/// From a journal entry to decisions, by the shipped rules.
#[divan::bench(args = [1, 10])]
fn parse_and_fold(bencher: Bencher, events: usize) {
    let config = Config::parse(config::BUILT_IN, None, &|_| None).unwrap();
    let mut fold = Fold::new(config.rules, config::rules_from_record);
    let (mut n, source) = (0_usize, Name::new("mist"));
    let entry = || {
        n += events;
        // A network of 20,000 devices, where they go down and come back in turn.
        let (kind, first) = (
            if n / 20_000 % 2 == 0 {
                "AP_DISCONNECTED"
            } else {
                "AP_CONNECTED"
            },
            n % 20_000,
        );
        let text = String::from_utf8(body(kind, first..first + events)).unwrap();
        // Each is news: its time is its number.
        let (start, now) = (
            START.millis() / 1_000,
            START.millis() - 50_000_000 + n as i64,
        );
        let text = text.replace(
            &start.to_string(),
            &format!("{}.{:03}", now / 1_000, now % 1_000),
        );
        let record = Record::Received {
            source: source.clone(),
            kind: SourceKind::default(),
            cursor: None,
            body: text.into(),
        };
        Journaled {
            seq: Seq(n as u64),
            at: START + Duration::from_millis(n as u64),
            record,
        }
    };
    bencher
        .counter(ItemsCount::new(events))
        .with_inputs(entry)
        .bench_local_values(|entry| fold.apply(&entry));
}

fn notification() -> Notification {
    let mut history = History::of_alerts(1);
    let event = events("AP_DISCONNECTED", 1).remove(0);
    let reaction = history
        .engine
        .handle(history.at, &Input::Event(Arc::new(event)));
    let mut told = fold::notifications(reaction.decisions);
    told.next().unwrap()
}

#[divan::bench]
fn render(bencher: Bencher) {
    let (templates, notification) = (Templates::builtin(), notification());
    bencher
        .with_inputs(|| notification.clone())
        .bench_local_values(|notification| templates.render(notification));
}

#[divan::bench]
fn digest_of_1000(bencher: Bencher) {
    let templates = Templates::builtin();
    let messages: Vec<_> = (0..1_000)
        .map(|n| {
            let mut about = notification();
            about.incident = format!("{n}");
            about
                .subjects
                .iter_mut()
                .for_each(|subject| subject.device = Some(format!("ap-{n}")));
            templates.render(about)
        })
        .collect();
    bencher.bench_local(|| templates.digest(black_box(&messages), None));
}

#[divan::bench]
fn parse_markup(bencher: Bencher) {
    let text = Templates::builtin().render(notification()).text.repeat(10);
    bencher
        .counter(BytesCount::of_str(&text))
        .bench_local(|| markup::parse(black_box(&text)));
}

// ---------------------------------------------------------------- the plot

/// Both laws side by side: cost against size, and the line at twice the first.
fn plot() -> String {
    let measured = |sizes: &[usize], history: fn(usize) -> History| -> Vec<(usize, f64)> {
        sizes
            .iter()
            .map(|&size| (size, history(size).cost() / 1e3))
            .collect()
    };
    let panels = [
        (
            "µs per event, by number of rules (5 candidates each time)",
            measured(&RULES, History::of_rules),
        ),
        (
            "µs for a device down and up, by number of open alerts",
            measured(&ALERTS, History::of_alerts),
        ),
    ];
    let mut svg = String::from(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 900 320' font-family='sans-serif' font-size='13'>\n\
         <rect width='900' height='320' fill='white'/>\n",
    );
    for (panel, (title, points)) in panels.iter().enumerate() {
        println!("{title}: {points:.2?}");
        let left = 60.0 + 450.0 * panel as f64;
        let limit = points[0].1 * 2.0;
        let top = points.iter().map(|(_, cost)| *cost).fold(limit, f64::max) * 1.15;
        let x = |place: usize| left + 20.0 + 110.0 * place as f64;
        let y = |cost: f64| 270.0 - 220.0 * cost / top;
        let _ = writeln!(svg, "<text x='{left}' y='30'>{title}</text>");
        let _ = writeln!(
            svg,
            "<path d='M{left} 50V270H{}' fill='none' stroke='#444'/>",
            left + 370.0
        );
        let _ = writeln!(
            svg,
            "<path d='M{left} {0:.1}H{1}' stroke='#c33' stroke-dasharray='5 4'/>",
            y(limit),
            left + 370.0
        );
        let _ = writeln!(
            svg,
            "<text x='{}' y='{:.1}' fill='#c33' text-anchor='end'>twice the first</text>",
            left + 370.0,
            y(limit) - 5.0
        );
        let line: Vec<String> = points
            .iter()
            .enumerate()
            .map(|(place, (_, cost))| format!("{:.1},{:.1}", x(place), y(*cost)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points='{}' fill='none' stroke='#26c' stroke-width='2'/>",
            line.join(" ")
        );
        for (place, (size, cost)) in points.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<circle cx='{:.1}' cy='{:.1}' r='4' fill='#26c'/>",
                x(place),
                y(*cost)
            );
            let _ = writeln!(
                svg,
                "<text x='{:.1}' y='{:.1}' text-anchor='middle'>{cost:.2}</text>",
                x(place),
                y(*cost) - 10.0
            );
            let _ = writeln!(
                svg,
                "<text x='{:.1}' y='290' text-anchor='middle'>{size}</text>",
                x(place)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
