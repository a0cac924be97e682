//! Sends the outbox, with one lane per destination: outbox, pace, destination, settle.
//!
//! A lane keeps the next deliveries in memory. It sends several incidents at once, but the messages
//! of one incident strictly in order, and records the result of each attempt. A message that was
//! sent but not settled when the process dies is sent again: at least once overall, and exactly
//! once in the life of a process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::destination::{Content, DestinationSettings, Overflow, SendOutcome, Size};
use crate::metrics::Metrics;
use crate::model::{Gap, Insight, Message, Notification, Receipt, Timestamp};
use crate::pacing::{Pace, backoff};
use crate::store::{self, Attempt, Delivery, DeliveryId, Duty, Lease, Leases, Next, Outbox};
use crate::wire::Transport;

mod doubt;
mod exchange;
mod gone;
mod refusal;
mod status;

pub use exchange::{Exchange, exchange};
pub use status::{DestinationStatus, Statuses};

use doubt::{Doubt, Turn};
use refusal::refusal;

/// Number of deliveries of one destination kept in memory, and read from the store at once.
const WINDOW: usize = 256;
/// Maximum number of messages that are summarised at once.
const AT_ONCE: usize = 8_192;
/// Minimum and maximum number of incidents sent in parallel if the pace is faster than a chat's.
/// The maximum is used only at paces that waiting for disk and network would slow down, because
/// everything in progress at a kill is sent twice.
const IN_FLIGHT: (usize, usize) = (8, 64);
/// Usual time from the beginning of a send until it is settled.
const SETTLED: Duration = Duration::from_millis(20);
/// Interval between messages from which on one message is sent at a time.
const A_CHATS_PACE: Duration = Duration::from_millis(100);
/// Interval between probes of a destination that refuses everything.
const PROBE: Duration = Duration::from_secs(3_600);
/// Minimum duration of an outage that summaries mention.
const NOTICED: Duration = Duration::from_secs(30);
/// Time limit for sends in progress at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Function that summarises many messages in few: `render::Templates::digest`. Its input may
/// contain summaries.
pub type Summarise = Arc<dyn Fn(&[Message], Option<&Gap>) -> Vec<Message> + Send + Sync>;

/// Sends the messages in the outbox.
pub struct Dispatcher<S, T> {
    hub: Arc<Hub<S, T>>,
}

struct Hub<S, T> {
    /// Error that ended all sending.
    fatal: OnceLock<store::Error>,
    over: CancellationToken,
    store: S,
    transport: T,
    destinations: Vec<Arc<DestinationSettings>>,
    summarise: Summarise,
    statuses: Statuses,
    metrics: Metrics,
}

impl<S: Outbox + Leases, T: Transport> Dispatcher<S, T> {
    /// Creates a dispatcher for these destinations; `views` record the result of each attempt.
    /// Deliveries to other destinations become dead letters at once.
    #[must_use]
    pub fn new(
        store: S,
        transport: T,
        destinations: Vec<DestinationSettings>,
        summarise: Summarise,
        views: (Statuses, Metrics),
    ) -> Self {
        let destinations = destinations.into_iter().map(Arc::new).collect();
        let (statuses, metrics) = views;
        let (fatal, over) = (OnceLock::new(), CancellationToken::new());
        Self {
            hub: Arc::new(Hub {
                fatal,
                over,
                store,
                transport,
                destinations,
                summarise,
                statuses,
                metrics,
            }),
        }
    }

    /// Sends until `stop`; then finishes sends in progress, for at most five seconds.
    ///
    /// # Errors
    ///
    /// When the store cannot be used any more: deliveries cannot be read, or their results not be
    /// recorded.
    pub async fn run(self, stop: CancellationToken) -> store::Result<()> {
        let mut lanes = JoinSet::new();
        for settings in &self.hub.destinations {
            self.hub.statuses.note(&settings.name, |status| {
                (status.disabled, status.paused_until) = (None, None);
            });
            lanes.spawn(send(self.hub.clone(), settings.clone(), stop.clone()));
        }
        lanes.spawn(gone::give_up(self.hub.clone(), stop.clone()));
        while let Some(ended) = lanes.join_next().await {
            if let Err(e) = ended {
                error!(error = %e, "a destination's lane ended; its messages stay in the outbox");
            }
        }
        self.hub.fatal.get().cloned().map_or(Ok(()), Err)
    }
}

