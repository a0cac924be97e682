//! Patterns: one value of `match`, which is a literal, a glob or a regular expression.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::model::{normal, plain};

/// A value to compare with.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// Equal, ignoring case, with `-` equal to `_`; MACs without separators.
    Literal(Literal),
    /// `*` stands for any text; the whole value must match.
    Glob(Glob),
    /// Found anywhere in the value, ignoring case, with `-` equal to `_`.
    Regex(Expression),
}

/// The texts between the `*` of a glob, folded; and the same without separators if it may be a part
/// of a MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<String>,
    mac: Option<Vec<String>>,
}

/// Minimum number of digits in a part of a MAC. With fewer, `ab-*` would be one, and not a name.
const MAC_DIGITS: usize = 4;

impl Glob {
    fn new(text: &str) -> Self {
        let split = |text: &str| text.split('*').map(str::to_owned).collect();
        let digits: String = text.chars().filter(|c| !is_separator(*c)).collect();
        let is_mac = digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b'*')
            && digits.bytes().filter(u8::is_ascii_hexdigit).count() >= MAC_DIGITS;
        Self {
            parts: split(&fold(text)),
            mac: is_mac.then(|| split(&digits.to_ascii_lowercase())),
        }
    }

    fn fits(&self, text: &str) -> bool {
        let as_mac = || Some(Self::follow(self.mac.as_ref()?, &mac(text)?));
        Self::follow(&self.parts, &fold(text)) || as_mac().unwrap_or(false)
    }

    /// Returns whether the first part begins the text, the last ends it, and the others follow one
    /// another between.
    fn follow(parts: &[String], folded: &str) -> bool {
        let Some((first, rest)) = parts.split_first() else {
            return false;
        };
        let Some((last, between)) = rest.split_last() else {
            return first == folded;
        };
        // Both ends are removed first: the parts between may not overlap them.
        let Some(mut left) = folded
            .strip_prefix(first.as_str())
            .and_then(|left| left.strip_suffix(last.as_str()))
        else {
            return false;
        };
        between
            .iter()
            .all(|part| match left.split_once(part.as_str()) {
                Some((_, after)) => {
                    left = after;
                    true
                }
                None => false,
            })
    }
}

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Expression {
    written: String,
    regex: Regex,
}

impl Expression {
    fn new(
        pattern: &str,
        mut compile: impl FnMut(&str) -> Result<Regex, String>,
    ) -> Result<Self, String> {
        // Errors refer to the text as the operator wrote it.
        let written = compile(pattern)?;
        let either = either_hyphen(&normal(pattern));
        let regex = if either == pattern {
            written
        } else {
            self::compile(&either).unwrap_or(written)
        };
        Ok(Self {
            written: pattern.to_owned(),
            regex,
        })
    }
}

/// Returns the regular expression with `[-_]` for every literal `-` and `_`. Classes stay
/// unchanged: `[a-z_]` says exactly what it means.
fn either_hyphen(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    let mut depth = 0_usize;
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                let escaped = rest.next();
                match escaped {
                    Some('-' | '_') if depth == 0 => out.push_str("[-_]"),
                    escaped => out.extend(std::iter::once(c).chain(escaped)),
                }
                // Braces after a class hold a name, not text: `\p{Old_Italic}`, `\b{start-half}`
                if escaped.is_some_and(char::is_alphabetic) && rest.peek() == Some(&'{') {
                    copy_until(&mut rest, &mut out, &['}']);
                }
            }
            '[' => {
                depth += 1;
                out.push(c);
                // A `]` right after the opening is a member of the class.
                out.extend(rest.next_if_eq(&'^'));
                out.extend(rest.next_if_eq(&']'));
            }
            ']' if depth > 0 => {
                depth -= 1;
                out.push(c);
            }
            // Flags and the names of groups are not text, either: `(?-u)`, `(?P<the_name>`
            '(' if depth == 0 && rest.peek() == Some(&'?') => {
                out.push(c);
                copy_until(&mut rest, &mut out, &[':', '>', ')']);
            }
            '-' | '_' if depth == 0 => out.push_str("[-_]"),
            _ => out.push(c),
        }
    }
    out
}

fn copy_until(from: &mut impl Iterator<Item = char>, to: &mut String, ends: &[char]) {
    for c in from {
        to.push(c);
        if ends.contains(&c) {
            return;
        }
    }
}

/// A literal, folded once so that comparing is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    folded: String,
    mac: Option<String>,
}

