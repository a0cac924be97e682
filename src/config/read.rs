//! Typed readers over the raw tree: each gives the value, or reports what is wrong with it and
//! gives `None`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cure;
use super::keys::LATER;
use super::problem::Collector;
use super::redact::PUBLIC_HEADERS;
use super::spelling::did_you_mean;
use super::tree::{At, Node, Tree};
use crate::model::{Field, Secret, Setting, parse_duration};
use crate::rules::Allowance;

/// What reading needs: where problems go, the environment, and the folder relative paths start
/// from.
pub(super) struct Reader<'a> {
    pub(super) problems: Collector<'a>,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) dir: PathBuf,
    pub(super) literal_secrets: bool,
    /// Nothing is sent: a secret that is named but not there may be missing.
    pub(super) offline: bool,
    /// Whose clocks calendars mean where they name no zone: this machine's.
    pub(super) zone: jiff::tz::TimeZone,
    /// What the regular expressions of the file may still take.
    pub(super) patterns: Allowance,
    /// The files that hold secrets.
    pub(super) secret_files: Vec<PathBuf>,
}

/// Stands for a secret that is missing where nothing is sent.
const MISSING: &str = "https://missing.invalid/";

/// A map whose keys were checked.
pub(super) struct Section<'n> {
    /// Where it begins.
    pub(super) at: At,
    entries: Vec<(&'n str, At, &'n Node)>,
}

impl<'n> Section<'n> {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries
            .iter()
            .find(|(name, ..)| *name == key)
            .map(|(.., node)| *node)
    }

    /// The same with what another says instead.
    pub(super) fn with<'m>(&self, other: &Section<'m>) -> Section<'m>
    where
        'n: 'm,
    {
        let kept = self
            .entries
            .iter()
            .filter(|(name, ..)| other.get(name).is_none());
        Section {
            at: self.at,
            entries: kept.chain(&other.entries).copied().collect(),
        }
    }

    /// Where a key stands, else the section.
    pub(super) fn key_at(&self, key: &str) -> At {
        self.entries
            .iter()
            .find(|(name, ..)| *name == key)
            .map_or(self.at, |(_, at, _)| *at)
    }
}

