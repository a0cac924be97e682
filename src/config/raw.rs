//! Reader of rules.yaml: YAML text to a [`Node`].
//!
//! One generic tree instead of derived structs: serde stops at the first thing it dislikes, and an
//! operator wants every problem at once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use super::cure;
use super::problem::Collector;
use super::redact;
use super::tree::{At, Node, Plain, Scalar, Tree};

/// Reads the YAML. What it cannot read is a problem; `None` then, unless the rest can still be
/// judged.
pub(crate) fn parse(text: &str, problems: &mut Collector<'_>) -> Option<Node> {
    let root = match attempt(text, DuplicateKeyPolicy::Error) {
        Ok(node) => Some(node),
        Err(error) => {
            let duplicate = error
                .without_snippet()
                .to_string()
                .starts_with("duplicate mapping key");
            report(text, &error, problems);
            // What the tree does not hold, a broken line or the second of two keys, may be secret
            // too.
            problems.hide_by_guessing();
            // So that the other problems are told in the same run.
            if duplicate {
                attempt(text, DuplicateKeyPolicy::FirstWins).ok()
            } else {
                None
            }
        }
    };
    if let Some(root) = &root {
        problems.hide(redact::secrets(text, root));
    }
    root
}

/// Deeper than any sensible file, and shallow enough for the stack of a worker thread.
const MAX_DEPTH: usize = 24;

fn attempt(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Node, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        budget: serde_saphyr::budget! { max_documents: 1, max_nodes: 100_000, max_depth: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH },
    };
    let root: Spanned<Parsed> = serde_saphyr::from_str_with_options(text, options)?;
    Ok(place(root, text))
}

fn report(text: &str, error: &serde_saphyr::Error, problems: &mut Collector<'_>) {
    let error = error.without_snippet();
    let location = error.location();
    let at = location.map_or(At::START, |l| At {
        line: l.line(),
        column: l.column(),
        width: 1,
    });
    let said = error.to_string();
    let said = said
        .rsplit_once(" at line ")
        .map_or(said.as_str(), |(head, _)| head);
    if let Some(key) = said.strip_prefix("duplicate mapping key: ") {
        let key = key.split(", set ").next().unwrap_or(key);
        let at = At {
            width: key.chars().count(),
            ..at
        };
        return problems.error(
            at,
            format!("`{key}` stands here twice"),
            "one of them must go",
        );
    }
    let number = usize::try_from(at.line.saturating_sub(1)).unwrap_or_default();
    let line = text.lines().nth(number).unwrap_or_default();
    let above = text
        .lines()
        .take(number)
        .filter(|line| !line.trim().is_empty());
    let (what, help) = cure::yaml(said, line, above.last().unwrap_or_default());
    problems.error(at, what, help);
}

/// What serde hears from saphyr, before the source text is put back.
enum Parsed {
    Null,
    Plain(Plain, String),
    List(Vec<Spanned<Parsed>>),
    Map(Vec<(Spanned<Parsed>, Spanned<Parsed>)>),
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParsedVisitor)
    }
}

struct ParsedVisitor;

impl<'de> Visitor<'de> for ParsedVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Parsed, E> {
        Ok(Parsed::Plain(Plain::Bool, v.to_string()))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Parsed, E> {
        Ok(Parsed::Plain(Plain::Number, v.to_string()))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Parsed, E> {
        Ok(Parsed::Plain(Plain::Number, v.to_string()))
    }

    fn visit_i128<E: Error>(self, v: i128) -> Result<Parsed, E> {
        Ok(Parsed::Plain(Plain::Number, v.to_string()))
    }

    fn visit_u128<E: Error>(self, v: u128) -> Result<Parsed, E> {
        Ok(Parsed::Plain(Plain::Number, v.to_string()))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Parsed, E> {
        Ok(Parsed::Plain(Plain::Number, v.to_string()))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Parsed, E> {
        Ok(Parsed::Plain(Plain::Text, v.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parsed, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Parsed::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Parsed::Map(entries))
    }
}

/// Puts back the source text of what YAML read as a number or a boolean.
fn place(spanned: Spanned<Parsed>, text: &str) -> Node {
    let location = spanned.defined;
    let span = || {
        let span = location.span();
        let from = usize::try_from(span.byte_offset()?).ok()?;
        Some(from..from.checked_add(usize::try_from(span.byte_len()?).ok()?)?)
    };
    let span = span().unwrap_or_default();
    let source = || text.get(span.clone()).filter(|source| !source.is_empty());
    let width = source()
        .and_then(|s| s.lines().next())
        .map_or(1, |s| s.trim_end().chars().count());
    let tree = match spanned.value {
        Parsed::Null => Tree::Null,
        Parsed::Plain(kind, value) => {
            let text = if kind == Plain::Text {
                value
            } else {
                source().map_or(value, |s| s.trim().to_owned())
            };
            Tree::Scalar(Scalar { text, kind })
        }
        Parsed::List(items) => {
            Tree::List(items.into_iter().map(|item| place(item, text)).collect())
        }
        Parsed::Map(entries) => Tree::Map(
            entries
                .into_iter()
                .map(|(key, value)| (place(key, text), place(value, text)))
                .collect(),
        ),
    };
    Node {
        at: At {
            line: location.line(),
            column: location.column(),
            width,
        },
        span,
        tree,
    }
}
