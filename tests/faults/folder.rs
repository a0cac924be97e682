//! The data folder fails: no room, no more bytes in the middle of a commit, nothing to write to.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::load::{downs, load};
use crate::support::{Chat, Foghorn, PATIENCE, binary, device_event, lacks};
use crate::world::{accepted, rules, told, until_sent, until_told};

/// A post of about 20 KB, so that little room is full soon.
fn big(n: u32) -> Value {
    let mut event = device_event("AP_DISCONNECTED", n);
    event["text"] = json!("x".repeat(20_000));
    json!({"topic": "device-events", "events": [event]})
}

/// Posts device after device until it is refused (or taken, when it was not); gives the status that
/// ended it.
async fn post_until(
    foghorn: &Foghorn,
    next: &mut u32,
    kept: &mut BTreeSet<String>,
    end: impl Fn(u16) -> bool,
) -> u16 {
    let begun = Instant::now();
    loop {
        *next += 1;
        let status = foghorn.post_raw("/mist", big(*next).to_string()).await;
        if status == 200 {
            kept.insert(format!("ap-{next}"));
        }
        if end(status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "still {status}");
    }
}

/// The folder has no room; then it has again. Three times, so that each finds the store in another
/// state.
async fn no_room(foghorn: Foghorn, chat: Chat, mut full: impl FnMut(&Foghorn, bool)) {
    let (mut next, mut kept, pid) = (0, BTreeSet::new(), foghorn.pid());
    for round in 0..3 {
        for _ in 0..3 {
            post_until(&foghorn, &mut next, &mut kept, |status| status == 200).await;
        }
        full(&foghorn, true);
        assert_eq!(
            post_until(&foghorn, &mut next, &mut kept, |status| status != 200).await,
            503
        );
        assert_eq!(
            post_until(&foghorn, &mut next, &mut kept, |status| status == 503).await,
            503
        );
        assert_eq!(foghorn.get("/healthz").await.0, 200);
        assert_eq!(foghorn.get("/metrics").await.0, 200);
        full(&foghorn, false);
        let room = Instant::now();
        post_until(&foghorn, &mut next, &mut kept, |status| status == 200).await;
        println!(
            "round {round}: takes posts again {:?} after there was room",
            room.elapsed()
        );
    }
    let lost = until_told(&chat, &kept).await;
    assert!(
        kept.len() >= 12 && lost.is_empty(),
        "accepted and never told: {lost:?}"
    );
    until_sent(&foghorn).await;
    assert!(
        told(&chat).values().all(|times| *times == 1),
        "a full disk makes nobody hear twice: {:?}",
        told(&chat)
    );
    assert_eq!(foghorn.pid(), pid);
    println!("{} accepted, none lost, none told twice", kept.len());
    let dir = foghorn.dir.clone();
    assert_eq!(foghorn.stop().await, Some(0));
    let checked = rusqlite::Connection::open(dir.join("data/foghorn.db")).unwrap();
    let sound: String = checked
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}

/// The largest file of the data folder, in bytes.
fn largest(dir: &Path) -> u64 {
    let sizes = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len());
    sizes.max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_in_the_middle_of_a_commit_is_a_503_while_it_lasts() {
    let chat = Chat::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules(&chat, 100)).unwrap();
    // Files may grow to a limit: what is beyond it fails, be it half a commit. The signal that
    // comes with it is ignored, as it is where a quota or a disk is the limit.
    let foghorn = binary().get_program().to_owned();
    let mut serve = Command::new("sh");
    serve
        .env_clear()
        .args(["-c", "trap '' XFSZ; exec \"$0\" serve --listen 127.0.0.1:0"])
        .arg(foghorn);
    let foghorn = Foghorn::start_by(serve, dir.path()).await;
    let limit = |foghorn: &Foghorn, full: bool| {
        let pid = Pid::from_raw(i32::try_from(foghorn.pid()).unwrap()).unwrap();
        let room = largest(&foghorn.dir.join("data")) + 33_333;
        let limit = Rlimit {
            current: full.then_some(room),
            maximum: None,
        };
        prlimit(Some(pid), Resource::Fsize, limit).unwrap();
    };
    no_room(foghorn, chat, limit).await;
}

