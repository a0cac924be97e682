//! Outbox -> pace -> destination -> settle: one lane per destination.
//!
//! A lane keeps the next deliveries in memory, sends several incidents at once and the messages of
//! one incident strictly in order, and settles what became of each try. What is sent but not
//! settled when the process dies is sent again: at least once, and once in a process's life.

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

/// Deliveries of one destination kept in memory, and asked of the store at once.
const WINDOW: usize = 256;
/// Messages that are summarised at once where many wait.
const AT_ONCE: usize = 8_192;
/// Incidents under way at once, where the pace is not that of a chat: what is under way at a kill
/// comes twice. The fewest, and the most, where the pace is so fast that waiting for the disk and
/// the network would slow it.
const IN_FLIGHT: (usize, usize) = (8, 64);
/// Time from the beginning of a send until it is settled, as a rule.
const SETTLED: Duration = Duration::from_millis(20);
/// At a pace no faster than this, one message is under way at a time.
const A_CHATS_PACE: Duration = Duration::from_millis(100);
/// Between probes of a destination that refuses everything.
const PROBE: Duration = Duration::from_secs(3_600);
/// A destination that took nothing for less than this merely stumbled.
const NOTICED: Duration = Duration::from_secs(30);
/// Time for what is under way at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Makes few messages of many: `render::Templates::digest`. Takes summaries too.
pub type Summarise = Arc<dyn Fn(&[Message], Option<&Gap>) -> Vec<Message> + Send + Sync>;

/// Sends what is in the outbox.
pub struct Dispatcher<S, T> {
    hub: Arc<Hub<S, T>>,
}

struct Hub<S, T> {
    /// Why nothing more can be sent, and that it is so.
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
    /// A dispatcher for these destinations; `views` see how each try went. Deliveries to any other
    /// become dead letters at once.
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

