//! rules.yaml: read whole, or refused with every problem at once.
//!
//! `raw` is the file as written, every node with its place; `read` and `keys` say what may stand
//! where; `settings`, `access`, `rules`, `matching`, `calendar`, `around` and `cases` turn it into
//! what cannot be wrong any more; `problem` prints what is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::destination::DestinationSettings;
use crate::model::{Name, PageAccess, RulesRecord};
use crate::render::{Portal, Templates};
use crate::rules::{Allowance, RuleSet};
use crate::source::SourceSettings;
use crate::store::Retention;

mod around;
mod calendar;
mod cases;
mod cure;
mod explain;
mod keys;
mod loops;
mod matching;
mod page_access;
pub(crate) mod problem;
pub(crate) mod raw;
mod read;
pub(crate) mod redact;
mod rules;
mod schema;
mod settings;
mod spelling;
pub(crate) mod tree;

pub use cases::{Expectation, TestCase, TestEvent, TestInput, TestSilence};
pub use explain::explain;
pub use problem::{Level, Problem, Problems};
pub use schema::schema;
pub use settings::listen_address;

use problem::Collector;
use read::Reader;
use spelling::did_you_mean;
use tree::{At, Tree};

/// The file that is read where none is named and it is there.
pub const DEFAULT_PATH: &str = "rules.yaml";

/// The rules that apply where there is no file.
pub const BUILT_IN: &str = include_str!("../../rules.yaml");

/// A variable of the process's environment.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Everything rules.yaml says, resolved, with what it leaves out filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from; `None`: the built-in rules.
    pub path: Option<PathBuf>,
    /// The file's text.
    pub text: String,
    /// The file's text for the journal: its secrets masked, its comments left out.
    journaled: String,
    /// Where Foghorn listens and keeps its data.
    pub server: Server,
    /// Who sends to us; at least one.
    pub sources: Vec<SourceSettings>,
    /// Whom we tell; at least one.
    pub destinations: Vec<DestinationSettings>,
    /// What to look for.
    pub rules: Arc<RuleSet>,
    /// The file's tests.
    pub tests: Vec<TestCase>,
    /// What is worth a look, though everything works.
    pub warnings: Vec<Problem>,
    /// The templates that rules name, and where.
    templates: Vec<(At, String)>,
    /// The files that hold its secrets.
    secret_files: Vec<PathBuf>,
}

/// `server:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// How people reach this server, without a slash at the end.
    pub public_url: Option<String>,
    /// Who may see the page from elsewhere.
    pub access: PageAccess,
    /// The folder of the journal.
    pub data: PathBuf,
    /// A folder of templates that override the built-in ones.
    pub templates: Option<PathBuf>,
    /// What is kept.
    pub retention: Retention,
    /// The largest POST taken, in bytes.
    pub max_body: u64,
    /// How many connections at once.
    pub max_connections: usize,
    /// How log lines look.
    pub log: Log,
    /// Whether the page may change the file.
    pub edit_rules: bool,
}

/// `server.log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Server {
    /// The documented defaults, with data below this folder.
    fn with_defaults(dir: &Path) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            access: PageAccess::default(),
            data: dir.join("data"),
            templates: None,
            retention: Retention::default(),
            max_body: 1 << 20,
            max_connections: 512,
            log: Log::Text,
            edit_rules: false,
        }
    }
}

/// What a text is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// A file on disk that is to be served.
    Serve,
    /// A file on disk for a command that sends nothing.
    Offline,
    /// A text that is not on disk.
    Parse,
}

impl Config {
    /// Reads this file, or without one the built-in rules. `env` looks up environment variables.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(
        path: Option<&Path>,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Problems> {
        Self::load_for(path, env, false)
    }

