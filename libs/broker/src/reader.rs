use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::Record;

const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at a topic outside of any group. Every call blocks.
pub struct TopicReader {
    client: BaseConsumer,
    topic: String,
}

impl fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicReader").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl TopicReader {
    /// Connects nowhere yet.
    pub fn new(brokers: &str, topic: &str) -> anyhow::Result<Self> {
        Self::with(&mut config(brokers), topic)
    }

    fn with(config: &mut ClientConfig, topic: &str) -> anyhow::Result<Self> {
        let client = config.create().context("cannot make a Kafka consumer")?;
        Ok(Self { client, topic: topic.to_owned() })
    }

    /// The offset that the next record of each of these partitions will get, in one request a
    /// broker.
    pub fn ends(&self, partitions: &BTreeSet<i32>) -> anyhow::Result<BTreeMap<i32, i64>> {
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            // Where a time is asked for, Kafka's ListOffsets takes -1 for the end.
            asked.add_partition_offset(&self.topic, *partition, Offset::End)?;
        }
        let answer = self
            .client
            .offsets_for_times(asked, PATIENCE)
            .context("cannot read where the topic ends")?;
        let mut ends = BTreeMap::new();
        for element in answer.elements() {
            element.error().context("cannot read where a partition ends")?;
            let Offset::Offset(end) = element.offset() else {
                bail!("Kafka does not say where partition {} ends", element.partition());
            };
            ends.insert(element.partition(), end);
        }
        Ok(ends)
    }

    /// The oldest offset that is kept, and the one that the next record will get.
    pub fn bounds(&self, partition: i32) -> anyhow::Result<(i64, i64)> {
        self.client
            .fetch_watermarks(&self.topic, partition, PATIENCE)
            .with_context(|| format!("cannot read the bounds of partition {partition}"))
    }

    /// Gives the records of a partition from an offset (or where it begins, if that is later) to
    /// before another one, in order, for as long as `each` returns true.
    ///
    /// # Errors
    /// Where no record has come for ten seconds. Until then librdkafka goes on by itself, whatever
    /// it says of a broker that has gone.
    pub fn read(
        &self,
        partition: i32,
        from: i64,
        to: i64,
        mut each: impl FnMut(&Record<'_>) -> bool,
    ) -> anyhow::Result<()> {
        let (low, high) = self.bounds(partition)?;
        let from = from.max(low);
        let to = to.min(high);
        if from >= to {
            return Ok(());
        }
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&self.topic, partition, Offset::Offset(from))?;
        self.client.assign(&assignment).context("cannot read the partition")?;
        let mut next = from;
        while next < to {
            let record = self.record().with_context(|| {
                format!("no record of partition {partition} from {next} on within {PATIENCE:?}")
            })?;
            next = record.offset() + 1;
            if record.offset() < to && !each(&record) {
                break;
            }
        }
        self.client.unassign().context("cannot let go of the partition")
    }

    fn record(&self) -> anyhow::Result<Record<'_>> {
        let deadline = Instant::now() + PATIENCE;
        let mut trouble = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.client.poll(left) {
                Some(Ok(message)) => return Ok(Record::new(message)),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => bail!(error),
                Some(Err(error)) => trouble = Some(error),
                None if left.is_zero() => match trouble {
                    Some(error) => bail!(error),
                    None => bail!("the broker sends nothing"),
                },
                None => {}
            }
        }
    }
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        // librdkafka asks for a name; no group is joined, and nothing is committed.
        .set("group.id", "gostocks-reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "100")
        .set("enable.partition.eof", "false")
        .set("reconnect.backoff.max.ms", "1000");
    config
}

/// The fingerprints of a topic's records at these offsets, by partition. One that holds no record
/// any more is absent. Blocks.
///
/// # Errors
/// Where no record has come for ten seconds.
pub fn fingerprints(
    brokers: &str,
    topic: &str,
    mut offsets: BTreeMap<i32, i64>,
) -> anyhow::Result<BTreeMap<i32, u64>> {
    let mut config = config(brokers);
    // One record of each is wanted: Kafka sends at least one batch of records, however large.
    config.set("queued.min.messages", "1").set("fetch.message.max.bytes", "4096");
    let reader = TopicReader::with(&mut config, topic)?;
    let list = |partition: i32, offset| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, offset).map(|()| list)
    };
    for (partition, offset) in &offsets {
        reader.client.incremental_assign(&list(*partition, Offset::Offset(*offset))?)?;
    }
    let mut fingerprints = BTreeMap::new();
    while !offsets.is_empty() {
        let record = reader.record().context("cannot read where the topic was left")?;
        let partition = record.partition();
        let Some(offset) = offsets.remove(&partition) else { continue };
        if record.offset() == offset {
            fingerprints.insert(partition, record.fingerprint());
        }
        reader.client.incremental_unassign(&list(partition, Offset::Invalid)?)?;
    }
    Ok(fingerprints)
}
