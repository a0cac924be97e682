use super::*;
use serde_json::Value;

use crate::model::{Collected, Happening, Insight, Severity, Timestamp};

const T0: i64 = 1_790_196_720_000;

pub(crate) fn ap(name: &str, mac: u64) -> Subject {
    Subject {
        site_id: Some("11111111-2222-3333-4444-555555555555".into()),
        site: Some("Home".into()),
        device_mac: Some(format!("{mac:012x}")),
        device: Some(name.into()),
        device_type: Some("ap".into()),
        model: Some("AP45".into()),
        org_id: Some("00000000-0000-0000-0000-000000000001".into()),
        starts_at: Some(Timestamp::from_millis(T0)),
        events: 1,
        ..Subject::default()
    }
}

pub(crate) fn about(
    kind: &str,
    condition: Option<&str>,
    reason: Reason,
    subjects: Vec<Subject>,
) -> Notification {
    let over = matches!(reason, Reason::Resolved | Reason::Recovered);
    let ends = over.then(|| Timestamp::from_millis(T0 + 600_000));
    let subjects: Vec<Subject> = subjects
        .into_iter()
        .map(|s| Subject {
            ends_at: ends.or(s.ends_at),
            ..s
        })
        .collect();
    Notification {
        id: String::new(),
        at: Timestamp::from_millis(T0 + 600_000),
        to: vec!["slack".into()],
        source: "mist".into(),
        rule: "AP unreachable".into(),
        template: None,
        reason,
        incident: "7f3a".into(),
        severity: Severity::Critical,
        topic: "device-updowns".into(),
        kind: kind.into(),
        condition: condition.map(str::to_owned),
        group: vec![("site".into(), "Home".into())],
        firing: if over { 0 } else { subjects.len() as u64 },
        subjects,
        more: 0,
        more_since: 0,
        started: Timestamp::from_millis(T0),
        duration_ms: (over || reason == Reason::Repeat).then_some(600_000),
        why: None,
        detail: None,
        event: Value::Null,
        insight: Default::default(),
        collected: None,
    }
}

fn say(about: Notification) -> String {
    let message = Templates::builtin().render(about);
    format!(
        "{} | {}",
        markup::plain(&message.title),
        markup::plain(&message.text)
    )
}

#[test]
fn shipped_templates_have_no_problem() {
    assert_eq!(Templates::load(None).err(), None);
    assert!(Templates::builtin().has("generic"));
}

