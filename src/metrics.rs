//! Metrics for Prometheus. Each scrape is one consistent snapshot, so its sums always hold.
//!
//! `foghorn_events_total` is the sum of `foghorn_event_fates`, and for each destination
//! `foghorn_messages_total` the sum of `foghorn_message_fates`. This module only adds up; the
//! modules that decide report to it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::model::{EventFates, MessageFates, Name, Seq, Timestamp};

/// Maximum number of topics counted by name, because a sender can invent any number of `client-…`.
const MOST_TOPICS: usize = 64;
/// Number of seconds averaged for the event rate, and number of seconds stored.
const LATELY: i64 = 10;
const PACED: usize = 16;
/// Label of all further topics.
const OTHER_TOPICS: &str = "other";

/// The counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Counts>>);

#[derive(Clone, Debug, Default)]
struct Counts {
    events: EventFates,
    paced: Paced,
    judged: Seq,
    not_stored: BTreeMap<String, u64>,
    posts: BTreeMap<(Name, u16), u64>,
    malformed: BTreeMap<Name, u64>,
    pings: u64,
    reloads: BTreeMap<&'static str, u64>,
    silences: BTreeMap<(&'static str, u16), u64>,
    refusals: BTreeMap<&'static str, u64>,
    logins: BTreeMap<&'static str, u64>,
    attempts: BTreeMap<(Name, &'static str), u64>,
    heard: BTreeMap<Name, Minute>,
}

/// Number of judged events in total, and in each of the latest seconds with any.
#[derive(Clone, Debug, Default)]
struct Paced {
    total: Option<u64>,
    seconds: VecDeque<(i64, u64)>,
}

/// Time of a source's last post, and its posts of the last minute by second.
#[derive(Clone, Debug, Default)]
struct Minute {
    last: Option<Timestamp>,
    seconds: VecDeque<(i64, u64)>,
}

/// Activity of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Wall time of its last accepted post.
    pub last: Option<Timestamp>,
    /// Number of posts in the last minute.
    pub per_minute: u64,
    /// Number of posts with a missing or wrong signature since the start.
    pub signature_failures: u64,
}

impl Metrics {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Every statement leaves the counters consistent, so they are usable after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the answer to a POST.
    pub fn post(&self, source: &Name, answer: u16) {
        add(&mut self.counts().posts, (source.clone(), answer), 1);
    }

    /// Counts an accepted POST of a source.
    pub fn heard_of(&self, source: &Name, now: Timestamp) {
        let mut counts = self.counts();
        let minute = counts.heard.entry(source.clone()).or_default();
        minute.last = Some(now);
        match minute.seconds.back_mut() {
            Some((second, posts)) if *second == now.seconds() => *posts += 1,
            _ => minute.seconds.push_back((now.seconds(), 1)),
        }
        // At most one entry per second, so 60 of them cover a minute.
        while minute.seconds.len() > 60 {
            minute.seconds.pop_front();
        }
    }

    /// Returns the activity of a source.
    #[must_use]
    pub fn heard(&self, source: &Name, now: Timestamp) -> Heard {
        let counts = self.counts();
        let minute = counts.heard.get(source);
        let recent =
            |(second, _): &&(i64, u64)| (now.seconds() - 60..=now.seconds()).contains(second);
        let seconds = minute.into_iter().flat_map(|minute| &minute.seconds);
        Heard {
            last: minute.and_then(|minute| minute.last),
            per_minute: seconds.filter(recent).map(|(_, posts)| posts).sum(),
            signature_failures: counts
                .posts
                .get(&(source.clone(), 401))
                .copied()
                .unwrap_or_default(),
        }
    }

    /// Returns the outcomes of all events judged so far.
    #[must_use]
    pub fn events(&self) -> EventFates {
        self.counts().events.clone()
    }

    /// Counts events of a chatty topic that were answered 200 and not stored.
    pub fn not_stored(&self, topic: &str, events: u64) {
        let topics = &mut self.counts().not_stored;
        // A new topic beyond the limit is counted under `other`.
        let known = topics.contains_key(topic) || topics.len() < MOST_TOPICS;
        add(
            topics,
            if known { topic } else { OTHER_TOPICS }.to_owned(),
            events,
        );
    }

    /// Counts parts of a POST that are not events.
    pub fn malformed(&self, source: &Name, count: u64) {
        add(&mut self.counts().malformed, source.clone(), count);
    }

    /// Counts a use of the portal's test button.
    pub fn ping(&self) {
        self.counts().pings += 1;
    }

    /// Counts the answer to a request about silences, from the `api` or from a `link`.
    pub fn silence(&self, door: &'static str, answer: u16) {
        add(&mut self.counts().silences, (door, answer), 1);
    }

    /// Counts a refused request for the page.
    pub fn page_refused(&self, reason: &'static str) {
        add(&mut self.counts().refusals, reason, 1);
    }

