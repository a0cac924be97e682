use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::*;
use crate::clock::{Clock, JournalClock};
use crate::destination::{Action, CONSOLE, Destination, DestinationKind, RateLimit, Retry};
use crate::model::{DigestOf, Name, Secret, Seq};
use crate::store::sqlite::Sqlite;
use crate::store::{Archive, MessageFates, Outgoing, Retention, Step, Steps, Store, Totals};
use crate::wire::{HttpRequest, Reply};

/// A store, with tokio's paused clock held while its threads work: tokio stands still while a
/// blocking task runs.
#[derive(Clone)]
struct Held {
    store: Sqlite,
    /// Nothing can be settled or read any more, for good.
    damaged: Arc<AtomicBool>,
    /// Cancelled once another process sends.
    lost: CancellationToken,
}

impl Held {
    async fn call<T: Send + 'static, F: Future<Output = store::Result<T>>>(
        &self,
        call: impl FnOnce(Sqlite) -> F + Send + 'static,
    ) -> store::Result<T> {
        if self.damaged.load(Relaxed) {
            let why = "the database is damaged: by the test".to_owned();
            return Err(store::Error::Fatal(why));
        }
        let (store, runtime) = (self.store.clone(), Handle::current());
        tokio::task::spawn_blocking(move || runtime.block_on(call(store)))
            .await
            .unwrap()
    }

    /// Commits a step after everything committed so far.
    async fn commit(&self, step: Step) {
        let commit = async move |store: Sqlite| {
            let judge = store.acquire(Duty::Judge).await?;
            let from = store.recover(&judge).await?.cursor;
            store.commit(&judge, from, step).await
        };
        self.call(commit).await.unwrap();
    }
}

impl Store for Held {
    fn clock(&self) -> JournalClock {
        self.store.clock()
    }
}

impl Totals for Held {
    async fn totals(&self) -> store::Result<Vec<(Name, MessageFates)>> {
        self.store.totals().await
    }

    async fn totals_of(&self, to: &Name) -> store::Result<MessageFates> {
        self.store.totals_of(to).await
    }
}

impl Leases for Held {
    async fn acquire(&self, duty: Duty) -> store::Result<Lease> {
        Ok(Lease::granted(duty, 1, self.lost.clone()))
    }
}

impl Outbox for Held {
    async fn queued(
        &self,
        to: &Name,
        after: DeliveryId,
        limit: usize,
    ) -> store::Result<Vec<Delivery>> {
        let to = to.clone();
        self.call(async move |store| store.queued(&to, after, limit).await)
            .await
    }

    async fn receipt(&self, lane: &Lease, incident: &str) -> store::Result<Option<Receipt>> {
        let (lane, incident) = (lane.clone(), incident.to_owned());
        self.call(async move |store| store.receipt(&lane, &incident).await)
            .await
    }

    async fn settle(&self, lane: &Lease, id: DeliveryId, attempt: Attempt) -> store::Result<()> {
        let lane = lane.clone();
        self.call(async move |store| store.settle(&lane, id, attempt).await)
            .await
    }

    async fn summarise(
        &self,
        lane: &Lease,
        to: &Name,
        folded: Vec<DeliveryId>,
        summaries: Vec<Message>,
        at: Timestamp,
    ) -> store::Result<()> {
        let (lane, to) = (lane.clone(), to.clone());
        self.call(async move |store| store.summarise(&lane, &to, folded, summaries, at).await)
            .await
    }

    async fn enqueue(&self, message: Message, at: Timestamp) -> store::Result<()> {
        self.call(async move |store| store.enqueue(message, at).await)
            .await
    }

    async fn delivered_since(&self, to: &Name, since: Timestamp) -> store::Result<u32> {
        let to = to.clone();
        self.call(async move |store| store.delivered_since(&to, since).await)
            .await
    }

    fn outbox(&self) -> watch::Receiver<DeliveryId> {
        self.store.outbox()
    }
}

type Script = Arc<dyn Fn(&str, usize) -> u16 + Send + Sync>;

