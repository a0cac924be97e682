//! Protected settings: what the page must not change, however much else it may. A section in which
//! a URL, a secret or a listener may stand is protected whole: whoever edits rules must not be able
//! to let themselves further in, nor have anything sent elsewhere.

use std::collections::BTreeSet;

use crate::config::redact::OPEN;
use crate::config::tree::{At, Node, Tree};

/// Every change of a protected section between these two files, and where it stands in the second.
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
        let at = new.map_or(At::START, |node| node.at);
        (!alike(old, new)).then(|| (at, format!("`{name}:` is not changed on the page")))
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

/// Whether two trees mean the same, wherever they stand.
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
