//! Builds everything in one straight line, runs it, drains it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::destination::DestinationSettings;
use crate::dispatcher::{Dispatcher, Statuses, Summarise};
use crate::history::{self, Feed};
use crate::judge::Judge;
use crate::links::{LinkKey, SilenceLinks};
use crate::metrics::Metrics;
use crate::model::{Message, Name, Record, RulesRecord, plural};
use crate::notify::Manager;
use crate::render::Templates;
use crate::store::{Journal as _, Store as _};
use crate::web;
use crate::wire::Http;

pub mod backend;
pub(crate) mod tuning;

use crate::rulebook::{Book, Loaded, Reload};
use backend::Backend;

/// Everything has this long to finish after a signal.
const DRAIN: Duration = Duration::from_secs(8);

/// Why `serve` ended.
#[derive(Debug)]
pub enum Error {
    /// It never served: port, store.
    Start(String),
    /// It served, and had to stop.
    Failed(String),
}

/// What the command line says instead of the config.
#[derive(Clone, Debug, Default)]
pub struct Instead {
    /// Where to listen.
    pub listen: Option<std::net::SocketAddr>,
    /// The data folder.
    pub data: Option<std::path::PathBuf>,
}

/// What runs, for whoever started it from within the process.
#[derive(Clone)]
pub struct Running {
    /// Where it listens.
    pub address: std::net::SocketAddr,
    /// Its store.
    pub store: Backend,
    /// Stops it, as a signal would.
    pub stop: CancellationToken,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or when the store is found damaged later.
pub async fn run(config: Config, templates: Templates, instead: Instead) -> Result<(), Error> {
    run_by(
        Clock::system(),
        config,
        templates,
        instead,
        |config, running| announce(config, running.address),
    )
    .await
}

/// As [`run`], by this clock; `started` learns of it once it listens.
///
/// # Errors
/// When it cannot start, or when the store is found damaged later.
pub async fn run_by(
    clock: Clock,
    config: Config,
    templates: Templates,
    instead: Instead,
    started: impl FnOnce(&Config, Running),
) -> Result<(), Error> {
    let listen = instead.listen.unwrap_or(config.server.listen);
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| Error::Start(format!("listening on {listen}: {e}")))?;
    let data = instead.data.as_deref().unwrap_or(&config.server.data);
    let store = Backend::open(data, clock, config.server.retention)
        .map_err(|e| Error::Start(e.to_string()))?;
    let http = Http::new(false);
    http.prepare(config.destinations.iter().filter_map(|to| to.target.url()))
        .map_err(|e| Error::Start(e.to_string()))?;
    let address = listener
        .local_addr()
        .map_err(|e| Error::Start(e.to_string()))?;
    let token = web::run_files::prepare_token(data).map_err(|e| Error::Start(e.to_string()))?;
    let public_url = config.server.public_url.as_deref();
    let links = public_url.map(|url| SilenceLinks::new(url, LinkKey::of(&token)));

    let stop = CancellationToken::new();
    let metrics = Metrics::default();
    let (loaded, in_force) = watch::channel(Loaded::now(&config, &store));
    let (reload, asked) = mpsc::channel(1);
    let (templates, template_updates) =
        watch::channel(Arc::new(templates.with_silences(links.clone())));
    let (ready, readiness) = watch::channel(false);

    store
        .append(Record::Rules(RulesRecord {
            start: true,
            ..config.record()
        }))
        .await
        .map_err(|e| Error::Start(e.to_string()))?;
    let judge = Judge::restore(
        store.clone(),
        &config.rules,
        config::rules_from_record,
        template_updates.clone(),
        metrics.clone(),
        ready,
    )
    .await
    .map_err(|e| Error::Start(e.to_string()))?;
    let published = judge.published();
    let silencing = web::Silencing::new(&token, published.clone());
    let auth =
        web::Auth::for_this_machine().map_err(|e| Error::Start(format!("no randomness: {e}")))?;
    let auth = auth.opened(config.server.access.clone(), token, public_url);
    let feed = Feed::default();
    let manager = Manager::from_environment(config::environment);
    let pulse = manager.pulse();
    let judge = judge.with_feed(feed.clone()).with_pulse(pulse.clone());
    let judging = crate::worker::on_own_thread("judge", judge.run(stop.clone()));
    let indexed = crate::worker::on_own_thread(
        "indexer",
        history::keep_indexed(store.clone(), stop.clone()),
    );

