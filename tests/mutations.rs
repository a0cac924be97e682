//! The fuzzer's targets without a fuzzer: seeds, changed at random, by the million if wanted.
//!
//! `cargo test` runs a few thousand inputs of each target. The long form, of all targets one after
//! the other on all cores, or of one:
//!
//! ```sh
//! FOGHORN_MUTATIONS=1000000 cargo test --release --test mutations -- --nocapture
//! FOGHORN_MUTATIONS=1000000 cargo test --release --test mutations envelope -- --exact --nocapture
//! ```
//!
//! An input that breaks something is written to `target/mutations/` and named by its number, with
//! which `FOGHORN_SEED=number` makes it again. Once fixed, it goes to `fuzz/seeds/` as `found-…`:
//! every seed runs each time.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "this measures"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use foghorn::simulate::Chance;

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Inputs longer than this are cut: what is long is tested elsewhere, and slow.
const LONGEST: usize = 16 * 1024;
/// No input takes longer than this, on a machine that does other things too.
const SLOWEST: Duration = Duration::from_secs(20);

static TURN: Mutex<()> = Mutex::new(());

/// What formats are made of, and what has broken others.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\u202e",
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "1e15",
    "9223372036854775808",
    "-9223372036854775808",
    "1767571200",
    "\u{1b}[31m",
    "\u{202e}",
    "\u{200b}",
    "\u{feff}",
    "\u{0}",
    "\r\n",
    "\n",
    "\n\n",
    "\r",
    "\t",
    " ",
    "---",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "|",
    ">",
    "#",
    "!!str ",
    "{{",
    "}}",
    "{{{",
    "{{#each ",
    "{{/each}}",
    "{{#if ",
    "{{/if}}",
    "{{else}}",
    "{{> mine}}",
    "../",
    "this",
    "@index",
    "lookup ",
    "~",
    "<!channel>",
    "<@U1>",
    "<time:1>",
    "<clock:9e9>",
    "](",
    "](https://a.example)",
    "**",
    "`",
    "_",
    "http://",
    "https://",
    "javascript:",
    "&lt;",
    "*",
    "env:X",
    "env:SECRET",
    "file:/",
    "for: 3m",
    "match: {",
    "events",
    "topic",
    "timestamp",
    "alarms",
    "device-events",
    "AP_CONNECTED",
    "AP_DISCONNECTED",
    "mac",
    "5c5b35000001",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding",
    "content-length",
    "🔴",
    "ß",
    "İ",
    "é",
];

#[test]
fn envelope() {
    drive("envelope", targets::envelope::run, 150);
}

#[test]
fn config() {
    drive("config", targets::config::run, 800);
}

#[test]
fn template() {
    drive("template", targets::template::run, 400);
}

#[test]
fn markup() {
    drive("markup", targets::markup::run, 100);
}

#[test]
fn words() {
    drive("words", targets::words::run, 10_000);
}

#[test]
fn framing() {
    drive("framing", targets::framing::run, 8_000);
}

#[test]
fn every_target_of_the_fuzzer_is_driven_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let here = std::fs::read_to_string(folder.join("../tests/mutations.rs")).unwrap();
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for target in std::fs::read_dir(folder.join("fuzz_targets")).unwrap() {
        let name = target
            .unwrap()
            .path()
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            here.contains(&format!("drive(\"{name}\", targets::{name}::run")),
            "{name} is not driven here"
        );
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in fuzz/Cargo.toml"
        );
        assert!(!seeds(&name).is_empty(), "{name} has no seeds");
    }
}

#[test]
fn a_number_names_one_input() {
    let seeds = seeds("envelope");
    let of = |number| mutated(&seeds, number);
    assert_eq!(of(7), of(7));
    let all: std::collections::BTreeSet<_> = (0..200).map(of).collect();
    assert!(all.len() > 180, "only {} of 200 inputs differ", all.len());
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

/// Runs every seed, then so many changed ones; `FOGHORN_SEED` runs that one alone.
fn drive(name: &str, run: fn(&[u8]), few: u64) {
    let seeds = seeds(name);
    if let Some(number) = from_env("FOGHORN_SEED") {
        return judge(name, run, &number.to_string(), &mutated(&seeds, number));
    }
    for (number, (file, seed)) in seeds.iter().enumerate() {
        judge(name, run, &format!("seed-{number}-{file}"), seed);
    }
    let Some(many) = from_env("FOGHORN_MUTATIONS") else {
        let begun = Instant::now();
        (0..few).for_each(|number| judge(name, run, &number.to_string(), &mutated(&seeds, number)));
        println!(
            "{name}: {few} inputs in {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        return;
    };
    // One target at a time, so that the memory is its own.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let (begun, before, settled) = (Instant::now(), resident(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let (seeds, settled) = (&seeds, &settled);
            scope.spawn(move || {
                for number in (worker..many).step_by(workers as usize) {
                    judge(name, run, &number.to_string(), &mutated(seeds, number));
                    if number.is_multiple_of((many / 10).max(1)) && number > 0 {
                        let (seconds, held) = (begun.elapsed().as_secs_f64(), resident());
                        println!("{name}: {number} of {many}, {seconds:.0} s, {held} KiB");
                        // Once, so that what is made once is not counted as growth.
                        let _ = settled.compare_exchange(0, held, Relaxed, Relaxed);
                    }
                }
            });
        }
    });
    let (seconds, settled, after) = (
        begun.elapsed().as_secs_f64(),
        settled.into_inner(),
        resident(),
    );
    assert!(settled > 0, "so few inputs say nothing of memory");
    println!(
        "{name}: {many} inputs in {seconds:.1} s, {:.0} a second with {workers} workers; \
         memory {before} KiB at the start, {settled} after a tenth, {after} at the end",
        many as f64 / seconds.max(0.001),
    );
    assert!(
        after <= settled + settled / 10 + 8 * 1024,
        "memory grew from {settled} to {after} KiB"
    );
}

