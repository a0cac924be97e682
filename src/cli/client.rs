//! Client of the running server, for commands that need one. Address and token come from its data
//! folder.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use super::{Failure, load};
use crate::config::Config;
use crate::web::run_files;
use crate::wire;

/// Time limit of a request; the server answers within 5 s even when the engine is busy.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Number of attempts while the server is not ready …
const TRIES: u32 = 50;
/// … and the pause between them.
const PAUSE: Duration = Duration::from_millis(200);

/// Options that select the server.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// The server's data folder, instead of `server.data`
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// URL of the server, instead of the address in its data folder
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// A running server and the credentials for it.
pub(super) struct Client {
    base: Url,
    /// True if the command line names the server.
    named: bool,
    token: crate::model::Secret,
    folder: PathBuf,
    /// Value of the proof header, if the server requires one for actions.
    proof: Option<String>,
}

impl Client {
    pub(super) fn open(config: Option<PathBuf>, server: &ServerArgs) -> Result<Self, Failure> {
        // With --data the config is not needed, so errors in it must not matter.
        let folder = match &server.data {
            Some(folder) => folder.clone(),
            None => load(config, Config::load_offline)?.server.data,
        };
        let base = match &server.server {
            Some(url) => url.clone(),
            None => {
                // A server that was killed leaves its address file behind. Another program may listen
                // there by now and must not get the token.
                let address =
                    run_files::Address::find(&folder).map_err(|error| not_ours(&error))?;
                let address = address.filter(|_| crate::app::backend::is_held(&folder));
                format!("http://{}", address.ok_or_else(|| not_running(&folder))?)
            }
        };
        let base = Url::parse(base.trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base
            .ok_or_else(|| Failure::usage("--server: write a URL, as in http://127.0.0.1:8080"))?;
        let token = run_files::read_token(&folder).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => not_ours(&error),
            _ => Failure::unexpected(format!(
                "cannot read the server's token: {error}\n{}",
                hint(&folder)
            )),
        })?;
        Ok(Self {
            base,
            named: server.server.is_some(),
            token,
            folder,
            proof: None,
        })
    }

    /// Asks the server for the proof that actions need.
    pub(super) fn introduced(mut self) -> Result<Self, Failure> {
        let me = self.ask(&Method::GET, "me", None)?;
        self.proof = me.get("csrf").and_then(Value::as_str).map(str::to_owned);
        Ok(self)
    }

    /// Sends one request below `/api/v1/` and returns the JSON of the answer.
    pub(super) fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let url = format!("{}/api/v1/{path}", self.base.as_str().trim_end_matches('/'));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::unexpected)?;
        let client = wire::direct().map_err(Failure::unexpected)?;
        // One request at a time needs no thread pool.
        let answer = runtime.block_on(async {
            let mut tries = 0;
            loop {
                let mut request = client
                    .request(method.clone(), &url)
                    .timeout(TIMEOUT)
                    .bearer_auth(self.token.expose());
                if let Some(body) = body {
                    request = request.json(body);
                }
                if let Some(proof) = &self.proof {
                    request = request.header("x-csrf-token", proof);
                }
                let response = request.send().await?;
                // A server that has just started answers 503 until it has judged the stored entries.
                if response.status() != StatusCode::SERVICE_UNAVAILABLE || tries == TRIES {
                    return Ok::<_, reqwest::Error>((
                        response.status().as_u16(),
                        response.text().await?,
                    ));
                }
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
        });
        let (status, text) = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_connect() && self.named => {
                return Err(Failure::unexpected(format!(
                    "no server answered at {}",
                    self.base
                )));
            }
            Err(error) if error.is_connect() => return Err(not_running(&self.folder)),
            Err(error) => {
                return Err(Failure::unexpected(format!(
                    "the server did not answer: {}",
                    error.without_url()
                )));
            }
        };
        let answer = serde_json::from_str::<Value>(&text).unwrap_or_default();
        // The exit code separates mistakes of the user from failures of the server.
        match status {
            200..=299 if !answer.is_null() => Ok(answer),
            401 => Err(Failure::unexpected(format!(
                "the server does not accept the token in {}: does --data name another server's folder?",
                self.folder.display()
            ))),
            _ if answer.get("error").is_none() => Err(Failure::unexpected(format!(
                "{} does not answer like Foghorn (status {status})",
                self.base
            ))),
            _ => {
                let help = word(&answer, "help");
                let help = if help.is_empty() {
                    help
                } else {
                    format!("\n{help}")
                };
                let text = format!("{}{help}", word(&answer, "error"));
                Err(if matches!(status, 400 | 404 | 409) {
                    Failure::usage(text)
                } else {
                    Failure::unexpected(text)
                })
            }
        }
    }
}

fn not_running(folder: &Path) -> Failure {
    Failure::unexpected(format!(
        "no server is running on the data folder {}\n{}",
        folder.display(),
        hint(folder)
    ))
}

/// Returns the failure for a data folder this user may not read.
fn not_ours(error: &Error) -> Failure {
    Failure::unexpected(format!(
        "{error}\nrun this as the user that runs `foghorn serve`"
    ))
}

fn hint(folder: &Path) -> String {
    if folder.join("foghorn.db").exists() {
        "start `foghorn serve`; or run this as the user that does".to_owned()
    } else {
        "start `foghorn serve`, or name its data folder with --data".to_owned()
    }
}

/// Returns a field of an answer as text.
pub(super) fn word(answer: &Value, key: &str) -> String {
    answer
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
