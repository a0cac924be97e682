//! How Mist brings what it noted: batched by topic, by two webhooks, seconds later, and not always.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::chance::Chance;
use super::feed::Noted;
use crate::model::Timestamp;

/// One POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// When it arrives.
    pub received_at: Timestamp,
    /// The body, as Mist would send it.
    pub body: String,
    /// How many events it holds.
    pub events: usize,
}

/// A batch that is being gathered.
struct Batch {
    since: Timestamp,
    until: Timestamp,
    topic: &'static str,
    items: Vec<Map<String, Value>>,
    /// Whether some of it is said nowhere else.
    once: bool,
}

/// Whether no other topic says the same.
fn said_once(topic: &str, item: &Map<String, Value>) -> bool {
    let text = |key| item.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = text("type");
    let of_devices = ["device_", "switch_", "gateway_"]
        .iter()
        .any(|about| kind.starts_with(about));
    (topic == "alarms" && !of_devices) || text("reason").contains("non-wifi")
}

/// Every POST in the order of arrival. With webhooks of the sites each item comes twice: the
/// organisation's brings it too.
pub(super) fn deliver(
    noted: &[Noted],
    (lossy, site_webhooks): (bool, bool),
    chance: &mut Chance,
) -> Vec<Post> {
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
            let once = !site_webhooks && said_once(one.topic, &item);
            if !webhook.is_empty() && matches!(one.topic, "alarms" | "device-updowns") {
                item.insert("for_site".to_owned(), true.into());
            }
            let key = (webhook, one.topic);
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
            // The last item waits for nobody, the first at most this long.
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
    posts.sort_by_key(|post| post.received_at);
    posts
}

/// `None`: lost.
fn send(batch: Batch, lossy: bool, chance: &mut Chance) -> Option<Post> {
    let mut received_at = batch.until.max(batch.since)
        + chance.span(Duration::from_secs(1), Duration::from_millis(4_500));
    // What is said once and lost, nobody can tell.
    if lossy && chance.percent(1) && !batch.once {
        return None;
    }
    if lossy && chance.percent(2) {
        received_at = received_at + chance.seconds(5, 60);
    }
    let events = batch.items.len();
    let body = json!({"topic": batch.topic, "events": batch.items}).to_string();
    Some(Post {
        received_at,
        body,
        events,
    })
}