#[test]
fn messages_read_well() {
    let one = || vec![ap("kitchen", 1)];
    let off = Some("ap_offline");
    let all = [
        say(about("AP_DISCONNECTED", off, Reason::First, one())),
        say(about(
            "AP_DISCONNECTED",
            off,
            Reason::First,
            vec![ap("AP kitchen", 1), ap("hall", 2), ap("attic", 3)],
        )),
        say(about("AP_CONNECTED", off, Reason::Resolved, one())),
        say(Notification {
            firing: 2,
            ..about("AP_CONNECTED", off, Reason::Recovered, one())
        }),
        say(Notification {
            firing: 2,
            insight: left(aps(2), 2),
            ..about("AP_CONNECTED", off, Reason::Recovered, one())
        }),
        say(Notification {
            insight: left(aps(1), 1),
            ..about("AP_DISCONNECTED", off, Reason::NewEvents, one())
        }),
        say(Notification {
            insight: left(vec![], 9),
            ..about("AP_DISCONNECTED", off, Reason::NewEvents, one())
        }),
        say(about("AP_DISCONNECTED", off, Reason::Repeat, one())),
        say(about("AP_DISCONNECTED", off, Reason::Stale, one())),
        say(Notification {
            more_since: 12,
            ..about("AP_DISCONNECTED", off, Reason::NewEvents, one())
        }),
        say(about(
            "SW_PORT_DOWN",
            Some("sw_port"),
            Reason::First,
            vec![Subject {
                part: Some("ge-0/0/1".into()),
                is_port: true,
                ..ap("sw-1", 9)
            }],
        )),
        say(about("SOMETHING_NEW", None, Reason::First, one())),
        say(Notification {
            topic: "audits".into(),
            detail: Some("Update WLAN \"guest\"".into()),
            event: serde_json::json!({"admin_name": "Ann Lee"}),
            ..about("", None, Reason::First, vec![])
        }),
        say(Notification {
            more: 30,
            ..about(
                "infra_dhcp_failure",
                Some("infra_dhcp"),
                Reason::First,
                one(),
            )
        }),
        say(about(
            "infra_dhcp_success",
            Some("infra_dhcp"),
            Reason::Resolved,
            one(),
        )),
        say(Notification {
            event: serde_json::json!({"group": "marvis"}),
            ..about("bad_cable", Some("bad_cable"), Reason::First, one())
        }),
        say(Notification {
            event: serde_json::json!({"channel": 36, "pre_channel": 52}),
            ..about("AP_RADAR_DETECTED", None, Reason::First, one())
        }),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

pub(crate) fn aps(n: u64) -> Vec<Subject> {
    (1..=n).map(|i| ap(&format!("ap-{i}"), i)).collect()
}

pub(crate) fn insight(
    cause: Option<&str>,
    evidence: Option<&str>,
    behind: Vec<Subject>,
) -> Insight {
    Insight {
        cause: cause.map(str::to_owned),
        evidence: evidence.map(str::to_owned),
        behind,
        ..Insight::default()
    }
}

fn left(remaining: Vec<Subject>, remaining_total: u64) -> Insight {
    Insight {
        remaining,
        remaining_total,
        ..Insight::default()
    }
}

/// The first `n` are back.
pub(crate) fn back(subjects: Vec<Subject>, n: usize) -> Vec<Subject> {
    let back = |(i, s): (usize, Subject)| Subject {
        ends_at: (i < n).then(|| Timestamp::from_millis(T0 + 1_800_000)),
        ..s
    };
    subjects.into_iter().enumerate().map(back).collect()
}

pub(crate) fn flapped(subjects: Vec<Subject>) -> Vec<Subject> {
    let flapped = |(i, s): (u64, Subject)| Subject {
        changes: 9 - i,
        changing_ms: 1_680_000 - i * 60_000,
        ..s
    };
    (0..).zip(subjects).map(flapped).collect()
}

pub(crate) fn digest(maintenance: bool, items: Vec<Notification>, more: u64) -> Notification {
    let quiet = 1_195 - items.len() as u64;
    let collected = Collected {
        maintenance,
        since: Timestamp::from_millis(T0 - 82_800_000),
        events: 1_204,
        quiet,
        more,
        items,
    };
    let severity = collected
        .items
        .iter()
        .map(|item| item.severity)
        .max()
        .unwrap_or(Severity::Info);
    Notification {
        id: "7f3a2c".into(),
        rule: if maintenance {
            "Switch upgrades"
        } else {
            "every-morning"
        }
        .into(),
        topic: String::new(),
        severity,
        group: Vec::new(),
        collected: Some(Box::new(collected)),
        ..about("", None, Reason::Digest, Vec::new())
    }
}

/// What a digest may hold: of each severity, lasting and over, of several sites.
pub(crate) fn kept() -> Vec<Notification> {
    let of = |n: u64, rule: &str, severity: Severity, about: Notification| Notification {
        incident: format!("k{n}"),
        rule: rule.into(),
        severity,
        ..about
    };
    let off = Some("ap_offline");
    let elsewhere = |n: u64| Subject {
        site: Some("Barn".into()),
        site_id: None,
        ..ap("ap-barn", n)
    };
    let sw = |reason| {
        about(
            "SW_DISCONNECTED",
            Some("switch_offline"),
            reason,
            vec![Subject {
                device_type: Some("switch".into()),
                ..ap("sw-garage", 90)
            }],
        )
    };
    vec![
        of(
            1,
            "RRM",
            Severity::Info,
            about("AP_RRM_ACTION", None, Reason::First, aps(30)),
        ),
        of(
            2,
            "AP unreachable",
            Severity::Warning,
            about(
                "AP_CONNECTED",
                off,
                Reason::Resolved,
                vec![ap("kitchen", 50)],
            ),
        ),
        of(
            3,
            "AP unreachable",
            Severity::Warning,
            about("AP_DISCONNECTED", off, Reason::First, vec![elsewhere(51)]),
        ),
        of(
            4,
            "Switch unreachable",
            Severity::Critical,
            sw(Reason::Resolved),
        ),
        of(
            5,
            "AP flaps",
            Severity::Warning,
            about("AP_DISCONNECTED", off, Reason::Flapping, flapped(aps(2))),
        ),
        of(
            6,
            "Backup heard",
            Severity::Critical,
            about("", Some("absent"), Reason::Absent, Vec::new()),
        ),
        of(
            7,
            "Configuration",
            Severity::Info,
            Notification {
                topic: "audits".into(),
                detail: Some("Update WLAN \"guest\"".into()),
                event: serde_json::json!({"admin_name": "Ann Lee"}),
                ..about("", None, Reason::First, Vec::new())
            },
        ),
    ]
}

#[test]
fn what_the_stream_knows_reads_well() {
    let one = || vec![ap("kitchen", 1)];
    let off = Some("ap_offline");
    let switch = || {
        vec![Subject {
            device_type: Some("switch".into()),
            ..ap("sw-garage", 90)
        }]
    };
    let told = |reason, subjects, insight| Notification {
        insight,
        ..about("AP_DISCONNECTED", off, reason, subjects)
    };
    let behind = |reason, of: Vec<Subject>, n| {
        let insight = insight(None, None, back(of, n));
        Notification {
            insight,
            ..about("SW_DISCONNECTED", Some("switch_offline"), reason, switch())
        }
    };
    let mixed = || vec![ap("ap-1", 1), switch().remove(0)];
    let dhcp = || {
        vec![Subject {
            device: None,
            device_mac: None,
            device_type: None,
            changes: 6,
            changing_ms: 600_000,
            ..ap("", 0)
        }]
    };
    let flap = |reason, subjects| about("AP_DISCONNECTED", off, reason, subjects);
    let absent = |reason| Notification {
        rule: "Nightly backup".into(),
        duration_ms: Some(7_200_000),
        ..about("", Some("absent"), reason, Vec::new())
    };
    let all = [
        told(
            Reason::First,
            one(),
            insight(Some("an upgrade restarted it"), None, vec![]),
        ),
        told(
            Reason::Resolved,
            one(),
            insight(Some("Ann Lee restarted it"), Some("AP_RRM_ACTION"), vec![]),
        ),
        told(
            Reason::Resolved,
            aps(2),
            insight(None, Some("AP_CONFIGURED"), vec![]),
        ),
        behind(Reason::First, aps(16), 0),
        behind(Reason::NewEvents, aps(1), 0),
        behind(Reason::Repeat, mixed(), 1),
        behind(Reason::Resolved, aps(12), 12),
        behind(Reason::Resolved, aps(12), 10),
        behind(Reason::Resolved, aps(2), 0),
        behind(Reason::Resolved, aps(1), 1),
        flap(Reason::Flapping, flapped(one())),
        flap(Reason::Flapping, flapped(aps(3))),
        about(
            "infra_dhcp_failure",
            Some("infra_dhcp"),
            Reason::Flapping,
            dhcp(),
        ),
        flap(Reason::Stable, back(flapped(one()), 1)),
        flap(Reason::Stable, flapped(one())),
        flap(Reason::Stable, back(flapped(aps(3)), 2)),
        flap(Reason::Stable, back(aps(2), 2)),
        flap(Reason::Stable, aps(2)),
        about(
            "infra_dhcp_failure",
            Some("infra_dhcp"),
            Reason::Stable,
            back(dhcp(), 1),
        ),
        about(
            "infra_dhcp_failure",
            Some("infra_dhcp"),
            Reason::Stable,
            dhcp(),
        ),
        absent(Reason::Absent),
        Notification {
            kind: "AP_CONFIGURED".into(),
            subjects: one(),
            ..absent(Reason::Absent)
        },
        absent(Reason::Repeat),
        absent(Reason::Resolved),
        absent(Reason::Stale),
    ]
    .map(say);
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn each_kind_is_named_and_each_thing_once() {
    let of = |kind: &str, condition: Option<&str>, subject: Subject| {
        let of = Happening {
            kind: kind.into(),
            condition: condition.map(str::to_owned),
            group: None,
        };
        Subject {
            of: Some(Box::new(of)),
            ..subject
        }
    };
    let sw = |n: u64| Subject {
        device_type: Some("switch".into()),
        ..ap(&format!("sw-{n}"), n)
    };
    let site = || Subject {
        device: None,
        device_mac: None,
        device_type: None,
        ..ap("", 0)
    };
    let alarm = |part: &str, subject| {
        of(
            &format!("SW_ALARM_CHASSIS_{part}"),
            Some(&format!("sw_alarm_chassis_{}", part.to_lowercase())),
            subject,
        )
    };
    let path = |part: &str, n: u64| {
        let gateway = Subject {
            device_type: Some("gateway".into()),
            part: Some(part.into()),
            ..ap("gw", n)
        };
        of("GW_VPN_PATH_DOWN", Some("gw_vpn_path"), gateway)
    };
    let dhcp = || of("infra_dhcp_failure", Some("infra_dhcp"), site());
    let dns = || of("infra_dns_failure", Some("infra_dns"), site());
    let dark = |kind: &str, condition: &str, subject| of(kind, Some(condition), subject);
    let gateway = || {
        dark(
            "GW_DISCONNECTED",
            "gateway_offline",
            Subject {
                device_type: Some("gateway".into()),
                ..ap("gw", 50)
            },
        )
    };
    let behind = || {
        vec![
            dark(
                "GW_VPN_PATH_DOWN",
                "gw_vpn_path",
                Subject {
                    part: Some("a".into()),
                    ..gateway()
                },
            ),
            dark("infra_dhcp_failure", "infra_dhcp", site()),
            dark("SW_DISCONNECTED", "switch_offline", sw(1)),
            dark(
                "AP_DISCONNECTED",
                "ap_offline",
                Subject {
                    part: Some("xe-0/0/1".into()),
                    is_port: true,
                    ..ap("ap-1", 20)
                },
            ),
        ]
    };
    let gone = |reason, behind: Vec<Subject>| Notification {
        insight: insight(None, None, behind),
        ..about(
            "GW_DISCONNECTED",
            Some("gateway_offline"),
            reason,
            vec![gateway()],
        )
    };
    let fan = |reason, subjects| {
        about(
            "SW_ALARM_CHASSIS_FAN",
            Some("sw_alarm_chassis_fan"),
            reason,
            subjects,
        )
    };
    let restarted = || of("AP_RESTARTED", None, ap("ap-1", 1));
    let all = [
        about(
            "infra_dns_failure",
            Some("infra_dns"),
            Reason::First,
            vec![dhcp(), dns()],
        ),
        about(
            "infra_dns_success",
            Some("infra_dns"),
            Reason::Resolved,
            vec![dhcp(), dns()],
        ),
        about(
            "infra_dns_success",
            Some("infra_dns"),
            Reason::Recovered,
            vec![dns()],
        ),
        about(
            "bssid_spoofing",
            None,
            Reason::First,
            vec![
                of("rogue_ap", None, site()),
                of("bssid_spoofing", None, site()),
            ],
        ),
        fan(
            Reason::First,
            vec![alarm("PSU", sw(1)), alarm("FAN", sw(2))],
        ),
        fan(
            Reason::First,
            vec![
                alarm("PSU", sw(1)),
                alarm("FAN", sw(1)),
                alarm("POE", sw(1)),
            ],
        ),
        Notification {
            kind: "SW_ALARM_CHASSIS_FAN_CLEAR".into(),
            ..fan(Reason::Resolved, vec![alarm("FAN", sw(1))])
        },
        about(
            "foo_good",
            None,
            Reason::Resolved,
            vec![of("foo_bad", None, ap("ap-1", 1))],
        ),
        about(
            "GW_VPN_PATH_DOWN",
            Some("gw_vpn_path"),
            Reason::First,
            vec![path("a", 7), path("b", 7)],
        ),
        about(
            "GW_VPN_PATH_DOWN",
            Some("gw_vpn_path"),
            Reason::First,
            vec![path("a", 7), path("b", 8)],
        ),
        gone(Reason::First, behind()),
        gone(Reason::Resolved, behind()),
        gone(Reason::Resolved, back(behind(), 4)),
        gone(Reason::First, back(behind(), 4)),
        gone(Reason::Resolved, behind().split_off(3)),
        Notification {
            why: Some("watchdog".into()),
            ..about("AP_RESTARTED", None, Reason::First, vec![restarted()])
        },
        Notification {
            why: Some("power cycle".into()),
            detail: Some("Restarted: power cycle".into()),
            insight: insight(Some("Ann Lee restarted it"), None, vec![]),
            ..about("AP_RESTARTED", None, Reason::First, vec![restarted()])
        },
    ]
    .map(say);
    insta::assert_snapshot!(all.join("\n"));
    let apart = Templates::builtin().digest(
        &[
            Templates::builtin().render(about(
                "infra_dns_failure",
                Some("infra_dns"),
                Reason::First,
                vec![dhcp(), dns()],
            )),
            Templates::builtin().render(Notification {
                more_since: 12,
                ..fan(Reason::First, vec![alarm("PSU", sw(1))])
            }),
        ],
        None,
    );
    insta::assert_snapshot!(markup::plain(&apart[0].text));
    let id = |messages: &[Message]| {
        Templates::builtin().digest(messages, None)[0]
            .about
            .id
            .clone()
    };
    assert_eq!(apart[0].about.id.len(), 6);
    assert_eq!(
        id(&apart),
        apart[0].about.id,
        "the same contents have the same id"
    );
}

#[test]
fn a_scheduled_digest_tells_what_matters_first_and_counts_the_rest() {
    let nothing = digest(true, Vec::new(), 0);
    let storm = || {
        (0..400).map(|i| Notification {
            incident: format!("s{i}"),
            rule: format!("Rule {:02}", i % 40),
            ..about(
                "AP_DISCONNECTED",
                Some("ap_offline"),
                Reason::First,
                vec![ap(&format!("ap_{i:04}"), i)],
            )
        })
    };
    let all = [
        digest(false, kept(), 0),
        digest(true, kept(), 0),
        digest(false, storm().collect(), 25),
        nothing,
    ];
    insta::assert_snapshot!(all.map(say).join("\n\n"));

    let templates = Templates::builtin();
    let message = templates.render(digest(false, storm().collect(), 25));
    let data = {
        let mut data = data(&message.about);
        add_texts(&mut data, &message);
        data
    };
    // what a maintenance hid belongs to no incident, and each is told
    let alone = |n: u64| Notification {
        incident: String::new(),
        more: n,
        ..about(
            "AP_DISCONNECTED",
            Some("ap_offline"),
            Reason::First,
            back(vec![ap("kitchen", 1)], 1),
        )
    };
    let hidden = templates.render(digest(true, vec![alone(3), alone(4)], 0));
    assert!(
        hidden.title.ends_with(": 4 over")
            && hidden.text.contains("3 more")
            && hidden.text.contains("4 more")
    );
    assert_eq!(hidden.folded[0].title, "4 APs are back at Home");
    let nameless = Notification {
        subjects: vec![Subject::default()],
        ..kept().remove(5)
    };
    assert!(
        say(nameless.clone()).ends_with("Nothing that Backup heard waits for has come."),
        "{}",
        say(nameless)
    );

    assert_eq!(data["collected"]["total"], 425);
    assert_eq!(data["collected"]["more"], 325);
    assert_eq!(data["collected"]["items"][3]["title"], "ap_0003 is offline");
    // folded again because it was late, it still names all and counts what has no name
    let late = templates.digest(&[message], None);
    let text: String = late.iter().map(|m| markup::plain(&m.text)).collect();
    assert!(
        (0..400).all(|i| text.contains(&format!("ap_{i:04}"))) && text.contains("25 more"),
        "{text}"
    );
}

#[test]
fn what_the_stream_knows_is_never_markup() {
    let hostile = "**b** [x](https://evil.example) `c` <time:0>";
    let subjects = || vec![ap(hostile, 1), ap(hostile, 2)];
    let behind = vec![
        ap(hostile, 3),
        Subject {
            ends_at: Some(Timestamp::from_millis(T0)),
            ..ap(hostile, 4)
        },
    ];
    for reason in [
        Reason::First,
        Reason::Resolved,
        Reason::Flapping,
        Reason::Stable,
        Reason::Absent,
        Reason::Digest,
    ] {
        let notification = Notification {
            rule: hostile.into(),
            insight: insight(Some(hostile), Some(hostile), behind.clone()),
            ..about(hostile, Some("ap_offline"), reason, flapped(subjects()))
        };
        let collected = digest(false, vec![notification.clone()], 0).collected;
        let collected = collected.filter(|_| reason == Reason::Digest);
        let message = Templates::builtin().render(Notification {
            collected,
            ..notification
        });
        for part in [&message.title, &message.text] {
            let live = markup::parse(part).into_iter().any(|span| match span.what {
                markup::What::Link { .. } | markup::What::Code(_) => true,
                markup::What::Time(at) | markup::What::Clock(at) => at == 0,
                markup::What::Text(_) => false,
            });
            assert!(!live, "{reason}: {part}");
        }
        assert!(
            markup::plain(&message.text).contains("**b**"),
            "{reason}: {}",
            message.text
        );
    }
}

#[test]
fn what_is_told_alike_of_everything_has_its_own_template() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "mine.hbs",
        "mine {{id}}\n---\n{{#each behind_dark}}{{name}} {{changing}}{{/each}}{{#each collected.items}}{{title}}{{/each}}{{collected.quiet}}\n---\n",
    );
    write("mine-flapping.hbs", "mine flaps {{changes}}\n---\n---\n");
    let templates = Templates::load(Some(folder.path())).unwrap();
    let title = |reason| {
        let told = about(
            "AP_DISCONNECTED",
            Some("ap_offline"),
            reason,
            flapped(vec![ap("k", 1)]),
        );
        templates
            .render(Notification {
                id: "7f3a2c".into(),
                template: Some("mine".into()),
                ..told
            })
            .title
    };
    assert_eq!(title(Reason::First), "mine 7f3a2c");
    assert_eq!(title(Reason::Flapping), "mine flaps 9");
    assert_eq!(
        title(Reason::Stable),
        "AP k stays down since <clock:1790196720> (no longer flapping)"
    );

    write(
        "mine.hbs",
        "{{collected.quite}}\n---\n{{#each collected.items}}{{quiet}}{{/each}}{{#each behind}}{{rule}}{{/each}}\n---\n",
    );
    let problems = Templates::load(Some(folder.path())).unwrap_err();
    let said: Vec<&str> = problems.iter().map(|p| p.what.as_str()).collect();
    assert_eq!(
        said,
        ["`quite`", "`quiet`", "`rule`"].map(|name| format!("{name} is not a name templates know"))
    );
}

#[test]
fn problems_of_templates_are_named_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "a.hbs",
        "{{titel}}\n---\n{{#each subjects}}{{rule}}{{../rule}}{{event.x}}{{/each}}\n{{fmt_tme at}}{{> nothing}}\n---\n{{event.any.thing}}\n",
    );
    write("b.hbs", "{{#if rule}}\n---\nx\n---\n");
    write("c.hbs", "{{> d}}");
    write("d.hbs", "{{> c}}");
    write("e.hbs", "{{{rule}}}\n---\n---\n");
    write("f g.hbs", "x");
    write("g.hbs", "x\n---\n");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("h.hbs")).unwrap();
    let problems = Templates::load(Some(folder.path())).unwrap_err();
    let said: Vec<String> = problems
        .iter()
        .map(|p| {
            let file = p.file.rsplit('/').next().unwrap_or_default();
            format!(
                "{file}:{}:{}: {} [{}]",
                p.line,
                p.column,
                p.what,
                p.help
                    .as_deref()
                    .unwrap_or_default()
                    .chars()
                    .take(40)
                    .collect::<String>()
            )
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_runaway_template_falls_back() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("generic.hbs"), "x\n---\n{{#each subjects}}{{#each ../subjects}}{{#each ../../subjects}}{{this}}long long long{{/each}}{{/each}}{{/each}}\n---\n").unwrap();
    let templates = Templates::load(Some(folder.path())).unwrap();
    let subjects: Vec<Subject> = (0..500).map(|i| ap(&format!("ap-{i}"), i)).collect();
    let message = templates.render(about("NEW", None, Reason::First, subjects));
    assert_eq!(message.title, "New");
}

