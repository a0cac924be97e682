//! The rules file for the page: shows, checks, compares and changes it. Long work runs on threads
//! where it blocks nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OnceCell, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::compare::compare;
use self::rewrite::{NotWritten, rewrite};
use crate::clock::{self, Clock};
use crate::config::{self, BUILT_IN, Config, Level, Problem, environment};
use crate::model::Timestamp;
use crate::render::Templates;
use crate::store::{Journal, Store};
use crate::trial;
use crate::web::rules_api::{
    Applied, Change, Declined, Finding, Findings, MAX_TEXT, Rulebook, Sheet, Tested,
};
use crate::worker;

mod compare;
pub mod edit;
mod hidden;
mod protected;
mod rewrite;

pub use hidden::{Hidden, Restored};

/// Time limits of a check and of a comparison.
const CHECKED_WITHIN: Duration = Duration::from_secs(10);
const COMPARED_WITHIN: Duration = Duration::from_secs(60);
/// Time limit of a reload, which first finishes sends in progress.
const RELOADED_WITHIN: Duration = Duration::from_secs(30);

/// Receiver of a reload's result.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// The rules in force.
pub struct Loaded {
    config: Config,
    at: Timestamp,
    tests: OnceCell<Arc<(Vec<Tested>, u64)>>,
}

impl Loaded {
    /// Returns the rules as they are in force from this moment.
    pub fn now<S: Store>(config: &Config, store: &S) -> Arc<Self> {
        Arc::new(Self {
            config: config.clone(),
            at: store.clock().clock().wall(),
            tests: OnceCell::new(),
        })
    }
}

/// The rules file and the rules in force. Clones are cheap.
pub struct Book<S>(Arc<BookState<S>>);

struct BookState<S> {
    /// Path of the file; `None` for the built-in rules.
    path: Option<PathBuf>,
    may_edit: bool,
    loaded: watch::Receiver<Arc<Loaded>>,
    reload: mpsc::Sender<Reload>,
    store: S,
    checking: Arc<Semaphore>,
    comparing: Arc<Semaphore>,
    applying: Mutex<()>,
    /// Key of the versions, so that nobody can use a version to guess redacted values.
    key: [u8; 16],
}

/// The current file.
struct RulesFile {
    bytes: Vec<u8>,
    hidden: Arc<Hidden>,
    /// True if the file is shown; false if the rules in force are shown because the file is not
    /// YAML.
    is_file: bool,
}

/// Declines a text as a whole, with an error that concerns no line.
fn unfit<T>(what: &str, help: &str) -> Result<T, Declined> {
    let problem = Finding {
        line: 0,
        column: 0,
        is_error: true,
        message: what.to_owned(),
        help: Some(help.to_owned()),
    };
    Err(Declined::Wrong(Findings {
        problems: vec![problem],
        ..Findings::default()
    }))
}

impl<S> Clone for Book<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Journal> Book<S> {
    /// Creates the book. `reload` requests a reload; `loaded` follows the rules in force.
    pub fn new(
        config: &Config,
        store: S,
        loaded: watch::Receiver<Arc<Loaded>>,
        reload: mpsc::Sender<Reload>,
    ) -> Self {
        let (checking, comparing) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
        let (path, may_edit) = (config.path.clone(), config.server.edit_rules);
        let (applying, key) = (Mutex::new(()), clock::unguessable().unwrap_or_default());
        Self(Arc::new(BookState {
            path,
            may_edit,
            loaded,
            reload,
            store,
            checking,
            comparing,
            applying,
            key,
        }))
    }

