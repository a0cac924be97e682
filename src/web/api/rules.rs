//! `/api/v1/rules` and `/api/v1/replay-diff`: shows the rules in force, previews a changed text and
//! applies it. This module handles permissions and formats; `rulebook` knows the rules file.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::request::{Request, bad};
use crate::model::{Timestamp, parse_duration};
use crate::store::Store;
use crate::web::State;
use crate::web::body::{read_body_of, read_json};
use crate::web::reply::{ApiError, refusal, reply};

/// Maximum size of a rules text, and of a request, because JSON escapes make a text longer.
pub const MAX_TEXT: usize = 256 * 1024;
const MAX_REQUEST: usize = 4 * MAX_TEXT;
/// Maximum period of a comparison.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The rules and their file.
pub trait Rulebook: Send + Sync {
    /// Returns the current rules.
    fn sheet(&self) -> BoxFuture<'_, Result<Sheet, Declined>>;
    /// Returns the problems of a text and the results of its tests.
    fn check(&self, text: String) -> BoxFuture<'_, Result<Findings, Declined>>;
    /// Returns a text with one rule and one test, after updating the test's expectations to include
    /// the rules in force.
    fn rehearse(&self, text: String) -> BoxFuture<'_, Result<String, Declined>>;
    /// Compares the rules in force with a text on the stored traffic; without a text, with the
    /// current file. Dropping the future stops it.
    fn compare(
        &self,
        text: Option<String>,
        since: Duration,
    ) -> BoxFuture<'_, Result<Value, Declined>>;
    /// Writes a text to the file and applies it.
    fn apply(&self, change: Change) -> BoxFuture<'_, Result<Applied, Declined>>;
}

/// The rules as people see them.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Path of the file, as the operator wrote it.
    pub file: String,
    /// Text of the file with redacted secrets.
    pub text: String,
    /// Version that a change must name; it changes with the file.
    pub version: String,
    /// Wall time at which the rules in force were loaded.
    pub loaded_at: Timestamp,
    /// True if the file differs from the rules in force.
    pub differs: bool,
    /// Reason why the rules cannot be changed here, if so.
    pub why_not: Option<String>,
    /// Problems of the file, and test results of the rules in force.
    pub findings: Findings,
}

/// Results of `foghorn check` and `foghorn test`.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Errors and warnings, by line.
    pub problems: Vec<Finding>,
    /// Test results; empty if there are errors.
    pub tests: Vec<Tested>,
    /// Duration of the tests in milliseconds.
    pub tests_ms: u64,
}

/// One problem.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Line from 1; 0 if the problem concerns no line.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// True if the text cannot be applied because of it.
    pub is_error: bool,
    /// Description of the problem.
    pub message: String,
    /// Advice.
    pub help: Option<String>,
}

/// Result of one test.
#[derive(Clone, Debug)]
pub struct Tested {
    /// Name of the test.
    pub name: String,
    /// Line of the test.
    pub line: u64,
    /// Reason of the failure; `None` if it passed.
    pub failure: Option<String>,
}

/// A requested change.
#[derive(Clone, Debug)]
pub struct Change {
    /// New text with redacted secrets.
    pub text: String,
    /// Version that the change is based on.
    pub version: String,
    /// True if the change is to be applied even if tests fail.
    pub despite_tests: bool,
    /// Author of the change.
    pub who: String,
}

/// An applied change.
#[derive(Clone, Debug)]
pub struct Applied {
    /// New version of the file.
    pub version: String,
    /// Warnings about the text.
    pub findings: Findings,
}

