//! What is wrong with rules.yaml: where, what, what to do.

use std::fmt;
use std::ops::Range;

use super::redact::{self, sounds_secret};
use super::tree::At;
use crate::render::TemplateProblem;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is started with it.
    Error,
    /// Worth a look; everything works.
    Warning,
}

/// One thing wrong with rules.yaml. Prints as its position, what is wrong, the line with a caret,
/// and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the operator named it.
    pub file: String,
    /// Its line, from 1; 0 when it is about no line.
    pub line: u64,
    /// The column, in characters, from 1.
    pub column: u64,
    /// How many characters the caret underlines.
    pub width: usize,
    /// What is wrong, as a lower-case fragment. Never holds a secret.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether it keeps Foghorn from starting.
    pub level: Level,
    /// The line as it is shown: secrets masked, and a long one cut.
    shown: Option<String>,
    /// How many characters of it stand before the caret.
    indent: usize,
}

/// Of a longer line only so many characters are shown, so many of them before the caret.
const SHOWN: usize = 200;
const BEFORE: usize = 80;
/// What is wrong may repeat what stands there: so much of it.
const SAID: usize = 1_000;

impl Problem {
    /// A problem with a file as a whole: of templates, say, which others check.
    #[must_use]
    pub fn about(file: &str, what: &str, help: Option<&str>) -> Self {
        let (file, what, help) = (file.to_owned(), mask_urls(what), help.map(str::to_owned));
        Self {
            file,
            line: 0,
            column: 0,
            width: 0,
            what,
            help,
            level: Level::Error,
            shown: None,
            indent: 0,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.level == Level::Warning {
            "warning: "
        } else {
            ""
        };
        if self.line == 0 {
            write!(f, "{}: {warning}{}", self.file, self.what)?;
            return self
                .help
                .as_ref()
                .map_or(Ok(()), |help| write!(f, "\n   = {help}"));
        }
        write!(
            f,
            "{}:{}:{}: {warning}{}",
            self.file, self.line, self.column, self.what
        )?;
        let help = self.help.as_deref().unwrap_or_default();
        let Some(shown) = &self.shown else {
            return if help.is_empty() {
                Ok(())
            } else {
                write!(f, "\n   = {help}")
            };
        };
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(self.indent);
        let caret = format!("{indent}{} {help}", "^".repeat(self.width.max(1)));
        write!(
            f,
            "\n{margin} |\n{number} | {shown}\n{margin} | {}",
            caret.trim_end()
        )
    }
}

/// Every problem of one file, by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl From<TemplateProblem> for Problem {
    fn from(problem: TemplateProblem) -> Self {
        Self {
            file: problem.file,
            line: problem.line as u64,
            column: problem.column as u64,
            width: 1,
            what: problem.what,
            help: problem.help,
            level: Level::Error,
            shown: None,
            indent: 0,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.iter().filter(|p| p.level == Level::Error).count() {
            0 => Ok(()),
            1 => write!(f, "1 problem."),
            many => write!(f, "{many} problems."),
        }
    }
}

impl std::error::Error for Problems {}

/// Gathers problems while a file is read. Knows the text, so that it can show lines, and which
/// parts of it are secret.
pub(crate) struct Collector<'a> {
    file: String,
    text: &'a str,
    secret: Vec<Range<usize>>,
    guess: bool,
    found: Vec<Problem>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(file: &str, text: &'a str) -> Self {
        Self {
            file: file.to_owned(),
            text,
            secret: Vec::new(),
            guess: false,
            found: Vec::new(),
        }
    }

    pub(crate) fn error(&mut self, at: At, what: impl Into<String>, help: impl Into<String>) {
        self.push(at, Level::Error, what.into(), help.into());
    }

    pub(crate) fn warn(&mut self, at: At, what: impl Into<String>, help: impl Into<String>) {
        self.push(at, Level::Warning, what.into(), help.into());
    }

    /// How many problems were found.
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// Of what was found after so many, keeps the errors that were not found before.
    pub(crate) fn keep_new_errors(&mut self, after: usize) {
        let later = self.found.split_off(after.min(self.found.len()));
        let is_new = |new: &Problem| {
            let same = |old: &Problem| {
                (old.line, old.column, &old.what) == (new.line, new.column, &new.what)
            };
            new.level == Level::Error && !self.found.iter().any(same)
        };
        let fresh: Vec<Problem> = later.into_iter().filter(is_new).collect();
        self.found.extend(fresh);
    }

    fn push(&mut self, at: At, level: Level, what: String, help: String) {
        self.found.push(Problem {
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            width: at.width,
            what: cut(visible(&mask_urls(&what)), SAID),
            help: (!help.is_empty()).then(|| cut(visible(&help), SAID)),
            level,
            shown: None,
            indent: 0,
        });
    }

    /// These parts of the text are secret: they are masked wherever they are shown.
    pub(crate) fn hide(&mut self, secret: Vec<Range<usize>>) {
        self.secret = secret;
    }

    /// The YAML is broken, so the tree cannot say what is a secret: mask what looks like one.
    pub(crate) fn hide_by_guessing(&mut self) {
        self.guess = true;
    }

