//! The only client that talks to the outside. No retries here, no redirects, and no URL in any word
//! that leaves.

use std::error::Error;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Method, Response, Url, header};
use serde_json::Value;

use super::{DestinationSettings, Kind, Reply, Request};

/// As much of a reply as anyone reads.
const MAX_REPLY: usize = 8 * 1024;
/// What is shorter is no secret, and would be found in every other word.
const LEAST_SECRET: usize = 6;

/// Sends requests. Proxies are those of the environment; what is on this machine is reached without
/// one.
#[derive(Clone)]
pub struct Http {
    /// Both are made when first needed: reading the machine's certificates takes time and memory.
    proxied: Arc<OnceLock<Client>>,
    direct: Arc<OnceLock<Client>>,
    plain_http_anywhere: bool,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client: {0}")]
pub struct NoClient(String);

impl Http {
    /// A client that sends over plain HTTP to this machine only, or anywhere when told so.
    #[must_use]
    pub fn new(plain_http_anywhere: bool) -> Self {
        Self {
            proxied: Arc::default(),
            direct: Arc::default(),
            plain_http_anywhere,
        }
    }

    /// Makes ready what these destinations need, so that what is wrong with this machine shows at
    /// the start.
    ///
    /// # Errors
    /// When TLS cannot be set up, neither with the machine's certificates nor with those compiled
    /// in.
    pub fn prepare(&self, destinations: &[DestinationSettings]) -> Result<(), NoClient> {
        let away = |kind: &Kind| match kind {
            Kind::Slack { url } | Kind::Teams { url } | Kind::Webhook { url, .. } => {
                Url::parse(url.expose()).is_ok_and(|url| !is_local(&url))
            }
            Kind::Console => false,
        };
        if destinations
            .iter()
            .any(|destination| away(&destination.kind))
        {
            self.client(false)?;
        }
        Ok(())
    }

    fn client(&self, local: bool) -> Result<&Client, NoClient> {
        let (made, with): (_, fn(ClientBuilder) -> ClientBuilder) = if local {
            (&self.direct, ClientBuilder::no_proxy)
        } else {
            (&self.proxied, |builder| builder)
        };
        match made.get() {
            Some(client) => Ok(client),
            None => {
                let client = build(with)?;
                Ok(made.get_or_init(|| client))
            }
        }
    }

    /// Asks for what is at a URL, and posts nothing: for looking whether the other side is there.
    pub(crate) async fn look(&self, method: Method, url: Url, timeout: Duration) -> Reply {
        let local = is_local(&url);
        if url.scheme() != "https"
            && !(url.scheme() == "http" && (local || self.plain_http_anywhere))
        {
            return Reply::Failed {
                why: "the URL must begin with https://".to_owned(),
            };
        }
        let client = match self.client(local) {
            Ok(client) => client,
            Err(error) => {
                return Reply::Failed {
                    why: error.to_string(),
                };
            }
        };
        match client.request(method, url).timeout(timeout).send().await {
            Ok(response) => read(response).await,
            Err(error) => Reply::Failed { why: short(error) },
        }
    }

    /// Sends one request. Never fails: what went wrong is the reply.
    pub async fn send(&self, request: &Request, timeout: Duration) -> Reply {
        let failed = |why: &str| Reply::Failed {
            why: why.to_owned(),
        };
        let (url, headers, body) = match request {
            Request::Print(text) => {
                // Where it is a file on a full disk there is room later; who closed the pipe reads
                // nothing any more.
                return match writeln!(std::io::stdout(), "{text}") {
                    Ok(()) => Reply::Printed,
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Reply::Printed,
                    Err(error) => failed(&format!("cannot print: {error}")),
                };
            }
            Request::Post { url, headers, body } => (url, headers, body),
        };
        let Ok(url) = Url::parse(url.expose()) else {
            return failed("the URL is not a URL");
        };
        let local = is_local(&url);
        if url.scheme() != "https"
            && !(url.scheme() == "http" && (local || self.plain_http_anywhere))
        {
            return failed("the URL must begin with https://");
        }
        let client = match self.client(local) {
            Ok(client) => client,
            Err(error) => return failed(&error.to_string()),
        };
        let mut post = client.post(url).timeout(timeout).json(body);
        for (name, value) in headers {
            let Ok(mut value) = header::HeaderValue::from_str(value.expose()) else {
                return failed("a header's value has characters no header may have");
            };
            value.set_sensitive(true);
            post = post.header(name, value);
        }
        match post.send().await {
            Ok(response) => without_secrets(read(response).await, request),
            Err(error) => Reply::Failed { why: short(error) },
        }
    }
}

/// A reply that does not repeat what was sent: some services answer with the path, the headers or
/// the body they were asked by, and what they answer is kept and shown.
fn without_secrets(mut reply: Reply, request: &Request) -> Reply {
    let (
        Reply::Http { body, .. },
        Request::Post {
            url,
            headers,
            body: sent,
        },
    ) = (&mut reply, request)
    else {
        return reply;
    };
    let mut secrets = parts_of(url.expose());
    for (_, value) in headers {
        secrets.push(value.expose().to_owned());
        secrets.extend(value.expose().split_whitespace().map(str::to_owned));
    }
    texts(sent, &mut secrets);
    secrets.retain(|secret| secret.len() >= LEAST_SECRET);
    // A part must not leave the rest of its whole.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    for secret in secrets {
        let spelt = serde_json::to_string(&secret).unwrap_or_default();
        for form in [secret.as_str(), spelt.trim_matches('"')] {
            if body.contains(form) {
                *body = body.replace(form, "***");
            }
        }
    }
    reply
}

/// What of a URL may be secret, as it is written and as it is meant: all but the host.
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

