//! The accept loop. `warp::serve` has no deadlines, no limit on connections and no bounded drain,
//! so this module serves warp's filters itself.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::framing::{Framing, Watched};
use crate::clock::Clock;

/// Pause after a failed accept, mostly for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits on the resources of clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of open connections.
    pub connections: usize,
    /// Maximum time from the first wait for a request to the last byte of its head. It also limits
    /// idle connections.
    pub head: Duration,
    /// Maximum size of a head.
    pub head_size: usize,
    /// Time that requests in progress get to finish after the shutdown began.
    pub drain: Duration,
    /// Time for which a new or just answered connection is not closed to make room.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head: Duration::from_secs(10),
            head_size: 32 * 1024,
            drain: Duration::from_secs(5),
            grace: Duration::from_secs(1),
        }
    }
}

/// The other end of a request's connection.
#[derive(Clone, Debug)]
pub struct Peer {
    address: SocketAddr,
    use_: Arc<ConnectionActivity>,
}

/// Activity of a connection, which decides which one is closed if there are too many.
#[derive(Debug, Default)]
struct ConnectionActivity {
    /// True while a complete request waits for its answer.
    answering: AtomicBool,
    /// True once a request was answered, which only real clients achieve.
    answered: AtomicBool,
    /// Time of the connect or of the last answer, in milliseconds of the acceptor's clock.
    since: AtomicU64,
}

impl Peer {
    /// Creates a peer at an address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            use_: Arc::default(),
        }
    }

    /// Returns true if the peer is this machine, or a proxy on it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.ip().is_loopback()
    }

    /// Returns the address; an IPv4 address mapped to IPv6 as IPv4.
    #[must_use]
    pub fn ip(&self) -> std::net::IpAddr {
        self.address.ip().to_canonical()
    }

    /// Marks the request as complete. Until its answer, the connection is not closed to make room.
    pub(super) fn set_answering(&self) {
        self.use_.answering.store(true, Ordering::Relaxed);
    }
}

/// Serves until `shutdown`, then gives requests in progress at most [`Limits::drain`] to finish.
pub async fn serve(
    listener: TcpListener,
    routes: BoxedFilter<(Response,)>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    // The clock and the list of connections belong to this call: tests run several servers at once.
    let acceptor = Acceptor {
        routes,
        limits,
        shutdown: shutdown.clone(),
        open: Arc::default(),
        clock: Clock::system(),
        places: Arc::new(Semaphore::new(
            limits.connections.clamp(1, Semaphore::MAX_PERMITS),
        )),
    };
    let tasks = TaskTracker::new();
    let mut number = 0_u64;
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let Some(place) = acceptor.place().await else {
                        return;
                    };
                    number += 1;
                    tasks.spawn(acceptor.clone().connection(number, stream, address, place));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    // Idle connections hold file descriptors that a new client needs.
                    acceptor.make_room();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown.cancelled() => {}
    }
    // The port is released before the drain, so that a new process can listen at once.
    drop(listener);
    tasks.close();
    if tokio::time::timeout(limits.drain, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = tasks.len(),
            "the shutdown closed connections that did not finish in time"
        );
        acceptor.open.close_all();
        tasks.wait().await;
    }
}

/// Returns the answer to an ambiguous request, and closes the connection.
fn ambiguous() -> Response {
    let mut answer = super::plain(StatusCode::BAD_REQUEST, "request is ambiguous");
    answer
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Returns true for an error of a single connection, such as a client that left before the accept.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

#[derive(Clone)]
struct Acceptor {
    routes: BoxedFilter<(Response,)>,
    limits: Limits,
    shutdown: CancellationToken,
    open: Arc<Open>,
    clock: Clock,
    places: Arc<Semaphore>,
}

impl Acceptor {
    /// Waits for a free place. If all are taken, closes the connection that is least worth keeping.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        // The closed connection frees its place a moment later, so this waits for it.
        self.make_room();
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    fn make_room(&self) {
        self.open
            .make_room(self.now().saturating_sub(millis(self.limits.grace)));
    }

    fn now(&self) -> u64 {
        millis(self.clock.elapsed())
    }

    /// Serves one connection from its first byte to its close.
    async fn connection(
        self,
        number: u64,
        stream: TcpStream,
        address: SocketAddr,
        place: OwnedSemaphorePermit,
    ) {
        // Answers are small and complete: delaying them to fill packets would gain nothing.
        let _ = stream.set_nodelay(true);
        let peer = Peer::new(address);
        let closed = CancellationToken::new();
        peer.use_.since.store(self.now(), Ordering::Relaxed);
        self.open
            .add(number, closed.clone(), Arc::clone(&peer.use_));
        let filter = TowerToHyperService::new(warp::service(self.routes.clone()));
        let framing = Arc::new(Framing::default());
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let refused = framing.is_ambiguous(request.version(), request.headers());
            let answer = (!refused).then(|| filter.call(request));
            // The answer outlives this call, so it gets its own handles.
            let use_ = Arc::clone(&peer.use_);
            let framing = Arc::clone(&framing);
            let clock = self.clock;
            async move {
                let answer = match answer {
                    Some(answer) => answer.await,
                    None => Ok(ambiguous()),
                };
                // Until the answer is sent, bytes that arrive belong to the body; the next ones
                // begin a head.
                framing.answered();
                use_.since.store(millis(clock.elapsed()), Ordering::Relaxed);
                use_.answering.store(false, Ordering::Relaxed);
                use_.answered.store(true, Ordering::Relaxed);
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(self.limits.head_size)
            .serve_connection(
                TokioIo::new(Watched::new(
                    stream,
                    Arc::clone(&framing),
                    self.limits.head_size,
                )),
                service,
            );
        {
            let mut connection = pin!(connection);
            let mut draining = false;
            loop {
                tokio::select! {
                    // Errors of one connection (cut, silent, not HTTP) concern only its client.
                    _ = connection.as_mut() => break,
                    () = closed.cancelled() => break,
                    () = self.shutdown.cancelled(), if !draining => {
                        draining = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
        // The place is released last, when the connection is no longer listed.
        self.open.remove(number);
        drop(place);
    }
}

/// Open connections, oldest first.
#[derive(Debug, Default)]
struct Open(Mutex<BTreeMap<u64, (CancellationToken, Arc<ConnectionActivity>)>>);

impl Open {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, (CancellationToken, Arc<ConnectionActivity>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, number: u64, closed: CancellationToken, use_: Arc<ConnectionActivity>) {
        self.all().insert(number, (closed, use_));
    }

    fn remove(&self, number: u64) {
        self.all().remove(&number);
    }

    fn close_all(&self) {
        for (closed, _) in self.all().values() {
            closed.cancel();
        }
    }

    /// Closes one connection that waits for no answer, if there is one. Connections that were never
    /// answered go first, then those idle for the longest time. So a thousand silent clients cannot
    /// keep out one that sends, nor can a thousand that were answered once. Connections newer than
    /// `spared` are closed only if there are no others.
    fn make_room(&self, spared: u64) {
        let all = self.all();
        let worth = |use_: &ConnectionActivity| {
            let (answered, since) = (
                use_.answered.load(Ordering::Relaxed),
                use_.since.load(Ordering::Relaxed),
            );
            (since > spared, answered, since)
        };
        let idle = all.values().filter(|(closed, use_)| {
            !closed.is_cancelled() && !use_.answering.load(Ordering::Relaxed)
        });
        if let Some((closed, _)) = idle.min_by_key(|(_, use_)| worth(use_)) {
            closed.cancel();
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
