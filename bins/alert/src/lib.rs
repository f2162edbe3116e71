//! The log and PostgreSQL to firings: `market_ticks` in, `alert_firings` out; alerts made, changed,
//! listed and watched over gRPC.
//!
//! ```text
//!  broker ──▶ follow: batches ──▶ evaluate (triggers) ──▶ fire, one transaction ──▶ firings, outbox
//!                 │                    ▲                  then a checkpoint               │
//!      assigned   │                    ├─────────────────── snapshots on disk             │
//!                 └──▶ load, beside ───┤                                                  │
//!  calls ──▶ store ──▶ alerts ──news──▶ reconcile              outbox ──lease──▶ alert_firings
//! ```
//! Invariants: what fires is a function of an alert's row and the log. A checkpoint is stored only
//! after the firings before it are, and an offset is noted for commit only after the checkpoint:
//! so whoever comes next finds the same firings, and PostgreSQL admits each once. A partition is
//! evaluated only once all of it is loaded. A snapshot is a cache: without it the same comes out.

mod behind;
mod config;
mod effect;
mod ends;
mod expiry;
pub mod grpc;
mod loading;
mod messages;
mod meters;
mod outbox;
mod owned;
mod snapshots;
mod tasks;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use broker::{ConsumerSettings, Publisher, TopicReader, ensure_topic, partition_of};
use follow::FollowSettings;
use market::AnotherLog;
use service::Service;
use store::{Creator, Log, LogEnds, Rearm, Store, StoreError, StoreMetrics};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

pub use config::Config;

use crate::effect::AlertEffect;
use crate::ends::Ends;
use crate::grpc::{Calls, Limits, Watching};
use crate::loading::Loader;
use crate::snapshots::Snapshots;

/// How long between two attempts at a PostgreSQL that does not answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// Serves calls and follows the topic until the service stops; then what was read has fired and
/// is committed.
pub async fn serve(config: Config, service: Service) -> anyhow::Result<()> {
    let address = config.address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("GRPC_PORT: cannot listen on {address}"))?;
    let specs = [config.firings_spec(), config.topic_spec()];
    let Some(partitions) = follow::topics(&config.brokers, &specs, &service).await? else {
        return Ok(());
    };
    let mut store = Store::new(&config.database, "gostocks alert", meters::store());
    let followed = follow_log(&mut store, &config, partitions, &service).await?;
    let Some(log) = followed else { return Ok(()) };

    service.tasks().spawn(store.clone().carry_news(service.stopping()));
    let topic = Arc::new(TopicReader::new(&config.brokers, &config.topic)?);
    let ends = LogEnds::new(Ends::new(Arc::clone(&topic)));
    let (creator, creating) = Creator::new(store.clone(), log.clone(), ends.clone());
    service.tasks().spawn(creating);
    let (answers, database) = watch::channel(true);
    let telling = waiting::tell(store.clone(), creator.clone(), service.stopping());
    service.tasks().spawn(telling);
    let (watching, tailing) = Watching::new(store.clone(), service.stopping());
    service.tasks().spawn(tailing);
    let (cooldown, asked) = (config.min_cooldown, database.clone());
    let calls = Calls::new(store.clone(), log.clone(), creator, ends, cooldown, asked);
    let limits = Limits { drain: service.shutdown_timeout() / 2, ..Limits::default() };
    let serving = grpc::serve(listener, calls, watching, limits, database, service.stopping());
    service.spawn("grpc", serving);

    let fired = Arc::new(Notify::new());
    let publisher = Publisher::new(&config.brokers, &config.firings_topic)?;
    let publishing =
        outbox::publish(store.clone(), publisher, Arc::clone(&fired), service.stopping());
    service.tasks().spawn(publishing);

    tracing::info!(%address, "listening");
    let snapshots = Snapshots::new(&config.snapshots);
    let loader = Loader { store, log, topic, snapshots };
    let (brokers, every) = (config.brokers.clone(), config.snapshot_every);
    let effect = AlertEffect::new(loader, brokers, every, answers, fired);
    let settings = FollowSettings {
        consumer: ConsumerSettings {
            brokers: config.brokers,
            topic: config.topic,
            group: config.group,
            client_id: "alert".into(),
            session_timeout: config.session_timeout,
        },
        partitions,
        batch_trades: config.batch_trades,
    };
    follow::follow(settings, effect, &service).await
}

/// Migrates, and learns which log PostgreSQL follows, with patience for one that is still
/// starting. `None` where the service was told to stop meanwhile.
async fn follow_log(
    store: &mut Store,
    config: &Config,
    partitions: i32,
    service: &Service,
) -> anyhow::Result<Option<Log>> {
    let stopping = service.stopping();
    loop {
        let attempt = async {
            store.migrate().await?;
            store.limit(config.quota).await?;
            store.follow(&config.topic, partitions).await
        };
        let followed = tokio::select! {
            () = stopping.cancelled() => return Ok(None),
            followed = attempt => followed,
        };
        match followed {
            Ok(log) => return Ok(Some(log)),
            Err(StoreError::AnotherLog(error)) => return Err(error.into()),
            Err(error @ StoreError::Schema { .. }) => return Err(error.into()),
            Err(error) => tracing::warn!("{error}"),
        }
        tokio::select! {
            () = stopping.cancelled() => return Ok(None),
            () = tokio::time::sleep(PATIENCE) => {}
        }
    }
}

/// Follows the topic anew under a new log id: active alerts are armed at its ends, and what was
/// evaluated is forgotten. For a topic that was deleted, restored or given other partitions.
pub async fn rebuild(config: Config, _: Service) -> anyhow::Result<()> {
    let partitions = ensure_topic(&config.brokers, &config.topic_spec()).await?;
    let reader = TopicReader::new(&config.brokers, &config.topic)?;
    let ends = move || reader.ends(&(0..partitions).collect());
    let ends = tokio::task::spawn_blocking(ends).await.context("a look-up panicked")??;
    let store = Store::new(&config.database, "gostocks alert rebuild", StoreMetrics::noop());
    store.migrate().await?;
    let rearm = Rearm {
        partition: |symbol: &str| partition_of(symbol, partitions),
        offset: |partition: i32| ends.get(&partition).copied().unwrap_or_default(),
    };
    let log = store.rebuild(&config.topic, partitions, rearm).await?;
    tracing::info!(topic = config.topic, log = %log.id, "active alerts are armed on the new log");
    Ok(())
}

/// The follower looks for [`AnotherLog`] itself.
fn trouble(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::AnotherLog(error) => error.into(),
        error => error.into(),
    }
}

/// PostgreSQL follows another log than the one that this program began with.
fn another_log(topic: &str, reason: String) -> AnotherLog {
    AnotherLog { store: "PostgreSQL", topic: topic.to_owned(), reason, remedy: "alert rebuild" }
}
