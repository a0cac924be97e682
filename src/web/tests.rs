//! The auth from outside: answers and their order by `warp::test`, slow and broken clients over
//! real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use warp::http::HeaderName;

use super::*;
use crate::clock::{Clock, JournalClock};
use crate::model::{Cursor, Field, Journaled, Name, Record, Secret, Seq, SourceKind, Timestamp};
use crate::rules::{Matcher, Pattern, Policy, Resolve, Rule, Test};
use crate::source::mist::signature::{V1, V2, sign};
use crate::store::{self, MessageFates};

const BODY: &str = r#"{"topic":"device-events","events":[{"type":"AP_CONNECTED"}]}"#;

/// A journal in memory; can be full, or slow.
#[derive(Clone)]
pub(super) struct Fake {
    pub(super) records: Arc<Mutex<Vec<Record>>>,
    full: Arc<AtomicBool>,
    delay: Duration,
    /// How many appends have begun.
    begun: Arc<AtomicUsize>,
    news: watch::Sender<Seq>,
    clock: JournalClock,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            records: Arc::default(),
            full: Arc::default(),
            delay: Duration::ZERO,
            begun: Arc::default(),
            news: watch::Sender::default(),
            clock: JournalClock::resume(Clock::system(), None),
        }
    }
}

impl Store for Fake {
    fn clock(&self) -> JournalClock {
        self.clock
    }
}

impl Journal for Fake {
    async fn append(&self, record: Record) -> store::Result<Seq> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.delay).await;
        if self.full.load(Ordering::Relaxed) {
            return Err(store::Error::Transient(
                "/secret/path: no space left".to_owned(),
            ));
        }
        let mut records = self.records.lock().unwrap();
        records.push(record);
        let seq = Seq(records.len() as u64);
        self.news.send_replace(seq);
        Ok(seq)
    }

    async fn read(&self, after: Seq, limit: usize) -> store::Result<Vec<Journaled>> {
        let records = self.records.lock().unwrap();
        let entry = |(seq, record): (u64, &Record)| Journaled {
            seq: Seq(seq),
            at: Timestamp::EPOCH,
            record: record.clone(),
        };
        let after = usize::try_from(after.0).unwrap();
        let entries = (1..).zip(records.iter()).skip(after).take(limit);
        Ok(entries.map(entry).collect())
    }

    async fn cursor(&self, source: &Name) -> store::Result<Option<Cursor>> {
        let records = self.records.lock().unwrap();
        Ok(records.iter().rev().find_map(|record| match record {
            Record::Received {
                source: of, cursor, ..
            } if of == source => cursor.clone(),
            _ => None,
        }))
    }

    fn news(&self) -> watch::Receiver<Seq> {
        self.news.subscribe()
    }
}

impl Totals for Fake {
    async fn totals(&self) -> store::Result<Vec<(Name, MessageFates)>> {
        Ok(Vec::new())
    }

    async fn totals_of(&self, _: &Name) -> store::Result<MessageFates> {
        Ok(MessageFates::default())
    }
}

pub(super) struct World {
    pub(super) store: Fake,
    pub(super) state: State<Fake>,
    pub(super) ready: watch::Sender<bool>,
}

impl World {
    pub(super) fn new(store: Fake) -> Self {
        let (ready, seen) = watch::channel(true);
        let state = State::new(store.clone(), Metrics::default(), seen, current(&[]));
        Self {
            store,
            state,
            ready,
        }
    }

    fn routes(&self) -> BoxedFilter<(Response,)> {
        routes(&self.state)
    }

    fn stored(&self) -> Vec<(String, String)> {
        let one = |record: &Record| match record {
            Record::Received { source, body, .. } => (
                source.to_string(),
                String::from_utf8_lossy(body).into_owned(),
            ),
            other => panic!("{other:?}"),
        };
        self.store.records.lock().unwrap().iter().map(one).collect()
    }

