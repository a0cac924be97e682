//! Two texts as a patch that `patch -p0` and `git apply -p0` take.

use std::fmt::Write as _;

/// Lines around a change.
const CONTEXT: usize = 3;
/// Beyond so many comparisons the middle of the file is replaced as a whole.
const MOST: usize = 4_000_000;

/// A line of both texts, of the old one or of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'t> {
    Same(&'t str),
    Old(&'t str),
    New(&'t str),
}

/// What turns `old` into `new`; empty where they are equal.
pub(super) fn unified(file: &str, old: &str, new: &str) -> String {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let lines = compare(&old, &new);
    let near: Vec<bool> = (0..lines.len())
        .map(|index| {
            let around = index.saturating_sub(CONTEXT)..(index + CONTEXT + 1).min(lines.len());
            lines
                .get(around)
                .is_some_and(|around| around.iter().any(|line| !matches!(line, Line::Same(_))))
        })
        .collect();
    let mut text = String::new();
    let (mut at_old, mut at_new) = (1_usize, 1_usize);
    let mut hunk: Vec<Line<'_>> = Vec::new();
    for (line, shown) in lines.iter().zip(near.iter().chain([&false])) {
        if *shown {
            hunk.push(*line);
        } else {
            write_hunk(&mut text, &mut hunk, &mut at_old, &mut at_new);
            at_old += 1;
            at_new += 1;
        }
    }
    write_hunk(&mut text, &mut hunk, &mut at_old, &mut at_new);
    if text.is_empty() {
        text
    } else {
        format!("--- {file}\n+++ {file}\n{text}")
    }
}

/// Writes one hunk, and moves on behind it.
fn write_hunk(text: &mut String, hunk: &mut Vec<Line<'_>>, at_old: &mut usize, at_new: &mut usize) {
    if hunk.is_empty() {
        return;
    }
    let old = hunk
        .iter()
        .filter(|line| !matches!(line, Line::New(_)))
        .count();
    let new = hunk
        .iter()
        .filter(|line| !matches!(line, Line::Old(_)))
        .count();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "@@ -{at_old},{old} +{at_new},{new} @@");
    for line in hunk.drain(..) {
        let (mark, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Old(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        let _ = write!(text, "{mark}{line}");
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
    *at_old += old;
    *at_new += new;
}

/// The shortest way from one to the other, unless it takes too long to find.
fn compare<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Line<'t>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = |side: &[&'t str]| side.get(head..).unwrap_or_default().to_vec();
    let (mut a, mut b) = (rest(old), rest(new));
    let tail = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let ending = a.split_off(a.len() - tail);
    b.truncate(b.len() - tail);
    let mut lines: Vec<Line<'t>> = old.iter().take(head).map(|line| Line::Same(line)).collect();
    if a.len().saturating_mul(b.len()) > MOST {
        lines.extend(a.iter().map(|line| Line::Old(line)));
        lines.extend(b.iter().map(|line| Line::New(line)));
    } else {
        lines.extend(middle(&a, &b));
    }
    lines.extend(ending.into_iter().map(Line::Same));
    lines
}

/// By the longest common subsequence.
fn middle<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Line<'t>> {
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    let at =
        |table: &[u32], i: usize, j: usize| table.get(i * width + j).copied().unwrap_or_default();
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let longest = if a == b {
                at(&common, i + 1, j + 1) + 1
            } else {
                at(&common, i + 1, j).max(at(&common, i, j + 1))
            };
            if let Some(cell) = common.get_mut(i * width + j) {
                *cell = longest;
            }
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    loop {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                lines.push(Line::Same(a));
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) => {
                lines.push(Line::Old(a));
                i += 1;
            }
            (_, Some(b)) => {
                lines.push(Line::New(b));
                j += 1;
            }
            (_, None) => return lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_has_three_lines_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10";
        let patch = "--- f\n+++ f\n@@ -2,8 +2,9 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+10\n\\ No newline at end of file\n";
        assert_eq!(unified("f", old, new), patch);
        assert_eq!(unified("f", old, old), "");
    }

    proptest! {
        /// Both texts can be read off the comparison.
        #[test]
        fn a_comparison_holds_both_texts(old in "[ab\n]{0,30}", new in "[ab\n]{0,30}") {
            let split = |text: &'static str| -> Vec<&'static str> { text.split_inclusive('\n').collect() };
            let lines = compare(&split(old.clone().leak()), &split(new.clone().leak()));
            let side = |mine: fn(&Line<'_>) -> bool| -> String {
                lines.iter().filter(|l| mine(l)).map(|l| match l { Line::Same(t) | Line::Old(t) | Line::New(t) => *t }).collect()
            };
            prop_assert_eq!(side(|l| !matches!(l, Line::New(_))), old);
            prop_assert_eq!(side(|l| !matches!(l, Line::Old(_))), new);
        }
    }
}
