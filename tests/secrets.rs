//! Every secret of a config that has one in each place: nowhere in what Foghorn keeps, logs, shows
//! or prints, in any spelling.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod support;

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use support::{Foghorn, binary, device_event, eventually};
use warp::Filter;

/// One in each place where a secret may stand.
const SECRETS: [&str; 19] = [
    "srcliteral~9Kx1",
    "srcenv~9Kx2",
    "srcfile~9Kx3",
    "pathtoken9Kx4",
    "querytoken9Kx5",
    "urlpass~9Kx6",
    "header~9Kx7",
    "headerenv~9Kx8",
    "headerfile~9Kx9",
    "bodyleaf~9Kx10",
    "bodydeep~9Kx11",
    "bodymixed~9Kx12",
    "envpath9Kx13",
    "filepath9Kx14",
    "urluser~9Kx15",
    "slackpath9Kx16",
    "teamssig9Kx17",
    "commented~9Kx18",
    "remarked~9Kx19",
];
/// A comment beside a rule is shown on the page, and not kept.
const REMARK: &str = "rulecomment~9Kx20";

/// Answers as services do that repeat what they were asked: the first post of a path is refused for
/// now, the others for good.
async fn echo() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let filter = warp::any()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::body::bytes())
        .map(
            move |path: warp::path::FullPath,
                  query: String,
                  headers: warp::http::HeaderMap,
                  body: bytes::Bytes| {
                let path = path.as_str().to_owned();
                let is_first = asked.lock().unwrap().insert(path.clone());
                let auth = headers.get("authorization").map(|v| v.to_str().unwrap());
                let extra = headers.get("x-extra").map(|v| v.to_str().unwrap());
                let body = String::from_utf8_lossy(&body);
                // The body ends in what would else be cut off.
                let tail: String = body.chars().rev().take(60).collect();
                let tail: String = tail.chars().rev().collect();
                let text = match query.len() + path.len() {
                    n if n % 2 == 0 => format!("{path}?{query} {auth:?} {extra:?} {tail}"),
                    _ => format!("{tail} {auth:?} {path}?{query}"),
                };
                let status = if is_first { 500 } else { 400 };
                warp::http::Response::builder()
                    .status(status)
                    .body(text)
                    .unwrap()
            },
        )
        .boxed();
    tokio::spawn(warp::serve(filter).incoming(listener).run());
    address
}

fn config(chat: std::net::SocketAddr, hash: &str) -> String {
    let s = SECRETS;
    let secret = support::SECRET;
    format!(
        r##"server:
  edit_rules: true
  password: '{hash}'
sources:
  mist: {{secrets: ["{secret}", "{}", "env:SOURCE", "file:source.txt"]}}
destinations:
  slack: {{slack: {{url: "http://{chat}/services/T0/B0/{}"}}, retry: {{first: 50ms, max: 50ms}}}} # the channel
  teams: {{teams: {{url: "http://{chat}/workflows/x?sig={}"}}, retry: {{first: 50ms, max: 50ms}}}}
  hook:
    retry: {{first: 50ms, max: 50ms}}
    webhook:
      url: "http://{}:{}@{chat}/hook/{}?token={}"
      headers: {{Authorization: "Bearer {}", X-Extra: "env:HEADER"}}
      body:
        text: "{{{{title}}}}"
        routing: {}
        deep: [{{er: '{}'}}]
        mixed: "{} {{{{title}}}}"
  of_env: {{webhook: {{url: "env:URL", headers: {{X-Extra: "file:header.txt"}}}}, retry: {{first: 50ms, max: 50ms}}}}
  of_file: {{webhook: {{url: "file:url.txt"}}, retry: {{first: 50ms, max: 50ms}}}}
  # old: {{webhook: {{url: "env:X", body: {{routing: {}}}}}}}
  # see https://hooks.example/{}
rules:
  - name: sentinel rule # {}
    match: {{condition: ap_offline}}
    group_wait: 0s
tests:
  - {{name: t, events: [{{at: 0s, type: AP_DISCONNECTED, device: ap-1}}], expect: [{{rule: sentinel rule}}]}}
"##,
        s[0], s[15], s[16], s[14], s[5], s[3], s[4], s[6], s[9], s[10], s[11], s[17], s[18], REMARK,
    )
}

