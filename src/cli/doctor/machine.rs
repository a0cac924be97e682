//! Checks of this machine: clock, port, data folder, and access to the secrets.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::report::CheckResult;
use crate::app::backend;
use crate::config::Config;
use crate::model::{Timestamp, human_duration};
use crate::web::run_files::Address;

/// Earliest plausible time: 1 January 2026, …
const BUILT: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// … and latest: 1 January 2100.
const FAR: Timestamp = Timestamp::from_millis(4_102_444_800_000);
/// Tolerated error of the clock, in seconds.
const SKEW_SECONDS: i64 = 5;
/// Minimum free space on the disk.
const LEAST_FREE: u64 = 64 << 20;
/// Minimum length of a secret; a shorter one can be guessed.
const LEAST_SECRET: usize = 16;

/// Returns the name of this machine's time zone, or the reason why there is none.
pub(super) fn zone() -> Result<String, String> {
    let zone = jiff::tz::TimeZone::try_system().map_err(|e| e.to_string())?;
    Ok(zone.iana_name().unwrap_or("of no name").to_owned())
}

/// Checks the clock. `skews` are the seconds by which each destination's clock is ahead of ours.
/// `oldest` is the age beyond which events are ignored.
pub(super) fn clock(
    now: Timestamp,
    zone: Result<String, String>,
    skews: &[(String, i64)],
    oldest: Option<Duration>,
) -> CheckResult {
    const SET: &str = "switch on NTP: timedatectl set-ntp true";
    let said = now.rfc3339();
    if !(BUILT..FAR).contains(&now) {
        return CheckResult::problem("clock", format!("this machine says it is {said}"), SET);
    }
    // If destinations disagree, one of their clocks is wrong; the one nearest to ours is believed.
    let nearest = skews.iter().min_by_key(|(_, seconds)| seconds.abs());
    // A clock ahead by more than `max_event_age` silences Foghorn completely, so this is an error.
    if let Some((name, off)) = nearest
        && *off < 0
        && oldest.is_some_and(|oldest| off.unsigned_abs() > oldest.as_secs())
    {
        let span = human_duration(Duration::from_secs(off.unsigned_abs()));
        let what = format!(
            "{said}: {span} ahead of the clock of {name}: all events look too old, so nobody is notified"
        );
        return CheckResult::problem(
            "clock",
            what,
            format!("{SET}; or `max_event_age: never` where no clock can be trusted"),
        );
    }
    let zone = match zone {
        Ok(zone) => zone,
        Err(why) => {
            let what = format!(
                "{said}; the time zone of this machine is unknown, so times are UTC: {why}"
            );
            return CheckResult::warning(
                "clock",
                what,
                "set one: timedatectl set-timezone Europe/Berlin",
            );
        }
    };
    match nearest {
        Some((name, off)) if off.abs() > SKEW_SECONDS => {
            let way = if *off > 0 { "behind" } else { "ahead of" };
            let span = human_duration(Duration::from_secs(off.unsigned_abs()));
            CheckResult::warning(
                "clock",
                format!("{said}: {span} {way} the clock of {name}"),
                SET,
            )
        }
        Some((name, _)) => {
            CheckResult::ok("clock", format!("{said}, zone {zone}; agrees with {name}"))
        }
        None => CheckResult::ok(
            "clock",
            format!("{said}, zone {zone}; no other clock to compare with"),
        ),
    }
}

