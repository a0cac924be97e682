//! Redaction of the file for the page: each secret is replaced by a numbered placeholder, and
//! placeholders are replaced by their secrets again. A placeholder is valid only in its own place;
//! otherwise a secret could be moved to a place where it is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::protected;
use crate::config::problem::{Collector, Problem};
use crate::config::raw;
use crate::config::redact::{self, Leaf, Path, comments, leaves};
use crate::config::tree::{At, Node};

mod swaps;

use swaps::Swaps;

/// Problem of a placeholder in another place, and its help.
const MOVED: &str = "a hidden value is not in its original place";
const PUT_BACK: &str = "move it back to its original place";

/// A text with redacted secrets.
#[derive(Clone, Debug)]
pub struct Hidden {
    file: String,
    original: String,
    shown: String,
    root: Node,
    /// Beginning of each placeholder: a word that the text itself does not contain.
    sign: String,
    marks: Vec<Placeholder>,
    swaps: Swaps,
}

/// One secret.
#[derive(Clone, Debug)]
struct Placeholder {
    /// Paths in the tree: several if the value has an anchor, none for a comment.
    paths: BTreeSet<Path>,
    /// Secret as written, including quotes.
    source: String,
    /// Value of the secret.
    text: String,
}

/// The edited text with its secrets restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Text for the file.
    pub text: String,
    swaps: Swaps,
    edited: String,
}

impl Restored {
    /// Converts a problem's position to the edited text.
    pub fn place(&self, line: &mut u64, column: &mut u64) {
        (*line, *column) = self.swaps.back(&self.text, &self.edited, *line, *column);
    }
}

impl Hidden {
    /// Redacts the secrets of a text. `None` if it is not YAML, because then it is unknown what is
    /// secret.
    #[must_use]
    pub fn of(text: &str, file: &str) -> Option<Self> {
        let mut problems = Collector::new(file, text);
        let root = raw::parse(text, &mut problems)?;
        if problems.failed() {
            return None;
        }
        // Keyed by position, so that the placeholders are numbered in the order of the text.
        let mut found: BTreeMap<usize, (Range<usize>, Placeholder)> = BTreeMap::new();
        let leaves = leaves(&root);
        // A secret in the place of a key is an error in the file, and it cannot be redacted safely.
        if leaves.iter().any(Leaf::is_misplaced) {
            return None;
        }
        for leaf in leaves.iter().filter(|leaf| leaf.is_secret()) {
            let source = text.get(leaf.node.span.clone())?.trim_end();
            let start = leaf.node.span.start;
            let fresh = || Placeholder {
                paths: BTreeSet::new(),
                source: source.to_owned(),
                text: leaf.text.trim_end().to_owned(),
            };
            let (_, mark) = found
                .entry(start)
                .or_insert_with(|| (start..start + source.len(), fresh()));
            // An anchor and its aliases are one value in several places.
            let same = leaves
                .iter()
                .filter(|other| !other.is_key && other.node.span.start == start);
            mark.paths.extend(same.map(|other| other.path.clone()));
        }
        for range in redact::in_comments(text, &root) {
            let source = text.get(range.clone())?.to_owned();
            found.insert(
                range.start,
                (
                    range,
                    Placeholder {
                        paths: BTreeSet::new(),
                        text: source.clone(),
                        source,
                    },
                ),
            );
        }
        // A placeholder must be recognisable, so its first word may not occur in the text.
        let mut sign = "<hidden".to_owned();
        while text.contains(&format!("{sign} ")) {
            sign.push('_');
        }
        let (ranges, marks): (Vec<_>, Vec<_>) = found.into_values().unzip();
        let named = ranges
            .into_iter()
            .zip(1..)
            .map(|(range, number): (_, usize)| (range, format!("{sign} {number}>")));
        let (shown, swaps) = swaps::swap(text, named)?;
        Some(Self {
            file: file.to_owned(),
            original: text.to_owned(),
            shown,
            root,
            sign,
            marks,
            swaps,
        })
    }