/// A file system of its own, gone with this.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(done) if done.status.success() => Some(Self(dir)),
            other => {
                println!("skipped: a full disk needs the right to mount a small one ({other:?})");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_a_503_while_it_lasts() {
    let Some(small) = Small::mount() else { return };
    let chat = Chat::start().await;
    std::fs::write(small.0.path().join("rules.yaml"), rules(&chat, 100)).unwrap();
    let foghorn = Foghorn::start_in(small.0.path()).await;
    let ballast = small.0.path().join("ballast");
    let fill = |_: &Foghorn, full: bool| {
        if full {
            use std::io::Write as _;
            let mut file = std::fs::File::create(&ballast).unwrap();
            while file.write_all(&[0; 4_096]).is_ok() {}
        } else {
            std::fs::remove_file(&ballast).unwrap();
        }
    };
    no_room(foghorn, chat, fill).await;
}

/// Has libfiu of a process make that of its `fsync`s: `enable_random …`, `disable …`.
fn fsyncs(foghorn: &Foghorn, prefix: &Path, command: &str) {
    let pid = foghorn.pid().to_string();
    let done = Command::new("fiu-ctrl")
        .arg("-f")
        .arg(prefix)
        .args(["-c", command, &pid])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_an_fsync_did_not_keep_nothing_is_answered_200() {
    const POSTS: usize = 200;
    if !Command::new("fiu-run")
        .arg("-h")
        .output()
        .is_ok_and(|done| !done.stdout.is_empty())
    {
        lacks("no libfiu here (apt-get install fiu-utils)");
        return;
    }
    let chat = Chat::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules(&chat, 300)).unwrap();
    let (prefix, program) = (dir.path().join("fiu"), binary().get_program().to_owned());
    let mut serve = Command::new("fiu-run");
    serve
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default());
    serve
        .args(["-x", "-f"])
        .arg(&prefix)
        .arg(program)
        .args(["serve", "--listen", "127.0.0.1:0"]);
    let foghorn = Foghorn::start_by(serve, dir.path()).await;
    let run = async |first: usize| {
        let run = load(
            &foghorn.address,
            4,
            Some(100.0),
            &Arc::new(downs(first..first + POSTS, 1)),
        )
        .await;
        (
            accepted(&run, first),
            run.statuses.iter().filter(|status| **status == 503).count(),
        )
    };
    let (mut kept, refused) = run(0).await;
    assert_eq!((kept.len(), refused), (POSTS, 0));
    fsyncs(
        &foghorn,
        &prefix,
        "enable_random name=posix/io/sync/*,probability=0.5,failinfo=5",
    );
    let (under, refused) = run(POSTS).await;
    fsyncs(&foghorn, &prefix, "disable name=posix/io/sync/*");
    println!(
        "every second fsync fails: of {POSTS} posts {} were answered 200, {refused} 503",
        under.len()
    );
    assert!(refused > 0, "none noticed");
    let well = Instant::now();
    while foghorn.post_raw("/mist", big(9_999).to_string()).await != 200 {
        assert!(well.elapsed() < PATIENCE, "it takes posts again");
    }
    kept.extend(under);
    // Were it not on the disk, a kill would not show it; that it is not even read again would.
    foghorn.kill();
    let foghorn = Foghorn::start_in(dir.path()).await;
    let lost = until_told(&chat, &kept).await;
    assert!(lost.is_empty(), "accepted and never told: {lost:?}");
    assert!(!foghorn.logged().contains("panicked"));
    foghorn.stop().await;
}

#[tokio::test]
async fn a_folder_that_takes_nothing_is_refused_at_the_start_in_one_line() {
    let chat = Chat::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules(&chat, 100)).unwrap();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let mut folders = vec![
        "/proc/foghorn".to_owned(),
        dir.path().join("file").display().to_string(),
    ];
    folders.push(closed.display().to_string());
    for folder in folders {
        let mut serve = if rustix::process::geteuid().is_root() && folder.ends_with("closed") {
            // Root may write anywhere, but not where it is mounted read only.
            let mounts = Command::new("unshare").args(["--mount", "true"]).status();
            if !mounts.is_ok_and(|status| status.success()) {
                println!("skipped: a folder that root cannot write needs the right to mount one");
                continue;
            }
            let mut serve = Command::new("unshare");
            serve.args([
                "--mount",
                "sh",
                "-c",
                "mount -t tmpfs -o size=1m,ro none closed && exec \"$0\" \"$@\"",
            ]);
            serve.arg(binary().get_program());
            serve
        } else {
            binary()
        };
        serve.args(["serve", "--listen", "127.0.0.1:0", "--data", &folder]);
        let done = serve.current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(5), "{said}");
        assert!(
            said.lines()
                .any(|line| line.contains("cannot start") && line.contains(&folder)),
            "{said}"
        );
    }
}
