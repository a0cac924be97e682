use super::*;
use std::sync::Arc;

use crate::model::{Link, Notification, Reason, Subject};
use crate::render::tests::{about, ap, aps, back, digest, flapped, insight, kept};
use crate::render::{Portal, Templates};

fn made(kind: &DestinationKind, url: &str) -> Arc<dyn Destination> {
    let mut values = Values::default();
    values.set("url", SettingValue::Secret(Secret::new(url)));
    (kind.make)(&values).unwrap()
}

fn slack() -> Arc<dyn Destination> {
    made(&slack::KIND, "https://hooks.slack.com/services/x")
}

fn teams() -> Arc<dyn Destination> {
    made(&teams::KIND, "https://x.logic.azure.com/")
}

fn body(target: &Arc<dyn Destination>, message: &Message, size: Size) -> Value {
    match target.next(&Content { message, size }, None, &[]) {
        Action::Send(request) => request.body.unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A portal that shows every device.
#[derive(Debug)]
struct Shown;

impl Portal for Shown {
    fn page(&self, subject: &Subject) -> Option<Link> {
        let (org, site) = (subject.org_id.as_ref()?, subject.site_id.as_ref()?);
        let (kind, mac) = (subject.device_type.as_ref()?, subject.device_mac.as_ref()?);
        Some(Link {
            label: "Open in Mist".to_owned(),
            url: format!(
                "https://manage.mist.com/admin/?org_id={org}#!{kind}/detail/00000000-0000-0000-1000-{mac}/{site}"
            ),
        })
    }
}

fn samples() -> Vec<(&'static str, Vec<Message>)> {
    let templates =
        Templates::builtin().with_portals([("mist".into(), Arc::new(Shown) as Arc<dyn Portal>)]);
    let off = Some("ap_offline");
    let hostile =
        "<!channel> [x](https://evil.example) *b* _i_ ~s~ `c` & {{DATE(2020-01-01)}} <@U1> 😀";
    let many = |n: u64| {
        (0..n)
            .map(|i| ap(&format!("ap_{i:04}"), i))
            .collect::<Vec<Subject>>()
    };
    let render = |about: Notification| vec![templates.render(about)];
    let event = serde_json::json!({"channel": 36, "pre_channel": 52, "group": "marvis", "suggestion": "test_replace_cable"});
    let hostile_about = |length: usize| Notification {
        rule: hostile.repeat(length),
        detail: Some(hostile.repeat(length)),
        why: Some(hostile.repeat(length)),
        ..about(
            "NEW<!here>",
            None,
            Reason::First,
            vec![Subject {
                site: Some(hostile.into()),
                ..ap(hostile, 1)
            }],
        )
    };
    let storm = |name: &str, n: u64| {
        let all: Vec<Message> = (0..n)
            .map(|i| Notification {
                incident: format!("i{i}"),
                ..about(
                    "AP_DISCONNECTED",
                    off,
                    Reason::First,
                    vec![ap(&format!("{name}{i:04}"), i)],
                )
            })
            .map(|about| templates.render(about))
            .collect();
        templates.digest(&all, None)
    };
    let switch = |reason, n: u64, up: usize| {
        let of = Subject {
            device_type: Some("switch".into()),
            model: Some("EX4100".into()),
            ..ap("sw-garage", 90)
        };
        let mut message = templates.render(Notification {
            id: "7f3a2c".into(),
            rule: "Switch unreachable".into(),
            insight: insight(
                Some("port ge-0/0/3 of sw-core went down"),
                None,
                back(aps(n), up),
            ),
            ..about("SW_DISCONNECTED", Some("switch_offline"), reason, vec![of])
        });
        message.links.extend(silences());
        vec![message]
    };
    let with_id = |about: Notification| {
        vec![templates.render(Notification {
            id: "7f3a2c".into(),
            ..about
        })]
    };
    let absent = Notification {
        rule: "Nightly backup".into(),
        duration_ms: Some(7_200_000),
        ..about("", Some("absent"), Reason::Absent, Vec::new())
    };
    let wild = |i: u64| Notification {
        incident: format!("w{i}"),
        rule: format!("{i} {hostile}"),
        ..about("NEW", off, Reason::First, vec![ap(hostile, i)])
    };
    vec![
        ("behind", switch(Reason::First, 16, 0)),
        ("behind-back", switch(Reason::Resolved, 12, 10)),
        ("behind-crowd", switch(Reason::First, 2_000, 0)),
        (
            "evidence",
            with_id(Notification {
                insight: insight(None, Some("AP_RRM_ACTION"), Vec::new()),
                ..about(
                    "AP_RRM_ACTION",
                    off,
                    Reason::Resolved,
                    vec![ap("kitchen", 1)],
                )
            }),
        ),
        (
            "flapping",
            with_id(about(
                "AP_DISCONNECTED",
                off,
                Reason::Flapping,
                flapped(vec![ap("kitchen", 1)]),
            )),
        ),
        (
            "flapping-many",
            with_id(about(
                "AP_DISCONNECTED",
                off,
                Reason::Flapping,
                flapped(aps(5)),
            )),
        ),
        (
            "stable",
            with_id(about(
                "AP_CONNECTED",
                off,
                Reason::Stable,
                back(flapped(vec![ap("kitchen", 1)]), 1),
            )),
        ),
        (
            "stable-mixed",
            with_id(about(
                "AP_CONNECTED",
                off,
                Reason::Stable,
                back(flapped(aps(4)), 3),
            )),
        ),
        ("absent", with_id(absent)),
        ("scheduled", with_id(digest(false, kept(), 0))),
        ("maintenance", with_id(digest(true, kept(), 3))),
        (
            "scheduled-storm",
            with_id(digest(false, (0..400).map(wild).collect(), 25)),
        ),
        (
            "offline",
            render(about(
                "AP_DISCONNECTED",
                off,
                Reason::First,
                vec![ap("kitchen", 0x5c5b_3500_0001)],
            )),
        ),
        (
            "back",
            render(about(
                "AP_CONNECTED",
                off,
                Reason::Resolved,
                vec![ap("kitchen", 0x5c5b_3500_0001)],
            )),
        ),
        (
            "many",
            render(Notification {
                more: 7,
                more_since: 12,
                ..about("AP_DISCONNECTED", off, Reason::First, many(12))
            }),
        ),
        (
            "marvis",
            render(Notification {
                event,
                ..about("bad_cable", Some("bad_cable"), Reason::First, many(1))
            }),
        ),
        ("hostile", render(hostile_about(1))),
        ("huge", render(hostile_about(400))),
        (
            "crowd",
            render(about("AP_DISCONNECTED", off, Reason::First, many(2_000))),
        ),
        (
            "unknown",
            render(about("SOMETHING_NEW", None, Reason::First, Vec::new())),
        ),
        ("digest", storm("ap_", 40)),
        ("digest-storm", storm("ap_", 2_000)),
        ("digest-hostile", storm("<!here>_*&{{`", 400)),
        ("digest-wide", storm("アクセスポイント", 500)),
    ]
}

fn silences() -> Vec<crate::model::Link> {
    [
        "Silence 1 h",
        "Silence until morning",
        "Silence until resolved",
    ]
    .iter()
    .enumerate()
    .map(|(i, label)| crate::model::Link {
        label: (*label).to_owned(),
        url: format!(
            "https://foghorn.example.org/silence?id=7f3a2c&for={i}&until=1790196720&sig={}",
            "c7".repeat(32)
        ),
    })
    .collect()
}

#[test]
fn no_link_is_left_out_and_the_short_id_stays() {
    let samples = samples();
    let mut message = samples
        .iter()
        .find(|(name, _)| *name == "behind-crowd")
        .unwrap()
        .1[0]
        .clone();
    for n in 0..20 {
        message.links.push(crate::model::Link {
            label: format!("link {n}"),
            url: format!("https://x.example/{n}"),
        });
    }
    for settings in [slack(), teams()] {
        let full = body(&settings, &message, Size::Full).to_string();
        for link in &message.links {
            assert!(
                full.contains(&link.label) && full.contains(&link.url.replace('&', "&amp;"))
                    || full.contains(&link.url),
                "{full}"
            );
        }
        assert!(
            full.contains("7f3a2c")
                && body(&settings, &message, Size::Plain)
                    .to_string()
                    .contains("7f3a2c")
        );
        // without room for small print
        message.text = "x ".repeat(40_000);
        let small = body(&settings, &message, Size::Full).to_string();
        assert!(
            small.contains("id `7f3a2c`") || small.contains("id 7f3a2c"),
            "{small}"
        );
        assert!(!small.contains("rule"), "{small}");
    }
}

#[test]
fn payloads_are_within_every_limit() {
    let folder = std::env::var_os("FOGHORN_PAYLOADS").map(std::path::PathBuf::from);
    for (name, messages) in samples() {
        for (i, message) in messages.iter().enumerate() {
            for (chat, settings, limit) in
                [("slack", slack(), 16 * 1024), ("teams", teams(), 24 * 1024)]
            {
                for (size, suffix) in [(Size::Full, ""), (Size::Plain, "-plain")] {
                    let payload = body(&settings, message, size);
                    assert!(payload.to_string().len() <= limit, "{chat} {name}");
                    if let Some(folder) = &folder {
                        let file = folder.join(format!("{chat}-{name}-{i}{suffix}.json"));
                        std::fs::write(file, serde_json::to_string_pretty(&payload).unwrap())
                            .unwrap();
                    }
                }
                if name.starts_with("digest") {
                    let said = body(&settings, message, Size::Full).to_string();
                    let text = crate::render::markup::plain(&message.text);
                    let tail: String = text.chars().skip(text.chars().count() - 4).collect();
                    assert!(said.contains(&tail), "{chat} {name} {i} lost a device");
                }
            }
        }
    }
}

#[test]
fn slack_and_teams_json() {
    let samples = samples();
    for name in [
        "offline",
        "back",
        "hostile",
        "behind",
        "flapping",
        "stable-mixed",
        "scheduled",
    ] {
        let message = &samples.iter().find(|(n, _)| *n == name).unwrap().1[0];
        insta::assert_json_snapshot!(format!("slack-{name}"), body(&slack(), message, Size::Full));
        insta::assert_json_snapshot!(format!("teams-{name}"), body(&teams(), message, Size::Full));
        insta::assert_snapshot!(format!("console-{name}"), console::printed(message));
    }
}

#[test]
fn a_reply_means_one_thing() {
    let webhook = made(&webhook::KIND, "https://x.example/");
    let message = &samples()[0].1[0];
    let content = Content {
        message,
        size: Size::Full,
    };
    let classify =
        |target: &Arc<dyn Destination>, reply| match target.next(&content, None, &[reply]) {
            Action::Done(outcome, None) => outcome,
            other => panic!("{other:?}"),
        };
    let mut said = Vec::new();
    for (who, settings, status, text) in [
        ("slack", slack(), 200, "ok"),
        ("slack", slack(), 200, "<html>"),
        ("slack", slack(), 400, "invalid_blocks"),
        ("slack", slack(), 400, "user_not_found"),
        ("slack", slack(), 403, "action_prohibited"),
        ("slack", slack(), 404, "no_active_hooks"),
        ("slack", slack(), 410, "channel_is_archived"),
        (
            "slack",
            slack(),
            429,
            "{\"ok\":false,\"error\":\"rate_limited\"}",
        ),
        ("slack", slack(), 500, "rollup_error"),
        ("slack", slack(), 302, ""),
        ("slack", slack(), 400, "some_new_word"),
        ("slack", slack(), 404, "some_new_word"),
        ("slack", slack(), 451, ""),
        ("teams", teams(), 202, ""),
        (
            "teams",
            teams(),
            200,
            "Microsoft Teams endpoint returned HTTP error 429 with",
        ),
        (
            "teams",
            teams(),
            200,
            "Microsoft Teams endpoint returned HTTP error 413 with",
        ),
        (
            "teams",
            teams(),
            400,
            "{\"error\":{\"code\":\"TriggerInputSchemaMismatch\"}}",
        ),
        ("teams", teams(), 401, ""),
        ("teams", teams(), 404, ""),
        ("teams", teams(), 413, ""),
        ("webhook", webhook.clone(), 204, ""),
        ("webhook", webhook.clone(), 408, ""),
        ("webhook", webhook.clone(), 425, ""),
        ("webhook", webhook.clone(), 422, ""),
        ("webhook", webhook.clone(), 401, ""),
        ("webhook", webhook.clone(), 402, ""),
        ("webhook", webhook.clone(), 405, ""),
        ("webhook", webhook.clone(), 410, ""),
        ("webhook", webhook.clone(), 499, ""),
        ("webhook", webhook, 503, ""),
    ] {
        let reply = Reply::Http {
            status,
            retry_after: None,
            date: None,
            body: text.into(),
        };
        said.push(format!(
            "{who} {status} {text}: {:?}",
            classify(&settings, reply)
        ));
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn retry_after_is_seconds_or_a_date_within_bounds() {
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    for (text, seconds) in [
        ("7", 7),
        ("0", 1),
        ("-3", 1),
        ("99999", 3_600),
        ("soon", 30),
        ("NaN", 30),
        ("Wed, 21 Oct 2026 07:28:42 GMT", 42),
        ("Wed, 21 Oct 2020 07:28:42 GMT", 1),
        ("Wed, 21 Oct 2026 07:28:42 +0000", 42),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 30),
    ] {
        let reply = Reply::Http {
            status: 429,
            retry_after: Some(text.into()),
            date: Some(date.into()),
            body: String::new(),
        };
        assert_eq!(retry_after(&reply), Duration::from_secs(seconds), "{text}");
    }
}
