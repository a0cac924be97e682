//! Comments, and what in them looks like a secret: people comment a destination out rather than
//! delete it.

use std::ops::Range;

use crate::config::redact::sounds_secret;
use crate::config::redact::{OPEN, is_reference, leaves};
use crate::config::tree::{Node, Tree};

/// What URLs that are secrets have in them.
const TELLING: [&str; 12] = [
    "hooks.",
    "/hooks/",
    "/services/",
    "webhook",
    "logic.azure",
    "powerplatform",
    "powerautomate",
    "token",
    "sig=",
    "key=",
    "secret",
    "@",
];

/// Every comment, from its `#` to the end of its line.
pub(crate) fn comments(text: &str, root: &Node) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = leaves(root)
        .iter()
        .map(|leaf| leaf.node.span.clone())
        .collect();
    spans.sort_by_key(|span| span.start);
    let inside = |offset: usize| {
        let next = spans.partition_point(|span| span.start <= offset);
        spans
            .get(..next)
            .and_then(<[_]>::last)
            .is_some_and(|span| offset < span.end)
    };
    let (mut found, mut start) = (Vec::new(), 0);
    for line in text.split_inclusive(['\n', '\r']) {
        let end = start + line.trim_end_matches(['\n', '\r']).len();
        let is_comment = |at: &usize| {
            let before = text.get(..*at).and_then(|head| head.chars().next_back());
            before.is_none_or(char::is_whitespace) && !inside(*at)
        };
        let hash = line
            .match_indices('#')
            .map(|(at, _)| start + at)
            .find(is_comment);
        found.extend(hash.map(|hash| hash..end));
        start += line.len();
    }
    found
}

/// What in the comments looks like a secret.
pub(crate) fn secret(text: &str, root: &Node) -> Vec<Range<usize>> {
    let (mut found, mut listed) = (Vec::new(), false);
    for range in comments(text, root) {
        let Some(comment) = text.get(range.clone()) else {
            continue;
        };
        let body = comment.trim_start_matches(['#', ' ', '\t']);
        let item = body
            .strip_prefix('-')
            .map(|item| item.trim_start_matches([' ', '"', '\'']));
        let hidden = match item {
            Some(item) if listed && !item.is_empty() && !is_reference(item) => {
                Some(comment.len() - item.len())
            }
            _ if is_protected(root, range.start) && looks_like_yaml(body) => {
                Some(comment.len() - body.len())
            }
            _ => value(comment).or_else(|| url(comment)),
        };
        listed =
            (listed && item.is_some()) || body.trim_end().strip_suffix(':').is_some_and(is_private);
        let end = comment.trim_end().len();
        found.extend(
            hidden
                .filter(|from| *from < end)
                .map(|from| range.start + from..range.start + end),
        );
    }
    found
}

/// Whether it stands in a section in which any value may be secret.
fn is_protected(root: &Node, offset: usize) -> bool {
    let Tree::Map(sections) = &root.tree else {
        return false;
    };
    sections
        .iter()
        .rfind(|(key, _)| key.span.start <= offset)
        .and_then(|(key, _)| key.scalar())
        .is_some_and(|name| !OPEN.contains(&name.text.as_str()))
}

/// Whether it is a setting that was commented out.
fn looks_like_yaml(comment: &str) -> bool {
    comment.contains(": ") || comment.starts_with("- ")
}

fn is_private(key: &str) -> bool {
    let word = key.trim_end().trim_end_matches(['"', '\'']);
    let start = word
        .rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
        .map_or(0, |at| at + 1);
    let word = word.get(start..).unwrap_or_default();
    sounds_secret(word) || word.to_ascii_lowercase().contains("key")
}

/// Where the value of a key begins that sounds secret.
fn value(comment: &str) -> Option<usize> {
    comment.match_indices([':', '=']).find_map(|(at, _)| {
        let (key, rest) = (comment.get(..at)?, comment.get(at + 1..)?);
        let said = rest.trim_start_matches([' ', '\t', '[', '{', '"', '\'']);
        let is_one = is_private(key) && !said.trim().is_empty() && !is_reference(said);
        is_one.then(|| comment.len() - said.len())
    })
}

/// Where a URL begins that is a secret.
fn url(comment: &str) -> Option<usize> {
    ["https://", "http://"].iter().find_map(|scheme| {
        comment.match_indices(scheme).find_map(|(at, _)| {
            let url = comment
                .get(at..)?
                .split_whitespace()
                .next()?
                .to_ascii_lowercase();
            TELLING.iter().any(|word| url.contains(word)).then_some(at)
        })
    })
}
