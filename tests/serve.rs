//! The main path, from a signed POST to a message in the chat, on the real binary.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Chat, Foghorn, binary, device_event, eventually};

fn rules(chat: &Chat, more: &str) -> String {
    format!(
        "destinations:\n  slack: {{slack: {{url: \"{}\"}}, rate_limit: {{limit: 100, per: 1s, burst: 100}}, retry: {{first: 50ms, max: 200ms}}}}\n\
         rules:\n  - name: AP unreachable\n    match: {{condition: ap_offline}}\n    group_wait: 0s\n{more}",
        chat.url("/services/T0/B0/canary"),
    )
}

fn text(message: &Value) -> String {
    message["text"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn down_is_told_and_then_up() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, "")).await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    let taken = chat.wait_for(1).await;
    assert!(text(&taken[0]).contains("ap-1"), "{}", taken[0]);
    foghorn
        .post("device-events", json!([device_event("AP_CONNECTED", 1)]))
        .await;
    let taken = chat.wait_for(2).await;
    assert!(text(&taken[1]).contains("back"), "{}", taken[1]);
    assert_eq!(foghorn.stop().await, Some(0));
}

#[tokio::test]
async fn a_forged_post_is_refused_and_a_ping_is_seen() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, "")).await;
    let client = foghorn::wire::direct().unwrap();
    let body = json!({"topic": "device-events", "events": [device_event("AP_DISCONNECTED", 1)]})
        .to_string();
    let forged = client
        .post(format!("{}/mist", foghorn.address))
        .header("x-mist-signature-v2", "00")
        .body(body);
    assert_eq!(forged.send().await.unwrap().status(), 401);
    foghorn
        .post(
            "ping",
            json!([{"id": "a", "name": "test", "site_id": "b", "timestamp": 1_767_571_200}]),
        )
        .await;
    eventually("the ping in the log", || {
        foghorn.logged().contains("ping received").then_some(())
    })
    .await;
    assert_eq!(chat.all().len(), 0);
    foghorn.stop().await;
}

#[tokio::test]
async fn what_was_accepted_survives_kill_9() {
    let chat = Chat::start().await;
    chat.down(503, "no");
    let foghorn = Foghorn::start(&rules(&chat, "    for: 2s\n    group_by: [device]\n")).await;
    for n in 0..20 {
        foghorn
            .post("device-events", json!([device_event("AP_DISCONNECTED", n)]))
            .await;
    }
    let dir = foghorn.kill().unwrap();
    chat.up();
    let foghorn = Foghorn::start_in(dir.path()).await;
    let named = eventually("all 20 devices in the chat", || {
        let said = chat
            .taken()
            .iter()
            .map(Value::to_string)
            .collect::<String>();
        (0..20)
            .all(|n| said.contains(&format!("ap-{n}")))
            .then_some(said)
    })
    .await;
    assert!(named.contains("ap-19"));
    foghorn.stop().await;
}

#[tokio::test]
async fn retry_after_is_obeyed_and_nothing_is_lost() {
    let chat = Chat::start().await;
    chat.next(429, Some("2"), "rate_limited");
    chat.next(500, None, "rollup_error");
    let foghorn = Foghorn::start(&rules(&chat, "")).await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    chat.wait_for(1).await;
    let all = chat.all();
    assert_eq!(
        all.iter().map(|a| a.status).collect::<Vec<_>>(),
        [429, 500, 200]
    );
    assert!(all[1].at.duration_since(all[0].at) >= Duration::from_secs(2));
    foghorn.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_in_force_and_a_broken_one_is_not() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, "")).await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    chat.wait_for(1).await;
    let file = foghorn.dir.join("rules.yaml");
    std::fs::write(&file, "rules:\n  - nam: broken\n").unwrap();
    foghorn.signal("HUP");
    eventually("the problem in the log", || {
        foghorn.logged().contains("rules before stay").then_some(())
    })
    .await;
    std::fs::write(
        &file,
        rules(
            &chat,
            "  - name: Radar\n    match: {type: AP_RADAR_DETECTED}\n    group_wait: 0s\n",
        ),
    )
    .unwrap();
    foghorn.signal("HUP");
    eventually("the new rules in the log", || {
        foghorn.logged().contains("is in force").then_some(())
    })
    .await;
    foghorn
        .post(
            "device-events",
            json!([device_event("AP_RADAR_DETECTED", 2)]),
        )
        .await;
    let taken = chat.wait_for(2).await;
    assert_eq!(taken.len(), 2, "nothing is sent again because of a reload");
    assert!(text(&taken[1]).contains("ap-2"));
    foghorn.stop().await;
}

