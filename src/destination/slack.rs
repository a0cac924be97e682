//! Slack's incoming webhooks: a headline, and an attachment with a colour bar.
//!
//! Links, not buttons: a button on a webhook-only app shows a warning once clicked.

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

/// The room we use: below what Slack refuses, splits or hides.
const MAX_CHARS: usize = 8_000;
const MAX_BYTES: usize = 16 * 1024;
const MAX_SECTION: usize = 2_900;
const MAX_FIELD: usize = 1_900;
const MAX_HEADLINE: usize = 1_000;

pub(super) const KIND: DestinationKind = DestinationKind {
    word: "slack",
    label: "Slack",
    doc: "A Slack incoming webhook.",
    settings: &[Setting::new(
        "url",
        Shape::Secret,
        "The secret URL: env:NAME or file:PATH.",
    )],
    variable: Some("SLACK_WEBHOOK_URL"),
    rate_limit: pace(1, 1, 5),
    overflow: Overflow::Summary,
    make: IncomingWebhook::make,
    preview: Some(preview),
    remembers: false,
};

/// A Slack incoming webhook.
#[derive(Debug, PartialEq)]
struct IncomingWebhook {
    url: Secret,
}

impl IncomingWebhook {
    fn make(values: &Values) -> Result<Arc<dyn Destination>, Unusable> {
        let (url, parsed) = values.url("url")?;
        if is_channel(&parsed) {
            return Err(Unusable::Wrong {
                key: "url",
                what: "is the address of a channel, which takes no posts",
                help: "make an app with an Incoming Webhook: its URL has /services/ in it",
            });
        }
        if let Some(help) = super::another_chat(&parsed, KIND.word) {
            return Err(Unusable::Wrong {
                key: "url",
                what: "is of another chat",
                help,
            });
        }
        if is_workflow_trigger(&parsed) {
            return Err(Unusable::Wrong {
                key: "url",
                what: "starts a Slack workflow, which takes no messages",
                help: "make an app with an Incoming Webhook: its URL has /services/ in it",
            });
        }
        Ok(Arc::new(Self { url }))
    }
}

impl Destination for IncomingWebhook {
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
    if size == Size::Plain {
        return plain(message);
    }
    layout::fit(
        |shrink| card(message, shrink),
        |body| body.to_string().len() <= MAX_BYTES && chars(body) <= MAX_CHARS,
    )
    .unwrap_or_else(|| plain(message))
}

/// Returns true if a URL is what a browser shows for a channel or a workspace.
fn is_channel(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let of_slack = host.ends_with(".slack.com") && host != "hooks.slack.com";
    of_slack && host != "hooks.slack-gov.com"
}

/// Returns true if a URL starts a Workflow Builder workflow, which takes flat variables and no messages.
fn is_workflow_trigger(url: &Url) -> bool {
    ["/triggers/", "/workflows/"]
        .iter()
        .any(|path| url.path().starts_with(path))
}

fn headline(message: &Message) -> String {
    let look = Appearance::of(message);
    let title = text(&markup::cut(
        &markup::shown(&message.title),
        MAX_HEADLINE / 6,
    ));
    let site = look
        .site
        .map(|site| format!(" | {}", text(&markup::isolate(&markup::cut(&site, 80)))))
        .unwrap_or_default();
    format!("{} *{title}*{site}", look.icon)
}

/// One line, for when Slack refused more.
fn plain(message: &Message) -> Value {
    let id = &message.about.id;
    let id = if id.is_empty() {
        String::new()
    } else {
        format!(" | id {}", code(&markup::cut(&markup::clean(id), 40)))
    };
    json!({"text": headline(message) + &id})
}

