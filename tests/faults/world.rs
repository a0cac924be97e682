//! What the faults have in common: rules that tell of every device, seeds, and who was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::load::{Posts, Run};
use crate::support::Chat;

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

/// Waits, for at most so long, until each of these was told; gives who never was.
pub(crate) async fn until_told(
    chat: &Chat,
    devices: &BTreeSet<String>,
    most: Duration,
) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let told = told(chat);
        let missing: Vec<String> = devices
            .iter()
            .filter(|name| !told.contains_key(*name))
            .cloned()
            .collect();
        if missing.is_empty() || begun.elapsed() > most {
            return missing;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Polls for at most so long.
pub(crate) async fn within(most: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < most, "waited {most:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until nothing is queued for anyone.
pub(crate) async fn until_sent(foghorn: &crate::support::Foghorn, most: Duration) {
    let begun = Instant::now();
    while foghorn.metric("foghorn_message_fates", "queued").await > 0.0 {
        assert!(begun.elapsed() < most, "messages still wait after {most:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
