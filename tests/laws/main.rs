//! Contract 1 as a law: whoever was notified of an outage is notified of its end, once, and of no
//! end that did not happen, whatever is silenced, muted, inhibited, reloaded or restarted meanwhile.
//! Random rule files, traffic and changes by seed; the oracle is written from the documentation.
//!
//! ```sh
//! cargo test --test laws                                   # some hundred cases
//! FOGHORN_CASES=20000 cargo test --test laws -- --nocapture
//! FOGHORN_SEED=7 cargo test --test laws -- --nocapture     # the one that failed, made small
//! ```
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, reason = "seeds are named")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::generate::{Case, What, case};
use crate::run::{brief, run};

mod generate;
mod oracle;
mod run;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// The law that is broken: what stands before the first colon.
fn law(wrong: &str) -> &str {
    wrong.split(':').next().unwrap_or_default()
}

/// Laws that take a second fold.
const THOROUGH: [&str; 6] = [
    "the file has problems",
    "a fold without ticks differs",
    "replay differs",
    "explain leaves out what was sent",
    "explain contradicts the outcome",
    "explain names the wrong key",
];

/// Leaves out whatever is not needed for the same law to be broken.
fn smaller(case: &Case, broken: &str) -> Case {
    let which = THOROUGH.iter().position(|law| *law == broken);
    let which = which.map(|which| which.min(4) as u64);
    // A case that takes long to make small is shown as it is by then.
    let mut tries = 400;
    let mut fails = |case: &Case| {
        tries -= 1;
        if tries < 0 {
            return false;
        }
        let wrong = run(case, which).wrong;
        wrong.iter().any(|wrong| law(wrong) == broken)
    };
    let mut case = case.clone();
    let mut size = case.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < case.steps.len() {
            let mut less = case.clone();
            less.steps.drain(at..(at + size).min(case.steps.len()));
            if fails(&less) {
                case = less;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    let mut simpler: Vec<fn(&mut generate::File, usize)> = vec![
        |file, n| {
            if n < file.rules.len() && file.rules.len() > 1 {
                file.rules.remove(n);
            }
        },
        |file, n| {
            if n < file.inhibit.len() {
                file.inhibit.remove(n);
            }
        },
        |file, n| {
            if n < file.maintenance.len() {
                file.maintenance.remove(n);
            }
        },
    ];
    simpler.extend(generate::SIMPLER);
    for simplify in simpler {
        for n in (0..6).rev() {
            let mut less = case.clone();
            simplify(&mut less.file, n);
            for step in &mut less.steps {
                if let What::Reload(file) = &mut step.what {
                    simplify(file, n);
                }
            }
            if less.file != case.file && fails(&less) {
                case = less;
            }
        }
    }
    case
}

fn one(item: &generate::Item) -> String {
    let place = generate::SITES[item.site];
    format!(
        "{} {} {} {}{} of {} s",
        item.topic,
        item.kind,
        item.device.map_or(place, |d| generate::DEVICES[d].0),
        item.port.unwrap_or_default(),
        item.severity.unwrap_or_default(),
        item.time as f64 / 1_000.0
    )
}

fn show(case: &Case) -> String {
    let mut text = String::new();
    let mut last = &case.file;
    let _ = writeln!(text, "  {}", serde_yaml(&case.file.text()));
    for step in &case.steps {
        let at = step.at as f64 / 1_000.0;
        let what = match &step.what {
            What::Post(items) => items.iter().map(one).collect::<Vec<_>>().join("; "),
            What::Reload(file) => {
                let changes = differences(last, file);
                last = file;
                format!("reload: {changes}")
            }
            other => format!("{other:?}"),
        };
        let _ = writeln!(text, "  {at:>9.3} {what}");
    }
    let _ = write!(text, "  said:\n    {}", brief(&run(case, None).said));
    text
}

/// The lines that differ.
fn differences(old: &generate::File, new: &generate::File) -> String {
    let (old, new) = (old.text(), new.text());
    let gone = old.lines().filter(|line| !new.lines().any(|l| l == *line));
    let come = new.lines().filter(|line| !old.lines().any(|l| l == *line));
    let gone = gone.map(|line| format!("-{}", line.trim()));
    let come = come.map(|line| format!("+{}", line.trim()));
    gone.chain(come).collect::<Vec<_>>().join(" ")
}

fn serde_yaml(text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut parts = Vec::new();
    for key in ["destinations", "rules", "inhibit_rules", "maintenance"] {
        match value.get(key) {
            Some(serde_json::Value::Array(all)) => {
                parts.extend(all.iter().map(|one| format!("{key}: {one}")));
            }
            Some(one) => parts.push(format!("{key}: {one}")),
            None => {}
        }
    }
    parts.join("\n  ")
}

#[test]
fn whoever_hears_of_an_outage_hears_of_its_end() {
    let one = number("FOGHORN_SEED");
    let cases = one.map(|_| 1).or(number("FOGHORN_CASES")).unwrap_or(200);
    let from = number("FOGHORN_FROM").unwrap_or(1);
    let seeds = one.map_or(from..from + cases, |seed| seed..seed + 1);
    let mut broken: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    let (mut steps, mut said) = (0, 0);
    for seed in seeds {
        let case = case(seed);
        let outcome = run(&case, Some(seed % 5));
        steps += case.steps.len();
        said += outcome.said.len();
        for wrong in outcome.wrong {
            let known = broken.entry(law(&wrong).to_owned()).or_default();
            if known.last().is_none_or(|(last, _)| *last != seed) {
                known.push((seed, wrong));
            }
        }
    }
    println!("{cases} cases, {steps} steps, {said} messages");
    for (law, seeds) in &broken {
        let (seed, wrong) = &seeds[0];
        let all: Vec<String> = seeds
            .iter()
            .take(12)
            .map(|(seed, _)| seed.to_string())
            .collect();
        println!("--- {law}: {} cases: seeds {}", seeds.len(), all.join(", "));
        println!("    {wrong}");
        if number("FOGHORN_SHRINK").unwrap_or(1) > 0 {
            let small = smaller(&case(*seed), law);
            let mut now = run(&small, Some(*seed % 5)).wrong;
            now.truncate(3);
            println!(
                "  seed {seed}, made small: {}\n{}",
                now.join("\n  "),
                show(&small)
            );
        }
    }
    let names: Vec<&String> = broken.keys().collect();
    assert!(
        broken.is_empty(),
        "laws are broken: {names:?}; again with FOGHORN_SEED=…"
    );
}