/// Answers by script: text and how often it came before -> status; 0 never answers. Each try takes
/// 5 ms.
#[derive(Clone)]
struct Sink {
    script: Script,
    clock: Clock,
    /// When, what, and the answer.
    tries: Arc<Mutex<Vec<(Duration, String, u16)>>>,
}

impl Transport for Sink {
    async fn send(&self, request: &HttpRequest, _: Duration) -> Reply {
        let text = request
            .body
            .as_ref()
            .and_then(|body| body.as_str())
            .unwrap();
        let status = {
            let mut tries = self.tries.lock().unwrap();
            let status = (self.script)(text, tries.iter().filter(|(_, t, _)| t == text).count());
            tries.push((self.clock.elapsed(), text.to_owned(), status));
            status
        };
        if status == 0 {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        Reply::Http {
            status,
            retry_after: None,
            date: None,
            body: String::new(),
        }
    }
}

/// Sends a message's title, and reads the status of the script.
#[derive(Debug, PartialEq)]
struct Scripted;

impl Destination for Scripted {
    fn kind(&self) -> &'static DestinationKind {
        &CONSOLE
    }

    fn url(&self) -> Option<&Secret> {
        None
    }

    fn next(&self, content: &Content<'_>, _: Option<&Receipt>, heard: &[Reply]) -> Action {
        let Some(reply) = heard.last() else {
            let title = &content.message.title;
            let text = match content.size {
                Size::Plain => format!("{title} plain"),
                Size::Full => title.clone(),
            };
            return Action::Send(HttpRequest::post(Secret::new("test"), text.into()));
        };
        Action::Done(classify(reply), None)
    }
}

fn classify(reply: &Reply) -> SendOutcome {
    let why = "as scripted".to_owned();
    match reply.status() {
        Some(200) => SendOutcome::Delivered,
        Some(400) => SendOutcome::BadPayload { why },
        Some(403 | 404 | 410) => SendOutcome::Broken { why },
        Some(429) => SendOutcome::RetryAfter {
            wait: Duration::from_secs(30),
        },
        _ => SendOutcome::Retry { why },
    }
}

/// One digest of everything, that names every title once, and why it is one.
fn digest(messages: &[Message], gap: Option<&Gap>) -> Vec<Message> {
    let mut digest = message("digest", "digest");
    digest.folded = messages
        .iter()
        .flat_map(|m| {
            if m.folded.is_empty() {
                vec![digest_of(m)]
            } else {
                m.folded.clone()
            }
        })
        .collect();
    digest.title = digest
        .folded
        .iter()
        .map(|of| of.title.as_str())
        .collect::<Vec<_>>()
        .join("+");
    if let Some(Gap { chat, from, to }) = gap {
        let seconds = to.since(*from).as_secs();
        digest.title = format!("{chat} took nothing for {seconds} s+{}", digest.title);
    }
    vec![digest]
}

fn digest_of(m: &Message) -> DigestOf {
    DigestOf {
        at: m.about.at,
        rule: m.about.rule.clone(),
        reason: m.about.reason,
        incident: m.about.incident.clone(),
        severity: m.about.severity,
        title: m.title.clone(),
        subjects: vec![],
        behind: vec![],
        condition: None,
        more: 0,
        more_since: 0,
    }
}

fn settings(name: &str) -> DestinationSettings {
    let mut settings = DestinationSettings::with_defaults(name.into(), Arc::new(Scripted));
    settings.rate_limit = RateLimit {
        limit: 1_000,
        per: Duration::from_secs(1),
        burst: 1_000,
    };
    settings.overflow = Overflow::Queue;
    settings.retry = Retry {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
        give_up_after: Duration::from_secs(3_600),
    };
    settings
}

fn message(title: &str, incident: &str) -> Message {
    let mut message = refusal(&settings("x"), &"ops".into(), "", Timestamp::EPOCH);
    (message.title, message.about.incident) = (title.to_owned(), incident.to_owned());
    message
}

struct World {
    store: Held,
    sink: Sink,
    statuses: Statuses,
    stop: CancellationToken,
    run: tokio::task::JoinHandle<store::Result<()>>,
}

