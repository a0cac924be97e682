//! Replies that do not repeat what was sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Url;
use serde_json::Value;

use super::{HttpRequest, Reply};

/// Minimum length of a secret: a shorter text would be found in every other word.
const LEAST_SECRET: usize = 6;

/// A reply that does not repeat what was sent: some services answer with the path, the headers or
/// the body they were asked by, and what they answer is kept and shown.
pub(super) fn reply(mut reply: Reply, request: &HttpRequest) -> Reply {
    // A reply shorter than any secret, as Slack's "ok", holds none.
    if let Reply::Http { body, .. } = &mut reply
        && body.len() >= LEAST_SECRET
    {
        for secret in secrets(request, body.len()) {
            let escaped = serde_json::to_string(&secret).unwrap_or_default();
            for form in [secret.as_str(), escaped.trim_matches('"')] {
                if body.contains(form) {
                    *body = body.replace(form, "***");
                }
            }
        }
    }
    reply
}

/// Everything in a request that may be secret and fits into `longest` bytes, the longest first: a
/// part must not leave the rest of its whole.
fn secrets(request: &HttpRequest, longest: usize) -> Vec<String> {
    let mut secrets = parts_of(request.url.expose());
    for (_, value) in &request.headers {
        secrets.push(value.expose().to_owned());
        secrets.extend(value.expose().split_whitespace().map(str::to_owned));
    }
    if let Some(body) = &request.body {
        texts(body, &mut secrets);
    }
    secrets.retain(|secret| (LEAST_SECRET..=longest).contains(&secret.len()));
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}

/// Parts of a URL that may be secret, as written and decoded: all but the host.
fn parts_of(url: &str) -> Vec<String> {
    let Ok(parsed) = Url::parse(url) else {
        return Vec::new();
    };
    let mut parts = vec![url.to_owned(), parsed.path().to_owned()];
    parts.extend(parsed.path().split('/').map(str::to_owned));
    parts.extend(parsed.query().map(str::to_owned));
    parts.extend(parsed.fragment().map(str::to_owned));
    if let Some(query) = parsed.query() {
        parts.extend(query.split(['&', '=']).map(str::to_owned));
    }
    parts.extend(parsed.query_pairs().map(|(_, value)| value.into_owned()));
    let (user, password) = (parsed.username(), parsed.password().unwrap_or_default());
    parts.extend([user.to_owned(), password.to_owned()]);
    parts.push(BASE64.encode(format!("{}:{}", decoded(user), decoded(password))));
    let meant: Vec<String> = parts.iter().map(|part| decoded(part)).collect();
    parts.extend(meant);
    parts
}

/// A part of a URL without its percents.
fn decoded(part: &str) -> String {
    let pair = format!("={}", part.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes())
        .map(|(_, value)| value.into_owned())
        .collect()
}

/// Every text in a tree.
fn texts(tree: &Value, found: &mut Vec<String>) {
    match tree {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(map) => map.values().for_each(|item| texts(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Secret;

    #[test]
    fn a_reply_that_repeats_what_was_sent_holds_no_secret() {
        let request = HttpRequest {
            headers: vec![("Authorization".into(), Secret::new("Bearer canary-4"))],
            ..HttpRequest::post(
                Secret::new("https://us%2Der:canary-1@x.example/hooks/canary%2D2?sig=canary%2B3"),
                json!({"key": "canary \"5\"", "list": [{"deep": "canary-6"}]}),
            )
        };
        let basic = BASE64.encode("us-er:canary-1");
        let told = format!(
            "no /hooks/canary%2D2?sig=canary%2B3 (/hooks/canary-2, canary+3) for Bearer canary-4 \
             ({basic}, canary-1) in {{\"key\": \"canary \\\"5\\\"\", \"deep\": \"canary-6\"}}: no_service"
        );
        let answer = Reply::Http {
            status: 404,
            retry_after: None,
            date: None,
            body: told,
        };
        let said = reply(answer, &request).summary();
        assert!(
            !said.contains("canary") && !said.contains(&basic) && said.ends_with(": no_service"),
            "{said}"
        );
    }
}
