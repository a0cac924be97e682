//! Teams' Workflows webhooks: one Adaptive Card.
//!
//! A flow answers 202 before it posts, and drops what is too big or malformed without a word: so
//! nothing leaves here that could be.

use std::sync::Arc;

use reqwest::Url;
use serde_json::{Value, json};

use super::layout::{self, Appearance, Shrink};
use super::{
    Action, Content, Destination, DestinationKind, Overflow, SendOutcome, Size, Unusable, Values,
    once, pace,
};
use crate::model::{Message, Receipt, Secret, Setting, Shape};
use crate::render::markup::{self, Span, What};
use crate::wire::{HttpRequest, Reply};

/// Teams takes 28 KB; this leaves room for what the flow adds.
const MAX_BYTES: usize = 24 * 1024;
/// Text in one block, so that a digest stays in readable pieces.
const MAX_BLOCK: usize = 2_900;
const MAX_VALUE: usize = 1_900;
/// Teams shows this many buttons; more links are text.
const MAX_ACTIONS: usize = 6;

pub(super) const KIND: DestinationKind = DestinationKind {
    word: "teams",
    label: "Teams",
    doc: "A Teams Workflows webhook.",
    settings: &[Setting::new(
        "url",
        Shape::Secret,
        "The secret URL: env:NAME or file:PATH.",
    )],
    variable: Some("TEAMS_WEBHOOK_URL"),
    rate_limit: pace(1, 12, 20),
    overflow: Overflow::Summary,
    make: TeamsWorkflow::make,
    preview: Some(preview),
    remembers: false,
};

/// A Teams Workflows webhook.
#[derive(Debug, PartialEq)]
struct TeamsWorkflow {
    url: Secret,
}

impl TeamsWorkflow {
    fn make(values: &Values) -> Result<Arc<dyn Destination>, Unusable> {
        let (url, parsed) = values.url("url")?;
        if let Some(help) = super::another_chat(&parsed, KIND.word) {
            return Err(Unusable::Wrong {
                key: "url",
                what: "is of another chat",
                help,
            });
        }
        if is_connector(&parsed) {
            return Err(Unusable::Wrong {
                key: "url",
                what: "is an Office 365 connector, which Microsoft switched off in May 2026",
                help: "in Teams, add the Workflow \"Send webhook alerts to a channel\" and use its URL",
            });
        }
        Ok(Arc::new(Self { url }))
    }
}

impl Destination for TeamsWorkflow {
    fn kind(&self) -> &'static DestinationKind {
        &KIND
    }

    fn url(&self) -> Option<&Secret> {
        Some(&self.url)
    }

    fn next(&self, content: &Content<'_>, _: Option<&Receipt>, heard: &[Reply]) -> Action {
        let body = || encode(content.message, content.size);
        once(
            heard,
            || HttpRequest::post(self.url.clone(), body()),
            classify,
        )
    }
}

fn preview(message: &Message) -> Value {
    encode(message, Size::Full)
}

/// The body that says this.
fn encode(message: &Message, size: Size) -> Value {
    let smallest = || card(message, Shrink::HeadlineOnly);
    if size == Size::Plain {
        return smallest();
    }
    layout::fit(
        |shrink| card(message, shrink),
        |body| body.to_string().len() <= MAX_BYTES,
    )
    .unwrap_or_else(smallest)
}

/// Returns true if a URL is an Office 365 connector's: switched off in May 2026.
fn is_connector(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    [
        "webhook.office.com",
        "outlook.office.com",
        "outlook.office365.com",
    ]
    .iter()
    .any(|dead| host == *dead || host.ends_with(&format!(".{dead}")))
}

