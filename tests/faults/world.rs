//! What the faults have in common: rules that tell of every device, seeds, and who was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::load::{Posts, Run, judged};
use crate::support::{Chat, Foghorn, PATIENCE};

/// A destination whose messages name their device, with more settings.
pub(crate) fn sink(name: &str, url: &str, more: &str) -> String {
    format!(
        "  {name}: {{webhook: {{url: \"{url}\", body: {{device: \"{{{{device}}}}\"}}}}, {more}}}\n"
    )
}

/// One message for each device that goes down, at once.
pub(crate) const EACH: &str = "rules:\n  - name: AP unreachable\n    match: {condition: ap_offline}\n    group_by: [device]\n    group_wait: 0s\n";

/// One sink that takes everything, a message at a time and so many a second; one message for each
/// device.
pub(crate) fn rules(chat: &Chat, per_second: u32) -> String {
    let rate = format!(
        "rate_limit: {{limit: {per_second}, per: 1s, burst: 1}}, retry: {{first: 20ms, max: 200ms}}"
    );
    format!(
        "destinations:\n{}{EACH}",
        sink("sink", &chat.url("/all"), &rate)
    )
}

/// How many messages were taken of each device.
pub(crate) fn told(chat: &Chat) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for body in chat.taken() {
        *told
            .entry(body["device"].as_str().unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    told
}

/// The devices from `first` on whose post was answered 200.
pub(crate) fn accepted(run: &Run, first: usize) -> BTreeSet<String> {
    let taken = run
        .statuses
        .iter()
        .enumerate()
        .filter(|(_, status)| **status == 200);
    taken.map(|(n, _)| format!("ap-{}", first + n)).collect()
}

/// Waits until a message about each of these devices was taken. Returns the devices that are still
/// missing when no message has come for [`PATIENCE`].
pub(crate) async fn until_told(chat: &Chat, devices: &BTreeSet<String>) -> Vec<String> {
    let (mut moved, mut before) = (Instant::now(), usize::MAX);
    loop {
        let missing = untold(chat, devices);
        if missing.len() < before {
            (moved, before) = (Instant::now(), missing.len());
        }
        if missing.is_empty() || moved.elapsed() > PATIENCE {
            return missing;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Those of these devices that no taken message is about.
pub(crate) fn untold(chat: &Chat, devices: &BTreeSet<String>) -> Vec<String> {
    let told = told(chat);
    let missing = devices.iter().filter(|name| !told.contains_key(*name));
    missing.cloned().collect()
}

/// Waits until no message is queued for any destination.
pub(crate) async fn until_sent(foghorn: &Foghorn) {
    let (mut moved, mut before) = (Instant::now(), f64::MAX);
    loop {
        let queued = foghorn.metric("foghorn_message_fates", "queued").await;
        if queued < before {
            (moved, before) = (Instant::now(), queued);
        }
        if queued == 0.0 {
            return;
        }
        assert!(moved.elapsed() < PATIENCE, "{queued} messages still wait");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until everything that was accepted is judged and sent. Whatever was not sent by then never
/// will be.
pub(crate) async fn until_quiet(foghorn: &Foghorn) {
    judged(foghorn).await;
    until_sent(foghorn).await;
}

/// Posts of any bodies, signed.
pub(crate) fn posts(bodies: impl IntoIterator<Item = Value>) -> Arc<Posts> {
    Arc::new(Posts::new(bodies.into_iter()))
}

/// Chance by a seed, which is printed.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(what: &str) -> Self {
        let given = std::env::var("FOGHORN_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed: u64 = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap();
            now.as_millis() as u64 % 1_000_000
        });
        println!("{what}: FOGHORN_SEED={seed} repeats it");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}
