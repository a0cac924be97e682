//! Which parts of a rules file are secret. One answer for the journal, the page, and every line
//! that is printed or logged.
//!
//! Where a URL, a secret or a listener may stand, a value is shown only if its key is known and
//! its shape says that it is harmless. Elsewhere a value is hidden only under a key that does not
//! belong there and sounds like a secret: rules must stay as they are, for they are judged by.

use std::ops::Range;

use super::keys;
use super::spelling::nearest;
use super::tree::{Node, Tree};
use crate::model::{Setting, Shape};

pub(crate) mod comments;

/// Headers whose values nobody keeps secret.
pub(crate) const PUBLIC_HEADERS: &[&str] = &["accept", "content-type", "user-agent"];

pub(crate) use comments::{comments, secret as in_comments};

/// Sections that hold neither a URL, nor a secret, nor a listener. All others are protected.
pub(crate) const OPEN: [&str; 7] = [
    "defaults",
    "rules",
    "time_intervals",
    "maintenance",
    "inhibit_rules",
    "topology",
    "tests",
];

/// Keys by name, any item of a list alike.
pub(crate) type Path = Vec<String>;

/// What stands at the place of a list's items in a path.
const ITEM: &str = "[]";

/// A value of the tree and the way to it. Keys are among them.
pub(crate) struct Leaf<'n> {
    pub(crate) path: Path,
    pub(crate) node: &'n Node,
    pub(crate) text: &'n str,
    pub(crate) is_key: bool,
}

/// The secret parts of a text, in order, without their quotes: values, keys that hold a secret by
/// mistake, and what looks like a secret in a comment.
pub(crate) fn secrets(text: &str, root: &Node) -> Vec<Range<usize>> {
    let leaves = leaves(root);
    let hidden = leaves
        .iter()
        .filter(|leaf| leaf.is_secret() || leaf.is_misplaced());
    let mut found: Vec<_> = hidden
        .map(|leaf| unquoted(text, leaf.node.span.clone()))
        .chain(in_comments(text, root))
        .collect();
    found.sort_by_key(|range| range.start);
    found
}

/// The text as the journal keeps it: no secret, no comment, and each line in its place.
pub(crate) fn for_the_journal(text: &str, root: &Node) -> String {
    let masked = mask(text, 'x', &secrets(text, root));
    let comments = comments(text, root);
    let mut is_comment = within(&comments);
    text.char_indices()
        .zip(masked.chars())
        .filter(|((at, _), _)| !is_comment(*at))
        .map(|(_, c)| c)
        .collect()
}

/// The text with every visible character of these parts replaced; each other one keeps its line
/// and column. What replaces them for YAML is no `*`, which would begin an alias.
pub(crate) fn mask(text: &str, with: char, secrets: &[Range<usize>]) -> String {
    let mut is_secret = within(secrets);
    let one = |(at, c): (usize, char)| {
        if is_secret(at) && !c.is_whitespace() {
            with
        } else {
            c
        }
    };
    text.char_indices().map(one).collect()
}

/// Whether a byte is in one of these ranges, which are in order; bytes are asked for in order, too.
fn within(ranges: &[Range<usize>]) -> impl FnMut(usize) -> bool {
    let mut ranges = ranges.iter().peekable();
    move |at| {
        while ranges.next_if(|range| range.end <= at).is_some() {}
        ranges.peek().is_some_and(|range| range.start <= at)
    }
}

fn unquoted(text: &str, span: Range<usize>) -> Range<usize> {
    let source = text.get(span.clone()).unwrap_or_default().trim_end();
    let end = span.start + source.len();
    let is_quoted = source.len() > 1 && source.starts_with(['"', '\'']);
    if is_quoted && source.ends_with(['"', '\'']) {
        span.start + 1..end - 1
    } else {
        span.start + usize::from(is_quoted)..end
    }
}

