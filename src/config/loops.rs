//! Inhibit rules by which what explains is itself explained by what it explains.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::matching::certain;
use super::read::Reader;
use super::tree::At;
use crate::model::Field;
use crate::rules::{InhibitRule, Matcher, Test};

/// More conditions than this in both places are no file that a person wrote.
const MOST: usize = 50;

/// What a condition explains.
type Graph<'n> = BTreeMap<&'n str, BTreeSet<&'n str>>;

/// One warning for each rule that closes a circle, where that is certain: its sides are named, and
/// the same site is all that both must share.
pub(super) fn warn(reader: &mut Reader<'_>, rules: &[(At, InhibitRule)]) {
    let mut sided: Vec<(At, Side<'_>, Side<'_>)> = Vec::new();
    for (at, rule) in rules.iter().filter(|(_, rule)| of_a_site(rule)) {
        sided.extend(
            side(&rule.source)
                .zip(side(&rule.target))
                .map(|(source, target)| (*at, source, target)),
        );
    }
    let named: BTreeSet<String> = sided
        .iter()
        .flat_map(|(_, a, b)| a.named().chain(b.named()))
        .collect();
    // Only what explains and is explained can be in a circle.
    let explains = |name: &str| sided.iter().any(|(_, source, _)| source.has(name));
    let explained = |name: &str| sided.iter().any(|(.., target)| target.has(name));
    let names: Vec<&str> = named
        .iter()
        .map(String::as_str)
        .filter(|name| explains(name) && explained(name))
        .collect();
    if names.len() > MOST {
        return;
    }
    let mut graph = Graph::new();
    for (at, source, target) in &sided {
        if let Some(circle) = add(&mut graph, &names, source, target) {
            let what = format!(
                "these inhibit rules go in a circle: {}",
                circle.join(" -> ")
            );
            reader.problems.warn(
                *at,
                what,
                "each would be explained by the other: leave out one direction",
            );
        }
    }
}

/// Whether what both sides must share is at most the site.
fn of_a_site(rule: &InhibitRule) -> bool {
    let wide = |field: &Field| matches!(field, Field::Site | Field::SiteId | Field::OrgId);
    !rule.via_topology && rule.equal.iter().all(wide)
}

/// The conditions of a side that asks for nothing else.
enum Side<'r> {
    Test(&'r Test),
    Named(BTreeSet<String>),
}

fn side(matcher: &Matcher) -> Option<Side<'_>> {
    match (matcher.tests.as_slice(), matcher.not.is_empty()) {
        ([(Field::Condition, test)], true) => Some(Side::Test(test)),
        ([(Field::Type, _)], true) => certain(matcher).map(Side::Named),
        _ => None,
    }
}

impl Side<'_> {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Test(test) => test.holds_for(name),
            Self::Named(names) => names.contains(name),
        }
    }

    fn named(&self) -> Box<dyn Iterator<Item = String> + '_> {
        match self {
            Self::Test(Test::OneOf(patterns)) => Box::new(
                patterns
                    .iter()
                    .filter_map(|pattern| pattern.literal().map(str::to_owned)),
            ),
            Self::Test(_) => Box::new(std::iter::empty()),
            Self::Named(names) => Box::new(names.iter().cloned()),
        }
    }
}

/// Adds what a rule says; the circle it closes, if it does, is left open.
fn add<'n>(
    graph: &mut Graph<'n>,
    names: &[&'n str],
    source: &Side<'_>,
    target: &Side<'_>,
) -> Option<Vec<&'n str>> {
    let mut closed = None;
    for from in names.iter().filter(|name| source.has(name)) {
        for to in names
            .iter()
            .filter(|name| *name != from && target.has(name))
        {
            if graph.get(from).is_some_and(|known| known.contains(to)) {
                continue;
            }
            match way(graph, to, from) {
                Some(back) => {
                    closed = closed.or_else(|| Some([*from].into_iter().chain(back).collect()))
                }
                None => drop(graph.entry(from).or_default().insert(to)),
            }
        }
    }
    closed
}

/// The shortest way between two.
fn way<'n>(graph: &Graph<'n>, from: &'n str, to: &'n str) -> Option<Vec<&'n str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = VecDeque::from([from]);
    while let Some(at) = next.pop_front() {
        if at == to {
            let mut way = vec![at];
            let mut at = at;
            while at != from {
                at = before.get(at)?;
                way.push(at);
            }
            way.reverse();
            return Some(way);
        }
        for further in graph.get(at).into_iter().flatten() {
            if *further != from && !before.contains_key(further) {
                before.insert(further, at);
                next.push_back(further);
            }
        }
    }
    None
}