impl Reader<'_> {
    /// A map of these keys, `place` being what it is for people. Unknown keys are problems.
    pub(super) fn section<'n>(
        &mut self,
        node: &'n Node,
        keys: &[Setting],
        place: &str,
    ) -> Option<Section<'n>> {
        let mut entries = self.entries(node, place)?;
        let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
        entries.retain(|(name, at, _)| {
            let fine = known.contains(name);
            if LATER.contains(name) && !fine {
                self.problems.error(
                    *at,
                    format!("`{name}` is an unknown key: it is not available in this version"),
                    "",
                );
            } else if !fine {
                self.problems.error(
                    *at,
                    format!("{place} has no key `{name}`"),
                    cure::key(place, name).unwrap_or_else(|| did_you_mean(name, &known, "known")),
                );
            }
            fine
        });
        Some(Section {
            at: node.at,
            entries,
        })
    }

    /// A map of any keys.
    pub(super) fn entries<'n>(
        &mut self,
        node: &'n Node,
        place: &str,
    ) -> Option<Vec<(&'n str, At, &'n Node)>> {
        let Tree::Map(entries) = &node.tree else {
            let help = if matches!(node.tree, Tree::Null) {
                "give it a map, or leave it out"
            } else {
                ""
            };
            self.problems.error(
                node.at,
                format!("{place} must be a map, not {}", node.describe()),
                help,
            );
            return None;
        };
        let mut named = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            match key.scalar() {
                Some(name) => named.push((name.text.as_str(), key.at, value)),
                None => self.problems.error(
                    key.at,
                    format!("a key of {place} must be a word"),
                    braces(key),
                ),
            }
        }
        Some(named)
    }

    /// A tree of any shape, as JSON.
    pub(super) fn tree(&mut self, node: &Node, place: &str) -> serde_json::Value {
        self.keys_are_words(node, place);
        node.json()
    }

    fn keys_are_words(&mut self, node: &Node, place: &str) {
        match &node.tree {
            Tree::Map(entries) => {
                if entries.iter().any(|(key, _)| key.scalar().is_none()) {
                    self.problems.error(
                        node.at,
                        format!("a key of {place} must be a word"),
                        braces(node),
                    );
                }
                entries
                    .iter()
                    .for_each(|(_, value)| self.keys_are_words(value, place));
            }
            Tree::List(items) => items
                .iter()
                .for_each(|item| self.keys_are_words(item, place)),
            Tree::Null | Tree::Scalar(_) => {}
        }
    }

    /// A list.
    pub(super) fn list<'n>(&mut self, node: &'n Node, place: &str) -> &'n [Node] {
        if let Tree::List(items) = &node.tree {
            return items;
        }
        self.problems.error(
            node.at,
            format!("`{place}` must be a list, not {}", node.describe()),
            "",
        );
        &[]
    }

    /// A list, or one value standing for a list of one.
    pub(super) fn one_or_many<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        match &node.tree {
            Tree::List(items) => items,
            Tree::Scalar(_) => std::slice::from_ref(node),
            Tree::Null | Tree::Map(_) => {
                let help = braces(node);
                self.problems.error(
                    node.at,
                    format!("`{key}` must be a value or a list, not {}", node.describe()),
                    help,
                );
                &[]
            }
        }
    }

    /// A text: any scalar as it is written.
    pub(super) fn text<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n str> {
        let text = node.scalar().map(|scalar| scalar.text.as_str());
        match text {
            None if matches!(node.tree, Tree::Null) => {
                self.problems
                    .error(node.at, format!("`{key}` has no value"), "")
            }
            Some("") => self
                .problems
                .error(node.at, format!("`{key}` is empty"), ""),
            Some(_) => {}
            None => self.problems.error(
                node.at,
                format!("`{key}` must be a text, not {}", node.describe()),
                braces(node),
            ),
        }
        text.filter(|text| !text.is_empty())
    }

    /// `true` or `false`, also as YAML 1.1 spells them.
    pub(super) fn flag(&mut self, node: &Node, key: &str) -> Option<bool> {
        match self.text(node, key)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            other => {
                self.problems.error(
                    node.at,
                    format!("`{key}` must be true or false, not \"{other}\""),
                    "",
                );
                None
            }
        }
    }

    /// A duration.
    pub(super) fn duration(&mut self, node: &Node, key: &str) -> Option<Duration> {
        let text = self.text(node, key)?;
        match parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(wrong) => {
                let (what, help) = wrong.split_once(": ").unwrap_or((&wrong, ""));
                self.problems
                    .error(node.at, format!("`{key}`: {what}"), help);
                None
            }
        }
    }

    /// A duration longer than nothing.
    pub(super) fn positive(&mut self, node: &Node, key: &str) -> Option<Duration> {
        let duration = self.duration(node, key)?;
        if duration.is_zero() {
            self.problems
                .error(node.at, format!("`{key}` must be longer than 0s"), "");
        }
        (!duration.is_zero()).then_some(duration)
    }

    /// A duration, or `never`, which is `Some(None)`.
    pub(super) fn duration_or_never(&mut self, node: &Node, key: &str) -> Option<Option<Duration>> {
        if node
            .scalar()
            .is_some_and(|s| s.text.eq_ignore_ascii_case("never"))
        {
            return Some(None);
        }
        self.positive(node, key).map(Some)
    }

    /// A whole number, at least 1.
    pub(super) fn count(&mut self, node: &Node, key: &str) -> Option<u32> {
        let text = self.text(node, key)?;
        let count = text.parse::<u32>().ok().filter(|n| *n >= 1);
        if count.is_none() {
            self.problems.error(
                node.at,
                format!("`{key}` must be a whole number, at least 1, not \"{text}\""),
                "",
            );
        }
        count
    }

    /// A number of bytes: `512MiB`, `64KiB`, `1000`.
    pub(super) fn size(&mut self, node: &Node, key: &str) -> Option<u64> {
        let text = self.text(node, key)?;
        let size = parse_size(text);
        if size.is_none() {
            let help = "write a whole number and a unit, as in 64KiB, 1MiB, 2GiB";
            self.problems
                .error(node.at, format!("`{key}`: \"{text}\" is not a size"), help);
        }
        size
    }

    /// One of these words.
    pub(super) fn word(
        &mut self,
        node: &Node,
        key: &str,
        words: &[&'static str],
    ) -> Option<&'static str> {
        let text = self.text(node, key)?;
        let found = words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(text))
            .copied();
        if found.is_none() {
            let what = format!("`{key}` cannot be \"{text}\"");
            self.problems
                .error(node.at, what, did_you_mean(text, words, "known"));
        }
        found
    }

    /// A field of an event.
    pub(super) fn field(&mut self, at: At, word: &str) -> Option<Field> {
        let field = Field::parse(word);
        if field.is_none() {
            let known: Vec<&str> = Field::NAMED.iter().map(|(name, _)| *name).collect();
            let near = match cure::field(word) {
                Some(field) => format!("did you mean \"{field}\"?"),
                None => did_you_mean(word, &known, ""),
            };
            let near = if near.is_empty() {
                format!("known: {}", known.join(", "))
            } else {
                near
            };
            let help = format!("{near} (anything else Mist sends is event.<path>)");
            self.problems
                .error(at, format!("events have no field `{word}`"), help);
        }
        field
    }

    /// One or many fields, at least one.
    pub(super) fn fields(&mut self, node: &Node, key: &str) -> Option<Vec<Field>> {
        let mut fields = Vec::new();
        for item in self.one_or_many(node, key) {
            if let Some(field) = self
                .text(item, key)
                .and_then(|word| self.field(item.at, word))
            {
                fields.push(field);
            }
        }
        (!fields.is_empty()).then_some(fields)
    }

    /// One or many texts, each with its place.
    pub(super) fn texts<'n>(&mut self, node: &'n Node, key: &str) -> Vec<(&'n str, At)> {
        let items = self.one_or_many(node, key);
        items
            .iter()
            .filter_map(|item| Some((self.text(item, key)?, item.at)))
            .collect()
    }

    /// `env:NAME`, `file:PATH`, or the secret itself.
    pub(super) fn secret(&mut self, node: &Node, key: &str) -> Option<Secret> {
        let text = self.text(node, key)?;
        if let Some(name) = text.strip_prefix("env:") {
            let value = (self.env)(name)
                .map(|v| v.trim().to_owned())
                .filter(|v| !v.is_empty());
            if value.is_none() && self.offline {
                return Some(Secret::new(MISSING));
            }
            if value.is_none() {
                let help = format!("set it where Foghorn runs: export {name}=…");
                self.problems.error(
                    node.at,
                    format!("`{key}` is the environment variable {name}, which is not set"),
                    help,
                );
            }
            return self.usable(node.at, key, value?);
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = self.path(path);
            self.secret_files.push(path.clone());
            return match std::fs::read_to_string(&path) {
                Ok(value) if !value.trim().is_empty() => {
                    if let Some(mode) = super::mode(&path).filter(|mode| mode & 0o004 != 0) {
                        let path = path.display();
                        let what = format!(
                            "`{key}`: everyone on this machine may read {path} (mode {mode:04o})"
                        );
                        self.problems
                            .warn(node.at, what, format!("chmod o= {path}"));
                    }
                    self.usable(node.at, key, value.trim().to_owned())
                }
                Ok(_) => {
                    self.problems.error(
                        node.at,
                        format!("`{key}`: {} is empty", path.display()),
                        "",
                    );
                    None
                }
                Err(_) if self.offline => Some(Secret::new(MISSING)),
                Err(error) => {
                    self.problems.error(
                        node.at,
                        format!("`{key}`: cannot read {}: {error}", path.display()),
                        "",
                    );
                    None
                }
            };
        }
        if key.is_ascii()
            && PUBLIC_HEADERS
                .iter()
                .any(|name| name.eq_ignore_ascii_case(key))
        {
            return Some(Secret::new(text));
        }
        self.literal_secrets = true;
        let help = "better: env:NAME or file:PATH";
        self.problems.warn(
            node.at,
            format!("`{key}` is written here in plain text"),
            help,
        );
        Some(Secret::new(text))
    }

    /// A secret from outside the file, unless its quotes or a byte order mark would be taken for a
    /// part of it.
    fn usable(&mut self, at: At, key: &str, value: String) -> Option<Secret> {
        let quoted = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
        let (what, help) = if value.starts_with('\u{feff}') {
            (
                "begins with a byte order mark",
                "save the file as UTF-8 without BOM",
            )
        } else if quoted('"') || quoted('\'') {
            (
                "stands in quotes, which are a part of it here",
                "take the quotes away: docker's --env-file and a secret's file keep them",
            )
        } else {
            return Some(Secret::new(value));
        };
        self.problems.error(at, format!("`{key}` {what}"), help);
        None
    }

    /// A path as written, from the folder of rules.yaml.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.dir.join(
            text.strip_prefix("./")
                .map_or_else(|| Path::new(text), Path::new),
        )
    }
}

/// What to say where a map stands in a text's place.
fn braces(node: &Node) -> &'static str {
    match &node.tree {
        Tree::Map(entries)
            if entries
                .iter()
                .all(|(key, _)| matches!(key.tree, Tree::Map(_))) =>
        {
            "put the whole text in quotes: an unquoted {{ begins a map in YAML"
        }
        _ => "",
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit: u64 = match text
        .get(digits.len()..)?
        .trim()
        .to_ascii_lowercase()
        .as_str()
    {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    digits
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)
        .filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, size) in [
            ("1MiB", 1 << 20),
            ("64KiB", 65_536),
            ("512 MiB", 512 << 20),
            ("1000", 1_000),
            ("2kb", 2_000),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for text in ["", "MiB", "0", "1.5MiB", "-1", "3w", "99999999999GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