fn card(message: &Message, shrink: Shrink) -> Value {
    let look = Appearance::of(message);
    let title = markup::cut(&markup::shown(&message.title), 160);
    let subtle: Vec<String> = std::iter::once(look.word.to_owned())
        .chain(
            look.site
                .as_deref()
                .map(|site| text(&markup::isolate(&markup::cut(site, 80)))),
        )
        .chain([What::Time(message.about.at.seconds()).plain()])
        .chain(id_of(message, shrink))
        .collect();
    // The header stays at every size, because it alone must say what is down and where.
    let mut body = vec![json!({
        "type": "Container", "style": look.style, "bleed": true,
        "items": [
            {"type": "TextBlock", "text": format!("{} {}", look.icon, text(&title)), "wrap": true, "weight": "Bolder",
             "size": "Large", "color": look.text_color},
            {"type": "TextBlock", "text": subtle.join(" · "), "wrap": true, "isSubtle": true, "spacing": "None"},
        ],
    })];
    let mut actions: Vec<Value> = Vec::new();
    if shrink != Shrink::HeadlineOnly {
        for part in shrink.paragraphs(&message.text, MAX_BLOCK, encoded_len) {
            body.push(json!({"type": "TextBlock", "text": encode_spans(&part), "wrap": true}));
        }
        let (facts, hidden) = shrink.facts(&look.facts, 10);
        let mut facts: Vec<Value> = facts
            .iter()
            .map(|(name, value)| {
                let value = layout::cut_spans(
                    &markup::parse(value),
                    shrink.value_chars(MAX_VALUE),
                    encoded_len,
                );
                json!({"title": text(&markup::cut(name, 80)), "value": encode_spans(&value)})
            })
            .collect();
        if hidden > 0 {
            facts.push(json!({"title": "…", "value": format!("{hidden} more fields")}));
        }
        if !facts.is_empty() {
            body.push(json!({"type": "FactSet", "facts": facts}));
        }
        // Teams hides buttons beyond its limit, so the remaining links become text.
        let (buttons, links) = message.links.split_at(message.links.len().min(MAX_ACTIONS));
        if !links.is_empty() {
            let links: Vec<String> = links
                .iter()
                .map(|link| linked(&link.label, &link.url))
                .collect();
            body.push(json!({"type": "TextBlock", "text": links.join(" · "), "wrap": true}));
        }
        let footer: Vec<String> = layout::footer(message, shrink)
            .into_iter()
            .map(|(name, value)| format!("{name} {}", text(&value)))
            .collect();
        if !footer.is_empty() {
            body.push(json!({"type": "TextBlock", "text": footer.join(" | "), "wrap": true, "isSubtle": true,
                             "size": "Small", "separator": true}));
        }
        actions.extend(
            buttons
                .iter()
                .map(|link| json!({"type": "Action.OpenUrl", "title": markup::cut(&link.label, 60), "url": link.url})),
        );
    }
    let mut content = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard", "version": "1.4", "fallbackText": format!("{}: {}", look.word, inert(&title)),
        "msteams": {"width": "Full"}, "body": body,
    });
    if let (false, Value::Object(content)) = (actions.is_empty(), &mut content) {
        content.insert("actions".to_owned(), actions.into());
    }
    json!({"type": "message", "attachments": [
        {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": content},
    ]})
}

/// The short id, where there is no small print to hold it.
fn id_of(message: &Message, shrink: Shrink) -> Option<String> {
    let id = &message.about.id;
    let alone = shrink == Shrink::HeadlineOnly && !id.is_empty();
    alone.then(|| format!("id {}", text(&markup::cut(&markup::clean(id), 40))))
}

fn encoded_len(span: &Span) -> usize {
    encode_spans(std::slice::from_ref(span)).chars().count()
}

fn encode_spans(spans: &[Span]) -> String {
    let mut out = String::new();
    for span in spans {
        let mark = if span.bold { "**" } else { "" };
        match &span.what {
            What::Text(plain) | What::Code(plain) if plain.trim().is_empty() => {
                write(&mut out, plain)
            }
            What::Text(plain) | What::Code(plain) => {
                // A mark next to a space is shown as such.
                let body = plain.trim();
                let (head, tail) = plain.split_once(body).unwrap_or_default();
                write(&mut out, head);
                out.push_str(mark);
                write(&mut out, body);
                out.push_str(mark);
                write(&mut out, tail);
            }
            What::Link { label, url } => out.extend([mark, &linked(label, url), mark]),
            time => out.extend([mark, &time.plain(), mark]),
        }
    }
    out
}

/// A link, with nothing in its address that would end it or that the card's own templates would
/// read.
fn linked(label: &str, url: &str) -> String {
    let url = url
        .chars()
        .fold(String::with_capacity(url.len()), |mut url, c| {
            match c {
                '(' => url.push_str("%28"),
                ')' => url.push_str("%29"),
                '{' => url.push_str("%7B"),
                '}' => url.push_str("%7D"),
                '<' => url.push_str("%3C"),
                '>' => url.push_str("%3E"),
                c => url.push(c),
            }
            url
        });
    format!("[{}]({url})", text(label))
}

/// Plain text that Teams formats nowhere. A line break needs an empty line; `{{DATE(` and bare URLs
/// would come alive.
fn text(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len() + 8);
    write(&mut out, plain);
    out
}

