//! The real binary between a signed webhook and a chat server that answers as a test tells it to.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "shared by several test programs"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use warp::Filter;

pub const SECRET: &str = "correct horse";

/// One message that arrived at the chat.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub at: Instant,
    pub path: String,
    pub body: Value,
    pub status: u16,
}

/// Status, `Retry-After`, body.
type Answer = (u16, Option<String>, &'static str);

/// A chat server: takes every message, unless told to answer otherwise.
#[derive(Clone)]
pub struct Chat {
    pub address: std::net::SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    down: Arc<Mutex<Option<(u16, &'static str)>>>,
    per_second: Arc<Mutex<Option<Instant>>>,
    limited: Arc<Mutex<bool>>,
    late: Arc<Mutex<Duration>>,
}

impl Chat {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let chat = Self {
            address: listener.local_addr().unwrap(),
            arrived: Arc::default(),
            script: Arc::default(),
            down: Arc::default(),
            per_second: Arc::default(),
            limited: Arc::default(),
            late: Arc::default(),
        };
        let answer = {
            let chat = chat.clone();
            move |path: warp::path::FullPath, body: bytes::Bytes| {
                let (answer, late) = (
                    chat.answer(path.as_str(), &body),
                    *chat.late.lock().unwrap(),
                );
                async move {
                    tokio::time::sleep(late).await;
                    answer
                }
            }
        };
        let filter = warp::post()
            .and(warp::path::full())
            .and(warp::body::bytes())
            .then(answer)
            .boxed();
        tokio::spawn(warp::serve(filter).incoming(listener).run());
        chat
    }

    fn answer(&self, path: &str, body: &[u8]) -> warp::http::Response<String> {
        let now = Instant::now();
        let (status, retry_after, text) = if let Some((status, text)) = *self.down.lock().unwrap() {
            (status, None, text)
        } else if let Some(next) = self.script.lock().unwrap().pop_front() {
            next
        } else if *self.limited.lock().unwrap() {
            let mut last = self.per_second.lock().unwrap();
            if last.is_some_and(|last| now.duration_since(last) < Duration::from_secs(1)) {
                (429, Some("1".to_owned()), "rate_limited")
            } else {
                *last = Some(now);
                (200, None, "ok")
            }
        } else {
            (200, None, "ok")
        };
        let body = serde_json::from_slice(body).unwrap_or(Value::Null);
        self.arrived.lock().unwrap().push(Arrived {
            at: now,
            path: path.to_owned(),
            body,
            status,
        });
        let mut response = warp::http::Response::builder().status(status);
        if let Some(after) = retry_after {
            response = response.header("retry-after", after);
        }
        response.body(text.to_owned()).unwrap()
    }

    /// Answers the next message so.
    pub fn next(&self, status: u16, retry_after: Option<&str>, text: &'static str) {
        self.script
            .lock()
            .unwrap()
            .push_back((status, retry_after.map(str::to_owned), text));
    }

    /// Answers everything so, until `up`.
    pub fn down(&self, status: u16, text: &'static str) {
        *self.down.lock().unwrap() = Some((status, text));
    }

    pub fn up(&self) {
        *self.down.lock().unwrap() = None;
    }

    /// Takes one message a second, and answers 429 to the others.
    pub fn one_a_second(&self) {
        *self.limited.lock().unwrap() = true;
    }

    /// Answers so long after it took a message.
    pub fn answers_after(&self, late: Duration) {
        *self.late.lock().unwrap() = late;
    }

    /// Everything that arrived, refused or not.
    pub fn all(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    /// As if nothing had come.
    pub fn forget(&self) {
        self.arrived.lock().unwrap().clear();
    }

    /// How many arrived, refused or not.
    pub fn count(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }

    /// What was taken.
    pub fn taken(&self) -> Vec<Value> {
        self.all()
            .into_iter()
            .filter(|a| a.status == 200)
            .map(|a| a.body)
            .collect()
    }

    /// Waits until this many messages were taken.
    pub async fn wait_for(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} messages at the chat"), || {
            let taken = self.taken();
            (taken.len() >= count).then_some(taken)
        })
        .await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A tool that is not here: the test says so and passes, but where test.sh installs it (root on
/// Debian), under CI, it fails.
#[allow(dead_code, reason = "not every test needs a tool")]
pub fn lacks(what: &str) {
    let wanted = std::env::var_os("FOGHORN_NO_SKIP").is_some()
        || std::env::var("CI").is_ok_and(|ci| ci == "true");
    let could = Path::new("/etc/debian_version").exists() && rustix::process::geteuid().is_root();
    assert!(
        !(wanted && could),
        "{what}: CI installs it, so no test of it is skipped"
    );
    println!("skipped: {what}");
}

/// Time without progress after which a test fails. No test depends on it to pass: it is far more
/// than a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until there is an answer, and fails after [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Polls until it is so, and fails after [`PATIENCE`].
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, || is_so().then_some(())).await;
}