    let looking = web::events::Looking {
        published,
        feed,
        statuses: Statuses::default(),
        templates: template_updates.clone(),
        compile: config::rules_from_record,
        file: config.path.as_ref().map_or_else(
            || "the built-in rules".to_owned(),
            |path| path.display().to_string(),
        ),
        stop: stop.clone(),
        kinds: web::events::DestinationKinds::default(),
        tuner: Some(tuning::tuner(
            config.path.clone(),
            data.to_owned(),
            store.clock().clock(),
        )),
    };
    looking.kinds.replace(kinds(&config));
    let (statuses, destination_kinds) = (looking.statuses.clone(), looking.kinds.clone());
    let summarise: Summarise =
        Arc::new(move |waiting: &[Message], gap| template_updates.borrow().digest(waiting, gap));
    let sender = Sender {
        store: store.clone(),
        http,
        summarise,
        views: (statuses, metrics.clone()),
    };
    let dispatching = sender.start(config.destinations.clone());
    let state = web::State::new(store.clone(), metrics.clone(), readiness, current(&config))
        .with_silencing(silencing)
        .with_auth(auth)
        .with_rulebook(Arc::new(Book::new(
            &config,
            store.clone(),
            in_force,
            reload,
        )))
        .with_looking(looking);
    let limits = web::Limits {
        connections: config.server.max_connections,
        ..web::Limits::default()
    };
    let server = tokio::spawn(web::serve(
        listener,
        web::routes(&state),
        limits,
        stop.clone(),
    ));
    // Removed at the end: a file that stays behind names a server that was killed.
    let _noted =
        web::run_files::Address::note(data, address).map_err(|e| Error::Start(e.to_string()))?;
    let reported =
        tokio::spawn(manager.report(format!("listening on {address}"), pulse, stop.clone()));
    started(
        &config,
        Running {
            address,
            store: store.clone(),
            stop: stop.clone(),
        },
    );

    let kinds = destination_kinds;
    let mut live = Live {
        store,
        templates,
        links,
        state,
        kinds,
        sender,
        dispatching: Some(dispatching),
        metrics,
        loaded,
        asked,
    };
    let outcome = live.until_stopped(config, judging, &stop).await;
    let drained = async {
        let _ = reported.await;
        let _ = server.await;
        let _ = indexed.await;
        live.stop_dispatching().await;
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        warn!("some work did not finish in time; it goes on at the next start");
    }
    info!("stopped");
    outcome
}

/// The kind of each destination.
fn kinds(config: &Config) -> Vec<(Name, &'static str)> {
    let all = config.destinations.iter();
    all.map(|to| (to.name.clone(), to.target.kind().word))
        .collect()
}

/// What requests are judged by.
fn current(config: &Config) -> web::Current {
    let max_body = usize::try_from(config.server.max_body).unwrap_or(usize::MAX);
    web::Current {
        sources: config.sources.clone(),
        rules: Arc::clone(&config.rules),
        max_body,
    }
}

/// Starts dispatchers.
struct Sender {
    store: Backend,
    http: Http,
    summarise: Summarise,
    views: (Statuses, Metrics),
}

/// A dispatcher under way, and what stops it.
type Dispatching = (
    tokio::task::JoinHandle<crate::store::Result<()>>,
    CancellationToken,
);

impl Sender {
    fn start(&self, destinations: Vec<DestinationSettings>) -> Dispatching {
        let stop = CancellationToken::new();
        let dispatcher = Dispatcher::new(
            self.store.clone(),
            self.http.clone(),
            destinations,
            Arc::clone(&self.summarise),
            self.views.clone(),
        );
        (tokio::spawn(dispatcher.run(stop.clone())), stop)
    }
}