async fn read(mut response: Response) -> Reply {
    let header = |name| {
        response
            .headers()
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned)
    };
    let (status, retry_after, date) = (
        response.status().as_u16(),
        header(header::RETRY_AFTER),
        header(header::DATE),
    );
    let mut body = Vec::new();
    // the status is what counts: a body that breaks off says less, not something else
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend(chunk.iter().take(MAX_REPLY - body.len()));
        if body.len() >= MAX_REPLY {
            break;
        }
    }
    Reply::Http {
        status,
        retry_after,
        date,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

fn build(with: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Client, NoClient> {
    // ring, since the C code of rustls' default takes a newcomer's machine a minute and a half to
    // build. An error means that the provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        with(Client::builder())
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(Duration::from_secs(3))
            .pool_idle_timeout(Duration::from_secs(30))
            .tcp_keepalive(Duration::from_secs(30))
            .user_agent(concat!("foghorn/", env!("CARGO_PKG_VERSION")))
    };
    // a machine without a CA store cannot even build a client: then the compiled-in certificates
    // serve
    builder()
        .build()
        .or_else(|_| {
            let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
                .iter()
                .filter_map(|der| Certificate::from_der(der).ok());
            builder().tls_certs_only(roots).build()
        })
        .map_err(|error| NoClient(short(error)))
}

/// A client that uses no proxy, for commands and tests that speak to a running server.
///
/// # Errors
/// When TLS cannot be set up.
pub fn direct() -> Result<Client, NoClient> {
    build(ClientBuilder::no_proxy)
}

/// Whether a URL stays on this machine.
pub(crate) fn is_local(url: &Url) -> bool {
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What went wrong, in few words and without the URL, which is a secret.
fn short(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return if error.is_connect() {
            "timed out while connecting"
        } else {
            "timed out"
        }
        .to_owned();
    }
    let mut deepest: &dyn Error = &error;
    while let Some(source) = deepest.source() {
        if let Some(io) = source.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
                std::io::ErrorKind::ConnectionReset => return "connection reset".to_owned(),
                _ => {}
            }
        }
        deepest = source;
    }
    let detail = deepest.to_string().to_lowercase();
    let what = match () {
        () if detail.contains("certificate") || detail.contains("tls") => {
            "the TLS certificate was not accepted"
        }
        () if detail.contains("dns")
            || detail.contains("lookup")
            || detail.contains("name or service") =>
        {
            "the host was not found"
        }
        () if error.is_connect() => "cannot connect",
        () if error.is_builder() => "the request cannot be built",
        () => "the connection broke",
    };
    what.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::model::Secret;

    fn post(url: String) -> Request {
        Request::Post {
            url: Secret::new(url),
            headers: vec![("X-Key".into(), Secret::new("canary"))],
            body: json!({}),
        }
    }

    /// Answers one request with these bytes.
    async fn answer(bytes: Vec<u8>) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(&bytes).await;
        });
        port
    }

    #[tokio::test]
    async fn no_reply_holds_the_url() {
        let http = Http::new(false);
        for url in [
            "http://127.0.0.1:1/canary",
            "http://example.com/canary",
            "canary",
            "https://canary.invalid/canary",
        ] {
            let request = post(url.to_owned());
            let reply = http.send(&request, Duration::from_secs(2)).await;
            let said = format!("{reply:?} {request:?} {http:?}");
            assert!(
                matches!(reply, Reply::Failed { .. }) && !said.contains("canary"),
                "{said}"
            );
        }
        let refused = http
            .send(
                &post("http://127.0.0.1:1/x".into()),
                Duration::from_secs(60),
            )
            .await;
        assert_eq!(
            refused,
            Reply::Failed {
                why: "connection refused".into()
            }
        );
    }

    #[test]
    fn a_reply_that_repeats_what_was_sent_holds_no_secret() {
        let request = Request::Post {
            url: Secret::new("https://us%2Der:canary-1@x.example/hooks/canary%2D2?sig=canary%2B3"),
            headers: vec![("Authorization".into(), Secret::new("Bearer canary-4"))],
            body: json!({"key": "canary \"5\"", "list": [{"deep": "canary-6"}]}),
        };
        let basic = BASE64.encode("us-er:canary-1");
        let told = format!(
            "no /hooks/canary%2D2?sig=canary%2B3 (/hooks/canary-2, canary+3) for Bearer canary-4 \
             ({basic}, canary-1) in {{\"key\": \"canary \\\"5\\\"\", \"deep\": \"canary-6\"}}: no_service"
        );
        let reply = Reply::Http {
            status: 404,
            retry_after: None,
            date: None,
            body: told,
        };
        let said = without_secrets(reply, &request).summary();
        assert!(
            !said.contains("canary") && !said.contains(&basic) && said.ends_with(": no_service"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn redirects_are_not_followed_and_replies_are_capped() {
        let http = Http::new(false);
        let port = answer(
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        )
        .await;
        let reply = http
            .send(
                &post(format!("http://127.0.0.1:{port}/")),
                Duration::from_secs(60),
            )
            .await;
        assert!(
            matches!(reply, Reply::Http { status: 302, .. }),
            "{reply:?}"
        );
        let mut long =
            b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 100000\r\n\r\n".to_vec();
        long.extend(std::iter::repeat_n(b'x', 100_000));
        let port = answer(long).await;
        match http
            .send(
                &post(format!("http://127.0.0.1:{port}/")),
                Duration::from_secs(60),
            )
            .await
        {
            Reply::Http {
                status: 429,
                retry_after,
                body,
                ..
            } => {
                assert_eq!((retry_after.as_deref(), body.len()), (Some("7"), MAX_REPLY));
            }
            other => panic!("{other:?}"),
        }
    }
}
