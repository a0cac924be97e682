//! The whole of Foghorn on loopback, server and load on one machine: `cargo bench --bench whole [--
//! SECTION…]`.
//!
//! Without a section it runs them all and prints one line for each figure, with its goal. The
//! server is the release binary; the bare server that ingest is compared with is this program
//! again, doing nothing but read a body and answer 200.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, reason = "a benchmark takes the time")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod load;
mod page;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Chat, Foghorn};

use load::{
    Bare, Made, bare_server, cpu_of, downs, flapless_downs, judged, load, median, memory_of, mib,
};

/// Every section, what it is about, in the order they run.
const SECTIONS: [(&str, &str); 10] = [
    ("size", "the release binary"),
    (
        "ingest",
        "one event a POST, against a bare server; then ten events a POST",
    ),
    (
        "forwarding",
        "messages/s through the outbox with the limiter open",
    ),
    ("latency", "from a POST to the message's arrival"),
    ("start", "to the first 200, with a journal of 100 MB"),
    ("memory", "idle, and in a storm on 2,000 devices"),
    (
        "storm",
        "20,000 events of 200 devices, a sink that takes one a second",
    ),
    (
        "tabs",
        "the page open 20 times: what that costs ingest and memory",
    ),
    ("history", "pages and searches in 1,000,000 events"),
    ("kill", "100 times SIGKILL under load"),
];

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    if arguments.first().is_some_and(|a| a == "bare-server") {
        return runtime.block_on(bare_server());
    }
    if let Some(unknown) = arguments
        .iter()
        .find(|a| !SECTIONS.iter().any(|(name, _)| name == a))
    {
        let known: Vec<String> = SECTIONS
            .iter()
            .map(|(name, what)| format!("  {name:<11} {what}"))
            .collect();
        eprintln!("no section `{unknown}`; there are:\n{}", known.join("\n"));
        std::process::exit(2);
    }
    for (section, _) in SECTIONS
        .iter()
        .filter(|(name, _)| arguments.is_empty() || arguments.iter().any(|a| a == name))
    {
        match *section {
            "size" => size(),
            "ingest" => runtime.block_on(ingest()),
            "forwarding" => runtime.block_on(forwarding()),
            "latency" => runtime.block_on(latency()),
            "start" => runtime.block_on(start()),
            "memory" => runtime.block_on(memory()),
            "storm" => runtime.block_on(storm()),
            "tabs" => runtime.block_on(page::tabs()),
            "history" => runtime.block_on(page::history()),
            _ => runtime.block_on(kill()),
        }
    }
}

/// One line of the report.
fn report(what: &str, figure: &str, goal: &str) {
    println!("{what:<58} {figure:<46} goal: {goal}");
}

// ---------------------------------------------------------------- the sections

fn size() {
    let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_foghorn"))
        .unwrap()
        .len();
    report(
        "release binary",
        &format!("{:.1} MiB", mib(bytes)),
        "< 20 MiB",
    );
}

async fn ingest() {
    const ROUNDS: usize = 5;
    const POSTS: usize = 40_000;
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&shipped_rules(&chat)).await;
    let bare = Bare::start();
    let mut made = Made::default();
    for connections in [64, 256] {
        let (mut ratios, mut own, mut other) = (Vec::new(), Vec::new(), Vec::new());
        let (mut p50, mut p99, mut bare_p99) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let posts = Arc::new(made.posts(POSTS, 1));
            let bare_run = load(&bare.address, connections, None, &posts).await;
            let run = load(&foghorn.address, connections, None, &posts).await;
            ratios.push(run.rate() / bare_run.rate());
            own.push(run.rate());
            other.push(bare_run.rate());
            p50.push(run.percentile(50.0));
            p99.push(run.percentile(99.0));
            bare_p99.push(bare_run.percentile(99.0));
        }
        let judged = judged(&foghorn).await;
        let figure = format!(
            "{:.0}/s of {:.0}/s = {:.2}",
            median(&mut own),
            median(&mut other),
            median(&mut ratios)
        );
        report(
            &format!("ingest, {connections} connections, of a bare server's"),
            &figure,
            ">= 0.50",
        );
        report(
            "  the rounds' ratios",
            &ratios
                .iter()
                .map(|r| format!("{r:.2}"))
                .collect::<Vec<_>>()
                .join(" "),
            "",
        );
        let figure = format!(
            "p50 {:.1} ms, p99 {:.1} ms (bare p99 {:.1})",
            median(&mut p50),
            median(&mut p99),
            median(&mut bare_p99)
        );
        report(
            "  until the 200",
            &figure,
            if connections == 64 { "p99 < 30 ms" } else { "" },
        );
        report(
            "  all judged after the end",
            &format!("{:.1} s", judged.as_secs_f64()),
            "< 10 s",
        );
    }
    let (mut taken, mut judged_rates) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        const TENS: usize = 12_000;
        let posts = Arc::new(made.posts(TENS, 10));
        let begun = Instant::now();
        let run = load(&foghorn.address, 64, None, &posts).await;
        judged(&foghorn).await;
        taken.push(run.rate() * 10.0);
        judged_rates.push((TENS * 10) as f64 / begun.elapsed().as_secs_f64());
    }
    report(
        "ten events a POST, taken",
        &format!("{:.0} events/s", median(&mut taken)),
        ">= 40,000 events/s",
    );
    report(
        "ten events a POST, judged",
        &format!("{:.0} events/s", median(&mut judged_rates)),
        ">= 30,000 events/s",
    );
    foghorn.stop().await;
}

