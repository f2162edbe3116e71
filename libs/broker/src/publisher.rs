use std::fmt;
use std::time::Duration;

use anyhow::Context;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

/// Whoever publishes tries again, from what it has stored.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(8);

/// Puts records on a topic and waits for each: for what is rare, where the producer of ticks is
/// for what is not.
pub struct Publisher {
    client: FutureProducer,
    topic: String,
}

/// One record.
#[derive(Debug)]
pub struct Publication<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub headers: Vec<(&'a str, &'a str)>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Publisher {
    pub fn new(brokers: &str, topic: &str) -> anyhow::Result<Self> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            // The broker's bound is the one that counts, and a record that got in gets out.
            .set("message.max.bytes", "100000000")
            .set("delivery.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
            .create()
            .context("cannot make a Kafka producer")?;
        Ok(Self { client, topic: topic.into() })
    }

    /// Returns once the broker has acknowledged every one of them. After an error some may be on
    /// the topic.
    pub async fn publish<'a>(
        &self,
        records: impl IntoIterator<Item = Publication<'a>>,
    ) -> anyhow::Result<()> {
        let deliveries = records.into_iter().map(|publication| async move {
            let Publication { key, value, headers } = publication;
            let headers = headers.into_iter().fold(OwnedHeaders::new(), |all, (key, value)| {
                all.insert(Header { key, value: Some(value) })
            });
            let record = FutureRecord::to(&self.topic).key(key).payload(value).headers(headers);
            let delivered = self.client.send(record, DELIVERY_TIMEOUT).await;
            delivered.map_err(|(error, _)| error)
        });
        futures::future::try_join_all(deliveries)
            .await
            .with_context(|| format!("records cannot be put on {}", self.topic))?;
        Ok(())
    }
}