    pub(super) fn scrape(&self) -> BTreeMap<String, u64> {
        let text = self.state.metrics.encode(Seq(0), &[]);
        let line = |line: &str| {
            Some((
                line.rsplit_once(' ')?.0.to_owned(),
                line.rsplit_once(' ')?.1.parse().ok()?,
            ))
        };
        text.lines().filter_map(line).collect()
    }
}

fn source(name: &str, secrets: &[&str]) -> SourceSettings {
    SourceSettings {
        name: Name::new(name),
        kind: SourceKind::default(),
        secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(),
        allow_unsigned: false,
        allow_v1: false,
        store_all: false,
        max_event_age: None,
        portal: String::new(),
    }
}

/// `mist` with a secret, `lab` without; rules that name these topics.
pub(super) fn current(topics: &[&str]) -> Current {
    let rule = |topic: &&str| Rule {
        name: "r".into(),
        line: 1,
        matcher: Matcher {
            tests: vec![(
                Field::Topic,
                Test::OneOf(vec![Pattern::parse(topic).unwrap()]),
            )],
            not: Vec::new(),
        },
        by: None,
        resolve: Resolve::Implied,
        threshold: None,
        when: None,
        absent: None,
        policy: Arc::new(Policy::default()),
    };
    let rules = Arc::new(RuleSet::new(topics.iter().map(rule).collect(), Vec::new()));
    Current {
        sources: vec![source("mist", &["s"]), source("lab", &[])],
        rules,
        max_body: 4096,
    }
}

pub(super) fn here() -> Peer {
    Peer::new("127.0.0.1:9".parse().unwrap())
}

pub(super) fn afar() -> Peer {
    Peer::new("192.0.2.1:9".parse().unwrap())
}

pub(super) async fn request(
    world: &World,
    method: &str,
    path: &str,
    peer: Peer,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String, HeaderMap) {
    let mut request = warp::test::request()
        .method(method)
        .path(path)
        .extension(peer)
        .body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.reply(&world.routes()).await;
    let text = String::from_utf8(response.body().to_vec()).unwrap();
    (response.status().as_u16(), text, response.headers().clone())
}

/// A POST signed with the secret of `mist`.
async fn signed(world: &World, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let signature = sign(&Secret::new("s"), body.as_bytes());
    let mut all = vec![(V2, signature.as_str())];
    all.extend_from_slice(headers);
    let (status, text, _) = request(world, "POST", "/mist", afar(), &all, body).await;
    (status, text)
}

#[tokio::test]
async fn a_signed_post_is_stored_as_it_came() {
    let world = World::new(Fake::default());
    let odd = " {\"events\": [], \"topic\" :\"x\"}\n";
    for body in [BODY, odd, "[]", "1", "null"] {
        assert_eq!(
            signed(&world, &[("content-type", "application/json")], body).await,
            (200, "ok\n".to_owned())
        );
    }
    assert_eq!(
        world
            .stored()
            .iter()
            .map(|(_, body)| body.as_str())
            .collect::<Vec<_>>(),
        [BODY, odd, "[]", "1", "null"]
    );
    assert_eq!(
        world.scrape()["foghorn_posts_total{source=\"mist\",answer=\"200\"}"],
        5
    );
}

