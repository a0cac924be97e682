//! Delivery of events by Mist: batched by topic, over two webhooks, seconds late, and not always.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::chance::Chance;
use super::feed::Noted;
use crate::model::Timestamp;

/// One POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimPost {
    /// Time of its arrival.
    pub received_at: Timestamp,
    /// The body, as Mist would send it.
    pub body: String,
    /// Number of events in it.
    pub events: usize,
}

/// A batch that is still open.
struct Batch {
    since: Timestamp,
    until: Timestamp,
    topic: &'static str,
    items: Vec<Map<String, Value>>,
    /// True if some of its events have no copy on another topic.
    once: bool,
}

/// Returns whether no other topic has a copy of the event.
fn said_once(topic: &str, item: &Map<String, Value>) -> bool {
    let text = |key| item.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = text("type");
    let of_devices = ["device_", "switch_", "gateway_"]
        .iter()
        .any(|about| kind.starts_with(about));
    (topic == "alarms" && !of_devices) || text("reason").contains("non-wifi")
}

/// Returns every POST in the order of arrival. With webhooks of the sites, each event arrives
/// twice, since the webhook of the organisation sends it, too.
pub(super) fn deliver(
    noted: &[Noted],
    (lossy, site_webhooks): (bool, bool),
    chance: &mut Chance,
) -> Vec<SimPost> {
    let mut posts = Vec::new();
    // The webhook (the site's id, or "" for the organisation's) and the topic.
    let mut open: BTreeMap<(String, &'static str), Batch> = BTreeMap::new();
    for one in noted {
        let site = one
            .place
            .as_ref()
            .filter(|_| site_webhooks)
            .map(|place| place.id.clone());
        for webhook in [Some(String::new()), site].into_iter().flatten() {
            let mut item = one.item.clone();
            // With a webhook per site, the second copy replaces a lost one.
            let once = !site_webhooks && said_once(one.topic, &item);
            if !webhook.is_empty() && matches!(one.topic, "alarms" | "device-updowns") {
                item.insert("for_site".to_owned(), true.into());
            }
            let key = (webhook, one.topic);
            // Events come in order, so a later one shows that the batch is complete.
            if let Some(full) = open
                .get(&key)
                .filter(|batch| batch.until < one.at)
                .map(|_| key.clone())
            {
                posts.extend(
                    open.remove(&full)
                        .and_then(|batch| send(batch, lossy, chance)),
                );
            }
            // The first event of a batch waits at most this long for the others.
            let until = one.at + chance.span(Duration::from_secs(1), Duration::from_millis(4_500));
            let batch = open.entry(key).or_insert(Batch {
                since: one.at,
                until,
                topic: one.topic,
                items: Vec::new(),
                once: false,
            });
            batch.items.push(item);
            batch.once |= once;
        }
    }
    posts.extend(
        open.into_values()
            .filter_map(|batch| send(batch, lossy, chance)),
    );
    // Delays differ, so batches overtake one another.
    posts.sort_by_key(|post| post.received_at);
    posts
}

/// Returns the POST of a batch; `None` if it is lost.
fn send(batch: Batch, lossy: bool, chance: &mut Chance) -> Option<SimPost> {
    let mut received_at = batch.until.max(batch.since)
        + chance.span(Duration::from_secs(1), Duration::from_millis(4_500));
    // An event without a copy is never lost, or no rule could report it.
    if lossy && chance.percent(1) && !batch.once {
        return None;
    }
    if lossy && chance.percent(2) {
        received_at = received_at + chance.seconds(5, 60);
    }
    let events = batch.items.len();
    let body = json!({"topic": batch.topic, "events": batch.items}).to_string();
    Some(SimPost {
        received_at,
        body,
        events,
    })
}
