//! Crashes are neutral: drop the judge anywhere, refold from the last snapshot, and the
//! messages written equal those of one clean fold over the same journal.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::sync::Arc;
use std::time::Duration;

use foghorn::clock::Clock;
use foghorn::config::{Config, rules_from_record};
use foghorn::fold::{Fold, messages};
use foghorn::follower::Follower;
use foghorn::judge::Judge;
use foghorn::metrics::Metrics;
use foghorn::model::{Message, Name, Record, Seq, SourceKind, Timestamp};
use foghorn::render::Templates;
use foghorn::source;
use foghorn::store::sqlite::Sqlite;
use foghorn::store::{DeliveryId, Journal, Outbox, Retention, Store};
use proptest::prelude::*;
use serde_json::{Map, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const RULES: &str = r"
rules:
  - name: at once
    match: {condition: ap_offline}
    group_wait: 0s
    group_interval: 20ms
  - name: patient
    match: {condition: ap_offline}
    for: 10ms
    group_by: [device]
    group_wait: 5ms
  - name: radar
    match: {type: AP_RADAR_DETECTED}
    cooldown: 15ms
    group_wait: 0s
  - name: together
    match: {condition: ap_offline}
    threshold: {count: 3, window: 1m, distinct: device_mac}
    keep_firing_for: 10ms
";

fn rules() -> Config {
    Config::parse(RULES, None, &|_| None).unwrap()
}

fn body(what: u8, device: u8, now: Timestamp) -> bytes::Bytes {
    let kind = ["AP_DISCONNECTED", "AP_CONNECTED", "AP_RADAR_DETECTED"][usize::from(what)];
    let mut fields = Map::new();
    fields.insert("type".to_owned(), json!(kind));
    fields.insert("device".to_owned(), json!(format!("ap-{device}")));
    fields.insert("timestamp".to_owned(), json!(now.millis() as f64 / 1000.0));
    serde_json::to_vec(&source::synthesise(fields, now))
        .unwrap()
        .into()
}

/// Runs a judge over the store for so long, then drops it as a crash would.
async fn run_for(store: &Sqlite, span: Duration) {
    let config = rules();
    let (_keep, templates) = watch::channel(Arc::new(Templates::builtin()));
    let (ready, _seen) = watch::channel(false);
    let judge = Judge::restore(
        store.clone(),
        &config.rules,
        rules_from_record,
        templates,
        Metrics::default(),
        ready,
    )
    .await
    .unwrap();
    let judge = judge.with_snapshot_every(7);
    let _ = tokio::time::timeout(span, judge.run(CancellationToken::new())).await;
}

fn said(message: &Message) -> (String, String, String, String) {
    let about = &message.about;
    (
        about.incident.clone(),
        about.rule.clone(),
        about.reason.to_string(),
        message.title.clone() + &message.text,
    )
}

/// What a follower that never stopped has to say of the whole journal.
async fn clean_fold(store: &Sqlite) -> Vec<(String, String, String, String)> {
    let templates = Templates::builtin();
    let fold = Fold::new(Arc::clone(&rules().rules), rules_from_record);
    let mut follower = Follower::new(store.clone(), fold, Seq::default());
    let mut all = Vec::new();
    loop {
        let entries = follower.read().await.unwrap();
        if entries.is_empty() {
            return all;
        }
        for entry in &entries {
            let made = messages(follower.apply(entry).decisions, &templates);
            all.extend(made.iter().map(said));
        }
    }
}

async fn crash_and_compare(happenings: Vec<(u8, u8)>, runs: Vec<u64>) {
    // What is on a disk costs real time, and no disk fails here.
    let dir = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let store = Sqlite::open(dir.path(), Clock::system(), Retention::default()).unwrap();
    store.append(Record::Rules(rules().record())).await.unwrap();
    let feeding = {
        let store = store.clone();
        tokio::spawn(async move {
            for (what, device) in happenings {
                let body = body(what, device, store.clock().now());
                store
                    .append(Record::Received {
                        source: Name::new("mist"),
                        kind: SourceKind::default(),
                        cursor: None,
                        body,
                    })
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    for millis in runs {
        run_for(&store, Duration::from_millis(millis)).await;
    }
    feeding.await.unwrap();
    // Each run is long enough for every timer of the rules above, on a machine with nothing else to
    // do; a busy one gets more of them. The journal then ends with what the timers led to.
    let begun = std::time::Instant::now();
    loop {
        run_for(&store, Duration::from_millis(400)).await;
        let expected = clean_fold(&store).await;
        let queued = store
            .queued(&Name::new("console"), DeliveryId::default(), 10_000)
            .await
            .unwrap();
        let written: Vec<_> = queued
            .iter()
            .map(|delivery| said(&delivery.message))
            .collect();
        if written.len() >= expected.len() || begun.elapsed() > Duration::from_secs(120) {
            assert!(!expected.is_empty());
            assert_eq!(written, expected);
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn crashes_are_neutral(
        happenings in prop::collection::vec((0..3_u8, 0..4_u8), 30..80),
        runs in prop::collection::vec(1..25_u64, 3..10),
    ) {
        let mut happenings = happenings;
        happenings.insert(0, (0, 0));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(crash_and_compare(happenings, runs));
    }
}
