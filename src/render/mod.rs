//! Rendering: from notifications to messages, by templates that are compiled once and one neutral
//! markup.
//!
//! This module knows no chat: a destination encodes the markup. Rendering never fails: if a
//! template does, the message has plain sentences, so that no alert is lost.

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

/// Maximum length of a rendered part.
const MAX_OUTPUT: usize = 64 * 1024;

/// Maximum length of a template file.
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

/// A problem in a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateProblem {
    /// The file, or the place in a webhook's body.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its column, from 1.
    pub column: usize,
    /// The problem.
    pub what: String,
    /// The advice.
    pub help: Option<String>,
}

/// Links to devices in the portal of a source.
pub trait Portal: fmt::Debug + Send + Sync {
    /// Returns a link to the page of a subject's device, if there is one.
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
    /// Returns the shipped templates.
    #[must_use]
    pub fn builtin() -> Self {
        // The test `shipped_templates_have_no_problem` ensures that this fallback is never used.
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

    /// Returns the shipped templates, each replaced by the file of its name in `overrides`. Other
    /// files there add templates.
    ///
    /// # Errors
    /// Fails with every problem of every file at once, sorted by file and line.
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
        // All problems are reported together, so that one reload shows them all.
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

    /// Returns templates of these texts only, by name, for the fuzzer.
    ///
    /// # Errors
    /// Fails like [`Templates::load`].
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

    /// Sets the portal of each source, for links to devices.
    #[must_use]
    pub fn with_portals(
        mut self,
        portals: impl IntoIterator<Item = (Name, Arc<dyn Portal>)>,
    ) -> Self {
        self.portals = portals.into_iter().collect();
        self
    }

    /// Sets the maker of links that silence; without it messages have none.
    #[must_use]
    pub fn with_silences(mut self, silences: Option<SilenceLinks>) -> Self {
        self.silences = silences;
        self
    }

    /// Returns the names that a rule may give as `template`.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Returns whether a rule may name this template.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Renders a notification.
    #[must_use]
    pub fn render(&self, about: Notification) -> Message {
        // A digest has a form of its own, whose items are titles.
        if about.collected.is_some() {
            return collected::message(about, |item| self.said(item)[0].clone());
        }
        let [title, text, facts] = self.said(&about);
        Message {
            title,
            // Templates leave blank lines where their conditions do not hold.
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

    /// Folds queued messages, which may be summaries themselves, into as few as their sizes permit.
    /// Every device is named, critical and ongoing ones come first, and an incident that began and
    /// ended inside has both times. The title gives the reason for the summary.
    #[must_use]
    pub fn digest(&self, waiting: &[Message], gap: Option<&Gap>) -> Vec<Message> {
        digest::fold(waiting, gap)
    }

    /// Renders title, text and facts. The title is one line and never empty.
    fn said(&self, about: &Notification) -> [String; 3] {
        let rendered = self
            // A broken template of a user must not lose the message.
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

    /// Returns the template named by the rule, or else the one for the subject. Forms that do not
    /// depend on the subject have templates of their own: for a rule's template `mine`, the
    /// template `mine-flapping` replaces them.
    fn choose(&self, about: &Notification) -> Cow<'_, str> {
        let named = about
            .template
            .as_deref()
            .and_then(|name| self.names.iter().find(|known| *known == name));
        match (choice::occasion(about), named) {
            (None, Some(named)) => named.into(),
            (None, None) => choice::choose(about).into(),
            (Some(occasion), named) => {
                // Without a template for the occasion, the rule's own template would describe it
                // wrongly.
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

    /// Returns a link to the device's page in the portal, if there is a single device. The source
    /// may have been renamed: then the first portal is the best guess.
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
        let mut partials: HashMap<String, lint::TemplatePart> = HashMap::new();
        let mut templates: Vec<(String, lint::TemplatePart)> = Vec::new();
        let mut names = Vec::new();
        for (name, (file, text)) in files {
            // The number of parts decides: a template has three, a partial one.
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
                            lint::TemplatePart {
                                file: file.clone(),
                                line,
                                template,
                            },
                        );
                    }
                    Ok(template) => {
                        templates.push((
                            format!("{name}.{part}"),
                            lint::TemplatePart {
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
        // Partials inside templates are checked with the names they are called with; on their own
        // only cycles count.
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
    // The grammar's own "expected …" lists the names of its rules, which help nobody.
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

/// Returns the parts of a file, each with the number of lines before it.
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
            // The name becomes part of a path and of a partial's call.
            wrong(
                &path,
                "a template's name is made of letters, digits, `-` and `_`".to_owned(),
            );
            continue;
        }
        // A mounted ConfigMap links within its folder; a link out of it could read any file.
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

/// Renders at most [`MAX_OUTPUT`] bytes. Returns `None` on any failure.
fn render_capped(registry: &Handlebars<'_>, name: &str, context: &Context) -> Option<String> {
    struct Capped<'a>(&'a mut Vec<u8>);
    impl io::Write for Capped<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // A loop in a template could fill the memory before it ends.
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

/// Reads `Name: value`; `None` if either is empty.
fn fact(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

/// Returns text on one line, for a terminal or a log.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns title, text and facts for a notification whose templates failed.
fn fallback(about: &Notification) -> [String; 3] {
    let names: Vec<String> = about
        .subjects
        .iter()
        // The plain form is for emergencies; the rest of a long list would not help.
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
    // The message must have a title, and the rule's name always exists.
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

/// Returns the key of a subject within an incident.
fn subject_key(subject: &Subject) -> String {
    let device = subject.device_mac.as_ref().or(subject.device.as_ref());
    let site = subject.site_id.as_ref().or(subject.site.as_ref());
    let text = |t: Option<&String>| t.cloned().unwrap_or_default();
    format!(
        "{}\n{}\n{}",
        // A device may move to another site, but it remains the same subject.
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
