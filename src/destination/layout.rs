//! Layout that both chats share: the look of a severity, and the order in which a message shrinks until it
//! fits.

use crate::model::{Message, Notification, Reason, Severity};
use crate::render::markup::{self, Span, What};

/// Look of a severity. Never by colour only: an icon and a word.
pub(super) struct Appearance {
    pub(super) icon: &'static str,
    pub(super) word: &'static str,
    /// Label of the word: a severity, or a state.
    pub(super) label: &'static str,
    /// Slack's bar.
    pub(super) color: &'static str,
    /// Teams' container.
    pub(super) style: &'static str,
    /// Teams' title.
    pub(super) text_color: &'static str,
    /// The site, where the title does not name it.
    pub(super) site: Option<String>,
    /// The facts, without the site that stands above them.
    pub(super) facts: Vec<(String, String)>,
}

impl Appearance {
    pub(super) fn of(message: &Message) -> Self {
        let about = &message.about;
        let (good, info) = (("#2EB886", "good", "Good"), ("#2B7DE1", "accent", "Accent"));
        let (ball, urgent) = match about.severity {
            Severity::Critical => ("🔴", ("#D72631", "attention", "Attention")),
            Severity::Warning => ("🟠", ("#E8912D", "warning", "Warning")),
            Severity::Info => ("🔵", info),
        };
        let severity = about.severity.word();
        let (icon, (label, word), (color, style, text_color)) =
            match (Mood::of(message), about.reason) {
                (Mood::Well, reason) => ("🟢", ("State", reason.word()), good),
                (Mood::Report { lasting }, _) => {
                    let word = if about.collected.as_ref().is_some_and(|c| c.maintenance) {
                        "maintenance"
                    } else {
                        "digest"
                    };
                    ("📋", ("State", word), if lasting { urgent } else { info })
                }
                (Mood::Flapping, _) => ("🔁", ("Severity", severity), urgent),
                (Mood::Unwell, _) => (ball, ("Severity", severity), urgent),
            };
        let (sites, facts): (Vec<_>, Vec<_>) = message
            .facts
            .iter()
            .cloned()
            .partition(|(name, _)| name == "Site");
        let site = sites.first().map(|(_, value)| markup::plain(value));
        // A title that names the site already must not repeat it.
        let site = site.filter(|site| !markup::plain(&message.title).contains(site.as_str()));
        Self {
            icon,
            word,
            label,
            color,
            style,
            text_color,
            site,
            facts,
        }
    }
}

/// Kind of news, which a look shows beside the severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It tells that something is well again.
    Well,
    /// It tells of trouble.
    Unwell,
    /// It tells of something that goes up and down.
    Flapping,
    /// It tells of what was not urgent.
    Report {
        /// True while something of it lasts.
        lasting: bool,
    },
}

impl Mood {
    pub(super) fn of(message: &Message) -> Self {
        let about = &message.about;
        let lasts = |of: &Notification| {
            (of.condition.is_some() || of.reason == Reason::Absent)
                && of.subjects.iter().any(|s| s.ends_at.is_none())
        };
        match (about.reason, &about.collected) {
            (Reason::Resolved | Reason::Recovered, _) => Self::Well,
            (Reason::Stable, _) if about.subjects.iter().all(|s| s.ends_at.is_some()) => Self::Well,
            (Reason::Flapping, _) => Self::Flapping,
            (Reason::Digest, Some(collected)) => Self::Report {
                lasting: collected.items.iter().any(lasts),
            },
            _ => Self::Unwell,
        }
    }
}

/// More paragraphs than this are shown as one: each by itself costs room.
const MAX_PARAGRAPHS: usize = 40;

/// Degree to which a message is shrunk, in the order things go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shrink {
    Not,
    Footer,
    Values,
    Facts,
    Text,
    HeadlineOnly,
}

/// The first shrinking that fits.
pub(super) fn fit<T>(make: impl Fn(Shrink) -> T, fits: impl Fn(&T) -> bool) -> Option<T> {
    use Shrink::{Facts, Footer, HeadlineOnly, Not, Text, Values};
    [Not, Footer, Values, Facts, Text, HeadlineOnly]
        .into_iter()
        .map(make)
        .find(fits)
}

impl Shrink {
    pub(super) fn footer(self) -> bool {
        self < Self::Footer
    }

    /// Maximum length of a fact's value.
    pub(super) fn value_chars(self, usual: usize) -> usize {
        if self < Self::Values { usual } else { 200 }
    }

    /// The facts to show, and how many are not shown.
    pub(super) fn facts(
        self,
        facts: &[(String, String)],
        usual: usize,
    ) -> (&[(String, String)], usize) {
        let keep = if self < Self::Facts { usual } else { 6 };
        let (shown, hidden) = facts.split_at(facts.len().min(keep));
        (shown, hidden.len())
    }