    /// Returns the version of a text. While this process lives, equal versions mean equal texts.
    fn version(&self, bytes: &[u8]) -> String {
        let hash = Sha256::new()
            .chain_update(self.0.key)
            .chain_update(bytes)
            .finalize();
        hash.iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.loaded.borrow())
    }

    fn file(&self) -> String {
        self.0.path.as_ref().map_or_else(
            || "the built-in rules".to_owned(),
            |path| path.display().to_string(),
        )
    }

    /// Returns the current file.
    fn page(&self) -> Result<RulesFile, Declined> {
        let loaded = self.loaded();
        let bytes = match &self.0.path {
            None => BUILT_IN.as_bytes().to_vec(),
            Some(path) => match std::fs::read(path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    return Err(Declined::Failed(
                        format!("{} cannot be read: {error}", self.file()),
                        "",
                    ));
                }
            },
        };
        let file = self.file();
        let hidden = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| Hidden::of(text, &file));
        let is_file = hidden.is_some();
        // A file that is not YAML cannot be redacted; the rules in force can.
        let Some(hidden) = hidden.or_else(|| Hidden::of(&loaded.config.text, &file)) else {
            return Declined::failed(
                "the secrets in the rules cannot be redacted",
                "open the file itself",
            );
        };
        Ok(RulesFile {
            bytes,
            hidden: Arc::new(hidden),
            is_file,
        })
    }

    fn why_not(&self, page: &RulesFile) -> Option<String> {
        match &self.0.path {
            None => Some(
                "the built-in rules apply: create a rules.yaml where Foghorn runs, and restart it"
                    .to_owned(),
            ),
            Some(path) if !self.0.may_edit => Some(format!(
                "to change the rules here, set `edit_rules: true` under `server:` in {} and restart Foghorn",
                path.display()
            )),
            Some(_) if page.bytes.len() > MAX_TEXT => {
                Some("the file is larger than 256 KiB: edit it on the machine".to_owned())
            }
            Some(_) => None,
        }
    }

    async fn look(&self) -> Result<Sheet, Declined> {
        let (loaded, book) = (self.loaded(), self.clone());
        let file = self.file();
        // The file may be on a slow disk, so it is read on a thread that may block.
        let (page, problems, differs) = blocking(CHECKED_WITHIN, move |_| {
            let page = book.page()?;
            let differs = page.bytes != loaded.config.text.as_bytes();
            let problems = if differs {
                let path = book.0.path.as_deref();
                Config::load(path, &environment)
                    .map_or_else(|problems| problems.0, |config| config.warnings)
            } else {
                loaded.config.warnings.clone()
            };
            Ok((page, problems, differs))
        })
        .await?;
        // Positions are those of the file, which the reader does not see.
        let place = |line: &mut u64, column: &mut u64| {
            if page.is_file {
                page.hidden.place(line, column)
            }
        };
        let mut problems = findings(&problems, place);
        if !page.is_file {
            // The line numbers are those of the file, not of the text that is shown.
            for problem in &mut problems {
                problem.message =
                    format!("in the file, line {}: {}", problem.line, problem.message);
                problem.line = 0;
            }
        }
        let loaded = self.loaded();
        let (mut tests, tests_ms) = (*self.own_tests(&loaded, file.clone()).await?).clone();
        if !differs {
            tests
                .iter_mut()
                .for_each(|test| page.hidden.place(&mut test.line, &mut 1));
        }
        Ok(Sheet {
            file,
            text: page.hidden.text().to_owned(),
            version: self.version(&page.bytes),
            loaded_at: loaded.at,
            differs,
            why_not: self.why_not(&page),
            findings: Findings {
                problems,
                tests,
                tests_ms,
            },
        })
    }

    /// Returns the test results of the rules in force; the tests run only once.
    async fn own_tests(
        &self,
        loaded: &Arc<Loaded>,
        file: String,
    ) -> Result<Arc<(Vec<Tested>, u64)>, Declined> {
        let run = || async {
            let kept = Arc::clone(loaded);
            let run = move |stop: &AtomicBool| match kept.config.load_templates() {
                Ok(templates) => Ok(tested(&kept.config, &templates, &file, stop)),
                Err(_) => Declined::failed(
                    "the templates can no longer be loaded",
                    "`foghorn check` says why",
                ),
            };
            blocking(CHECKED_WITHIN, run).await.map(Arc::new)
        };
        loaded.tests.get_or_try_init(run).await.cloned()
    }

    /// Checks a text. Returns the text with its secrets too, unless it has errors.
    async fn judged(
        &self,
        page: &RulesFile,
        text: String,
    ) -> Result<(Findings, Option<String>), Declined> {
        // One check at a time: each may use a processor for seconds.
        let turn =
            tokio::time::timeout(CHECKED_WITHIN, Arc::clone(&self.0.checking).acquire_owned())
                .await;
        let Ok(Ok(turn)) = turn else {
            return Err(Declined::Busy);
        };
        let (hidden, file) = (Arc::clone(&page.hidden), self.file());
        let path = self
            .0
            .path
            .clone()
            .unwrap_or_else(|| PathBuf::from("rules.yaml"));
        blocking(CHECKED_WITHIN, move |stop| {
            // The permit is held until the work ends, even if the client has left.
            let _turn = turn;
            Ok(judge(&hidden, &path, &file, &text, stop))
        })
        .await
    }

    /// Runs the only test of a text together with the rules in force, and updates its expectations.
    async fn rehearsed(&self, text: String) -> Result<String, Declined> {
        let turn =
            tokio::time::timeout(CHECKED_WITHIN, Arc::clone(&self.0.checking).acquire_owned())
                .await;
        let Ok(Ok(turn)) = turn else {
            return Err(Declined::Busy);
        };
        let (loaded, path) = (self.loaded(), self.0.path.clone());
        blocking(CHECKED_WITHIN, move |stop| {
            let _turn = turn;
            let wrong = |problems: &[Problem]| {
                // The line numbers belong to the joined text, which nobody sees.
                let mut problems = findings(problems, |line, column| (*line, *column) = (0, 0));
                problems.retain(|problem| problem.is_error);
                Declined::Wrong(Findings {
                    problems,
                    ..Findings::default()
                })
            };
            let help =
                "send `rules:` with one rule, and `tests:` with one test that ends in `expect:`";
            let joined = edit::joined(&loaded.config.text, &text);
            let Some(joined) = joined else {
                return unfit("the text is not a rule and a test", help);
            };
            let config = Config::parse_offline(&joined, path.as_deref(), &environment)
                .map_err(|problems| wrong(&problems.0))?;
            let [case] = config.tests.as_slice() else {
                return unfit("the text has no test, or more than one", help);
            };
            let templates = config
                .load_templates()
                .map_err(|problems| wrong(&problems.0))?;
            match trial::said(case, &config.rules, &templates, &|| {
                stop.load(Ordering::Relaxed)
            }) {
                Ok(said) => expecting(&text, &said)
                    .map_or_else(|| unfit("the test has no `expect:`", help), Ok),
                Err(why) => unfit(&why, "make the test shorter"),
            }
        })
        .await
    }

    async fn compared(&self, text: Option<String>, since: Duration) -> Result<Value, Declined> {
        let Ok(turn) = Arc::clone(&self.0.comparing).try_acquire_owned() else {
            return Err(Declined::Busy);
        };
        let (book, loaded) = (self.clone(), self.loaded());
        let other = blocking(CHECKED_WITHIN, move |_| book.other_rules(text)).await?;
        let rules = [Arc::clone(&loaded.config.rules), other.rules];
        let from = self.0.store.clock().clock().wall() - since;
        // Dropping the guard stops the work if the client leaves or the time is over.
        let work = compare(self.0.store.clone(), rules, from, crate::diff::last(since));
        let stop = CancellationToken::new();
        let _when_nobody_waits = stop.clone().drop_guard();
        let done = worker::on_own_thread("compare", async move {
            let _turn = turn;
            stop.run_until_cancelled(work).await
        });
        match tokio::time::timeout(COMPARED_WITHIN, done).await {
            Ok(Ok(Some(found))) => found,
            Ok(_) => Declined::failed("the comparison ended unexpectedly", "the log says why"),
            Err(_) => Err(Declined::Slow(
                "compare a shorter time, or run `foghorn replay --stored --diff`",
            )),
        }
    }

    fn other_rules(&self, text: Option<String>) -> Result<Config, Declined> {
        let wrong = |problems| {
            Declined::Wrong(Findings {
                problems,
                ..Findings::default()
            })
        };
        let page = self.page()?;
        let path = self.0.path.as_deref();
        match text {
            None => Config::load_offline(path, &environment)
                .map_err(|found| wrong(findings(&found.0, |_, _| ()))),
            Some(text) => {
                // The text comes from the page, so its secrets are redacted.
                let restored = page
                    .hidden
                    .restore(&text)
                    .map_err(|found| wrong(findings(&found, |_, _| ())))?;
                let place = |line: &mut u64, column: &mut u64| restored.place(line, column);
                Config::parse_offline(&restored.text, path, &environment)
                    .map_err(|found| wrong(findings(&found.0, place)))
            }
        }
    }

    async fn applied(&self, change: Change) -> Result<Applied, Declined> {
        // Two changes at once could each pass the check of the version and overwrite each other.
        let _one_at_a_time = self.0.applying.lock().await;
        let page = self.page()?;
        let Some(path) = self
            .0
            .path
            .clone()
            .filter(|_| self.why_not(&page).is_none())
        else {
            return Err(Declined::Off(self.why_not(&page).unwrap_or_default()));
        };
        // Checked before the text: a change based on another file must not be judged against this
        // one.
        if self.version(&page.bytes) != change.version {
            return Err(Declined::Changed(self.version(&page.bytes)));
        }
        let (findings, text) = self.judged(&page, change.text).await?;
        let Some(text) = text else {
            return Err(Declined::Wrong(findings));
        };
        if !change.despite_tests && findings.tests.iter().any(|test| test.failure.is_some()) {
            return Err(Declined::Fails(findings));
        }
        let written = text.as_bytes() != page.bytes;
        let mut kept = None;
        if written {
            kept = self
                .write(&path, &page.bytes, text.as_bytes(), page.bytes.clone())
                .await?;
        }
        // The reload can fail although the check passed, for example because of the environment.
        if let Err(why) = self.reload().await {
            // The earlier backup is restored too, because the new text was never in force.
            let kept = kept.unwrap_or_else(|| page.bytes.clone());
            if written
                && self
                    .write(&path, text.as_bytes(), &page.bytes, kept)
                    .await
                    .is_ok()
            {
                return Err(Declined::Failed(
                    format!("the previous rules stay in force: {why}"),
                    "the file is unchanged",
                ));
            }
            return Err(Declined::Failed(
                format!("the file was written, but: {why}"),
                "the log says what happened then",
            ));
        }
        tracing::info!(who = %change.who, "the rules were changed through the page");
        Ok(Applied {
            version: self.version(text.as_bytes()),
            findings,
        })
    }

    /// Writes the file and its backup; returns the previous backup.
    async fn write(
        &self,
        path: &Path,
        before: &[u8],
        after: &[u8],
        kept: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, Declined> {
        // File operations can block for long, so they run on a blocking thread with their own
        // copies.
        let (path, before, after) = (path.to_owned(), before.to_vec(), after.to_vec());
        let written =
            tokio::task::spawn_blocking(move || rewrite(&path, &before, &after, &kept)).await;
        match written {
            Ok(Ok(kept)) => Ok(kept),
            Ok(Err(NotWritten::Changed)) => {
                Err(Declined::Changed(self.version(&self.page()?.bytes)))
            }
            Ok(Err(NotWritten::Failed(error))) => {
                let help = "nothing was changed. Foghorn must be able to write to the file's folder; mount the folder instead of the file";
                Err(Declined::Failed(
                    format!("{} cannot be written: {error}", self.file()),
                    help,
                ))
            }
            Err(_) => Declined::failed("writing ended unexpectedly", "the log says why"),
        }
    }

    async fn reload(&self) -> Result<(), String> {
        let (told, heard) = oneshot::channel();
        let asked = async {
            self.0
                .reload
                .send(told)
                .await
                .map_err(|_| "Foghorn is stopping".to_owned())?;
            heard
                .await
                .unwrap_or_else(|_| Err("Foghorn is stopping".to_owned()))
        };
        tokio::time::timeout(RELOADED_WITHIN, asked)
            .await
            .unwrap_or_else(|_| Err("the reload takes too long".to_owned()))
    }
}

