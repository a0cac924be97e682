//! Load and what it found: posts made beforehand, the bare server, what the process takes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use warp::Filter;

use crate::support::{Foghorn, device_event, sign};

/// Whole HTTP requests, signed, one after the other.
pub(crate) struct Posts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    bodies: usize,
}

impl Posts {
    pub(crate) fn new(bodies: impl Iterator<Item = Value>) -> Self {
        let mut posts = Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            bodies: 0,
        };
        for body in bodies {
            let body = body.to_string();
            let head = format!(
                "POST /mist HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nx-mist-signature-v2: {}\r\n\
                 content-length: {}\r\n\r\n",
                sign(body.as_bytes()),
                body.len()
            );
            posts.bytes.extend_from_slice(head.as_bytes());
            posts.bytes.extend_from_slice(body.as_bytes());
            posts.ends.push(posts.bytes.len());
            posts.bodies += body.len();
        }
        posts
    }

    pub(crate) fn get(&self, n: usize) -> &[u8] {
        &self.bytes[if n == 0 { 0 } else { self.ends[n - 1] }..self.ends[n]]
    }

    pub(crate) fn bodies(&self) -> usize {
        self.bodies
    }
}

/// Makes distinct events: what a network of 2,000 devices says.
#[derive(Default)]
pub(crate) struct Made {
    events: u32,
}

impl Made {
    pub(crate) fn posts(&mut self, posts: usize, events: usize) -> Posts {
        const KINDS: [&str; 8] = [
            "AP_DISCONNECTED",
            "AP_CONNECTED",
            "AP_CONFIG_CHANGED_BY_RRM",
            "SW_PORT_UP",
            "SW_PORT_DOWN",
            "AP_RRM_ACTION",
            "AP_CONFIGURED",
            "AP_RADAR_DETECTED",
        ];
        let mut event = || {
            self.events += 1;
            let n = self.events;
            let mut event = device_event(
                KINDS[n as usize % KINDS.len()],
                n.wrapping_mul(7_919) % 2_000,
            );
            // Each is news, though they are made faster than the clock ticks.
            event["timestamp"] =
                json!(event["timestamp"].as_f64().unwrap() - 600.0 + f64::from(n % 600_000) / 1e3);
            event["port_id"] = json!(format!("ge-0/0/{}", n % 48));
            event["text"] = json!("what the device said of it, in a sentence of the usual length");
            event["version"] = json!("0.14.29911");
            event["model"] = json!("AP45-WW");
            event["audit_id"] = json!("e9a88814-fa81-5bdc-34b0-84e8735420e5");
            event["n"] = json!(n);
            event
        };
        Posts::new(
            (0..posts)
                .map(|_| json!({"topic": "device-events", "events": (0..events).map(|_| event()).collect::<Vec<_>>()})),
        )
    }
}

/// One device after the other goes down, so many in a POST.
pub(crate) fn downs(devices: std::ops::Range<usize>, events: usize) -> Posts {
    let devices: Vec<usize> = devices.collect();
    let event = |n: &usize| device_event("AP_DISCONNECTED", u32::try_from(*n).unwrap());
    Posts::new(
        devices
            .chunks(events)
            .map(|some| json!({"topic": "device-events", "events": some.iter().map(event).collect::<Vec<_>>()})),
    )
}

/// So many downs of so many devices, each news, none ever up again.
pub(crate) fn flapless_downs(events: usize, devices: usize) -> Posts {
    Posts::new((0..events).map(|n| {
        let mut event = device_event("AP_DISCONNECTED", u32::try_from(n % devices).unwrap());
        event["timestamp"] = json!(event["timestamp"].as_f64().unwrap() - 60.0 + n as f64 / 1e3);
        json!({"topic": "device-events", "events": [event]})
    }))
}

/// What a load found.
pub(crate) struct Run {
    pub(crate) took: Duration,
    pub(crate) begun: Vec<Option<Instant>>,
    millis: Vec<f64>,
    pub(crate) statuses: Vec<u16>,
}

impl Run {
    pub(crate) fn accepted(&self) -> usize {
        self.statuses
            .iter()
            .filter(|status| **status == 200)
            .count()
    }

    pub(crate) fn rate(&self) -> f64 {
        assert_eq!(
            self.accepted(),
            self.statuses.len(),
            "every post is answered 200"
        );
        self.statuses.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        self.millis[((self.millis.len() - 1) as f64 * percent / 100.0) as usize]
    }
}

