use std::env;
use std::path::Path;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use servers::kafka::Distribution;
use servers::{Lifetime, kafka};

use crate::server::{PATIENCE, Server};
use crate::{eventually_some, scratch};

/// Where the tests find a Kafka that already runs. `cargo stack test` starts one for all of them.
const SHARED: &str = "GOSTOCKS_TEST_KAFKA";

/// The Kafka that tests share. Each takes topics of its own from [`Kafka::topic`].
#[derive(Debug)]
pub struct Kafka {
    brokers: String,
    /// `None` where it is somebody else's.
    _server: Option<Server>,
}

/// A record as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
}

/// The shared Kafka: the one that `GOSTOCKS_TEST_KAFKA` names, else one started once for this test
/// program.
///
/// # Panics
/// Where it does not come up.
pub fn kafka() -> &'static Kafka {
    static SHARED_KAFKA: OnceLock<Kafka> = OnceLock::new();
    SHARED_KAFKA.get_or_init(|| match env::var(SHARED) {
        Ok(brokers) if !brokers.is_empty() => Kafka { brokers, _server: None },
        _ => {
            let server = private_kafka();
            Kafka { brokers: server.address().to_owned(), _server: Some(server) }
        }
    })
}

/// A Kafka of its own, for a test that kills or wipes it.
///
/// # Panics
/// Where it does not come up.
pub fn private_kafka() -> Server {
    let distribution = Distribution::install(&scratch::cache())
        .unwrap_or_else(|error| panic!("{error:#} (`cargo stack test` installs what is missing)"));
    let start = move |home: &Path, port, log: &Path| {
        kafka::start(&distribution, home, port, log, Lifetime::Bound)
    };
    Server::new("kafka", Box::new(start), kafka::is_ready)
}

impl Kafka {
    /// A Kafka at that address: a [`private_kafka`]'s, for the methods below.
    pub fn at(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned(), _server: None }
    }

    /// `host:port`, for `KAFKA_BROKERS`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// A name that no other test's topic has, in this run or one before: `hint-…`.
    pub fn topic_name(&self, hint: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        // Test programs run beside each other.
        let (program, count) = (process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        format!("{hint}-{now}-{program}-{count}")
    }

    /// Creates a topic with a name of its own.
    pub fn topic(&self, hint: &str, partitions: i32) -> String {
        let name = self.topic_name(hint);
        self.create_topic(&name, partitions);
        name
    }

    pub fn create_topic(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client");
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        answered(admin.create_topics([&topic], &AdminOptions::new()));
    }

    /// Gives a topic more partitions than it has.
    pub fn grow_topic(&self, name: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client");
        let more = NewPartitions::new(name, partitions);
        answered(admin.create_partitions([&more], &AdminOptions::new()));
    }

    /// Everything that the topic holds now, in order within each partition.
    pub fn records(&self, topic: &str) -> Vec<Record> {
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", "testkit")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let mut missing = 0;
        let mut assignment = TopicPartitionList::new();
        for partition in partitions(&consumer, topic) {
            // A topic that was made this moment may still be without a leader.
            let (low, high) = eventually_some(PATIENCE, "a leader of the partition", || {
                consumer.fetch_watermarks(topic, partition, PATIENCE).ok()
            });
            missing += high - low;
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("a partition of the topic");
        }
        consumer.assign(&assignment).expect("an assignment");
        let mut records = Vec::new();
        while missing > 0 {
            let message = consumer.poll(Duration::from_secs(10)).expect("the rest of the topic");
            let message = message.expect("a record");
            records.push(Record {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().unwrap_or_default().to_vec(),
            });
            missing -= 1;
        }
        records
    }

    /// Where a partition ends, asked of the broker each time.
    pub fn ends(&self, topic: &str) -> impl Fn(i32) -> i64 + use<> {
        let consumer: BaseConsumer = self.client().create().expect("a consumer");
        let topic = topic.to_owned();
        move |partition| {
            let (_, end) = consumer.fetch_watermarks(&topic, partition, PATIENCE).expect("an end");
            end
        }
    }

    /// Appends records as Kafka's own clients would (murmur2 of the key), and waits until they are
    /// acknowledged.
    pub fn produce<'a>(&self, topic: &str, records: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
        let producer: BaseProducer = self
            .client()
            .set("partitioner", "murmur2_random")
            .set("acks", "all")
            .create()
            .expect("a producer");
        for (key, value) in records {
            let mut record = BaseRecord::to(topic).key(key).payload(value);
            while let Err((error, back)) = producer.send(record) {
                assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull));
                producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
        producer.flush(PATIENCE).expect("an acknowledgement of every record");
    }

    /// Sets a group that has no members back to the start of the topic.
    pub fn rewind(&self, topic: &str, group: &str) {
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let mut offsets = TopicPartitionList::new();
        for partition in partitions(&consumer, topic) {
            let begin = Offset::Offset(0);
            offsets.add_partition_offset(topic, partition, begin).expect("a partition");
        }
        consumer.commit(&offsets, CommitMode::Sync).expect("a group without members");
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }
}

/// In a thread, since the test may be async and its runtime must not be entered twice.
fn answered(request: impl Future<Output = KafkaResult<Vec<TopicResult>>> + Send) {
    let outcome = thread::scope(|scope| {
        let answer = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(request)
        });
        answer.join().expect("no panic inside")
    });
    outcome.expect("an answer").into_iter().for_each(|result| {
        result.unwrap_or_else(|(name, error)| panic!("topic {name}: {error}"));
    });
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    let topics = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
    topics.map(rdkafka::metadata::MetadataPartition::id).collect()
}
