//! The neutral markup of messages, which each destination encodes for its chat.
//!
//! The markup has `**bold**`, `` `code` ``, `[label](https://…)`, newlines, and two tokens that
//! only helpers write: `<time:SECONDS>` (date and time) and `<clock:SECONDS>` (time of day). A
//! backslash makes the next punctuation character plain text. Text from events goes through
//! [`escape`], so that it can never be markup.

use crate::model::is_invisible;

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its content.
    pub what: What,
    /// True if it stands between `**`.
    pub bold: bool,
}

/// The content of a [`Span`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Plain text, newlines included.
    Text(String),
    /// Text in a fixed-width font.
    Code(String),
    /// A link with an `http` or `https` URL.
    Link {
        /// The text people click.
        label: String,
        /// The target.
        url: String,
    },
    /// A point in time, seconds since the Unix epoch, shown with its date.
    Time(i64),
    /// A point in time, seconds since the Unix epoch, shown without its date.
    Clock(i64),
}

/// Returns the visible form of a character of foreign text: line breaks become spaces, and
/// invisible characters are removed.
fn visible(c: char) -> Option<char> {
    match c {
        '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        c if c.is_control() => None,
        // These characters hide or reorder text, and could make one device look like another.
        c if is_invisible(c) => None,
        c => Some(c),
    }
}

/// Returns foreign text on one line, without control characters, zero-width characters and
/// direction overrides.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().filter_map(visible).collect()
}

/// Returns markup that shows foreign text unchanged (after [`clean`]). This is the escape function
/// of every template.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars().filter_map(visible) {
        if matches!(c, '\\' | '*' | '`' | '[' | ']' | '(' | ')' | '<') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// First strong isolate and its end. The text between them does not change the order of the text
/// around them.
const ISOLATE: [char; 2] = ['\u{2068}', '\u{2069}'];

/// Returns the text, isolated from its neighbours if it is written from right to left.
#[must_use]
pub fn isolate(text: &str) -> String {
    let [begin, end] = ISOLATE;
    if text.chars().any(is_right_to_left) {
        format!("{begin}{text}{end}")
    } else {
        text.to_owned()
    }
}

/// Returns a value for use in a sentence: [`escape`], then [`isolate`].
#[must_use]
pub fn embed(text: &str) -> String {
    isolate(&escape(text))
}

/// Returns whether the character belongs to Hebrew, Arabic or another script written from right to
/// left.
fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
        || matches!(c, '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Reads markup. It never fails: malformed markup is text.
#[must_use]
pub fn parse(markup: &str) -> Vec<Span> {
    let mut spans = Spans::default();
    let mut rest = markup;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            // Only punctuation can be escaped, so that a Windows path keeps its backslashes.
            '\\' => match after.chars().next().filter(char::is_ascii_punctuation) {
                Some(plain) => {
                    spans.text.push(plain);
                    after.get(plain.len_utf8()..).unwrap_or_default()
                }
                None => spans.plain(c, after),
            },
            '*' => match after.strip_prefix('*') {
                // An opening mark needs its closing one, or a lone `**` would make the rest bold.
                Some(tail) if spans.bold || until(tail, "**").is_some() => {
                    spans.flush();
                    spans.bold = !spans.bold;
                    tail
                }
                _ => spans.plain(c, after),
            },
            '`' => match until(after, "`") {
                Some((code, tail)) if !code.is_empty() => {
                    spans.add(What::Code(code));
                    tail
                }
                _ => spans.plain(c, after),
            },
            '[' => match link(after) {
                Some((label, url, tail)) => {
                    spans.add(What::Link { label, url });
                    tail
                }
                None => spans.plain(c, after),
            },
            '<' => match token(after) {
                Some((what, tail)) => {
                    spans.add(what);
                    tail
                }
                None => spans.plain(c, after),
            },
            _ => spans.plain(c, after),
        };
    }
    spans.flush();
    spans.all
}

#[derive(Default)]
struct Spans {
    all: Vec<Span>,
    text: String,
    bold: bool,
}

impl Spans {
    fn plain<'a>(&mut self, c: char, after: &'a str) -> &'a str {
        self.text.push(c);
        after
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.all.push(Span {
                what: What::Text(text),
                bold: self.bold,
            });
        }
    }

    fn add(&mut self, what: What) {
        self.flush();
        self.all.push(Span {
            what,
            bold: self.bold,
        });
    }
}

/// Returns the text before the first unescaped `end`, without its backslashes, and the rest.
fn until<'a>(text: &'a str, end: &str) -> Option<(String, &'a str)> {
    let mut out = String::new();
    let mut rest = text;
    loop {
        if let Some(tail) = rest.strip_prefix(end) {
            return Some((out, tail));
        }
        let mut chars = rest.chars();
        match (chars.next()?, chars.clone().next()) {
            // An escaped end is text.
            ('\\', Some(plain)) if plain.is_ascii_punctuation() => {
                chars.next();
                out.push(plain);
            }
            (c, _) => out.push(c),
        }
        rest = chars.as_str();
    }
}

fn link(text: &str) -> Option<(String, String, &str)> {
    let (label, tail) = until(text, "](")?;
    let (url, tail) = until(tail, ")")?;
    (!label.is_empty() && is_web_url(&url)).then_some((label, url, tail))
}

