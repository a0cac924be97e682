//! Notifications to the service manager (systemd's `sd_notify`), including its watchdog. Without a
//! service manager nothing happens.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Interval between heartbeats that nobody watches; rare enough to cost nothing.
const UNWATCHED: Duration = Duration::from_secs(30);
/// Number of our checks within the watchdog's time limit, so that one may be missed.
const LOOKS: u32 = 4;

/// Heartbeat of a task, for the watchdog.
#[derive(Clone, Debug)]
pub struct Pulse {
    beats: Arc<AtomicU64>,
    every: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            beats: Arc::default(),
            every: UNWATCHED,
        }
    }
}

impl Pulse {
    /// Records that the task has made progress or has nothing to do.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the interval at which an idle task must beat too.
    #[must_use]
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Returns the number of beats so far.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
}

/// Connection to the service manager.
#[derive(Debug)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    /// Time without a notification after which the manager ends the process.
    watchdog: Option<Duration>,
}

impl Manager {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` from the environment.
    #[must_use]
    pub fn from_environment(env: impl Fn(&str) -> Option<String>) -> Self {
        let socket = env("NOTIFY_SOCKET").and_then(|path| match connect(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                warn!("the service manager's socket cannot be used: {error}");
                None
            }
        });
        // The variables are inherited, so they may be meant for a parent process.
        let meant = env("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = env("WATCHDOG_USEC")
            .and_then(|text| text.parse().ok())
            .filter(|usec| *usec > 0 && meant);
        Self {
            watchdog: watchdog
                .map(Duration::from_micros)
                .filter(|_| socket.is_some()),
            socket,
        }
    }

    /// Returns a heartbeat whose interval suits the watchdog.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        let every = self
            .watchdog
            .map_or(UNWATCHED, |limit| (limit / LOOKS / 2).min(UNWATCHED));
        Pulse {
            every,
            ..Pulse::default()
        }
    }

    /// Reports that the process is ready, then notifies the watchdog whenever the heartbeat has
    /// advanced, and finally reports the stop. If the heartbeat stands still, it sends nothing, and
    /// the manager ends the process.
    pub async fn report(self, status: String, pulse: Pulse, stop: CancellationToken) {
        self.say(&format!("READY=1\nSTATUS={status}"));
        let look = self.watchdog.map_or(Duration::MAX, |limit| limit / LOOKS);
        let mut seen = pulse.beats();
        self.tick();
        while stop
            .run_until_cancelled(tokio::time::sleep(look))
            .await
            .is_some()
        {
            let beats = pulse.beats();
            if beats == seen {
                warn!("judging made no progress, so the watchdog was not notified");
            } else {
                self.tick();
            }
            seen = beats;
        }
        self.say("STOPPING=1\nSTATUS=finishing work in progress");
    }

    fn tick(&self) {
        if self.watchdog.is_some() {
            self.say("WATCHDOG=1");
        }
    }

    fn say(&self, what: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(what.as_bytes())
        {
            debug!("could not notify the service manager: {error}");
        }
    }
}

/// Connects to a path, or to `@name` for a socket without a file.
fn connect(path: &str) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // The manager's queue may be full, and nothing here may block on it.
    socket.set_nonblocking(true)?;
    match path.strip_prefix('@') {
        None => socket.connect(path)?,
        Some(name) => connect_abstract(&socket, name)?,
    }
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn connect_abstract(socket: &UnixDatagram, name: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)
}

#[cfg(not(target_os = "linux"))]
fn connect_abstract(_: &UnixDatagram, _: &str) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut said = Vec::new();
        let mut text = [0; 256];
        while let Ok(size) = socket.recv(&mut text) {
            said.push(String::from_utf8_lossy(&text[..size]).into_owned());
        }
        said
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_of_a_pulse_and_not_of_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_nonblocking(true).unwrap();
        let manager = Manager::from_environment(|name| match name {
            "NOTIFY_SOCKET" => Some(path.display().to_string()),
            "WATCHDOG_USEC" => Some("40000000".to_owned()),
            _ => None,
        });
        let (pulse, stop) = (manager.pulse(), CancellationToken::new());
        assert_eq!(pulse.every(), Duration::from_secs(5));
        let told = tokio::spawn(manager.report("up".to_owned(), pulse.clone(), stop.clone()));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(heard(&ear), ["READY=1\nSTATUS=up", "WATCHDOG=1"]);
        pulse.beat();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(heard(&ear), ["WATCHDOG=1"]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(
            heard(&ear),
            Vec::<String>::new(),
            "who stands still is not kept alive"
        );
        stop.cancel();
        told.await.unwrap();
        assert_eq!(
            heard(&ear),
            ["STOPPING=1\nSTATUS=finishing work in progress"]
        );
    }

    #[tokio::test]
    async fn a_watchdog_of_another_process_or_without_a_socket_is_none() {
        let none = |pairs: &'static [(&str, &str)]| {
            Manager::from_environment(move |name| {
                pairs
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(none(&[("WATCHDOG_USEC", "1000000")]).watchdog.is_none());
        assert!(
            none(&[
                ("NOTIFY_SOCKET", "/nowhere/at/all"),
                ("WATCHDOG_USEC", "1000000")
            ])
            .socket
            .is_none()
        );
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt as _;
            let name = format!("foghorn-test-{}", std::process::id());
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
            let _ear = UnixDatagram::bind_addr(&address).unwrap();
            let manager = Manager::from_environment(|key| match key {
                "NOTIFY_SOCKET" => Some(format!("@{name}")),
                "WATCHDOG_USEC" => Some("1000000".to_owned()),
                _ => Some("1".to_owned()),
            });
            assert!(manager.socket.is_some() && manager.watchdog.is_none());
        }
    }
}