/// Reason of a refusal.
#[derive(Clone, Debug)]
pub enum Declined {
    /// The rules cannot be changed here.
    Off(String),
    /// The file has changed meanwhile; contains its version.
    Changed(String),
    /// The text has errors.
    Wrong(Findings),
    /// Tests of the text fail.
    Fails(Findings),
    /// Another change is in progress.
    Busy,
    /// The operation takes too long; contains advice.
    Slow(&'static str),
    /// Any other error, with advice.
    Failed(String, &'static str),
}

impl Declined {
    /// Returns the error for a failure that no person can correct in the text.
    pub fn failed<T>(what: &str, help: &'static str) -> Result<T, Self> {
        Err(Self::Failed(what.to_owned(), help))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checked {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compared {
    text: Option<String>,
    since: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    text: String,
    version: String,
    #[serde(default)]
    despite_tests: bool,
}

/// Handles requests for the rules.
pub(super) async fn answer<S: Store>(
    state: &State<S>,
    path: &[&str],
    request: Request,
) -> Result<Response, ApiError> {
    let nothing = || {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "nothing here",
            "docs/api.md lists what there is",
        )
    };
    let Some(rulebook) = state.rulebook.clone() else {
        return Err(nothing());
    };
    // Unknown parameters are errors here too: none of these paths has any.
    request.asked.only(&[])?;
    let no_method = |allow| {
        Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed",
            allow,
        ))
    };
    let found = match (path, &request.method) {
        (["rules"], &Method::GET | &Method::HEAD) => {
            rulebook.sheet().await.map(|sheet| sheet_json(&sheet))
        }
        (["rules"], &Method::PUT) => put(state, &rulebook, request).await?,
        (["rules"], _) => return no_method("GET, HEAD, PUT"),
        (["rules", "check"], &Method::POST) => {
            let Checked { text } = body(state, request).await?;
            bounded(Some(&text))?;
            rulebook
                .check(text)
                .await
                .map(|findings| findings_json(&findings))
        }
        (["rules", "rehearse"], &Method::POST) => {
            let Checked { text } = body(state, request).await?;
            bounded(Some(&text))?;
            rulebook
                .rehearse(text)
                .await
                .map(|text| json!({"text": text}))
        }
        (["replay-diff"], &Method::POST) => {
            let Compared { text, since } = body(state, request).await?;
            bounded(text.as_deref())?;
            let since =
                parse_duration(&since).map_err(|why| bad(format!("`since`: {why}"), "as in 7d"))?;
            // Zero would compare nothing, and the limit bounds the time of the fold.
            if since.is_zero() || since > LONGEST {
                return Err(bad(
                    "`since` is too short or longer than a year",
                    "as in 7d",
                ));
            }
            rulebook.compare(text, since).await
        }
        (["rules", "check" | "rehearse"] | ["replay-diff"], _) => return no_method("POST"),
        _ => return Err(nothing()),
    };
    // A declined request is no error of the server; its answer carries the findings.
    Ok(found.map_or_else(
        |declined| declined_reply(&declined),
        |value| reply(StatusCode::OK, &value),
    ))
}

async fn put<S: Store>(
    state: &State<S>,
    rulebook: &Arc<dyn Rulebook>,
    request: Request,
) -> Result<Result<Value, Declined>, ApiError> {
    let who = if request.user.name.is_empty() {
        "the page".to_owned()
    } else {
        request.user.name.clone()
    };
    let Put {
        text,
        version,
        despite_tests,
    } = body(state, request).await?;
    bounded(Some(&text))?;
    // The outcome is always an answer of its own; only a bad request is an error here.
    let applied = rulebook
        .apply(Change {
            text,
            version,
            despite_tests,
            who,
        })
        .await;
    Ok(applied.map(|applied| {
        let problems = problems_json(&applied.findings);
        json!({"version": applied.version, "reloaded": true, "problems": problems})
    }))
}

async fn body<S: Store, T: DeserializeOwned>(
    state: &State<S>,
    request: Request,
) -> Result<T, ApiError> {
    let media = ("application/json", MAX_REQUEST);
    let body = read_body_of(state, &request.headers, media, request.body).await?;
    // serde's message may quote the text, which can contain secrets; the position is enough.
    read_json(&body).map_err(|e| {
        let at = if e.line() > 0 {
            format!(" at line {}, column {}", e.line(), e.column())
        } else {
            String::new()
        };
        bad(
            format!("the body cannot be parsed{at}"),
            "docs/openapi.json says what it must hold",
        )
    })
}

fn bounded(text: Option<&str>) -> Result<(), ApiError> {
    if text.is_none_or(|text| text.len() <= MAX_TEXT) {
        return Ok(());
    }
    let help = "change the file itself";
    Err(ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the text is longer than 256 KiB",
        help,
    ))
}

fn sheet_json(sheet: &Sheet) -> Value {
    json!({
        "file": sheet.file, "text": sheet.text, "version": sheet.version, "loaded_at": sheet.loaded_at.rfc3339(),
        "differs": sheet.differs, "edit": sheet.why_not.is_none(), "why_not": sheet.why_not,
        "problems": problems_json(&sheet.findings), "tests": tests_json(&sheet.findings),
        "tests_ms": sheet.findings.tests_ms,
    })
}

fn findings_json(findings: &Findings) -> Value {
    json!({"problems": problems_json(findings), "tests": tests_json(findings), "tests_ms": findings.tests_ms})
}

fn problems_json(findings: &Findings) -> Vec<Value> {
    let one = |found: &Finding| {
        json!({
            "line": found.line, "column": found.column, "severity": if found.is_error { "error" } else { "warning" },
            "message": found.message, "help": found.help,
        })
    };
    findings.problems.iter().map(one).collect()
}

fn tests_json(findings: &Findings) -> Vec<Value> {
    let one = |test: &Tested| json!({"name": test.name, "line": test.line, "passed": test.failure.is_none(), "text": test.failure});
    findings.tests.iter().map(one).collect()
}

fn declined_reply(declined: &Declined) -> Response {
    let plain = |status, error: &str, help: &str| refusal(&ApiError::new(status, error, help));
    let judged = |error: &str, help: &str, findings: &Findings| {
        let (problems, tests) = (problems_json(findings), tests_json(findings));
        let body = json!({"error": error, "help": help, "problems": problems, "tests": tests});
        reply(StatusCode::UNPROCESSABLE_ENTITY, &body)
    };
    match declined {
        Declined::Off(why) => plain(StatusCode::FORBIDDEN, "the rules are not changed here", why),
        Declined::Changed(version) => {
            let error = "the file has changed meanwhile";
            let body = json!({"error": error, "help": "load it again and make your change to that", "version": version});
            reply(StatusCode::CONFLICT, &body)
        }
        Declined::Wrong(findings) => judged("the text has errors", "nothing was changed", findings),
        Declined::Fails(findings) => {
            judged("tests of the text fail", "nothing was changed", findings)
        }
        Declined::Busy => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "another one is under way",
            "try again soon",
        ),
        Declined::Slow(help) => plain(StatusCode::SERVICE_UNAVAILABLE, "it takes too long", help),
        Declined::Failed(error, help) => plain(StatusCode::INTERNAL_SERVER_ERROR, error, help),
    }
}
