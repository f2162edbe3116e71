use std::sync::Arc;
use std::time::Duration;

use broker::{Publication, Publisher};
use follow::{now, seconds};
use metrics::{Counter, Histogram};
use prost::Message;
use service::catalogue;
use store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::messages;

/// Firings leased at once.
const FIRINGS: u32 = 1_000;
/// Longer than a delivery may take: who dies with a lease holds its firings up for so long.
const LEASE: Duration = Duration::from_secs(10);
/// How often the outbox is looked into unasked: for what another instance left behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);

struct Published {
    firings: Counter,
    stage: Histogram,
}

impl Published {
    /// Counts firings that the broker acknowledged this moment.
    fn count(&self, firings: &[store::Firing]) {
        let published_at = now();
        self.firings.increment(firings.len() as u64);
        for firing in firings.iter().filter(|firing| firing.received_at > 0) {
            self.stage.record(seconds(firing.received_at, published_at));
        }
    }
}

/// Puts firings on their topic until `stopping`, at least once each; `fired` tells of new ones.
pub(crate) async fn publish(
    store: Store,
    publisher: Publisher,
    fired: Arc<Notify>,
    stopping: CancellationToken,
) {
    let published = Published {
        firings: catalogue::FIRINGS_PUBLISHED.counter(),
        stage: catalogue::TICK_STAGE.with("stage", "published").histogram(),
    };
    let failed = catalogue::FIRINGS_PUBLISH_FAILED.counter();
    let mut is_away = false;
    while !stopping.is_cancelled() {
        match round(&store, &publisher, &published).await {
            Ok(count) => {
                is_away = false;
                if count == FIRINGS as usize {
                    continue;
                }
            }
            Err(error) => {
                failed.increment(1);
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!("firings wait to be published: {error:#}");
                }
                // What was leased is given out again by itself; asking at once gains nothing.
                stopping.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
            }
        }
        tokio::select! {
            () = stopping.cancelled() => {}
            () = fired.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Publishes what one lease holds; returns how many that were.
async fn round(
    store: &Store,
    publisher: &Publisher,
    published: &Published,
) -> anyhow::Result<usize> {
    let firings = store.lease(FIRINGS, LEASE).await?;
    if firings.is_empty() {
        return Ok(0);
    }
    let encoded: Vec<(String, Vec<u8>)> = firings
        .iter()
        .map(|firing| (firing.id.to_string(), messages::firing(firing).encode_to_vec()))
        .collect();
    let records = firings.iter().zip(&encoded).map(|(firing, (id, value))| Publication {
        key: firing.symbol.as_bytes(),
        value,
        headers: vec![("firing-id", id.as_str())],
    });
    publisher.publish(records).await?;
    published.count(&firings);
    let ids: Vec<i64> = firings.iter().map(|firing| firing.id).collect();
    store.published(&ids).await?;
    Ok(ids.len())
}
