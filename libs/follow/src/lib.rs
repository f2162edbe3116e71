//! Following the log in batches: what the processor and the alert service share.
//!
//! ```text
//!  broker ──▶ Poller (a thread of its own) ──▶ Gathering ──▶ Follower ──▶ Effect
//!               decode, borrowed                the batch      │           Redis, or alerts
//!                                               that grows     └─▶ offsets may be committed
//!                                                  ▲
//!                                                Watch: does each partition bring what its log has?
//! ```
//! While a batch has its effect the next one gathers, so a batch is as large as the effect is
//! slow, and no trade waits for a timer.
//!
//! Invariant: an offset is noted for commit only after what it stands for has had its effect.
//! Everything else may be lost at any moment: where a partition goes on is the effect's to say.

mod batch_span;
mod effect;
mod follower;
mod gathering;
mod lag;
mod loads;
mod poll;
mod start;
mod symbols;
mod watch;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use broker::{Consumer, ConsumerSettings, TopicSpec, ensure_topic};
use service::{Service, catalogue};

pub use batch_span::fail as fail_span;
pub use effect::{Effect, Places, Progress};
pub use gathering::{Batch, Gathered};
pub use symbols::{Known, Symbols};

use crate::follower::Follower;
use crate::gathering::Gathering;
use crate::lag::Lag;
use crate::poll::Poller;
use crate::watch::Watch;

/// Which topic is followed, and as which member of which group.
#[derive(Clone, Debug)]
pub struct FollowSettings {
    pub consumer: ConsumerSettings,
    /// How many the topic has.
    pub partitions: i32,
    /// How many trades may gather while the effect is busy. Full means that the effect is behind:
    /// the polling thread waits, and the log keeps the rest.
    pub batch_trades: usize,
}

/// Follows the topic until the service stops; then what was read has its effect and is committed.
///
/// # Errors
/// [`market::AnotherLog`]; other trouble of the effect is tried again for as long as it takes.
pub async fn follow<E: Effect>(
    settings: FollowSettings,
    effect: E,
    service: &Service,
) -> anyhow::Result<()> {
    catalogue::QUEUE_BOUND.with("queue", "batch").gauge().set(settings.batch_trades as f64);
    let gathering = Arc::new(Gathering::new(settings.batch_trades, settings.partitions));
    let lag = Arc::new(Lag::new(settings.partitions));
    let mut follower = Follower::new(
        effect,
        &settings,
        Arc::clone(&gathering),
        Arc::clone(&lag),
        service.ready(E::NAME),
    );
    // The effect first: what it holds decides where the log is read from.
    if !follower.connect(&service.stopping()).await? {
        return Ok(());
    }
    let ends = Box::new(move |partition, end| lag.ends(partition, end));
    let consumer = Arc::new(Consumer::connect(&settings.consumer, ends)?);
    read(follower, consumer, gathering, service).await
}

/// Reads what the consumer is given until the service stops.
async fn read<E: Effect>(
    follower: Follower<E>,
    consumer: Arc<Consumer>,
    gathering: Arc<Gathering>,
    service: &Service,
) -> anyhow::Result<()> {
    let watch = Watch::new(&consumer, Arc::clone(&gathering));
    let poller = Poller::new(Arc::clone(&consumer), gathering);
    let stopping = service.stopping();
    service.thread("poll", move || poller.run(&stopping)).context("cannot start a thread")?;
    tokio::select! {
        ended = follower.run(consumer, service.stopping()) => ended,
        never = watch.run() => match never {},
    }
}

/// Makes topics where they are missing, with patience for a broker that is still starting.
/// Returns how many partitions the last one has; `None` where the service was told to stop.
pub async fn topics(
    brokers: &str,
    specs: &[TopicSpec],
    service: &Service,
) -> anyhow::Result<Option<i32>> {
    let stopping = service.stopping();
    loop {
        let made = async {
            let mut partitions = 0;
            for spec in specs {
                partitions = ensure_topic(brokers, spec).await?;
            }
            anyhow::Ok(partitions)
        };
        let made = tokio::select! {
            () = stopping.cancelled() => return Ok(None),
            made = made => made,
        };
        match made {
            Ok(partitions) => return Ok(Some(partitions)),
            Err(error) => tracing::warn!("Kafka is not ready: {error:#}"),
        }
        tokio::select! {
            () = stopping.cancelled() => return Ok(None),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// From one time to another, both Unix nanoseconds. Clocks of two machines may disagree: never less
/// than nothing.
pub fn seconds(from: u64, to: u64) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64()
}

/// Unix nanoseconds.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