impl Leaf<'_> {
    /// Whether nobody may see it.
    pub(crate) fn is_secret(&self) -> bool {
        let Some(section) = self.path.first().filter(|_| !self.is_key) else {
            return false;
        };
        if self.text.trim().is_empty() || is_reference(self.text) {
            return false;
        }
        let shape = shape(&Shape::Map(keys::FILE), &self.path);
        let key = self.path.iter().rfind(|key| *key != ITEM);
        let sounds_secret = self.path.iter().any(|key| sounds_secret(key));
        if OPEN.contains(&section.as_str()) {
            return shape.is_none() && sounds_secret;
        }
        let is_typo = !keys::FILE.iter().any(|key| key.name == section)
            && nearest(section, keys::FILE.iter().map(|key| key.name))
                .is_some_and(|meant| OPEN.contains(&meant));
        if is_typo {
            return sounds_secret || self.text.contains("://");
        }
        let is_public = match shape {
            Some(Shape::Headers) => key.is_some_and(|key| is_public_header(key)),
            Some(shape) => shape.is_plain(),
            None => false,
        };
        !is_public || has_password(self.text)
    }

    /// Whether it is a key that may be a secret.
    pub(crate) fn is_misplaced(&self) -> bool {
        let Some((_, above)) = self.path.split_last().filter(|_| self.is_key) else {
            return false;
        };
        let is_open = above
            .first()
            .is_some_and(|section| OPEN.contains(&section.as_str()));
        let of_secrets = match shape(&Shape::Map(keys::FILE), above) {
            Some(Shape::Secret | Shape::Secrets) => true,
            Some(_) => false,
            None => above.last().is_some_and(|key| sounds_secret(key)),
        };
        !is_open && (of_secrets || self.text.contains("://"))
    }

    pub(crate) fn holds(&self, range: &Range<usize>) -> bool {
        self.node.span.start < range.end && range.start < self.node.span.end
    }

    /// Where it stands in this text, quotes and all.
    pub(crate) fn written(&self, text: &str) -> Option<Range<usize>> {
        let start = self.node.span.start;
        Some(start..start + text.get(self.node.span.clone())?.trim_end().len())
    }
}

/// The shape a path leads to, where every key on it is known.
fn shape<'s>(from: &'s Shape, path: &[String]) -> Option<&'s Shape> {
    let named = |keys: &'s [Setting], path: &[String]| {
        let (name, rest) = path.split_first()?;
        let key = keys.iter().find(|key| key.name == name)?;
        shape(&key.shape, rest)
    };
    match (from, path) {
        (Shape::Either(shapes), _) => shapes.iter().find_map(|one| shape(one, path)),
        (_, [])
        | (Shape::Match | Shape::Resolve | Shape::Any | Shape::Headers | Shape::Open, _) => {
            Some(from)
        }
        (Shape::Map(keys), _) => named(keys, path),
        (Shape::Named(_), [_]) => Some(from),
        (Shape::Named(keys), [_, rest @ ..]) => named(keys, rest),
        (Shape::ListOf(keys), [item, rest @ ..]) if item == ITEM => named(keys, rest),
        (Shape::Each(of), [_, rest @ ..]) => shape(of, rest),
        (Shape::List(of), [item, rest @ ..]) if item == ITEM => shape(of, rest),
        (Shape::Texts | Shape::Fields | Shape::Secrets, [item]) if item == ITEM => Some(from),
        _ => None,
    }
}

fn is_public_header(key: &str) -> bool {
    PUBLIC_HEADERS
        .iter()
        .any(|name| name.eq_ignore_ascii_case(key))
}

/// Whether a URL in this text names a user or a password.
pub(crate) fn has_password(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        rest.get(..end).is_some_and(|host| host.contains('@'))
    })
}

pub(crate) fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

/// Every key and value, in the order of the text.
pub(crate) fn leaves(root: &Node) -> Vec<Leaf<'_>> {
    let mut found = Vec::new();
    gather(root, &mut Vec::new(), &mut found);
    found
}

fn gather<'n>(node: &'n Node, path: &mut Path, found: &mut Vec<Leaf<'n>>) {
    match &node.tree {
        Tree::Null => {}
        Tree::Scalar(scalar) => {
            found.push(Leaf {
                path: path.clone(),
                node,
                text: &scalar.text,
                is_key: false,
            });
        }
        Tree::List(items) => {
            path.push(ITEM.to_owned());
            items.iter().for_each(|item| gather(item, path, found));
            path.pop();
        }
        Tree::Map(entries) => {
            for (key, value) in entries {
                if let Some(name) = key.scalar() {
                    path.push(name.text.clone());
                    found.push(Leaf {
                        path: path.clone(),
                        node: key,
                        text: &name.text,
                        is_key: true,
                    });
                    gather(value, path, found);
                    path.pop();
                } else {
                    gather(value, path, found);
                }
            }
        }
    }
}

/// Whether values under this key may be secret.
pub(crate) fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    const WORDS: [&str; 6] = [
        "secret",
        "url",
        "header",
        "token",
        "password",
        "authorization",
    ];
    key != "public_url" && WORDS.iter().any(|word| key.contains(word))
}