/// Shows every device.
#[derive(Debug)]
struct Shown;

impl Portal for Shown {
    fn page(&self, subject: &Subject) -> Option<Link> {
        Some(Link {
            label: "Open".to_owned(),
            url: format!("https://portal.example/{}", subject.device_mac.as_ref()?),
        })
    }
}

#[test]
fn one_device_is_linked_to_its_page() {
    let message = Templates::builtin()
        .with_portals([("lab".into(), Arc::new(Shown) as Arc<dyn Portal>)])
        .render(about(
            "AP_DISCONNECTED",
            Some("ap_offline"),
            Reason::First,
            vec![ap("k", 0x5c5b_3500_0001)],
        ));
    assert_eq!(message.links[0].url, "https://portal.example/5c5b35000001");
    let several = about(
        "AP_DISCONNECTED",
        None,
        Reason::First,
        vec![ap("k", 1), ap("l", 2)],
    );
    let shown =
        Templates::builtin().with_portals([("lab".into(), Arc::new(Shown) as Arc<dyn Portal>)]);
    assert!(shown.render(several).links.is_empty());
}

#[test]
fn digests_name_everyone_and_fold_again() {
    let templates = Templates::builtin();
    let mut waiting: Vec<Message> = (0..2_000)
        .map(|i| Notification {
            incident: format!("i{i}"),
            severity: if i % 7 == 0 {
                Severity::Critical
            } else {
                Severity::Info
            },
            ..about(
                "AP_DISCONNECTED",
                Some("ap_offline"),
                Reason::First,
                vec![ap(&format!("ap_{i:04}"), i)],
            )
        })
        .map(|about| templates.render(about))
        .collect();
    waiting.push(templates.render(Notification {
        incident: "i3".into(),
        ..about(
            "AP_CONNECTED",
            Some("ap_offline"),
            Reason::Resolved,
            vec![ap("ap_0003", 3)],
        )
    }));
    let once = templates.digest(&waiting, None);
    let again = templates.digest(&once, None);
    for digests in [&once, &again] {
        let text: String = digests.iter().map(|m| markup::plain(&m.text)).collect();
        assert!(
            (0..2_000).all(|i| text.contains(&format!("ap_{i:04}"))),
            "{text}"
        );
        assert!(
            text.contains("ap_0003 was down 20:52 UTC to 21:02 UTC"),
            "{text}"
        );
        assert!(digests.len() < 20, "{}", digests.len());
        // each page alone still names all its own
        let apart: String = digests
            .iter()
            .flat_map(|m| templates.digest(std::slice::from_ref(m), None))
            .map(|m| markup::plain(&m.text))
            .collect();
        assert!((0..2_000).all(|i| apart.contains(&format!("ap_{i:04}"))));
        assert!(
            digests
                .iter()
                .all(|m| m.about.severity == Severity::Critical
                    && m.about.incident.starts_with("digest-"))
        );
    }
    assert!(templates.digest(&[], None).is_empty());
}