/// The parts a reload touches.
struct Live {
    store: Backend,
    templates: watch::Sender<Arc<Templates>>,
    links: Option<SilenceLinks>,
    state: web::State<Backend>,
    kinds: web::events::DestinationKinds,
    sender: Sender,
    dispatching: Option<Dispatching>,
    metrics: Metrics,
    loaded: watch::Sender<Arc<Loaded>>,
    /// Who asks for a reload and waits for how it goes.
    asked: mpsc::Receiver<Reload>,
}

impl Live {
    /// Waits for a signal, reloading meanwhile; then stops taking work and lets the judge
    /// finish.
    async fn until_stopped(
        &mut self,
        mut config: Config,
        mut judging: tokio::sync::oneshot::Receiver<Result<(), crate::store::Error>>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let signal = |kind| {
            tokio::signal::unix::signal(kind).map_err(|e| Error::Start(format!("signals: {e}")))
        };
        let mut terminate = signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut interrupt = signal(tokio::signal::unix::SignalKind::interrupt())?;
        let mut hangup = signal(tokio::signal::unix::SignalKind::hangup())?;
        let mut poll = tokio::time::interval(Duration::from_secs(2));
        let mut damaged = self.store.damaged();
        let mut seen = Snapshot::of(&config);
        let judged = |result: Result<Result<(), crate::store::Error>, _>| match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(Error::Failed(e.to_string())),
            Err(_) => Err(Error::Failed("the judge ended unexpectedly".to_owned())),
        };
        let sent = async |dispatching: &mut Option<Dispatching>| match dispatching {
            Some((dispatching, _)) => dispatching.await,
            None => std::future::pending().await,
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = stop.cancelled() => break,
                ended = &mut judging => {
                    stop.cancel();
                    return judged(ended);
                }
                ended = sent(&mut self.dispatching) => {
                    self.dispatching = None;
                    stop.cancel();
                    return match ended {
                        Ok(Err(e)) => Err(Error::Failed(e.to_string())),
                        _ => Err(Error::Failed("nothing is sent any more".to_owned())),
                    };
                }
                Some(found) = async { damaged.wait_for(Option::is_some).await.ok().and_then(|found| found.clone()) } => {
                    stop.cancel();
                    return Err(Error::Failed(found.to_string()));
                }
                _ = hangup.recv() => {
                    seen = Snapshot::of(&config);
                    let _ = self.reload(&mut config).await;
                }
                Some(waiting) = self.asked.recv() => {
                    seen = Snapshot::of(&config);
                    // Who went away meanwhile sees it in the log.
                    let _ = waiting.send(self.reload(&mut config).await);
                }
                _ = poll.tick() => {
                    let now = Snapshot::of(&config);
                    // A file that is missing is being replaced: the next look will find it.
                    if now.is_whole(&seen) && now != seen {
                        let files = config.files();
                        let _ = self.reload(&mut config).await;
                        // A change meanwhile is found by the next look, unless other files count.
                        seen = if config.files() == files { now } else { Snapshot::of(&config) };
                    }
                }
            }
        }
        info!("stopping");
        stop.cancel();
        judged(
            tokio::time::timeout(DRAIN, judging)
                .await
                .unwrap_or(Ok(Ok(()))),
        )
    }

    /// Puts a changed file into force, whole or not at all; says why not.
    async fn reload(&mut self, config: &mut Config) -> Result<(), String> {
        // One that was not there at the start counts as soon as it is.
        let default = Path::new(config::DEFAULT_PATH);
        let path = config.path.as_deref();
        let path = path.or_else(|| Some(default).filter(|path| path.exists()));
        let loaded = Config::load(path, &config::environment)
            .and_then(|fresh| fresh.load_templates().map(|templates| (fresh, templates)));
        let (fresh, templates) = match loaded {
            Ok(loaded) => loaded,
            Err(problems) => {
                self.metrics.reload(false);
                error!("the changed config has problems; the rules before stay in force");
                problems.0.iter().for_each(|problem| error!("{problem}"));
                return Err("the file has problems".to_owned());
            }
        };
        // Before the rules change: what they say to a new destination must not find those who know
        // only the old ones, who would take it for gone.
        let renamed = fresh.destinations != config.destinations;
        if renamed {
            self.stop_dispatching().await;
        }
        let journaled = self.store.append(Record::Rules(fresh.record())).await;
        if renamed {
            let there = if journaled.is_ok() { &fresh } else { &*config };
            self.dispatching = Some(self.sender.start(there.destinations.clone()));
        }
        if let Err(e) = journaled {
            self.metrics.reload(false);
            error!(
                "the changed config could not be journaled; the rules before stay in force: {e}"
            );
            return Err("the change could not be journaled".to_owned());
        }
        self.templates
            .send_replace(Arc::new(templates.with_silences(self.links.clone())));
        if renamed {
            self.kinds.replace(kinds(&fresh));
        }
        for warning in &fresh.warnings {
            warn!("{warning}");
        }
        let server = config::Server {
            access: fresh.server.access.clone(),
            ..config.server.clone()
        };
        if fresh.server != server {
            warn!(
                "settings under `server:` take effect at the next start, but for who may see the page"
            );
        }
        *config = fresh;
        config.server = server;
        self.state.replace_access(config.server.access.clone());
        self.state.replace(current(config));
        self.loaded.send_replace(Loaded::now(config, &self.store));
        self.metrics.reload(true);
        info!(
            rules = config.rules.rules().len(),
            "the changed config is in force"
        );
        Ok(())
    }

    /// What is under way is finished; the rest stays in the outbox.
    async fn stop_dispatching(&mut self) {
        if let Some((dispatching, stop)) = self.dispatching.take() {
            stop.cancel();
            let _ = dispatching.await;
        }
    }
}

