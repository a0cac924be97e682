//! Every fixture in `tests/fixtures/mist`, and what holds for any bytes whatever.

use std::collections::HashSet;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::model::{Device, Event, Name, Phase};

fn parse(body: &[u8], received: Timestamp) -> Vec<ParsedItem> {
    crate::source::parse(&Arrival::new(&Name::new("mist"), Seq(7), received, body))
}

fn parse_text(body: &str, received: Timestamp) -> Vec<ParsedItem> {
    parse(body.as_bytes(), received)
}

fn events(body: &Value) -> Vec<Arc<Event>> {
    let parsed = parse_text(&body.to_string(), Timestamp::from_millis(1_750_420_800_000));
    let event = |parsed| match parsed {
        ParsedItem::Event(event) => event,
        ParsedItem::Malformed { why, .. } => panic!("{why}: {body}"),
    };
    parsed.into_iter().map(event).collect()
}

/// What the fixtures compare: every field by its name there.
fn shown(parsed: &ParsedItem) -> Value {
    let event = match parsed {
        ParsedItem::Malformed { why, .. } => return json!({ "malformed": why }),
        ParsedItem::Event(event) => event,
    };
    let device = event.device.clone().unwrap_or_default();
    json!({
        "id": event.id.to_string(), "topic": &*event.topic, "type": event.kind,
        "condition": event.condition.as_ref().map(|c| c.name.to_string()),
        "sub_id": event.condition.as_ref().and_then(|c| c.sub_id.clone()),
        "of_site": event.condition.as_ref().map(|c| c.of_site),
        "phase": event.phase, "severity": event.severity, "group": event.group, "status": event.status,
        "site": event.site.name, "site_id": event.site.id, "org_id": event.org_id,
        "device": device.name, "mac": device.mac, "device_type": device.kind, "model": device.model, "port": device.port,
        "listed": event.listed.iter().map(|d: &Device| {
            let pairs = [("device", &d.name), ("mac", &d.mac), ("device_type", &d.kind)];
            pairs.into_iter().filter_map(|(k, v)| Some((k.to_owned(), json!(v.as_ref()?)))).collect::<Map<_, _>>()
        }).collect::<Vec<_>>(),
        "reasons": event.reasons, "text": event.text, "count": event.count,
        "time": event.time.rfc3339(), "own_time": event.own_time, "raw": &*event.raw,
    })
}

#[test]
fn some_of_a_body_are_what_they_are_among_all() {
    let device =
        |n: usize| json!({"type": "AP_CONFIGURED", "mac": format!("5c5b350000{n:02x}"), "n": n});
    let alarm = |n: usize| {
        let aps: Vec<String> = (0..n).map(|n| format!("5c5b350001{n:02x}")).collect();
        json!({"type": "device_down", "group": "infrastructure", "aps": aps, "hostnames": aps, "count": n})
    };
    let occupancy =
        |n: usize| json!({"site_id": "s", "alert_events": (0..n).map(device).collect::<Vec<_>>()});
    for (topic, items) in [
        (
            "device-events",
            vec![
                device(0),
                json!(1),
                device(1),
                device(2),
                json!([]),
                device(3),
            ],
        ),
        (
            "alarms",
            vec![alarm(3), alarm(1), json!(1), alarm(2), device(7)],
        ),
        (
            "occupancy-alerts",
            vec![occupancy(2), json!("x"), occupancy(3)],
        ),
    ] {
        let body = json!({"topic": topic, "events": items}).to_string();
        let all = parse_text(&body, Timestamp::EPOCH);
        assert!(all.len() > 4, "{topic}");
        for places in [0..=0, 1..=1, 2..=3, 4..=4, 2..=6, 99..=99] {
            let (mut some, mut sent) = (Vec::new(), Vec::new());
            let source = Name::new("mist");
            let arrival = Arrival::new(&source, Seq(7), Timestamp::EPOCH, body.as_bytes());
            let is_wanted = |event: &Event| places.contains(&event.id.place());
            crate::source::each_at(&arrival, places.clone(), &mut |one, text| {
                if let ParsedItem::Event(event) = one
                    && is_wanted(&event)
                {
                    sent.extend(
                        text.map(|text| serde_json::from_str::<Value>(text).unwrap() == *event.raw),
                    );
                    some.push(event);
                }
            });
            let wanted = |one: &ParsedItem| match one {
                ParsedItem::Event(event) => is_wanted(event).then(|| Arc::clone(event)),
                ParsedItem::Malformed { .. } => None,
            };
            let wanted: Vec<_> = all.iter().filter_map(wanted).collect();
            assert_eq!(
                format!("{some:?}"),
                format!("{wanted:?}"),
                "{topic} {places:?}"
            );
            assert!(sent.iter().all(|same| *same), "{topic} {places:?}");
        }
    }
}