    /// Returns the redacted text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.shown
    }

    /// Returns the original text.
    #[must_use]
    pub fn original(&self) -> &str {
        &self.original
    }

    /// Converts a position of the original to the redacted text.
    pub fn place(&self, line: &mut u64, column: &mut u64) {
        (*line, *column) = self
            .swaps
            .forth(&self.original, &self.shown, *line, *column);
    }

    /// Restores the secrets in an edited text, and checks that protected settings are unchanged.
    ///
    /// # Errors
    ///
    /// Every placeholder in a wrong place, every change of a protected setting, and text that is
    /// not YAML; with positions in `edited`.
    pub fn restore(&self, edited: &str) -> Result<Restored, Vec<Problem>> {
        let edited = self.with_our_line_ends(edited);
        let mut problems = Collector::new(&self.file, &edited);
        let Some(root) = raw::parse(&edited, &mut problems).filter(|_| !problems.failed()) else {
            return Err(problems.finish());
        };
        // The checks build on each other: each stops if it has found problems.
        let before = leaves(&root);
        let swapped = self.swapped(&edited, &root, &before, &mut problems);
        if problems.failed() {
            return Err(problems.finish());
        }
        let unsure = |problems: &mut Collector<'_>| {
            problems.error(
                At::default(),
                "the hidden values cannot be restored in their places",
                PUT_BACK,
            );
        };
        let put = swaps::swap(
            &edited,
            swapped
                .iter()
                .map(|(range, mark)| (range.clone(), mark.source.clone())),
        );
        let (Some((text, swaps)), mut quiet) = (put, Collector::new(&self.file, "")) else {
            unsure(&mut problems);
            return Err(problems.finish());
        };
        let Some(whole) = raw::parse(&text, &mut quiet).filter(|_| !quiet.failed()) else {
            unsure(&mut problems);
            return Err(problems.finish());
        };
        // Whatever the quotes are: each placeholder must have become its secret, and nothing else
        // may differ.
        let after = leaves(&whole);
        let mark_at = |start: usize| {
            swapped
                .iter()
                .find(|(range, _)| range.start == start)
                .map(|(_, mark)| mark)
        };
        let same = before.len() == after.len()
            && before.iter().zip(&after).all(|(a, b)| {
                a.path == b.path
                    && match mark_at(a.node.span.start) {
                        Some(mark) if !mark.paths.is_empty() => mark.text == b.text.trim_end(),
                        _ => a.text == b.text,
                    }
            });
        if !same {
            unsure(&mut problems);
            return Err(problems.finish());
        }
        // A comment is redacted because of the lines around it; moved elsewhere it would be shown.
        let hidden = redact::secrets(&text, &whole);
        let is_hidden = |range: &Range<usize>| {
            hidden
                .iter()
                .any(|hidden| hidden.start <= range.start && range.end <= hidden.end)
        };
        for ((range, mark), after) in swapped.iter().zip(swaps.after()) {
            if mark.paths.is_empty() && !is_hidden(after) {
                let at = At {
                    width: range.len(),
                    ..swaps::at(&edited, range.start)
                };
                problems.error(at, MOVED, PUT_BACK);
            }
        }
        let restored = Restored {
            text,
            swaps,
            edited: edited.clone(),
        };
        for (mut at, what) in protected::changes(&self.root, &whole) {
            restored.place(&mut at.line, &mut at.column);
            problems.error(at, what, "change that in the file itself");
        }
        if problems.failed() {
            Err(problems.finish())
        } else {
            Ok(restored)
        }
    }

    /// Restores the line ends of the file, because browsers convert them all to `\n`.
    fn with_our_line_ends(&self, edited: &str) -> String {
        if self.shown.contains("\r\n") && !edited.contains('\r') {
            edited.replace('\n', "\r\n")
        } else {
            edited.to_owned()
        }
    }

    /// Returns every placeholder of the text with its secret.
    fn swapped<'m>(
        &'m self,
        edited: &str,
        root: &Node,
        leaves: &[Leaf<'_>],
        problems: &mut Collector<'_>,
    ) -> Vec<(Range<usize>, &'m Placeholder)> {
        let remarks = comments(edited, root);
        let mut swapped = Vec::new();
        for (range, number) in self.marks_in(edited) {
            let at = At {
                width: range.len(),
                ..swaps::at(edited, range.start)
            };
            let Some(mark) = number
                .checked_sub(1)
                .and_then(|index| self.marks.get(index))
            else {
                problems.error(at, "no hidden value has this number", PUT_BACK);
                continue;
            };
            // A placeholder in a value must be the whole value, and in one of its own paths; one
            // from a comment must still be in a comment.
            let around: Vec<&Leaf<'_>> = leaves.iter().filter(|leaf| leaf.holds(&range)).collect();
            let alone = |leaf: &&Leaf<'_>| {
                leaf.text.trim_end() == edited.get(range.clone()).unwrap_or_default()
            };
            let in_place = match (mark.paths.is_empty(), around.is_empty()) {
                (true, true) => remarks
                    .iter()
                    .any(|remark| remark.start <= range.start && range.end <= remark.end),
                (false, false) => around
                    .iter()
                    .all(|leaf| alone(leaf) && mark.paths.contains(&leaf.path)),
                _ => false,
            };
            if !in_place {
                problems.error(at, MOVED, PUT_BACK);
            } else {
                // The quotes around a placeholder are replaced too, because the secret has its own.
                let whole = around
                    .first()
                    .and_then(|leaf| leaf.written(edited))
                    .unwrap_or(range);
                swapped.push((whole, mark));
            }
        }
        swapped
    }

    fn marks_in(&self, text: &str) -> Vec<(Range<usize>, usize)> {
        let begin = format!("{} ", self.sign);
        let one = |(start, _): (usize, &str)| {
            let number = text.get(start + begin.len()..)?;
            let digits = number.find(|c: char| !c.is_ascii_digit())?;
            let end = start + begin.len() + digits + 1;
            let number = number
                .get(..digits)
                .filter(|_| text.get(end - 1..end) == Some(">"))?
                .parse()
                .ok()?;
            Some((start..end, number))
        };
        text.match_indices(&begin).filter_map(one).collect()
    }
}

#[cfg(test)]
mod tests;
