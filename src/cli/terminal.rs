//! Output to a terminal. Text from others must not move the cursor, ring the bell or reverse the
//! writing direction.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};

/// Prints for people on standard output. A reader that left (`| head`) is no error.
pub(super) fn out(text: &str) {
    write_out(&harmless(text));
}

/// Prints for programs: every character unchanged, except on a terminal.
pub(super) fn out_exact(text: &str) {
    if std::io::stdout().is_terminal() {
        out(text)
    } else {
        write_out(text)
    }
}

/// Prints a line on standard error.
pub(super) fn err(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{}", harmless(&text.to_string()));
}

fn write_out(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Removes control characters except line breaks and tabs, and characters that set the direction of
/// text.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| match c {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            true
        }
        c => c.is_control(),
    };
    if text.contains(is_harmful) {
        text.replace(is_harmful, "").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let name = "\u{1b}[31mred\u{7}\0\r\u{9b}0m \u{202e}evil\u{2066}\u{7f}\n\ttwo ü 雪";
        assert_eq!(harmless(name), "[31mred0m evil\n\ttwo ü 雪");
        assert!(matches!(harmless("as it is\n"), Cow::Borrowed(_)));
    }
}
