//! What a service manager gets: the unit's hardening, the package's files, and the conversation
//! over `NOTIFY_SOCKET`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{binary, eventually};

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/foghorn.service");

#[test]
fn the_unit_exposes_little() {
    let told = Command::new("systemd-analyze")
        .args(["security", "--offline=true", UNIT])
        .output();
    let Ok(told) = told else {
        support::lacks("no systemd-analyze here (apt-get install systemd)");
        return;
    };
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let level = text
        .lines()
        .find_map(|line| line.split("exposure level for foghorn.service: ").nth(1));
    let level: f64 = level
        .and_then(|level| level.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{told:?}"));
    assert!(level < 2.0, "{text}");
}

#[test]
fn the_unit_starts_what_the_package_installs() {
    let unit = std::fs::read_to_string(UNIT).unwrap();
    for line in [
        "Type=notify",
        "WatchdogSec=60",
        "ExecStart=/usr/bin/foghorn serve --config /etc/foghorn/rules.yaml --data /var/lib/foghorn",
        "EnvironmentFile=-/etc/foghorn/env",
        "RestartPreventExitStatus=2 3",
        "StartLimitIntervalSec=0",
        "RestartSec=15",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let deb = manifest.split("[package.metadata.deb]").nth(1).unwrap();
    let assets = deb
        .split("assets = [")
        .nth(1)
        .unwrap()
        .split("\n]")
        .next()
        .unwrap();
    for (from, to) in assets.lines().filter_map(|line| {
        let mut parts = line
            .trim()
            .trim_start_matches('[')
            .split('"')
            .skip(1)
            .step_by(2);
        Some((parts.next()?, parts.next()?))
    }) {
        let made = from.starts_with("target/") || from.contains('*');
        assert!(made || root.join(from).is_file(), "{from}");
        if let Some(name) = to.strip_prefix("etc/") {
            assert!(
                deb.contains(&format!("\"/etc/{name}\"")),
                "{to} is no conf-file"
            );
        }
    }
}

/// What the package's script asks of the machine, with these files there: one command a line. A
/// `chown` or `chmod` of what is not there fails, as it does in life.
fn configured(version_before: Option<&str>, there: &[&str]) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for file in there {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/packaging/deb/postinst"
    ))
    .unwrap();
    let here = root.display().to_string();
    let text = text
        .replace("/etc/foghorn", &format!("{here}/etc"))
        .replace("/var/lib", &format!("{here}/lib"));
    std::fs::write(root.join("postinst"), text).unwrap();
    let bin = root.join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in ["getent", "adduser", "chown", "chmod", "install"] {
        let path = bin.join(name);
        let last = "eval file=\\${$#}; case $0 in *ch*) [ -e \"$file\" ] || exit 1 ;; esac";
        std::fs::write(
            &path,
            format!("#!/bin/sh\necho {name} \"$@\" >> {here}/asked\n{last}\n"),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut script = Command::new("sh");
    script
        .arg(root.join("postinst"))
        .arg("configure")
        .args(version_before)
        .env("PATH", path);
    let done = script.status().unwrap().success();
    let asked = std::fs::read_to_string(root.join("asked")).unwrap_or_default();
    (done, asked.replace(&here, ""))
}

#[test]
fn the_package_sets_owners_once_and_of_what_is_there() {
    let both = ["etc/rules.yaml", "etc/env"];
    let (done, asked) = configured(None, &both);
    assert!(done);
    for wanted in [
        "chown root:foghorn /etc/rules.yaml",
        "chmod 0640 /etc/env",
        "chmod 0750 /etc\n",
        "install -d",
    ] {
        assert!(asked.contains(wanted), "{wanted}: {asked}");
    }
    for there in [&both[..1], &both[1..], &[]] {
        let (done, asked) = configured(None, there);
        assert!(
            done,
            "a file less is no reason to leave the package half configured: {asked}"
        );
    }
    // An upgrade: what an operator changed stays.
    for there in [&both[..], &both[..1], &both[1..], &[]] {
        let (done, asked) = configured(Some("0.1.0-1"), there);
        assert!(
            done && !asked.contains("chown") && !asked.contains("chmod"),
            "{asked}"
        );
    }
    let (_, asked) = configured(Some("0.1.0-1"), &["lib/foghorn/foghorn.db"]);
    assert!(
        !asked.contains("install"),
        "the data folder stays as it is: {asked}"
    );
}

#[tokio::test]
async fn the_service_manager_hears_when_it_is_ready_moves_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let ear = UnixDatagram::bind(&path).unwrap();
    ear.set_nonblocking(true).unwrap();
    let mut child = binary()
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let next = || {
        let mut text = [0; 256];
        let size = ear.recv(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..size]).into_owned())
    };
    let ready = eventually("READY", next).await;
    let address = ready
        .strip_prefix("READY=1\nSTATUS=listening on ")
        .unwrap_or_else(|| panic!("{ready}"));
    // It takes posts before it says so.
    std::net::TcpStream::connect(address).unwrap();
    // Idle, and still moving.
    for _ in 0..5 {
        assert_eq!(eventually("the watchdog's tick", next).await, "WATCHDOG=1");
    }
    Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    let last = eventually("STOPPING", || next().filter(|said| said != "WATCHDOG=1")).await;
    assert!(last.starts_with("STOPPING=1"), "{last}");
    let status = eventually("the process to end", || child.try_wait().unwrap()).await;
    assert!(status.success());
}

