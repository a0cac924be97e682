//! The store, in step with virtual time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use foghorn::clock::JournalClock;
use foghorn::model::{Cursor, Journaled, Message, Name, Receipt, Record, Seq, Timestamp};
use foghorn::store::sqlite::Sqlite;
use foghorn::store::{
    self, Attempt, Delivery, DeliveryId, Duty, Journal, Lease, Leases, MessageFates, Outbox,
    Recovered, Step, Steps, Store, Totals,
};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// SQLite, with tokio's paused clock held while its threads work: it stands still while a blocking
/// task runs.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) store: Sqlite,
    /// Calls under way.
    pub(crate) calls: Arc<AtomicUsize>,
}

impl Held {
    async fn call<T: Send + 'static, F: Future<Output = store::Result<T>>>(
        &self,
        call: impl FnOnce(Sqlite) -> F + Send + 'static,
    ) -> store::Result<T> {
        let (store, calls, runtime) = (self.store.clone(), self.calls.clone(), Handle::current());
        calls.fetch_add(1, Relaxed);
        let made = tokio::task::spawn_blocking(move || {
            let made = runtime.block_on(call(store));
            calls.fetch_sub(1, Relaxed);
            made
        });
        made.await.unwrap()
    }
}

impl Store for Held {
    fn clock(&self) -> JournalClock {
        self.store.clock()
    }
}

impl Journal for Held {
    async fn append(&self, record: Record) -> store::Result<Seq> {
        self.call(async move |store| store.append(record).await)
            .await
    }

    async fn read(&self, after: Seq, limit: usize) -> store::Result<Vec<Journaled>> {
        self.call(async move |store| store.read(after, limit).await)
            .await
    }

    async fn cursor(&self, source: &Name) -> store::Result<Option<Cursor>> {
        let source = source.clone();
        self.call(async move |store| store.cursor(&source).await)
            .await
    }

    fn news(&self) -> watch::Receiver<Seq> {
        self.store.news()
    }
}

impl Leases for Held {
    async fn acquire(&self, duty: Duty) -> store::Result<Lease> {
        self.store.acquire(duty).await
    }
}

impl Steps for Held {
    async fn recover(&self, judge: &Lease) -> store::Result<Recovered> {
        let judge = judge.clone();
        self.call(async move |store| store.recover(&judge).await)
            .await
    }

    async fn commit(&self, judge: &Lease, from: Seq, step: Step) -> store::Result<()> {
        let judge = judge.clone();
        self.call(async move |store| store.commit(&judge, from, step).await)
            .await
    }
}

impl Totals for Held {
    async fn totals(&self) -> store::Result<Vec<(Name, MessageFates)>> {
        self.store.totals().await
    }

    async fn totals_of(&self, to: &Name) -> store::Result<MessageFates> {
        self.store.totals_of(to).await
    }
}

impl Outbox for Held {
    async fn queued(
        &self,
        to: &Name,
        after: DeliveryId,
        limit: usize,
    ) -> store::Result<Vec<Delivery>> {
        let to = to.clone();
        self.call(async move |store| store.queued(&to, after, limit).await)
            .await
    }

    async fn receipt(&self, lane: &Lease, incident: &str) -> store::Result<Option<Receipt>> {
        let (lane, incident) = (lane.clone(), incident.to_owned());
        self.call(async move |store| store.receipt(&lane, &incident).await)
            .await
    }

    async fn settle(&self, lane: &Lease, id: DeliveryId, attempt: Attempt) -> store::Result<()> {
        let lane = lane.clone();
        self.call(async move |store| store.settle(&lane, id, attempt).await)
            .await
    }

    async fn summarise(
        &self,
        lane: &Lease,
        to: &Name,
        folded: Vec<DeliveryId>,
        summaries: Vec<Message>,
        at: Timestamp,
    ) -> store::Result<()> {
        let (lane, to) = (lane.clone(), to.clone());
        self.call(async move |store| store.summarise(&lane, &to, folded, summaries, at).await)
            .await
    }

    async fn enqueue(&self, message: Message, at: Timestamp) -> store::Result<()> {
        self.call(async move |store| store.enqueue(message, at).await)
            .await
    }

    async fn delivered_since(&self, to: &Name, since: Timestamp) -> store::Result<u32> {
        let to = to.clone();
        self.call(async move |store| store.delivered_since(&to, since).await)
            .await
    }

    fn outbox(&self) -> watch::Receiver<DeliveryId> {
        self.store.outbox()
    }
}
