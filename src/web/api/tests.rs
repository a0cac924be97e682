//! Looking from outside, with the real store: what came, what became of it, who may see it, and
//! that nothing else is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;
use warp::http::HeaderMap;
use warp::reply::Response;

use super::events::{DestinationKinds, Looking};
use crate::clock::Clock;
use crate::dispatcher::Statuses;
use crate::follower::Published;
use crate::history::{Feed, catch_up};
use crate::judge::Judge;
use crate::metrics::Metrics;
use crate::model::{EventId, Name, PageAccess, Record, Severity, SourceKind};
use crate::render::Templates;
use crate::rules::{Matcher, Policy, RuleSet};
use crate::store::sqlite::Sqlite;
use crate::store::{
    Attempt, DeliveryId, Duty, Journal, Leases, Next, Outbox, Retention, Store, Totals,
};
use crate::web::document_tests::{SPEC, conforms, conforms_as};
use crate::web::tests::{afar, current, here, still};
use crate::web::{Auth, Peer, State, routes};

struct Looked {
    state: State<Sqlite>,
    store: Sqlite,
    metrics: Metrics,
    routes: BoxedFilter<(Response,)>,
    _published: watch::Sender<Published>,
    feed: Feed,
    kinds: DestinationKinds,
    stop: CancellationToken,
    tuning: Arc<Tries>,
    /// Questions look for 60 ms at most, and say that there is more: no machine is too slow here.
    _still: std::sync::mpsc::Sender<()>,
    _dir: tempfile::TempDir,
}

fn rules() -> Arc<RuleSet> {
    let matcher = Matcher::from_json(&json!({"condition": "ap_offline"})).unwrap();
    let policy = Policy {
        group_wait: std::time::Duration::ZERO,
        ..Policy::default()
    };
    let mut rules = current(&["x"]).rules.rules().to_vec();
    let rule = crate::rules::Rule {
        name: "AP down".into(),
        matcher,
        policy: Arc::new(policy),
        ..(*rules.remove(0)).clone()
    };
    Arc::new(RuleSet::new(
        vec![rule],
        vec![(Name::new("ops"), Severity::Info)],
    ))
}

impl Looked {
    /// A server whose journal holds these bodies, judged.
    async fn at(bodies: &[Value]) -> Self {
        Self::in_parts(&[bodies.iter().map(Value::to_string).collect()]).await
    }

    /// As at, judged a part at a time: each leaves a snapshot.
    async fn in_parts(parts: &[Vec<String>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(dir.path(), Clock::system(), Retention::default()).unwrap();
        let metrics = Metrics::default();
        let (_templates, seen) = watch::channel(Arc::new(Templates::builtin()));
        let (ready, readiness) = watch::channel(false);
        let feed = Feed::default();
        let mut held = feed.watch();
        for part in parts {
            for body in part {
                store
                    .append(Record::Received {
                        source: "mist".into(),
                        kind: SourceKind::default(),
                        cursor: None,
                        body: body.clone().into(),
                    })
                    .await
                    .unwrap();
            }
            let (seen, ready) = (seen.clone(), ready.clone());
            let judge = Judge::restore(
                store.clone(),
                &rules(),
                |_| None,
                seen,
                metrics.clone(),
                ready,
            )
            .await
            .unwrap();
            let stop = CancellationToken::new();
            stop.cancel();
            judge.with_feed(feed.clone()).run(stop).await.unwrap();
        }
        let (ready, _) = watch::channel(false);
        let known = Judge::restore(
            store.clone(),
            &rules(),
            |_| None,
            seen.clone(),
            metrics.clone(),
            ready,
        )
        .await
        .unwrap();
        let known = known.published();
        assert!(
            parts.concat().is_empty() || held.try_recv().is_ok(),
            "who watches is told"
        );
        let (_published, following) = watch::channel(known.borrow().clone());
        let stop = CancellationToken::new();
        let tuning = Arc::default();
        let looking = Looking {
            published: following,
            feed: feed.clone(),
            statuses: Statuses::default(),
            templates: seen,
            compile: |_| None,
            file: "rules.yaml".to_owned(),
            stop: stop.clone(),
            kinds: DestinationKinds::default(),
            tuner: Some(tuner(&tuning)),
        };
        looking.kinds.replace([(Name::new("ops"), "slack")]);
        let kinds = looking.kinds.clone();
        let current = crate::web::Current {
            rules: rules(),
            ..current(&[])
        };
        let state = State::new(store.clone(), metrics.clone(), readiness, current)
            .with_auth(Auth::for_this_machine().unwrap())
            .with_looking(looking);
        Self {
            routes: routes(&state),
            state,
            store,
            metrics,
            _published,
            feed,
            kinds,
            stop,
            tuning,
            _still: still(),
            _dir: dir,
        }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        peer: Peer,
        headers: &[(&str, &str)],
    ) -> (u16, Value, HeaderMap) {
        let mut request = warp::test::request()
            .method(method)
            .path(path)
            .extension(peer);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.reply(&self.routes).await;
        let body = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        (response.status().as_u16(), body, response.headers().clone())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body, _) = self.ask("GET", path, here(), &[]).await;
        assert_eq!(status, 200, "{path}: {body}");
        conforms(path, &body);
        body
    }

