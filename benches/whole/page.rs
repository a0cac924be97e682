//! The live page from the server's side: many who watch, and a long history to look through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::load::{Made, Posts, judged, load, median, memory_of};
use crate::support::{Chat, Foghorn, device_event};
use crate::{report, shipped_rules};

/// Pages open at once.
const TABS: usize = 20;

/// The page open 20 times while 1,000 events/s come, then while as much comes as can.
pub(crate) async fn tabs() {
    const ROUNDS: usize = 8;
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&shipped_rules(&chat)).await;
    let mut made = Made::default();
    let open = Tabs::open(&foghorn.address).await;
    let run = load(
        &foghorn.address,
        16,
        Some(1_000.0),
        &Arc::new(made.posts(30_000, 1)),
    )
    .await;
    judged(&foghorn).await;
    let (most, now) = (
        memory_of(foghorn.pid(), "VmHWM"),
        memory_of(foghorn.pid(), "VmRSS"),
    );
    let figure = format!("most {most:.1} MiB, then {now:.1} MiB");
    report(
        &format!("{TABS} tabs, 1,000 events/s for 30 s: memory"),
        &figure,
        "< 96 MiB",
    );
    let figure = format!(
        "p50 {:.1} ms, p99 {:.1} ms; {} refused",
        run.percentile(50.0),
        run.percentile(99.0),
        30_000 - run.accepted()
    );
    report("  until the 200", &figure, "p99 < 30 ms, 0 refused");
    let (events, counts) = open.close().await;
    report(
        "  told to each tab",
        &format!("{events} events, {counts} counts"),
        "",
    );
    let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (mut alone, mut watched) = (0.0, 0.0);
        // In turns which comes first.
        for is_watched in [round % 2 == 0, round % 2 == 1] {
            let posts = Arc::new(made.posts(40_000, 1));
            let open = if is_watched {
                Some(Tabs::open(&foghorn.address).await)
            } else {
                None
            };
            let rate = load(&foghorn.address, 64, None, &posts).await.rate();
            *(if is_watched { &mut watched } else { &mut alone }) = rate;
            judged(&foghorn).await;
            if let Some(open) = open {
                open.close().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        without.push(alone);
        with.push(watched);
        ratios.push(watched / alone);
    }
    let figure = format!(
        "{:.0}/s of {:.0}/s = {:.2}",
        median(&mut with),
        median(&mut without),
        median(&mut ratios)
    );
    report(
        &format!("ingest, {TABS} tabs open, of none open"),
        &figure,
        "> 0.95",
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
    foghorn.stop().await;
}

/// Streams that are read as fast as they come.
struct Tabs {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    closing: Arc<AtomicBool>,
    /// Events and counts told, to all of them.
    told: Arc<(AtomicU64, AtomicU64)>,
}

impl Tabs {
    async fn open(address: &str) -> Self {
        let host = address.trim_start_matches("http://");
        let (closing, told) = (
            Arc::<AtomicBool>::default(),
            Arc::<(AtomicU64, AtomicU64)>::default(),
        );
        let mut tasks = Vec::new();
        for _ in 0..TABS {
            let mut stream = TcpStream::connect(host).await.unwrap();
            stream
                .write_all(b"GET /api/v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .await
                .unwrap();
            let (closing, told) = (Arc::clone(&closing), Arc::clone(&told));
            tasks.push(tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while !closing.load(Ordering::Relaxed) {
                    let read =
                        tokio::time::timeout(Duration::from_millis(100), stream.read(&mut buffer))
                            .await;
                    let Ok(read) = read else { continue };
                    let text = String::from_utf8_lossy(&buffer[..read.unwrap()]);
                    assert!(!text.is_empty(), "the stream goes on");
                    told.0.fetch_add(
                        text.matches("event:event").count() as u64,
                        Ordering::Relaxed,
                    );
                    told.1.fetch_add(
                        text.matches("event:count").count() as u64,
                        Ordering::Relaxed,
                    );
                }
            }));
        }
        Self {
            tasks,
            closing,
            told,
        }
    }

    async fn close(self) -> (u64, u64) {
        self.closing.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let tabs = TABS as u64;
        (
            self.told.0.load(Ordering::Relaxed) / tabs,
            self.told.1.load(Ordering::Relaxed) / tabs,
        )
    }
}

