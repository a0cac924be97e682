use super::*;
use crate::model::Timestamp;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

#[test]
fn findings_read_so() {
    let now = at("2026-11-24T04:00:00Z");
    let zone = || Ok("Europe/Berlin".to_owned());
    let day = Some(std::time::Duration::from_secs(86_400));
    let findings = [
        machine::clock(now, zone(), &[], day),
        machine::clock(
            now,
            zone(),
            &[("slack".into(), -1), ("teams".into(), 90)],
            day,
        ),
        machine::clock(now, zone(), &[("slack".into(), 90)], day),
        machine::clock(now, zone(), &[("slack".into(), -3_600)], day),
        machine::clock(now, zone(), &[("slack".into(), -90_000)], day),
        machine::clock(now, zone(), &[("slack".into(), -90_000)], None),
        machine::clock(
            now,
            zone(),
            &[("slack".into(), -90_000), ("teams".into(), 2)],
            day,
        ),
        machine::clock(now, Err("no /etc/localtime".into()), &[], day),
        machine::clock(at("1970-01-01T00:00:09Z"), zone(), &[], day),
        machine::judge_room(1 << 20, 1 << 30),
        machine::judge_room(1 << 29, 1 << 30),
        machine::judge_room(1 << 33, 1 << 30),
    ];
    insta::assert_snapshot!(report::print(&findings));
    assert_eq!(report::worst(&findings), CheckStatus::Problem);
}

#[test]
fn how_full_it_is_reads_so() {
    let alerts = |open: u64, full: serde_json::Value| {
        let rules =
            serde_json::json!([{"rule": "Uplinks", "open": open / 2}, {"rule": "APs", "open": 9}]);
        let alerts = serde_json::json!({
            "open": open, "limit": 16_000, "rules": rules, "full_since": full, "passed_on": 12,
        });
        server::followed(&serde_json::json!({"alerts": alerts}).to_string()).unwrap()
    };
    let findings = [
        alerts(12, serde_json::Value::Null),
        alerts(12_800, serde_json::Value::Null),
        alerts(16_000, "2026-11-24T04:00:00Z".into()),
    ];
    let said = report::print(&findings);
    for part in [
        "12 of 16000 alerts are open",
        "12800 of 16000 alerts are open; Uplinks holds 6400, APs holds 9",
        "12 events notified without an alert; Uplinks holds 8000",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert_eq!(report::worst(&findings), CheckStatus::Problem);
}

#[test]
fn what_the_server_counted_reads_so() {
    let metrics = |refused: u64, taken: u64, dead: u64, version: &str| {
        let text = format!(
            "foghorn_posts_total{{source=\"mist\",answer=\"200\"}} {taken}\nfoghorn_posts_total{{source=\"mist\",answer=\"401\"}} {refused}\n\
             foghorn_message_fates{{destination=\"slack\",fate=\"dead\"}} {dead}\nfoghorn_build_info{{version=\"{version}\"}} 1\n"
        );
        report::print(&server::counted(&text))
    };
    let mine = env!("CARGO_PKG_VERSION");
    let said = [
        metrics(0, 12, 0, mine),
        metrics(3, 12, 1, mine),
        metrics(3, 0, 0, mine),
        metrics(0, 0, 0, "0.0.1"),
    ];
    insta::assert_snapshot!(said.join("--\n"));
}

#[test]
fn how_destinations_do_reads_so() {
    let answer = serde_json::json!({"destinations": [
        {"name": "fine", "queued": 3, "oldest": "2026-11-24T03:59:00Z", "last_success": "2026-11-24T03:59:58Z", "state": "ok"},
        {"name": "revoked", "queued": 35, "oldest": "2026-11-24T01:59:00Z", "last_success": "2026-11-23T03:59:58Z",
         "last_error": {"at": "2026-11-24T03:30:00Z", "why": "404 no_service"}, "state": "refuses"},
        {"name": "down", "queued": 1, "oldest": "2026-11-24T03:58:00Z", "last_success": null,
         "last_error": {"at": "2026-11-24T03:59:57Z", "why": "503"}, "state": "paused"},
        {"name": "flaky", "queued": 0, "oldest": null, "last_success": "2026-11-24T03:00:00Z",
         "last_error": {"at": "2026-11-24T03:59:57Z", "why": "timeout"}, "state": "fails"},
        {"name": "slow", "queued": 900, "oldest": "2026-11-24T03:00:00Z", "last_success": "2026-11-24T03:59:58Z", "state": "ok"},
        {"name": "old", "queued": 2, "oldest": "2026-11-23T04:00:00Z", "state": "gone"},
        {"name": "older", "queued": 0, "oldest": null, "state": "gone"},
    ]});
    let findings = server::told(&answer.to_string(), at("2026-11-24T04:00:00Z"));
    insta::assert_snapshot!(report::print(&findings));
}

#[test]
fn variables_are_read_as_systemd_does() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "# a=1\n; b=2\nC = 3\nD=\"four = 4\"\n  E='5'\nnothing\nF=\n",
    )
    .unwrap();
    let read: Vec<_> = variables(file.path()).unwrap().into_iter().collect();
    let expected = [("C", "3"), ("D", "four = 4"), ("E", "5"), ("F", "")];
    assert_eq!(
        read,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}
