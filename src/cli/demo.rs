//! `demo`: a simulated home posts real, signed webhooks to this process, many times faster than in
//! reality.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{DemoArgs, Failure};
use crate::app::{self, Running};
use crate::clock::Clock;
use crate::config::{Config, Log};
use crate::destination::{CONSOLE, DestinationSettings, Values};
use crate::model::{Name, Secret, SourceKind, Timestamp, plural};
use crate::replay::{self, write_post};
use crate::simulate::{self, DemoStory, story};
use crate::source::{self, SourceSettings};
use crate::store::Totals as _;
use crate::wire::{Http, HttpRequest, Reply, Transport as _};

/// Secret of the demo. Both sides are in this process, so it protects nothing.
const SECRET: &str = "the demo's own secret";
/// Time limit for the delivery of the last messages, in real time.
const LAST_MESSAGES: Duration = Duration::from_secs(20);

pub(super) fn run(config: Config, args: &DemoArgs) -> Result<(), Failure> {
    // The story plays in the evening, whatever the real time is.
    let today = Clock::system().wall().millis().div_euclid(86_400_000) * 86_400_000;
    let start = Timestamp::from_millis(today) + Duration::from_secs(19 * 3_600);
    let story = story(args.seed, start);
    if let Some(file) = &args.write {
        return write(file, &story);
    }
    let templates = config
        .load_templates()
        .map_err(|problems| Failure::config(&problems))?;
    if args.send && is_only_console(&config) {
        super::err(
            "foghorn: there is no chat to send to, so messages are printed here: set SLACK_WEBHOOK_URL or TEAMS_WEBHOOK_URL",
        );
    }
    let config = for_demo(config, args);
    super::serve::log_to_stderr(Log::Text, "warn");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build();
    let runtime = runtime.map_err(Failure::start)?;
    let data = Data::new(args.keep.as_deref());
    let names: Vec<Name> = config
        .destinations
        .iter()
        .map(|destination| destination.name.clone())
        .collect();
    introduce(args, &names);
    // Server and simulated network run together; the first to end stops the other.
    let ended = runtime.block_on(async {
        let clock = Clock::pinned(start).faster(args.speed);
        let (tell, told) = tokio::sync::oneshot::channel();
        let instead = app::Instead {
            listen: Some(([127, 0, 0, 1], 0).into()),
            data: Some(data.folder.clone()),
        };
        let served = app::run_by(clock, config, templates, instead, |_, running| {
            drop(tell.send(running))
        });
        let played = async {
            let Ok(running) = told.await else { return None };
            let played = tokio::select! {
                () = running.stop.cancelled() => None,
                failed = play(clock, &running, &story, &names) => Some(failed),
            };
            running.stop.cancel();
            played
        };
        let (served, played) = tokio::join!(served, played);
        served.map(|()| played)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Err(app::Error::Start(text)) => Err(Failure::start(text)),
        Err(app::Error::Failed(text)) => Err(Failure::unexpected(text)),
        Ok(Some(Err(why))) => Err(Failure::unexpected(why)),
        Ok(None) => Ok(()), // interrupted
        Ok(Some(Ok(messages))) => {
            conclude(args, &story, messages);
            Ok(())
        }
    }
}

/// Data folder of the demo, deleted at the end unless the user keeps it.
struct Data {
    folder: PathBuf,
    keep: bool,
}

impl Data {
    fn new(keep: Option<&Path>) -> Self {
        let own = || std::env::temp_dir().join(format!("foghorn-demo-{}", std::process::id()));
        Self {
            folder: keep.map_or_else(own, Path::to_owned),
            keep: keep.is_some(),
        }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Returns true if there is no destination except the console.
pub(super) fn is_only_console(config: &Config) -> bool {
    config
        .destinations
        .iter()
        .all(|destination| destination.target.url().is_none())
}

/// Returns the demo's only source, of the default kind.
fn source() -> SourceSettings {
    SourceSettings {
        secrets: vec![Secret::new(SECRET.to_owned())],
        max_event_age: None,
        ..SourceSettings::new(source::default_name().as_str(), SourceKind::default())
    }
}

/// Returns the config for the demo: its rules and templates, one source, and, without `--send`, the
/// console as every destination.
fn for_demo(mut config: Config, args: &DemoArgs) -> Config {
    config.path = None; // no reload: it would bring the real destinations back
    config.server.public_url = None;
    let portal = config
        .sources
        .first()
        .map_or_else(|| source().portal, |first| first.portal.clone());
    config.sources = vec![SourceSettings { portal, ..source() }];
    for destination in &mut config.destinations {
        if args.send {
            in_real_time(destination, args.speed);
        } else if let Ok(console) = (CONSOLE.make)(&Values::default()) {
            let (name, min_severity) = (destination.name.clone(), destination.min_severity);
            *destination = DestinationSettings {
                min_severity,
                ..DestinationSettings::with_defaults(name, console)
            };
        }
    }
    config
}

/// Stretches the limits of a destination, because real chats do not accept messages faster while
/// the clock runs faster.
fn in_real_time(destination: &mut DestinationSettings, speed: u32) {
    let retry = &mut destination.retry;
    for span in [
        &mut destination.rate_limit.per,
        &mut destination.overflow_after,
        &mut retry.first,
        &mut retry.max,
    ] {
        *span = span.saturating_mul(speed);
    }
}

/// Posts the story's traffic and prints its lines, each at its time. Returns the number of messages
/// delivered.
async fn play(
    clock: Clock,
    running: &Running,
    story: &DemoStory,
    names: &[Name],
) -> Result<u64, String> {
    let http = Http::new(false);
    let url = Secret::new(format!("http://{}{}", running.address, source().path()));
    let mut lines = story.lines.iter().peekable();
    let until = |at: Timestamp| at.since(clock.wall());
    for post in &story.posts {
        while let Some(line) = lines.next_if(|line| line.at <= post.received_at) {
            clock.sleep(until(line.at)).await;
            say(line.at, &line.text);
        }
        clock.sleep(until(post.received_at)).await;
        send(&http, &url, post).await?;
    }
    clock.sleep(until(story.ends_at)).await;
    // The last messages may wait for a chat, so the demo does not end with the story.
    let gave_up = clock.wall() + clock.stretch(LAST_MESSAGES);
    loop {
        let totals = running.store.totals().await.map_err(|e| e.to_string())?;
        let ours = totals.iter().filter(|(name, _)| names.contains(name));
        let (queued, delivered) = ours.fold((0, 0), |(queued, delivered), (_, of)| {
            (queued + of.queued, delivered + of.delivered)
        });
        if queued == 0 || clock.wall() >= gave_up {
            return Ok(delivered);
        }
        clock.sleep(clock.stretch(Duration::from_millis(100))).await;
    }
}

/// Sends one POST as its sender would.
async fn send(http: &Http, url: &Secret, post: &simulate::SimPost) -> Result<(), String> {
    let body: serde_json::Value = serde_json::from_str(&post.body).map_err(|e| e.to_string())?;
    let raw = serde_json::to_vec(&body).map_err(|e| e.to_string())?;
    let signed = source().sign(&raw).into_iter();
    let headers = signed.map(|(name, value)| (name.to_owned(), Secret::new(value)));
    let headers = headers.collect();
    let request = HttpRequest {
        headers,
        ..HttpRequest::post(url.clone(), body)
    };
    match http.send(&request, Duration::from_secs(10)).await {
        Reply::Http { status: 200, .. } => Ok(()),
        other => Err(format!(
            "the demo's own server did not take a webhook: {other:?}"
        )),
    }
}

fn introduce(args: &DemoArgs, names: &[Name]) {
    let told: Vec<&str> = names.iter().map(Name::as_str).collect();
    let told = if args.send {
        told.join(", ")
    } else {
        "this terminal".to_owned()
    };
    let seconds = 93 * 60 / args.speed;
    println!(
        "A simulated home (a gateway, a switch, three APs) lives an hour and a half in {seconds} s. It posts signed webhooks,\n\
         as Mist would: by the organisation's and the site's webhook, on three topics. Lines with -- are what happens there;\n\
         the rest are the messages, sent to {told}.\n"
    );
}

/// Prints an event of the simulated network.
fn say(at: Timestamp, text: &str) {
    let (dim, off) = if std::io::stdout().is_terminal() {
        ("\u{1b}[2m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    let minutes = at.seconds().div_euclid(60);
    println!(
        "{dim}-- {:02}:{:02} {text}{off}",
        minutes.div_euclid(60).rem_euclid(24),
        minutes.rem_euclid(60)
    );
}

fn conclude(args: &DemoArgs, story: &DemoStory, messages: u64) {
    let events: usize = story.posts.iter().map(|post| post.events).sum();
    println!(
        "\n{events} events came in {} webhooks; {} came out. A script that posts every event would have \
         sent {events}.\n\n\
         What next:\n\
         \x20 foghorn check --explain      every rule with its settings; `foghorn serve` applies them to your network\n\
         \x20 SLACK_WEBHOOK_URL=… foghorn demo --send      the same in your chat (or TEAMS_WEBHOOK_URL)\n\
         \x20 foghorn demo --write evening.ndjson && foghorn replay evening.ndjson      try other rules on this evening",
        story.posts.len(),
        plural(messages, "message"),
    );
    if let Some(folder) = &args.keep {
        println!(
            "  foghorn replay --stored --data {}      the journal that was kept",
            folder.display()
        );
    }
}

fn write(file: &Path, story: &DemoStory) -> Result<(), Failure> {
    let line = |post: &simulate::SimPost| {
        // Written in the format of `export`, so `replay` needs no special case for it.
        let traffic = replay::Post {
            received_at: Some(post.received_at),
            source: source::default_name(),
            kind: SourceKind::default(),
            body: post.body.clone().into(),
        };
        write_post(post.received_at, &traffic)
    };
    let mut text: String = story
        .posts
        .iter()
        .filter_map(line)
        .collect::<Vec<_>>()
        .join("\n");
    text.push('\n');
    std::fs::write(file, text)
        .map_err(|e| Failure::unexpected(format!("cannot write {}: {e}", file.display())))?;
    println!(
        "{} webhooks written; `foghorn replay {}` prints what would be sent",
        story.posts.len(),
        file.display()
    );
    Ok(())
}