impl<S: Journal> Rulebook for Book<S> {
    fn sheet(&self) -> BoxFuture<'_, Result<Sheet, Declined>> {
        self.look().boxed()
    }

    fn check(&self, text: String) -> BoxFuture<'_, Result<Findings, Declined>> {
        async move {
            let page = self.page()?;
            self.judged(&page, text).await.map(|(findings, _)| findings)
        }
        .boxed()
    }

    fn rehearse(&self, text: String) -> BoxFuture<'_, Result<String, Declined>> {
        self.rehearsed(text).boxed()
    }

    fn compare(
        &self,
        text: Option<String>,
        since: Duration,
    ) -> BoxFuture<'_, Result<Value, Declined>> {
        self.compared(text, since).boxed()
    }

    fn apply(&self, change: Change) -> BoxFuture<'_, Result<Applied, Declined>> {
        let book = self.clone();
        // Spawned, so that a client that leaves cannot interrupt between writing and reloading.
        let applying = tokio::spawn(async move { book.applied(change).await });
        async move {
            applying.await.unwrap_or_else(|_| {
                Declined::failed("applying ended unexpectedly", "the log says why")
            })
        }
        .boxed()
    }
}

/// Runs work on a thread that may block, and asks it to stop if it takes too long.
async fn blocking<T: Send + 'static>(
    within: Duration,
    work: impl FnOnce(&AtomicBool) -> Result<T, Declined> + Send + 'static,
) -> Result<T, Declined> {
    struct Stop(Arc<AtomicBool>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let _when_nobody_waits = Stop(Arc::clone(&stop));
    match tokio::time::timeout(within, tokio::task::spawn_blocking(move || work(&stop))).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Declined::failed("the check ended unexpectedly", "the log says why"),
        Err(_) => Err(Declined::Slow(
            "make its tests shorter, or run `foghorn check` and `foghorn test`",
        )),
    }
}