async fn forwarding() {
    const DEVICES: usize = 20_000;
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&open_rules(&chat)).await;
    let posts = Arc::new(downs(0..DEVICES, 10));
    let before = cpu_of(foghorn.pid());
    load(&foghorn.address, 8, None, &posts).await;
    until(Duration::from_secs(120), || chat.count() >= DEVICES).await;
    let all = chat.all();
    let took = all.iter().map(|a| a.at).max().unwrap() - all.iter().map(|a| a.at).min().unwrap();
    let rate = all.len() as f64 / took.as_secs_f64();
    report(
        "forwarding, limiter open",
        &format!("{rate:.0} messages/s ({} messages)", all.len()),
        ">= 5,000 messages/s",
    );
    let each = (cpu_of(foghorn.pid()) - before) * 1e6 / all.len() as f64;
    report(
        "  CPU of a message, from POST to settled",
        &format!("{each:.0} µs"),
        "<= 250 µs",
    );
    foghorn.stop().await;
}

async fn latency() {
    const ALERTS: usize = 1_000;
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&open_rules(&chat)).await;
    let posts = Arc::new(downs(0..ALERTS, 1));
    let run = load(&foghorn.address, 4, Some(50.0), &posts).await;
    until(Duration::from_secs(10), || chat.count() >= ALERTS).await;
    let arrived: HashMap<String, Instant> = chat
        .all()
        .into_iter()
        .map(|a| (device(&a.body), a.at))
        .collect();
    let mut waits: Vec<f64> = run
        .begun
        .iter()
        .enumerate()
        .map(|(n, begun)| (arrived[&format!("ap-{n}")] - begun.unwrap()).as_secs_f64() * 1e3)
        .collect();
    waits.sort_by(f64::total_cmp);
    let at = |percent: f64| waits[((waits.len() - 1) as f64 * percent / 100.0) as usize];
    let figure = format!(
        "p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        at(50.0),
        at(99.0),
        at(100.0)
    );
    report(
        "POST to arrival, 50 POST/s, no group_wait",
        &figure,
        "p50 <= 3 ms, p99 <= 10 ms",
    );
    foghorn.stop().await;
}

async fn start() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&shipped_rules(&chat)).await;
    let mut made = Made::default();
    let mut bytes = 0;
    while bytes < 100_000_000 {
        let posts = Arc::new(made.posts(5_000, 10));
        bytes += posts.bodies();
        load(&foghorn.address, 64, None, &posts).await;
    }
    judged(&foghorn).await;
    let dir = foghorn.kill().unwrap();
    let dir = dir.path();
    for (how, rounds) in [
        ("killed right after load", 1),
        ("killed when quiet", 5),
        ("stopped", 5),
    ] {
        let mut times = Vec::new();
        for round in 0..rounds {
            let running = Foghorn::start_in(dir).await;
            match how {
                "stopped" => drop(running.stop().await),
                _ => {
                    // Kills that find the processor behind leave it the most to do.
                    if how.contains("load") && round == 0 {
                        load(&running.address, 64, None, &Arc::new(made.posts(5_000, 10))).await;
                    }
                    running.kill();
                }
            }
            let begun = Instant::now();
            let running = Foghorn::start_in(dir).await;
            let run = load(&running.address, 1, None, &Arc::new(made.posts(1, 1))).await;
            assert_eq!(run.accepted(), 1);
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            judged(&running).await;
            running.kill();
        }
        let most = times.iter().copied().fold(0.0, f64::max);
        let figure = format!(
            "median {:.0} ms, most {most:.0} ms ({rounds} starts)",
            median(&mut times)
        );
        report(
            &format!(
                "start to the first 200, {:.0} MB journal, {how}",
                bytes as f64 / 1e6
            ),
            &figure,
            "< 200 ms",
        );
    }
}