    /// Whether anything found so far keeps Foghorn from starting.
    pub(crate) fn failed(&self) -> bool {
        self.found.iter().any(|p| p.level == Level::Error)
    }

    /// The file's problems, by line, each with its line.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|p| (p.line, p.column, p.level));
        found.dedup();
        let masked = redact::mask(self.text, '*', &self.secret);
        let masked = lines(&masked);
        for problem in &mut found {
            self.show(problem, &masked);
        }
        found
    }

    /// The line, masked, cut around the caret, and the caret kept inside it.
    fn show(&self, problem: &mut Problem, lines: &[&str]) {
        let Some(index) = problem
            .line
            .checked_sub(1)
            .and_then(|index| usize::try_from(index).ok())
        else {
            return;
        };
        let Some((text, lines)) = lines.get(index).zip(lines.get(..=index)) else {
            return;
        };
        let mut masked: Vec<char> = mask_urls(text).chars().collect();
        // Within quotes a place is counted in what they say: it may come to lie beyond the line.
        problem.column = problem.column.min(masked.len() as u64 + 1);
        if self.guess && in_secret_place(lines) {
            mask_values(&mut masked);
        }
        // A tab is one column for us and several on a terminal.
        masked
            .iter_mut()
            .filter(|c| c.is_control())
            .for_each(|c| *c = ' ');
        let mut indent = usize::try_from(problem.column.saturating_sub(1)).unwrap_or_default();
        if masked.len() > SHOWN {
            let from = indent.saturating_sub(BEFORE).min(masked.len());
            masked.drain(..from);
            indent -= from;
            if from > 0 {
                masked.iter_mut().take(1).for_each(|c| *c = '…');
            }
            if masked.len() > SHOWN {
                masked.truncate(SHOWN);
                masked.push('…');
            }
        }
        let left = masked.len().saturating_sub(indent);
        problem.width = problem.width.clamp(1, left.max(1));
        problem.indent = indent;
        problem.shown = Some(masked.into_iter().collect::<String>().trim_end().to_owned());
    }
}

/// At most so many characters of it.
fn cut(mut text: String, most: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(most) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// The lines as YAML counts them: a carriage return ends one by itself, too. Secrets are masked by
/// these numbers.
fn lines(text: &str) -> Vec<&str> {
    let whole = text.lines().flat_map(|line| line.split('\r'));
    let mut lines: Vec<&str> = whole.collect();
    // one that ends the text begins no line
    if text.ends_with('\r') {
        lines.pop();
    }
    lines
}

/// What of the file is repeated goes to terminals and logs.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect()
}

fn mask_char(c: &mut char) {
    if !matches!(c, '"' | '\'' | ' ' | ',' | '[' | ']' | '{' | '}') {
        *c = '*';
    }
}

/// Replaces what follows `http://` or `https://` by as many `*`, so that carets stay under their words.
fn mask_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://").map(|i| i + 3) {
        let (head, tail) = rest.split_at(start);
        out.push_str(head);
        let scheme = head.to_ascii_lowercase();
        let secret = scheme.ends_with("http://") || scheme.ends_with("https://");
        let end = tail
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ',' | '}' | ']'))
            .unwrap_or(tail.len());
        let (url, after) = tail.split_at(end);
        if secret {
            out.extend(url.chars().map(|_| '*'))
        } else {
            out.push_str(url)
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether the last of these lines may hold a secret: it is in a section in which any value may be
/// one, or it, or the line it continues, has a key that sounds like one.
fn in_secret_place(lines: &[&str]) -> bool {
    let sounds_so = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(sounds_secret)
    };
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let Some((last, above)) = lines.split_last() else {
        return false;
    };
    let parent = || {
        above
            .iter()
            .rev()
            .find(|line| !line.trim().is_empty() && indent(line) < indent(last).max(1))
    };
    let section = lines.iter().rev().find_map(|line| section(line));
    section.is_none_or(|section| !redact::OPEN.contains(&section))
        || sounds_so(last)
        || parent().is_some_and(|line| sounds_so(line))
}

/// The section that begins on this line.
fn section(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(['"', '\'']);
    let end = line.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    let (name, rest) = line.split_at_checked(end)?;
    let rest = rest.trim_start_matches(['"', '\'', ' ']);
    (!name.is_empty() && rest.starts_with(':')).then_some(name)
}

/// Masks every value on a line but references (`env:`, `file:`), keys and templates.
fn mask_values(line: &mut [char]) {
    let text: String = line.iter().collect();
    let mut from = 0;
    for word in text.split_inclusive([' ', ',', '[', ']', '{', '}']) {
        let len = word.chars().count();
        let bare = word.trim_matches([' ', ',', '[', ']', '{', '}', '"', '\'']);
        let keep = bare.is_empty()
            || bare.ends_with(':')
            || bare.starts_with("env:")
            || bare.starts_with("file:")
            || bare == "-";
        if !keep {
            line.iter_mut().skip(from).take(len).for_each(mask_char);
        }
        from += len;
    }
}