    /// Counts a login by its outcome: `ok`, `wrong`, `limited`, `busy`.
    pub fn login(&self, outcome: &'static str) {
        add(&mut self.counts().logins, outcome, 1);
    }

    /// Counts a reload of rules.yaml by its result.
    pub fn reload(&self, taken: bool) {
        add(
            &mut self.counts().reloads,
            if taken { "ok" } else { "refused" },
            1,
        );
    }

    /// Counts an attempt at a destination by its outcome: `delivered`, `retry`, `dead`, …
    pub fn attempt(&self, destination: &Name, outcome: &'static str) {
        add(
            &mut self.counts().attempts,
            (destination.clone(), outcome),
            1,
        );
    }

    /// Replaces the outcomes of all events, and the position they were counted up to.
    pub fn set_events(&self, events: EventFates, judged: Seq) {
        let mut counts = self.counts();
        counts.events = events;
        counts.judged = judged;
    }

    /// Records the total number of judged events at this wall time. The first call sets the
    /// starting value.
    pub fn judged_by(&self, now: Timestamp, total: u64) {
        let paced = &mut self.counts().paced;
        let gained = total.saturating_sub(paced.total.replace(total).unwrap_or(total));
        match paced.seconds.back_mut() {
            // If the clock was set back, the stored seconds are in the future and useless.
            Some((second, _)) if *second > now.seconds() => {
                paced.seconds = [(now.seconds(), gained)].into()
            }
            Some((second, events)) if *second == now.seconds() => *events += gained,
            _ => paced.seconds.push_back((now.seconds(), gained)),
        }
        while paced.seconds.len() > PACED {
            paced.seconds.pop_front();
        }
    }

    /// Returns the number of events judged per second, averaged over the latest seconds.
    #[must_use]
    pub fn per_second(&self, now: Timestamp) -> u64 {
        let counts = self.counts();
        let lately = |(second, _): &&(i64, u64)| {
            (now.seconds() - LATELY + 1..=now.seconds()).contains(second)
        };
        let events: u64 = counts
            .paced
            .seconds
            .iter()
            .filter(lately)
            .map(|(_, events)| events)
            .sum();
        events.div_ceil(LATELY.unsigned_abs())
    }

    /// Returns one scrape as OpenMetrics text. `last` is the newest journal position, `messages`
    /// the store's totals.
    #[must_use]
    pub fn encode(&self, last: Seq, messages: &[(Name, MessageFates)]) -> String {
        let counts = self.counts().clone();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape {
            counts,
            last,
            messages: messages.to_vec(),
        }));
        let mut text = String::with_capacity(4096);
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

fn add<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, count: u64) {
    *map.entry(key).or_default() += count;
}

/// Content of one scrape.
#[derive(Debug)]
struct Scrape {
    counts: Counts,
    last: Seq,
    messages: Vec<(Name, MessageFates)>,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Self {
            counts,
            last,
            messages,
        } = self;
        // Events that were not stored never reach the judge, so they are added to its total.
        let not_stored: u64 = counts.not_stored.values().sum();
        let fates = &counts.events;

        number(
            &mut encoder,
            "foghorn_events",
            "Events after fan-out",
            MetricType::Counter,
            fates.total + not_stored,
        )?;
        // Every event is counted in exactly one row, so the rows add up to `foghorn_events`.
        let one = |fate: &'static str, count: u64| (vec![("fate", fate)], count);
        let mut rows: Vec<(Labels, u64)> = vec![
            one("duplicate", fates.duplicate),
            one("not_stored", not_stored),
            one("unmatched", fates.unmatched),
            one("pending", fates.pending),
            one("told", fates.told),
        ];
        rows.extend(
            fates
                .suppressed
                .iter()
                .map(|(why, n)| (vec![("fate", "suppressed"), ("reason", why.as_str())], *n)),
        );
        family(
            &mut encoder,
            "foghorn_event_fates",
            "Events by outcome",
            MetricType::Gauge,
            rows,
        )?;

        // The store counts messages, because only the store survives a restart.
        let rows = messages
            .iter()
            .map(|(name, fates)| (vec![("destination", name.as_str())], fates.total));
        family(
            &mut encoder,
            "foghorn_messages",
            "Messages created",
            MetricType::Counter,
            rows,
        )?;
        let rows = messages.iter().flat_map(|(name, fates)| {
            let of = [
                ("delivered", fates.delivered),
                ("digested", fates.digested),
                ("dead", fates.dead),
                ("discarded", fates.discarded),
                ("queued", fates.queued),
            ];
            of.map(|(fate, count)| (vec![("destination", name.as_str()), ("fate", fate)], count))
        });
        family(
            &mut encoder,
            "foghorn_message_fates",
            "Messages by state",
            MetricType::Gauge,
            rows,
        )?;
        // Attempts are counted since the start, unlike messages.
        let rows = counts.attempts.iter().map(|((name, outcome), count)| {
            (
                vec![("destination", name.as_str()), ("outcome", *outcome)],
                *count,
            )
        });
        family(
            &mut encoder,
            "foghorn_attempts",
            "Delivery attempts by outcome",
            MetricType::Counter,
            rows,
        )?;

