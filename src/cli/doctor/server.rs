//! Checks of the journal, and of the server that may be running.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::report::{CheckResult, CheckStatus};
use crate::app::backend::{self, JournalReader};
use crate::model::{Name, Secret, Timestamp, human_duration, plural};
use crate::web::UNSTORED;
use crate::web::run_files::{self, Address};
use crate::wire;

/// Time without posts after which a source is suspicious.
const QUIET: Duration = Duration::from_secs(86_400);
/// Waiting time after which a message is late.
const LATE: Duration = Duration::from_secs(600);
/// Number of newest entries whose checksums are verified.
const ENTRIES: u64 = 300;
/// Time limits of the integrity check: beside a running server, which cannot checkpoint its log
/// during the check, and without one.
const BESIDE: Duration = Duration::from_secs(3);
pub(super) const ALONE: Duration = Duration::from_secs(60);
pub(super) const RESTART: &str =
    "restart it: systemctl restart foghorn; its log may say why: journalctl -u foghorn";
const START: &str =
    "start it: systemctl start foghorn; if it runs, is this its data folder? --data names another";
const PORTAL: &str = "check the webhook in Mist's portal: is it enabled, are its URL and topics right? Then press its test button";

/// Checks that the database is readable, the age of its newest entry, and the newest post of each
/// source.
pub(super) fn journal(dir: &Path, sources: Vec<Name>, now: Timestamp) -> Vec<CheckResult> {
    let (database, marker) = (dir.join("foghorn.db"), dir.join("foghorn.marker"));
    if !database.exists() && !marker.exists() {
        return vec![CheckResult::ok(
            "journal",
            "none yet: the first start creates it",
        )];
    }
    let damaged = |what: String| {
        let help = way_out(dir, &what);
        vec![CheckResult::problem("journal", what, help)]
    };
    let is_served = backend::held(dir) != Some(false);
    // A file that this user may not read is not damaged for that reason.
    for name in ["foghorn.db", "foghorn.db-wal", "foghorn.db-shm"] {
        if let Err(error) = std::fs::File::open(dir.join(name))
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            let what = format!(
                "{} cannot be read by this user, so it was not checked",
                dir.join(name).display()
            );
            return vec![CheckResult::problem(
                "journal",
                what,
                super::machine::as_user(dir),
            )];
        }
    }
    // A running server is writing to the log, so only a closed one can be checked.
    if !is_served && let Some(what) = backend::log_damage(dir) {
        return damaged(what);
    }
    let reader = match JournalReader::open(dir) {
        Ok(reader) => reader,
        Err(error) => return damaged(error.to_string()),
    };
    let newest = match reader.check(ENTRIES).and_then(|()| reader.newest()) {
        Ok(newest) => newest,
        Err(error) => return damaged(error.to_string()),
    };
    // An open read keeps the server from shortening its log, so beside it the check is short.
    let looked = match reader.whole(if is_served { BESIDE } else { ALONE }) {
        Ok(true) => "all pages are intact",
        Ok(false) => {
            "the pages checked in a few seconds are intact; `serve` checks all of them at its start and once a day"
        }
        Err(error) => return damaged(error.to_string()),
    };
    let mut findings = vec![match newest {
        Some((seq, at)) => CheckResult::ok(
            "journal",
            format!("its newest entry, {seq}, is {}; {looked}", ago(now, at)),
        ),
        None => CheckResult::ok("journal", format!("empty; {looked}")),
    }];
    for source in sources {
        let check = format!("posts of `{source}`");
        findings.push(match reader.heard(&source) {
            Ok(Some(at)) if now.since(at) > QUIET => {
                CheckResult::warning(&check, ago(now, at), PORTAL)
            }
            Ok(Some(at)) => CheckResult::ok(&check, ago(now, at)),
            Ok(None) => CheckResult::warning(&check, "none in the stored journal", PORTAL),
            Err(error) => {
                CheckResult::problem(&check, error.to_string(), way_out(dir, &error.to_string()))
            }
        });
    }
    findings
}