/// Runs as nobody, who may write nowhere but in the data folder, on a root that is mounted read
/// only: for root, who can arrange that.
#[tokio::test]
async fn nobody_serves_on_a_read_only_root() {
    let may = Command::new("unshare")
        .args(["--mount", "setpriv", "--clear-groups", "true"])
        .output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("this user cannot mount and become nobody (that is for root): not checked");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (program, data) = (folder.path().join("foghorn"), folder.path().join("data"));
    std::fs::copy(env!("CARGO_BIN_EXE_foghorn"), &program).unwrap();
    std::fs::create_dir(&data).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(folder.path(), open(0o755)).unwrap();
    std::fs::set_permissions(&program, open(0o755)).unwrap();
    std::os::unix::fs::chown(&data, Some(65_534), Some(65_534)).unwrap();
    std::fs::set_permissions(&data, open(0o700)).unwrap();
    // A mount namespace of its own; what is mounted below the root is remounted too, and the data
    // folder is put back.
    let script = r#"set -e
        mount --make-rprivate /
        mount --bind data data
        awk '$5 != "/" && $5 !~ "^/(proc|sys|dev)" {print $5}' /proc/self/mountinfo | while read -r at; do
            case "$at" in "$PWD"/data) ;; *) mount -o remount,bind,ro "$at" ;; esac
        done
        mount -o remount,bind,ro /
        if touch "$PWD/written" 2>/dev/null; then echo "the root can be written" >&2; exit 9; fi
        exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \
            ./foghorn serve --listen 127.0.0.1:0 --data data"#;
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        line
    })
    .await
    .unwrap();
    let Some(address) = line.trim().strip_prefix("listening on ") else {
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        panic!("{line}{}", String::from_utf8_lossy(&output.stderr));
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    assert!(
        status.contains("\nUid:\t65534\t65534\t65534\t65534\n")
            && status.contains("\nCapEff:\t0000000000000000\n"),
        "{status}"
    );
    let client = foghorn::wire::direct().unwrap();
    let body = serde_json::json!({"topic": "device-events", "events": [support::device_event("AP_DISCONNECTED", 1)]});
    let answer = client
        .post(format!("{address}/mist"))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    let status = eventually("the process to end", || child.try_wait().unwrap()).await;
    assert!(status.success());
    assert!(data.join("foghorn.db").exists());
}