        // The labels borrow the status as text, so the texts must live as long as the rows.
        let posts: Vec<_> = counts
            .posts
            .iter()
            .map(|((name, answer), count)| (name, answer.to_string(), *count))
            .collect();
        let rows = posts.iter().map(|(name, answer, count)| {
            (
                vec![("source", name.as_str()), ("answer", answer.as_str())],
                *count,
            )
        });
        family(
            &mut encoder,
            "foghorn_posts",
            "POSTs answered, by status",
            MetricType::Counter,
            rows,
        )?;
        // As above, the texts must live as long as the rows.
        let asked: Vec<_> = counts
            .silences
            .iter()
            .map(|((door, answer), n)| (*door, answer.to_string(), *n))
            .collect();
        let rows = asked.iter().map(|(door, answer, count)| {
            (vec![("door", *door), ("answer", answer.as_str())], *count)
        });
        family(
            &mut encoder,
            "foghorn_silence_requests",
            "Requests about silences",
            MetricType::Counter,
            rows,
        )?;
        let rows = counts
            .refusals
            .iter()
            .map(|(reason, count)| (vec![("reason", *reason)], *count));
        family(
            &mut encoder,
            "foghorn_page_refusals",
            "Refused requests for the page",
            MetricType::Counter,
            rows,
        )?;
        let rows = counts
            .logins
            .iter()
            .map(|(outcome, count)| (vec![("outcome", *outcome)], *count));
        family(
            &mut encoder,
            "foghorn_logins",
            "Logins by outcome",
            MetricType::Counter,
            rows,
        )?;
        let rows = counts
            .not_stored
            .iter()
            .map(|(topic, count)| (vec![("topic", topic.as_str())], *count));
        family(
            &mut encoder,
            "foghorn_not_stored",
            "Events of chatty topics, not stored",
            MetricType::Counter,
            rows,
        )?;
        let rows = counts
            .malformed
            .iter()
            .map(|(name, count)| (vec![("source", name.as_str())], *count));
        family(
            &mut encoder,
            "foghorn_malformed",
            "Parts of posts that were stored but not understood",
            MetricType::Counter,
            rows,
        )?;
        number(
            &mut encoder,
            "foghorn_pings",
            "Test posts from the portal",
            MetricType::Counter,
            counts.pings,
        )?;

        number(
            &mut encoder,
            "foghorn_journal_last_seq",
            "The newest journal entry",
            MetricType::Gauge,
            last.0,
        )?;
        number(
            &mut encoder,
            "foghorn_judged_seq",
            "The newest judged entry",
            MetricType::Gauge,
            counts.judged.0,
        )?;
        let rows = counts
            .reloads
            .iter()
            .map(|(result, count)| (vec![("result", *result)], *count));
        family(
            &mut encoder,
            "foghorn_config_reloads",
            "Changes of rules.yaml",
            MetricType::Counter,
            rows,
        )?;
        // The version is a label, so its value is the constant 1, as usual in Prometheus.
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        family(
            &mut encoder,
            "foghorn_build_info",
            "Version of this program",
            MetricType::Gauge,
            [(version, 1)],
        )
    }
}

/// Encodes one metric without labels.
fn number(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    kind: MetricType,
    count: u64,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, kind)?;
    match kind {
        MetricType::Counter => ConstCounter::new(count).encode(metric),
        _ => ConstGauge::new(count).encode(metric),
    }
}

