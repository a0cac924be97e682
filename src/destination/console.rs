//! Standard output: readable, coloured on a terminal, and never a control character of anyone
//! else's.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Arc;

use super::layout::{Appearance, Mood};
use super::{
    Action, Content, Destination, DestinationKind, Overflow, SendOutcome, Unusable, Values, pace,
};
use crate::model::{Message, Receipt, Secret, Severity};
use crate::render::markup;
use crate::wire::Reply;

/// Standard output; unlimited in practice.
pub const CONSOLE: DestinationKind = DestinationKind {
    word: "console",
    label: "Console",
    doc: "Standard output; takes no settings: console: {}.",
    settings: &[],
    variable: None,
    rate_limit: pace(1_000, 1, 1_000),
    overflow: Overflow::Queue,
    make: Console::make,
    preview: None,
    remembers: false,
};

/// Standard output.
#[derive(Debug, PartialEq)]
struct Console;

impl Console {
    fn make(_: &Values) -> Result<Arc<dyn Destination>, Unusable> {
        Ok(Arc::new(Self))
    }
}

impl Destination for Console {
    fn kind(&self) -> &'static DestinationKind {
        &CONSOLE
    }

    fn url(&self) -> Option<&Secret> {
        None
    }

    fn next(&self, content: &Content<'_>, _: Option<&Receipt>, heard: &[Reply]) -> Action {
        let outcome = match heard.last() {
            None => {
                let coloured = std::io::stdout().is_terminal();
                return Action::Print(print(content.message, coloured));
            }
            Some(Reply::Failed { why }) => SendOutcome::Retry { why: why.clone() },
            Some(Reply::Printed | Reply::Http { .. }) => SendOutcome::Delivered,
        };
        Action::Done(outcome, None)
    }
}

/// The text that says this.
fn print(message: &Message, coloured: bool) -> String {
    let look = Appearance::of(message);
    // The state decides first: a recovery is green whatever its severity.
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
    // Text from others can contain escape sequences, so every part is cleaned.
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
