//! How a notification reads: templates compiled once, one neutral markup, digests.
//!
//! Knows nothing of chats: a destination encodes the markup. Rendering never fails; a template that
//! does falls back to plain sentences, so no alert is ever lost to one.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use handlebars::{Context, Handlebars, Template};

use crate::links::SilenceLinks;
use crate::model::{Gap, Link, Message, Name, Notification, Reason, Subject};

mod body;
mod choice;
mod collected;
mod context;
mod digest;
mod helpers;
mod kinds;
mod lint;
pub mod markup;

pub use body::Body;
pub(crate) use context::{add_texts, data};

/// A rendered part may be at most this long.
const MAX_OUTPUT: usize = 64 * 1024;

/// A template file may be at most this long.
const MAX_FILE: u64 = 256 * 1024;

macro_rules! shipped {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../../templates/", $name, ".hbs")))),*] };
}

/// The shipped templates, compiled in.
const SHIPPED: &[(&str, &str)] = shipped![
    "also",
    "facts",
    "absent",
    "audit",
    "config",
    "device-offline",
    "flapping",
    "generic",
    "generic-title",
    "generic-text",
    "hardware",
    "interference",
    "marvis",
    "port",
    "reboot",
    "rrm",
    "security",
    "service",
    "stable",
    "too-many-alerts",
];

/// The order of a template's parts.
const PARTS: [&str; 3] = ["title", "text", "facts"];

/// Something wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateProblem {
    /// The file, or where in a webhook's body.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its column, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub help: Option<String>,
}

/// Where a source's sender shows its devices.
pub trait Portal: fmt::Debug + Send + Sync {
    /// A link to the page of a subject's device, where there is one.
    fn page(&self, subject: &Subject) -> Option<Link>;
}

/// The compiled templates.
#[derive(Debug)]
pub struct Templates {
    registry: Handlebars<'static>,
    names: Vec<String>,
    portals: BTreeMap<Name, Arc<dyn Portal>>,
    silences: Option<SilenceLinks>,
}

impl Templates {
    /// The shipped templates.
    #[must_use]
    pub fn builtin() -> Self {
        // the test `shipped_templates_have_no_problem` holds that nothing is left out here
        Self::compile(
            SHIPPED
                .iter()
                .map(|(name, text)| {
                    (
                        (*name).to_owned(),
                        (format!("{name}.hbs"), (*text).to_owned()),
                    )
                })
                .collect(),
        )
        .unwrap_or_else(|_| Self {
            registry: registry(),
            names: Vec::new(),
            portals: BTreeMap::new(),
            silences: None,
        })
    }

    /// The shipped templates, each replaced by the file of its name in `overrides`; other files
    /// there add templates.
    ///
    /// # Errors
    /// Every problem of every file at once, sorted by file and line.
    pub fn load(overrides: Option<&Path>) -> Result<Self, Vec<TemplateProblem>> {
        let mut files: BTreeMap<String, (String, String)> = SHIPPED
            .iter()
            .map(|(name, text)| {
                (
                    (*name).to_owned(),
                    (format!("{name}.hbs"), (*text).to_owned()),
                )
            })
            .collect();
        let mut problems = Vec::new();
        if let Some(folder) = overrides {
            read_folder(folder, &mut files, &mut problems);
        }
        match Self::compile(files) {
            Ok(templates) if problems.is_empty() => Ok(templates),
            Ok(_) => Err(problems),
            Err(more) => {
                problems.extend(more);
                problems.sort();
                Err(problems)
            }
        }
    }

