//! Protected settings, which the page must not change. A section that can contain a URL, a secret
//! or a listener is protected as a whole. An editor of rules must not be able to widen their own
//! access or redirect messages.

use std::collections::BTreeSet;

use crate::config::redact::OPEN;
use crate::config::tree::{At, Node, Tree};

/// Returns every change of a protected section between two files, with its position in the second
/// one.
pub(super) fn changes(before: &Node, after: &Node) -> Vec<(At, String)> {
    let names: BTreeSet<&str> = [before, after]
        .into_iter()
        .flat_map(sections)
        .map(|(name, _)| name)
        .filter(|name| !OPEN.contains(name))
        .collect();
    let section = |root, name| {
        sections(root)
            .find(|(section, _)| *section == name)
            .map(|(_, node)| node)
    };
    let changed = |name| {
        let (old, new) = (section(before, name), section(after, name));
        // A removed section has no position, so the problem is shown at the beginning.
        let at = new.map_or(At::START, |node| node.at);
        (!alike(old, new)).then(|| (at, format!("`{name}:` cannot be changed on the page")))
    };
    names.into_iter().filter_map(changed).collect()
}

fn sections(root: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match &root.tree {
        Tree::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    entries
        .iter()
        .filter_map(|(key, value)| Some((key.scalar()?.text.as_str(), value)))
}

/// Returns true if two trees mean the same, regardless of their positions.
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
