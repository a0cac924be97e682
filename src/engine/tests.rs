//! The engine's laws, as properties. What it says in each case stands in `tests/cases`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::json;

use super::{Decision, Engine, EngineLimits, Input, Opening, Verdict};
use crate::model::{
    Cause, Clues, Condition, Device, Event, EventId, Field, Name, Notification, Phase, Reason, Seq,
    Severity, Silence, Site, Timestamp, Until,
};
use crate::rules::{
    Daily, DigestSchedule, DuringMute, Flapping, InhibitRule, IntervalPart, Maintenance, Matcher,
    Pattern, Period, Policy, Resolve, Rule, RuleSet, Surroundings, Test, Threshold, TimeInterval,
    Topology,
};

const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);

fn openings(condition: &str) -> Vec<Opening> {
    match condition {
        "ap_offline" => vec![Opening {
            topic: "device-events",
            kind: "AP_DISCONNECTED",
            group: "",
        }],
        "sw_port" => vec![Opening {
            topic: "device-events",
            kind: "SW_PORT_DOWN",
            group: "",
        }],
        "switch_offline" => vec![Opening {
            topic: "device-events",
            kind: "SW_DISCONNECTED",
            group: "",
        }],
        _ => Vec::new(),
    }
}

fn matcher(field: Field, value: &str) -> Matcher {
    let pattern = Pattern::parse(value).expect("a literal");
    Matcher {
        tests: vec![(field, Test::OneOf(vec![pattern]))],
        not: Vec::new(),
    }
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
    Arc::new(rule_set(all_rules()))
}

/// What is in force after a reload: some rules are gone, others speak of themselves otherwise.
fn other_rules() -> Arc<RuleSet> {
    let mut rules = all_rules();
    rules.retain(|rule| !["patient", "missing", "link"].contains(&&*rule.name));
    for rule in &mut rules {
        let policy = (*rule.policy).clone();
        rule.policy = Arc::new(match &*rule.name {
            "plain" => Policy {
                flapping: None,
                ..policy
            },
            "port" => Policy {
                repeat_interval: None,
                ..policy
            },
            "sticky" => Policy {
                r#for: secs(30),
                notify: Some(vec![Name::new("urgent")]),
                ..policy
            },
            _ => policy,
        });
    }
    Arc::new(rule_set(rules))
}

/// What is in force after another reload: what ends, counts, tells apart and is told to whom is
/// another matter, and one rule has another name.
fn turned_rules() -> Arc<RuleSet> {
    let mut rules = all_rules();
    for rule in &mut rules {
        let policy = (*rule.policy).clone();
        match &*rule.name {
            "plain" => rule.resolve = Resolve::When(matcher(Field::Type, "AP_CONFIGURED")),
            "sticky" => rule.by = Some(vec![Field::Site, Field::Device]),
            "link" => rule.name = "links".into(),
            "missing" => rule.by = None,
            "mass" => rule.threshold = None,
            "switch" => {
                rule.threshold = Some(Threshold {
                    count: 2,
                    window: secs(300),
                    distinct: None,
                });
            }
            "held" => {
                rule.policy = Arc::new(Policy {
                    mute_time_intervals: Vec::new(),
                    group_by: vec![Field::Device],
                    ..policy
                });
            }
            "patient" => {
                rule.policy = Arc::new(Policy {
                    r#for: secs(10),
                    notify: Some(vec![Name::new("other")]),
                    ..policy
                });
            }
            _ => {}
        }
    }
    let surroundings = Surroundings {
        inhibit_rules: Vec::new(),
        ..rule_set(Vec::new()).surroundings().clone()
    };
    let destinations = vec![
        (Name::new("all"), Severity::Info),
        (Name::new("other"), Severity::Info),
    ];
    Arc::new(RuleSet::new(rules, destinations).with_surroundings(surroundings))
}