    /// These texts alone, by name: for the fuzzer.
    ///
    /// # Errors
    /// As [`Templates::load`].
    #[doc(hidden)]
    pub fn of(
        texts: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<TemplateProblem>> {
        Self::compile(
            texts
                .into_iter()
                .map(|(name, text)| (name.clone(), (format!("{name}.hbs"), text)))
                .collect(),
        )
    }

    /// The portal of each source, for links to devices.
    #[must_use]
    pub fn with_portals(
        mut self,
        portals: impl IntoIterator<Item = (Name, Arc<dyn Portal>)>,
    ) -> Self {
        self.portals = portals.into_iter().collect();
        self
    }

    /// What makes the links that silence; without it messages have none.
    #[must_use]
    pub fn with_silences(mut self, silences: Option<SilenceLinks>) -> Self {
        self.silences = silences;
        self
    }

    /// The names a rule may give as `template`.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Whether a rule may name this template.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// How this notification reads.
    #[must_use]
    pub fn render(&self, about: Notification) -> Message {
        if about.collected.is_some() {
            return collected::message(about, |item| self.said(item)[0].clone());
        }
        let [title, text, facts] = self.said(&about);
        Message {
            title,
            text: text
                .lines()
                .map(str::trim_end)
                .collect::<Vec<_>>()
                .join("\n")
                .trim()
                .to_owned(),
            facts: facts.lines().filter_map(fact).collect(),
            links: self
                .link(&about)
                .into_iter()
                .chain(self.silences.iter().flat_map(|s| s.of(&about)))
                .collect(),
            about,
            folded: Vec::new(),
        }
    }

    /// Folds queued messages, which may be digests themselves, into as few as their sizes permit.
    /// Every device is named, what is critical and ongoing comes first, and an incident that began
    /// and ended inside says from when to when. The title says why it is a summary.
    #[must_use]
    pub fn digest(&self, waiting: &[Message], gap: Option<&Gap>) -> Vec<Message> {
        digest::fold(waiting, gap)
    }

    /// Title, text and facts; the title on one line, and never empty.
    fn said(&self, about: &Notification) -> [String; 3] {
        let rendered = self
            .parts(&self.choose(about), about)
            .or_else(|| self.parts("generic", about));
        let [title, text, facts] = rendered.unwrap_or_else(|| fallback(about));
        let title = one_line(&title);
        [
            if title.is_empty() {
                one_line(&fallback(about)[0])
            } else {
                title
            },
            text,
            facts,
        ]
    }

    /// The template the rule names, else the one for what it is about. What is told in the same way
    /// of everything has a template of its own, which a rule's template `mine` replaces by one
    /// named `mine-flapping`.
    fn choose(&self, about: &Notification) -> Cow<'_, str> {
        let named = about
            .template
            .as_deref()
            .and_then(|name| self.names.iter().find(|known| *known == name));
        match (choice::occasion(about), named) {
            (None, Some(named)) => named.into(),
            (None, None) => choice::choose(about).into(),
            (Some(occasion), named) => {
                let own = named
                    .map(|named| format!("{named}-{occasion}"))
                    .filter(|own| self.has(own));
                own.map_or(Cow::Borrowed(occasion), Cow::Owned)
            }
        }
    }

    fn parts(&self, name: &str, about: &Notification) -> Option<[String; 3]> {
        let context = Context::from(context::of(about));
        let part = |part: &str| render_capped(&self.registry, &format!("{name}.{part}"), &context);
        let [title, text, facts] = PARTS;
        Some([part(title)?, part(text)?, part(facts)?])
    }

    /// The one device's page in the portal. Its source may have been renamed since: then that of
    /// the first is as good a guess as any.
    fn link(&self, about: &Notification) -> Option<Link> {
        let once = kinds::each_once(&about.subjects);
        let [subject] = once.as_slice() else {
            return None;
        };
        let portal = self.portals.get(&about.source);
        portal
            .or_else(|| self.portals.values().next())?
            .page(subject)
    }

    fn compile(files: BTreeMap<String, (String, String)>) -> Result<Self, Vec<TemplateProblem>> {
        let mut problems: Vec<TemplateProblem> = Vec::new();
        let mut partials: HashMap<String, lint::Part> = HashMap::new();
        let mut templates: Vec<(String, lint::Part)> = Vec::new();
        let mut names = Vec::new();
        for (name, (file, text)) in files {
            let parts = split(&text);
            if parts.len() != 1 && parts.len() != PARTS.len() {
                problems.push(TemplateProblem {
                    file,
                    line: 1,
                    column: 1,
                    what: format!(
                        "a template has three parts (title, text, facts) parted by a line `---`; this has {}",
                        parts.len()
                    ),
                    help: Some("a file without `---` is a partial: `{{> name}}`".to_owned()),
                });
                continue;
            }
            let partial = parts.len() == 1;
            for ((line, source), part) in parts.into_iter().zip(PARTS) {
                match Template::compile(&source) {
                    Ok(template) if partial => {
                        partials.insert(
                            name.clone(),
                            lint::Part {
                                file: file.clone(),
                                line,
                                template,
                            },
                        );
                    }
                    Ok(template) => {
                        templates.push((
                            format!("{name}.{part}"),
                            lint::Part {
                                file: file.clone(),
                                line,
                                template,
                            },
                        ));
                    }
                    Err(error) => problems.push(compile_problem(&file, line, &error)),
                }
            }
            if !partial {
                names.push(name);
            }
        }
        let mut lint = lint::Lint::new(&partials);
        templates.iter().for_each(|(_, part)| lint.check(part));
        let mut called = lint::Lint::new(&partials);
        partials
            .iter()
            .for_each(|(name, part)| called.check_partial(name, part));
        let cycles = called
            .findings()
            .into_iter()
            .filter(|finding| finding.3.contains("includes itself"));
        let findings: Vec<_> = lint.findings().into_iter().chain(cycles).collect();
        problems.extend(findings.into_iter().map(problem));
        problems.sort();
        problems.dedup();
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut registry = registry();
        for (name, part) in templates.into_iter().chain(partials) {
            registry.register_template(&name, part.template);
        }
        Ok(Self {
            registry,
            names,
            portals: BTreeMap::new(),
            silences: None,
        })
    }
}