impl World {
    fn new(
        dir: &Path,
        destinations: Vec<DestinationSettings>,
        script: impl Fn(&str, usize) -> u16 + Send + Sync + 'static,
    ) -> Self {
        let clock = Clock::pinned(Timestamp::from_millis(1_700_000_000_000));
        let store = Sqlite::open(dir, clock, Retention::default()).unwrap();
        let store = Held {
            store,
            damaged: Arc::default(),
            lost: CancellationToken::new(),
        };
        let sink = Sink {
            script: Arc::new(script),
            clock,
            tries: Arc::default(),
        };
        let (statuses, stop) = (Statuses::default(), CancellationToken::new());
        let destinations = destinations.into_iter().map(Arc::new).collect();
        let (summarise, transport): (Summarise, _) = (Arc::new(digest), sink.clone());
        let hub = Hub {
            fatal: OnceLock::new(),
            over: CancellationToken::new(),
            store: store.clone(),
            transport,
            destinations,
            summarise,
            statuses: statuses.clone(),
            metrics: Metrics::default(),
        };
        let run = tokio::spawn(Dispatcher { hub: Arc::new(hub) }.run(stop.clone()));
        Self {
            store,
            sink,
            statuses,
            stop,
            run,
        }
    }

    /// Queues messages `(title, incident)` for `ops`.
    async fn tell(&self, seq: u64, messages: impl IntoIterator<Item = (String, String)>) {
        let messages = messages.into_iter().map(|(title, incident)| Outgoing {
            message: message(&title, &incident),
            alerts: vec![],
        });
        let at = self.store.clock().now();
        self.store
            .commit(Step {
                seq: Seq(seq),
                outgoing: Arc::new(messages.collect()),
                at,
                ..Step::default()
            })
            .await;
    }

    async fn totals(&self) -> MessageFates {
        self.store.totals_of(&"ops".into()).await.unwrap()
    }

