//! Chats that answer wrongly, late, endlessly or not at all: what they were not told is told later,
//! and nobody else waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{Foghorn, device_event, until};
use crate::world::{EACH, sink};

/// What a sink does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Take,
    /// Answers with these bytes.
    Say(&'static str),
    /// Reads, and never answers.
    Hang,
    /// Closes with a reset.
    Reset,
    /// Closes in the middle of the head.
    Garbage,
    /// A head that promises success only after a body that drips for ever.
    Drip,
}

/// One sink: how it behaves, and the paths that were asked, with what was done.
#[derive(Clone)]
struct Wrong {
    port: u16,
    how: Arc<Mutex<How>>,
    asked: Arc<Mutex<Vec<(Instant, String, How)>>>,
}

impl Wrong {
    async fn start(how: How, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sink = Self {
            port,
            how: Arc::new(Mutex::new(how)),
            asked: Arc::default(),
        };
        let each = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sink, tls) = (each.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => sink.answer(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => sink.answer(stream).await,
                            Err(_) => sink.asked.lock().unwrap().push((
                                Instant::now(),
                                String::new(),
                                How::Reset,
                            )),
                        },
                    }
                });
            }
        });
        sink
    }

    async fn answer(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin + Zero) {
        let Some(path) = request(&mut stream).await else {
            return;
        };
        let how = *self.how.lock().unwrap();
        self.asked.lock().unwrap().push((Instant::now(), path, how));
        match how {
            How::Take => {
                let _ = stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
                    )
                    .await;
            }
            How::Say(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
            }
            How::Hang => {
                let _ = stream.read(&mut [0; 64]).await;
            }
            How::Reset => stream.reset(),
            How::Garbage => {
                let _ = stream.write_all(b"HTTP/1.1 20").await;
            }
            How::Drip => {
                let _ = stream
                    .write_all(b"HTTP/1.1 500 Oops\r\ncontent-length: 100000\r\n\r\n")
                    .await;
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        let _ = stream.shutdown().await;
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/hook", self.port)
    }

    fn heal(&self) {
        *self.how.lock().unwrap() = How::Take;
    }

    fn asked(&self) -> Vec<(Instant, String, How)> {
        self.asked.lock().unwrap().clone()
    }

    fn taken(&self) -> usize {
        self.asked()
            .iter()
            .filter(|(_, _, how)| *how == How::Take)
            .count()
    }
}

/// The path of one request, read to its end.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let read = stream
            .read(&mut buffer)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some(end) = text.find("\r\n\r\n") else {
            continue;
        };
        let length = text[..end]
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if bytes.len() >= end + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap()) {
            return text.split(' ').nth(1).map(str::to_owned);
        }
    }
}

/// A stream that can end with a reset.
trait Zero {
    fn reset(&self);
}