fn judge(
    hidden: &Hidden,
    path: &Path,
    file: &str,
    text: &str,
    stop: &AtomicBool,
) -> (Findings, Option<String>) {
    let wrong = |problems| {
        (
            Findings {
                problems,
                ..Findings::default()
            },
            None,
        )
    };
    let restored = match hidden.restore(text) {
        Ok(restored) => restored,
        Err(problems) => return wrong(findings(&problems, |_, _| ())),
    };
    let place = |line: &mut u64, column: &mut u64| restored.place(line, column);
    // Placeholders are restored first, because the loader must check the real secrets.
    let loaded = Config::load_text(&restored.text, path, &environment)
        .and_then(|config| config.load_templates().map(|templates| (config, templates)));
    let (config, templates) = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => return wrong(findings(&problems.0, place)),
    };
    let (mut tests, tests_ms) = tested(&config, &templates, file, stop);
    tests
        .iter_mut()
        .for_each(|test| place(&mut test.line, &mut 1));
    (
        Findings {
            problems: findings(&config.warnings, place),
            tests,
            tests_ms,
        },
        Some(restored.text),
    )
}

fn tested(
    config: &Config,
    templates: &Templates,
    file: &str,
    stop: &AtomicBool,
) -> (Vec<Tested>, u64) {
    let clock = Clock::system();
    let began = clock.elapsed();
    let one = |case: &config::TestCase| {
        let stop = || stop.load(Ordering::Relaxed);
        let outcome = trial::run(case, &config.rules, templates, file, &stop);
        Tested {
            name: outcome.name,
            line: outcome.line,
            failure: outcome.failure,
        }
    };
    let tests = config
        .tests
        .iter()
        .take_while(|_| !stop.load(Ordering::Relaxed))
        .map(one)
        .collect();
    (
        tests,
        u64::try_from((clock.elapsed() - began).as_millis()).unwrap_or(u64::MAX),
    )
}