#[tokio::test]
async fn refusals_come_in_the_documented_order() {
    let world = World::new(Fake::default());
    world.store.full.store(true, Ordering::Relaxed);
    let long = format!("{}{}", "x".repeat(5000), "[".repeat(200));
    let signature = |body: &str| sign(&Secret::new("s"), body.as_bytes());
    // Each request has every later fault as well.
    let text = ("content-type", "text/plain");
    let wrong = (V2, "00");
    assert_eq!(
        request(&world, "GET", "/mist/none", afar(), &[text, wrong], &long)
            .await
            .0,
        404
    );
    let (status, _, headers) = request(&world, "PUT", "/mist", afar(), &[text, wrong], &long).await;
    assert_eq!((status, headers["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(
        request(&world, "POST", "/mist", afar(), &[text, wrong], &long)
            .await
            .0,
        415
    );
    assert_eq!(
        request(&world, "POST", "/mist", afar(), &[wrong], &long)
            .await
            .0,
        413
    );
    assert_eq!(
        request(&world, "POST", "/mist", afar(), &[wrong], "no json")
            .await
            .0,
        401
    );
    assert_eq!(
        request(&world, "POST", "/mist", afar(), &[], "no json")
            .await
            .0,
        401
    );
    let good = signature("no json");
    assert_eq!(
        request(&world, "POST", "/mist", afar(), &[(V2, &good)], "no json")
            .await
            .0,
        400
    );
    let (status, text, headers) = request(
        &world,
        "POST",
        "/mist",
        afar(),
        &[(V2, &signature(BODY))],
        BODY,
    )
    .await;
    assert_eq!(
        (status, headers["retry-after"].to_str().unwrap()),
        (503, "5")
    );
    assert!(
        !text.contains("secret") && !text.contains("space"),
        "no internals: {text}"
    );
    let ready = async || request(&world, "GET", "/readyz", here(), &[], "").await.1;
    assert!(
        ready().await.contains("cannot be stored"),
        "{}",
        ready().await
    );
    world.store.full.store(false, Ordering::Relaxed);
    assert_eq!(signed(&world, &[], BODY).await.0, 200);
    assert!(
        !ready().await.contains("cannot be stored"),
        "{}",
        ready().await
    );
    assert_eq!(world.stored().len(), 1);
}

#[tokio::test]
async fn content_types_and_encodings() {
    let world = World::new(Fake::default());
    for kind in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.mist+json",
    ] {
        assert_eq!(
            signed(&world, &[("content-type", kind)], BODY).await.0,
            200,
            "{kind}"
        );
    }
    for kind in [
        "text/plain",
        "",
        "application/x-www-form-urlencoded",
        "json",
        "application/jsonp",
        "text/json",
    ] {
        assert_eq!(
            signed(&world, &[("content-type", kind)], BODY).await.0,
            415,
            "{kind}"
        );
    }
    for encoding in ["identity", "gzip", "identity, gzip", "br", ""] {
        assert_eq!(
            signed(&world, &[("content-encoding", encoding)], BODY)
                .await
                .0,
            415,
            "{encoding}"
        );
    }
}

#[tokio::test]
async fn sizes_to_the_byte_and_depth_to_the_level() {
    let world = World::new(Fake::default());
    let of = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    assert_eq!(signed(&world, &[], &of(4096)).await.0, 200);
    assert_eq!(signed(&world, &[], &of(4097)).await.0, 413);
    let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(signed(&world, &[], &nested(127)).await.0, 200);
    assert_eq!(
        signed(&world, &[], &nested(128)).await,
        (400, "body is nested too deeply\n".to_owned())
    );
}

#[tokio::test]
async fn without_a_secret_only_this_machine_posts() {
    let world = World::new(Fake::default());
    let post = async |peer, headers: &[(&str, &str)]| {
        request(&world, "POST", "/mist/lab", peer, headers, BODY)
            .await
            .0
    };
    assert_eq!(post(here(), &[]).await, 200);
    assert_eq!(post(Peer::new("[::1]:1".parse().unwrap()), &[]).await, 200);
    assert_eq!(
        post(Peer::new("[::ffff:127.0.0.1]:1".parse().unwrap()), &[]).await,
        200
    );
    assert_eq!(post(afar(), &[]).await, 401);
    for name in [
        "X-Forwarded-For",
        "Forwarded",
        "Via",
        "X-Real-IP",
        "CF-Connecting-IP",
        "Tailscale-User-Login",
        "Origin",
    ] {
        assert_eq!(post(here(), &[(name, "127.0.0.1")]).await, 401, "{name}");
    }
    assert_eq!(world.stored().len(), 3);
    assert!(world.stored().iter().all(|(source, _)| source == "lab"));
    // The name `mist` has one address, and its secret is not lab's.
    assert_eq!(
        request(&world, "POST", "/mist/mist", here(), &[], BODY)
            .await
            .0,
        404
    );
    assert_eq!(
        request(&world, "POST", "/mist", here(), &[(V1, "00")], BODY)
            .await
            .0,
        401
    );
}

#[tokio::test]
async fn chatty_topics_are_counted_unless_wanted() {
    let world = World::new(Fake::default());
    let body = r#"{"topic":"client_join","events":[{},{},{}]}"#;
    assert_eq!(signed(&world, &[], body).await.0, 200);
    assert_eq!(world.stored().len(), 0);
    let scrape = world.scrape();
    assert_eq!(scrape["foghorn_not_stored_total{topic=\"client-join\"}"], 3);
    assert_eq!(
        scrape["foghorn_events_total"],
        scrape["foghorn_event_fates{fate=\"not_stored\"}"]
    );
    assert_eq!(
        request(&world, "POST", "/mist", here(), &[], body).await.0,
        401,
        "whoever sends it"
    );

    world.state.replace(current(&["client-join"]));
    assert_eq!(signed(&world, &[], body).await.0, 200);
    let mut all = current(&[]);
    all.sources[0].store_all = true;
    world.state.replace(all);
    assert_eq!(signed(&world, &[], body).await.0, 200);
    assert_eq!(world.stored().len(), 2);
    assert_eq!(
        world.scrape()["foghorn_not_stored_total{topic=\"client-join\"}"],
        3
    );
}

#[tokio::test]
async fn a_ping_is_stored_and_counted() {
    let world = World::new(Fake::default());
    assert_eq!(
        signed(
            &world,
            &[],
            r#"{"topic":"ping","events":[{"name":"foghorn"}]}"#
        )
        .await
        .0,
        200
    );
    assert_eq!(
        (world.stored().len(), world.scrape()["foghorn_pings_total"]),
        (1, 1)
    );
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_and_given_back() {
    let world = World::new(Fake::default());
    let taken = Arc::clone(&world.state.bytes)
        .try_acquire_many_owned(BYTES_IN_FLIGHT as u32 - 10)
        .unwrap();
    assert_eq!(
        signed(&world, &[], BODY).await,
        (503, "too much at once, try again\n".to_owned())
    );
    assert_eq!(signed(&world, &[], "[]").await.0, 200);
    drop(taken);
    assert_eq!(signed(&world, &[], BODY).await.0, 200);
    assert_eq!(world.state.bytes.available_permits(), BYTES_IN_FLIGHT);
}

#[tokio::test]
async fn what_of_us_is_seen_and_by_whom() {
    let world = World::new(Fake::default());
    for path in ["/", "/readyz", "/metrics", "/page/app.js"] {
        let (status, _, headers) = request(
            &world,
            "GET",
            path,
            here(),
            &[("host", "localhost:8080")],
            "",
        )
        .await;
        assert_eq!(
            (status, headers["x-content-type-options"].to_str().unwrap()),
            (200, "nosniff"),
            "{path}"
        );
        assert_eq!(
            request(&world, "HEAD", path, here(), &[], "").await.0,
            200,
            "{path}"
        );
        assert_eq!(
            request(&world, "GET", path, here(), &[("host", "[::1]:8080")], "")
                .await
                .0,
            200,
            "{path}"
        );
        assert_eq!(
            request(&world, "GET", path, here(), &[("host", "evil.example")], "")
                .await
                .0,
            421,
            "{path}"
        );
        // The page's files are no secret; what it shows is.
        let from_elsewhere = if ["/readyz", "/metrics"].contains(&path) {
            403
        } else {
            200
        };
        let forwarded = [("x-forwarded-for", "::1")];
        assert_eq!(
            request(&world, "GET", path, here(), &forwarded, "").await.0,
            from_elsewhere,
            "{path}"
        );
        assert_eq!(
            request(&world, "GET", path, afar(), &[], "").await.0,
            from_elsewhere,
            "{path}"
        );
        let (status, _, headers) = request(&world, "DELETE", path, afar(), &[], "").await;
        assert_eq!(
            (status, headers["allow"].to_str().unwrap()),
            (405, "GET, HEAD"),
            "{path}"
        );
    }
    let (status, text, _) = request(&world, "GET", "/healthz", afar(), &[], "").await;
    assert_eq!(
        (status, text.trim()),
        (200, "foghorn: ok"),
        "what only Foghorn answers, and no version"
    );
    for path in [
        "/nothing",
        "/mist/a/b",
        "/healthz/x",
        "/../etc/passwd",
        "/mist%2flab",
        "/metrics..",
        "/page",
        "/page/page.rs",
        "/page/x/app.js",
    ] {
        let (status, text, _) = request(&world, "GET", path, here(), &[], "").await;
        assert_eq!((status, text.as_str()), (404, "nothing here\n"), "{path}");
    }
    world.ready.send(false).unwrap();
    assert_eq!(
        request(&world, "GET", "/readyz", here(), &[], "").await.0,
        503
    );
    assert_eq!(
        request(&world, "GET", "/healthz", here(), &[], "").await.0,
        200
    );
    let (_, text, headers) = request(&world, "GET", "/metrics", here(), &[], "").await;
    assert!(
        text.contains("foghorn_events_total 0")
            && headers["content-type"]
                .to_str()
                .unwrap()
                .contains("openmetrics")
    );
}

#[tokio::test]
async fn the_page_runs_nothing_but_its_own_files() {
    let world = World::new(Fake::default());
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/app.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ] {
        let (status, text, headers) = request(&world, "GET", path, here(), &[], "").await;
        assert_eq!(
            (status, headers["content-type"].to_str().unwrap()),
            (200, kind),
            "{path}"
        );
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
            "{policy}"
        );
        assert!(
            !text.is_empty()
                && !policy.contains("unsafe")
                && headers["cache-control"] == "no-cache",
            "{path}"
        );
        let tag = headers["etag"].to_str().unwrap();
        let (status, text, _) =
            request(&world, "GET", path, here(), &[("if-none-match", tag)], "").await;
        assert_eq!((status, text.as_str()), (304, ""), "{path}");
        assert_eq!(
            request(
                &world,
                "GET",
                path,
                here(),
                &[("if-none-match", "\"old\"")],
                ""
            )
            .await
            .0,
            200,
            "{path}"
        );
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        let digit = |n: usize| DIGITS[(bits >> (18 - 6 * n)) as usize & 63] as char;
        (0..4)
            .map(|n| if n <= chunk.len() { digit(n) } else { '=' })
            .collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[test]
fn every_forwarding_header_is_known_by_its_name() {
    let known = |name: &'static str| is_forwarding(HeaderName::from_static(name).as_str());
    assert!(
        [
            "x-forwarded-proto",
            "cf-ray",
            "true-client-ip",
            "x-envoy-external-address"
        ]
        .into_iter()
        .all(known)
    );
    assert!(
        !["host", "user-agent", "x-mist-signature-v2", "accept"]
            .into_iter()
            .any(known)
    );
}

/// A server on a free port of this machine, with short deadlines.
struct Server {
    address: SocketAddr,
    world: World,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(store: Fake, limits: Limits) -> Self {
        let world = World::new(store);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, world.routes(), limits, shutdown.clone()));
        Self {
            address,
            world,
            shutdown,
            task,
        }
    }

    async fn connect(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Everything the server says until it closes.
    async fn say(&self, text: &str) -> String {
        rest(self.connect(text).await).await
    }
}

/// What still comes on a connection, which has to end.
async fn rest(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    until("its end", stream.read_to_end(&mut said))
        .await
        .unwrap();
    String::from_utf8(said).unwrap()
}

/// Awaits it for a minute of real time, whether tokio's stands still or not.
#[expect(clippy::disallowed_methods, reason = "tokio's time may stand still")]
async fn until<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let mut awaited = std::pin::pin!(awaited);
    loop {
        if let std::task::Poll::Ready(value) = futures_util::poll!(awaited.as_mut()) {
            return value;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "waited in vain for {what}"
        );
        tokio::task::yield_now().await;
    }
}