#[test]
fn every_fixture_is_read_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mist");
    let mut read = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let fixture: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let received = Timestamp::parse_rfc3339(fixture["received"].as_str().unwrap()).unwrap();
        let parsed: Vec<Value> = parse_text(&fixture["body"].to_string(), received)
            .iter()
            .map(shown)
            .collect();
        let expected = fixture["expect"].as_array().unwrap();
        assert_eq!(parsed.len(), expected.len(), "{path:?}: {parsed:#?}");
        for (n, (parsed, expected)) in parsed.iter().zip(expected).enumerate() {
            for (key, expected) in expected.as_object().unwrap() {
                let found = &parsed[key];
                let found = match expected {
                    Value::Object(part) if key == "raw" => &found
                        .as_object()
                        .unwrap()
                        .iter()
                        .filter(|(k, _)| part.contains_key(*k))
                        .map(|(k, v)| (k.clone(), v.clone()))
                        .collect(),
                    _ => found,
                };
                assert_eq!(found, expected, "{path:?}: {key} of event {}", n + 1);
            }
        }
        read += 1;
    }
    assert!(read > 30, "only {read} fixtures");
}

/// What each became: its type, or how many are malformed.
fn became(body: &str) -> Vec<String> {
    let one = |parsed: &ParsedItem| match parsed {
        ParsedItem::Event(event) => event.kind.clone(),
        ParsedItem::Malformed { count, .. } => format!("{count} malformed"),
    };
    parse_text(body, Timestamp::from_millis(1_750_420_800_000))
        .iter()
        .map(one)
        .collect()
}

