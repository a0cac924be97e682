//! The auth from outside: who is let in by what is configured, what a page elsewhere cannot do,
//! logins and their end.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::model::Network;
use crate::web::tests::{Fake, World, request};
use crate::web::{Silencing, State};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PUBLIC: &str = "https://foghorn.example.net";
const PASSWORD: &str = "correct horse canary";
const ASK: &str = "/api/v1/silences";

/// A cheap hash of this password: tests check many.
fn hash_of(password: &str) -> Secret {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version, password_hash::SaltString};
    let argon = Argon2::new(
        Algorithm::Argon2id,
        Version::V0x13,
        Params::new(8, 1, 1, None).unwrap(),
    );
    let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
    Secret::new(
        argon
            .hash_password(password.as_bytes(), &salt)
            .unwrap()
            .to_string(),
    )
}

fn access(password: bool, proxies: &[&str], user_header: Option<&str>) -> PageAccess {
    PageAccess {
        password: password.then(|| hash_of(PASSWORD)),
        trusted_proxies: proxies
            .iter()
            .map(|text| Network::parse(text).unwrap())
            .collect(),
        user_header: user_header.map(|name| name.parse().unwrap()),
        hosts: vec!["foghorn.lan".to_owned()],
    }
}

fn world(access: PageAccess) -> World {
    let mut world = World::new(Fake::default());
    let (published, seen) = tokio::sync::watch::channel(crate::follower::Published::default());
    std::mem::forget(published);
    let auth = Auth::for_this_machine()
        .unwrap()
        .opened(access, Secret::new(TOKEN), Some(PUBLIC));
    let silencing = Silencing::new(&Secret::new(TOKEN), seen);
    let state: State<Fake> = world.state.with_auth(auth).with_silencing(silencing);
    world.state = state;
    world
}

fn at(ip: &str) -> Peer {
    Peer::new(SocketAddr::new(ip.parse().unwrap(), 4711))
}

