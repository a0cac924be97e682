//! Killed at any moment, under load and while it starts.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::load::{downs, judged, load};
use crate::support::{Chat, Foghorn, SECRET, binary, until};
use crate::world::{Chance, EACH, accepted, rules, sink, told, until_sent, until_told};

/// Posts for each life: more than any can take.
const POSTS: usize = 120;
/// Messages a second, one at a time: one in flight, as at Slack's pace.
const PACE: u32 = 100;

async fn kills(lives: usize) {
    let mut chance = Chance::new("kill -9 at random moments");
    let chat = Chat::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules(&chat, PACE)).unwrap();
    let (mut next, mut kept, mut kills) = (0, BTreeSet::new(), lives);
    for life in 0..lives {
        if life % 4 == 3 {
            killed_while_starting(dir.path(), Duration::from_millis(chance.below(150)));
            kills += 1;
        }
        let foghorn = Foghorn::start_in(dir.path()).await;
        let posts = Arc::new(downs(next..next + POSTS, 1));
        let (address, life) = (
            foghorn.address.clone(),
            Duration::from_millis(10 + chance.below(400)),
        );
        let killing = async {
            // The moment is the point: nothing could be polled for it.
            tokio::time::sleep(life).await;
            foghorn.kill();
        };
        let (run, ()) = tokio::join!(load(&address, 4, Some(f64::from(PACE)), &posts), killing);
        kept.extend(accepted(&run, next));
        next += POSTS;
    }
    let foghorn = Foghorn::start_in(dir.path()).await;
    judged(&foghorn).await;
    // What could not be sent in short lives waits, and goes at its pace.
    let lost = until_told(&chat, &kept).await;
    until_sent(&foghorn).await;
    let repeats: usize = told(&chat).values().map(|times| times - 1).sum();
    println!(
        "{kills} kills: {} events accepted, {} lost, {repeats} told twice",
        kept.len(),
        lost.len()
    );
    assert!(
        !kept.is_empty() && lost.is_empty(),
        "accepted and never told: {lost:?}"
    );
    assert!(repeats <= kills, "{repeats} repeats in {kills} kills");
    foghorn.stop().await;
}

/// At the paces that it comes with, and a chat that answers late: what is under way then is one
/// message, not a burst.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_repeats_one_message_at_most_where_the_chat_answers_late() {
    const LIVES: usize = 4;
    let chat = Chat::start().await;
    chat.answers_after(Duration::from_millis(400));
    let dir = tempfile::tempdir().unwrap();
    let retry = "retry: {first: 20ms, max: 200ms}";
    let rules = format!(
        "destinations:\n{}{EACH}",
        sink("sink", &chat.url("/all"), retry)
    );
    std::fs::write(dir.path().join("rules.yaml"), rules).unwrap();
    let mut kept = BTreeSet::new();
    for life in 0..LIVES {
        let foghorn = Foghorn::start_in(dir.path()).await;
        let first = life * 10;
        let before = chat.count();
        let run = load(
            &foghorn.address,
            4,
            None,
            &Arc::new(downs(first..first + 10, 1)),
        )
        .await;
        kept.extend(accepted(&run, first));
        until("some are under way", || chat.count() > before + 2).await;
        foghorn.kill();
    }
    chat.answers_after(Duration::ZERO);
    let foghorn = Foghorn::start_in(dir.path()).await;
    let lost = until_told(&chat, &kept).await;
    until_sent(&foghorn).await;
    let repeats: usize = told(&chat).values().map(|times| times - 1).sum();
    println!(
        "{LIVES} kills, answers after 400 ms: {} lost, {repeats} told twice",
        lost.len()
    );
    assert!(
        lost.is_empty() && repeats <= LIVES,
        "{repeats} repeats in {LIVES} kills; lost: {lost:?}"
    );
    foghorn.stop().await;
}

/// Kills it before it may have said that it listens.
fn killed_while_starting(dir: &std::path::Path, after: Duration) {
    let mut serve = binary();
    serve
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(dir)
        .env("MIST_WEBHOOK_SECRET", SECRET);
    let mut child = serve
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_accepted_is_lost_by_20_kills_and_one_message_repeats_at_most() {
    kills(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form: minutes"]
async fn nothing_accepted_is_lost_by_500_kills_and_one_message_repeats_at_most() {
    kills(500).await;
}
