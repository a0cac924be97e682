//! Standard output: readable, coloured on a terminal, and never a control character of anyone
//! else's.

use std::fmt::Write;
use std::io::IsTerminal;

use super::layout::{Look, Mood};
use crate::model::{Message, Severity};
use crate::render::markup;

/// The text that says this, coloured where standard output is a terminal.
pub(super) fn encode(message: &Message) -> String {
    print(message, std::io::stdout().is_terminal())
}

fn print(message: &Message, coloured: bool) -> String {
    let look = Look::of(message);
    let color = match (Mood::of(message), message.about.severity) {
        (Mood::Well, _) => "\u{1b}[32m",
        (Mood::Report { lasting: false }, _) => "\u{1b}[34m",
        (_, Severity::Critical) => "\u{1b}[31m",
        (_, Severity::Warning) => "\u{1b}[33m",
        (_, Severity::Info) => "\u{1b}[34m",
    };
    let (on, bold, off) = if coloured {
        (color, "\u{1b}[1m", "\u{1b}[0m")
    } else {
        ("", "", "")
    };
    let title = markup::clean(&markup::plain(&message.title));
    let mut out = format!(
        "{} {on}{:<9}{off} {bold}{title}{off}",
        message.about.at, look.word
    );
    if !message.about.id.is_empty() {
        let _ = write!(out, " [{}]", markup::clean(&message.about.id));
    }
    for line in markup::plain(&message.text)
        .lines()
        .filter(|line| !line.trim().is_empty())
    {
        let _ = write!(out, "\n    {}", markup::clean(line));
    }
    for (name, value) in &message.facts {
        let _ = write!(
            out,
            "\n    {}: {}",
            markup::clean(name),
            markup::clean(&markup::plain(value))
        );
    }
    for link in &message.links {
        let _ = write!(
            out,
            "\n    {}: {}",
            markup::clean(&link.label),
            markup::clean(&link.url)
        );
    }
    out
}

#[cfg(test)]
pub(super) fn printed(message: &Message) -> String {
    print(message, false)
}