/// Returns whether the URL may be a link: it is `http` or `https`, without a character that could
/// end it early in some chat.
#[must_use]
pub fn is_web_url(url: &str) -> bool {
    let tail = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    tail.is_some_and(|t| t.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['))
        && url
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '|' | '"' | '\\' | '`' | '^'))
}

fn token(text: &str) -> Option<(What, &str)> {
    let (inside, tail) = text.split_once('>')?;
    let (kind, seconds) = inside.split_once(':')?;
    let seconds = seconds.parse().ok()?;
    match kind {
        "time" => Some((What::Time(seconds), tail)),
        "clock" => Some((What::Clock(seconds), tail)),
        _ => None,
    }
}

/// Returns the markup as plain text, for logs, push previews and plain-text destinations. Times are
/// UTC.
#[must_use]
pub fn plain(markup: &str) -> String {
    shown(markup)
        .chars()
        .filter(|c| !ISOLATE.contains(c))
        .collect()
}

/// Returns the markup as plain text for chats. It keeps the characters that isolate text written
/// from right to left.
#[must_use]
pub fn shown(markup: &str) -> String {
    parse(markup)
        .into_iter()
        .map(|span| span.what.plain())
        .collect()
}

impl What {
    /// Returns plain text; a link is its label.
    #[must_use]
    pub fn plain(&self) -> String {
        match self {
            Self::Text(text) | Self::Code(text) | Self::Link { label: text, .. } => text.clone(),
            Self::Time(seconds) => utc(*seconds, "%Y-%m-%d %H:%M:%S UTC"),
            Self::Clock(seconds) => utc(*seconds, "%H:%M UTC"),
        }
    }
}

fn utc(seconds: i64, format: &str) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_| seconds.to_string(),
        |t| {
            t.to_zoned(jiff::tz::TimeZone::UTC)
                .strftime(format)
                .to_string()
        },
    )
}

/// Returns at most `max` characters, with `…` at the end if the text was cut.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let cut: String = text
        .chars()
        .take(max.saturating_sub(1))
        .chain(['…'])
        .collect();
    // The cut may have removed the end of an isolate, which would turn the following text around.
    let [begin, end] = ISOLATE;
    let open = cut
        .matches(begin)
        .count()
        .saturating_sub(cut.matches(end).count());
    cut.chars().chain(std::iter::repeat_n(end, open)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(t: &str) -> Span {
        Span {
            what: What::Text(t.into()),
            bold: false,
        }
    }

    #[test]
    fn markup_is_read() {
        let spans = parse(
            "**AP** `x\\`y` [Mist](https://manage.mist.com/a\\)b) <time:0> \\*\\*no\\*\\* 2 * 3",
        );
        let plain: Vec<String> = spans.iter().map(|s| s.what.plain()).collect();
        assert_eq!(
            plain,
            [
                "AP",
                " ",
                "x`y",
                " ",
                "Mist",
                " ",
                "1970-01-01 00:00:00 UTC",
                " **no** 2 * 3"
            ]
        );
        assert_eq!(
            spans[4].what,
            What::Link {
                label: "Mist".into(),
                url: "https://manage.mist.com/a)b".into()
            }
        );
        assert!(spans[0].bold && !spans[1].bold);
    }

    #[test]
    fn what_is_not_well_formed_is_text() {
        for odd in [
            "**",
            "`",
            "``",
            "[x](javascript:alert(1))",
            "[x](",
            "<time:x>",
            "<!channel>",
            "a\\",
        ] {
            assert_eq!(parse(odd), [text(odd)], "{odd}");
        }
    }

    #[test]
    fn what_is_written_from_right_to_left_is_kept_apart() {
        assert_eq!(embed("office"), "office");
        assert_eq!(embed("מרכז *"), "\u{2068}מרכז \\*\u{2069}");
        assert_eq!(plain(&format!("{} · 21:00", embed("مكتب"))), "مكتب · 21:00");
        assert_eq!(cut(&isolate("مكتب كبير"), 4), "\u{2068}مك…\u{2069}");
        assert_eq!(cut("office", 4), "off…");
    }

    proptest! {
        #[test]
        fn a_value_reads_as_itself_and_is_never_markup(value in "\\PC{0,40}|[\\[\\]()*`<>\\\\:a-z/!@^|\\x00-\\x1f\u{200b}\u{202e}-]{0,40}") {
            let spans = parse(&escape(&value));
            prop_assert!(spans.iter().all(|s| matches!(s.what, What::Text(_)) && !s.bold), "{:?}", spans);
            prop_assert_eq!(plain(&escape(&value)), clean(&value));
        }

        #[test]
        fn a_value_stays_where_the_template_put_it(value in "[\\[\\]()*`<>\\\\a]{1,20}") {
            let spans = parse(&format!("**{0}** `{0}` [{0}](https://a.example)", escape(&value)));
            prop_assert_eq!(spans.len(), 5, "{:?}", &spans);
            prop_assert!(spans[0].bold && spans[0].what == What::Text(value.clone()));
            prop_assert_eq!(&spans[2].what, &What::Code(value.clone()));
        }

        #[test]
        fn any_markup_can_be_read(markup in "[\\[\\]()*`<>\\\\:a-z0-9/\n]{0,80}") {
            let _ = plain(&markup);
        }
    }
}
