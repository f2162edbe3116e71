//! ```text
//!  at its due time ─▶ producer ─▶ topic ─▶ consumer: how late?
//!                                    └───▶ more consumers, as many as there are services
//! ```

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde::Serialize;
use tokio::task::block_in_place;

use crate::bench::{Micros, Percentiles, micros};
use crate::cli::{rate, seconds};
use crate::probe::{consumer, splitmix, unix_nanos};

const PARTITIONS: i32 = 6;
const KEYS: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Below this a thread is not put to sleep, for it would sleep longer.
const NAP: Duration = Duration::from_micros(60);

#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092")]
    kafka_brokers: String,

    /// Records a second.
    #[arg(long, default_value = "20000", value_name = "RECORDS", value_parser = rate)]
    rate: f64,

    /// Of a record's value; at least the eight that hold when it was due.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=1_000_000))]
    bytes: u32,

    /// That read all of it; the first one measures.
    #[arg(long, default_value = "2", value_name = "N")]
    consumers: NonZeroUsize,

    #[arg(long, default_value = "3", value_name = "SECONDS", value_parser = seconds)]
    warm_up: Duration,

    #[arg(long, default_value = "20", value_name = "SECONDS", value_parser = seconds)]
    duration: Duration,
}

#[derive(Debug, Serialize)]
pub(super) struct Figures {
    librdkafka: String,
    records_a_second: f64,
    bytes: u32,
    consumers: usize,
    #[serde(flatten)]
    late: Percentiles,
}

/// Makes a topic for it, and removes that.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Figures> {
    let admin: AdminClient<DefaultClientContext> =
        client(&arguments.kafka_brokers).create().context("cannot make a Kafka client")?;
    let name = format!("floor-{}", unix_nanos());
    let topic = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(-1));
    for made in admin.create_topics([&topic], &AdminOptions::new()).await? {
        made.map_err(|(name, code)| anyhow!("Kafka does not create topic {name}: {code}"))?;
    }
    let figures = block_in_place(|| measure(&arguments, &name));
    for gone in admin.delete_topics(&[&name], &AdminOptions::new()).await? {
        gone.map_err(|(name, code)| anyhow!("Kafka does not delete topic {name}: {code}"))?;
    }
    figures
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn measure(arguments: &Arguments, topic: &str) -> anyhow::Result<Figures> {
    // As the ingestor's.
    let producer: ThreadedProducer<DefaultProducerContext> = client(&arguments.kafka_brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("linger.ms", "1")
        .set("max.in.flight", "1")
        .set("queue.buffering.max.messages", "10000")
        .create()
        .context("cannot make a Kafka producer")?;
    producer.client().fetch_metadata(Some(topic), PATIENCE)?;
    let stop = Arc::new(AtomicBool::new(false));
    let measured_from = unix_nanos() + arguments.warm_up.as_nanos() as u64;
    let readers = (0..arguments.consumers.get())
        .map(|_| read(&arguments.kafka_brokers, topic, measured_from, Arc::clone(&stop)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let produced = produce(arguments, topic, &producer);
    let flushed = producer.flush(PATIENCE);
    thread::sleep(POLL * 2);
    stop.store(true, Ordering::Relaxed);
    let mut late = Vec::new();
    for reader in readers {
        late.push(reader.join().map_err(|_| anyhow!("a consumer panicked"))??);
    }
    flushed?;
    let records_a_second = produced?;
    let counts: Vec<u64> = late.iter().map(Micros::len).collect();
    ensure!(
        counts.iter().all(|count| *count == counts[0]),
        "consumers have read {counts:?} records"
    );
    Ok(Figures {
        librdkafka: rdkafka::util::get_rdkafka_version().1,
        records_a_second,
        bytes: arguments.bytes,
        consumers: late.len(),
        late: Percentiles::of(&late[0]),
    })
}

/// Records a second that were sent.
fn produce(
    arguments: &Arguments,
    topic: &str,
    producer: &ThreadedProducer<DefaultProducerContext>,
) -> anyhow::Result<f64> {
    let keys: Vec<String> = (0..KEYS).map(|key| format!("FLOOR{key}")).collect();
    // As compressible as trades are: not at all, and entirely, by halves.
    let mut value: Vec<u8> = (0..arguments.bytes as u64)
        .map(|at| if at % 2 == 0 { splitmix(at) as u8 } else { 0 })
        .collect();
    let (began, began_at) = (Instant::now(), unix_nanos());
    let time = arguments.warm_up + arguments.duration;
    let count = (arguments.rate * time.as_secs_f64()) as u64;
    for number in 0..count {
        let due = Duration::from_secs_f64((number + 1) as f64 / arguments.rate);
        let ahead = due.saturating_sub(began.elapsed());
        if ahead > NAP {
            thread::sleep(ahead);
        }
        let due_at = began_at + due.as_nanos() as u64;
        value[..8].copy_from_slice(&due_at.to_le_bytes());
        let key = &keys[(splitmix(number) % KEYS) as usize];
        let mut record = BaseRecord::to(topic).key(key).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => thread::sleep(NAP),
                error => return Err(error.into()),
            }
            record = back;
        }
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// A consumer of all partitions.
fn read(
    brokers: &str,
    topic: &str,
    measured_from: u64,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<JoinHandle<anyhow::Result<Micros>>> {
    let consumer = consumer(brokers)?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let run = move || {
        let mut late = micros();
        while !stop.load(Ordering::Relaxed) {
            let Some(message) = consumer.poll(POLL) else { continue };
            let now = unix_nanos();
            let message = message?;
            let value = message.payload().unwrap_or_default();
            let due = value.first_chunk().copied().map(u64::from_le_bytes);
            let due = due.context("a record that is too short")?;
            if due >= measured_from {
                late.saturating_record(now.saturating_sub(due) / 1_000);
            }
        }
        Ok(late)
    };
    Ok(thread::Builder::new().name("floor".to_owned()).spawn(run)?)
}
