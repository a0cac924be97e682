//! `doctor`: checks the machine, the config, the data folder and the destinations, and gives advice
//! for each finding. It posts nothing, and prints neither secrets nor those parts of a URL that may
//! hold one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Failure, config_path, out};
use crate::clock::Clock;
use crate::config::{self, Config, Level, Problems};
use crate::model::plural;

mod away;
mod machine;
mod report;
mod server;

use report::{CheckResult, CheckStatus};

/// Time limit of a check.
const LIMIT: Duration = Duration::from_secs(5);

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// The data folder, instead of `server.data`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Read variables from this file too, as the service does (lines NAME=VALUE)
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Only check that the running server answers, for health checks
    #[arg(long)]
    quick: bool,
}

/// Function that returns the value of an environment variable.
type Lookup = Box<dyn Fn(&str) -> Option<String>>;

pub(super) fn run(named: Option<PathBuf>, args: DoctorArgs) -> Result<(), Failure> {
    let from_file = args
        .env_file
        .as_deref()
        .map(variables)
        .transpose()?
        .unwrap_or_default();
    let env: Lookup = Box::new(move |name| {
        from_file
            .get(name)
            .cloned()
            .or_else(|| config::environment(name))
    });
    let path = config_path(named.or_else(|| env("FOGHORN_CONFIG").map(PathBuf::from)));
    // File checks can hang on a broken disk: they run beside the others, and the shutdown does not
    // wait for them.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.map_err(Failure::unexpected)?;
    // A quick check must not fail because of rules that somebody is editing.
    let findings = if args.quick {
        let folder = match args.data {
            Some(folder) => folder,
            None => {
                Config::load_offline(path.as_deref(), &env)
                    .map_err(|found| Failure::config(&found))?
                    .server
                    .data
            }
        };
        vec![runtime.block_on(within("server", server::alive(folder)))]
    } else {
        let (config, mut findings) = read_config(path.as_deref(), &env);
        if let Some(file) = &args.env_file {
            findings.extend(machine::private("the file of variables", file));
        }
        findings.extend(runtime.block_on(look(config, args.data)));
        findings
    };
    runtime.shutdown_background();
    out(&report::print(&findings));
    match report::worst(&findings) {
        CheckStatus::Problem => Err(Failure {
            text: String::new(),
            code: 3,
        }),
        CheckStatus::Ok | CheckStatus::Warning => Ok(()),
    }
}

/// Runs all checks except that of the config in parallel. The findings follow a message's path
/// through Foghorn.
async fn look(config: Option<Config>, data: Option<PathBuf>) -> Vec<CheckResult> {
    let clock = Clock::system();
    let config = config.map(Arc::new);
    let folder = data.or_else(|| config.as_ref().map(|config| config.server.data.clone()));
    let mut under_way = Vec::new();
    // Every check is a task of its own, so a slow one does not use up the time of the others.
    let mut start = |check: &str, work: Work| {
        let check = check.to_owned();
        // This check reads the whole database.
        let most = if check == "journal" {
            server::ALONE * 2
        } else {
            LIMIT
        };
        under_way.push(tokio::spawn(
            async move { within_all(&check, most, work).await },
        ));
    };
    if let Some(folder) = folder.clone() {
        let size = config
            .as_ref()
            .map_or(0, |config| config.server.retention.size);
        if let Some(config) = &config {
            let (listen, folder) = (config.server.listen, folder.clone());
            start(
                "port",
                blocking(move || vec![machine::port(listen, &folder)]),
            );
        }
        let (dir, also) = (folder.clone(), config.clone());
        start("data folder", blocking(move || machine::folder(&dir, size)));
        let dir = folder.clone();
        start(
            "token",
            blocking(move || server::token(&dir).into_iter().collect()),
        );
        let sources = also
            .map(|c| c.sources.iter().map(|s| s.name.clone()).collect())
            .unwrap_or_default();
        let dir = folder.clone();
        start(
            "journal",
            blocking(move || server::journal(&dir, sources, clock.wall())),
        );
        start(
            "server",
            Box::pin(server::running(folder.clone(), clock.wall())),
        );
    }
    // The clock is judged last, because the destinations' answers contain their time, but printed
    // first.
    let mut skews = Vec::new();
    let mut findings = Vec::new();
    if let Some(config) = &config {
        findings.extend(machine::secrets(config));
        if let Some(url) = config.server.public_url.clone() {
            let runs = folder.is_some_and(|folder| crate::app::backend::is_held(&folder));
            start(
                "public_url",
                Box::pin(async move { vec![away::public_url(&url, runs).await] }),
            );
        }
        let asked: Vec<_> = config
            .destinations
            .iter()
            .cloned()
            .map(|d| tokio::spawn(away::destination(d)))
            .collect();
        for (settings, asked) in config.destinations.iter().zip(asked) {
            let failed = |_| {
                (
                    CheckResult::problem(
                        &away::name(settings),
                        "the check stopped unexpectedly",
                        "run doctor again; if this repeats, it is a bug",
                    ),
                    None,
                )
            };
            let (finding, skew) = asked.await.unwrap_or_else(failed);
            findings.push(finding);
            skews.extend(skew);
        }
    }
    let ages = config.iter().flat_map(|config| {
        config
            .sources
            .iter()
            .filter_map(|source| source.max_event_age)
    });
    let mut first = vec![machine::clock(
        clock.wall(),
        machine::zone(),
        &skews,
        ages.min(),
    )];
    for one in under_way {
        first.extend(one.await.unwrap_or_default());
    }
    first.extend(findings);
    first
}