/// A secret as it may be spelt: as it is, by percents, and within base64 whatever stands before it.
fn spellings(secret: &str) -> Vec<String> {
    let hex = |c: char| format!("%{:02X}", u32::from(c));
    let percent: String = secret
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_string()
            } else {
                hex(c)
            }
        })
        .collect();
    let mut all = vec![secret.to_owned(), percent.to_lowercase(), percent];
    for shift in 0..3 {
        let padded = format!("{}{secret}", "x".repeat(shift));
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            // Its first and last letters depend on what stands beside it.
            let spelt = engine.encode(&padded);
            all.push(spelt[(shift * 8).div_ceil(6)..spelt.len() - 2].to_owned());
        }
    }
    all
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_kept_logged_shown_or_printed() {
    let chat = echo().await;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let s = SECRETS;
    let urls = [12, 13].map(|n| format!("http://{chat}/of/{}", s[n]));
    for (name, text) in [
        ("source.txt", s[2]),
        ("header.txt", s[8]),
        ("url.txt", urls[1].as_str()),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let environment = |command: &mut std::process::Command| {
        command
            .current_dir(dir)
            .env("SOURCE", s[1])
            .env("HEADER", s[7])
            .env("URL", &urls[0]);
    };
    let run = |args: &[&str]| {
        let mut command = binary();
        environment(&mut command);
        let output = command.args(args).output().unwrap();
        [output.stdout, output.stderr].concat()
    };

    let mut hashing = binary();
    let mut hashing = hashing
        .arg("hash-password")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut hashing.stdin.take().unwrap(), b"a long password\n").unwrap();
    let hash = String::from_utf8(hashing.wait_with_output().unwrap().stdout).unwrap();
    let hash = hash.trim();
    let rules = config(chat, hash);
    std::fs::write(dir.join("rules.yaml"), &rules).unwrap();
    let mut serve = binary();
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    environment(&mut serve);
    let foghorn = Foghorn::start_by(serve, dir).await;
    let token = std::fs::read_to_string(dir.join("data/token")).unwrap();
    let client = foghorn::wire::direct().unwrap();
    let ask = async |method: &str, path: &str, body: Option<Value>| {
        let mut request = client
            .request(
                method.parse().unwrap(),
                format!("{}{path}", foghorn.address),
            )
            .bearer_auth(token.trim());
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap().text().await.unwrap()
    };

    // Every destination refuses twice, repeating what it was sent.
    for n in 0..2 {
        foghorn
            .post("device-events", json!([device_event("AP_DISCONNECTED", n)]))
            .await;
    }
    eventually("refusals by each", || {
        let logged = foghorn.logged();
        ["slack", "teams", "hook", "of_env", "of_file"]
            .iter()
            .all(|name| logged.contains(&format!("destination={name}")))
            .then_some(())
    })
    .await;
    // A reload that is good, and ones that are not: each prints other lines.
    let force = async |text: &str, said: &str| {
        let before = foghorn.logged().matches(said).count();
        std::fs::write(dir.join("rules.yaml"), text).unwrap();
        foghorn.signal("HUP");
        eventually(said, || {
            (foghorn.logged().matches(said).count() > before).then_some(())
        })
        .await;
    };
    force(
        &rules.replace("group_wait: 0s", "group_wait: 1s"),
        "is in force",
    )
    .await;
    let mut printed = Vec::new();
    for (from, to) in [
        ("secrets: [", "secretz: ["),
        ("password:", "passwort:"),
        ("      headers:", "      header:"),
        ("        routing:", "        routing"),
        ("      body:", "      bodi:"),
        ("  teams: {teams", "  teams: {team"),
        ("    webhook:", "    webhok:"),
        ("destinations:", "destination:"),
    ] {
        assert!(rules.contains(from), "{from}");
        let broken = rules.replacen(from, to, 1);
        std::fs::write(dir.join("broken.yaml"), &broken).unwrap();
        printed.push((
            format!("check {to}"),
            run(&["--config", "broken.yaml", "check"]),
        ));
        if from.starts_with("      body") {
            force(&broken, "stay in force").await;
            printed.push((
                "broken rules".into(),
                ask("GET", "/api/v1/rules", None).await.into(),
            ));
        }
    }
    force(&rules, "is in force").await;

    let events = ask("GET", "/api/v1/events", None).await;
    let events: Value = serde_json::from_str(&events).unwrap();
    let one = format!(
        "/api/v1/events/{}",
        events["events"][0]["id"].as_str().unwrap()
    );
    for path in [
        "/",
        "/metrics",
        "/readyz",
        "/healthz",
        "/api/v1/me",
        "/api/v1/events",
        one.as_str(),
        "/api/v1/incidents",
        "/api/v1/destinations",
        "/api/v1/feed",
        "/api/v1/noise?since=1d",
        "/api/v1/silences",
        "/api/v1/tune?since=1d",
        "/api/v1/rules",
    ] {
        printed.push((path.to_owned(), ask("GET", path, None).await.into()));
    }
    let shown = ask("GET", "/api/v1/rules", None).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let text = shown["text"].as_str().unwrap();
    assert!(
        text.contains("sentinel rule") && text.contains("# the channel"),
        "{text}"
    );
    for (method, path, body) in [
        (
            "POST",
            "/api/v1/rules/check",
            json!({"text": text.replace("url:", "uri:")}),
        ),
        (
            "POST",
            "/api/v1/rules/rehearse",
            json!({"text": "rules: [{url: 1}]"}),
        ),
        ("POST", "/api/v1/replay-diff", json!({"since": "1d"})),
        (
            "PUT",
            "/api/v1/rules",
            json!({"text": text.replace("group_wait: 0s", "group_wait: 2s"), "version": shown["version"]}),
        ),
    ] {
        let answered = ask(method, path, Some(body)).await;
        printed.push((path.to_owned(), answered.into()));
    }
    let written = std::fs::read_to_string(dir.join("rules.yaml")).unwrap();
    assert_eq!(written, rules.replace("group_wait: 0s", "group_wait: 2s"));
    for args in [
        &["check"] as &[&str],
        &["check", "--explain"],
        &["test"],
        &["explain", "--device", "ap-1"],
        &["export"],
        &["replay", "--stored", "--since", "1d"],
        &[
            "replay",
            "--stored",
            "--since",
            "1d",
            "--diff",
            "rules.yaml.previous",
        ],
        &["tune"],
        &["doctor"],
        &["dead-letters"],
        &["send-test", "hook"],
        &["send-test", "of_env"],
    ] {
        printed.push((args.join(" "), run(args)));
    }
    printed.push(("the log".into(), foghorn.logged().into()));
    let data = files(&dir.join("data"));
    foghorn.stop().await;
    let data = data.into_iter().chain(files(&dir.join("data")));

    let found = |parts: Vec<String>, places: &[(String, Vec<u8>)]| {
        let any: Vec<String> = parts.iter().map(|part| regex::escape(part)).collect();
        let any = regex::bytes::Regex::new(&any.join("|")).unwrap();
        let mut found = std::collections::BTreeSet::new();
        for (name, bytes) in places {
            for part in any.find_iter(bytes) {
                found.insert(format!(
                    "{} in {name}",
                    String::from_utf8_lossy(part.as_bytes())
                ));
            }
        }
        found.into_iter().collect::<Vec<_>>()
    };
    let data: Vec<_> = data.collect();
    // What is searched for would be found.
    let there = found(vec!["sentinel rule".into(), "ap-1".into()], &data);
    assert!(there.len() >= 2, "{there:?}");
    let kept = found(spellings(REMARK), &data);
    let places: Vec<_> = printed
        .into_iter()
        .chain(
            data.into_iter()
                .filter(|(name, _)| !name.ends_with("token")),
        )
        .collect();
    let secrets = s.into_iter().chain([support::SECRET, "a long password"]);
    let spellings = secrets.chain(hash.split('$').skip(4)).flat_map(spellings);
    let leaks = [kept, found(spellings.collect(), &places)].concat();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}