/// The files of a config, by their hashes: what a reload depends on.
#[derive(Debug, PartialEq, Eq)]
struct Snapshot(Vec<(PathBuf, Option<[u8; 32]>)>);

impl Snapshot {
    fn of(config: &Config) -> Self {
        let hash = |path: &Path| Some(Sha256::digest(std::fs::read(path).ok()?).into());
        let files = config.files().into_iter();
        Self(files.map(|path| (path.clone(), hash(&path))).collect())
    }

    /// Returns true if no file that was there before is missing.
    fn is_whole(&self, before: &Self) -> bool {
        let missing = |path: &PathBuf| self.0.iter().any(|(p, hash)| p == path && hash.is_none());
        let known = before.0.iter().filter(|(_, hash)| hash.is_some());
        !known.map(|(path, _)| path).any(missing)
    }
}

/// Says where it listens, and what to do next.
fn announce(config: &Config, address: std::net::SocketAddr) {
    // The one line on standard output that scripts wait for.
    let _ = writeln!(std::io::stdout(), "listening on http://{address}");
    let base = config
        .server
        .public_url
        .clone()
        .unwrap_or_else(|| format!("http://{address}"));
    for source in &config.sources {
        info!(
            "Mist's webhook URL for source `{}`: {}{}",
            source.name,
            base.trim_end_matches('/'),
            source.path()
        );
        if source.secrets.is_empty() && !source.allow_unsigned {
            info!(
                "source `{}` has no secret: posts are accepted from this machine only. Set MIST_WEBHOOK_SECRET to Mist's secret",
                source.name
            );
        }
    }
    let told: Vec<&str> = config
        .destinations
        .iter()
        .map(|d| d.name.as_str())
        .collect();
    info!(
        "{}; telling {}",
        plural(config.rules.rules().len() as u64, "rule"),
        told.join(", ")
    );
    if config.destinations.iter().all(|d| d.target.url().is_none()) {
        info!(
            "messages are printed here. To have them in chat, set SLACK_WEBHOOK_URL or TEAMS_WEBHOOK_URL, or add `destinations:` to rules.yaml"
        );
    }
}

#[cfg(test)]
mod rulebook_tests;