fn all_rules() -> Vec<Rule> {
    let policy = Policy {
        stale_after: Some(secs(3_000)),
        ..Policy::default()
    };
    let offline = || matcher(Field::Condition, "ap_offline");
    let named = |names: &[&str]| names.iter().map(|name| Name::new(name)).collect::<Vec<_>>();
    let mass = Threshold {
        count: 2,
        window: secs(300),
        distinct: Some(Field::DeviceMac),
    };
    let often = Threshold {
        count: 3,
        window: secs(120),
        distinct: None,
    };
    let flapping = Some(Flapping {
        changes: 3,
        window: secs(600),
        stable: secs(200),
    });
    let muted = |during_mute| Policy {
        mute_time_intervals: named(&["mute"]),
        during_mute,
        ..policy.clone()
    };
    vec![
        rule(
            "plain",
            offline(),
            Policy {
                flapping,
                ..policy.clone()
            },
        ),
        rule(
            "patient",
            offline(),
            Policy {
                r#for: secs(60),
                group_by: vec![Field::Device],
                ..policy.clone()
            },
        ),
        rule(
            "sticky",
            offline(),
            Policy {
                keep_firing_for: secs(90),
                group_wait: Duration::ZERO,
                ..policy.clone()
            },
        ),
        rule("held", offline(), muted(DuringMute::Hold)),
        rule("for digests", offline(), muted(DuringMute::Digest)),
        rule("dropped", offline(), muted(DuringMute::Drop)),
        rule(
            "collected",
            offline(),
            Policy {
                notify: Some(named(&["all", "daily"])),
                flapping: None,
                ..policy.clone()
            },
        ),
        rule(
            "switch",
            matcher(Field::Condition, "switch_offline"),
            Policy {
                r#for: secs(45),
                ..policy.clone()
            },
        ),
        Rule {
            threshold: Some(mass),
            ..rule(
                "mass",
                offline(),
                Policy {
                    severity: Some(Severity::Critical),
                    flapping,
                    ..policy.clone()
                },
            )
        },
        rule(
            "port",
            matcher(Field::Condition, "sw_port"),
            Policy {
                repeat_interval: Some(secs(400)),
                flapping,
                ..policy.clone()
            },
        ),
        rule(
            "radar",
            matcher(Field::Type, "AP_RADAR_DETECTED"),
            Policy {
                cooldown: secs(100),
                ..policy.clone()
            },
        ),
        rule(
            "muted radar",
            matcher(Field::Type, "AP_RADAR_DETECTED"),
            muted(DuringMute::Hold),
        ),
        Rule {
            threshold: Some(often),
            ..rule(
                "often",
                matcher(Field::Type, "AP_RADAR_DETECTED"),
                policy.clone(),
            )
        },
        Rule {
            absent: Some(secs(240)),
            by: Some(vec![Field::Device]),
            ..rule(
                "missing",
                matcher(Field::Type, "AP_RADAR_DETECTED"),
                Policy {
                    flapping,
                    ..policy.clone()
                },
            )
        },
        Rule {
            resolve: Resolve::When(matcher(Field::Type, "LINK_FOUND")),
            ..rule(
                "link",
                matcher(Field::Type, "LINK_LOST"),
                Policy {
                    stale_after: Some(secs(600)),
                    ..policy
                },
            )
        },
    ]
}

fn rule_set(rules: Vec<Rule>) -> RuleSet {
    let destinations = vec![
        (Name::new("all"), Severity::Info),
        (Name::new("urgent"), Severity::Critical),
    ];
    let period = |times: Vec<(u16, u16)>| {
        TimeInterval::new(vec![IntervalPart::Period(Period {
            times,
            ..Period::always(TimeZone::UTC)
        })])
    };
    let inhibit = |source: &str, field, target: &str, within, hold| InhibitRule {
        line: 1,
        source: matcher(Field::Condition, source),
        target: matcher(field, target),
        equal: vec![Field::Site],
        within,
        via_topology: false,
        hold: secs(hold),
    };
    // Every quarter of an hour something is muted, later something is in maintenance.
    let every = |from: u16, length: u16| {
        (0..96)
            .map(|n| (n * 15 + from, n * 15 + from + length))
            .collect::<Vec<_>>()
    };
    let surroundings = Surroundings {
        time_intervals: [(Name::new("mute"), period(every(2, 4)))].into(),
        maintenance: vec![Maintenance {
            name: Name::new("works"),
            line: 1,
            matcher: Matcher {
                tests: vec![(Field::DeviceMac, one("020000000001"))],
                not: Vec::new(),
            },
            during: period(every(7, 5)),
        }],
        inhibit_rules: vec![
            inhibit(
                "switch_offline",
                Field::Condition,
                "ap_offline",
                Some(secs(200)),
                20,
            ),
            inhibit("switch_offline", Field::Type, "AP_RADAR_DETECTED", None, 0),
        ],
        topology: Topology::default(),
        digests: vec![DigestSchedule {
            name: Name::new("daily"),
            min_severity: Severity::Info,
            at: Daily::new((0..96).map(|n| n * 15 + 9).collect(), TimeZone::UTC),
            into: vec![Name::new("all")],
        }],
    };
    RuleSet::new(rules, destinations).with_surroundings(surroundings)
}

