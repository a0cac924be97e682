//! The file as people may see it on the page: every secret behind a numbered mark, and the marks
//! turned back into what they stand for. A mark is good for the place it stands at and for no
//! other: a secret that could be moved could be shown.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::protected;
use crate::config::problem::{Collector, Problem};
use crate::config::raw;
use crate::config::redact::{self, Leaf, Path, comments, leaves};
use crate::config::tree::{At, Node};

mod swaps;

use swaps::Swaps;

/// What is wrong with a hidden value that is somewhere else, and what to do.
const MOVED: &str = "a hidden value does not stand where it was";
const PUT_BACK: &str = "put it back where it was";

/// A text whose secrets are hidden.
#[derive(Clone, Debug)]
pub struct Hidden {
    file: String,
    original: String,
    shown: String,
    root: Node,
    /// What marks begin with: a word the text itself does not use so.
    sign: String,
    marks: Vec<Mark>,
    swaps: Swaps,
}

/// One secret.
#[derive(Clone, Debug)]
struct Mark {
    /// Where it stands in the tree: several places where it has an anchor, none for a comment's.
    paths: BTreeSet<Path>,
    /// As it is written, quotes and all.
    source: String,
    /// What it says.
    text: String,
}

/// What was edited, with its secrets in their places again.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The text for the file.
    pub text: String,
    swaps: Swaps,
    edited: String,
}

impl Restored {
    /// Says a problem's place in the text that was edited.
    pub fn place(&self, line: &mut u64, column: &mut u64) {
        (*line, *column) = self.swaps.back(&self.text, &self.edited, *line, *column);
    }
}

impl Hidden {
    /// Hides the secrets of this text; `None` when it is not YAML, so that nobody can say what is
    /// secret.
    #[must_use]
    pub fn of(text: &str, file: &str) -> Option<Self> {
        let mut problems = Collector::new(file, text);
        let root = raw::parse(text, &mut problems)?;
        if problems.failed() {
            return None;
        }
        let mut found: BTreeMap<usize, (Range<usize>, Mark)> = BTreeMap::new();
        let leaves = leaves(&root);
        // A secret where a key should be: the file is wrong, and cannot be shown.
        if leaves.iter().any(Leaf::is_misplaced) {
            return None;
        }
        for leaf in leaves.iter().filter(|leaf| leaf.is_secret()) {
            let source = text.get(leaf.node.span.clone())?.trim_end();
            let start = leaf.node.span.start;
            let fresh = || Mark {
                paths: BTreeSet::new(),
                source: source.to_owned(),
                text: leaf.text.trim_end().to_owned(),
            };
            let (_, mark) = found
                .entry(start)
                .or_insert_with(|| (start..start + source.len(), fresh()));
            // An anchor and what refers to it are one.
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
                    Mark {
                        paths: BTreeSet::new(),
                        text: source.clone(),
                        source,
                    },
                ),
            );
        }
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

    /// The text as it may be shown.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.shown
    }

    /// The text as it is.
    #[must_use]
    pub fn original(&self) -> &str {
        &self.original
    }

    /// Says a place of the original in the text that is shown.
    pub fn place(&self, line: &mut u64, column: &mut u64) {
        (*line, *column) = self
            .swaps
            .forth(&self.original, &self.shown, *line, *column);
    }

    /// Puts the secrets back into what became of the shown text. What the page must not change has
    /// not changed.
    ///
    /// # Errors
    /// Every mark that does not stand where its secret was, every change that is to be made in the
    /// file itself, and that it is not YAML; their places are those of `edited`.
    pub fn restore(&self, edited: &str) -> Result<Restored, Vec<Problem>> {
        let edited = self.with_our_line_ends(edited);
        let mut problems = Collector::new(&self.file, &edited);
        let Some(root) = raw::parse(&edited, &mut problems).filter(|_| !problems.failed()) else {
            return Err(problems.finish());
        };
        let before = leaves(&root);
        let swapped = self.swapped(&edited, &root, &before, &mut problems);
        if problems.failed() {
            return Err(problems.finish());
        }
        let unsure = |problems: &mut Collector<'_>| {
            problems.error(
                At::default(),
                "the hidden values cannot be put back where they were",
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
        // However it was quoted: what reads as a mark before must read as its secret after, and
        // nothing else may differ.
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
        // A comment is hidden for what stands around it: moved elsewhere it would be shown.
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

    /// Browsers give every line end as `\n`. What is hidden has its own, and comes back as it was.
    fn with_our_line_ends(&self, edited: &str) -> String {
        if self.shown.contains("\r\n") && !edited.contains('\r') {
            edited.replace('\n', "\r\n")
        } else {
            edited.to_owned()
        }
    }

    /// Every mark of the text, with what it stands for.
    fn swapped<'m>(
        &'m self,
        edited: &str,
        root: &Node,
        leaves: &[Leaf<'_>],
        problems: &mut Collector<'_>,
    ) -> Vec<(Range<usize>, &'m Mark)> {
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
                // A quoted mark is replaced with its quotes.
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