/// Goes on with such text: what comes alive may have its beginning in what is there.
fn write(out: &mut String, plain: &str) {
    let mut last = out.chars().next_back().unwrap_or('\n');
    for c in plain.chars() {
        match c {
            '\n' => out.push_str("\n\n"),
            '\\' | '*' | '_' | '[' | ']' | '`' | '~' => out.extend(['\\', c]),
            '#' | '>' | '-' | '+' if last == '\n' => out.extend(['\\', c]),
            '.' | ')' if last.is_ascii_digit() && starts_line(out) => out.extend(['\\', c]),
            '{' if last == '{' => out.extend(['\u{200b}', '{']),
            '/' if last == ':' => out.extend(['\u{200b}', '/']),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
        last = c;
    }
}

/// Plain text where nobody says whether it is formatted: no marks that would show as such, and
/// nothing that comes alive.
fn inert(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len() + 8);
    let mut last = ' ';
    for c in plain.chars() {
        if matches!((last, c), (']', '(' | '[' | ':') | ('{', '{') | (':', '/')) || last == '<' {
            out.push('\u{200b}');
        }
        out.push(c);
        last = c;
    }
    out
}

/// Returns true if the line written so far is digits only: `1.` would begin a list.
fn starts_line(out: &str) -> bool {
    out.rsplit('\n')
        .next()
        .is_some_and(|line| line.bytes().all(|b| b.is_ascii_digit()))
}

/// Outcome by the flow's reply. Its success says "accepted", never "shown".
fn classify(status: u16, body: &str, reply: &Reply) -> SendOutcome {
    // a connector's habit, kept because it costs nothing: 200 with the failure in the text
    if let Some(code) = body.split("endpoint returned HTTP error ").nth(1) {
        return match code.get(..3) {
            Some("429") => SendOutcome::RetryAfter {
                wait: super::retry_after(reply),
            },
            Some("413" | "400") => SendOutcome::BadPayload {
                why: "Teams refused the card".to_owned(),
            },
            _ => SendOutcome::Retry {
                why: "Teams could not post the card".to_owned(),
            },
        };
    }
    match status {
        200..300 => SendOutcome::Delivered,
        401 | 403 => SendOutcome::Broken {
            why: format!(
                "Teams answered {status}: set \"Who can trigger the flow\" to Anyone, and copy the whole URL with its `sig`"
            ),
        },
        404 | 410 => SendOutcome::Broken {
            why: format!(
                "Teams answered {status}: the flow was deleted, turned off, or has a new URL"
            ),
        },
        400 => SendOutcome::BadPayload {
            why: format!("the flow refused the card{}", error_of(body)),
        },
        _ => super::by_status("Teams", status, reply),
    }
}

/// `error.code` of Power Automate's answer.
fn error_of(body: &str) -> String {
    let code = serde_json::from_str::<Value>(body)
        .ok()
        .and_then(|v| v.pointer("/error/code")?.as_str().map(str::to_owned));
    code.map(|code| format!(": {}", markup::cut(&markup::clean(&code), 80)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_value_is_live(value in "\\PC{0,60}|[<>!@#()|&*_~`a-z:/\\[\\]{} 1.-]{0,60}") {
            let said = encode_spans(&markup::parse(&markup::escape(&value)));
            prop_assert!(!said.contains('<') && !said.contains("{{") && !said.contains("://"), "{}", said);
            let mut escaped = false;
            for c in said.chars() {
                prop_assert!(escaped || !matches!(c, '*' | '_' | '[' | ']' | '`' | '~'), "{}", said);
                escaped = c == '\\' && !escaped;
            }
        }
    }

    #[test]
    fn the_text_that_stands_in_for_a_card_is_as_dead_as_the_card() {
        assert_eq!(
            inert("ap_1 [x](https://e.example) <at>a</at> {{DATE(2020)}} a<b {{{"),
            concat!(
                "ap_1 [x]\u{200b}(https:\u{200b}//e.example) <\u{200b}at>a<\u{200b}/at> {\u{200b}{DATE(2020)}} a<\u{200b}b ",
                "{\u{200b}{\u{200b}{"
            )
        );
    }

    #[test]
    fn nothing_comes_alive_where_two_parts_meet() {
        let said = |markup: &str| encode_spans(&markup::parse(markup));
        assert_eq!(said("{`{DATE(1)}}`"), "{\u{200b}{DATE(1)}}");
        assert_eq!(
            said("https:`//evil.example`"),
            "https:\u{200b}//evil.example"
        );
        assert_eq!(said("1`.` a"), "1\\. a");
        assert_eq!(said("a ** b ** c `d`"), "a  **b**  c d");
    }

    #[test]
    fn an_address_cannot_come_alive() {
        assert_eq!(
            linked("a]", "https://b.example/{{c}}/(d)<e>"),
            "[a\\]](https://b.example/%7B%7Bc%7D%7D/%28d%29%3Ce%3E)"
        );
    }

    #[test]
    fn dead_connectors_are_explained() {
        let connector = |url: &str| is_connector(&Url::parse(url).unwrap());
        assert!(connector("https://contoso.webhook.office.com/webhookb2/x"));
        assert!(connector("https://outlook.office.com/webhook/x"));
        assert!(!connector(
            "https://prod-1.westeurope.logic.azure.com/workflows/x"
        ));
    }
}