fn card(message: &Message, shrink: Shrink) -> Value {
    let look = Appearance::of(message);
    if shrink == Shrink::HeadlineOnly {
        return plain(message);
    }
    let mut blocks = Vec::new();
    for part in shrink.text(&markup::parse(&message.text), MAX_SECTION, encoded_len) {
        blocks.push(section(&encode_spans(&part)));
    }
    let (facts, hidden) = shrink.facts(&look.facts, 7);
    // Slack shows at most ten fields per section, and the severity takes the first.
    let mut fields = vec![mrkdwn(&format!("*{}*\n{}", look.label, look.word))];
    fields.extend(facts.iter().map(|(name, value)| {
        let value = layout::cut_spans(
            &markup::parse(value),
            shrink.value_chars(MAX_FIELD),
            encoded_len,
        );
        mrkdwn(&format!(
            "*{}*\n{}",
            text(&markup::cut(name, 80)),
            encode_spans(&value)
        ))
    }));
    if hidden > 0 {
        fields.push(mrkdwn(&format!("_{hidden} more fields_")));
    }
    blocks.push(json!({"type": "section", "fields": fields}));
    blocks.extend(lines_of_links(message).iter().map(|line| section(line)));
    let footer = layout::footer(message, shrink)
        .into_iter()
        .map(|(name, value)| format!("{name} {}", code(&value)));
    let footer: Vec<String> = footer.collect();
    if !footer.is_empty() {
        blocks.push(json!({"type": "context", "elements": [mrkdwn(&footer.join("  |  "))]}));
    }
    let fallback = text(&markup::cut(&markup::shown(&message.title), 200));
    json!({"text": headline(message), "attachments": [{"color": look.color, "fallback": fallback, "blocks": blocks}]})
}

/// All links, in as few sections as hold them.
fn lines_of_links(message: &Message) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for link in message
        .links
        .iter()
        .map(|l| link(&l.label, &l.url))
        .filter(|l| l.len() <= MAX_SECTION)
    {
        match lines
            .last_mut()
            .filter(|line| line.len() + link.len() + 5 <= MAX_SECTION)
        {
            Some(line) => line.extend(["  |  ", &link]),
            None => lines.push(link),
        }
    }
    lines
}

fn section(mrkdwn_text: &str) -> Value {
    json!({"type": "section", "text": mrkdwn(mrkdwn_text)})
}

fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text})
}

fn encoded_len(span: &Span) -> usize {
    encode_spans(std::slice::from_ref(span))
        .encode_utf16()
        .count()
}

fn encode_spans(spans: &[Span]) -> String {
    spans
        .iter()
        .map(|span| {
            let inner = match &span.what {
                What::Text(plain) => text(plain),
                What::Code(plain) => return code(plain),
                What::Link { label, url } => link(label, url),
                time @ What::Time(seconds) => {
                    date(*seconds, "{date_short_pretty} {time_secs}", &time.plain())
                }
                time @ What::Clock(seconds) => date(*seconds, "{time}", &time.plain()),
            };
            let trimmed = inner.trim();
            // a bold mark next to a space is shown as an asterisk
            if span.bold && !trimmed.is_empty() {
                inner.replace(trimmed, &format!("*{trimmed}*"))
            } else {
                inner
            }
        })
        .collect()
}

fn date(seconds: i64, format: &str, fallback: &str) -> String {
    if seconds < 0 {
        fallback.to_owned()
    } else {
        format!("<!date^{seconds}^{format}|{fallback}>")
    }
}

fn link(label: &str, url: &str) -> String {
    let label: String = markup::cut(label, 200)
        .chars()
        .filter(|c| !matches!(c, '|' | '<' | '>'))
        .collect();
    format!("<{}|{}>", url.replace('&', "&amp;"), text(&label))
}

/// Fixed-width: nothing in it is formatted.
fn code(plain: &str) -> String {
    let plain = escape(
        &plain
            .replace(['`', '\n'], "'")
            .replace("](", "]\u{200b}(")
            .replace("://", ":\u{200b}//"),
    );
    if plain.trim().is_empty() {
        String::new()
    } else {
        format!("`{plain}`")
    }
}

/// Plain text that Slack formats nowhere. mrkdwn cannot escape its marks: one within a word
/// (`my_ap`) never formats and stays as it is; any other becomes its look-alike, or stands between
/// zero-width spaces where there is none.
fn text(plain: &str) -> String {
    let chars: Vec<char> = plain.chars().collect();
    let word = |i: Option<usize>| {
        i.and_then(|i| chars.get(i))
            .is_some_and(|c| c.is_alphanumeric())
    };
    let mut out = String::with_capacity(plain.len());
    for (i, c) in chars.iter().enumerate() {
        match c {
            '`' => out.push('\''),
            '*' | '_' | '~' if word(i.checked_sub(1)) && word(Some(i + 1)) => out.push(*c),
            '*' => out.push('∗'),
            '~' => out.push('∼'),
            '_' => out.extend(['\u{200b}', '_', '\u{200b}']),
            '(' if i > 0 && chars.get(i - 1) == Some(&']') => out.extend(['\u{200b}', '(']),
            '/' if i > 0 && chars.get(i - 1) == Some(&':') => out.extend(['\u{200b}', '/']),
            ':' if begins_emoji(&chars, i) => out.extend([':', '\u{200b}']),
            c => out.push(*c),
        }
    }
    escape(&out)
}