/// The hash of a password, as the command prints it.
fn hashed(password: &str) -> String {
    let mut asking = binary();
    asking
        .arg("hash-password")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut asking = asking.spawn().unwrap();
    std::io::Write::write_all(&mut asking.stdin.take().unwrap(), password.as_bytes()).unwrap();
    String::from_utf8(asking.wait_with_output().unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}

#[tokio::test]
async fn a_password_is_in_force_by_a_reload_and_ends_with_the_next() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, "")).await;
    let client = foghorn::wire::direct().unwrap();
    let events = format!("{}/api/v1/events", foghorn.address);
    let seen = async |cookie: &str| {
        client
            .get(&events)
            .header("cookie", cookie)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(seen("").await, 200, "this machine");
    let reload = async |password: &str, time: usize| {
        let text = format!(
            "server: {{password: '{}'}}\n{}",
            hashed(password),
            rules(&chat, "")
        );
        std::fs::write(foghorn.dir.join("rules.yaml"), text).unwrap();
        foghorn.signal("HUP");
        eventually("the reload", || {
            (foghorn.logged().matches("is in force").count() >= time).then_some(())
        })
        .await;
    };
    reload("first canary", 1).await;
    assert_eq!(seen("").await, 401);
    let login = |password: &str| {
        let body = json!({ "password": password }).to_string();
        let request = client
            .post(format!("{}/api/v1/login", foghorn.address))
            .body(body);
        request.header("content-type", "application/json").send()
    };
    assert_eq!(login("wrong canary").await.unwrap().status(), 401);
    let let_in = login("first canary").await.unwrap();
    assert_eq!(let_in.status(), 200);
    let cookie = let_in.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(seen(&cookie).await, 200);
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    chat.wait_for(1).await;
    reload("second canary", 2).await;
    assert_eq!(
        seen(&cookie).await,
        401,
        "the password it came by is no more"
    );
    let (_, metrics) = foghorn.get("/metrics").await;
    assert!(
        metrics.contains("foghorn_logins_total{outcome=\"wrong\"} 1"),
        "{metrics}"
    );
    let logged = foghorn.logged();
    assert!(
        logged.contains("a wrong password") && logged.contains("logged in"),
        "{logged}"
    );
    for hidden in ["canary", "argon2", cookie.split('=').nth(1).unwrap()] {
        assert!(!logged.contains(hidden), "{hidden} is in {logged}");
    }
    foghorn.stop().await;
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, "")).await;
    let second = binary()
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(&foghorn.dir)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(5));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&foghorn.pid().to_string()), "{said}");
    foghorn.stop().await;
}

#[tokio::test]
async fn the_url_of_a_destination_is_never_written_anywhere() {
    let chat = Chat::start().await;
    chat.down(404, "no_active_hooks");
    let foghorn = Foghorn::start(&rules(&chat, "")).await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    eventually("a refusal in the log", || {
        foghorn.logged().contains("no_active_hooks").then_some(())
    })
    .await;
    let (_, metrics) = foghorn.get("/metrics").await;
    for place in [foghorn.logged(), metrics] {
        assert!(
            !place.contains("canary") && !place.contains(support::SECRET),
            "{place}"
        );
    }
    foghorn.stop().await;
}

#[tokio::test]
async fn a_storm_names_every_device_within_the_pace() {
    let chat = Chat::start().await;
    chat.one_a_second();
    let config = format!(
        "destinations:\n  slack: {{slack: {{url: \"{}\"}}, overflow_after: 10s}}\n\
         rules:\n  - name: AP unreachable\n    match: {{condition: ap_offline}}\n    group_by: [device]\n    group_wait: 1s\n",
        chat.url("/services/T0/B0/canary")
    );
    let foghorn = Foghorn::start(&config).await;
    for batch in 0..10 {
        let events: Vec<Value> = (0..10)
            .map(|n| device_event("AP_DISCONNECTED", batch * 10 + n))
            .collect();
        foghorn.post("device-events", Value::Array(events)).await;
    }
    eventually("all 100 devices in the chat", || {
        let said = chat
            .taken()
            .iter()
            .map(Value::to_string)
            .collect::<String>();
        (0..100)
            .all(|n| said.contains(&format!("ap-{n}")))
            .then_some(())
    })
    .await;
    assert!(chat.taken().len() < 40, "{}", chat.taken().len());
    foghorn.stop().await;
}

