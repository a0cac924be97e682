//! What the page must not change, however much else it may: whoever edits rules must not be able to
//! let themselves further in, nor have a file or a variable of this machine sent somewhere.

use super::masks::is_reference;
use super::raw::{At, Node, Tree};

/// What was wrong, where, and what to do.
type Breach = (At, String, &'static str);

const IN_THE_FILE: &str = "change that in the file itself";

/// Every such change between these two files; the places are those of the second.
pub(super) fn breaches(before: &Node, after: &Node) -> Vec<Breach> {
    let mut found = Vec::new();
    let [old, new] = [before, after].map(|root| entry(root, "server"));
    if !alike(old, new) {
        let at = new.map_or(
            At {
                line: 1,
                column: 1,
                width: 1,
            },
            |node| node.at,
        );
        found.push((
            at,
            "`server:` is not changed on the page".to_owned(),
            IN_THE_FILE,
        ));
    }
    let mut known = Vec::new();
    for section in ["sources", "destinations"] {
        each_text(entry(before, section), &mut |_, text| {
            known.push(text.to_owned())
        });
    }
    for section in ["sources", "destinations"] {
        each_text(entry(after, section), &mut |at, text| {
            if text.starts_with("file:") && !known.iter().any(|known| known == text) {
                found.push((
                    at,
                    "a file that is not named yet is not named on the page".to_owned(),
                    IN_THE_FILE,
                ));
            }
        });
    }
    headers(
        entry(before, "destinations"),
        entry(after, "destinations"),
        &mut found,
    );
    found
}

/// A header goes wherever the URL says: one that refers to a variable or a file, or that was
/// hidden, stays what it was and goes where it went.
fn headers(before: Option<&Node>, after: Option<&Node>, found: &mut Vec<Breach>) {
    for (name, destination) in entries(after) {
        for (kind, settings) in entries(Some(destination)) {
            let old = before
                .and_then(|node| entry(node, name))
                .and_then(|node| entry(node, kind));
            let same_url = alike(
                old.and_then(|node| entry(node, "url")),
                entry(settings, "url"),
            );
            let old = old.and_then(|node| entry(node, "headers"));
            for (header, value) in entries(entry(settings, "headers")) {
                let kept = alike(old.and_then(|node| entry(node, header)), Some(value));
                let refers = value
                    .scalar()
                    .is_some_and(|scalar| is_reference(&scalar.text));
                if kept && !same_url {
                    let what = format!("the URL changed, and the header `{header}` would go there");
                    found.push((value.at, what, "write the header's value anew"));
                } else if refers && !kept {
                    let what = format!(
                        "the header `{header}` would send a variable or a file of this machine"
                    );
                    found.push((value.at, what, IN_THE_FILE));
                }
            }
        }
    }
}

fn entries(node: Option<&Node>) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match node.map(|node| &node.tree) {
        Some(Tree::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries
        .iter()
        .filter_map(|(key, value)| Some((key.scalar()?.text.as_str(), value)))
}

fn entry<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    entries(Some(node))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

fn each_text(node: Option<&Node>, each: &mut impl FnMut(At, &str)) {
    let Some(node) = node else { return };
    match &node.tree {
        Tree::Null => {}
        Tree::Scalar(scalar) => each(node.at, &scalar.text),
        Tree::List(items) => items.iter().for_each(|item| each_text(Some(item), each)),
        Tree::Map(entries) => entries
            .iter()
            .for_each(|(_, value)| each_text(Some(value), each)),
    }
}

/// Whether two trees say the same, wherever they stand.
fn alike(a: Option<&Node>, b: Option<&Node>) -> bool {
    match (a.map(|node| &node.tree), b.map(|node| &node.tree)) {
        (None, None) | (Some(Tree::Null), Some(Tree::Null)) => true,
        (Some(Tree::Scalar(a)), Some(Tree::Scalar(b))) => a.text == b.text && a.kind == b.kind,
        (Some(Tree::List(a)), Some(Tree::List(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(Some(a), Some(b)))
        }
        (Some(Tree::Map(a)), Some(Tree::Map(b))) => {
            let same = |(a, b): (&(Node, Node), &(Node, Node))| {
                alike(Some(&a.0), Some(&b.0)) && alike(Some(&a.1), Some(&b.1))
            };
            a.len() == b.len() && a.iter().zip(b).all(same)
        }
        _ => false,
    }
}
