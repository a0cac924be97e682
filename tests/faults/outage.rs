//! A chat that is down for an hour at ten alerts a minute, with time compressed by the settings.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::load::load;
use crate::support::{Chat, Foghorn, PATIENCE, device_event};
use crate::world::{posts, until_sent};

/// Alerts of the hour.
const ALERTS: u32 = 600;

/// An hour in `span` seconds: every time of the settings is so many times shorter. The rate is not.
async fn hour(span: u32, rate: usize) {
    let chat = Chat::start().await;
    chat.down(503, "no");
    let part = |of: Duration| of.as_millis() as u64 * u64::from(span) / 3_600;
    let (first, most) = (
        part(Duration::from_secs(1)).max(10),
        part(Duration::from_secs(300)),
    );
    let overflow_after = part(Duration::from_secs(60));
    let config = format!(
        "destinations:\n  slack:\n    slack: {{url: \"{}\"}}\n    rate_limit: {{limit: {rate}, per: 1s, burst: 1}}\n    \
         retry: {{first: {first}ms, max: {most}ms}}\n    overflow_after: {overflow_after}ms\n\
         rules:\n  - name: AP unreachable\n    match: {{condition: ap_offline}}\n    group_by: [device]\n    group_wait: 0s\n",
        chat.url("/services/T0/B0/canary")
    );
    let foghorn = Foghorn::start(&config).await;
    // Every third comes back before the chat does; ten alerts a minute.
    let event = |n: u32| match n % 3 {
        2 => device_event("AP_CONNECTED", n - 1),
        _ => device_event("AP_DISCONNECTED", n),
    };
    let bodies = (0..ALERTS).map(|n| json!({"topic": "device-events", "events": [event(n)]}));
    // Over one connection: an up that overtakes its down would end it before it began.
    let run = load(
        &foghorn.address,
        1,
        Some(f64::from(ALERTS) / f64::from(span)),
        &posts(bodies),
    )
    .await;
    assert_eq!(
        run.accepted(),
        ALERTS as usize,
        "taking goes on while the chat is down"
    );
    let tries = chat.count();
    let downs = (0..ALERTS).filter(|n| n % 3 != 2).count();
    // Ten while the wait between two doubles; then one in a half to the whole of the longest wait.
    let longest = Duration::from_millis(most).as_secs_f64();
    let allowed = 10 + (run.took.as_secs_f64() / longest * 2.0) as usize;
    assert!(
        tries <= allowed,
        "{tries} tries of a chat that is down, of {allowed} allowed"
    );

    chat.up();
    let up = Instant::now();
    let is_named = |said: &str, n: u32| {
        let name = format!("ap-{n}");
        said.match_indices(&name)
            .any(|(at, _)| !said[at + name.len()..].starts_with(|c: char| c.is_ascii_digit()))
    };
    loop {
        let said: String = chat.taken().iter().map(Value::to_string).collect();
        let unnamed: Vec<u32> = (0..ALERTS)
            .filter(|n| n % 3 != 2 && !is_named(&said, *n))
            .collect();
        if unnamed.is_empty() {
            break;
        }
        assert!(
            up.elapsed() < PATIENCE,
            "{} are not named: {unnamed:?}\n{said}",
            unnamed.len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_sent(&foghorn).await;
    let (took, taken) = (
        up.elapsed(),
        chat.all()
            .into_iter()
            .filter(|a| a.status == 200)
            .collect::<Vec<_>>(),
    );
    let most = (0..taken.len())
        .map(|n| {
            taken[n..]
                .iter()
                .take_while(|a| a.at - taken[n].at < Duration::from_secs(1))
                .count()
        })
        .max()
        .unwrap();
    println!(
        "an hour down in {span} s, {downs} alerts: {tries} tries meanwhile; then {} messages in {took:?}, at most {most} in a second",
        taken.len()
    );
    assert!(
        taken.len() <= 30,
        "{} messages are a flood, not a digest",
        taken.len()
    );
    assert!(most <= rate + 2, "{most} messages in a second");
    let digested = foghorn.metric("foghorn_message_fates", "digested").await;
    assert!(
        digested >= downs as f64 * 0.9,
        "{digested} were told together"
    );
    let (dead, queued) = (
        foghorn.metric("foghorn_message_fates", "dead").await,
        foghorn.metric("foghorn_message_fates", "queued").await,
    );
    assert_eq!((dead, queued), (0.0, 0.0));

    // The current state: what is still down, and only that, is told to be back from here on.
    let before = chat.taken().len();
    foghorn
        .post(
            "device-events",
            json!([
                device_event("AP_CONNECTED", 0),
                device_event("AP_CONNECTED", 1)
            ]),
        )
        .await;
    let taken = chat.wait_for(before + 1).await;
    assert!(
        taken[before]["text"].as_str().unwrap().contains("ap-0"),
        "{}",
        taken[before]
    );
    foghorn.stop().await;
}

/// 20/s is one message in 30 s of that hour's, a thirtieth of what Slack takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_without_the_chat_ends_in_a_digest_and_the_current_state_within_the_rate() {
    hour(6, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form: a minute, at Slack's own pace"]
async fn an_hour_in_a_minute_without_the_chat_ends_in_a_digest_and_the_current_state_at_slacks_pace()
 {
    hour(60, 1).await;
}