/// The binary, serving.
pub struct Foghorn {
    pub dir: PathBuf,
    pub address: String,
    child: Child,
    pub log: Arc<Mutex<String>>,
    keep: Option<tempfile::TempDir>,
}

/// The one that was just built, or that which FOGHORN_BIN names.
pub fn binary() -> Command {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_foghorn"));
    // It runs in another folder than the one the name is relative to.
    let named = std::env::var_os("FOGHORN_BIN")
        .map_or_else(built, |name| std::fs::canonicalize(name).unwrap());
    let mut command = Command::new(named);
    command
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default());
    command
}

impl Foghorn {
    /// Serves with this rules.yaml in a folder of its own.
    pub async fn start(rules: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("rules.yaml"), rules).unwrap();
        let mut foghorn = Self::start_in(dir.path()).await;
        foghorn.keep = Some(dir);
        foghorn
    }

    /// Serves in a folder that holds a rules.yaml.
    pub async fn start_in(dir: &Path) -> Self {
        let mut serve = binary();
        serve.args(["serve", "--listen", "127.0.0.1:0"]);
        Self::start_by(serve, dir).await
    }

    /// Serves by a command of the test's own making, which must come to `serve` on a free port.
    pub async fn start_by(mut serve: Command, dir: &Path) -> Self {
        let mut child = serve
            .current_dir(dir)
            .env("MIST_WEBHOOK_SECRET", SECRET)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, receiver) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("listening on ") {
                    let _ = sender.send(address.to_owned());
                }
            }
        });
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let address = tokio::task::spawn_blocking(move || receiver.recv_timeout(PATIENCE))
            .await
            .unwrap();
        let Ok(address) = address else {
            let _ = child.kill();
            panic!("it never said where it listens:\n{}", log.lock().unwrap());
        };
        Self {
            dir: dir.to_owned(),
            address,
            child,
            log,
            keep: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Posts a signed body; gives the status.
    pub async fn post_raw(&self, path: &str, body: impl Into<String>) -> u16 {
        let body = body.into();
        let request = foghorn::wire::direct()
            .unwrap()
            .post(format!("{}{path}", self.address));
        let signature = sign(body.as_bytes());
        request
            .header("x-mist-signature-v2", signature)
            .body(body)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    /// Posts signed events of a topic; they must be taken.
    pub async fn post(&self, topic: &str, events: Value) {
        let body = json!({"topic": topic, "events": events}).to_string();
        assert_eq!(self.post_raw("/mist", body).await, 200);
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let client = foghorn::wire::direct().unwrap();
        let reply = client
            .get(format!("{}{path}", self.address))
            .send()
            .await
            .unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    }

    /// The value of a metric, summed over its labels that contain `with`.
    pub async fn metric(&self, name: &str, with: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        sum(&text, name, with)
    }

    /// Waits until a metric, summed as in [`Self::metric`], is as wanted.
    pub async fn until_metric(&self, name: &str, with: &str, is_so: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name, with).await;
            if is_so(value) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{name} of {with:?} is still {value}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asserts "nothing vanishes uncounted" on one scrape.
    pub async fn assert_conserved(&self) {
        let (_, text) = self.get("/metrics").await;
        assert_eq!(
            sum(&text, "foghorn_events_total", ""),
            sum(&text, "foghorn_event_fates", ""),
            "{text}"
        );
        assert_eq!(
            sum(&text, "foghorn_messages_total", ""),
            sum(&text, "foghorn_message_fates", ""),
            "{text}"
        );
    }

    /// SIGTERM; gives the exit code.
    pub async fn stop(self) -> Option<i32> {
        self.assert_conserved().await;
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for the end of one that was told to end, or will by itself; gives the exit code.
    pub async fn ended(mut self) -> Option<i32> {
        eventually("the process to end", || self.child.try_wait().unwrap())
            .await
            .code()
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Option<tempfile::TempDir> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.keep.take()
    }

    pub fn signal(&self, name: &str) {
        Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .unwrap();
    }

    pub fn logged(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Foghorn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what foghorn logged ---\n{}", self.log.lock().unwrap());
        }
    }
}

pub fn sign(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn sum(text: &str, name: &str, with: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        (rest.starts_with(['{', ' ']) && rest.contains(with))
            .then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    };
    text.lines().filter_map(value).sum()
}

/// A device event as Mist sends it, happening now.
pub fn device_event(kind: &str, n: u32) -> Value {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    json!({
        "type": kind, "device_name": format!("ap-{n}"), "device_type": "ap", "mac": format!("5c5b35{n:06x}"),
        "site_id": "978c48e6-6ef6-11e6-8bbf-02e208b2d34f", "site_name": "Home",
        "org_id": "1688605f-916a-47a1-8c68-f19618300a08", "timestamp": now,
    })
}