    /// The text in pieces of at most `max`; one piece once the text itself must shrink.
    pub(super) fn text(
        self,
        spans: &[Span],
        max: usize,
        len: fn(&Span) -> usize,
    ) -> Vec<Vec<Span>> {
        if self >= Self::Text {
            vec![cut_spans(spans, 2_000.min(max), len)]
        } else {
            pieces(spans, max, len)
        }
        .into_iter()
        .filter(|piece| {
            piece
                .iter()
                .any(|span| !span.what.plain().trim().is_empty())
        })
        .collect()
    }

    /// As [`Shrink::text`], each paragraph by itself where there are not too many.
    pub(super) fn paragraphs(
        self,
        text: &str,
        max: usize,
        len: fn(&Span) -> usize,
    ) -> Vec<Vec<Span>> {
        let paragraphs: Vec<&str> = text.split("\n\n").collect();
        if self >= Self::Text || paragraphs.len() > MAX_PARAGRAPHS {
            return self.text(&markup::parse(text), max, len);
        }
        paragraphs
            .into_iter()
            .flat_map(|paragraph| self.text(&markup::parse(paragraph), max, len))
            .collect()
    }
}

/// The beginning that encodes to at most `max`, ended by `…` where something was cut. Only plain
/// values are cut, before they are escaped.
pub(super) fn cut_spans(spans: &[Span], max: usize, len: fn(&Span) -> usize) -> Vec<Span> {
    let mut out = Vec::new();
    let mut used = 0;
    for span in spans {
        let need = len(span);
        if used + need <= max {
            used += need;
            out.push(span.clone());
            continue;
        }
        let room = max.saturating_sub(used);
        if let Some((head, _)) = halves(span, room.saturating_sub(1), len) {
            out.push(head);
        }
        out.push(Span {
            what: What::Text("…".to_owned()),
            bold: false,
        });
        break;
    }
    out
}

/// All of it, in pieces that each encode to at most `max`, parted at a line or a space where there
/// is one.
fn pieces(spans: &[Span], max: usize, len: fn(&Span) -> usize) -> Vec<Vec<Span>> {
    let mut all = Vec::new();
    let mut piece: Vec<Span> = Vec::new();
    let mut used = 0;
    let mut waiting: Vec<Span> = spans.iter().rev().cloned().collect();
    while let Some(span) = waiting.pop() {
        let need = len(&span);
        if used + need <= max {
            used += need;
            piece.push(span);
            continue;
        }
        match halves(&span, max - used, len) {
            Some((head, tail)) => {
                piece.push(head);
                waiting.push(tail);
            }
            // too big for an empty piece, and cannot be parted: it would never fit
            None if piece.is_empty() => continue,
            None => waiting.push(span),
        }
        all.push(std::mem::take(&mut piece));
        used = 0;
    }
    if !piece.is_empty() {
        all.push(piece);
    }
    all
}

/// A text parted so that its head encodes to at most `max`. `None` where nothing fits, and for what
/// cannot be parted.
fn halves(span: &Span, max: usize, len: fn(&Span) -> usize) -> Option<(Span, Span)> {
    let (What::Text(text) | What::Code(text)) = &span.what else {
        return None;
    };
    let make = |text: &str| Span {
        what: if matches!(span.what, What::Code(_)) {
            What::Code(text.to_owned())
        } else {
            What::Text(text.to_owned())
        },
        bold: span.bold,
    };
    let ends: Vec<usize> = text.char_indices().map(|(i, c)| i + c.len_utf8()).collect();
    let fitting =
        ends.partition_point(|end| text.get(..*end).is_some_and(|head| len(&make(head)) <= max));
    let hard = *ends.get(fitting.checked_sub(1)?)?;
    let head = text.get(..hard)?;
    // a clean break, unless it wastes half of the room
    let at = |mark: char| head.rfind(mark).map(|i| i + 1).filter(|i| *i > hard / 2);
    let soft = at('\n').or_else(|| at(' ')).unwrap_or(hard);
    Some((make(text.get(..soft)?), make(text.get(soft..)?)))
}

/// Small print. The id, which `explain` takes, stays when the rest must go.
pub(super) fn footer(message: &Message, shrink: Shrink) -> Vec<(&'static str, String)> {
    let about = &message.about;
    let rule = match about.collected.as_deref() {
        None => "rule",
        Some(collected) if collected.maintenance => "maintenance",
        Some(_) => "digest",
    };
    [
        (rule, &about.rule),
        ("type", &about.kind),
        ("id", &about.id),
    ]
    .into_iter()
    .filter(|(name, value)| !value.trim().is_empty() && (shrink.footer() || *name == "id"))
    .map(|(name, value)| {
        (
            name,
            markup::isolate(&markup::cut(&markup::clean(value), 120)),
        )
    })
    .collect()
}