#[test]
fn a_message_shows_what_changed_who_saw_it_and_what_happened() {
    let templates = Templates::builtin();
    let fact = |about: Notification, name: &str| {
        let facts = templates.render(about).facts;
        let value = facts.into_iter().find(|(known, _)| known == name);
        value
            .map(|(_, value)| markup::plain(&value))
            .unwrap_or_default()
    };
    let audit = || Notification {
        topic: "audits".into(),
        event: serde_json::json!({"before": {"enabled": true}, "after": "off"}),
        ..about("", None, Reason::First, vec![])
    };
    assert_eq!(fact(audit(), "Before"), r#"{"enabled":true}"#);
    assert_eq!(fact(audit(), "After"), "off");
    let rogue = || Notification {
        topic: "alarms".into(),
        event: serde_json::json!({"group": "security", "ssids": ["a_b"], "bssids": ["aabbccddee01"]}),
        ..about("rogue_ap", None, Reason::First, vec![ap("lobby", 1)])
    };
    assert_eq!(fact(rogue(), "MAC"), "");
    assert_eq!(fact(rogue(), "Own AP"), "00:00:00:00:00:01");
    assert_eq!(fact(rogue(), "BSSID"), "aa:bb:cc:dd:ee:01");
    let dhcp = Notification {
        event: serde_json::json!({"client_count": 31}),
        ..about(
            "infra_dhcp_failure",
            Some("infra_dhcp"),
            Reason::First,
            vec![ap("gw", 2)],
        )
    };
    assert_eq!(fact(dhcp, "Clients"), "31");
    let long = about(
        "AP_DISCONNECTED",
        Some("ap_offline"),
        Reason::First,
        vec![ap(&"long ".repeat(60), 1)],
    );
    assert!(templates.render(long).title.ends_with("… is offline"));
}

#[test]
fn a_summary_says_why_it_is_one_and_names_who_is_behind() {
    let templates = Templates::builtin();
    let switch = Subject {
        device_type: Some("switch".into()),
        ..ap("sw-garage", 99)
    };
    let down = || Notification {
        rule: "Switch unreachable".into(),
        insight: Insight {
            behind: aps(14),
            ..Insight::default()
        },
        ..about(
            "SW_DISCONNECTED",
            Some("switch_offline"),
            Reason::First,
            vec![switch.clone()],
        )
    };
    let rogue = Notification {
        rule: "Rogue AP".into(),
        incident: "r".into(),
        ..about("rogue_ap", None, Reason::First, vec![ap("lobby", 50)])
    };
    let back = Notification {
        incident: "b".into(),
        ..about(
            "AP_CONNECTED",
            Some("ap_offline"),
            Reason::Resolved,
            vec![ap("attic", 60)],
        )
    };
    let gap = crate::model::Gap {
        chat: "Slack".into(),
        from: Timestamp::from_millis(T0),
        to: Timestamp::from_millis(T0 + 60_000),
    };
    let waiting = [rogue, back, down()].map(|about| templates.render(about));
    let once = templates.digest(&waiting, Some(&gap));
    let again = templates.digest(&once, None);
    insta::assert_snapshot!(format!(
        "{}\n{}\n\n{}",
        markup::plain(&once[0].title),
        markup::plain(&once[0].text),
        markup::plain(&again[0].title)
    ));
    assert_eq!(once[0].text, again[0].text);
}

#[test]
fn one_incident_over_several_pages_is_not_lost_when_a_page_is_folded_again() {
    let templates = Templates::builtin();
    let subjects: Vec<Subject> = (0..2_000).map(|i| ap(&format!("ap_{i:04}"), i)).collect();
    let down = Notification {
        more: 5,
        ..about(
            "AP_DISCONNECTED",
            Some("ap_offline"),
            Reason::First,
            subjects,
        )
    };
    let pages = templates.digest(&[templates.render(down)], None);
    let apart: String = pages
        .iter()
        .flat_map(|m| templates.digest(std::slice::from_ref(m), None))
        .map(|m| m.text)
        .collect();
    assert!(pages.len() > 1 && apart.contains("5 more"));
    assert!((0..2_000).all(|i| apart.contains(&format!("ap_{i:04}"))));
}

#[test]
fn a_body_is_a_tree_no_value_can_break() {
    let body = Body::compile(&serde_json::json!({"t": "{{title}}", "n": 3, "list": ["{{fmt_names subjects}}", "{{fmt_time at}}", "{{event.q}}"]})).unwrap();
    let event = serde_json::json!({"q": "\"*<x>"});
    let message = Templates::builtin().render(Notification {
        event,
        ..about(
            "AP_DISCONNECTED",
            Some("ap_offline"),
            Reason::First,
            vec![ap("k\"*", 1)],
        )
    });
    let expected = serde_json::json!({"t": "AP k\"* is offline", "n": 3, "list": ["k\"*", "2026-09-23T21:02:00Z", "\"*<x>"]});
    assert_eq!(body.render(&message), expected);
    assert_eq!(
        Body::compile(&serde_json::json!({"a": ["{{x}}"]})).unwrap_err()[0].file,
        "body.a.0"
    );
}