/// Sends bytes as they are; gives the status line, or what went wrong.
fn raw(foghorn: &Foghorn, bytes: &[u8]) -> String {
    use std::io::{Read, Write};
    let mut stream =
        std::net::TcpStream::connect(foghorn.address.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut reply = [0; 1024];
    let length = stream.read(&mut reply).unwrap();
    String::from_utf8_lossy(&reply[..length])
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_though_signed() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, "")).await;
    let body = json!({"topic": "device-events", "events": [device_event("AP_DISCONNECTED", 1)]})
        .to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let head = format!(
        "POST /mist HTTP/1.1\r\nX-Mist-Signature-v2: {}\r\n",
        support::sign(body.as_bytes())
    );
    let length = body.len();
    for more in [
        format!(
            "Host: x\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
        ),
        format!("Host: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{chunked}"),
        format!("Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{chunked}"),
        format!("Host: x\r\nContent-Length: {length}\r\nContent-Length: 5\r\n\r\n{body}"),
        format!("Host: x\r\nHost: y\r\nContent-Length: {length}\r\n\r\n{body}"),
    ] {
        assert_eq!(
            raw(&foghorn, format!("{head}{more}").as_bytes()),
            "HTTP/1.1 400 Bad Request",
            "{more}"
        );
    }
    let fine = format!("{head}Host: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}");
    assert_eq!(raw(&foghorn, fine.as_bytes()), "HTTP/1.1 200 OK");
    chat.wait_for(1).await;
    foghorn.stop().await;
}

#[tokio::test]
async fn a_sender_of_too_much_sees_why_it_is_refused() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, "")).await;
    // All of it is written before the answer is read, as most clients do.
    let body = vec![b'x'; 4 * 1024 * 1024];
    let head = format!(
        "POST /mist HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n",
        body.len()
    );
    let post = [head.as_bytes(), b"\r\n", &body].concat();
    assert_eq!(raw(&foghorn, &post), "HTTP/1.1 413 Payload Too Large");
    let post = [head.as_bytes(), b"Content-Encoding: gzip\r\n\r\n", &body].concat();
    assert_eq!(raw(&foghorn, &post), "HTTP/1.1 415 Unsupported Media Type");
    foghorn.stop().await;
}

#[tokio::test]
async fn what_a_chat_never_takes_is_given_up_and_listed() {
    let chat = Chat::start().await;
    chat.down(400, "invalid_payload");
    let foghorn = Foghorn::start(&rules(&chat, "")).await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    eventually("both tries", || (chat.all().len() == 2).then_some(())).await;
    let dead = || foghorn.until_metric("foghorn_message_fates", "dead", |dead| dead >= 1.0);
    dead().await;
    let list = binary()
        .arg("dead-letters")
        .current_dir(&foghorn.dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&list.stdout).into_owned();
    assert_eq!(list.status.code(), Some(0));
    assert!(
        said.contains("ap-1") && said.contains("after 2 tries") && said.contains("invalid_payload"),
        "{said}"
    );

    let id = said
        .split_once("id ")
        .unwrap()
        .1
        .split(',')
        .next()
        .unwrap()
        .to_owned();
    let run = |args: &[&str]| {
        let done = binary()
            .arg("dead-letters")
            .args(args)
            .current_dir(&foghorn.dir)
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
    };
    assert_eq!(
        run(&["resend", &id]),
        (Some(0), format!("queued again: {id}\n"))
    );
    let (code, gone) = run(&["resend", &id]);
    assert!(
        code == Some(2) && gone.contains("no such dead letter"),
        "{gone}"
    );
    dead().await;
    assert_eq!(chat.all().len(), 4, "it was tried again, as a new one is");
    chat.up();
    assert_eq!(
        run(&["resend", "--all", "--to", "slack"]),
        (Some(0), "queued again: 1 message\n".to_owned())
    );
    chat.wait_for(1).await;
    assert_eq!(
        run(&["discard", "--all"]),
        (Some(0), "discarded: 0 messages\n".to_owned())
    );
    for args in [
        &["resend"][..],
        &["resend", "1", "--all"],
        &["discard", "1", "--to", "slack"],
        &["resend", "x"],
    ] {
        assert_eq!(run(args).0, Some(2), "{args:?}");
    }
    foghorn.stop().await;
}

