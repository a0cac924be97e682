//! Reloads in a storm, two processes on one folder, clocks that jump.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::load::{downs, judged, load};
use crate::support::{Chat, Foghorn, binary, device_event, lacks, until};
use crate::world::{accepted, rules, told, until_sent, until_told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_reloads_under_load_lose_nothing_and_repeat_nothing() {
    const POSTS: usize = 400;
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, 300)).await;
    let posts = Arc::new(downs(0..POSTS, 1));
    let address = foghorn.address.clone();
    let reloading = async {
        for n in 0..20 {
            // Another rate every time, so the destination begins anew; every other time another
            // rule before ours.
            let other = "rules:\n  - {name: Radar, match: {type: AP_RADAR_DETECTED}}\n";
            let text = rules(&chat, 300 + n)
                .replace("rules:\n", if n % 2 == 0 { other } else { "rules:\n" });
            let fresh = foghorn.dir.join("fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(fresh, foghorn.dir.join("rules.yaml")).unwrap();
            foghorn.signal("HUP");
            // A storm has its own pace: nothing is waited for.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let (run, ()) = tokio::join!(load(&address, 4, Some(200.0), &posts), reloading);
    let kept = accepted(&run, 0);
    assert_eq!(
        kept.len(),
        POSTS,
        "every post is taken, whatever is reloaded"
    );
    judged(&foghorn).await;
    let lost = until_told(&chat, &kept).await;
    assert!(lost.is_empty(), "accepted and never told: {lost:?}");
    until_sent(&foghorn).await;
    let repeats: usize = told(&chat).values().map(|times| times - 1).sum();
    let reloads = foghorn.metric("foghorn_config_reloads_total", "ok").await;
    println!("{reloads} reloads in 2 s, {POSTS} events: 0 lost, {repeats} told twice");
    // A reload takes in every signal that came before it: on a slow machine they are few.
    assert!(
        repeats == 0 && reloads >= 1.0,
        "{repeats} told twice in {reloads} reloads"
    );
    foghorn.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_on_one_folder_one_serves_and_nothing_is_told_twice() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, 300)).await;
    let mut others: Vec<_> = (0..4)
        .map(|_| {
            let mut serve = binary();
            serve
                .args(["serve", "--listen", "127.0.0.1:0"])
                .current_dir(&foghorn.dir);
            serve
                .env("MIST_WEBHOOK_SECRET", crate::support::SECRET)
                .spawn()
                .unwrap()
        })
        .collect();
    let run = load(&foghorn.address, 4, Some(200.0), &Arc::new(downs(0..60, 1))).await;
    for other in &mut others {
        assert_eq!(other.wait().unwrap().code(), Some(5));
    }
    let kept = accepted(&run, 0);
    assert!(kept.len() == 60 && until_told(&chat, &kept).await.is_empty());
    until_sent(&foghorn).await;
    assert!(told(&chat).values().all(|times| *times == 1));
    foghorn.stop().await;
}

/// Debian's libfaketime, which lies about the wall clock and leaves the monotonic one alone.
fn liar() -> Option<PathBuf> {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| format!("/usr/lib/{machine}/faketime"));
    places
        .iter()
        .map(|dir| Path::new(dir).join("libfaketimeMT.so.1"))
        .find(|path| path.exists())
}

/// Serves by the clock that the file `offset` tells.
fn lied_to(liar: &Path, offset: &Path) -> Command {
    let mut serve = binary();
    serve
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("LD_PRELOAD", liar)
        .env("FAKETIME_TIMESTAMP_FILE", offset);
    serve
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    serve
}

/// How often the log said that the clock was set.
fn noticed(foghorn: &Foghorn) -> usize {
    foghorn.logged().matches("the wall clock was set").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_loses_nothing_and_delays_nothing() {
    let Some(liar) = liar() else {
        return lacks(
            "no libfaketime here (apt-get install faketime); the engine's tests jump the clock in any case",
        );
    };
    let chat = Chat::start().await;
    let dir = tempfile::tempdir().unwrap();
    // A timer is pending whenever the clock jumps.
    let rules = rules(&chat, 100).replace("group_wait: 0s", "group_wait: 1s");
    std::fs::write(dir.path().join("rules.yaml"), rules).unwrap();
    let offset = dir.path().join("offset");
    std::fs::write(&offset, "+0").unwrap();
    let foghorn = Foghorn::start_by(lied_to(&liar, &offset), dir.path()).await;
    let mut kept = BTreeSet::new();
    let mut down = async |n: u32, stamp: f64| {
        let mut event = device_event("AP_DISCONNECTED", n);
        event["timestamp"] = json!(event["timestamp"].as_f64().unwrap() + stamp);
        foghorn.post("device-events", json!([event])).await;
        kept.insert(format!("ap-{n}"));
        kept.clone()
    };
    // Mist's clock stays; only where ours is ten years ahead everything true would be too old to
    // tell.
    let jumps = [
        ("+7200", 0.0),
        ("-10800", 0.0),
        ("-315360000", 0.0),
        ("+315360000", 315_360_000.0),
        ("+0", 0.0),
    ];
    let mut stamped = 0.0;
    for (n, (jump, stamp)) in (0..).step_by(2).zip(jumps) {
        down(n, stamped).await;
        let before = noticed(&foghorn);
        std::fs::write(&offset, jump).unwrap();
        until(jump, || noticed(&foghorn) > before).await;
        stamped = stamp;
        let all = down(n + 1, stamp).await;
        let late = until_told(&chat, &all).await;
        assert!(
            late.is_empty(),
            "the clock jumped by {jump} s: {late:?} not told"
        );
    }
    assert!(
        told(&chat).values().all(|times| *times == 1),
        "{:?}",
        told(&chat)
    );
    foghorn.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_years_ahead_is_seen_to_be_right_though_nothing_happens() {
    let Some(liar) = liar() else {
        return lacks("no libfaketime here (apt-get install faketime)");
    };
    let chat = Chat::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules(&chat, 100)).unwrap();
    let offset = dir.path().join("offset");
    std::fs::write(&offset, "+315360000").unwrap();
    let foghorn = Foghorn::start_by(lied_to(&liar, &offset), dir.path()).await;
    // Whatever it does at its start is done.
    judged(&foghorn).await;
    std::fs::write(&offset, "+0").unwrap();
    until("the log says so", || noticed(&foghorn) == 1).await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 0)]))
        .await;
    chat.wait_for(1).await;
    foghorn.stop().await;
}
