use std::time::Duration;

use service::catalogue;
use store::{CONNECTIONS, Creator, Store};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);
/// Firings counted at most: past so many it matters only that they are many.
const MOST: u32 = 100_000;

/// Tells once a second, until `stopping`, what waits: firings, calls, and connections that idle.
pub(crate) async fn tell(store: Store, creator: Creator, stopping: CancellationToken) {
    // Also in the midst of a look: a PostgreSQL that hangs must not hold up the drain.
    stopping.run_until_cancelled(tell_on(store, creator)).await;
}

async fn tell_on(store: Store, creator: Creator) {
    let calls = catalogue::QUEUE.with("queue", "creates").gauge();
    let calls_bound = catalogue::QUEUE_BOUND.with("queue", "creates").gauge();
    let connections = |state| catalogue::POSTGRES_CONNECTIONS.with("state", state).gauge();
    let (in_use, idle) = (connections("in_use"), connections("idle"));
    catalogue::POSTGRES_CONNECTIONS_BOUND.gauge().set(f64::from(CONNECTIONS));
    let (firings, age) = (catalogue::OUTBOX.gauge(), catalogue::OUTBOX_AGE.gauge());
    loop {
        let (waiting, bound) = creator.waiting();
        calls.set(waiting as f64);
        calls_bound.set(bound as f64);
        let (all, idling) = store.connections();
        in_use.set(all.saturating_sub(idling) as f64);
        idle.set(idling as f64);
        // While PostgreSQL is away the last figures stand: nothing leaves the outbox either.
        if let Ok((waiting, oldest)) = store.waiting(MOST).await {
            firings.set(waiting as f64);
            age.set(oldest.as_secs_f64());
        }
        tokio::time::sleep(EVERY).await;
    }
}