async fn me(world: &World, peer: Peer, headers: &[(&str, &str)]) -> Value {
    let (status, text, _) = request(world, "GET", "/api/v1/me", peer, headers, "").await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Logs in from there: status, answer, and the cookie.
async fn log_in(
    world: &World,
    ip: &str,
    headers: &[(&str, &str)],
    password: &str,
) -> (u16, Value, Option<String>) {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    let body = json!({"password": password}).to_string();
    let (status, text, answered) =
        request(world, "POST", "/api/v1/login", at(ip), &all, &body).await;
    assert!(!text.contains("canary"), "{text}");
    let cookie = answered
        .get("set-cookie")
        .map(|value| value.to_str().unwrap().to_owned());
    (status, serde_json::from_str(&text).unwrap(), cookie)
}

const HERE: &str = "127.0.0.1";
const AFAR: &str = "192.0.2.1";
const PROXY: &str = "10.0.0.7";

#[tokio::test]
async fn who_is_let_in() {
    let nothing = || access(false, &[], Some("x-forwarded-user"));
    let proxied = || access(false, &["10.0.0.0/8"], Some("x-forwarded-user"));
    let local_proxy = || access(false, &["127.0.0.1", "::1"], Some("x-forwarded-user"));
    let password = || access(true, &[], None);
    let both = || access(true, &["10.0.0.0/8"], Some("remote-user"));
    let only_https = || access(true, &["10.0.0.0/8"], None);
    let anna = ("x-forwarded-user", "anna");
    let forwarded = ("x-forwarded-for", "203.0.113.5");
    let bearer = &*format!("Bearer {TOKEN}");
    let token = ("authorization", bearer);
    let long = "x".repeat(129);
    for (config, ip, headers, verdict) in [
        // nothing configured: this machine's users, and the token
        (nothing(), HERE, vec![], "this machine"),
        (nothing(), "::ffff:127.0.0.1", vec![], "this machine"),
        (
            nothing(),
            HERE,
            vec![forwarded],
            "403 for this machine only",
        ),
        (nothing(), HERE, vec![anna], "403 for this machine only"),
        (nothing(), AFAR, vec![], "403 for this machine only"),
        (nothing(), AFAR, vec![anna], "403 for this machine only"),
        (nothing(), AFAR, vec![token], "token"),
        (
            nothing(),
            HERE,
            vec![("authorization", "Bearer x")],
            "401 not authorized",
        ),
        (
            nothing(),
            HERE,
            vec![("authorization", "Basic eDp5")],
            "this machine",
        ),
        (
            nothing(),
            HERE,
            vec![("sec-fetch-site", "same-origin")],
            "this machine",
        ),
        (
            nothing(),
            HERE,
            vec![("sec-fetch-site", "none")],
            "this machine",
        ),
        (
            nothing(),
            HERE,
            vec![("sec-fetch-site", "cross-site")],
            "403 another page sent this",
        ),
        (
            nothing(),
            HERE,
            vec![("sec-fetch-site", "same-site")],
            "403 another page sent this",
        ),
        (
            nothing(),
            HERE,
            vec![("origin", "http://evil.example")],
            "403 another page sent this",
        ),
        (
            nothing(),
            HERE,
            vec![("host", "evil.example.net")],
            "421 this server does not go by that name",
        ),
        // a proxy
        (proxied(), PROXY, vec![anna], "proxy anna"),
        (proxied(), "::ffff:10.0.0.7", vec![anna], "proxy anna"),
        (proxied(), PROXY, vec![forwarded, anna], "proxy anna"),
        (
            proxied(),
            PROXY,
            vec![("x-forwarded-user", " zoë@example.net ")],
            "proxy zoë@example.net",
        ),
        (
            proxied(),
            PROXY,
            vec![],
            "403 the proxy does not say who asks",
        ),
        (
            proxied(),
            PROXY,
            vec![("x-forwarded-user", " ")],
            "403 the proxy does not say who asks",
        ),
        (
            proxied(),
            PROXY,
            vec![("x-forwarded-user", &long)],
            "403 the proxy does not say who asks",
        ),
        (
            proxied(),
            PROXY,
            vec![("x-forwarded-user", "a\tb")],
            "403 the proxy does not say who asks",
        ),
        (
            proxied(),
            PROXY,
            vec![anna, ("authorization", "Bearer of-the-proxy")],
            "proxy anna",
        ),
        (proxied(), AFAR, vec![anna], "403 only by the proxy"),
        (proxied(), HERE, vec![], "this machine"),
        (proxied(), HERE, vec![anna], "403 only by the proxy"),
        (
            local_proxy(),
            HERE,
            vec![],
            "403 the proxy does not say who asks",
        ),
        (local_proxy(), HERE, vec![token], "token"),
        (
            local_proxy(),
            HERE,
            vec![forwarded],
            "403 the proxy does not say who asks",
        ),
        (local_proxy(), HERE, vec![forwarded, anna], "proxy anna"),
        (local_proxy(), "::1", vec![anna], "proxy anna"),
        // a password: for this machine too
        (password(), HERE, vec![], "401 not logged in"),
        (password(), AFAR, vec![], "401 not logged in"),
        (password(), AFAR, vec![anna], "401 not logged in"),
        (password(), AFAR, vec![token], "token"),
        (
            password(),
            AFAR,
            vec![("cookie", "foghorn=made-up")],
            "401 not logged in any more",
        ),
        // both; and a proxy that only does https, beside a password
        (both(), PROXY, vec![("remote-user", "anna")], "proxy anna"),
        (both(), PROXY, vec![anna], "401 not logged in"),
        (
            both(),
            AFAR,
            vec![("remote-user", "anna")],
            "401 not logged in",
        ),
        (only_https(), PROXY, vec![anna], "401 not logged in"),
    ] {
        let world = world(config);
        let (status, text, _) = request(&world, "GET", ASK, at(ip), &headers, "").await;
        let said: Value = serde_json::from_str(&text).unwrap();
        let got = if status == 200 {
            let me = me(&world, at(ip), &headers).await;
            assert_eq!(
                (&me["can_see"], &me["can_act"], &me["login"]),
                (&json!(true), &json!(true), &json!(false))
            );
            format!(
                "{} {}",
                me["how"].as_str().unwrap(),
                me["name"].as_str().unwrap()
            )
            .trim()
            .to_owned()
        } else {
            format!("{status} {}", said["error"].as_str().unwrap())
        };
        assert_eq!(got, verdict, "from {ip} with {headers:?}");
        if status == 401 || status == 403 {
            let me = me(&world, at(ip), &headers).await;
            assert_eq!(
                (&me["can_see"], &me["csrf"], &me["how"]),
                (&json!(false), &Value::Null, &Value::Null)
            );
            assert_eq!(me["login"], verdict.contains("not logged in"), "{verdict}");
        }
        let refused: u64 = world
            .scrape()
            .iter()
            .filter(|(name, _)| name.contains("page_refusals"))
            .map(|(_, n)| n)
            .sum();
        assert_eq!(refused, u64::from(status != 200), "counted once");
    }
}

#[tokio::test]
async fn elsewhere_is_told_both_ways_in() {
    let (_, text, _) = request(&world(PageAccess::default()), "GET", ASK, at(AFAR), &[], "").await;
    for word in [
        "server.password",
        "hash-password",
        "server.trusted_proxies",
        "docs/api.md",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[tokio::test]
async fn only_names_of_ours_are_answered() {
    let world = world(access(false, &[], None));
    for (host, known) in [
        ("localhost", true),
        ("a.localhost:8080", true),
        ("127.0.0.1:8080", true),
        ("[::1]:8080", true),
        ("192.168.1.4", true),
        ("foghorn.example.net", true),
        ("FOGHORN.example.net.:8080", true),
        ("foghorn.lan:8080", true),
        ("evil.example.net", false),
        ("foghorn.lan.evil.net", false),
        ("localhost.evil.net", false),
        ("evil.net:80:80", false),
        ("[::1", false),
        ("", false),
    ] {
        let headers = [("host", host)];
        for path in [
            ASK,
            "/api/v1/me",
            "/page/app.js",
            "/",
            "/metrics",
            "/readyz",
        ] {
            let status = request(&world, "GET", path, at(HERE), &headers, "").await.0;
            assert_eq!(status, if known { 200 } else { 421 }, "{host} {path}");
        }
        let login = request(&world, "POST", "/api/v1/login", at(HERE), &headers, "{}")
            .await
            .0;
        assert_eq!(login, if known { 409 } else { 421 }, "{host}");
        assert_eq!(
            request(&world, "GET", "/healthz", at(AFAR), &headers, "")
                .await
                .0,
            200,
            "{host}"
        );
    }
}

/// `warp::test` sends each header once.
#[tokio::test]
async fn what_is_said_twice_is_believed_neither_time() {
    let world = world(access(false, &[PROXY], Some("x-forwarded-user")));
    let bearer = format!("Bearer {TOKEN}");
    for (method, ip, twice, more, status) in [
        (
            Method::GET,
            HERE,
            ["host", "localhost", "localhost"],
            vec![],
            421,
        ),
        (
            Method::GET,
            PROXY,
            ["x-forwarded-user", "anna", "anna"],
            vec![],
            403,
        ),
        (
            Method::GET,
            AFAR,
            ["authorization", &bearer, "Bearer x"],
            vec![],
            401,
        ),
        (
            Method::GET,
            AFAR,
            ["authorization", "Basic eDp5", &bearer],
            vec![],
            401,
        ),
        (
            Method::PUT,
            AFAR,
            ["sec-fetch-site", "same-origin", "cross-site"],
            vec![("authorization", &bearer)],
            403,
        ),
        (
            Method::PUT,
            AFAR,
            ["origin", PUBLIC, "http://evil.example.net"],
            vec![("authorization", &bearer)],
            403,
        ),
    ] {
        let mut headers = HeaderMap::new();
        let [name, one, another] = twice;
        for (name, value) in [(name, one), (name, another)]
            .into_iter()
            .chain(more.iter().map(|(n, v)| (*n, v.as_str())))
        {
            headers.append(
                name.parse::<warp::http::HeaderName>().unwrap(),
                value.parse().unwrap(),
            );
        }
        let refused = world
            .state
            .auth
            .enter(&method, &headers, Some(&at(ip)))
            .unwrap_err();
        assert_eq!(refused.status.as_u16(), status, "{twice:?}");
    }
}

#[tokio::test]
async fn no_other_page_acts_in_anyones_name() {
    let world = world(access(false, &[], None));
    let proof = me(&world, at(HERE), &[]).await["csrf"]
        .as_str()
        .unwrap()
        .to_owned();
    let bearer = format!("Bearer {TOKEN}");
    let with = ("x-csrf-token", proof.as_str());
    let host = ("host", "localhost:8080");
    for (headers, why) in [
        (vec![host, with], ""),
        (
            vec![
                host,
                with,
                ("origin", "http://localhost:8080"),
                ("sec-fetch-site", "same-origin"),
            ],
            "",
        ),
        (vec![host, with, ("sec-fetch-site", "none")], ""),
        (
            vec![
                ("host", "foghorn.example.net:8080"),
                with,
                ("origin", PUBLIC),
            ],
            "",
        ),
        (vec![host, ("authorization", &bearer)], ""),
        (vec![host], "only Foghorn's own page"),
        (
            vec![host, ("x-csrf-token", "guessed")],
            "only Foghorn's own page",
        ),
        (vec![host, ("x-csrf-token", "")], "only Foghorn's own page"),
        (
            vec![host, with, ("origin", "http://localhost:9090")],
            "another page",
        ),
        (
            vec![host, with, ("origin", "http://evil.example.net")],
            "another page",
        ),
        (vec![host, with, ("origin", "null")], "another page"),
        (
            vec![host, with, ("sec-fetch-site", "cross-site")],
            "another page",
        ),
        (
            vec![host, with, ("sec-fetch-site", "same-site")],
            "another page",
        ),
        (
            vec![
                host,
                ("authorization", &bearer),
                ("origin", "http://evil.example.net"),
            ],
            "another page",
        ),
    ] {
        let (status, text, answered) = request(&world, "PUT", ASK, at(HERE), &headers, "").await;
        // Let in, it is no method there.
        assert_eq!(
            status,
            if why.is_empty() { 405 } else { 403 },
            "{headers:?}: {text}"
        );
        assert!(text.contains(why), "{headers:?}: {text}");
        assert!(
            answered
                .keys()
                .all(|name| !name.as_str().starts_with("access-control"))
        );
        assert!(!text.contains(&proof) && !text.contains(TOKEN));
    }
    let scrape = world.scrape();
    assert_eq!(scrape["foghorn_page_refusals_total{reason=\"origin\"}"], 6);
    assert_eq!(scrape["foghorn_page_refusals_total{reason=\"csrf\"}"], 3);
    // One person's proof is not another's.
    let proxied = super::tests::world(access(false, &[PROXY], Some("remote-user")));
    let anna = me(&proxied, at(PROXY), &[("remote-user", "anna")]).await["csrf"]
        .as_str()
        .unwrap()
        .to_owned();
    for (user, status) in [("anna", 405), ("bob", 403)] {
        let headers = [("remote-user", user), ("x-csrf-token", anna.as_str())];
        assert_eq!(
            request(&proxied, "PUT", ASK, at(PROXY), &headers, "")
                .await
                .0,
            status,
            "{user}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_lets_in_until_it_ends() {
    let world = world(access(true, &[PROXY], None));
    let (status, said, cookie) = log_in(&world, AFAR, &[], PASSWORD).await;
    let cookie = cookie.unwrap();
    assert_eq!(
        (status, &said["how"], &said["can_act"]),
        (200, &json!("password"), &json!(true)),
        "{said}"
    );
    let (pair, rest) = cookie.split_once("; ").unwrap();
    assert_eq!(rest, "Path=/; Max-Age=604800; HttpOnly; SameSite=Strict");
    assert!(
        pair.starts_with("foghorn=") && pair.len() == 8 + 43,
        "{pair}"
    );
    let proof = said["csrf"].as_str().unwrap();
    let by_cookie = [("cookie", pair)];
    assert_eq!(
        me(&world, at(AFAR), &[("cookie", &format!("a=b; {pair}"))]).await["csrf"],
        proof
    );
    let mut acting = vec![("cookie", pair), ("x-csrf-token", proof)];
    assert_eq!(
        request(&world, "PUT", ASK, at(AFAR), &acting, "").await.0,
        405
    );
    assert_eq!(
        request(&world, "PUT", ASK, at(AFAR), &by_cookie, "")
            .await
            .0,
        403,
        "without the proof"
    );
    // Each session has its own proof.
    let (_, other, _) = log_in(&world, AFAR, &[], PASSWORD).await;
    acting[1].1 = other["csrf"].as_str().unwrap();
    assert_eq!(
        request(&world, "PUT", ASK, at(AFAR), &acting, "").await.0,
        403,
        "another's proof"
    );
    // By https it is another cookie, which no plain http can set.
    for (ip, headers) in [
        (AFAR, vec![("host", "foghorn.example.net")]),
        (
            PROXY,
            vec![("x-forwarded-proto", "https"), ("x-forwarded-for", AFAR)],
        ),
    ] {
        let (_, _, safe) = log_in(&world, ip, &headers, PASSWORD).await;
        let safe = safe.unwrap();
        assert!(
            safe.starts_with("__Host-foghorn=") && safe.ends_with("SameSite=Strict; Secure"),
            "{safe}"
        );
        let mut by = headers.clone();
        by.push(("cookie", pair));
        assert_eq!(
            request(&world, "GET", ASK, at(ip), &by, "").await.0,
            401,
            "the plain one by https"
        );
    }
    let (_, _, plain) = log_in(&world, AFAR, &[("x-forwarded-proto", "https")], PASSWORD).await;
    assert!(
        plain.unwrap().starts_with("foghorn="),
        "only a proxy is believed"
    );
    // Time, by the clock of the test.
    tokio::time::advance(sessions::IDLE - Duration::from_secs(1)).await;
    assert_eq!(
        request(&world, "GET", ASK, at(AFAR), &by_cookie, "")
            .await
            .0,
        200
    );
    tokio::time::advance(sessions::IDLE).await;
    let (status, text, _) = request(&world, "GET", ASK, at(AFAR), &by_cookie, "").await;
    assert_eq!(
        (status, text.contains("any more"), text.contains(pair)),
        (401, true, false)
    );
    assert_eq!(world.scrape()["foghorn_logins_total{outcome=\"ok\"}"], 5);
}

#[tokio::test]
async fn logging_out_and_another_password_end_a_session_and_what_goes_on_for_it() {
    let world = world(access(true, &[], None));
    let auth = Arc::clone(&world.state.auth);
    let enter = |pair: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", pair.parse().unwrap());
        auth.enter(&Method::GET, &headers, Some(&at(AFAR)))
            .map(|user| user.over)
    };
    let fresh = async || {
        let (_, said, cookie) = log_in(&world, AFAR, &[], PASSWORD).await;
        let pair = cookie.unwrap().split_once(';').unwrap().0.to_owned();
        (said["csrf"].as_str().unwrap().to_owned(), pair)
    };
    let (proof, pair) = fresh().await;
    let over: CancellationToken = enter(&pair).unwrap();
    let (_, stays) = fresh().await;
    let headers = [("cookie", pair.as_str()), ("x-csrf-token", proof.as_str())];
    assert_eq!(
        request(
            &world,
            "POST",
            "/api/v1/logout",
            at(AFAR),
            &headers[..1],
            ""
        )
        .await
        .0,
        403,
        "another page"
    );
    let (status, text, answered) =
        request(&world, "POST", "/api/v1/logout", at(AFAR), &headers, "").await;
    assert_eq!(
        (status, text.contains("\"can_see\":false")),
        (200, true),
        "{text}"
    );
    assert!(
        answered["set-cookie"]
            .to_str()
            .unwrap()
            .starts_with("foghorn=; Path=/; Max-Age=0;")
    );
    assert!(over.is_cancelled() && enter(&pair).is_err() && enter(&stays).is_ok());

    // Other proxies: the session stays, and what goes on is asked for again.
    let over = enter(&stays).unwrap();
    world.state.replace_access(PageAccess {
        trusted_proxies: vec![Network::parse(PROXY).unwrap()],
        ..access(true, &[], None)
    });
    assert!(over.is_cancelled() && enter(&stays).is_ok_and(|over| !over.is_cancelled()));
    // The same again changes nothing.
    let over = enter(&stays).unwrap();
    world.state.replace_access(PageAccess {
        trusted_proxies: vec![Network::parse(PROXY).unwrap()],
        ..access(true, &[], None)
    });
    assert!(!over.is_cancelled());
    // Another password: all are out.
    world.state.replace_access(PageAccess {
        password: Some(hash_of("another one")),
        ..access(true, &[], None)
    });
    assert!(over.is_cancelled() && enter(&stays).is_err());
    assert_eq!(log_in(&world, AFAR, &[], PASSWORD).await.0, 401);
    assert_eq!(log_in(&world, AFAR, &[], "another one").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn who_is_within_a_trusted_network_cannot_name_others_for_their_guesses() {
    let world = world(access(true, &["10.0.0.0/8", "192.0.2.77"], None));
    let guess = async |peer: &str, named: &str| {
        log_in(&world, peer, &[("x-forwarded-for", named)], "wrong one")
            .await
            .0
    };
    for n in 0..5 {
        assert_eq!(guess("10.1.2.3", &format!("203.0.113.{n}")).await, 401);
    }
    assert_eq!(guess("10.1.2.3", "203.0.113.9").await, 429);
    // Nor behind a proxy that adds who they are.
    assert_eq!(guess("192.0.2.77", "203.0.113.9, 10.1.2.3").await, 429);
    assert_eq!(guess("192.0.2.77", "203.0.113.9, 10.1.2.4").await, 401);
    // One that is named by its own address is believed.
    for n in 0..6 {
        assert_eq!(guess("192.0.2.77", &format!("198.51.100.{n}")).await, 401);
    }
}

#[tokio::test(start_paused = true)]
async fn guessing_is_bounded_and_what_was_guessed_is_said_nowhere() {
    // Of the whole process: what a line's place is known by is remembered for all threads.
    let listener = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false);
    tracing::subscriber::set_global_default(listener.with_writer(|| Heard).finish()).unwrap();
    let world = world(access(true, &[PROXY], None));
    for n in 0..5 {
        assert_eq!(
            log_in(&world, AFAR, &[], &format!("canary {n}")).await.0,
            401
        );
    }
    let (_, text, answered) = request(
        &world,
        "POST",
        "/api/v1/login",
        at(AFAR),
        &[("content-type", "application/json")],
        "{\"password\":\"canary\"}",
    )
    .await;
    assert_eq!(
        (
            answered["retry-after"].to_str().unwrap(),
            text.contains("too many")
        ),
        ("61", true),
        "{text}"
    );
    assert_eq!(
        log_in(&world, AFAR, &[], PASSWORD).await.0,
        429,
        "even the right one"
    );
    assert_eq!(
        log_in(&world, "192.0.2.2", &[], PASSWORD).await.0,
        200,
        "another address"
    );
    // Behind a proxy it is whom the proxy names; who is no proxy cannot name another.
    assert_eq!(
        log_in(
            &world,
            PROXY,
            &[("x-forwarded-for", &format!("9.9.9.9, {AFAR}"))],
            PASSWORD
        )
        .await
        .0,
        429
    );
    assert_eq!(
        log_in(
            &world,
            PROXY,
            &[("x-forwarded-for", "203.0.113.9, 10.0.0.7")],
            PASSWORD
        )
        .await
        .0,
        200
    );
    assert_eq!(
        log_in(
            &world,
            AFAR,
            &[("x-forwarded-for", "203.0.113.9")],
            PASSWORD
        )
        .await
        .0,
        429
    );
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(log_in(&world, AFAR, &[], PASSWORD).await.0, 200);
    // What is no login costs nothing, and is not repeated.
    for (kind, body, status) in [
        ("application/json", "{\"password\": [\"canary\"]}", 400),
        (
            "application/json",
            "{\"password\": \"canary\", \"canary\": 1}",
            400,
        ),
        ("application/json", "canary", 400),
        ("text/plain", "{\"password\": \"canary\"}", 415),
    ] {
        for _ in 0..6 {
            let headers = [("content-type", kind)];
            let (said, text, _) =
                request(&world, "POST", "/api/v1/login", at(AFAR), &headers, body).await;
            assert_eq!(
                (said, text.contains("canary")),
                (status, false),
                "{body}: {text}"
            );
        }
    }
    assert_eq!(
        log_in(
            &world,
            AFAR,
            &[("origin", "http://evil.example.net")],
            PASSWORD
        )
        .await
        .0,
        403
    );
    assert_eq!(
        request(&world, "GET", "/api/v1/login", at(AFAR), &[], "")
            .await
            .0,
        405
    );
    let scrape = world.scrape();
    assert_eq!(scrape["foghorn_logins_total{outcome=\"wrong\"}"], 5);
    assert_eq!(scrape["foghorn_logins_total{outcome=\"limited\"}"], 4);
    let cookie = log_in(&world, AFAR, &[], PASSWORD).await.2.unwrap();
    let secret = cookie.split_once(';').unwrap().0.split_once('=').unwrap().1;
    request(
        &world,
        "GET",
        ASK,
        at(AFAR),
        &[("cookie", "foghorn=altered-canary")],
        "",
    )
    .await;
    request(
        &world,
        "GET",
        ASK,
        at(AFAR),
        &[("authorization", "Bearer canary")],
        "",
    )
    .await;
    let log = HEARD.take();
    assert_eq!(log.matches("a wrong password").count(), 1, "{log}");
    assert!(
        log.contains("logged in")
            && log.contains("why=\"session\"")
            && log.contains("why=\"token\""),
        "{log}"
    );
    for hidden in ["canary", "argon2", secret, TOKEN] {
        assert!(!log.contains(hidden), "{hidden} is in\n{log}");
    }
}

#[tokio::test]
async fn machines_that_watch_need_no_login() {
    let world = world(access(true, &[], None));
    let bearer = format!("Bearer {TOKEN}");
    for path in ["/readyz", "/metrics"] {
        assert_eq!(
            request(&world, "GET", path, at(HERE), &[], "").await.0,
            200,
            "{path}"
        );
        assert_eq!(
            request(&world, "GET", path, at(AFAR), &[], "").await.0,
            401,
            "{path}"
        );
        assert_eq!(
            request(
                &world,
                "GET",
                path,
                at(HERE),
                &[("x-forwarded-for", AFAR)],
                ""
            )
            .await
            .0,
            401,
            "{path}"
        );
        assert_eq!(
            request(
                &world,
                "GET",
                path,
                at(AFAR),
                &[("authorization", &bearer)],
                ""
            )
            .await
            .0,
            200,
            "{path}"
        );
    }
    assert_eq!(
        request(&world, "GET", "/", at(AFAR), &[], "").await.0,
        200,
        "the page's files hold no data"
    );
}

#[tokio::test]
async fn few_wait_while_a_password_is_checked() {
    let world = world(access(true, &[], None));
    let auth = &world.state.auth;
    let turn = Arc::clone(&auth.checking).try_acquire_owned().unwrap();
    let places = Arc::clone(&auth.waiting)
        .try_acquire_many_owned(login::MOST_WAITING as u32 + 1)
        .unwrap();
    let (status, said, _) = log_in(&world, AFAR, &[], PASSWORD).await;
    assert_eq!(
        (status, &said["error"]),
        (429, &json!("others are logging in"))
    );
    drop((turn, places));
    assert_eq!(log_in(&world, AFAR, &[], PASSWORD).await.0, 200);
    assert_eq!(world.scrape()["foghorn_logins_total{outcome=\"busy\"}"], 1);
}

thread_local! {
    /// What was logged on this thread.
    static HEARD: std::cell::Cell<String> = const { std::cell::Cell::new(String::new()) };
}

struct Heard;

impl std::io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        HEARD.set(HEARD.take() + &String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
