//! Redaction of request data in replies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Url;
use serde_json::Value;

use super::{HttpRequest, Reply};

/// Minimum length of a secret; a shorter text would occur in other words.
const LEAST_SECRET: usize = 6;

/// Redacts everything in a reply that was sent in the request. Some services repeat path, headers
/// or body, and replies are stored and shown.
pub(super) fn reply(mut reply: Reply, request: &HttpRequest) -> Reply {
    // A reply shorter than any secret, such as Slack's "ok", cannot contain one.
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

/// Returns everything in a request that may be secret and fits into `longest` bytes. The longest
/// comes first, so that replacing a part does not leave the rest of the whole.
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

/// Returns the parts of a URL that may be secret, as written and decoded: all except the host.
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

/// Decodes percent-encoding.
fn decoded(part: &str) -> String {
    let pair = format!("={}", part.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes())
        .map(|(_, value)| value.into_owned())
        .collect()
}

/// Collects every text in a tree.
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