/// Sends to one destination while this process holds the lease for it.
async fn send<S: Outbox + Leases, T: Transport>(
    hub: Arc<Hub<S, T>>,
    settings: Arc<DestinationSettings>,
    stop: CancellationToken,
) {
    let Some(Some(lease)) = stop.run_until_cancelled(hub.lease(&settings)).await else {
        return;
    };
    // A restart must not give the destination a fresh burst.
    let since = hub.store.clock().now() - settings.rate_limit.memory();
    // If the count cannot be read, the burst counts as used up.
    let spent = hub
        .store
        .delivered_since(&settings.name, since)
        .await
        .unwrap_or(u32::MAX);
    Lane::new(hub, settings, lease, spent).run(stop).await;
}

impl<S: Outbox + Leases, T> Hub<S, T> {
    /// Returns the lease for a destination; `None` if sending has ended.
    async fn lease(&self, settings: &DestinationSettings) -> Option<Lease> {
        loop {
            match self.store.acquire(Duty::Lane(settings.name.clone())).await {
                Ok(lease) => return Some(lease),
                Err(e) => {
                    warn!(destination = %settings.name, error = %e, "cannot start sending");
                    self.noticed(&e);
                }
            }
            if self.over.is_cancelled() {
                return None;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Ends all sending if the store is damaged or another process has taken over. Other errors may
    /// pass.
    fn noticed(&self, error: &store::Error) {
        let is_final = matches!(error, store::Error::Fatal(_) | store::Error::Lost(_));
        if is_final && self.fatal.set(error.clone()).is_ok() {
            self.over.cancel();
        }
    }

    /// Returns the receipt of an incident; `None` if sending has ended.
    async fn receipt(&self, lane: &Lease, incident: &str) -> Option<Option<Receipt>> {
        loop {
            match self.store.receipt(lane, incident).await {
                Ok(receipt) => return Some(receipt),
                Err(e) => {
                    warn!(error = %e, "cannot read a receipt; trying again");
                    self.noticed(&e);
                }
            }
            if self.over.is_cancelled() {
                return None;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Records an attempt, and repeats that until it is durable. A full disk must not cause a
    /// second send.
    async fn settle(&self, lane: &Lease, id: DeliveryId, attempt: Attempt) {
        let mut wait = Duration::from_millis(50);
        while let Err(e) = self.store.settle(lane, id, attempt.clone()).await {
            self.noticed(&e);
            if self.over.is_cancelled() {
                return;
            }
            warn!(delivery = id.0, error = %e, "cannot store the result of an attempt; trying again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }
}

/// A delivery in memory, and the incidents its message is about.
struct QueuedDelivery {
    delivery: Delivery,
    incidents: Vec<u64>,
}

impl QueuedDelivery {
    fn new(delivery: Delivery) -> Self {
        let message = &delivery.message;
        let mut incidents = vec![hash(&message.about.incident)];
        incidents.extend(message.folded.iter().map(|of| hash(&of.incident)));
        Self {
            incidents,
            delivery,
        }
    }
}

fn hash(incident: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    incident.hash(&mut hasher);
    hasher.finish()
}

/// A delivery that is being sent or settled.
struct Flight {
    waiting: QueuedDelivery,
    /// Journal time of the attempt.
    at: Timestamp,
    /// Epoch of the destination's failures when the attempt began.
    epoch: u64,
    /// Sequence number of this attempt.
    number: u64,
    /// The attempt, once it is over and being settled.
    over: Option<Attempt>,
}

/// Result of an attempt.
struct TryResult {
    outcome: SendOutcome,
    status: Option<u16>,
    receipt: Option<Receipt>,
}

/// Result of a finished task: that of the attempt, or `None` after settling only.
type Landed = Option<TryResult>;

struct Lane<S, T> {
    hub: Arc<Hub<S, T>>,
    settings: Arc<DestinationSettings>,
    lease: Lease,
    pace: Pace,
    window: BTreeMap<DeliveryId, QueuedDelivery>,
    flights: HashMap<Id, Flight>,
    tasks: JoinSet<Landed>,
    /// Newest delivery read from the store; whether there may be more; time of the next read after
    /// an error.
    newest: DeliveryId,
    more: bool,
    look_again: Option<Timestamp>,
    /// Number of consecutive failures. Attempts that began before the last failure are not counted
    /// again.
    failures: u32,
    epoch: u64,
    /// Time of the first failed attempt since the last success; then the outage that ended with it.
    failing_since: Option<Timestamp>,
    gap: Option<(Timestamp, Timestamp)>,
    /// Number of attempts; whether one of them succeeded.
    tries: u64,
    proven: bool,
    doubt: Doubt,
    disabled: bool,
    told: bool,
    /// Permission of the pace to send one message, obtained and not yet used.
    may_send: bool,
    backlog: Backlog,
}

/// Progress of summarising a backlog.
#[derive(Default)]
struct Backlog {
    /// Number of notifications that are part of summaries.
    parts: usize,
    /// Newest delivery read for a summary.
    upto: DeliveryId,
    /// Backlog size up to which summarising saves no messages.
    not_worth: u64,
}

/// Waiting messages, and the newest delivery read for them.
struct Unsent {
    ids: Vec<DeliveryId>,
    messages: Vec<Message>,
    upto: DeliveryId,
}

impl<S: Outbox + Leases, T: Transport> Lane<S, T> {
    fn new(
        hub: Arc<Hub<S, T>>,
        settings: Arc<DestinationSettings>,
        lease: Lease,
        spent: u32,
    ) -> Self {
        Self {
            // Created before `hub` moves into the struct, because it needs the clock of the store.
            pace: Pace::new(hub.store.clock().clock(), settings.rate_limit, spent),
            hub,
            settings,
            lease,
            window: BTreeMap::new(),
            flights: HashMap::new(),
            tasks: JoinSet::new(),
            newest: DeliveryId(0),
            more: true,
            look_again: None,
            failures: 0,
            epoch: 0,
            failing_since: None,
            gap: None,
            tries: 0,
            proven: false,
            doubt: Doubt::default(),
            disabled: false,
            told: false,
            may_send: false,
            backlog: Backlog::default(),
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut outbox = self.hub.store.outbox();
        let clock = self.hub.store.clock().clock();
        // `biased` checks the branches in order: stopping must win over a busy outbox.
        loop {
            self.refill().await;
            let wake = self.send().await;
            let now = self.now();
            let wake = [wake, self.look_again].into_iter().flatten().min();
            let refill = self.more && self.window.len() < WINDOW / 2 && self.look_again.is_none();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.hub.over.cancelled() => break,
                () = self.lease.lost() => {
                    let why = format!("sending to {}", self.settings.name);
                    self.hub.noticed(&store::Error::Lost(why));
                    break;
                }
                Some(landed) = self.tasks.join_next_with_id() => self.land(landed).await,
                changed = outbox.changed() => match changed {
                    Ok(()) => self.more = true,
                    Err(_) => break,
                },
                () = std::future::ready(()), if refill => {}
                () = clock.sleep(wake.unwrap_or_default().since(now)), if wake.is_some() => {}
            }
        }
        // Sends in progress would be repeated after the restart, so they get some time to finish.
        let drain = async {
            while let Some(landed) = self.tasks.join_next_with_id().await {
                self.land(landed).await;
            }
        };
        if tokio::time::timeout(DRAIN, drain).await.is_err() {
            warn!(destination = %self.settings.name, "sends did not finish before the shutdown; their messages stay in the outbox");
        }
    }

    fn now(&self) -> Timestamp {
        self.hub.store.clock().now()
    }

    /// Reads one batch from the store if there is room and may be more.
    async fn refill(&mut self) {
        let now = self.now();
        if !self.more
            || self.window.len() >= WINDOW / 2
            || self.look_again.is_some_and(|at| at > now)
        {
            return;
        }
        self.look_again = None;
        // The window is filled in batches, so that a lane reads the store rarely.
        match self
            .hub
            .store
            .queued(&self.settings.name, self.newest, WINDOW - self.window.len())
            .await
        {
            Ok(batch) => {
                self.more = !batch.is_empty();
                for delivery in batch {
                    self.newest = delivery.id;
                    self.window
                        .insert(delivery.id, QueuedDelivery::new(delivery));
                }
            }
            Err(e) => {
                warn!(destination = %self.settings.name, error = %e, "cannot read the outbox");
                self.hub.noticed(&e);
                self.failed(now, e.to_string());
                self.look_again = Some(now + Duration::from_secs(1));
            }
        }
    }

    /// Returns the number of deliveries that may be in progress now.
    fn room(&self) -> usize {
        let period = self.settings.rate_limit.period();
        let alone = period >= A_CHATS_PACE;
        // A destination that fails, or has not worked yet, gets one message at a time.
        if alone || !self.proven || self.failures > 0 || self.doubt.is_there() {
            return 1;
        }
        let (least, most) = IN_FLIGHT;
        let at_pace = SETTLED.as_nanos() / period.as_nanos().max(1);
        usize::try_from(at_pace).unwrap_or(most).clamp(least, most)
    }

    /// Sends all messages that may be sent now. Returns the time of the next attempt if only time
    /// is missing.
    async fn send(&mut self) -> Option<Timestamp> {
        while self.flights.len() < self.room() {
            let now = self.now();
            let id = match self.next(now) {
                Ok(id) => id,
                Err(due) => return due,
            };
            // The permission stays valid for the next message if this one turns out to be part of a
            // summary.
            if !self.may_send {
                if let Err(wait) = self.pace.take() {
                    return Some(now + wait);
                }
                self.may_send = true;
            }
            // A summary is built at the last moment, so that it contains every message that waits.
            if let Some(waiting) = self.overflow(now).await {
                match self.summarise(waiting, now).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(e) => {
                        self.hub.noticed(&e);
                        warn!(destination = %self.settings.name, error = %e, "cannot summarise the backlog");
                    }
                }
            }
            if let Some(waiting) = self.window.remove(&id) {
                self.may_send = false;
                self.launch(waiting, now);
            }
        }
        None
    }

    /// Returns the first delivery that is due, if its incidents have no earlier one in progress or
    /// waiting; or else the time at which one will be due.
    fn next(&self, now: Timestamp) -> Result<DeliveryId, Option<Timestamp>> {
        let turn = self.doubt.turn(now);
        if let Turn::Wait(probe) = turn {
            return Err(Some(probe));
        }
        // The messages of an incident keep their order even if an earlier one has to wait.
        let mut busy: HashSet<u64> = self
            .flights
            .values()
            .flat_map(|f| f.waiting.incidents.iter().copied())
            .collect();
        let mut first_due = if let Turn::Fresh(probe) = turn {
            probe
        } else {
            None
        };
        let mut reluctantly = None;
        for (id, waiting) in &self.window {
            if !waiting
                .incidents
                .iter()
                .any(|incident| busy.contains(incident))
            {
                let due = waiting.delivery.due;
                if due > now {
                    first_due = Some(first_due.map_or(due, |first: Timestamp| first.min(due)));
                } else {
                    match turn {
                        Turn::Fresh(_) if self.doubt.of(*id) => {}
                        Turn::Probe if self.doubt.was_last(*id) => reluctantly = Some(*id),
                        _ => return Ok(*id),
                    }
                }
            }
            busy.extend(&waiting.incidents);
        }
        reluctantly.ok_or(first_due)
    }

    fn launch(&mut self, waiting: QueuedDelivery, at: Timestamp) {
        let (hub, settings, lease) = (self.hub.clone(), self.settings.clone(), self.lease.clone());
        let Delivery {
            id, message, plain, ..
        } = &waiting.delivery;
        let (id, message) = (*id, Arc::clone(message));
        let size = if *plain { Size::Plain } else { Size::Full };
        // Receipts and settling happen in the task, so a slow store does not hold up the other
        // messages.
        let task = async move {
            let past = match settings.target.kind().remembers {
                true => hub.receipt(&lease, &message.about.incident).await?,
                false => None,
            };
            let content = Content {
                message: &message,
                size,
            };
            let sent = exchange(&settings, content, past.as_ref(), &hub.transport).await;
            let mut result = TryResult {
                outcome: sent.outcome,
                status: sent.reply.status(),
                receipt: sent.receipt,
            };
            // Settling inside the task lets many deliveries share one sync. Until that is durable
            // the delivery counts as in progress and is not sent again.
            if result.outcome == SendOutcome::Delivered {
                let attempt = Attempt {
                    at,
                    status: result.status,
                    reply: sent.reply.summary(),
                    next: Next::Delivered,
                    receipt: result.receipt.take(),
                };
                hub.settle(&lease, id, attempt).await;
            }
            Some(result)
        };
        let task = self.tasks.spawn(task).id();
        self.tries += 1;
        self.flights.insert(
            task,
            Flight {
                waiting,
                at,
                epoch: self.epoch,
                number: self.tries,
                over: None,
            },
        );
    }

    /// Records a failed attempt. The delivery stays in progress until that is durable.
    fn settle(&mut self, mut flight: Flight, attempt: Attempt) {
        let (hub, lease) = (self.hub.clone(), self.lease.clone());
        let id = flight.waiting.delivery.id;
        flight.over = Some(attempt.clone());
        let task = self.tasks.spawn(async move {
            hub.settle(&lease, id, attempt).await;
            None
        });
        self.flights.insert(task.id(), flight);
    }

    async fn land(&mut self, landed: Result<(Id, Landed), tokio::task::JoinError>) {
        // A panic in a task must not lose its delivery: it counts as a bad message.
        let (task, landed) = match landed {
            Ok((task, landed)) => (task, landed),
            Err(e) => {
                error!(destination = %self.settings.name, error = %e, "sending a message panicked");
                (
                    e.id(),
                    Some(TryResult {
                        outcome: SendOutcome::BadPayload {
                            why: "it could not be processed".to_owned(),
                        },
                        status: None,
                        receipt: None,
                    }),
                )
            }
        };
        let Some(mut flight) = self.flights.remove(&task) else {
            return;
        };
        match (landed, flight.over.take()) {
            (Some(result), None) => self.tried(flight, result).await,
            (Some(_), Some(attempt)) => self.settle(flight, attempt),
            (None, Some(attempt)) => {
                if let Next::Again { due, plain } = attempt.next {
                    let delivery = &mut flight.waiting.delivery;
                    delivery.attempts += 1;
                    delivery.first_try = delivery.first_try.or(Some(flight.at));
                    (delivery.due, delivery.plain) = (due, delivery.plain || plain);
                    self.window.insert(delivery.id, flight.waiting);
                }
            }
            (None, None) => {}
        }
    }

    /// Decides about the next state of a delivery after an attempt.
    async fn tried(&mut self, flight: Flight, result: TryResult) {
        let now = self.now();
        let Delivery {
            id,
            attempts,
            first_try,
            plain,
            ..
        } = flight.waiting.delivery;
        // The time limit counts from the first attempt, so it includes the waiting times.
        let retry = self.settings.retry;
        let over = now.since(first_try.unwrap_or(flight.at)) >= retry.give_up_after;
        let again = |due: Timestamp, plain: bool| Next::Again { due, plain };
        let TryResult {
            outcome,
            status,
            receipt,
        } = result;
        let (word, why, next) = match outcome {
            SendOutcome::Delivered => {
                self.delivered(now, id, flight.number);
                return;
            }
            SendOutcome::Retry { why } => {
                let jitter = self.hub.store.clock().clock().spread();
                let wait = backoff(retry.first, retry.max, attempts.saturating_add(1), jitter);
                if flight.epoch == self.epoch {
                    (self.failures, self.epoch) = (self.failures.saturating_add(1), self.epoch + 1);
                }
                // One failure may be caused by the message, two in a row by the destination. Before
                // the first success, every failure counts as the destination's.
                let failures = if self.proven {
                    self.failures.saturating_sub(1)
                } else {
                    self.failures
                };
                if self.doubt.is_certain() {
                    self.doubt.probe_at(now + PROBE);
                } else if failures > 0 && self.pace.paused().is_zero() {
                    self.pace
                        .pause(backoff(retry.first, retry.max, failures, 0.0));
                }
                // Waiting longer than the pause lets another message go first: one that always times out
                // must not block the rest.
                let wait = wait.max(self.pace.paused() + Duration::from_millis(1));
                let next = if over {
                    Next::Dead
                } else {
                    again(now + wait, plain)
                };
                ("retry", why, next)
            }
            SendOutcome::RetryAfter { wait } => {
                let wait = self.hub.store.clock().clock().stretch(wait);
                self.pace.pause(wait);
                let why = format!("asked to wait {}", crate::model::human_duration(wait));
                let next = if over {
                    Next::Dead
                } else {
                    again(now + wait, plain)
                };
                ("retry_after", why, next)
            }
            SendOutcome::BadPayload { why } => {
                self.failures = 0;
                let next = if plain { Next::Dead } else { again(now, true) };
                ("bad_payload", why, next)
            }
            SendOutcome::Broken { why } if self.doubt.convicts(id) => {
                let why = format!("{why} to this message, and took others");
                ("broken", why, Next::Dead)
            }
            SendOutcome::Broken { why } => {
                self.doubt.refused(id, flight.number);
                self.doubt.probe_at(now + PROBE);
                // If other messages exist, their result decides about the fault.
                let under_way = self
                    .flights
                    .values()
                    .any(|f| f.over.is_none() && f.number > flight.number);
                if self.doubt.is_certain() || (!under_way && self.next(now).is_err()) {
                    self.disable(&why).await;
                }
                // Due at once, so that a restart, perhaps with a corrected URL, tries it immediately.
                ("broken", why, again(now, plain))
            }
        };
        if word != "bad_payload" {
            self.failing_since.get_or_insert(flight.at);
        }
        if next == Next::Dead {
            error!(destination = %self.settings.name, delivery = id.0, %why, "gave up on a message: it is a dead letter");
            self.doubt.forget(id);
        }
        warn!(destination = %self.settings.name, delivery = id.0, attempt = attempts + 1, outcome = word, %why, "an attempt failed");
        self.hub.metrics.attempt(&self.settings.name, word);
        self.hub.statuses.note(&self.settings.name, |status| {
            *status.attempts.entry(word).or_default() += 1
        });
        self.failed(now, why.clone());
        let attempt = Attempt {
            at: flight.at,
            status,
            reply: why,
            next,
            receipt,
        };
        self.settle(flight, attempt);
    }

    fn failed(&self, now: Timestamp, why: String) {
        let paused = Some(self.pace.paused())
            .filter(|paused| !paused.is_zero())
            .map(|paused| now + paused);
        let probe = self.doubt.next_probe().filter(|_| self.disabled);
        self.hub.statuses.note(&self.settings.name, |status| {
            status.last_error = Some((now, why));
            status.paused_until = paused.max(probe);
        });
    }

    /// Records a success.
    fn delivered(&mut self, now: Timestamp, id: DeliveryId, number: u64) {
        let clear = self.doubt.take(id, number);
        if (clear && self.disabled) || self.failures > 1 {
            info!(destination = %self.settings.name, "the destination accepts messages again");
            // Messages that failed because of the destination need not wait any longer.
            self.window
                .values_mut()
                .for_each(|waiting| waiting.delivery.due = waiting.delivery.due.min(now));
        }
        (self.failures, self.proven) = (0, true);
        if let Some(since) = self.failing_since.take()
            && now.since(since) >= NOTICED
        {
            self.gap = Some((since, now));
        }
        if clear {
            (self.disabled, self.told) = (false, false);
        }
        let disabled = self.disabled;
        self.hub.metrics.attempt(&self.settings.name, "delivered");
        self.hub.statuses.note(&self.settings.name, |status| {
            *status.attempts.entry("delivered").or_default() += 1;
            status.last_success = Some(now);
            if !disabled {
                (status.paused_until, status.disabled) = (None, None);
            }
        });
    }

    /// Stops sending to a destination that refuses everything. The backlog stays, and another
    /// destination is notified once.
    async fn disable(&mut self, why: &str) {
        self.disabled = true;
        self.hub.statuses.note(&self.settings.name, |status| {
            status.disabled = Some(why.to_owned())
        });
        if self.told {
            return;
        }
        error!(destination = %self.settings.name, %why, "the destination refuses messages; they are kept, and one is tried every hour");
        let statuses = self.hub.statuses.all();
        // A notification is useless at a destination that refuses messages itself.
        let healthy = |d: &&Arc<DestinationSettings>| {
            d.name != self.settings.name
                && statuses
                    .get(&d.name)
                    .is_none_or(|status| status.disabled.is_none())
        };
        let others = || self.hub.destinations.iter().filter(healthy);
        let Some(other) = others()
            .find(|d| d.target.url().is_some())
            .or_else(|| others().next())
        else {
            return;
        };
        let clock = self.hub.store.clock();
        let message = refusal(&self.settings, &other.name, why, clock.clock().wall());
        match self.hub.store.enqueue(message, clock.now()).await {
            Ok(()) => self.told = true,
            Err(e) => warn!(error = %e, "could not queue a notification about the refusal yet"),
        }
    }

    /// Returns the number of waiting messages if they would wait too long at this pace. `None`
    /// while the destination fails, because a probe is a single message.
    async fn overflow(&mut self, now: Timestamp) -> Option<usize> {
        let by_summary = self.settings.overflow == Overflow::Summary;
        if !by_summary || self.failures > 0 || self.doubt.is_there() {
            return None;
        }
        // If the read fails, the next message tries it again.
        let totals = self.hub.store.totals_of(&self.settings.name).await.ok()?;
        let queued = totals.queued.saturating_sub(self.flights.len() as u64);
        // One of them is sent now.
        let late = |waiting: u64| {
            self.pace.estimate(waiting.saturating_sub(1)) > self.settings.overflow_after
        };
        if !late(queued) {
            (self.backlog, self.gap) = (Backlog::default(), None);
            return None;
        }
        let is_delayed = |waiting: &&QueuedDelivery| waiting.delivery.due > now;
        let delayed = self.window.values().filter(is_delayed).count() as u64;
        let waiting = queued.saturating_sub(delayed);
        let is_worth = waiting >= 3 && waiting > self.backlog.not_worth && late(waiting);
        is_worth.then(|| usize::try_from(waiting).unwrap_or(usize::MAX))
    }

    /// Replaces waiting messages by a few summaries if that reduces their number.
    ///
    /// A small backlog is summarised completely each time, including earlier summaries, so that the
    /// result is as short as possible. Messages of a large backlog are read and summarised only
    /// once; otherwise a storm would summarise the same thousands again for each message sent.
    async fn summarise(&mut self, waiting: usize, now: Timestamp) -> store::Result<bool> {
        // Earlier summaries are read again only while the backlog is small.
        let all = (DeliveryId(0), true);
        let mut from = all;
        if self.backlog.parts + waiting > AT_ONCE {
            from = (self.backlog.upto, false);
        }
        let mut read = self.waiting(from).await?;
        if read.ids.len() < 3 && from != all && self.backlog.parts <= 4 * AT_ONCE {
            read = self.waiting(all).await?;
        }
        let Unsent {
            ids,
            messages,
            upto,
        } = read;
        let (few, parts) = (ids.len() as u64, messages.iter().map(parts).sum());
        let summarise = Arc::clone(&self.hub.summarise);
        let gap = self.gap();
        // Rendering thousands of messages would block the other tasks of this thread.
        let made = tokio::task::spawn_blocking(move || summarise(&messages, gap.as_ref())).await;
        let mut summaries = made.unwrap_or_default();
        let made = summaries.len() as u64;
        // Without this mark, the same backlog would be read and rendered again for each message.
        if few < 3 || made == 0 || made >= few {
            self.backlog.not_worth = waiting as u64 + (waiting as u64 / 4).max(3);
            return Ok(false);
        }
        let to = self.settings.name.clone();
        for summary in &mut summaries {
            summary.about.to = vec![to.clone()];
        }
        info!(destination = %to, messages = few, summaries = made, "summarised a backlog that exceeds the rate limit");
        // The store replaces the messages atomically; the copies in memory go first, so none is
        // sent meanwhile.
        self.window.retain(|id, _| ids.binary_search(id).is_err());
        let (store, lease) = (&self.hub.store, &self.lease);
        store.summarise(lease, &to, ids, summaries, now).await?;
        self.hub.statuses.note(&to, |status| status.folds += 1);
        self.backlog = if from == all {
            let not_worth = made + (made / 4).max(3);
            Backlog {
                parts,
                upto,
                not_worth,
            }
        } else {
            let parts = parts + self.backlog.parts;
            Backlog {
                parts,
                upto,
                not_worth: 0,
            }
        };
        (self.more, self.look_again) = (true, None);
        self.refill().await;
        Ok(true)
    }

    /// Returns the time without deliveries, if that is why messages wait.
    fn gap(&self) -> Option<Gap> {
        let (from, to) = self.gap?;
        let (now, wall) = (self.now(), self.hub.store.clock().clock().wall());
        Some(Gap {
            chat: self.settings.target.kind().label.to_owned(),
            from: wall - now.since(from),
            to: wall - now.since(to),
        })
    }

    /// Returns waiting messages after `after` that may become part of a summary, oldest first: all
    /// including summaries, or a bounded number without them.
    async fn waiting(&self, (after, summaries): (DeliveryId, bool)) -> store::Result<Unsent> {
        let under_way: HashSet<_> = self
            .flights
            .values()
            .map(|f| f.waiting.delivery.id)
            .collect();
        let mut found = Unsent {
            ids: Vec::new(),
            messages: Vec::new(),
            upto: after,
        };
        while summaries || found.ids.len() < AT_ONCE {
            let to = &self.settings.name;
            let page = self.hub.store.queued(to, found.upto, WINDOW).await?;
            let Some(last) = page.last() else { break };
            found.upto = last.id;
            for delivery in page {
                let id = delivery.id;
                let is_taken = under_way.contains(&id) || self.doubt.knows(id);
                // A refused message would cause the refusal of a whole summary.
                if is_taken || delivery.plain {
                    continue;
                }
                if summaries || delivery.message.folded.is_empty() {
                    found.ids.push(id);
                    found
                        .messages
                        .push(bare(Arc::unwrap_or_clone(delivery.message)));
                }
            }
        }
        Ok(found)
    }
}

/// Returns the number of notifications in a message.
fn parts(message: &Message) -> usize {
    message.folded.len().max(1)
}

/// Removes the parts of a message that no summary shows, because thousands of messages are in
/// memory at once.
fn bare(message: Message) -> Message {
    let about = Notification {
        event: serde_json::Value::Null,
        insight: Insight {
            behind: message.about.insight.behind,
            ..Insight::default()
        },
        ..message.about
    };
    Message {
        title: message.title,
        text: String::new(),
        facts: Vec::new(),
        links: Vec::new(),
        about,
        folded: message.folded,
    }
}

#[cfg(test)]
mod tests;
