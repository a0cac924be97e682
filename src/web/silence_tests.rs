//! Silencing from outside: who may, what is refused and why, and that looking changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::Digest;

use super::document_tests::conforms_as;
use super::tests::{Fake, World, afar, base64, here, request};
use super::*;
use crate::engine::SilenceState;
use crate::follower::Published;
use crate::links::{LinkKey, Offer, Says};
use crate::model::{Record, Secret, Seq, Silence, Until};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const API: &str = "/api/v1/silences";

struct Silenced {
    world: World,
    published: watch::Sender<Published>,
    key: LinkKey,
}

impl Silenced {
    fn new() -> Self {
        let mut world = World::new(Fake::default());
        let (published, seen) = watch::channel(Published {
            folded: Seq(u64::MAX),
            ..Published::default()
        });
        let token = Secret::new(TOKEN);
        let public = Some("https://foghorn.example.net");
        let silencing = Silencing::new(&token, seen);
        let auth =
            Auth::for_this_machine()
                .unwrap()
                .opened(PageAccess::default(), token.clone(), public);
        world.state = world.state.with_silencing(silencing).with_auth(auth);
        Self {
            world,
            published,
            key: LinkKey::of(&token),
        }
    }

    fn journal(&self) -> Vec<Record> {
        self.world.store.records.lock().unwrap().clone()
    }

