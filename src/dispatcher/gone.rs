//! Messages for destinations that were removed from the config. No lane will ever send them, so
//! they become dead letters at once, which people see.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Hub, WINDOW};
use crate::model::Name;
use crate::store::{self, Attempt, Delivery, DeliveryId, Duty, Lease, Leases, Next, Outbox};

/// Interval between attempts to read the store after an error.
const AGAIN: Duration = Duration::from_secs(1);

/// Turns messages for removed destinations into dead letters, until `stop`.
pub(super) async fn give_up<S: Outbox + Leases, T>(hub: Arc<Hub<S, T>>, stop: CancellationToken) {
    let mut outbox = hub.store.outbox();
    loop {
        outbox.mark_unchanged();
        let looked = all(&hub).await;
        if let Err(e) = &looked {
            warn!(error = %e, "cannot read the messages for removed destinations");
            hub.noticed(e);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = hub.over.cancelled() => return,
            changed = outbox.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(AGAIN), if looked.is_err() => {}
        }
    }
}

async fn all<S: Outbox + Leases, T>(hub: &Hub<S, T>) -> store::Result<()> {
    for (name, fates) in hub.store.totals().await? {
        let there = hub.destinations.iter().any(|known| known.name == name);
        if there || fates.queued == 0 {
            continue;
        }
        let lane = hub.store.acquire(Duty::Lane(name.clone())).await?;
        let mut after = DeliveryId(0);
        loop {
            let page = hub.store.queued(&name, after, WINDOW).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            // The store syncs all settled deliveries of a page at once.
            join_all(page.iter().map(|delivery| one(hub, &lane, &name, delivery))).await;
        }
    }
    Ok(())
}

async fn one<S: Outbox + Leases, T>(
    hub: &Hub<S, T>,
    lane: &Lease,
    name: &Name,
    delivery: &Delivery,
) {
    let why = format!("the destination `{name}` was removed");
    error!(destination = %name, delivery = delivery.id.0, %why, "gave up on a message: it is a dead letter");
    let attempt = Attempt {
        at: hub.store.clock().now(),
        status: None,
        reply: why,
        next: Next::Dead,
        receipt: None,
    };
    hub.settle(lane, delivery.id, attempt).await;
}
