//! `serve`: runs the server.

use std::path::PathBuf;

use super::{Failure, ServeArgs};
use crate::app;
use crate::config::{Config, Log};

pub(super) fn run(named: Option<PathBuf>, args: ServeArgs) -> Result<(), Failure> {
    begin_again_with_one_arena();
    let config = super::load(named, Config::load)?;
    // The config was checked with its own `listen`; the option can expose the server to others.
    if let Some(listen) = args.listen
        && let Some(what) = config.exposed(listen)
    {
        return Err(Failure {
            text: format!("foghorn: --listen: {what}; give it `secrets` or `allow_unsigned: true`"),
            code: 3,
        });
    }
    if let Some(listen) = args.listen
        && config.server.unseen(config.server.listen).is_none()
        && let Some((what, help)) = config.server.unseen(listen)
    {
        super::err(format!("foghorn: --listen: {what}; {help}"));
    }
    let folder = args
        .data
        .clone()
        .unwrap_or_else(|| config.server.data.clone());
    let instead = app::Instead {
        listen: args.listen,
        data: args.data,
    };
    let templates = config
        .load_templates()
        .map_err(|problems| Failure::config(&problems))?;
    log_to_stderr(config.server.log, "info");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(4)
        .build();
    let runtime = runtime.map_err(Failure::start)?;
    let ended = runtime.block_on(app::run(config, templates, instead));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended.map_err(|error| match error {
        app::Error::Start(text) => Failure::start(with_way_out(text, &folder)),
        // Damage found while serving has the exit code of a failed start, because the next start fails.
        app::Error::Failed(text) if is_damage(&text) => Failure {
            text: format!("foghorn: {}", with_way_out(text, &folder)),
            code: 5,
        },
        app::Error::Failed(text) => Failure::unexpected(text),
    })
}

fn is_damage(text: &str) -> bool {
    text.contains("damaged")
}

/// Adds advice to the text about a damaged database.
fn with_way_out(text: String, folder: &std::path::Path) -> String {
    if !is_damage(&text) {
        return text;
    }
    let anew = crate::app::backend::begin_anew(folder);
    format!(
        "{text}; `foghorn repair --data {}` saves everything readable; if that is nothing, {anew}",
        folder.display()
    )
}

/// Restarts the process with one malloc arena. glibc gives each thread an arena that keeps the
/// thread's peak memory; in a storm that was half as much memory again as all threads together
/// need. glibc reads the setting before `main`, so the process has to start again. If that fails,
/// it only uses more memory. The second setting returns large buffers to the system: by default
/// glibc soon allocates them on the heap, where small long-lived blocks keep them from being
/// returned.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn begin_again_with_one_arena() {
    use std::os::unix::process::CommandExt as _;
    const ARENAS: &str = "MALLOC_ARENA_MAX";
    if std::env::var_os(ARENAS).is_some() {
        return;
    }
    if let Ok(me) = std::env::current_exe() {
        let _ = std::process::Command::new(me)
            .args(std::env::args_os().skip(1))
            .envs([(ARENAS, "1"), ("MALLOC_MMAP_THRESHOLD_", "262144")])
            .exec();
    }
}

/// Does nothing: other allocators need no setting.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn begin_again_with_one_arena() {}

/// Logs to standard error from this level on; FOGHORN_LOG filters (`info`, `foghorn=debug`). HTTP
/// crates never log below info, because their debug lines contain request paths, which are secrets
/// here.
pub(super) fn log_to_stderr(format: Log, least: &str) {
    use tracing_subscriber::filter::EnvFilter;
    let filter = EnvFilter::try_from_env("FOGHORN_LOG").unwrap_or_else(|_| EnvFilter::new(least));
    let filter = [
        "hyper=info",
        "hyper_util=info",
        "reqwest=info",
        "h2=info",
        "rustls=info",
        "warp=info",
    ]
    .into_iter()
    .filter_map(|directive| directive.parse().ok())
    .fold(filter, EnvFilter::add_directive);
    // A failing log must not stop Foghorn, and cannot be reported on the same standard error.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .log_internal_errors(false);
    match format {
        Log::Json => builder.json().flatten_event(true).init(),
        Log::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
    }
}