/// Encodes one metric with a row per set of labels. Without rows it is omitted.
fn family<'a>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    kind: MetricType,
    rows: impl IntoIterator<Item = (Labels<'a>, u64)>,
) -> fmt::Result {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, count) in rows {
        let row = metric.encode_family(&labels)?;
        match kind {
            MetricType::Counter => ConstCounter::new(count).encode(row)?,
            _ => ConstGauge::new(count).encode(row)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The sum of a family's rows that carry this label, and how many there are.
    fn sum(text: &str, name: &str, label: &str) -> u64 {
        let rows = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(label)
        });
        rows.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum()
    }

    #[test]
    fn events_a_second_are_those_of_the_last_ten() {
        let (metrics, at) = (Metrics::default(), |second: i64| {
            Timestamp::from_millis(1_000_000 + second * 1_000)
        });
        metrics.judged_by(at(0), 5_000_000);
        assert_eq!(
            metrics.per_second(at(0)),
            0,
            "what was there before the start did not come now"
        );
        for tenth in 0..200 {
            metrics.judged_by(
                at(tenth / 10),
                5_000_000 + 100 * (u64::try_from(tenth).unwrap() + 1),
            );
        }
        assert_eq!(
            (metrics.per_second(at(19)), metrics.per_second(at(24))),
            (1_000, 500)
        );
        assert_eq!(metrics.per_second(at(60)), 0);
        metrics.judged_by(at(-900), 5_020_010);
        assert_eq!(metrics.per_second(at(-900)), 1, "a clock that was set back");
    }

    fn fates(counts: [u64; 6]) -> EventFates {
        let [duplicate, unmatched, pending, told, late, muted] = counts;
        EventFates {
            total: counts.iter().sum(),
            duplicate,
            unmatched,
            pending,
            told,
            suppressed: BTreeMap::from([("late".to_owned(), late), ("muted".to_owned(), muted)]),
        }
    }

    #[test]
    fn a_scrape_says_everything() {
        let metrics = Metrics::default();
        let (mist, slack) = (Name::new("mist"), Name::new("slack"));
        metrics.post(&mist, 200);
        metrics.post(&mist, 200);
        metrics.post(&mist, 401);
        metrics.not_stored("location", 7);
        metrics.malformed(&mist, 1);
        metrics.ping();
        metrics.silence("api", 401);
        metrics.reload(true);
        metrics.reload(false);
        metrics.attempt(&slack, "retry");
        metrics.set_events(fates([1, 2, 3, 4, 5, 6]), Seq(41));
        let sent = MessageFates {
            total: 15,
            delivered: 4,
            digested: 3,
            dead: 2,
            discarded: 5,
            queued: 1,
        };
        let text = metrics.encode(Seq(42), &[(slack, sent)]);
        for line in [
            "foghorn_events_total 28",
            "foghorn_event_fates{fate=\"not_stored\"} 7",
            "foghorn_event_fates{fate=\"suppressed\",reason=\"muted\"} 6",
            "foghorn_messages_total{destination=\"slack\"} 15",
            "foghorn_message_fates{destination=\"slack\",fate=\"dead\"} 2",
            "foghorn_message_fates{destination=\"slack\",fate=\"discarded\"} 5",
            "foghorn_attempts_total{destination=\"slack\",outcome=\"retry\"} 1",
            "foghorn_posts_total{source=\"mist\",answer=\"200\"} 2",
            "foghorn_posts_total{source=\"mist\",answer=\"401\"} 1",
            "foghorn_not_stored_total{topic=\"location\"} 7",
            "foghorn_malformed_total{source=\"mist\"} 1",
            "foghorn_pings_total 1",
            "foghorn_silence_requests_total{door=\"api\",answer=\"401\"} 1",
            "foghorn_journal_last_seq 42",
            "foghorn_judged_seq 41",
            "foghorn_config_reloads_total{result=\"ok\"} 1",
            "foghorn_config_reloads_total{result=\"refused\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn made_up_topics_are_counted_together() {
        let metrics = Metrics::default();
        for n in 0..1000 {
            metrics.not_stored(&format!("client-{n}\"\n"), 1);
        }
        let text = metrics.encode(Seq(0), &[]);
        assert_eq!(sum(&text, "foghorn_not_stored_total", ""), 1000);
        assert_eq!(sum(&text, "foghorn_events_total", ""), 1000);
        assert_eq!(
            text.matches("foghorn_not_stored_total{").count(),
            MOST_TOPICS + 1
        );
    }

    proptest! {
        #[test]
        fn the_sums_hold(
            counts in any::<[u32; 6]>(),
            not_stored in prop::collection::vec(("[a-z]{1,3}", 0_u32..9), 0..9),
            sent in prop::collection::vec(any::<[u32; 5]>(), 0..4),
        ) {
            let metrics = Metrics::default();
            for (topic, events) in not_stored {
                metrics.not_stored(&topic, events.into());
            }
            metrics.set_events(fates(counts.map(u64::from)), Seq(1));
            let messages: Vec<_> = sent.iter().enumerate().map(|(n, counts)| {
                let [delivered, digested, dead, discarded, queued] = counts.map(u64::from);
                let total = delivered + digested + dead + discarded + queued;
                (Name::new(&format!("d{n}")), MessageFates { total, delivered, digested, dead, discarded, queued })
            }).collect();
            let text = metrics.encode(Seq(2), &messages);
            prop_assert_eq!(sum(&text, "foghorn_events_total", ""), sum(&text, "foghorn_event_fates", ""));
            for (name, _) in &messages {
                let label = format!("destination=\"{name}\"");
                prop_assert_eq!(sum(&text, "foghorn_messages_total", &label), sum(&text, "foghorn_message_fates", &label));
            }
        }
    }
}