/// Returns advice about an unusable database.
fn way_out(dir: &Path, what: &str) -> String {
    const BACKUP: &str = "restore a backup (docs/install.md)";
    let (at, who) = (dir.display(), super::machine::as_owner(dir));
    // The reason is known only as text, because the errors come from SQLite and the system too.
    if what.contains("newer Foghorn") {
        return "install that version again, or restore a backup from before the upgrade (docs/install.md)".to_owned();
    }
    if what.contains("not a Foghorn database") {
        return "the file belongs to another program: does `server.data` name the right folder? If so, move the file away".to_owned();
    }
    if ["permission denied", "unable to open", "readonly"]
        .iter()
        .any(|word| what.to_lowercase().contains(word))
    {
        return super::machine::as_user(dir);
    }
    let has_log = std::fs::metadata(dir.join("foghorn.db-wal")).is_ok_and(|meta| meta.len() > 0);
    if !has_log && (!dir.join("foghorn.db").exists() || what.contains("it is empty")) {
        return format!("{BACKUP}, or {}", backend::begin_anew(dir));
    }
    format!(
        "stop the server; `{who}foghorn repair --data {at}` saves everything readable and keeps the damaged file\n\
         or {BACKUP}; if nothing can be saved, {}",
        backend::begin_anew(dir)
    )
}

/// Finds a token that `serve` would refuse.
pub(super) fn token(dir: &Path) -> Option<CheckResult> {
    let error = run_files::read_token(dir)
        .err()
        .filter(|error| error.kind() == std::io::ErrorKind::InvalidData)?;
    let help = "the next start creates a new one; links in messages sent so far stop working";
    Some(CheckResult::problem("token", error.to_string(), help))
}

fn ago(now: Timestamp, then: Timestamp) -> String {
    if then > now.shifted(5_000) {
        return format!(
            "{} in the future: was the clock set back?",
            human_duration(then.since(now))
        );
    }
    match now.since(then) {
        span if span < Duration::from_secs(1) => "new".to_owned(),
        span => format!(
            "{} old",
            human_duration(Duration::from_secs(span.as_secs()))
        ),
    }
}

/// Returns the address of this folder's server, if one runs.
fn address(dir: &Path) -> Option<SocketAddr> {
    Address::read(dir).filter(|_| backend::is_held(dir))
}

/// Returns the finding about a server that cannot be reached.
fn not_running(dir: &Path, mark: CheckStatus) -> CheckResult {
    let at = dir.display();
    let (what, help) = match backend::held(dir) {
        None => (
            format!("this user cannot find out whether one runs on {at}"),
            super::machine::as_user(dir),
        ),
        Some(true) => (
            format!("one uses {at}, but does not listen yet"),
            "run doctor again in a few seconds".to_owned(),
        ),
        Some(false) if dir.exists() && !dir.is_dir() => (
            format!("none can run on {at}: it is not a folder"),
            "name another with `server.data` or --data".to_owned(),
        ),
        Some(false) => (format!("none runs on {at}"), START.to_owned()),
    };
    CheckResult::new(mark, "server", what, help)
}

/// Checks that the server answers, for health checks.
pub(super) async fn alive(dir: PathBuf) -> CheckResult {
    let Some(address) = address(&dir) else {
        return not_running(&dir, CheckStatus::Problem);
    };
    match ask(address, "healthz", None).await {
        Ok((StatusCode::OK, _)) => CheckResult::ok("server", format!("{address} answers")),
        Ok((status, _)) => {
            CheckResult::problem("server", format!("{address} answers {status}"), RESTART)
        }
        Err(why) => CheckResult::problem("server", format!("{address}: {why}"), RESTART),
    }
}

