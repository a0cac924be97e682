//! Foreign text in the one form in which it is compared.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// Returns whether nobody can see the character: zero-width characters and direction overrides.
#[must_use]
pub const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Returns the text with composed letters (NFC), without invisible characters, and with a plain
/// space for each kind of no-break space. Texts that look the same are then equal.
#[must_use]
pub fn normal(text: &str) -> Cow<'_, str> {
    // Nearly every value is ASCII, for which no copy is needed.
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let seen = text.chars().filter(|c| !is_invisible(*c));
    let spaced = seen.map(|c| match c {
        '\u{a0}' | '\u{2007}' | '\u{202f}' => ' ',
        c => c,
    });
    Cow::Owned(spaced.nfc().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_the_same_is_equal() {
        for (text, same) in [
            ("Cafe\u{301}", "Caf\u{e9}"),
            ("a\u{200b}_\u{200b}b", "a_b"),
            ("Main\u{a0}Street", "Main Street"),
            ("\u{feff}ap-1", "ap-1"),
        ] {
            assert_eq!(normal(text), same);
        }
        assert!(matches!(normal("ap-1"), Cow::Borrowed(_)));
    }
}