fn one(value: &str) -> Test {
    Test::OneOf(vec![Pattern::parse(value).expect("a literal")])
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
    let late = prop_oneof![4 => Just(0_u8), 1 => 0..200_u8];
    (0..90_000_u64, 0..DEEDS + 6, 0..4_u8, 0..3_u8, late).prop_map(
        |(after_ms, what, device, port, late_s)| Happening {
            after_ms,
            what,
            device,
            port,
            late_s,
        },
    )
}

/// From here on `what` is no event.
const DEEDS: u8 = 14;

fn event(n: usize, at: Timestamp, offset_ms: i64, happening: &Happening) -> Event {
    let offline = Some("ap_offline");
    let (kind, condition, phase) = match happening.what {
        0..=2 => ("AP_DISCONNECTED", offline, Phase::Open),
        3 | 4 => ("AP_CONNECTED", offline, Phase::Close),
        5 => ("SW_PORT_DOWN", Some("sw_port"), Phase::Open),
        6 => ("SW_PORT_UP", Some("sw_port"), Phase::Close),
        7 => ("AP_RADAR_DETECTED", None, Phase::Event),
        8 => ("LINK_LOST", None, Phase::Event),
        9 => ("LINK_FOUND", None, Phase::Event),
        10 => ("SW_DISCONNECTED", Some("switch_offline"), Phase::Open),
        11 => ("SW_CONNECTED", Some("switch_offline"), Phase::Close),
        12 => ("AP_CONFIGURED", None, Phase::Event),
        _ => ("AP_UPGRADE_BY_USER", None, Phase::Event),
    };
    let planned = || Cause {
        text: "an upgrade".to_owned(),
        planned: true,
        elsewhere: false,
        told_after: false,
        back: false,
        mentions: None,
    };
    let clues = Clues {
        disproves: (happening.what == 12).then(|| "ap_offline".into()),
        cause: (happening.what == 13).then(planned),
        times: if happening.what == 5 {
            u64::from(happening.late_s)
        } else {
            0
        },
        ..Clues::default()
    };
    // What ends without its number ends all of the device.
    let part =
        (happening.port > 0 || phase == Phase::Open).then(|| format!("ge-0/0/{}", happening.port));
    let device = Device {
        mac: Some(format!("02000000000{}", happening.device)),
        ..Device::default()
    };
    let received = at.shifted(offset_ms);
    Event {
        id: EventId::new(Seq(n as u64), 0),
        source: Name::new("mist"),
        topic: "device-events".into(),
        kind: kind.to_owned(),
        condition: condition.map(|name| Condition {
            name: name.into(),
            sub_id: part.filter(|_| name == "sw_port"),
            of_site: false,
            on_port: false,
        }),
        phase,
        severity: None,
        group: None,
        status: None,
        site: Site {
            id: Some(format!("site-{}", happening.device / 2)),
            name: None,
        },
        org_id: None,
        device: Some(device),
        listed: Vec::new(),
        reasons: Vec::new(),
        text: None,
        count: 1,
        more: 0,
        time: (at - secs(u64::from(happening.late_s))).min(received),
        own_time: true,
        received,
        clues,
        digest: n as u64,
        raw: Arc::new(json!({"type": kind})),
    }
}

