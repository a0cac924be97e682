//! The store, in step with virtual time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use foghorn::clock::JournalClock;
use foghorn::model::{Journaled, Message, Name, Record, Seq, Timestamp};
use foghorn::store::{
    self, Attempt, DeadLetter, Delivery, DeliveryId, MessageFates, Recovered, Sqlite, Step, Store,
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

macro_rules! held {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        $(async fn $name(&self, $($arg: $type),*) -> store::Result<$out> {
            self.call(move |store| async move { store.$name($($arg),*).await }).await
        })*
    };
}

impl Store for Held {
    held! {
        append(record: Record) -> Seq;
        read(after: Seq, limit: usize) -> Vec<Journaled>;
        commit(step: Step) -> ();
        recover() -> Recovered;
        settle(id: DeliveryId, attempt: Attempt) -> ();
        enqueue(message: Message, at: Timestamp) -> ();
        dead_letters(limit: usize) -> Vec<DeadLetter>;
    }
    async fn queued(
        &self,
        to: &Name,
        after: DeliveryId,
        limit: usize,
    ) -> store::Result<Vec<Delivery>> {
        let to = to.clone();
        self.call(move |store| async move { store.queued(&to, after, limit).await })
            .await
    }
    async fn fold(
        &self,
        to: &Name,
        f: Vec<DeliveryId>,
        d: Vec<Message>,
        at: Timestamp,
    ) -> store::Result<()> {
        let to = to.clone();
        self.call(move |store| async move { store.fold(&to, f, d, at).await })
            .await
    }
    async fn delivered_since(&self, to: &Name, since: Timestamp) -> store::Result<u32> {
        let to = to.clone();
        self.call(move |store| async move { store.delivered_since(&to, since).await })
            .await
    }
    fn fates(&self) -> Vec<(Name, MessageFates)> {
        self.store.fates()
    }
    fn fates_of(&self, to: &Name) -> MessageFates {
        self.store.fates_of(to)
    }
    fn last(&self) -> Seq {
        self.store.last()
    }
    fn appended(&self) -> watch::Receiver<Seq> {
        self.store.appended()
    }
    fn outbox(&self) -> watch::Receiver<DeliveryId> {
        self.store.outbox()
    }
    fn clock(&self) -> JournalClock {
        self.store.clock()
    }
}
