//! The engine's laws, as properties. What it says in each case stands in `tests/cases`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::{Decision, Engine, Input, Limits, Opening, Verdict};
use crate::model::{
    Clues, Condition, Device, Event, Field, Name, Notification, Phase, Reason, Severity, Site, Timestamp,
};
use crate::rules::{Matcher, Pattern, Policy, Resolve, Rule, RuleSet, Test, Threshold};

const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);

fn openings(condition: &str) -> Vec<Opening> {
    match condition {
        "ap_offline" => vec![Opening { topic: "device-events", kind: "AP_DISCONNECTED", group: "" }],
        "sw_port" => vec![Opening { topic: "device-events", kind: "SW_PORT_DOWN", group: "" }],
        _ => Vec::new(),
    }
}

fn matcher(field: Field, value: &str) -> Matcher {
    let pattern = Pattern::parse(value).expect("a literal");
    Matcher { tests: vec![(field, Test::OneOf(vec![pattern]))], not: Vec::new() }
}

fn rule(name: &str, matcher: Matcher, policy: Policy) -> Rule {
    Rule {
        name: name.into(),
        line: 1,
        matcher,
        by: None,
        resolve: Resolve::Implied,
        threshold: None,
        when: None,
        absent: None,
        policy: Arc::new(policy),
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// One rule of each make, so that a random history meets every path.
fn rules() -> Arc<RuleSet> {
    let policy = Policy::default();
    let offline = || matcher(Field::Condition, "ap_offline");
    let mass = Threshold { count: 2, window: secs(300), distinct: Some(Field::DeviceMac) };
    let often = Threshold { count: 3, window: secs(120), distinct: None };
    let rules = vec![
        rule("plain", offline(), policy.clone()),
        rule("patient", offline(), Policy { r#for: secs(60), group_by: vec![Field::Device], ..policy.clone() }),
        rule("sticky", offline(), Policy { keep_firing_for: secs(90), group_wait: Duration::ZERO, ..policy.clone() }),
        Rule {
            threshold: Some(mass),
            ..rule("mass", offline(), Policy { severity: Some(Severity::Critical), ..policy.clone() })
        },
        rule(
            "port",
            matcher(Field::Condition, "sw_port"),
            Policy { repeat_interval: Some(secs(400)), ..policy.clone() },
        ),
        rule("radar", matcher(Field::Type, "AP_RADAR_DETECTED"), Policy { cooldown: secs(100), ..policy.clone() }),
        Rule { threshold: Some(often), ..rule("often", matcher(Field::Type, "AP_RADAR_DETECTED"), policy.clone()) },
        Rule {
            resolve: Resolve::When(matcher(Field::Type, "LINK_FOUND")),
            ..rule("link", matcher(Field::Type, "LINK_LOST"), Policy { stale_after: Some(secs(600)), ..policy })
        },
    ];
    let destinations = vec![(Name::new("all"), Severity::Info), (Name::new("urgent"), Severity::Critical)];
    Arc::new(RuleSet::new(rules, destinations))
}

/// One step of a random history.
#[derive(Clone, Debug)]
struct Happening {
    after_ms: u64,
    what: u8,
    device: u8,
    port: u8,
    late_s: u8,
}

fn happening() -> impl Strategy<Value = Happening> {
    (0..90_000_u64, 0..8_u8, 0..4_u8, 0..3_u8, prop_oneof![4 => Just(0_u8), 1 => 0..200_u8])
        .prop_map(|(after_ms, what, device, port, late_s)| Happening { after_ms, what, device, port, late_s })
}

fn event(n: usize, at: Timestamp, happening: &Happening) -> Event {
    let (kind, condition, phase) = match happening.what {
        0 | 1 => ("AP_DISCONNECTED", Some("ap_offline"), Phase::Open),
        2 => ("AP_CONNECTED", Some("ap_offline"), Phase::Close),
        3 => ("SW_PORT_DOWN", Some("sw_port"), Phase::Open),
        4 => ("SW_PORT_UP", Some("sw_port"), Phase::Close),
        5 => ("AP_RADAR_DETECTED", None, Phase::Event),
        6 => ("LINK_LOST", None, Phase::Event),
        _ => ("LINK_FOUND", None, Phase::Event),
    };
    let part = (happening.port > 0).then(|| format!("ge-0/0/{}", happening.port));
    let device = Device { mac: Some(format!("02000000000{}", happening.device)), ..Device::default() };
    Event {
        id: format!("{n}.0"),
        source: Name::new("mist"),
        topic: "device-events".into(),
        kind: kind.to_owned(),
        condition: condition.map(|name| Condition {
            name: name.into(),
            sub_id: part.filter(|_| name == "sw_port"),
            of_site: false,
        }),
        phase,
        severity: None,
        group: None,
        status: None,
        site: Site { id: Some(format!("site-{}", happening.device / 2)), name: None },
        org_id: None,
        device: Some(device),
        listed: Vec::new(),
        reasons: Vec::new(),
        text: None,
        count: 1,
        time: at - secs(u64::from(happening.late_s)),
        own_time: true,
        received: at,
        clues: Clues::default(),
        digest: n as u64,
        raw: Arc::new(json!({"type": kind})),
    }
}

fn history(happenings: &[Happening]) -> Vec<(Timestamp, Input)> {
    let mut at = START;
    let inputs = happenings.iter().enumerate().map(|(n, happening)| {
        at = at + Duration::from_millis(happening.after_ms);
        (at, Input::Event(Arc::new(event(n, at, happening))))
    });
    inputs.collect()
}

fn engine() -> Engine {
    Engine::new(rules(), openings, Limits::default())
}

fn told(decisions: &[Decision]) -> Vec<(Timestamp, Notification)> {
    let notification = |decision: &Decision| match &decision.verdict {
        Verdict::Notify(notification) => Some((decision.at, (**notification).clone())),
        _ => None,
    };
    decisions.iter().filter_map(notification).collect()
}

fn fold(engine: &mut Engine, history: &[(Timestamp, Input)]) -> Vec<Decision> {
    history.iter().flat_map(|(at, input)| engine.handle(*at, input)).collect()
}

fn assert_fates_add_up(engine: &Engine) {
    let fates = engine.fates();
    let sum = fates.duplicate + fates.unmatched + fates.pending + fates.told + fates.suppressed.values().sum::<u64>();
    assert_eq!(fates.total, sum, "{fates:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Extra ticks change no decision.
    #[test]
    fn ticks_are_neutral(happenings in prop::collection::vec(happening(), 0..60), ticks in prop::collection::vec(0..90_000_u64, 60)) {
        let history = history(&happenings);
        let plain = fold(&mut engine(), &history);
        let mut ticking = engine();
        let mut decisions = Vec::new();
        let mut last = START;
        for ((at, input), extra) in history.iter().zip(ticks) {
            let between = (last + Duration::from_millis(extra)).min(*at);
            decisions.extend(ticking.handle(between, &Input::Tick));
            decisions.extend(ticking.handle(*at, input));
            decisions.extend(ticking.handle(*at, &Input::Tick));
            last = *at;
        }
        prop_assert_eq!(plain, decisions);
    }

    /// A snapshot, serialised and restored anywhere, changes no decision.
    #[test]
    fn snapshots_are_neutral(happenings in prop::collection::vec(happening(), 1..60), cut in any::<prop::sample::Index>()) {
        let history = history(&happenings);
        let mut whole = engine();
        let plain = fold(&mut whole, &history);
        let (before, after) = history.split_at(cut.index(history.len()));
        let mut first = engine();
        let mut decisions = fold(&mut first, before);
        let seen = first.take_seen();
        let mut second = Engine::restore(rules(), openings, Limits::default(), &first.snapshot(), [seen.as_slice()]).expect("a snapshot");
        prop_assert_eq!(first.next_wakeup(), second.next_wakeup());
        decisions.extend(fold(&mut second, after));
        prop_assert_eq!(plain, decisions);
        prop_assert_eq!(whole.fates(), second.fates());
    }

    /// Every event has one fate, at every moment.
    #[test]
    fn fates_add_up(happenings in prop::collection::vec(happening(), 0..80)) {
        let mut engine = engine();
        for (at, input) in history(&happenings) {
            engine.handle(at, &input);
            assert_fates_add_up(&engine);
        }
        prop_assert_eq!(engine.fates().total, happenings.len() as u64);
        engine.handle(START + secs(40 * 86_400), &Input::Tick);
        assert_fates_add_up(&engine);
        prop_assert_eq!(engine.fates().pending, 0, "nothing stays pending for ever");
        prop_assert_eq!(engine.open(), (0, 0), "nothing stays open for ever");
    }

    /// Whoever was told "down" is told "up", once, and never before.
    #[test]
    fn who_was_told_down_is_told_up(happenings in prop::collection::vec(happening(), 0..80)) {
        let mut engine = engine();
        let mut decisions = fold(&mut engine, &history(&happenings));
        decisions.extend(engine.handle(START + secs(40 * 86_400), &Input::Tick));
        let mut open: BTreeMap<(Name, String, String, Option<String>), i64> = BTreeMap::new();
        for (_, notification) in told(&decisions).into_iter().filter(|(_, n)| !["radar", "often", "mass"].contains(&n.rule.as_str())) {
            let tells_start = |reason| matches!(reason, Reason::First | Reason::NewEvents | Reason::Absent);
            for to in &notification.to {
                for subject in &notification.subjects {
                    // A port named without its number stands for the whole device: tell them apart by device here.
                    let mac = subject.device_mac.clone().unwrap_or_default();
                    let part = subject.part.clone().filter(|_| notification.rule != "port");
                    let balance = open.entry((to.clone(), notification.rule.clone(), mac, part)).or_default();
                    match notification.reason {
                        // Told to flap before or after it was told to be down: either way it is known.
                        Reason::Flapping => *balance = 1,
                        Reason::Stale => *balance -= 1,
                        _ if subject.ends_at.is_some() => *balance -= 1,
                        reason if tells_start(reason) => *balance += 1,
                        _ => {}
                    }
                    prop_assert!(*balance >= 0, "an end was told that was never begun: {notification:?}");
                }
            }
        }
        for (who, balance) in open {
            prop_assert_eq!(balance, 0, "{:?} was left with a beginning", who);
        }
    }

    /// Beyond its bounds the engine forgets what was not told, and counts it.
    #[test]
    fn limits_hold(happenings in prop::collection::vec(happening(), 0..80)) {
        let limits = Limits { alerts: 3, closes: 2, windows: 1 };
        let mut engine = Engine::new(rules(), openings, limits);
        for (at, input) in history(&happenings) {
            engine.handle(at, &input);
            prop_assert!(engine.open().0 <= 3);
            assert_fates_add_up(&engine);
        }
    }
}

#[test]
fn a_reload_tells_nothing_twice_and_forgets_no_end() {
    let down = Happening { after_ms: 0, what: 0, device: 0, port: 0, late_s: 0 };
    let up = Happening { what: 2, ..down.clone() };
    let mut engine = engine();
    engine.handle(START, &Input::Event(Arc::new(event(0, START, &down))));
    let first = engine.handle(START + secs(70), &Input::Tick);
    assert_eq!(told(&first).iter().map(|(_, n)| n.rule.as_str()).collect::<Vec<_>>(), ["plain", "patient"]);
    let again = engine.handle(START + secs(80), &Input::Rules(rules()));
    assert!(told(&again).is_empty());
    let none = engine.handle(START + secs(90), &Input::Rules(Arc::new(RuleSet::default())));
    assert!(told(&none).is_empty());
    let at = START + secs(200);
    let ended = engine.handle(at, &Input::Event(Arc::new(event(1, at, &up))));
    let mut rules: Vec<String> = told(&ended).into_iter().map(|(_, n)| format!("{} {}", n.rule, n.reason)).collect();
    rules.sort();
    assert_eq!(rules, ["patient resolved", "plain resolved"]);
}