    /// As [`Config::load`], for what sends nothing: secrets that `env:` and `file:` name may be
    /// missing, so that rules can be tested and traffic replayed where they are not.
    ///
    /// # Errors
    /// Everything else that is wrong with it.
    pub fn load_offline(
        path: Option<&Path>,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Problems> {
        Self::load_for(path, env, true)
    }

    fn load_for(
        path: Option<&Path>,
        env: &impl Fn(&str) -> Option<String>,
        offline: bool,
    ) -> Result<Self, Problems> {
        let Some(path) = path else {
            return Self::parse(BUILT_IN, None, env);
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::read(
                &text,
                Some(path),
                env,
                if offline { Use::Offline } else { Use::Serve },
            ),
            Err(error) => {
                let mut problems = Collector::new(&path.display().to_string(), "");
                problems.error(At::default(), format!("cannot be read: {error}"), "");
                Err(Problems(problems.finish()))
            }
        }
    }

    /// As [`Config::load`], with this text in place of what stands in the file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_text(
        text: &str,
        path: &Path,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Problems> {
        Self::read(text, Some(path), env, Use::Serve)
    }

    /// Reads this text as if it stood in this file; without a path it is the built-in rules.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        text: &str,
        path: Option<&Path>,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Problems> {
        Self::read(text, path, env, Use::Parse)
    }

    /// As [`Config::parse`], for what sends nothing.
    ///
    /// # Errors
    /// Everything that is wrong with it, but missing secrets.
    pub fn parse_offline(
        text: &str,
        path: Option<&Path>,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Problems> {
        Self::read(text, path, env, Use::Offline)
    }

    fn read(
        text: &str,
        path: Option<&Path>,
        env: &impl Fn(&str) -> Option<String>,
        for_: Use,
    ) -> Result<Self, Problems> {
        let (on_disk, offline) = (for_ != Use::Parse, for_ == Use::Offline);
        let file = path.map_or_else(
            || "built-in rules".to_owned(),
            |path| path.display().to_string(),
        );
        let dir = path
            .and_then(Path::parent)
            .map(Path::to_owned)
            .unwrap_or_default();
        let zone = jiff::tz::TimeZone::system();
        let problems = Collector::new(&file, text);
        let mut reader = Reader {
            problems,
            env,
            dir,
            literal_secrets: false,
            offline,
            zone,
            patterns: Allowance::default(),
            secret_files: Vec::new(),
        };
        let config = resolve(text, path, &mut reader);
        if reader.literal_secrets
            && on_disk
            && let Some(path) = path
        {
            warn_if_readable(path, &mut reader);
        }
        // What is wrong with the templates is told with the rest, not after it.
        let templates = if on_disk {
            config.as_ref().map(Self::template_problems)
        } else {
            None
        }
        .unwrap_or_default();
        let failed = reader.problems.failed() || !templates.is_empty();
        let mut found = reader.problems.finish();
        found.extend(templates);
        // What stands in this file by line, then what stands in templates.
        found.sort_by_key(|problem| (problem.file != file, problem.line, problem.column));
        match config {
            Some(config) if !failed => Ok(Self {
                warnings: found,
                ..config
            }),
            _ => Err(Problems(found)),
        }
    }

    /// Why this address must not be listened on: it is reachable from elsewhere, and a source has
    /// neither a secret nor `allow_unsigned`. [`Config::load`] asks it of the file's own
    /// address; ask again when another is used.
    #[must_use]
    pub fn exposed(&self, listen: SocketAddr) -> Option<String> {
        exposed(listen, &self.sources)
    }

    /// A problem for every template a rule names that is not among these.
    #[must_use]
    pub fn unknown_templates(&self, known: &[&str]) -> Vec<Problem> {
        let file = self.path.as_ref().map_or_else(
            || "built-in rules".to_owned(),
            |path| path.display().to_string(),
        );
        let mut problems = Collector::new(&file, &self.text);
        for (at, name) in &self.templates {
            if !known.contains(&name.as_str()) {
                problems.error(
                    *at,
                    format!("there is no template \"{name}\""),
                    did_you_mean(name, known, "known"),
                );
            }
        }
        problems.finish()
    }

    fn template_problems(&self) -> Vec<Problem> {
        self.load_templates()
            .err()
            .map(|problems| problems.0)
            .unwrap_or_default()
    }

    /// The templates as this config overrides them.
    ///
    /// # Errors
    /// Everything that is wrong with them, and every rule that names one that does not exist.
    pub fn load_templates(&self) -> Result<Templates, Problems> {
        let folder = self.server.templates.as_deref();
        let templates = Templates::load(folder).map_err(|found| {
            let own = folder.map(template_files).unwrap_or_default();
            let builtin = Templates::builtin();
            let known: Vec<&str> = builtin
                .names()
                .into_iter()
                .chain(own.iter().map(String::as_str))
                .collect();
            let unknown = self.unknown_templates(&known);
            Problems(
                unknown
                    .into_iter()
                    .chain(found.into_iter().map(Problem::from))
                    .collect(),
            )
        })?;
        match self.unknown_templates(&templates.names()) {
            unknown if unknown.is_empty() => Ok(templates.with_portals(
                self.sources
                    .iter()
                    .map(|s| (s.name.clone(), Arc::new(s.clone()) as Arc<dyn Portal>)),
            )),
            unknown => Err(Problems(unknown)),
        }
    }

    /// Returns the files it was read from: the config itself first, then secrets and templates.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let own = self.path.clone().unwrap_or_else(|| DEFAULT_PATH.into());
        let templates = self.server.templates.as_deref();
        let names = templates.map(template_files).unwrap_or_default();
        let template = |name: &String| templates.map(|folder| folder.join(format!("{name}.hbs")));
        std::iter::once(own)
            .chain(self.secret_files.iter().cloned())
            .chain(names.iter().filter_map(template))
            .collect()
    }

    /// These rules as they are journaled.
    #[must_use]
    pub fn record(&self) -> RulesRecord {
        RulesRecord {
            text: self.journaled.clone(),
            destinations: self.rules.destinations().to_vec(),
            start: false,
        }
    }
}

/// The rules of a journaled text, with the destinations that stood then. For history: nothing is
/// looked up in the environment, and what this version cannot read is left out. `None` when the
/// text is not YAML at all.
#[must_use]
pub fn rules_from_record(record: &RulesRecord) -> Option<RuleSet> {
    let env = |_: &str| None;
    let mut reader = Reader {
        problems: Collector::new("", &record.text),
        env: &env,
        dir: PathBuf::new(),
        literal_secrets: false,
        offline: true,
        zone: jiff::tz::TimeZone::system(),
        patterns: Allowance::default(),
        secret_files: Vec::new(),
    };
    let root = raw::parse(&record.text, &mut reader.problems)?;
    let file = reader.section(&root, keys::FILE, "the file")?;
    let (rules, _, surroundings) = around::resolve(&mut reader, &file, &record.destinations);
    let sources = settings::sources(&mut reader, &file);
    let rules = RuleSet::new(rules, record.destinations.clone()).with_max_event_age(ages(&sources));
    Some(rules.with_surroundings(surroundings))
}

fn resolve(text: &str, path: Option<&Path>, reader: &mut Reader<'_>) -> Option<Config> {
    if cure::odd_spaces(text, &mut reader.problems) {
        reader.problems.hide_by_guessing();
        return None;
    }
    let root = raw::parse(text, &mut reader.problems)?;
    if matches!(root.tree, Tree::Null) {
        let help = "`foghorn rules` prints the rules it comes with; without a file those apply";
        reader.problems.error(At::START, "the file is empty", help);
        return None;
    }
    cure::misread(text, &root, &mut reader.problems);
    let file = reader.section(&root, keys::FILE, "the file")?;
    let (server, listen) = settings::server(reader, &file);
    let sources = settings::sources(reader, &file);
    if let Some(what) = exposed(server.listen, &sources) {
        reader.problems.error(
            listen,
            what,
            "give it `secrets`, or say `allow_unsigned: true`, or listen on 127.0.0.1",
        );
    } else if let Some((what, help)) = server.unseen(server.listen) {
        reader.problems.warn(listen, what, help);
    }
    let (destinations, all) = settings::destinations(reader, &file);
    let names: Vec<_> = if all.is_empty() {
        destinations
            .iter()
            .map(|d| (d.name.clone(), d.min_severity))
            .collect()
    } else {
        all
    };
    let (rules, templates, surroundings) = around::resolve(reader, &file, &names);
    let tests = cases::resolve(reader, &file, &rules, &names);
    let rules = RuleSet::new(rules, names)
        .with_max_event_age(ages(&sources))
        .with_surroundings(surroundings);
    Some(Config {
        path: path.map(Path::to_owned),
        text: text.to_owned(),
        journaled: redact::for_the_journal(text, &root),
        server,
        rules: Arc::new(rules),
        sources,
        destinations,
        tests,
        warnings: Vec::new(),
        templates,
        secret_files: std::mem::take(&mut reader.secret_files),
    })
}

fn ages(sources: &[SourceSettings]) -> BTreeMap<Name, Option<Duration>> {
    sources
        .iter()
        .map(|source| (source.name.clone(), source.max_event_age))
        .collect()
}

fn exposed(listen: SocketAddr, sources: &[SourceSettings]) -> Option<String> {
    if listen.ip().is_loopback() {
        return None;
    }
    let open = sources
        .iter()
        .find(|source| source.secrets.is_empty() && !source.allow_unsigned)?;
    Some(format!(
        "{listen} is reachable from elsewhere, and the source `{}` has no secret",
        open.name
    ))
}

/// What the files in a folder of templates are called, whether they can be used or not.
fn template_files(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let templates = files.filter(|path| path.extension().is_some_and(|end| end == "hbs"));
    templates
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect()
}

/// A file that holds secrets and that others may read.
fn warn_if_readable(path: &Path, reader: &mut Reader<'_>) {
    let Some(mode) = mode(path).filter(|mode| mode & 0o044 != 0) else {
        return;
    };
    let what = format!("holds secrets in plain text and others may read it (mode {mode:04o})");
    reader
        .problems
        .warn(At::default(), what, format!("chmod 600 {}", path.display()));
}

/// Who may do what with a file, where the system says.
#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .ok()
        .map(|meta| meta.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode(_: &Path) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests;
