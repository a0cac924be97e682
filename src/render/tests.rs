use super::*;
use crate::model::{Severity, Timestamp};

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

pub(crate) fn about(kind: &str, condition: Option<&str>, reason: Reason, subjects: Vec<Subject>) -> Notification {
    let over = matches!(reason, Reason::Resolved | Reason::Recovered);
    let ends = over.then(|| Timestamp::from_millis(T0 + 600_000));
    let subjects: Vec<Subject> = subjects.into_iter().map(|s| Subject { ends_at: ends, ..s }).collect();
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
    format!("{} | {}", markup::plain(&message.title), markup::plain(&message.text))
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
        say(about("AP_DISCONNECTED", off, Reason::First, vec![ap("AP kitchen", 1), ap("hall", 2), ap("attic", 3)])),
        say(about("AP_CONNECTED", off, Reason::Resolved, one())),
        say(Notification { firing: 2, ..about("AP_CONNECTED", off, Reason::Recovered, one()) }),
        say(about("AP_DISCONNECTED", off, Reason::Repeat, one())),
        say(about("AP_DISCONNECTED", off, Reason::Stale, one())),
        say(Notification { more_since: 12, ..about("AP_DISCONNECTED", off, Reason::NewEvents, one()) }),
        say(about(
            "SW_PORT_DOWN",
            Some("sw_port"),
            Reason::First,
            vec![Subject { part: Some("ge-0/0/1".into()), ..ap("sw-1", 9) }],
        )),
        say(about("SOMETHING_NEW", None, Reason::First, one())),
        say(Notification {
            topic: "audits".into(),
            detail: Some("Update WLAN \"guest\"".into()),
            event: serde_json::json!({"admin_name": "Ann Lee"}),
            ..about("", None, Reason::First, vec![])
        }),
        say(Notification { more: 30, ..about("infra_dhcp_failure", Some("infra_dhcp"), Reason::First, one()) }),
        say(about("infra_dhcp_success", Some("infra_dhcp"), Reason::Resolved, one())),
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
                p.help.as_deref().unwrap_or_default().chars().take(40).collect::<String>()
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

#[test]
fn links_need_good_ids() {
    let message = Templates::builtin().with_portals([("mist".into(), "manage.eu.mist.com".into())]).render(about(
        "AP_DISCONNECTED",
        Some("ap_offline"),
        Reason::First,
        vec![ap("k", 0x5c5b_3500_0001)],
    ));
    assert_eq!(
        message.links[0].url,
        "https://manage.eu.mist.com/admin/?org_id=00000000-0000-0000-0000-000000000001#!ap/detail/00000000-0000-0000-1000-5c5b35000001/11111111-2222-3333-4444-555555555555"
    );
    let bad = Subject { site_id: Some("x\" onclick".into()), ..ap("k", 1) };
    assert!(Templates::builtin().render(about("AP_DISCONNECTED", None, Reason::First, vec![bad])).links.is_empty());
}

#[test]
fn digests_name_everyone_and_fold_again() {
    let templates = Templates::builtin();
    let mut waiting: Vec<Message> = (0..2_000)
        .map(|i| Notification {
            incident: format!("i{i}"),
            severity: if i % 7 == 0 { Severity::Critical } else { Severity::Info },
            ..about("AP_DISCONNECTED", Some("ap_offline"), Reason::First, vec![ap(&format!("ap_{i:04}"), i)])
        })
        .map(|about| templates.render(about))
        .collect();
    waiting.push(templates.render(Notification {
        incident: "i3".into(),
        ..about("AP_CONNECTED", Some("ap_offline"), Reason::Resolved, vec![ap("ap_0003", 3)])
    }));
    let once = templates.digest(&waiting);
    let again = templates.digest(&once);
    for digests in [&once, &again] {
        let text: String = digests.iter().map(|m| markup::plain(&m.text)).collect();
        assert!((0..2_000).all(|i| text.contains(&format!("ap_{i:04}"))), "{text}");
        assert!(text.contains("ap_0003 was down 20:52 UTC to 21:02 UTC"), "{text}");
        assert!(digests.len() < 20, "{}", digests.len());
        // each page alone still names all its own
        let apart: String = digests
            .iter()
            .flat_map(|m| templates.digest(std::slice::from_ref(m)))
            .map(|m| markup::plain(&m.text))
            .collect();
        assert!((0..2_000).all(|i| apart.contains(&format!("ap_{i:04}"))));
        assert!(
            digests.iter().all(|m| m.about.severity == Severity::Critical && m.about.incident.starts_with("digest-"))
        );
    }
    assert!(templates.digest(&[]).is_empty());
}

#[test]
fn one_incident_over_several_pages_is_not_lost_when_a_page_is_folded_again() {
    let templates = Templates::builtin();
    let subjects: Vec<Subject> = (0..2_000).map(|i| ap(&format!("ap_{i:04}"), i)).collect();
    let down = Notification { more: 5, ..about("AP_DISCONNECTED", Some("ap_offline"), Reason::First, subjects) };
    let pages = templates.digest(&[templates.render(down)]);
    let apart: String = pages.iter().flat_map(|m| templates.digest(std::slice::from_ref(m))).map(|m| m.text).collect();
    assert!(pages.len() > 1 && apart.contains("5 more"));
    assert!((0..2_000).all(|i| apart.contains(&format!("ap_{i:04}"))));
}

#[test]
fn a_body_is_a_tree_no_value_can_break() {
    let body = Body::compile(&serde_json::json!({"t": "{{title}}", "n": 3, "list": ["{{fmt_names subjects}}", "{{fmt_time at}}", "{{event.q}}"]})).unwrap();
    let event = serde_json::json!({"q": "\"*<x>"});
    let message = Templates::builtin().render(Notification {
        event,
        ..about("AP_DISCONNECTED", Some("ap_offline"), Reason::First, vec![ap("k\"*", 1)])
    });
    let expected =
        serde_json::json!({"t": "AP k\"* is offline", "n": 3, "list": ["k\"*", "2026-09-23T21:02:00Z", "\"*<x>"]});
    assert_eq!(body.render(&message), expected);
    assert_eq!(Body::compile(&serde_json::json!({"a": ["{{x}}"]})).unwrap_err()[0].file, "body.a.0");
}