/// What is no event: people's silences, the clock, a start, a reload.
fn deed(at: Timestamp, offset_ms: &mut i64, happening: &Happening) -> Input {
    let id = format!("silence-{}", happening.port);
    match happening.what - DEEDS {
        0 | 1 => Input::Silence(Silence {
            id,
            matches: match happening.late_s % 3 {
                0 => json!({"site": format!("site-{}", happening.device / 2)}),
                1 => json!({"type": ["SW_PORT_DOWN", "AP_RADAR_DETECTED"]}),
                _ => json!({"device_mac": format!("02000000000{}", happening.device)}),
            },
            until: match happening.device % 2 {
                0 => Until::Resolved,
                _ => Until::At(at.shifted(*offset_ms) + secs(u64::from(happening.late_s) * 4)),
            },
            author: "ann".to_owned(),
            comment: String::new(),
            created: at.shifted(*offset_ms),
        }),
        2 => Input::Expire { id },
        3 => {
            *offset_ms = [0, 3_600_000, -3_600_000, 90_000]
                .get(usize::from(happening.device))
                .copied()
                .unwrap_or(0);
            Input::Clock {
                offset_ms: *offset_ms,
            }
        }
        4 => Input::Started,
        _ => Input::Rules(match happening.device {
            0 => other_rules(),
            1 => turned_rules(),
            _ => rules(),
        }),
    }
}

fn history(happenings: &[Happening]) -> Vec<(Timestamp, Input)> {
    let (mut at, mut offset_ms) = (START, 0);
    let inputs = happenings.iter().enumerate().map(|(n, happening)| {
        at = at + Duration::from_millis(happening.after_ms);
        let input = match happening.what {
            0..DEEDS => Input::Event(Arc::new(event(n, at, offset_ms, happening))),
            _ => deed(at, &mut offset_ms, happening),
        };
        (at, input)
    });
    inputs.collect()
}

/// After a history: what waits for what never comes is no longer asked for, and time runs on.
fn end(engine: &mut Engine) -> Vec<Decision> {
    let mut decisions = engine
        .handle(START + secs(9_000), &Input::Rules(other_rules()))
        .decisions;
    decisions.extend(
        engine
            .handle(START + secs(2 * 86_400), &Input::Tick)
            .decisions,
    );
    decisions
}

/// The rules in force where a history was cut.
fn rules_at(history: &[(Timestamp, Input)]) -> Arc<RuleSet> {
    let reloaded = history.iter().rev().find_map(|(_, input)| match input {
        Input::Rules(rules) => Some(Arc::clone(rules)),
        _ => None,
    });
    reloaded.unwrap_or_else(rules)
}

fn engine() -> Engine {
    Engine::new(rules(), openings, EngineLimits::default())
}

fn told(decisions: &[Decision]) -> Vec<(Timestamp, Notification)> {
    let notification = |decision: &Decision| match &decision.verdict {
        Verdict::Notify(notification) => Some((decision.at, (**notification).clone())),
        _ => None,
    };
    decisions.iter().filter_map(notification).collect()
}

fn fold(engine: &mut Engine, history: &[(Timestamp, Input)]) -> Vec<Decision> {
    history
        .iter()
        .flat_map(|(at, input)| engine.handle(*at, input).decisions)
        .collect()
}

