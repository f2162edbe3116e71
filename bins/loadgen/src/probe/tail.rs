use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::probe::unix_nanos;

const METADATA: Duration = Duration::from_secs(10);

/// How soon it notices that it should stop.
const POLL: Duration = Duration::from_millis(100);

/// A thread that reads a topic from where it ended, as a consumer of no group, until stopped.
pub(crate) struct Tail<T> {
    stop: Arc<AtomicBool>,
    /// How much `see` has found.
    found: Arc<AtomicUsize>,
    thread: JoinHandle<anyhow::Result<T>>,
}

impl<T: Send + 'static> Tail<T> {
    /// Returns once it is known where the topic ends: all that is appended from then on is read,
    /// of all its partitions or `only` of one.
    /// `see` is given a record's value and when it came (Unix nanoseconds), and returns how much it
    /// found in it. Blocks.
    pub(crate) fn start(
        brokers: &str,
        topic: &str,
        only: Option<i32>,
        mut seen: T,
        mut see: impl FnMut(&mut T, &[u8], u64) -> usize + Send + 'static,
    ) -> anyhow::Result<Self> {
        let consumer = consumer(brokers)?;
        let mut from = TopicPartitionList::new();
        for (partition, end) in ends(&consumer, topic)? {
            if only.is_none_or(|only| only == partition) {
                from.add_partition_offset(topic, partition, Offset::Offset(end))?;
            }
        }
        consumer.assign(&from)?;
        let (stop, found) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopping, counter) = (Arc::clone(&stop), Arc::clone(&found));
        let run = move || {
            while !stopping.load(Ordering::Relaxed) {
                let Some(message) = consumer.poll(POLL) else { continue };
                let at = unix_nanos();
                let message = message?;
                let count = see(&mut seen, message.payload().unwrap_or_default(), at);
                counter.fetch_add(count, Ordering::Relaxed);
            }
            Ok(seen)
        };
        let thread = thread::Builder::new().name(topic.to_owned()).spawn(run)?;
        Ok(Self { stop, found, thread })
    }

    pub(crate) fn found(&self) -> usize {
        self.found.load(Ordering::Relaxed)
    }

    pub(crate) fn finish(self) -> anyhow::Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a thread that reads a topic panicked"))?
    }
}

/// Of no group: it is assigned what it reads.
pub(crate) fn consumer(brokers: &str) -> anyhow::Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("client.id", "probe")
        .set("group.id", "probe")
        .set("enable.auto.commit", "false")
        // What has been appended is answered with at once; this bounds only the idle wait.
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "100")
        .create()
        .context("cannot make a Kafka consumer")
}

/// The topic's partitions, and where each ends. Blocks.
pub(crate) fn ends(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<(i32, i64)>> {
    let trouble = || format!("cannot read where {topic} ends");
    let metadata = consumer.fetch_metadata(Some(topic), METADATA).with_context(trouble)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let end = |partition| {
        let (_, end) =
            consumer.fetch_watermarks(topic, partition, METADATA).with_context(trouble)?;
        Ok((partition, end))
    };
    partitions.map(|partition| end(partition.id())).collect()
}
