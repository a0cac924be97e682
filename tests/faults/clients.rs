//! Clients that are slow, half-open, too big, forged or broken, beside good ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::load::{Run, downs, load, post};
use crate::support::{Chat, Foghorn, device_event, sign};
use crate::world::{Chance, accepted, posts, rules, told, until_sent, until_told};

/// Good posts a second: what a busy network sends.
const PACE: f64 = 200.0;

/// Keeps so many clients that say nothing, half a head, or half a body; one that is closed comes again after 2 s.
fn slow(address: &str, clients: usize, open: &Arc<AtomicUsize>) -> Vec<tokio::task::JoinHandle<()>> {
    const HALVES: [&str; 4] = [
        "",
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
                    let mut byte = [0];
                    // A byte now and then, until it is closed.
                    while let Err(_) | Ok(Ok(1..)) =
                        tokio::time::timeout(Duration::from_secs(2), stream.read(&mut byte)).await
                    {
                        if stream.write_all(b"x").await.is_err() {
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

async fn beside(clients: usize, count: usize) -> (Run, Run) {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, 1_000)).await;
    let alone = load(&foghorn.address, 8, Some(PACE), &Arc::new(downs(0..count, 1))).await;
    let open = Arc::new(AtomicUsize::new(0));
    let crowd = slow(&foghorn.address, clients, &open);
    let begun = std::time::Instant::now();
    while open.load(Ordering::Relaxed) < clients.min(400) {
        assert!(begun.elapsed() < Duration::from_secs(20), "only {} came", open.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let crowded = load(&foghorn.address, 8, Some(PACE), &Arc::new(downs(count..count * 2, 1))).await;
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
    let without = crowded.statuses.iter().filter(|status| **status != 200).count();
    assert_eq!(without, 0, "good posts that were not answered 200: {:?}", {
        let mut seen = crowded.statuses.clone();
        seen.sort_unstable();
        seen.dedup();
        seen
    });
    println!(
        "{clients} slow clients: good posts {:.0}/s alone, {:.0}/s beside them; p99 {:.1} ms alone, {:.1} ms beside them",
        alone.rate(),
        crowded.rate(),
        alone.percentile(99.0),
        crowded.percentile(99.0)
    );
    let lost = until_told(&chat, &accepted(&crowded, count), Duration::from_secs(20)).await;
    assert!(lost.is_empty(), "accepted and never told: {lost:?}");
    foghorn.stop().await;
    (alone, crowded)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_slow_clients_keep_no_good_one_out() {
    let (_, crowded) = beside(300, 400).await;
    assert!(crowded.rate() > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form: a measurement"]
async fn two_thousand_slow_clients_cost_good_ones_a_tenth_at_most() {
    let (alone, crowded) = beside(2_000, 4_000).await;
    assert!(crowded.rate() >= alone.rate() * 0.9);
    assert!(crowded.percentile(99.0) <= (alone.percentile(99.0) * 2.0).max(10.0), "p99 under twice, or under 10 ms");
}

type Headers = Vec<(&'static str, String)>;

/// What it is, a body, its headers, and what it is answered.
fn hostile() -> Vec<(&'static str, Vec<u8>, Headers, u16)> {
    let good = json!({"topic": "device-events", "events": [device_event("AP_DISCONNECTED", 1)]}).to_string();
    let signed = |body: &[u8]| vec![("x-mist-signature-v2", sign(body))];
    let with = |body: &[u8], name: &'static str, value: &str| {
        let mut headers = signed(body);
        headers.push((name, value.to_owned()));
        headers
    };
    let other = sign(b"{}");
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let huge = vec![b'x'; 5 << 20];
    vec![
        ("no signature", good.clone().into(), vec![], 401),
        ("an empty one", good.clone().into(), vec![("x-mist-signature-v2", String::new())], 401),
        ("another body's", good.clone().into(), vec![("x-mist-signature-v2", other)], 401),
        ("half of it", good.clone().into(), vec![("x-mist-signature-v2", sign(good.as_bytes())[..32].to_owned())], 401),
        ("no hex", good.clone().into(), vec![("x-mist-signature-v2", "z".repeat(64))], 401),
        ("v1's name, v2's value", good.clone().into(), vec![("x-mist-signature", sign(good.as_bytes()))], 401),
        ("changed by a byte", good.replace("ap-1", "ap-2").into(), signed(good.as_bytes()), 401),
        ("too big", huge.clone(), signed(&huge), 413),
        ("too deep", deep.clone().into(), signed(deep.as_bytes()), 400),
        ("compressed", good.clone().into(), with(good.as_bytes(), "content-encoding", "gzip"), 415),
        ("a form", good.clone().into(), with(good.as_bytes(), "content-type", "text/plain"), 415),
        ("not JSON", b"{\"topic\":".to_vec(), signed(b"{\"topic\":"), 400),
        ("another shape", b"[1]".to_vec(), signed(b"[1]"), 200),
        ("a shape of nothing", b"{}".to_vec(), signed(b"{}"), 200),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_oversized_nested_and_compressed_bodies_are_answered_as_documented() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, 300)).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (what, body, headers, status) in hostile() {
        let mut request = client.post(format!("{}/mist", foghorn.address)).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(request.send().await.unwrap().status().as_u16(), status, "{what}");
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
    let dir = foghorn.kill().unwrap();
    let foghorn = Foghorn::start_in(dir.path()).await;
    load(&foghorn.address, 2, None, &again()).await;
    crate::load::judged(&foghorn).await;
    until_sent(&foghorn, Duration::from_secs(10)).await;
    let told = told(&chat);
    // The one in flight at the kill may come twice; what is replayed may not.
    assert!(told["ap-1"] <= 2, "{told:?}");
    assert_eq!(foghorn.metric("foghorn_events_total", "").await, 10.0);
    assert_eq!(foghorn.metric("foghorn_event_fates", "duplicate").await, 9.0);
    foghorn.stop().await;
}

async fn mutated(count: usize) {
    let mut chance = Chance::new("mutated bodies");
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, 300)).await;
    let address = foghorn.address.trim_start_matches("http://").to_owned();
    let good = json!({"topic": "device-events", "events": [device_event("AP_DISCONNECTED", 1)]}).to_string();
    let words =
        ["\"", "{", "[", "null", "1e400", "-1", "\\u0000", "\\ud800", "\"events\":", "9".repeat(40).leak(), "\u{202e}"];
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut answers = std::collections::BTreeMap::<u16, usize>::new();
    for _ in 0..count {
        let mut body = good.clone().into_bytes();
        for _ in 0..=chance.below(4) {
            let at = chance.below(body.len() as u64) as usize;
            match chance.below(4) {
                0 => body[at] = chance.below(256) as u8,
                1 => body.truncate(at.max(1)),
                2 => drop(body.splice(at..at, words[chance.below(words.len() as u64) as usize].bytes())),
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
    assert!(until_told(&chat, &named, Duration::from_secs(20)).await.is_empty(), "it goes on");
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
