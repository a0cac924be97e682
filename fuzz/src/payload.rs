//! What Slack and Teams take without a word, and what must not come alive there.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use foghorn::destination::{
    Action, Content, Destination, DestinationKind, KINDS, SettingValue, Size, Values,
};
use foghorn::model::{Message, Secret};
use serde_json::Value;

/// A destination of each kind, by its key.
static EVERYONE: LazyLock<BTreeMap<&'static str, Arc<dyn Destination>>> = LazyLock::new(|| {
    let make = |kind: &DestinationKind| {
        let url = Secret::new("https://chat.example/hook");
        let mut values = Values::default();
        values.set("url", SettingValue::Secret(url));
        ((kind.make)(&values).ok()).map(|made| (kind.word, made))
    };
    KINDS.iter().filter_map(make).collect()
});

fn next(kind: &str, message: &Message, size: Size) -> Action {
    EVERYONE[kind].next(&Content { message, size }, None, &[])
}

/// Every payload of this message is JSON within the limits, whatever the message says.
pub fn check(message: &Message) {
    for size in [Size::Full, Size::Plain] {
        slack(&body("slack", message, size));
        teams(&body("teams", message, size));
    }
    body("webhook", message, Size::Full);
    let Action::Print(_) = next("console", message, Size::Full) else {
        panic!("the console prints")
    };
}

/// Of what events led to: nothing in it that a terminal or a reader of logs would obey.
pub fn assert_visible(message: &Message) {
    let Action::Print(printed) = next("console", message, Size::Full) else {
        panic!("the console prints")
    };
    let facts = message.facts.iter().flat_map(|(name, value)| [name, value]);
    let links = message
        .links
        .iter()
        .flat_map(|link| [&link.label, &link.url]);
    for text in facts
        .chain(links)
        .chain([&message.title, &message.text, &printed])
    {
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "a control character in {text:?}"
        );
        assert!(
            !text.contains(['\u{202e}', '\u{200b}', '\u{2028}']),
            "unseen characters in {text:?}"
        );
    }
    assert!(
        !message.title.contains('\n') && !message.title.is_empty(),
        "{:?}",
        message.title
    );
}

fn body(kind: &str, message: &Message, size: Size) -> Value {
    let Action::Send(request) = next(kind, message, size) else {
        panic!("a chat is posted to")
    };
    let body = request.body.expect("a body");
    assert_eq!(
        serde_json::from_str::<Value>(&body.to_string()).unwrap(),
        body
    );
    body
}

fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(map) => map.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

fn all_texts(value: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    texts(value, &mut found);
    found
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// `docs.slack.dev`: a text object has 1 to 3,000 characters, a field 2,000; a section 10 fields, a
/// message 50 blocks.
fn slack(body: &Value) {
    assert!(
        body.to_string().len() <= 16 * 1024,
        "{} bytes",
        body.to_string().len()
    );
    let length = |text: &Value| text["text"].as_str().unwrap().encode_utf16().count();
    assert!((1..=3_000).contains(&length(body)), "{body}");
    let attachments = list(body, "attachments");
    assert!(attachments.len() <= 1);
    for attachment in attachments {
        assert!(list(attachment, "blocks").len() <= 50);
        for block in list(attachment, "blocks") {
            assert!(
                block["text"].is_null() || (1..=3_000).contains(&length(&block["text"])),
                "{block}"
            );
            let (fields, elements) = (list(block, "fields"), list(block, "elements"));
            assert!(fields.len() <= 10 && elements.len() <= 10, "{block}");
            assert!(
                fields
                    .iter()
                    .chain(elements)
                    .all(|text| (1..=2_000).contains(&length(text))),
                "{block}"
            );
        }
    }
    for text in all_texts(body) {
        for (at, _) in text.match_indices('<') {
            let live = &text[at + 1..];
            let ours = ["!date^", "https://", "http://"]
                .iter()
                .any(|ours| live.starts_with(ours));
            assert!(ours && live.contains('>'), "live in Slack: {text:?}");
        }
    }
}

/// Teams drops what is over 28 KB without a word, and shows six buttons.
fn teams(body: &Value) {
    assert!(
        body.to_string().len() <= 24 * 1024,
        "{} bytes",
        body.to_string().len()
    );
    let card = &body["attachments"][0]["content"];
    assert!(
        !list(card, "body").is_empty() && list(card, "actions").len() <= 6,
        "{card}"
    );
    for action in list(card, "actions") {
        let url = action["url"].as_str().unwrap();
        assert!(
            url.starts_with("https://") || url.starts_with("http://"),
            "{url}"
        );
    }
    let instead = card["fallbackText"].as_str().unwrap();
    for live in ["](", "][", "]:", "{{", "://"] {
        assert!(!instead.contains(live), "live in Teams: {instead:?}");
    }
    assert!(
        instead
            .match_indices('<')
            .all(|(at, _)| instead[at + 1..].starts_with(['\u{200b}']) || at + 1 == instead.len())
    );
    for text in all_texts(&card["body"]) {
        assert!(
            !text.contains('<') && !text.contains("{{"),
            "live in Teams: {text:?}"
        );
        let (mut escaped, mut closed) = (false, false);
        for (at, c) in text.char_indices() {
            assert!(
                !(closed && c == '(') || text[at + 1..].starts_with("http"),
                "a link in Teams: {text:?}"
            );
            closed = c == ']' && !escaped;
            escaped = c == '\\' && !escaped;
        }
    }
}
