use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;

const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A topic as it is made where it is missing. An existing one is left as it is.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    pub name: String,
    /// Fixed for the topic's life: which partition a symbol is on follows from it.
    pub partitions: i32,
    /// `None` keeps records for ever.
    pub retention: Option<Duration>,
    /// Bytes a partition; `None` is without bound.
    pub retention_bytes: Option<u64>,
}

/// Creates the topic if it is missing; returns how many partitions it has. One that exists needs
/// no right to create.
///
/// Waits for the broker: errors only when it cannot be reached within ten seconds or refuses.
pub async fn ensure_topic(brokers: &str, spec: &TopicSpec) -> anyhow::Result<i32> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        // Asking for a topic must not make it: it would get the broker's defaults.
        .set("allow.auto.create.topics", "false")
        .create()
        .context("cannot make a Kafka client")?;
    let admin = Arc::new(admin);
    let found = look_up(&admin, &spec.name, partition_count).await?;
    let partitions = match found {
        0 => {
            create(&admin, brokers, spec).await?;
            look_up(&admin, &spec.name, wait_for_partitions).await?
        }
        found => found,
    };
    if partitions != spec.partitions {
        tracing::warn!(
            topic = spec.name,
            partitions,
            wanted = spec.partitions,
            "the topic exists with another number of partitions, which stays as it is"
        );
    }
    Ok(partitions)
}

type Admin = AdminClient<DefaultClientContext>;

async fn look_up(
    admin: &Arc<Admin>,
    name: &str,
    look: fn(&Admin, &str) -> anyhow::Result<i32>,
) -> anyhow::Result<i32> {
    let (admin, name) = (Arc::clone(admin), name.to_owned());
    tokio::task::spawn_blocking(move || look(&admin, &name)).await?
}

async fn create(admin: &Admin, brokers: &str, spec: &TopicSpec) -> anyhow::Result<()> {
    let retention = spec.retention.map_or("-1".into(), |time| time.as_millis().to_string());
    let bytes = spec.retention_bytes.map_or("-1".into(), |bytes| bytes.to_string());
    // The broker's own default replication: one machine has one, a cluster has its own rule.
    let topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "delete")
        .set("retention.ms", &retention)
        .set("retention.bytes", &bytes);
    let options = AdminOptions::new()
        .request_timeout(Some(ADMIN_TIMEOUT))
        .operation_timeout(Some(ADMIN_TIMEOUT));
    let answers = admin
        .create_topics([&topic], &options)
        .await
        .with_context(|| format!("Kafka at {brokers} does not answer"))?;
    for answer in answers {
        match answer {
            Ok(_) => tracing::info!(topic = spec.name, partitions = spec.partitions, "created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => bail!("Kafka at {brokers} does not create topic {name}: {code}"),
        }
    }
    Ok(())
}

/// 0 where there is no such topic.
fn partition_count(admin: &Admin, name: &str) -> anyhow::Result<i32> {
    let metadata = admin
        .inner()
        .fetch_metadata(Some(name), ADMIN_TIMEOUT)
        .with_context(|| format!("cannot read the metadata of topic {name}"))?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    let partitions = topic.map_or(0, |topic| topic.partitions().len());
    i32::try_from(partitions).context("more partitions than Kafka allows")
}

/// A topic just made may take a moment to show up at every broker.
fn wait_for_partitions(admin: &Admin, name: &str) -> anyhow::Result<i32> {
    for _ in 0..20 {
        let partitions = partition_count(admin, name)?;
        if partitions > 0 {
            return Ok(partitions);
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    bail!("topic {name} was made, but no broker knows it")
}
