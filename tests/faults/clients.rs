//! Clients that are slow, half-open, too big, forged or broken, beside good ones.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::load::{Run, flapless_downs, load, memory_of, post};
use crate::support::{Chat, Foghorn, PATIENCE, SECRET, device_event, sign, until};
use crate::world::{Chance, posts, rules, told, until_sent, until_told};

/// Keeps so many clients that say nothing, half a head, half a body, or something that is answered
/// and then nothing; one that is closed comes again after 2 s.
fn slow(
    address: &str,
    clients: usize,
    open: &Arc<AtomicUsize>,
) -> Vec<tokio::task::JoinHandle<()>> {
    const HALVES: [&str; 5] = [
        "",
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "POST /mist HTTP/1.1\r\nhost: x\r\nx-slow: ",
        "POST /mist HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"topic\": \"dev",
        "POST /mist HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"to",
    ];
    let address = address.trim_start_matches("http://").to_owned();
    let client = |n: usize| {
        let (address, open) = (address.clone(), Arc::clone(open));
        tokio::spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(&address).await {
                    open.fetch_add(1, Ordering::Relaxed);
                    let _ = stream.write_all(HALVES[n % HALVES.len()].as_bytes()).await;
                    let mut bytes = [0; 512];
                    // A byte now and then, or nothing, until it is closed.
                    while let Err(_) | Ok(Ok(1..)) =
                        tokio::time::timeout(Duration::from_secs(2), stream.read(&mut bytes)).await
                    {
                        if !HALVES[n % HALVES.len()].starts_with("GET")
                            && stream.write_all(b"x").await.is_err()
                        {
                            break;
                        }
                    }
                    open.fetch_sub(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        })
    };
    (0..clients).map(client).collect()
}

/// What good clients get: posts a second as fast as they are answered, and the 99th percentile in
/// ms.
#[derive(Debug)]
struct Got {
    rate: f64,
    p99: f64,
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn got(runs: &[Run]) -> Got {
    Got {
        rate: middle(runs.iter().map(Run::rate).collect()),
        p99: middle(runs.iter().map(|run| run.percentile(99.0)).collect()),
    }
}

/// Alone and beside slow clients, in turns, since this machine has other things to do; the middle
/// of the rounds. The good posts are of few devices, so that as many as take some seconds stay
/// below what is remembered of alerts.
async fn beside(clients: usize, count: usize, rounds: usize) -> (Got, Got) {
    const DEVICES: usize = 1_000;
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, 1_000)).await;
    let (mut alone, mut crowded) = (Vec::new(), Vec::new());
    let devices: BTreeSet<String> = (0..count.min(DEVICES)).map(|n| format!("ap-{n}")).collect();
    let good = async || {
        let run = load(
            &foghorn.address,
            8,
            None,
            &Arc::new(flapless_downs(count, DEVICES)),
        )
        .await;
        let without = run.statuses.iter().filter(|status| **status != 200).count();
        assert_eq!(
            without,
            0,
            "good posts that were not answered 200: {:?}",
            BTreeSet::from_iter(&run.statuses)
        );
        crate::load::judged(&foghorn).await;
        run
    };
    for _ in 0..rounds {
        alone.push(good().await);
        let open = Arc::new(AtomicUsize::new(0));
        let crowd = slow(&foghorn.address, clients, &open);
        until("the slow clients", || {
            open.load(Ordering::Relaxed) >= clients.min(400)
        })
        .await;
        crowded.push(good().await);
        crowd.iter().for_each(tokio::task::JoinHandle::abort);
        for gone in crowd {
            let _ = gone.await;
        }
    }
    let (alone, crowded) = (got(&alone), got(&crowded));
    println!(
        "{clients} slow clients, {rounds} rounds of {count} good posts: {alone:.1?} alone, {crowded:.1?} beside them"
    );
    let lost = until_told(&chat, &devices).await;
    assert!(lost.is_empty(), "accepted and never told: {lost:?}");
    foghorn.stop().await;
    (alone, crowded)
}

