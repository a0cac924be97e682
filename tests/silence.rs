//! Silencing a real server: by the command line, by the API, by the links of its messages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use support::{Chat, Foghorn, binary, device_event, eventually};

fn rules(chat: &Chat) -> String {
    format!(
        "server: {{public_url: \"https://foghorn.example.net\"}}\n\
         destinations:\n  slack: {{slack: {{url: \"{}\"}}, rate_limit: {{limit: 100, per: 1s, burst: 100}}}}\n\
         rules:\n  - name: AP unreachable\n    match: {{condition: ap_offline}}\n    group_wait: 0s\n    group_by: [device]\n",
        chat.url("/services/T0/B0/canary"),
    )
}

/// `foghorn ARGS` in the server's folder: exit code, and what it printed; of a failure, what it
/// said.
fn foghorn(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let done = binary()
        .args(args)
        .current_dir(dir)
        .env("USER", "anna")
        .output()
        .unwrap();
    let said = if done.status.success() {
        done.stdout
    } else {
        done.stderr
    };
    (
        done.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn text_of(message: &Value) -> String {
    message["text"].as_str().unwrap_or_default().to_owned()
}

fn said(chat: &Chat) -> String {
    chat.taken().iter().map(Value::to_string).collect()
}

#[tokio::test]
async fn the_command_line_silences_lists_and_ends() {
    let chat = Chat::start().await;
    let server = Foghorn::start(&rules(&chat)).await;
    let dir = server.dir.clone();
    let run = |args: &[&str]| foghorn(&dir, args);
    server
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    chat.wait_for(1).await;

    assert_eq!(
        run(&["silence", "list"]),
        (Some(0), "no silences in force\n".to_owned())
    );
    let (code, made) = run(&[
        "silence",
        "add",
        "condition=ap_offline",
        "--for",
        "2h",
        "--comment",
        "WAN work",
    ]);
    assert_eq!(code, Some(0), "{made}");
    let id = made.split(':').next().unwrap().to_owned();
    assert!(
        made.contains("silenced condition=ap_offline until ") && made.contains("(in 2 h)"),
        "{made}"
    );
    assert!(!made.contains("matches no open alert"), "{made}");
    let (_, listed) = run(&["silence", "list"]);
    assert!(
        listed.contains(&id) && listed.contains("by anna: WAN work"),
        "{listed}"
    );
    assert!(listed.contains("open alerts it matches: 1"), "{listed}");

    // Told down before, up is told; what goes down now is not, nor is its end.
    server
        .post("device-events", json!([device_event("AP_DISCONNECTED", 2)]))
        .await;
    server
        .post("device-events", json!([device_event("AP_CONNECTED", 2)]))
        .await;
    server
        .post("device-events", json!([device_event("AP_CONNECTED", 1)]))
        .await;
    chat.wait_for(2).await;
    assert!(
        !said(&chat).contains("ap-2") && said(&chat).contains("back"),
        "{}",
        said(&chat)
    );

    let (code, note) = run(&["silence", "add", "device=nobody", "--until", "morning"]);
    assert!(
        code == Some(0) && note.contains("note: it matches no open alert"),
        "{note}"
    );
    let json: Vec<Value> = run(&["silence", "list", "--format", "json"])
        .1
        .lines()
        .map(|l| l.parse().unwrap())
        .collect();
    assert_eq!(json.len(), 2);

    let (code, ended) = run(&["silence", "expire", &id]);
    assert!(
        code == Some(0) && ended.contains(&format!("ended {id}: condition=ap_offline")),
        "{ended}"
    );
    assert_eq!(run(&["silence", "expire", &id]).0, Some(2), "it is over");
    server
        .post("device-events", json!([device_event("AP_DISCONNECTED", 3)]))
        .await;
    chat.wait_for(3).await;
    assert!(said(&chat).contains("ap-3"));

    for (args, part) in [
        (&["devcie=x", "--for", "1h"][..], "did you mean \"device\"?"),
        (&["device=x"], "--for"),
        (&["device=x", "--for", "soon"], "not a duration"),
        (
            &["device=x", "--until", "2001-01-01T00:00:00Z"],
            "over at once",
        ),
        (&["--for", "1h"], "say --all"),
    ] {
        let (code, text) = run(&[&["silence", "add"], args].concat());
        assert!(
            code == Some(2) && text.contains(part),
            "{args:?}: {code:?} {text}"
        );
    }
    // The token is in one file, for its owner, and nowhere else.
    let file = dir.join("data/token");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let token = std::fs::read_to_string(&file).unwrap();
    assert!(!server.logged().contains(token.trim()) && !said(&chat).contains(token.trim()));
    assert!(
        server
            .logged()
            .contains(&format!("a silence begins id={id}")),
        "{}",
        server.logged()
    );
    std::fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
    let (code, text) = run(&["silence", "list"]);
    assert!(
        code == Some(1) && text.contains("does not accept the token"),
        "{text}"
    );
    std::fs::remove_file(&file).unwrap();
    let (code, text) = run(&["silence", "list"]);
    assert!(
        code == Some(1) && text.contains("cannot read the server's token"),
        "{text}"
    );
    assert!(dir.join("data/address").exists());
    server.stop().await;
}

#[tokio::test]
async fn without_a_server_the_command_line_says_so() {
    let chat = Chat::start().await;
    let server = Foghorn::start(&rules(&chat)).await;
    let (code, text) = foghorn(&server.dir, &["silence", "list", "--data", "elsewhere"]);
    assert!(
        code == Some(1) && text.contains("no server is running") && text.contains("--data"),
        "{text}"
    );
    // A config that is broken at the moment is not in the way.
    std::fs::write(server.dir.join("broken.yaml"), "rules: 7").unwrap();
    let list = ["--config", "broken.yaml", "silence", "list"];
    assert_eq!(foghorn(&server.dir, &list).0, Some(3));
    assert_eq!(
        foghorn(&server.dir, &[&list[..], &["--data", "data"]].concat()).0,
        Some(0)
    );
    let (code, text) = foghorn(
        &server.dir,
        &["silence", "list", "--server", "http://127.0.0.1:1"],
    );
    assert!(
        code == Some(1) && text.contains("no server answered at http://127.0.0.1:1/"),
        "{text}"
    );
    let (code, text) = foghorn(
        &server.dir,
        &["silence", "list", "--server", &server.address],
    );
    assert_eq!((code, text.as_str()), (Some(0), "no silences in force\n"));
    // Killed, it leaves its address behind: that is no server either.
    let dir = server.kill().unwrap();
    assert!(dir.path().join("data/address").exists());
    let (code, text) = foghorn(dir.path(), &["silence", "list"]);
    assert!(
        code == Some(1) && text.contains("no server is running"),
        "{text}"
    );
    let server = Foghorn::start_in(dir.path()).await;
    let (code, text) = foghorn(dir.path(), &["silence", "list"]);
    assert!(code == Some(0), "with the same token: {text}");
    server.stop().await;
    assert!(!dir.path().join("data/address").exists());
}

#[tokio::test]
async fn silences_survive_kill_9() {
    let chat = Chat::start().await;
    let server = Foghorn::start(&rules(&chat)).await;
    let add = ["silence", "add", "condition=ap_offline", "--for", "2h"];
    assert_eq!(foghorn(&server.dir, &add).0, Some(0));
    let dir = server.kill().unwrap();
    let server = Foghorn::start_in(dir.path()).await;
    let listed = eventually("the list", || {
        let (code, text) = foghorn(dir.path(), &["silence", "list"]);
        (code == Some(0)).then_some(text)
    })
    .await;
    assert!(listed.contains("condition=ap_offline"), "{listed}");
    server
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    server
        .until_metric("foghorn_events_total", "", |events| events >= 1.0)
        .await;
    assert!(
        server.metric("foghorn_messages_total", "").await < 1.0,
        "no message was made"
    );
    // Ended, it tells what still lasts.
    let id = listed.split(' ').next().unwrap();
    assert_eq!(foghorn(dir.path(), &["silence", "expire", id]).0, Some(0));
    assert!(text_of(&chat.wait_for(1).await[0]).contains("ap-1"));
    server.stop().await;
}

#[tokio::test]
async fn a_link_of_a_message_silences_by_its_button_only() {
    let chat = Chat::start().await;
    let server = Foghorn::start(&rules(&chat)).await;
    server
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    let message = chat.wait_for(1).await[0].to_string();
    for label in [
        "Silence 1 h",
        "Silence until morning",
        "Silence until resolved",
    ] {
        assert!(message.contains(label), "{message}");
    }
    let link = message
        .split("https://foghorn.example.net")
        .nth(1)
        .unwrap()
        .split(['|', '"', '>'])
        .next()
        .unwrap();
    let client = foghorn::wire::direct().unwrap();
    let url = format!("{}{link}", server.address);
    let host = |request: reqwest::RequestBuilder| request.header("host", "foghorn.example.net");
    let looked = host(client.get(&url)).send().await.unwrap();
    assert_eq!(looked.status(), 200);
    let page = looked.text().await.unwrap();
    assert!(
        page.contains("ap offline") && page.contains("ap-1 at Home"),
        "{page}"
    );
    assert_eq!(
        foghorn(&server.dir, &["silence", "list"]).1,
        "no silences in force\n"
    );

    let form = |request: reqwest::RequestBuilder, body: &'static str| {
        host(request)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
    };
    let pressed = form(client.post(&url), "for=resolved&author=Anna")
        .await
        .unwrap();
    assert_eq!(pressed.status(), 200);
    let page = pressed.text().await.unwrap();
    assert!(
        page.contains("until it is resolved") && page.contains("One alert that is open now"),
        "{page}"
    );
    let (_, listed) = foghorn(&server.dir, &["silence", "list"]);
    assert!(
        listed.contains("device_mac=5c5b35000001") && listed.contains("by Anna"),
        "{listed}"
    );

    let undo = page
        .split_once("action=\"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap()
        .0;
    let undone = form(
        client.post(format!("{}/silence/{undo}", server.address)),
        "",
    )
    .await
    .unwrap();
    assert_eq!(undone.status(), 200);
    assert_eq!(
        foghorn(&server.dir, &["silence", "list"]).1,
        "no silences in force\n"
    );
    // An up message has nothing to silence; no log line has a link.
    server
        .post("device-events", json!([device_event("AP_CONNECTED", 1)]))
        .await;
    let back = chat.wait_for(2).await[1].to_string();
    assert!(!back.contains("/silence/"), "{back}");
    assert!(
        !server.logged().contains("/silence/"),
        "{}",
        server.logged()
    );
    server.stop().await;
}

#[tokio::test]
async fn names_that_steer_a_terminal_are_printed_as_harmless_text() {
    const NAME: &str = "\u{1b}[31mred\u{7}\r\u{9b}1m\u{202e}evil";
    let chat = Chat::start().await;
    let server = Foghorn::start(&rules(&chat)).await;
    for n in 0..2 {
        let mut event = device_event(
            if n == 0 {
                "AP_DISCONNECTED"
            } else {
                "AP_CONNECTED"
            },
            1,
        );
        event["device_name"] = json!(format!("{NAME}\0"));
        event["site_name"] = json!(NAME);
        server.post("device-events", json!([event])).await;
        chat.wait_for(n + 1).await;
    }
    let token = std::fs::read_to_string(server.dir.join("data/token")).unwrap();
    let client = foghorn::wire::direct().unwrap();
    let asked = client
        .post(format!("{}/api/v1/silences", server.address))
        .bearer_auth(token.trim());
    let body = json!({"match": {"device": NAME, "site": NAME}, "for": "1h", "author": NAME, "comment": NAME});
    assert_eq!(asked.json(&body).send().await.unwrap().status(), 201);
    let device = format!("device={NAME}");
    let commands: [&[&str]; 12] = [
        &["silence", "add", &device, "--for", "1h"],
        &["silence", "add", NAME, "--for", "1h"],
        &["silence", "list"],
        &["silence", "expire", NAME],
        &["tune"],
        &["explain", NAME],
        &["explain", "--device", NAME],
        &["replay", "--stored"],
        &["check", "--config", NAME],
        &["doctor", "--quick", "--data", NAME],
        &["repair", "--data", NAME],
        &["export", "--data", NAME],
    ];
    let mut met = 0;
    for args in commands {
        let done = binary()
            .args(args)
            .current_dir(&server.dir)
            .output()
            .unwrap();
        let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        assert!(!said.is_empty(), "{args:?}");
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.contains(steers), "{args:?}: {said:?}");
        met += usize::from(said.contains("evil"));
    }
    assert!(met >= 10, "the name is there, without what steers: {met}");
    // What programs read stays as it is.
    let listed = binary()
        .args(["silence", "list", "--format", "json"])
        .current_dir(&server.dir)
        .output()
        .unwrap();
    let line = String::from_utf8(listed.stdout).unwrap();
    let first: Value = line.lines().next().unwrap().parse().unwrap();
    assert!(
        line.contains("\\u001b[31m") && first["match"]["device"].as_str().is_some(),
        "{line}"
    );
    server.stop().await;
}