async fn memory() {
    let chat = Chat::start().await;
    chat.one_a_second();
    let foghorn = Foghorn::start(&storm_rules(&chat)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    report(
        "memory, idle",
        &format!("{:.1} MiB RSS", memory_of(foghorn.pid(), "VmRSS")),
        "< 15 MiB",
    );
    load(
        &foghorn.address,
        32,
        Some(5_000.0),
        &Arc::new(flapless_downs(20_000, 2_000)),
    )
    .await;
    judged(&foghorn).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (most, now) = (
        memory_of(foghorn.pid(), "VmHWM"),
        memory_of(foghorn.pid(), "VmRSS"),
    );
    report(
        "memory, storm of 20,000 events on 2,000 devices",
        &format!("most {most:.1} MiB, then {now:.1} MiB"),
        "< 64 MiB",
    );
    foghorn.assert_conserved().await;
}

async fn storm() {
    const DEVICES: usize = 200;
    let chat = Chat::start().await;
    chat.one_a_second();
    let foghorn = Foghorn::start(&storm_rules(&chat)).await;
    let begun = Instant::now();
    let run = load(
        &foghorn.address,
        32,
        Some(5_000.0),
        &Arc::new(flapless_downs(20_000, DEVICES)),
    )
    .await;
    let named = || {
        let said: String = chat.taken().iter().map(Value::to_string).collect();
        (0..DEVICES).filter(|n| names(&said, *n)).count()
    };
    until(Duration::from_secs(90), || named() == DEVICES).await;
    let figure = format!(
        "{} of {DEVICES} in {:.0} s, {} messages",
        named(),
        begun.elapsed().as_secs_f64(),
        chat.taken().len()
    );
    report(
        "storm, 20,000 downs, devices named",
        &figure,
        "200 in 30 s, <= 60 messages",
    );
    let spent = cpu_of(foghorn.pid());
    let peak = memory_of(foghorn.pid(), "VmHWM");
    let figure = format!("{spent:.1} s of CPU, at most {peak:.0} MiB");
    report("  until then, the start included", &figure, "5 s, 64 MiB");
    let refused = chat.all().len() - chat.taken().len();
    report(
        "  POSTs taken, messages the sink refused",
        &format!("{} of 20000, {refused}", run.accepted()),
        "all",
    );
    foghorn.assert_conserved().await;
    report("  accounting identity on /metrics", "holds", "holds");
    foghorn.stop().await;
}

async fn kill() {
    const KILLS: usize = 100;
    let chat = Chat::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), open_rules(&chat)).unwrap();
    let (mut next, mut accepted) = (0, Vec::new());
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..KILLS {
        let foghorn = Foghorn::start_in(dir.path()).await;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let life = Duration::from_millis(20 + random % 400);
        let posts = Arc::new(downs(next..next + 400, 1));
        let address = foghorn.address.clone();
        let loading = load(&address, 8, Some(800.0), &posts);
        let killing = async move {
            tokio::time::sleep(life).await;
            foghorn.kill();
        };
        let (run, ()) = tokio::join!(loading, killing);
        accepted.extend(
            run.statuses
                .iter()
                .enumerate()
                .filter(|(_, s)| **s == 200)
                .map(|(n, _)| format!("ap-{}", next + n)),
        );
        next += 400;
    }
    let foghorn = Foghorn::start_in(dir.path()).await;
    judged(&foghorn).await;
    let told = || {
        chat.all()
            .iter()
            .map(|a| device(&a.body))
            .collect::<Vec<_>>()
    };
    until(Duration::from_secs(60), || {
        let told: HashSet<String> = told().into_iter().collect();
        accepted.iter().all(|name| told.contains(name))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let all = told();
    let once: HashSet<&String> = all.iter().collect();
    let lost = accepted.iter().filter(|name| !once.contains(name)).count();
    let figure = format!("{lost} of {} accepted events lost", accepted.len());
    report(
        &format!("kill -9, {KILLS} times under load"),
        &figure,
        "0 lost",
    );
    report(
        "  messages told twice",
        &format!("{} in {KILLS} kills", all.len() - once.len()),
        "<= 1 a kill",
    );
    foghorn.stop().await;
}

// ---------------------------------------------------------------- rules

fn shipped_rules(chat: &Chat) -> String {
    let rules = include_str!("../../rules.yaml");
    let at = rules.find("\nrules:").expect("the shipped file has rules");
    format!(
        "destinations:\n  slack: {{slack: {{url: \"{}\"}}}}\n{}",
        chat.url("/services/T0/B0/bench"),
        &rules[at..]
    )
}

/// Every device that goes down is a message at once.
fn open_rules(chat: &Chat) -> String {
    format!(
        "destinations:\n  sink:\n    webhook: {{url: \"{}\", body: {{device: \"{{{{device}}}}\", title: \"{{{{title}}}}\"}}}}\n    \
         rate_limit: {{limit: 100000, per: 1s, burst: 100000}}\n\
         rules:\n  - name: AP unreachable\n    match: {{condition: ap_offline}}\n    group_by: [device]\n    group_wait: 0s\n",
        chat.url("/all")
    )
}

/// A Slack of its own pace; one incident for each device.
fn storm_rules(chat: &Chat) -> String {
    format!(
        "destinations:\n  slack: {{slack: {{url: \"{}\"}}}}\n\
         rules:\n  - name: AP unreachable\n    match: {{condition: ap_offline}}\n    group_by: [device]\n",
        chat.url("/services/T0/B0/bench")
    )
}

// ---------------------------------------------------------------- looking on

async fn until(most: Duration, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() && begun.elapsed() < most {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The device a message of [`open_rules`] is about.
fn device(body: &Value) -> String {
    body["device"].as_str().unwrap_or_default().to_owned()
}

/// Whether a text names this device, and not only one whose name begins alike.
fn names(said: &str, n: usize) -> bool {
    let name = format!("ap-{n}");
    said.match_indices(&name)
        .any(|(at, _)| !said[at + name.len()..].starts_with(|c: char| c.is_ascii_digit()))
}
