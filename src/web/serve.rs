//! The accept loop: `warp::serve` has no deadline, no bound on connections and no end to its drain,
//! so warp's filters are served from here.

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

/// After a failed accept (no descriptors left, mostly) this long is waited.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds on what clients may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// From the first wait for a request to the last byte of its head; so also how long a
    /// connection may be idle.
    pub head: Duration,
    /// The largest head.
    pub head_size: usize,
    /// How long requests under way may take to end once shutdown began.
    pub drain: Duration,
    /// How long one who just came, or was just answered, is spared when there are too many.
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
    use_: Arc<Use>,
}

/// How worthy of being kept a connection is, when there are too many.
#[derive(Debug, Default)]
struct Use {
    /// A whole request is here and its answer is not.
    answering: AtomicBool,
    /// It has been answered once: a real client.
    answered: AtomicBool,
    /// When it came, or was answered last: milliseconds by the clock of the acceptor.
    since: AtomicU64,
}

impl Peer {
    /// A peer at an address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            use_: Arc::default(),
        }
    }

    /// Whether it is this machine, or a proxy on it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.ip().is_loopback()
    }

    /// Its address; an IPv4 address in the clothes of IPv6 as itself.
    #[must_use]
    pub fn ip(&self) -> std::net::IpAddr {
        self.address.ip().to_canonical()
    }

    /// The request is here in full: from here to the answer, the connection is not closed to make
    /// room.
    pub(super) fn set_answering(&self) {
        self.use_.answering.store(true, Ordering::Relaxed);
    }
}

/// Serves until `shutdown`, then lets requests under way end, for at most [`Limits::drain`].
pub async fn serve(
    listener: TcpListener,
    routes: BoxedFilter<(Response,)>,
    limits: Limits,
    shutdown: CancellationToken,
) {
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
                    // Idle clients hold descriptors that others need.
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
    drop(listener);
    tasks.close();
    if tokio::time::timeout(limits.drain, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = tasks.len(),
            "closing connections that did not end in time"
        );
        acceptor.open.close_all();
        tasks.wait().await;
    }
}

/// The answer to a request that could be read in two ways; the connection ends with it.
fn ambiguous() -> Response {
    let mut answer = super::plain(StatusCode::BAD_REQUEST, "request is ambiguous");
    answer
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// The client went away before we looked.
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
    /// A place for one more connection. When all are taken, the one least worth keeping is closed.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
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

    /// One connection, from its first byte to its close.
    async fn connection(
        self,
        number: u64,
        stream: TcpStream,
        address: SocketAddr,
        place: OwnedSemaphorePermit,
    ) {
        // Answers are small and whole: nothing is gained by holding them back.
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
            let use_ = Arc::clone(&peer.use_);
            let framing = Arc::clone(&framing);
            let clock = self.clock;
            async move {
                let answer = match answer {
                    Some(answer) => answer.await,
                    None => Ok(ambiguous()),
                };
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
                    // What goes wrong on one connection (cut, silent, not HTTP) is the client's affair.
                    _ = connection.as_mut() => break,
                    () = closed.cancelled() => break,
                    () = self.shutdown.cancelled(), if !draining => {
                        draining = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
        self.open.remove(number);
        drop(place);
    }
}

/// The open connections, oldest first.
#[derive(Debug, Default)]
struct Open(Mutex<BTreeMap<u64, (CancellationToken, Arc<Use>)>>);

impl Open {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, (CancellationToken, Arc<Use>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, number: u64, closed: CancellationToken, use_: Arc<Use>) {
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

    /// Closes one connection that waits for no answer; none when all do. First one that never was
    /// answered, then the one that has been idle longest: so neither a thousand clients that
    /// send nothing, nor a thousand that were answered once, keep out one that sends. Those who
    /// came or were answered after `spared` are left alone while there are others.
    fn make_room(&self, spared: u64) {
        let all = self.all();
        let worth = |use_: &Use| {
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