    /// Sends until told to stop; then finishes what is under way, for at most five seconds.
    ///
    /// # Errors
    /// When the store must not be used any more: what waits cannot be read, or what became of it
    /// not be noted.
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

/// Sends to one destination as long as this process is the one that may.
async fn send<S: Outbox + Leases, T: Transport>(
    hub: Arc<Hub<S, T>>,
    settings: Arc<DestinationSettings>,
    stop: CancellationToken,
) {
    let Some(Some(lease)) = stop.run_until_cancelled(hub.lease(&settings)).await else {
        return;
    };
    let since = hub.store.clock().now() - settings.rate_limit.memory();
    // What cannot be read counts as a spent burst.
    let spent = hub
        .store
        .delivered_since(&settings.name, since)
        .await
        .unwrap_or(u32::MAX);
    Lane::new(hub, settings, lease, spent).run(stop).await;
}

impl<S: Outbox + Leases, T> Hub<S, T> {
    /// The right to send to a destination; `None` where nothing is sent any more.
    async fn lease(&self, settings: &DestinationSettings) -> Option<Lease> {
        loop {
            match self.store.acquire(Duty::Lane(settings.name.clone())).await {
                Ok(lease) => return Some(lease),
                Err(e) => {
                    warn!(destination = %settings.name, error = %e, "cannot begin to send");
                    self.noticed(&e);
                }
            }
            if self.over.is_cancelled() {
                return None;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Ends sending where the store is damaged or served by another process. Anything else the store
    /// may do later.
    fn noticed(&self, error: &store::Error) {
        let is_final = matches!(error, store::Error::Fatal(_) | store::Error::Lost(_));
        if is_final && self.fatal.set(error.clone()).is_ok() {
            self.over.cancel();
        }
    }

    /// Receipt of an incident; `None` where nothing is sent any more.
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

    /// Settles until it is durable: a delivery that was sent must not be sent again only because the store
    /// was full.
    async fn settle(&self, lane: &Lease, id: DeliveryId, attempt: Attempt) {
        let mut wait = Duration::from_millis(50);
        while let Err(e) = self.store.settle(lane, id, attempt.clone()).await {
            self.noticed(&e);
            if self.over.is_cancelled() {
                return;
            }
            warn!(delivery = id.0, error = %e, "cannot note what became of a message; trying again");
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

/// A delivery under way: being sent, or what became of it being settled.
struct Flight {
    waiting: QueuedDelivery,
    /// Journal time of the try.
    at: Timestamp,
    /// Which of the destination's failures it can still count towards.
    epoch: u64,
    /// Sequence number of this try.
    number: u64,
    /// The try, once it is over and being settled.
    over: Option<Attempt>,
}

/// Result of a try.
struct TryResult {
    outcome: SendOutcome,
    status: Option<u16>,
    receipt: Option<Receipt>,
}

/// Back from a flight: how the try went, unless it was only being settled.
type Landed = Option<TryResult>;

struct Lane<S, T> {
    hub: Arc<Hub<S, T>>,
    settings: Arc<DestinationSettings>,
    lease: Lease,
    pace: Pace,
    window: BTreeMap<DeliveryId, QueuedDelivery>,
    flights: HashMap<Id, Flight>,
    tasks: JoinSet<Landed>,
    /// The newest delivery taken from the store; whether there may be more after it; when a failed
    /// look is due again.
    newest: DeliveryId,
    more: bool,
    look_again: Option<Timestamp>,
    /// Transport failures in a row; tries that began before the last one are not counted again.
    failures: u32,
    epoch: u64,
    /// The first try that failed since the last success; then until when nothing was taken.
    failing_since: Option<Timestamp>,
    gap: Option<(Timestamp, Timestamp)>,
    /// Tries so far; whether one of them was a success.
    tries: u64,
    proven: bool,
    doubt: Doubt,
    disabled: bool,
    told: bool,
    /// The right to send one message, taken and not yet used.
    may_send: bool,
    backlog: Backlog,
}

/// Progress in a backlog that is summarised.
#[derive(Default)]
struct Backlog {
    /// Notifications that were made part of summaries.
    parts: usize,
    /// The newest delivery that was read for that.
    upto: DeliveryId,
    /// Summarising was found not to make fewer of so many.
    not_worth: u64,
}

/// Messages that wait, and the newest delivery that was read for them.
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
        let drain = async {
            while let Some(landed) = self.tasks.join_next_with_id().await {
                self.land(landed).await;
            }
        };
        if tokio::time::timeout(DRAIN, drain).await.is_err() {
            warn!(destination = %self.settings.name, "what was under way at shutdown stays in the outbox");
        }
    }

    fn now(&self) -> Timestamp {
        self.hub.store.clock().now()
    }

    /// Takes one batch from the store where there is room and may be more.
    async fn refill(&mut self) {
        let now = self.now();
        if !self.more
            || self.window.len() >= WINDOW / 2
            || self.look_again.is_some_and(|at| at > now)
        {
            return;
        }
        self.look_again = None;
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

    /// Number of deliveries that may be under way now.
    fn room(&self) -> usize {
        let period = self.settings.rate_limit.period();
        let alone = period >= A_CHATS_PACE;
        // A destination that fails, or is not known to work, is probed by one message at a time.
        if alone || !self.proven || self.failures > 0 || self.doubt.is_there() {
            return 1;
        }
        let (least, most) = IN_FLIGHT;
        let at_pace = SETTLED.as_nanos() / period.as_nanos().max(1);
        usize::try_from(at_pace).unwrap_or(most).clamp(least, most)
    }

    /// Sends what may be sent now. Gives when to look again, where time alone brings that.
    async fn send(&mut self) -> Option<Timestamp> {
        while self.flights.len() < self.room() {
            let now = self.now();
            let id = match self.next(now) {
                Ok(id) => id,
                Err(due) => return due,
            };
            if !self.may_send {
                if let Err(wait) = self.pace.take() {
                    return Some(now + wait);
                }
                self.may_send = true;
            }
            if let Some(waiting) = self.overflow(now).await {
                match self.summarise(waiting, now).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(e) => {
                        self.hub.noticed(&e);
                        warn!(destination = %self.settings.name, error = %e, "cannot summarise what waits");
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

    /// The first delivery that is due and whose incidents have no earlier one under way or waiting;
    /// or when one will be due.
    fn next(&self, now: Timestamp) -> Result<DeliveryId, Option<Timestamp>> {
        let turn = self.doubt.turn(now);
        if let Turn::Wait(probe) = turn {
            return Err(Some(probe));
        }
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
            // A delivered message is settled here, so that many settle in one sync; until it is
            // durable the delivery is under way and not sent again.
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

    /// Settles what a try that failed led to; the delivery stays under way until that is durable.
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
        let (task, landed) = match landed {
            Ok((task, landed)) => (task, landed),
            Err(e) => {
                error!(destination = %self.settings.name, error = %e, "a message could not be handled");
                (
                    e.id(),
                    Some(TryResult {
                        outcome: SendOutcome::BadPayload {
                            why: "it could not be handled".to_owned(),
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

    /// Decides what a try leads to.
    async fn tried(&mut self, flight: Flight, result: TryResult) {
        let now = self.now();
        let Delivery {
            id,
            attempts,
            first_try,
            plain,
            ..
        } = flight.waiting.delivery;
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
                // One failure may be the message's; two in a row are the destination's, and so is
                // the first one of all.
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
                // Another one is next, lest one that is never answered holds up all others.
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
                // Another message tells whose fault it is, where there is one.
                let under_way = self
                    .flights
                    .values()
                    .any(|f| f.over.is_none() && f.number > flight.number);
                if self.doubt.is_certain() || (!under_way && self.next(now).is_err()) {
                    self.disable(&why).await;
                }
                // Due at once: after a restart, perhaps with a better URL, it is tried at once.
                ("broken", why, again(now, plain))
            }
        };
        if word != "bad_payload" {
            self.failing_since.get_or_insert(flight.at);
        }
        if next == Next::Dead {
            error!(destination = %self.settings.name, delivery = id.0, %why, "a message was given up: a dead letter");
            self.doubt.forget(id);
        }
        warn!(destination = %self.settings.name, delivery = id.0, attempt = attempts + 1, outcome = word, %why, "not delivered");
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

    /// Notes that the destination took a message.
    fn delivered(&mut self, now: Timestamp, id: DeliveryId, number: u64) {
        let clear = self.doubt.take(id, number);
        if (clear && self.disabled) || self.failures > 1 {
            info!(destination = %self.settings.name, "takes messages again");
            // What failed because of the destination need not wait for its own next try.
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

    /// Stops sending: the destination refuses everything. Keeps its backlog, and notifies once,
    /// elsewhere.
    async fn disable(&mut self, why: &str) {
        self.disabled = true;
        self.hub.statuses.note(&self.settings.name, |status| {
            status.disabled = Some(why.to_owned())
        });
        if self.told {
            return;
        }
        error!(destination = %self.settings.name, %why, "refuses messages; kept for it, tried again hourly");
        let statuses = self.hub.statuses.all();
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
            Err(e) => warn!(error = %e, "cannot tell of it elsewhere yet"),
        }
    }

    /// Number of messages that wait, where they would wait too long at the pace. `None` while it
    /// fails: a probe is one message, with its own past.
    async fn overflow(&mut self, now: Timestamp) -> Option<usize> {
        let by_summary = self.settings.overflow == Overflow::Summary;
        if !by_summary || self.failures > 0 || self.doubt.is_there() {
            return None;
        }
        // What cannot be read now is looked at again with the next message.
        let totals = self.hub.store.totals_of(&self.settings.name).await.ok()?;
        let queued = totals.queued.saturating_sub(self.flights.len() as u64);
        // One of them goes now.
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

    /// Makes a few summaries of what waits, where that makes fewer.
    ///
    /// While little waits, all of it is summarised anew each time, summaries too, so that they are
    /// as few as can be. Of more, a message is read and summarised once: in a storm the same
    /// thousands would be summarised again for each message that is sent.
    async fn summarise(&mut self, waiting: usize, now: Timestamp) -> store::Result<bool> {
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
        // Thousands of messages take long enough to hold up what else this thread does.
        let made = tokio::task::spawn_blocking(move || summarise(&messages, gap.as_ref())).await;
        let mut summaries = made.unwrap_or_default();
        let made = summaries.len() as u64;
        if few < 3 || made == 0 || made >= few {
            self.backlog.not_worth = waiting as u64 + (waiting as u64 / 4).max(3);
            return Ok(false);
        }
        let to = self.settings.name.clone();
        for summary in &mut summaries {
            summary.about.to = vec![to.clone()];
        }
        info!(destination = %to, messages = few, summaries = made, "more than its pace allows: summarised");
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

    /// Time in which the destination took nothing, if that is why messages wait.
    fn gap(&self) -> Option<Gap> {
        let (from, to) = self.gap?;
        let (now, wall) = (self.now(), self.hub.store.clock().clock().wall());
        Some(Gap {
            chat: self.settings.target.kind().label.to_owned(),
            from: wall - now.since(from),
            to: wall - now.since(to),
        })
    }

    /// Messages that wait beyond `after` and may become part of a summary, oldest first; with summaries, or
    /// only a bounded number of other messages.
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
                // A message that was refused would be refused in a summary, with all the others.
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

/// Number of notifications that a message stands for.
fn parts(message: &Message) -> usize {
    message.folded.len().max(1)
}

/// A message without what no summary shows: thousands of them are in memory at once.
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