fn problem((file, line, column, what, help): lint::Finding) -> TemplateProblem {
    TemplateProblem {
        file,
        line,
        column,
        what,
        help,
    }
}

fn compile_problem(file: &str, line: usize, error: &handlebars::TemplateError) -> TemplateProblem {
    let (at, column) = error.pos().unwrap_or((1, 1));
    let text = error.reason().to_string();
    // the grammar's own words for "expected …" are a list of its rule names
    let grammar = text.contains("expected ") || text.lines().count() > 1;
    let (what, help) = if grammar {
        (
            "this is not a Handlebars template".to_owned(),
            Some("is every `{{` closed, and every `{{#…}}` ended by `{{/…}}`?".to_owned()),
        )
    } else {
        (text, None)
    };
    TemplateProblem {
        file: file.to_owned(),
        line: line + at,
        column,
        what,
        help,
    }
}

fn registry() -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.register_escape_fn(markup::embed);
    registry.set_prevent_indent(true);
    helpers::register(&mut registry);
    registry
}

/// The file's parts, each with the number of lines before it.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(0, String::new())];
    for (i, line) in text.lines().enumerate() {
        if line.trim_end() == "---" {
            parts.push((i + 1, String::new()));
        } else if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    parts
}

fn read_folder(
    folder: &Path,
    files: &mut BTreeMap<String, (String, String)>,
    problems: &mut Vec<TemplateProblem>,
) {
    let mut wrong = |file: &Path, what: String| {
        let file = file.display().to_string();
        problems.push(TemplateProblem {
            file,
            line: 1,
            column: 1,
            what,
            help: None,
        });
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return wrong(folder, format!("cannot read the folder: {error}")),
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let Some(name) = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_suffix(".hbs"))
        else {
            continue;
        };
        if name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        {
            wrong(
                &path,
                "a template's name is made of letters, digits, `-` and `_`".to_owned(),
            );
            continue;
        }
        // a mounted ConfigMap links within its folder; a link that leaves it could read anything
        let inside = folder
            .canonicalize()
            .ok()
            .zip(path.canonicalize().ok())
            .is_some_and(|(f, p)| p.starts_with(f));
        if !inside {
            wrong(&path, "this links out of the folder".to_owned());
            continue;
        }
        match std::fs::metadata(&path) {
            Ok(meta) if !meta.is_file() => wrong(&path, "this is not a file".to_owned()),
            Ok(meta) if meta.len() > MAX_FILE => {
                wrong(&path, "this is longer than 256 KiB".to_owned())
            }
            _ => match std::fs::read_to_string(&path) {
                Ok(text) => drop(files.insert(name.to_owned(), (path.display().to_string(), text))),
                Err(error) => wrong(&path, format!("cannot read it: {error}")),
            },
        }
    }
}

/// Renders into at most [`MAX_OUTPUT`] bytes. `None` on any failure.
fn render_capped(registry: &Handlebars<'_>, name: &str, context: &Context) -> Option<String> {
    struct Capped<'a>(&'a mut Vec<u8>);
    impl io::Write for Capped<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() + bytes.len() > MAX_OUTPUT {
                return Err(io::Error::other("the template writes more than 64 KiB"));
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut out = Vec::new();
    registry
        .render_with_context_to_write(name, context, Capped(&mut out))
        .ok()?;
    String::from_utf8(out).ok()
}

/// `Name: value`; `None` where the value is empty.
fn fact(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

/// Text on one line, short enough for a terminal or a log.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is said when no template can say it.
fn fallback(about: &Notification) -> [String; 3] {
    let names: Vec<String> = about
        .subjects
        .iter()
        .take(20)
        .map(context::subject_name)
        .collect();
    let over = if about.reason == Reason::Resolved {
        "over: "
    } else {
        ""
    };
    let title = format!(
        "{over}{}",
        helpers::humanise(if about.kind.is_empty() {
            &about.topic
        } else {
            &about.kind
        })
    );
    let title = if title.trim().is_empty() {
        about.rule.clone()
    } else {
        title
    };
    [
        markup::escape(&title),
        markup::escape(&names.join(", ")),
        format!("Rule: {}", markup::escape(&about.rule)),
    ]
}

/// What tells one subject from another within an incident.
fn subject_key(subject: &Subject) -> String {
    let device = subject.device_mac.as_ref().or(subject.device.as_ref());
    let site = subject.site_id.as_ref().or(subject.site.as_ref());
    let text = |t: Option<&String>| t.cloned().unwrap_or_default();
    format!(
        "{}\n{}\n{}",
        if device.is_some() {
            String::new()
        } else {
            text(site)
        },
        text(device),
        text(subject.part.as_ref())
    )
}

#[cfg(test)]
pub(crate) mod tests;