fn assert_fates_add_up(engine: &Engine) {
    let fates = engine.fates();
    let sum = fates.duplicate
        + fates.unmatched
        + fates.pending
        + fates.told
        + fates.suppressed.values().sum::<u64>();
    assert_eq!(fates.total, sum, "{fates:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

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
            decisions.extend(ticking.handle(between, if extra.is_multiple_of(2) { &Input::Tick } else { &Input::Due }).decisions);
            decisions.extend(ticking.handle(*at, input).decisions);
            decisions.extend(ticking.handle(*at, &Input::Tick).decisions);
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
        let mut snapshot = Vec::new();
        first.snapshot(&mut snapshot).expect("memory takes everything");
        let mut second = Engine::restore(rules_at(before), openings, EngineLimits::default(), &snapshot, [seen.as_slice()]).expect("a snapshot");
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
        let events = happenings.iter().filter(|happening| happening.what < DEEDS).count();
        prop_assert_eq!(engine.fates().total, events as u64);
        end(&mut engine);
        assert_fates_add_up(&engine);
        prop_assert_eq!(engine.fates().pending, 0, "nothing stays pending for ever");
        prop_assert_eq!(engine.open(), (0, 0), "nothing stays open for ever");
    }

    /// Whoever was told "down" is told "up", once, and never before.
    #[test]
    fn who_was_told_down_is_told_up(happenings in prop::collection::vec(happening(), 0..80)) {
        let mut engine = engine();
        let mut decisions = fold(&mut engine, &history(&happenings));
        decisions.extend(end(&mut engine));
        let mut open: BTreeMap<(Name, String, String, Option<String>), i64> = BTreeMap::new();
        for (_, notification) in told(&decisions).into_iter().filter(|(_, n)| !["radar", "muted radar", "often", "mass", "daily", "works"].contains(&n.rule.as_str())) {
            let tells_start = |reason| matches!(reason, Reason::First | Reason::NewEvents | Reason::Absent);
            for to in &notification.to {
                for subject in &notification.subjects {
                    let mac = subject.device_mac.clone().unwrap_or_default();
                    let part = subject.part.clone();
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
        let limits = EngineLimits { alerts: 3, closes: 2, windows: 1 };
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
    let down = Happening {
        after_ms: 0,
        what: 0,
        device: 0,
        port: 0,
        late_s: 0,
    };
    let up = Happening {
        what: 3,
        ..down.clone()
    };
    let two = all_rules()
        .into_iter()
        .filter(|rule| ["plain", "patient"].contains(&&*rule.name))
        .collect();
    let two = Arc::new(RuleSet::new(two, vec![(Name::new("all"), Severity::Info)]));
    let mut engine = Engine::new(Arc::clone(&two), openings, EngineLimits::default());
    engine.handle(START, &Input::Event(Arc::new(event(0, START, 0, &down))));
    let first = engine.handle(START + secs(70), &Input::Tick).decisions;
    assert_eq!(
        told(&first)
            .iter()
            .map(|(_, n)| n.rule.as_str())
            .collect::<Vec<_>>(),
        ["plain", "patient"]
    );
    let again = engine
        .handle(START + secs(80), &Input::Rules(two))
        .decisions;
    assert!(told(&again).is_empty());
    let none = engine
        .handle(
            START + secs(90),
            &Input::Rules(Arc::new(RuleSet::default())),
        )
        .decisions;
    assert!(told(&none).is_empty());
    let at = START + secs(200);
    let ended = engine
        .handle(at, &Input::Event(Arc::new(event(1, at, 0, &up))))
        .decisions;
    let mut rules: Vec<String> = told(&ended)
        .into_iter()
        .map(|(_, n)| format!("{} {}", n.rule, n.reason))
        .collect();
    rules.sort();
    assert_eq!(rules, ["patient resolved", "plain resolved"]);
}

#[test]
fn a_mass_outage_is_told_in_parts_and_all_of_it_before_the_next_event() {
    let each: Vec<Rule> = all_rules()
        .into_iter()
        .filter(|rule| &*rule.name == "patient")
        .collect();
    let rules = Arc::new(RuleSet::new(each, vec![(Name::new("all"), Severity::Info)]));
    let begun = || {
        let mut engine = Engine::new(Arc::clone(&rules), openings, EngineLimits::default());
        let down = Happening {
            after_ms: 0,
            what: 0,
            device: 0,
            port: 0,
            late_s: 0,
        };
        for n in 0..900_usize {
            let mut one = event(n, START, 0, &down);
            one.device.as_mut().unwrap().mac = Some(format!("{n:012x}"));
            one.site.id = Some(format!("site-{n}"));
            engine.handle(START, &Input::Event(Arc::new(one)));
        }
        engine
    };
    let (whole, at) = (
        begun().handle(START + secs(600), &Input::Tick).decisions,
        START + secs(600),
    );
    let mut engine = begun();
    let (mut parts, mut told_before) = (Vec::new(), 0);
    while engine.next_wakeup().is_some_and(|due| due <= at) {
        let part = engine.handle(at, &Input::Due).decisions;
        told_before += told(&part).len();
        assert!(
            told(&part).len() <= super::DUE_AT_ONCE,
            "{}",
            told(&part).len()
        );
        parts.push(part);
    }
    assert!(
        parts.len() > 2 && told_before > 100,
        "{} parts, {told_before} told",
        parts.len()
    );
    assert_eq!(whole, parts.concat());
    let mut engine = begun();
    let first = engine.handle(at, &Input::Due).decisions;
    let rest = engine.handle(at, &Input::Tick).decisions;
    assert_eq!(whole, [first, rest].concat());
}

#[test]
fn what_is_quiet_by_the_oldest_of_too_many_silences_is_sent_when_that_gives_way() {
    let mut engine = engine();
    let silence = |id: String, device: &str| {
        Input::Silence(Silence {
            id,
            matches: json!({"device_mac": device}),
            until: Until::At(START + secs(80_000)),
            author: String::new(),
            comment: String::new(),
            created: START,
        })
    };
    let down = Happening {
        after_ms: 0,
        what: 0,
        device: 0,
        port: 0,
        late_s: 0,
    };
    engine.handle(START, &silence("first".to_owned(), "020000000000"));
    engine.handle(START, &Input::Event(Arc::new(event(0, START, 0, &down))));
    assert!(told(&engine.handle(START + secs(100), &Input::Tick).decisions).is_empty());
    for n in 0..1_000 {
        engine.handle(START + secs(100), &silence(format!("{n}"), "02000000ffff"));
    }
    assert!(!told(&engine.handle(START + secs(115), &Input::Tick).decisions).is_empty());
}

/// What is told of these, as `rule reason devices`.
fn said(decisions: &[Decision]) -> Vec<String> {
    let one = |n: Notification| {
        let devices: Vec<String> = n
            .subjects
            .iter()
            .filter_map(|s| s.device_mac.clone())
            .collect();
        let devices: Vec<&str> = devices.iter().map(|mac| &mac[11..]).collect();
        format!("{} {} {}", n.rule, n.reason, devices.join(","))
    };
    told(decisions).into_iter().map(|(_, n)| one(n)).collect()
}

/// Of what lasts and what has no end.
fn two_rules() -> Arc<RuleSet> {
    let policy = || Policy {
        group_interval: Duration::ZERO,
        stale_after: None,
        ..Policy::default()
    };
    let rules = vec![
        rule("plain", matcher(Field::Condition, "ap_offline"), policy()),
        rule("radar", matcher(Field::Type, "AP_RADAR_DETECTED"), policy()),
    ];
    Arc::new(RuleSet::new(
        rules,
        vec![(Name::new("all"), Severity::Info)],
    ))
}

#[test]
fn what_is_new_beyond_the_bound_is_told_though_it_is_not_followed() {
    let rules = two_rules();
    let limits = EngineLimits {
        alerts: 3,
        ..EngineLimits::default()
    };
    let mut engine = Engine::new(rules, openings, limits);
    let (mut n, mut decisions) = (0, Vec::new());
    let mut step = |engine: &mut Engine, after: u64, what: u8, device: u8| {
        n += 1;
        let happening = Happening {
            after_ms: 0,
            what,
            device,
            port: 0,
            late_s: 0,
        };
        let at = START + secs(after);
        let mut decisions = engine
            .handle(at, &Input::Event(Arc::new(event(n, at, 0, &happening))))
            .decisions;
        decisions.extend(engine.handle(at + secs(20), &Input::Tick).decisions);
        assert_fates_add_up(engine);
        assert!(engine.open().0 <= 3);
        decisions
    };
    for device in 0..3 {
        decisions.extend(step(&mut engine, u64::from(device) * 1_000, 0, device));
    }
    assert_eq!(
        said(&decisions),
        ["plain first 0", "plain new-events 1", "plain first 2"]
    );
    assert_eq!(engine.fullness().since, None);
    // No room: said once, and what is new is told all the same, whatever it is.
    let fourth = step(&mut engine, 4_000, 0, 3);
    assert_eq!(said(&fourth), ["foghorn first ", "plain first 3"]);
    let full = told(&fourth).swap_remove(0).1;
    assert_eq!(full.severity, Severity::Critical);
    let text = full.detail.unwrap_or_default();
    assert!(
        text.contains("follows 3 alerts at once, and all are open: plain holds 3"),
        "{text}"
    );
    let passed_on = told(&fourth).swap_remove(1).1;
    assert!(passed_on.insight.unfollowed);
    assert_eq!(said(&step(&mut engine, 5_000, 7, 3)), ["radar first 3"]);
    let fullness = engine.fullness();
    assert_eq!(
        (fullness.open, fullness.limit, fullness.passed_on),
        (3, 3, 2)
    );
    assert!(fullness.since.is_some());
    // It survives a restart.
    let mut snapshot = Vec::new();
    engine.snapshot(&mut snapshot).unwrap();
    let rules = Arc::clone(engine.rules());
    let mut engine = Engine::restore(rules, openings, limits, &snapshot, []).unwrap();
    assert_eq!(engine.fullness(), fullness);
    // What is silenced stays so.
    let silence = Silence {
        id: "s".to_owned(),
        matches: json!({"type": "AP_RADAR_DETECTED"}),
        until: Until::At(START + secs(7_000)),
        author: "ann".to_owned(),
        comment: String::new(),
        created: START,
    };
    engine.handle(START + secs(5_500), &Input::Silence(silence));
    assert!(said(&step(&mut engine, 6_000, 7, 3)).is_empty());
    // Room again: said once, and what is new is followed.
    assert_eq!(said(&step(&mut engine, 8_000, 3, 0)), ["plain recovered 0"]);
    assert_eq!(
        said(&step(&mut engine, 9_000, 3, 2)),
        ["foghorn resolved ", "plain resolved 2"]
    );
    assert_eq!(engine.fullness().since, None);
    assert_eq!(said(&step(&mut engine, 10_000, 0, 3)), ["plain first 3"]);
    assert_eq!(said(&step(&mut engine, 11_000, 3, 3)), ["plain resolved 3"]);
}

#[test]
fn what_has_no_end_gives_way_to_what_is_new() {
    let rules = two_rules();
    let limits = EngineLimits {
        alerts: 1,
        ..EngineLimits::default()
    };
    let mut engine = Engine::new(rules, openings, limits);
    let mut decisions = Vec::new();
    for (n, (what, device)) in [(7, 0), (0, 1), (3, 1)].into_iter().enumerate() {
        let happening = Happening {
            after_ms: 0,
            what,
            device,
            port: 0,
            late_s: 0,
        };
        let at = START + secs(n as u64 * 60);
        let input = Input::Event(Arc::new(event(n, at, 0, &happening)));
        decisions.extend(engine.handle(at, &input).decisions);
        decisions.extend(engine.handle(at + secs(20), &Input::Tick).decisions);
    }
    assert_eq!(
        said(&decisions),
        ["radar first 0", "plain first 1", "plain resolved 1"]
    );
}

#[test]
fn a_message_says_since_when_of_those_it_names() {
    let mut engine = Engine::new(two_rules(), openings, EngineLimits::default());
    let mut since = Vec::new();
    for (n, (after, what, device)) in [(0, 0, 0), (600, 0, 1), (900, 3, 1), (1_000, 3, 0)]
        .into_iter()
        .enumerate()
    {
        let happening = Happening {
            after_ms: 0,
            what,
            device,
            port: 0,
            late_s: 0,
        };
        let at = START + secs(after);
        let input = Input::Event(Arc::new(event(n, at, 0, &happening)));
        let mut decisions = engine.handle(at, &input).decisions;
        decisions.extend(engine.handle(at + secs(20), &Input::Tick).decisions);
        for (_, about) in told(&decisions) {
            since.push((about.reason, about.started.since(START).as_secs()));
        }
    }
    let expected = [
        (Reason::First, 0),
        (Reason::NewEvents, 600),
        (Reason::Recovered, 600),
        (Reason::Resolved, 0),
    ];
    assert_eq!(since, expected);
}