    /// The only entry, a silence.
    fn silence(&self) -> Silence {
        match self.journal().as_slice() {
            [Record::Silence(silence)] => silence.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// As if the engine had taken it.
    fn in_force(&self, silence: &Silence, matching: usize) {
        let state = SilenceState {
            silence: silence.clone(),
            matching,
        };
        self.published
            .send_modify(|published| published.silences = Arc::new(vec![state]));
    }

    /// A request to the API with the token.
    async fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let headers = [
            ("authorization", format!("Bearer {TOKEN}")),
            ("content-type", "application/json".to_owned()),
        ];
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let (status, text, _) = request(
            &self.world,
            method,
            path,
            afar(),
            &headers,
            &body.to_string(),
        )
        .await;
        (status, serde_json::from_str(&text).unwrap())
    }

    fn offer(&self, lasts: i64) -> Offer {
        Offer {
            matches: json!({"condition": "ap_offline", "device_mac": ["5c5b35000001"]}),
            whom: "<b>ap-1</b> at \"Home\"".to_owned(),
            message: "k3f9x2".to_owned(),
            expires: self.world.state.wall().seconds() + lasts,
        }
    }

    fn link(&self) -> String {
        format!("/silence/{}", self.key.sign(&Says::Silence(self.offer(60))))
    }

    async fn get(&self, path: &str) -> (u16, String, HeaderMap) {
        request(
            &self.world,
            "GET",
            path,
            afar(),
            &[("host", "foghorn.example.net")],
            "",
        )
        .await
    }

    async fn press(&self, path: &str, headers: &[(&str, &str)], form: &str) -> (u16, String) {
        let mut all = vec![
            ("host", "foghorn.example.net"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        all.extend_from_slice(headers);
        let (status, text, _) = request(&self.world, "POST", path, afar(), &all, form).await;
        (status, text)
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_said_and_nothing_done() {
    let silenced = Silenced::new();
    let body = json!({"match": {"condition": "ap_offline"}, "for": "1h"}).to_string();
    let long = format!("Bearer {TOKEN}0");
    for (given, status) in [
        ("", 403),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer x", 401),
        ("Digest 0123456789abcdef0123456789abcdef", 403),
        (TOKEN, 403),
        (&long, 401),
        ("Bearer é", 401),
    ] {
        for (method, path) in [
            ("GET", API),
            ("POST", API),
            ("DELETE", "/api/v1/silences/abc"),
            ("PUT", API),
        ] {
            let headers = [
                ("authorization", given),
                ("content-type", "application/json"),
            ];
            let (said, text, _) =
                request(&silenced.world, method, path, afar(), &headers, &body).await;
            assert_eq!(said, status, "{given}: {text}");
            assert!(
                status == 403
                    || text.starts_with(
                        "{\"error\":\"not authorized\",\"help\":\"the token is in the data folder"
                    ),
                "{given}: {text}"
            );
        }
    }
    let twice = [
        ("authorization", &*format!("Bearer {TOKEN}")),
        ("authorization", "Bearer x"),
    ];
    assert_eq!(
        request(&silenced.world, "GET", API, here(), &twice, "")
            .await
            .0,
        401
    );
    assert_eq!(silenced.journal(), []);
    assert_eq!(
        silenced.world.scrape()["foghorn_silence_requests_total{door=\"api\",answer=\"401\"}"],
        21
    );
    assert_eq!(
        silenced.world.scrape()["foghorn_page_refusals_total{reason=\"token\"}"],
        21
    );
    // Where silencing is not set up, there is nothing.
    let bare = World::new(Fake::default());
    assert_eq!(request(&bare, "GET", API, here(), &[], "").await.0, 404);
}

#[tokio::test]
async fn who_is_let_in_silences_without_the_token_and_by_their_name() {
    let silenced = Silenced::new();
    let access = PageAccess {
        trusted_proxies: vec![crate::model::Network::parse("192.0.2.0/24").unwrap()],
        user_header: Some("x-forwarded-user".parse().unwrap()),
        ..PageAccess::default()
    };
    silenced.world.state.replace_access(access);
    let body = json!({"match": {"condition": "ap_offline"}, "for": "1h"}).to_string();
    let name = "ann".repeat(40);
    for (peer, name, author) in [
        (here(), None, "api"),
        (afar(), Some("anna"), "anna"),
        (afar(), Some(name.as_str()), &name[..80]),
    ] {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(name.map(|name| ("x-forwarded-user", name)));
        let world = &silenced.world;
        assert_eq!(
            request(world, "GET", API, peer.clone(), &headers, "")
                .await
                .0,
            200
        );
        assert_eq!(
            request(world, "POST", API, peer.clone(), &headers, &body)
                .await
                .0,
            403,
            "no proof"
        );
        let (_, me, _) = request(world, "GET", "/api/v1/me", peer.clone(), &headers, "").await;
        let me: Value = serde_json::from_str(&me).unwrap();
        headers.push(("x-csrf-token", me["csrf"].as_str().unwrap()));
        assert_eq!(
            request(world, "POST", API, peer, &headers, &body).await.0,
            201
        );
        assert!(
            matches!(silenced.journal().last(), Some(Record::Silence(silence)) if silence.author == author)
        );
        silenced.world.store.records.lock().unwrap().clear();
    }
    silenced.world.state.replace_access(PageAccess::default());
    let headers = [("x-forwarded-user", "anna")];
    assert_eq!(
        request(&silenced.world, "GET", API, afar(), &headers, "")
            .await
            .0,
        403,
        "no longer"
    );
}

#[tokio::test]
async fn only_our_own_names_are_answered() {
    let silenced = Silenced::new();
    let bearer = format!("Bearer {TOKEN}");
    for (host, status) in [
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("foghorn.example.net", 200),
        ("FOGHORN.example.net:443", 200),
        ("evil.example.net", 403),
        ("foghorn.example.net.evil.com", 403),
        ("", 403),
    ] {
        let headers = [("host", host), ("authorization", bearer.as_str())];
        let by_door = if status == 200 { 200 } else { 421 };
        assert_eq!(
            request(&silenced.world, "GET", API, here(), &headers, "")
                .await
                .0,
            by_door,
            "{host}"
        );
        assert_eq!(
            request(
                &silenced.world,
                "GET",
                &silenced.link(),
                here(),
                &headers,
                ""
            )
            .await
            .0,
            status,
            "{host}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_silenced_is_refused_with_a_reason() {
    let silenced = Silenced::new();
    let day = |days: i64| {
        silenced
            .world
            .state
            .wall()
            .shifted(days * 86_400_000)
            .rfc3339()
    };
    let fine = json!({"condition": "ap_offline"});
    for (body, parts) in [
        (json!({"for": "1h"}), ["empty `match`", "\\\"all\\\": true"]),
        (json!({"match": {}, "for": "1h"}), ["empty `match`", ""]),
        (
            json!({"match": fine, "all": true, "for": "1h"}),
            ["contradict", ""],
        ),
        (json!({"match": [], "for": "1h"}), ["must be a map", ""]),
        (
            json!({"match": {"devcie": "ap-1"}, "for": "1h"}),
            ["devcie", "did you mean \\\"device\\\"?"],
        ),
        (
            json!({"match": {"colour": "red"}, "for": "1h"}),
            ["colour", "known: id, topic"],
        ),
        (json!({"match": {"device": "/(/"}, "for": "1h"}), ["(", ""]),
        (
            json!({"match": {"device": "x".repeat(9000)}, "for": "1h"}),
            ["8 KiB", ""],
        ),
        (
            json!({"match": fine}),
            ["when the silence ends", "`for` as in 2h"],
        ),
        (
            json!({"match": fine, "for": "1h", "until": "resolved"}),
            ["contradict", ""],
        ),
        (
            json!({"match": fine, "for": "soon"}),
            ["not a duration", ""],
        ),
        (json!({"match": fine, "for": "0s"}), ["over at once", ""]),
        (
            json!({"match": fine, "for": "400d"}),
            ["at most a year", ""],
        ),
        (
            json!({"match": fine, "until": "tomorrow"}),
            ["tomorrow", "is not a time"],
        ),
        (
            json!({"match": fine, "until": day(-1)}),
            ["over at once", ""],
        ),
        (
            json!({"match": fine, "until": day(400)}),
            ["at most a year", ""],
        ),
        (
            json!({"match": fine, "for": "1h", "comment": "x".repeat(501)}),
            ["comment", "500"],
        ),
        (
            json!({"match": fine, "for": "1h", "author": "x".repeat(81)}),
            ["author", "80"],
        ),
        (
            json!({"match": fine, "fro": "1h"}),
            ["fro", "expected one of"],
        ),
        (json!([]), ["cannot be parsed", "docs/api.md"]),
    ] {
        let (status, said) = silenced.api("POST", API, &body).await;
        assert_eq!(status, 400, "{body}: {said}");
        assert!(
            parts.iter().all(|part| said.to_string().contains(part)),
            "{body}: {said}"
        );
    }
    let bearer = format!("Bearer {TOKEN}");
    for (kind, length, status) in [
        ("text/plain", 9, 415),
        ("", 9, 415),
        ("application/json", 40_000, 413),
    ] {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        let (said, text, _) = request(
            &silenced.world,
            "POST",
            API,
            here(),
            &headers,
            &" ".repeat(length),
        )
        .await;
        assert_eq!(said, status, "{kind}");
        assert!(
            serde_json::from_str::<Value>(&text).unwrap()["error"].is_string(),
            "{text}"
        );
    }
    assert_eq!(silenced.api("PUT", API, &json!(0)).await.0, 405);
    assert_eq!(
        silenced
            .api("POST", "/api/v1/silences/abc", &json!(0))
            .await
            .0,
        405
    );
    assert_eq!(silenced.journal(), []);
}

#[tokio::test]
async fn a_silence_is_made_listed_and_ended() {
    let silenced = Silenced::new();
    assert_eq!(silenced.api("GET", API, &json!(0)).await, (200, json!([])));
    let asked = json!({"match": {"site": "Home"}, "for": "2h", "author": " anna\n b ", "comment": "WAN\u{7} work"});
    let (status, made) = silenced.api("POST", API, &asked).await;
    // The published list is what a test says: here the engine knows it and has ended it.
    assert_eq!((status, &made["over"]), (201, &json!(true)), "{made}");
    conforms_as("post", API, "201", &made);
    let silence = silenced.silence();
    assert_eq!(
        silence.until,
        Until::At(silence.created + Duration::from_secs(7_200))
    );
    assert_eq!(
        (
            silence.author.as_str(),
            silence.comment.as_str(),
            silence.id.len()
        ),
        ("anna b", "WAN work", 8)
    );
    assert_eq!(
        (&made["id"], &made["match"]),
        (&json!(silence.id), &json!({"site": "Home"}))
    );
    silenced.in_force(&silence, 3);
    let (_, listed) = silenced.api("GET", API, &json!(0)).await;
    assert_eq!(listed[0]["matching"], 3);
    assert_eq!(
        listed[0]["until"],
        silence.created.shifted(7_200_000).rfc3339()
    );

    assert_eq!(
        silenced
            .api("DELETE", "/api/v1/silences/nope", &json!(0))
            .await
            .0,
        404
    );
    let (status, ended) = silenced
        .api(
            "DELETE",
            &format!("{API}/{}?author=b%20c", silence.id),
            &json!(0),
        )
        .await;
    assert_eq!((status, &ended["id"]), (200, &json!(silence.id)));
    assert_eq!(
        silenced.journal().last(),
        Some(&Record::Expire {
            id: silence.id.clone(),
            author: "b c".to_owned()
        })
    );

    assert_eq!(
        silenced
            .api("POST", API, &json!({"all": true, "until": "resolved"}))
            .await
            .0,
        201
    );
    assert!(
        matches!(silenced.journal().last(), Some(Record::Silence(last)) if last.until == Until::Resolved)
    );
    let morning = silenced
        .api("POST", API, &json!({"all": true, "until": "morning"}))
        .await
        .1;
    assert!(
        morning["until"].as_str().unwrap().ends_with(":00Z"),
        "{morning}"
    );
    silenced.world.ready.send(false).unwrap();
    assert_eq!(silenced.api("GET", API, &json!(0)).await.0, 503);
}

#[tokio::test]
async fn a_thousand_silences_are_enough() {
    let silenced = Silenced::new();
    silenced
        .api("POST", API, &json!({"all": true, "for": "1h"}))
        .await;
    let one = SilenceState {
        silence: silenced.silence(),
        matching: 0,
    };
    silenced
        .published
        .send_modify(|published| published.silences = Arc::new(vec![one; 1_000]));
    let (status, said) = silenced
        .api("POST", API, &json!({"all": true, "for": "1h"}))
        .await;
    assert_eq!(status, 409, "{said}");
    assert_eq!(silenced.press(&silenced.link(), &[], "for=1h").await.0, 409);
}

#[tokio::test(start_paused = true)]
async fn when_the_engine_is_busy_the_answer_does_not_wait_for_ever() {
    let silenced = Silenced::new();
    silenced
        .published
        .send_modify(|published| published.folded = Seq(0));
    assert_eq!(
        silenced
            .api("POST", API, &json!({"all": true, "for": "1h"}))
            .await
            .0,
        202
    );
    assert!(
        silenced
            .press(&silenced.link(), &[], "for=1h")
            .await
            .1
            .contains("will heed it soon")
    );
    assert_eq!(silenced.journal().len(), 2);
}

#[tokio::test]
async fn looking_at_a_link_changes_nothing_and_shows_what_would_happen() {
    let silenced = Silenced::new();
    for (query, checked) in [
        ("", "1h"),
        ("?for=1h", "1h"),
        ("?for=morning", "morning"),
        ("?for=resolved", "resolved"),
        ("?for=9d&x", "1h"),
    ] {
        let (status, text, headers) = silenced.get(&format!("{}{query}", silenced.link())).await;
        assert_eq!(status, 200);
        assert!(
            text.contains(&format!("value=\"{checked}\" checked"))
                && text.matches(" checked").count() == 1,
            "{text}"
        );
        assert!(
            text.contains("ap offline")
                && text.contains("&lt;b&gt;ap-1&lt;/b&gt; at &quot;Home&quot;"),
            "{text}"
        );
        assert!(
            text.contains("5c5b35000001") && !text.contains("<script") && !text.contains("<b>"),
            "{text}"
        );
        let style = text
            .split_once("<style>")
            .unwrap()
            .1
            .split_once("</style>")
            .unwrap()
            .0;
        let policy = headers["content-security-policy"].to_str().unwrap();
        let digest: Vec<u8> = sha2::Sha256::digest(style).to_vec();
        assert!(
            policy.contains(&format!("'sha256-{}'", base64(&digest)))
                && policy.contains("default-src 'none'")
        );
        let set: BTreeMap<_, _> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            (
                set["cache-control"],
                set["x-frame-options"],
                set["referrer-policy"]
            ),
            ("no-store", "DENY", "same-origin")
        );
    }
    let host = [("host", "foghorn.example.net")];
    assert_eq!(
        request(&silenced.world, "HEAD", &silenced.link(), afar(), &host, "")
            .await
            .0,
        200
    );
    assert_eq!(
        request(&silenced.world, "PUT", &silenced.link(), afar(), &host, "")
            .await
            .0,
        405
    );
    assert_eq!(silenced.journal(), []);
}

#[tokio::test]
async fn a_link_silences_once_however_often_it_is_used_and_can_be_undone() {
    let silenced = Silenced::new();
    let (status, text) = silenced
        .press(
            &silenced.link(),
            &[],
            "for=1h&author=Anna+%3Ci%3E&comment=seen",
        )
        .await;
    assert_eq!(status, 200, "{text}");
    let silence = silenced.silence();
    assert_eq!(
        silence.until,
        Until::At(silence.created + Duration::from_secs(3_600))
    );
    assert_eq!(
        (silence.author.as_str(), silence.comment.as_str()),
        ("Anna <i>", "seen")
    );
    assert_eq!(silence.matches, silenced.offer(60).matches);
    silenced.in_force(&silence, 2);
    let (_, again, _) = silenced.get(&silenced.link()).await;
    assert!(
        again.contains("Anna &lt;i&gt; silenced it until"),
        "{again}"
    );
    let (_, text) = silenced.press(&silenced.link(), &[], "for=resolved").await;
    assert!(text.contains("2 alerts that are open now"), "{text}");
    match silenced.journal().last() {
        Some(Record::Silence(second)) => {
            assert_eq!((&second.id, second.until), (&silence.id, Until::Resolved))
        }
        other => panic!("{other:?}"),
    }
    // The way back, as the page says it.
    let undo = text
        .split_once("action=\"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap()
        .0;
    let undo = format!("/silence/{undo}");
    let before = silenced.journal().len();
    assert!(silenced.get(&undo).await.1.contains("End this silence?"));
    assert_eq!(silenced.journal().len(), before, "looking changes nothing");
    assert!(
        silenced
            .press(&undo, &[], "")
            .await
            .1
            .contains("speaks of it again")
    );
    assert!(
        matches!(silenced.journal().last(), Some(Record::Expire { id, .. }) if *id == silence.id)
    );
    silenced
        .published
        .send_modify(|published| published.silences = Arc::default());
    assert!(
        silenced
            .press(&undo, &[], "")
            .await
            .1
            .contains("over already"),
        "pressed twice"
    );
}

#[tokio::test]
async fn a_link_that_says_for_how_long_needs_no_form() {
    for (query, form, until_resolved) in [
        ("for=resolved", "", true),
        ("for=1h", "author=Anna", false),
        ("for=resolved", "for=1h", false),
    ] {
        let silenced = Silenced::new();
        let link = format!("{}?{query}", silenced.link());
        assert_eq!(silenced.get(&link).await.0, 200);
        assert_eq!(silenced.journal(), [], "looking changes nothing");
        assert_eq!(
            silenced.press(&link, &[], form).await.0,
            200,
            "{query} {form}"
        );
        assert_eq!(
            silenced.silence().until == Until::Resolved,
            until_resolved,
            "{query} {form}"
        );
    }
    let silenced = Silenced::new();
    let host = [("host", "foghorn.example.net")];
    let link = format!("{}?for=1h", silenced.link());
    assert_eq!(
        request(&silenced.world, "POST", &link, afar(), &host, "")
            .await
            .0,
        200,
        "no body at all"
    );
    assert_eq!(
        silenced
            .press(&silenced.link(), &[], "for=1h&author=a%E2%80%AEb%1B")
            .await
            .0,
        200
    );
    match silenced.journal().last() {
        Some(Record::Silence(silence)) => {
            assert_eq!(silence.author, "ab", "nothing that turns a line around")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_link_that_is_forged_altered_expired_or_of_another_kind_does_nothing() {
    let silenced = Silenced::new();
    let link = silenced.link();
    let other = LinkKey::of(&Secret::new("another token of another server"))
        .sign(&Says::Silence(silenced.offer(60)));
    let expired = silenced.key.sign(&Says::Silence(silenced.offer(-1)));
    let undo = silenced
        .key
        .sign(&Says::undo("abcdefgh", silenced.world.state.wall()));
    for (path, status) in [
        (link[..link.len() - 1].to_owned(), 403),
        (link.replacen("/silence/e", "/silence/f", 1), 403),
        (format!("{link}A"), 403),
        (format!("/silence/{other}"), 403),
        ("/silence/x".to_owned(), 403),
        ("/silence/..".to_owned(), 403),
        (format!("/silence/{expired}"), 410),
        (format!("/silence/{undo}"), 403),
        (format!("{link}/undo"), 403),
        (format!("{link}/else"), 404),
    ] {
        let (got, text, _) = silenced.get(&path).await;
        assert_eq!(got, status, "{path}");
        assert_eq!(
            silenced.press(&path, &[], "for=1h").await.0,
            status,
            "{path}"
        );
        assert!(
            status == 404 || text.contains("foghorn silence add") && !text.contains("<form"),
            "{text}"
        );
    }
    assert_eq!(silenced.journal(), []);
    assert_eq!(
        silenced.world.scrape()["foghorn_silence_requests_total{door=\"link\",answer=\"410\"}"],
        2
    );
}

#[tokio::test]
async fn a_page_that_is_not_ours_cannot_press_the_button() {
    let silenced = Silenced::new();
    let link = silenced.link();
    for origin in [
        "https://evil.example.net",
        "null",
        "http://foghorn.example.net.evil.com",
        "",
        "é",
    ] {
        assert_eq!(
            silenced
                .press(&link, &[("origin", origin)], "for=1h")
                .await
                .0,
            403,
            "{origin}"
        );
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(
            silenced
                .press(&link, &[("sec-fetch-site", site)], "for=1h")
                .await
                .0,
            403,
            "{site}"
        );
    }
    for form in ["for=9d", "", "author=Anna"] {
        assert_eq!(silenced.press(&link, &[], form).await.0, 400, "{form}");
    }
    assert_eq!(
        silenced.press(&format!("{link}?for=9d"), &[], "").await.0,
        400
    );
    assert_eq!(
        silenced
            .press(&link, &[("content-type", "text/plain")], "for=1h")
            .await
            .0,
        415
    );
    assert_eq!(silenced.journal(), []);
    assert_eq!(
        silenced
            .press(
                &link,
                &[("origin", "https://foghorn.example.net")],
                "for=1h"
            )
            .await
            .0,
        200
    );
    for site in ["same-origin", "none"] {
        assert_eq!(
            silenced
                .press(&link, &[("sec-fetch-site", site)], "for=1h")
                .await
                .0,
            200,
            "{site}"
        );
    }
    let local = [
        ("host", "localhost:8080"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("origin", "http://localhost:8080"),
    ];
    assert_eq!(
        request(&silenced.world, "POST", &link, here(), &local, "for=1h")
            .await
            .0,
        200
    );
}
