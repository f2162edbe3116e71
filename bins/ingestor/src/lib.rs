//! The feed's socket to the log: trades come in frames, and leave as records of one symbol each.
//!
//! ```text
//!  feed ──▶ mpsc (frames) ──▶ encode (a thread of its own) ──▶ broker::Producer ──▶ market_ticks
//!                              decode, borrowed; gather what is    waits while full
//!                              queued into a record per symbol
//! ```
//! Nothing is dropped on the way: where the log is behind, the encoder waits, the queue fills, the
//! socket is not read, and TCP holds back the feed. What is dropped is what the feed sent wrongly,
//! each counted under its reason.
//!
//! Invariant: the socket is read only after the producer is warm, and the program ends non-zero
//! where a record that was handed over has not reached the log.

mod batch_span;
mod config;
mod encode;
mod frames;
mod meters;
mod occasionally;
mod pace;
mod repeats;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use broker::{Producer, TopicSpec, ensure_topic};
use feed::Feed;
use service::Service;
use tokio::sync::{mpsc, watch};

pub use config::Config;

use crate::encode::Encoder;
use crate::pace::Pace;

/// Frames read and not yet taken by the encoder. Full means that the broker is behind: the socket reader
/// waits, and the feed's own buffer takes the pressure.
const FRAMES_IN_FLIGHT: usize = 1_024;

/// How long between two attempts at a broker that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Follows the feed until the service stops; then encodes what was read and waits until the log
/// has it.
pub async fn serve(config: Config, service: Service) -> anyhow::Result<()> {
    let kafka = service.ready("kafka");
    let subscribed = service.ready("feed");
    let feed = Feed::new(config.feed.clone(), meters::feed())?;
    let Some(producer) = connect(&config, &service).await? else { return Ok(()) };
    kafka.set();

    let (sender, mut frames) = mpsc::channel(FRAMES_IN_FLIGHT);
    meters::frames_bound().set(FRAMES_IN_FLIGHT as f64);
    let mut encoder = Encoder::new(config.ticks_per_record, Pace::new(config.pace_at_most));
    let runtime = tokio::runtime::Handle::current();
    let draining = service.clone();
    let encoding = move || {
        encoder.run(&runtime, &mut frames, &*producer)?;
        producer.flush(draining.drain_deadline())
    };
    service.thread("encode", encoding).context("cannot start a thread")?;

    let (state, mut changes) = watch::channel(false);
    let stopping = service.stopping();
    service.spawn("readiness", async move {
        while changes.changed().await.is_ok() {
            match *changes.borrow_and_update() {
                true => subscribed.set(),
                // At the stop readiness goes first, and says so itself.
                false if stopping.is_cancelled() => {}
                false => subscribed.clear("not connected"),
            }
        }
        Ok(())
    });
    feed.run(sender, state, service.stopping()).await;
    Ok(())
}

/// Makes the topic where it is missing and warms up the producer, with patience for a broker that
/// is still starting. `None` where the service was told to stop meanwhile.
async fn connect(config: &Config, service: &Service) -> anyhow::Result<Option<Arc<Producer>>> {
    let stopping = service.stopping();
    let topic = TopicSpec {
        name: config.producer.topic.clone(),
        partitions: config.partitions,
        retention: Some(config.retention),
        retention_bytes: config.retention_bytes,
    };
    loop {
        let attempt = async {
            ensure_topic(&config.producer.brokers, &topic).await?;
            let settings = config.producer.clone();
            let connecting = move || Producer::connect(settings, meters::producer());
            tokio::task::spawn_blocking(connecting).await?
        };
        tokio::select! {
            () = stopping.cancelled() => return Ok(None),
            connected = attempt => match connected {
                Ok(producer) => return Ok(Some(Arc::new(producer))),
                Err(error) => tracing::warn!("Kafka is not ready: {error:#}"),
            },
        }
        tokio::select! {
            () = stopping.cancelled() => return Ok(None),
            () = tokio::time::sleep(PATIENCE) => {}
        }
    }
}