    /// Lets virtual time pass until `done`, which must come within `limit`.
    async fn until(&self, limit: Duration, done: impl Fn(&MessageFates) -> bool) {
        let end = self.sink.clock.elapsed() + limit;
        while !done(&self.totals().await) {
            assert!(
                self.sink.clock.elapsed() < end,
                "still {:?}: {:?}",
                self.totals().await,
                self.sink.tries.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn tries(&self) -> Vec<(f64, String, u16)> {
        let tries = self.sink.tries.lock().unwrap();
        tries
            .iter()
            .map(|(at, text, status)| (at.as_secs_f64(), text.clone(), *status))
            .collect()
    }

    fn arrived(&self) -> Vec<String> {
        self.tries()
            .into_iter()
            .filter(|(_, _, status)| *status == 200)
            .map(|(_, text, _)| text)
            .collect()
    }

    async fn end(self) {
        self.stop.cancel();
        self.run.await.unwrap().unwrap();
    }
}

fn pairs(titles: &[(&str, &str)]) -> Vec<(String, String)> {
    titles
        .iter()
        .map(|(title, incident)| ((*title).to_owned(), (*incident).to_owned()))
        .collect()
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn one_incident_keeps_its_order_and_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), vec![settings("ops")], |text, n| {
        if text == "a1" && n < 1 { 500 } else { 200 }
    });
    world.tell(1, pairs(&[("z", "z")])).await;
    world.until(HOUR, |fates| fates.delivered == 1).await;
    world
        .tell(
            2,
            pairs(&[
                ("a1", "a"),
                ("a2", "a"),
                ("b1", "b"),
                ("a3", "a"),
                ("b2", "b"),
            ]),
        )
        .await;
    world.until(HOUR, |fates| fates.delivered == 6).await;
    assert_eq!(world.arrived(), ["z", "b1", "b2", "a1", "a2", "a3"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn retry_after_pauses_everyone() {
    let dir = tempfile::tempdir().unwrap();
    let mut ops = settings("ops");
    ops.rate_limit = RateLimit {
        limit: 1,
        per: Duration::from_secs(1),
        burst: 1,
    };
    let world = World::new(dir.path(), vec![ops], |text, n| {
        if text == "a" && n == 0 { 429 } else { 200 }
    });
    world.tell(1, pairs(&[("a", "a"), ("b", "b")])).await;
    world.until(HOUR, |fates| fates.delivered == 2).await;
    let tries = world.tries();
    assert_eq!(tries.len(), 3);
    assert!(tries[1].0 - tries[0].0 >= 30.0, "{tries:?}");
    assert_eq!(
        world.statuses.all()[&"ops".into()].attempts,
        BTreeMap::from([("delivered", 2), ("retry_after", 1)])
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_sink_is_probed_at_most_once_a_second_then_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::pinned(Timestamp::EPOCH);
    let world = World::new(dir.path(), vec![settings("ops")], move |_, _| {
        if clock.elapsed() < Duration::from_secs(600) {
            if clock.elapsed().as_secs().is_multiple_of(2) {
                500
            } else {
                0
            }
        } else {
            200
        }
    });
    world
        .tell(1, (0..200).map(|n| (format!("m{n}"), format!("i{n}"))))
        .await;
    world.until(HOUR, |fates| fates.delivered == 200).await;
    let probes: Vec<f64> = world
        .tries()
        .iter()
        .map(|t| t.0)
        .filter(|at| (1.0..600.0).contains(at))
        .collect();
    assert!(
        !probes.is_empty() && probes.windows(2).all(|pair| pair[1] - pair[0] >= 1.0),
        "{probes:?}"
    );
    assert!(
        clock.elapsed() < Duration::from_secs(680),
        "once it answers, nothing waits for its own backoff"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_becomes_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), vec![settings("ops")], |text, _| match text {
        "late" => 500,
        "bad" => 400,
        "worse" | "worse plain" => 400,
        _ => 200,
    });
    world
        .tell(1, pairs(&[("bad", "b"), ("worse", "w"), ("late", "l")]))
        .await;
    world.until(3 * HOUR, |fates| fates.queued == 0).await;
    assert_eq!(world.arrived(), ["bad plain"]);
    let mut dead: Vec<_> = world
        .store
        .call(async |store| store.dead_letters(9).await)
        .await
        .unwrap()
        .into_iter()
        .map(|d| d.delivery.message.title.clone())
        .collect();
    dead.sort();
    assert_eq!(dead, ["late", "worse"]);
    let late: Vec<f64> = world
        .tries()
        .into_iter()
        .filter(|t| t.1 == "late")
        .map(|t| t.0)
        .collect();
    assert!(
        (3_600.0..3_700.0).contains(late.last().unwrap()),
        "{late:?}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_destination_keeps_its_backlog_is_told_of_once_and_probed_hourly() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::pinned(Timestamp::EPOCH);
    let script = move |text: &str, _| {
        if text.starts_with('m') && clock.elapsed() < 2 * HOUR {
            404
        } else {
            200
        }
    };
    let world = World::new(dir.path(), vec![settings("ops"), settings("boss")], script);
    world.tell(1, [("m0".to_owned(), "i".to_owned())]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    world
        .tell(2, (1..20).map(|n| (format!("m{n}"), format!("i{n}"))))
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        world.tries().len(),
        4,
        "one try, one word elsewhere; two others, that show whose fault it is"
    );
    assert_eq!(
        world.arrived(),
        ["Console destination `ops` refuses messages: as scripted"]
    );
    assert_eq!(
        world.statuses.all()[&"ops".into()].disabled.as_deref(),
        Some("as scripted")
    );
    world.until(3 * HOUR, |fates| fates.delivered == 20).await;
    let refused: Vec<String> = world
        .tries()
        .into_iter()
        .filter(|t| t.2 == 404)
        .map(|t| t.1)
        .collect();
    assert_eq!(
        refused,
        ["m0", "m1", "m2", "m0"],
        "at once, and after an hour another than the last one"
    );
    assert_eq!(world.arrived().len(), 21, "told of once");
    assert_eq!(world.statuses.all()[&"ops".into()].disabled, None);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_destination_that_is_gone_is_a_dead_letter_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), vec![settings("other")], |_, _| 200);
    world
        .tell(1, pairs(&[("first", "a"), ("second", "b")]))
        .await;
    world
        .until(Duration::from_secs(5), |fates| fates.dead == 2)
        .await;
    let letters = world
        .store
        .call(async |store| store.dead_letters(9).await)
        .await
        .unwrap();
    assert!(
        letters
            .iter()
            .all(|letter| letter.why.contains("the destination `ops` was removed")),
        "{letters:?}"
    );
    assert!(world.tries().is_empty());
    world.end().await;
}

/// Which of these are dead letters.
async fn dead(world: &World) -> Vec<String> {
    world
        .store
        .call(async |store| store.dead_letters(9).await)
        .await
        .unwrap()
        .into_iter()
        .map(|dead| dead.delivery.message.title.clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_where_others_are_taken_is_given_up_and_holds_up_nobody() {
    for first in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let script = |text: &str, _| if text == "bad" { 404 } else { 200 };
        let world = World::new(dir.path(), vec![settings("ops"), settings("boss")], script);
        if first {
            // Alone, nobody can tell whose fault it is.
            world.tell(1, pairs(&[("bad", "b")])).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(world.statuses.all()[&"ops".into()].disabled.is_some());
            world
                .tell(2, pairs(&[("behind", "b"), ("m1", "1"), ("m2", "2")]))
                .await;
        } else {
            world
                .tell(
                    1,
                    pairs(&[
                        ("m0", "0"),
                        ("bad", "b"),
                        ("behind", "b"),
                        ("m1", "1"),
                        ("m2", "2"),
                    ]),
                )
                .await;
        }
        let all = if first { 3 } else { 4 };
        world
            .until(Duration::from_secs(2), |fates| {
                fates.delivered == all && fates.dead == 1
            })
            .await;
        assert_eq!(dead(&world).await, ["bad"]);
        assert_eq!(world.tries().iter().filter(|t| t.1 == "bad").count(), 2);
        assert_eq!(world.statuses.all()[&"ops".into()].disabled, None);
        let told = world
            .arrived()
            .iter()
            .any(|text| text.contains("refuses messages"));
        assert_eq!(
            told, first,
            "while others can be tried nothing is said elsewhere"
        );
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_that_heads_the_queue_is_got_over_after_each_start() {
    let dir = tempfile::tempdir().unwrap();
    let script = |text: &str, _| if text.starts_with("bad") { 403 } else { 200 };
    let world = World::new(dir.path(), vec![settings("ops")], script);
    world.tell(1, pairs(&[("bad1", "b"), ("bad2", "c")])).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.end().await;
    let world = World::new(dir.path(), vec![settings("ops")], script);
    world.tell(2, pairs(&[("m1", "1"), ("m2", "2")])).await;
    world
        .until(Duration::from_secs(2), |fates| {
            fates.delivered == 2 && fates.dead >= 1
        })
        .await;
    world.tell(3, pairs(&[("m3", "3")])).await;
    world
        .until(Duration::from_secs(2), |fates| {
            fates.delivered == 3 && fates.dead == 2
        })
        .await;
    assert!(
        world.tries().iter().filter(|t| t.2 == 403).count() <= 4,
        "{:?}",
        world.tries()
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_takes_again_is_told_all_it_refused() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::pinned(Timestamp::EPOCH);
    let script = move |_: &str, _| {
        if clock.elapsed() < HOUR * 5 + Duration::from_secs(30) {
            410
        } else {
            200
        }
    };
    let world = World::new(dir.path(), vec![settings("ops")], script);
    world
        .tell(1, (0..10).map(|n| (format!("m{n}"), format!("i{n}"))))
        .await;
    tokio::time::sleep(6 * HOUR + Duration::from_secs(60)).await;
    world.until(HOUR, |fates| fates.delivered == 10).await;
    assert_eq!(
        world.tries().iter().filter(|t| t.2 == 410).count(),
        3 + 5,
        "three, then one an hour"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_start_one_message_alone_finds_out_whether_anyone_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), vec![settings("ops")], |_, _| 500);
    world
        .tell(1, (0..200).map(|n| (format!("m{n}"), format!("i{n}"))))
        .await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(world.tries().len(), 1);
    world.end().await;
    let world = World::new(dir.path(), vec![settings("ops")], |text, _| {
        if text == "m0" { 0 } else { 200 }
    });
    // One that is never answered is not tried over and over while others wait.
    world
        .until(Duration::from_secs(15), |fates| fates.delivered == 199)
        .await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_folded_and_everything_named_within_90_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let mut ops = settings("ops");
    (ops.overflow, ops.rate_limit) = (
        Overflow::Summary,
        RateLimit {
            limit: 1,
            per: Duration::from_secs(1),
            burst: 5,
        },
    );
    let world = World::new(dir.path(), vec![ops], |_, _| 200);
    for n in 0..40 {
        world
            .tell(
                n + 1,
                (0..5).map(|m| (format!("d{}", n * 5 + m), format!("i{}", n * 5 + m))),
            )
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world
        .until(Duration::from_secs(86), |fates| fates.queued == 0)
        .await;
    let arrived = world.arrived();
    let mut named: Vec<_> = arrived.iter().flat_map(|text| text.split('+')).collect();
    assert_eq!(named.len(), 200, "each once");
    named.sort();
    named.dedup();
    assert_eq!(named.len(), 200);
    assert!(arrived.len() <= 75, "{}", arrived.len());
    let fates = world.totals().await;
    assert_eq!(fates.total, fates.delivered + fates.digested);
    assert!(world.statuses.all()[&"ops".into()].folds >= 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_summary_knows_how_long_its_destination_took_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut ops = settings("ops");
    (ops.overflow, ops.rate_limit) = (
        Overflow::Summary,
        RateLimit {
            limit: 1,
            per: Duration::from_secs(12),
            burst: 5,
        },
    );
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let script = move |_: &str, _| if is_up.load(Relaxed) { 200 } else { 503 };
    let world = World::new(dir.path(), vec![ops], script);
    world.tell(1, pairs(&[("first", "i")])).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    world
        .tell(2, (0..20).map(|n| (format!("m{n}"), format!("i{n}"))))
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    up.store(true, Relaxed);
    world.until(HOUR, |fates| fates.queued == 0).await;
    let arrived = world.arrived();
    let why = arrived.iter().find(|text| text.contains("took nothing"));
    let why = why.and_then(|text| text.split('+').next()).unwrap();
    let seconds = why.trim_start_matches("Console took nothing for ");
    let seconds: u64 = seconds.trim_end_matches(" s").parse().unwrap();
    assert!((90..200).contains(&seconds), "{why}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn digests_are_folded_again_and_queueing_destinations_never_fold() {
    let dir = tempfile::tempdir().unwrap();
    let mut ops = settings("ops");
    (ops.overflow, ops.rate_limit) = (
        Overflow::Summary,
        RateLimit {
            limit: 1,
            per: Duration::from_secs(12),
            burst: 1,
        },
    );
    let world = World::new(dir.path(), vec![ops], |_, _| 200);
    for n in 0..10 {
        world
            .tell(
                n + 1,
                (0..2_000).map(|m| (format!("d{n}.{m}"), format!("i{n}.{m}"))),
            )
            .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world
        .until(Duration::from_secs(60), |fates| fates.queued == 0)
        .await;
    assert_eq!(
        world
            .arrived()
            .iter()
            .flat_map(|text| text.split('+'))
            .count(),
        20_000
    );
    assert!(world.arrived().len() <= 5, "{}", world.arrived().len());
    world.end().await;

    let mut ops = settings("ops");
    ops.rate_limit = RateLimit {
        limit: 1,
        per: Duration::from_secs(12),
        burst: 1,
    };
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), vec![ops], |_, _| 200);
    world
        .tell(1, (0..20).map(|n| (format!("m{n}"), format!("i{n}"))))
        .await;
    world.until(HOUR, |fates| fates.delivered == 20).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_send_and_settle_repeats_that_one_only() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), vec![settings("ops")], |text, _| {
        if text == "c" { 0 } else { 200 }
    });
    world
        .tell(1, pairs(&[("a", "i"), ("b", "i"), ("c", "i"), ("d", "i")]))
        .await;
    world.until(HOUR, |fates| fates.delivered == 2).await;
    while world.tries().len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.run.abort();
    let _ = world.run.await;
    drop((world.store, world.sink, world.statuses));

    let world = World::new(dir.path(), vec![settings("ops")], |_, _| 200);
    world.until(HOUR, |fates| fates.delivered == 4).await;
    assert_eq!(world.arrived(), ["c", "d"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_while_settling_does_not_send_again() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), vec![settings("ops")], |_, _| 200);
    let other = rusqlite::Connection::open(dir.path().join("foghorn.db")).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER t BEFORE UPDATE ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END",
        )
        .unwrap();
    world.tell(1, pairs(&[("a", "i"), ("b", "i")])).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.arrived(), ["a"], "b waits until a is settled");
    other.execute_batch("DROP TRIGGER t").unwrap();
    world.until(HOUR, |fates| fates.delivered == 2).await;
    assert_eq!(world.arrived(), ["a", "b"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_finishes_what_is_under_way_within_five_seconds_and_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), vec![settings("ops")], |text, _| {
        if text == "hangs" { 0 } else { 200 }
    });
    world
        .tell(
            1,
            pairs(&[
                ("first", "f"),
                ("hangs", "h"),
                ("behind", "h"),
                ("other", "o"),
            ]),
        )
        .await;
    world.until(HOUR, |fates| fates.delivered == 2).await;
    let (begin, store, clock) = (
        world.sink.clock.elapsed(),
        world.store.clone(),
        world.sink.clock,
    );
    world.end().await;
    assert!(clock.elapsed() - begin <= DRAIN + Duration::from_millis(10));
    let left = store.totals_of(&"ops".into()).await.unwrap();
    assert_eq!(left.queued, 2);
}

/// Run by hand: `cargo test --release --lib dispatcher -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn messages_per_second() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let mut ops = settings("ops");
    ops.rate_limit = RateLimit {
        limit: 1_000_000,
        per: Duration::from_secs(1),
        burst: 1_000_000,
    };
    let world = World::new(dir.path(), vec![ops], |_, _| 200);
    let begin = world.sink.clock.elapsed();
    for seq in 1..=10 {
        world
            .tell(
                seq,
                (0..500).map(|n| (format!("m{seq}.{n}"), format!("i{seq}.{n}"))),
            )
            .await;
    }
    world.until(HOUR, |fates| fates.delivered == 5_000).await;
    println!(
        "{:.0} messages/s",
        5_000.0 / (world.sink.clock.elapsed() - begin).as_secs_f64()
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn of_a_damaged_store_nothing_is_sent_and_it_is_said() {
    for under_way in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new(dir.path(), vec![settings("ops")], |_, _| 200);
        world.tell(1, pairs(&[("m1", "1")])).await;
        if under_way {
            // Taken by the sink, and not noted yet.
            while world.tries().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            world.store.damaged.store(true, Relaxed);
        } else {
            world
                .until(Duration::from_secs(2), |fates| fates.delivered == 1)
                .await;
            world.tell(2, pairs(&[("m2", "2")])).await;
            world.store.damaged.store(true, Relaxed);
        }
        let ended = tokio::time::timeout(Duration::from_secs(10), world.run).await;
        let said = ended
            .expect("it does not go on")
            .unwrap()
            .expect_err("it says so")
            .to_string();
        assert!(said.contains("damaged"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_once_another_process_sends() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), vec![settings("ops")], |_, _| 200);
    world.tell(1, pairs(&[("m1", "1")])).await;
    world
        .until(Duration::from_secs(2), |fates| fates.delivered == 1)
        .await;
    world.store.lost.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(1), world.run).await;
    let why = ended.expect("it ends").unwrap().unwrap_err();
    assert!(matches!(why, store::Error::Lost(_)), "{why}");
}
