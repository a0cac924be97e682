//! The rules over the API, on the whole application: what is shown, refused, compared and put in
//! force.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::Config;
use crate::web::document_tests::conforms_as;

const RULES: &str = "\
destinations:
  # secrets are written here on purpose
  ops: {slack: {url: \"http://127.0.0.1:1/services/canary\"}}
rules:
  - name: AP unreachable
    match: {condition: ap_offline}
    group_wait: 0s
tests:
  - name: an AP that is gone is told
    events: [{at: 0s, type: AP_DISCONNECTED, device: ap-1}]
    until: 1m
    expect: [{rule: AP unreachable}]
";
const EDITABLE: &str = "server: {edit_rules: true}\n";

struct Served {
    address: String,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), Error>>,
    client: reqwest::Client,
    csrf: String,
    dir: tempfile::TempDir,
}

impl Served {
    async fn with(rules: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules.yaml");
        std::fs::write(&file, rules).unwrap();
        let config = Config::load(Some(&file), &|_| None).unwrap();
        let templates = config.load_templates().unwrap();
        let instead = Instead {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            data: None,
        };
        let (tell, told) = tokio::sync::oneshot::channel();
        let running = tokio::spawn(run_by(
            Clock::system(),
            config,
            templates,
            instead,
            move |_, running| {
                let _ = tell.send((running.address, running.stop));
            },
        ));
        let (address, stop) = told.await.unwrap();
        let client = crate::wire::direct().unwrap();
        let mut served = Self {
            address: format!("http://{address}"),
            stop,
            running,
            client,
            csrf: String::new(),
            dir,
        };
        let (_, me) = served.ask("GET", "me", None).await;
        served.csrf = me["csrf"].as_str().unwrap().to_owned();
        served
    }

    /// What is answered: it conforms to the document, and shows no secret.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/api/v1/{path}", self.address);
        let mut request = self
            .client
            .request(method.parse().unwrap(), url)
            .header("x-csrf-token", &self.csrf);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert!(!text.contains("canary"), "{text}");
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        conforms_as(
            &method.to_lowercase(),
            &format!("/api/v1/{path}"),
            &status.to_string(),
            &body,
        );
        (status, body)
    }

    async fn sheet(&self) -> Value {
        let (status, sheet) = self.ask("GET", "rules", None).await;
        assert_eq!(status, 200, "{sheet}");
        sheet
    }

    async fn put(&self, sheet: &Value, text: &str) -> (u16, Value) {
        self.ask(
            "PUT",
            "rules",
            Some(json!({"text": text, "version": sheet["version"]})),
        )
        .await
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("rules.yaml")
    }

    fn written(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

fn shown(sheet: &Value) -> String {
    sheet["text"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_look_sees_the_rules_and_tries_changes_but_changes_nothing() {
    let failing = RULES.replace("expect: [{rule: AP unreachable}]", "expect: []");
    let served = Served::with(&failing).await;
    let sheet = served.sheet().await;
    assert_eq!(
        shown(&sheet),
        failing.replace("\"http://127.0.0.1:1/services/canary\"", "<hidden 1>")
    );
    assert_eq!(
        (&sheet["differs"], &sheet["edit"]),
        (&json!(false), &json!(false))
    );
    assert!(
        sheet["why_not"]
            .as_str()
            .unwrap()
            .contains("edit_rules: true"),
        "{sheet}"
    );
    assert_eq!(
        (
            &sheet["problems"][0]["severity"],
            &sheet["problems"][0]["line"]
        ),
        (&json!("warning"), &json!(0))
    );
    assert_eq!(
        (&sheet["tests"][0]["passed"], &sheet["tests"][0]["line"]),
        (&json!(false), &json!(9))
    );
    assert!(
        sheet["tests"][0]["text"]
            .as_str()
            .unwrap()
            .contains("UNEXPECTED"),
        "{sheet}"
    );

    let better = shown(&sheet).replace("expect: []", "expect: [{rule: AP unreachable}]");
    let (status, found) = served
        .ask("POST", "rules/check", Some(json!({"text": better})))
        .await;
    assert_eq!(
        (status, &found["tests"][0]["passed"]),
        (200, &json!(true)),
        "{found}"
    );
    let worse = better
        .replace("condition: ap_offline", "condition: ap_ofline")
        .replace("group_wait: 0s", "for: long");
    let (status, found) = served
        .ask("POST", "rules/check", Some(json!({"text": worse})))
        .await;
    let lines: Vec<&Value> = found["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| &problem["line"])
        .collect();
    assert_eq!(
        (status, found["tests"].as_array().unwrap().len()),
        (200, 0),
        "{found}"
    );
    assert!(
        lines.contains(&&json!(6)) && lines.contains(&&json!(7)),
        "{found}"
    );

    let (status, refused) = served.put(&sheet, &better).await;
    assert_eq!(status, 403, "{refused}");
    assert!(
        refused["help"].as_str().unwrap().contains("edit_rules"),
        "{refused}"
    );

    let made = |name: &str| {
        format!(
            "rules:\n  - name: {name}\n    match:\n      condition: ap_offline\n    for: 3m\n\ntests:\n  - name: it is told\n    events:\n      \
         - {{at: 0s, type: AP_DISCONNECTED, device: ap-1}}\n    expect:\n      - {{at: 1s, rule: Nothing, reason: first}}\n"
        )
    };
    let (status, held) = served
        .ask(
            "POST",
            "rules/rehearse",
            Some(json!({"text": made("\"More \u{2764}\"")})),
        )
        .await;
    assert_eq!(status, 200, "{held}");
    let expected: Vec<&str> = held["text"]
        .as_str()
        .unwrap()
        .lines()
        .skip_while(|l| !l.contains("expect:"))
        .collect();
    let lines = [
        "    expect:",
        "      - {at: 0s, rule: \"AP unreachable\", reason: first}",
        "      - {at: 3m10s, rule: \"More \\U00002764\", reason: first}",
    ];
    assert_eq!(expected, lines);
    let (status, same_name) = served
        .ask(
            "POST",
            "rules/rehearse",
            Some(json!({"text": made("AP unreachable")})),
        )
        .await;
    assert_eq!(
        (status, same_name["problems"][0]["line"].as_u64()),
        (422, Some(0)),
        "{same_name}"
    );
    let whole = made("More");
    let no_expect = &whole[..whole.find("    expect:").unwrap()];
    for text in [
        "",
        "~",
        "rules: []",
        "[]",
        "tests: {",
        "tests: 1",
        "a: &a [*a]",
        no_expect,
    ] {
        let (status, refused) = served
            .ask("POST", "rules/rehearse", Some(json!({"text": text})))
            .await;
        assert_eq!(status, 422, "{text}: {refused}");
        assert!(
            !refused["problems"].as_array().unwrap().is_empty(),
            "{text}: {refused}"
        );
    }
    assert_eq!(served.written(), failing);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_written_kept_and_in_force() {
    let before = format!("{EDITABLE}{RULES}");
    let served = Served::with(&before).await;
    let sheet = served.sheet().await;
    assert_eq!(
        (&sheet["edit"], &sheet["why_not"]),
        (&json!(true), &Value::Null)
    );
    let changed = shown(&sheet).replace("group_wait: 0s", "group_wait: 5s");
    // Two at once: one wins, the other is told that the file is another.
    let another = changed.replace("5s", "6s");
    let (one, other) = tokio::join!(served.put(&sheet, &changed), served.put(&sheet, &another));
    let (won, lost) = if one.0 == 200 {
        (one.1, other)
    } else {
        (other.1, one)
    };
    assert_eq!(
        (&won["reloaded"], lost.0, &lost.1["version"]),
        (&json!(true), 409, &won["version"]),
        "{lost:?}"
    );
    let now = served.sheet().await;
    assert_eq!(
        (&now["version"], &now["differs"]),
        (&won["version"], &json!(false))
    );
    assert!(shown(&now).contains("group_wait: 5s") || shown(&now).contains("group_wait: 6s"));
    assert!(served.written().contains("services/canary") && !served.written().contains("hidden"));
    assert_eq!(
        std::fs::read_to_string(served.dir.path().join("rules.yaml.previous")).unwrap(),
        before
    );

    let (status, said) = served.put(&now, &shown(&now)).await;
    assert_eq!(status, 200, "nothing to write is no fault: {said}");
    assert_eq!(
        std::fs::read_to_string(served.dir.path().join("rules.yaml.previous")).unwrap(),
        before
    );
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_applied_is_refused_and_nothing_is_written() {
    let before = format!("{EDITABLE}{RULES}");
    let served = Served::with(&before).await;
    let sheet = served.sheet().await;
    let text = shown(&sheet);
    for (edited, why) in [
        (text.replace("ap_offline", "ap_ofline"), "did you mean"),
        (text.replace("rules:", "rules: ["), "not YAML"),
        (
            text.replace(
                "edit_rules: true",
                "edit_rules: true, listen: \"0.0.0.0:80\"",
            ),
            "change that in the file itself",
        ),
        (
            text.replace("<hidden 1>", "\"file:/etc/hostname\""),
            "change that in the file itself",
        ),
        (
            text.replace("<hidden 1>", "<hidden 2>"),
            "no hidden value has this number",
        ),
        (
            text.replace("name: AP unreachable", "name: <hidden 1>"),
            "is not in its original place",
        ),
        (
            text.replace("expect: [{rule: AP unreachable}]", "expect: []"),
            "UNEXPECTED",
        ),
        (format!("rules: &a [*a]\n{text}"), "YAML"),
    ] {
        let (status, refused) = served.put(&sheet, &edited).await;
        assert_eq!(status, 422, "{edited}\n{refused}");
        assert!(refused.to_string().contains(why), "{why}: {refused}");
        let (status, checked) = served
            .ask("POST", "rules/check", Some(json!({"text": edited})))
            .await;
        assert_eq!(
            (status, &checked["problems"]),
            (200, &refused["problems"]),
            "{checked}"
        );
    }
    assert_eq!(served.written(), before);
    assert!(!served.dir.path().join("rules.yaml.previous").exists());

    let long = json!({"text": "#".repeat(300_000), "version": sheet["version"]});
    assert_eq!(served.ask("PUT", "rules", Some(long)).await.0, 413);
    for body in [json!({"text": 1}), json!({"txt": ""}), json!([])] {
        assert_eq!(served.ask("POST", "rules/check", Some(body)).await.0, 400);
    }
    for since in ["soon", "0s", "900d"] {
        assert_eq!(
            served
                .ask("POST", "replay-diff", Some(json!({"since": since})))
                .await
                .0,
            400,
            "{since}"
        );
    }
    for (method, path, allow) in [
        ("DELETE", "rules", "GET, HEAD, PUT"),
        ("GET", "rules/check", "POST"),
        ("GET", "rules/rehearse", "POST"),
    ] {
        let url = format!("{}/api/v1/{path}", served.address);
        let request = served
            .client
            .request(method.parse().unwrap(), url)
            .header("x-csrf-token", &served.csrf);
        let response = request.send().await.unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                response.headers()["allow"].to_str().unwrap()
            ),
            (405, allow)
        );
    }
    let forged = served
        .client
        .put(format!("{}/api/v1/rules", served.address))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status().as_u16(), 403);

    let fails = text.replace("expect: [{rule: AP unreachable}]", "expect: []");
    let despite = json!({"text": fails, "version": sheet["version"], "despite_tests": true});
    assert_eq!(served.ask("PUT", "rules", Some(despite)).await.0, 200);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_broken_or_elsewhere_is_told() {
    let served = Served::with(&format!("{EDITABLE}{RULES}")).await;
    let good = served.sheet().await;
    std::fs::write(served.file(), format!("{EDITABLE}rules: [\"canary\n")).unwrap();
    let sheet = served.sheet().await;
    assert_eq!(
        (&sheet["differs"], &sheet["text"]),
        (&json!(true), &good["text"])
    );
    assert!(
        sheet["problems"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("in the file, line"),
        "{sheet}"
    );
    assert_eq!(
        served.put(&good, &shown(&good)).await.0,
        409,
        "it is not the file that was shown"
    );
    let (status, said) = served.put(&sheet, &shown(&sheet)).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(served.written(), format!("{EDITABLE}{RULES}"));
    std::fs::remove_file(served.file()).unwrap();
    assert_eq!(served.ask("GET", "rules", None).await.0, 500);
    assert_eq!(served.put(&sheet, &shown(&sheet)).await.0, 500);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_folder_cannot_be_written_stays_and_the_answer_says_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let served = Served::with(&format!("{EDITABLE}{RULES}")).await;
    let sheet = served.sheet().await;
    let mode = |mode| {
        std::fs::set_permissions(served.dir.path(), std::fs::Permissions::from_mode(mode)).unwrap()
    };
    // For root no folder is read-only: then a folder stands in the way.
    mode(0o555);
    let in_the_way = std::fs::create_dir(served.dir.path().join("rules.yaml.previous")).is_ok();
    let (status, refused) = served
        .put(
            &sheet,
            &shown(&sheet).replace("group_wait: 0s", "group_wait: 5s"),
        )
        .await;
    mode(0o755);
    assert_eq!(status, 500, "{refused} {in_the_way}");
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("cannot be written"),
        "{refused}"
    );
    assert_eq!(served.written(), format!("{EDITABLE}{RULES}"));
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_change_would_have_told_is_compared() {
    let served = Served::with(RULES).await;
    let event = json!({"type": "AP_DISCONNECTED", "device_name": "ap-1", "mac": "5c5b35000001", "device_type": "ap",
        "site_name": "Home", "site_id": "s-1"});
    let body = json!({"topic": "device-events", "events": [event]}).to_string();
    let posted = served
        .client
        .post(format!("{}/mist", served.address))
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status().as_u16(), 200);
    let text =
        shown(&served.sheet().await).replace("condition: ap_offline", "condition: switch_offline");
    let (status, found) = served
        .ask(
            "POST",
            "replay-diff",
            Some(json!({"text": text, "since": "7d"})),
        )
        .await;
    assert_eq!(status, 200, "{found}");
    assert!(
        found["headline"]
            .as_str()
            .unwrap()
            .starts_with("last 7 days: 1 -> 0 messages; would have missed: ap-1")
    );
    assert_eq!(
        found["rules"],
        json!([{"rule": "AP unreachable", "before": 1, "after": 0}])
    );
    assert_eq!(found["missed"][0]["device"], "ap-1");
    let (status, found) = served
        .ask("POST", "replay-diff", Some(json!({"since": "1d"})))
        .await;
    assert_eq!(
        (
            status,
            &found["before"]["messages"],
            &found["after"]["messages"]
        ),
        (200, &json!(1), &json!(1))
    );
    let (status, refused) = served
        .ask(
            "POST",
            "replay-diff",
            Some(json!({"text": "rules: 1", "since": "7d"})),
        )
        .await;
    assert_eq!(status, 422, "{refused}");
    served.end().await;
}

#[tokio::test]
async fn the_built_in_rules_are_shown() {
    let loaded = Config::load(None, &|_| None).unwrap();
    assert!(
        crate::rulebook::Hidden::of(&loaded.text, "")
            .is_some_and(|hidden| hidden.text() == loaded.text)
    );
}