pub(super) fn port(listen: SocketAddr, folder: &Path) -> CheckResult {
    // A running server holds the port itself, so binding it would fail without a fault.
    let held = backend::held(folder);
    if held.is_none() {
        let what = format!(
            "this user cannot find out whether a server runs on {}",
            folder.display()
        );
        return CheckResult::warning("port", what, as_user(folder));
    }
    if held == Some(true) {
        return match Address::read(folder) {
            Some(address) if address.port() == listen.port() || listen.port() == 0 => {
                CheckResult::ok("port", format!("the server listens on {address}"))
            }
            Some(address) => {
                let what = format!("the server listens on {address}, the config says {listen}");
                CheckResult::warning(
                    "port",
                    what,
                    "`server.listen` takes effect at the next start, and --listen overrides it",
                )
            }
            None => CheckResult::warning(
                "port",
                "the server does not listen yet",
                "run doctor again in a few seconds",
            ),
        };
    }
    match std::net::TcpListener::bind(listen) {
        Ok(_) => CheckResult::ok("port", format!("{listen} is free")),
        Err(error) => {
            // The three frequent reasons have different remedies.
            let help = match error.kind() {
                ErrorKind::AddrInUse => format!(
                    "find the program that uses it: ss -ltnp 'sport = :{}'. Stop it, or choose another port in `server.listen`",
                    listen.port()
                ),
                ErrorKind::PermissionDenied => {
                    "ports below 1024 need root: use 8080 behind a proxy".into()
                }
                ErrorKind::AddrNotAvailable => {
                    "this machine has no such address: see `ip address`".into()
                }
                _ => "choose another in `server.listen`".into(),
            };
            CheckResult::problem("port", format!("cannot listen on {listen}: {error}"), help)
        }
    }
}

/// Checks the data folder: owner, write access, and free space for `kept` bytes of database.
pub(super) fn folder(dir: &Path, kept: u64) -> Vec<CheckResult> {
    let at = dir.display();
    let problem =
        |what: String, help: String| vec![CheckResult::problem("data folder", what, help)];
    // A missing folder is normal before the first start, but may also be a wrong path.
    let meta = match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => {
            return problem(
                format!("{at} is not a folder"),
                "name another with `server.data` or --data".into(),
            );
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let help = "`foghorn serve` creates it at its first start; is it the folder that your service names?";
            return vec![CheckResult::warning(
                "data folder",
                format!("{at} does not exist yet"),
                help,
            )];
        }
        Err(error) => return problem(format!("{at}: {error}"), as_user(dir)),
    };
    let me = rustix::process::geteuid().as_raw();
    let mut findings = Vec::new();
    // Writing as another user, such as root, would prove nothing about the service.
    if meta.uid() != me {
        let what = format!(
            "{at} belongs to user {}, but doctor runs as user {me}: write access was not checked",
            meta.uid()
        );
        findings.push(CheckResult::warning("data folder", what, as_user(dir)));
    } else if let Err(error) = try_writing(dir) {
        return problem(
            format!("cannot write into {at}: {error}"),
            writing_help(&error),
        );
    } else if meta.permissions().mode() & 0o007 != 0 {
        let what = format!("{at} can be read by everyone on this machine");
        findings.push(CheckResult::warning(
            "data folder",
            what,
            format!("chmod 700 {at}"),
        ));
    } else {
        findings.push(CheckResult::ok(
            "data folder",
            format!("{at} can be written"),
        ));
    }
    // These problems are independent of the first one, so they are reported too.
    findings.extend(not_its_owners(dir, &meta));
    findings.extend(room(dir, kept));
    findings
}

/// Returns the `sudo` prefix for a command, if the folder belongs to another user.
pub(super) fn as_owner(dir: &Path) -> String {
    match fs::metadata(dir).map(|meta| meta.uid()) {
        Ok(owner) if owner != rustix::process::geteuid().as_raw() => {
            format!("sudo -u {} ", user(owner))
        }
        _ => String::new(),
    }
}

/// Returns the advice to run doctor as the owner of the folder.
pub(super) fn as_user(dir: &Path) -> String {
    let who = as_owner(dir);
    let who = if who.is_empty() {
        "sudo -u foghorn ".to_owned()
    } else {
        who
    };
    format!("run doctor as the user of the service: {who}foghorn doctor …")
}

/// Returns the name of a user, as `sudo -u` and `chown` accept it.
fn user(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("'#{uid}'"))
}