impl Zero for TcpStream {
    #[allow(deprecated, reason = "zero never blocks")]
    fn reset(&self) {
        self.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Zero for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset(&self) {}
}

/// A certificate nobody trusts, for another name.
fn wrong_certificate() -> TlsAcceptor {
    let certificate =
        CertificateDer::from_pem_slice(include_bytes!("certificate/cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("certificate/key.pem")).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

const FAST: &str = "rate_limit: {limit: 100, per: 1s, burst: 100}, retry: {first: 50ms, max: 300ms}, overflow: queue";
/// Of those that never answer. Elsewhere a short one would repeat what a slow machine answers late.
const SOON: &str = "timeout: 400ms, ";
const WITH_RETRY_AFTER: &str =
    "HTTP/1.1 429 Slow\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const WITHOUT: &str = "HTTP/1.1 429 Slow\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const ERROR: &str = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_chat_answers_it_is_told_later_and_nobody_else_waits() {
    let wrongs = [
        ("good", How::Take),
        ("error", How::Say(ERROR)),
        ("hang", How::Hang),
        ("reset", How::Reset),
        ("garbage", How::Garbage),
        ("drip", How::Drip),
        ("later", How::Say(WITH_RETRY_AFTER)),
    ];
    let mut sinks = BTreeMap::new();
    for (name, how) in wrongs {
        sinks.insert(name, Wrong::start(how, None).await);
    }
    let config: String = sinks
        .iter()
        .map(|(name, of)| {
            let soon = if matches!(*name, "hang" | "drip") {
                SOON
            } else {
                ""
            };
            sink(name, &of.url("http"), &format!("{soon}{FAST}"))
        })
        .collect();
    let foghorn = Foghorn::start(&format!("destinations:\n{config}{EACH}")).await;
    let begun = Instant::now();
    for n in 0..3 {
        foghorn
            .post("device-events", json!([device_event("AP_DISCONNECTED", n)]))
            .await;
    }
    until("the good one is told", || sinks["good"].taken() == 3).await;
    let good = begun.elapsed();
    let tried = |name: &str, times| sinks[name].asked().len() >= times;
    until("each wrong one is tried again and again", || {
        sinks
            .keys()
            .all(|name| *name == "good" || tried(name, if *name == "later" { 1 } else { 6 }))
    })
    .await;
    sinks.values().for_each(Wrong::heal);
    foghorn
        .until_metric("foghorn_message_fates", "delivered", |told| told == 21.0)
        .await;
    for (name, of) in &sinks {
        // Healed, they may still answer too late for their short time: that is tried again.
        let once = !matches!(*name, "hang" | "drip");
        assert!(of.taken() == 3 || (of.taken() > 3 && !once), "{name}");
    }
    let later = sinks["later"].asked();
    // All that were under way when it first said so may have been tried; whoever came then waited.
    let first_taken = later
        .iter()
        .find(|(_, _, how)| *how == How::Take)
        .unwrap()
        .0;
    assert!(
        first_taken - later[0].0 >= Duration::from_secs(2),
        "it asked for 2 s"
    );
    println!(
        "7 destinations, 6 of them wrong: the good one had all after {good:?}; the others had all once they were right"
    );
    foghorn.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_that_names_no_time_holds_the_whole_destination_for_half_a_minute() {
    let wrong = Wrong::start(How::Say(WITHOUT), None).await;
    let foghorn = Foghorn::start(&format!(
        "destinations:\n{}{EACH}",
        sink("sink", &wrong.url("http"), FAST)
    ))
    .await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 0)]))
        .await;
    until("the first try", || wrong.asked().len() == 1).await;
    wrong.heal();
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    until("both are told", || wrong.taken() == 2).await;
    let asked = wrong.asked();
    assert!(
        asked[1].0 - asked[0].0 >= Duration::from_secs(29),
        "{asked:?}"
    );
    assert_eq!(asked.len(), 3);
    foghorn.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_a_wrong_certificate_and_a_name_nobody_has_keep_their_backlog_until_the_url_is_put_right()
 {
    let secret = Wrong::start(How::Take, None).await;
    let mut moved = Vec::new();
    for status in [301, 302, 303, 307, 308] {
        let said = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            secret.url("http")
        );
        moved.push(Wrong::start(How::Say(said.leak()), None).await);
    }
    let tls = Wrong::start(How::Take, Some(wrong_certificate())).await;
    let right = Wrong::start(How::Take, None).await;
    let config = |urls: &[String]| {
        let names = [
            "good", "tls", "nameless", "moved301", "moved302", "moved303", "moved307", "moved308",
        ];
        let all: String = names
            .iter()
            .zip(urls)
            .map(|(name, url)| sink(name, url, FAST))
            .collect();
        format!("destinations:\n{all}{EACH}")
    };
    let (good, nobody) = (right.url("http"), "https://chat.invalid/hook".to_owned());
    let mut urls = vec![good.clone(), tls.url("https"), nobody];
    urls.extend(moved.iter().map(|moved| moved.url("http")));
    let foghorn = Foghorn::start(&config(&urls)).await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    // The good one is told of the event, and of each destination that refuses.
    until("the good one is told", || right.taken() == 6).await;
    until("the certificate is refused", || tls.asked().len() > 2).await;
    until("the log says why", || {
        let logged = foghorn.logged();
        [
            "a redirect, which is never followed",
            "the TLS certificate was rejected",
            "the host was not found",
        ]
        .iter()
        .all(|why| logged.contains(why))
    })
    .await;
    assert_eq!(
        (secret.asked().len(), tls.taken()),
        (0, 0),
        "no redirect is followed, nothing is said to a stranger"
    );
    assert_eq!(foghorn.metric("foghorn_message_fates", "queued").await, 7.0);
    std::fs::write(
        foghorn.dir.join("rules.yaml"),
        config(&vec![good.clone(); urls.len()]),
    )
    .unwrap();
    foghorn.signal("HUP");
    until("what waited is told", || right.taken() == 13).await;
    foghorn.stop().await;
}