/// Returns true if `:name:` begins here, which Slack shows as a picture: the middle of many a MAC is one.
fn begins_emoji(chars: &[char], colon: usize) -> bool {
    let rest = chars.iter().skip(colon + 1);
    let name = rest
        .clone()
        .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '\'' | '.'))
        .count();
    name > 0 && rest.clone().nth(name) == Some(&':')
}

/// The three entities Slack knows. A mention's beginning is parted too, for clients that decode
/// before they parse.
fn escape(plain: &str) -> String {
    let mut out = plain
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    for mark in ["!", "@", "#"] {
        out = out.replace(&format!("&lt;{mark}"), &format!("&lt;\u{200b}{mark}"));
    }
    out
}

/// Characters of text in the whole message, as Slack counts them.
fn chars(body: &Value) -> usize {
    match body {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match value {
                Value::String(text) if matches!(key.as_str(), "text" | "fallback") => {
                    text.encode_utf16().count()
                }
                other => chars(other),
            })
            .sum(),
        Value::Array(items) => items.iter().map(chars).sum(),
        _ => 0,
    }
}

/// Outcome by Slack's reply. Keyed on the word in the body: statuses vary.
fn classify(status: u16, body: &str, reply: &Reply) -> SendOutcome {
    let word = body.trim();
    // The error word is the first one with an underscore; some replies surround it with other text.
    let error = word
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .find(|w| w.contains('_'))
        .unwrap_or(word);
    match error {
        "invalid_payload"
        | "invalid_blocks"
        | "invalid_attachments"
        | "no_text"
        | "too_many_attachments"
        | "msg_blocks_too_long"
        | "msg_too_long"
        | "missing_text_or_fallback_or_attachments" => SendOutcome::BadPayload {
            why: format!("Slack refused the message: {error}"),
        },
        "no_service" | "no_active_hooks" | "no_team" | "no_service_id" | "team_disabled"
        | "invalid_token" => SendOutcome::Broken {
            why: format!(
                "Slack no longer knows this webhook ({error}): make a new one and set its URL"
            ),
        },
        "action_prohibited" | "posting_to_general_channel_denied" => SendOutcome::Broken {
            why: format!(
                "Slack forbids posting there ({error}): ask an admin, or use another channel's webhook"
            ),
        },
        "channel_not_found" | "user_not_found" | "channel_is_archived" => SendOutcome::Broken {
            why: format!(
                "the webhook's channel is gone ({error}): make a webhook for another channel"
            ),
        },
        "rollup_error" => SendOutcome::Retry {
            why: "Slack: rollup_error".to_owned(),
        },
        "rate_limited" | "ratelimited" => SendOutcome::RetryAfter {
            wait: super::retry_after(reply),
        },
        _ if (200..300).contains(&status) && word == "ok" => SendOutcome::Delivered,
        _ if (200..300).contains(&status) => SendOutcome::Broken {
            why: "the reply is not Slack's `ok`: is this URL an incoming webhook?".to_owned(),
        },
        _ => super::by_status("Slack", status, reply),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mac_reads_as_itself() {
        let name = "5c:5b:35:ab:cd:de";
        let said = text(name);
        assert_eq!(said, "5c:\u{200b}5b:\u{200b}35:\u{200b}ab:\u{200b}cd:de");
        assert_eq!(said.replace('\u{200b}', ""), name);
        assert_eq!(
            text("guest :wave: 20:52 UTC, at: home"),
            "guest :\u{200b}wave: 20:52 UTC, at: home"
        );
    }

    proptest! {
        #[test]
        fn no_value_is_live(value in "\\PC{0,60}|[<>!@#|&*_~`a-z:/^ ]{0,60}") {
            let said = encode_spans(&markup::parse(&markup::escape(&value)));
            prop_assert!(!said.contains('<') && !said.contains('>') && !said.contains('`'), "{}", said);
            prop_assert!(!said.contains("://"), "{}", said);
            let parts: Vec<&str> = said.split(':').collect();
            let name = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_-+".contains(c));
            let inner = parts.get(1..parts.len() - 1).unwrap_or_default();
            prop_assert!(!inner.iter().any(name), "{}", said);
            let back = said.replace('\u{200b}', "").replace('∗', "*").replace('∼', "~").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            prop_assert_eq!(back, markup::clean(&value).replace('`', "'").replace('∗', "*").replace('∼', "~"));
        }
    }
}
