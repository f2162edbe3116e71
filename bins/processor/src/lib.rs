//! The log to Redis: `market_ticks` in, the state of every symbol out.
//!
//! ```text
//!  broker ──▶ poll (a thread of its own) ──▶ gathering ──▶ apply: load, fold, write ──▶ Redis
//!               decode, borrowed               the batch       one pipeline a batch
//!                                              that grows      └─▶ the offsets may be committed
//! ```
//! While a batch is on its way to Redis the next one gathers, so a batch is as large as the time
//! that Redis takes, and no trade waits for a timer.
//!
//! Invariant: an offset is noted for commit only after what it stands for is in Redis (or on the
//! dead-letter topic). Everything else may be lost at any moment.

mod apply;
mod config;
mod follow;
mod gathering;
mod meters;
mod poll;
mod states;
mod symbols;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use broker::{Consumer, ConsumerSettings, DeadLetters, TopicSpec, ensure_topic};
use service::{Service, catalogue};
use speed::Writer;

pub use config::Config;

use crate::follow::Follower;
use crate::gathering::Gathering;

/// Follows the topic until the service stops; then writes what was read and commits it.
pub async fn serve(config: Config, service: Service) -> anyhow::Result<()> {
    let ready = service.ready("redis");
    let Some(partitions) = topics(&config, &service).await? else { return Ok(()) };
    let dead = DeadLetters::new(&config.brokers, &config.topic, &config.dead_topic())?;
    let settings = ConsumerSettings {
        brokers: config.brokers.clone(),
        topic: config.topic.clone(),
        group: config.group.clone(),
        client_id: "processor".into(),
        session_timeout: config.session_timeout,
    };
    let lag = |partition: i32, records: i64| {
        let gauge = catalogue::CONSUMER_LAG.with("partition", partition.to_string()).gauge();
        gauge.set(records as f64);
    };
    let gathering = Arc::new(Gathering::new(config.batch_trades, partitions));
    let mut follower = Follower::new(&config, Arc::clone(&gathering), dead, partitions, ready);
    // Redis first: what it holds decides where the log is read from.
    let Some(writer) = follower.connect(&service.stopping()).await? else { return Ok(()) };
    let consumer = Arc::new(Consumer::connect(&settings, Box::new(lag))?);
    let polling = poll::Poller::new(Arc::clone(&consumer), gathering);
    let stopping = service.stopping();
    service.thread("poll", move || polling.run(&stopping)).context("cannot start a thread")?;
    follower.run(writer, consumer, service.stopping()).await
}

/// Makes the topics where they are missing, with patience for a broker that is still starting.
/// `None` where the service was told to stop meanwhile.
async fn topics(config: &Config, service: &Service) -> anyhow::Result<Option<i32>> {
    let stopping = service.stopping();
    let spec = |name: String| TopicSpec {
        name,
        partitions: config.partitions,
        retention: Some(config.retention),
        retention_bytes: config.retention_bytes,
    };
    loop {
        let made = async {
            ensure_topic(&config.brokers, &spec(config.dead_topic())).await?;
            ensure_topic(&config.brokers, &spec(config.topic.clone())).await
        };
        match made.await {
            Ok(partitions) => return Ok(Some(partitions)),
            Err(error) => tracing::warn!("Kafka is not ready: {error:#}"),
        }
        tokio::select! {
            () = stopping.cancelled() => return Ok(None),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// Forgets what Redis holds and mints a new log id: the next processors to start read the topic
/// from its beginning. Processors that still run under the old id stop.
pub async fn rebuild(config: Config, _: Service) -> anyhow::Result<()> {
    let spec = TopicSpec {
        name: config.topic.clone(),
        partitions: config.partitions,
        retention: Some(config.retention),
        retention_bytes: config.retention_bytes,
    };
    let partitions = ensure_topic(&config.brokers, &spec).await?;
    let forgotten = Writer::rebuild(&config.redis_addr, &config.topic, partitions).await?;
    tracing::info!(
        topic = config.topic,
        symbols = forgotten,
        "forgotten; start the processor and it reads the topic from its beginning"
    );
    Ok(())
}