/// Checks that the running server keeps up, and its counters.
pub(super) async fn running(dir: PathBuf, now: Timestamp) -> Vec<CheckResult> {
    let Some(address) = address(&dir) else {
        return vec![not_running(&dir, CheckStatus::Warning)];
    };
    // The endpoints below need the token; without it their answer would be a refusal.
    let token = match run_files::read_token(&dir) {
        Ok(token) => token,
        Err(error) => {
            return vec![CheckResult::warning(
                "server",
                format!("not asked: {error}"),
                super::machine::as_user(&dir),
            )];
        }
    };
    // A full disk and a backlog both give 503, but need different actions.
    let mut findings = match ask(address, "readyz", Some(&token)).await {
        Ok((StatusCode::OK, _)) => vec![CheckResult::ok("server", format!("{address} is ready"))],
        Ok((StatusCode::SERVICE_UNAVAILABLE, text)) if text.trim() == UNSTORED => {
            let help = "free some space on its disk: until then posts are answered 503";
            vec![CheckResult::problem("server", text.trim(), help)]
        }
        Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => {
            let help = "wait: it accepts posts meanwhile";
            vec![CheckResult::warning(
                "server",
                "it is still processing posts from before its start",
                help,
            )]
        }
        Ok((status, _)) => {
            return vec![CheckResult::problem(
                "server",
                format!("{address} answers {status}"),
                RESTART,
            )];
        }
        Err(why) => {
            return vec![CheckResult::problem(
                "server",
                format!("{address}: {why}"),
                RESTART,
            )];
        }
    };
    // The details need a running server only; without them the findings above still stand.
    if let Ok((StatusCode::OK, text)) = ask(address, "metrics", Some(&token)).await {
        findings.extend(counted(&text));
    }
    if let Ok((StatusCode::OK, text)) = ask(address, "api/v1/destinations", Some(&token)).await {
        findings.extend(told(&text, now));
    }
    if let Ok((StatusCode::OK, text)) = ask(address, "api/v1/incidents", Some(&token)).await {
        findings.extend(followed(&text));
    }
    findings
}

/// Judges the number of open alerts, from the server's API.
pub(super) fn followed(text: &str) -> Option<CheckResult> {
    let answer = serde_json::from_str::<Value>(text).ok()?;
    let alerts = answer.get("alerts")?;
    let number = |key: &str| alerts.get(key).and_then(Value::as_u64).unwrap_or_default();
    let (open, limit) = (number("open"), number("limit"));
    let rules = alerts.get("rules").and_then(Value::as_array);
    let held: Vec<String> = rules
        .into_iter()
        .flatten()
        .filter_map(|one| {
            let (rule, open) = (one.get("rule")?.as_str()?, one.get("open")?.as_u64()?);
            Some(format!("{rule} holds {open}"))
        })
        .collect();
    let what = format!("{open} of {limit} alerts are open");
    let help =
        "a rule that holds most of them may need a wider `by`, a `threshold` or a narrower `match`";
    if alerts.get("full_since").is_some_and(Value::is_string) {
        let passed_on = plural(number("passed_on"), "event");
        let what = format!(
            "{what}: {passed_on} notified without an alert; {}",
            held.join(", ")
        );
        return Some(CheckResult::problem("alerts", what, help));
    }
    // At four fifths of the limit there is still time to change the rules.
    if open * 5 >= limit * 4 {
        let what = format!("{what}; {}", held.join(", "));
        return Some(CheckResult::warning("alerts", what, help));
    }
    Some(CheckResult::ok("alerts", what))
}

/// Judges the metrics: version of the server, refused posts, dead letters.
pub(super) fn counted(text: &str) -> Vec<CheckResult> {
    let mut findings = Vec::new();
    let mine = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    // The metric has a row for the running version only.
    if sum(text, "foghorn_build_info", &mine) == 0 {
        let what = "the running server has another version than this command";
        findings.push(CheckResult::warning(
            "server",
            what,
            "after an upgrade: systemctl restart foghorn",
        ));
    }
    let (refused, taken) = (
        sum(text, "foghorn_posts_total", "answer=\"401\""),
        sum(text, "foghorn_posts_total", "answer=\"200\""),
    );
    const SECRETS: &str = "the secret here and the one in Mist must be the same: set MIST_WEBHOOK_SECRET, or list both \
                           under `secrets` while you change it";
    // Single refused posts may come from a scanner; if none was accepted, the secret is wrong.
    findings.push(match (refused, taken) {
        (0, _) => CheckResult::ok(
            "signatures",
            format!(
                "none rejected since the start; {} accepted",
                plural(taken, "post")
            ),
        ),
        (_, 0) => CheckResult::problem(
            "signatures",
            format!(
                "all {} since the start were rejected",
                plural(refused, "post")
            ),
            SECRETS,
        ),
        _ => {
            let what = format!(
                "{} rejected since the start, {taken} accepted",
                plural(refused, "post")
            );
            CheckResult::warning("signatures", what, SECRETS)
        }
    });
    let dead = sum(text, "foghorn_message_fates", "fate=\"dead\"");
    // Dead letters stay until a person acts on them.
    if dead > 0 {
        let help = "see the reasons: foghorn dead-letters; then resend or discard them";
        findings.push(CheckResult::warning(
            "dead letters",
            format!("{} given up", plural(dead, "message")),
            help,
        ));
    }
    findings
}