/// Pages and searches in a long history.
pub(crate) async fn history() {
    const EVENTS: u32 = 1_000_000;
    const TIMES: usize = 5;
    let client = foghorn::wire::direct().unwrap();
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&shipped_rules(&chat)).await;
    let begun = Instant::now();
    for first in (0..EVENTS).step_by(50_000) {
        let bodies = (first..first + 50_000).step_by(10).map(
            |n| json!({"topic": "device-events", "events": (n..n + 10).map(|n| worded(n, EVENTS)).collect::<Vec<_>>()}),
        );
        load(&foghorn.address, 32, None, &Arc::new(Posts::new(bodies))).await;
        judged(&foghorn).await;
    }
    let judged_after = begun.elapsed();
    let last = format!("q=u{}", EVENTS - 1);
    while ask(&client, &foghorn, &last).await.1["events"]
        .as_array()
        .unwrap()
        .is_empty()
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let figure = format!(
        "judged after {:.0} s, searchable after {:.0} s",
        judged_after.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    report(&format!("a history of {EVENTS} events"), &figure, "");
    let mut questions: Vec<(&str, Vec<String>)> = vec![
        (
            "the first page",
            vec![String::new(), "limit=200".to_owned()],
        ),
        (
            "pages far back",
            (1..20)
                .map(|n| format!("before={}.1", u64::from(EVENTS) / 10 * n / 20 + 3))
                .collect(),
        ),
        (
            "by type",
            KINDS.iter().map(|kind| format!("type={kind}")).collect(),
        ),
        (
            "by site",
            (0..SITES).map(|n| format!("site=Site%20{n}")).collect(),
        ),
        (
            "by device",
            (0..20).map(|n| format!("device=ap-{}", n * 97)).collect(),
        ),
        (
            "by rule",
            ["AP%20unreachable", "Port%20flapping", "Radar%20detected"]
                .map(|rule| format!("rule={rule}"))
                .to_vec(),
        ),
        (
            "by fate",
            ["told", "pending", "suppressed", "unmatched", "duplicate"]
                .map(|fate| format!("fate={fate}"))
                .to_vec(),
        ),
        (
            "by the start of a word",
            [
                "a", "u", "s", "u77", "u123456", "kit", "zeb", "zebra7", "nowhere", "5c5b3500",
            ]
            .map(|word| format!("q={word}"))
            .to_vec(),
        ),
        (
            "by two words",
            [
                "often%20seldom",
                "often%20odd",
                "even%20odd",
                "odd%20zebra",
                "a%20s",
                "u9%20seldom",
            ]
            .map(|words| format!("q={words}"))
            .to_vec(),
        ),
        (
            "by several",
            vec![
                "type=AP_CONNECTED&site=Site%203&q=often".to_owned(),
                "fate=told&q=odd".to_owned(),
                "fate=duplicate&q=often".to_owned(),
                "device=ap-3&type=SW_PORT_DOWN".to_owned(),
                "site=Site%201&fate=told".to_owned(),
                "q=even&type=AP_CONNECTED".to_owned(),
            ],
        ),
    ];
    let deep = u64::from(EVENTS) / 20;
    questions.push((
        "searches from far back",
        [
            "q=often",
            "q=odd%20seldom",
            "type=AP_CONNECTED",
            "site=Site%205",
        ]
        .map(|q| format!("{q}&before={deep}.1"))
        .to_vec(),
    ));
    for (what, asked) in questions {
        let (mut times, mut worst) = (Vec::new(), (0.0, String::new()));
        for one in asked.iter().flat_map(|one| std::iter::repeat_n(one, TIMES)) {
            let (took, _) = ask(&client, &foghorn, one).await;
            if took > worst.0 {
                worst = (took, one.clone());
            }
            times.push(took);
        }
        let figure = format!(
            "median {:.0} ms, most {:.0} ms ({})",
            median(&mut times),
            worst.0,
            worst.1
        );
        report(&format!("  {what}"), &figure, "< 200 ms");
    }
    report(
        "  memory",
        &format!("{:.1} MiB RSS", memory_of(foghorn.pid(), "VmRSS")),
        "",
    );
    foghorn.stop().await;
}

const KINDS: [&str; 6] = [
    "AP_DISCONNECTED",
    "AP_CONNECTED",
    "AP_CONFIGURED",
    "SW_PORT_UP",
    "SW_PORT_DOWN",
    "AP_RADAR_DETECTED",
];
const SITES: u32 = 20;

/// One of so many events, about two hours a device apart, with words that are frequent, rare and
/// its own. What is even says so and what is odd too: no event says both.
fn worded(n: u32, of: u32) -> Value {
    let device = n.wrapping_mul(7_919) % 2_000;
    let mut event = device_event(KINDS[n as usize % KINDS.len()], device);
    event["timestamp"] = json!(event["timestamp"].as_f64().unwrap() - f64::from(of - n) * 0.6);
    event["site_name"] = json!(format!("Site {}", device % SITES));
    event["site_id"] = json!(format!("978c48e6-6ef6-11e6-8bbf-{:012x}", device % SITES));
    event["port_id"] = json!(format!("ge-0/0/{}", n % 48));
    let parity = if n.is_multiple_of(2) { "even" } else { "odd" };
    let seldom = if n.is_multiple_of(1_000) {
        "seldom"
    } else {
        "often"
    };
    let animal = if n.is_multiple_of(9_973) {
        format!("zebra{}", n / 9_973)
    } else {
        "kitchen".to_owned()
    };
    event["text"] = json!(format!(
        "{parity} {seldom} {animal} u{n} what the device said of it"
    ));
    event
}

/// Milliseconds to the whole answer, and the answer.
async fn ask(client: &reqwest::Client, foghorn: &Foghorn, query: &str) -> (f64, Value) {
    let begun = Instant::now();
    let reply = client
        .get(format!("{}/api/v1/events?{query}", foghorn.address))
        .send()
        .await
        .unwrap();
    let status = reply.status();
    let body = reply.text().await.unwrap();
    let took = begun.elapsed().as_secs_f64() * 1e3;
    assert_eq!(status.as_u16(), 200, "{query}: {body}");
    (took, serde_json::from_str(&body).unwrap())
}
