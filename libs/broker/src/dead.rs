use std::time::Duration;

use anyhow::Context;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// Headers need room too: of a record as large as the broker takes, only so much is kept.
const MAX_VALUE_BYTES: usize = 900_000;

/// A record that cannot be used, as it was read.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub partition: i32,
    pub offset: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// A sentence for whoever looks.
    pub reason: String,
}

/// Puts records that cannot be used on a topic of their own: the same key and bytes, with where
/// they were and why as headers (`topic`, `partition`, `offset`, `reason`, `bytes`). Of a value of
/// more than 900,000 bytes only the beginning is kept; `bytes` is its whole length.
pub struct DeadLetters {
    client: FutureProducer,
    /// The topic that they come from.
    source: String,
    topic: String,
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl DeadLetters {
    pub fn new(brokers: &str, source: &str, topic: &str) -> anyhow::Result<Self> {
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
        Ok(Self { client, source: source.into(), topic: topic.into() })
    }

    /// Returns once the broker has acknowledged every one of them.
    pub async fn bury(&self, letters: &[DeadLetter]) -> anyhow::Result<()> {
        let deliveries = letters.iter().map(|letter| async {
            let partition = letter.partition.to_string();
            let offset = letter.offset.to_string();
            let header = |key, value| Header { key, value: Some(value) };
            let headers = OwnedHeaders::new()
                .insert(header("topic", self.source.as_str()))
                .insert(header("partition", partition.as_str()))
                .insert(header("offset", offset.as_str()))
                .insert(header("reason", letter.reason.as_str()));
            let kept = &letter.value[..letter.value.len().min(MAX_VALUE_BYTES)];
            let bytes = letter.value.len().to_string();
            let headers = headers.insert(header("bytes", bytes.as_str()));
            let record =
                FutureRecord::to(&self.topic).key(&letter.key).payload(kept).headers(headers);
            let delivered = self.client.send(record, DELIVERY_TIMEOUT).await;
            delivered.map_err(|(error, _)| error)
        });
        futures::future::try_join_all(deliveries).await.with_context(|| {
            format!("{} dead letters cannot be put on {}", letters.len(), self.topic)
        })?;
        Ok(())
    }
}
