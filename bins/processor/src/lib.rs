//! The log to Redis: `market_ticks` in, the state of every symbol out.
//!
//! ```text
//!  broker ──▶ follow: batches ──▶ apply: load, fold, prepare, send ──▶ Redis
//!                                          one pipeline a batch
//! ```
//! While Redis works on one batch a large next one is folded and prepared, and sent once the first has
//! its answer.
//!
//! Invariant: an offset is noted for commit only after what it stands for is in Redis (or on the
//! dead-letter topic). Everything else may be lost at any moment.

mod apply;
mod config;
mod meters;
mod redis_effect;
mod states;

use broker::{ConsumerSettings, DeadLetters, TopicSpec, ensure_topic};
use follow::FollowSettings;
use service::Service;
use speed::Writer;

pub use config::Config;

use crate::redis_effect::RedisEffect;

/// Follows the topic until the service stops; then writes what was read and commits it.
pub async fn serve(config: Config, service: Service) -> anyhow::Result<()> {
    let specs = [config.topic_spec(config.dead_topic()), config.topic_spec(config.topic.clone())];
    let Some(partitions) = follow::topics(&config.brokers, &specs, &service).await? else {
        return Ok(());
    };
    let dead = DeadLetters::new(&config.brokers, &config.topic, &config.dead_topic())?;
    let settings = FollowSettings {
        consumer: ConsumerSettings {
            brokers: config.brokers.clone(),
            topic: config.topic.clone(),
            group: config.group.clone(),
            client_id: "processor".into(),
            session_timeout: config.session_timeout,
        },
        partitions,
        batch_trades: config.batch_trades,
    };
    follow::follow(settings, RedisEffect::new(&config, partitions, dead), &service).await
}

/// Forgets what Redis holds and mints a new log id: the next processors to start read the topic
/// from its beginning, as do those that run meanwhile.
pub async fn rebuild(config: Config, _: Service) -> anyhow::Result<()> {
    let spec: TopicSpec = config.topic_spec(config.topic.clone());
    let partitions = ensure_topic(&config.brokers, &spec).await?;
    let forgotten = Writer::rebuild(&config.redis_addr, &config.topic, partitions).await?;
    tracing::info!(
        topic = config.topic,
        symbols = forgotten,
        "forgotten; start the processor and it reads the topic from its beginning"
    );
    Ok(())
}
