//! The only HTTP client for other machines, with size limits, proxies and deadlines. It neither
//! retries nor follows redirects, and no URL appears in its errors.

use std::error::Error;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Response, header};
pub use reqwest::{Method, Url};
use serde_json::Value;

use crate::model::Secret;

mod redact;

/// Size limit of a reply if the request has none.
const REPLY_CAP: usize = 8 * 1024;
/// Number of characters of a reply that are kept.
const SUMMARY: usize = 120;

/// One HTTP request.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// Request method.
    pub method: Method,
    /// Request URL.
    pub url: Secret,
    /// Headers beside those of the body; values may be secret.
    pub headers: Vec<(String, Secret)>,
    /// JSON body.
    pub body: Option<Value>,
    /// Maximum number of bytes read from the reply's body.
    pub cap: usize,
}

impl HttpRequest {
    /// Creates a request without a body.
    #[must_use]
    pub const fn new(method: Method, url: Secret) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: None,
            cap: REPLY_CAP,
        }
    }

    /// Creates a POST of a JSON value.
    #[must_use]
    pub fn post(url: Secret, body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(Method::POST, url)
        }
    }
}

/// Reply to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The other side answered.
    Http {
        /// Status of the reply.
        status: u16,
        /// Content of `Retry-After`.
        retry_after: Option<String>,
        /// Content of `Date`, to which a date in `Retry-After` is relative.
        date: Option<String>,
        /// Beginning of the body, limited by the request's cap.
        body: String,
    },
    /// There was no usable reply. The text never contains the URL.
    Failed {
        /// The problem: `connection refused`, `timed out`, …
        why: String,
    },
    /// The message was printed.
    Printed,
}

impl Reply {
    /// Creates a failed reply.
    #[must_use]
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed { why: why.into() }
    }

    /// Returns the HTTP status, if there was a reply.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Http { status, .. } => Some(*status),
            Self::Failed { .. } | Self::Printed => None,
        }
    }

    /// Returns the reply without its status as one short line.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Http { body, .. } => {
                let words: Vec<&str> = body.split_whitespace().collect();
                words.join(" ").chars().take(SUMMARY).collect()
            }
            Self::Failed { why } => why.clone(),
            Self::Printed => "printed".to_owned(),
        }
    }
}

/// Sends one request. [`Http`] is the real implementation.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and returns the reply within `timeout`.
    fn send(&self, request: &HttpRequest, timeout: Duration) -> impl Future<Output = Reply> + Send;
}

/// Sends requests through the proxies of the environment, except to this machine.
#[derive(Clone)]
pub struct Http {
    /// Created on first use, because reading the machine's certificates takes time and memory.
    proxied: Arc<OnceLock<Client>>,
    direct: Arc<OnceLock<Client>>,
    plain_http_anywhere: bool,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

/// Reason why no client could be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client: {0}")]
pub struct NoClient(String);

impl Http {
    /// Creates a client that uses plain HTTP only for this machine, or for all if
    /// `plain_http_anywhere`.
    #[must_use]
    pub fn new(plain_http_anywhere: bool) -> Self {
        Self {
            proxied: Arc::default(),
            direct: Arc::default(),
            plain_http_anywhere,
        }
    }

    /// Creates the clients for these URLs, so that problems of this machine show up at the start.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up, neither with the machine's certificates nor with the built-in
    /// ones.
    pub fn prepare<'u>(&self, urls: impl IntoIterator<Item = &'u Secret>) -> Result<(), NoClient> {
        for url in urls {
            if Url::parse(url.expose()).is_ok_and(|url| !is_local(&url)) {
                self.client(false)?;
            }
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

    /// Returns the client and the URL for a request if it may be sent.
    fn open(&self, request: &HttpRequest) -> Result<(&Client, Url), String> {
        let url = Url::parse(request.url.expose()).map_err(|_| "the URL is not valid")?;
        let local = is_local(&url);
        let plain_http = url.scheme() == "http" && (local || self.plain_http_anywhere);
        if url.scheme() != "https" && !plain_http {
            return Err("the URL must begin with https://".to_owned());
        }
        let client = self.client(local).map_err(|error| error.to_string())?;
        Ok((client, url))
    }
}

impl Transport for Http {
    /// Never fails: an error becomes the reply.
    async fn send(&self, request: &HttpRequest, timeout: Duration) -> Reply {
        let (client, url) = match self.open(request) {
            Ok(open) => open,
            Err(why) => return Reply::Failed { why },
        };
        let mut call = client.request(request.method.clone(), url).timeout(timeout);
        if let Some(body) = &request.body {
            call = call.json(body);
        }
        for (name, value) in &request.headers {
            let Ok(mut value) = header::HeaderValue::from_str(value.expose()) else {
                return Reply::failed("a header's value contains invalid characters");
            };
            // Sensitive values do not appear in debug output.
            value.set_sensitive(true);
            call = call.header(name, value);
        }
        match call.send().await {
            Ok(response) => redact::reply(read(response, request.cap).await, request),
            Err(error) => Reply::Failed { why: short(error) },
        }
    }
}

async fn read(mut response: Response, cap: usize) -> Reply {
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
    // the status decides, so a body that ends early is still useful
    while let Ok(Some(chunk)) = response.chunk().await {
        // A reply may be endless, so reading stops at the limit.
        body.extend(chunk.iter().take(cap - body.len()));
        if body.len() >= cap {
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
    // ring is used because the C code of rustls' default provider takes long to build. An error
    // means that a provider is installed already.
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
    // without a CA store on the machine the client cannot be built; the built-in certificates
    // replace it then
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

/// Creates a client without a proxy, for commands and tests that use a running server.
///
/// # Errors
///
/// When TLS cannot be set up.
pub fn direct() -> Result<Client, NoClient> {
    build(ClientBuilder::no_proxy)
}

/// Returns true if a URL stays on this machine.
pub(crate) fn is_local(url: &Url) -> bool {
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Describes an error in few words and without the URL, which is a secret.
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
    // reqwest's own message contains little; the deepest source has the reason.
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
            "the TLS certificate was rejected"
        }
        () if detail.contains("dns")
            || detail.contains("lookup")
            || detail.contains("name or service") =>
        {
            "the host was not found"
        }
        () if error.is_connect() => "cannot connect",
        () if error.is_builder() => "the request cannot be built",
        () => "the connection was lost",
    };
    what.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn post(url: String) -> HttpRequest {
        HttpRequest {
            headers: vec![("X-Key".into(), Secret::new("canary"))],
            ..HttpRequest::post(Secret::new(url), json!({}))
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
                assert_eq!((retry_after.as_deref(), body.len()), (Some("7"), REPLY_CAP));
            }
            other => panic!("{other:?}"),
        }
    }
}