/// Every good post is answered 200 beside them; how fast, the long form measures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_slow_clients_keep_no_good_one_out() {
    beside(300, 300, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form: a measurement"]
async fn two_thousand_slow_clients_cost_good_ones_a_tenth_at_most() {
    let (alone, crowded) = beside(2_000, 30_000, 5).await;
    assert!(crowded.rate >= alone.rate * 0.9);
    assert!(
        crowded.p99 <= (alone.p99 * 2.0).max(3.0),
        "p99 under twice, or under 3 ms"
    );
}

type Headers = Vec<(&'static str, String)>;

/// What it is, a body, its headers, and what it is answered.
fn hostile() -> Vec<(&'static str, Vec<u8>, Headers, u16)> {
    let good = json!({"topic": "device-events", "events": [device_event("AP_DISCONNECTED", 1)]})
        .to_string();
    let signed = |body: &[u8]| vec![("x-mist-signature-v2", sign(body))];
    let with = |body: &[u8], name: &'static str, value: &str| {
        let mut headers = signed(body);
        headers.push((name, value.to_owned()));
        headers
    };
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let huge = vec![b'x'; 5 << 20];
    vec![
        (
            "changed by a byte",
            good.replace("ap-1", "ap-2").into(),
            signed(good.as_bytes()),
            401,
        ),
        ("too big", huge.clone(), signed(&huge), 413),
        (
            "too deep",
            deep.clone().into(),
            signed(deep.as_bytes()),
            400,
        ),
        (
            "compressed",
            good.clone().into(),
            with(good.as_bytes(), "content-encoding", "gzip"),
            415,
        ),
        (
            "a form",
            good.clone().into(),
            with(good.as_bytes(), "content-type", "text/plain"),
            415,
        ),
        (
            "not JSON",
            b"{\"topic\":".to_vec(),
            signed(b"{\"topic\":"),
            400,
        ),
        ("another shape", b"[1]".to_vec(), signed(b"[1]"), 200),
        ("a shape of nothing", b"{}".to_vec(), signed(b"{}"), 200),
    ]
}

/// Signatures of a good body that are none: what it is, and the headers.
fn forged(good: &str) -> Vec<(&'static str, Headers)> {
    let right = sign(good.as_bytes());
    let mut sha1 = <Hmac<Sha1> as KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
    sha1.update(good.as_bytes());
    let sha1: String = sha1
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut foreign = <Hmac<Sha256> as KeyInit>::new_from_slice(b"another secret").unwrap();
    foreign.update(good.as_bytes());
    let foreign: String = foreign
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let v2 = |value: &str| vec![("x-mist-signature-v2", value.to_owned())];
    let twice = |one: &str, other: &str| [v2(one), v2(other)].concat();
    let bare: String = sign(b"");
    vec![
        ("none", vec![]),
        ("an empty one", v2("")),
        ("another body's", v2(&sign(b"{}"))),
        ("no body's", v2(&bare)),
        ("another secret's", v2(&foreign)),
        ("half of it", v2(&right[..32])),
        ("a digit less", v2(&right[..63])),
        ("a digit more", v2(&format!("{right}0"))),
        ("twice as long", v2(&format!("{right}{right}"))),
        ("no hex", v2(&"z".repeat(64))),
        ("zeros", v2(&"0".repeat(64))),
        ("with a prefix", v2(&format!("sha256={right}"))),
        ("in quotes", v2(&format!("\"{right}\""))),
        ("SHA-1 as v2", v2(&sha1)),
        ("v1 only, right", vec![("x-mist-signature", sha1.clone())]),
        (
            "v1's name, v2's value",
            vec![("x-mist-signature", right.clone())],
        ),
        (
            "a wrong v2 beside a right v1",
            [v2(&foreign), vec![("x-mist-signature", sha1)]].concat(),
        ),
        ("two, the first right", twice(&right, &foreign)),
        ("two, the second right", twice(&foreign, &right)),
        ("two, both right", twice(&right, &right)),
        ("two in one", v2(&format!("{foreign}, {right}"))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_the_one_right_signature_is_taken() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, 300)).await;
    let client = foghorn::wire::direct().unwrap();
    let good = json!({"topic": "device-events", "events": [device_event("AP_DISCONNECTED", 1)]})
        .to_string();
    let post = async |headers: Headers| {
        let mut request = client
            .post(format!("{}/mist", foghorn.address))
            .body(good.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    for (what, headers) in forged(&good) {
        assert_eq!(post(headers).await, 401, "{what}");
    }
    assert_eq!(
        foghorn.metric("foghorn_events_total", "").await,
        0.0,
        "nothing of it is journaled"
    );
    // The same digits, differently written.
    assert_eq!(
        post(vec![(
            "X-MIST-Signature-V2",
            sign(good.as_bytes()).to_uppercase()
        )])
        .await,
        200
    );
    chat.wait_for(1).await;
    foghorn.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_oversized_nested_and_compressed_bodies_are_answered_as_documented() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, 300)).await;
    let client = foghorn::wire::direct().unwrap();
    for (what, body, headers, status) in hostile() {
        let mut request = client.post(format!("{}/mist", foghorn.address)).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(
            request.send().await.unwrap().status().as_u16(),
            status,
            "{what}"
        );
    }
    assert_eq!(chat.count(), 0, "nothing of it is told");
    foghorn.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_again_is_told_once_also_after_a_kill() {
    let chat = Chat::start().await;
    let body = json!({"topic": "device-events", "events": [device_event("AP_DISCONNECTED", 1)]});
    let again = || posts(std::iter::repeat_n(body.clone(), 5));
    let foghorn = Foghorn::start(&rules(&chat, 300)).await;
    load(&foghorn.address, 2, None, &again()).await;
    chat.wait_for(1).await;
    // What is under way at the kill may come twice; this is not.
    until_sent(&foghorn).await;
    assert_eq!(
        foghorn.metric("foghorn_message_fates", "delivered").await,
        1.0
    );
    let dir = foghorn.kill().unwrap();
    let foghorn = Foghorn::start_in(dir.path()).await;
    load(&foghorn.address, 2, None, &again()).await;
    crate::load::judged(&foghorn).await;
    until_sent(&foghorn).await;
    let told = told(&chat);
    assert_eq!(told["ap-1"], 1, "{told:?}");
    assert_eq!(foghorn.metric("foghorn_events_total", "").await, 10.0);
    assert_eq!(
        foghorn.metric("foghorn_event_fates", "duplicate").await,
        9.0
    );
    foghorn.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_holds_far_too_much_costs_little_and_holds_up_nobody_for_long() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, 300)).await;
    let before = memory_of(foghorn.pid(), "VmRSS");
    let of = |items: String| format!(r#"{{"topic":"device-events","events":[{items}]}}"#);
    for (item, times) in [("{}", 330_000), ("1", 340_000), (r#"{"type":"A"}"#, 77_000)] {
        assert_eq!(
            foghorn
                .post_raw("/mist", of(vec![item; times].join(",")))
                .await,
            200
        );
    }
    // Python writes half a character where a text was cut.
    let good = device_event("AP_DISCONNECTED", 1);
    let half = of(format!(
        r#"{good},{{"type":"AP_X","text":"\ud800"}},{{"type":"AP_X","n":1e400}}"#
    ));
    assert_eq!(foghorn.post_raw("/mist", half).await, 200);
    let told_of = ["ap-1".to_owned()].into();
    assert!(until_told(&chat, &told_of).await.is_empty());
    crate::load::judged(&foghorn).await;
    let most = memory_of(foghorn.pid(), "VmHWM");
    println!("posts of 330,000 items: RSS {before:.1} MiB before, {most:.1} at most");
    assert!(most - before <= 48.0, "{most:.1} MiB after {before:.1}");
    let lines = foghorn.logged().matches("not all was understood").count();
    assert!(lines <= 5, "{lines} lines");
    assert_eq!(foghorn.metric("foghorn_events_total", "").await, 20_002.0);
    assert_eq!(
        foghorn.metric("foghorn_malformed_total", "").await,
        320_000.0 + 340_000.0 + 67_000.0 + 1.0
    );
    let dir = foghorn.kill().unwrap();
    let foghorn = Foghorn::start_in(dir.path()).await;
    crate::load::judged(&foghorn).await;
    assert_eq!(
        foghorn.metric("foghorn_events_total", "").await,
        20_002.0,
        "and the same again after a kill"
    );
    foghorn.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_end_it_answers_what_is_under_way_and_waits_for_no_half_request() {
    const UNDER_WAY: u32 = 20;
    const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let chat = Chat::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules(&chat, 300)).unwrap();
    let foghorn = Foghorn::start_in(dir.path()).await;
    let address = foghorn.address.trim_start_matches("http://").to_owned();
    let mut half_open = Vec::new();
    for half in [
        "",
        "POST /mist HTTP/1.1\r\nho",
        "POST /mist HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        half_open.push(stream);
    }
    let mut under_way = Vec::new();
    for n in 0..UNDER_WAY {
        let body =
            json!({"topic": "device-events", "events": [device_event("AP_DISCONNECTED", n)]})
                .to_string();
        let head = format!(
            "POST /mist HTTP/1.1\r\nhost: x\r\nx-mist-signature-v2: {}\r\nexpect: 100-continue\r\n\
             content-length: {}\r\n\r\n",
            sign(body.as_bytes()),
            body.len()
        );
        let (said, unsaid) = body.split_at(body.len() / 2);
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream
            .write_all(format!("{head}{said}").as_bytes())
            .await
            .unwrap();
        // Its body is being read: it is under way, and waited for.
        let mut go_on = [0; GO_ON.len()];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, GO_ON);
        under_way.push((stream, unsaid.to_owned()));
    }
    foghorn.signal("TERM");
    let begun = std::time::Instant::now();
    while TcpStream::connect(&address).await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it still takes clients");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // All at once: it waits for five seconds.
    for (stream, unsaid) in &mut under_way {
        stream.write_all(unsaid.as_bytes()).await.unwrap();
    }
    for (mut stream, _) in under_way {
        assert_eq!(post(&mut stream, b"").await, Some(200));
    }
    assert_eq!(foghorn.ended().await, Some(0));
    drop(half_open);
    let foghorn = Foghorn::start_in(dir.path()).await;
    let all = (0..UNDER_WAY).map(|n| format!("ap-{n}")).collect();
    let lost = until_told(&chat, &all).await;
    assert!(lost.is_empty(), "answered 200 and never told: {lost:?}");
    until_sent(&foghorn).await;
    foghorn.stop().await;
}

async fn mutated(count: usize) {
    let mut chance = Chance::new("mutated bodies");
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, 300)).await;
    let address = foghorn.address.trim_start_matches("http://").to_owned();
    let good = json!({"topic": "device-events", "events": [device_event("AP_DISCONNECTED", 1)]})
        .to_string();
    let words = [
        "\"",
        "{",
        "[",
        "null",
        "1e400",
        "-1",
        "\\u0000",
        "\\ud800",
        "\"events\":",
        "9".repeat(40).leak(),
        "\u{202e}",
    ];
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut answers = std::collections::BTreeMap::<u16, usize>::new();
    for _ in 0..count {
        let mut body = good.clone().into_bytes();
        for _ in 0..=chance.below(4) {
            let at = chance.below(body.len() as u64) as usize;
            match chance.below(4) {
                0 => body[at] = chance.below(256) as u8,
                1 => body.truncate(at.max(1)),
                2 => drop(body.splice(
                    at..at,
                    words[chance.below(words.len() as u64) as usize].bytes(),
                )),
                _ => drop(body.remove(at)),
            }
            if body.is_empty() {
                body.push(b'{');
            }
        }
        let head = format!(
            "POST /mist HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-mist-signature-v2: {}\r\ncontent-length: {}\r\n\r\n",
            sign(&body),
            body.len()
        );
        let status = post(&mut stream, &[head.as_bytes(), &body].concat()).await;
        let shown = String::from_utf8_lossy(&body).into_owned();
        let status = status.unwrap_or_else(|| panic!("no answer to {shown}"));
        assert!(matches!(status, 200 | 400), "{status} to {shown}");
        *answers.entry(status).or_default() += 1;
    }
    crate::load::judged(&foghorn).await;
    println!("{count} mutated bodies: {answers:?}");
    let body: Value = json!([device_event("AP_DISCONNECTED", 900)]);
    foghorn.post("device-events", body).await;
    let named = ["ap-900".to_owned()].into();
    assert!(until_told(&chat, &named).await.is_empty(), "it goes on");
    foghorn.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_bodies_are_answered_200_or_400() {
    mutated(1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form"]
async fn many_mutated_bodies_are_answered_200_or_400() {
    mutated(50_000).await;
}