    /// Settles a try that was answered so.
    async fn settle(&self, id: DeliveryId, (status, reply): (u16, &str), next: Next) {
        let attempt = Attempt {
            at: self.store.clock().now(),
            status: Some(status),
            reply: reply.to_owned(),
            next,
            receipt: None,
        };
        let lane = self.store.acquire(Duty::Lane("ops".into())).await.unwrap();
        self.store.settle(&lane, id, attempt).await.unwrap();
    }

    /// As our page does it.
    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let proof = self.get("/api/v1/me").await["csrf"]
            .as_str()
            .unwrap()
            .to_owned();
        let mut request = warp::test::request()
            .method("POST")
            .path(path)
            .extension(here())
            .header("x-csrf-token", proof);
        if !body.is_empty() {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let response = request.reply(&self.routes).await;
        let (status, body) = (
            response.status().as_u16(),
            serde_json::from_slice(response.body()).unwrap(),
        );
        if status < 300 {
            conforms_as("post", path, &status.to_string(), &body);
        }
        (status, body)
    }

    async fn ids(&self, query: &str) -> Vec<String> {
        let body = self.get(&format!("/api/v1/events?{query}")).await;
        body["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn down(device: &str, text: &str) -> Value {
    json!({"topic": "device-events", "events": [
        {"type": "AP_DISCONNECTED", "device_name": device, "mac": format!("5c5b35{:06x}", device.len()), "device_type": "ap",
         "site_name": "Main Office", "site_id": "s-1", "text": text},
    ]})
}

/// Whether nothing may be found for now, and how often something was looked for.
#[derive(Default)]
struct Tries {
    held: AtomicBool,
    count: AtomicU32,
}

/// Finds something once it may. Of the last day it finds nothing.
fn tuner(tuning: &Arc<Tries>) -> crate::web::Tuner {
    let tuning = Arc::clone(tuning);
    Arc::new(move |span| {
        while tuning.held.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        tuning.count.fetch_add(1, Ordering::AcqRel);
        if span == std::time::Duration::from_secs(86_400) {
            return Err("the rules have problems".to_owned());
        }
        assert_ne!(span, std::time::Duration::from_secs(2 * 86_400), "a fault");
        Ok(json!({
            "from": null, "until": null, "cut": false, "file": "rules.yaml", "messages": 9, "after": 3, "lost": 0,
            "rules": [], "suggestions": [], "helpless": [], "patch": null,
        }))
    })
}

fn noise(n: usize) -> Value {
    json!({"topic": "device-events", "events": [
        {"type": "SW_CONFIGURED", "device_name": "sw-1", "mac": "5c5b35ffffff", "device_type": "switch", "n": n, "text": format!("user{n} saved")},
        {"type": "SW_PORT_UP", "device_name": "sw-2", "mac": "5c5b35fffffe", "device_type": "switch", "port_id": "ge-0/0/12", "n": n},
    ]})
}

#[tokio::test]
async fn what_came_is_there_newest_first_and_found_by_anything() {
    let looked = Looked::at(&[
        down("ap-kitchen", "Lost the <script>alert(1)</script> Wolke"),
        noise(1),
        noise(2),
    ])
    .await;
    for indexed in [false, true] {
        if indexed {
            while catch_up(&looked.store).await.unwrap() {}
        }
        assert_eq!(looked.ids("").await, ["3.2", "3.1", "2.2", "2.1", "1.1"]);
        for (query, found) in [
            ("q=kitch", vec!["1.1"]),
            ("q=KITCHEN+wol", vec!["1.1"]),
            ("q=kitchen+nothing", vec![]),
            ("q=itchen", vec![]),
            ("q=5c:5b:35:ff:ff:fe", vec!["3.2", "2.2"]),
            ("q=ge-0/0/12", vec!["3.2", "2.2"]),
            ("q=user2", vec!["3.1"]),
            ("q=%22+OR+e*+--", vec![]),
            ("type=sw_configured", vec!["3.1", "2.1"]),
            ("topic=device-events&limit=1", vec!["3.2"]),
            ("site=main%20office", vec!["1.1"]),
            ("site=s-1", vec!["1.1"]),
            ("device=ap-kitchen", vec!["1.1"]),
            ("device=5c5b35ffffff&q=saved", vec!["3.1", "2.1"]),
            ("device=5C:5B:35:ff:ff:ff", vec!["3.1", "2.1"]),
            ("device=5c-5b-35-ff-ff-ff", vec!["3.1", "2.1"]),
            ("q=5c5b.35ff.fffe", vec!["3.2", "2.2"]),
            ("rule=AP%20down", vec!["1.1"]),
            ("fate=told", vec!["1.1"]),
            ("fate=unmatched&type=SW_PORT_UP", vec!["3.2", "2.2"]),
            ("fate=told&type=SW_PORT_UP", vec![]),
            ("fate=suppressed&why=inhibited", vec![]),
            ("before=2.2", vec!["2.1", "1.1"]),
        ] {
            assert_eq!(
                looked.ids(query).await,
                found,
                "{query}, indexed: {indexed}"
            );
        }
        for (all, query) in [(5, ""), (4, "q=sw")] {
            let (mut seen, mut before) = (Vec::new(), String::new());
            loop {
                let page = looked
                    .get(&format!("/api/v1/events?limit=2&{query}{before}"))
                    .await;
                seen.extend(
                    page["events"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|e| e["id"].to_string()),
                );
                let Some(next) = page["next"].as_str() else {
                    break;
                };
                before = format!("&before={next}");
            }
            assert_eq!(seen.len(), all, "every page once: {seen:?}");
        }
    }
    assert_eq!(looked.get("/api/v1/events").await["total_estimate"], 5);
}

#[tokio::test]
async fn one_event_says_what_was_decided_and_where_its_message_went() {
    let looked = Looked::at(&[down("ap-kitchen", "gone"), noise(1)]).await;
    let queued = looked
        .store
        .queued(&"ops".into(), crate::store::DeliveryId(0), 9)
        .await
        .unwrap();
    let at = looked.store.clock().now();
    let again = Next::Again {
        due: at,
        plain: false,
    };
    looked.settle(queued[0].id, (503, "<busy>"), again).await;
    looked
        .settle(queued[0].id, (200, "ok"), Next::Delivered)
        .await;

    let event = looked.get("/api/v1/events/1.1").await;
    assert_eq!(
        (event["fate"].as_str(), event["raw"]["device_name"].as_str()),
        (Some("told"), Some("ap-kitchen"))
    );
    let texts: Vec<&str> = event["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|d| d["text"].as_str())
        .collect();
    assert!(
        texts.iter().any(|text| text.starts_with("fires")),
        "{texts:?}"
    );
    let first = &event["decisions"][0];
    assert_eq!(
        (&first["rule"], &first["file"]),
        (&json!("AP down"), &json!("rules.yaml"))
    );
    let destination = &event["messages"][0]["destinations"][0];
    assert_eq!(
        (&destination["name"], &destination["state"]),
        (&json!("ops"), &json!("delivered"))
    );
    let tries: Vec<&Value> = destination["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["status"])
        .collect();
    assert_eq!(tries, ["again", "delivered"]);
    assert_eq!(destination["attempts"][1]["http"], 200);
    let first = &destination["attempts"][0];
    assert_eq!(
        (&first["http"], &first["reply"]),
        (&json!(503), &json!("<busy>"))
    );
    assert_eq!(
        looked.get("/api/v1/events/2.1?decisions=no").await["decisions"],
        Value::Null
    );
    assert_eq!(
        looked.ask("GET", "/api/v1/events/9.9", here(), &[]).await.0,
        404
    );
    assert_eq!(
        looked
            .ask("GET", "/api/v1/events/99999999999999999999.1", here(), &[])
            .await
            .0,
        404
    );
    assert_eq!(
        looked.ids("before=99999999999999999999.1&limit=1").await,
        ["2.2"]
    );
    for (path, status) in [
        ("/api/v1/nothing", 404),
        ("/api/v1/me/too", 404),
        ("/api/nothing", 404),
    ] {
        let (answered, body, headers) = looked.ask("GET", path, here(), &[]).await;
        assert_eq!(
            (answered, &body["error"]),
            (status, &json!("nothing here")),
            "{path}"
        );
        assert_eq!(headers["content-type"], "application/json");
    }
}

/// Twenty-four events nobody looks for, and these.
fn among_others(part: usize, events: &[Value]) -> Vec<String> {
    let other = |n: usize| json!({"type": "SW_CONFIGURED", "device_name": format!("sw-{n}"), "mac": "5c5b35ffffff", "n": part * 24 + n});
    let events: Vec<Value> = (0..24).map(other).chain(events.iter().cloned()).collect();
    vec![json!({"topic": "device-events", "events": events}).to_string()]
}

#[tokio::test]
async fn what_was_decided_is_told_from_the_nearest_snapshot_as_from_the_beginning() {
    let now = Clock::system().wall().seconds();
    let ap = |kind: &str, device: &str, ago: i64| {
        json!({"type": kind, "device_name": device, "mac": format!("5c5b3500{:04x}", device.len()), "device_type": "ap",
               "site_name": "Home", "timestamp": now - ago})
    };
    let down = |device, ago| ap("AP_DISCONNECTED", device, ago);
    let parts = [
        among_others(0, &[down("ap-a", 90)]),
        among_others(1, &[]),
        among_others(2, &[down("ap-long", 80)]),
        among_others(3, &[down("ap-long", 80), ap("AP_CONNECTED", "ap-long", 60)]),
        among_others(4, &[ap("AP_CONNECTED", "ap-a", 50), down("ap-a", 90)]),
        among_others(5, &[down("ap-longest", 40)]),
    ];
    let looked = Looked::in_parts(&parts).await;
    let decided =
        async |id: &str| looked.get(&format!("/api/v1/events/{id}")).await["decisions"].clone();
    let templates = Templates::builtin();
    let entries = looked.store.read(crate::model::Seq(0), 100).await.unwrap();
    for id in looked.ids("limit=200").await {
        let asked = crate::explain::Question::Event(EventId::parse(&id).unwrap());
        let mut story = crate::explain::Story::new(
            asked,
            rules(),
            |_| None,
            &templates,
            "rules.yaml".to_owned(),
        );
        entries.iter().for_each(|entry| story.entry(entry));
        let line = |chapter: &&crate::explain::Chapter| {
            let line = &chapter.line;
            json!({"at": line.at.rfc3339(), "event": line.event, "rule": line.rule,
                   "file": line.line.map(|_| "rules.yaml"), "line": line.line, "text": line.text})
        };
        let whole: Vec<Value> = story.answer(None).iter().map(line).collect();
        assert!(!whole.is_empty());
        assert_eq!(decided(&id).await, json!(whole), "{id}");
    }
    let later = [
        decided("3.25").await,
        decided("4.26").await,
        decided("6.25").await,
    ];
    // Those are told without what came long before.
    let other = rusqlite::Connection::open(looked._dir.path().join("foghorn.db")).unwrap();
    other
        .execute_batch("UPDATE journal SET crc = 0 WHERE seq = 1")
        .unwrap();
    assert_eq!(
        [
            decided("3.25").await,
            decided("4.26").await,
            decided("6.25").await
        ],
        later
    );
    assert_eq!(
        looked
            .ask("GET", "/api/v1/events/5.25", here(), &[])
            .await
            .0,
        503,
        "its alert is from then"
    );
    other
        .execute_batch("DELETE FROM marks; UPDATE journal SET crc = 0 WHERE seq = 5")
        .unwrap();
    assert_eq!(
        looked
            .ask("GET", "/api/v1/events/6.25", here(), &[])
            .await
            .0,
        503,
        "that one must be folded"
    );
    let alone = decided("6.1").await;
    assert!(
        alone[0]["text"]
            .as_str()
            .unwrap()
            .starts_with("no rule looks for it"),
        "{alone}"
    );
}

#[tokio::test]
async fn what_came_is_shown_as_it_was_sent() {
    let sent = r#"{"zeta":12345678901234567890.10,  "type":"X", "alpha":{"b":1,"a":"\u00e9"}}"#;
    let looked = Looked::in_parts(&[vec![format!(
        r#"{{"topic":"device-events","events":[{{"n":1}},{sent}]}}"#
    )]])
    .await;
    let response = warp::test::request()
        .path("/api/v1/events/1.2")
        .extension(here())
        .reply(&looked.routes)
        .await;
    let text = String::from_utf8(response.body().to_vec()).unwrap();
    assert!(text.contains(&format!(r#""raw":{sent}"#)), "{text}");
    assert_eq!(
        looked.get("/api/v1/events/1.1").await["raw"],
        json!({"n": 1})
    );
}

#[tokio::test]
async fn how_things_stand_is_said_as_documented() {
    let looked = Looked::at(&[down("ap-kitchen", "gone"), noise(1)]).await;
    let incidents = looked.get("/api/v1/incidents").await;
    assert_eq!(incidents["incidents"][0]["state"], "told");
    assert_eq!(
        incidents["incidents"][0]["subjects"][0]["device"],
        "ap-kitchen"
    );
    let first = &incidents["incidents"][0];
    assert_eq!(
        (&first["condition"], &first["devices"]),
        (&json!("ap_offline"), &json!(1))
    );
    assert_eq!(first["type"], "AP_DISCONNECTED");
    assert_eq!(
        (&first["told"], &first["waiting"]),
        (&json!(["ops"]), &json!(["ops"])),
        "it is on its way"
    );
    let queued = looked
        .store
        .queued(&"ops".into(), DeliveryId(0), 9)
        .await
        .unwrap();
    looked
        .settle(queued[0].id, (404, "it answered 404"), Next::Dead)
        .await;
    let whom = |all: &Value| {
        ["delivered", "waiting", "failed"].map(|how| all["incidents"][0][how].clone())
    };
    let none = json!([]);
    assert_eq!(
        whom(&looked.get("/api/v1/incidents").await),
        [none.clone(), none.clone(), json!(["ops"])]
    );
    looked
        .post(
            &format!("/api/v1/dead-letters/{}/resend", queued[0].id.0),
            "",
        )
        .await;
    let queued = looked
        .store
        .queued(&"ops".into(), DeliveryId(0), 9)
        .await
        .unwrap();
    looked
        .settle(queued[0].id, (200, ""), Next::Delivered)
        .await;
    assert_eq!(
        whom(&looked.get("/api/v1/incidents").await),
        [json!(["ops"]), none.clone(), none]
    );
    let destinations = looked.get("/api/v1/destinations").await;
    let ops = &destinations["destinations"][0];
    assert_eq!(
        (&ops["name"], &ops["kind"], &ops["delivered"]),
        (&json!("ops"), &json!("slack"), &json!(1))
    );
    looked
        .metrics
        .heard_of(&"mist".into(), looked.store.clock().clock().wall());
    let feed = looked.get("/api/v1/feed").await;
    assert_eq!(
        (
            &feed["sources"][0]["posts_per_minute"],
            &feed["totals"]["total"]
        ),
        (&json!(1), &json!(3))
    );
    assert_eq!(
        feed["totals"]["per_second"], 1,
        "three within the last ten seconds"
    );
    let noise = looked.get("/api/v1/noise?since=1d").await;
    assert_eq!(
        noise["rules"],
        json!([{"rule": "AP down", "events": 1, "told": 1, "quiet": 0}])
    );
    let buckets = noise["buckets"].as_array().unwrap();
    let quiet: u64 = buckets
        .iter()
        .map(|bucket| bucket["quiet"].as_u64().unwrap())
        .sum();
    assert_eq!(
        (buckets.len(), quiet),
        (97, 2),
        "a day of quarters of an hour, whatever came in them"
    );
}

#[tokio::test]
async fn who_is_elsewhere_or_asks_nonsense_is_refused() {
    let looked = Looked::at(&[]).await;
    let me = looked.get("/api/v1/me").await;
    let proof = me["csrf"].as_str().unwrap();
    for path in [
        "events",
        "events/1.1",
        "live",
        "incidents",
        "destinations",
        "feed",
        "noise",
    ] {
        let path = format!("/api/v1/{path}");
        assert_eq!(looked.ask("GET", &path, afar(), &[]).await.0, 403, "{path}");
        assert_eq!(
            looked
                .ask("GET", &path, here(), &[("host", "evil.example.net")])
                .await
                .0,
            421,
            "{path}"
        );
        assert_eq!(
            looked
                .ask("GET", &path, here(), &[("x-forwarded-for", "1.2.3.4")])
                .await
                .0,
            403,
            "{path}"
        );
        assert_eq!(
            looked.ask("POST", &path, here(), &[]).await.0,
            403,
            "{path}: no page of ours"
        );
        assert_eq!(
            looked
                .ask("POST", &path, here(), &[("x-csrf-token", "guessed")])
                .await
                .0,
            403,
            "{path}"
        );
        let (status, body, headers) = looked
            .ask("POST", &path, here(), &[("x-csrf-token", proof)])
            .await;
        assert_eq!(
            (status, headers["allow"].to_str().unwrap()),
            (405, "GET, HEAD"),
            "{body}"
        );
    }
    for query in [
        "limit=0",
        "limit=x",
        "limit=201",
        "before=1",
        "before=-1.0",
        "fate=lost",
        "fate=told&why=x",
        "devcie=a",
    ] {
        let (status, body, _) = looked
            .ask("GET", &format!("/api/v1/events?{query}"), here(), &[])
            .await;
        assert_eq!(status, 400, "{query}");
        assert!(
            body["error"].is_string() && body["help"].is_string(),
            "{query}: {body}"
        );
    }
    assert_eq!(
        looked
            .ask("GET", "/api/v1/noise?since=soon", here(), &[])
            .await
            .0,
        400
    );
    assert_eq!(
        looked.ask("GET", "/api/v1/nothing", here(), &[]).await.0,
        404
    );
    assert_eq!(
        looked
            .ask("GET", "/api/v1/events/1.1/x", here(), &[])
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn every_documented_path_is_there_and_no_other() {
    let spec: Value = serde_json::from_str(SPEC).unwrap();
    let looked = Looked::at(&[noise(1)]).await;
    // Those of the rules: src/app/rulebook_tests.rs.
    let others = |path: &str| {
        ["silences", "rules", "replay-diff"]
            .iter()
            .any(|other| path.contains(other))
    };
    let paths = spec["paths"].as_object().unwrap().iter();
    for (path, _) in paths.filter(|(path, item)| !others(path) && item["get"].is_object()) {
        if path.ends_with("live") || path.ends_with("tune") {
            continue;
        }
        looked.get(&path.replace("{id}", "1.1")).await;
    }
    for path in [
        "events",
        "events/{id}",
        "live",
        "incidents",
        "destinations",
        "feed",
        "noise",
        "silences",
        "silences/{id}",
    ] {
        assert!(
            spec["paths"][format!("/api/v1/{path}")].is_object(),
            "{path} is not documented"
        );
    }
}

#[tokio::test]
async fn who_watches_is_told_what_comes_and_what_was_missed() {
    let looked = Looked::at(&[noise(1), noise(2)]).await;
    let request = warp::test::request()
        .path("/api/v1/live")
        .extension(here())
        .header("last-event-id", "1.2");
    let telling = async {
        while looked.feed.watchers() == 0 {
            tokio::task::yield_now().await;
        }
        let frame = crate::history::Frame {
            kind: "event",
            id: Some("7.1".to_owned()),
            data: "{}".to_owned(),
        };
        looked.feed.send(frame);
        looked.stop.cancel();
    };
    let (response, ()) = tokio::join!(request.reply(&looked.routes), telling);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = String::from_utf8(response.body().to_vec()).unwrap();
    let ids: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("id:"))
        .map(str::trim)
        .collect();
    assert_eq!(ids, ["2.1", "2.2", "7.1"], "{text}");
    assert_eq!(
        looked.feed.watchers(),
        0,
        "who went away is not told any more"
    );
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_look() {
    let looked = Looked::at(&[noise(1)]).await;
    let request = warp::test::request().path("/api/v1/live").extension(here());
    let shutting = async {
        while looked.feed.watchers() == 0 {
            tokio::task::yield_now().await;
        }
        let hash = crate::password::hash(&crate::model::Secret::new("canary"), &[1; 16]).unwrap();
        looked.state.replace_access(PageAccess {
            password: Some(hash),
            ..Default::default()
        });
    };
    let (response, ()) = tokio::join!(request.reply(&looked.routes), shutting);
    assert_eq!(response.status(), 200);
    assert_eq!(looked.feed.watchers(), 0);
    assert_eq!(looked.ask("GET", "/api/v1/live", here(), &[]).await.0, 401);
}

#[tokio::test]
async fn what_is_done_with_messages_is_done_once_and_counted() {
    let looked = Looked::at(&[down("ap-kitchen", "gone")]).await;
    looked
        .kinds
        .replace([(Name::new("ops"), "slack"), (Name::new("boss"), "teams")]);
    let at = looked.store.clock().now();
    let mut queued = looked
        .store
        .queued(&"ops".into(), DeliveryId(0), 9)
        .await
        .unwrap();
    let mut other = Arc::unwrap_or_clone(queued.remove(0).message);
    other.about.id = "other1".to_owned();
    looked.store.enqueue(other, at).await.unwrap();
    for id in [1, 2] {
        looked
            .settle(DeliveryId(id), (400, "refused"), Next::Dead)
            .await;
    }
    let letters = looked.get("/api/v1/destinations").await["dead_letters"].clone();
    assert_eq!(
        (&letters[0]["id"], &letters[1]["id"]),
        (&json!("2"), &json!("1"))
    );
    let event = looked.get("/api/v1/events/1.1").await;
    let message = &event["messages"][0];
    assert_eq!(
        message["shown"][0]["body"]["attachments"][0]["blocks"][0]["type"],
        "section"
    );
    assert_eq!(
        message["shown"][1]["body"]["attachments"][0]["content"]["type"],
        "AdaptiveCard"
    );
    let again = format!("/api/v1/messages/{}/again", message["id"].as_str().unwrap());
    for (path, body, status, says) in [
        (
            "/api/v1/dead-letters/9/resend",
            "",
            404,
            "no such dead letter",
        ),
        (
            "/api/v1/dead-letters/x/discard",
            "",
            404,
            "no such dead letter",
        ),
        (
            "/api/v1/dead-letters/all/resend",
            r#"{"to": "nobody"}"#,
            409,
            "no destination `nobody`",
        ),
        (
            "/api/v1/dead-letters/all/resend",
            "{\"to\": \"ops\\n<b>\"}",
            409,
            "no destination",
        ),
        (
            "/api/v1/dead-letters/all/resend",
            r#"["ops"]"#,
            400,
            "cannot be parsed",
        ),
        (
            "/api/v1/dead-letters/all/discard",
            r#"{"to": null}"#,
            400,
            "`to` is null",
        ),
        (
            "/api/v1/dead-letters/all/resend",
            r#"{"two": "ops"}"#,
            400,
            "unknown field",
        ),
        ("/api/v1/dead-letters/1/shred", "", 405, "method"),
        (&again, r#"{"to": "boss"}"#, 409, "went to none"),
        ("/api/v1/messages/zzzzzz/again", "", 404, "no such message"),
        (
            "/api/v1/dead-letters/1/resend",
            "",
            200,
            r#"{"deliveries":[{"destination":"ops","id":"3"}]}"#,
        ),
        (
            "/api/v1/dead-letters/1/resend",
            "",
            404,
            "no such dead letter",
        ),
        (&again, "", 409, "queued already"),
        ("/api/v1/dead-letters/3/discard", "", 409, "it is queued"),
        ("/api/v1/dead-letters/2/discard", "", 200, r#""id":"2""#),
        ("/api/v1/dead-letters/2/discard", "", 409, "it is discarded"),
        ("/api/v1/dead-letters/2/resend", "", 409, "it is discarded"),
        ("/api/v1/dead-letters/all/resend", "", 200, r#"{"count":0}"#),
    ] {
        let (answered, said) = looked.post(path, body).await;
        assert_eq!(answered, status, "{path} {body}: {said}");
        assert!(said.to_string().contains(says), "{path}: {said}");
    }
    looked
        .settle(DeliveryId(3), (200, ""), Next::Delivered)
        .await;
    assert_eq!(looked.post(&again, r#"{"to": "ops"}"#).await.0, 200);
    let event = looked.get("/api/v1/events/1.1").await;
    let states: Vec<_> = event["messages"][0]["destinations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["state"])
        .collect();
    assert_eq!(
        states,
        ["delivered", "queued"],
        "the copy is a delivery of its own"
    );
    let ops = &looked.get("/api/v1/destinations").await["destinations"][1];
    assert_eq!(
        [
            &ops["name"],
            &ops["queued"],
            &ops["dead"],
            &ops["discarded"]
        ],
        [&json!("ops"), &json!(1), &json!(0), &json!(1)]
    );
    looked.kinds.replace([]);
    assert_eq!(
        looked.post(&again, "").await.0,
        409,
        "what nobody sends is not queued"
    );
    let metrics = looked
        .metrics
        .encode(looked.store.last(), &looked.store.totals().await.unwrap());
    assert!(metrics.contains("fate=\"discarded\"} 1"), "{metrics}");
}

#[tokio::test]
async fn what_helps_is_found_one_at_a_time_and_kept() {
    let looked = Looked::at(&[]).await;
    let ask = async |since: &str| {
        let path = format!("/api/v1/tune?since={since}");
        loop {
            let (status, body, _) = looked.ask("GET", &path, here(), &[]).await;
            if status != 202 {
                return (status, body);
            }
            conforms_as("get", &path, "202", &body);
            std::thread::yield_now();
        }
    };
    looked.tuning.held.store(true, Ordering::Release);
    for since in ["7d", "7d", "1d"] {
        assert_eq!(
            looked
                .ask("GET", &format!("/api/v1/tune?since={since}"), here(), &[])
                .await
                .0,
            202
        );
    }
    assert_eq!(looked.post("/api/v1/tune?since=7d", "").await.0, 202);
    looked.tuning.held.store(false, Ordering::Release);
    let tries = || looked.tuning.count.load(Ordering::Acquire);
    let (status, found) = ask("7d").await;
    assert_eq!((status, &found["after"]), (200, &json!(3)));
    conforms_as("get", "/api/v1/tune", "200", &found);
    assert_eq!(
        (ask("7d").await.1, tries()),
        (found, 1),
        "found once, and kept"
    );
    assert_eq!(looked.post("/api/v1/tune?since=7d", "").await.0, 202);
    assert_eq!(
        (ask("7d").await.0, tries()),
        (200, 2),
        "asked for, found anew"
    );
    for (since, why) in [("1d", "have problems"), ("2d", "the log says why")] {
        let (status, said) = ask(since).await;
        assert_eq!(status, 503, "{said}");
        assert!(said["error"].as_str().unwrap().contains(why), "{said}");
    }
    for query in ["since=soon", "since=32d", "fresh=1"] {
        assert_eq!(
            looked
                .ask("GET", &format!("/api/v1/tune?{query}"), here(), &[])
                .await
                .0,
            400,
            "{query}"
        );
    }
}