#[test]
fn what_cannot_be_held_is_malformed_alone_and_half_a_character_is_a_character() {
    let good = r#"{"type":"AP_CONNECTED"}"#;
    for (bad, read) in [
        (r#"{"type":"AP_X","n":1e400}"#, "1 malformed"),
        (r#"{"type":"AP_X","n":"\ud800"}"#, "AP_X"),
        (r#"{"type":"AP_X","\udfff":1}"#, "AP_X"),
        ("[1e400]", "1 malformed"),
        ("null", "1 malformed"),
    ] {
        let body =
            format!(r#"{{"topic":"device-events","events":[{good},{bad},{good}],"x":-1e999}}"#);
        assert!(envelope::check(body.as_bytes()).is_ok(), "it is stored");
        assert_eq!(
            became(&body),
            ["AP_CONNECTED", read, "AP_CONNECTED"],
            "{body}"
        );
    }
    assert_eq!(
        became(r#"{"topic":"alarms","events":1e400}"#),
        ["1 malformed"]
    );
}

#[test]
fn of_one_post_no_more_is_read_than_mist_ever_sends() {
    let many = |item: &str, count: usize| {
        let events = vec![item; count].join(",");
        became(&format!(
            r#"{{"topic":"device-events","events":[{events}]}}"#
        ))
    };
    let (last, read) = (
        |all: Vec<String>| (all.len(), all.last().cloned()),
        MOST + 1,
    );
    assert_eq!(
        last(many("{}", 330_000)),
        (read, Some("320000 malformed".to_owned()))
    );
    assert_eq!(
        last(many("1", 340_000)),
        (read, Some("330000 malformed".to_owned()))
    );
    assert_eq!(last(many("{}", MOST)), (MOST, Some(String::new())));
}

#[test]
fn what_events_repeat_is_bounded() {
    let long = "x".repeat(500_000);
    let nested = json!({"topic": "occupancy-alerts", "events": [{"map": long, "alert_events": vec![json!({}); 5_000]}]});
    let read = became(&nested.to_string());
    assert!(
        read.len() < 200 && read[read.len() - 1] == format!("{} malformed", 5_001 - read.len()),
        "{}",
        read.len()
    );
    let aps: Vec<String> = (0..2_000).map(|n| format!("02ab{n:08}")).collect();
    let alarm = |text: &str| json!({"topic": "alarms", "events": [{"type": "device_down", "aps": aps, "text": text}]});
    assert_eq!(became(&alarm("short").to_string()).len(), 1_000);
    assert_eq!(became(&alarm(&long).to_string()).len(), 33);
}

fn digests(topic: &str, item: &Value) -> Vec<u64> {
    events(&json!({ "topic": topic, "events": [item] }))
        .iter()
        .map(|event| event.digest)
        .collect()
}

#[test]
fn the_same_event_from_org_and_site_or_two_topics_has_one_digest() {
    let base = json!({"type": "AP_DISCONNECTED", "mac": "02ab00000001", "timestamp": 1_750_420_000, "site_id": "s"});
    let mut other = base.clone();
    other["for_site"] = json!(true);
    other["type"] = json!("ap_disconnected");
    other["mac"] = json!("02:AB:00:00:00:01");
    other["timestamp"] = json!("1750420000.0");
    other["ev_type"] = json!("NOTICE");
    assert_eq!(
        digests("device-events", &base),
        digests("device-updowns", &other)
    );
    for (key, value) in [
        ("timestamp", json!(1_750_420_001)),
        ("mac", json!("02ab00000002")),
        ("port_id", json!("eth0")),
    ] {
        let mut changed = base.clone();
        changed[key] = value;
        assert_ne!(
            digests("device-events", &base),
            digests("device-events", &changed),
            "{key}"
        );
    }
}

#[test]
fn an_alarm_sent_again_is_known_and_one_with_news_is_not() {
    let alarm = json!({"id": "a", "type": "device_down", "aps": ["02ab00000001", "02ab00000002"], "count": 2, "timestamp": 1_750_420_000});
    let first = digests("alarms", &alarm);
    assert_ne!(first[0], first[1], "each device's own");
    let mut site = alarm.clone();
    site["for_site"] = json!(true);
    assert_eq!(first, digests("alarms", &site));
    for (key, value) in [
        ("count", json!(3)),
        ("status", json!("resolved")),
        ("last_seen", json!(1)),
        ("update", json!(true)),
    ] {
        let mut news = alarm.clone();
        news[key] = value;
        assert!(
            first
                .iter()
                .all(|digest| !digests("alarms", &news).contains(digest)),
            "{key}"
        );
    }
    assert_ne!(
        digests("alarms", &json!({"a": ["b", "c"]})),
        digests("alarms", &json!({"a": ["b,c"]}))
    );
}

/// The journal outlives builds: a change here makes every stored duplicate news. Computed by
/// another program.
#[test]
fn digests_are_the_same_on_every_build() {
    let event =
        json!({"type": "AP_DISCONNECTED", "mac": "02ab00000001", "timestamp": 1_750_420_000});
    let alarm = json!({"type": "device_down", "aps": ["02ab00000001", "02ab00000002"], "n": null, "b": [true, 1.5, {"z": "", "a": 1}]});
    assert_eq!(
        digests("device-events", &event),
        [3_326_234_979_606_404_140]
    );
    assert_eq!(
        digests("alarms", &alarm),
        [14_811_792_950_055_364_325, 7_930_748_048_172_861_664]
    );
}

#[test]
fn one_alarm_cannot_become_a_flood() {
    let aps: Vec<String> = (1..=5000).map(|n| format!("{n:012x}")).collect();
    let events = events(
        &json!({"topic": "alarms", "events": [{"type": "device_down", "aps": aps, "count": 5000}]}),
    );
    assert_eq!(events.len(), 1000);
    assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), 5000);
}

#[test]
fn chatty_topics_are_places_raw_radio_and_clients() {
    for topic in "location location-asset location-client location-sdk location-unclient location-centrak asset-raw asset-raw-rssi \
         filtered-asset-rssi discovered-raw-rssi wifi-conn-raw wifi-unconn-raw sdkclient-scan-data vbeacon zone rssizone \
         client-join client-sessions client-info client-latency"
        .split_whitespace()
    {
        assert!(is_chatty(topic), "{topic}");
    }
    for topic in
        "alarms audits device-events device-updowns mxedge-events nac-events nac-accounting guest-authorizations ping \
         occupancy-alerts site-sle minis-application brand-new"
            .split_whitespace()
    {
        assert!(!is_chatty(topic), "{topic}");
    }
}

#[test]
fn what_is_made_up_reads_as_what_it_says() {
    let made = |fields: Value| {
        let Value::Object(fields) = fields else {
            panic!()
        };
        let body = synthesise::synthesise(fields, Timestamp::from_millis(1_750_420_000_500));
        assert_eq!(
            envelope::check(body.to_string().as_bytes())
                .unwrap()
                .as_deref(),
            body["topic"].as_str()
        );
        events(&body)
    };
    let one = |fields: Value| {
        let events = made(fields);
        assert_eq!(events.len(), 1, "{events:?}");
        Event::clone(&events[0])
    };
    let down = one(
        json!({"type": "AP_DISCONNECTED", "device": "ap-kitchen", "site": "Home", "reason": "x"}),
    );
    let device = down.device.clone().unwrap();
    assert_eq!(
        (&*down.topic, down.phase, down.site.name.as_deref()),
        ("device-events", Phase::Open, Some("Home"))
    );
    assert_eq!(
        (device.name.as_deref(), device.kind.as_deref()),
        (Some("ap-kitchen"), Some("ap"))
    );
    assert!(device.mac.as_deref().unwrap().starts_with("02"));
    assert_eq!(down.time, Timestamp::from_millis(1_750_420_000_500));
    assert_eq!(down.reasons, ["x"]);

    // The same device, whoever tells of it.
    for kind in [
        "AP_CONNECTED",
        "device_down",
        "device_reconnected",
        "ap_offline",
        "AP_OFFLINE",
    ] {
        let other = one(json!({"type": kind, "device": "ap-kitchen", "site": "Home"}));
        assert_eq!(other.device.as_ref().unwrap().mac, device.mac, "{kind}");
        assert_eq!(
            other.condition.unwrap().name,
            down.condition.clone().unwrap().name,
            "{kind}"
        );
        assert_eq!(other.site.id, down.site.id, "{kind}");
    }
    assert_eq!(
        &*one(json!({"type": "AP_CONNECTED", "device": "a", "topic": "device_updowns"})).topic,
        "device-updowns"
    );
    let edge = one(json!({"type": "ME_DISCONNECTED", "device": "edge-1"}));
    assert_eq!(
        (&*edge.topic, edge.device.unwrap().name.as_deref()),
        ("mxedge-events", Some("edge-1"))
    );
    let mac =
        one(json!({"type": "SW_PORT_DOWN", "device": "02:AB:00:00:00:01", "port_id": "ge-0/0/1"}));
    assert_eq!(
        mac.device.clone().unwrap().mac.as_deref(),
        Some("02ab00000001")
    );
    assert_eq!(mac.condition.unwrap().sub_id.as_deref(), Some("ge-0/0/1"));
    let given = one(
        json!({"type": "AP_DISCONNECTED", "device": "ap-1", "mac": "02ab00000009", "site_id": "s", "timestamp": 5}),
    );
    assert_eq!(given.device.unwrap().mac.as_deref(), Some("02ab00000009"));
    assert_eq!(
        (given.site.id.as_deref(), given.time),
        (Some("s"), Timestamp::from_millis(5_000))
    );
    let many = made(json!({"type": "switch_down", "device": ["sw-1", "sw-2"]}));
    assert_eq!(
        many.iter()
            .map(|e| e.device.clone().unwrap().name.unwrap())
            .collect::<Vec<_>>(),
        ["sw-1", "sw-2"]
    );
    assert!(
        many.iter()
            .all(|e| e.device.as_ref().unwrap().kind.as_deref() == Some("switch") && e.count == 1)
    );
    let cable = one(
        json!({"type": "bad_cable", "device": "sw-1", "port_id": "ge-0/0/2", "status": "resolved"}),
    );
    assert_eq!(
        (cable.phase, cable.condition.unwrap().sub_id.as_deref()),
        (Phase::Close, Some("ge-0/0/2"))
    );
    let dhcp = one(json!({"type": "infra_dhcp_failure", "device": "ap-1"}));
    assert_eq!((dhcp.device, dhcp.listed.len()), (None, 1));
    assert_eq!(one(json!({"type": "ping"})).kind, "ping");
    assert_eq!(&*one(json!({"type": "brand_new_alarm"})).topic, "alarms");
    assert_eq!(&*one(json!({"type": "1026"})).topic, "device-events");
    assert_eq!(
        one(json!({"type": "Update", "topic": "audits", "message": "m"}))
            .text
            .as_deref(),
        Some("m")
    );
}

#[test]
fn every_type_of_the_catalogue_can_be_made_up() {
    for entry in catalogue::all() {
        let Value::Object(fields) = json!({"type": entry.kind, "device": "d-1"}) else {
            panic!()
        };
        let events = events(&synthesise::synthesise(
            fields,
            Timestamp::from_millis(1_750_420_000_000),
        ));
        assert_eq!(events.len(), 1, "{}", entry.kind);
        let site = entry.about == catalogue::About::Site;
        assert_eq!(events[0].device.is_none(), site, "{}", entry.kind);
        let condition = events[0].condition.as_ref().map_or("", |c| &c.name);
        assert_eq!(
            condition,
            if entry.role.is_some() {
                entry.condition
            } else {
                ""
            },
            "{}",
            entry.kind
        );
    }
}

fn json_like() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "topic",
        "events",
        "alarms",
        "device-events",
        "mxedge_events",
        "occupancy-alerts",
        "alert_events",
        "type",
        "aps",
        "hostnames",
        "impacted_entities",
        "entity_mac",
        "port_ids",
        "port_id",
        "bad_cable",
        "device_down",
        "timestamp",
        "count",
        "mac",
        "02ab00000001",
        "GW_VPN_PEER_DOWN",
        "text",
        "peer x",
        "details",
        "status",
        "é\u{0}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(words.clone(), inner, 0..8).prop_map(|map| Value::Object(
                map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<i64>()) {
        let received = Timestamp::from_millis(at);
        prop_assert!(!parse(&bytes, received).is_empty());
        let _ = envelope::check(&bytes);
    }

    #[test]
    fn every_item_becomes_something_with_an_id_of_its_own(
        topic in prop::sample::select(vec!["alarms", "device-events", "mxedge-events", "occupancy-alerts", "audits", "x"]),
        items in prop::collection::vec(json_like(), 1..5),
        at in 0_i64..2_000_000_000_000,
    ) {
        let received = Timestamp::from_millis(at);
        let parsed = parse_text(&json!({"topic": topic, "events": items}).to_string(), received);
        prop_assert!(parsed.len() >= items.len());
        let mut ids = HashSet::new();
        for parsed in &parsed {
            if let ParsedItem::Event(event) = parsed {
                prop_assert!(ids.insert(event.id));
                prop_assert!(event.time <= received);
                prop_assert!(event.count >= 1);
                prop_assert!(event.condition.is_some() == (event.phase != Phase::Event));
            }
        }
    }
}