impl fmt::Display for Pattern {
    /// Prints the pattern as in `match`, except for case and hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => {
                f.write_str(literal.mac.as_deref().unwrap_or(&literal.folded))
            }
            Self::Glob(glob) => f.write_str(&glob.parts.join("*")),
            Self::Regex(expression) => write!(f, "/{}/", expression.written),
        }
    }
}

impl Pattern {
    /// Returns a value that [`Self::parse`] reads as this pattern.
    pub(super) fn written(&self) -> String {
        match self {
            // Folding has removed the hyphens that distinguish a part of a MAC.
            Self::Glob(glob) if glob.mac.is_some() => glob.parts.join("*").replace('_', "-"),
            other => other.to_string(),
        }
    }

    /// Reads a value of `match`: `/…/` is a regular expression, a text with `*` is a glob, anything
    /// else is a literal.
    ///
    /// Fails with one line that says what is wrong with the regular expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text, compile)
    }

    /// Reads a value like [`Self::parse`], within the allowance for the file's regular expressions.
    /// `None`: the allowance is used up, which was reported before.
    pub(crate) fn parse_within(
        allowance: &mut Allowance,
        text: &str,
    ) -> Option<Result<Self, String>> {
        if allowance.over && text.starts_with('/') {
            return None;
        }
        Some(Self::read(text, |pattern| allowance.compile(pattern)))
    }

    fn read(
        text: &str,
        compile: impl FnMut(&str) -> Result<Regex, String>,
    ) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix('/') {
            // A single slash would be an empty expression that matches everything.
            let Some(pattern) = inner.strip_suffix('/').filter(|_| text.len() > 2) else {
                return Err(format!(
                    "unfinished regular expression `{text}`: it begins with / and must end with /; quote it"
                ));
            };
            return Expression::new(pattern, compile).map(Self::Regex);
        }
        if text.contains('*') {
            return Ok(Self::Glob(Glob::new(text)));
        }
        Ok(Self::Literal(Literal {
            folded: fold(text),
            mac: mac(text),
        }))
    }

    /// Returns the folded text of a literal.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(literal) => Some(&literal.folded),
            Self::Glob(_) | Self::Regex(_) => None,
        }
    }

    pub(super) fn fits(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.fits_text(text),
            // 24 and 24.0 are the same number.
            Value::Number(n) if n.is_f64() => {
                self.fits_text(&n.to_string())
                    || matches!(self, Self::Literal(literal) if literal.folded.parse().ok() == n.as_f64())
            }
            other => self.fits_text(&plain(other)),
        }
    }

    pub(super) fn fits_text(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => {
                // Most values are no MAC, so the cheap comparison comes first.
                equal_folded(text, &literal.folded)
                    || literal
                        .mac
                        .as_ref()
                        .is_some_and(|m| mac(text).as_ref() == Some(m))
            }
            Self::Glob(glob) => glob.fits(text),
            Self::Regex(expression) => expression.regex.is_match(&normal(text)),
        }
    }
}

/// Returns the text as it is compared: in lower case, with `_` for `-`, and [`normal`].
pub(crate) fn fold(text: &str) -> String {
    normal(text)
        .chars()
        .flat_map(char::to_lowercase)
        .map(|c| if c == '-' { '_' } else { c })
        .collect()
}

fn equal_folded(text: &str, folded: &str) -> bool {
    // Nearly every value is ASCII, for which no copy is needed.
    if text.is_ascii() {
        return text.len() == folded.len()
            && text.bytes().zip(folded.bytes()).all(|(a, b)| {
                (if a == b'-' {
                    b'_'
                } else {
                    a.to_ascii_lowercase()
                }) == b
            });
    }
    fold(text) == folded
}

/// Returns whether the character may separate the digits of a MAC.
const fn is_separator(c: char) -> bool {
    matches!(c, ':' | '-' | '.')
}

/// Returns 12 hex digits in lower case if the text is a MAC in any spelling.
pub(crate) fn mac(text: &str) -> Option<String> {
    let hex: String = normal(text).chars().filter(|c| !is_separator(*c)).collect();
    (hex.len() == 12 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| hex.to_ascii_lowercase())
}

/// Maximum size of a compiled regular expression in bytes, and the size that nearly all stay below.
const LARGEST: usize = 1 << 20;
const USUAL: usize = 1 << 16;
/// Maximum number of regular expressions in a file, and of those larger than usual. All are in
/// memory at the same time.
const MOST: u32 = 500;
const MOST_LARGE: u32 = 16;