/// Makes tokio's time pass by `advance` alone while this lives. It would jump ahead whenever all tasks
/// wait for a socket, but not beside a blocking task.
pub(super) fn still() -> std::sync::mpsc::Sender<()> {
    tokio::time::pause();
    let (keep, kept) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || kept.recv());
    keep
}

async fn begins(begun: &AtomicUsize) {
    while begun.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
}

/// Lets the server accept and read whatever clients have sent. No time passes.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn quick() -> Limits {
    let (head, drain, grace) = (
        Duration::from_millis(300),
        Duration::from_millis(500),
        Duration::from_millis(300),
    );
    Limits {
        connections: 4,
        head,
        head_size: 8192,
        drain,
        grace,
    }
}

const LAB: &str = "POST /mist/lab HTTP/1.1\r\nhost: localhost\r\n";

#[tokio::test]
async fn bodies_over_a_real_connection() {
    let server = Server::start(Fake::default(), quick()).await;
    let chunked =
        |body: &str| format!("{LAB}connection: close\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    let said = server
        .say(&chunked("2\r\n[1\r\n3\r\n,2]\r\n0\r\n\r\n"))
        .await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert_eq!(
        server.world.stored(),
        [("lab".to_owned(), "[1,2]".to_owned())]
    );
    let said = server
        .say(&chunked(&format!("2000\r\n{}\r\n", "x".repeat(0x2000))))
        .await;
    assert!(
        said.starts_with("HTTP/1.1 413"),
        "endless chunks are cut off: {said}"
    );
    let said = server
        .say(&chunked(
            &format!("700\r\n{}\r\n", "x".repeat(0x700)).repeat(3),
        ))
        .await;
    assert!(
        said.starts_with("HTTP/1.1 413"),
        "small chunks add up: {said}"
    );
    let said = server
        .say(&format!("{LAB}content-length: 1099511627776\r\n\r\n"))
        .await;
    assert!(
        said.starts_with("HTTP/1.1 413"),
        "before it is read: {said}"
    );
    let said = server
        .say(&format!(
            "{LAB}content-length: 5000\r\nexpect: 100-continue\r\n\r\n"
        ))
        .await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    for broken in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: -1\r\n",
        "content-length: 2x\r\n",
    ] {
        let said = server.say(&format!("{LAB}{broken}\r\n[]")).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{broken}: {said}");
    }
    let many: String = (0..120).map(|n| format!("h{n}: x\r\n")).collect();
    assert!(
        server
            .say(&format!("{LAB}{many}\r\n"))
            .await
            .starts_with("HTTP/1.1 431")
    );
    assert!(
        server
            .say(&format!("{LAB}h: {}\r\n\r\n", "x".repeat(20_000)))
            .await
            .starts_with("HTTP/1.1 431")
    );
    assert_eq!(server.world.stored().len(), 1);
    assert_eq!(
        server.world.state.bytes.available_permits(),
        BYTES_IN_FLIGHT
    );
}

