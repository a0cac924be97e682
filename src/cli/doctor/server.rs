//! The journal, and the server that may be running on it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;

use super::report::{Finding, Mark};
use crate::destination::http;
use crate::model::{Name, Secret, Timestamp, human_duration, plural};
use crate::store::{self, Reader};
use crate::web::access::{self, Address};

/// A network that sends nothing for longer is unusual.
const QUIET: Duration = Duration::from_secs(86_400);
/// So many of the newest entries are read and their checksums asked.
const ENTRIES: u64 = 300;
/// All pages are looked at for so long, beside a server, whose log cannot be put away meanwhile, and where there is none.
const BESIDE: Duration = Duration::from_secs(3);
pub(super) const ALONE: Duration = Duration::from_secs(60);
pub(super) const RESTART: &str = "restart it: systemctl restart foghorn; its log may say why: journalctl -u foghorn";
const START: &str = "start it: systemctl start foghorn; if it runs, is this its data folder? --data names another";
const PORTAL: &str =
    "in Mist's portal, look at the webhook: its URL, its topics, whether it is enabled; and press its test";

/// Whether the database can be read, how new it is, and when each source was heard last.
pub(super) fn journal(dir: &Path, sources: Vec<Name>, now: Timestamp) -> Vec<Finding> {
    let (database, marker) = (dir.join("foghorn.db"), dir.join("foghorn.marker"));
    if !database.exists() && !marker.exists() {
        return vec![Finding::ok("journal", "none yet: the first start makes it")];
    }
    let damaged = |what: String| {
        let help = way_out(dir, &what);
        vec![Finding::problem("journal", what, help)]
    };
    let is_served = store::held(dir) != Some(false);
    // While it is served it is written at.
    if !is_served && let Some(what) = store::log_damage(dir) {
        return damaged(what);
    }
    let reader = match Reader::open(dir) {
        Ok(reader) => reader,
        Err(error) => return damaged(error.to_string()),
    };
    let newest = match reader.check(ENTRIES).and_then(|()| reader.newest()) {
        Ok(newest) => newest,
        Err(error) => return damaged(error.to_string()),
    };
    let looked = match reader.whole(if is_served { BESIDE } else { ALONE }) {
        Ok(true) => "every page is sound",
        Ok(false) => {
            "what could be looked at in a few seconds is sound; `serve` looks at all of it at its start and each day"
        }
        Err(error) => return damaged(error.to_string()),
    };
    let mut findings = vec![match newest {
        Some((seq, at)) => Finding::ok("journal", format!("its newest entry, {seq}, is {}; {looked}", ago(now, at))),
        None => Finding::ok("journal", format!("empty; {looked}")),
    }];
    for source in sources {
        let check = format!("heard of `{source}`");
        findings.push(match reader.heard(&source) {
            Ok(Some(at)) if now.since(at) > QUIET => Finding::warning(&check, ago(now, at), PORTAL),
            Ok(Some(at)) => Finding::ok(&check, ago(now, at)),
            Ok(None) => Finding::warning(&check, "nothing that is still kept", PORTAL),
            Err(error) => Finding::problem(&check, error.to_string(), way_out(dir, &error.to_string())),
        });
    }
    findings
}

/// What to do about a database that cannot be used.
fn way_out(dir: &Path, what: &str) -> String {
    const BACKUP: &str = "restore a backup (docs/install.md)";
    let at = dir.display();
    if what.contains("newer Foghorn") {
        return "install that version again, or restore a backup from before the upgrade (docs/install.md)".to_owned();
    }
    if what.contains("not a Foghorn database") {
        return "another program's file: does `server.data` name the right folder? If so, move it away".to_owned();
    }
    if what.to_lowercase().contains("permission denied") {
        return super::machine::AS_USER.to_owned();
    }
    let has_log = std::fs::metadata(dir.join("foghorn.db-wal")).is_ok_and(|meta| meta.len() > 0);
    if !has_log && (!dir.join("foghorn.db").exists() || what.contains("it is empty")) {
        return format!("{BACKUP}, or {}", store::begin_anew(dir));
    }
    format!(
        "stop the server; `foghorn repair --data {at}` saves what is whole and keeps the damaged file\n\
         or {BACKUP}; if nothing can be saved, {}",
        store::begin_anew(dir)
    )
}

/// A token that `serve` would refuse.
pub(super) fn token(dir: &Path) -> Option<Finding> {
    let error = access::read_token(dir).err().filter(|error| error.kind() == std::io::ErrorKind::InvalidData)?;
    let help = "the next start makes a new one; the links in messages sent so far end with the old one";
    Some(Finding::problem("token", error.to_string(), help))
}

