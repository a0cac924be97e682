//! A POST's body: verified, parsed, judged, rendered, encoded.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use foghorn::config::{Config, rules_from_record};
use foghorn::fold::{Fold, messages};
use foghorn::model::{
    EventFates, EventId, Journaled, Message, Name, Record, Secret, Seq, SourceKind,
};
use foghorn::render::Templates;
use foghorn::source::mist::signature::{V2, sign};
use foghorn::source::{self, Arrival, ParsedItem, Rejected, SourceSettings, Verified};
use serde_json::Value;
use warp::http::HeaderMap;

use super::{NOW, payload, rules};

struct World {
    config: Config,
    templates: Templates,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let config = Config::parse(&rules(), None, &|_| None).unwrap();
    let templates = config.load_templates().unwrap();
    World { config, templates }
});

pub fn run(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let verified = verify(&body);
    // Total: what would be refused has some answer too, for a journal of an older release.
    let parsed = source::parse(&Arrival::new(&Name::new("mist"), Seq(1), NOW, data));
    let events = understood(data, verified.as_ref(), &parsed);
    if verified.is_some() {
        fold(&body, events);
    }
}

fn settings(secrets: &[&str]) -> SourceSettings {
    SourceSettings {
        name: Name::new("mist"),
        kind: SourceKind::default(),
        secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(),
        allow_unsigned: false,
        allow_v1: false,
        store_all: true,
        max_event_age: None,
        portal: String::new(),
    }
}

/// The signature decides who is believed, and nothing else: the body's own faults are the same for
/// everybody.
fn verify(body: &Bytes) -> Option<Verified> {
    let (open, guarded) = (settings(&[]), settings(&["old", "new"]));
    let none = HeaderMap::new();
    let refused = |settings: &SourceSettings, headers: &HeaderMap, local| {
        source::verify(settings, headers, local, body.clone()).err()
    };
    assert_eq!(
        refused(&open, &none, false),
        Some(Rejected::UnsignedFromAfar)
    );
    assert_eq!(
        refused(&guarded, &none, true),
        Some(Rejected::SignatureMissing)
    );
    let good = sign(&Secret::new("new"), body);
    let with =
        |signature: &str| HeaderMap::from_iter([(V2.parse().unwrap(), signature.parse().unwrap())]);
    let (head, last) = good.split_at(good.len() - 1);
    let wrong = format!("{head}{}", if last == "0" { "1" } else { "0" });
    assert_eq!(
        refused(&guarded, &with(&wrong), true),
        Some(Rejected::SignatureWrong)
    );
    let signed = source::verify(&guarded, &with(&good), false, body.clone());
    assert_eq!(signed.as_ref().err().copied(), refused(&open, &none, true));
    signed.ok()
}

/// How many events there are; never more than the body has room for, each with a name of its own.
fn understood(data: &[u8], verified: Option<&Verified>, parsed: &[ParsedItem]) -> u64 {
    // A number beyond all (1e400) is JSON that can be skipped but not read.
    let room =
        serde_json::from_slice::<Value>(data).map_or(data.len().max(1), |value| nodes(&value));
    assert!(
        (1..=room.max(1)).contains(&parsed.len()),
        "{} of {room}",
        parsed.len()
    );
    let mut events = 0;
    for (item, number) in parsed.iter().zip(1..) {
        let ParsedItem::Event(event) = item else {
            continue;
        };
        events += 1;
        assert_eq!(event.id, EventId::new(Seq(1), number));
        assert!(
            !event.own_time || event.time.millis() > 0,
            "{:?}",
            event.time
        );
        if let Some(topic) = verified.and_then(Verified::topic) {
            assert_eq!(&*event.topic, topic);
        }
    }
    if let Some(verified) = verified {
        assert!(verified.count_events() <= room as u64);
        assert_eq!(verified.size(), data.len());
    }
    events
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(map) => map.values().map(nodes).sum(),
        _ => 0,
    }
}

/// Nothing vanishes uncounted, the same again is a duplicate, a restart changes nothing, and all
/// that is said fits.
fn fold(body: &Bytes, events: u64) {
    let World { config, templates } = &*WORLD;
    let mut fold = Fold::new(Arc::clone(&config.rules), rules_from_record);
    let post = |seq: u64| Journaled {
        seq: Seq(seq),
        at: NOW + Duration::from_secs(seq),
        record: Record::Received {
            source: Name::new("mist"),
            kind: SourceKind::default(),
            cursor: None,
            body: body.clone(),
        },
    };
    let conclusions = fold.apply(&post(1));
    let judged = conclusions.judgements.len() as u64;
    let mut said = messages(conclusions.decisions, templates);
    let first = fold.fates().clone();
    assert_eq!((first.total, judged), (events, events));
    said.extend(messages(fold.apply(&post(2)).decisions, templates));
    let second = fold.fates().clone();
    assert_eq!(second.total, 2 * events);
    assert!(
        second.duplicate >= first.duplicate + events,
        "{first:?} then {second:?}"
    );
    for fates in [&first, &second] {
        assert_eq!(fates.total, sum(fates), "{fates:?}");
    }

    let (snapshot, seen) = (fold.snapshot(), fold.take_seen());
    let mut again = Fold::restore(
        &snapshot,
        [seen.as_slice()],
        &config.rules,
        rules_from_record,
    )
    .unwrap();
    assert_eq!(again.fates(), fold.fates());
    let late = messages(fold.wind_down(), templates);
    assert_eq!(
        late,
        messages(again.wind_down(), templates),
        "a restart changed what is said"
    );
    said.extend(late);
    check(&said, templates);
}

fn sum(fates: &EventFates) -> u64 {
    let suppressed: u64 = fates.suppressed.values().sum();
    fates.duplicate + fates.unmatched + fates.pending + fates.told + suppressed
}

fn check(said: &[Message], templates: &Templates) {
    let mut incidents: BTreeMap<&str, usize> = BTreeMap::new();
    for message in said {
        payload::check(message);
        payload::assert_visible(message);
        *incidents.entry(&message.about.incident).or_default() += 1;
    }
    if said.len() > 1 {
        let digests = templates.digest(said, None);
        assert!(!digests.is_empty() && digests.len() <= said.len());
        digests.iter().for_each(payload::check);
        let folded: usize = digests
            .iter()
            .map(|digest| digest.folded.len().max(1))
            .sum();
        assert!(
            folded >= incidents.len(),
            "{folded} of {} incidents are in the digests",
            incidents.len()
        );
    }
}