/// Returns the text with the expectations at its end replaced.
fn expecting(text: &str, said: &[(Duration, String, &'static str)]) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let last = lines
        .iter()
        .rposition(|line| line.trim_start().starts_with("expect:"))?;
    let indent: String = lines.get(last)?.chars().take_while(|c| *c == ' ').collect();
    let mut made: Vec<String> = lines.into_iter().take(last).map(str::to_owned).collect();
    made.push(format!(
        "{indent}expect:{}",
        if said.is_empty() { " []" } else { "" }
    ));
    for (at, rule, reason) in said {
        let rule = printable(&edit::flow(&Value::String(rule.clone())));
        made.push(format!(
            "{indent}  - {{at: {}, rule: {rule}, reason: {reason}}}",
            exact(*at)
        ));
    }
    Some(made.join("\n") + "\n")
}

/// Escapes invisible characters and characters that change how text is displayed.
fn printable(yaml: &str) -> String {
    let one = |c: char| {
        let shown = c.is_ascii() || c.is_alphanumeric();
        if shown {
            c.to_string()
        } else {
            format!("\\U{:08x}", u32::from(c))
        }
    };
    yaml.chars().map(one).collect()
}

/// Formats a duration as in YAML, to the millisecond.
fn exact(duration: Duration) -> String {
    let ms = duration.as_millis();
    let parts = [
        (ms / 86_400_000, "d"),
        (ms / 3_600_000 % 24, "h"),
        (ms / 60_000 % 60, "m"),
        (ms / 1_000 % 60, "s"),
        (ms % 1_000, "ms"),
    ];
    let text: String = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// Converts problems, with positions adjusted by `place`.
fn findings(problems: &[Problem], place: impl Fn(&mut u64, &mut u64)) -> Vec<Finding> {
    let one = |problem: &Problem| {
        let (mut line, mut column) = (problem.line, problem.column);
        place(&mut line, &mut column);
        let is_error = problem.level == Level::Error;
        Finding {
            line,
            column,
            is_error,
            message: problem.what.clone(),
            help: problem.help.clone(),
        }
    };
    problems.iter().map(one).collect()
}