fn ago(now: Timestamp, then: Timestamp) -> String {
    if then > now.shifted(5_000) {
        return format!("{} in the future: was the clock set back?", human_duration(then.since(now)));
    }
    match now.since(then) {
        span if span < Duration::from_secs(1) => "new".to_owned(),
        span => format!("{} old", human_duration(Duration::from_secs(span.as_secs()))),
    }
}

/// Where the server of this folder listens, where one runs.
fn address(dir: &Path) -> Option<SocketAddr> {
    Address::read(dir).filter(|_| store::is_held(dir))
}

/// Why no server is asked.
fn not_running(dir: &Path, mark: Mark) -> Finding {
    let at = dir.display();
    let (what, help) = match store::held(dir) {
        None => (format!("whether one runs on {at} cannot be told by this user"), super::machine::AS_USER),
        Some(true) => (format!("one holds {at}, and does not listen yet"), "ask again in a few seconds"),
        Some(false) if dir.exists() && !dir.is_dir() => {
            (format!("none can run on {at}: it is not a folder"), "name another with `server.data` or --data")
        }
        Some(false) => (format!("none runs on {at}"), START),
    };
    Finding::new(mark, "server", what, help)
}

/// For health checks: the server is there and answers.
pub(super) async fn alive(dir: PathBuf) -> Finding {
    let Some(address) = address(&dir) else {
        return not_running(&dir, Mark::Problem);
    };
    match ask(address, "healthz", None).await {
        Ok((StatusCode::OK, _)) => Finding::ok("server", format!("{address} answers")),
        Ok((status, _)) => Finding::problem("server", format!("{address} answers {status}"), RESTART),
        Err(why) => Finding::problem("server", format!("{address}: {why}"), RESTART),
    }
}

/// The running server: whether it keeps up, and what it counted.
pub(super) async fn running(dir: PathBuf) -> Vec<Finding> {
    let Some(address) = address(&dir) else { return vec![not_running(&dir, Mark::Warning)] };
    let token = match access::read_token(&dir) {
        Ok(token) => token,
        Err(error) => return vec![Finding::warning("server", format!("not asked: {error}"), super::machine::AS_USER)],
    };
    let mut findings = match ask(address, "readyz", Some(&token)).await {
        Ok((StatusCode::OK, _)) => vec![Finding::ok("server", format!("{address} is ready"))],
        Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => {
            let help = "wait: it takes posts meanwhile";
            vec![Finding::warning("server", "it still judges what came before its start", help)]
        }
        Ok((status, _)) => return vec![Finding::problem("server", format!("{address} answers {status}"), RESTART)],
        Err(why) => return vec![Finding::problem("server", format!("{address}: {why}"), RESTART)],
    };
    if let Ok((StatusCode::OK, text)) = ask(address, "metrics", Some(&token)).await {
        findings.extend(counted(&text));
    }
    findings
}

/// What the metrics say: the version that runs, posts that were refused, messages that were given up.
pub(super) fn counted(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mine = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    if sum(text, "foghorn_build_info", &mine) == 0 {
        let what = "another version runs than this one";
        findings.push(Finding::warning("server", what, "after an upgrade: systemctl restart foghorn"));
    }
    let (refused, taken) =
        (sum(text, "foghorn_posts_total", "answer=\"401\""), sum(text, "foghorn_posts_total", "answer=\"200\""));
    const SECRETS: &str = "the secret here and the one in Mist must be the same: set MIST_WEBHOOK_SECRET, or list both \
                           under `secrets` while you change it";
    findings.push(match (refused, taken) {
        (0, _) => Finding::ok("signatures", format!("none refused since the start; {} taken", plural(taken, "post"))),
        (_, 0) => Finding::problem(
            "signatures",
            format!("all of {} since the start were refused", plural(refused, "post")),
            SECRETS,
        ),
        _ => {
            let what = format!("{} refused since the start, {taken} taken", plural(refused, "post"));
            Finding::warning("signatures", what, SECRETS)
        }
    });
    let dead = sum(text, "foghorn_message_fates", "fate=\"dead\"");
    if dead > 0 {
        let help = "see why: foghorn dead-letters; then send them again, or discard them";
        findings.push(Finding::warning("dead letters", format!("{} given up", plural(dead, "message")), help));
    }
    findings
}

/// The sum of a metric over its rows that hold this label.
fn sum(text: &str, name: &str, label: &str) -> u64 {
    let rows = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
    rows.filter(|line| line.contains(label)).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

async fn ask(address: SocketAddr, path: &str, token: Option<&Secret>) -> Result<(StatusCode, String), String> {
    let mut request = http::direct().map_err(|e| e.to_string())?.get(format!("http://{address}/{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    let failed = |error: reqwest::Error| format!("it does not answer ({})", error.without_url());
    let response = request.timeout(super::LIMIT).send().await.map_err(failed)?;
    Ok((response.status(), response.text().await.map_err(failed)?))
}