#[tokio::test]
async fn what_would_help_is_found_by_the_server_as_documented() {
    let chat = Chat::start().await;
    let more = "  - name: Restarts\n    match: {type: AP_RESTARTED}\n    group_wait: 0s\n    group_interval: 0s\n    cooldown: 0s\n";
    let foghorn = Foghorn::start(&rules(&chat, more)).await;
    for _ in 0..14 {
        foghorn
            .post("device-events", json!([device_event("AP_RESTARTED", 1)]))
            .await;
    }
    chat.wait_for(14).await;
    let begun = std::time::Instant::now();
    let found = loop {
        let (status, text) = foghorn.get("/api/v1/tune").await;
        let said: Value = serde_json::from_str(&text).unwrap();
        match status {
            202 => assert_eq!(said["busy"], true),
            _ => break (status, said),
        }
        assert!(begun.elapsed() < support::PATIENCE, "still busy");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let (status, found) = found;
    assert_eq!((status, &found["messages"]), (200, &json!(14)), "{found}");
    let first = &found["suggestions"][0];
    assert_eq!(first["rule"], "Restarts", "{found}");
    assert!(
        first["saved"].as_u64().unwrap() > 5 && first["why"].as_str().unwrap().ends_with('.'),
        "{found}"
    );
    assert!(
        found["patch"].as_str().unwrap().starts_with("--- "),
        "{found}"
    );

    let spec: Value = serde_json::from_str(include_str!("../docs/openapi.json")).unwrap();
    let documented = |schema: &Value, value: &Value| {
        let keys = |of: &Value| {
            of.as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(keys(&schema["properties"]), keys(value));
    };
    let tuning = &spec["components"]["schemas"]["Tuning"];
    documented(tuning, &found);
    documented(&tuning["properties"]["suggestions"]["items"], first);
    documented(&tuning["properties"]["rules"]["items"], &found["rules"][0]);
    foghorn.stop().await;
}

#[tokio::test]
async fn a_file_that_appears_and_a_secret_that_changes_alone_are_found() {
    let (first, second) = (Chat::start().await, Chat::start().await);
    let dir = tempfile::tempdir().unwrap();
    let foghorn = Foghorn::start_in(dir.path()).await;
    assert!(foghorn.logged().contains("built-in rules"));

    let secret = dir.path().join("slack.url");
    std::fs::write(&secret, first.url("/services/T0/B0/canary")).unwrap();
    let rules = rules(&first, "").replace(
        &format!("\"{}\"", first.url("/services/T0/B0/canary")),
        "\"file:slack.url\"",
    );
    std::fs::write(dir.path().join("rules.yaml"), rules).unwrap();
    let in_force = |count| {
        let logged = foghorn.logged();
        (logged.matches("is in force").count() >= count).then_some(())
    };
    eventually("the new file", || in_force(1)).await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    first.wait_for(1).await;

    std::fs::write(&secret, second.url("/services/T0/B0/canary")).unwrap();
    eventually("the new secret", || in_force(2)).await;
    foghorn
        .post("device-events", json!([device_event("AP_CONNECTED", 1)]))
        .await;
    second.wait_for(1).await;
    assert_eq!(first.count(), 1);
    assert!(!foghorn.logged().contains("canary"));
    assert_eq!(foghorn.stop().await, Some(0));
}

#[tokio::test]
async fn what_waits_for_a_destination_that_is_renamed_is_a_dead_letter_at_once() {
    let chat = Chat::start().await;
    let foghorn = Foghorn::start(&rules(&chat, "    group_by: [device]\n")).await;
    chat.down(503, "down");
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    eventually("the first try", || (chat.count() > 0).then_some(())).await;
    let renamed =
        rules(&chat, "    group_by: [device]\n").replace("slack: {slack:", "ops: {slack:");
    std::fs::write(foghorn.dir.join("rules.yaml"), renamed).unwrap();
    foghorn.signal("HUP");
    eventually("the dead letter", || {
        foghorn
            .logged()
            .contains("the destination `slack` was removed")
            .then_some(())
    })
    .await;
    let mut listing = binary();
    let listed = listing
        .args(["dead-letters", "--data"])
        .arg(foghorn.dir.join("data"))
        .current_dir(&foghorn.dir)
        .env("MIST_WEBHOOK_SECRET", "x")
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.contains("the destination `slack` was removed"),
        "{listed}"
    );

    // What is new goes where the rules in force say.
    chat.up();
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 2)]))
        .await;
    chat.wait_for(1).await;
    assert!(text(&chat.taken()[0]).contains("ap-2"));
    assert_eq!(foghorn.stop().await, Some(0));
}
