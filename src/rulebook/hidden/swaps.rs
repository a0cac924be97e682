//! Replacement of parts of a text, and conversion of positions between both texts.

use std::ops::Range;

use crate::config::tree::At;

/// Byte ranges of the replaced parts before and after, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Swaps(Vec<(Range<usize>, Range<usize>)>);

/// Replaces these parts, which must be in order; `None` if one is not a part of the text.
pub(super) fn swap(
    text: &str,
    parts: impl Iterator<Item = (Range<usize>, String)>,
) -> Option<(String, Swaps)> {
    let (mut out, mut done, mut swaps) = (String::with_capacity(text.len()), 0, Vec::new());
    for (range, with) in parts {
        out.push_str(text.get(done..range.start)?);
        let start = out.len();
        out.push_str(&with);
        done = range.end;
        swaps.push((range, start..out.len()));
    }
    out.push_str(text.get(done..)?);
    Some((out, Swaps(swaps)))
}

impl Swaps {
    /// Returns the range of each part in the new text.
    pub(super) fn after(&self) -> impl Iterator<Item = &Range<usize>> {
        self.0.iter().map(|(_, after)| after)
    }

    /// Converts a position of the old text to the new one.
    pub(super) fn forth(&self, before: &str, after: &str, line: u64, column: u64) -> (u64, u64) {
        moved(
            self.0.iter().map(|(a, b)| (a, b)),
            before,
            after,
            line,
            column,
        )
    }

    /// Converts a position of the new text to the old one.
    pub(super) fn back(&self, after: &str, before: &str, line: u64, column: u64) -> (u64, u64) {
        moved(
            self.0.iter().map(|(a, b)| (b, a)),
            after,
            before,
            line,
            column,
        )
    }
}

fn moved<'r>(
    swaps: impl Iterator<Item = (&'r Range<usize>, &'r Range<usize>)>,
    from: &str,
    to: &str,
    line: u64,
    column: u64,
) -> (u64, u64) {
    if line == 0 {
        return (line, column);
    }
    let offset = offset(from, line, column);
    let mut shift = (0, 0);
    for (a, b) in swaps {
        if offset < a.start {
            break;
        }
        // A position inside a replaced part becomes the beginning of the new part.
        if offset < a.end {
            return pair(at(to, b.start));
        }
        shift = (a.end, b.end);
    }
    pair(at(to, offset - shift.0 + shift.1))
}

fn pair(at: At) -> (u64, u64) {
    (at.line, at.column)
}

fn offset(text: &str, line: u64, column: u64) -> usize {
    let above = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(above).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let before = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
    start + rest.chars().take(before).map(char::len_utf8).sum::<usize>()
}

/// Returns line and column of a byte offset.
pub(super) fn at(text: &str, offset: usize) -> At {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let head = text.get(..end).unwrap_or_default();
    let start = head.rfind('\n').map_or(0, |newline| newline + 1);
    let column = head.get(start..).unwrap_or_default().chars().count() as u64 + 1;
    At {
        line: head.matches('\n').count() as u64 + 1,
        column,
        width: 1,
    }
}