/// Posts all of them over so many connections that stay open; `pace`: at most so many a second. On
/// a thread of its own. A connection that breaks ends: what it had not had an answer to counts as
/// not accepted.
pub(crate) async fn load(
    address: &str,
    connections: usize,
    pace: Option<f64>,
    posts: &Arc<Posts>,
) -> Run {
    let (address, posts) = (
        address.trim_start_matches("http://").to_owned(),
        Arc::clone(posts),
    );
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, drive(address, connections, pace, posts))
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

pub(crate) async fn drive(
    address: String,
    connections: usize,
    pace: Option<f64>,
    posts: Arc<Posts>,
) -> Run {
    let mut streams = Vec::new();
    for _ in 0..connections {
        if let Ok(stream) = TcpStream::connect(&address).await {
            stream.set_nodelay(true).unwrap();
            streams.push(stream);
        }
    }
    let next = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let (next, posts) = (Arc::clone(&next), Arc::clone(&posts));
            tokio::task::spawn_local(async move {
                let mut answers = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= posts.ends.len() {
                        return answers;
                    }
                    if let Some(pace) = pace {
                        tokio::time::sleep_until(
                            (begin + Duration::from_secs_f64(n as f64 / pace)).into(),
                        )
                        .await;
                    }
                    let begun = Instant::now();
                    let Some(status) = post(&mut stream, posts.get(n)).await else {
                        return answers;
                    };
                    answers.push((n, begun, begun.elapsed(), status));
                }
            })
        })
        .collect();
    let count = posts.ends.len();
    let mut run = Run {
        took: Duration::ZERO,
        begun: vec![None; count],
        millis: Vec::with_capacity(count),
        statuses: vec![0; count],
    };
    for task in tasks {
        for (n, begun, took, status) in task.await.unwrap() {
            run.begun[n] = Some(begun);
            run.statuses[n] = status;
            run.millis.push(took.as_secs_f64() * 1e3);
        }
    }
    run.took = begin.elapsed();
    run.millis.sort_by(f64::total_cmp);
    run
}

/// Writes a request and reads its answer to the end; the status, unless the connection broke.
pub(crate) async fn post(stream: &mut TcpStream, request: &[u8]) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    let (mut buffer, mut filled) = ([0_u8; 1_024], 0);
    loop {
        filled += stream
            .read(&mut buffer[filled..])
            .await
            .ok()
            .filter(|read| *read > 0)?;
        let text = std::str::from_utf8(&buffer[..filled]).ok()?;
        let Some(head) = text.find("\r\n\r\n") else {
            continue;
        };
        let length = text[..head]
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |n| n.parse().unwrap());
        if filled >= head + 4 + length {
            return text.get(9..12)?.parse().ok();
        }
    }
}

// ---------------------------------------------------------------- the bare server

/// Reads a body, answers 200, and that is all.
pub(crate) async fn bare_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let filter = warp::post()
        .and(warp::path("mist"))
        .and(warp::body::bytes())
        .map(|body: bytes::Bytes| {
            std::hint::black_box(body);
            "ok\n"
        });
    warp::serve(filter).incoming(listener).run().await;
}

pub(crate) struct Bare {
    pub(crate) address: String,
    child: Child,
}

impl Bare {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("bare-server")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            address: line.trim().to_owned(),
            child,
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long until everything journaled is judged.
pub(crate) async fn judged(foghorn: &Foghorn) -> Duration {
    let (begun, mut moved, mut reached) = (Instant::now(), Instant::now(), 0.0);
    loop {
        let (judged, last) = (
            foghorn.metric("foghorn_judged_seq", "").await,
            foghorn.metric("foghorn_journal_last_seq", "").await,
        );
        if judged >= last && last > 0.0 {
            return begun.elapsed();
        }
        // A busy machine is slow; what does not move is stuck.
        if judged > reached {
            (moved, reached) = (Instant::now(), judged);
        }
        assert!(
            moved.elapsed() < Duration::from_secs(120),
            "judged {judged} of {last}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn memory_of(pid: u32, what: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1_024.0
}

/// Seconds of CPU, user and system, that a process has used.
pub(crate) fn cpu_of(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    // A tick is a hundredth of a second on every Linux that Rust runs on.
    ticks
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