/// Finds files in the folder that its owner cannot read and write, for example because root created
/// them.
fn not_its_owners(dir: &Path, owner: &fs::Metadata) -> Option<CheckResult> {
    const FILES: [&str; 10] = [
        "foghorn.db",
        "foghorn.db-wal",
        "foghorn.db-shm",
        "foghorn.lock",
        "foghorn.marker",
        "search.db",
        "search.db-wal",
        "search.db-shm",
        "token",
        "address",
    ];
    // Unix permissions apply by class: an owner without a right does not get it from the group.
    let is_shut = |path: &std::path::PathBuf| {
        let Ok(meta) = fs::metadata(path) else {
            return false;
        };
        let needed = if meta.uid() == owner.uid() {
            0o600
        } else if meta.gid() == owner.gid() {
            0o060
        } else {
            0o006
        };
        owner.uid() != 0 && meta.permissions().mode() & needed != needed
    };
    let shut: Vec<String> = FILES
        .iter()
        .map(|name| dir.join(name))
        .filter(is_shut)
        .map(|path| path.display().to_string())
        .collect();
    // One finding for all files, because one command repairs them.
    (!shut.is_empty()).then(|| {
        let what = format!(
            "the service runs as {} here, but that user cannot read and write {}",
            user(owner.uid()),
            shut.join(", ")
        );
        let at = dir.display();
        let help = format!(
            "sudo chown -R {}:{} {at} && sudo chmod -R u+rwX {at}",
            owner.uid(),
            owner.gid()
        );
        CheckResult::problem("data folder", what, help)
    })
}

fn writing_help(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull => "the disk is full: free some space".to_owned(),
        ErrorKind::ReadOnlyFilesystem => {
            "mounted read-only: check `mount` and the kernel log".to_owned()
        }
        _ => "change its owner to the user of the service: chown -R foghorn: DIR".to_owned(),
    }
}

fn try_writing(dir: &Path) -> std::io::Result<()> {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(&[0; 4_096])?;
            file.sync_all()
        });
    let _ = fs::remove_file(&path);
    written
}

fn room(dir: &Path, kept: u64) -> Option<CheckResult> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let used = fs::metadata(dir.join("foghorn.db")).map_or(0, |meta| meta.len());
    Some(judge_room(free, kept.saturating_sub(used)))
}

/// Judges the free space. `grows` is the number of bytes the database may still grow.
pub(super) fn judge_room(free: u64, grows: u64) -> CheckResult {
    let (mib, more) = (free >> 20, grows >> 20);
    let what = format!("{mib} MiB free; the database may grow by {more} MiB");
    let help = "free some space, or lower `server.retention.size`. With a full disk posts are answered 503, and Mist's events are lost";
    if free < LEAST_FREE {
        CheckResult::problem("disk", what, help)
    } else if free < grows {
        CheckResult::warning("disk", what, help)
    } else {
        CheckResult::ok("disk", what)
    }
}

/// Checks the secrets of the sources, and who can read the files with secrets.
pub(super) fn secrets(config: &Config) -> Vec<CheckResult> {
    let mut findings = Vec::new();
    for source in &config.sources {
        let check = format!("secret of `{}`", source.name);
        let short = source
            .secrets
            .iter()
            .any(|secret| secret.expose().len() < LEAST_SECRET);
        // The worst of the three states is reported: no secret, a weak one, or a good one.
        findings.push(if source.secrets.is_empty() {
            let help =
                "set MIST_WEBHOOK_SECRET, or `secrets` of the source, to the secret that Mist has";
            let who = if source.allow_unsigned {
                "anyone"
            } else {
                "this machine"
            };
            CheckResult::warning(
                &check,
                format!("none is set: unsigned posts are accepted from {who}"),
                help,
            )
        } else if short {
            let what = format!("shorter than {LEAST_SECRET} characters: it can be guessed");
            CheckResult::warning(
                &check,
                what,
                "use a better one, here and in Mist: openssl rand -hex 32",
            )
        } else {
            CheckResult::ok(&check, "posts must be signed")
        });
    }
    findings.extend(private("the token", &config.server.data.join("token")));
    findings
}

/// Finds a file with secrets that every user can read.
pub(super) fn private(what: &str, path: &Path) -> Option<CheckResult> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    let at = path.display();
    (mode & 0o007 != 0).then(|| {
        let what =
            format!("{what}, {at}, can be read by everyone on this machine (mode {mode:04o})");
        CheckResult::warning("secrets", what, format!("chmod o= {at}"))
    })
}