#[tokio::test]
async fn silent_and_half_said_heads_are_closed_in_time() {
    let server = Server::start(Fake::default(), quick()).await;
    assert_eq!(server.say("").await, "");
    server.say("POST /mist HT").await;
    server.say(&format!("{LAB}content-le")).await;
    // Kept alive, then idle.
    let said = server.say("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let world = World::new(Fake::default());
    let body = futures_util::stream::pending::<Result<bytes::Bytes, warp::Error>>();
    let clock = Clock::system();
    let read = super::ingest::take(
        &world.state,
        ("mist", "lab"),
        Method::POST,
        HeaderMap::new(),
        Some(here()),
        body,
    )
    .await;
    assert_eq!(read.unwrap_err().status, 408);
    assert_eq!(clock.elapsed(), Duration::from_secs(15));
}

#[tokio::test]
async fn a_crowd_that_says_nothing_does_not_keep_anyone_out() {
    let limits = Limits {
        head: Duration::from_secs(60),
        ..quick()
    };
    let server = Server::start(Fake::default(), limits).await;
    let mut crowd = Vec::new();
    for n in 0..20 {
        crowd.push(
            server
                .connect(if n % 2 == 0 {
                    ""
                } else {
                    "POST /mist HTTP/1.1\r\nh: "
                })
                .await,
        );
        crowd.push(
            server
                .connect(&format!("{LAB}content-length: 9\r\n\r\n["))
                .await,
        );
    }
    let said = server
        .say("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert_eq!(rest(crowd.remove(0)).await, "", "the oldest had to go");
}

#[tokio::test]
async fn those_who_were_answered_once_and_stay_do_not_keep_out_one_who_just_came() {
    let limits = Limits {
        head: Duration::from_secs(60),
        ..quick()
    };
    let server = Server::start(Fake::default(), limits).await;
    let _still = still();
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut one = server
            .connect("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await;
        assert!(one.read(&mut [0; 512]).await.unwrap() > 0);
        idle.push(one);
    }
    tokio::time::advance(limits.grace * 2).await;
    let mut good = server.connect("").await;
    let silent = [server.connect("").await, server.connect("").await];
    settle().await;
    tokio::time::advance(limits.grace / 3).await;
    good.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(rest(good).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(idle.remove(0)).await, "", "the longest idle had to go");
    drop(silent);
}

#[tokio::test]
async fn what_is_being_answered_is_never_closed_to_make_room() {
    let store = Fake {
        delay: Duration::from_millis(400),
        ..Fake::default()
    };
    let begun = Arc::clone(&store.begun);
    let server = Server::start(
        store,
        Limits {
            head: Duration::from_secs(60),
            ..quick()
        },
    )
    .await;
    let _still = still();
    let post = server
        .connect(&format!(
            "{LAB}connection: close\r\ncontent-length: 2\r\n\r\n[]"
        ))
        .await;
    until("the append", begins(&begun)).await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(server.connect("").await);
    }
    settle().await;
    tokio::time::advance(Duration::from_millis(500)).await;
    assert!(rest(post).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn shutdown_closes_idle_connections_at_once() {
    let long = Duration::from_secs(3_600);
    let server = Server::start(
        Fake::default(),
        Limits {
            head: long,
            drain: long,
            ..quick()
        },
    )
    .await;
    let mut idle = server
        .connect("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    assert!(idle.read(&mut [0; 512]).await.unwrap() > 0);
    server.shutdown.cancel();
    until("the end of the server", server.task).await.unwrap();
    assert_eq!(rest(idle).await, "");
}

#[tokio::test]
async fn shutdown_answers_what_is_under_way_and_waits_for_nothing_else() {
    let store = Fake {
        delay: Duration::from_millis(200),
        ..Fake::default()
    };
    let begun = Arc::clone(&store.begun);
    let server = Server::start(
        store,
        Limits {
            head: Duration::from_secs(60),
            ..quick()
        },
    )
    .await;
    let _still = still();
    let silent = server.connect("").await;
    let half = server
        .connect(&format!("{LAB}content-length: 9\r\n\r\n["))
        .await;
    let post = server
        .connect(&format!("{LAB}content-length: 2\r\n\r\n[]"))
        .await;
    until("the append", begins(&begun)).await;
    server.shutdown.cancel();
    settle().await;
    tokio::time::advance(Duration::from_millis(300)).await;
    assert!(rest(post).await.starts_with("HTTP/1.1 200"));
    // Half a request holds nothing up.
    tokio::time::advance(quick().drain).await;
    until("the end of the server", server.task).await.unwrap();
    assert_eq!(server.world.stored().len(), 1);
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "nobody listens"
    );
    drop((silent, half));
}