/// The allowance for the regular expressions of a file: compiling takes time and memory before
/// anything can match.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    taken: u32,
    large: u32,
    over: bool,
}

impl Allowance {
    fn compile(&mut self, pattern: &str) -> Result<Regex, String> {
        self.taken += 1;
        if self.taken > MOST {
            self.over = true;
            return Err(format!(
                "more than {MOST} regular expressions in one file: this one and what follows was not read"
            ));
        }
        // The small limit is tried first, since it fails fast on the large ones that must be
        // counted.
        match build(pattern, USUAL) {
            Err(regex::Error::CompiledTooBig(_)) => {}
            usual => return usual.map_err(|e| wrong(pattern, e)),
        }
        self.large += 1;
        if self.large > MOST_LARGE {
            self.over = true;
            return Err(format!(
                "more than {MOST_LARGE} large regular expressions in one file: this one and what follows was not read; \
                 `\\w` and `{{80,130}}` make them large, `[a-z0-9]` and `*` do not"
            ));
        }
        compile(pattern)
    }
}

fn build(pattern: &str, size: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(size)
        .dfa_size_limit(LARGEST)
        .build()
}

pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    build(pattern, LARGEST).map_err(|e| wrong(pattern, e))
}

fn wrong(pattern: &str, error: regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => {
            format!("the regular expression `{pattern}` is too large")
        }
        regex::Error::Syntax(text) => {
            // The error of the library shows the expression again over several lines.
            let last = text
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            format!("`{pattern}` is not a regular expression: {last}")
        }
        other => format!("`{pattern}` is not a regular expression: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn either_hyphen_leaves_alone_what_stands_for_something_else() {
        for (pattern, becomes) in [
            ("power-cycle", "power[-_]cycle"),
            ("power_cycle", "power[-_]cycle"),
            (r"a\-b\_c", "a[-_]b[-_]c"),
            ("[a-z_]-[^]_-]_", "[a-z_][-_][^]_-][-_]"),
            (r"[\]-_]-", r"[\]-_][-_]"),
            ("[[:alpha:]_]_", "[[:alpha:]_][-_]"),
            ("[a-z&&[^x-y]]-", "[a-z&&[^x-y]][-_]"),
            ("(?-i)a-b", "(?-i)a[-_]b"),
            ("(?P<the_name>x)_(?:a-b)", "(?P<the_name>x)[-_](?:a[-_]b)"),
            (
                r"\p{Old_Italic}-\x{5f}\b{start-half}_",
                r"\p{Old_Italic}[-_]\x{5f}\b{start-half}[-_]",
            ),
            (r"-{2}\w", r"[-_]{2}\w"),
        ] {
            assert_eq!(either_hyphen(pattern), becomes, "{pattern}");
            assert!(compile(&either_hyphen(pattern)).is_ok(), "{pattern}");
        }
    }

    proptest! {
        /// A glob is the regular expression one would write for it.
        #[test]
        fn a_glob_is_its_regular_expression(glob in "[ab*]{1,6}", text in "[ab]{0,8}") {
            let parts: Vec<String> = glob.split('*').map(regex::escape).collect();
            let reference = Regex::new(&format!("^{}$", parts.join(".*"))).unwrap();
            prop_assert_eq!(Glob::new(&glob).fits(&text), reference.is_match(&text));
        }

        /// A text that is to match exactly matches itself and what is compared alike, nothing else.
        #[test]
        fn a_text_can_be_matched_exactly(text in r"[aB*/\\.^$|()\[\]{}?+ é_\-\n]{1,8}", other in "[abB*/. _-]{1,8}") {
            let pattern = Pattern::parse(&crate::model::exactly(&text)).unwrap();
            prop_assert!(pattern.fits_text(&text), "{:?}", pattern);
            prop_assert_eq!(pattern.fits_text(&other), fold(&text) == fold(&other), "{:?}", pattern);
        }

        /// What can be compiled can be compiled with either hyphen, too.
        #[test]
        fn either_hyphen_keeps_expressions_whole(pattern in r"[a_\-\[\]\\^(){}?:|&.+]{0,12}") {
            if compile(&pattern).is_ok() {
                let folded = either_hyphen(&pattern);
                prop_assert!(compile(&folded).is_ok(), "{} -> {}", pattern, folded);
            }
        }
    }
}