/// Runs one input; says which it was, and keeps it, where something does not hold.
fn judge(name: &str, run: fn(&[u8]), number: &str, input: &[u8]) {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| run(input)));
    let took = begun.elapsed();
    if outcome.is_ok() && took < SLOWEST {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mutations");
    std::fs::create_dir_all(&folder).unwrap();
    let kept = folder.join(format!("{name}-{number}"));
    std::fs::write(&kept, input).unwrap();
    println!(
        "{name}: input {number}, kept in {}, took {took:?}:\n{}",
        kept.display(),
        String::from_utf8_lossy(input)
    );
    println!("again: FOGHORN_SEED={number} cargo test --test mutations {name}");
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    panic!("{name}: one input took {took:?}");
}

fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let named = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
    files
        .iter()
        .map(|file| (named(file), std::fs::read(file).unwrap()))
        .collect()
}

/// The input this number names: a seed, changed once or several times.
fn mutated(seeds: &[(String, Vec<u8>)], number: u64) -> Vec<u8> {
    let mut chance = Chance::new(number).part("mutations");
    let seed = |chance: &mut Chance| {
        chance
            .pick(seeds)
            .map(|(_, bytes)| bytes.clone())
            .unwrap_or_default()
    };
    let mut input = seed(&mut chance);
    let other = seed(&mut chance);
    // Mostly few changes: what is wrong in every place gets no further than the first.
    let changes = if chance.percent(80) {
        chance.between(1, 4)
    } else {
        chance.between(5, 40)
    };
    for _ in 0..changes {
        mutate(&mut input, &other, &mut chance);
    }
    input.truncate(LONGEST);
    input
}

fn mutate(input: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let at = |chance: &mut Chance, length: usize| chance.between(0, length as u64) as usize;
    let here = at(chance, input.len());
    let until = here + at(chance, (input.len() - here).min(64));
    let word = chance.word(WORDS).as_bytes().to_vec();
    match chance.between(0, 9) {
        0 if here < input.len() => input[here] ^= 1 << chance.between(0, 7),
        1 if here < input.len() => input[here] = chance.number() as u8,
        2 => drop(input.drain(here..until)),
        3 => drop(input.splice(here..here, word)),
        4 => drop(input.splice(here..until, word)),
        5 => {
            let part = input[here..until].to_vec();
            let times = chance.between(1, 8) as usize;
            drop(input.splice(here..here, part.repeat(times)));
        }
        6 => {
            let from = at(chance, other.len());
            let part = other[from..from + at(chance, other.len() - from)].to_vec();
            drop(input.splice(here..until, part));
        }
        7 => {
            // A number becomes another.
            let digits = input[here..]
                .iter()
                .position(u8::is_ascii_digit)
                .map(|found| here + found);
            if let Some(from) = digits {
                let to = input[from..]
                    .iter()
                    .position(|c| !c.is_ascii_digit())
                    .map_or(input.len(), |found| from + found);
                let number = chance.word(&[
                    "0",
                    "1",
                    "-1",
                    "255",
                    "4294967296",
                    "1e308",
                    "0.1",
                    "99999999999999999999",
                ]);
                drop(input.splice(from..to, number.bytes()));
            }
        }
        8 => {
            // A line goes elsewhere.
            let mut lines: Vec<&[u8]> = input.split_inclusive(|c| *c == b'\n').collect();
            let (from, to) = (
                at(chance, lines.len().saturating_sub(1)),
                at(chance, lines.len().saturating_sub(1)),
            );
            if from < lines.len() && to < lines.len() {
                lines.swap(from, to);
            }
            *input = lines.concat();
        }
        _ => input.truncate(here.max(1)),
    }
    input.truncate(LONGEST);
}

/// KiB of memory this process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0)
}