/// Judges each destination, from the server's API: refusals, waiting messages, repeated failures.
pub(super) fn told(text: &str, now: Timestamp) -> Vec<CheckResult> {
    let answer = serde_json::from_str::<Value>(text).unwrap_or_default();
    let all = answer.get("destinations").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|one| how_it_does(one, now))
        .collect()
}

fn how_it_does(one: &Value, now: Timestamp) -> Option<CheckResult> {
    let word = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
    let (name, state) = (word("name"), word("state"));
    let queued = one.get("queued").and_then(Value::as_u64).unwrap_or(0);
    let oldest = Timestamp::parse_rfc3339(word("oldest"))
        .map(|at| now.since(at))
        .unwrap_or_default();
    // Whole seconds are precise enough for people.
    let span = |span: Duration| human_duration(Duration::from_secs(span.as_secs()));
    // The advice depends on the number and age of waiting messages, so each finding contains them.
    let waits = match queued {
        0 => "nothing waits".to_owned(),
        1 => format!("1 message waits, for {}", span(oldest)),
        _ => format!(
            "{} wait, the oldest for {}",
            plural(queued, "message"),
            span(oldest)
        ),
    };
    let error = one.get("last_error").filter(|error| error.is_object());
    let of_error = |key: &str| {
        error
            .and_then(|error| error.get(key)?.as_str())
            .unwrap_or_default()
    };
    let why = match Timestamp::parse_rfc3339(of_error("at")) {
        Some(at) => format!("; last failure, {}: {}", ago(now, at), of_error("why")),
        None => String::new(),
    };
    let since = match Timestamp::parse_rfc3339(word("last_success")) {
        Some(at) => format!("last success {}", ago(now, at)),
        None => "no success since the start".to_owned(),
    };
    let check = format!("messages to {name}");
    // A destination without problems yields no finding, so that the problems stand out.
    Some(match state {
        "refuses" => CheckResult::problem(
            &check,
            format!("it refuses all messages; {waits}; {since}{why}"),
            format!(
                "create a new webhook there and replace this URL; `foghorn send-test {name}` tests it. Foghorn tries the old one once an hour"
            ),
        ),
        "gone" if queued > 0 => CheckResult::warning(
            &check,
            format!("this destination is not in the config, and {waits}"),
            "add it to `destinations:` again to send these messages",
        ),
        "fails" | "paused" if queued > 0 || state == "fails" => CheckResult::warning(
            &check,
            format!("the last attempt failed; {waits}; {since}{why}"),
            format!(
                "Foghorn tries again by itself. If this continues, `foghorn send-test {name}` shows what the destination answers"
            ),
        ),
        _ if queued > 0 && oldest >= LATE => CheckResult::warning(
            &check,
            format!("{waits}; {since}{why}"),
            "more messages than its `rate_limit` allows: `foghorn tune` finds the noise; or raise the limit, if the destination allows it",
        ),
        _ => return None,
    })
}

/// Returns the sum of a metric over its rows with this label.
fn sum(text: &str, name: &str, label: &str) -> u64 {
    let rows = text.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{'))
    });
    rows.filter(|line| line.contains(label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

async fn ask(
    address: SocketAddr,
    path: &str,
    token: Option<&Secret>,
) -> Result<(StatusCode, String), String> {
    let mut request = wire::direct()
        .map_err(|e| e.to_string())?
        .get(format!("http://{address}/{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    let failed = |error: reqwest::Error| format!("no answer ({})", error.without_url());
    let response = request.timeout(super::LIMIT).send().await.map_err(failed)?;
    Ok((response.status(), response.text().await.map_err(failed)?))
}