type Work = std::pin::Pin<Box<dyn Future<Output = Vec<CheckResult>> + Send>>;

/// Runs file checks on a thread of their own, so that they do not block network checks.
fn blocking(work: impl FnOnce() -> Vec<CheckResult> + Send + 'static) -> Work {
    Box::pin(async move { tokio::task::spawn_blocking(work).await.unwrap_or_default() })
}

async fn within_all(check: &str, most: Duration, work: Work) -> Vec<CheckResult> {
    let what = format!("no answer within {} s", most.as_secs());
    let late = |_| {
        vec![CheckResult::problem(
            check,
            what,
            "check the disk, the network and the load",
        )]
    };
    tokio::time::timeout(most, work).await.unwrap_or_else(late)
}

async fn within(check: &str, work: impl Future<Output = CheckResult>) -> CheckResult {
    let late = |_| CheckResult::problem(check, "no answer within 5 s", server::RESTART);
    tokio::time::timeout(LIMIT, work).await.unwrap_or_else(late)
}

/// Returns the config if it is usable, and the findings about it.
fn read_config(path: Option<&Path>, env: &Lookup) -> (Option<Config>, Vec<CheckResult>) {
    let said = |Problems(found): Problems| -> Vec<CheckResult> {
        let finding = |problem: &config::Problem| {
            let place = if problem.line == 0 {
                String::new()
            } else {
                format!(":{}", problem.line)
            };
            let what = format!("{}{place}: {}", problem.file, problem.what);
            let help = problem
                .help
                .clone()
                .unwrap_or_else(|| what_to_do(problem).to_owned());
            match problem.level {
                Level::Warning => CheckResult::warning("config", what, help),
                Level::Error => CheckResult::problem("config", what, help),
            }
        };
        found.iter().map(finding).collect()
    };
    // The full load also resolves secrets, so missing ones are reported here.
    match Config::load(path, env) {
        Ok(config) => {
            let rules = plural(config.rules.rules().len() as u64, "rule");
            let told: Vec<&str> = config
                .destinations
                .iter()
                .map(|d| d.name.as_str())
                .collect();
            let what = match path {
                Some(path) => format!(
                    "{}: {rules}; destinations: {}",
                    path.display(),
                    told.join(", ")
                ),
                None => format!(
                    "no ./rules.yaml here, so the built-in rules apply; destinations: {}",
                    told.join(", ")
                ),
            };
            let mut findings = vec![CheckResult::ok("config", what)];
            findings.extend(said(Problems(config.warnings.clone())));
            (Some(config), findings)
        }
        // Checks that need no secrets still run if secrets are missing.
        Err(problems) => (Config::load_offline(path, env).ok(), said(problems)),
    }
}

/// Returns advice about a problem of the config that has none.
fn what_to_do(problem: &config::Problem) -> &'static str {
    match problem.line {
        0 => "does the file exist, and may this user read it? --config names another",
        _ => "correct that line: `foghorn check` shows it",
    }
}

/// Reads lines of the form NAME=VALUE from a file, as systemd does.
fn variables(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("--env-file: cannot read {}: {e}", path.display())))?;
    let one = |line: &str| {
        let (name, value) = line
            .trim()
            .split_once('=')
            .filter(|_| !line.trim_start().starts_with(['#', ';']))?;
        let value = value.trim();
        let bare = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        Some((name.trim().to_owned(), bare.unwrap_or(value).to_owned()))
    };
    Ok(text.lines().filter_map(one).collect())
}

#[cfg(test)]
mod tests;
